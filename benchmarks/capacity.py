"""Forecasts of given histories, for scoring: `python -m benchmarks.capacity --tasks DIR --out DIR`.

Each TASKS/NAME.npz holds `history` (N, T), NaN-padded on the left, `season` and `step_seconds` of its rows, and `unit`
and `origin` (N,): rows of one unit and origin are resources of one host at one time, and see each other. Each
OUT/NAME.npz then holds mean, lo80, hi80, lo95, hi95 (N, 12), and OUT/simple/NAME.npz the same of the simple forecaster
without the network, for an ablation. Printed is what a forecast costs, beside the simple forecaster alone; without
`--tasks`, what all forecasts of 100 simulated resources over three horizons cost, and one on demand.
"""

import argparse
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Row, smaller_is_better, write
from detectors.capacity import CapacityForecaster, Forecasts, load_forecaster
from detectors.forecasts import HORIZONS, POINTS, Floats, Horizon
from detectors.synthetic import series

_FOUR = 4
_RESOURCES = 100
_ALONE = "the simple forecaster alone"


def horizon_of(step_seconds: float, season: int) -> Horizon:
    """Return the horizon of this step, with the task's own season."""
    near = min(HORIZONS, key=lambda one: abs(np.log(one.step_seconds / step_seconds)))
    return replace(near, season=season)


def forecast(forecaster: CapacityForecaster, task: dict[str, NDArray[np.generic]]) -> Forecasts:
    """Forecast every row of `task` within 0 and no limit; resources of one host at one time are companions."""
    history = np.asarray(task["history"], np.float64)
    horizon = horizon_of(float(task["step_seconds"]), int(task["season"]))
    hosts = np.unique(np.stack([task["unit"], task["origin"]]), axis=1, return_inverse=True)[1].ravel()
    companions = np.full((len(history), _FOUR - 1, history.shape[1]), np.nan)
    for host in np.unique(hosts):
        rows = np.flatnonzero(hosts == host)
        for row in rows if len(rows) > 1 else ():
            others = [other for other in rows if task["group"][other] != task["group"][row]][: _FOUR - 1]
            companions[row, : len(others)] = history[others]
    low = np.where(np.nanmin(history, axis=1) >= 0, 0.0, -np.inf)
    return forecaster.forecast(history, horizon, low, np.full(len(history), np.inf), companions=companions, pools=hosts)


def main() -> None:
    """Write the predictions of every task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=Path, help="folder of tasks; without it, simulated resources are timed")
    parser.add_argument("--out", type=Path, help="folder for the predictions")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if (arguments.tasks is None) != (arguments.out is None):
        parser.error("--tasks and --out belong together")
    forecaster = load_forecaster()
    if forecaster.problem:
        parser.exit(1, f"the shipped forecaster is not whole: {forecaster.problem}\n")
    pair = (forecaster, CapacityForecaster(None, forecaster.tables))
    rows = simulated(*pair) if arguments.tasks is None else scored(*pair, arguments.tasks, arguments.out)
    write("capacity", rows, ("numpy",), as_json=arguments.json)


def scored(whole: CapacityForecaster, simple: CapacityForecaster, tasks: Path, out: Path) -> list[Row]:
    """Write the predictions of every task; return what they cost."""
    (out / "simple").mkdir(parents=True, exist_ok=True)
    rows = []
    for file in sorted(tasks.glob("*.npz")):
        with np.load(file) as stored:
            task = dict(stored)
        spent = []
        for one, folder in ((whole, out), (simple, out / "simple")):
            started = time.process_time()
            told = forecast(one, task)
            spent.append((time.process_time() - started) / len(task["history"]))
            bands: dict[str, Floats] = asdict(told.bands)
            np.savez_compressed(folder / file.name, **bands)
        rows.append(smaller_is_better(file.stem, "CPU a series", "s", spent[0], (_ALONE, spent[1])))
    return rows


def simulated(whole: CapacityForecaster, simple: CapacityForecaster) -> list[Row]:
    """Return the CPU time of 300 forecasts, and of one alone, in the middle of some."""
    drawn = [(horizon, series(1, _RESOURCES, POINTS, horizon)[0][:, :POINTS]) for horizon in HORIZONS]
    low, high = np.zeros(_RESOURCES), np.full(_RESOURCES, np.inf)

    def spent(one: CapacityForecaster, count: int) -> float:
        started = time.process_time()
        for horizon, rows in drawn:
            one.forecast(rows[:count], horizon, low[:count], high[:count])
        return time.process_time() - started

    costs = {
        count: np.median([[spent(one, count) for one in (whole, simple)] for _ in range(5)], axis=0)
        for count in (1, _RESOURCES)
    }
    alone, every = costs[1] / len(HORIZONS), costs[_RESOURCES]
    return [
        smaller_is_better("one resource, one horizon", "CPU", "s", float(alone[0]), (_ALONE, float(alone[1]))),
        smaller_is_better("100 resources, three horizons", "CPU", "s", float(every[0]), (_ALONE, float(every[1]))),
    ]


if __name__ == "__main__":
    main()
