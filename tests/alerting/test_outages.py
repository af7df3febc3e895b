"""Receivers that are down, slow, rude or wrong for hours, and a disk without room: nothing is lost, none waits."""

import asyncio
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
import tracemalloc
from collections import defaultdict
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from itertools import count

import pytest

from alerting.outbox import Outbox, OutboxItem, RetryPolicy
from alerting.sinks.webhook import WebhookSink
from daemon.alert_store import OffloadedState
from daemon.offload import Offload
from daemon.state import MOST_PENDING, StateDatabase

START_MS = 1_772_344_800_000
HOUR_MS = 3_600_000
SPEED = 7_200  # an outage of six hours takes three seconds
DELAY_SECONDS = 1.0  # the most that one sink may cost another


@dataclass
class FastClock:
    """The outbox's clock: hours pass in half a second, while its waits are of real milliseconds."""

    speed: int = SPEED
    began: float = field(default_factory=time.monotonic)

    def __call__(self):
        return START_MS + int((time.monotonic() - self.began) * 1000 * self.speed)

    async def reach(self, hours):
        await asyncio.sleep(max(0.0, self.began + hours * HOUR_MS / 1000 / self.speed - time.monotonic()))


class Noted(WebhookSink):
    """A webhook that notes what was taken, and when."""

    def __init__(self, name, url):
        super().__init__(name, url, user_agent="presaged/test", timeout_seconds=0.2)
        self.taken = []
        self.at = {}

    async def send(self, notification):
        await super().send(notification)
        self.taken.append(json.loads(notification.payload))
        self.at[notification.id] = time.monotonic()


class Host:
    """A database, an outbox, and what is stored for its sinks in the meantime."""

    def __init__(self, database, store, sinks, *, speed=SPEED):
        self.database = database
        self.now_ms = FastClock(speed)
        retry = RetryPolicy(base_seconds=0.002, cap_seconds=0.02, delivery_seconds=1.0)
        self.outbox = Outbox(store, sinks, now_ms=self.now_ms, retry=retry)
        self.numbers = count(1)
        self.added_at = {}

    def add(self, sink, thread, *, is_page=False):
        number = next(self.numbers)
        payload = json.dumps({"n": number, "thread": thread})
        item = OutboxItem(f"{sink}{number}", sink, thread, payload, self.now_ms(), is_page=is_page)
        dropped = self.database.record_transitions([], [item])
        self.added_at[item.id] = time.monotonic()
        self.outbox.added([item], dropped)
        return item

    async def live(self, hours):
        """Let hours pass in which alerts come and go for both sinks."""
        step = 0.25
        for number in range(int(hours / step)):
            for sink in ("bad", "good"):
                self.add(sink, f"thread{number % 3}")
            await self.now_ms.reach((number + 1) * step)

    def has_settled(self):
        """Whether nothing waits; what waits for half an hour of the fast clock would sleep for one, and is woken."""
        self.outbox._wakes["bad"].set()
        return not any(one.pending for one in self.outbox.counts.values())

    def states(self, sink):
        rows = self.database._read("SELECT state, count(*) FROM outbox WHERE sink = ? GROUP BY state", sink)
        return dict(rows)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@asynccontextmanager
async def speaking(port, answer):
    """A server that is none of HTTP."""

    async def speak(reader, writer):
        await answer(reader, writer)
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", port):
        yield


async def babble(reader, writer):
    writer.write(b"220 mail.example.org ESMTP\r\n\r\n")
    await writer.drain()


async def say_nothing(reader, writer):
    await asyncio.sleep(0.01)


def in_order(taken):
    """Whether each thread came in its order, and nothing twice."""
    threads = defaultdict(list)
    for one in taken:
        threads[one["thread"]].append(one["n"])
    return all(numbers == sorted(set(numbers)) for numbers in threads.values())


@pytest.fixture
async def outage(database, store, receive, running, until):
    """Live through six hours in which the sink `bad` is as `mood` says, and some more in which it is well."""

    async def live(mood):
        port = free_port()
        bad = await receive(receive.status(200), port=port, up=False)
        good = await receive(receive.status(200))
        sinks = [Noted("bad", bad.url), Noted("good", good.url)]
        host = Host(database, store, sinks)
        async with running(host.outbox):
            if callable(mood):
                async with speaking(port, mood):
                    await host.live(6)
            elif mood:
                bad.script[:] = mood
                await bad.start()
                await host.live(6)
            else:
                await host.live(6)
            failed, early = host.outbox.counts["bad"].failed, len(sinks[0].taken)
            bad.script[:] = [receive.status(200)]
            if not bad.is_up:
                await bad.start()
            await host.live(2)
            await until(host.has_settled)
        waits = [sinks[1].at[number] - added for number, added in host.added_at.items() if number.startswith("good")]
        print(
            f"{failed} attempts failed, {early} taken early; the other sink waited {max(waits) * 1000:.0f} ms at most"
        )
        return host, sinks, failed, max(waits)

    return live


