import contextlib
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from daemon.clock import Instant
from daemon.errors import StateError
from daemon.history import TIERS_SECONDS, History
from daemon.history_file import forget_old_copies
from daemon.samples import (
    FLAG_ALARMED,
    FLAG_EXPECTED,
    FLAG_GAP,
    FLAG_INCIDENT,
    FLAG_OWN_WORK,
    FLAG_SPARED,
    STATISTICS,
    StoredSample,
    decode,
    encode,
)

T0 = 1_772_323_200_000  # midnight UTC
NO_IDS = np.zeros(0, np.int64)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "history.db"


@pytest.fixture
def history(path):
    history = History(path)
    yield history
    history.close()


def sample(seq, time_ms, values, ids=None, *, flags=0, model=0, raw=None, boot="boot-1"):
    values = np.asarray(values, np.float32)
    ids = np.arange(1, len(values) + 1) if ids is None else np.asarray(ids, np.int64)
    return StoredSample(seq, Instant(time_ms, seq * 10**9, 0, boot), 5, flags, model, raw, None, ids, values)


def fill(history, count, *, start=1, time_ms=T0, step_ms=30_000, signals=3, seed=0):
    values = np.random.default_rng(seed).normal(size=(count, signals)).astype(np.float32)
    values[np.random.default_rng(seed + 1).random(values.shape) < 0.1] = np.nan
    for place in range(count):
        history.append(sample(start + place, time_ms + place * step_ms, values[place]))
    return values


def test_what_comes_and_goes_leaves_no_schemas_behind(history, monkeypatch):
    """A host on which every sample has another set of signals: in memory some are kept, in the file the needed ones."""
    monkeypatch.setattr("daemon.history._MOST_KNOWN", 20)
    monkeypatch.setattr("daemon.history._MOST_SCHEMAS", 100)
    for seq in range(1, 301):
        history.append(sample(seq, T0 + seq * 30_000, [seq, 1.0], ids=[1, 1000 + seq]))
        assert max(len(history._schemas), len(history._schema_ids)) <= 20
    assert history.read("SELECT count(*) FROM schemas") == [(300,)]
    history.roll_up()
    history.prune({0: 10, **dict.fromkeys(TIERS_SECONDS, 2)})
    ((left,),) = history.read("SELECT count(*) FROM samples")
    ((schemas,),) = history.read("SELECT count(*) FROM schemas")
    assert left <= 20
    assert schemas <= left + 6
    history.append(sample(301, T0 + 301 * 30_000, [301, 1.0], ids=[1, 1300]))  # its schema is known, or known again
    rows = history.last_rows(3)
    np.testing.assert_array_equal(rows.values[:, 0], [299, 300, 301])
    assert history.last_rows(50).signal_ids[0] == 1


floats = st.floats(width=32, allow_nan=True, allow_infinity=False)


@given(arrays.arrays(np.float32, st.integers(0, 70), elements=floats))
def test_a_row_comes_back_from_its_blob(values):
    data = encode(values)
    assert len(data) == (len(values) + 7) // 8 + 4 * int(np.isfinite(values).sum())
    got = decode(data, len(values))
    assert got.tobytes() == np.where(np.isnan(values), np.float32(np.nan), values).tobytes()


def test_what_is_not_finite_is_missing():
    np.testing.assert_array_equal(decode(encode(np.array([1, np.inf, -np.inf], "f4")), 3), [1, np.nan, np.nan])


def test_samples_come_back_by_seq_while_the_clock_goes_back(history):
    times = [T0, T0 + 30_000, T0 - 3_600_000, T0 + 10**10, T0 - 5]
    for seq, time_ms in enumerate(times, 1):
        history.append(sample(seq, time_ms, [seq, -seq], flags=seq))
    rows = history.last_rows(4)
    assert rows.seq.tolist() == [2, 3, 4, 5]
    assert rows.time_ms.tolist() == times[1:]
    assert rows.flags.tolist() == [2, 3, 4, 5]
    assert rows.hours.tolist() == [5] * 4
    np.testing.assert_array_equal(rows.values, [[2, -2], [3, -3], [4, -4], [5, -5]])
    assert history.last() == (5, T0 - 5, 5 * 10**9, "boot-1")


