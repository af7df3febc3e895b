"""What the API says of models and trainings.

Enters: the lineage, trainings. Leaves: answers as JSON, and as the command reads them again.
"""

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from alerting.render import rfc3339
from daemon.models.state import ModelsState
from daemon.models.training import OVER, Training

if TYPE_CHECKING:  # the command reads answers, and NumPy takes its time
    from daemon.models.predicting import Prediction
    from detectors.registry import Version

_NETWORK = "anomaly"


class Answer(BaseModel):
    """What all answers have in common."""

    model_config = ConfigDict(frozen=True)


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
    """One line that a training said."""

    at: str
    share: float
    text: str


class TrainingAnswer(Answer):
    """One training; `outcome` is waiting, running, promoted, shadow, failed, cancelled or postponed."""

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


class ShareAnswer(Answer):
    """Which share of a score rests on one signal."""

    signal: str
    share: float


class PredictionAnswer(Answer):
    """What the model on duty, "" = the one learned from the window, would say of a sample; null = nothing."""

    network: str
    model: str
    score: float | None
    raw_score: float | None
    raw_threshold: float
    network_score: float | None
    alarm: bool
    contributions: list[ShareAnswer]


class PredictionsAnswer(Answer):
    """The same of several samples, in their order."""

    predictions: list[PredictionAnswer]


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


def prediction_answer(one: "Prediction") -> PredictionAnswer:
    """Return one prediction as the API tells it."""
    return PredictionAnswer(
        network=_NETWORK,
        model=one.model,
        score=one.shown,
        raw_score=one.raw,
        raw_threshold=one.threshold,
        network_score=one.network,
        alarm=one.alarmed,
        contributions=[ShareAnswer(signal=name, share=share) for name, share in one.contributions],
    )


def training_answer(training: Training, *, logs: bool = True) -> TrainingAnswer:
    """Return one training as the API tells it."""
    return TrainingAnswer(
        id=training.id,
        network=_NETWORK,
        trigger=str(training.trigger),
        outcome=training.outcome,
        over=training.outcome in OVER,
        started_at=rfc3339(training.started_ms),
        ended_at=None if training.ended_ms is None else rfc3339(training.ended_ms),
        share=training.share,
        text=training.text,
        model=training.model,
        logs=[LineAnswer(at=rfc3339(one.time_ms), share=one.share, text=one.text) for one in training.lines]
        if logs
        else [],
    )


def _when(time_ms: int) -> str | None:
    return rfc3339(time_ms) if time_ms else None
