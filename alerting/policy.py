"""The policy as data: which alerts exist, what each is about, how grave they are, and which of them are sent.

Enters: an alert's rule, the operator's settings and whether the host's week is known. Leaves: whether it may be
sent, or why it is kept, and the times an alert must hold and must be clear. It never looks at a score: that a
finding holds is the detector's word.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from alerting.errors import UnknownAlert

DRILL = "Drill"
FLAPPING_FIRINGS = 3  # within an hour: from there on an alert must be clear for longer


class Severity(StrEnum):
    """What an alert asks of a person."""

    PAGE = "critical"
    TICKET = "warning"
    RECORD = "info"


GRAVEST = (Severity.PAGE, Severity.TICKET, Severity.RECORD)


class Kept(StrEnum):
    """Why an alert is a record from its firing to its end; NOT is one that may be sent."""

    NOT = ""
    RECORD = "record"
    SWITCHED_OFF = "switched_off"
    LEARNING = "learning"
    CHANGE = "change"


KEPT_WORDS: Mapping[Kept, str] = MappingProxyType(
    {
        Kept.RECORD: "a record: kept and shown, not sent",
        Kept.SWITCHED_OFF: 'not sent: [anomaly] notify is "never"',
        Kept.LEARNING: "not sent: the host is still being learned",
        Kept.CHANGE: "not sent: a change was marked just before",
    }
)


@dataclass(frozen=True, slots=True)
class Timing:
    """How long an alert must hold before it fires, and must be seen clear before it is resolved."""

    for_seconds: float
    keep_firing_seconds: float


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the policy table.

    Its identity is (`alertname`, `network`, resource): `network` is the detector that finds it, `about` what the
    resource is, "" = the host. `sent`: "always" = a fact, from the first minute; "judged" = by [anomaly] notify, once
    the week is known and no change is fresh; "never" = a record. `timing` None means that the operator's settings
    time it.
    """

    alertname: str
    severity: Severity
    network: str
    about: str
    sent: Literal["always", "judged", "never"]
    timing: Timing | None
    summary: str


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """What the operator decides about anomalies; facts are not up to it."""

    notify: Literal["with_impact", "always", "never"]
    for_seconds: float
    keep_firing_seconds: float


_AT_ONCE = Timing(for_seconds=0.0, keep_firing_seconds=0.0)

