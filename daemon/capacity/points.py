"""The points that are forecast from: each resource's use over the last steps of a horizon, out of history.db.

Enters: the rollups and, of what is not rolled up yet, the samples. Leaves: use and capacity (R, P), the newest step
last. Steps are counted back from now and not from the hour or midnight, so that the newest one is always whole and a
forecast is never half a step stale; a day is 24 hours, whatever the clock on the wall does. Order within history is
`seq`; what lies in the future of the wall clock is left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.capacity.resources import FULL, Resource, ResourceKind
from daemon.collectors.base import Measurement
from daemon.history import TIERS_SECONDS, History
from daemon.samples import STATISTICS
from daemon.signals import SignalRegistry
from detectors.forecasts import DAYS, HOURS, MONTHS, POINTS, Floats, Horizon

_FIVE_MINUTES, _HOUR, _DAY = TIERS_SECONDS
_MEAN, _LEAST, _MOST, _COUNT = (STATISTICS.index(name) for name in ("mean", "min", "max", "count"))
_MOST_SAMPLES = 4_000  # not rolled up: an hour at one a second
_RECENT_SAMPLES, _RECENT_MS, _STALE_MS = 1_000, 2 * 3_600_000, 1_800_000
_TIERS = {HOURS.name: _FIVE_MINUTES, DAYS.name: _HOUR, MONTHS.name: _DAY}
# So many steps that are missing are drawn through: a night off, a long weekend. A longer gap begins a history.
_BRIDGED = {HOURS.name: 12, DAYS.name: 4, MONTHS.name: 2}
_WHOLE = 0.5  # of the first step must be known: less of it would be another month than the others


@dataclass(frozen=True, slots=True, eq=False)
class Stretches:
    """Consecutive pieces of history: when the middle of each was, how long it is (T,), what it says of signals.

    `mean`, `least`, `most` and `count` are (T, K); NaN where a signal is missing.
    """

    middle_ms: Floats
    seconds: Floats
    mean: Floats
    least: Floats
    most: Floats
    count: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Uses:
    """What was used of each resource in each stretch, and how much there was (T, R).

    Of what fills, the most within the stretch; of processor and network the mean, of `count` samples.
    """

    middle_ms: Floats
    seconds: Floats
    used: Floats
    capacity: Floats
    count: Floats
    fills: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Use and capacity (R, P), NaN where nothing is known, and how many seconds of each step are."""

    used: Floats
    capacity: Floats
    seconds: Floats

    @property
    def known(self) -> NDArray[np.int64]:
        """How many points each resource has (R,)."""
        known: NDArray[np.int64] = np.isfinite(self.used).sum(axis=1)
        return known


class Reader:
    """Reads history once for all horizons that are asked for; blocks. `ids` gives the signal of a name, if any."""

    def __init__(
        self, history: History, resources: Sequence[Resource], ids: Mapping[str, int], interval_seconds: float
    ) -> None:
        self._history = history
        self._resources = resources
        self._interval = interval_seconds
        self._wanted = sorted({ids[name] for one in resources for name in one.signals if name in ids})
        place = {number: column for column, number in enumerate(self._wanted)}
        self._columns = {name: place[number] for name, number in ids.items() if number in place}
        self._ends: dict[int, int] = {}
        self._read: dict[tuple[int, int | None], Stretches] = {}

    def uses(self, horizon: Horizon, capacity: Floats) -> Uses:
        """Return what was used over the points of `horizon`; `capacity` (R,) is that of now."""
        return uses_of(self._resources, self._columns, self._stretches(horizon), capacity)

    def _stretches(self, horizon: Horizon) -> Stretches:
        """Return the rollups that suit the horizon, then finer ones of what is newer, at last single samples."""
        coarse = _TIERS[horizon.name]
        most = int(horizon.step_seconds / coarse * (POINTS + 1))
        parts = [self._rolled(coarse, None, most)]
        for before, tier in zip(TIERS_SECONDS[::-1], TIERS_SECONDS[-2::-1], strict=False):
            if before <= coarse:
                parts.append(self._rolled(tier, self._end(before), int(4 * before / tier)))
        parts.append(self._sampled(self._end(_FIVE_MINUTES)))
        return Stretches(
            np.concatenate([part.middle_ms for part in parts]),
            np.concatenate([part.seconds for part in parts]),
            np.concatenate([part.mean for part in parts]),
            np.concatenate([part.least for part in parts]),
            np.concatenate([part.most for part in parts]),
            np.concatenate([part.count for part in parts]),
        )

    def _end(self, tier: int) -> int:
        """Return the number of the last sample that is in a rollup of `tier`."""
        if tier not in self._ends:
            self._ends[tier] = self._history.rolled_up_to(tier)
        return self._ends[tier]

    def _rolled(self, tier: int, after: int | None, most: int) -> Stretches:
        key = (tier, after)
        if key not in self._read:
            times, values = self._history.rolled(tier, self._wanted, after=after, most=most)
            middle = times.astype(np.float64) + 500.0 * tier
            mean, least, top, count = (values[:, one].astype(np.float64) for one in (_MEAN, _LEAST, _MOST, _COUNT))
            self._read[key] = Stretches(middle, np.full(len(times), float(tier)), mean, least, top, count)
        return self._read[key]

    def _sampled(self, after: int) -> Stretches:
        key = (0, after)
        if key not in self._read:
            times, values = self._history.sampled(self._wanted, after=after, most=_MOST_SAMPLES)
            wide = values.astype(np.float64)
            seconds = np.full(len(times), self._interval)
            self._read[key] = Stretches(times.astype(np.float64), seconds, wide, wide, wide, np.isfinite(wide) * 1.0)
        return self._read[key]


