"""CPU of a full tick, resident memory and start of the daemon, beside node_exporter in the same seconds.

Starts the real daemon once for each back end on this host, lets it learn and train its network, then
measures over the same windows: the daemon's CPU a tick against node_exporter's CPU a scrape, and both
processes' resident memory. Ticks come every second here; at 30 s caches are colder for both. The peer is scraped every
second from the beginning: a scraper that comes after the learning is an anomaly, and an anomaly costs as much again.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import nan
from pathlib import Path
from statistics import median

import psutil

from benchmarks.process import cpu_seconds, daemon, free_port, get, is_trained, status, wait
from benchmarks.report import Row, smaller_is_better, write
from detectors.kernels.loader import COMPILED

PEER = "prometheus-node-exporter"
WINDOWS, SCRAPES = 5, 60

SETTLE_SECONDS = 60.0  # for what the training did to pass out of the window that is scored


Peer = tuple[psutil.Process, str]


class Scraper(threading.Thread):
    """Scrapes the peer every second until `end`."""

    def __init__(self, peer: Peer) -> None:
        super().__init__(daemon=True)
        self.count = 0
        self._process, self._url = peer
        self._over = threading.Event()
        self.start()

    def run(self) -> None:
        """Scrape."""
        while not self._over.wait(1.0):
            get(self._url)
            self.count += 1

    def spent(self) -> tuple[float, int]:
        """Return the peer's CPU seconds and how often it was scraped."""
        return cpu_seconds(self._process.pid), self.count

    def end(self) -> None:
        """Scrape no more."""
        self._over.set()
        self.join()


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--ticks", type=int, default=30, help="ticks and scrapes in each of the five windows")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for backend in ("compiled", "jit", "numpy") if COMPILED.exists() else ("jit", "numpy"):
        rows += _measure(backend, arguments.ticks)
    write("footprint", rows, ("numpy", "numba", "psutil", "prometheus-client", "aiohttp"), as_json=arguments.json)


def _measure(backend: str, ticks: int) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="presaged-footprint-") as folder, node_exporter() as peer:
        port = free_port()
        started = time.monotonic()
        scraper = Scraper(peer) if peer else None
        with daemon(Path(folder), backend, port) as process:
            wait(port, lambda said: said["samples"] >= 1)
            first = time.monotonic() - started
            wait(port, is_trained)
            wait(port, lambda said: said["backend"].startswith(backend) and not said["job"])
            time.sleep(SETTLE_SECONDS)
            tick_ms, peer_ms = _cpu(ticks, port, process, scraper)
            if scraper:
                scraper.end()
            rows = _rows(backend, port, process, tick_ms=tick_ms, peer=(peer[0], peer_ms) if peer else None)
            return [Row(f"{backend} start", "first sample", "s", first), *rows]


def _cpu(ticks: int, port: int, process: psutil.Process, scraper: Scraper | None) -> tuple[float, float]:
    """Return the CPU of a tick and of a scrape of the peer, ms: each the middle one of five windows."""
    found = []
    for _ in range(WINDOWS):
        before, samples = cpu_seconds(process.pid), status(port)["samples"]
        peer_before, scrapes = scraper.spent() if scraper else (nan, 0)
        time.sleep(ticks)
        spent, count = cpu_seconds(process.pid) - before, status(port)["samples"] - samples
        peer_now, scraped = scraper.spent() if scraper else (nan, 1)
        found.append((1000 * spent / count, 1000 * (peer_now - peer_before) / (scraped - scrapes)))
    of_ticks, of_peer = zip(*found, strict=True)
    return median(of_ticks), median(of_peer)


def _rows(
    backend: str, port: int, process: psutil.Process, *, tick_ms: float, peer: tuple[psutil.Process, float] | None
) -> list[Row]:
    """Return the rows of one back end; `peer`: its process, and its CPU a scrape in ms."""
    rss_mb = process.memory_info().rss / 1e6
    signals = status(port)["signals"]
    before = cpu_seconds(process.pid)
    for _ in range(SCRAPES):
        get(f"http://127.0.0.1:{port}/metrics")
    scrape_ms = 1000 * (cpu_seconds(process.pid) - before) / SCRAPES
    rows = [Row(f"{backend} full tick", "signals", "1", signals)]
    if peer is None:
        return [
            *rows,
            Row(f"{backend} full tick", "cpu", "ms", tick_ms),
            Row(f"{backend} scrape", "cpu", "ms", scrape_ms),
            Row(f"{backend} process", "resident memory", "MB", rss_mb),
        ]
    peer_ms, peer_mb = peer[1], peer[0].memory_info().rss / 1e6
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
