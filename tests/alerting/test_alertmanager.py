import asyncio
import json
from dataclasses import replace

import pytest
from aiohttp import web

from alerting.errors import DeliveryError
from alerting.group import What
from alerting.occurrence import State
from alerting.policy import DRILL, Severity
from alerting.sinks.alertmanager import AlertmanagerSink
from alerting.sinks.base import Notification

NOW = 1_772_344_860.0  # 2026-03-01T06:01:00Z, a minute after what these tests tell of began
MINUTE = 60_000


def sink_for(url, **options):
    values = {"host": "web1", "user_agent": "presaged/0.1.0", "timeout_seconds": 2.0, "wall_seconds": lambda: NOW}
    return AlertmanagerSink("am", url.removesuffix("/hook"), **{**values, **options})


def ended(one, minutes=1):
    return replace(one, state=State.RESOLVED, resolved_ms=one.started_ms + minutes * MINUTE)


async def reminded(sink, current, rounds, until, **more):
    """Let reminders go for so many rounds."""
    task = asyncio.create_task(sink.keep_alive(current, **more))
    await until(lambda: sink.reminders_sent + sink.reminders_failed >= rounds)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def names(body):
    return [alert["labels"]["alertname"] for alert in body]


@pytest.fixture
async def receiver(receive):
    return await receive(receive.status(200))


@pytest.fixture
def page(alert):
    return alert("FilesystemReadOnly", "/srv", sentence="web1: /srv is mounted read-only")


# What is posted


async def test_golden_alerts(receiver, page, alert, note, golden):
    over = ended(alert("UnitFailed"))
    await sink_for(receiver.url).send(note((What.BEGAN, page), (What.ENDED, over)))
    golden("alertmanager", receiver.bodies[0])


async def test_a_firing_ends_by_itself_and_an_end_ended_when_it_did(receiver, page, note):
    sink = sink_for(receiver.url, resend_seconds=30.0)
    await sink.send(note((What.BEGAN, page)))
    await sink.send(note((What.ENDED, ended(page))))
    (firing,), (over,) = receiver.bodies
    assert (firing["startsAt"], firing["endsAt"]) == ("2026-03-01T06:00:00.000Z", "2026-03-01T06:02:30.000Z")
    assert (over["startsAt"], over["endsAt"]) == ("2026-03-01T06:00:00.000Z", "2026-03-01T06:01:00.000Z")
    assert over["labels"] == firing["labels"]


async def test_another_severity_ends_the_one_and_begins_the_other_in_one_request(receiver, page, note):
    await sink_for(receiver.url).send(note((What.GRAVITY, replace(page, told_severity=Severity.TICKET))))
    ((old, new),) = receiver.bodies
    assert (old["labels"]["severity"], old["endsAt"]) == ("warning", "2026-03-01T06:01:00.000Z")
    assert (new["labels"]["severity"], new["endsAt"]) == ("critical", "2026-03-01T06:04:00.000Z")
    assert {**old["labels"], "severity": "critical"} == new["labels"]


async def test_a_clock_that_was_set_back_lets_no_alert_end_before_it_starts(receiver, page, note):
    sink = sink_for(receiver.url, wall_seconds=lambda: NOW - 3600)
    await sink.send(note((What.BEGAN, page)))
    await sink.send(note((What.ENDED, ended(page))))
    for (alert,) in receiver.bodies:
        assert alert["startsAt"] <= alert["endsAt"]
    assert receiver.bodies[1][0]["endsAt"] <= "2026-03-01T05:01:00.000Z"


async def test_what_has_no_resource_has_no_such_label(receiver, alert, note):
    await sink_for(receiver.url).send(note((What.BEGAN, alert("FailureRiskHigh", ""))))
    assert "resource" not in receiver.bodies[0][0]["labels"]


async def test_a_drill_says_that_it_is_one(receiver, alert, note):
    await sink_for(receiver.url).send(note((What.BEGAN, alert(DRILL, "", sentence="web1: a drill"))))
    assert receiver.bodies[0][0]["annotations"]["description"] == "DRILL: web1: a drill"
    assert receiver.bodies[0][0]["annotations"]["summary"] == "DRILL: web1: Drill"


async def test_a_test_is_one_alert_that_soon_ends(receiver, note):
    await sink_for(receiver.url).send(note.test())
    ((alert,),) = receiver.bodies
    assert alert["labels"] == {
        "alertname": "PresagedTest", "instance": "web1", "job": "presaged", "network": "presaged", "severity": "none",
    }  # fmt: skip
    assert alert["endsAt"] == "2026-03-01T06:02:00.000Z"


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("", "/api/v2/alerts"),
        ("/", "/api/v2/alerts"),
        ("/prefix/", "/prefix/api/v2/alerts"),
        ("/prefix/api/v2/alerts", "/prefix/api/v2/alerts"),
    ],
)
async def test_an_alertmanager_below_a_path(receive, note, base, path):
    seen = []

    async def answer(request):
        seen.append(request.path)
        return web.Response()

    receiver = await receive(answer)
    await sink_for(receiver.url.removesuffix("/hook") + base).send(note.test())
    assert seen == [path]


async def test_a_thousand_alerts_go_in_batches(receiver, alert, note):
    await sink_for(receiver.url).send(note(*((What.BEGAN, alert("UnitFailed", f"u{n}.service")) for n in range(1100))))
    assert [len(body) for body in receiver.bodies] == [500, 500, 100]


