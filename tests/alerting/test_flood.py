"""Ten thousand alerts within a minute: a handful of notifications, a loop that is never late, and no memory of it."""

import asyncio
import gc
import threading
import time
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from alerting.alert import MOST_OPEN
from alerting.sinks.webhook import WebhookSink
from detectors.findings import Finding, Strength

ALERTS = 10_000
FLOOD_SECONDS = 60
LATE_SECONDS = 0.1
GROWTH_BYTES = 20 * 2**20


def killed(name):
    """A page that fires at once."""
    return Finding("RepeatedOOMKills", "host", f"{name}.service", Strength.RAISED, f"{name}.service was killed")


def summary(body):
    """What is kept of a notification, so that the test itself needs no memory."""
    return {"event": body["event"], "counts": body["counts"], "summary": body["summary"], "also": len(body["also"])}


class Watch:
    """How late the loop is at worst, and how much memory there was at most.

    The time for which the kernel let the loop's thread wait for a processor, because the machine is busy with other
    work, is no delay of ours: the kernel counts it.
    """

    def __init__(self):
        self.late_seconds = 0.0
        self.most_bytes = 0
        self._process = psutil.Process()
        self._waits = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")

    @property
    def waited_seconds(self):
        return int(self._waits.read_text().split()[1]) / 1e9

    @property
    def rss_bytes(self):
        return self._process.memory_info().rss

    async def run(self):
        while True:
            due, waited = time.perf_counter() + 0.01, self.waited_seconds
            await asyncio.sleep(0.01)
            late = time.perf_counter() - due - (self.waited_seconds - waited)
            self.late_seconds = max(self.late_seconds, late)
            self.most_bytes = max(self.most_bytes, self.rss_bytes)


@asynccontextmanager
async def watched():
    watch = Watch()
    task = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def flooded(build, play, tick, receive, *, running, until):
    """Start a pipeline, live through a small flood and its end so that all is warm, and hand over how to go on."""
    receiver = await receive(receive.status(200), keep=summary)
    pipeline = build(WebhookSink("ops", receiver.url, user_agent="presaged/test"))
    await pipeline.restore(tick(0))
    seconds = [0]

    async def live(findings, passed=1):
        seconds[0] += passed
        await play(pipeline, seconds[0], *findings)
        await asyncio.sleep(0.02)

    async def clear():
        """Go on without a finding until all is over and told."""
        for _ in range(70):
            await live((), 30)
        await until(lambda: pipeline.counts["ops"].pending == 0)

    async with running(pipeline._outbox):
        for number in range(0, 500, 50):
            await live([killed(f"warm{one}") for one in range(number)])
        await clear()
        receiver.bodies.clear()
        yield pipeline, receiver, live, clear


@pytest.mark.timeout(180)
async def test_ten_thousand_alerts_within_a_minute(database, flooded, until):
    pipeline, receiver, live, clear = flooded
    findings = [killed(number) for number in range(ALERTS)]
    gc.collect()
    async with watched() as watch:
        before = watch.rss_bytes
        for second in range(1, FLOOD_SECONDS + 1):
            await live(findings[: second * ALERTS // FLOOD_SECONDS])
        for _ in range(30):
            await live(findings)
        await until(lambda: pipeline.counts["ops"].pending == 0)
        said, receiver.bodies = receiver.bodies, []
        assert pipeline._book.not_followed == {"RepeatedOOMKills": ALERTS - MOST_OPEN}
        await clear()
        grown = watch.most_bytes - before
    gc.collect()
    print(
        f"{ALERTS} alerts: {[one['summary'] for one in (*said, *receiver.bodies)]}; loop late by "
        f"{watch.late_seconds * 1000:.0f} ms at most, RSS grown by {grown / 2**20:.1f} MiB at most, "
        f"{(watch.rss_bytes - before) / 2**20:.1f} MiB afterwards"
    )

    first, digest = said
    assert first["counts"]["firing"] == ALERTS // FLOOD_SECONDS
    assert digest["counts"] == {
        "firing": MOST_OPEN - ALERTS // FLOOD_SECONDS,
        "resolved": 0,
        "not_followed": ALERTS - MOST_OPEN,
        "by_alertname": {"RepeatedOOMKills": MOST_OPEN - ALERTS // FLOOD_SECONDS},
    }
    assert digest["summary"].endswith(f"{ALERTS - MOST_OPEN} more are not followed one by one")
    assert [one["counts"]["resolved"] for one in receiver.bodies] == [MOST_OPEN]

    assert watch.late_seconds < LATE_SECONDS
    assert grown < GROWTH_BYTES

    assert pipeline.active == ()
    assert pipeline._book.not_followed.total() == 0
    assert (pipeline._owed, pipeline._unsaved, pipeline._unsaved_items, pipeline.lost) == ({}, {}, [], 0)
    assert database.unsettled_occurrences() == []
    assert database.count_pending() == {}
    await live([killed("after")])
    await until(lambda: len(receiver.bodies) == 2)
    assert receiver.bodies[1]["summary"] == "web1: FIRING: RepeatedOOMKills after.service"
