import asyncio
import contextlib
import math
import sqlite3
import time

import numpy as np
import pytest

from daemon.errors import CollectorError, StateError
from daemon.rates import Rates
from daemon.samples import FLAG_DOUBTFUL, FLAG_GAP, FLAG_OWN_WORK
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit

YEAR = 365 * 86_400.0


@contextlib.asynccontextmanager
async def running(host):
    task = asyncio.create_task(host.tick.run())
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_one_tick_from_the_source_to_the_database(hosts, fake_collector, clock):
    host = await hosts(fake_collector("cpu", {"b": 2.0, "a": math.nan}))
    snapshot = await host.take()
    assert (snapshot.seq, snapshot.samples, snapshot.time_ms) == (1, 1, clock.time_ms)
    values = {spec.name: value for spec, value in snapshot.values}
    assert values["b"] == 2.0
    assert math.isnan(values["a"])
    rows = host.history.last_rows(5)
    assert rows.time_ms.tolist() == [clock.time_ms]
    np.testing.assert_array_equal(rows.values[0], [one for _, one in snapshot.values])
    assert host.published == [snapshot]
    assert snapshot.anomaly.learning.startswith("learning: 1 of 60 samples")
    assert host.count("presaged_samples_total") == 1


async def test_the_tick_goes_on_after_the_last_sample_stored(hosts, fake_collector):
    host = await hosts(fake_collector("cpu", {"a": 1.0}))
    await host.take(5)
    again = await hosts(fake_collector("cpu", {"a": 1.0}))
    snapshot = await again.take()
    assert (snapshot.seq, snapshot.samples) == (6, 1)
    rows = again.history.last_rows(10)
    assert rows.seq.tolist() == [1, 2, 3, 4, 5, 6]
    assert not (rows.flags & FLAG_GAP).any()  # a quick restart is no gap


async def test_the_sample_after_a_notification_is_own_work(hosts, fake_collector):
    host = await hosts(fake_collector("cpu", {"a": 1.0}))
    await host.take(4)
    host.outbox._sent["hook"] += 1
    await host.take(2)
    host.outbox._failed["hook"] += 1
    await host.take(2)
    flags = host.history.last_rows(10).flags & FLAG_OWN_WORK
    assert (flags[2:] > 0).tolist() == [False, False, True, False, True, False]


async def test_a_collector_that_stops_is_an_alert_and_its_return_ends_it(hosts, fake_collector):
    cpu, disk = fake_collector("cpu", {"a": 1.0}), fake_collector("disk", {"b": 2.0})
    host = await hosts(cpu, disk)
    await host.take(3)
    disk.error = CollectorError("gone")
    snapshot = await host.take(2)
    assert snapshot.alerts == ()
    assert [value for _, value in snapshot.values] == [1.0, pytest.approx(math.nan, nan_ok=True)]
    snapshot = await host.take(4)
    assert [(one.alertname, one.resource, one.state.value) for one in snapshot.alerts] == [
        ("StoppedCollecting", "disk", "firing")
    ]
    disk.error = None
    snapshot = await host.take(12)
    assert snapshot.alerts == ()
    assert snapshot.seq == 21


async def test_a_disk_that_is_removed_leaves_nothing_but_missing_values(hosts, quiet_collector):
    disk = quiet_collector(4, seed=3, name="disk")
    inner = disk.values
    host = await hosts(quiet_collector(12), disk)
    disk.values = lambda: {f"disk.{name}": value for name, value in inner().items()}
    await host.take(150)
    quiet = [snapshot.anomaly.raw for snapshot in host.published[-60:]]
    disk.values = dict
    snapshot = await host.take(90)
    gone = [value for spec, value in snapshot.values if spec.family == "disk"]
    assert len(gone) == 4
    assert all(math.isnan(value) for value in gone)
    assert all(one.findings == () and one.alerts == () for one in host.published[-90:])
    assert max(one.anomaly.raw for one in host.published[-90:]) <= max(*quiet, host.watch.threshold)
    await host.take(90)  # the model learned from now on does without it
    assert host.published[-1].alerts == ()


