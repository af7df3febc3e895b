"""The route of the risk.

Enters: a request that the server's guard has let in. Leaves: JSON.
"""

from collections.abc import Callable

from aiohttp import web

from daemon.risk.answers import RiskAnswer


def risk_route(answer: Callable[[], RiskAnswer]) -> web.RouteDef:
    """Return the route that tells `answer`."""

    async def tell(_request: web.Request) -> web.Response:
        return web.Response(text=answer().model_dump_json(), content_type="application/json")

    return web.get("/api/v1/risk", tell)
