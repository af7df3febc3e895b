"""What the daemon's memory grows by in 100,000 samples: the whole of it, on a clock that jumps.

Ours: a host on which a month's incidents come in two days, its recorded signals beside the real collectors of this
machine, both databases, learning, trainings in the child every other day, alerts that fire, are delivered to a webhook
and resolve, /metrics asked for at every fourth sample, the API and the page now and then (benchmarks/accelerated says
how). Said are the daemon's own pages (RssAnon: heap and stacks) and all that is resident, after a collection of
garbage and after free heap was given back, as the daemon does every five minutes. The world is made in a process of its
own: what it has freed here would hide what grows.
"""

import argparse
import asyncio
import gc
import multiprocessing
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accelerated import JumpingClock, run_daemon, write_rows
from benchmarks.process import free_port
from benchmarks.report import Row, write
from daemon import app, log
from daemon.config import load
from daemon.snapshot import Snapshot
from detectors.kernels import bound_heap, release_memory
from detectors.kernels.memory import trim_heap

INTERVAL = 30.0
SEED = 3
CROWDING = 12.0  # times as much as befalls an ordinary host
_SUNDAY_MS, _WEEK_MS = 1_772_323_200_000, 604_800_000
_WARM = 0.1  # of the samples: until then windows and caches fill, and the first network comes
_METRICS_EVERY, _API_EVERY = 4, 200
_ASKED = (
    "/",
    *(f"/api/v1/{name}" for name in ("status", "alerts", "findings", "forecasts", "risk", "drift", "failures")),
    *(f"/api/v1/{name}" for name in ("changes", "signals", "silences", "verdicts", "month", "self", "neural/models")),
    "/api/v1/series?signal=cpu.busy&signal=memory.used",
    "/api/v1/nothing",
)
_COUNTED = (
    "presaged_notifications",
    "presaged_retrains_total",
    "presaged_store_failures",
    "presaged_internal_failures",
)


@dataclass
class Watched:
    """What was seen at each of the looks, and how often anything happened."""

    ticks: list[int] = field(default_factory=list)
    anonymous: list[float] = field(default_factory=list)
    resident: list[float] = field(default_factory=list)
    happened: Counter[str] = field(default_factory=Counter)


def _make_world(folder: Path, rows: int) -> None:
    from benchmarks.year import events  # noqa: PLC0415 - SciPy stays out of the process that is watched
    from benchmarks.year.host import local_time  # noqa: PLC0415

    day = 86_400 / INTERVAL
    with local_time():
        write_rows(events.play(SEED, int(rows / day) + 1, INTERVAL, CROWDING)[0], folder)


