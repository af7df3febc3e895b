"""What a year was worth to its operator: notifications against the truth, as figures with intervals.

Enters: the plan and notifications. Leaves: for each method what was real, what was told and when, which unit was named
first. A notification is real when it comes between the beginning of an incident's cause and an hour after its mending.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan, sqrt

import numpy as np
from scipy.stats import chi2

from benchmarks.year.beside import Sent
from benchmarks.year.events import Plan
from benchmarks.year.host import UNITS
from benchmarks.year.incidents import Incident
from benchmarks.year.lived import Lived
from benchmarks.year.physics import World

LATE_SECONDS = 3600.0
MONTH_DAYS = 30.4375
_Z = 1.959964
_CHANGED = "; it began"


@dataclass(frozen=True, slots=True)
class Told:
    """One incident, and what a method said of it.

    `lead_minutes`: from the first notification to the first harm, NaN = nothing was sent. `unit`: the first unit that
    the first notification names, `ever`: the first that any of them names; "" = none.
    """

    incident: Incident
    lead_minutes: float
    unit: str
    ever: str


@dataclass(frozen=True, slots=True)
class Judged:
    """A method over one year or several: real and false notifications, what was told of each incident, watched days.

    `odd`: the false ones by the oddity in which they came, "" = none.
    """

    real: int
    odd: tuple[str, ...]
    told: tuple[Told, ...]
    days: float

    @property
    def false(self) -> int:
        """How many notifications were about nothing that hurt."""
        return len(self.odd)

    @property
    def notified(self) -> int:
        """Of how many incidents something was said."""
        return sum(np.isfinite(one.lead_minutes) for one in self.told)

    @property
    def leads(self) -> list[float]:
        """The leads of those of which something was said, in minutes."""
        return [one.lead_minutes for one in self.told if np.isfinite(one.lead_minutes)]

    @property
    def before(self) -> int:
        """Of how many incidents something was said before they hurt."""
        return sum(lead > 0 for lead in self.leads)

    def named(self, *, ever: bool = False) -> tuple[int, int]:
        """Return how often the right unit stood first, and of how many: notified, and done by a unit."""
        asked = [one for one in self.told if one.incident.unit and np.isfinite(one.lead_minutes)]
        return sum((one.ever if ever else one.unit) == one.incident.unit for one in asked), len(asked)


def ours(lived: Lived) -> list[Sent]:
    """Return what the daemon would have sent: each message that tells of an alert for the first time."""
    return [Sent(one.row, " + ".join(sorted(set(one.alerts))), one.text) for one in lived.messages]


def judge(sent: Sequence[Sent], plan: Plan, world: World, learning_days: float) -> Judged:
    """Hold notifications against the truth; the learning time does not count."""
    first = int(learning_days * 86_400 / world.interval)
    late = int(LATE_SECONDS / world.interval)
    counted = [one for one in sent if one.row >= first]
    about: dict[int, list[Sent]] = {}
    odd = []
    for one in counted:
        number = next(
            (place for place, each in enumerate(plan.incidents) if each.began <= one.row <= each.ended + late), None
        )
        if number is None:
            odd.append(_during(one.row, plan))
        else:
            about.setdefault(number, []).append(one)
    told = []
    for place, incident in enumerate(plan.incidents):
        heard = [one for one in about.get(place, []) if one.row <= incident.ended]
        lead = (incident.hurt - heard[0].row) * world.interval / 60 if heard else nan
        units = [_first_unit(one.text) for one in heard]
        told.append(Told(incident, lead, units[0] if units else "", next(filter(None, units), "")))
    return Judged(
        len(counted) - len(odd), tuple(odd), tuple(told), (len(world.time_ms) - first) * world.interval / 86_400
    )


def _during(row: int, plan: Plan) -> str:
    each = (*plan.oddities, *plan.hardware, *plan.suspends)
    return next((one.kind for one in each if one.began <= row <= one.ended), "")


def _first_unit(text: str) -> str:
    """Return the first unit that a message speaks of; what was changed before, it only mentions."""
    said = " | ".join(sentence.split(_CHANGED)[0] for sentence in text.split(" | "))
    found = [(said.find(unit), unit) for unit in UNITS if unit in said]
    return min(found)[1] if found else ""


def together(each: Sequence[Judged]) -> Judged:
    """Return several years as one."""
    return Judged(
        sum(one.real for one in each),
        tuple(odd for one in each for odd in one.odd),
        tuple(told for one in each for told in one.told),
        sum(one.days for one in each),
    )


def wilson(hits: int, number: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    if number == 0:
        return 0.0, 1.0
    share = hits / number
    middle = (share + _Z**2 / (2 * number)) / (1 + _Z**2 / number)
    half = _Z * sqrt(share * (1 - share) / number + _Z**2 / (4 * number**2)) / (1 + _Z**2 / number)
    return max(0.0, middle - half), min(1.0, middle + half)


def poisson(count: int) -> tuple[float, float]:
    """Return the exact 95 % interval of the mean of a count (Garwood 1936)."""
    low = 0.0 if count == 0 else float(chi2.ppf(0.025, 2 * count)) / 2
    return low, float(chi2.ppf(0.975, 2 * count + 2)) / 2


def median(values: Sequence[float]) -> float:
    """Return the median, minus infinity of nothing: a lead that there is not."""
    return float(np.median(values)) if values else -inf


def monthly_episodes(lived: Lived, world: World) -> list[int]:
    """Return the episodes that were counted in each month of 30.4 days; a restart counts from zero again."""
    seen = lived.episodes[~world.down]
    grown = np.maximum(np.diff(seen, prepend=0), 0)
    at = np.flatnonzero(~world.down) * world.interval / 86_400 / MONTH_DAYS
    return [int(count) for count in np.bincount(at.astype(int), weights=grown)]
