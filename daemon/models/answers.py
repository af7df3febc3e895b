"""What the API says of models and trainings.

Enters: the lineage, trainings. Leaves: answers as JSON, and as the command reads them again.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from alerting.render import rfc3339
from daemon.models.state import ModelsState
from daemon.models.training import Line, Training

if TYPE_CHECKING:  # the command reads answers, and NumPy takes its time
    from daemon.models.validating import Validation
    from detectors.registry import Version

_NETWORK = "anomaly"


class Answer(BaseModel):
    """What all answers have in common."""

    model_config = ConfigDict(frozen=True, defer_build=True)


class ModelAnswer(Answer):
    """One model. Times are UTC; what is not known of it is null, and `problem` says why.

    `health` of the one that serves: ok, unknown, or all of inaccurate, degraded and slow that hold.
    """

    id: str
    network: str
    state: str
    pinned: bool
    since: str | None
    reason: str
    trained_at: str | None
    trigger: str
    parent: str
    samples: int
    data_from: str | None
    data_to: str | None
    exclusions: dict[str, int]
    problem: str
    health: list[str] = []


class ModelsAnswer(Answer):
    """All models, newest first; `performance` and what else is measured of the one on duty."""

    models: list[ModelAnswer]
    performance: float | None
    baseline: float | None
    retention: float | None
    degraded: bool
    latency_seconds: float | None = None
    health: list[str] = []
    next: str | None = None


class ModelMetricsAnswer(Answer):
    """What was measured of one model when it was trained and judged."""

    id: str
    metrics: dict[str, float]


class LineAnswer(Answer):
    """One line that a training said: the `number`-th, from 1."""

    number: int = 0
    at: str
    share: float
    text: str


class TrainingAnswer(Answer):
    """One training; `outcome`: waiting, running, promoted, shadow, refused, failed, cancelled, postponed."""

    id: str
    network: str
    trigger: str
    outcome: str
    over: bool
    started_at: str
    ended_at: str | None
    share: float
    text: str
    model: str
    logs: list[LineAnswer]


class TrainingsAnswer(Answer):
    """The newest trainings of this process."""

    trainings: list[TrainingAnswer]
    next: str | None = None


class LogsAnswer(Answer):
    """The next lines of one training. `next` goes on after them, also while none is there yet; null = that was all."""

    id: str
    outcome: str
    over: bool
    logs: list[LineAnswer]
    next: str | None


class ValidationAnswer(Answer):
    """What the rules of promotion say of a model beside the champion; nothing follows from it.

    `state` is waiting, running, done or failed, and `text` says why it failed. `reasons`: why it does not pass.
    """

    model: str
    champion: str
    state: str
    asked_at: str
    ended_at: str | None
    passes: bool | None
    reasons: list[str]
    metrics: dict[str, float]
    text: str


class DifferenceAnswer(Answer):
    """One thing in which two models differ, as words; "" = it is not known of that one."""

    name: str
    model: str
    other: str


class ComparedAnswer(Answer):
    """One of two models: what is known and measured of it; `latency_seconds` for a sample, measured now."""

    model: ModelAnswer
    metrics: dict[str, float]
    performance: float | None
    retention: float | None
    latency_seconds: float | None


class ComparisonAnswer(Answer):
    """Two models side by side, and what differs."""

    model: ComparedAnswer
    other: ComparedAnswer
    differences: list[DifferenceAnswer]


class MemberAnswer(Answer):
    """One that takes part in an answer. `weight`: its share, null where each resource or moment has its own."""

    name: str
    kind: str
    weight: float | None
    text: str


class EnsembleAnswer(Answer):
    """Who answers together for one network's subject, and by which rule."""

    network: str
    rule: str
    members: list[MemberAnswer]


class EnsemblesAnswer(Answer):
    """All ensembles that serve now."""

    ensembles: list[EnsembleAnswer]


def model_answer(version: "Version", state: ModelsState) -> ModelAnswer:
    """Return one model as the API tells it."""
    found = version.manifest
    serves = version.state.value == "champion"
    return ModelAnswer(
        id=version.name,
        network=_NETWORK,
        state=version.state.value,
        pinned=version.pinned,
        since=_when(version.since_ms),
        reason=version.reason,
        trained_at=_when(found.trained_ms) if found else None,
        trigger=found.trigger if found else "",
        parent=found.parent if found else "",
        samples=found.samples if found else 0,
        data_from=_when(found.first_ms) if found else None,
        data_to=_when(found.last_ms) if found else None,
        exclusions=dict(found.exclusions) if found else {},
        problem=version.problem,
        health=[str(one) for one in state.health] if serves else [],
    )


