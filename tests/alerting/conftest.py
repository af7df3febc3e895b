"""Builders and real parts for the tests of `alerting`: a database on disk and an HTTP receiver on loopback."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from alerting.outbox import RetryPolicy
from alerting.policy import PolicySettings
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
    return PolicySettings(notify="always", learning_days=7.0, for_seconds=60.0, keep_firing_seconds=120.0)


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


@dataclass
class Receiver:
    """A real HTTP server. `script` answers the requests in turn, its last entry all the rest."""

    script: list[Callable[[web.Request], Awaitable[web.StreamResponse]]]
    port: int = 0
    bodies: list[dict] = field(default_factory=list)
    headers: list[dict] = field(default_factory=list)
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def start(self) -> None:
        app = web.Application()
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
        self.bodies.append(json.loads(text) if text else {})
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

    async def __call__(self, *script, port: int = 0, up: bool = True) -> Receiver:
        receiver = Receiver(list(script), port)
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
