import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.policy import Severity
from daemon.backtest.dummies import LINE_NAME, NETWORK_NAME, ROBUST_NAME, Interval, Method, dummies, predict_linear
from daemon.backtest.result import Samples
from daemon.collectors import CollectorContext, build_collectors
from daemon.errors import CollectorError, NotAvailable
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit

INTERVAL = 30.0
START = 1_772_344_800_000
HOUR = 120  # samples
DAY = 2880


def spec(name, unit=Unit.RATIO, family="", resource=""):
    return SignalSpec(name, unit, Kind.GAUGE, family or name.split(".")[0], resource)


def samples_of(columns, time_ms=None):
    """Samples of {spec: values}."""
    values = np.stack(list(columns.values()), axis=1).astype(np.float32) if columns else np.zeros((0, 0), np.float32)
    rows = len(values)
    times = START + np.arange(rows, dtype=np.int64) * 30_000 if time_ms is None else np.asarray(time_ms, np.int64)
    zeros = np.zeros(rows, np.int64)
    ids = tuple(range(len(columns)))
    return Samples(tuple(columns), ids, values, np.arange(rows) + 1, times, times * 10**6, zeros, zeros, zeros)


def judged(columns, name, severity=None, time_ms=None, **more):
    found = dummies(samples_of(columns, time_ms), interval_seconds=INTERVAL, episodes_per_week=7.0, **more).judged
    (one,) = [one for one in found if one.name == name and severity in (None, one.severity)]
    return one


def mount(used, free=None, read_only=None, name="/var", inodes=None):
    columns = {spec(f"filesystem.{name}.used", family="filesystem", resource=name): used}
    if free is not None:
        columns[spec(f"filesystem.{name}.free_bytes", Unit.BYTES, "filesystem", name)] = free
    if inodes is not None:
        columns[spec(f"filesystem.{name}.inodes_used", family="filesystem", resource=name)] = inodes
    if read_only is not None:
        columns[spec(f"filesystem.{name}.read_only", family="filesystem", resource=name)] = read_only
    return columns


def at(row):
    return START + row * 30_000


LOAD = spec("load.one_per_cpu")


@pytest.mark.parametrize(
    ("columns", "name", "severity", "wait", "first"),
    [
        (lambda high: {LOAD: 2.1 * high}, "NodeSystemSaturation", Severity.TICKET, 30, 0),
        (lambda high: {spec("memory.used"): 0.91 * high}, "NodeMemoryHighUtilization", Severity.TICKET, 30, 0),
        (lambda high: {spec("cpu.busy"): high * 1.0}, "NodeCPUHighUsage", Severity.RECORD, 30, 3),  # mean of 2 min
        (
            lambda high: {spec("memory.major_faults_per_second", Unit.PER_SECOND): 501 * high},
            "NodeMemoryMajorPagesFaults",
            Severity.TICKET,
            30,
            9,  # mean of 5 min
        ),
        (
            lambda high: {spec("kernel.descriptors_used"): 0.75 * high},
            "NodeFileDescriptorLimit",
            Severity.TICKET,
            30,
            0,
        ),
        (lambda high: {spec("kernel.descriptors_used"): 0.95 * high}, "NodeFileDescriptorLimit", Severity.PAGE, 30, 0),
        (lambda high: mount(0.96 * high), "NodeFilesystemAlmostOutOfSpace", Severity.TICKET, 60, 0),
        (lambda high: mount(0.98 * high), "NodeFilesystemAlmostOutOfSpace", Severity.PAGE, 60, 0),
        (
            lambda high: mount(0.5 * high, inodes=0.96 * high),
            "NodeFilesystemAlmostOutOfFiles",
            Severity.TICKET,
            120,
            0,
        ),
        (lambda high: mount(0.5 * high, inodes=0.98 * high), "NodeFilesystemAlmostOutOfFiles", Severity.PAGE, 120, 0),
    ],
)
def test_a_rule_fires_at_its_wait_and_not_a_sample_before(columns, name, severity, wait, first):
    begin = 200
    fires = begin + first + wait
    for last in (fires - 1, fires, fires + 5):
        high = np.zeros(600)
        high[begin : last + 1] = 1.0
        one = judged(columns(high), name, severity)
        assert one.firings == ((Interval(at(fires), at(last)),) if last >= fires else ())
        assert (one.counted, one.method, one.judged_seconds) == (len(one.firings), Method.STATIC, 600 * INTERVAL)


def test_a_threshold_itself_is_not_above_it():
    assert judged({LOAD: np.full(200, 2.0)}, "NodeSystemSaturation").firings == ()
    assert judged(mount(np.full(200, 0.96)), "NodeFilesystemAlmostOutOfSpace", Severity.PAGE).firings == ()


