"""The routes of the operator's desk: alerts, feedback, silences, drill, tests of sinks, and the pages behind links.

Enters: requests that the guard has let in. Leaves: answers, a page, or an error that says why not. A link of
a notification is its own proof: with it a GET shows a page and does nothing, whoever previews it, and only the
POST of the page's form acts.
"""

from collections.abc import Callable
from typing import Literal
from urllib.parse import parse_qs

from aiohttp import web
from pydantic import Field

from alerting.render import one_line
from alerting.verdict import VerdictKind
from daemon.desk import Desk
from daemon.errors import PresagedError
from daemon.web import link_page
from daemon.web.alert_answers import (
    MAX_COMMENT,
    AlertDetail,
    AlertsAnswer,
    AskedBy,
    DrillAnswer,
    FeedbackAnswer,
    FeedbackRequest,
    SilenceAnswer,
    SilenceRequest,
    SilencesAnswer,
    SinkTestAnswer,
    TakenBackBy,
    VerdictsAnswer,
)
from daemon.web.api import AlertAnswer
from daemon.web.operations import Operation, PageQuery, WholeQuery, body_of, query_of, received
from daemon.web.problems import status_of

_FEEDBACK = "/api/v1/alerts/{id}/feedback"
_BY_LINK = frozenset(("GET", "HEAD", "POST"))
_MOST_FIELDS = 10


class AlertsQuery(PageQuery):
    """Which alerts."""

    state: Literal["firing", "resolved", "all"] = Field("all", description="`all` has the pending ones too.")


