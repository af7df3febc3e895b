"""How long the daemon's loop is kept waiting, worst case, while its child trains and a model is handed over.

Starts the real daemon on this host with a month of history for its own signals (drawn, so that the training has its
full size), and a probe in its loop that wants to run every 5 ms. Three spans are told apart: nothing but ticks, a
training in the child until its model is accepted, and orders to promote and to roll back. Beside each worst lag stands
the longest time that the loop's thread was runnable and had no processor, which is the machine's and not the daemon's.
"""

import argparse
import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.process import free_port, wait
from benchmarks.report import Row, write
from daemon import log
from daemon.app import App
from daemon.clock import Instant, SystemClock
from daemon.config import load
from daemon.continuity import hour_of_week
from daemon.history import History
from daemon.preflight import prepare
from daemon.samples import StoredSample
from daemon.state import StateDatabase
from detectors.kernels import release_memory

LIMIT_MS = 50.0
PROBE_SECONDS = 0.005
CHUNK = 5_000
ORDERS = 10

Beats = list[tuple[float, float, float]]  # of the probe: wall time, seconds late, of those without a processor


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--samples", type=int, default=86_400, help="of history; 86,400 are 30 days at 30 s")
    parser.add_argument("--quiet-seconds", type=float, default=60.0, help="without a training")
    parser.add_argument("--probed", type=Path, nargs=2, metavar=("CONFIG", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.probed:
        _serve(*arguments.probed)
        return
    rows: list[Row] = []
    for interval in (30, 1):
        rows += _measure(interval, arguments.samples, arguments.quiet_seconds)
    write("lag", rows, ("numpy", "aiohttp", "apscheduler"), as_json=arguments.json)


def _serve(config: Path, out: Path) -> None:
    """Run the daemon as its own `main` does, with a probe in its loop; what that has seen is written at the end."""
    beats: Beats = []

    loaded = load(config)
    log.set_up(loaded.config.log)
    gc.freeze()
    release_memory()

    async def serving() -> None:
        probe = asyncio.create_task(_probe(beats))
        try:
            await App(loaded, prepare(loaded)).run()
        finally:
            probe.cancel()

    asyncio.run(serving())
    out.write_text(json.dumps(beats), encoding="utf-8")


async def _probe(beats: Beats) -> None:
    """Note how late each beat is."""
    schedstat = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
    descriptor = os.open(schedstat, os.O_RDONLY)
    loop = asyncio.get_running_loop()
    waited = _waited(descriptor)
    while True:
        due = loop.time() + PROBE_SECONDS
        await asyncio.sleep(PROBE_SECONDS)
        late, before = loop.time() - due, waited
        waited = _waited(descriptor)
        beats.append((time.time(), late, waited - before))


def _waited(descriptor: int) -> float:
    """Return the seconds that this thread was runnable and had no processor."""
    return int(os.pread(descriptor, 100, 0).split()[1]) / 1e9


def _measure(interval: int, samples: int, quiet_seconds: float) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="presaged-lag-") as name:
        folder, port = Path(name), free_port()
        with _daemon(folder, port, 1):
            wait(port, lambda said: said["samples"] >= 5)  # rates are there from the second on
        signals = _prepare(folder / "state", interval, samples)
        with _daemon(folder, port, interval):
            wait(port, lambda said: bool(said["anomaly"] and said["anomaly"]["model"]) and not said["job"], 3600)
            time.sleep(5)
            spans = {"ticks alone": (time.time(), time.time() + quiet_seconds)}
            time.sleep(quiet_seconds)
            spans["a training"] = _training(folder, port)
            began = time.time()
            for _ in range(ORDERS):
                newest = json.loads(_ask(folder, port, "models", "GET"))["models"]
                _ask(folder, port, f"models/{next(one['id'] for one in newest if one['state'] != 'champion')}/promote")
                _ask(folder, port, "rollback")
            spans["promotions and rollbacks"] = began, time.time()
        beats = np.array(json.loads((folder / "beats.json").read_text(encoding="utf-8")))
    rows = [Row(f"interval {interval} s", "signals", "1", signals)]
    for span, (first, last) in spans.items():
        during = beats[(beats[:, 0] >= first) & (beats[:, 0] <= last)]
        own = 1000 * np.maximum(during[:, 1] - during[:, 2], 0)
        late = 1000 * during[:, 1]
        case = f"interval {interval} s, {span}"
        rows += [
            Row(case, "span", "s", last - first),
            Row(case, "worst lag", "ms", float(late.max()), "at most", LIMIT_MS, LIMIT_MS / float(late.max())),
            Row(case, "of that its own", "ms", float(own.max())),
            Row(case, "lag, 99.9 of 100", "ms", float(np.quantile(late, 0.999))),
        ]
    return rows


def _training(folder: Path, port: int) -> tuple[float, float]:
    """Order a training, a whole one, and return when it began and when its model had been taken in."""
    for kept in (folder / "state" / "models" / "anomaly").glob("*/memory/manifest.json"):
        kept.unlink()  # with nothing to go on from, the network is learned anew, which takes longest
    began = time.time()
    number = json.loads(_ask(folder, port, "train"))["id"]
    while not (said := json.loads(_ask(folder, port, f"train/{number}/status", "GET")))["over"]:
        time.sleep(1)
    if said["outcome"] != "shadow":
        raise RuntimeError(f"the training {said['outcome']}: {said['text']}")
    return began, time.time()


@contextmanager
def _daemon(folder: Path, port: int, interval: int) -> Iterator[None]:
    config = folder / "config.toml"
    config.write_text(
        f'[sampling]\ninterval_seconds = {interval}\n[storage]\ndirectory = "state"\n'
        f'[http]\nlisten = "127.0.0.1:{port}"\n[log]\nlevel = "warning"\n'
        f"[collectors.latency]\ntargets = {[f'127.0.0.{host}:{port}' for host in range(1, 16)]}\n",  # more signals
        encoding="utf-8",
    )
    command = [sys.executable, "-P", "-m", "benchmarks.lag", "--probed", str(config), str(folder / "beats.json")]
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[1]),  # -P leaves out this folder
        "CACHE_DIRECTORY": str(Path(tempfile.gettempdir()) / "presaged-footprint-cache"),
    }
    with (folder / "log.jsonl").open("ab") as stderr:
        process = subprocess.Popen(command, env=environment, stderr=stderr)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)


