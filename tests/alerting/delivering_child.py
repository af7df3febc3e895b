"""A daemon in miniature for test_kill: units that fail and recover, the pipeline, the outbox and two webhooks.

`python delivering_child.py STATE URL SEED BEGAN_NS STOP MODE`. It says "ready" once it has taken up what an earlier
one left, and lives until the file STOP is there, all units are well and everything is delivered. Which units fail
when follows from SEED and from the time since BEGAN_NS alone, so that a process that is started again finds the
world as it is. A second is 2,000 of its seconds. MODE says where it kills itself with SIGKILL: "commit" = after a
transaction and before any delivery, "taken" = after the receiver took one and before that was noted, "never".
"""

import asyncio
import os
import random
import signal
import sys
import time
from functools import cache, partial
from pathlib import Path

from alerting.alert import AlertBook
from alerting.dispatch import DispatchSettings
from alerting.limit import Limits
from alerting.outbox import Outbox, RetryPolicy
from alerting.pipeline import Pipeline, PipelineSettings
from alerting.policy import PolicySettings
from alerting.render import sentence
from alerting.sinks.webhook import WebhookSink
from alerting.ulid import UlidSource
from daemon.alert_store import OffloadedState
from daemon.clock import Instant
from daemon.offload import Offload
from daemon.state import StateDatabase
from detectors.findings import Finding, Strength

START_MS = 1_772_344_800_000
SPEED = 2_000
TICK_SECONDS = 0.01
SLOT_SECONDS = 500.0  # of its own; what a unit does changes at most so often
UNITS = 24


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class DyingSink(WebhookSink):
    mode = "never"

    async def send(self, notification):
        if self.mode == "commit":
            die()
        await super().send(notification)
        if self.mode == "taken":
            die()


class World:
    """What the clocks say, and which units are failed."""

    def __init__(self, seed, began_ns, stop):
        self.seed = seed
        self.began_ns = began_ns
        self.stop = stop

    def now(self):
        passed_ns = (time.monotonic_ns() - self.began_ns) * SPEED  # of all processes on this host the same clock
        return Instant(START_MS + passed_ns // 1_000_000, passed_ns, passed_ns, "boot")

    def now_ms(self):
        return self.now().time_ms

    def findings(self, now):
        if self.stop.exists():
            return ()
        return failed(self.seed, int(now.monotonic_ns / 1e9 // SLOT_SECONDS))


@cache
def failed(seed, slot):
    return tuple(
        Finding("UnitFailed", "host", f"u{number}.service", Strength.RAISED, f"u{number}.service failed")
        for number in range(UNITS)
        if random.Random(f"{seed} {slot} {number}").random() < 0.3
    )


async def main(arguments):
    path, url, seed, began_ns, stop, mode = arguments
    world = World(seed, int(began_ns), Path(stop))
    new_id = UlidSource()
    store = OffloadedState(StateDatabase(Path(path)), Offload())
    sinks = [DyingSink(name, f"{url}/{name}", user_agent="presaged/test") for name in ("ops", "chat")]
    for sink in sinks:
        sink.mode = mode
    settings = PipelineSettings(
        PolicySettings("never", 60.0, 120.0), DispatchSettings(repeat_seconds=7_200.0, limits=Limits(10, 0.0))
    )
    retry = RetryPolicy(base_seconds=0.005, cap_seconds=0.05, delivery_seconds=2.0, dead_after_seconds=1e12)
    outbox = Outbox(store, sinks, now_ms=world.now_ms, retry=retry)
    pipeline = Pipeline(
        "web1",
        settings,
        book=AlertBook(settings.policy, gap_seconds=10**6, new_id=new_id, describe=partial(sentence, "web1")),
        store=store,
        outbox=outbox,
        new_id=new_id,
    )
    await pipeline.restore(world.now())
    delivering = asyncio.create_task(outbox.run())
    print("ready", flush=True)
    while True:
        now = world.now()
        findings = world.findings(now)
        await pipeline.observe(findings, now, learned=False)
        waiting = pipeline.active or any(one.pending for one in pipeline.counts.values())
        if not findings and world.stop.exists() and not waiting and not await store.unsettled_occurrences():
            break
        await asyncio.sleep(TICK_SECONDS)
    delivering.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
