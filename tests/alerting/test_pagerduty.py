import json
from dataclasses import replace

import pytest

from alerting.errors import DeliveryError
from alerting.group import What
from alerting.occurrence import State
from alerting.policy import Severity
from alerting.sinks.base import Notification
from alerting.sinks.pagerduty import PagerDutySink, dedup_key
from alerting.sinks.reading import read
from detectors.findings import Change, ChangeKind, Contributor, Culprit, Resource, Unit

KEY = "R0UT1NGKEY0000000000000000000000"
LINKS = {name: f"https://web1.example.org:9736/{name}?signature=abc" for name in ("ack", "real", "false", "expected")}


def sink_for(url):
    return PagerDutySink("pager", KEY, url=url, user_agent="presaged/0.1.0", timeout_seconds=2.0)


def over(one):
    return replace(one, state=State.RESOLVED, resolved_ms=one.started_ms + 60_000)


@pytest.fixture
async def receiver(receive):
    return await receive(receive.status(202, '{"status":"success"}'))


@pytest.fixture
def page(alert, contributors):
    return alert(
        "FilesystemReadOnly",
        "/srv",
        sentence="web1: /srv is mounted read-only",
        contributors=contributors,
        culprits=(Culprit("backup.service", "rsync", Resource.WRITES, 0.8, 0.1),),
        change=Change(1_772_344_740_000, ChangeKind.MARK, "deploy"),
    )


async def test_golden_event_of_a_firing(receiver, page, alert, note, golden):
    await sink_for(receiver.url).send(note((What.BEGAN, page), (What.BEGAN, alert("UnitFailed")), links=LINKS))
    golden("pagerduty", receiver.bodies)


async def test_the_end_of_a_group_resolves_its_incident(receiver, page, note):
    sink = sink_for(receiver.url)
    await sink.send(note((What.BEGAN, page)))
    await sink.send(note((What.ENDED, over(page)), still_firing=0))
    fired, resolved = receiver.bodies
    assert (fired["event_action"], resolved["event_action"]) == ("trigger", "resolve")
    assert fired["dedup_key"] == resolved["dedup_key"] == f"presaged/web1/{note.group}"
    assert resolved == {"routing_key": KEY, "event_action": "resolve", "dedup_key": fired["dedup_key"]}


async def test_the_end_of_one_of_several_leaves_the_incident_open(receiver, page, note):
    await sink_for(receiver.url).send(note((What.ENDED, over(page)), still_firing=1))
    assert receiver.bodies == []


async def test_what_begins_while_another_ends_triggers(receiver, page, alert, note):
    await sink_for(receiver.url).send(note((What.BEGAN, page), (What.ENDED, over(alert("UnitFailed")))))
    assert [body["event_action"] for body in receiver.bodies] == ["trigger"]


@pytest.mark.parametrize("severity", list(Severity))
async def test_each_severity_is_pagerdutys_own(receiver, alert, note, severity):
    await sink_for(receiver.url).send(note((What.BEGAN, alert("UnitFailed", severity=severity))))
    assert receiver.bodies[0]["payload"]["severity"] == severity.value


async def test_a_test_triggers_and_resolves(receiver, note):
    await sink_for(receiver.url).send(note.test())
    assert [body["event_action"] for body in receiver.bodies] == ["trigger", "resolve"]
    assert receiver.bodies[0]["payload"]["severity"] == "info"
    assert len({body["dedup_key"] for body in receiver.bodies}) == 1


async def test_an_event_stays_within_its_limits(receiver, page, alert, note):
    text = "💥" * 5000
    many = tuple(Contributor(f"s{number}{text}", Unit.BYTES, "cpu", "", 1.0, 0.0, 1.0, 9.0) for number in range(200))
    lead = replace(page, sentence=text, resource=text, contributors=many)
    others = [(What.BEGAN, alert("UnitFailed", text, sentence=text)) for _ in range(100)]
    await sink_for(receiver.url).send(note((What.BEGAN, lead), *others))
    (event,) = receiver.bodies
    assert len(json.dumps(event, ensure_ascii=False).encode()) < 512_000
    assert len(event["payload"]["summary"]) <= 1024
    assert len(event["payload"]["custom_details"]["contributors"]) == 11


def test_a_long_name_makes_no_long_key(page):
    def key(host):
        document = {"event": "firing", "host": host, "group": "g"}
        return dedup_key(read(Notification("x", json.dumps(document))))

    assert key("web1") == "presaged/web1/g"
    assert len(key("w" * 300)) <= 255
    assert key("w" * 300) == key("w" * 300) != key("w" * 301)


@pytest.mark.parametrize(("code", "permanent"), [(400, True), (429, False), (500, False), (503, False)])
async def test_what_is_refused(receive, page, note, code, permanent):
    receiver = await receive(receive.status(code, f"no such key {KEY}", Retry_After="9"))
    with pytest.raises(DeliveryError) as caught:
        await sink_for(receiver.url).send(note((What.BEGAN, page)))
    assert caught.value.permanent is permanent
    assert caught.value.retry_after_seconds == 9.0
    assert str(caught.value) == f"HTTP {code}: no such key ***"


async def test_a_digest_is_not_for_it(receiver, alert, note):
    sink = sink_for(receiver.url)
    assert not sink.takes_digests
    with pytest.raises(DeliveryError, match="not for digests") as caught:
        await sink.send(note.digest(alert("AnomalyWithImpact", "")))
    assert caught.value.permanent
    assert receiver.bodies == []