def models_answer(versions: "tuple[Version, ...]", state: ModelsState) -> ModelsAnswer:
    """Return all models as the API tells them; a role in shadow that scores tells what it has raised."""
    episodes = {one.name: one.episodes for one in state.models}
    told = [model_answer(version, state) for version in versions]
    for place, one in enumerate(told):
        if one.id in episodes and one.state in ("shadow", "predecessor") and not one.reason:
            words = f"{episodes[one.id]} episodes beside the champion"
            told[place] = one.model_copy(update={"reason": words})
    return ModelsAnswer(
        models=told,
        performance=state.performance,
        baseline=state.baseline,
        retention=state.retention,
        degraded=state.degraded,
        latency_seconds=state.latency,
        health=[str(one) for one in state.health],
    )


def metrics_answer(version: "Version") -> ModelMetricsAnswer:
    """Return what was measured of one model."""
    return ModelMetricsAnswer(id=version.name, metrics=dict(version.metrics))


def training_answer(training: Training, *, logs: bool = True) -> TrainingAnswer:
    """Return one training as the API tells it."""
    return TrainingAnswer(
        id=training.id,
        network=training.network,
        trigger=str(training.trigger),
        outcome=training.outcome,
        over=training.over,
        started_at=rfc3339(training.started_ms),
        ended_at=None if training.ended_ms is None else rfc3339(training.ended_ms),
        share=training.share,
        text=training.text,
        model=training.model,
        logs=[_line(one) for one in training.lines] if logs else [],
    )


def logs_answer(training: Training, number: int, most: int) -> LogsAnswer:
    """Return at most `most` lines after the `number`-th."""
    lines = training.after(number, most)
    last = lines[-1].number if lines else number
    return LogsAnswer(
        id=training.id,
        outcome=training.outcome,
        over=training.over,
        logs=[_line(one) for one in lines],
        next=None if training.over and last >= training.said else str(last),
    )


def _line(one: Line) -> LineAnswer:
    return LineAnswer(number=one.number, at=rfc3339(one.time_ms), share=one.share, text=one.text)


def validation_answer(one: "Validation") -> ValidationAnswer:
    """Return one judgement as the API tells it."""
    return ValidationAnswer(
        model=one.model,
        champion=one.champion,
        state=one.stage,
        asked_at=rfc3339(one.asked_ms),
        ended_at=None if one.ended_ms is None else rfc3339(one.ended_ms),
        passes=one.passes,
        reasons=list(one.reasons),
        metrics=dict(one.metrics),
        text=one.text,
    )


def compared_answer(version: "Version", state: ModelsState, latency_seconds: float | None) -> ComparedAnswer:
    """Return one of two models; how the one that serves performs is what was measured of it last."""
    told, metrics = model_answer(version, state), dict(version.metrics)
    serves = told.state == "champion"
    return ComparedAnswer(
        model=told,
        metrics=metrics,
        performance=state.performance if serves and state.performance is not None else metrics.get("recent"),
        retention=metrics.get("retention"),
        latency_seconds=latency_seconds,
    )


def differences(
    model: ModelAnswer, metrics: Mapping[str, float], other: ModelAnswer, others: Mapping[str, float]
) -> list[DifferenceAnswer]:
    """Return in what two models differ, in the order of what is known of them."""
    one, two = _flat(model, metrics), _flat(other, others)
    names = [name for name in dict.fromkeys([*one, *two]) if one.get(name) != two.get(name)]
    return [DifferenceAnswer(name=name, model=one.get(name, ""), other=two.get(name, "")) for name in names]


def _flat(told: ModelAnswer, metrics: Mapping[str, float]) -> dict[str, str]:
    """Return all that is known of a model as lines."""
    out = {
        name: str(value)
        for name, value in told.model_dump(exclude={"exclusions", "health"}).items()
        if value is not None
    }
    out |= {f"left out {name}": str(value) for name, value in told.exclusions.items()}
    return out | {name: f"{value:.4g}" for name, value in sorted(metrics.items())}


def _when(time_ms: int) -> str | None:
    return rfc3339(time_ms) if time_ms else None
