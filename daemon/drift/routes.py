"""The operation of drift.

Enters: a request that the guard has let in. Leaves: the answer.
"""

from collections.abc import Callable

from aiohttp import web

from daemon.drift.answers import DriftAnswer
from daemon.web.operations import Operation


def drift_route(answer: Callable[[], DriftAnswer]) -> Operation:
    """Return the operation that tells `answer`."""

    async def tell(_request: web.Request) -> DriftAnswer:
        return answer()

    summary = "Which signals no longer follow the days that the models have learned."
    return Operation("GET", "/api/v1/drift", "getDrift", summary, tell, answer=DriftAnswer)
