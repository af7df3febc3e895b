"""The routes of the page: its files, the chart library, and the two answers that only the page asks for.

Enters: requests that the server's guard has let in. Leaves: files that hold nothing of this host, which a browser keeps
for good (the page itself it asks for each time), and JSON. All the rest the page reads from the API like anybody.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from aiohttp import web

from daemon.dashboard.answers import MonthAnswer, SelfAnswer
from daemon.dashboard.charts import ChartLibrary
from daemon.dashboard.files import ICON, PAGE, PageFile, PageFiles, read_files
from daemon.errors import PresagedError
from daemon.offload import Offload
from daemon.web.operations import Operation

_PREPARE_SECONDS = 60.0
_READ_SECONDS = 10.0
_FOR_GOOD = "public, max-age=31536000, immutable"

# Everything comes from this server; no script and no style stands in the page, so none can be smuggled into it.
# data: is for the arrows and marks that the chart library draws into its own toolbar.
HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
            " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }
)


class DashboardRoutes:
    """Serves the page. `month` and `cost` answer what stands in `answers`."""

    def __init__(
        self,
        *,
        library: ChartLibrary,
        offload: Offload,
        month: Callable[[], Awaitable[MonthAnswer]],
        cost: Callable[[], Awaitable[SelfAnswer]],
    ) -> None:
        self._library = library
        self._offload = offload
        self._month = month
        self._cost = cost
        self._files: PageFiles | None = None
        self._preparing = asyncio.Lock()

    def table(self) -> list[Operation]:
        """Return the operations of the API."""
        return [
            Operation(
                "GET",
                "/api/v1/month",
                "getMonth",
                "What was sent in the last 30 days, and what share of it was judged real.",
                self._tell_month,
                answer=MonthAnswer,
                errors=(503,),
            ),
            Operation(
                "GET",
                "/api/v1/self",
                "getSelf",
                "What presaged itself costs: processor, memory, time a tick, room on the disk.",
                self._tell_cost,
                answer=SelfAnswer,
                errors=(503,),
            ),
        ]

    def pages(self) -> list[web.RouteDef]:
        """Return the page and its files."""
        return [
            web.get("/", self._serve_page),
            web.get("/favicon.ico", self._serve_icon),
            web.get("/dashboard/{name}", self._serve_library),
            web.get("/dashboard/{version}/{name}", self._serve_file),
        ]

    async def _read(self) -> PageFiles:
        if self._files is None:
            self._files = await self._offload.run(
                lambda: read_files(self._library.address), deadline_seconds=_READ_SECONDS, what="dashboard"
            )
        return self._files

    async def _serve_page(self, request: web.Request) -> web.Response:
        found = await self._read()
        tag = f'"{found.version}"'
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers={**HEADERS, "ETag": tag, "Cache-Control": "no-cache"})
        return _sent(request, found.files[PAGE], {"ETag": tag, "Cache-Control": "no-cache"})

    async def _serve_icon(self, request: web.Request) -> web.Response:
        return _sent(request, (await self._read()).files[ICON], {"Cache-Control": "public, max-age=86400"})

    async def _serve_file(self, request: web.Request) -> web.Response:
        """Serve a file of this version; one of another would be kept for good under the wrong name."""
        found = await self._read()
        name = request.match_info["name"]
        if request.match_info["version"] != found.version or name == PAGE or name not in found.files:
            raise web.HTTPNotFound
        return _sent(request, found.files[name], {"Cache-Control": _FOR_GOOD})

    async def _serve_library(self, request: web.Request) -> web.StreamResponse:
        if not self._library.name or request.match_info["name"] != self._library.name:
            raise web.HTTPNotFound
        try:
            async with self._preparing:  # two browsers at once: it is compressed once
                found = await self._offload.run(
                    self._library.prepared, deadline_seconds=_PREPARE_SECONDS, what="chart library"
                )
        except (OSError, PresagedError) as error:
            return web.Response(status=503, text=f"the chart library cannot be read: {error}\n")
        headers = {**HEADERS, "Content-Type": "text/javascript; charset=utf-8", "Cache-Control": _FOR_GOOD}
        if found.is_compressed:
            headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        return web.FileResponse(found.path, headers=headers)

    async def _tell_month(self, _request: web.Request) -> MonthAnswer:
        return await self._month()

    async def _tell_cost(self, _request: web.Request) -> SelfAnswer:
        return await self._cost()


def _sent(request: web.Request, file: PageFile, more: Mapping[str, str]) -> web.Response:
    headers = {**HEADERS, "Vary": "Accept-Encoding", **more}
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        headers["Content-Encoding"] = "gzip"
        body = file.compressed
    else:
        body = file.plain
    return web.Response(body=body, headers={**headers, "Content-Type": f"{file.content_type}; charset=utf-8"})
