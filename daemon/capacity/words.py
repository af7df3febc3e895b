"""The outlook of one resource and the words for it.

Enters: what is used, the limit, the forecasts and the growth that goes on. Leaves: when it runs out, in figures and in
a sentence. What is read-only or meant to be full never does.
"""

from dataclasses import dataclass
from math import inf

from alerting.render import amount
from daemon.capacity.resources import Resource
from daemon.capacity.state import HI80, HI95, LO80, LO95, MEAN, Made
from daemon.clock import Instant
from detectors.exhaustion import WITHIN, Outlook, Told, outlook, say
from detectors.findings import Unit
from detectors.growth import Run

_NEVER = Outlook((0.0,) * len(WITHIN), inf, inf, inf)
_WEEK = list(WITHIN).index("7d")
_NOTABLE = 0.2  # probability: below it nobody asks for the reason
_QUICK = 0.002  # of the limit in a minute: from there on a rate is told by the minute


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that an outlook rests on, in the unit of the resource; see `daemon.capacity.state`."""

    resource: Resource
    used: float
    capacity: float
    limit: float
    read_only: bool
    accustomed: bool
    run: Run | None
    trends: tuple[Run, ...]
    made: tuple[Made, ...]
    floor: float
    explanation: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Description:
    """An outlook, what it says, and why; `lasting` is the outlook without the growth of this moment."""

    outlook: Outlook
    text: str
    explanation: tuple[str, ...]
    lasting: Outlook


def describe(it: Situation, now: Instant) -> Description:
    """Return when the resource runs out, and the words for it."""
    if not it.resource.is_exhaustible:
        return _of_load(it, now)
    if it.read_only:
        return Description(_NEVER, "mounted read-only: nothing more is written", (), _NEVER)
    full = it.used >= it.limit
    if full and it.accustomed:
        return Description(_NEVER, "full, as it was before: no news", it.explanation, _NEVER)
    told = _told(it, now)
    found = lasting = outlook(it.limit, it.used, told, it.run, it.trends)
    if full:
        left = amount(max(1.0 - it.used / it.capacity, 0.0), Unit.RATIO)
        return Description(found, f"full: {left} free", it.explanation, lasting)
    explanation = it.explanation
    if it.run is not None and found.probability[_WEEK] >= _NOTABLE:
        lasting = outlook(it.limit, it.used, told, None, it.trends)
        if lasting.probability[_WEEK] < found.probability[_WEEK]:  # what grows now is the reason
            explanation = (_growing(it.run, it.limit, it.resource.unit), *explanation)
    return Description(found, say(found), explanation, lasting)


def _of_load(it: Situation, now: Instant) -> Description:
    """Describe a processor or a link: a moment of full load is none, so it begins with the mean of the last step."""
    used = next((float(one.points[-1]) for one in it.made if one.bands is not None), 0.0)
    found = outlook(it.limit, used, _told(it, now), None)
    said = "at its limit" if used >= it.limit else say(found).replace("full", "at its limit", 1)
    return Description(found, said, it.explanation, found)


def _told(it: Situation, now: Instant) -> list[Told]:
    return [
        Told(
            horizon=one.horizon,
            age_seconds=(now.boottime_ns - one.made_ns) / 1e9,
            mean=one.bands[MEAN],
            lo80=one.bands[LO80],
            hi80=one.bands[HI80],
            lo95=one.bands[LO95],
            hi95=one.bands[HI95],
            floor=it.floor,
        )
        for one in it.made
        if one.bands is not None
    ]


def _growing(run: Run, limit: float, unit: Unit) -> str:
    """Say how fast it grows at this moment."""
    span, name = (60.0, "minute") if run.rate * 60.0 > _QUICK * limit else (3600.0, "hour")
    return f"grows by {amount(run.rate * span, unit)} a{'n' if name == 'hour' else ''} {name} now"
