"""A benign month is quiet, what decays or flaps stays abnormal, a job that did not run is noticed.

Simulated servers (tests/simulation) through the daemon's own judgement, at 30 s. PRESAGED_TEST_SCALE is the number of
servers; every table names their seeds, and PRESAGED_TEST_SEED repeats one.
"""

import os
import time
from dataclasses import dataclass

import numpy as np
import pytest
from replay import UNITS, Replay
from server import DAY, HOUR, INTERVAL, Server

from alerting.policy import Severity
from daemon.collectors import CollectorContext, build_collectors
from daemon.config import Anomaly, Config
from daemon.errors import CollectorError, NotAvailable
from daemon.watch import AnomalyWatch
from detectors import calibration

CEILING = Anomaly().episodes_per_week
WEEK = 7 * DAY
FIRST_SEED = 1
SOAK = range(int(os.environ.get("PRESAGED_TEST_SCALE", "1")))

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(autouse=True)
def summer_time(monkeypatch):
    """Local time; the simulated March ends in summer time, so that one night has an hour less."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def seed_of(lot):
    return int(os.environ.get("PRESAGED_TEST_SEED") or FIRST_SEED + lot)


async def replayed(server, folder, **more):
    replay = Replay(server, folder, **more)
    await replay.run()
    return replay


def weeks(outcome):
    ends = outcome.episodes[WEEK - 1 :: WEEK]
    return np.diff(np.r_[0, ends]).tolist()


@pytest.mark.soak
@pytest.mark.parametrize("lot", SOAK)
async def test_a_benign_month_sends_nothing_and_keeps_the_ceiling(tmp_path, lot):
    """With one backup that does not run, and a night that the host sleeps through."""
    seed = seed_of(lot)
    missing, asleep = 18, 25
    server = Server(seed, without={("backup", missing), ("backup", asleep)})
    server.suspend(server.planned["backup", asleep] - HOUR, 3 * HOUR)
    began = time.process_time()
    replay = await replayed(server, tmp_path)
    out, kept = replay.outcome, replay.occurrences
    jobs = [one for one in kept if one.alertname == "JobMissed"]
    print(
        f"\nseed {seed}: episodes a week {weeks(out)}, records {len(kept)}, overdue jobs {len(jobs)}, "
        f"notifications {len(out.notifications)}, {time.process_time() - began:.0f} s"
    )
    assert out.notifications == []
    assert {(one.severity, one.told) for one in kept} == {(Severity.RECORD, ())}
    assert max(weeks(out)[1:]) <= CEILING
    (missed,) = jobs  # of thirty nights and of all other jobs
    assert missed.resource == UNITS["backup"]
    assert 0 < (missed.fired_ms - server.time_ms[server.planned["backup", missing]]) / 3.6e6 <= 2.0


async def test_in_the_learning_week_nothing_is_sent_even_where_every_anomaly_is_asked_for(tmp_path):
    replay = await replayed(Server(seed_of(0), days=1), tmp_path, notify="always")
    assert [one for one in replay.occurrences if one.alertname == "Anomaly"]  # there was something to send
    assert replay.outcome.notifications == []


@dataclass(frozen=True)
class Fault:
    """`healthy` days before it: as in the 28 days of the reference, more than it lasts."""

    healthy: int
    days: int
    least_episodes: int  # on its last day


FAULTS = {"flapping": Fault(18, 5, 10), "decaying": Fault(18, 10, 1)}


@dataclass(frozen=True)
class LastDay:
    """The last day of a fault: its episodes, and its median score over the threshold that stood before it began."""

    episodes: int
    excess: float


async def last_day(kind, seed, folder):
    fault = FAULTS[kind]
    server = Server(seed, days=fault.healthy + fault.days, reboot_day=99, **{kind: (fault.healthy, fault.days)})
    out = (await replayed(server, folder)).outcome
    faulty = (np.arange(server.rows) >= server.rows - DAY) & (server.cut | (server.decay > 0))
    before = float(np.median(out.threshold[(fault.healthy - 1) * DAY : fault.healthy * DAY]))
    day = LastDay(int(out.episodes[-1] - out.episodes[-1 - DAY]), float(np.nanmedian(out.raw[faulty])) / before)
    print(
        f"\n{kind} for {fault.days} days, seed {seed}: on its last day {day.episodes} episodes, above in "
        f"{out.alarmed[faulty].mean():.0%} of its samples; score {day.excess:.2f} times the threshold before it; "
        f"threshold {before:.2f} to {out.threshold[-1]:.2f}"
    )
    return day


def is_abnormal(kind, day):
    return day.episodes >= FAULTS[kind].least_episodes and day.excess >= 1.05


@pytest.mark.soak
@pytest.mark.parametrize(
    ("kind", "lot"), [("flapping", lot) for lot in SOAK[:8]] + [("decaying", lot) for lot in SOAK[1:8]]
)
async def test_what_flaps_or_decays_for_days_does_not_become_normal(tmp_path, kind, lot):
    """Full figures: 8 servers each. The decay takes half a minute a server and is left to the longer runs."""
    assert is_abnormal(kind, await last_day(kind, seed_of(lot), tmp_path))


@pytest.mark.soak
@pytest.mark.parametrize("kind", list(FAULTS) if len(SOAK) > 1 else [])
async def test_it_would_become_normal_without_what_holds_it(tmp_path, kind, monkeypatch):
    """The proof that the test above can fail: without the reference of 28 days, and without a pause in learning."""
    monkeypatch.setattr(calibration, "_RISE", np.inf)
    monkeypatch.setattr(AnomalyWatch, "may_learn_again", lambda *_: True)
    assert not is_abnormal(kind, await last_day(kind, seed_of(0), tmp_path))


async def test_scores_ahead_are_those_of_every_tick(tmp_path):
    """What the tests above take from the batch path is what the daemon computes sample by sample."""
    config = Config(anomaly=Anomaly(network_after_samples=1000))
    seen = []
    for live in (False, True):
        server = Server(seed_of(0), days=1)
        server.suspend(2000, 40)
        seen.append((await replayed(server, tmp_path / str(live), live=live, config=config)).outcome)
    ahead, live = seen
    np.testing.assert_allclose(ahead.raw, live.raw, rtol=1e-4, atol=1e-4)
    assert (ahead.alarmed == live.alarmed).all()
    assert np.isfinite(live.raw).sum() > 0.9 * DAY


def test_the_simulated_signals_are_those_of_the_collectors():
    simulated = {spec.name: spec for spec in Server(1, days=1).specs}
    real = {}
    for collector in build_collectors(CollectorContext(disabled=frozenset({"latency", "unit", "changes"}))):
        try:
            collector.collect(0)
            real |= {spec.name: spec for spec, _ in collector.collect(10**9)}
        except (NotAvailable, CollectorError):
            continue
        finally:
            collector.close()
    both = simulated.keys() & real.keys()
    assert {name: simulated[name] for name in both} == {name: real[name] for name in both}
    assert len(both) >= 30
    devices = ("cpu.", "disk.", "filesystem.", "network.", "latency.", "sensors.", "pressure.")
    assert not [name for name in simulated if name not in real and not name.startswith(devices)]
    assert 40 <= len(simulated) <= 100


def test_a_job_that_is_left_out_changes_nothing_else():
    whole, part = Server(5, days=4), Server(5, days=4, without={("backup", 2)})
    begin = whole.planned["backup", 2]
    end = begin + 6 * HOUR
    assert set(whole.runs) - set(part.runs) == {run for run in whole.runs if (run.job, run.start) == ("backup", begin)}
    np.testing.assert_array_equal(whole.values[:begin], part.values[:begin])
    quiet = whole.column("tcp.passive_opens_per_second")[begin:end]
    np.testing.assert_array_equal(quiet, part.column("tcp.passive_opens_per_second")[begin:end])


class Family:
    """One family of a simulated server's signals, as a collector."""

    deadline_seconds = 2.0

    def __init__(self, server, family, clock):
        self.name, self.server, self.clock = family, server, clock
        self.columns = [place for place, spec in enumerate(server.specs) if spec.family == family]
        self.start_ns, self.broken = clock.monotonic_ns, False

    def collect(self, monotonic_ns):
        if self.broken:
            raise CollectorError(f"/proc/{self.name}: not understood")
        row = self.server.values[round((monotonic_ns - self.start_ns) / 1e9 / INTERVAL)]
        return [(self.server.specs[place], float(row[place])) for place in self.columns]

    def close(self):
        pass


async def test_a_source_that_stops_is_told_and_a_suspend_is_not(hosts, clock):
    server = Server(seed_of(0), days=1)
    sources = [Family(server, family, clock) for family in sorted({spec.family for spec in server.specs})]
    host = await hosts(*sources)
    await host.take(200)
    clock.suspend(8 * 3600)
    await host.take(20)
    assert [one.alertname for one in host.pipeline.active if one.alertname != "Anomaly"] == []
    next(source for source in sources if source.name == "disk").broken = True
    await host.take(7)
    (stopped,) = [one for one in host.pipeline.active if one.alertname == "StoppedCollecting"]
    assert (stopped.resource, stopped.severity, stopped.state) == ("disk", Severity.PAGE, "firing")
