import asyncio
import json
import time
import tracemalloc
from dataclasses import replace
from datetime import time as wall_time
from zoneinfo import ZoneInfo

import pytest

from alerting import pipeline as pipeline_module
from alerting.alert import Event
from alerting.dispatch import DispatchSettings
from alerting.errors import StoreError
from alerting.limit import Limits
from alerting.links import LinkSigner
from alerting.mute import Maintenance
from alerting.occurrence import State
from alerting.pipeline import PipelineSettings
from alerting.policy import DRILL, Kept
from alerting.route import Escalation
from alerting.silence import Match, Silence
from alerting.sinks.webhook import WebhookSink
from alerting.timeinterval import Window
from detectors.findings import Finding, Strength

T0 = 1_772_344_800_000  # 2026-03-01T06:00:00Z, a Sunday


def stored(database):
    return [
        (sink, json.loads(payload)["event"])
        for sink, payload in database._read("SELECT sink, payload FROM outbox ORDER BY ordinal")
    ]


def impact(strength=Strength.RAISED):
    return Finding("AnomalyWithImpact", "anomaly", "", strength, "unusual, and felt", 0.9, 0.8)


async def fire(play, pipeline, *findings, start=0, **more):
    for seconds in (0, 30, 60):
        await play(pipeline, start + seconds, *findings, **more)


async def fire_and_resolve(play, pipeline, finding, *, learned=True):
    await fire(play, pipeline, finding, learned=learned)
    for seconds in range(90, 480, 30):
        await play(pipeline, seconds, learned=learned)


async def test_a_fact_is_stored_and_sent_to_every_sink_from_the_first_minute(database, build, play, read_only):
    pipeline = build("ops", "chat")
    await fire_and_resolve(play, pipeline, read_only(), learned=False)
    assert stored(database) == [("ops", "firing"), ("chat", "firing"), ("ops", "resolved"), ("chat", "resolved")]
    (occurrence,) = database.recent_occurrences(10)
    assert occurrence.sentence == "web1: resolved after 6.5 min: /srv is mounted read-only"
    assert occurrence.told == occurrence.ended == ("ops", "chat")
    assert occurrence.group == occurrence.id
    assert database.unsettled_occurrences() == []
    assert pipeline.counts["ops"].pending == 2


async def test_alerts_that_fire_in_the_same_tick_are_one_notification_and_so_is_their_end(build, play, failed, told):
    pipeline = build("ops")
    units = [failed(name) for name in "abc"]
    await fire(play, pipeline, *units)
    for seconds in range(90, 300, 30):
        await play(pipeline, seconds)
    assert told() == [
        ("ops", ("began", "a"), ("began", "b"), ("began", "c")),
        ("ops", ("ended", "a"), ("ended", "b"), ("ended", "c")),
    ]


async def test_what_fires_just_after_the_first_is_told_with_it_in_one_thread(database, build, play, failed, told):
    pipeline = build("ops")
    await play(pipeline, 0, failed("a"))
    for seconds in (30, 60, 90, 120, 150, 180):
        await play(pipeline, seconds, failed("a"), failed("b"))
    assert told() == [("ops", ("began", "a")), ("ops", ("began", "b"))]
    assert [one.fired_ms - T0 for one in database.unsettled_occurrences()] == [60_000, 90_000]
    ((first, thread), (second, same)) = database._read("SELECT created_ms, thread FROM outbox ORDER BY ordinal")
    assert (first, second, thread) == (T0 + 60_000, T0 + 120_000, same)


# What is kept


@pytest.mark.parametrize(
    ("notify", "learned", "kept"),
    [
        ("with_impact", True, Kept.RECORD),
        ("never", True, Kept.SWITCHED_OFF),
        ("always", False, Kept.LEARNING),
    ],
)
async def test_an_anomaly_is_stored_and_not_sent(database, build, play, anomaly, *, settings, notify, learned, kept):
    pipeline = build("ops", policy=replace(settings, notify=notify))
    await fire_and_resolve(play, pipeline, anomaly(), learned=learned)
    assert stored(database) == []
    assert [(one.state, one.kept) for one in database.recent_occurrences(10)] == [("resolved", kept)]


