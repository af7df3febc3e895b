"""Forecasts of given histories, for scoring: `python -m benchmarks.capacity --tasks DIR --out DIR`.

Each TASKS/NAME.npz holds `history` (N, T), NaN-padded on the left, `season` and `step_seconds` of its rows, and `unit`
and `origin` (N,): rows of one unit and origin are resources of one host at one time, and see each other. Each
OUT/NAME.npz then holds mean, lo80, hi80, lo95, hi95 (N, 12), and OUT/simple/NAME.npz the same of the simple forecaster
without the network. With `--json` the time a forecast takes, beside the simple forecaster alone.
"""

import argparse
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Row, smaller_is_better, write
from detectors.capacity import CapacityForecaster, Forecasts, load_forecaster
from detectors.forecasts import HORIZONS, Floats, Horizon

_FOUR = 4


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
    parser.add_argument("--tasks", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    forecaster = load_forecaster()
    simple = CapacityForecaster(None, forecaster.tables)
    (arguments.out / "simple").mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for file in sorted(arguments.tasks.glob("*.npz")):
        with np.load(file) as stored:
            task = dict(stored)
        spent = []
        for one, folder in ((forecaster, arguments.out), (simple, arguments.out / "simple")):
            started = time.process_time()
            told = forecast(one, task)
            spent.append((time.process_time() - started) / len(task["history"]))
            bands: dict[str, Floats] = asdict(told.bands)
            np.savez_compressed(folder / file.name, **bands)
        rows.append(
            smaller_is_better(file.stem, "CPU a series", "s", spent[0], ("the simple forecaster alone", spent[1]))
        )
    write("capacity", rows, ("numpy",), as_json=arguments.json)


if __name__ == "__main__":
    main()
