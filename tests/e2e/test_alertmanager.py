"""A real Alertmanager takes our alerts, groups, silences and resolves them, and never sees one flap."""

import asyncio
import contextlib
import json
import os
import time
from dataclasses import replace

import pytest
from real import Receiver, wait_for
from servers import alertmanager

from alerting.document import message_document
from alerting.group import EVERYTHING, Message, News, What
from alerting.occurrence import Occurrence, State
from alerting.policy import Severity
from alerting.sinks.alertmanager import AlertmanagerSink
from alerting.sinks.base import Notification

SCALE = int(os.environ.get("PRESAGED_TEST_SCALE", "1"))
REMINDERS = 1440 if SCALE > 1 else 240  # one a minute: a day, in CI four hours
RESEND_SECONDS = 0.05

QUIET = '  routes:\n  - receiver: "nobody"\n    matchers: [alertname="Heartbeat"]\n'


def occurrence(number, resource, **more):
    now_ms = time.time_ns() // 1_000_000
    fields = {
        "id": f"01KBNR1M800000000000000{number:03d}",
        "fingerprint": f"{number:016x}",
        "alertname": "FilesystemReadOnly",
        "network": "host",
        "resource": resource,
        "severity": Severity.PAGE,
        "state": State.FIRING,
        "started_ms": now_ms - 60_000,
        "fired_ms": now_ms,
        "resolved_ms": None,
        "score": None,
        "threshold": None,
        "detail": f"{resource} is mounted read-only",
        "sentence": f"web1: {resource} is mounted read-only",
        "contributors": (),
    }
    return Occurrence(**(fields | more))


def notification(number, *news):
    firing = sum(one.what is not What.ENDED for one in news)
    message = Message("am", EVERYTHING, news, firing)
    document = message_document(f"{number}", "web1", message, time_ms=time.time_ns() // 10**6, not_followed={})
    return Notification(f"{number}", json.dumps(document))


def ended(one):
    return replace(one, state=State.RESOLVED, resolved_ms=time.time_ns() // 1_000_000)


@pytest.fixture
def told():
    one = Receiver()
    yield one
    one.close()


def told_of(receiver):
    """Return (status, resources) of each notification that Alertmanager sent."""
    return [
        (body["status"], sorted(alert["labels"]["resource"] for alert in body["alerts"])) for _, body in receiver.got
    ]


@pytest.fixture
def sink_of():
    def build(manager):
        return AlertmanagerSink(
            "am",
            manager.url,
            host="web1",
            user_agent="presaged/test",
            resend_seconds=RESEND_SECONDS,
            lifetime_seconds=3.0,
        )

    return build


@pytest.mark.soak
@pytest.mark.timeout(240)
async def test_an_incident_of_a_day_is_told_once_and_ends_once(tmp_path, told, sink_of):
    """A reminder a minute keeps it firing; the end comes at once, and no reminder overtakes it."""
    with alertmanager(tmp_path / "am", {"default": told.url, "nobody": ""}, QUIET) as manager:
        sink = sink_of(manager)
        fire = occurrence(1, "/srv")
        await sink.send(notification(1, News(What.BEGAN, fire)))
        firing = [fire]
        sent = 0

        def current():
            nonlocal sent
            sent += 1
            return list(firing)

        reminding = asyncio.create_task(sink.keep_alive(current))
        while sent < REMINDERS:  # noqa: ASYNC110 - the count is what there is to see
            await asyncio.sleep(0.05)
        shown = {one["labels"]["alertname"]: one["labels"] for one in await asyncio.to_thread(manager.alerts)}
        firing.clear()
        await sink.send(notification(2, News(What.ENDED, ended(fire))))
        await asyncio.to_thread(wait_for, lambda: len(told.got) >= 2, 20, "the end is told")
        await asyncio.sleep(4)  # longer than a reminder lives
        reminding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reminding
        print(f"\n{sent} reminders; Alertmanager told {told_of(told)}")
        assert told_of(told) == [("firing", ["/srv"]), ("resolved", ["/srv"])]
        ours = {"instance": "web1", "job": "presaged"}
        assert shown == {
            "Heartbeat": {"alertname": "Heartbeat", "network": "presaged", "severity": "none", **ours},
            "FilesystemReadOnly": {
                "alertname": "FilesystemReadOnly",
                "network": "host",
                "resource": "/srv",
                "severity": "critical",
                **ours,
            },
        }


@pytest.mark.timeout(90)
async def test_it_groups_silences_and_shows_them(tmp_path, told, sink_of):
    with alertmanager(tmp_path / "am", {"default": told.url, "nobody": ""}, QUIET) as manager:
        sink = sink_of(manager)
        await asyncio.to_thread(
            manager.amtool, "silence", "add", "--author=op", "--comment=known", "--duration=1h", "resource=/quiet"
        )
        both = [occurrence(1, "/a"), occurrence(2, "/b"), occurrence(3, "/quiet")]
        await sink.send(notification(1, *(News(What.BEGAN, one) for one in both)))
        await asyncio.to_thread(wait_for, lambda: told.got, 20, "Alertmanager tells of them")
        await asyncio.sleep(0.5)
        assert told_of(told) == [("firing", ["/a", "/b"])]
        shown = {one["labels"]["resource"]: one for one in await asyncio.to_thread(manager.alerts)}
        assert sorted(shown) == ["/a", "/b"]  # amtool leaves out what is silenced
        assert shown["/a"]["annotations"]["description"] == "web1: /a is mounted read-only"
        await sink.send(notification(2, *(News(What.ENDED, ended(one)) for one in both)))
        await asyncio.to_thread(wait_for, lambda: len(told.got) == 2, 20, "the end is told")
        assert told_of(told)[1] == ("resolved", ["/a", "/b"])
        assert await asyncio.to_thread(manager.alerts) == []


@pytest.mark.timeout(60)
async def test_another_severity_ends_the_old_alert_and_begins_the_new_one(tmp_path, told, sink_of):
    with alertmanager(tmp_path / "am", {"default": told.url, "nobody": ""}, QUIET, "[alertname, severity]") as manager:
        sink = sink_of(manager)
        one = occurrence(1, "/srv", severity=Severity.TICKET, told_severity=None)
        await sink.send(notification(1, News(What.BEGAN, one)))
        await asyncio.to_thread(wait_for, lambda: told.got, 20, "the ticket is told")
        graver = occurrence(1, "/srv", told_severity=Severity.TICKET)
        await sink.send(notification(2, News(What.GRAVITY, graver)))

        def severities():
            return [alert["labels"]["severity"] for alert in manager.alerts()]

        await asyncio.to_thread(wait_for, lambda: severities() == ["critical"], 20, "only the new one fires")
