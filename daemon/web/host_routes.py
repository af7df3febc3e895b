"""The operations of the host as a whole: its status, its changes, the forecasts of its resources.

Enters: requests that the guard has let in. Leaves: answers of the snapshot and of the change log.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web
from pydantic import Field

from daemon.web.api import ChangeAnswer, ChangesAnswer, MarkRequest, StatusAnswer
from daemon.web.forecast_answers import ForecastsAnswer
from daemon.web.operations import Operation, PageQuery, WholeQuery, body_of, page_of, query_of


class ForecastsQuery(WholeQuery):
    """Of which resource."""

    resource: str | None = Field(None, max_length=1000, description="Only this one, with its past.")


@dataclass(frozen=True, slots=True)
class HostRoutes:
    """`changes` is given which page of them is wanted, `mark` what an operator has changed."""

    status: Callable[[], StatusAnswer]
    changes: Callable[[PageQuery], Awaitable[ChangesAnswer]]
    mark: Callable[[str], Awaitable[ChangeAnswer]]
    forecasts: Callable[[str | None], ForecastsAnswer]

    def table(self) -> list[Operation]:
        """Return the operations."""
        return [
            Operation(
                "GET", "/api/v1/status", "getStatus", "The host and its daemon in brief, as of the last sample.",
                self._status, answer=StatusAnswer,
            ),
            Operation(
                "GET", "/api/v1/changes", "listChanges", "What was done to the host, the newest first.",
                self._changes, answer=ChangesAnswer, query=PageQuery, errors=(503,),
            ),
            Operation(
                "POST", "/api/v1/changes", "markChange", "Tell of a change that you have made.",
                self._mark, answer=ChangeAnswer, body=MarkRequest, status=201, errors=(503,),
            ),
            Operation(
                "GET", "/api/v1/forecasts", "listForecasts", "When resources run out, the most endangered first.",
                self._forecasts, answer=ForecastsAnswer, query=ForecastsQuery, errors=(404,),
            ),
        ]  # fmt: skip

    async def _status(self, _request: web.Request) -> StatusAnswer:
        return self.status()

    async def _changes(self, request: web.Request) -> ChangesAnswer:
        return await self.changes(query_of(request, PageQuery))

    async def _mark(self, request: web.Request) -> ChangeAnswer:
        return await self.mark((await body_of(request, MarkRequest)).text)

    async def _forecasts(self, request: web.Request) -> ForecastsAnswer:
        asked = query_of(request, ForecastsQuery)
        whole = self.forecasts(asked.resource)
        page, following = page_of(whole.forecasts, lambda one: one.resource, asked)
        return whole.model_copy(update={"forecasts": page, "next": following})
