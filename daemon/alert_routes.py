"""The routes of the operator's desk: alerts, feedback, silences, drill, tests of sinks, and the pages behind links.

Enters: requests that the server's guard has let in. Leaves: JSON, a page, or one line that says why not. A link of
a notification is its own proof: with it a GET shows a page and does nothing, whoever previews it, and only the
POST of the page's form acts.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import parse_qs

from aiohttp import web
from pydantic import BaseModel, ValidationError

from alerting.render import one_line
from alerting.verdict import VerdictKind
from daemon import link_page
from daemon.alert_answers import (
    MAX_COMMENT,
    AskedBy,
    DrillAnswer,
    FeedbackRequest,
    SilenceRequest,
    TakenBackBy,
)
from daemon.api import Answer
from daemon.desk import STATES, Desk
from daemon.errors import Conflict, DeskError, NotFound, PresagedError

T = TypeVar("T", bound=BaseModel)

MOST_LISTED = 1000

_FEEDBACK = "/api/v1/alerts/{id}/feedback"
_BY_LINK = frozenset(("GET", "HEAD", "POST"))
_MOST_FIELDS = 10
_MOST_KEY = 60  # letters of a body's own key that are shown again


class AlertRoutes:
    """Answers for the desk; `interval_seconds` is asked for the time to the next sample."""

    def __init__(self, desk: Desk, interval_seconds: Callable[[], float]) -> None:
        self._desk = desk
        self._interval_seconds = interval_seconds

    def table(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/api/v1/alerts", self._list_alerts),
            web.get("/api/v1/alerts/{id}", self._show_alert),
            web.post("/api/v1/alerts/{id}/ack", self._acknowledge),
            web.get(_FEEDBACK, self._show_page),
            web.post(_FEEDBACK, self._take_feedback),
            web.delete(_FEEDBACK, self._undo_feedback),
            web.get("/api/v1/verdicts", self._list_verdicts),
            web.get("/api/v1/silences", self._list_silences),
            web.post("/api/v1/silences", self._add_silence),
            web.delete("/api/v1/silences/{id}", self._expire_silence),
            web.post("/api/v1/drill", self._drill),
            web.post("/api/v1/sinks/{name}/test", self._test_sink),
        ]

    def link_refusal(self, request: web.Request) -> str | None:
        """Return "" for a request by a genuine link, why not for another link, and None for what is no link."""
        resource = request.match_info.route.resource
        if resource is None or resource.canonical != _FEEDBACK or request.method not in _BY_LINK:
            return None
        if "signature" not in request.query:
            return None
        action = request.query.get("action", "")
        refusal = self._desk.link_refusal(
            request.match_info["id"], action, request.query.get("expires", ""), request.query["signature"]
        )
        if not refusal and not link_page.is_action(action):
            return "this link asks for what this presaged does not know"
        return refusal

    def refuse_link(self, reason: str) -> web.Response:
        """Return the page for a link that is not to be followed."""
        return _page(link_page.refused(self._desk.host, reason), 403)

    async def _list_alerts(self, request: web.Request) -> web.Response:
        state = request.query.get("state", "all")
        if state not in STATES:
            return web.Response(status=400, text=f"state is one of {', '.join(STATES)}\n")
        return await _answer(self._desk.alerts(state, limit_of(request)))

    async def _show_alert(self, request: web.Request) -> web.Response:
        return await _answer(self._desk.alert(request.match_info["id"]))

    async def _acknowledge(self, request: web.Request) -> web.Response:
        asked = await _body(request, AskedBy)
        return await _answer(self._desk.acknowledge(request.match_info["id"], asked.author))

    async def _show_page(self, request: web.Request) -> web.Response:
        """Show what the button will do. It is what a link preview asks for, so it changes nothing."""
        if refusal := self._refusal_of_page(request):
            return self.refuse_link(refusal)
        try:
            alert = await self._desk.alert(request.match_info["id"])
        except PresagedError as error:
            return _page(link_page.refused(self._desk.host, str(error)), _status_of(error))
        return _page(link_page.asking(self._desk.host, alert, request.query["action"]))

    async def _take_feedback(self, request: web.Request) -> web.Response:
        if "signature" in request.query:
            return await self._act_by_link(request)
        asked = await _body(request, FeedbackRequest)
        return await _answer(
            self._desk.feedback(request.match_info["id"], asked.verdict, asked.author, asked.comment, asked.every)
        )

    async def _act_by_link(self, request: web.Request) -> web.Response:
        if refusal := self._refusal_of_page(request):
            return self.refuse_link(refusal)
        if request.content_type != "application/x-www-form-urlencoded":
            return _page(link_page.refused(self._desk.host, "a link takes the form of its own page only"), 415)
        number, action = request.match_info["id"], request.query["action"]
        try:
            fields = parse_qs((await request.read()).decode("utf-8", "replace"), max_num_fields=_MOST_FIELDS)
        except ValueError:  # more fields than the form has
            return _page(link_page.refused(self._desk.host, "a link takes the form of its own page only"), 400)
        name = _field(fields, "name", link_page.MAX_NAME) or "somebody"
        author = f"{name} (by a link)"  # nobody has seen who it is
        changed: list[str] = []
        try:
            if action == "ack":
                await self._desk.acknowledge(number, author)
            else:
                comment = _field(fields, "comment", MAX_COMMENT)
                changed = (await self._desk.feedback(number, VerdictKind(action), author, comment)).changed
            alert = await self._desk.alert(number)
        except PresagedError as error:
            return _page(link_page.refused(self._desk.host, str(error)), _status_of(error))
        return _page(link_page.done(self._desk.host, alert, action, changed))

    def _refusal_of_page(self, request: web.Request) -> str:
        refusal = self.link_refusal(request)
        return "this link is not complete" if refusal is None else refusal

    async def _undo_feedback(self, request: web.Request) -> web.Response:
        asked = await _body_or_none(request)
        return await _answer(self._desk.undo(request.match_info["id"], asked.author))

    async def _list_verdicts(self, _request: web.Request) -> web.Response:
        return _json(self._desk.verdicts())

    async def _list_silences(self, _request: web.Request) -> web.Response:
        return _json(self._desk.silences())

    async def _add_silence(self, request: web.Request) -> web.Response:
        return await _answer(self._desk.add_silence(await _body(request, SilenceRequest)), 201)

    async def _expire_silence(self, request: web.Request) -> web.Response:
        asked = await _body_or_none(request)
        return await _answer(self._desk.expire(request.match_info["id"], asked.author))

    async def _drill(self, request: web.Request) -> web.Response:
        asked = await _body(request, AskedBy)
        return _json(
            DrillAnswer(
                after=self._desk.drill(asked.author),
                interval_seconds=self._interval_seconds(),
                sinks=self._desk.sink_names(),
            ),
            202,
        )

    async def _test_sink(self, request: web.Request) -> web.Response:
        return await _answer(self._desk.test_sink(request.match_info["name"]))


def limit_of(request: web.Request) -> int:
    """Return how many rows are asked for. Raises HTTPBadRequest for what is no such number."""
    limit = request.query.get("limit", "100")
    if not (limit.isascii() and limit.isdecimal() and 0 < int(limit[:9]) <= MOST_LISTED):
        raise web.HTTPBadRequest(text=f"limit is a number from 1 to {MOST_LISTED}\n")
    return int(limit)


async def _answer(asked: Awaitable[Answer], status: int = 200) -> web.Response:
    try:
        answer = await asked
    except PresagedError as error:
        return web.Response(status=_status_of(error), text=f"{error}\n")
    return _json(answer, status)


def _json(answer: Answer, status: int = 200) -> web.Response:
    return web.Response(status=status, text=answer.model_dump_json(), content_type="application/json")


def _page(html: str, status: int = 200) -> web.Response:
    return web.Response(status=status, text=html, content_type="text/html", headers=link_page.HEADERS)


def _status_of(error: PresagedError) -> int:
    match error:
        case NotFound():
            return 404
        case Conflict():
            return 409
        case DeskError():
            return 400
        case _:
            return 503  # the store, or the door to it


async def _body(request: web.Request, model: type[T]) -> T:
    """Return the body as `model`. Raises an HTTP error of one line that says what is wrong with it."""
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="the body must be JSON, with Content-Type: application/json\n")
    try:
        return model.model_validate_json(await request.read())
    except ValidationError as error:
        first = error.errors()[0]
        key = one_line(".".join(map(str, first["loc"])))[:_MOST_KEY]
        said = one_line(first["msg"].removeprefix("Value error, "))
        raise web.HTTPBadRequest(text=f"{key}: {said}\n" if key else f"{said}\n") from error


async def _body_or_none(request: web.Request) -> TakenBackBy:
    return await _body(request, TakenBackBy) if await request.read() else TakenBackBy()


def _field(fields: dict[str, list[str]], name: str, most: int) -> str:
    """Return what was written into a field of the form, on one line."""
    return " ".join(one_line(fields.get(name, [""])[0]).split())[:most]
