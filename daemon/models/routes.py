"""The operations of models and trainings.

Enters: requests that the guard has let in. Leaves: answers, or an error that says why not.
"""

from collections.abc import Awaitable, Callable

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from daemon.errors import Conflict, NotFound, StateError
from daemon.forecast_answers import FieldProblem
from daemon.learning import Learning
from daemon.models.answers import (
    ModelAnswer,
    ModelMetricsAnswer,
    ModelsAnswer,
    PredictionAnswer,
    PredictionsAnswer,
    TrainingAnswer,
    TrainingsAnswer,
    metrics_answer,
    model_answer,
    models_answer,
    prediction_answer,
    training_answer,
)
from daemon.models.predicting import PredictBatchRequest, PredictRequest
from daemon.models.training import Training
from daemon.operations import FieldErrors, Operation, WholeQuery, body_of, page_of, query_of
from detectors.registry import ModelError, Version

Handler = Callable[[web.Request], Awaitable[BaseModel]]

_BASE = "/api/v1/neural"
_NETWORK = "anomaly"


class TrainRequest(BaseModel):
    """`POST /api/v1/neural/train`: which network; the others learn by themselves."""

    model_config = ConfigDict(extra="forbid")

    network: str = _NETWORK


class NeuralRoutes:
    """Tells of the models and lets operators order: train, promote, roll back, pin, delete."""

    def __init__(self, learning: Learning) -> None:
        self._learning = learning
        self._retraining = learning.retraining
        self._promotion = learning.promotion

    def table(self) -> list[Operation]:
        """Return the operations."""
        one, training = f"{_BASE}/models/{{name}}", f"{_BASE}/train/{{number}}"
        return [
            Operation(
                "GET", f"{_BASE}/models", "listModels", "All models, the newest first, and how the one on duty does.",
                _guarded(self._list), answer=ModelsAnswer, query=WholeQuery, errors=(503,),
            ),
            Operation(
                "GET", one, "getModel", "One model: where it comes from, and what it is to the host.",
                _guarded(self._show), answer=ModelAnswer, errors=(404, 503),
            ),
            Operation(
                "GET", f"{one}/metrics", "getModelMetrics", "What was measured of a model.",
                _guarded(self._measures), answer=ModelMetricsAnswer, errors=(404, 503),
            ),
            Operation(
                "DELETE", one, "deleteModel", "Delete a model that nothing needs.",
                _guarded(self._remove), answer=ModelAnswer, errors=(404, 409, 503),
            ),
            Operation(
                "POST", f"{one}/promote", "promoteModel", "Let a model serve.",
                _guarded(self._promote), answer=ModelAnswer, errors=(404, 409, 503),
            ),
            Operation(
                "POST", f"{one}/pin", "pinModel", "Keep a model for good, and on duty where it serves.",
                _guarded(self._pin), answer=ModelAnswer, errors=(404, 503),
            ),
            Operation(
                "DELETE", f"{one}/pin", "unpinModel", "Keep a model no longer.",
                _guarded(self._unpin), answer=ModelAnswer, errors=(404, 503),
            ),
            Operation(
                "POST", f"{_BASE}/rollback", "rollBack", "Let the predecessor serve again.",
                _guarded(self._roll_back), answer=ModelAnswer, errors=(404, 409, 503),
            ),
            Operation(
                "GET", f"{_BASE}/train", "listTrainings", "The last trainings, the newest first.",
                _guarded(self._trainings), answer=TrainingsAnswer, query=WholeQuery,
            ),
            Operation(
                "POST", f"{_BASE}/train", "train", "Train as soon as the child is free.",
                _guarded(self._train), answer=TrainingAnswer, body=TrainRequest, body_optional=True, status=202,
                errors=(503,),
            ),
            Operation(
                "GET", training, "getTraining", "One training and what it said.",
                _guarded(self._training), answer=TrainingAnswer, errors=(404,),
            ),
            Operation(
                "GET", f"{training}/status", "getTrainingStatus", "How far a training is.",
                _guarded(self._status), answer=TrainingAnswer, errors=(404,),
            ),
            Operation(
                "DELETE", training, "stopTraining", "Stop a training.",
                _guarded(self._cancel), answer=TrainingAnswer, status=202, errors=(404, 409),
            ),
            Operation(
                "POST", f"{_BASE}/predict", "predict", "What the model on duty would say of a sample.",
                _guarded(self._predict), answer=PredictionAnswer, body=PredictRequest, body_optional=True,
                errors=(404, 503),
            ),
            Operation(
                "POST", f"{_BASE}/predict/batch", "predictBatch", "The same of several samples, each by itself.",
                _guarded(self._predict_batch), answer=PredictionsAnswer, body=PredictBatchRequest, errors=(404, 503),
            ),
        ]  # fmt: skip

    async def _list(self, request: web.Request) -> ModelsAnswer:
        asked = query_of(request, WholeQuery)
        page, following = page_of(await self._promotion.lineage(), lambda one: one.name, asked)
        return models_answer(tuple(page), self._promotion.state).model_copy(update={"next": following})

    async def _show(self, request: web.Request) -> ModelAnswer:
        return await self._told(request.match_info["name"])

    async def _measures(self, request: web.Request) -> ModelMetricsAnswer:
        return metrics_answer(await self._version(request.match_info["name"]))

    async def _remove(self, request: web.Request) -> ModelAnswer:
        told = await self._told(request.match_info["name"])
        try:
            await self._promotion.remove(told.id)
        except ModelError as error:
            raise Conflict(str(error)) from error
        return told

    async def _promote(self, request: web.Request) -> ModelAnswer:
        told = await self._told(request.match_info["name"])
        if told.state == "champion":
            raise Conflict(f"{told.id} serves already")
        try:
            await self._promotion.promote(told.id, "by hand")
        except ModelError as error:
            raise Conflict(str(error)) from error
        return await self._told(told.id)

    async def _pin(self, request: web.Request) -> ModelAnswer:
        return await self._set_pin(request, pinned=True)

    async def _unpin(self, request: web.Request) -> ModelAnswer:
        return await self._set_pin(request, pinned=False)

    async def _set_pin(self, request: web.Request, *, pinned: bool) -> ModelAnswer:
        told = await self._told(request.match_info["name"])
        await self._promotion.pin(told.id, pinned=pinned)
        return await self._told(told.id)

    async def _roll_back(self, _request: web.Request) -> ModelAnswer:
        try:
            name = await self._promotion.rollback("by hand")
        except ModelError as error:
            raise Conflict(str(error)) from error
        return await self._told(name)

    async def _trainings(self, request: web.Request) -> TrainingsAnswer:
        asked = query_of(request, WholeQuery)
        page, following = page_of(self._retraining.trainings.newest(), lambda one: one.id, asked)
        return TrainingsAnswer(trainings=[training_answer(one, logs=False) for one in page], next=following)

    async def _train(self, request: web.Request) -> TrainingAnswer:
        asked = await body_of(request, TrainRequest)
        if asked.network != _NETWORK:
            said = 'only "anomaly" is trained at a person\'s word; the failure network refines itself'
            raise FieldErrors([FieldProblem(field="network", detail=said)])
        return training_answer(self._retraining.ask())

    async def _training(self, request: web.Request) -> TrainingAnswer:
        return training_answer(self._found(request))

    async def _status(self, request: web.Request) -> TrainingAnswer:
        return training_answer(self._found(request), logs=False)

    async def _cancel(self, request: web.Request) -> TrainingAnswer:
        training = self._found(request)
        if not self._retraining.cancel(training):
            raise Conflict(f"{training.id} is {training.outcome}: there is nothing to stop")
        return training_answer(training, logs=False)

    async def _predict(self, request: web.Request) -> PredictionAnswer:
        asked = await body_of(request, PredictRequest)
        _refuse_other(asked.network)
        return prediction_answer((await self._learning.predict([asked.values]))[0])

    async def _predict_batch(self, request: web.Request) -> PredictionsAnswer:
        asked = await body_of(request, PredictBatchRequest)
        _refuse_other(asked.network)
        found = await self._learning.predict(asked.samples)
        return PredictionsAnswer(predictions=[prediction_answer(one) for one in found])

    def _found(self, request: web.Request) -> Training:
        training = self._retraining.trainings.get(request.match_info["number"])
        if training is None:
            raise NotFound("there is no training of this id since the daemon was started")
        return training

    async def _told(self, name: str) -> ModelAnswer:
        return model_answer(await self._version(name), self._promotion.state)

    async def _version(self, name: str) -> Version:
        """Return the model of this name, or the only one whose name ends so."""
        versions = await self._promotion.lineage()
        exact = [version for version in versions if version.name == name]
        near = exact or [version for version in versions if name.isdecimal() and version.name.endswith(name)]
        if len(near) != 1:
            raise ModelError(f"there is {'more than one' if near else 'no'} model {name!r}")
        return near[0]


def _guarded(handler: Handler) -> Handler:
    """Tell what is not there and a disk that does not answer as errors of the API."""

    async def guarded(request: web.Request) -> BaseModel:
        try:
            return await handler(request)
        except ModelError as error:
            raise NotFound(str(error)) from error
        except OSError as error:
            raise StateError(f"models: {error.strerror or error}") from error

    return guarded


def _refuse_other(network: str) -> None:
    """Raise FieldErrors for a network that cannot be asked."""
    if network != _NETWORK:
        said = 'only "anomaly" can be asked; see /api/v1/forecasts and /api/v1/risk for the others'
        raise FieldErrors([FieldProblem(field="network", detail=said)])