async def test_what_is_unusual_just_after_a_change_is_a_record_to_its_end(database, build, play):
    pipeline = build("ops")
    await fire(play, pipeline, impact(), changing=True)
    for seconds in range(90, 300, 30):
        await play(pipeline, seconds, changing=False)
    assert [(one.state, one.kept) for one in database.recent_occurrences(10)] == [("resolved", Kept.CHANGE)]
    assert stored(database) == []


async def test_what_began_as_a_record_stays_one_when_the_week_is_over(database, build, play, anomaly):
    pipeline = build("ops")
    await fire(play, pipeline, anomaly(), learned=False)
    await play(pipeline, 90, anomaly(score=50.0), learned=True)
    for seconds in range(120, 270, 30):
        await play(pipeline, seconds, learned=True)
    assert database.recent_occurrences(1)[0].state == "resolved"
    assert stored(database) == []


async def test_a_peak_is_stored_and_not_sent(database, build, play, anomaly):
    pipeline = build("ops")
    await fire(play, pipeline, anomaly())
    assert await play(pipeline, 90, anomaly(score=50.0)) == [Event.PEAK]
    assert database.unsettled_occurrences()[0].score == 50.0
    assert stored(database) == [("ops", "firing")]


async def test_an_anomaly_that_hurts_is_told_and_explains_the_plain_one(build, play, anomaly, told):
    pipeline = build("ops")
    await fire(play, pipeline, anomaly(), impact())
    assert told() == [("ops", ("began", ""))]
    assert list(pipeline.muted.values()) == ["explained by AnomalyWithImpact"]
    for seconds in range(90, 300, 30):
        await play(pipeline, seconds, anomaly(Strength.HOLDING))  # it no longer hurts, and is not over
    assert told() == [("ops", ("began", "")), ("ops", ("ended", "")), ("ops", ("began", ""))]
    assert pipeline.muted == {}


async def test_nothing_is_written_when_nothing_happens(build, play, anomaly, store):
    pipeline = build("ops")

    async def refuse(*args):
        raise AssertionError

    store.record_transitions = refuse
    await play(pipeline, 0, anomaly())
    await play(pipeline, 30)
    await play(pipeline, 60, anomaly(Strength.HOLDING))


async def test_an_alert_that_only_goes_on_is_not_written_again(build, play, failed, store):
    pipeline = build("ops")
    await fire(play, pipeline, failed())

    async def refuse(*args):
        raise AssertionError

    store.record_transitions = refuse
    for seconds in range(90, 3_000, 30):
        await play(pipeline, seconds, failed())


# The digest


