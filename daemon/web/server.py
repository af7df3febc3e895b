"""The HTTP listener: /metrics, /healthz, /readyz, the API and the pages. What is read comes from the snapshot.

Enters: the operations of the API and the pages of the parts that bring them. Leaves: one listener that guards them
all (`daemon.web.access`), and the document that describes the operations.
"""

import asyncio
import contextlib
import errno
import logging
import os
import secrets
import socket
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from daemon import __version__
from daemon.collectors.base import Visitors
from daemon.config import split_address, toml_value
from daemon.desk import Desk
from daemon.errors import ConfigError
from daemon.metrics import CONTENT_TYPE, Metrics
from daemon.offload import Offload
from daemon.web import openapi
from daemon.web.access import MAX_BODY, Access, Handler, Links, is_loopback
from daemon.web.alert_routes import AlertRoutes
from daemon.web.crowd import Crowd
from daemon.web.host_routes import HostRoutes
from daemon.web.operations import OFFLOAD, Encoded, Operation
from daemon.web.problems import API, is_api, of_http, refusal
from daemon.web.session_routes import SessionRoutes
from daemon.web.sessions import Sessions

_log = structlog.get_logger()

_STOP_SECONDS = 1.0
_RETRY_SECONDS = "60"
_IDLE_SECONDS = 30.0  # without a whole request: a browser connects again, and who sends a letter a second holds nothing
_WAITING = 128  # connections that nobody has taken yet
_MAX_LINE = 128 * 1024  # a chart of twenty signals whose names are escaped; what is longer aiohttp itself refuses
_DOCUMENT_SECONDS = 10.0
_REMEDIES = {
    errno.EADDRINUSE: "another program listens there; choose another port",
    errno.EACCES: "choose a port above 1023",
}


def bind(listen: str) -> socket.socket:
    """Return a bound socket for `listen`. Raises ConfigError where the address cannot be had."""
    host, port = split_address(listen)
    try:
        name = host.encode() if host.isascii() else host  # as text it would bring the tables of international names
        family, kind, protocol, _, address = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, ValueError) as error:  # ValueError: no name at all, too long or with a NUL
        reason = error.strerror if isinstance(error, OSError) else "this is not an address"
        raise ConfigError([f"http.listen: {toml_value(listen)}: {reason}; give an address of this host"]) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        remedy = _REMEDIES.get(error.errno or 0, "choose another address")
        raise ConfigError([f"http.listen: {listen}: {error.strerror}; {remedy}"]) from error
    return listener


def ensure_token(directory: Path, name: str = "token") -> str:
    """Return the secret in the file `name`, made once, readable by the daemon's user only."""
    path = directory / name
    with contextlib.suppress(FileNotFoundError, UnicodeDecodeError):
        known = path.read_text(encoding="ascii").strip()
        if known:  # an empty one would let everybody in
            path.chmod(0o600)
            return known
    token = secrets.token_urlsafe(32)
    partial = directory / f".{name}.partial"
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(descriptor)
    partial.replace(path)
    return token


