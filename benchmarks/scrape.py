"""CPU of a scrape of /metrics with 200 signals, beside node_exporter's in the same seconds.

Starts the real daemon and node_exporter as it comes, both in a network of their own with 24 interfaces. Both are
scraped in turn, in blocks; what the daemon's ticks take is measured in seconds without a scrape and taken off. Told
are the median of the blocks, and the ratio with its 95 % interval by bootstrap over the pairs of blocks.
"""

import argparse
import fcntl
import http.client
import os
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from benchmarks.footprint import node_exporter
from benchmarks.process import cpu_seconds, daemon, free_port, is_trained, wait
from benchmarks.report import Row, smaller_is_better, write

_SIGNALS = 200  # that are exported
_INTERFACES = 24  # six signals each
_NAMESPACES = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_TUNSETIFF, _TAP = 0x400454CA, 0x1002  # without a header of its own
_FRAME = b"\xff" * 12 + b"\x88\xb5" + bytes(46)
_BLOCK = 20  # scrapes

Milliseconds = NDArray[np.float64]


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--blocks", type=int, default=40, help=f"of {_BLOCK} scrapes each, of either")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.inside:
        rights = () if os.geteuid() == 0 else ("--map-root-user",)
        again = [sys.executable, "-m", "benchmarks.scrape", *sys.argv[1:], "--inside"]
        os.execvp(_NAMESPACES[0], [*_NAMESPACES, *rights, *again])  # noqa: S606 - nothing of it comes from outside
    _fill_network()
    write("scrape", _measure(arguments.blocks), ("prometheus-client", "aiohttp"), as_json=arguments.json)


def _measure(blocks: int) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="presaged-scrape-") as folder, node_exporter() as peer:
        port = free_port()
        with daemon(Path(folder), "numpy", port, more=f"[metrics]\nsignals = {_SIGNALS}\n") as process:
            wait(port, is_trained)
            ours, theirs = [], []
            for _ in range(blocks):
                idle = _idle(process.pid)
                ours.append(_block(process.pid, port, idle))
                if peer:
                    theirs.append(_block(peer[0].pid, urlsplit(peer[1]).port, 0.0))
            body = _Client(port).get()
    return _rows(body, 1e3 * np.array(ours), 1e3 * np.array(theirs))


def _rows(body: bytes, ours: Milliseconds, theirs: Milliseconds) -> list[Row]:
    case = f"{body.count(b'{signal=')} signals"
    series = sum(not line.startswith(b"#") for line in body.splitlines())
    rows = [Row(case, "body", "bytes", len(body)), Row(case, "series", "1", series)]
    middle = float(np.median(ours))
    if not len(theirs):
        return [*rows, Row(case, "cpu of a scrape", "ms", middle)]
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(ours), (2000, len(ours)))
    ratios = np.median(theirs[picks], axis=1) / np.median(ours[picks], axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return [
        *rows,
        smaller_is_better(case, "cpu of a scrape", "ms", middle, ("node_exporter", float(np.median(theirs)))),
        Row(case, "ratio, lower end of 95 %", "1", float(low)),
        Row(case, "ratio, upper end of 95 %", "1", float(high)),
    ]


class _Client:
    """One kept connection, as Prometheus keeps one."""

    def __init__(self, port: int | None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)

    def get(self) -> bytes:
        self._connection.request("GET", "/metrics")
        return self._connection.getresponse().read()


def _block(pid: int, port: int | None, idle_per_second: float) -> float:
    """Return CPU seconds a scrape, without what the process does by itself."""
    client = _Client(port)
    client.get()
    before, started = cpu_seconds(pid), time.monotonic()
    for _ in range(_BLOCK):
        client.get()
    spent, took = cpu_seconds(pid) - before, time.monotonic() - started
    return (spent - idle_per_second * took) / _BLOCK


def _idle(pid: int) -> float:
    """Return CPU seconds a second that the process takes when nobody asks."""
    before = cpu_seconds(pid)
    time.sleep(1)
    return cpu_seconds(pid) - before


def _fill_network() -> None:
    """Make interfaces, each of which has had a packet: others are not watched."""
    names = [f"lan{number}" for number in range(_INTERFACES)]
    lans = [os.open("/dev/net/tun", os.O_RDWR) for _ in names]  # each lives as long as its descriptor
    for lan, name in zip(lans, names, strict=True):
        fcntl.ioctl(lan, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TAP))
    orders = "\n".join(f"link set {name} up" for name in ("lo", *names))
    subprocess.run(["ip", "-batch", "-"], input=orders, text=True, check=True)  # noqa: S607 - as in a shell
    for lan in lans:
        os.write(lan, _FRAME)


if __name__ == "__main__":
    main()
