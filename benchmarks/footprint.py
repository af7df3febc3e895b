"""CPU of a full tick, resident memory and start of the daemon, beside node_exporter in the same seconds.

Starts the real daemon once for each back end on this host, lets it learn and train its network, then
measures over the same window: the daemon's CPU a tick against node_exporter's CPU a scrape, and both
processes' resident memory. Ticks come every second here; at 30 s caches are colder for both.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.report import Row, smaller_is_better, write
from detectors.kernels.loader import COMPILED

PEER = "prometheus-node-exporter"
TRAIN_AFTER = 90

Peer = tuple[psutil.Process, str]


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--ticks", type=int, default=60, help="ticks and scrapes in the measured window")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for backend in ("compiled", "jit", "numpy") if COMPILED.exists() else ("jit", "numpy"):
        rows += _measure(backend, arguments.ticks)
    write("footprint", rows, ("numpy", "numba", "psutil", "prometheus-client", "aiohttp"), as_json=arguments.json)


def _measure(backend: str, ticks: int) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="presaged-footprint-") as folder, _node_exporter() as peer:
        port = _free_port()
        started = time.monotonic()
        with _daemon(Path(folder), backend, port) as daemon:
            first = _wait(port, lambda status: status["samples"] >= 1) and time.monotonic() - started
            _wait(port, lambda status: bool(status["anomaly"] and status["anomaly"]["model"]) and not status["job"])
            _wait(port, lambda status: status["backend"].startswith(backend) and not status["job"])
            time.sleep(5)
            return _window(backend, ticks, port=port, daemon=daemon, peer=peer, first=float(first))


def _window(
    backend: str,
    ticks: int,
    *,
    port: int,
    daemon: psutil.Process,
    peer: Peer | None,
    first: float,
) -> list[Row]:
    before, samples = _cpu_seconds(daemon), _status(port)["samples"]
    peer_before = _cpu_seconds(peer[0]) if peer else 0.0
    for _ in range(ticks):
        time.sleep(1)
        if peer:
            _get(peer[1])
    count = _status(port)["samples"] - samples
    tick_ms = 1000 * (_cpu_seconds(daemon) - before) / count
    rss_mb = daemon.memory_info().rss / 1e6
    signals = _status(port)["signals"]
    scrape = _cpu_seconds(daemon)
    for _ in range(ticks):
        _get(f"http://127.0.0.1:{port}/metrics")
    scrape_ms = 1000 * (_cpu_seconds(daemon) - scrape) / ticks
    rows = [
        Row(f"{backend} start", "first sample", "s", first),
        Row(f"{backend} full tick", "signals", "1", signals),
    ]
    if peer is None:
        return [
            *rows,
            Row(f"{backend} full tick", "cpu", "ms", tick_ms),
            Row(f"{backend} scrape", "cpu", "ms", scrape_ms),
            Row(f"{backend} process", "resident memory", "MB", rss_mb),
        ]
    peer_ms = 1000 * (_cpu_seconds(peer[0]) - peer_before) / ticks
    peer_mb = peer[0].memory_info().rss / 1e6
    return [
        *rows,
        smaller_is_better(f"{backend} full tick", "cpu", "ms", tick_ms, ("node_exporter scrape", peer_ms)),
        smaller_is_better(f"{backend} scrape", "cpu", "ms", scrape_ms, ("node_exporter scrape", peer_ms)),
        smaller_is_better(f"{backend} process", "resident memory", "MB", rss_mb, ("node_exporter", peer_mb)),
    ]


@contextmanager
def _daemon(folder: Path, backend: str, port: int) -> Iterator[psutil.Process]:
    config = folder / "config.toml"
    config.write_text(
        f'[sampling]\ninterval_seconds = 1\n[storage]\ndirectory = "state"\n[compute]\nbackend = "{backend}"\n'
        f'[anomaly]\nnetwork_after_samples = {TRAIN_AFTER}\n[http]\nlisten = "127.0.0.1:{port}"\n',
        encoding="utf-8",
    )
    environment = {**os.environ, "CACHE_DIRECTORY": str(Path(tempfile.gettempdir()) / "presaged-footprint-cache")}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "daemon", "--config", str(config)], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=10)


@contextmanager
def _node_exporter() -> Iterator[Peer | None]:
    program = shutil.which(PEER)
    if program is None:
        print(f"{PEER} is not installed: no peer in this run", file=sys.stderr)
        yield None
        return
    port = _free_port()
    process = subprocess.Popen([program, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
    try:
        time.sleep(1)
        yield psutil.Process(process.pid), f"http://127.0.0.1:{port}/metrics"
    finally:
        process.terminate()
        process.wait(timeout=10)


def _cpu_seconds(process: psutil.Process) -> float:
    """CPU of all threads in nanosecond resolution: /proc/PID/stat counts in hundredths of a second only."""
    nanoseconds = 0
    for thread in Path(f"/proc/{process.pid}/task").iterdir():
        nanoseconds += int((thread / "schedstat").read_text(encoding="ascii").split()[0])
    return nanoseconds / 1e9


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return bytes(answer.read())


def _status(port: int) -> dict:  # type: ignore[type-arg]  # JSON of our own interface
    return dict(json.loads(_get(f"http://127.0.0.1:{port}/api/v1/status")))


def _wait(port: int, condition: object, seconds: float = 300.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition(_status(port)):  # type: ignore[operator]
                return True
        except OSError:
            pass
        time.sleep(0.02)
    raise TimeoutError("the daemon did not get there")


if __name__ == "__main__":
    main()
