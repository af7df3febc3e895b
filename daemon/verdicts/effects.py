"""What a verdict changes, as data: a step of the threshold, a pattern that raises nothing, a time never learned from.

Enters: a verdict and the alert that it is about. Leaves: its effect or None, and what all effects together are at a
moment. Every effect is bounded and ends by itself, and nothing is derived from another: without a verdict everything
is as if it had never been given. It reads no clock and no database.
"""

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from alerting.occurrence import Occurrence
from alerting.verdict import Recurrence, Verdict, VerdictKind
from daemon.precedents import LIKENESS, cosine, unit_vector
from detectors.findings import Contributor

STEP = 1.03  # what one `false` raises the threshold by
# All of them together at most. Scores grow with the logarithm of surprise: on a simulated server that is a week old,
# the first hours of a fault at full strength reach 1.1 to 1.5 times the threshold, 1.2 to 1.9 on one of 18 days.
ALL_STEPS = 1.1
STEP_DAYS = 28
EXCLUSION_DAYS = {Recurrence.NONE: 28, Recurrence.DAY: 91, Recurrence.WEEK: 182}
MOST_EXCLUSIONS = 50
STRONGER = 1.5  # times its score over the threshold: what is stronger than that is news, however alike
RECOVERY_MS = 1_800_000  # after an incident a host is not at once as it was
_ABOUT_MS = 3_600_000  # so long before and after its hour something that comes again is expected
_DAY_MS = 86_400_000
_TURNS_MS = {Recurrence.DAY: _DAY_MS, Recurrence.WEEK: 7 * _DAY_MS}
_JUDGED = "anomaly"  # the network whose alerts are judgements: the others are facts and forecasts


@dataclass(frozen=True, slots=True)
class Effect:
    """What the verdict that counts for one alert changes. Times are UTC milliseconds.

    `first_ms` to `end_ms` is the alert, None = it is not over. `until_ms` is when the effect ends, None = with the
    samples it is about. `pattern`: surprise by signal as a vector of length 1. `strength`: score over threshold at the
    alert's peak. `felt`: it was an alert of something that hurts, so that what hurts is expected as well.
    """

    verdict: str
    occurrence: str
    kind: VerdictKind
    first_ms: int
    end_ms: int | None
    until_ms: int | None = None
    every: Recurrence = Recurrence.NONE
    pattern: Mapping[str, float] = field(default_factory=dict)
    strength: float = math.inf
    felt: bool = False

    def is_active(self, time_ms: int) -> bool:
        """Tell whether it has not ended."""
        return self.until_ms is None or time_ms < self.until_ms

    def is_its_hour(self, time_ms: int) -> bool:
        """Tell whether an expected pattern is expected at this hour, local time: an hour before it to one after it."""
        if self.every is Recurrence.NONE:
            return True
        turn_ms = _TURNS_MS[self.every]
        lasts_ms = max(0, (self.end_ms or self.first_ms) - self.first_ms) + 2 * _ABOUT_MS
        return (_local(time_ms) - _local(self.first_ms) + _ABOUT_MS) % turn_ms <= lasts_ms

    def bears(self, strength: float, *, felt: bool) -> bool:
        """Tell whether an anomaly is no stronger than what was expected, and hurts no more."""
        return (self.felt or not felt) and strength <= STRONGER * self.strength


@dataclass(frozen=True, slots=True)
class Standing:
    """What all effects together are at one moment: the threshold's factor, and the exclusions of this hour."""

    factor: float = 1.0
    exclusions: tuple[Effect, ...] = ()

    def expected(self, contributors: Sequence[Contributor], strength: float, *, felt: bool) -> Effect | None:
        """Return the exclusion that an anomaly falls under, None where it is news; `strength`: score over threshold."""
        if not self.exclusions:
            return None
        pattern = unit_vector(contributors)
        found = (one for one in self.exclusions if one.bears(strength, felt=felt))
        return next((one for one in found if cosine(pattern, one.pattern) >= LIKENESS), None)


NOTHING = Standing()


