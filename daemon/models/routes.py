"""The routes of models and trainings.

Enters: requests that the server's guard has let in. Leaves: JSON, or one line that says why not.
"""

import json
from collections.abc import Awaitable, Callable

from aiohttp import web
from pydantic import BaseModel, ValidationError

from daemon.errors import DeskError, PresagedError
from daemon.learning import Learning
from daemon.models.answers import (
    ModelAnswer,
    TrainingsAnswer,
    metrics_answer,
    model_answer,
    models_answer,
    training_answer,
)
from daemon.models.foretelling import Foretelling
from daemon.models.prediction_answers import PredictionsAnswer, predictions_answer
from daemon.models.questions import (
    AnomalyBatch,
    CapacityBatch,
    FailureBatch,
    PredictBatchRequest,
    PredictRequest,
    as_batch,
)
from daemon.models.training import Training
from detectors.registry import ModelError, Version

Handler = Callable[[web.Request], Awaitable[web.Response]]

_BASE = "/api/v1/neural"
_NETWORK = "anomaly"


class NeuralRoutes:
    """Tells of the models and lets operators order: train, promote, roll back, pin, delete."""

    def __init__(self, learning: Learning, foretelling: Foretelling) -> None:
        self._learning = learning
        self._foretelling = foretelling
        self._retraining = learning.retraining
        self._promotion = learning.promotion

    def table(self) -> list[web.RouteDef]:
        """Return the routes."""
        one, training = f"{_BASE}/models/{{name}}", f"{_BASE}/train/{{number}}"
        return [
            web.get(f"{_BASE}/models", _guarded(self._list)),
            web.get(one, _guarded(self._show)),
            web.get(f"{one}/metrics", _guarded(self._measures)),
            web.delete(one, _guarded(self._remove)),
            web.post(f"{one}/promote", _guarded(self._promote)),
            web.post(f"{one}/pin", _guarded(self._pin)),
            web.delete(f"{one}/pin", _guarded(self._unpin)),
            web.post(f"{_BASE}/rollback", _guarded(self._roll_back)),
            web.get(f"{_BASE}/train", _guarded(self._trainings)),
            web.post(f"{_BASE}/train", _guarded(self._train)),
            web.get(training, _guarded(self._training)),
            web.get(f"{training}/status", _guarded(self._status)),
            web.delete(training, _guarded(self._cancel)),
            web.post(f"{_BASE}/predict", _guarded(self._predict)),
            web.post(f"{_BASE}/predict/batch", _guarded(self._predict_batch)),
        ]

    async def _list(self, _request: web.Request) -> web.Response:
        return _json(models_answer(await self._promotion.lineage(), self._promotion.state))

    async def _show(self, request: web.Request) -> web.Response:
        return _json(await self._told(request.match_info["name"]))

    async def _measures(self, request: web.Request) -> web.Response:
        return _json(metrics_answer(await self._version(request.match_info["name"])))

    async def _remove(self, request: web.Request) -> web.Response:
        told = await self._told(request.match_info["name"])
        try:
            await self._promotion.remove(told.id)
        except ModelError as error:
            return web.Response(status=409, text=f"{error}\n")
        return _json(told)

    async def _promote(self, request: web.Request) -> web.Response:
        told = await self._told(request.match_info["name"])
        if told.state == "champion":
            return web.Response(status=409, text=f"{told.id} serves already\n")
        try:
            await self._promotion.promote(told.id, "by hand")
        except ModelError as error:
            return web.Response(status=409, text=f"{error}\n")
        return _json(await self._told(told.id))

    async def _pin(self, request: web.Request) -> web.Response:
        return await self._set_pin(request, pinned=True)

    async def _unpin(self, request: web.Request) -> web.Response:
        return await self._set_pin(request, pinned=False)

    async def _set_pin(self, request: web.Request, *, pinned: bool) -> web.Response:
        told = await self._told(request.match_info["name"])
        await self._promotion.pin(told.id, pinned=pinned)
        return _json(await self._told(told.id))

    async def _roll_back(self, _request: web.Request) -> web.Response:
        try:
            name = await self._promotion.rollback("by hand")
        except ModelError as error:
            return web.Response(status=409, text=f"{error}\n")
        return _json(await self._told(name))

    async def _trainings(self, _request: web.Request) -> web.Response:
        newest = self._retraining.trainings.newest()
        return _json(TrainingsAnswer(trainings=[training_answer(one, logs=False) for one in newest]))

    async def _train(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            wanted = json.loads(body) if body else {}
            network = wanted.get("network", _NETWORK)
        except (ValueError, AttributeError, RecursionError):
            return web.Response(status=400, text='the body must be JSON: {"network": "anomaly"}, or empty\n')
        if network != _NETWORK:
            text = 'network: only "anomaly" is trained at a person\'s word; the failure network refines itself\n'
            return web.Response(status=400, text=text)
        return _json(training_answer(self._retraining.ask()), status=202)

    async def _training(self, request: web.Request) -> web.Response:
        return _json(training_answer(self._found(request)))

    async def _status(self, request: web.Request) -> web.Response:
        return _json(training_answer(self._found(request), logs=False))

    async def _cancel(self, request: web.Request) -> web.Response:
        training = self._found(request)
        if not self._retraining.cancel(training):
            return web.Response(status=409, text=f"{training.id} is {training.outcome}: there is nothing to stop\n")
        return _json(training_answer(training, logs=False), status=202)

    async def _predict(self, request: web.Request) -> web.Response:
        asked = PredictRequest.model_validate_json(await request.read() or "{}")
        return _json((await self._told_of(as_batch(asked.root))).predictions[0])

    async def _predict_batch(self, request: web.Request) -> web.Response:
        asked = PredictBatchRequest.model_validate_json(await request.read())
        return _json(await self._told_of(asked.root))

    async def _told_of(self, asked: AnomalyBatch | CapacityBatch | FailureBatch) -> PredictionsAnswer:
        match asked:
            case AnomalyBatch():
                return predictions_answer(await self._learning.predict(asked.samples))
            case CapacityBatch():
                return predictions_answer(await self._foretelling.forecast(asked))
            case FailureBatch():
                return predictions_answer(await self._foretelling.judge(asked))

    def _found(self, request: web.Request) -> Training:
        training = self._retraining.trainings.get(request.match_info["number"])
        if training is None:
            raise ModelError("there is no training of this id since the daemon was started")
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
    """Answer what is not there with 404, what is not understood with 400, a store that does not answer with 503."""

    async def guarded(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except ModelError as error:
            return web.Response(status=404, text=f"{error}\n")
        except ValidationError as error:
            return web.Response(status=400, text=f"{_complaint(error)}\n")
        except DeskError as error:
            return web.Response(status=400, text=f"{error}\n")
        except (PresagedError, OSError) as error:
            return web.Response(status=503, text=f"{error}\n")

    return guarded


def _complaint(error: ValidationError) -> str:
    """Say where the first mistake is."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the body'}: {first['msg']}"


def _json(answer: BaseModel, status: int = 200) -> web.Response:
    return web.Response(status=status, text=answer.model_dump_json(), content_type="application/json")
