"""Simulated servers (tests/simulation) on which nothing runs out: nothing is said to.

A day of one server; with PRESAGED_TEST_SCALE above 1 three weeks of so many, whose seeds are named.
"""

import os
from dataclasses import dataclass, field

import numpy as np
import pytest
from server import INTERVAL, Server

from daemon.capacity.forecasts import Forecasting
from daemon.capacity.watch import CapacityWatch
from daemon.config import Capacity
from daemon.history import History
from daemon.metrics import Metrics
from daemon.offload import Inline
from daemon.samples import StoredSample
from daemon.signals import SignalRegistry
from detectors.capacity import load_forecaster
from detectors.findings import Strength

SCALE = int(os.environ.get("PRESAGED_TEST_SCALE", "1"))
FIRST_SEED = 1
DAYS = 1 if SCALE == 1 else 21
HOUR_ROWS = round(3600 / INTERVAL)


@dataclass
class Replay:
    """A server's rows through the history, the hourly forecasts and the watch."""

    server: Server
    folder: object
    row: int = 0
    raised: set = field(default_factory=set)

    def now(self):
        return self.server.instant(self.row)

    def start(self, history):
        """A daemon begins, at first and after a reboot."""
        known = [(number, spec, 0) for number, spec in enumerate(self.server.specs, 1)]
        watch = CapacityWatch(Capacity())
        forecasts = Forecasting(
            interval_seconds=INTERVAL,
            history=history,
            registry=SignalRegistry(known, lambda *_: {}, lambda *_: None),
            watch=watch,
            offload=Inline(),
            metrics=Metrics("test", lambda: "numpy", 0),
            clock=self,
            load=load_forecaster,
            links=lambda names: dict.fromkeys(names, 1.25e8),
        )
        return watch, forecasts

    async def run(self):
        server, ids = self.server, np.arange(1, len(self.server.specs) + 1)
        history = History(self.folder / "history.db")
        history.bind_interval(INTERVAL)
        boot, waiting = -1, []
        for self.row in np.flatnonzero(~server.down).tolist():
            if server.boot[self.row] != boot:
                boot = server.boot[self.row]
                watch, forecasts = self.start(history)
            now, values = self.now(), server.values[self.row]
            waiting.append(StoredSample(self.row + 1, now, 0, 0, 0, None, None, ids, values))
            state, findings = watch.observe(list(zip(server.specs, values.tolist(), strict=True)), now)
            self.raised |= {(one.alertname, one.detail) for one in findings if one.strength is Strength.RAISED}
            if self.row % HOUR_ROWS == 0:
                history.add(waiting)
                waiting.clear()
                history.roll_up()
                await forecasts.make_due()
        history.close()
        return state


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("lot", range(SCALE))
async def test_nothing_is_said_to_run_out_on_a_server_where_nothing_does(tmp_path, lot):
    seed = int(os.environ.get("PRESAGED_TEST_SEED") or FIRST_SEED + lot)
    replay = Replay(Server(seed, days=DAYS), tmp_path)
    state = await replay.run()
    print(f"server {seed}: {DAYS} days")
    for one, used, size in state.ranked():
        (accuracy,) = [made.accuracy for made in one.horizons if made.horizon.name == "hours"]
        print(f"{one.resource.name}: {used / size:.0%} used, {one.text}; {accuracy}")
        assert accuracy.forecasts >= 10
        assert accuracy.coverage95 > 0.5
    assert {"memory", "/", "/var", "/var inodes", "cpu"} <= {one.resource.name for one in state.resources}
    assert replay.raised == set()