def effect_of(verdict: Verdict, alert: Occurrence) -> Effect | None:
    """Return what `verdict` changes, None where it changes nothing: no fact and no forecast is judged away."""
    end_ms, number = alert.resolved_ms, verdict.occurrence
    if verdict.kind is VerdictKind.REAL:
        return Effect(verdict.id, number, verdict.kind, alert.started_ms, end_ms)
    if alert.network != _JUDGED:
        return None
    if verdict.kind is VerdictKind.FALSE:
        until_ms = verdict.time_ms + STEP_DAYS * _DAY_MS
        return Effect(verdict.id, number, verdict.kind, alert.started_ms, end_ms, until_ms)
    pattern = unit_vector(alert.contributors)
    if not pattern:
        return None
    return Effect(
        verdict.id,
        number,
        verdict.kind,
        alert.started_ms,
        end_ms,
        verdict.time_ms + EXCLUSION_DAYS[verdict.every] * _DAY_MS,
        verdict.every,
        pattern,
        _strength(alert),
        alert.alertname == "AnomalyWithImpact",
    )


def standing(effects: Iterable[Effect], time_ms: int) -> Standing:
    """Return what `effects` are at `time_ms`."""
    active = [one for one in effects if one.is_active(time_ms)]
    exclusions = tuple(one for one in active if one.kind is VerdictKind.EXPECTED and one.is_its_hour(time_ms))
    return Standing(factor(active, time_ms), exclusions)


def factor(effects: Iterable[Effect], time_ms: int) -> float:
    """Return what the threshold is multiplied by: a step for each event that was judged false, 1 to ALL_STEPS.

    An event often has two alerts, the anomaly and that it was felt: those whose times overlap are one step. How many
    stand apart is counted by their ends (the greatest set of disjoint intervals), so that one more verdict never
    lowers the factor.
    """
    spans = sorted(
        (math.inf if one.end_ms is None else one.end_ms, one.first_ms)
        for one in effects
        if one.kind is VerdictKind.FALSE and one.is_active(time_ms)
    )
    count, taken_to = 0, -math.inf
    for end, first in spans:
        if first > taken_to:
            count, taken_to = count + 1, end
    return float(min(STEP**count, ALL_STEPS))


def incidents(effects: Iterable[Effect], time_ms: int) -> list[tuple[int, int]]:
    """Return the times [first, end) that were real incidents, their recovery included, as far as they have come."""
    return [
        (one.first_ms, time_ms + 1 if one.end_ms is None else one.end_ms + RECOVERY_MS)
        for one in effects
        if one.kind is VerdictKind.REAL
    ]


def to_json(effect: Effect) -> str:
    """Return an effect as the JSON text that the database keeps beside its verdict."""
    return json.dumps(
        {
            "first_ms": effect.first_ms,
            "end_ms": effect.end_ms,
            "until_ms": effect.until_ms,
            "every": effect.every,
            "pattern": dict(effect.pattern),
            "strength": effect.strength if math.isfinite(effect.strength) else None,
            "felt": effect.felt,
        },
        separators=(",", ":"),
    )


def effect_from_json(verdict: str, occurrence: str, kind: str, text: str) -> Effect:
    """Return the effect that `to_json` wrote. Raises ValueError where it is something else."""
    try:
        row = json.loads(text)
        strength = row["strength"]
        return Effect(
            verdict,
            occurrence,
            VerdictKind(kind),
            int(row["first_ms"]),
            None if row["end_ms"] is None else int(row["end_ms"]),
            None if row["until_ms"] is None else int(row["until_ms"]),
            Recurrence(row["every"]),
            {str(signal): float(value) for signal, value in row["pattern"].items()},
            math.inf if strength is None else float(strength),
            bool(row["felt"]),
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"the effect of verdict {verdict} is not understood: {error}") from error


def _strength(alert: Occurrence) -> float:
    """Return the peak score over the threshold, from how it was shown; unbounded patterns would hide any fault."""
    score, at = alert.score, alert.threshold
    if score is None or at is None or not 0.0 < score < 1.0 or not 0.0 < at < 1.0:
        return 1.0
    return max(1.0, score / (1.0 - score) * (1.0 - at) / at)


def _local(time_ms: int) -> int:
    return time_ms + time.localtime(time_ms / 1000).tm_gmtoff * 1000
