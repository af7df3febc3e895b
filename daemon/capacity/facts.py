"""What the points of one resource tell beside a forecast: sentences on its shape, and whether being full is news.

Enters: the points of all horizons. Leaves: the facts of one resource. Sentences are made of the days where there are
enough of them, and of the hours what only those can show: a daily rhythm, teeth, what was cleaned up this week.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from alerting.render import amount
from daemon.capacity.points import Points
from daemon.capacity.resources import Resource, ResourceKind
from daemon.capacity.state import Facts
from detectors.forecasts import DAYS, HOURS, Floats
from detectors.growth import Run
from detectors.shape import Shape, explain, recognise
from detectors.trend import trends

_WELL_KNOWN = 2 * DAYS.season  # points: from there on days tell more of growth than hours
_FLAT_HOURS, _FLAT = 24, 0.01  # of the capacity
_NEWEST_SECONDS = 4 * 86_400.0  # so far hours reach back


def facts_of(resource: Resource, row: int, points: Mapping[str, Points], capacity: float, floor_ratio: float) -> Facts:
    """Return the facts of the resource in `row` of every horizon's points."""
    hours = points[HOURS.name].used[row]
    known = hours[np.isfinite(hours)]
    shape = _shape(row, points)
    limits = (1.0 - floor_ratio) * np.where(np.isnan(cap := _all(points, row, "capacity")), capacity, cap)
    used = _all(points, row, "used")
    below = bool((used[np.isfinite(used)] < limits[np.isfinite(used)]).any())
    lately = known[-_FLAT_HOURS:]
    flat = len(lately) == _FLAT_HOURS and np.ptp(lately) <= _FLAT * capacity
    beyond = len(lately) > 0 and bool(lately.min() >= (1.0 - floor_ratio) * capacity)
    return Facts(
        explanation=() if shape is None else tuple(_sentences(shape, resource)),
        floor=float(known.min()) if len(known) >= _FLAT_HOURS else -np.inf,
        accustomed=_is_accustomed(resource.kind, beyond=beyond, flat=bool(flat), below=below),
        trends=_trends(resource, row, points, (1.0 - floor_ratio) * capacity),
    )


def _trends(resource: Resource, row: int, points: Mapping[str, Points], limit: float) -> tuple[Run, ...]:
    if not resource.is_exhaustible or not limit > 0:
        return ()
    told = [(one, points[one.name].used[row]) for one in (HOURS, DAYS) if one.name in points]
    return trends(limit, told, resource.notable)


def _sentences(shape: Shape, resource: Resource) -> Iterator[str]:
    """Yield what is to be said of a shape, without amounts that would be said as nothing."""
    nothing = amount(0.0, resource.unit)
    for sentence in explain(shape, partial(amount, unit=resource.unit)):
        if f" {nothing}" not in sentence:
            yield sentence


def _is_accustomed(kind: ResourceKind, *, beyond: bool, flat: bool, below: bool) -> bool:
    """Tell whether a resource that is used up is no news.

    A file system that was never seen with room, and has not moved for a day, is meant to be full: an image, an
    archive, a partition for one file. One that filled up while it was watched is told until it has room again. Full
    swap is where Linux leaves what nobody reads: it is told when it fills up, for a day, and not at all where it was
    full from the first.
    """
    if not beyond:
        return False
    if kind is ResourceKind.SWAP:
        return flat or not below
    return flat and not below


def _shape(row: int, points: Mapping[str, Points]) -> Shape | None:
    found = {}
    for horizon in (HOURS, DAYS):
        if horizon.name in points and points[horizon.name].known[row] >= horizon.least:
            one = points[horizon.name]
            found[horizon.name] = recognise(one.used[row], horizon, one.capacity[row])
    hours, days = found.get(HOURS.name), found.get(DAYS.name)
    if hours is None or days is None:
        return hours or days
    older = tuple(step for step in days.steps if step.seconds_ago > _NEWEST_SECONDS)
    settled = points[DAYS.name].known[row] >= _WELL_KNOWN
    teeth = hours.teeth or days.teeth
    if settled and hours.teeth is not None and days.teeth is None:  # days tell where it goes, hours how it gets there
        teeth = replace(hours.teeth, peaks_a_day=0.0, floors_a_day=0.0)
    return replace(
        days if settled else hours,
        season_seconds=hours.season_seconds or days.season_seconds,
        teeth=teeth,
        steps=(*older, *hours.steps),
        capacity=hours.capacity or days.capacity,
    )


def _all(points: Mapping[str, Points], row: int, what: str) -> Floats:
    return np.concatenate([getattr(one, what)[row] for one in points.values()])
