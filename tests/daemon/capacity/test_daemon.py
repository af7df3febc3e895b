"""Capacity in the whole daemon: alerts through the pipeline, and a real process on a history of months."""

import contextlib
import json
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from daemon.capacity.points import recent_rounds
from daemon.capacity.watch import CapacityWatch
from daemon.collectors.cpu import BUSY
from daemon.collectors.memory import AVAILABLE, USED
from daemon.config import Capacity
from daemon.state import StateDatabase
from detectors.findings import Strength

FAST = str(Path(__file__).parents[1] / "fast_daemon.py")
GIB, SIZE = 2.0**30, 100 * 2.0**30


class Mount:
    """A source that tells of one file system."""

    name, deadline_seconds = "filesystem", 5.0

    def __init__(self, specs, used):
        self.specs, self.used = specs, used

    def collect(self, _monotonic_ns):
        return list(zip(self.specs, [self.used / SIZE, SIZE - self.used, 0.1, 0.0], strict=True))

    def close(self):
        pass


@pytest.fixture
async def filling(hosts, past, host):
    """A daemon without its loop that watches /var."""
    specs = [one for one in past(*host).specs if one.resource == "/var"]
    mount = Mount(specs, 5 * GIB)
    return await hosts(mount), mount


def alerts(snapshot):
    return [(one.alertname, one.resource, one.state.value) for one in snapshot.alerts]


async def test_a_disk_that_fills_up_is_one_alert_until_it_is_cleaned_up(filling):
    host, mount = filling
    seen = []
    while mount.used < 98 * GIB:
        mount.used += 0.5 * GIB
        seen.append(alerts(await host.take(learn=False)))
    pending = seen.index([("ResourceExhaustionImminent", "/var", "pending")])
    firing = seen.index([("ResourceExhaustionImminent", "/var", "firing")])
    assert firing - pending == 4  # two minutes
    assert all(len(each) <= 1 for each in seen)
    assert len(seen) - firing > len(seen) / 3
    (one,) = (await host.take(learn=False)).alerts
    assert one.sentence.startswith("/var is full in ")
    assert "grows by 1 GiB a minute now" in one.sentence
    mount.used = 10 * GIB
    assert alerts(await host.take(20, learn=False)) == [("ResourceExhaustionImminent", "/var", "firing")]
    assert alerts(await host.take(15, learn=False)) == []
    assert alerts(await host.take(200, learn=False)) == []  # and nothing is told of it later


async def test_a_nightly_backup_that_is_deleted_again_is_no_alert(filling):
    host, mount = filling
    mount.used = 40 * GIB
    await host.take(5, learn=False)
    seen = []
    for _night in range(3):
        for _ in range(60):
            mount.used += 0.5 * GIB
            seen += alerts(await host.take(learn=False))
        mount.used = 40 * GIB
        seen += alerts(await host.take(30, learn=False))
    assert [one for one in seen if one[2] == "firing"] == []


async def test_a_restart_in_the_middle_of_a_fill_does_not_forget_it(filling):
    host, mount = filling
    while mount.used < 70 * GIB:
        mount.used += 0.5 * GIB
        before = await host.take(learn=False)
    again = CapacityWatch(Capacity())
    host.clock.advance(60)
    again.replay(recent_rounds(host.history, host.registry, host.clock.time_ms))
    for _ in range(2):
        mount.used += 0.5 * GIB
        host.clock.advance(30)
        state, findings = again.observe(mount.collect(0), host.clock.now())
    assert (findings[0].alertname, findings[0].strength) == ("ResourceExhaustionImminent", Strength.RAISED)
    then, now = before.capacity.resources[0].outlook, state.resources[0].outlook
    assert now.median == pytest.approx(then.median - 60, rel=0.1)
    stale = CapacityWatch(Capacity())
    host.clock.advance(3600)
    stale.replay(recent_rounds(host.history, host.registry, host.clock.time_ms))
    assert stale.observe(mount.collect(0), host.clock.now())[1] == ()


async def test_the_snapshot_tells_of_all_resources(filling):
    host, _ = filling
    snapshot = await host.take(learn=False)
    assert [one.resource.name for one in snapshot.capacity.resources] == ["/var", "/var inodes"]
    assert snapshot.capacity.used[0] == 5 * GIB


@dataclass
class Now:
    """The time as it is."""

    time_ms: int


@pytest.fixture
def months(daemons, past):
    """A daemon whose history holds months of the processor and the memory of this host."""

    def values(at):
        day = np.sin(2 * np.pi * at / 86_400)
        return [0.3 + 0.2 * day, 0.5 + 0.05 * day, 8 * GIB * (0.5 - 0.05 * day)]

    daemon = daemons(program=(FAST,), text="[collectors]\ndisable = ['filesystem', 'network']")
    daemon.state.mkdir()
    specs = [BUSY, USED, AVAILABLE]
    state = StateDatabase(daemon.state / "state.db")
    assert list(state.assign_signals(specs, 0).values()) == [1, 2, 3]
    state.close()

    def write():
        one = past(specs, values, clock=Now(round(time.time() * 1000)), directory=daemon.state)
        one.write(hours=97, days=100, months=14)
        one.history.close()

    write()
    return daemon


def forecasts(daemon, resource=None):
    return json.loads(daemon.get("/api/v1/forecasts" + (f"?resource={resource}" if resource else "")))["forecasts"]


def test_forecasts_come_soon_after_a_start_and_after_a_restart(months):
    for _ in range(2):
        began = time.monotonic()
        months.start()
        months.wait(lambda _status: any(each["horizons"] and each["horizons"][0]["mean"] for each in forecasts(months)))
        print(f"forecasts {time.monotonic() - began:.1f} s after the start")
        (cpu,) = forecasts(months, "cpu")
        assert [(one["name"], one["needs"]) for one in cpu["horizons"]] == [("hours", ""), ("days", ""), ("months", "")]
        assert len(cpu["horizons"][0]["history"]) == 96
        assert all(0 <= share <= 1 for one in cpu["horizons"] for share in one["lo95"] + one["hi95"])
        metrics = months.get("/metrics")
        for name in (
            'presaged_capacity_used_ratio{resource="memory"}',
            'presaged_capacity_forecast_ratio{bound="lo80",horizon="24h",resource="cpu"}',
            'presaged_capacity_exhaustion_timestamp_seconds{bound="median",resource="memory"} +Inf',
            'presaged_capacity_exhaustion_probability_ratio{resource="memory",within="4h"} 0.0',
        ):
            assert name in metrics
        assert "memory" in {one["resource"] for one in months.status()["capacity"]}
        assert months.end()[0] == 0
    with contextlib.closing(sqlite3.connect(months.state / "history.db")) as database:
        kept = database.execute("SELECT horizon, resource, count(*) FROM forecasts GROUP BY 1, 2").fetchall()
    assert set(kept) >= {(horizon, "memory", 1) for horizon in ("hours", "days", "months")}
