"""Builders and real parts for the tests of `alerting`: a database on disk and an HTTP receiver on loopback."""

import asyncio
import json
import os
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from aiohttp import web

from alerting.alert import AlertBook
from alerting.dispatch import DispatchSettings
from alerting.document import digest_document, message_document, no_links, test_document, to_text
from alerting.group import Message, News, What
from alerting.occurrence import Occurrence, State, fingerprint_of
from alerting.outbox import Outbox, RetryPolicy
from alerting.pipeline import Pipeline, PipelineSettings
from alerting.policy import RULES, PolicySettings
from alerting.render import sentence
from alerting.sinks.base import Notification
from alerting.ulid import UlidSource
from daemon.alert_store import OffloadedState
from daemon.offload import Offload
from daemon.state import StateDatabase
from detectors.findings import Contributor, Finding, Strength, Unit

START_MS = 1_772_344_800_000  # 2026-03-01T06:00:00Z


@dataclass(frozen=True, slots=True)
class Tick:
    time_ms: int
    monotonic_ns: int


@pytest.fixture
def tick() -> Callable[[float], Tick]:
    return lambda seconds: Tick(START_MS + int(seconds * 1000), int(seconds * 1_000_000_000) + 7)


@pytest.fixture
def settings() -> PolicySettings:
    return PolicySettings(notify="always", for_seconds=60.0, keep_firing_seconds=120.0)


@pytest.fixture
def contributors() -> tuple[Contributor, ...]:
    return (
        Contributor("cpu.busy", Unit.RATIO, "cpu", "", 0.97, 0.03, 0.12, 9.0),
        Contributor("pressure.cpu_some", Unit.RATIO, "pressure", "", 0.64, 0.0, 0.01, 8.0),
        Contributor("load.one_per_cpu", Unit.RATIO, "cpu", "", 2.4, 0.1, 0.4, 7.0),
        Contributor("memory.available_bytes", Unit.BYTES, "memory", "", 2.0**31, 2.0**30, 2.0**32, 1.0),
    )


@pytest.fixture
def anomaly(contributors) -> Callable[..., Finding]:
    def build(strength=Strength.RAISED, score=5.0, resource="") -> Finding:
        return Finding("Anomaly", "anomaly", resource, strength, "unusual", score, 3.0, contributors)

    return build


@pytest.fixture
def read_only() -> Callable[[str], Finding]:
    def build(mount="/srv") -> Finding:
        return Finding("FilesystemReadOnly", "host", mount, Strength.RAISED, f"{mount} is mounted read-only")

    return build


@pytest.fixture
def failed() -> Callable[..., Finding]:
    """A page of its own for each unit."""

    def build(unit="app.service", strength=Strength.RAISED) -> Finding:
        return Finding("UnitFailed", "host", unit, strength, f"{unit} failed")

    return build


@pytest.fixture
def alert() -> Callable[..., Occurrence]:
    """An alert as the stages behind the book are given it: it fires, unless `more` says otherwise."""
    numbers = count(1)

    def build(alertname="UnitFailed", resource="app.service", **more) -> Occurrence:
        rule = RULES[alertname]
        values = {
            "id": f"{next(numbers):026d}",
            "fingerprint": fingerprint_of(alertname, rule.network, resource),
            "alertname": alertname,
            "network": rule.network,
            "resource": resource,
            "severity": rule.severity,
            "state": State.FIRING,
            "started_ms": START_MS,
            "fired_ms": START_MS,
            "resolved_ms": None,
            "score": None,
            "threshold": None,
            "detail": f"{resource} is so",
            "sentence": f"web1: {resource} is so",
            "contributors": (),
        }
        return Occurrence(**{**values, **more})

    return build


@pytest.fixture
def quick() -> RetryPolicy:
    """Waits of a few milliseconds; everything else as in production."""
    return RetryPolicy(base_seconds=0.002, cap_seconds=0.02, delivery_seconds=1.0)


@pytest.fixture
def database(tmp_path):
    database = StateDatabase(tmp_path / "state" / "state.db")
    yield database
    database.close()


@pytest.fixture
async def store(database):
    offload = Offload()
    yield OffloadedState(database, offload)
    offload.close()


class Deaf:
    """A sink that is never run: what is for it stays in the outbox."""

    def __init__(self, name, *, takes_digests=True):
        self.name = name
        self.takes_digests = takes_digests

    async def send(self, notification):
        raise AssertionError


@pytest.fixture
def deaf():
    return Deaf


@dataclass
class Steady:
    """The outbox's clock, as far as the tick that is played."""

    ms: int = START_MS


@pytest.fixture
def steady() -> Steady:
    return Steady()


