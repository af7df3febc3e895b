"""What this host's own past teaches the capacity network: moments of its resources, and what came after them.

Enters: the hourly rollups, which history keeps for years, and the resources as they are now. Leaves: moments in their
order. Runs in the child. What was not measured teaches nothing; a long gap begins a history anew, as for a forecast.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.capacity.forecasts import companions
from daemon.capacity.points import Points, Stretches, draw_through, points_of, uses_of
from daemon.capacity.resources import Resource
from daemon.history import TIERS_SECONDS, History
from daemon.samples import STATISTICS
from detectors.capacity_examples import Examples, joined, taught
from detectors.capacity_refinement import Lived
from detectors.forecasts import DAYS, HOURS, POINTS, STEPS, Floats, Horizon
from detectors.shape import without_steps

MOST_RESOURCES = 24  # one network serves all: so many are enough to learn from
_TIER = TIERS_SECONDS[1]
_YEARS = {HOURS.name: 1, DAYS.name: 3}
_HOPS = {HOURS.name: 6, DAYS.name: 1}  # steps between the moments of a resource, at least
_MEASURED = 0.5  # of each step that came
_AT_ONCE = 256  # moments
_HOURS_A_YEAR = 366 * 24


@dataclass(frozen=True, slots=True, eq=False)
class _Moments:
    """Histories (M, 96), companions (M, 3, 96) and what came (M, 12), forecast from at `seconds` (M,)."""

    rows: Floats
    companions: Floats
    truth: Floats
    seconds: Floats


def lived(
    history: History,
    resources: Sequence[Resource],
    capacity: Floats,
    ids: Mapping[str, int],
    progress: Callable[[float, str], None],
    *,
    most: int,
) -> Lived | None:
    """Return what the host lived through, None where there is nothing yet.

    `capacity` (R,) is that of now; `ids` gives the signal of a name. Of more than 24 resources the first are taken, and
    of each horizon about `most` moments.
    """
    resources, capacity = resources[:MOST_RESOURCES], capacity[:MOST_RESOURCES]
    parts: list[Examples] = []
    seconds: list[Floats] = []
    for horizon in (HOURS, DAYS):
        progress(float(horizon is DAYS) / 2, f"reading what came of {horizon.name}")
        grid, begin = _grid(history, resources, capacity, ids, horizon)
        for batch in _batches(_moments(grid, begin, resources, horizon, most)):
            rows = without_steps(batch.rows, horizon.season)
            examples, asked = taught(rows, batch.companions, batch.truth, horizon)
            if asked.any():
                parts.append(examples)
                seconds.append(batch.seconds[asked])
    if not parts:
        return None
    every, order = joined(parts), np.concatenate(seconds)
    place = np.argsort(order, kind="stable")
    return Lived(every.some(place), order[place])


def _grid(
    history: History, resources: Sequence[Resource], capacity: Floats, ids: Mapping[str, int], horizon: Horizon
) -> tuple[Points, float]:
    """Return all steps of the horizon (R, N), the newest last, and when the first began, in seconds."""
    wanted = sorted({ids[name] for one in resources for name in one.signals if name in ids})
    times, values = history.rolled(_TIER, wanted, after=None, most=_YEARS[horizon.name] * _HOURS_A_YEAR)
    if not len(times):
        empty = np.zeros((len(resources), 0))
        return Points(empty, empty, empty), 0.0
    middle = times.astype(np.float64) + 500.0 * _TIER
    mean, least, most, count = (
        values[:, STATISTICS.index(name)].astype(np.float64) for name in ("mean", "min", "max", "count")
    )
    stretches = Stretches(middle, np.full(len(times), float(_TIER)), mean, least, most, count)
    columns = {name: wanted.index(number) for name, number in ids.items() if number in wanted}
    end_ms = int(middle.max() + 500.0 * _TIER)
    step_ms = 1000.0 * horizon.step_seconds
    steps = int((end_ms - middle.min()) // step_ms)
    uses = uses_of(resources, columns, stretches, capacity)
    return points_of(uses, end_ms=end_ms, step_seconds=horizon.step_seconds, count=steps), (
        end_ms - steps * step_ms
    ) / 1000


def _moments(
    grid: Points, begin: float, resources: Sequence[Resource], horizon: Horizon, most: int
) -> Iterator[_Moments]:
    """Yield the moments of all resources together, the oldest first."""
    steps = grid.used.shape[1]
    first, last = 2 * horizon.season, steps - STEPS
    hop = max(_HOPS[horizon.name], -(-len(resources) * (last - first) // most))
    for at in range(first, last + 1, hop):
        window = _window(grid, at)
        draw_through(window, horizon)
        truth = grid.used[:, at : at + STEPS]
        measured = grid.seconds[:, at : at + STEPS] >= _MEASURED * horizon.step_seconds
        known = (window.known >= horizon.least) & np.isfinite(truth).all(axis=1) & measured.all(axis=1)
        if known.any():
            others = companions(resources, window)[known]
            seconds = np.full(int(known.sum()), begin + at * horizon.step_seconds)
            yield _Moments(window.used[known], others, truth[known], seconds)


def _window(grid: Points, at: int) -> Points:
    """Return the 96 steps before the step `at`, NaN before the first."""
    there = min(at, POINTS)
    parts: list[NDArray[np.float64]] = []
    for values, missing in ((grid.used, np.nan), (grid.capacity, np.nan), (grid.seconds, 0.0)):
        out = np.full((len(values), POINTS), missing)
        out[:, POINTS - there :] = values[:, at - there : at]
        parts.append(out)
    return Points(*parts)


def _batches(moments: Iterator[_Moments]) -> Iterator[_Moments]:
    """Yield moments some hundreds at a time."""
    waiting: list[_Moments] = []
    count = 0
    for one in moments:
        waiting.append(one)
        count += len(one.seconds)
        if count >= _AT_ONCE:
            yield _together(waiting)
            waiting, count = [], 0
    if waiting:
        yield _together(waiting)


def _together(parts: Sequence[_Moments]) -> _Moments:
    return _Moments(
        np.concatenate([one.rows for one in parts]),
        np.concatenate([one.companions for one in parts]),
        np.concatenate([one.truth for one in parts]),
        np.concatenate([one.seconds for one in parts]),
    )