def uses_of(resources: Sequence[Resource], columns: Mapping[str, int], parts: Stretches, capacity: Floats) -> Uses:
    """Return the use of each resource in each stretch; `columns` gives the place of a signal's name in them."""
    shape = (len(parts.middle_ms), len(resources))
    used, limits, count = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape)
    fills = np.array([one.is_exhaustible for one in resources], np.bool_)
    for row, one in enumerate(resources):
        places = [columns.get(name, -1) for name in one.signals]
        if min(places) < 0:
            continue
        count[:, row] = parts.count[:, places[-1]]
        limits[:, row] = capacity[row]
        if one.kind in {ResourceKind.CPU, ResourceKind.BANDWIDTH}:
            used[:, row] = parts.mean[:, places[0]]
        elif one.kind is ResourceKind.INODES:
            used[:, row] = parts.most[:, places[0]]
        else:
            share, amount = parts.mean[:, places[0]], parts.mean[:, places[1]]
            base = share if one.kind is ResourceKind.SWAP else 1.0 - share
            with np.errstate(divide="ignore", invalid="ignore"):
                limits[:, row] = _carried(np.where(base > FULL, amount / base, np.nan), capacity[row])
            if one.kind is ResourceKind.SWAP:
                used[:, row] = parts.most[:, places[1]]
            else:
                used[:, row] = limits[:, row] - parts.least[:, places[1]]
    return Uses(parts.middle_ms, parts.seconds, used, limits, count, fills)


def _carried(values: Floats, otherwise: float) -> Floats:
    """Return `values` (T,) where a missing one is what was before it, or at the beginning what comes after."""
    there = np.flatnonzero(np.isfinite(values))
    if len(there) == 0:
        return np.full(len(values), otherwise)
    before = np.searchsorted(there, np.arange(len(values)), side="right") - 1
    carried: Floats = values[there[np.maximum(before, 0)]]
    return carried


def points_of(uses: Uses, *, end_ms: int, step_seconds: float, count: int) -> Points:
    """Return `count` steps that end at `end_ms`, nothing filled in."""
    back = np.floor((end_ms - uses.middle_ms) / (1000.0 * step_seconds))
    inside = np.flatnonzero((back >= 0) & (back < count))
    order = inside[np.argsort(-back[inside], kind="stable")]
    shape = (count, uses.used.shape[1])
    used, capacity, seconds = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape)
    if len(order):
        step = count - 1 - back[order].astype(np.int64)
        starts = np.flatnonzero(np.r_[True, np.diff(step) > 0])
        rows = step[starts]
        known = uses.used[order]
        top = np.fmax.reduceat(known, starts, axis=0)
        weight = np.where(np.isfinite(known), uses.count[order], 0.0)
        total = np.add.reduceat(weight, starts, axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.add.reduceat(np.where(weight > 0, known, 0.0) * weight, starts, axis=0) / total
        used[rows] = np.where(uses.fills, top, mean)
        limits = np.where(np.isfinite(known), uses.capacity[order], np.nan)
        capacity[rows] = np.fmax.reduceat(limits, starts, axis=0)
        there = np.where(np.isfinite(known), uses.seconds[order, None], 0.0)
        seconds[rows] = np.add.reduceat(there, starts, axis=0)
    return Points(used.T, capacity.T, seconds.T)


def history_points(uses: Uses, horizon: Horizon, end_ms: int) -> Points:
    """Return the points to forecast from: short gaps drawn through, nothing before a long one."""
    points = points_of(uses, end_ms=end_ms, step_seconds=horizon.step_seconds, count=POINTS)
    draw_through(points, horizon)
    return points


def draw_through(points: Points, horizon: Horizon) -> None:
    """Fill short gaps of `points` in place, and empty what lies before a long one."""
    used, capacity = points.used, points.capacity
    for row in range(len(used)):
        there = np.flatnonzero(np.isfinite(used[row]))
        if len(there) == 0:
            continue
        if there[-1] != used.shape[1] - 1:  # it is not measured any more
            used[row] = capacity[row] = np.nan
            continue
        gaps = np.flatnonzero(np.diff(there) > _BRIDGED[horizon.name] + 1)
        there = there[gaps[-1] + 1 :] if len(gaps) else there
        if len(there) > 1 and points.seconds[row, there[0]] < _WHOLE * horizon.step_seconds:
            there = there[1:]
        steps = np.arange(there[0], used.shape[1])
        for values in (used[row], capacity[row]):
            drawn = np.interp(steps, there, values[there])
            values[: there[0]] = np.nan
            values[there[0] :] = drawn


def recent_rounds(
    history: History, registry: SignalRegistry, now_ms: int
) -> Iterator[tuple[float, Sequence[Measurement]]]:
    """Yield the samples of the last two hours as they were measured, and the seconds since the one before; blocks.

    Nothing where the last one is long ago: what grew then need not grow now.
    """
    rows = history.last_rows(_RECENT_SAMPLES)
    if len(rows.seq) == 0 or not 0 <= now_ms - int(rows.time_ms[-1]) <= _STALE_MS:
        return
    specs = [registry.spec_of(number) for number in rows.signal_ids]
    recent = np.flatnonzero((rows.time_ms > now_ms - _RECENT_MS) & (rows.time_ms <= now_ms))
    seconds = np.diff(rows.time_ms[recent], prepend=rows.time_ms[recent[0]]) / 1000.0
    for row, since in zip(recent.tolist(), seconds.tolist(), strict=True):
        yield since, list(zip(specs, rows.values[row].tolist(), strict=True))
