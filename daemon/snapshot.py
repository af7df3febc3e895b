"""What the daemon knows after a tick, in one immutable piece: all that /metrics and the API read."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from alerting.occurrence import Occurrence
from daemon.capacity.state import CapacityState
from daemon.collectors.base import Noticed
from daemon.drift.state import DriftState
from daemon.models.state import ModelsState
from daemon.risk.state import RiskState
from daemon.signals import SignalSpec
from detectors.findings import Finding


@dataclass(frozen=True, slots=True)
class CollectorState:
    """How one source did at the last tick. `problem` is "" when it succeeded; `absent`: not on this host."""

    name: str
    seconds: float
    problem: str
    absent: bool


@dataclass(frozen=True, slots=True)
class AnomalyState:
    """The anomaly detector after the last tick. Scores are None until there is a model.

    `learning` says in words what is still lacking, "" = nothing. `contributions`: share of the score
    by signal, the top five. `network_shares`: what share of the network's answer rests on each of them, NaN
    unless the score is raised and a network serves. `model` is the name of what serves, `trained_ms` when it was made.
    """

    shown: float | None
    raw: float | None
    threshold: float | None
    network: float | None
    contributions: tuple[tuple[str, float], ...]
    network_shares: tuple[float, ...]
    episodes: int
    learning: str
    model: str
    trained_ms: int | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One tick's result. `values` pairs every known signal with its last value, NaN = missing.

    `muted` says why an alert that fires is not told now, by its id. `noticed`: what was changed on the host since.
    `not_stored`: why it is not in history, "" where it is.
    """

    seq: int
    time_ms: int
    monotonic_ns: int
    samples: int
    values: tuple[tuple[SignalSpec, float], ...]
    collectors: tuple[CollectorState, ...]
    anomaly: AnomalyState
    findings: tuple[Finding, ...]
    alerts: tuple[Occurrence, ...]
    muted: Mapping[str, str] = field(default_factory=dict)
    capacity: CapacityState = field(default_factory=CapacityState)
    noticed: tuple[Noticed, ...] = ()
    risk: RiskState = field(default_factory=RiskState)
    drift: DriftState = field(default_factory=DriftState)
    models: ModelsState = field(default_factory=ModelsState)
    not_stored: str = ""
