"""Synthetic disks that fill at a known time, or never: does the 80 % interval of the time hold what it says.

Ours: points and bands as the daemon makes them, the run of growth in the raw samples, and the outlook. Beside it:
`predict_linear` over 1 h, 6 h and 1 d, the line of least squares that people write today. A disk is invented in steps
of 5 min: a leak whose pace wanders from day to day, alone, under a daily rotation, under a sawtooth of some days, or
with a step in its past; and disks that move but do not fill. What was invented after the forecast is the truth.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from benchmarks import everyday
from benchmarks.everyday import FEWEST
from benchmarks.report import Row, write
from detectors.capacity import CapacityForecaster, load_forecaster
from detectors.exhaustion import Outlook, Told, outlook
from detectors.forecasts import DAYS, HORIZONS, HOURS, POINTS, Horizon
from detectors.growth import GrowthWatch, Run
from detectors.trend import trends

Floats = NDArray[np.float64]

SECONDS = 300.0
DAY = 288
LIMIT = 0.98
YEAR = 365 * DAY
WATCHED = 3 * DAY  # samples that the runs of growth are followed over
TRENDS = (HOURS, DAYS)
PER_EVERYDAY = 25  # runs for each disk that is followed sample by sample
LINEAR = {"1 h": 12, "6 h": 72, "1 d": DAY}
FILLING = ("steady leak", "leak with daily rotation", "step", "sawtooth with slow leak")
STILL = ("noise", "season", "random walk", "sawtooth", "cleaned up")
NEAR = 0.2  # of the true time
ANNOUNCED = 30 * 86_400.0


@dataclass(frozen=True, slots=True, eq=False)
class Disk:
    """One invented disk: used shares of it (T,), the newest last, and the seconds from then on until it is full."""

    family: str
    used: Floats
    full: float


def invent(family: str, rng: np.random.Generator) -> Disk:
    """Return a disk of a family; those that should fill do, those that should not do not within a year."""
    while True:
        past = int(np.exp(rng.uniform(np.log(12), np.log(120 if rng.random() < 0.8 else 900))) * DAY)
        series = _filling(family, past, rng) if family in FILLING else _still(family, past, rng)
        over = np.flatnonzero(series[past:] >= LIMIT)
        if series[:past].max() >= LIMIT or (len(over) > 0) != (family in FILLING) or series.min() < 0:
            continue
        return Disk(family, series[:past], float(over[0] + 1) * SECONDS if len(over) else inf)


def _pace(length: int, rng: np.random.Generator) -> Floats:
    """Return what is written in each 5 min, 1 in the mean: bursts, and days that resemble their neighbours."""
    days = length // DAY + 2
    spread = rng.uniform(0.05, 0.4)
    wander = np.zeros(days)
    for day in range(1, days):
        wander[day] = 0.7 * wander[day - 1] + spread * rng.normal()
    daily = np.repeat(np.exp(wander - wander.var() / 2), DAY)[:length]
    shape = rng.uniform(0.5, 5.0)
    return daily * rng.gamma(shape, 1 / shape, length)


def _filling(family: str, past: int, rng: np.random.Generator) -> Floats:
    """Return a disk of `past` samples that is to be full between 6 hours and a third of its past later."""
    most = max(past / DAY / 3, 4.0)
    left = np.exp(rng.uniform(np.log(0.25), np.log(most))) * DAY
    free = rng.uniform(0.1, 0.5)
    rate = free / left
    ahead = int(4 * left) + DAY
    begins = max(past - int(rng.uniform(0.2, LIMIT - free) / rate), 0)  # the leak is as old as what is there allows
    grown = np.cumsum(_pace(past + ahead, rng) * (np.arange(past + ahead) >= begins)) * rate
    used = grown - grown[past - 1] + LIMIT - free
    at = np.arange(past + ahead)
    if family == "leak with daily rotation":
        used = used + rng.uniform(0.01, 0.06) * (_tooth(at, DAY, rng) - 1)
    elif family == "sawtooth with slow leak":
        used = used + rng.uniform(0.05, 0.2) * (_tooth(at, int(rng.uniform(2, 9) * DAY), rng) - 1)
    elif family == "step":
        height = rng.choice([-1, 1]) * rng.uniform(0.05, 0.3)
        used = used - height * (at < past - int(rng.uniform(0.1, 0.8) * past))
    return used + 0.0005 * rng.normal(size=len(used))


def _still(family: str, past: int, rng: np.random.Generator) -> Floats:
    length = past + YEAR
    at = np.arange(length)
    level = rng.uniform(0.3, 0.85)
    noise = 0.002 * rng.normal(size=length)
    if family == "noise":
        return level + 0.03 * np.repeat(rng.normal(size=length // 12 + 1), 12)[:length] * rng.random() + noise
    if family == "season":
        weekly = 1 + 0.5 * (at // DAY % 7 < 5)
        return level + rng.uniform(0.01, 0.08) * weekly * np.sin(2 * np.pi * at / DAY + rng.uniform(0, 6)) + noise
    if family == "random walk":
        return level + rng.uniform(0.0002, 0.001) * np.cumsum(rng.normal(size=length)) + noise
    if family == "sawtooth":
        return level + rng.uniform(0.05, 0.3) * (_tooth(at, int(rng.uniform(0.5, 9) * DAY), rng) - 1) + noise
    dropped = past - int(rng.uniform(0.05, 0.8) * past)
    return level - rng.uniform(0.1, 0.3) * (at >= dropped) + noise


def _tooth(at: NDArray[np.int64], period: int, rng: np.random.Generator) -> Floats:
    """Return a rise from 0 to 1 in each period."""
    return ((at + rng.integers(period)) % period) / (period - 1)


def points(used: Floats, horizon: Horizon) -> Floats:
    """Return the maximum of each step (96,) back from the newest sample, NaN before the first whole one."""
    width = round(horizon.step_seconds / SECONDS)
    count = min(len(used) // width, POINTS)
    row = np.full(POINTS, np.nan)
    if count:
        row[POINTS - count :] = used[len(used) - count * width :].reshape(count, width).max(axis=1)
    return row


def tell(disks: Sequence[Disk], forecaster: CapacityForecaster, ages: Sequence[int]) -> list[list[Told]]:
    """Return the bands of each disk over the horizons that it is old enough for, made `ages` samples ago."""
    told: list[list[Told]] = [[] for _ in disks]
    for horizon in HORIZONS:
        then = [disk.used[: len(disk.used) - age] for disk, age in zip(disks, ages, strict=True)]
        rows = np.stack([points(used, horizon) for used in then])
        enough = np.flatnonzero(np.isfinite(rows).sum(axis=1) >= horizon.least)
        if len(enough) == 0:
            continue
        bands = forecaster.forecast(rows[enough], horizon, np.zeros(len(enough)), np.ones(len(enough))).bands
        for place, row in enumerate(enough.tolist()):
            each = (bands.mean, bands.lo80, bands.hi80, bands.lo95, bands.hi95)
            floor = float(then[row][-8 * DAY :].min())
            told[row].append(Told(horizon, ages[row] * SECONDS, *(one[place] for one in each), floor=floor))
    return told


def watch(disks: Sequence[Disk]) -> list[Run | None]:
    """Return the run of growth that each disk is in, followed over its last samples."""
    names = [str(place) for place in range(len(disks))]
    limit = np.full(len(disks), LIMIT)
    growth = GrowthWatch()
    for back in range(WATCHED, 0, -1):
        growth.follow(names, np.array([disk.used[-back] for disk in disks]), limit, SECONDS)
    return [growth.run(name) for name in names]


def foresee(disks: Sequence[Disk], forecaster: CapacityForecaster, rng: np.random.Generator) -> list[Outlook]:
    """Return the outlook of each disk, on bands that are up to an hour old."""
    ages = rng.integers(0, 12, len(disks)).tolist()
    said = []
    for disk, age, bands, run in zip(disks, ages, tell(disks, forecaster, ages), watch(disks), strict=True):
        then = disk.used[: len(disk.used) - age]
        found = trends(LIMIT, [(horizon, points(then, horizon)) for horizon in TRENDS])
        said.append(outlook(LIMIT, float(disk.used[-1]), bands, run, found))
    return said


def predict_linear(used: Floats, samples: int) -> float:
    """Return the seconds until the line of least squares through the last samples is at the limit."""
    at = np.arange(1 - samples, 1, dtype=np.float64)
    slope, level = np.polyfit(at, used[-samples:], 1)
    return max(float((LIMIT - level) / slope), 0.0) * SECONDS if slope > 0 else inf


def measure(runs: int, seed: int) -> list[Row]:
    """Invent `runs` disks that fill and as many that do not, and report how often what was said came true."""
    rng = np.random.default_rng(seed)
    disks = [invent(FILLING[one % len(FILLING)], rng) for one in range(runs)]
    disks += [invent(STILL[one % len(STILL)], rng) for one in range(runs)]
    said = foresee(disks, load_forecaster(), rng)
    return _report(disks, said)


def _report(disks: Sequence[Disk], said: Sequence[Outlook]) -> list[Row]:
    rows = []
    filling = [(disk, one) for disk, one in zip(disks, said, strict=True) if disk.full < inf]
    for family in (None, *FILLING):
        chosen = [(disk, one) for disk, one in filling if family in (None, disk.family)]
        rows += _times(family or "all that fill", chosen)
    for family in (None, *STILL):
        chosen = [(disk, one) for disk, one in zip(disks, said, strict=True) if disk.full == inf]
        chosen = [(disk, one) for disk, one in chosen if family in (None, disk.family)]
        rows += _silence(family or "all that never fill", chosen)
    return rows


def _times(case: str, chosen: Sequence[tuple[Disk, Outlook]]) -> list[Row]:
    """Return how often the true time lay in the interval, and how often the median was near it, beside the line's."""
    if not chosen:
        return []
    held = [one.lo80 <= disk.full <= one.hi80 for disk, one in chosen]
    early = [disk.full < one.lo80 for disk, one in chosen]
    wide = [one.hi80 / one.lo80 for _, one in chosen if 0 < one.lo80 < inf and one.hi80 < inf]
    near = float(np.mean([abs(one.median - disk.full) <= NEAR * disk.full for disk, one in chosen]))
    rows = [
        Row(case, "true time in 80 % interval", "share", float(np.mean(held))),
        Row(case, "full before it", "share", float(np.mean(early))),
        Row(case, "interval, last to first", "times", float(np.median(wide)) if wide else inf),
    ]
    for name, samples in LINEAR.items():
        theirs = [predict_linear(disk.used, samples) for disk, _ in chosen]
        right = [abs(time - disk.full) <= NEAR * disk.full for time, (disk, _) in zip(theirs, chosen, strict=True)]
        share = float(np.mean(right))
        ratio = (near + FEWEST) / (share + FEWEST)
        rows.append(Row(case, "median within 20 %", "share", near, f"predict_linear {name}", share, ratio))
    return rows


def _silence(case: str, chosen: Sequence[tuple[Disk, Outlook]]) -> list[Row]:
    """Return how often nothing was announced within 30 days, rightly, beside the line's."""
    if not chosen:
        return []
    silent = [one.probability[3] < 0.5 and one.median > ANNOUNCED for _, one in chosen]
    ours = float(np.mean(silent))
    rows = []
    for name, samples in LINEAR.items():
        theirs = float(np.mean([predict_linear(disk.used, samples) > ANNOUNCED for disk, _ in chosen]))
        rows.append(
            Row(
                case,
                "nothing announced",
                "share",
                ours,
                f"predict_linear {name}",
                theirs,
                ours / theirs if theirs else None,
            )
        )
    return rows


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--no-everyday", action="store_true", help="leave out what is followed sample by sample")
    arguments = parser.parse_args()
    rows = measure(arguments.runs, arguments.seed)
    if not arguments.no_everyday:
        rows += everyday.measure(max(arguments.runs // PER_EVERYDAY, 1), arguments.seed)
    write("disks", rows, ("numpy",), as_json=arguments.json)


if __name__ == "__main__":
    main()
