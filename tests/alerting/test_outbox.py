import asyncio
import socket
import time
from collections import Counter
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.alert import AlertBook
from alerting.errors import DeliveryError, StoreError
from alerting.outbox import ItemState, Outbox, OutboxItem, RetryPolicy, SinkCounts, steady_clock
from alerting.sinks.base import Notification
from alerting.sinks.webhook import WebhookSink

NOW_MS = 1_772_344_800_000


@pytest.fixture
def occurrence(settings, tick, read_only):
    """Build a firing occurrence of its own mount."""

    def build(name):
        book = AlertBook(settings, gap_seconds=75.0, new_id=lambda time_ms: name, describe=lambda one: ".")
        fired = [one for at in (0, 60) for one in book.observe([read_only(f"/{name}")], tick(at))]
        return fired[0].occurrence

    return build


@pytest.fixture
def add(database, occurrence):
    """Store notifications: `add(("ops", "a"))` is the first of thread a for the sink ops."""
    numbers = count(1)

    def store_items(*places, created_ms=NOW_MS):
        items = []
        for sink, name in places:
            number = next(numbers)
            payload = f'{{"n": {number}, "thread": "{name}"}}'
            items.append(OutboxItem(f"item{number}", sink, name, payload, created_ms))
        database.record_transitions([occurrence(name) for name in {name for _, name in places}], items)
        return items

    return store_items


def hook(receiver, name="ops"):
    return WebhookSink(name, receiver.url, user_agent="presaged/test", timeout_seconds=0.3)


@pytest.fixture
def settled(until):
    async def wait(outbox):
        await until(lambda: not any(one.pending for one in outbox.counts.values()))

    return wait


def rows(database):
    return dict(database._read("SELECT id, state FROM outbox"))


def build(store, sinks, retry):
    # Real waits on a clock that moves: the steady clock of production.
    return Outbox(store, sinks, now_ms=steady_clock(NOW_MS, time.monotonic_ns), retry=retry)


async def test_delivers_once(database, store, add, receive, quick, *, settled, running):
    receiver = await receive(receive.status(200))
    add(("ops", "a"))
    outbox = build(store, [hook(receiver)], quick)
    async with running(outbox):
        await settled(outbox)
        await asyncio.sleep(0.05)
    assert [body["n"] for body in receiver.bodies] == [1]
    assert rows(database) == {"item1": "delivered"}
    assert outbox.counts == {"ops": SinkCounts(sent=1, failed=0, dead=0, pending=0)}


async def test_items_added_later_wake_their_sink(store, add, receive, quick, settled, *, until, running):
    receiver = await receive(receive.status(200))
    outbox = build(store, [hook(receiver)], quick)
    async with running(outbox):
        await asyncio.sleep(0.05)
        outbox.added(add(("ops", "a")))
        assert outbox.counts["ops"].pending == 1
        await until(lambda: len(receiver.bodies) == 1)
        await settled(outbox)


async def test_every_failure_is_counted_and_the_id_stays(database, store, add, receive, quick, *, settled, running):
    receiver = await receive(
        receive.status(500), receive.status(302, Location="/x"), receive.close_mid_body, receive.hang,
        receive.status(408), receive.status(200),
    )  # fmt: skip
    add(("ops", "a"))
    outbox = build(store, [hook(receiver)], quick)
    async with running(outbox):
        await settled(outbox)
    assert {headers["webhook-id"] for headers in receiver.headers} == {"item1"}
    assert len(receiver.bodies) == 6
    assert outbox.counts == {"ops": SinkCounts(sent=1, failed=5, dead=0, pending=0)}
    assert database._read("SELECT attempts, last_error FROM outbox") == [(6, None)]


async def test_a_refused_notification_is_dead_and_the_next_one_goes(
    database, store, add, receive, quick, *, settled, running
):
    receiver = await receive(receive.status(400, "bad"), receive.status(200))
    add(("ops", "a"), ("ops", "a"))
    outbox = build(store, [hook(receiver)], quick)
    async with running(outbox):
        await settled(outbox)
    assert rows(database) == {"item1": "dead", "item2": "delivered"}
    assert outbox.counts == {"ops": SinkCounts(sent=1, failed=1, dead=1, pending=0)}
    assert database._read("SELECT last_error FROM outbox WHERE id = 'item1'") == [("HTTP 400: bad",)]


async def test_refused_connection_then_up(store, add, receive, quick, settled, *, until, running):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    receiver = await receive(receive.status(200), port=port, up=False)
    add(("ops", "a"))
    outbox = build(store, [hook(receiver)], quick)
    async with running(outbox):
        await until(lambda: outbox.counts["ops"].failed >= 2)
        await receiver.start()
        await settled(outbox)
    assert outbox.counts["ops"].sent == 1