def test_an_empty_history_gives_empty_answers(history):
    assert history.last() is None
    rows = history.last_rows(10)
    assert rows.values.shape == (0, 0)
    assert rows.seq.tolist() == []
    assert history.scores(1, 10).shape == (0,)
    assert history.roll_up() == 0
    assert history.prune({0: 1, **dict.fromkeys(TIERS_SECONDS, 1)}) == 0


def test_a_schema_is_stored_once_and_rows_of_several_are_laid_together(history, path):
    history.append(sample(1, T0, [1, 2], [1, 2]))
    history.append(sample(2, T0, [3, np.nan], [1, 2]))
    history.append(sample(3, T0, [5, 6, 7], [1, 2, 9]))
    history.append(sample(4, T0, [8, 9], [1, 2]))
    history.append(sample(5, T0, [], NO_IDS))
    rows = history.last_rows(10)
    assert rows.signal_ids == (1, 2, 9)
    nan = np.nan
    np.testing.assert_array_equal(rows.values, [[1, 2, nan], [3, nan, nan], [5, 6, 7], [8, 9, nan], [nan, nan, nan]])
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM schemas").fetchone() == (3,)
        assert database.execute("SELECT count(*) FROM boots").fetchone() == (1,)


def test_schemas_and_boots_are_found_again_after_a_restart(history, path):
    history.append(sample(1, T0, [1, 2]))
    history.close()
    again = History(path)
    again.append(sample(2, T0, [3, 4]))
    again.append(sample(3, T0, [5, 6], boot="boot-2"))
    assert again.last()[3] == "boot-2"
    np.testing.assert_array_equal(again.last_rows(3).values, [[1, 2], [3, 4], [5, 6]])
    assert again._database.execute("SELECT count(*) FROM schemas").fetchone() == (1,)
    again.close()


def test_scores_are_those_of_one_model(history):
    for seq in range(1, 9):
        history.append(sample(seq, T0, [1], model=seq % 2, raw=None if seq == 5 else float(seq), flags=seq))
    assert history.scores(1, 2).tolist() == [3, 7]


def test_what_is_expected_sets_no_threshold(history):
    for seq, flags in enumerate([0, FLAG_EXPECTED, FLAG_SPARED, FLAG_INCIDENT, FLAG_ALARMED, FLAG_OWN_WORK], 1):
        history.append(sample(seq, T0, [1], model=1, raw=float(seq), flags=flags))
    assert history.scores(1, 10).tolist() == [1, 3, 4, 5]


def test_incidents_are_marked_exactly_and_the_other_flags_stay(history):
    for seq in range(1, 11):
        history.append(sample(seq, T0 + seq * 1000, [1], flags=FLAG_ALARMED * (seq % 2)))
    times = T0 + 1000 * np.arange(1, 11)
    for spans, changed in (
        ([(T0 + 3000, T0 + 5000), (T0 + 4000, T0 + 6000)], 3),
        ([(T0 + 4000, T0 + 7000)], 2),
        ([(T0 + 4000, T0 + 7000)], 0),
        ([(0, 1)], 3),
    ):
        assert history.mark_incidents(spans) == changed
        rows = history.last_rows(100)
        inside = np.zeros(10, bool)
        for first, end in spans:
            inside |= (times >= first) & (times < end)
        np.testing.assert_array_equal((rows.flags & FLAG_INCIDENT) != 0, inside)
        assert (rows.flags & ~FLAG_INCIDENT).tolist() == [FLAG_ALARMED * (seq % 2) for seq in range(1, 11)]


def test_another_interval_begins_a_new_lineage(path):
    history = History(path)
    assert history.bind_interval(30.0) is None
    fill(history, 10)
    assert history.bind_interval(30.0) is None
    assert history.bind_interval(60.0) == 30.0
    assert history.lineage_start() == 10
    assert len(history.last_rows(100).seq) == 0
    fill(history, 3, start=11)
    assert history.last_rows(100).seq.tolist() == [11, 12, 13]
    assert history.last()[0] == 13  # nothing is lost, and seq goes on
    history.close()
    again = History(path)
    assert again.bind_interval(60.0) is None
    assert again.last_rows(100).seq.tolist() == [11, 12, 13]
    again.close()


