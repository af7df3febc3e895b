import asyncio
import json
from dataclasses import replace
from functools import partial

import pytest

from alerting import pipeline as pipeline_module
from alerting.alert import AlertBook, Event
from alerting.errors import StoreError
from alerting.outbox import Outbox
from alerting.pipeline import Pipeline
from alerting.render import sentence
from alerting.sinks.webhook import WebhookSink
from alerting.ulid import UlidSource
from detectors.findings import Strength

NOW_MS = 1_772_344_800_000


class Deaf:
    """A sink that is never run here: the outbox task is not started."""

    def __init__(self, name):
        self.name = name

    async def send(self, notification):
        raise AssertionError


@pytest.fixture
def build(store, settings, quick):
    def pipeline(*sinks, policy=settings):
        new_id = UlidSource()
        book = AlertBook(policy, gap_seconds=75.0, new_id=new_id, describe=partial(sentence, "web1"))
        outbox = Outbox(store, [Deaf(name) for name in sinks], now_ms=lambda: NOW_MS, retry=quick)
        return Pipeline("web1", policy, book=book, store=store, outbox=outbox, new_id=new_id)

    return pipeline


@pytest.fixture
def play(tick):
    async def observe(pipeline, seconds, *findings, learned=True):
        return [one.event for one in await pipeline.observe(findings, tick(seconds), learned=learned)]

    return observe


def stored(database):
    return [
        (sink, json.loads(payload)["event"])
        for sink, payload in database._read("SELECT sink, payload FROM outbox ORDER BY ordinal")
    ]


async def fire_and_resolve(play, pipeline, finding, *, learned=True):
    for seconds in (0, 30, 60):
        await play(pipeline, seconds, finding, learned=learned)
    for seconds in range(90, 480, 30):
        await play(pipeline, seconds, learned=learned)


async def test_a_fact_is_stored_and_sent_to_every_sink_from_the_first_minute(database, build, play, read_only):
    pipeline = build("ops", "chat")
    await fire_and_resolve(play, pipeline, read_only(), learned=False)
    assert stored(database) == [("ops", "firing"), ("chat", "firing"), ("ops", "resolved"), ("chat", "resolved")]
    (occurrence,) = database.recent_occurrences(10)
    assert occurrence.sentence == "web1: resolved after 6.5 min: /srv is mounted read-only"
    assert occurrence.told == ("ops", "chat")
    assert pipeline.counts["ops"].pending == 2


@pytest.mark.parametrize(("notify", "learned"), [("with_impact", True), ("never", True), ("always", False)])
async def test_an_anomaly_is_stored_and_not_sent(database, build, play, anomaly, *, settings, notify, learned):
    pipeline = build("ops", policy=replace(settings, notify=notify))
    await fire_and_resolve(play, pipeline, anomaly(), learned=learned)
    assert stored(database) == []
    assert [one.state for one in database.recent_occurrences(10)] == ["resolved"]


async def test_what_began_as_a_record_stays_one_when_the_week_is_over(database, build, play, anomaly):
    pipeline = build("ops")
    for seconds in (0, 30, 60):
        await play(pipeline, seconds, anomaly(), learned=False)
    await play(pipeline, 90, anomaly(score=50.0), learned=True)
    for seconds in range(120, 270, 30):
        await play(pipeline, seconds, learned=True)
    assert database.recent_occurrences(1)[0].state == "resolved"
    assert stored(database) == []


async def test_a_peak_is_stored_and_not_sent(database, build, play, anomaly):
    pipeline = build("ops")
    for seconds in (0, 30, 60):
        await play(pipeline, seconds, anomaly())
    assert await play(pipeline, 90, anomaly(score=50.0)) == [Event.PEAK]
    assert database.open_occurrences()[0].score == 50.0
    assert stored(database) == [("ops", "firing")]


async def test_nothing_is_written_when_nothing_happens(build, play, anomaly, store):
    pipeline = build("ops")

    async def refuse(*args):
        raise AssertionError

    store.record_transitions = refuse
    await play(pipeline, 0, anomaly())
    await play(pipeline, 30)
    await play(pipeline, 60, anomaly(Strength.HOLDING))


