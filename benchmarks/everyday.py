"""What is written on an ordinary day, and fills that are none: who pages for which, and how early.

Ours: the runs of growth in samples of 30 s with nothing else known, no bands and no points; a page is a probability of
0.9 to be full within 4 hours, for 2 min. Beside it: the line of least squares over 1 h and over 6 h that is full
within 4 hours, for 2 min. Every disk is followed for two weeks, from its first day, when nothing is known of it yet.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Row
from detectors.exhaustion import WITHIN, outlook
from detectors.growth import GrowthWatch

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

SECONDS = 30.0
DAY = 2880
DAYS = 14
LIMIT = 0.98
HELD = 4  # samples in two minutes
APART = 120  # samples: what pages again within an hour is one page
LINEAR = {"1 h": 120, "6 h": 720}
FEWEST = 1e-2  # what a ratio of two figures adds to both
AHEAD = 1 / 3  # of the time that a fill takes


def _base(rng: np.random.Generator, *, least: float = 0.25, most: float = 0.6) -> Floats:
    """Return a level that small writes move a little (T,)."""
    length = DAYS * DAY
    small = rng.exponential(2e-6, length) * (rng.random(length) < 0.3)
    return rng.uniform(least, most) + np.cumsum(small - small.mean()) + np.cumsum(np.full(length, 1e-8))


def _write(used: Floats, start: int, amount: float, samples: int, rng: np.random.Generator) -> None:
    """Write `amount` within so many samples, in bursts, and leave it there."""
    end = min(start + samples, len(used))
    bursts = rng.gamma(3.0, 1.0, samples)
    used[start:end] += (amount * np.cumsum(bursts) / bursts.sum())[: end - start]
    used[end:] += amount


def _nightly(rng: np.random.Generator, least: float, most: float, minutes: tuple[float, float]) -> Floats:
    """Return a disk on which the same job writes about the same every night and deletes it afterwards."""
    used = _base(rng)
    amount, hour = rng.uniform(least, most), rng.uniform(0, 22)
    pace = rng.uniform(*minutes) * 60 / SECONDS
    for day in range(DAYS):
        size = amount * rng.uniform(0.95, 1.05)
        start = day * DAY + int(hour * 120 + rng.integers(10))
        _write(used, start, size, max(int(pace * size / amount), 3), rng)
        used[start + int(pace * 1.1) + rng.integers(2, 20) :] -= size
    return used


def backups(rng: np.random.Generator) -> Floats:
    """Return nightly backups of 30 %."""
    return _nightly(rng, 0.28, 0.32, (15.0, 120.0))


def vacuums(rng: np.random.Generator) -> Floats:
    """Return tables that are copied nightly."""
    return _nightly(rng, 0.05, 0.2, (4.0, 40.0))


def rotations(rng: np.random.Generator) -> Floats:
    """Return logs that grow all day and are rotated at midnight."""
    at = np.arange(DAYS * DAY) + rng.integers(DAY)
    return _base(rng) + rng.uniform(0.01, 0.06) * (at % DAY) / DAY


def packages(rng: np.random.Generator) -> Floats:
    """Return packages and images that are installed, some of which goes again."""
    used = _base(rng, most=0.5)
    for start in np.sort(rng.integers(0, DAYS * DAY - 300, rng.integers(10, 30))):
        size = rng.uniform(0.003, 0.03)
        _write(used, int(start), size, int(rng.integers(3, 16)), rng)
        used[start + rng.integers(20, 200) :] -= size * rng.uniform(0.3, 1.0)
    return used


def copies(rng: np.random.Generator) -> Floats:
    """Return one big copy of 40 %, on a disk that is else used as by `packages`."""
    used = packages(rng) - 0.15
    _write(used, int(rng.integers(DAY, (DAYS - 1) * DAY)), 0.4, int(rng.integers(8, 120)), rng)
    return used


def fill(rng: np.random.Generator) -> tuple[Floats, int]:
    """Return what nobody stops, until all is full, and how many samples that took."""
    used = packages(rng) if rng.random() < 0.5 else _base(rng, least=0.02)
    start = int(rng.integers(100, (DAYS - 1) * DAY))
    _write(used, start, LIMIT - float(used[start]) + 0.01, int(rng.integers(20, 360)), rng)
    end = int((used >= LIMIT).argmax()) + 1
    return used[:end], end - start


def pages_of_ours(histories: Sequence[Floats]) -> list[Flags]:
    """Return at which samples (T,) of each history the probability is high enough to page."""
    names = [str(place) for place in range(len(histories))]
    length = max(len(used) for used in histories)
    levels = np.stack([np.concatenate([np.full(length - len(used), np.nan), used]) for used in histories], axis=1)
    limit = np.full(len(histories), LIMIT)
    high = np.zeros((length, len(histories)), np.bool_)
    watch = GrowthWatch()
    for at, now in enumerate(levels):
        watch.follow(names, now, limit, SECONDS)
        for place, name in enumerate(names):
            run = watch.run(name)
            if run is not None and run.rate_hi * WITHIN["4h"] > LIMIT - now[place]:
                high[at, place] = outlook(LIMIT, float(now[place]), (), run).probability[0] >= 0.9
    return [high[length - len(used) :, place] for place, used in enumerate(histories)]


def pages_of_line(used: Floats, width: int) -> Flags:
    """Return at which samples (T,) the line through the last `width` is full within 4 hours."""
    windows = np.lib.stride_tricks.sliding_window_view(used, width)
    at = np.arange(width) - (width - 1) / 2
    slope = windows @ at / (at @ at)
    told = windows.mean(axis=1) + slope * ((width - 1) / 2 + WITHIN["4h"] / SECONDS)
    return np.concatenate([np.zeros(width - 1, np.bool_), told >= LIMIT])


def starts(high: Flags) -> NDArray[np.intp]:
    """Return at which samples a page is sent: it held for two minutes, and none was sent within the hour."""
    held = np.convolve(high, np.ones(HELD), "valid") == HELD if len(high) >= HELD else np.zeros(0, np.bool_)
    at = np.flatnonzero(held) + HELD - 1
    return at[np.diff(at, prepend=-APART - 1) > APART]


QUIET: dict[str, Callable[[np.random.Generator], Floats]] = {
    "nightly backups": backups,
    "log rotation": rotations,
    "package installs": packages,
    "one copy of 40 %": copies,
    "table vacuums": vacuums,
}


def measure(disks: int, seed: int) -> list[Row]:
    """Follow so many disks of each kind, and report pages for nothing and fills seen in time."""
    rng = np.random.default_rng(seed)
    rows = []
    for kind, make in QUIET.items():
        histories = [make(rng) for _ in range(disks)]
        ours = np.mean([len(starts(high)) for high in pages_of_ours(histories)]) / DAYS * 30
        for name, width in LINEAR.items():
            theirs = np.mean([len(starts(pages_of_line(used, width))) for used in histories]) / DAYS * 30
            ratio = float((theirs + FEWEST) / (ours + FEWEST))
            rows.append(
                Row(kind, "pages for nothing", "a month", float(ours), f"predict_linear {name}", float(theirs), ratio)
            )
    filled = [fill(rng) for _ in range(disks)]
    took = [samples for _, samples in filled]
    ahead = _ahead(pages_of_ours([used for used, _ in filled]), took)
    for name, width in LINEAR.items():
        beside = _ahead([pages_of_line(used, width) for used, _ in filled], took)
        for metric, ours, theirs in (
            ("page with a third ahead", float(np.mean(ahead >= AHEAD)), float(np.mean(beside >= AHEAD))),
            ("of its time ahead, median", float(np.median(ahead)), float(np.median(beside))),
        ):
            ratio = (ours + FEWEST) / (theirs + FEWEST)
            rows.append(Row("fills", metric, "share", ours, f"predict_linear {name}", theirs, ratio))
    return rows


def _ahead(pages: Sequence[Flags], took: Sequence[int]) -> Floats:
    """Return the share of the time of each fill that is left at the first page since it began; 0 without one."""
    left = []
    for high, samples in zip(pages, took, strict=True):
        sent = starts(high) - (len(high) - samples)
        sent = sent[sent > 0]
        left.append((samples - int(sent[0])) / samples if len(sent) else 0.0)
    return np.array(left)