def test_a_wait_begins_anew_where_the_value_is_missing_or_low_for_a_sample():
    for hole in (np.nan, 0.0):
        load = np.full(50, 3.0)
        load[29] = hole
        assert judged({LOAD: load}, "NodeSystemSaturation").firings == ()


def test_a_wait_outlasts_a_short_gap_and_not_a_long_one():
    load, half = np.full(40, 3.0), np.arange(20) * 30_000
    for gap_ms, firings in ((300_000, 1), (330_000, 0)):
        times = START + np.concatenate([half, half[-1] + gap_ms + half])
        assert len(judged({LOAD: load}, "NodeSystemSaturation", time_ms=times).firings) == firings


def test_a_clock_that_steps_back_breaks_nothing():
    times = START + np.arange(100) * 30_000
    times[50:] -= 600_000
    (firing,) = judged({LOAD: np.full(100, 3.0)}, "NodeSystemSaturation", time_ms=times).firings
    assert firing.from_ms == at(30)


def test_a_file_system_that_is_read_only_is_not_almost_full():
    full = np.full(200, 0.99)
    assert judged(mount(full, read_only=np.zeros(200)), "NodeFilesystemAlmostOutOfSpace", Severity.PAGE).counted == 1
    assert judged(mount(full, read_only=np.ones(200)), "NodeFilesystemAlmostOutOfSpace", Severity.PAGE).counted == 0


def test_errors_are_a_share_of_the_packets():
    def columns(errors):
        named = {"errors": errors, "receive_packets": 60.0, "transmit_packets": 40.0}
        return {
            spec(f"network.eth0.{name}_per_second", Unit.PER_SECOND, "network", "eth0"): np.full(200, value)
            for name, value in named.items()
        }

    assert judged(columns(1.1), NETWORK_NAME).firings == (Interval(at(120), at(199)),)
    assert judged(columns(0.9), NETWORK_NAME).firings == ()
    assert judged(columns(0.0), NETWORK_NAME).resource == "eth0"


def test_a_signal_is_found_by_what_it_is_and_not_by_a_part_of_its_name():
    strange = mount(np.full(200, 0.99), name="/a.used")
    assert judged(strange, "NodeFilesystemAlmostOutOfSpace", Severity.PAGE).resource == "/a.used"
    other = {spec("unit.load.one_per_cpu", family="unit", resource="x"): np.full(200, 9.0)}
    found = dummies(samples_of(other), interval_seconds=INTERVAL, episodes_per_week=7.0)
    assert found.judged == ()
    assert "NodeSystemSaturation" in dict(found.skipped)


def test_the_names_are_those_of_our_collectors():
    real = set()
    for collector in build_collectors(CollectorContext(disabled=frozenset({"latency", "unit", "changes"}))):
        try:
            collector.collect(0)
            real |= {one.name for one, _ in collector.collect(10**9)}
        except (NotAvailable, CollectorError):
            continue
        finally:
            collector.close()
    assert {"cpu.busy", "load.one_per_cpu", "memory.used", "memory.major_faults_per_second"} <= real


def plain_prediction(time_ms, values, ahead, window):
    out = np.full(len(values), np.nan)
    for row in np.flatnonzero(np.isfinite(values)):
        inside = (time_ms > time_ms[row] - window * 1000) & (np.arange(len(values)) <= row) & np.isfinite(values)
        if inside.sum() >= 2:
            x = (time_ms[inside] - time_ms[row]) / 1000
            slope, intercept = np.polyfit(x, values[inside], 1)
            out[row] = slope * ahead + intercept
    return out


@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 60), missing=st.floats(0, 0.9), scale=st.integers(0, 13))
def test_the_line_is_that_of_polyfit(seed, size, missing, scale):
    rng = np.random.default_rng(seed)
    steps = rng.choice([30_000, 30_000, 30_500, 900_000, 4_000_000], size)
    time_ms = START + np.cumsum(steps)
    values = 10.0**scale * (5 + np.cumsum(rng.normal(size=size)))
    values[rng.random(size) < missing] = np.nan
    ours = predict_linear(time_ms, values, 14_400, 3600)
    plain = plain_prediction(time_ms, values, 14_400, 3600)
    np.testing.assert_allclose(ours, plain, rtol=1e-6, atol=1e-6 * 10.0**scale)


def test_the_line_keeps_its_digits_over_months():
    rows = 3 * 30 * DAY
    time_ms = START + np.arange(rows) * 30_000
    free = 4e12 - 1000.0 * np.arange(rows)
    ours = predict_linear(time_ms, free, 86_400, 21_600)
    np.testing.assert_allclose(ours[1:], free[1:] - 1000.0 * 2880, atol=1e4)


