"""Inhibition: what already explains an alert keeps it from being told as well.

Enters: all alerts that fire. Leaves: for one of them the alert that explains it. A full disk explains slow
writes to it, a used-up resource its symptoms. Only what fires now inhibits, silenced or not.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from alerting.occurrence import Occurrence, State
from alerting.render import foremost


class By(StrEnum):
    """How two alerts must belong together."""

    RESOURCE = "resource"  # they are about the same
    EVIDENCE = "evidence"  # the foremost signal of the other is about it
    HOST = "host"


@dataclass(frozen=True, slots=True)
class Inhibition:
    """An alert named `source` that fires keeps one named `target` quiet where they belong together `by`."""

    source: str
    target: str
    by: By


INHIBITIONS = (
    Inhibition("ResourceExhaustionImminent", "ResourceExhaustionExpected", By.RESOURCE),
    Inhibition("ResourceExhaustionImminent", "AnomalyWithImpact", By.EVIDENCE),
    Inhibition("ResourceExhaustionImminent", "Anomaly", By.EVIDENCE),
    Inhibition("FilesystemReadOnly", "ResourceExhaustionImminent", By.RESOURCE),
    Inhibition("FilesystemReadOnly", "ResourceExhaustionExpected", By.RESOURCE),
    Inhibition("FilesystemReadOnly", "AnomalyWithImpact", By.EVIDENCE),
    Inhibition("FilesystemReadOnly", "Anomaly", By.EVIDENCE),
    Inhibition("StoppedCollecting", "AnomalyWithImpact", By.EVIDENCE),
    Inhibition("StoppedCollecting", "Anomaly", By.EVIDENCE),
    Inhibition("RepeatedOOMKills", "FailureRiskHigh", By.HOST),
    Inhibition("AnomalyWithImpact", "Anomaly", By.HOST),
)


def inhibitors(occurrences: Iterable[Occurrence]) -> Mapping[str, tuple[Occurrence, ...]]:
    """Return what may inhibit, by the name of what it inhibits."""
    found: dict[str, list[Occurrence]] = {}
    sources = {rule.source for rule in INHIBITIONS}
    for occurrence in occurrences:
        if occurrence.state is State.FIRING and occurrence.alertname in sources:
            for rule in INHIBITIONS:
                if rule.source == occurrence.alertname:
                    found.setdefault(rule.target, []).append(occurrence)
    return {target: tuple(sources) for target, sources in found.items()}


def inhibitor_of(occurrence: Occurrence, sources: Mapping[str, tuple[Occurrence, ...]]) -> Occurrence | None:
    """Return the alert that explains `occurrence`, None without one."""
    for source in sources.get(occurrence.alertname, ()):
        for rule in INHIBITIONS:
            if (rule.source, rule.target) == (source.alertname, occurrence.alertname) and _belong(
                rule.by, source, occurrence
            ):
                return source
    return None


def _belong(by: By, source: Occurrence, target: Occurrence) -> bool:
    if by is By.HOST:
        return True
    if by is By.RESOURCE:
        return source.resource == target.resource
    first = next(iter(foremost(target.contributors)), None)
    return first is not None and bool(source.resource) and source.resource in {first.resource, first.family}
