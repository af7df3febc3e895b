"""Who may ask, and who may change something: what every request passes before it is looked at.

Enters: a request. Leaves: the same request, let in, or one sentence on why not. Beyond loopback everything but
/healthz wants the bearer token or a session, and whatever changes something wants one of them everywhere; but a
genuine link of a notification is its own proof, on its one path. The Host header must be an address or a name that we
answer to, or a page in a browser could reach us by DNS rebinding; an Origin must be our own, or any page could write
through its reader's browser; a session changes nothing without its CSRF token. Who shows neither token nor session asks
no faster than `daemon.web.pace` allows.
"""

import contextlib
import hmac
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from aiohttp import web

from daemon.web import session_page
from daemon.web.pace import Pace
from daemon.web.problems import API, is_api, refusal
from daemon.web.sessions import Session, Sessions

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_BODY = 64 * 1024
SESSION_PATH = f"{API}session"
CSRF_HEADER = "X-CSRF-Token"

_READING = frozenset(("GET", "HEAD", "OPTIONS"))


@dataclass(frozen=True, slots=True)
class Links:
    """Links of notifications: `refusal` returns "" for a genuine one, why not for another, None for no link."""

    refusal: Callable[[web.Request], str | None]
    refuse: Callable[[str], web.Response]


class Access:
    """The guard of one server."""

    def __init__(self, token: str, sessions: Sessions, allowed_hosts: Collection[str], links: Links) -> None:
        self._token = token.encode()
        self._sessions = sessions
        self._names = {name.lower() for name in ("localhost", socket.gethostname(), *allowed_hosts)}
        self._links = links
        self._pace = Pace()

    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer with `handler`, or say why not."""
        if (unwanted := self._unwanted(request)) is not None:
            return unwanted
        link = self._links.refusal(request)
        if link:
            return self._links.refuse(link)
        if link is None and (refused := self._refused(request)) is not None:
            return refused
        if (request.content_length or 0) > MAX_BODY:  # said before a byte of it is read
            return refusal(request, 413, f"the body is larger than {MAX_BODY} bytes")
        return await handler(request)

    def _unwanted(self, request: web.Request) -> web.StreamResponse | None:
        """Return the refusal of what no client of ours would send, None for all else."""
        if not self._answers_to(request.host):
            said = f"{request.host!r} is not a name of this server; add it to [http] allowed_hosts"
            return refusal(request, 421, said)
        if not (self.has_token(request) or self.session(request) or self._pace.allows(request.path)):
            return refusal(request, 429, "too many requests: ask again in a second", headers={"Retry-After": "1"})
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2].lower() != request.host.lower():
            return refusal(request, 403, "a page of another origin may not ask here")
        return None

    def _refused(self, request: web.Request) -> web.StreamResponse | None:
        """Return the refusal of who shows too little, None for who may."""
        writes = request.method not in _READING
        reached = request.path != "/healthz" and not is_loopback(request.remote)
        if not (writes or reached) or self.has_token(request):
            return None
        if request.path == SESSION_PATH and request.method == "POST":
            return None  # it shows the token in its own way, and the route looks at it
        session = self.session(request)
        if session is None:
            return _unknown(request, "to change something" if writes else "beyond loopback")
        if writes and not session.allows(request.headers.get(CSRF_HEADER, "")):
            return refusal(request, 403, f"a session changes something only with its {CSRF_HEADER}")
        return None

    def has_token(self, request: web.Request) -> bool:
        """Tell whether the request shows the bearer token."""
        return self.is_token(request.headers.get("Authorization", "").removeprefix("Bearer "))

    def is_token(self, given: str) -> bool:
        """Tell whether this is the bearer token, in constant time."""
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._token)

    def session(self, request: web.Request) -> Session | None:
        """Return the session whose cookie the request shows."""
        cookie = request.cookies.get(cookie_name(request))
        return None if cookie is None else self._sessions.find(cookie)

    def _answers_to(self, host: str) -> bool:
        name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
            return True
        return name.lower() in self._names


def cookie_name(request: web.Request) -> str:
    """Return what the cookie is called: browsers keep cookies by host, and a tunnel to another host is a port."""
    port = request.host.rpartition(":")[2]
    return f"presaged_session_{port}" if port.isdecimal() else "presaged_session"


def _unknown(request: web.Request, where: str) -> web.Response:
    headers = {"WWW-Authenticate": "Bearer"}
    page = request.method == "GET" and "text/html" in request.headers.get("Accept", "")
    if page and not is_api(request):
        return session_page.asking(401, headers)
    said = f"{where} a bearer token is needed: it is in the file `token` of the state folder"
    return refusal(request, 401, said, headers=headers)


def is_loopback(remote: str | None) -> bool:
    """Tell whether an address is of this host alone."""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(remote or "")
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return (mapped or address).is_loopback
    return False