class _Taker(BaseHTTPRequestHandler):
    """Takes every notification but each tenth: there is something to be tried again."""

    asked = 0

    def do_POST(self) -> None:
        type(self).asked += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(503 if self.asked % 10 == 0 else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def _take_notifications(told: Connection) -> None:
    server = HTTPServer(("127.0.0.1", 0), _Taker)
    told.send(server.server_port)
    server.serve_forever()


async def ask(port: int, path: str) -> tuple[int, bytes]:
    """Return the status of the answer to a GET, and the rest of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    status = int((await reader.readline()).split()[1])
    rest = await reader.read()
    writer.close()
    return status, rest


def _coming_sunday_ms() -> int:
    """Return when the run begins, on a Sunday as the world does, and never before this machine's own present.

    The child dates what it trains by that one: a model that was made after all that is lived has no days to drift from.
    """
    return _SUNDAY_MS + -(-(time.time_ns() // 1_000_000 - _SUNDAY_MS) // _WEEK_MS) * _WEEK_MS


class Soak:
    """One run; `ticks` samples, and a look at the memory after every `ticks / looks` of them."""

    def __init__(self, folder: Path, ticks: int, looks: int, *, backend: str) -> None:
        self._folder, self._ticks, self._every = folder, ticks, max(1, ticks // looks)
        self._port, self._backend = free_port(), backend
        self._clock: JumpingClock
        self._tasks: set[asyncio.Task[None]] = set()
        self._known: set[str] = set()
        self._taken = 0
        self._metrics = b""
        self.seen = Watched()
        self._began = time.monotonic()

    def run(self) -> Watched:
        """Live through it."""
        start = multiprocessing.get_context("spawn")
        maker = start.Process(target=_make_world, args=(self._folder, self._ticks + 100))
        maker.start()
        maker.join()
        if maker.exitcode:
            raise RuntimeError("the world could not be made")
        here, there = start.Pipe()
        taker = start.Process(target=_take_notifications, args=(there,), daemon=True)
        taker.start()
        config = self._folder / "config.toml"
        config.write_text(
            f'[storage]\ndirectory = "state"\n[http]\nlisten = "127.0.0.1:{self._port}"\n[log]\nlevel = "error"\n'
            f'[compute]\nbackend = "{self._backend}"\n[learning]\ninterval_days = 2\n'
            '[anomaly]\nnotify = "always"\nlearning_days = 1\n'
            f'[[alerting.sinks]]\nname = "hook"\ntype = "webhook"\nurl = "http://127.0.0.1:{here.recv()}/"\n',
            encoding="utf-8",
        )
        log.set_up(load(config).config.log)
        bound_heap()  # as `daemon.__main__` does
        gc.freeze()
        release_memory()
        self._clock = JumpingClock(_coming_sunday_ms())
        try:
            run_daemon(
                config,
                self._folder,
                self._clock,
                interval_seconds=INTERVAL,
                ticks=self._ticks,
                after_tick=self._after,
                real_collectors=True,
            )
        finally:
            taker.terminate()
            taker.join()
        return self.seen

    def _after(self, _daemon: app.App, snapshot: Snapshot) -> None:
        self._taken += 1
        firing = {one.id for one in snapshot.alerts if one.fired_ms is not None}
        self.seen.happened["alerts fired"] += len(firing - self._known)
        self.seen.happened["alerts resolved"] += len(self._known - firing)
        self._known = firing
        if self._taken % _METRICS_EVERY == 0:
            self._ask("/metrics")
        if self._taken % _API_EVERY == 0:
            for path in _ASKED:
                self._ask(path)
        if self._taken % self._every == 0:
            self._look()

    def _ask(self, path: str) -> None:
        async def asking() -> None:
            with self._clock.standing():
                status, answer = await ask(self._port, path)
            self.seen.happened[f"answers {status}"] += 1
            if path == "/metrics":
                self._metrics = answer

        task = asyncio.get_running_loop().create_task(asking())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _look(self) -> None:
        gc.collect()
        trim_heap()
        memory = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text("ascii").splitlines())
        anonymous, resident = (int(memory[name].split()[0]) / 1024 for name in ("RssAnon", "VmRSS"))
        seen = self.seen
        seen.ticks.append(self._taken)
        seen.anonymous.append(anonymous)
        seen.resident.append(resident)
        for line in self._metrics.decode().splitlines():
            if line.startswith(_COUNTED):
                name, _, count = line.rpartition(" ")
                seen.happened[name.removeprefix("presaged_")] = int(float(count))
        print(
            f"{self._taken:7} samples  {anonymous:6.2f} MB anonymous  {resident:6.2f} MB resident  "
            f"{threading.active_count()} threads  {sum(1 for _ in Path('/proc/self/fd').iterdir())} descriptors  "
            f"{len(gc.get_objects())} objects  {time.monotonic() - self._began:.0f} s",
            file=sys.stderr,
            flush=True,
        )


def figures(seen: Watched) -> list[Row]:
    """Return the rows: growth since the windows are full, what that is for 100,000 samples, and what happened."""
    from_here = next(place for place, tick in enumerate(seen.ticks) if tick >= _WARM * seen.ticks[-1])
    case = f"{seen.ticks[-1]} samples"
    rows = []
    for name, values in (("anonymous", seen.anonymous), ("resident", seen.resident)):
        grown = values[-1] - values[from_here]
        rows.append(Row(case, f"{name} at the end", "MB", values[-1]))
        rows.append(Row(case, f"{name} grown by", "MB", grown))
        if len(values) - from_here >= 3:
            slope = np.polyfit(seen.ticks[from_here:], values[from_here:], 1)[0]
            rows.append(Row(case, f"{name} slope", "MB/100,000 samples", float(slope * 100_000)))
    return rows + [Row(case, what, "", count) for what, count in sorted(seen.happened.items())]


def main() -> None:
    """Run it and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--ticks", type=int, default=100_000)
    parser.add_argument("--looks", type=int, default=20)
    parser.add_argument("--backend", default="auto", help="[compute] backend of the daemon")
    parser.add_argument("--json", action="store_true")
    given: Any = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="presaged-soak-") as folder:
        seen = Soak(Path(folder), given.ticks, given.looks, backend=given.backend).run()
    write("soak", figures(seen), ("numpy",), as_json=given.json)


if __name__ == "__main__":
    main()
