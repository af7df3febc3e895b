"""The operator's desk on a real database, behind a real server, with a clock and sinks of a test's own.

Enters: findings, a tick at a time. Leaves: alerts, and what the sinks were given. Everything between is what the
daemon runs, but for the collectors and the loop.
"""

import asyncio
import contextlib
import json
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from alerting.alert import AlertBook
from alerting.errors import DeliveryError
from alerting.links import LinkSigner
from alerting.outbox import Outbox, RetryPolicy
from alerting.pipeline import Pipeline, PipelineSettings
from alerting.policy import DRILL, PolicySettings
from alerting.render import sentence
from alerting.ulid import UlidSource
from daemon.alert_store import OffloadedState
from daemon.desk import Desk
from daemon.history import History
from daemon.metrics import Metrics
from daemon.offload import Offload
from daemon.state import StateDatabase
from daemon.verdicts.counting import Verdicts
from daemon.web.api import ChangesAnswer, HostAnswer, StatusAnswer, alert_answer, sink_answers
from daemon.web.host_routes import HostRoutes
from daemon.web.server import Server, bind
from detectors.findings import Finding, Strength

TOKEN = "the-token"
EXTERNAL = "http://web1.example.org:9736"
STATUS = StatusAnswer(
    version="1.2.3",
    backend="numpy",
    host=HostAnswer(name="web1", kind="node", virtualization="none", cpus=2.0, memory_bytes=2**30),
    started_at="2026-03-01T06:00:00.000Z",
    interval_seconds=1.0,
    samples=3,
    seq=3,
    last_sample_at=None,
    signals=1,
    signals_missing=0,
    anomaly=None,
    collectors=[],
    alerts=[],
    sinks=[],
    job=None,
    state_directory="/x",
    config_files=[],
)


class Team:
    """A sink that keeps what it is given, or says why it does not take it."""

    takes_digests = True

    def __init__(self, name="team", error=""):
        self.name = name
        self.error = error
        self.got = []

    async def send(self, notification):
        if self.error:
            raise DeliveryError(self.error)
        self.got.append(json.loads(notification.payload))


@dataclass
class Office:
    """`drills` keeps what the desk asked of the next sample."""

    directory: Path
    clock: object
    sinks: tuple = ()
    notify: str = "always"
    drills: list = field(default_factory=list)
    server: Server | None = None
    threshold: float = 2.0  # of anomalies

    async def open(self):
        self.offload = Offload()
        self.state = StateDatabase(self.directory / "state.db")
        store = OffloadedState(self.state, self.offload)
        retry = RetryPolicy(base_seconds=0.002, cap_seconds=0.02, delivery_seconds=1.0)
        self.outbox = Outbox(store, self.sinks, now_ms=lambda: self.clock.now().time_ms, retry=retry)
        self.new_id = UlidSource()
        settings = PipelineSettings(PolicySettings(self.notify, 60.0, 120.0))
        book = AlertBook(settings.policy, gap_seconds=1e6, new_id=self.new_id, describe=partial(sentence, "web1"))
        self.signer = LinkSigner(b"key", EXTERNAL)
        self.pipeline = Pipeline("web1", settings, book=book, store=store, outbox=self.outbox, new_id=self.new_id)
        await self.pipeline.restore(self.clock.now())
        self.history = History(self.directory / "history.db")
        self.verdicts = Verdicts(
            table=self.state, history=self.history, offload=self.offload, threshold=lambda: self.threshold
        )
        self.verdicts.restore()
        self.desk = Desk(
            host="web1",
            state=self.state,
            offload=self.offload,
            pipeline=self.pipeline,
            outbox=self.outbox,
            clock=self.clock,
            new_id=self.new_id,
            signer=self.signer,
            drill=self.drills.append,
            verdicts=self.verdicts,
        )
        self.delivering = asyncio.create_task(self.outbox.run())
        return self

    async def serve(self, listen="127.0.0.1:0"):
        """Answer on `listen`, and return the port."""

        async def changes(_asked):
            return ChangesAnswer(changes=[])

        self.server = Server(
            bind(listen),
            metrics=Metrics("1.2.3", lambda: "numpy", 10),
            ready=lambda: True,
            host=HostRoutes(self.status, changes, None, None),
            desk=self.desk,
            scraped=lambda: None,
            now_ms=lambda: self.clock.now().time_ms,
            offload=self.offload,
            token=TOKEN,
            allowed_hosts=("web1.example.org",),
        )
        await self.server.start()
        return int(self.server.address.rpartition(":")[2])

    def status(self):
        return STATUS.model_copy(
            update={
                "alerts": [alert_answer(one, self.pipeline.muted) for one in self.pipeline.active],
                "sinks": sink_answers(self.pipeline.counts),
                "verdicts": self.desk.verdicts_in_brief(),
            }
        )

    async def tick(self, *findings, seconds=1.0, changing=False):
        """Let `seconds` pass and take a sample at which `findings` hold."""
        if seconds:
            self.clock.advance(seconds)
        drills = [Finding(DRILL, "drill", "", Strength.RAISED, words) for words in self.drills]
        self.drills.clear()
        return await self.pipeline.observe([*findings, *drills], self.clock.now(), learned=True, changing=changing)

    async def fire(self, *findings, **more):
        """Let `findings` hold until they have fired; return their alerts, in the same order."""
        await self.tick(*findings, **more)
        await self.tick(*findings, seconds=61, **more)
        open_ones = {(one.alertname, one.resource): one for one in self.pipeline.active}
        return [open_ones[one.alertname, one.resource] for one in findings]

    async def end(self):
        """Let nothing hold until all is over."""
        await self.tick()
        await self.tick(seconds=4_000)

    async def delivered(self):
        """Wait until no notification waits for a sink."""
        async with asyncio.timeout(10):
            while any(counts.pending for counts in self.outbox.counts.values()):  # noqa: ASYNC110 - no event says so
                await asyncio.sleep(0.005)

    async def put(self, one, **other):
        """Store an alert as it is, with what is `other` about it."""
        one = replace(one, **other)
        await self.offload.run(lambda: self.state.record_transitions([one], []), deadline_seconds=5, what="state.db")
        return one

    async def close(self):
        if self.server is not None:
            await self.server.stop()
        self.delivering.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.delivering
        self.offload.close()
        self.history.close()
        self.state.close()


def read_only(mount="/srv", detail=""):
    """A fact: it is sent whatever is known of the host."""
    return Finding("FilesystemReadOnly", "host", mount, Strength.RAISED, detail or f"{mount} is mounted read-only")
