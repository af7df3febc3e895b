"""What the daemon takes for a moment only: no piece of work makes so many small objects that some of them stay.

Each is given as much as a host of half a year has, or as a client may ask for. `passing` counts what was taken at the
most and is gone when the answer is there; read as tuples, blobs or lists of numbers, each was three times the bound or
more.
"""

import gc
import random
import tracemalloc

import numpy as np
import pytest

from daemon.clock import Instant
from daemon.collectors.package_log import PackageLogs
from daemon.drift.outputs import scores_drifted
from daemon.history import History
from daemon.samples import StoredSample, statistics
from daemon.state import StateDatabase
from daemon.web.series import DERIVED, Buckets, Wanted, read_series
from daemon.web.series_answers import HistoryAnswer
from daemon.web.signal_routes import history_json
from detectors.kernels import NUMPY, KsWindow, memory

T0 = 1_772_323_200_000  # midnight UTC
SAMPLES = 20_160  # a week at 30 s, a month at two minutes
IDS = np.array([1, 2])
MB = 1e6


def passing(work):
    """Return how many megabytes `work` takes at the most beyond those that what it returns holds."""
    work()  # what is imported or remembered at the first time is none of it
    gc.collect()
    tracemalloc.start()
    try:
        answer = work()
        held, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    del answer
    return (most - held) / MB


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    history = History(tmp_path_factory.mktemp("week") / "history.db")
    values = np.random.default_rng(1).normal(size=(SAMPLES, 2)).astype(np.float32)
    history.add(
        [
            StoredSample(row + 1, Instant(T0 + row * 30_000, row, 0, "b"), 0, 0, 7, 0.1 + row, 1.0 + row, IDS, one)
            for row, one in enumerate(values)
        ]
    )
    history.roll_up()
    yield history
    history.close()


END_MS = T0 + SAMPLES * 30_000


def pages(connection):
    """The bytes of a database that may be kept in memory."""
    ((kib,),) = connection.execute("PRAGMA cache_size")
    return -1024 * kib


def test_of_the_databases_little_is_kept_in_memory(history, tmp_path):
    reading, state = History(history.path, read_only=True), StateDatabase(tmp_path / "state.db")
    connections = (history._database, reading._database, state._connection)
    assert [pages(one) for one in connections] == [256 * 1024] * 3
    reading.close()
    state.close()


@pytest.mark.parametrize(
    ("work", "most"),
    [
        (lambda one: one.last_rows(SAMPLES), 0.1),
        (lambda one: one.following(0, SAMPLES), 0.1),
        (lambda one: one.recorded(T0, END_MS), 0.1),
        (lambda one: one.sampled([1], after=0, most=SAMPLES), 0.1),
        (lambda one: one.mark_incidents([(T0, T0 + 60_000)]), 0.8),
        (lambda one: one.mark_incidents([(T0, END_MS)]) + one.mark_incidents([]), 1.0),
        (lambda one: one.table("i8,f4", "SELECT time_ms, raw_score FROM samples"), 0.2),
        (lambda one: scores_drifted(one, NUMPY, 7, 2880, END_MS), 3),  # most of it arrays
    ],
    ids=["last", "following", "recorded", "sampled", "a mark", "marks", "table", "scores drifted"],
)
def test_a_week_of_samples_passes_row_by_row(history, work, most):
    took = passing(lambda: work(history))
    print(f"{took:.2f} MB")
    assert took < most


def test_rollups_pass_row_by_row(tmp_path):
    """The coarse tables of a host of 300 signals, of which one is asked for."""
    history = History(tmp_path / "history.db")
    ids = np.arange(300)
    key = ids.astype("<i8").tobytes()
    history.write(("INSERT INTO schemas (id, signal_ids) VALUES (?, ?)", [(1, key)]))
    blob = np.zeros((6, 300), "<f4").tobytes()
    history.write(
        (
            "INSERT INTO rollups VALUES (?, ?, ?, 1, 10, ?)",
            [(300, row, T0 + row * 300_000, blob) for row in range(1200)],
        )
    )
    wanted = Wanted((5,), (), T0, T0 + 1200 * 300_000, 1500)
    assert passing(lambda: history.rolled(300, [5], after=None, most=1200)) < 0.1
    assert passing(lambda: read_series(history.path, wanted, 30.0, 0.8)) < 0.6
    history.close()


