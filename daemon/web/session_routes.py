"""The session of the page: the bearer token exchanged for a cookie, asked after, and given back.

Enters: requests that the guard has let in; to open one it lets in anybody, and the token is looked at here. Leaves:
JSON and the cookie, or, for the form of the sign-in page, the way to the dashboard.
"""

from urllib.parse import parse_qs

from aiohttp import web

from alerting.render import rfc3339
from daemon.web import session_page
from daemon.web.access import SESSION_PATH, Access, cookie_name
from daemon.web.api import Answer
from daemon.web.operations import Operation, received, to_json
from daemon.web.problems import problem
from daemon.web.sessions import LIFETIME_SECONDS, Session, Sessions

_MOST_FIELDS = 5


class SessionAnswer(Answer):
    """`/api/v1/session`. `csrf` goes with every change as the header X-CSRF-Token; null without a session."""

    signed_in: bool
    csrf: str | None
    expires_at: str | None


class SessionRoutes:
    """Opens and closes sessions."""

    def __init__(self, sessions: Sessions, access: Access) -> None:
        self._sessions = sessions
        self._access = access

    def table(self) -> list[Operation]:
        """Return the operations."""
        return [
            Operation(
                "GET", SESSION_PATH, "getSession", "Whether this browser has a session, and its CSRF token.",
                self._show, answer=SessionAnswer, private=True,
            ),
            Operation(
                "POST", SESSION_PATH, "openSession", "Exchange the bearer token for a cookie; it lasts seven days.",
                self._open, answer=SessionAnswer, status=201, private=True,
            ),
            Operation(
                "DELETE", SESSION_PATH, "closeSession", "Sign out.",
                self._close, answer=SessionAnswer, private=True,
            ),
        ]  # fmt: skip

    async def _show(self, request: web.Request) -> SessionAnswer:
        return _answer(self._access.session(request))

    async def _open(self, request: web.Request) -> web.StreamResponse:
        form = request.content_type == session_page.FORM
        if not (await self._form_has_token(request) if form else self._access.has_token(request)):
            headers = {"WWW-Authenticate": "Bearer"}
            if form:
                return session_page.asking(401, headers, wrong=True)
            return problem(
                401, "the bearer token is wrong: it is in the file `token` of the state folder", headers=headers
            )
        cookie, session = self._sessions.begin()
        response: web.Response
        if form:
            response = web.Response(status=303, headers={"Location": "/", "Cache-Control": "no-store"})
        else:
            response = _json(_answer(session), 201)
        secure = request.secure or request.headers.get("Origin", "").startswith("https://")
        response.set_cookie(
            cookie_name(request), cookie, max_age=LIFETIME_SECONDS, httponly=True, samesite="Strict", secure=secure
        )
        return response

    async def _form_has_token(self, request: web.Request) -> bool:
        try:
            fields = parse_qs((await received(request)).decode("utf-8", "replace"), max_num_fields=_MOST_FIELDS)
        except ValueError:  # more fields than the form has
            return False
        return self._access.is_token(fields.get("token", [""])[0].strip())

    async def _close(self, request: web.Request) -> web.StreamResponse:
        session = self._access.session(request)
        if session is not None:
            self._sessions.end(session)
        response = _json(_answer(None), 200)
        response.del_cookie(cookie_name(request), httponly=True, samesite="Strict")
        return response


def _answer(session: Session | None) -> SessionAnswer:
    if session is None:
        return SessionAnswer(signed_in=False, csrf=None, expires_at=None)
    return SessionAnswer(signed_in=True, csrf=session.csrf, expires_at=rfc3339(session.expires_ms))


def _json(answer: SessionAnswer, status: int) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    return web.Response(status=status, body=to_json(answer), content_type="application/json", headers=headers)
