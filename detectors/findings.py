"""What a detector says: a finding with its evidence. The only words that `alerting` shares with `detectors`.

A finding is level-triggered: every tick hands over all findings that hold now. A finding that is
absent from a tick no longer holds. `Strength.HOLDING` is the band between the release level and the
threshold: it keeps a firing alert firing and never starts one (hysteresis).
"""

from dataclasses import dataclass
from enum import StrEnum


class Unit(StrEnum):
    """What a signal counts. The value is the suffix of the signal's name; a ratio has none."""

    RATIO = ""
    BYTES = "_bytes"
    BYTES_PER_SECOND = "_bytes_per_second"
    PER_SECOND = "_per_second"
    SECONDS = "_seconds"
    COUNT = "_count"
    CELSIUS = "_celsius"


class Strength(StrEnum):
    """How far a finding holds."""

    RAISED = "raised"
    HOLDING = "holding"


@dataclass(frozen=True, slots=True)
class Contributor:
    """One signal's part in a finding.

    `expected_low` and `expected_high` bound what is usual for the signal at this hour, in its unit;
    `surprise` is dimensionless, 0 = usual, comparable between signals.
    """

    signal: str
    unit: Unit
    family: str
    resource: str
    value: float
    expected_low: float
    expected_high: float
    surprise: float


@dataclass(frozen=True, slots=True)
class Finding:
    """One condition that holds at this tick.

    `alertname` is a name of the policy table, `network` the detector ("anomaly", "host", ...),
    `resource` what it is about ("" = the host). `detail` is one sentence without the contributors.
    `score` and `threshold` are shown, never part of the identity.
    """

    alertname: str
    network: str
    resource: str
    strength: Strength
    detail: str
    score: float | None = None
    threshold: float | None = None
    contributors: tuple[Contributor, ...] = ()
