from math import nan

from prometheus_client import CollectorRegistry, Histogram

from daemon.collectors.itself import RESIDENT, THREADS
from daemon.dashboard.cost import OwnCost
from daemon.snapshot import AnomalyState, Snapshot


def ticks(*seconds):
    one = Histogram("ticks", "t", registry=CollectorRegistry(), buckets=(0.01, 1))
    for each in seconds:
        one.observe(each)
    return one


def snapshot(resident, threads):
    anomaly = AnomalyState(None, None, None, None, (), (), 0, "", "", None)
    return Snapshot(1, 1, 1, 1, ((RESIDENT, resident), (THREADS, threads)), (), anomaly, (), ())


def test_before_the_first_sample_what_is_not_known_is_null(tmp_path):
    told = OwnCost(tmp_path, ticks()).tell(None, None)
    assert (told.resident_bytes, told.tick_mean_seconds, told.cpu_ratio, told.first_sample_at) == (None,) * 4
    assert (told.history_bytes, told.ticks) == (0, 0)


def test_sizes_are_those_on_the_disk_and_ticks_are_averaged(tmp_path):
    (tmp_path / "history.db").write_bytes(b"x" * 10_000)
    (tmp_path / "history.db-wal").write_bytes(b"x" * 10_000)
    with (tmp_path / "state.db").open("wb") as hole:
        hole.truncate(10**8)  # a hole takes nothing
    told = OwnCost(tmp_path, ticks(0.01, 0.03)).tell(snapshot(5e7, 7.0), 1_772_344_800_000)
    assert 20_000 <= told.history_bytes <= 40_000
    assert told.state_bytes < 10_000
    assert (told.resident_bytes, told.threads, told.ticks) == (50_000_000, 7, 2)
    assert abs(told.tick_mean_seconds - 0.02) < 1e-9
    assert told.first_sample_at == "2026-03-01T06:00:00.000Z"


def test_a_value_that_is_missing_is_null(tmp_path):
    assert OwnCost(tmp_path, ticks()).tell(snapshot(nan, nan), None).resident_bytes is None