def test_filling_up_fires_an_hour_after_the_line_reaches_the_bottom():
    size, rows, begin = 100e9, 1600, 800
    level = np.full(rows, 0.15)  # of it free: both severities look
    level[begin:] -= 0.10 * np.arange(rows - begin) / (4 * HOUR)  # a tenth in four hours
    free = level * size
    time_ms = START + np.arange(rows) * 30_000
    for severity, ahead in ((Severity.TICKET, 86_400), (Severity.PAGE, 14_400)):
        one = judged(mount(1 - level, free), LINE_NAME, severity)
        predicted = plain_prediction(time_ms[: begin + 700], free.astype(np.float32)[: begin + 700], ahead, 21_600)
        reached = int(np.flatnonzero(predicted < 0)[0])
        assert begin < reached < begin + 600
        assert one.firings[0].from_ms == at(reached + HOUR)
        assert one.method is Method.LINE
    roomy = judged(mount(0.5 + 0 * level, free), LINE_NAME, Severity.TICKET)
    assert roomy.firings == ()  # half of it is free


def quiet(rows, seed=0, signals=3):
    rng = np.random.default_rng(seed)
    return {spec(f"pressure.s{place}"): 0.3 + 0.05 * rng.normal(size=rows) for place in range(signals)}


def test_max_z_sees_what_was_never_seen_and_nothing_before_it_has_learned():
    columns = quiet(4 * DAY)
    first, second, _ = columns.values()
    first[100:140] += 50  # in the learning
    second[3 * DAY : 3 * DAY + 40] += 50
    columns[spec("never.there")] = np.full(4 * DAY, np.nan)
    one = judged(columns, ROBUST_NAME)
    assert one.judged_seconds == 2 * DAY * INTERVAL  # half of it is learned from
    assert all(firing.from_ms >= at(2 * DAY) for firing in one.firings)
    assert any(firing.from_ms <= at(3 * DAY + 5) and firing.to_ms >= at(3 * DAY + 30) for firing in one.firings)


def test_max_z_has_the_budget_of_ours_and_counts_as_it_does():
    columns = quiet(21 * DAY)
    signal = next(iter(columns.values()))
    signal[10 * DAY : 10 * DAY + 250] += 50  # two hours and a bit
    one = judged(columns, ROBUST_NAME)
    assert one.judged_seconds == 14 * DAY * INTERVAL
    assert len(one.firings) >= 1
    assert one.counted >= len(one.firings) + 2  # each started hour counts again
    assert one.counted - 3 <= 3 * 7 * 2  # and quiet time about keeps it


def test_max_z_learns_for_a_day_at_least():
    for rows, there in ((DAY, False), (DAY + 1, True)):
        found = dummies(samples_of(quiet(rows)), interval_seconds=INTERVAL, episodes_per_week=7.0)
        assert (ROBUST_NAME in {one.name for one in found.judged}) is there
        assert (ROBUST_NAME in dict(found.skipped)) is not there


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_next_to_nothing_is_judged_without_a_stumble(rows):
    columns = {**mount(np.full(rows, 0.99), np.zeros(rows)), LOAD: np.full(rows, np.nan)}
    found = dummies(samples_of(columns), interval_seconds=INTERVAL, episodes_per_week=7.0)
    assert all(one.firings == () for one in found.judged)
    assert dummies(samples_of({}), interval_seconds=INTERVAL, episodes_per_week=7.0).judged == ()


def test_signals_that_were_never_seen_fire_nothing():
    columns = {one: np.full(3 * DAY, np.nan) for one in (LOAD, spec("cpu.busy"), *mount(np.zeros(1), np.zeros(1)))}
    found = dummies(samples_of(columns), interval_seconds=INTERVAL, episodes_per_week=7.0)
    assert {one.counted for one in found.judged} == {0}


def test_a_month_of_a_hundred_signals_takes_seconds():
    rng = np.random.default_rng(1)
    columns = {spec(f"pressure.s{place}"): rng.random(30 * DAY) for place in range(92)}
    columns |= mount(rng.random(30 * DAY), 1e9 * rng.random(30 * DAY), np.zeros(30 * DAY), "/")
    columns |= mount(rng.random(30 * DAY), 1e9 * rng.random(30 * DAY), np.zeros(30 * DAY), "/var")
    columns |= {LOAD: rng.random(30 * DAY)}
    samples = samples_of(columns)
    began = time.process_time()
    dummies(samples, interval_seconds=INTERVAL, episodes_per_week=7.0)
    assert time.process_time() - began < 3.0
