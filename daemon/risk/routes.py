"""The operation of the risk.

Enters: a request that the guard has let in. Leaves: the answer.
"""

from collections.abc import Callable

from aiohttp import web

from daemon.risk.answers import RiskAnswer
from daemon.web.operations import Operation


def risk_route(answer: Callable[[], RiskAnswer]) -> Operation:
    """Return the operation that tells `answer`."""

    async def tell(_request: web.Request) -> RiskAnswer:
        return answer()

    summary = "How likely the host fails in the next hour and day, why, and on what evidence."
    return Operation("GET", "/api/v1/risk", "getRisk", summary, tell, answer=RiskAnswer)