def moods(receive):
    return {
        "is down": None,
        "answers 500": [receive.status(500, "no")],
        "answers 429": [receive.status(429, Retry_After="1800")],
        "answers 429 without saying when": [receive.status(429)],
        "answers 429 with a date of long ago": [receive.status(429, Retry_After="Sun, 06 Nov 1994 08:49:37 GMT")],
        "answers 429 with nonsense": [receive.status(429, Retry_After="soon")],
        "hangs": [receive.hang],
        "closes in the middle of its answer": [receive.close_mid_body],
        "redirects": [receive.status(302, Location="/elsewhere")],
        "speaks another language": babble,
        "says nothing": say_nothing,
        "answers each time otherwise": [
            receive.status(500), receive.status(302, Location="/x"), receive.status(408), receive.close_mid_body,
            receive.hang, receive.status(503, Retry_After="1"), receive.status(425),
        ] * 50,
    }  # fmt: skip


MOODS = (
    "is down", "answers 500", "answers 429", "answers 429 without saying when", "answers 429 with a date of long ago",
    "answers 429 with nonsense", "hangs", "closes in the middle of its answer", "redirects", "speaks another language",
    "says nothing", "answers each time otherwise",
)  # fmt: skip


@pytest.mark.parametrize("mood", MOODS)
async def test_after_six_hours_that_a_sink_was_unwell_it_gets_everything_in_order(outage, receive, mood):
    assert moods(receive).keys() == set(MOODS)
    host, (bad, good), failed, waited = await outage(moods(receive)[mood])
    assert host.states("bad") == host.states("good") == {"delivered": 32}
    assert in_order(bad.taken)
    assert in_order(good.taken)
    assert (len(bad.taken), len(good.taken)) == (32, 32)
    assert failed >= 10
    if mood == "answers 429":
        assert failed <= 3 * 13  # three threads, each asked to wait for half an hour
    assert waited < DELAY_SECONDS


async def test_what_a_sink_refuses_for_good_is_dead_at_once_and_the_next_goes(outage, receive):
    host, (bad, _), failed, waited = await outage([receive.status(400, "no")] * 10 + [receive.status(200)])
    assert host.states("bad") == {"dead": 10, "delivered": 22}
    assert failed == 10
    assert in_order(bad.taken)
    assert waited < DELAY_SECONDS


