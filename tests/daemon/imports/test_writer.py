"""Imported rows have their place, once, whatever the order; and they score as the same samples taken live."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from daemon.clock import Instant
from daemon.errors import StateError
from daemon.history import History
from daemon.imports.table import Table
from daemon.imports.writer import ImportWriter, Written
from daemon.samples import FLAG_GAP, StoredSample
from daemon.signals import Kind, SignalSpec
from daemon.state import StateDatabase
from detectors.findings import Unit

NOW_MS = 1_772_344_800_000
STEP_MS = 30_000
A, B = (SignalSpec(f"memory.{name}", Unit.RATIO, Kind.GAUGE, "memory") for name in ("used", "free"))


class Stores:
    def __init__(self, folder):
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.history, self.state = History(folder / "history.db"), StateDatabase(folder / "state.db")

    def writer(self, *, interval=30.0, now_ms=NOW_MS):
        return ImportWriter(self.history, self.state, interval_seconds=interval, now_ms=now_ms)

    def own(self, seq, time_ms):
        ids = np.array(sorted(self.state.assign_signals([A], time_ms).values()), np.int64)
        instant = Instant(time_ms, 10**9 * seq, 0, "boot")
        self.history.append(StoredSample(seq, instant, 0, 0, 0, None, None, ids, np.ones(1, np.float32)))

    def rows(self):
        return self.history.last_rows(10**6)

    def close(self):
        self.history.close()
        self.state.close()


@pytest.fixture
def stores(tmp_path):
    made = Stores(tmp_path / "state")
    yield made
    made.close()


def table(count, *, end_ms=NOW_MS - 7_000, specs=(A, B), step_ms=STEP_MS, boot=0, jitter=None):
    time_ms = end_ms - step_ms * np.arange(count - 1, -1, -1, dtype=np.int64)
    if jitter is not None:
        time_ms = time_ms + jitter
    values = (np.arange(count)[:, None] + np.arange(len(specs)) / 10).astype(np.float32)
    return Table(tuple(specs), time_ms, values, np.full(count, boot, np.int64))


def all_of(writer, given):
    return writer.write(given, int(given.time_ms[0]), int(given.time_ms[-1]) + 1)


def test_rows_stand_before_the_first_own_sample_and_the_signals_have_their_ids(stores):
    stores.own(1, NOW_MS)
    writer = stores.writer(now_ms=NOW_MS + 10**9)
    assert writer.before_ms == NOW_MS
    written = all_of(writer, table(100))
    assert (written.new, written.known) == (100, 0)
    rows = stores.rows()
    assert rows.seq.tolist() == [*range(-100, 0), 1]
    assert rows.time_ms.tolist() == [*table(100).time_ms.tolist(), NOW_MS]
    numbers = {one.spec.name: one.id for one in stores.state.load_signals()}
    np.testing.assert_array_equal(
        rows.values[:100, rows.signal_ids.index(numbers["memory.free"])], table(100).values[:, 1]
    )
    assert stores.history.seen(1) == 101


def test_nothing_is_written_over_own_samples_or_twice(stores):
    stores.own(1, NOW_MS)
    late = table(20, end_ms=NOW_MS + 5 * STEP_MS)
    writer = stores.writer()
    assert all_of(writer, late).new == 14  # those at and after the first own one are not
    again = stores.writer()
    assert all_of(again, late) == Written(0, 14)
    assert stores.rows().seq.tolist() == [*range(-15, -1), 1]


def test_without_own_samples_the_first_import_is_the_border_for_later_ones(stores):
    first = stores.writer()
    all_of(first, table(10))
    stores.own(1, NOW_MS + 60_000)
    later = stores.writer(now_ms=NOW_MS + 10**8)
    assert later.before_ms == NOW_MS
    assert all_of(later, table(40)).new == 30  # the older ones
    assert stores.rows().seq.tolist() == [*range(-40, 0), 1]


@hypothesis_settings(max_examples=30, deadline=None)
@given(
    jitter=st.lists(st.integers(-6_000, 6_000), min_size=50, max_size=50),
    order=st.permutations(range(5)),
    repeated=st.lists(st.integers(0, 4), max_size=4),
)
def test_any_order_and_any_repetition_give_the_same_rows(tmp_path_factory, jitter, order, repeated):
    whole = table(50, jitter=np.sort(np.array(jitter)))
    borders = np.linspace(whole.time_ms[0], whole.time_ms[-1] + 1, 6).astype(int).tolist()
    seen = []
    for spans in (range(5), [*order, *repeated]):
        stores = Stores(tmp_path_factory.mktemp("any"))
        try:
            for span in spans:
                stores.writer().write(whole, borders[span], borders[span + 1])
            seen.append(stores.rows())
        finally:
            stores.close()
    assert seen[0].time_ms.tolist() == sorted(seen[1].time_ms.tolist()) == seen[1].time_ms.tolist()
    assert len(seen[0].seq) == 50  # what comes a little early or late has a place of its own
    np.testing.assert_array_equal(seen[0].values, seen[1].values)
    np.testing.assert_array_equal(seen[0].flags, seen[1].flags)


def test_gaps_and_boots_are_marked_also_where_a_page_begins(stores):
    whole = table(30)
    keep = np.r_[0:10, 14:30]
    boots = np.r_[np.zeros(20), np.ones(6)].astype(np.int64)
    holed = Table(whole.specs, whole.time_ms[keep], whole.values[keep], boots)
    writer = stores.writer()
    border = int(holed.time_ms[12])
    writer.write(holed, 0, border)
    writer.write(holed, border, NOW_MS)
    flags = stores.rows().flags
    assert np.flatnonzero(flags & FLAG_GAP).tolist() == [0, 10, 20]


def test_a_boot_whose_time_moves_with_the_clock_is_one(stores):
    writer = stores.writer()
    early, late = table(10, end_ms=NOW_MS - 10 * STEP_MS - 7_000, boot=1_000_000), table(10, boot=1_000_001)
    all_of(writer, early)
    all_of(writer, late)
    all_of(stores.writer(), table(10, end_ms=NOW_MS - 20 * STEP_MS - 7_000, boot=900_000))
    boots = stores.history.recorded(0, 2**60).boot
    assert len(set(boots[:10])) == len(set(boots[10:])) == 1
    assert boots[0] != boots[-1]


def test_two_scrapes_of_one_interval_are_one_sample(stores):
    assert all_of(stores.writer(), table(100, step_ms=15_000)).new in (50, 51)


def test_rows_without_a_value_are_none(stores):
    empty = table(10)
    empty.values[3] = np.nan
    assert all_of(stores.writer(), empty).new == 9


def test_another_interval_is_refused_in_one_line(stores):
    stores.history.bind_interval(10.0)
    with pytest.raises(StateError, match=r"not taken every 30 s.*move the file away"):
        stores.writer()


def test_an_import_at_an_interval_binds_it(stores):
    stores.writer(interval=15.0)
    assert stores.history.bind_interval(30.0) == 15.0


def test_spans_that_are_done_are_known_by_the_next_one(stores):
    writer = stores.writer()
    writer.note_done("a", 0, 100)
    writer.note_done("a", 100, 200)
    writer.note_done("b", 0, 50)
    again = stores.writer()
    assert again.is_done("a", 50, 200)
    assert not again.is_done("a", 50, 201)
    assert not again.is_done("b", 0, 51)
    assert not again.is_done("c", 0, 1)


def test_what_is_imported_is_rolled_up_beside_what_is_own(stores):
    all_of(writer := stores.writer(), table(2 * 2880))
    writer.finish()
    for seq in range(1, 40):
        stores.own(seq, NOW_MS + seq * STEP_MS)
    stores.history.roll_up()
    hours = stores.history.rollup_rows(3600, 100)
    times = [time_ms for time_ms, _, _ in hours]
    assert times == sorted(times)
    assert len(times) >= 47
    assert stores.history.rollup_rows(300, 10_000)[-1][0] >= NOW_MS
    all_of(older := stores.writer(), table(3 * 2880))
    older.finish()
    assert len(stores.history.rollup_rows(3600, 1000)) >= 70


async def test_an_imported_week_ends_the_learning_week_also_while_the_daemon_runs(hosts, quiet_collector, tmp_path):
    host = await hosts(quiet_collector())
    await host.take(3)
    assert not host.watch.learned
    writer = ImportWriter(host.history, host.state, interval_seconds=30.0, now_ms=NOW_MS + 10**8)
    all_of(writer, table(7 * 2880, end_ms=host.clock.time_ms - 200_000))
    host.learning.note_seen(host.learning.count_seen())
    assert host.watch.learned
    again = await hosts(quiet_collector())
    assert again.watch.learned
    assert again.watch.window.filled == 2880
    assert again.watch.model is not None  # from the first sample on
    snapshot = await again.take(1)
    assert snapshot.seq == 4


async def test_a_sample_that_is_taken_while_they_are_counted_is_not_lost(hosts, quiet_collector):
    host = await hosts(quiet_collector())
    await host.take(2)
    counted = host.learning.count_seen()
    await host.take(1)
    host.learning.note_seen(counted)
    assert (counted, host.watch.seen) == (2, 3)


async def test_a_daemon_that_begins_after_an_import_numbers_its_samples_from_one(hosts, quiet_collector, tmp_path):
    stores = Stores(tmp_path / "state")
    all_of(stores.writer(), table(200))
    stores.close()
    host = await hosts(quiet_collector())
    snapshot = await host.take(1)
    assert snapshot.seq == 1
    rows = host.history.last_rows(1000)
    assert rows.seq.tolist() == [*range(-200, 0), 1]
    assert rows.flags[-1] & FLAG_GAP
    assert host.watch.seen == 201