def reference(values):
    """Statistics (6, S) as a person would compute them."""
    out = np.full((6, values.shape[1]), np.nan)
    for column in range(values.shape[1]):
        there = values[np.isfinite(values[:, column]), column].astype(float)
        out[5, column] = len(there)
        if len(there):
            out[:5, column] = there.mean(), there.min(), there.max(), np.quantile(there, 0.95), there[-1]
    return out


def test_rollups_are_what_numpy_makes_of_the_samples(history):
    rows = 2 * 2880 + 17
    values = fill(history, rows, signals=4)
    assert STATISTICS == ("mean", "min", "max", "p95", "last", "count")
    written = history.roll_up()
    assert written == 576 + 1 + 48 + 2
    assert history.roll_up() == 0
    for tier, per_bucket, buckets in ((300, 10, 577), (3600, 120, 48), (86_400, 2880, 2)):
        got = history.rollup_rows(tier, 10_000)
        assert len(got) == buckets
        for place, (time_ms, ids, table) in enumerate(got):
            assert time_ms == T0 + place * tier * 1000
            assert ids.tolist() == [1, 2, 3, 4]
            np.testing.assert_allclose(
                table, reference(values[place * per_bucket : (place + 1) * per_bucket]), rtol=1e-5, atol=1e-6
            )


def test_a_bucket_that_is_not_over_waits(history):
    fill(history, 10)
    assert history.roll_up() == 0
    fill(history, 1, start=11, time_ms=T0 + 300_000)
    assert history.roll_up() == 1


def test_a_signal_that_was_never_seen_in_a_bucket_is_missing_in_it(history):
    for seq in range(1, 11):
        history.append(sample(seq, T0, [1.0, np.nan]))
    history.append(sample(11, T0 + 300_000, [1.0, 1.0]))
    history.roll_up()
    table = history.rollup_rows(300, 1)[0][2]
    assert np.isnan(table[:5, 1]).all()
    assert table[5].tolist() == [10, 0]


def test_a_clock_set_back_loses_no_sample_and_merges_none(history):
    """The same five minutes come twice: two rollups, in the order in which they were lived."""
    first = fill(history, 15, seed=1)  # 00:00 to 00:07
    second = fill(history, 15, start=16, time_ms=T0, seed=2)  # set back: 00:00 to 00:07 again
    fill(history, 1, start=31, time_ms=T0 + 3_600_000)
    history.roll_up()
    got = history.rollup_rows(300, 10)
    assert [time_ms for time_ms, _, _ in got] == [T0, T0 + 300_000, T0, T0 + 300_000]
    parts = (first[:10], first[10:], second[:10], second[10:])
    for (_, _, table), part in zip(got, parts, strict=True):
        np.testing.assert_allclose(table, reference(part), rtol=1e-5)
    counts = history._database.execute("SELECT sum(count) FROM rollups WHERE tier = 300").fetchone()
    assert counts == (30,)
    assert history.roll_up() == 0


def test_a_year_ahead_and_back_keeps_every_rollup(history):
    year = 365 * 86_400_000
    fill(history, 20)
    fill(history, 20, start=21, time_ms=T0 + year)
    fill(history, 20, start=41, time_ms=T0 + 600_000)
    fill(history, 1, start=61, time_ms=T0 + 2 * year)
    history.roll_up()
    times = [time_ms for time_ms, _, _ in history.rollup_rows(300, 100)]
    assert times == [T0, T0 + 300_000, T0 + year, T0 + year + 300_000, T0 + 600_000, T0 + 900_000]
    assert history._database.execute("SELECT sum(count) FROM rollups WHERE tier = 300").fetchone() == (60,)


KEEP = {0: 50, 300: 4, 3600: 2, 86_400: 1}


def rows_of(history):
    return [
        history._database.execute("SELECT count(*) FROM samples").fetchone()[0],
        *(
            history._database.execute("SELECT count(*) FROM rollups WHERE tier = ?", (tier,)).fetchone()[0]
            for tier in TIERS_SECONDS
        ),
    ]


