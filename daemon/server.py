"""The HTTP listener: /metrics, /healthz, /readyz and the API. What is read comes from the snapshot.

Beyond loopback everything but /healthz wants the bearer token, and whatever changes something wants it
everywhere; but a genuine link of a notification is its own proof, on its one path. The Host header must be an
address or a name that we answer to, or a page in a browser could reach us by DNS rebinding; an Origin must be our
own, or any page could write through its reader's browser.
"""

import contextlib
import errno
import hmac
import ipaddress
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path

from aiohttp import web
from pydantic import ValidationError

from daemon.alert_routes import AlertRoutes, limit_of
from daemon.api import ChangeAnswer, ChangesAnswer, MarkRequest, StatusAnswer
from daemon.config import split_address, toml_value
from daemon.desk import Desk
from daemon.errors import ConfigError, NotFound, PresagedError
from daemon.forecast_answers import ForecastsAnswer, ProblemAnswer
from daemon.metrics import CONTENT_TYPE, Metrics

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_MAX_BODY = 64 * 1024
_STOP_SECONDS = 1.0
_READING = frozenset(("GET", "HEAD", "OPTIONS"))
_REMEDIES = {
    errno.EADDRINUSE: "another program listens there; choose another port",
    errno.EACCES: "choose a port above 1023",
}


def bind(listen: str) -> socket.socket:
    """Return a bound socket for `listen`. Raises ConfigError where the address cannot be had."""
    host, port = split_address(listen)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
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
    """Serves on one bound socket from `start` to `stop`. `more`: routes of parts that bring their own."""

    def __init__(
        self,
        listener: socket.socket,
        *,
        metrics: Metrics,
        status: Callable[[], StatusAnswer],
        ready: Callable[[], bool],
        changes: Callable[[int], Awaitable[ChangesAnswer]],
        mark: Callable[[str], Awaitable[ChangeAnswer]],
        desk: Desk,
        forecasts: Callable[[str | None], ForecastsAnswer] = lambda _resource: ForecastsAnswer(
            forecasts=[], problem=""
        ),
        scraped: Callable[[], None],
        more: Sequence[web.RouteDef] = (),
        token: str,
        allowed_hosts: Collection[str],
    ) -> None:
        self._listener = listener
        self._metrics = metrics
        self._status = status
        self._ready = ready
        self._changes = changes
        self._mark = mark
        self._forecasts = forecasts
        self._scraped = scraped
        self._alert_routes = AlertRoutes(desk, lambda: status().interval_seconds)
        self._token = token.encode()
        self._names = {name.lower() for name in ("localhost", socket.gethostname(), *allowed_hosts)}
        app = web.Application(middlewares=[_plain_errors, self._guard], client_max_size=_MAX_BODY)
        app.add_routes(
            [
                web.get("/metrics", self._serve_metrics),
                web.get("/healthz", self._serve_health),
                web.get("/readyz", self._serve_readiness),
                web.get("/api/v1/status", self._serve_status),
                web.get("/api/v1/changes", self._serve_changes),
                web.post("/api/v1/changes", self._mark_change),
                web.get("/api/v1/forecasts", self._serve_forecasts),
                *self._alert_routes.table(),
                *more,
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_STOP_SECONDS, handle_signals=False)

    @property
    def address(self) -> str:
        """Return "address:port" as it was really bound."""
        host, port = self._listener.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def start(self) -> None:
        """Listen."""
        await self._runner.setup()
        await web.SockSite(self._runner, self._listener).start()

    async def stop(self) -> None:
        """Finish what is being answered, within a second, and close."""
        await self._runner.cleanup()
        self._listener.close()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self._answers_to(request.host):
            text = f"{request.host!r} is not a name of this server; add it to [http] allowed_hosts\n"
            return web.Response(status=421, text=text)
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2].lower() != request.host.lower():
            return web.Response(status=403, text="a page of another origin may not ask here\n")
        link = self._alert_routes.link_refusal(request)
        if link:
            return self._alert_routes.refuse_link(link)
        writes = request.method not in _READING
        reached = request.path != "/healthz" and not _is_loopback(request.remote)
        if (writes or reached) and link is None and not self._has_token(request):
            where = "to change something" if writes else "beyond loopback"
            text = f"{where} a bearer token is needed: it is in the file `token` of the state folder\n"
            return web.Response(status=401, text=text, headers={"WWW-Authenticate": "Bearer"})
        if (request.content_length or 0) > _MAX_BODY:  # said before a byte of it is read
            return web.Response(status=413, text=f"the body is larger than {_MAX_BODY} bytes\n")
        return await handler(request)

    def _answers_to(self, host: str) -> bool:
        name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
            return True
        return name.lower() in self._names

    def _has_token(self, request: web.Request) -> bool:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._token)

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

    async def _serve_status(self, _request: web.Request) -> web.Response:
        return web.Response(text=self._status().model_dump_json(), content_type="application/json")

    async def _serve_forecasts(self, request: web.Request) -> web.Response:
        try:
            answer = self._forecasts(request.query.get("resource"))
        except NotFound as error:
            problem = ProblemAnswer(title="Not Found", status=404, detail=str(error))
            return web.Response(status=404, text=problem.model_dump_json(), content_type="application/problem+json")
        return web.Response(text=answer.model_dump_json(), content_type="application/json")

    async def _serve_changes(self, request: web.Request) -> web.Response:
        try:
            answer = await self._changes(limit_of(request))
        except PresagedError as error:
            return web.Response(status=503, text=f"{error}\n")
        return web.Response(text=answer.model_dump_json(), content_type="application/json")

    async def _mark_change(self, request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            return web.Response(status=415, text='the body must be JSON: {"text": "..."}\n')
        try:
            wanted = MarkRequest.model_validate_json(await request.read())
        except ValidationError as error:
            return web.Response(status=400, text=f"text: {error.errors()[0]['msg'].removeprefix('Value error, ')}\n")
        try:
            answer = await self._mark(wanted.text)
        except PresagedError as error:
            return web.Response(status=503, text=f"{error}\n")
        return web.Response(status=201, text=answer.model_dump_json(), content_type="application/json")


@web.middleware
async def _plain_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what is not there in one line that says what is."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        api = "status, forecasts, risk, drift, changes, failures, neural, alerts, silences, drill and sinks"
        text = f"not here; there is /metrics, /healthz, /readyz and, below /api/v1/, {api}\n"
        return web.Response(status=404, text=text)


def _is_loopback(remote: str | None) -> bool:
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(remote or "")
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return (mapped or address).is_loopback
    return False
