"""The operations of models and trainings.

Enters: requests that the guard has let in. Leaves: answers, or an error that says why not.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from daemon.errors import Conflict, NotFound, StateError
from daemon.learning import Learning
from daemon.models.answers import (
    LogsAnswer,
    ModelAnswer,
    ModelMetricsAnswer,
    ModelsAnswer,
    TrainingAnswer,
    TrainingsAnswer,
    logs_answer,
    metrics_answer,
    model_answer,
    models_answer,
    training_answer,
)
from daemon.models.by_hand import ByHand
from daemon.models.training import Training
from daemon.web.operations import Count, Operation, PageQuery, WholeQuery, body_of, page_of, query_of
from detectors.registry import ModelError, Version

Handler = Callable[[web.Request], Awaitable[BaseModel]]

BASE = "/api/v1/neural"


class TrainRequest(BaseModel):
    """`POST /api/v1/neural/train`: which network, else that of anomaly."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    network: Literal["anomaly", "capacity", "failure"] = "anomaly"


class LogsQuery(PageQuery):
    """`GET /api/v1/neural/train/{number}/logs`: the lines after one, at once or when there are some."""

    cursor: str = Field("", pattern=r"^[0-9]{0,9}$", description="Number of the last line that is known.")
    wait_seconds: Count = Field(0, ge=0, le=30, description="How long to wait where there is no line yet.")


class NeuralRoutes:
    """Tells of the models and lets operators order: train, promote, roll back, pin, delete."""

    def __init__(self, learning: Learning, by_hand: ByHand) -> None:
        self._learning = learning
        self._retraining = learning.retraining
        self._by_hand = by_hand
        self._promotion = learning.promotion

    def table(self) -> list[Operation]:
        """Return the operations."""
        one, training = f"{BASE}/models/{{name}}", f"{BASE}/train/{{number}}"
        return [
            Operation(
                "GET", f"{BASE}/models", "listModels", "All models, the newest first, and how the one on duty does.",
                guarded(self._list), answer=ModelsAnswer, query=WholeQuery, errors=(503,),
            ),
            Operation(
                "GET", one, "getModel", "One model: where it comes from, and what it is to the host.",
                guarded(self._show), answer=ModelAnswer, errors=(404, 503),
            ),
            Operation(
                "GET", f"{one}/metrics", "getModelMetrics", "What was measured of a model.",
                guarded(self._measures), answer=ModelMetricsAnswer, errors=(404, 503),
            ),
            Operation(
                "DELETE", one, "deleteModel", "Delete a model that nothing needs.",
                guarded(self._remove), answer=ModelAnswer, errors=(404, 409, 503),
            ),
            Operation(
                "POST", f"{one}/promote", "promoteModel", "Let a model serve.",
                guarded(self._promote), answer=ModelAnswer, errors=(404, 409, 503),
            ),
            Operation(
                "POST", f"{one}/pin", "pinModel", "Keep a model for good, and on duty where it serves.",
                guarded(self._pin), answer=ModelAnswer, errors=(404, 503),
            ),
            Operation(
                "DELETE", f"{one}/pin", "unpinModel", "Keep a model no longer.",
                guarded(self._unpin), answer=ModelAnswer, errors=(404, 503),
            ),
            Operation(
                "POST", f"{BASE}/rollback", "rollBack", "Let the predecessor serve again.",
                guarded(self._roll_back), answer=ModelAnswer, errors=(404, 409, 503),
            ),
            Operation(
                "GET", f"{BASE}/train", "listTrainings", "The last trainings, the newest first.",
                guarded(self._trainings), answer=TrainingsAnswer, query=WholeQuery,
            ),
            Operation(
                "POST", f"{BASE}/train", "train", "Train as soon as the child is free.",
                guarded(self._train), answer=TrainingAnswer, body=TrainRequest, body_optional=True, status=202,
                errors=(503,),
            ),
            Operation(
                "GET", training, "getTraining", "One training and what it said.",
                guarded(self._training), answer=TrainingAnswer, errors=(404,),
            ),
            Operation(
                "GET", f"{training}/status", "getTrainingStatus", "How far a training is.",
                guarded(self._status), answer=TrainingAnswer, errors=(404,),
            ),
            Operation(
                "DELETE", training, "stopTraining", "Stop a training.",
                guarded(self._cancel), answer=TrainingAnswer, status=202, errors=(404, 409),
            ),
            Operation(
                "GET", f"{training}/logs", "listTrainingLogs", "The lines that a training said, and those to come.",
                guarded(self._logs), answer=LogsAnswer, query=LogsQuery, errors=(404,),
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
        wanted = self._retraining.ask() if asked.network == "anomaly" else self._by_hand.ask(asked.network)
        return training_answer(wanted)

    async def _training(self, request: web.Request) -> TrainingAnswer:
        return training_answer(self._found(request))

    async def _status(self, request: web.Request) -> TrainingAnswer:
        return training_answer(self._found(request), logs=False)

    async def _cancel(self, request: web.Request) -> TrainingAnswer:
        training = self._found(request)
        if not (self._retraining.cancel(training) or self._by_hand.cancel(training)):
            raise Conflict(f"{training.id} is {training.outcome}: there is nothing to stop")
        return training_answer(training, logs=False)

    async def _logs(self, request: web.Request) -> LogsAnswer:
        asked, training = query_of(request, LogsQuery), self._found(request)
        number = int(asked.cursor or 0)
        await training.wait(number, asked.wait_seconds)
        return logs_answer(training, number, asked.limit)

    def _found(self, request: web.Request) -> Training:
        training = self._retraining.trainings.get(request.match_info["number"])
        if training is None:
            raise NotFound("there is no training of this id since the daemon was started")
        return training

    async def _told(self, name: str) -> ModelAnswer:
        return model_answer(await self._version(name), self._promotion.state)

    async def _version(self, name: str) -> Version:
        return named(await self._promotion.lineage(), name)


def named(versions: Sequence[Version], name: str) -> Version:
    """Return the model of this name, or the only one whose name ends so. Raises ModelError."""
    exact = [version for version in versions if version.name == name]
    near = exact or [version for version in versions if name.isdecimal() and version.name.endswith(name)]
    if len(near) != 1:
        raise ModelError(f"there is {'more than one' if near else 'no'} model {name!r}")
    return near[0]


def guarded(handler: Handler) -> Handler:
    """Tell what is not there and a disk that does not answer as errors of the API."""

    async def answered(request: web.Request) -> BaseModel:
        try:
            return await handler(request)
        except ModelError as error:
            raise NotFound(str(error)) from error
        except OSError as error:
            raise StateError(f"models: {error.strerror or error}") from error

    return answered