async def test_a_new_interface_gets_ids_and_does_not_disturb_the_score(hosts, quiet_collector, fake_collector):
    """Two hosts see the same; on one of them an interface comes: the scores stay the same."""
    scores = []
    for new in (False, True):
        wire = fake_collector("network")
        host = await hosts(quiet_collector(12), wire)
        host.watch._fitted_at = 0
        await host.take(130)
        if new:
            wire.values = {"net.eth9": 1e6, "net.eth9.errors": 0.0}
        await host.take(20, learn=False)
        scores.append([one.anomaly.raw for one in host.published[-20:]])
        assert len(host.published[-1].values) == (14 if new else 12)
        assert all(one.alerts == () for one in host.published[-20:])
        await asyncio.sleep(0)
        host.close()
        for file in host.directory.glob("*"):
            if file.is_file():
                file.unlink()
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)


async def test_a_counter_that_is_reset_gives_no_spike(hosts, quiet_collector, clock):
    class Counter:
        name, deadline_seconds = "network", 5.0
        total, rates = 4e12, Rates(76.0)
        spec = SignalSpec("net.in_bytes_per_second", Unit.BYTES_PER_SECOND, Kind.RATE, "network")
        rng = np.random.default_rng(0)

        def collect(self, monotonic_ns):
            self.total += 30 * (1e6 + 1e4 * self.rng.normal())
            self.rates.begin(monotonic_ns)
            return [(self.spec, self.rates.per_second("bytes", self.total))]

        def close(self):
            pass

    counter = Counter()
    host = await hosts(quiet_collector(12), counter)
    await host.take(150)
    counter.total = 5.0
    await host.take(40)
    seen = [{spec.name: value for spec, value in one.values}["net.in_bytes_per_second"] for one in host.published]
    assert math.isnan(seen[0])
    assert math.isnan(seen[150])
    assert np.nanmax(seen) < 1.1e6
    assert np.nanmin(seen) > 0.9e6
    assert all(one.alerts == () for one in host.published[150:])


@pytest.mark.parametrize("seconds", [3600.0, -3600.0, YEAR, -YEAR])
async def test_the_wall_clock_is_set_and_nothing_happens(hosts, quiet_collector, clock, seconds):
    host = await hosts(quiet_collector(12))
    await host.take(200)
    clock.set_wall(seconds)
    await host.take(1)
    assert host.jumps == [clock.monotonic_ns]  # the scheduler is told, once
    window = host.watch.window.recent(host.registry.ids, 2)
    assert np.isnan(window[0]).all()  # windows restart: nothing looks across
    assert np.isfinite(window[1]).all()
    await host.take(149)
    assert host.jumps == host.jumps[:1]
    assert all(one.findings == () and one.alerts == () for one in host.published[200:])
    rows = host.history.last_rows(1000)
    assert rows.seq.tolist() == list(range(1, 351))
    assert rows.flags[200] == FLAG_GAP | FLAG_DOUBTFUL
    assert (rows.flags[201:320] == FLAG_DOUBTFUL).all()
    assert (rows.flags[320:] == 0).all()
    assert rows.time_ms[200] - rows.time_ms[199] == 30_000 + seconds * 1000
    host.history.roll_up()
    gone = host.history.prune({0: 86_400, 300: 51_840, 3600: 26_280, 86_400: 3650})
    assert gone == 0
    counts = host.history._database.execute("SELECT tier, sum(count), max(seq) FROM rollups GROUP BY tier").fetchall()
    assert all(total == last for _, total, last in counts)


async def test_a_suspend_is_a_gap_and_no_alarm(hosts, quiet_collector, clock):
    host = await hosts(quiet_collector(12))
    await host.take(200)
    clock.suspend(10 * 3600.0)
    await host.take(60)
    assert all(one.findings == () and one.alerts == () for one in host.published[200:])
    flags = host.history.last_rows(1000).flags
    assert flags[200] == FLAG_GAP
    assert flags[201:].tolist() == [0] * 59
    assert len(host.jumps) == 1  # jobs that fell due while the host slept are not late by as much again