_TABLE = (
    Rule(
        alertname="FilesystemReadOnly",
        severity=Severity.PAGE,
        network="host",
        about="mount point",
        sent="always",
        # Longer than a remount during maintenance, shorter than anybody needs to lose data by it.
        timing=Timing(for_seconds=60.0, keep_firing_seconds=300.0),
        summary="A file system that was writable is mounted read-only: writes fail now.",
    ),
    Rule(
        alertname="StoppedCollecting",
        severity=Severity.PAGE,
        network="host",
        about="source",
        sent="always",
        # One late reading is no news; after a minute the host is watched with one eye closed.
        timing=Timing(for_seconds=60.0, keep_firing_seconds=300.0),
        summary="A source gives no data any more: what it watched is not watched.",
    ),
    Rule(
        alertname="ResourceExhaustionImminent",
        severity=Severity.PAGE,
        network="capacity",
        about="resource",
        sent="always",
        timing=Timing(for_seconds=120.0, keep_firing_seconds=900.0),
        summary="A resource is all but certainly used up within four hours.",
    ),
    Rule(
        alertname="RepeatedOOMKills",
        severity=Severity.PAGE,
        network="host",
        about="unit",
        sent="always",
        timing=Timing(for_seconds=0.0, keep_firing_seconds=1800.0),  # a kill is a moment: it is over when none follows
        summary="The kernel ended processes for want of memory, again and again.",
    ),
    Rule(
        alertname="UnitFailed",
        severity=Severity.PAGE,
        network="host",
        about="unit",
        sent="always",
        timing=Timing(for_seconds=60.0, keep_firing_seconds=120.0),
        summary="A unit that the operator named has failed.",
    ),
    Rule(
        alertname=DRILL,
        severity=Severity.PAGE,
        network="drill",
        about="",
        sent="always",
        timing=_AT_ONCE,
        summary="Nothing is wrong: somebody tries whether notifications arrive.",
    ),
    Rule(
        alertname="ResourceExhaustionExpected",
        severity=Severity.TICKET,
        network="capacity",
        about="resource",
        sent="always",
        timing=Timing(for_seconds=1800.0, keep_firing_seconds=3600.0),
        summary="A resource is likely used up within days.",
    ),
    Rule(
        alertname="FailureRiskHigh",
        severity=Severity.TICKET,
        network="failure",
        about="",
        sent="always",
        timing=Timing(for_seconds=300.0, keep_firing_seconds=1800.0),
        summary="A failure of this host is likely within the day.",
    ),
    Rule(
        alertname="DiskHealth",
        severity=Severity.TICKET,
        network="host",
        about="disk",
        sent="always",
        timing=Timing(for_seconds=0.0, keep_firing_seconds=3600.0),
        summary="A disk reports that it is failing.",
    ),
    Rule(
        alertname="AnomalyWithImpact",
        severity=Severity.TICKET,
        network="anomaly",
        about="",
        sent="judged",
        timing=None,
        summary="The host behaves unlike itself, and it hurts: tasks stall, connections are slow or repeated.",
    ),
    Rule(
        alertname="Anomaly",
        severity=Severity.RECORD,
        network="anomaly",
        about="",
        sent="judged",
        timing=None,
        summary="The host behaves unlike itself; by itself a record, not a reason to wake anybody.",
    ),
    Rule(
        alertname="JobMissed",
        severity=Severity.RECORD,
        network="host",
        about="unit",
        sent="never",
        timing=_AT_ONCE,  # it was waited for already
        summary="A unit that ran every day or every week at about the same hour did not; it may be meant so.",
    ),
    Rule(
        alertname="DataDrift",
        severity=Severity.RECORD,
        network="drift",
        about="network",
        sent="never",
        timing=_AT_ONCE,
        summary="What is measured no longer follows the distribution that was learned.",
    ),
    Rule(
        alertname="ModelPromoted",
        severity=Severity.RECORD,
        network="learning",
        about="network",
        sent="never",
        timing=_AT_ONCE,
        summary="A newly trained model serves from now on.",
    ),
    Rule(
        alertname="ModelRolledBack",
        severity=Severity.RECORD,
        network="learning",
        about="network",
        sent="never",
        timing=_AT_ONCE,
        summary="A newly trained model did worse than the one before, which serves again.",
    ),
    Rule(
        alertname="RetrainFailed",
        severity=Severity.RECORD,
        network="learning",
        about="network",
        sent="never",
        timing=_AT_ONCE,
        summary="A training did not end; the model before goes on serving.",
    ),
)

RULES: Mapping[str, Rule] = MappingProxyType({rule.alertname: rule for rule in _TABLE})


def rule_of(alertname: str) -> Rule:
    """Return the rule of `alertname`. Raises UnknownAlert when the table does not hold it."""
    try:
        return RULES[alertname]
    except KeyError:
        raise UnknownAlert(f"alert {alertname!r} is not in the policy table") from None


def timing_of(alertname: str, settings: PolicySettings) -> Timing:
    """Return the times of `alertname`.

    A name that the table no longer holds (an alert that was open before an update) gets the settings'.
    """
    rule = RULES.get(alertname)
    if rule is None or rule.timing is None:
        return Timing(settings.for_seconds, settings.keep_firing_seconds)
    return rule.timing


def decide(rule: Rule, settings: PolicySettings, *, learned: bool, changing: bool = False) -> Kept:
    """Tell whether an alert of `rule` that fires now may be sent, or why it is kept as a record to its end.

    A judgement needs the host's week (`learned`), and waits while an operator works on the host (`changing`).
    """
    if rule.sent == "always":
        return Kept.NOT
    if rule.sent == "never":
        return Kept.RECORD
    if settings.notify == "never":
        return Kept.SWITCHED_OFF
    if rule.severity is Severity.RECORD and settings.notify != "always":
        return Kept.RECORD
    if not learned:
        return Kept.LEARNING
    return Kept.CHANGE if changing else Kept.NOT
