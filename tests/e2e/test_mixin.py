"""Every expression of every dashboard, asked of a real Prometheus that scrapes a live daemon and knows the rules.

The daemon has a past of five days whose last one was unlike the others, so that it has a model, drift, forecasts and
an alert within a minute, and a drill is a page. What only days of running can bring (`LATER`) is asked of a second
target: what the daemon's own code exposes of a state that has it.
"""

import json
import re
import sqlite3
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from real import Daemon, need
from servers import prometheus, rules_of_the_mixin

from daemon.capacity.resources import Resource, ResourceKind
from daemon.capacity.series import capacity_families
from daemon.capacity.state import Accuracy, CapacityState, Made, ResourceState
from daemon.drift.series import drift_families
from daemon.drift.state import DriftState, NetworkDrift
from daemon.models.series import model_families
from daemon.models.state import ModelsState
from daemon.snapshot import AnomalyState
from detectors.exhaustion import Outlook
from detectors.findings import Unit
from detectors.forecasts import HORIZONS

BOARDS = sorted((Path(__file__).parents[2] / "mixin" / "dashboards").glob("*.json"))
PRESAGE = "import sys; from daemon.cli import main; sys.exit(main())"
INTERVAL = 15
CONFIG = f"""
[sampling]
interval_seconds = {INTERVAL}
[anomaly]
network_after_samples = 2000
[compute]
backend = "numpy"
[alerting]
for_seconds = 1
[[alerting.sinks]]
name = "own"
type = "stdout"
"""

# They come with time: forecasts that are due, a judged model, a second one beside the first.
LATER = (
    "presaged_capacity_error_ratio",
    "presaged_capacity_coverage_ratio",
    "presaged_model_performance_ratio",
    "presaged_model_retention_ratio",
    "presaged_drift_outputs_ratio",
)


def past(path, end):
    """Write a table of signals that every host has: five days, and everything is half as much again on the last."""
    rng = np.random.default_rng(5)
    rows = 5 * 86_400 // INTERVAL
    noise = rng.normal(size=(rows, 6))
    for row in range(1, rows):
        noise[row] += 0.5 * noise[row - 1]
    level = np.array([0.3, 0.2, 0.08, 0.4, 2000.0, 1000.0])
    values = level * (1 + 0.05 * noise)
    values[-86_400 // INTERVAL :] *= 1.5
    names = "cpu.busy", "cpu.user", "cpu.system", "memory.used", "cpu.context_switches_per_second"
    free = np.linspace(6e10, 4e10, rows)[:, None]
    table = np.hstack([end - INTERVAL * np.arange(rows)[::-1, None], values, free, 1 - free / 1e11])
    head = ",".join(("time", *names, "cpu.interrupts_per_second", "filesystem./.free_bytes", "filesystem./.used"))
    np.savetxt(path, table, delimiter=",", fmt="%.10g", header=head, comments="")


def with_a_past(folder):
    """Start a daemon that has been there for five days, and whose hourly jobs are due."""
    first = Daemon(folder, CONFIG, ("-m", "daemon"))
    first.wait_samples(1)
    first.stop()
    past(folder / "past.csv", time.time() - 60)
    told = [sys.executable, "-c", PRESAGE, "import", "--config", str(first.file), "--csv", str(folder / "past.csv")]
    subprocess.run(told, check=True, capture_output=True)
    with sqlite3.connect(folder / "state" / "history.db") as history:  # drift is judged on own samples alone
        history.execute("UPDATE samples SET seq = seq + 10000000 WHERE seq > 0")
        history.execute("UPDATE samples SET seq = seq + 5000000 WHERE seq < 0")
    with sqlite3.connect(folder / "state" / "state.db") as state:
        state.execute("UPDATE jobs SET last_start_ms = 1, last_success_ms = 1 WHERE name = 'drift'")
    history.close()
    state.close()
    return Daemon(folder, CONFIG, ("-m", "daemon"))


class Grown:
    """The families of a host on which forecasts have come due and a second model serves, as the daemon makes them."""

    def collect(self):
        outlook = Outlook((0.0,) * 5, 1e6, 2e6, 3e6)
        made = Made(HORIZONS[0], 0, 0, np.zeros(96), "", np.full((5, 12), 0.5), (), Accuracy(9, 0.5, 0.8, 0.95))
        disk = Resource("/", ResourceKind.STORAGE, Unit.BYTES, ("a", "b"))
        state = ResourceState(disk, 0.02, outlook, 0, "", outlook, (), (made,))
        yield from capacity_families(CapacityState((state,), (0.5,), (1.0,)), 0, 5)
        anomaly = AnomalyState(None, None, None, None, (), (), 0, "", "000000000002", 1)
        yield from model_families(ModelsState(performance=0.4, retention=0.97), anomaly)
        yield from drift_families(DriftState(networks=(NetworkDrift("anomaly", 0.1, 10, 1, 0.1, 10, 1),)))


@pytest.fixture
def later():
    """A target that exposes what only comes with time."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Grown())
    text = generate_latest(registry)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def asked():
    """Yield (dashboard, panel, expression) of every panel, variable and annotation."""
    for path in BOARDS:
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                yield board["uid"], panel["title"], target["expr"]
        for one in board["templating"]["list"]:
            if one["type"] == "query":
                series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", one["query"]["query"]).groups()
                yield board["uid"], f"${one['name']}", f"group by ({label}) ({series})"
        for one in board["annotations"]["list"]:
            yield board["uid"], one["name"], one["expr"]


def chosen(expr, job, instance):
    """Return `expr` as Grafana sends it."""
    known = {
        "job": job,
        "instance": instance,
        "resource": ".+",
        "signal": ".+",
        "__rate_interval": "20s",
        "__range": "1m",
    }
    return re.sub(r"\$(\w+)", lambda found: known[found.group(1)], expr)


def four_hours_ago(instance):
    """Return what a panel compares with, as Prometheus would have scraped it then."""
    labels = f'job="live",instance="{instance}",resource="/",horizon="4h",bound="mean"'
    then = int(time.time()) - 4 * 3600
    samples = [f"presaged_capacity_forecast_ratio{{{labels}}} 0.5 {then + late}" for late in range(-60, 600, 30)]
    return "\n".join(("# TYPE presaged_capacity_forecast_ratio gauge", *samples, "# EOF\n"))


@pytest.mark.soak
@pytest.mark.timeout(240)
def test_every_expression_of_every_dashboard_returns_data(tmp_path, later):
    need("prometheus", "prometheus")
    daemon = with_a_past(tmp_path)
    instance = f"127.0.0.1:{daemon.port}"
    targets = {"live": instance, "later": later}
    left = set(asked())
    count = len(left)
    daemon.wait_samples(1)
    command = [sys.executable, "-c", PRESAGE, "drill", "--config", str(daemon.file)]  # a page that fires for a while
    drill = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        with prometheus(tmp_path / "p", targets, rules=rules_of_the_mixin(), past=four_hours_ago(instance)) as scraping:

            def has_data(one):
                target = ("later", later) if any(name in one[2] for name in LATER) else ("live", instance)
                return bool(scraping.ask(chosen(one[2], *target)))

            began = time.monotonic()
            while left and time.monotonic() < began + 120:
                left -= {one for one in left if has_data(one)}
                time.sleep(1)
            assert not left
            print(f"\n{count} expressions, all with data after {time.monotonic() - began:.0f} s")
    finally:
        daemon.stop()
        drill.wait(timeout=60)
