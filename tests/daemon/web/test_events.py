import asyncio
import json
from types import SimpleNamespace

import pytest
from asking import asking
from problem import KIND

from alerting.occurrence import State
from daemon.drift.state import DriftState
from daemon.risk.state import RiskState
from daemon.web import events as module
from daemon.web.api import AlertAnswer, JobAnswer
from daemon.web.events import MOST_LISTENERS, PATH, AlertEvent, Events, HelloEvent, TickEvent


def told(alert):
    return AlertAnswer(
        occurrence=alert.id, alertname="Anomaly", severity="info", state=alert.state.value, resource="/srv",
        sentence="it is so", started_at=None, fired_at=None, sent_to=[], held="muted",
    )  # fmt: skip


def alert(number="01A", state=State.PENDING, **more):
    fields = {"severity": SimpleNamespace(value="info"), "acknowledged": None, "firings": 1} | more
    return SimpleNamespace(id=number, state=state, alertname="Anomaly", resource="/srv", **fields)


def snapshot(seq, *alerts):
    anomaly = SimpleNamespace(shown=0.5, raw=float("nan"), threshold=float("inf"), learning="learning", episodes=2)
    return SimpleNamespace(
        seq=seq, time_ms=1000 * seq, samples=seq, values=[1, 2], alerts=alerts, muted={}, anomaly=anomaly,
        risk=RiskState(), drift=DriftState(),
    )  # fmt: skip


class Listening:
    """One listener: the events as they come."""

    def __init__(self, answer):
        self.answer = answer

    async def next(self):
        """Return name, id and data of the next event."""
        fields = {}
        async with asyncio.timeout(5):
            while (line := (await self.answer.content.readline()).decode()) != "\n":
                if not line:
                    return None
                name, _, value = line.rstrip("\n").partition(": ")
                fields[name] = value
        return fields.get("event", ""), fields.get("id"), json.loads(fields["data"]) if "data" in fields else fields


@pytest.fixture
def dropped():
    return []


@pytest.fixture
async def events(dropped, monkeypatch):
    monkeypatch.setattr(module, "alert_answer", lambda one, _muted: told(one))
    return Events(
        version="1.2.3",
        interval_seconds=30.0,
        score_threshold=lambda: 0.8,
        job=lambda: JobAnswer(name="train", share=0.5, text="epoch 1"),
        dropped=lambda: dropped.append(1),
    )


@pytest.fixture
async def listen(events):
    """Listen, with what a browser sends when it comes again."""
    opened = []
    async with asking([events.operation()]) as ask:

        async def start(last=None):
            headers = {} if last is None else {"Last-Event-ID": last}
            answer = await ask.session.get(PATH, headers=headers)
            opened.append(answer)
            assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")
            return Listening(answer)

        start.ask = ask
        yield start
        events.stop()
        for answer in opened:
            answer.close()


async def test_a_listener_hears_who_speaks_the_last_tick_and_those_to_come(events, listen):
    events.publish(snapshot(1))
    events.publish(snapshot(2))
    heard = await listen()
    kind, number, hello = await heard.next()
    assert (kind, number, HelloEvent.model_validate(hello).version) == ("hello", None, "1.2.3")
    kind, number, tick = await heard.next()
    told = TickEvent.model_validate(tick)
    assert (kind, number, told.seq, told.score, told.raw_score, told.raw_threshold) == (
        "tick", f"{hello['stream']}-1", 2, 0.5, None, None,
    )  # fmt: skip  # the tick before was put into words for nobody
    assert told.job.text == "epoch 1"
    events.publish(snapshot(3))
    assert (await heard.next())[2]["seq"] == 3


