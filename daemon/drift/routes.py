"""The route of drift.

Enters: a request that the server's guard has let in. Leaves: JSON.
"""

from collections.abc import Callable

from aiohttp import web

from daemon.drift.answers import DriftAnswer


def drift_route(answer: Callable[[], DriftAnswer]) -> web.RouteDef:
    """Return the route that tells `answer`."""

    async def tell(_request: web.Request) -> web.Response:
        return web.Response(text=answer().model_dump_json(), content_type="application/json")

    return web.get("/api/v1/drift", tell)
