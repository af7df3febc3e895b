"""The operations that ask of models and change none: what they would say, who answers together, which is the better.

Enters: requests that the guard has let in. Leaves: answers, or an error that says why not. What takes long is computed
off the loop, and what takes minutes in the child.
"""

from collections.abc import Callable

from aiohttp import web

from daemon.errors import Conflict, NotFound
from daemon.learning import Learning
from daemon.models.answers import (
    ComparisonAnswer,
    EnsemblesAnswer,
    ValidationAnswer,
    compared_answer,
    differences,
    validation_answer,
)
from daemon.models.ensembles import ensembles
from daemon.models.foretelling import Foretelling
from daemon.models.prediction_answers import AnyPredictionAnswer, PredictionsAnswer, predictions_answer
from daemon.models.questions import (
    AnomalyBatch,
    CapacityBatch,
    FailureBatch,
    PredictBatchRequest,
    PredictRequest,
    as_batch,
)
from daemon.models.routes import BASE, guarded, named
from daemon.web.operations import Operation, body_of


class QuestionRoutes:
    """Answers about models. `taught`: by how many failures of this host the network of failure was refined."""

    def __init__(self, learning: Learning, foretelling: Foretelling, taught: Callable[[], int]) -> None:
        self._learning = learning
        self._promotion = learning.promotion
        self._foretelling = foretelling
        self._taught = taught

    def table(self) -> list[Operation]:
        """Return the operations."""
        one = f"{BASE}/models/{{name}}"
        return [
            Operation(
                "GET", f"{one}/compare/{{other}}", "compareModels", "Two models side by side, and what differs.",
                guarded(self._compare), answer=ComparisonAnswer, errors=(404, 503),
            ),
            Operation(
                "POST", f"{one}/validate", "validateModel", "Hold a model against the one on duty, in the child.",
                guarded(self._validate), answer=ValidationAnswer, status=202, errors=(404, 409, 503),
            ),
            Operation(
                "GET", f"{one}/validate", "getValidation", "What came of holding a model against the one on duty.",
                guarded(self._validation), answer=ValidationAnswer, errors=(404, 503),
            ),
            Operation(
                "GET", f"{BASE}/ensembles", "getEnsembles", "Who answers together, with which weights.",
                guarded(self._ensembles), answer=EnsemblesAnswer,
            ),
            Operation(
                "POST", f"{BASE}/predict", "predict", "What a network would say: of a sample, points or factors.",
                guarded(self._predict), answer=AnyPredictionAnswer, body=PredictRequest, body_optional=True,
                errors=(404, 503),
            ),
            Operation(
                "POST", f"{BASE}/predict/batch", "predictBatch", "The same of several, each by itself.",
                guarded(self._predict_batch), answer=PredictionsAnswer, body=PredictBatchRequest, errors=(404, 503),
            ),
        ]  # fmt: skip

    async def _compare(self, request: web.Request) -> ComparisonAnswer:
        lineage = await self._promotion.lineage()
        both = [
            compared_answer(version, self._promotion.state, await self._learning.latency(version))
            for version in (named(lineage, request.match_info[part]) for part in ("name", "other"))
        ]
        one, other = both
        return ComparisonAnswer(
            model=one, other=other, differences=differences(one.model, one.metrics, other.model, other.metrics)
        )

    async def _validate(self, request: web.Request) -> ValidationAnswer:
        version = named(await self._promotion.lineage(), request.match_info["name"])
        if why := self._promotion.not_comparable(version):
            raise Conflict(why)
        return validation_answer(self._learning.validations.ask(version.name))

    async def _validation(self, request: web.Request) -> ValidationAnswer:
        version = named(await self._promotion.lineage(), request.match_info["name"])
        found = self._learning.validations.get(version.name)
        if found is None:
            raise NotFound(f"{version.name} was not validated since the daemon was started: POST asks for it")
        return validation_answer(found)

    async def _ensembles(self, _request: web.Request) -> EnsemblesAnswer:
        return ensembles(self._learning.model, self._taught())

    async def _predict(self, request: web.Request) -> AnyPredictionAnswer:
        asked = await body_of(request, PredictRequest)
        return AnyPredictionAnswer((await self._told(as_batch(asked.root))).predictions[0])

    async def _predict_batch(self, request: web.Request) -> PredictionsAnswer:
        return await self._told((await body_of(request, PredictBatchRequest)).root)

    async def _told(self, asked: AnomalyBatch | CapacityBatch | FailureBatch) -> PredictionsAnswer:
        match asked:
            case AnomalyBatch():
                return predictions_answer(await self._learning.predict(asked.samples))
            case CapacityBatch():
                return predictions_answer(await self._foretelling.forecast(asked))
            case FailureBatch():
                return predictions_answer(await self._foretelling.judge(asked))
