"""The policy as data: which alerts exist, how grave they are, and which of them are sent.

Enters: an alert's rule, the operator's settings and whether the host's week is known. Leaves: yes or
no, and the times an alert must hold and must be clear. It never looks at a score: that a finding
holds is the detector's word.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from alerting.errors import UnknownAlert

_DAY_SECONDS = 86_400.0


class Severity(StrEnum):
    """What an alert asks of a person."""

    PAGE = "critical"
    TICKET = "warning"
    RECORD = "info"


@dataclass(frozen=True, slots=True)
class Timing:
    """How long an alert must hold before it fires, and must be seen clear before it is resolved."""

    for_seconds: float
    keep_firing_seconds: float


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the policy table.

    `network` is the detector that finds it. `notifies` is the default: sent from the first minute, or
    kept as a record. `timing` None means that the operator's settings time it.
    """

    alertname: str
    severity: Severity
    network: str
    notifies: bool
    timing: Timing | None
    summary: str


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """What the operator decides about anomalies; facts are not up to it."""

    notify: Literal["with_impact", "always", "never"]
    learning_days: float
    for_seconds: float
    keep_firing_seconds: float

    def learned(self, seen_seconds: float) -> bool:
        """Tell whether `seen_seconds` of observation, seen or imported, are enough to judge by."""
        return seen_seconds >= self.learning_days * _DAY_SECONDS


_TABLE = (
    Rule(
        alertname="Anomaly",
        severity=Severity.RECORD,
        network="anomaly",
        notifies=False,
        timing=None,
        summary="The host behaves unlike itself; by itself a record, not a reason to wake anybody.",
    ),
    Rule(
        alertname="FilesystemReadOnly",
        severity=Severity.PAGE,
        network="host",
        notifies=True,
        # Longer than a remount during maintenance, shorter than anybody needs to lose data by it.
        timing=Timing(for_seconds=60.0, keep_firing_seconds=300.0),
        summary="A file system that was writable is mounted read-only: writes fail now.",
    ),
    Rule(
        alertname="StoppedCollecting",
        severity=Severity.PAGE,
        network="host",
        notifies=True,
        # One late reading is no news; after a minute the host is watched with one eye closed.
        timing=Timing(for_seconds=60.0, keep_firing_seconds=300.0),
        summary="A source gives no data any more: what it watched is not watched.",
    ),
    Rule(
        alertname="JobMissed",
        severity=Severity.RECORD,
        network="host",
        notifies=False,
        timing=Timing(for_seconds=0.0, keep_firing_seconds=0.0),  # it was waited for already
        summary="A unit that ran every day or every week at about the same hour did not; it may be meant so.",
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


def decide(rule: Rule, settings: PolicySettings, *, learned: bool) -> bool:
    """Tell whether an alert of `rule` may be sent.

    What notifies by default is a fact and is sent from the first minute. A record is sent only where
    the operator asked for every one of them, and not before the host's week is known.
    """
    return rule.notifies or (settings.notify == "always" and learned)