def test_what_is_beyond_its_count_is_deleted_oldest_first(history):
    fill(history, 3 * 2880 + 1)
    history.roll_up()
    gone = history.prune(KEEP)
    assert rows_of(history) == [50, 4, 2, 1]
    assert gone == 3 * 2880 + 1 - 50 + (864 - 4) + (72 - 2) + (3 - 1)
    assert history.last_rows(100).seq.tolist() == list(range(8592, 8642))
    assert history.prune(KEEP) == 0


def test_what_is_not_rolled_up_is_kept_and_not_for_ever(history):
    fill(history, 90)
    assert history.prune(KEEP) == 0  # nothing of it is rolled up yet
    fill(history, 30, start=91, step_ms=0)  # the clock stands still: this bucket never ends
    assert history.prune(KEEP) == 20
    assert rows_of(history)[0] == 2 * KEEP[0]


@pytest.mark.parametrize("years", [1, -1, 30])
def test_a_clock_that_jumps_by_years_deletes_nothing(history, years):
    fill(history, 2881)
    fill(history, 12, start=2882, time_ms=T0 + years * 365 * 86_400_000)
    history.roll_up()
    before = rows_of(history)
    assert history.prune({0: 86_400, 300: 51_840, 3600: 26_280, 86_400: 3650}) == 0
    assert rows_of(history) == before