class Script:
    """A sink in memory: `failures[id]` is how often that notification fails first."""

    takes_digests = False

    def __init__(self, name, failures=None, delay=0.0):
        self.name = name
        self.failures = Counter(failures or {})
        self.delay = delay
        self.tried = []
        self.taken = []

    async def send(self, notification):
        await asyncio.sleep(self.delay)
        self.tried.append(notification.id)
        if self.failures[notification.id] > 0:
            self.failures[notification.id] -= 1
            raise DeliveryError("not now")
        self.taken.append(notification.id)


async def test_order_within_a_thread_and_freedom_between(store, add, quick, settled, running):
    sink = Script("ops", {"item1": 4, "item2": 3})
    add(("ops", "a"), ("ops", "a"), ("ops", "b"), ("ops", "a"), ("ops", "b"))
    outbox = build(store, [sink], quick)
    async with running(outbox):
        await settled(outbox)
    assert sink.tried.index("item2") > max(at for at, one in enumerate(sink.tried) if one == "item1")
    assert [one for one in sink.taken if one in {"item1", "item2", "item4"}] == ["item1", "item2", "item4"]
    assert [one for one in sink.taken if one in {"item3", "item5"}] == ["item3", "item5"]
    assert sink.taken.index("item5") < sink.taken.index("item1")  # b did not wait for a


async def test_any_failures_keep_the_order(store, add, quick, settled, running):
    failures = {f"item{number}": number * 7 % 4 for number in range(1, 61)}
    sink = Script("ops", failures)
    places = [("ops", "abcde"[number % 5]) for number in range(60)]
    items = add(*places)
    outbox = build(store, [sink], quick)
    async with running(outbox):
        await settled(outbox)
    for name in "abcde":
        sent = [one.id for one in items if one.thread == name]
        assert [one for one in sink.taken if one in sent] == sent
    assert Counter(sink.tried) == {one: failures[one] + 1 for one in failures}


async def test_a_slow_sink_delays_no_other(store, add, quick, until, running):
    slow, fast = Script("slow", delay=10.0), Script("fast")
    add(*[(sink, name) for name in "abcde" for sink in ("slow", "fast")])
    outbox = build(store, [slow, fast], quick)
    async with running(outbox):
        await until(lambda: len(fast.taken) == 5)
    assert slow.taken == []
    assert outbox.counts["slow"].pending == 5


async def test_a_sink_that_never_returns_is_a_failure(store, add, quick, until, running):
    outbox = build(store, [Script("ops", delay=60.0)], replace(quick, delivery_seconds=0.02))
    add(("ops", "a"))
    async with running(outbox):
        await until(lambda: outbox.counts["ops"].failed >= 3)


async def test_a_bug_in_a_sink_stops_nothing_and_tells_no_secret(database, store, add, quick, settled, *, running):
    class Broken(Script):
        async def send(self, notification):
            if not self.tried:
                self.tried.append(notification.id)
                raise RuntimeError("https://me:secret@example.invalid/")
            await super().send(notification)

    errors = []
    record = store.record_attempt

    async def watch(item_id, **outcome):
        errors.append(outcome["error"])
        await record(item_id, **outcome)

    store.record_attempt = watch
    outbox = build(store, [Broken("ops")], quick)
    add(("ops", "a"))
    async with running(outbox):
        await settled(outbox)
    assert errors[0].startswith("bug in the sink: RuntimeError at ")
    assert "secret" not in errors[0]
    assert outbox.counts["ops"] == SinkCounts(sent=1, failed=1, dead=0, pending=0)


async def test_a_failing_store_is_asked_again_and_nothing_is_sent_twice(store, add, quick, settled, running):
    sink = Script("ops")
    add(("ops", "a"))
    record, due, failures = store.record_attempt, store.due_items, Counter()

    async def sometimes(name, ask, *args, **named):
        failures[name] += 1
        if failures[name] <= 2:
            raise StoreError("no room")
        return await ask(*args, **named)

    store.record_attempt = lambda *args, **named: sometimes("record", record, *args, **named)
    store.due_items = lambda *args, **named: sometimes("due", due, *args, **named)
    outbox = build(store, [sink], quick)
    async with running(outbox):
        await settled(outbox)
    assert sink.taken == ["item1"]
    assert outbox.store_failures == 4


async def test_what_is_in_flight_at_the_end_goes_again_under_its_id(store, add, receive, quick, settled, *, running):
    slow = Script("ops", delay=10.0)
    add(("ops", "a"))
    outbox = build(store, [slow], replace(quick, delivery_seconds=30.0))
    async with running(outbox):
        await asyncio.sleep(0.05)
    again = Script("ops")
    second = build(store, [again], quick)
    async with running(second):
        await settled(second)
    assert again.taken == ["item1"]


async def test_a_sink_that_left_the_configuration_is_counted_as_waiting(store, add, quick):
    add(("former", "a"))
    outbox = build(store, [Script("ops")], quick)
    await outbox.load()
    assert outbox.counts == {"ops": SinkCounts(0, 0, 0, 0), "former": SinkCounts(0, 0, 0, 1)}


