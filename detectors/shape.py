"""What a history looks like: steps, teeth, a season, a rate, a capacity that changed; and sentences that say so.

Enters: points of one resource, equally spaced, the newest last, NaN before the first. Leaves: its shape, in the unit of
the points and in seconds; or histories from which one-off steps are taken out. Nothing here forecasts.

What recurs is no step: a fall that is seen a second time, about as large, is how this resource works.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.exhaustion import DAY_SECONDS, duration
from detectors.forecasters import median
from detectors.forecasts import HOURS, Floats, Horizon

_STANDS_OUT = 0.35  # no other difference of its direction is this share as large
_NOISES = 8.0  # standard deviations of the differences
_LASTS = 0.6  # of a step, six points later
_AROUND, _BEFORE, _FALLEN, _RISEN = 6, 4, 2, 3  # points
_PASSES = 2
_TEETH = 3
_TOOTH, _REGULAR, _ALIKE = 0.15, 0.35, 0.5
_STEEP = 4.0  # times as fast as it rises
_SEASONS, _STRONG = 3, 0.5
_WINDOW = 48  # points that a rate is of
_SURE = 2.0
_CAPACITY = 0.005
_SLOW = 2e-4  # of the level, a day
_MONTH_DAYS = 30.4375


@dataclass(frozen=True, slots=True)
class Step:
    """A level that changed once, from one point to the next, `seconds_ago`."""

    seconds_ago: float
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Teeth:
    """A level that falls back by `height` every `every_seconds`, and how its peaks and floors move in a day."""

    every_seconds: float
    height: float
    peaks_a_day: float
    floors_a_day: float


@dataclass(frozen=True, slots=True)
class Shape:
    """What is recognised; `rate_a_day` and `season_seconds` are 0 where there is none to be sure of."""

    level: float
    rate_a_day: float
    season_seconds: float
    teeth: Teeth | None
    steps: tuple[Step, ...]
    capacity: Step | None


def recognise(points: Floats, horizon: Horizon, capacity: Floats | None = None) -> Shape:
    """Return the shape of `points` (T,), with the `capacity` (T,) that they had, where it is known."""
    points = np.asarray(points, np.float64)
    known = np.flatnonzero(np.isfinite(points))
    if len(known) == 0:
        return Shape(0.0, 0.0, 0.0, None, (), None)
    row = points[known[0] :]
    found = _steps(row[None, :], horizon.season)
    step = horizon.step_seconds
    steps = tuple(
        Step(float(len(row) - at) * step, float(row[at - 1]), float(row[at]))
        for at in np.flatnonzero(found[0]).tolist()
    )
    bare = _shifted(row[None, :], found)[0]
    teeth = _teeth(bare, step)
    strength, wave = _season(bare, horizon.season)
    recurs = teeth is None and strength > _STRONG
    return Shape(
        level=float(row[-1]),
        rate_a_day=0.0 if teeth else _rate((bare - wave if recurs else bare)[-_WINDOW:]) * DAY_SECONDS / step,
        season_seconds=horizon.season * step if recurs else 0.0,
        teeth=teeth,
        steps=steps,
        capacity=None if capacity is None else _changed(np.asarray(capacity, np.float64), step),
    )


def without_steps(rows: Floats, season: int = HOURS.season) -> Floats:
    """Return histories (R, T) as if the newest level had held since before their one-off steps.

    Earlier points are moved by what a step came to, and growth goes on through it. Rows without one are returned as
    they are, and so are those in which not each place of the `season` is there twice.
    """
    return _shifted(rows, _steps(rows, season))


def _shifted(rows: Floats, steps: Floats) -> Floats:
    """Move what is before each step (R, T): its amount, 0 where there is none."""
    later = np.cumsum(steps[:, ::-1], axis=1)[:, ::-1]
    moved: Floats = rows + np.concatenate([later[:, 1:], np.zeros((len(rows), 1))], axis=1)
    return moved


def _steps(rows: Floats, season: int) -> Floats:
    """Return the amount of each one-off step (R, T), at the first point of the new level."""
    total = np.zeros_like(rows)
    count = np.isfinite(rows).sum(axis=1)
    for _ in range(_PASSES):
        found = np.zeros_like(rows)
        bare = _shifted(rows, total)
        for sign in (-1.0, 1.0):
            at, amount, there = _one_step(bare, sign)
            there &= count > 2 * season
            which = np.flatnonzero(there)
            found[which, at[which]] = amount[which]
        if not found.any():
            break
        total += found
    return total


def _one_step(rows: Floats, sign: float) -> tuple[NDArray[np.intp], Floats, NDArray[np.bool_]]:
    """Return the largest step of each row in one direction, its amount, and whether it is one (R,)."""
    count, width = rows.shape
    if width <= _BEFORE + _FALLEN:
        return np.zeros(count, np.intp), np.zeros(count), np.zeros(count, np.bool_)
    with np.errstate(invalid="ignore"):
        moved = np.diff(rows, axis=1, prepend=np.nan)
    usual = _middle(moved)
    off = moved - usual[:, None]
    noise = 1.4826 * _middle(np.abs(off))
    signed = np.where(np.isfinite(off), sign * off, -np.inf)
    at: NDArray[np.intp] = signed.argmax(axis=1)
    every = np.arange(count)
    size = signed[every, at]
    signed[every, at] = -np.inf
    second = signed.max(axis=1)
    first = np.isfinite(rows).argmax(axis=1)
    after = _FALLEN if sign < 0 else _RISEN
    stands = (size > _NOISES * noise) & (size > 1e-9 * np.abs(rows[every, -1])) & (second < _STANDS_OUT * size)
    stands &= (at - first >= _BEFORE) & (width - at >= after)
    around = np.arange(_AROUND)
    ahead, behind = at[:, None] + around, at[:, None] - 1 - around
    later = np.where(ahead < width, rows[every[:, None], np.minimum(ahead, width - 1)], np.nan)
    earlier = np.where(behind >= 0, rows[every[:, None], np.maximum(behind, 0)], np.nan)
    lasting = sign * (_middle(later) - _middle(earlier) - usual * _AROUND)
    return at, sign * size, stands & (lasting > _LASTS * size)


def _middle(rows: Floats) -> Floats:
    """Return the median of what is finite in each row; 0 where nothing is."""
    return median(rows, axis=1, otherwise=np.zeros(len(rows)))


def _slope(at: Floats, values: Floats) -> float:
    """Return the median of all slopes between two points (Theil 1950, Sen 1968)."""
    early, late = np.triu_indices(len(values), 1)
    return float(np.median((values[late] - values[early]) / (at[late] - at[early])))


def _teeth(row: Floats, step: float) -> Teeth | None:
    """Recognise regular, steep falls with a rise between them."""
    row = row[np.isfinite(row)]
    if len(row) < 3 * _TEETH:
        return None
    moved = np.diff(row)
    rising = moved[moved > 0]
    if len(rising) == 0:
        return None
    least = max(_STEEP * float(np.median(rising)), _TOOTH * float(np.ptp(row)))
    falls = np.flatnonzero(moved < -least) + 1
    if len(falls) < _TEETH:
        return None
    gaps = np.diff(falls)
    peaks, floors = row[falls - 1], row[falls]
    heights = peaks - floors
    regular = gaps.min() > _TEETH and gaps.std() < _REGULAR * gaps.mean() and heights.std() < _ALIKE * heights.mean()
    between = np.delete(moved, falls - 1)
    if not regular or (between > 0).mean() < _LASTS:
        return None
    a_day = DAY_SECONDS / step
    at = falls.astype(np.float64)
    return Teeth(
        every_seconds=float(np.median(gaps)) * step,
        height=float(np.median(heights)),
        peaks_a_day=_slope(at, peaks) * a_day,
        floors_a_day=_slope(at, floors) * a_day,
    )


def _season(row: Floats, period: int) -> tuple[float, Floats]:
    """Return the share of the variance around a moving mean that a season explains (noise: 0), and the season (T,)."""
    if len(row) < _SEASONS * period or not np.isfinite(row).all():
        return 0.0, np.zeros(len(row))
    half = period // 2
    weights = np.ones(2 * half + 1)
    if period % 2 == 0:
        weights[[0, -1]] = 0.5
    trend = np.convolve(row, weights / weights.sum(), "valid")
    off = row[half : half + len(trend)] - trend
    place = np.arange(len(off)) % period
    mean = np.bincount(place, off, period) / np.bincount(place, minlength=period)
    spread = float(((off - off.mean()) ** 2).sum())
    free = len(off) - period
    if spread <= 1e-18 * float((row**2).sum()) or free <= 0:
        return 0.0, np.zeros(len(row))
    left = float(((off - mean[place]) ** 2).sum())
    wave = (mean - mean.mean())[(np.arange(len(row)) - half) % period]
    return 1.0 - (left / free) / (spread / (len(off) - 1)), wave


def _rate(row: Floats) -> float:
    """Return the growth a step, 0 unless both halves show it and it is larger than what it scatters by."""
    row = row[np.isfinite(row)]
    if len(row) < 2 * _AROUND:
        return 0.0
    at = np.arange(len(row), dtype=np.float64)
    slope = _slope(at, row)
    half = len(row) // 2
    left = row - slope * at
    scatter = 1.4826 * float(np.median(np.abs(left - np.median(left))))
    same = _slope(at[:half], row[:half]) * slope > 0 and _slope(at[half:], row[half:]) * slope > 0
    return slope if same and abs(slope) * len(row) > _SURE * scatter else 0.0


def _changed(capacity: Floats, step: float) -> Step | None:
    """Return the newest change of a capacity (T,)."""
    moved = np.abs(np.diff(capacity)) > _CAPACITY * np.abs(capacity[1:])
    if not moved.any():
        return None
    at = int(np.flatnonzero(moved)[-1]) + 1
    return Step(float(len(capacity) - at) * step, float(capacity[at - 1]), float(capacity[at]))


def explain(shape: Shape, amount: Callable[[float], str]) -> list[str]:
    """Say in sentences what is recognised, what matters most first; `amount` says a number in its unit."""
    said = []
    if shape.rate_a_day:
        said.append(f"{'grows' if shape.rate_a_day > 0 else 'shrinks'} by {_pace(shape, shape.rate_a_day, amount)}")
    if (teeth := shape.teeth) is not None:
        sentence = f"falls back every {duration(teeth.every_seconds)} (by {amount(teeth.height)})"
        if abs(teeth.peaks_a_day) * teeth.every_seconds / DAY_SECONDS > 0.01 * teeth.height:
            verb = "rise" if teeth.peaks_a_day > 0 else "fall"
            sentence += f": its peaks {verb} by {_pace(shape, teeth.peaks_a_day, amount)}"
        said.append(sentence)
    if shape.season_seconds:
        said.append(f"repeats every {_period(shape.season_seconds)}")
    for step in reversed(shape.steps):
        done = "cleaned up" if step.after < step.before else "added at once"
        said.append(f"{amount(abs(step.after - step.before))} were {done} {duration(step.seconds_ago)} ago")
    if (change := shape.capacity) is not None:
        verb = "grew" if change.after > change.before else "shrank"
        came = f"from {amount(change.before)} to {amount(change.after)}"
        said.append(f"its capacity {verb} {came} {duration(change.seconds_ago)} ago")
    return said


def _pace(shape: Shape, a_day: float, amount: Callable[[float], str]) -> str:
    """Say a rate by the day, or by what makes it a number to imagine."""
    size = abs(a_day)
    if size > abs(shape.level):
        return f"{amount(size / 24)} an hour"
    if size < _SLOW * abs(shape.level):
        return f"{amount(size * _MONTH_DAYS)} a month"
    return f"{amount(size)} a day"


def _period(seconds: float) -> str:
    days = seconds / DAY_SECONDS
    return "24 hours" if days <= 1 else "7 days" if days < _MONTH_DAYS else "12 months"