def overwrite(path, start=0, pages=40, size=16_384):
    """Overwrite pages as a dying disk does."""
    with path.open("r+b") as file:
        file.seek(0, 2)
        length = file.tell()
        for page in range(start, min(start + pages, length // size)):
            file.seek(page * size)
            file.write(b"\xa5" * size)


def written(path, count=500):
    history = History(path)
    history.bind_interval(30.0)
    fill(history, count)
    history.close()


@pytest.mark.parametrize("start", [0, 1, 2])
def test_a_corrupt_history_is_set_aside_at_the_start(path, start):
    written(path)
    overwrite(path, start=start)
    history = History(path)
    assert history.resets == 1
    assert history.last() is None
    assert path.with_name("history.db.corrupt").exists()
    assert history.bind_interval(30.0) is None
    history.append(sample(1, T0, [1.0]))
    assert history.last()[0] == 1
    history.close()
    assert History(path).resets == 0


@pytest.mark.parametrize(
    "content", [b"not a database at all" * 100, b"\0" * 5000, b"SQLite format 3\0" + b"\xff" * 4000]
)
def test_what_is_no_database_is_set_aside(path, content):
    path.write_bytes(content)
    history = History(path)
    assert history.resets == 1
    history.append(sample(1, T0, [1.0]))
    history.close()
    assert path.with_name("history.db.corrupt").read_bytes() == content


def test_a_history_that_breaks_while_it_is_open_is_set_aside_and_goes_on(path):
    written(path)
    history = History(path)
    history.bind_interval(30.0)
    overwrite(path)
    history._database.execute("PRAGMA cache_size = 0")
    history._database.execute("PRAGMA shrink_memory")

    def go_on():
        for seq in range(501, 1500):
            history.append(sample(seq, T0, np.zeros(3)))
            history.last_rows(1000)

    with pytest.raises(sqlite3.DatabaseError) as caught:
        go_on()
    assert not isinstance(caught.value, sqlite3.OperationalError)
    history.set_aside("malformed")
    assert history.resets == 1
    history.append(sample(700, T0, [1, 2, 3]))
    assert history.last()[0] == 700
    np.testing.assert_array_equal(history.last_rows(5).values, [[1, 2, 3]])
    history.close()
    again = History(path)
    assert again.bind_interval(60.0) == 30.0  # the interval was taken along: another one is still noticed
    again.close()


def test_a_newer_history_is_refused_and_left_alone(path):
    written(path)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(StateError, match="written by a newer presaged \\(version 99, this one knows 3\\)"):
        History(path)
    assert not path.with_name("history.db.corrupt").exists()


def test_a_place_that_cannot_be_opened_is_one_sentence(tmp_path):
    (tmp_path / "history.db").mkdir()
    with pytest.raises(StateError, match="cannot be opened"):
        History(tmp_path / "history.db")


def test_a_sample_that_is_refused_leaves_no_number_behind(history, monkeypatch):
    """A schema of a transaction that was rolled back has no number: the next one must not be read by it."""
    history.append(sample(1, T0, [1.0], [1]))
    with pytest.raises(sqlite3.IntegrityError):
        history.append(sample(1, T0, [2.0, 3.0], [1, 2], boot="boot-9"))  # seq 1 is taken
    history.append(sample(2, T0, [4.0, 5.0, 6.0], [4, 5, 6], boot="boot-8"))
    history.append(sample(3, T0, [2.0, 3.0], [1, 2], boot="boot-9"))
    rows = history.last_rows(2)
    assert rows.signal_ids == (1, 2, 4, 5, 6)
    nan = np.nan
    np.testing.assert_array_equal(rows.values, [[nan, nan, 4, 5, 6], [2, 3, nan, nan, nan]])
    assert history.last()[3] == "boot-9"


def test_a_full_disk_is_an_operational_error_and_room_heals_it(history):
    fill(history, 5)
    pages = history._database.execute("PRAGMA page_count").fetchone()[0]
    history._database.execute(f"PRAGMA max_page_count = {pages}")

    def go_on():
        for seq in range(6, 3000):
            history.append(sample(seq, T0, np.zeros(300), np.arange(seq, seq + 300)))

    with pytest.raises(sqlite3.OperationalError, match="full"):
        go_on()
    history._database.execute("PRAGMA max_page_count = 1000000")
    history.append(sample(5000, T0, [7.0]))
    assert history.last()[0] == 5000
    assert np.isfinite(history.last_rows(1).values).all()
    assert history._database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


READER = """
import sys
from pathlib import Path
from daemon.history import History
history = History(Path(sys.argv[1]), read_only=True)
for line in sys.stdin:
    rows = history.last_rows(1_000_000)
    assert rows.seq.tolist() == list(range(1, len(rows.seq) + 1)), rows.seq
    assert rows.values.shape[1] in (3, 4)
    print(len(rows.seq), rows.values[-1].tolist(), flush=True)
try:
    history.append(None)
except Exception as error:
    print(type(error).__name__)
"""


def test_another_process_reads_while_this_one_writes(history, path):
    fill(history, 100)
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        seen = []
        for round_ in range(5):
            fill(history, 50, start=101 + 50 * round_)
            history.roll_up()
            reader.stdin.write("again\n")
            reader.stdin.flush()
            seen.append(int(reader.stdout.readline().split()[0]))
        assert seen == [150, 200, 250, 300, 350]
        history.append(sample(351, T0, [1, 2, 3, 4]))  # a schema that the reader does not know yet
        reader.stdin.write("again\n")
        reader.stdin.close()
        assert reader.stdout.readline().startswith("351 [1.0, 2.0, 3.0, 4.0]")
        assert reader.stdout.readline().strip()  # it cannot write
        assert reader.wait(10) == 0
    finally:
        reader.kill()
        reader.wait()
        reader.stdout.close()


def test_a_copy_of_the_file_and_its_log_is_a_whole_history(history, path, tmp_path):
    """What `kill -9` leaves is the file and its log as they stand."""
    fill(history, 300)
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{tmp_path}/copy.db{suffix}")
    copy = History(tmp_path / "copy.db")
    assert copy.last()[0] == 300
    assert copy._database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    copy.close()


def test_the_file_is_for_the_daemon_alone(history, path):
    assert path.stat().st_mode & 0o777 == 0o600


def test_flags_and_scores_are_kept(history):
    history.append(replace(sample(1, T0, [1.0], flags=FLAG_GAP, model=-60, raw=2.5), raw_threshold=3.5))
    row = history._database.execute("SELECT flags, model, raw_score, raw_threshold FROM samples").fetchone()
    assert row == (FLAG_GAP, -60, 2.5, 3.5)


VERSION_1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE boots (id INTEGER PRIMARY KEY, boot_id TEXT NOT NULL UNIQUE);
CREATE TABLE schemas (id INTEGER PRIMARY KEY, signal_ids BLOB NOT NULL UNIQUE);
CREATE TABLE samples (
    seq INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, monotonic_ns INTEGER NOT NULL, boot INTEGER NOT NULL,
    schema INTEGER NOT NULL, hour INTEGER NOT NULL, flags INTEGER NOT NULL,
    model INTEGER NOT NULL, raw_score REAL, raw_threshold REAL, data BLOB NOT NULL
);
CREATE TABLE rollups (
    tier INTEGER NOT NULL, seq INTEGER NOT NULL, time_ms INTEGER NOT NULL, schema INTEGER NOT NULL,
    count INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (tier, seq)
) WITHOUT ROWID;
PRAGMA user_version = 1;
"""


def as_version_1(path):
    """Make the history of an earlier presaged with five samples."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript(VERSION_1)
    history = History(path.with_name("new.db"))
    fill(history, 5)
    history.close()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("ATTACH ? AS new", (str(path.with_name("new.db")),))
        for table in ("boots", "schemas", "samples"):
            database.execute(f"INSERT INTO {table} SELECT * FROM new.{table}")
        database.commit()


def test_a_history_of_version_1_is_migrated_and_a_copy_is_kept_for_a_fortnight(path, monkeypatch):
    as_version_1(path)
    history = History(path)
    assert history.last_rows(9).seq.tolist() == [1, 2, 3, 4, 5]
    assert history.read("SELECT count(*) FROM forecasts") == [(0,)]
    assert history.read("PRAGMA user_version") == [(3,)]
    copy = path.with_name("history.db.before-v2")
    assert copy.stat().st_mode & 0o777 == 0o600
    with contextlib.closing(sqlite3.connect(copy)) as before:
        assert before.execute("PRAGMA user_version").fetchone() == (1,)
        assert before.execute("SELECT count(*) FROM samples").fetchone() == (5,)
    forget_old_copies(history.path)
    assert copy.exists()
    now = copy.stat().st_mtime
    monkeypatch.setattr("daemon.history_file.time.time", lambda: now + 15 * 86_400)
    forget_old_copies(history.path)
    assert not copy.exists()
    history.close()


def test_without_room_for_a_copy_it_is_migrated_all_the_same(path, monkeypatch):
    as_version_1(path)
    monkeypatch.setattr("daemon.history_file.shutil.disk_usage", lambda _path: shutil._ntuple_diskusage(100, 99, 1))
    history = History(path)
    assert history.last_rows(9).seq.tolist() == [1, 2, 3, 4, 5]
    assert not list(path.parent.glob("history.db.before*"))
    history.close()


def test_a_new_history_has_no_copy(history, path):
    assert history.read("PRAGMA user_version") == [(3,)]
    assert not list(path.parent.glob("*before*"))


def test_rollups_and_samples_come_by_signal(history):
    ids = np.array([2, 5, 9])
    for seq in range(1, 41):
        history.append(sample(seq, T0 + seq * 30_000, [seq, -seq, np.nan], ids))
    history.append(sample(41, T0 + 41 * 30_000, [7, 8], np.array([5, 11])))  # another schema
    history.roll_up()
    end = history.rolled_up_to(300)
    times, values = history.rolled(300, (2, 3, 9, 11), after=None, most=100)
    assert len(times) == 4
    mean, most, count = (STATISTICS.index(name) for name in ("mean", "max", "count"))
    expected = [each[2][:, 0] for each in history.rollup_rows(300, 100)]
    np.testing.assert_array_equal(values[:, :, 0], expected)
    assert values[0, most, 0] == values[0, mean, 0] + (values[0, count, 0] - 1) / 2
    assert np.isnan(values[:, mean, 1:]).all()
    assert len(history.rolled(300, (2,), after=None, most=2)[0]) == 2
    assert len(history.rolled(300, (2,), after=end, most=2)[0]) == 0
    times, values = history.sampled((5, 11, 4), after=end, most=100)
    assert times[-1] == T0 + 41 * 30_000
    np.testing.assert_array_equal(values[-2:], [[-40, np.nan, np.nan], [7, 8, np.nan]])
    assert len(history.sampled((5,), after=0, most=3)[0]) == 3


def test_what_follows_a_sample_comes_in_order_and_no_more_than_asked(history):
    for seq in range(1, 8):
        history.append(sample(seq, T0 + seq * 30_000, [seq]))
    assert history.following(2, 3).seq.tolist() == [3, 4, 5]
    assert history.following(6, 3).seq.tolist() == [7]
    assert len(history.following(7, 3).seq) == 0
