"""What happens, as it happens: server-sent events (WHATWG HTML, 9.2) for pages and for `presage top`.

Enters: the snapshot of each tick. Leaves: to every listener, if there is one, an event a tick, and one for each alert
that began, fired, changed or ended since the tick before. There are few listeners, each with a short queue: one that
does not keep up is dropped, counted, and comes again by itself; nothing ever waits for it.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from aiohttp import web

from alerting.occurrence import Occurrence, State
from alerting.render import rfc3339
from daemon.risk.answers import risk_in_brief
from daemon.snapshot import Snapshot
from daemon.web.api import AlertAnswer, Answer, JobAnswer, RiskInBrief, alert_answer
from daemon.web.operations import Operation
from daemon.web.problems import problem

MOST_LISTENERS = 32
PATH = "/api/v1/events"

_QUEUED = 64  # events that a listener may be behind
_KEPT = 256  # alert events that are told again to whoever was away
_MOST_DIGITS = 20
_HEARTBEAT_SECONDS = 15.0
_LONGEST_SECONDS = 3600.0  # then the browser comes again and shows once more who it is
_RETRY_MILLISECONDS = 2000
_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # a proxy in between must not collect what is meant for now
}


class AlertInBrief(Answer):
    """An alert in an event of a tick."""

    occurrence: str
    alertname: str
    severity: str
    state: str
    resource: str
    acknowledged: bool
    held: str


class HelloEvent(Answer):
    """`hello`: which run of the daemon speaks; another `stream` than before means that it was started again."""

    stream: str
    version: str
    interval_seconds: float


class TickEvent(Answer):
    """`tick`: a sample was taken, and what it says in brief."""

    seq: int
    at: str
    time_ms: int
    samples: int
    signals: int
    score: float | None
    score_threshold: float
    raw_score: float | None
    raw_threshold: float | None
    learning: str
    episodes: int
    alerts: list[AlertInBrief]
    risk: RiskInBrief
    drift: float | None
    job: JobAnswer | None


class AlertEvent(Answer):
    """`alert`: one has become `pending`, `firing`, or `resolved`, was `withdrawn` before it fired, or has `changed`."""

    transition: str
    alert: AlertAnswer


@dataclass(frozen=True, slots=True)
class _Event:
    number: int
    text: bytes


@dataclass(slots=True, eq=False)
class _Listener:
    request: web.Request
    queue: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(_QUEUED))

    def has_gone(self) -> bool:
        """Tell whether nobody is at the other end: its handler sees that only when it writes."""
        return self.request.transport is None or self.request.transport.is_closing()

    def abort(self) -> None:
        """Cut the connection, and with it the write that waits."""
        if self.request.transport is not None:
            self.request.transport.abort()


class Events:
    """`job` tells what the child works on, `dropped` is called for each listener that did not keep up."""

    def __init__(
        self,
        *,
        version: str,
        interval_seconds: float,
        score_threshold: Callable[[], float],
        job: Callable[[], JobAnswer | None],
        dropped: Callable[[], None],
    ) -> None:
        self._hello = HelloEvent(stream=secrets.token_hex(4), version=version, interval_seconds=interval_seconds)
        self._score_threshold = score_threshold
        self._job = job
        self._dropped = dropped
        self._listeners: set[_Listener] = set()
        self._known: Mapping[str, tuple[object, AlertAnswer]] | None = None
        self._alerts: deque[_Event] = deque(maxlen=_KEPT)
        self._snapshot: Snapshot | None = None
        self._number = 0
        self._stopping = False

    def operation(self) -> Operation:
        """Return the operation that listens."""
        summary = "What happens, as server-sent events: hello (HelloEvent), tick (TickEvent), alert (AlertEvent)."
        return Operation(
            "GET", PATH, "listen", summary, self._serve, answer="text/event-stream",
            errors=(503,), parts=(HelloEvent, TickEvent, AlertEvent),
        )  # fmt: skip

    def publish(self, snapshot: Snapshot) -> None:
        """Tell every listener of a tick."""
        alerts = {one.id: (_standing(one), alert_answer(one, snapshot.muted)) for one in snapshot.alerts}
        if self._known is not None:  # what stood before this process is no news
            for event in _transitions(self._known, alerts):
                self._alerts.append(self._event("alert", event))
                self._send(self._alerts[-1].text)
        self._known = alerts
        self._snapshot = snapshot
        if self._listeners:
            self._send(self._event("tick", self._in_brief(snapshot)).text)

    def stop(self) -> None:
        """Let every listener go."""
        self._stopping = True
        for listener in self._listeners:
            with suppress(asyncio.QueueFull):
                listener.queue.put_nowait(None)

    def _event(self, kind: str, told: Answer) -> _Event:
        self._number += 1
        text = f"event: {kind}\nid: {self._hello.stream}-{self._number}\ndata: {told.model_dump_json()}\n\n"
        return _Event(self._number, text.encode())

    def _send(self, text: bytes) -> None:
        for listener in tuple(self._listeners):
            try:
                listener.queue.put_nowait(text)
            except asyncio.QueueFull:
                self._listeners.discard(listener)
                self._dropped()
                listener.abort()

    def _in_brief(self, snapshot: Snapshot) -> TickEvent:
        anomaly = snapshot.anomaly
        return TickEvent(
            seq=snapshot.seq,
            at=rfc3339(snapshot.time_ms),
            time_ms=snapshot.time_ms,
            samples=snapshot.samples,
            signals=len(snapshot.values),
            score=anomaly.shown,
            score_threshold=self._score_threshold(),
            raw_score=anomaly.raw,
            raw_threshold=anomaly.threshold,
            learning=anomaly.learning,
            episodes=anomaly.episodes,
            alerts=[
                AlertInBrief(
                    occurrence=one.id,
                    alertname=one.alertname,
                    severity=one.severity.value,
                    state=one.state.value,
                    resource=one.resource,
                    acknowledged=one.acknowledged is not None,
                    held=alert_answer(one, snapshot.muted).held,
                )
                for one in snapshot.alerts
            ],
            risk=risk_in_brief(snapshot.risk),
            drift=snapshot.drift.score,
            job=self._job(),
        )

    def _missed(self, last: str) -> list[bytes]:
        """Return the alert events behind `last`, an id of this run; whoever comes anew asks for the state instead."""
        stream, _, number = last.partition("-")
        is_number = number.isascii() and number.isdecimal() and len(number) <= _MOST_DIGITS
        if stream != self._hello.stream or not is_number:
            return []
        return [event.text for event in self._alerts if event.number > int(number)]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self._listeners = {one for one in self._listeners if not one.has_gone()}  # a page that is reloaded comes twice
        if self._stopping or len(self._listeners) >= MOST_LISTENERS:
            said = f"{MOST_LISTENERS} listen already" if not self._stopping else "presaged is stopping"
            return problem(503, said, headers={"Retry-After": "30"})
        response = web.StreamResponse(headers=_HEADERS)
        if request.method == "HEAD":
            await response.prepare(request)
            return response
        listener = _Listener(request)
        hello = f"retry: {_RETRY_MILLISECONDS}\nevent: hello\ndata: {self._hello.model_dump_json()}\n\n"
        first = [hello.encode(), *self._missed(request.headers.get("Last-Event-ID", ""))]
        first += [] if self._snapshot is None else [self._event("tick", self._in_brief(self._snapshot)).text]
        self._listeners.add(listener)
        try:
            await response.prepare(request)
            await response.write(b"".join(first))
            with suppress(TimeoutError):
                async with asyncio.timeout(_LONGEST_SECONDS):
                    await _pass_on(listener.queue, response)
        except ConnectionError:  # it has gone
            pass
        finally:
            self._listeners.discard(listener)
        return response


async def _pass_on(queue: asyncio.Queue[bytes | None], response: web.StreamResponse) -> None:
    """Write what the queue brings until it brings None, and a comment where it brings nothing for long."""
    while True:
        try:
            async with asyncio.timeout(_HEARTBEAT_SECONDS):
                text = await queue.get()
        except TimeoutError:
            text = b": alive\n\n"
        if text is None:
            return
        await response.write(text)


def _standing(one: Occurrence) -> object:
    """Return what of an alert is told again when it is another."""
    return one.state, one.severity, one.acknowledged, one.firings


def _transitions(
    before: Mapping[str, tuple[object, AlertAnswer]], after: Mapping[str, tuple[object, AlertAnswer]]
) -> list[AlertEvent]:
    told = []
    for number, (standing, alert) in after.items():
        if number not in before or before[number][1].state != alert.state:
            told.append(AlertEvent(transition=alert.state, alert=alert))
        elif before[number][0] != standing:
            told.append(AlertEvent(transition="changed", alert=alert))
    for number, (_, alert) in before.items():
        if number not in after:
            if alert.state == State.PENDING.value:
                told.append(AlertEvent(transition="withdrawn", alert=alert))
            else:
                over = alert.model_copy(update={"state": State.RESOLVED.value})
                told.append(AlertEvent(transition=over.state, alert=over))
    return told