async def test_an_ntp_step_changes_nothing(hosts, quiet_collector, clock):
    host = await hosts(quiet_collector(4))
    await host.take(3)
    clock.set_wall(0.5)
    await host.take(3)
    assert not (host.history.last_rows(9).flags & (FLAG_GAP | FLAG_DOUBTFUL)).any()
    assert host.jumps == []


async def test_a_disk_that_refuses_costs_history_and_not_the_watch(hosts, quiet_collector, monkeypatch):
    host = await hosts(quiet_collector(4))
    await host.take(2)
    append = host.history.append

    def full(_sample):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(host.history, "append", full)
    snapshot = await host.take(3)
    assert (snapshot.seq, snapshot.samples) == (5, 5)
    assert host.count("presaged_store_failures_total") == 3
    assert host.watch.window.filled == 5
    monkeypatch.setattr(host.history, "append", append)
    await host.take()
    assert host.history.last_rows(10).seq.tolist() == [1, 2, 6]
    assert host.history.resets == 0


async def test_a_store_that_hangs_is_given_up_and_counted(hosts, quiet_collector, monkeypatch):
    monkeypatch.setattr("daemon.tick._STORE_SECONDS", 0.05)
    host = await hosts(quiet_collector(4))
    await host.take(1)
    monkeypatch.setattr(host.history, "append", lambda _sample: time.sleep(0.4))
    began = time.monotonic()
    await host.take(1)
    assert time.monotonic() - began < 0.35
    assert host.count("presaged_store_failures_total") == 1
    await asyncio.sleep(0.5)


async def test_a_corrupt_history_is_set_aside_and_the_sample_kept(hosts, quiet_collector, monkeypatch):
    host = await hosts(quiet_collector(4))
    await host.take(3)
    append, broken = host.history.append, [True]

    def once(sample):
        if broken.pop() if broken else False:
            raise sqlite3.DatabaseError("database disk image is malformed")
        append(sample)

    monkeypatch.setattr(host.history, "append", once)
    await host.take(2)
    assert host.count("presaged_database_resets_total") == 1
    assert host.history.last_rows(10).seq.tolist() == [4, 5]
    assert (host.directory / "history.db.corrupt").exists()
    assert host.watch.window.filled == 5


async def test_pages_overwritten_while_it_runs(hosts, quiet_collector):
    """The real thing: the file is overwritten under the running tick; it goes on by itself."""
    host = await hosts(quiet_collector(40))
    await host.take(150, learn=False)
    host.history._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with (host.directory / "history.db").open("r+b") as file:
        file.write(b"\xa5" * (file.seek(0, 2) and 100_000))
        file.seek(0)
        file.write(b"\xa5" * 100_000)
    host.history._database.execute("PRAGMA shrink_memory")
    await host.take(20, learn=False)
    assert host.count("presaged_database_resets_total") == 1
    assert host.published[-1].seq == 170
    assert host.history.last()[0] == 170
    assert host.history._database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_history_that_cannot_even_be_set_aside_does_not_stop_the_watch(hosts, quiet_collector, monkeypatch):
    host = await hosts(quiet_collector(4))
    await host.take(1)

    def refuse(*_arguments):
        raise sqlite3.DatabaseError("malformed")

    def read_only(_reason):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(host.history, "append", refuse)
    monkeypatch.setattr(host.history, "set_aside", read_only)
    snapshot = await host.take(3)
    assert snapshot.seq == 4
    assert host.count("presaged_store_failures_total") == 3


async def test_a_signal_table_that_refuses_costs_the_new_signals_only(hosts, fake_collector, monkeypatch):
    source = fake_collector("cpu", {"a": 1.0})
    host = await hosts(source)
    await host.take()
    assign = host.registry._assign

    def full(*_arguments):
        raise StateError("state.db: the disk is full")

    monkeypatch.setattr(host.registry, "_assign", full)
    source.values["b"] = 2.0
    snapshot = await host.take(2)
    assert [spec.name for spec, _ in snapshot.values] == ["a"]
    assert host.count("presaged_internal_failures_total", where="signal_table") == 2
    monkeypatch.setattr(host.registry, "_assign", assign)
    snapshot = await host.take()
    assert [spec.name for spec, _ in snapshot.values] == ["a", "b"]


