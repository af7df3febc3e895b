"""Failure risks on recorded fleets, for scoring: `python -m benchmarks.failure --data DIR --tasks DIR --out DIR`.

Each TASKS/NAME.npz (bgl, lanl, pdm, prevent) holds `unit` and `t` (R,); OUT/NAME.npz then holds them with risk_1h and
risk_24h (R,), OUT/simulated/NAME.npz the same by networks that saw simulated histories only, for an ablation, and
OUT/alone/NAME.npz what the daemon would say of each unit as a host that knows of no other: by what is shipped.
What a set may be learned from is its own: bgl all that lies before a row (anew every week, half forgotten in 28 days),
lanl what lies before the first row, pdm the machines that are not in the task, prevent nothing. No row is ever opened
to see what came of it before its day is over.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from time import process_time

import numpy as np
from numpy.typing import NDArray

from benchmarks.failure_peers import cluster_risk
from benchmarks.failure_sets import Arrays, Fleet, Integers, machines, racks, read, systems
from benchmarks.report import Row, write
from detectors import kernels
from detectors.event_features import DAY, HOUR, Times, thinned
from detectors.failure_history import shipped_history
from detectors.hazard import Hazard, pretrained
from detectors.network import Float32

Risks = NDArray[np.float64]

_WEEK = 7 * DAY
_MOST_ROWS = 400_000  # that a set fitted once learns from


def alone(fleets: list[Fleet], unit: Integers, at: Times) -> Risks:
    """Return what the shipped networks say (R, 2) of the failures of each unit alone: they have learned from none."""
    history, told = shipped_history(), np.zeros((len(at), 2))
    for fleet in fleets:
        for one, failures in fleet.failures.items():
            rows = np.flatnonzero(unit == one)
            rows = rows[np.argsort(at[rows], kind="stable")]
            if len(rows):
                told[rows] = history.probabilities(thinned(failures), fleet.start, at[rows])
    return told


def rolling(fleet: Fleet, unit: Integers, at: Times, hazard: Hazard) -> tuple[Risks, Risks]:
    """Return risks (R, 2) of hourly rows, learned anew every week from all before it; and without learning."""
    units = [int(one) for one in np.unique(unit)]
    hours = np.arange(at.min(), fleet.start + DAY, -HOUR)[::-1]
    grid = np.union1d(hours, at)
    inputs = {one: fleet.inputs(one, grid) for one in units}
    came = np.stack([fleet.came(one, grid) for one in units])
    whole = np.stack(list(inputs.values()))  # (units, T, I)
    told, plain = np.zeros((len(units), len(grid), 2)), np.zeros((len(units), len(grid), 2))
    for begin in np.arange(at.min(), at.max() + 1, _WEEK):
        known = grid <= begin - DAY
        now = (grid >= begin) & (grid < begin + _WEEK)
        rows = whole[:, now].reshape(-1, whole.shape[2])
        plain[:, now] = hazard.simulated_risk(rows).reshape(len(units), -1, 2)
        hazard.learn(
            whole[:, known].reshape(-1, whole.shape[2]), np.tile(grid[known], len(units)), came[:, known].reshape(-1, 2)
        )
        told[:, now] = hazard.risk(rows).reshape(len(units), -1, 2)
    place = np.searchsorted(units, unit), np.searchsorted(grid, at)
    return told[place], plain[place]


def fitted_once(
    fleets: list[Fleet], learned_from: list[Times], unit: Integers, at: Times, hazard: Hazard
) -> tuple[Risks, Risks]:
    """Return risks (R, 2) by what was learned once, at the times that belong to each fleet; and without learning.

    Every row with a failure is learned from, and of the others as many as fit, counted for all of them.
    """
    rng = np.random.default_rng(0)
    total = sum(len(times) * len(fleet.failures) for fleet, times in zip(fleets, learned_from, strict=True))
    share = min(1.0, _MOST_ROWS / max(total, 1))
    inputs: list[Float32] = []
    came: list[Float32] = []
    when: list[Times] = []
    for fleet, times in zip(fleets, learned_from, strict=True):
        for one in fleet.failures if len(times) else ():
            happened = fleet.came(one, times)
            kept = happened.any(axis=1) | (rng.random(len(times)) < share)
            inputs.append(fleet.inputs(one, times[kept]))
            came.append(happened[kept])
            when.append(times[kept])
    what = np.concatenate(came)
    weights = np.where(what.any(axis=1), 1.0, 1 / share)
    hazard.learn(np.concatenate(inputs), np.concatenate(when), what, weights, half_life_days=np.inf)
    del inputs
    told, plain = np.zeros((len(at), 2)), np.zeros((len(at), 2))
    homes = {one: fleet for fleet in fleets for one in fleet.failures}
    order = np.lexsort((at, unit))
    for rows in np.split(order, np.flatnonzero(np.diff(unit[order])) + 1):
        seen = homes[int(unit[rows[0]])].inputs(int(unit[rows[0]]), at[rows])
        told[rows], plain[rows] = hazard.risk(seen), hazard.simulated_risk(seen)
    return told, plain


def bgl(data: Arrays, unit: Integers, at: Times, hazard: Hazard) -> tuple[Risks, Risks, Risks]:
    """Racks, rolling."""
    fleet = racks(data)
    return *rolling(fleet, unit, at, hazard), alone([fleet], unit, at)


def lanl(data: Arrays, unit: Integers, at: Times, hazard: Hazard) -> tuple[Risks, Risks, Risks]:
    """Nodes, one row a day, learned from the days before the first row."""
    first = float(at.min())
    fleets = systems(data, np.unique(unit), first)
    days = [np.arange(np.ceil(fleet.start / DAY) * DAY, fleet.end - DAY, DAY) for fleet in fleets]
    return *fitted_once(fleets, days, unit, at, hazard), alone(fleets, unit, at)


def pdm(data: Arrays, unit: Integers, at: Times, hazard: Hazard) -> tuple[Risks, Risks, Risks]:
    """Machines, one row an hour, learned from the other machines."""
    asked = set(np.unique(unit).tolist())
    fleets = machines(data)
    hours = np.unique(at)[: -round(DAY / HOUR)]
    learned = [hours if asked.isdisjoint(fleet.failures) else hours[:0] for fleet in fleets]
    return *fitted_once(fleets, learned, unit, at, hazard), alone(fleets, unit, at)


SETS = {"bgl": bgl, "lanl": lanl, "pdm": pdm}


def main() -> None:
    """Write the risks of every task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tasks", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backend", choices=("auto", "compiled", "jit", "numpy"), default="auto")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "presaged-bench-kernels")
    arguments = parser.parse_args()
    backend, reasons = kernels.load(arguments.backend, arguments.cache)
    print(f"back end {backend.name}", *reasons, sep="\n  ", file=sys.stderr)
    started = process_time()
    prior = pretrained(arguments.seed, backend=backend)
    rows = [Row("simulated histories", "CPU of the training", "s", process_time() - started)]
    for file in sorted(arguments.tasks.glob("*.npz")):
        with np.load(file) as task:
            unit, at = task["unit"].astype(np.int64), task["t"].astype(np.float64)
        started = process_time()
        if file.stem in SETS:
            hazard = Hazard(prior, seed=arguments.seed, backend=backend)
            told, plain, by_itself = SETS[file.stem](read(arguments.data / file.stem), unit, at, hazard)
            save(arguments.out / "simulated" / file.name, unit, at, plain)
            save(arguments.out / "alone" / file.name, unit, at, by_itself)
        elif file.stem == "prevent":
            runs = sorted((arguments.data / "prevent").glob("*.npz"))
            told = np.concatenate([cluster_risk(run) for run in runs])
            by_itself = np.concatenate([cluster_risk(run, peers=False) for run in runs])
            save(arguments.out / "alone" / file.name, unit, at, by_itself)
        else:
            continue
        save(arguments.out / file.name, unit, at, told)
        rows.append(Row(file.stem, "CPU, learning and telling", "s", process_time() - started))
    write("failure", rows, ("numpy",), as_json=arguments.json)


def save(file: Path, unit: Integers, at: Times, risks: Risks) -> None:
    """Write one prediction."""
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, unit=unit, t=at, risk_1h=risks[:, 0], risk_24h=risks[:, 1])


if __name__ == "__main__":
    main()