class Server:
    """Serves on one bound socket from `start` to `stop`.

    `more`: operations of parts that bring their own; `pages`: what people see, which is no part of the API. `stopping`
    ends answers that would go on for ever; `sheds` tells which paths there is no memory for now.
    """

    def __init__(
        self,
        listener: socket.socket,
        *,
        metrics: Metrics,
        ready: Callable[[], bool],
        host: HostRoutes,
        desk: Desk,
        scraped: Callable[[], None],
        now_ms: Callable[[], int],
        offload: Offload,
        more: Sequence[Operation] = (),
        pages: Sequence[web.RouteDef] = (),
        stopping: Callable[[], None] = lambda: None,
        sheds: Callable[[str], bool] = lambda _path: False,
        token: str,
        allowed_hosts: Collection[str],
    ) -> None:
        self._listener = listener
        self._metrics = metrics
        self._ready = ready
        self._scraped = scraped
        self._stopping = stopping
        self._offload = offload
        self._document: Encoded | None = None
        alerts = AlertRoutes(desk, lambda: host.status().interval_seconds)
        sessions = Sessions(now_ms)
        access = Access(token, sessions, allowed_hosts, Links(alerts.link_refusal, alerts.refuse_link))
        self.operations: tuple[Operation, ...] = (
            *host.table(),
            *alerts.table(),
            *SessionRoutes(sessions, access).table(),
            *more,
            Operation(
                "GET", openapi.PATH, "getDocument", "This document.", self._serve_document, answer=openapi.Document
            ),
        )

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await access.guard(request, _later if sheds(request.path) else handler)

        app = web.Application(middlewares=[self._plain_errors, guard], client_max_size=MAX_BODY)
        app[OFFLOAD] = offload
        app.on_response_prepare.append(_sign)
        app.add_routes(
            [
                web.get("/metrics", self._serve_metrics),
                web.get("/healthz", self._serve_health),
                web.get("/readyz", self._serve_readiness),
                *(one.route() for one in self.operations),
                *pages,
            ]
        )
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_faults(),
            shutdown_timeout=_STOP_SECONDS,
            handle_signals=False,
            max_line_size=_MAX_LINE,
            keepalive_timeout=_IDLE_SECONDS,
        )
        self._listening: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """Return "address:port" as it was really bound."""
        host, port = self._listener.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def visitors(self) -> Visitors:
        """Return who is connected now; any thread may ask."""
        server = self._runner.server
        transports = [] if server is None else [one.transport for one in server.connections]
        peers = [one.get_extra_info("peername") for one in transports if one is not None]
        return Visitors(len(peers), sum(peer is not None and is_loopback(str(peer[0])) for peer in peers))

    async def start(self) -> None:
        """Listen."""
        await self._runner.setup()
        serve = self._runner.server
        assert serve is not None  # noqa: S101 - `setup` makes it
        crowd = Crowd(serve)
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(crowd.admit, sock=self._listener, backlog=_WAITING)

    async def stop(self) -> None:
        """Finish what is being answered, within a second, and close."""
        self._stopping()
        if self._listening is not None:
            self._listening.close()
        await self._runner.cleanup()
        self._listener.close()

    @web.middleware
    async def _plain_errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer what is not there in one line that says what is; below the API as a problem."""
        try:
            return await handler(request)
        except web.HTTPNotFound:
            text = f"not here; there is /metrics, /healthz, /readyz and, below {API}, {_and(self._names())}"
            return refusal(request, 404, text)
        except web.HTTPMethodNotAllowed as error:
            allowed = _and(sorted(error.allowed_methods))
            error.text = f"{error.method} is not for {request.path}, but {allowed}"
            if not is_api(request):
                raise
            return of_http(error)
        except web.HTTPException:
            raise
        except Exception:  # noqa: BLE001 - a mistake of ours costs one answer, and the log has all of it
            _log.exception("request_failed", method=request.method, path=request.path)
            return refusal(request, 500, "something went wrong inside presaged; its log says what")

    async def _serve_document(self, _request: web.Request) -> Encoded:
        if self._document is None:
            self._document = await self._offload.run(
                lambda: openapi.document(self.operations, __version__),
                deadline_seconds=_DOCUMENT_SECONDS,
                what="openapi",
            )
        return self._document

    def _names(self) -> list[str]:
        """Return the families of operations, each once."""
        return sorted({one.path.removeprefix(API).partition("/")[0] for one in self.operations})

    async def _serve_metrics(self, request: web.Request) -> web.Response:
        if request.method == "GET":  # a HEAD takes no value away
            self._scraped()
        return web.Response(body=self._metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    async def _serve_health(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _serve_readiness(self, _request: web.Request) -> web.Response:
        if self._ready():
            return web.Response(text="ready\n")
        return web.Response(status=503, text="not ready: no sample is stored yet, or the last one is too old\n")


async def _later(request: web.Request) -> web.Response:
    """Refuse what takes memory while memory is short."""
    said = "memory is short: sampling and alerting go on, and this is answered when there is room again"
    return refusal(request, 503, said, headers={"Retry-After": _RETRY_SECONDS})


async def _sign(_request: web.Request, response: web.StreamResponse) -> None:
    """Let no browser guess what an answer is, and nobody read which versions are behind it."""
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Server"] = "presaged"


class _OwnFaults(logging.Filter):
    """Lets through what is our own fault: anybody can send what is no HTTP, and would fill the log with it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is to be written."""
        return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)


def _faults() -> logging.Logger:
    logger = logging.getLogger("daemon.web.server")
    if not logger.filters:
        logger.addFilter(_OwnFaults())
    return logger


def _and(names: Sequence[str]) -> str:
    """Return names as a sentence lists them."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else "nothing"
