"""What keeps an alert that fires from being told now: another that explains it, a silence, maintenance, Prometheus.

Enters: the alerts that are to be told, and all that fire. Leaves: for each one that is muted, why. Being muted
ends by itself, and what still fires then is told.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from alerting.inhibit import inhibitor_of, inhibitors
from alerting.occurrence import Occurrence
from alerting.policy import Kept
from alerting.silence import Match, Silence, silence_of
from alerting.timeinterval import Window

_LEFT_TO = "left to "


@dataclass(frozen=True, slots=True)
class Maintenance:
    """A recurring window in which what `match` takes is not told."""

    window: Window
    match: Match


def reasons(
    occurrences: Iterable[Occurrence],
    *,
    silences: Sequence[Silence],
    maintenance: Sequence[Maintenance],
    left_to: str,
    time_ms: int,
) -> Mapping[str, str]:
    """Return why each muted alert is not told, by its id. `left_to` names who alerts instead of us, "" = nobody."""
    every = list(occurrences)
    sources = inhibitors(every)
    windows = [one for one in maintenance if one.window.is_open(time_ms)]
    active = [one for one in silences if one.is_active(time_ms)]

    def reason(one: Occurrence) -> str:
        if source := inhibitor_of(one, sources):
            return f"explained by {source.alertname} {source.resource}".rstrip()
        if silence := silence_of(one, active, time_ms):
            return f"silenced by {silence.author}: {silence.comment or silence.id}"
        if window := next((window for window in windows if window.match.takes(one)), None):
            return f"maintenance {window.window.name}"
        return f"{_LEFT_TO}{left_to}" if left_to else ""

    return {one.id: why for one in every if one.kept is Kept.NOT and (why := reason(one))}


def is_held(occurrence: Occurrence, muted: Mapping[str, str]) -> bool:
    """Tell whether nobody at all is to be told of an alert now. One that is left to others is for them to tell."""
    if occurrence.kept is not Kept.NOT:
        return True
    return occurrence.id in muted and not muted[occurrence.id].startswith(_LEFT_TO)