async def test_a_restart_tells_nobody_twice_and_tells_the_end_to_those_who_know(database, build, play, read_only):
    pipeline = build("ops", "chat")
    for seconds in (0, 30, 60):
        await play(pipeline, seconds, read_only())
    (before,) = database.open_occurrences()
    later = build("ops", "new")  # chat left the configuration, new never heard of the firing
    await later.restore()
    assert [one.id for one in later.active] == [before.id]
    assert await play(later, 5_000, read_only()) == []
    ends = [event for seconds in range(5_030, 5_400, 30) for event in await play(later, seconds)]
    assert ends == [Event.RESOLVED]
    assert stored(database) == [("ops", "firing"), ("chat", "firing"), ("ops", "resolved")]
    assert later.active == ()


async def test_a_failing_store_loses_nothing(database, build, play, read_only, store):
    pipeline = build("ops")
    record = store.record_transitions

    async def refuse(occurrences, items):
        raise StoreError("no room")

    store.record_transitions = refuse
    await fire_and_resolve(play, pipeline, read_only())
    assert database.recent_occurrences(10) == []
    assert pipeline.store_failures > 1
    assert pipeline.counts["ops"].pending == 0
    store.record_transitions = record
    await play(pipeline, 510)
    assert stored(database) == [("ops", "firing"), ("ops", "resolved")]
    assert pipeline.counts["ops"].pending == 2
    assert pipeline.lost == 0


async def test_a_write_whose_outcome_nobody_learned_is_written_once(database, build, play, read_only, store):
    pipeline = build("ops")
    record = store.record_transitions

    async def write_and_fail(occurrences, items):
        await record(occurrences, items)
        raise StoreError("did not end within 10 s")

    store.record_transitions = write_and_fail
    for seconds in (0, 30, 60):
        await play(pipeline, seconds, read_only())
    store.record_transitions = record
    await play(pipeline, 90, read_only())
    assert stored(database) == [("ops", "firing")]


async def test_what_waits_for_a_store_is_bounded(build, play, read_only, store, monkeypatch):
    monkeypatch.setattr(pipeline_module, "_MOST_UNSAVED", 3)

    async def refuse(occurrences, items):
        raise StoreError("gone")

    pipeline = build("ops")
    store.record_transitions = refuse
    mounts = [read_only(f"/{number}") for number in range(5)]
    for seconds in (0, 30, 60):
        await play(pipeline, seconds, *mounts)
    assert pipeline.lost == 2
    assert [item.occurrence for item in pipeline._unsaved_items] == list(pipeline._unsaved)


async def test_a_database_that_cannot_be_read_stops_the_start(build, store):
    async def refuse():
        raise StoreError("damaged")

    store.open_occurrences = refuse
    with pytest.raises(StoreError):
        await build("ops").restore()


async def test_a_stored_transition_wakes_the_outbox(store, settings, play, read_only, *, receive, quick, until):
    receiver = await receive(receive.status(200))
    new_id = UlidSource()
    sink = WebhookSink("ops", receiver.url, user_agent="presaged/test")
    outbox = Outbox(store, [sink], now_ms=lambda: NOW_MS, retry=quick)
    book = AlertBook(settings, gap_seconds=75.0, new_id=new_id, describe=partial(sentence, "web1"))
    pipeline = Pipeline("web1", settings, book=book, store=store, outbox=outbox, new_id=new_id)
    await pipeline.restore()
    task = asyncio.create_task(outbox.run())
    await fire_and_resolve(play, pipeline, read_only())
    await until(lambda: len(receiver.bodies) == 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [body["event"] for body in receiver.bodies] == ["firing", "resolved"]
    assert receiver.bodies[0]["occurrence"] == receiver.bodies[1]["occurrence"]
    assert [headers["webhook-id"] for headers in receiver.headers] == [body["id"] for body in receiver.bodies]