def _prepare(state: Path, interval: int, samples: int) -> int:
    """Fill the history of the signals that the daemon has found with `samples` drawn around what they were."""
    database = StateDatabase(state / "state.db")
    ids = np.sort(np.array([one.id for one in database.load_signals()], np.int64))
    database.close()
    history = History(state / "history.db")
    values = np.zeros(len(ids), np.float32)
    last = history.last_rows(1)
    known = dict(zip(last.signal_ids, last.values[0].tolist(), strict=True))
    values[:] = [known.get(number, 0.0) for number in ids.tolist()]
    values = np.nan_to_num(values)
    history.close()
    for file in state.glob("history.db*"):
        file.unlink()
    history = History(state / "history.db")
    history.bind_interval(float(interval))
    rng, now = np.random.default_rng(0), SystemClock().now()
    level = np.zeros(len(ids))
    for first in range(0, samples, CHUNK):
        chunk = []
        for place in range(first, min(first + CHUNK, samples)):
            level = 0.95 * level + 0.3 * rng.normal(size=len(ids))
            back = (samples - place) * interval
            moment = Instant(now.time_ms - 1000 * back, max(1, now.monotonic_ns - back * 10**9), 0, "a boot before")
            row = (values * (1 + 0.1 * level) + 0.01 * level).astype(np.float32)
            chunk.append(StoredSample(1 + place, moment, hour_of_week(moment.time_ms), 0, 0, None, None, ids, row))
        history.add(chunk)
    history.close()
    return len(ids)


def _ask(folder: Path, port: int, path: str, method: str = "POST") -> bytes:
    token = (folder / "state" / "token").read_text(encoding="ascii").strip()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/v1/neural/{path}", method=method, headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return bytes(answer.read())


if __name__ == "__main__":
    main()