async def test_what_it_refuses_is_refused_for_good_and_quoted(receive, page, note):
    receiver = await receive(receive.status(400, '"invalid label set"'))
    with pytest.raises(DeliveryError) as caught:
        await sink_for(receiver.url, bearer_token="s3cret-token").send(note((What.BEGAN, page)))
    assert caught.value.permanent
    assert str(caught.value) == 'HTTP 400: "invalid label set"'


async def test_a_digest_is_not_for_it(receiver, alert, note):
    sink = sink_for(receiver.url)
    assert not sink.takes_digests
    with pytest.raises(DeliveryError, match="not for digests") as caught:
        await sink.send(note.digest(alert("AnomalyWithImpact", "")))
    assert caught.value.permanent


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://h:hunter2/", ""])
def test_an_address_that_cannot_work(url):
    with pytest.raises(ValueError, match="sink am: the url must begin") as caught:
        sink_for(url)
    assert "hunter2" not in str(caught.value)


# Reminders


async def test_what_fires_is_told_again_with_the_heartbeat(receiver, page, until):
    sink = sink_for(receiver.url, resend_seconds=0.01, lifetime_seconds=240.0)
    await reminded(sink, lambda: [page], 2, until)
    first = receiver.bodies[0]
    assert names(first) == ["Heartbeat", "FilesystemReadOnly"]
    assert first[0]["labels"]["severity"] == "none"
    assert {alert["endsAt"] for alert in first} == {"2026-03-01T06:05:00.000Z"}
    assert first == receiver.bodies[1]


async def test_a_reminder_is_the_same_alert_as_the_notification(receiver, alert, note, until):
    odd = alert("UnitFailed", "a\tb\udc80.service", sentence="web1: it is so")
    sink = sink_for(receiver.url, resend_seconds=0.01, lifetime_seconds=240.0)
    await sink.send(note((What.BEGAN, odd)))
    await reminded(sink, lambda: [odd], 1, until)
    assert receiver.bodies[0] == receiver.bodies[1][1:]


async def test_an_end_is_told_again_for_a_lifetime_and_not_when_it_fires_again(receiver, page, alert, note, until):
    """One that is dated after the receiver's clock would be passed over."""
    again, over = ended(page), ended(alert("UnitFailed"))
    sink = sink_for(receiver.url, resend_seconds=0.01, lifetime_seconds=0.02)
    await sink.send(note((What.ENDED, again), (What.ENDED, over)))
    await reminded(sink, lambda: [page], 4, until)
    assert [names(body) for body in receiver.bodies[1:5]] == [
        ["UnitFailed", "Heartbeat", "FilesystemReadOnly"],
        ["UnitFailed", "Heartbeat", "FilesystemReadOnly"],
        ["Heartbeat", "FilesystemReadOnly"],
        ["Heartbeat", "FilesystemReadOnly"],
    ]
    assert receiver.bodies[1][0] == receiver.bodies[0][1]


async def test_without_life_there_is_no_heartbeat(receiver, page, until):
    sink = sink_for(receiver.url, resend_seconds=0.01, lifetime_seconds=240.0)
    await reminded(sink, lambda: [page], 1, until, alive=lambda: False)
    assert names(receiver.bodies[0]) == ["FilesystemReadOnly"]


async def test_a_thousand_reminders_go_in_batches_and_each_once(receiver, alert, until):
    many = [alert("UnitFailed", f"u{number}.service") for number in range(1100)]
    sink = sink_for(receiver.url, resend_seconds=60.0)
    await reminded(sink, lambda: many, 1, until)
    assert [len(body) for body in receiver.bodies] == [500, 500, 101]
    assert len({str(one["labels"]) for body in receiver.bodies for one in body}) == 1101


async def test_a_reminder_that_fails_is_counted_and_the_next_one_comes(receive, page, until):
    receiver = await receive(receive.status(500), receive.status(400), receive.status(200))
    sink = sink_for(receiver.url, resend_seconds=0.01, lifetime_seconds=240.0)
    await reminded(sink, lambda: [page], 4, until)
    assert sink.reminders_failed == 2
    assert sink.reminders_sent >= 2


async def test_no_reminder_overtakes_an_end(receive, page, note, until):
    """A slow reminder is under way while the alert ends: the end comes after it, and no reminder after the end."""
    free = asyncio.Event()
    arrived = []

    async def slowly(request):
        arrived.append([(one["labels"]["alertname"], one["endsAt"]) for one in json.loads(await request.text())])
        await free.wait()
        return web.Response()

    receiver = await receive(slowly)
    firing = [page]
    sink = sink_for(receiver.url, resend_seconds=0.005, lifetime_seconds=240.0)
    reminding = asyncio.create_task(sink.keep_alive(lambda: list(firing)))
    await until(lambda: len(arrived) == 1)
    firing.clear()
    ending = asyncio.create_task(sink.send(note((What.ENDED, ended(page)))))
    await asyncio.sleep(0.05)
    assert len(arrived) == 1  # it waits for the reminder
    free.set()
    await ending
    await until(lambda: sink.reminders_sent >= 3)
    reminding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reminding
    told = [end for body in arrived for name, end in body if name == "FilesystemReadOnly"]
    assert told[0] == "2026-03-01T06:05:00.000Z"
    assert set(told[1:]) == {"2026-03-01T06:01:00.000Z"}


async def test_what_cannot_be_read_is_refused_for_good(receiver):
    with pytest.raises(DeliveryError) as caught:
        await sink_for(receiver.url).send(Notification("x", "[]"))
    assert caught.value.permanent
    assert receiver.bodies == []
