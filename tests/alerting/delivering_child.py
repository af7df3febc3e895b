"""A daemon in miniature for test_kill: the pipeline, the outbox and a webhook on a real state.db.

`python delivering_child.py STATE URL MODE`. MODE says where it kills itself with SIGKILL: "commit" = after the
transaction and before any delivery, "taken" = after the receiver took it and before that was noted, "never".
"""

import asyncio
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

from alerting.alert import AlertBook
from alerting.outbox import Outbox, RetryPolicy, steady_clock
from alerting.pipeline import Pipeline
from alerting.policy import PolicySettings
from alerting.render import sentence
from alerting.sinks.webhook import WebhookSink
from alerting.ulid import UlidSource
from daemon.alert_store import OffloadedState
from daemon.clock import Instant
from daemon.offload import Offload
from daemon.state import StateDatabase
from detectors.findings import Finding, Strength


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


async def main(path, url, mode):
    new_id = UlidSource()
    settings = PolicySettings("never", 7.0, 60.0, 120.0)
    store = OffloadedState(StateDatabase(Path(path)), Offload())
    sink = DyingSink("ops", url, user_agent="presaged/test")
    sink.mode = mode
    now_ms = steady_clock(time.time_ns() // 1_000_000, time.monotonic_ns)
    outbox = Outbox(store, [sink], now_ms=now_ms, retry=RetryPolicy(base_seconds=0.01, cap_seconds=0.05))
    book = AlertBook(settings, gap_seconds=75.0, new_id=new_id, describe=partial(sentence, "web1"))
    pipeline = Pipeline("web1", settings, book=book, store=store, outbox=outbox, new_id=new_id)
    await pipeline.restore()
    delivering = asyncio.create_task(outbox.run())
    finding = Finding("FilesystemReadOnly", "host", "/srv", Strength.RAISED, "/srv is mounted read-only")
    for seconds in (0, 60):
        now = Instant(time.time_ns() // 1_000_000, seconds * 1_000_000_000, 0, "boot")
        await pipeline.observe([finding], now, learned=False)
    async with asyncio.timeout(20):
        while pipeline.counts["ops"].pending:  # noqa: ASYNC110 - the counts are what a reader has
            await asyncio.sleep(0.005)
    delivering.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
