"""The operations of the failures: the listing, and an operator's mark.

Enters: requests that the guard has let in. Leaves: answers, or an error that says why not.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from aiohttp import web

from daemon.failures.answers import FailureAnswer, FailureMark, FailuresAnswer, failure_answer, source_answers
from daemon.failures.record import FailureEvent
from daemon.failures.watch import SourceState
from daemon.web.forecast_answers import FieldProblem
from daemon.web.operations import FieldErrors, Operation, PageQuery, body_of, cursor_of, place_of, query_of

_AHEAD_SECONDS = 60.0  # so far another clock may be ahead of ours
_PATH = "/api/v1/failures"


class FailureRoutes:
    """`recent` returns stored events, the newest first, behind a place; `mark` records an operator's word."""

    def __init__(
        self,
        *,
        recent: Callable[[int, tuple[int, int] | None], Awaitable[Sequence[FailureEvent]]],
        sources: Callable[[], Sequence[SourceState]],
        mark: Callable[[str, int | None], Awaitable[FailureEvent]],
        now_ms: Callable[[], int],
    ) -> None:
        self._recent = recent
        self._sources = sources
        self._mark = mark
        self._now_ms = now_ms

    def table(self) -> list[Operation]:
        """Return the operations."""
        return [
            Operation(
                "GET", _PATH, "listFailures", "What failed on the host, the newest first, and what watches it.",
                self._list, answer=FailuresAnswer, query=PageQuery, errors=(503,),
            ),
            Operation(
                "POST", _PATH, "markFailure", "Tell of a failure that the host does not record itself.",
                self._take_mark, answer=FailureAnswer, body=FailureMark, status=201, errors=(503,),
            ),
        ]  # fmt: skip

    async def _list(self, request: web.Request) -> FailuresAnswer:
        asked = query_of(request, PageQuery)
        found = await self._recent(asked.limit + 1, place_of(asked))
        page = found[: asked.limit]
        return FailuresAnswer(
            failures=[failure_answer(event) for event in page],
            sources=source_answers(self._sources()),
            next=cursor_of(page[-1].time_ms, page[-1].id) if len(found) > len(page) else None,
        )

    async def _take_mark(self, request: web.Request) -> FailureAnswer:
        wanted = await body_of(request, FailureMark)
        at_ms = None if wanted.at is None else _milliseconds(wanted.at)
        if at_ms is not None and at_ms > self._now_ms() + _AHEAD_SECONDS * 1000:
            raise FieldErrors([FieldProblem(field="at", detail="a failure cannot be marked before it happens")])
        return failure_answer(await self._mark(wanted.what, at_ms))


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
