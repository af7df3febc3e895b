"""What is known of the risk after a tick, in immutable pieces: what /metrics, the API and the alerts read."""

from dataclasses import dataclass

from detectors.failure import Estimate


@dataclass(frozen=True, slots=True)
class Reason:
    """What raises the risk: a factor and what it is about, its share of all that does (NaN = not by the networks).

    The factor "history" is the host's own failures, by the networks that read when they were. `text` is one sentence
    that says where it goes.
    """

    factor: str
    about: str
    share: float
    text: str


@dataclass(frozen=True, slots=True)
class Grade:
    """How well what was told came true, 0.5 = as well as the base rate; None = not known, and `text` says why.

    `baseline`: what it was at first with the network on duty; `degraded`: it has fallen so far that it is refined.
    """

    performance: float | None = None
    baseline: float | None = None
    text: str = "nothing is judged yet"
    degraded: bool = False


@dataclass(frozen=True, slots=True)
class RiskState:
    """The risk as of `time_ms`. `hour` and `day` are None where there is not enough evidence: `missing` says why.

    `basis` is on what the figures rest, `factors` of how many factors the host tells, `events` how many failures it
    has recorded itself. `said` is what the network of factors told by itself, within an hour and a day, None = nothing;
    `taught` names that network: the failures of this host that it has learned from.
    """

    missing: str = "no sample yet"
    hour: Estimate | None = None
    day: Estimate | None = None
    basis: str = ""
    factors: int = 0
    events: int = 0
    reasons: tuple[Reason, ...] = ()
    time_ms: int | None = None
    said: tuple[float, float] | None = None
    taught: int = 0
    grade: Grade = Grade()