async def test_retry_after_is_a_lower_bound(database, store, add, receive, quick, *, settled, until, running):
    receiver = await receive(receive.status(429, Retry_After="1800"), receive.status(200))
    add(("ops", "a"))
    clock = [NOW_MS]
    outbox = Outbox(store, [hook(receiver)], now_ms=lambda: clock[0], retry=quick)
    async with running(outbox):
        await until(lambda: len(receiver.bodies) == 1)
        await asyncio.sleep(0.1)
        assert len(receiver.bodies) == 1
        assert database.next_due_ms("ops") == NOW_MS + 1_800_000
    clock[0] += 1_800_001
    outbox = Outbox(store, [hook(receiver)], now_ms=lambda: clock[0], retry=quick)
    async with running(outbox):
        await settled(outbox)
    assert len(receiver.bodies) == 2


async def test_a_date_beyond_every_wait_comes_from_a_clock_that_jumped(database, store, add, quick, until, *, running):
    add(("ops", "a"), ("ops", "b"))
    for item, wait_ms in (("item1", 3_600_000), ("item2", 3_600_001)):
        database.record_attempt(
            item, state=ItemState.PENDING, attempts=1, next_attempt_ms=NOW_MS + wait_ms, error="later"
        )
    sink = Script("ops")
    outbox = Outbox(store, [sink], now_ms=lambda: NOW_MS, retry=quick)
    async with running(outbox):
        await until(lambda: bool(sink.taken))
        await asyncio.sleep(0.05)
    assert sink.taken == ["item2"]


async def test_dead_after_the_bound(database, store, add, quick, settled, *, running):
    items = add(("ops", "a"), created_ms=NOW_MS - 86_400_001)
    sink = Script("ops", {items[0].id: 100})
    outbox = build(store, [sink], quick)
    async with running(outbox):
        await settled(outbox)
    assert rows(database) == {"item1": "dead"}
    assert outbox.counts["ops"] == SinkCounts(sent=0, failed=20, dead=1, pending=0)


def test_giving_up():
    retry = RetryPolicy()
    assert not retry.gives_up(19, 10 * 86_400.0)  # an old item of a host that was off still gets its chance
    assert not retry.gives_up(500, 86_399.0)
    assert retry.gives_up(20, 86_400.0)
    assert retry.gives_up(20, -10 * 86_400.0)  # made by a clock that was far ahead


@given(st.integers(1, 10_000), st.none() | st.floats(0, 1e9))
def test_waits_are_bounded(attempts, wish):
    retry = RetryPolicy()
    wait = retry.wait_seconds(attempts, wish)
    assert min(wish or 0.0, 3_600.0) <= wait <= max(min(300.0, 2.0 ** min(attempts - 1, 20)), min(wish or 0.0, 3_600.0))


def test_waits_are_jittered():
    assert len({round(RetryPolicy().wait_seconds(20)) for _ in range(200)}) > 50


def test_the_steady_clock_goes_on_from_the_wall_clock():
    now = [5_000_000_000]
    clock = steady_clock(NOW_MS, lambda: now[0])
    assert clock() == NOW_MS
    now[0] += 1_500_000_000
    assert clock() == NOW_MS + 1_500


async def test_memory_holds_one_page(database, store, add, quick, settled, *, running):
    add(*[("ops", f"x{number}") for number in range(120)])
    assert len(database.due_items("ops", now_ms=NOW_MS, beyond_ms=NOW_MS + 1, limit=50)) == 50
    sink = Script("ops")
    outbox = build(store, [sink], quick)
    async with running(outbox):
        await settled(outbox)
    assert sink.taken == [f"item{number}" for number in range(1, 121)]


async def test_what_made_room_is_counted_and_waits_no_longer(store, quick):
    outbox = build(store, [Script("ops"), Script("chat")], quick)
    outbox.added([OutboxItem(f"item{number}", "ops", "a", "{}", NOW_MS) for number in range(3)], {"ops": 2})
    assert outbox.counts["ops"] == SinkCounts(sent=0, failed=0, dead=0, pending=1, dropped=2)
    assert outbox.counts["chat"] == SinkCounts(0, 0, 0, 0)


async def test_a_sink_is_tried_beside_the_queue(database, store, add, quick):
    sink = Script("ops", {"bad": 1})
    add(("ops", "a"))
    outbox = build(store, [sink], quick)
    assert await outbox.attempt("ops", Notification("good", "{}")) is None
    assert await outbox.attempt("ops", Notification("bad", "{}")) == "not now"
    assert sink.tried == ["good", "bad"]
    assert rows(database) == {"item1": "pending"}
    with pytest.raises(KeyError):
        await outbox.attempt("nobody", Notification("good", "{}"))


def test_digests_are_for_those_that_take_them(quick):
    people, pager = Script("people"), Script("pager")
    people.takes_digests = True
    outbox = build(None, [pager, people], quick)
    assert (outbox.sink_names, outbox.digest_sinks) == (("pager", "people"), ("people",))