@pytest.fixture
def build(store, settings, quick, steady):
    """Make a pipeline, on `store` unless told otherwise; a sink that is only named is deaf."""

    def pipeline(
        *sinks,
        policy=settings,
        dispatch=None,
        maintenance=(),
        left_to=lambda: "",
        links=no_links,
        now_ms=None,
        on=store,
    ) -> Pipeline:
        new_id = UlidSource()
        sinks = [Deaf(sink) if isinstance(sink, str) else sink for sink in sinks]
        return Pipeline(
            "web1",
            PipelineSettings(policy, dispatch or DispatchSettings(), tuple(maintenance)),
            book=AlertBook(policy, gap_seconds=75.0, new_id=new_id, describe=partial(sentence, "web1")),
            store=on,
            outbox=Outbox(on, sinks, now_ms=now_ms or (lambda: steady.ms), retry=quick),
            new_id=new_id,
            left_to=left_to,
            links=links,
        )

    return pipeline


@pytest.fixture
def play(tick, steady):
    """Let a pipeline live through one tick; returns its events."""

    async def observe(pipeline, seconds, *findings, learned=True, changing=False):
        steady.ms = START_MS + int(seconds * 1000)
        transitions = await pipeline.observe(findings, tick(seconds), learned=learned, changing=changing)
        return [one.event for one in transitions]

    return observe


@pytest.fixture
def running():
    """Deliver as long as the block lasts."""

    @asynccontextmanager
    async def run(outbox):
        await outbox.load()
        task = asyncio.create_task(outbox.run())
        try:
            yield
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    return run


@pytest.fixture
def told(database):
    """What is in the outbox, in order: of each notification the sink, and of each of its alerts why and what about."""

    def read():
        rows = database._read("SELECT sink, payload FROM outbox ORDER BY ordinal")
        documents = [(sink, json.loads(payload)) for sink, payload in rows]
        return [
            (sink, *((one["reason"], one["resource"]) for one in (document, *document["also"])))
            for sink, document in documents
            if document["event"] in {"firing", "resolved"}
        ]

    return read


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 8 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], check=False, capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small disk to be had: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@dataclass
class Receiver:
    """A real HTTP server. `script` answers the requests in turn, its last entry all the rest.

    `keep` is what is kept of each body.
    """

    script: list[Callable[[web.Request], Awaitable[web.StreamResponse]]]
    port: int = 0
    keep: Callable[[object], object] = lambda body: body
    bodies: list = field(default_factory=list)
    headers: list[dict] = field(default_factory=list)
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def is_up(self) -> bool:
        return self._runner is not None

    async def start(self) -> None:
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        self.bodies.append(self.keep(json.loads(text)) if text else {})
        self.headers.append(dict(request.headers))
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return await step(request)


def status(code: int, text: str = "", **headers: str):
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=code, text=text, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return answer


async def hang(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response()


async def close_mid_body(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"x" * 10)
    request.transport.close()
    return response


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 65536)


class Receiving:
    """Starts receivers, and knows the ways in which one can answer."""

    status = staticmethod(status)
    hang = staticmethod(hang)
    close_mid_body = staticmethod(close_mid_body)
    endless = staticmethod(endless)

    def __init__(self):
        self.started: list[Receiver] = []

    async def __call__(self, *script, port: int = 0, up: bool = True, keep=lambda body: body) -> Receiver:
        receiver = Receiver(list(script), port, keep)
        self.started.append(receiver)
        if up:
            await receiver.start()
        return receiver


@pytest.fixture
async def receive():
    receiving = Receiving()
    yield receiving
    for receiver in receiving.started:
        await receiver.stop()


async def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for is another party's doing, without an event
            await asyncio.sleep(0.005)


@pytest.fixture
def until():
    return wait_until


class Notes:
    """Makes notifications as a sink is given them: of pairs (why, alert), of a digest, of a test."""

    id = "01KJM6DS000000000000000000"
    group = "01KJM6CR000000000000000000"

    def __call__(self, *news, still_firing=None, links=None) -> Notification:
        firing = sum(what is not What.ENDED for what, _ in news)
        still_firing = firing if still_firing is None else still_firing
        message = Message("ops", self.group, tuple(News(*one) for one in news), still_firing)
        document = message_document(
            self.id,
            "web1",
            message,
            time_ms=START_MS + 60_000,
            not_followed={},
            links=lambda _occurrence: links or {},
        )
        return Notification(self.id, to_text(document))

    def digest(self, *kept) -> Notification:
        return Notification(self.id, to_text(digest_document(self.id, "web1", kept)))

    def test(self) -> Notification:
        return Notification(self.id, to_text(test_document(self.id, "web1", "ops", START_MS)))


@pytest.fixture
def note() -> Notes:
    return Notes()


@pytest.fixture
def golden():
    """Compare with golden/NAME.json; PRESAGED_GOLDEN=write writes it anew, to be read before it is committed."""

    def check(name: str, value: object) -> None:
        file = Path(__file__).with_name("golden") / f"{name}.json"
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        if os.environ.get("PRESAGED_GOLDEN") == "write":
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
        assert text == file.read_text(encoding="utf-8")

    return check