def test_folding_passes_row_by_row(tmp_path, history):
    """What waits is folded at every call as long as the file is empty: the rollups are taken away before."""

    def work():
        history.write(("DELETE FROM rollups WHERE seq > ?", [(0,)]))
        history.roll_up()

    assert passing(work) < 0.7


def test_a_day_of_many_signals_is_folded_some_at_a_time():
    values = np.random.default_rng(4).normal(size=(2880, 200)).astype(np.float32)
    took = passing(lambda: statistics(values))
    print(f"{took:.2f} MB")
    assert took < 3


@pytest.mark.parametrize(("signals", "scores"), [((1,), ()), ((), DERIVED)])
def test_a_chart_passes_row_by_row(history, signals, scores):
    wanted = Wanted(signals, scores, T0, T0 + 6 * 86_400_000, 20_000)
    took = passing(lambda: read_series(history.path, wanted, 30.0, 0.8))
    print(f"{took:.2f} MB")
    assert took < (5 if scores else 4)  # most of it arrays


def test_the_largest_chart_is_written_series_by_series():
    buckets, names = 2000, [f"signal {number}" for number in range(20)]
    table = np.random.default_rng(2).normal(size=(buckets, 20))
    found = Buckets(60_000, 0, T0 + np.arange(buckets) * 60_000, table, table - 1, table + 1)
    wanted = Wanted(tuple(range(20)), (), T0, T0 + buckets * 60_000, buckets)
    units = dict.fromkeys(names, "ratio")

    def work():
        return history_json(found, wanted, units, names, threshold=0.8)

    told = HistoryAnswer.model_validate_json(work())
    assert [one.signal for one in told.series] == names
    assert told.series[7].max[3] == pytest.approx(table[3, 7] + 1, rel=1e-5)
    took = passing(work)
    print(f"{took:.2f} MB")
    assert took < 3


def test_giving_memory_back_takes_none(tmp_path, monkeypatch):
    smaps = tmp_path / "smaps"
    sizes = "".join(f"{name}: 4 kB\n" for name in ("Rss", "Anonymous", "Private_Dirty", *"abcdefghijklmnopqrst"))
    smaps.write_text(f"1000-2000 r--p 00000000 08:01 7 /lib/x.so\n{sizes}" * 1000, encoding="utf-8")
    monkeypatch.setattr(memory, "_SMAPS", smaps)
    assert memory.release_clean_pages() == 0
    assert passing(memory.release_memory) < 0.1


def test_a_long_package_log_passes_line_by_line(tmp_path):
    log = tmp_path / "var/log/dpkg.log"
    log.parent.mkdir(parents=True)
    names = random.Random(3)
    log.write_text("".join(f"2026-03-01 06:00:00 install lib{names.random()}:amd64 <none> 1\n" for _ in range(5000)))
    took = passing(lambda: list(PackageLogs(tmp_path).new()))
    print(f"{took:.2f} MB")
    assert took < 1


def test_a_watch_of_drift_keeps_little():
    """It is there from the fourth day on, as long as the daemon runs: two counters a value of the reference."""
    ordered = NUMPY.sorted(np.random.default_rng(5).normal(size=(100, 1440)).astype(np.float32))
    tracemalloc.start()
    window = KsWindow(NUMPY, ordered)
    window.add(np.zeros((2880, 100), np.float32))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.isfinite(window.statistic()).all()
    print(f"{held / MB:.2f} MB")
    assert held / MB < 0.7