@pytest.fixture
def certificate(tmp_path):
    """A certificate that nobody on this host trusts, and its key."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    files = [str(tmp_path / "bad.pem"), str(tmp_path / "bad.key")]
    made += ["-subj", "/CN=other.example.org", "-out", files[0], "-keyout", files[1]]
    subprocess.run(made, check=True, capture_output=True)
    return files


@pytest.mark.parametrize("hours", [3, 48])
async def test_behind_a_bad_certificate_nothing_is_said_and_after_a_day_it_is_given_up(
    database, store, certificate, receive, *, running, until, hours
):
    """Dead is what is older than a day and was tried twenty times; before that it is kept."""
    heard = []

    async def listen(reader, writer):
        heard.append(await reader.read(100))
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
    good = await receive(receive.status(200))
    sinks = [Noted("bad", f"https://localhost:{server.sockets[0].getsockname()[1]}/"), Noted("good", good.url)]
    host = Host(database, store, sinks, speed=5 * SPEED)
    async with server, running(host.outbox):
        for sink in ("bad", "good"):
            host.add(sink, "a", is_page=True)
        if hours > 24:
            await until(lambda: host.states("bad") == {"dead": 1}, seconds=40)  # it is counted a moment before
            assert host.outbox.counts["bad"].dead == 1
            assert host.outbox.counts["bad"].failed >= 20
            assert host.now_ms() - START_MS >= 24 * HOUR_MS
        else:
            await host.now_ms.reach(hours)
            await until(lambda: host.outbox.counts["bad"].failed >= 2)
        counts = host.outbox.counts["bad"]
    assert host.states("bad") == {"dead" if hours > 24 else "pending": 1}
    assert host.states("good") == {"delivered": 1}
    ((error,),) = database._read("SELECT last_error FROM outbox WHERE sink = 'bad'")
    # of two days at this speed one attempt may meet a moment in which the machine is slower than the sink waits
    assert error in {"the certificate is not valid for this host", "no answer within 0.2 s"}
    assert b"".join(heard) == b""
    assert (counts.sent, counts.dropped) == (0, 0)


async def test_what_waits_is_bounded_on_disk_and_in_memory_and_no_page_is_dropped(
    database, store, receive, running, until
):
    pages, tickets = 100, MOST_PENDING + 900
    good = await receive(receive.status(200))
    sinks = [Noted("bad", f"http://127.0.0.1:{free_port()}/"), Noted("good", good.url)]
    host = Host(database, store, sinks)

    def put(numbers, *, is_page=False):
        for first in range(0, len(numbers), 100):
            items = [
                OutboxItem(f"{number}", "bad", f"thread{number}", "{}" + " " * 1_000, START_MS, is_page=is_page)
                for number in numbers[first : first + 100]
            ]
            host.outbox.added(items, database.record_transitions([], items))

    async with running(host.outbox):
        put(range(pages), is_page=True)
        put(range(pages, MOST_PENDING // 2))
        await until(lambda: host.outbox.counts["bad"].failed >= 50)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        put(range(MOST_PENDING // 2, pages + tickets))
        for _ in range(20):
            host.add("good", "a")
            await asyncio.sleep(0.02)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        await until(lambda: host.outbox.counts["good"].pending == 0)
        counts = host.outbox.counts["bad"]
    ids = {
        int(number) for (number,) in database._read("SELECT id FROM outbox WHERE sink = 'bad' AND state = 'pending'")
    }
    assert len(ids) == MOST_PENDING
    assert ids == set(range(pages)) | set(range(pages + tickets - (MOST_PENDING - pages), pages + tickets))
    assert (counts.pending, counts.dropped, counts.dead) == (MOST_PENDING, pages + tickets - MOST_PENDING, 0)
    waits = [sinks[1].at[number] - added for number, added in host.added_at.items()]
    print(
        f"memory at most {(most - before) / 2**20:.1f} MiB more; "
        f"the other sink waited {max(waits) * 1000:.0f} ms at most"
    )
    assert most - before < 5 * 2**20
    assert max(waits) < DELAY_SECONDS


# A disk without room


def fill(disk):
    """Fill it to the last byte."""
    with (disk / "ballast").open("ab", buffering=0) as file:
        size = 65_536
        while size:
            try:
                file.write(b"x" * size)
            except OSError:
                size //= 2


@pytest.fixture
async def full(small_disk, build, receive):
    """A pipeline on a state.db whose disk is full, and its receiver."""
    with closing(StateDatabase(small_disk / "state.db")) as database:
        offload = Offload()
        receiver = await receive(receive.status(200))
        sink = WebhookSink("ops", receiver.url, user_agent="presaged/test")
        pipeline = build(sink, on=OffloadedState(database, offload))
        fill(small_disk)
        yield small_disk, database, pipeline, receiver
        offload.close()


async def test_on_a_full_disk_the_notification_still_arrives(full, play, tick, failed, running, *, until):
    disk, database, pipeline, receiver = full
    await pipeline.restore(tick(0))
    async with running(pipeline._outbox):
        for seconds in (0, 30, 60):
            await play(pipeline, seconds, failed("a"))
        await until(lambda: len(receiver.bodies) == 1)
        assert database.reserve_releases == 1
        fill(disk)  # what the reserve gave is gone too
        for number in range(1, 200):  # until the database itself has no room left
            await play(pipeline, 60 + 30 * number, failed("a"), *[failed(f"{one}") for one in range(20 * number)])
            if pipeline.store_failures:
                break
        assert pipeline.store_failures
        arrived = len(receiver.bodies)
        (disk / "ballast").unlink()
        number += 1
        await play(pipeline, 60 + 30 * number, failed("a"), *[failed(f"{one}") for one in range(20 * number)])
        for later in range(number + 1, number + 20):
            await play(pipeline, 60 + 30 * later)
        await until(lambda: pipeline.counts["ops"].pending == 0)
    assert pipeline.lost == 0
    told, over = set(), set()
    for body in receiver.bodies:
        for one in (body, *body["also"]):
            (told if one["event"] == "firing" else over).add(one["occurrence"])
    assert len(receiver.bodies) > arrived
    assert told == over == {one.id for one in database.recent_occurrences(10_000)}
    assert database._read("PRAGMA integrity_check") == [("ok",)]


async def test_it_arrives_while_another_program_takes_every_byte_that_becomes_free(
    full, play, tick, failed, running, *, until
):
    disk, _, pipeline, receiver = full
    over = threading.Event()

    def be_greedy():
        while not over.is_set():
            fill(disk)

    greedy = threading.Thread(target=be_greedy)
    greedy.start()
    try:
        await pipeline.restore(tick(0))
        async with running(pipeline._outbox):
            for seconds in range(0, 600, 30):
                await play(pipeline, seconds, failed("a"))
                await asyncio.sleep(0.05)
            await until(lambda: len(receiver.bodies) >= 1)
    finally:
        over.set()
        greedy.join()
    assert {body["resource"] for body in receiver.bodies} == {"a"}