@pytest.fixture
def berlin(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def digests(database):
    rows = database._read("SELECT sink, thread, payload, is_page FROM outbox ORDER BY ordinal")
    return [(sink, thread, json.loads(payload)["count"], is_page) for sink, thread, payload, is_page in rows]


@pytest.mark.usefixtures("berlin")
async def test_in_the_learning_week_the_morning_brings_what_would_have_been_sent_once(
    database, build, play, tick, deaf
):
    """It begins at 7:00 in Berlin: at eight there is one that is over and one that still fires."""
    pipeline = build("ops", deaf("pager", takes_digests=False))
    await fire(play, pipeline, impact(), learned=False)
    for seconds in range(90, 300, 30):
        await play(pipeline, seconds, learned=False)
    assert database.unsettled_occurrences()[0].owed
    pipeline = build("ops", deaf("pager", takes_digests=False))  # a restart
    await pipeline.restore(tick(300))
    await fire(play, pipeline, impact(), start=330, learned=False)
    await play(pipeline, 3_599, impact(), learned=False)
    assert digests(database) == []
    await play(pipeline, 3_600, impact(), learned=False)
    assert digests(database) == [("ops", "digest", 2, 0)]
    for seconds in (3_630, 50_000, 86_400 + 3_600, 86_400 + 3_630):
        await play(pipeline, seconds, impact(), learned=False)
    for seconds in range(90_060, 90_300, 30):
        await play(pipeline, seconds, learned=True)
    await play(pipeline, 5 * 86_400, learned=True)
    assert len(digests(database)) == 1
    assert database.unsettled_occurrences() == []


# Restarts


async def test_a_restart_tells_nobody_twice_and_the_end_to_those_who_know(
    database, build, play, tick, read_only, *, told
):
    pipeline = build("ops", "chat")
    await fire(play, pipeline, read_only())
    (before,) = database.unsettled_occurrences()
    later = build("ops", "chat")
    await later.restore(tick(4_970))
    assert [one.id for one in later.active] == [before.id]
    assert await play(later, 5_000, read_only()) == []
    ends = [event for seconds in range(5_030, 5_400, 30) for event in await play(later, seconds)]
    assert ends == [Event.RESOLVED]
    assert told() == [(sink, (what, "/srv")) for what in ("began", "ended") for sink in ("ops", "chat")]
    assert later.active == ()
    assert database.unsettled_occurrences() == []


async def test_a_sink_that_left_is_told_nothing_and_a_new_one_learns_what_fires(build, play, tick, read_only, told):
    pipeline = build("ops", "former")
    await fire(play, pipeline, read_only())
    later = build("ops", "new")
    await later.restore(tick(4_970))
    await play(later, 5_000, read_only())
    for seconds in range(5_030, 5_400, 30):
        await play(later, seconds)
    assert told() == [
        ("ops", ("began", "/srv")), ("former", ("began", "/srv")), ("new", ("began", "/srv")),
        ("ops", ("ended", "/srv")), ("new", ("ended", "/srv")),
    ]  # fmt: skip


async def test_what_is_owed_is_owed_over_a_restart(database, build, play, tick, failed, *, told):
    limit = DispatchSettings(limits=Limits(1, 1.0))
    pipeline = build("ops", dispatch=limit)
    await fire(play, pipeline, failed("a"))
    for seconds in range(90, 300, 30):
        await play(pipeline, seconds)
    assert told() == [("ops", ("began", "a"))]
    assert [(one.state, one.owed) for one in database.unsettled_occurrences()] == [("resolved", True)]
    later = build("ops", dispatch=limit)
    await later.restore(tick(300))
    await play(later, 330)
    assert told() == [("ops", ("began", "a")), ("ops", ("ended", "a"))]
    assert database.unsettled_occurrences() == []


async def test_a_restart_in_the_middle_of_a_group_keeps_its_waits(build, play, tick, failed, told):
    pipeline = build("ops")
    await fire(play, pipeline, failed("a"), failed("b"))
    later = build("ops")
    await later.restore(tick(70))
    for seconds in range(90, 360, 30):
        await play(later, seconds, failed("b"))
    assert told() == [("ops", ("began", "a"), ("began", "b"))]
    await play(later, 360, failed("b"))
    assert told()[1:] == [("ops", ("ended", "a"))]


async def test_what_comes_and_goes_is_known_after_a_restart(build, play, tick, failed):
    pipeline = build("ops")
    for start in (0, 300, 600):
        await fire(play, pipeline, failed(), start=start)
        if start == 300:
            for seconds in range(390, 600, 30):
                await play(pipeline, seconds)
            pipeline = build("ops")
            await pipeline.restore(tick(590))
        else:
            for seconds in range(start + 90, start + 300, 30):
                await play(pipeline, seconds)
    (one,) = pipeline.active
    assert (one.firings, one.state) == (3, State.FIRING)
    assert one.sentence.endswith("; it comes and goes: 3 times within the hour")


# A store that fails


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
    assert database.unsettled_occurrences() == []


async def test_a_write_whose_outcome_nobody_learned_is_written_once(database, build, play, read_only, store):
    pipeline = build("ops")
    record = store.record_transitions

    async def write_and_fail(occurrences, items):
        await record(occurrences, items)
        raise StoreError("did not end within 10 s")

    store.record_transitions = write_and_fail
    await fire(play, pipeline, read_only())
    store.record_transitions = record
    await play(pipeline, 90, read_only())
    assert stored(database) == [("ops", "firing")]


async def test_what_waits_for_a_store_is_bounded_and_pages_are_lost_last(build, play, failed, store, monkeypatch):
    monkeypatch.setattr(pipeline_module, "_MOST_UNSAVED", 3)

    async def refuse(occurrences, items):
        raise StoreError("gone")

    pipeline = build("ops", dispatch=DispatchSettings(group_seconds=1.0))
    store.record_transitions = refuse
    for number in range(5):
        await fire(play, pipeline, failed(f"{number}"), start=100 * number)
    await play(pipeline, 690)
    await play(pipeline, 720)
    assert len(pipeline._unsaved) == len(pipeline._unsaved_items) == 3
    assert pipeline.lost > 0
    assert all(item.is_page for item in pipeline._unsaved_items)


async def test_a_database_that_cannot_be_read_stops_the_start(build, store, tick):
    async def refuse():
        raise StoreError("damaged")

    store.unsettled_occurrences = refuse
    with pytest.raises(StoreError):
        await build("ops").restore(tick(0))


@pytest.mark.parametrize("pauses", range(1, 12))
async def test_a_tick_that_is_cut_off_leaves_no_alert_as_told_that_is_not(
    database, build, play, tick, failed, *, told, pauses
):
    """Whatever is saved after it was cut off, here by an operator's word, the notification goes with it or later."""
    pipeline = build("ops", dispatch=DispatchSettings(group_seconds=1.0))
    await fire(play, pipeline, failed("a"))
    await play(pipeline, 90, failed("a"), failed("b"))
    await play(pipeline, 120, failed("a"), failed("b"))
    cut = asyncio.create_task(play(pipeline, 150, failed("a"), failed("b")))
    for _ in range(pauses):
        await asyncio.sleep(0)
    cut.cancel()
    await asyncio.gather(cut, return_exceptions=True)
    await pipeline.acknowledge(pipeline.active[0].id, "ana", tick(155))
    began = [resource for _, *news in told() for what, resource in news]
    for one in database.unsettled_occurrences():
        assert not one.told or one.resource in began
    await play(pipeline, 180, failed("a"), failed("b"))
    assert sorted(resource for _, *news in told() for what, resource in news) == ["a", "b"]


# What an operator says


def silence(resource="*", seconds=(0, 600), number="s1"):
    return Silence(number, Match(resource=resource), T0 + seconds[0] * 1000, T0 + seconds[1] * 1000, "ana", "disk swap")


async def test_a_silence_keeps_an_alert_until_it_ends_and_then_it_is_told(build, play, failed, told):
    pipeline = build("ops")
    await pipeline.silence(silence("app*"))
    await fire(play, pipeline, failed(), failed("db.service"))
    assert told() == [("ops", ("began", "db.service"))]
    assert list(pipeline.muted.values()) == ["silenced by ana: disk swap"]
    for seconds in range(90, 600, 30):
        await play(pipeline, seconds, failed(), failed("db.service"))
    assert len(told()) == 1
    await play(pipeline, 600, failed(), failed("db.service"))
    assert told() == [("ops", ("began", "db.service")), ("ops", ("began", "app.service"))]
    assert pipeline.muted == {}
    assert pipeline.silences == ()


async def test_a_silence_that_is_ended_early_is_over_at_once_and_one_is_kept_over_a_restart(
    database, build, play, tick, failed, *, told
):
    pipeline = build("ops")
    await pipeline.silence(silence())
    await fire(play, pipeline, failed())
    later = build("ops")
    await later.restore(tick(70))
    assert later.silences == (silence(),)
    await play(later, 90, failed())
    assert told() == []
    await later.silence(silence(seconds=(0, 100)))
    await play(later, 120, failed())
    assert told() == [("ops", ("began", "app.service"))]
    assert database.silences(T0 + 110_000) == []


async def test_a_silence_is_not_forgotten_when_the_clock_goes_forward_and_back(build, play, tick, failed, told):
    pipeline = build("ops")
    await pipeline.silence(silence())
    await fire(play, pipeline, failed())
    await pipeline.observe([failed()], replace(tick(90), time_ms=T0 + 86_400_000), learned=True)
    assert pipeline.silences == ()
    before = told()
    for seconds in (120, 150, 180, 210):
        await play(pipeline, seconds, failed(), failed("other"))
    assert pipeline.silences == (silence(),)
    assert told() == before


async def test_a_silence_that_could_not_be_stored_is_none(build, play, failed, store, told):
    async def refuse(one):
        raise StoreError("no room")

    store.record_silence = refuse
    pipeline = build("ops")
    with pytest.raises(StoreError):
        await pipeline.silence(silence())
    await fire(play, pipeline, failed())
    assert told() == [("ops", ("began", "app.service"))]


async def test_the_end_of_what_was_told_before_a_silence_is_told(build, play, failed, told):
    pipeline = build("ops")
    await fire(play, pipeline, failed())
    await pipeline.silence(silence())
    for seconds in range(90, 300, 30):
        await play(pipeline, seconds)
    assert told() == [("ops", ("began", "app.service")), ("ops", ("ended", "app.service"))]


async def test_silences_are_bounded(build, monkeypatch):
    monkeypatch.setattr(pipeline_module, "MOST_SILENCES", 3)
    pipeline = build("ops")
    for number in range(5):
        await pipeline.silence(silence(number=f"s{number}"))
    assert [one.id for one in pipeline.silences] == ["s2", "s3", "s4"]


async def test_maintenance_keeps_alerts_while_it_lasts(build, play, failed, told):
    window = Window("patches", frozenset({6}), wall_time(5), wall_time(6, 10), ZoneInfo("UTC"))
    pipeline = build("ops", maintenance=[Maintenance(window, Match(resource="app*"))])
    await fire(play, pipeline, failed())
    assert list(pipeline.muted.values()) == ["maintenance patches"]
    for seconds in range(90, 600, 30):
        await play(pipeline, seconds, failed())
    assert told() == []
    await play(pipeline, 600, failed())
    assert told() == [("ops", ("began", "app.service"))]


async def test_what_is_left_to_another_is_told_as_soon_as_he_is_gone(build, play, failed, told):
    who = ["Prometheus"]
    pipeline = build("ops", left_to=lambda: who[0])
    await fire(play, pipeline, failed())
    assert list(pipeline.muted.values()) == ["left to Prometheus"]
    assert told() == []
    who[0] = ""
    await play(pipeline, 90, failed())
    assert told() == [("ops", ("began", "app.service"))]


async def test_a_page_that_is_taken_in_hand_is_neither_repeated_nor_told_to_others(
    database, build, play, tick, failed, *, told
):
    settings = DispatchSettings(repeat_seconds=600.0, escalation=Escalation(900.0, ("boss",)))
    pipeline = build("ops", "boss", dispatch=settings)
    await fire(play, pipeline, failed("a"), failed("b"))
    (one, other) = pipeline.active
    assert (await pipeline.acknowledge(one.id, "ana", tick(70))).acknowledged.author == "ana"
    assert (await pipeline.acknowledge(one.id, "ben", tick(80))).acknowledged.author == "ana"
    assert await pipeline.acknowledge("nobody", "ana", tick(80)) is None
    pipeline = build("ops", "boss", dispatch=settings)  # a restart
    await pipeline.restore(tick(80))
    for seconds in range(90, 1_000, 30):
        await play(pipeline, seconds, failed("a"), failed("b"))
    assert told() == [("ops", ("began", "a"), ("began", "b")), ("ops", ("again", "b")), ("boss", ("began", "b"))]
    acknowledged = {one.id: one.acknowledged for one in database.unsettled_occurrences()}
    assert acknowledged[one.id].author == "ana"
    assert acknowledged[other.id] is None


async def test_what_only_begins_cannot_be_taken_in_hand(build, play, tick, failed):
    pipeline = build("ops")
    await play(pipeline, 0, failed())
    assert await pipeline.acknowledge(pipeline.active[0].id, "ana", tick(10)) is None


async def test_a_drill_goes_through_everything_and_is_over_with_the_next_tick(database, build, play, tick, told):
    pipeline = build("ops")
    await play(pipeline, 0, Finding(DRILL, "drill", "", Strength.RAISED, "ana tries it"), learned=False)
    await play(pipeline, 30, learned=False)
    assert told() == [("ops", ("began", "")), ("ops", ("ended", ""))]
    documents = [json.loads(payload) for (payload,) in database._read("SELECT payload FROM outbox ORDER BY ordinal")]
    assert [one["drill"] for one in documents] == [True, True]
    assert documents[0]["sentence"] == "DRILL: web1: ana tries it"


async def test_links_are_in_the_notification_when_there_is_an_address(database, build, play, failed):
    signer = LinkSigner(b"key", "https://web1.example.org")
    pipeline = build("ops", links=lambda one: signer.links(one, T0))
    await fire(play, pipeline, failed())
    ((payload,),) = database._read("SELECT payload FROM outbox")
    (one,) = pipeline.active
    assert json.loads(payload)["links"] == signer.links(one.id, T0)


async def test_changed_settings_are_followed_from_the_next_tick_on(build, play, failed, settings, told):
    pipeline = build("ops", "chat")
    await fire(play, pipeline, failed("a"))
    window = Window("w", frozenset(range(7)), wall_time(0), wall_time(0), ZoneInfo("UTC"))
    pipeline.reconfigure(PipelineSettings(settings, maintenance=(Maintenance(window, Match()),)))
    await fire(play, pipeline, failed("a"), failed("b"), start=90)
    assert told() == [("ops", ("began", "a")), ("chat", ("began", "a"))]


# Together with the outbox


async def test_a_stored_transition_wakes_the_outbox(build, play, tick, read_only, receive, *, running, until):
    receiver = await receive(receive.status(200))
    pipeline = build(WebhookSink("ops", receiver.url, user_agent="presaged/test"))
    await pipeline.restore(tick(0))
    async with running(pipeline._outbox):
        await fire_and_resolve(play, pipeline, read_only())
        await until(lambda: len(receiver.bodies) == 2)
    assert [body["event"] for body in receiver.bodies] == ["firing", "resolved"]
    assert receiver.bodies[0]["occurrence"] == receiver.bodies[1]["occurrence"]
    assert [headers["webhook-id"] for headers in receiver.headers] == [body["id"] for body in receiver.bodies]


async def test_from_the_finding_to_the_accepted_delivery(build, tick, failed, receive, *, running, until):
    """A hundred single pages on loopback, median; the bound is generous, a busy machine is not to fail it."""
    took, began = [], [0.0]

    class Noted(WebhookSink):
        async def send(self, notification):
            await super().send(notification)
            took.append(time.perf_counter() - began[0])

    receiver = await receive(receive.status(200), keep=lambda body: body["event"])
    sink = Noted("ops", receiver.url, user_agent="presaged/test")
    free = DispatchSettings(group_seconds=1.0, limits=Limits(10, 0.0))
    now_ms = [T0]
    pipeline = build(sink, dispatch=free, now_ms=lambda: now_ms[0])
    await pipeline.restore(tick(0))
    held = []
    async with running(pipeline._outbox):
        for number in range(100):
            held.append(Finding("RepeatedOOMKills", "host", f"{number}.service", Strength.RAISED, "killed"))
            now_ms[0] += 30_000
            began[0] = time.perf_counter()
            await pipeline.observe(held, tick(30 * number), learned=True)
            await until(lambda number=number: len(took) == number + 1)
            await until(lambda: pipeline.counts["ops"].pending == 0)
    median = sorted(took)[50]
    print(f"finding to accepted delivery: median {median * 1000:.1f} ms, worst {max(took) * 1000:.1f} ms")
    assert receiver.bodies == ["firing"] * 100
    assert median < 0.1


async def test_a_long_past_is_taken_up_page_by_page(database, build, tick, alert, contributors):
    """A start behind more alerts than are remembered takes little for a moment; as one list they were 3.6 MB."""
    ended = [
        alert(
            fingerprint=f"{number % 7}",
            state=State.RESOLVED,
            fired_ms=T0 - 1_200_000 + 1000 * number,
            resolved_ms=T0,
            contributors=contributors,
        )
        for number in range(1100)
    ]
    database.record_transitions(ended, [])
    at_once = build()
    at_once._book.restore(ended[-1000:], tick(0))
    paged = build()
    tracemalloc.start()
    await paged.restore(tick(0))
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"{(most - held) / 1e6:.2f} MB")
    assert most - held < 1_000_000
    assert paged._book._fired == at_once._book._fired
    assert len(paged._book._fired) == 7