class AlertRoutes:
    """Answers for the desk; `interval_seconds` is asked for the time to the next sample."""

    def __init__(self, desk: Desk, interval_seconds: Callable[[], float]) -> None:
        self._desk = desk
        self._interval_seconds = interval_seconds

    def table(self) -> list[Operation]:
        """Return the operations."""
        alert = "/api/v1/alerts/{id}"
        return [
            Operation(
                "GET", "/api/v1/alerts", "listAlerts", "Alerts, the newest first.",
                self._list_alerts, answer=AlertsAnswer, query=AlertsQuery, errors=(503,),
            ),
            Operation(
                "GET", alert, "getAlert", "All that is known of one alert: its evidence, notifications and verdicts.",
                self._show_alert, answer=AlertDetail, errors=(404, 409, 503),
            ),
            Operation(
                "POST", f"{alert}/ack", "acknowledgeAlert", "Take an alert in hand: it is not told again.",
                self._acknowledge, answer=AlertAnswer, body=AskedBy, errors=(404, 409, 503),
            ),
            Operation(
                "GET", _FEEDBACK, "showFeedbackPage", "The page behind a link of a notification; it changes nothing.",
                self._show_page, answer="text/html", errors=(403, 404, 409, 503), page=True,
            ),
            Operation(
                "POST", _FEEDBACK, "giveFeedback", "Say what an alert was: real, false or expected.",
                self._take_feedback, answer=FeedbackAnswer, body=FeedbackRequest, errors=(403, 404, 409, 503),
                page=True,
            ),
            Operation(
                "DELETE", _FEEDBACK, "takeFeedbackBack", "Take back the newest verdict on an alert.",
                self._undo_feedback, answer=FeedbackAnswer, body=TakenBackBy, body_optional=True,
                errors=(404, 409, 503),
            ),
            Operation(
                "GET", "/api/v1/verdicts", "listVerdicts", "What verdicts change now, the oldest first.",
                self._list_verdicts, answer=VerdictsAnswer, query=WholeQuery,
            ),
            Operation(
                "GET", "/api/v1/silences", "listSilences", "The silences that are not over, the oldest first.",
                self._list_silences, answer=SilencesAnswer, query=WholeQuery,
            ),
            Operation(
                "POST", "/api/v1/silences", "addSilence", "Keep alerts quiet for a time.",
                self._add_silence, answer=SilenceAnswer, body=SilenceRequest, status=201, errors=(409, 503),
            ),
            Operation(
                "DELETE", "/api/v1/silences/{id}", "expireSilence", "End a silence now.",
                self._expire_silence, answer=SilenceAnswer, body=TakenBackBy, body_optional=True,
                errors=(404, 409, 503),
            ),
            Operation(
                "POST", "/api/v1/drill", "startDrill", "Let the next sample carry an alert that is none.",
                self._drill, answer=DrillAnswer, body=AskedBy, status=202,
            ),
            Operation(
                "POST", "/api/v1/sinks/{name}/test", "testSink", "Send a test to one sink, beside the queue.",
                self._test_sink, answer=SinkTestAnswer, errors=(404, 503),
            ),
        ]  # fmt: skip

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

    async def _list_alerts(self, request: web.Request) -> AlertsAnswer:
        asked = query_of(request, AlertsQuery)
        return await self._desk.alerts(asked.state, asked.limit, asked.cursor)

    async def _show_alert(self, request: web.Request) -> AlertDetail:
        return await self._desk.alert(request.match_info["id"])

    async def _acknowledge(self, request: web.Request) -> AlertAnswer:
        asked = await body_of(request, AskedBy)
        return await self._desk.acknowledge(request.match_info["id"], asked.author)

    async def _show_page(self, request: web.Request) -> web.Response:
        """Show what the button will do. It is what a link preview asks for, so it changes nothing."""
        if refusal := self._refusal_of_page(request):
            return self.refuse_link(refusal)
        try:
            alert = await self._desk.alert(request.match_info["id"])
        except PresagedError as error:
            return _page(link_page.refused(self._desk.host, str(error)), status_of(error))
        return _page(link_page.asking(self._desk.host, alert, request.query["action"]))

    async def _take_feedback(self, request: web.Request) -> FeedbackAnswer | web.StreamResponse:
        if "signature" in request.query:
            return await self._act_by_link(request)
        asked = await body_of(request, FeedbackRequest)
        return await self._desk.feedback(
            request.match_info["id"], asked.verdict, asked.author, asked.comment, asked.every
        )

    async def _act_by_link(self, request: web.Request) -> web.Response:
        if refusal := self._refusal_of_page(request):
            return self.refuse_link(refusal)
        if request.content_type != "application/x-www-form-urlencoded":
            return _page(link_page.refused(self._desk.host, "a link takes the form of its own page only"), 415)
        number, action = request.match_info["id"], request.query["action"]
        try:
            fields = parse_qs((await received(request)).decode("utf-8", "replace"), max_num_fields=_MOST_FIELDS)
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
            return _page(link_page.refused(self._desk.host, str(error)), status_of(error))
        return _page(link_page.done(self._desk.host, alert, action, changed))

    def _refusal_of_page(self, request: web.Request) -> str:
        refusal = self.link_refusal(request)
        return "this link is not complete" if refusal is None else refusal

    async def _undo_feedback(self, request: web.Request) -> FeedbackAnswer:
        asked = await body_of(request, TakenBackBy)
        return await self._desk.undo(request.match_info["id"], asked.author)

    async def _list_verdicts(self, request: web.Request) -> VerdictsAnswer:
        return self._desk.verdicts(query_of(request, WholeQuery))

    async def _list_silences(self, request: web.Request) -> SilencesAnswer:
        return self._desk.silences(query_of(request, WholeQuery))

    async def _add_silence(self, request: web.Request) -> SilenceAnswer:
        return await self._desk.add_silence(await body_of(request, SilenceRequest))

    async def _expire_silence(self, request: web.Request) -> SilenceAnswer:
        asked = await body_of(request, TakenBackBy)
        return await self._desk.expire(request.match_info["id"], asked.author)

    async def _drill(self, request: web.Request) -> DrillAnswer:
        asked = await body_of(request, AskedBy)
        return DrillAnswer(
            after=self._desk.drill(asked.author),
            interval_seconds=self._interval_seconds(),
            sinks=self._desk.sink_names(),
        )

    async def _test_sink(self, request: web.Request) -> SinkTestAnswer:
        return await self._desk.test_sink(request.match_info["name"])


def _page(html: str, status: int = 200) -> web.Response:
    return web.Response(status=status, text=html, content_type="text/html", headers=link_page.HEADERS)


def _field(fields: dict[str, list[str]], name: str, most: int) -> str:
    """Return what was written into a field of the form, on one line."""
    return " ".join(one_line(fields.get(name, [""])[0]).split())[:most]
