"""CPU of a full tick, resident memory and start of the daemon, beside node_exporter in the same seconds.

Starts the real daemon once for each back end on this host, lets it learn and train its network, then
measures over the same window: the daemon's CPU a tick against node_exporter's CPU a scrape, and both
processes' resident memory. Ticks come every second here; at 30 s caches are colder for both.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.process import cpu_seconds, daemon, free_port, get, is_trained, status, wait
from benchmarks.report import Row, smaller_is_better, write
from detectors.kernels.loader import COMPILED

PEER = "prometheus-node-exporter"

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
    with tempfile.TemporaryDirectory(prefix="presaged-footprint-") as folder, node_exporter() as peer:
        port = free_port()
        started = time.monotonic()
        with daemon(Path(folder), backend, port) as process:
            wait(port, lambda said: said["samples"] >= 1)
            first = time.monotonic() - started
            wait(port, is_trained)
            wait(port, lambda said: said["backend"].startswith(backend) and not said["job"])
            time.sleep(5)
            return _window(backend, ticks, port=port, process=process, peer=peer, first=first)


def _window(
    backend: str,
    ticks: int,
    *,
    port: int,
    process: psutil.Process,
    peer: Peer | None,
    first: float,
) -> list[Row]:
    before, samples = cpu_seconds(process.pid), status(port)["samples"]
    peer_before = cpu_seconds(peer[0].pid) if peer else 0.0
    for _ in range(ticks):
        time.sleep(1)
        if peer:
            get(peer[1])
    count = status(port)["samples"] - samples
    tick_ms = 1000 * (cpu_seconds(process.pid) - before) / count
    rss_mb = process.memory_info().rss / 1e6
    signals = status(port)["signals"]
    scrape = cpu_seconds(process.pid)
    for _ in range(ticks):
        get(f"http://127.0.0.1:{port}/metrics")
    scrape_ms = 1000 * (cpu_seconds(process.pid) - scrape) / ticks
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
    peer_ms = 1000 * (cpu_seconds(peer[0].pid) - peer_before) / ticks
    peer_mb = peer[0].memory_info().rss / 1e6
    return [
        *rows,
        smaller_is_better(f"{backend} full tick", "cpu", "ms", tick_ms, ("node_exporter scrape", peer_ms)),
        smaller_is_better(f"{backend} scrape", "cpu", "ms", scrape_ms, ("node_exporter scrape", peer_ms)),
        smaller_is_better(f"{backend} process", "resident memory", "MB", rss_mb, ("node_exporter", peer_mb)),
    ]


@contextmanager
def node_exporter() -> Iterator[Peer | None]:
    """Run the peer with all that it collects unasked; yields it and its address, None where it is not installed."""
    program = shutil.which(PEER)
    if program is None:
        print(f"{PEER} is not installed: no peer in this run", file=sys.stderr)
        yield None
        return
    port = free_port()
    process = subprocess.Popen([program, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
    try:
        time.sleep(1)
        yield psutil.Process(process.pid), f"http://127.0.0.1:{port}/metrics"
    finally:
        process.terminate()
        process.wait(timeout=10)


if __name__ == "__main__":
    main()
