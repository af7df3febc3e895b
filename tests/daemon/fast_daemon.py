"""A presaged that ticks five times a second: `fast_daemon.py --config FILE [--collector hang|quiet] [--root DIR] ...`.

The daemon itself as `presaged` runs it, but for the interval; for the tests that kill it. With
`--collector hang` one more source is there that never answers, with `quiet` nothing but a quiet one; with `--root` the
host's own files, but for /proc and /sys, are those below DIR; with `--at-once` an alert fires with the first tick that
finds it and is over with the first that does not.
"""

import argparse
import asyncio
import sys
import threading
from pathlib import Path

import numpy as np

from alerting import alert, policy
from daemon import app, log, preflight
from daemon.collectors.base import HostPaths
from daemon.config import load
from daemon.errors import ConfigError, StateError
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit


class Hanging:
    name, deadline_seconds = "hanging", 30.0

    def collect(self, _monotonic_ns):
        threading.Event().wait()
        return []

    def close(self):
        pass


class Quiet:
    name, deadline_seconds = "quiet", 5.0

    def __init__(self):
        self._rng = np.random.default_rng()
        self._specs = [SignalSpec(f"quiet.s{number}", Unit.RATIO, Kind.GAUGE, "quiet") for number in range(20)]

    def collect(self, _monotonic_ns):
        return [(spec, float(value)) for spec, value in zip(self._specs, self._rng.normal(0.5, 0.02, 20), strict=True)]

    def close(self):
        pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--interval", type=float, default=0.2)
    parser.add_argument("--collector", choices=("hang", "quiet"))
    parser.add_argument("--root", type=Path, default=Path("/"))
    parser.add_argument("--at-once", action="store_true")
    given = parser.parse_args()
    if given.at_once:
        alert.timing_of = lambda *_: policy.Timing(0.0, 0.0)
    build = app.build_collectors
    if given.collector == "hang":
        app.build_collectors = lambda context: [*build(context), Hanging()]
    elif given.collector == "quiet":
        app.build_collectors = lambda _context: [Quiet()]
    try:
        loaded = load(given.config)
        log.set_up(loaded.config.log)
        paths = HostPaths(root=given.root)
        asyncio.run(app.App(loaded, preflight.prepare(loaded), paths=paths, interval_seconds=given.interval).run())
    except (ConfigError, StateError) as error:
        sys.stderr.write(f"presaged: cannot start: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
