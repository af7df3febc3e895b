"""What the HTTP interface answers, as typed models: read from the snapshot, never from the databases."""

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, field_validator

from alerting.policy import KEPT_WORDS, Kept
from alerting.render import rfc3339

if TYPE_CHECKING:  # `presage` reads these answers too, and stays small
    from alerting.occurrence import Occurrence
    from alerting.outbox import SinkCounts
    from daemon.host import HostDescription
    from daemon.snapshot import Snapshot
    from detectors.findings import Change


_ENDANGERED = 3


class Answer(BaseModel):
    """A part of an answer; numbers that are not finite are null."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="null", defer_build=True)


class HostAnswer(Answer):
    """The host as presaged sees it."""

    name: str
    kind: str
    virtualization: str
    cpus: float
    memory_bytes: int


class ContributionAnswer(Answer):
    """A signal's share of the score, and of the network's answer while the score is raised and a network serves."""

    signal: str
    share: float
    network_share: float | None = None


class AnomalyAnswer(Answer):
    """The anomaly detector; scores are null until there is a model."""

    score: float | None
    score_threshold: float
    raw_score: float | None
    raw_threshold: float | None
    network: float | None
    contributions: list[ContributionAnswer]
    episodes: int
    learning: str
    model: str
    trained_at: str | None


class CollectorAnswer(Answer):
    """One source at the last tick; `absent`: this host has no such source."""

    name: str
    seconds: float
    problem: str
    absent: bool


class AlertAnswer(Answer):
    """An alert. `held` says why nobody is told of it, "" = nothing keeps it; `firings` counts within an hour."""

    occurrence: str
    alertname: str
    severity: str
    state: str
    resource: str
    sentence: str
    started_at: str | None
    fired_at: str | None
    resolved_at: str | None = None
    sent_to: list[str]
    held: str = ""
    acknowledged_by: str | None = None
    group: str = ""
    firings: int = 1


class SinkAnswer(Answer):
    """What a sink did since the start; `dropped`: made room for others that waited too."""

    name: str
    sent: int
    failed: int
    dead: int
    pending: int
    dropped: int = 0


class JobAnswer(Answer):
    """What the child process works on."""

    name: str
    share: float
    text: str


class CapacityAnswer(Answer):
    """When a resource runs out, in a few words."""

    resource: str
    used_ratio: float
    text: str


class RiskInBrief(Answer):
    """How likely the host fails; null without enough evidence, and `missing` says what is lacking."""

    within_1h: float | None
    within_24h: float | None
    missing: str
    text: str


class StatusAnswer(Answer):
    """`GET /api/v1/status`.

    `verdicts` says in words what operators' verdicts change now; `degraded`: what there is no room for, "disk" or
    "memory", with why and what is done without.
    """

    version: str
    backend: str
    host: HostAnswer
    started_at: str
    interval_seconds: float
    samples: int
    seq: int
    last_sample_at: str | None
    signals: int
    signals_missing: int
    anomaly: AnomalyAnswer | None
    collectors: list[CollectorAnswer]
    alerts: list[AlertAnswer]
    sinks: list[SinkAnswer]
    job: JobAnswer | None
    capacity: list[CapacityAnswer] = []
    risk: RiskInBrief | None = None
    verdicts: list[str] = []
    degraded: Mapping[str, str] = {}
    state_directory: str
    config_files: list[str]


MAX_CHANGE_TEXT = 200  # letters


class ChangeAnswer(Answer):
    """Something that was done to the host."""

    at: str
    kind: str
    text: str


class ChangesAnswer(Answer):
    """`GET /api/v1/changes`: the newest first."""

    changes: list[ChangeAnswer]
    next: str | None = None


class MarkRequest(BaseModel):
    """`POST /api/v1/changes`: what an operator has just changed, in one line."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    text: str = Field(min_length=1, max_length=MAX_CHANGE_TEXT)

    @field_validator("text", mode="after")
    @classmethod
    def _one_line(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("the text must be one line that can be printed")
        return one_line_text(text)


def one_line_text(text: str) -> str:
    """Return what an operator wrote, without the space around it. Raises ValueError for what is not one line."""
    if not text.isprintable():
        raise ValueError("the text must be one line that can be printed")
    return text.strip()


def change_answer(change: "Change") -> ChangeAnswer:
    """Return a change as the interface tells it."""
    return ChangeAnswer(at=rfc3339(change.time_ms), kind=change.kind.value, text=change.text)


def alert_answer(occurrence: "Occurrence", muted: Mapping[str, str]) -> AlertAnswer:
    """Return an alert as the interface tells it; `muted` says why alerts are not told now, by id."""
    acknowledged = occurrence.acknowledged
    return AlertAnswer(
        occurrence=occurrence.id,
        alertname=occurrence.alertname,
        severity=occurrence.severity.value,
        state=occurrence.state.value,
        resource=occurrence.resource,
        sentence=occurrence.sentence,
        started_at=rfc3339(occurrence.started_ms),
        fired_at=None if occurrence.fired_ms is None else rfc3339(occurrence.fired_ms),
        resolved_at=None if occurrence.resolved_ms is None else rfc3339(occurrence.resolved_ms),
        sent_to=list(occurrence.told),
        held=KEPT_WORDS[occurrence.kept] if occurrence.kept is not Kept.NOT else muted.get(occurrence.id, ""),
        acknowledged_by=None if acknowledged is None else acknowledged.author,
        group=occurrence.group,
        firings=occurrence.firings,
    )


def anomaly_answer(snapshot: "Snapshot", score_threshold: float) -> AnomalyAnswer:
    """Return the anomaly detector as the interface tells it."""
    state = snapshot.anomaly
    return AnomalyAnswer(
        score=state.shown,
        score_threshold=score_threshold,
        raw_score=state.raw,
        raw_threshold=state.threshold,
        network=state.network,
        contributions=[
            ContributionAnswer(signal=signal, share=share, network_share=network_share)
            for (signal, share), network_share in zip(state.contributions, state.network_shares, strict=True)
        ],
        episodes=state.episodes,
        learning=state.learning,
        model=state.model,
        trained_at=None if state.trained_ms is None else rfc3339(state.trained_ms),
    )


def capacity_answers(snapshot: "Snapshot") -> list[CapacityAnswer]:
    """Return the resources that are most endangered; a busy processor or link runs out of nothing."""
    ranked = islice((one for one in snapshot.capacity.ranked() if one[0].resource.is_exhaustible), _ENDANGERED)
    return [
        CapacityAnswer(resource=one.resource.name, used_ratio=used / size, text=one.text) for one, used, size in ranked
    ]


def collector_answers(snapshot: "Snapshot") -> list[CollectorAnswer]:
    """Return every source as the interface tells it."""
    return [
        CollectorAnswer(name=state.name, seconds=state.seconds, problem=state.problem, absent=state.absent)
        for state in snapshot.collectors
    ]


def sink_answers(sinks: "Mapping[str, SinkCounts]") -> list[SinkAnswer]:
    """Return every sink as the interface tells it."""
    return [
        SinkAnswer(
            name=name,
            sent=counts.sent,
            failed=counts.failed,
            dead=counts.dead,
            pending=counts.pending,
            dropped=counts.dropped,
        )
        for name, counts in sinks.items()
    ]


def host_answer(name: str, host: "HostDescription") -> HostAnswer:
    """Return the host as the interface tells it."""
    return HostAnswer(
        name=name, kind=host.kind, virtualization=host.virtualization, cpus=host.cpus, memory_bytes=host.memory_bytes
    )