# The beat, in real time: a hundredth of the interval in production


async def test_beats_come_at_the_interval(hosts, fake_collector):
    source = fake_collector("cpu", {"a": 1.0})
    source.before = lambda: times.append(time.monotonic())
    times = []
    host = await hosts(source, interval=0.05)
    async with running(host):
        await asyncio.sleep(0.62)
    assert 9 <= len(times) <= 14
    assert np.median(np.diff(times)) == pytest.approx(0.05, abs=0.015)


async def test_beats_that_come_while_a_tick_runs_are_skipped_and_never_two_run_at_once(hosts, fake_collector):
    began, ended, at_once = [], [], []
    slow = fake_collector("cpu", {"a": 1.0})

    def work():
        began.append(time.monotonic())
        at_once.append(len(began) - len(ended))
        time.sleep(0.13)
        ended.append(time.monotonic())

    slow.before = work
    host = await hosts(slow, interval=0.1)
    async with running(host):
        await asyncio.sleep(0.95)
    await asyncio.sleep(0.2)
    assert set(at_once) == {1}
    starts = np.diff(began)
    assert starts.min() > 0.17  # every second beat: what was missed is not caught up
    assert 4 <= len(began) <= 6
    assert host.count("presaged_ticks_missed_total") >= 4


async def test_one_slow_tick_costs_its_beats_and_the_rhythm_stays(hosts, fake_collector):
    times = []
    source = fake_collector("cpu", {"a": 1.0})

    def work():
        times.append(time.monotonic())
        if len(times) == 2:
            time.sleep(0.75)

    source.before = work
    host = await hosts(source, interval=0.3)
    async with running(host):
        await asyncio.sleep(2.2)
    gaps = np.diff(times)
    assert gaps[1] == pytest.approx(0.9, abs=0.14)
    assert (gaps[2:] > 0.16).all()
    assert host.count("presaged_ticks_missed_total") == 2
    assert ((np.array(times) - times[0] + 0.02) % 0.3 < 0.16).all()


async def test_pressure_brings_one_tick_forward_and_only_one(hosts, fake_collector, until):
    times = []
    source = fake_collector("cpu", {"a": 1.0})
    source.before = lambda: times.append(time.monotonic())
    host = await hosts(source, interval=0.4)
    async with running(host):
        await until(lambda: times)
        for _ in range(60):  # the kernel keeps on waking us
            host.tick.wake()
            await asyncio.sleep(0.01)
    at = np.array(times) - times[0]
    np.testing.assert_allclose(at[:3], [0, 0.2, 0.4], atol=0.05)
    assert len(at) <= 4
    assert 1 <= host.count("presaged_early_ticks_total") <= 2


async def test_a_wake_in_the_second_half_waits_for_the_beat(hosts, fake_collector, until):
    times = []
    source = fake_collector("cpu", {"a": 1.0})
    source.before = lambda: times.append(time.monotonic())
    host = await hosts(source, interval=0.4)
    async with running(host):
        await until(lambda: times)
        await asyncio.sleep(0.25)
        host.tick.wake()
        await asyncio.sleep(0.1)
        assert len(times) == 1
        await asyncio.sleep(0.15)
    assert len(times) == 2
    assert times[1] - times[0] == pytest.approx(0.4, abs=0.05)
    assert host.count("presaged_early_ticks_total") == 0


async def test_a_tick_and_one_that_is_asked_for_do_not_run_at_once(hosts, fake_collector):
    at_once, inside = [], [0]
    source = fake_collector("cpu", {"a": 1.0})

    def work():
        inside[0] += 1
        at_once.append(inside[0])
        time.sleep(0.05)
        inside[0] -= 1

    source.before = work
    host = await hosts(source)
    await asyncio.gather(*(host.tick.once() for _ in range(4)))
    assert at_once == [1, 1, 1, 1]
    assert host.tick.seq == 4
