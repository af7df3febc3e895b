"""What the API says of questions to the three networks.

Enters: predictions. Leaves: answers as JSON; each says how sure it is and how long it took.
"""

from typing import Literal

from pydantic import RootModel

from daemon.models.answers import Answer
from daemon.models.foretelling import Judged, Told
from daemon.models.predicting import Prediction
from daemon.risk.answers import ProbabilityAnswer, probability_answer

_BOUNDS = 0.8
_PLACES = 4


class ShareAnswer(Answer):
    """Which share of a figure rests on one signal or factor."""

    signal: str
    share: float


class PredictionAnswer(Answer):
    """What the model on duty, "" = the one learned from the window, would say of a sample; null = nothing.

    `confidence` that it is no quiet time: the share of what the model has seen of it that scores lower.
    """

    network: Literal["anomaly"]
    model: str
    score: float | None
    raw_score: float | None
    raw_threshold: float | None
    network_score: float | None
    alarm: bool
    contributions: list[ShareAnswer]
    confidence: float | None
    latency_seconds: float


class CapacityPredictionAnswer(Answer):
    """Twelve steps ahead in the unit of the points; null where `missing` says what lacks.

    `confidence`: how often what comes lies within lo80 and hi80, as they are made; lo95 and hi95 hold 95 %.
    """

    network: Literal["capacity"]
    horizon: Literal["hours", "days", "months"]
    mean: list[float] | None
    lo80: list[float] | None
    hi80: list[float] | None
    lo95: list[float] | None
    hi95: list[float] | None
    methods: list[str]
    missing: str
    confidence: float | None
    latency_seconds: float


class FailurePredictionAnswer(Answer):
    """The risk of a moment, and by which factors; null where `missing` says what lacks.

    `confidence`: that of the bounds lo80 and hi80.
    """

    network: Literal["failure"]
    within_1h: ProbabilityAnswer | None
    within_24h: ProbabilityAnswer | None
    basis: str
    factors: int
    missing: str
    contributions: list[ShareAnswer]
    confidence: float | None
    latency_seconds: float


AnyPrediction = PredictionAnswer | CapacityPredictionAnswer | FailurePredictionAnswer


class AnyPredictionAnswer(RootModel[AnyPrediction]):
    """What one of the networks says."""


class PredictionsAnswer(Answer):
    """The same of several samples, in their order. `latency_seconds`: of all of them together."""

    predictions: list[AnyPrediction]
    latency_seconds: float


def predictions_answer(found: list[Prediction] | list[Told] | list[Judged]) -> PredictionsAnswer:
    """Return several predictions as the API tells them."""
    told = [_answer(one) for one in found]
    return PredictionsAnswer(predictions=told, latency_seconds=sum(one.latency_seconds for one in told))


def _answer(one: Prediction | Told | Judged) -> AnyPrediction:
    match one:
        case Prediction():
            return _of_sample(one)
        case Told():
            return _of_resource(one)
        case Judged():
            return _of_moment(one)


def _of_sample(one: Prediction) -> PredictionAnswer:
    return PredictionAnswer(
        network="anomaly",
        model=one.model,
        score=one.shown,
        raw_score=one.raw,
        raw_threshold=one.threshold,
        network_score=one.network,
        alarm=one.alarmed,
        contributions=[ShareAnswer(signal=name, share=share) for name, share in one.contributions],
        confidence=one.confidence,
        latency_seconds=one.seconds,
    )


def _of_resource(one: Told) -> CapacityPredictionAnswer:
    rows = [None] * 5 if one.bands is None else one.bands.tolist()
    mean, lo80, hi80, lo95, hi95 = rows
    return CapacityPredictionAnswer(
        network="capacity",
        horizon=one.horizon,
        mean=mean,
        lo80=lo80,
        hi80=hi80,
        lo95=lo95,
        hi95=hi95,
        methods=list(one.methods),
        missing=one.missing,
        confidence=None if one.bands is None else _BOUNDS,
        latency_seconds=one.seconds,
    )


def _of_moment(one: Judged) -> FailurePredictionAnswer:
    risk = one.risk
    return FailurePredictionAnswer(
        network="failure",
        within_1h=None if risk.hour is None else probability_answer(risk.hour),
        within_24h=None if risk.day is None else probability_answer(risk.day),
        basis=risk.basis,
        factors=risk.factors,
        missing=risk.missing,
        contributions=[ShareAnswer(signal=cause.factor, share=round(cause.share, _PLACES)) for cause in risk.causes],
        confidence=None if risk.hour is None else _BOUNDS,
        latency_seconds=one.seconds,
    )
