"""From a finding to a notification that its receiver has taken, beside Alertmanager in the same run.

Ours: one finding after the other through the pipeline, state.db (synchronous FULL, on the disk of the current
folder), the outbox and a webhook to a receiver on loopback. Alertmanager: an alert is posted to it (group_wait 0,
kept in memory), and the same receiver waits for its webhook. Both are timed from the call to the arrival.
"""

import argparse
import asyncio
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import aiohttp
from aiohttp import web

from alerting.alert import AlertBook
from alerting.dispatch import DispatchSettings
from alerting.limit import Limits
from alerting.outbox import Outbox
from alerting.pipeline import Pipeline, PipelineSettings
from alerting.policy import PolicySettings
from alerting.render import sentence
from alerting.sinks.webhook import WebhookSink
from alerting.ulid import UlidSource
from benchmarks.process import free_port
from benchmarks.report import Row, smaller_is_better, write
from daemon.alert_store import OffloadedState
from daemon.clock import SystemClock
from daemon.offload import Offload
from daemon.state import StateDatabase
from detectors.findings import Finding, Strength

PEER = "prometheus-alertmanager"


class Receiver:
    """Answers 200 and tells when a body came that names a resource."""

    def __init__(self) -> None:
        self.url = ""
        self._waiting: dict[str, asyncio.Future[float]] = {}

    def expect(self, resource: str) -> asyncio.Future[float]:
        """Return what will hold the moment of arrival."""
        self._waiting[resource] = asyncio.get_running_loop().create_future()
        return self._waiting[resource]

    async def answer(self, request: web.Request) -> web.Response:
        """Take a notification of ours, or of Alertmanager."""
        now = time.perf_counter()
        body = json.loads(await request.text())
        for one in body.get("alerts", [body]):
            resource = one.get("resource") or one.get("labels", {}).get("resource", "")
            waiting = self._waiting.pop(resource, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(now)
        return web.Response()


@contextlib.asynccontextmanager
async def _receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application(client_max_size=1 << 24)
    app.router.add_post("/", receiver.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        yield receiver
    finally:
        await runner.cleanup()


async def _ours(receiver: Receiver, count: int, folder: Path) -> list[float]:
    policy = PolicySettings("never", 60.0, 300.0)
    # No group and no limit: each finding is a notification, as each is for the peer.
    settings = PipelineSettings(policy, DispatchSettings(group_seconds=0.0, limits=Limits(10, 0.0)))
    offload, database, new_id, clock = Offload(), StateDatabase(folder / "state.db"), UlidSource(), SystemClock()
    store = OffloadedState(database, offload)
    sink = WebhookSink("ops", receiver.url, user_agent="presaged-benchmark")
    outbox = Outbox(store, [sink], now_ms=lambda: clock.now().monotonic_ns // 1_000_000)
    book = AlertBook(policy, gap_seconds=1e9, new_id=new_id, describe=partial(sentence, "web1"))
    pipeline = Pipeline("web1", settings, book=book, store=store, outbox=outbox, new_id=new_id)
    await pipeline.restore(clock.now())
    delivering = asyncio.create_task(outbox.run())
    milliseconds, findings = [], []
    for number in range(count):
        # of a thousand open alerts the first have been told long ago: this is the dear end
        findings.append(Finding("RepeatedOOMKills", "host", f"{number}.service", Strength.RAISED, "killed again"))
        arrival = receiver.expect(f"{number}.service")
        began = time.perf_counter()
        await pipeline.observe(findings, clock.now(), learned=True)
        milliseconds.append(1000 * (await asyncio.wait_for(arrival, 30) - began))
    delivering.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await delivering
    database.close()
    offload.close()
    return milliseconds


@contextlib.contextmanager
def _alertmanager(folder: Path, url: str):  # noqa: ANN202 - of an address or None
    program = shutil.which(PEER)
    if program is None:
        print(f"{PEER} is not installed: no peer in this run", file=sys.stderr)
        yield None
        return
    config = folder / "am.yml"
    config.write_text(
        "route: {receiver: hook, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 4h}\n"
        f"receivers: [{{name: hook, webhook_configs: [{{url: '{url}'}}]}}]\n",
        encoding="utf-8",
    )
    port = free_port()
    process = subprocess.Popen(
        [
            program,
            f"--config.file={config}",
            f"--storage.path={folder}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}/api/v2"
    finally:
        process.terminate()
        process.wait(timeout=10)


async def _theirs(receiver: Receiver, count: int, api: str) -> list[float]:
    milliseconds = []
    async with aiohttp.ClientSession() as session:
        for _ in range(100):
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{api}/status") as answer:
                    if answer.status == 200:
                        break
            await asyncio.sleep(0.1)
        for number in range(count):
            resource = f"peer-{number}.service"
            arrival = receiver.expect(resource)
            labels = {"alertname": "RepeatedOOMKills", "resource": resource}
            body = [{"labels": labels, "startsAt": datetime.now(UTC).isoformat()}]
            began = time.perf_counter()
            async with session.post(f"{api}/alerts", json=body) as answer:
                answer.raise_for_status()
            milliseconds.append(1000 * (await asyncio.wait_for(arrival, 30) - began))
    return milliseconds


async def _measure(count: int) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="presaged-delivery-", dir=".") as folder:
        async with _receiver() as receiver:
            ours = await _ours(receiver, count, Path(folder))
            with _alertmanager(Path(folder), receiver.url) as api:
                theirs = await _theirs(receiver, count, api) if api else []
    rows = []
    for metric, pick in (
        ("median", statistics.median),
        ("95 %", lambda all_of: statistics.quantiles(all_of, n=20)[-1]),
    ):
        peer = (PEER, pick(theirs)) if theirs else None
        case = "finding to accepted delivery"
        if peer:
            rows.append(smaller_is_better(case, metric, "ms", pick(ours), peer))
        else:
            rows.append(Row(case, metric, "ms", pick(ours)))
    return rows


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--count", type=int, default=200, help="notifications of each")
    arguments = parser.parse_args()
    write("delivery", asyncio.run(_measure(arguments.count)), ("aiohttp",), as_json=arguments.json)


if __name__ == "__main__":
    main()
