"""The routes of the failures: the listing, and an operator's mark.

Enters: requests that the server's guard has let in. Leaves: JSON, or one line that says why not.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from aiohttp import web
from pydantic import ValidationError

from daemon.alert_routes import limit_of
from daemon.errors import PresagedError
from daemon.failures.answers import FailureMark, FailuresAnswer, failure_answer, source_answers
from daemon.failures.record import FailureEvent
from daemon.failures.watch import SourceState

_AHEAD_SECONDS = 60.0  # so far another clock may be ahead of ours


class FailureRoutes:
    """`recent` returns the newest stored events, `sources` what can be read, `mark` records an operator's word."""

    def __init__(
        self,
        *,
        recent: Callable[[int], Awaitable[Sequence[FailureEvent]]],
        sources: Callable[[], Sequence[SourceState]],
        mark: Callable[[str, int | None], Awaitable[FailureEvent]],
        now_ms: Callable[[], int],
    ) -> None:
        self._recent = recent
        self._sources = sources
        self._mark = mark
        self._now_ms = now_ms

    def table(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.get("/api/v1/failures", self._list), web.post("/api/v1/failures", self._take_mark)]

    async def _list(self, request: web.Request) -> web.Response:
        try:
            events = await self._recent(limit_of(request))
        except PresagedError as error:
            return web.Response(status=503, text=f"{error}\n")
        answer = FailuresAnswer(
            failures=[failure_answer(event) for event in events], sources=source_answers(self._sources())
        )
        return web.Response(text=answer.model_dump_json(), content_type="application/json")

    async def _take_mark(self, request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            return web.Response(status=415, text='the body must be JSON: {"what": "...", "at": "..."}\n')
        try:
            wanted = FailureMark.model_validate_json(await request.read())
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "body"
            return web.Response(status=400, text=f"{place}: {first['msg'].removeprefix('Value error, ')}\n")
        at_ms = None if wanted.at is None else _milliseconds(wanted.at)
        if at_ms is not None and at_ms > self._now_ms() + _AHEAD_SECONDS * 1000:
            return web.Response(status=400, text="at: a failure cannot be marked before it happens\n")
        try:
            event = await self._mark(wanted.what, at_ms)
        except PresagedError as error:
            return web.Response(status=503, text=f"{error}\n")
        return web.Response(status=201, text=failure_answer(event).model_dump_json(), content_type="application/json")


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