async def test_every_step_of_an_alert_is_told_once(events, listen):
    events.publish(snapshot(1, alert("01X", State.FIRING)))  # it stood before: no news
    heard = await listen()
    await heard.next()
    await heard.next()
    steps = [
        [alert()], [alert(state=State.FIRING)], [alert(state=State.FIRING)],
        [alert(state=State.FIRING, acknowledged="ann")], [alert(state=State.FIRING, acknowledged="ann", firings=2)],
        [alert("01B")], [],
    ]  # fmt: skip
    seen = []
    for seq, alerts in enumerate(steps, 2):
        events.publish(snapshot(seq, alert("01X", State.FIRING), *alerts))
        while (event := await heard.next())[0] == "alert":
            told = AlertEvent.model_validate(event[2])
            seen.append((told.transition, told.alert.occurrence, told.alert.state))
        assert event[2]["seq"] == seq
    assert seen == [
        ("pending", "01A", "pending"), ("firing", "01A", "firing"), ("changed", "01A", "firing"),
        ("changed", "01A", "firing"), ("pending", "01B", "pending"), ("resolved", "01A", "resolved"),
        ("withdrawn", "01B", "pending"),
    ]  # fmt: skip


async def test_who_comes_again_hears_the_alerts_that_were_missed(events, listen):
    events.publish(snapshot(1))
    heard = await listen()
    hello = (await heard.next())[2]
    last = (await heard.next())[1]
    events.publish(snapshot(2, alert()))
    events.publish(snapshot(3, alert(state=State.FIRING)))
    again = await listen(last)
    await again.next()
    assert [(await again.next())[2]["transition"] for _ in range(2)] == ["pending", "firing"]
    assert (await again.next())[0] == "tick"
    for other in ("ffffffff-1", hello["stream"], f"{hello['stream']}-x", f"{hello['stream']}-{'9' * 400}", "\u00b2"):
        new = await listen(other.encode("utf-8").decode("latin-1"))
        await new.next()
        assert (await new.next())[0] == "tick"


async def test_a_silence_is_broken_by_a_comment_and_every_stream_ends(events, listen, monkeypatch):
    monkeypatch.setattr(module, "_HEARTBEAT_SECONDS", 0.02)
    monkeypatch.setattr(module, "_LONGEST_SECONDS", 0.3)
    heard = await listen()
    await heard.next()
    assert (await heard.next())[2] == {"": "alive"}
    async with asyncio.timeout(5):
        while await heard.next() is not None:
            pass
    assert not events._listeners


async def test_at_the_stop_every_listener_is_let_go_and_none_comes(events, listen):
    heard = [await listen() for _ in range(3)]
    for one in heard:
        await one.next()
    events.stop()
    assert [await one.next() for one in heard] == [None] * 3
    status, headers, text = await listen.ask(PATH)
    assert (status, headers["Content-Type"], text) == (503, KIND, "presaged is stopping\n")


async def test_one_too_many_is_told_when_to_come_again(events, listen):
    for _ in range(MOST_LISTENERS):
        await listen()
    status, headers, text = await listen.ask(PATH)
    assert (status, headers["Retry-After"], text) == (503, "30", "32 listen already\n")


async def test_who_has_left_takes_no_place(events, listen, until):
    for one in [await listen() for _ in range(MOST_LISTENERS)]:
        one.answer.close()
    await until(lambda: all(one.has_gone() for one in events._listeners))
    assert len(events._listeners) == MOST_LISTENERS  # nothing was written to them since
    await listen()
    assert len(events._listeners) == 1


async def test_who_does_not_keep_up_is_dropped_and_holds_nobody_up(events, listen, dropped):
    quick, _slow = await listen(), await listen()
    events._hello = events._hello.model_copy(update={"stream": "x" * 200_000})  # a socket takes few of such events
    got = 0
    for seq in range(1, 1000):
        events.publish(snapshot(seq))
        while got < 200_000 * seq:
            got += len(await quick.answer.content.readany())
        if dropped:
            break
    assert (dropped, len(events._listeners)) == ([1], 1)
    events.publish(snapshot(1000))
    assert await quick.answer.content.readany()


async def test_a_head_is_answered_without_a_stream(listen):
    status, headers, text = await listen.ask(PATH, "HEAD")
    assert (status, headers["Content-Type"], text) == (200, "text/event-stream", "")
