import hashlib
import hmac
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from functools import partial

import pytest

from alerting.errors import StoreError
from alerting.occurrence import Occurrence, State, fingerprint_of, to_json
from alerting.outbox import ItemState, OutboxItem
from alerting.policy import Severity
from alerting.silence import Match, Silence
from alerting.verdict import Verdict, VerdictKind
from daemon import durable
from daemon import state as state_module
from daemon.alert_store import OffloadedState
from daemon.durable import bind_to_machine
from daemon.errors import StateError
from daemon.offload import Offload
from daemon.signals import Kind, SignalSpec
from daemon.state import MIGRATIONS, JobTimes, StateDatabase
from detectors.findings import Change, ChangeKind, Unit

NOW_MS = 1_772_344_800_000
HOUR_MS = 3_600_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "state.db"


@pytest.fixture
def database(path):
    database = StateDatabase(path)
    yield database
    database.close()


def occurrence(name, state=State.FIRING):
    return Occurrence(
        id=name, fingerprint=fingerprint_of("FilesystemReadOnly", "host", name), alertname="FilesystemReadOnly",
        network="host", resource=name, severity=Severity.PAGE, state=state, started_ms=NOW_MS, fired_ms=NOW_MS,
        resolved_ms=NOW_MS if state is State.RESOLVED else None, score=None, threshold=None, detail="read-only",
        sentence=f"web1: {name} is read-only", contributors=(), told=("ops",),
    )  # fmt: skip


def item(number, thread, sink="ops", *, is_page=False):
    return OutboxItem(f"item{number}", sink, thread, "{}", NOW_MS, is_page=is_page)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def spec(name, unit=Unit.RATIO, resource=""):
    return SignalSpec(name, unit, Kind.GAUGE, "cpu", resource)


# How the file is kept


def test_pragmas(database):
    for pragma, value in (
        ("journal_mode", "wal"),
        ("synchronous", 2),
        ("foreign_keys", 1),
        ("user_version", len(MIGRATIONS)),
    ):
        assert database._read(f"PRAGMA {pragma}") == [(value,)]


def test_only_the_owner_may_read(path):
    before = os.umask(0)
    try:
        with closing(StateDatabase(path)) as database:
            database.set_meta("a", "b")
            assert mode(path.parent) == 0o700
            names = sorted(one.name for one in path.parent.iterdir())
            assert names == ["state.db", "state.db-shm", "state.db-wal", "state.reserve"]
            assert {mode(one) for one in path.parent.iterdir()} == {0o600}
    finally:
        os.umask(before)


def test_a_file_that_others_could_read_is_closed_to_them(path):
    StateDatabase(path).close()
    path.chmod(0o644)
    StateDatabase(path).close()
    assert mode(path) == 0o600


def test_a_folder_that_was_there_keeps_its_mode(tmp_path):
    tmp_path.chmod(0o755)
    StateDatabase(tmp_path / "state.db").close()
    assert mode(tmp_path) == 0o755


def test_what_was_written_is_there_after_opening_again(path):
    with closing(StateDatabase(path)) as database:
        database.set_meta("key", "old")
        database.set_meta("key", "value")
    with closing(StateDatabase(path)) as database:
        assert database.meta("key") == "value"
        assert database.meta("other") is None


def test_a_path_that_is_a_folder_is_refused(path):
    path.mkdir(parents=True)
    with pytest.raises(StateError, match=r"state\.db cannot be created: Is a directory"):
        StateDatabase(path)


# Signals


def test_a_signal_keeps_its_id(path):
    with closing(StateDatabase(path)) as database:
        first = database.assign_signals([spec("cpu.busy"), spec("cpu.user")], NOW_MS)
    with closing(StateDatabase(path)) as database:
        second = database.assign_signals([spec("cpu.system"), spec("cpu.user")], NOW_MS + 5)
        assert second["cpu.user"] == first["cpu.user"]
        assert len({*first.values(), *second.values()}) == 3
        stored = {one.spec.name: one for one in database.load_signals()}
    assert (stored["cpu.user"].first_seen_ms, stored["cpu.user"].last_seen_ms) == (NOW_MS, NOW_MS + 5)
    assert stored["cpu.busy"].last_seen_ms == NOW_MS
    assert stored["cpu.system"].spec == spec("cpu.system")


def test_an_id_is_never_given_twice(database):
    ids = database.assign_signals([spec("a"), spec("b")], NOW_MS)
    database.remove_signals([ids["b"]])
    assert [one.spec.name for one in database.load_signals()] == ["a"]
    assert database.assign_signals([spec("b")], NOW_MS)["b"] > ids["b"]


def test_a_signal_whose_description_changed_is_the_same_signal(database):
    ids = database.assign_signals([spec("disk.used", resource="sda")], NOW_MS)
    assert database.assign_signals([spec("disk.used", resource="WWN-1")], NOW_MS) == ids
    assert database.load_signals()[0].spec.resource == "WWN-1"


def test_a_name_that_is_no_text_is_kept(database):
    odd = spec("filesystem./mnt/\udcff.used", resource="/mnt/\udcff")
    ids = database.assign_signals([odd], NOW_MS)
    assert ids.keys() == {odd.name}
    assert database.assign_signals([odd], NOW_MS) == ids


# Occurrences and the outbox


def refuse_items(database, thread):
    """Let the database itself refuse an item of this thread."""
    database._write(
        lambda db: db.execute(
            f"CREATE TRIGGER refuse BEFORE INSERT ON outbox WHEN new.thread = '{thread}'"
            " BEGIN SELECT raise(ABORT, 'refused'); END"
        )
    )


def test_transitions_are_all_or_nothing(database):
    refuse_items(database, "unknown")
    with pytest.raises(StateError, match="refused"):
        database.record_transitions([occurrence("a")], [item(1, "a"), item(2, "unknown")])
    assert database.recent_occurrences(5) == []
    assert database.count_pending() == {}


def test_the_same_transitions_again_change_nothing(database):
    for _ in range(2):
        database.record_transitions([occurrence("a")], [item(1, "a")])
    database.record_attempt("item1", state=ItemState.DELIVERED, attempts=1, next_attempt_ms=0, error=None)
    database.record_transitions([occurrence("a")], [item(1, "a")])
    assert database.count_pending() == {}
    assert database.unsettled_occurrences() == [occurrence("a")]


def test_unsettled_and_recent_occurrences(database):
    database.record_transitions([occurrence(name) for name in "abc"], [])
    database.record_transitions([occurrence("b", State.RESOLVED)], [])
    assert [one.id for one in database.unsettled_occurrences()] == ["a", "c"]
    assert [one.id for one in database.recent_occurrences(2)] == ["c", "b"]
    assert [one.id for one in database.recent_occurrences(2, skip=1)] == ["b", "a"]


def test_one_open_occurrence_a_fingerprint(database):
    database.record_transitions([occurrence("a")], [])
    with pytest.raises(StateError, match="UNIQUE"):
        database._write(
            lambda db: db.execute(
                "INSERT INTO occurrences (id, fingerprint, state, payload) SELECT 'z', fingerprint, state, payload"
                " FROM occurrences"
            )
        )
    database.record_transitions([occurrence("a", State.RESOLVED), replace(occurrence("a"), id="z")], [])
    assert [one.id for one in database.unsettled_occurrences()] == ["z"]


def test_an_end_that_was_lost_keeps_no_later_firing_out(database):
    database.record_transitions([occurrence("a")], [])
    database.record_transitions([replace(occurrence("a"), id="z")], [item(1, "z")])
    assert [one.id for one in database.unsettled_occurrences()] == ["z"]
    assert database.count_pending() == {"ops": 1}


def test_what_is_over_and_owed_is_unsettled(database):
    over = replace(occurrence("a", State.RESOLVED), owed=True)
    database.record_transitions([over, occurrence("b"), occurrence("c", State.RESOLVED)], [])
    assert database.unsettled_occurrences() == [over, occurrence("b")]
    database.record_transitions([replace(over, owed=False)], [])
    assert database.unsettled_occurrences() == [occurrence("b")]


def test_an_occurrence_is_found_by_the_end_of_its_id(database):
    names = ["01KJM6DS00AAAA", "01KJM6DS00AABB", "01KJM6DS00CCBB"]
    database.record_transitions([occurrence(name) for name in names], [])
    assert [one.id for one in database.occurrences_named("aaaa")] == names[:1]
    assert [one.id for one in database.occurrences_named("BB")] == [names[2], names[1]]
    assert database.occurrences_named("ZZ") == []


def test_alerts_of_a_backtest_are_found_until_the_next_one_unless_they_were_judged(database):
    database.record_backtest([occurrence("01KJM6DS00AAAA"), occurrence("01KJM6DS00BBBB")])
    assert [one.id for one in database.occurrences_named("AAAA")] == ["01KJM6DS00AAAA"]
    assert database.recent_occurrences(10) == []
    database.record_verdict(Verdict("v", "01KJM6DS00AAAA", VerdictKind.FALSE, "ann", "", 5))
    database.record_backtest([occurrence("01KJM6DS00CCCC")])
    found = {ending: len(database.occurrences_named(ending)) for ending in ("AAAA", "BBBB", "CCCC")}
    assert found == {"AAAA": 1, "BBBB": 0, "CCCC": 1}
    assert [one.kind for one in database.verdicts("01KJM6DS00AAAA")] == [VerdictKind.FALSE]


def test_an_unreadable_occurrence_is_refused(database):
    database.record_transitions([occurrence("a")], [])
    database._write(lambda db: db.execute("UPDATE occurrences SET payload = '{}'"))
    with pytest.raises(StateError, match="a stored occurrence is unreadable"):
        database.unsettled_occurrences()


def test_only_the_oldest_pending_item_of_a_thread_is_due(database):
    database.record_transitions(
        [occurrence("a"), occurrence("b")], [item(1, "a"), item(2, "a"), item(3, "b"), item(4, "a", "chat")]
    )
    due = partial(database.due_items, now_ms=NOW_MS, beyond_ms=NOW_MS + HOUR_MS)
    assert [one.id for one in due("ops", limit=10)] == ["item1", "item3"]
    assert [one.id for one in due("ops", limit=1)] == ["item1"]
    assert [one.id for one in due("chat", limit=10)] == ["item4"]
    failed = partial(database.record_attempt, state=ItemState.PENDING, attempts=1, error="no")
    failed("item1", next_attempt_ms=NOW_MS + 5)
    assert [one.id for one in due("ops", limit=10)] == ["item3"]  # item2 waits behind item1
    assert database.next_due_ms("ops") == 0
    failed("item3", next_attempt_ms=NOW_MS + HOUR_MS + 1)
    assert [one.id for one in due("ops", limit=10)] == ["item3"]  # dated by a clock that jumped
    assert database.next_due_ms("ops") == NOW_MS + 5
    assert [one.attempts for one in due("ops", limit=10)] == [1]
    database.record_attempt("item1", state=ItemState.DEAD, attempts=2, next_attempt_ms=0, error="refused")
    assert [one.id for one in due("ops", limit=10)] == ["item2", "item3"]
    assert database.count_pending() == {"ops": 2, "chat": 1}
    assert database.next_due_ms("none") is None


def test_pruning_keeps_what_is_owed(database):
    names = [f"o{number}" for number in range(10)]
    database.record_transitions([occurrence(name) for name in names], [item(n, name) for n, name in enumerate(names)])
    for number in range(1, 10):
        state = ItemState.DEAD if number % 2 else ItemState.DELIVERED
        database.record_attempt(f"item{number}", state=state, attempts=1, next_attempt_ms=0, error=None)
    database.record_transitions([occurrence(name, State.RESOLVED) for name in names if name != "o1"], [])
    assert database.prune(keep_rows=10_000) == 0
    removed = database.prune(keep_rows=3)
    assert [one.id for one in reversed(database.recent_occurrences(20))] == ["o1", "o7", "o8", "o9"]
    assert database._read("SELECT id FROM outbox ORDER BY ordinal") == [
        ("item0",), ("item7",), ("item8",), ("item9",)
    ]  # fmt: skip
    assert removed == 12
    assert database.count_pending() == {"ops": 1}


def test_pruning_keeps_what_somebody_is_still_to_be_told_of(database):
    over = [occurrence(f"o{number}", State.RESOLVED) for number in range(10)]
    database.record_transitions([replace(over[0], owed=True), *over[1:]], [])
    assert database.prune(keep_rows=3) == 6
    assert [one.id for one in reversed(database.recent_occurrences(20))] == ["o0", "o7", "o8", "o9"]


def test_what_waits_for_a_sink_is_bounded_and_no_page_makes_room(database, monkeypatch):
    monkeypatch.setattr(state_module, "MOST_PENDING", 5)
    first = [item(1, "a", is_page=True), item(2, "a"), item(3, "b", is_page=True), *[item(n, "c") for n in (4, 5)]]
    assert database.record_transitions([], first) == {}
    other = [item(n, "d", "chat") for n in (6, 7)]
    assert database.record_transitions([], [item(8, "c"), *other]) == {"ops": 1}
    assert database.record_transitions([], [item(9, "c"), item(10, "c")]) == {"ops": 2}
    left = [number for (number,) in database._read("SELECT id FROM outbox WHERE sink = 'ops' ORDER BY ordinal")]
    assert left == ["item1", "item3", "item8", "item9", "item10"]
    pages = [item(n, "e", is_page=True) for n in range(11, 19)]
    assert database.record_transitions([], pages) == {"ops": 3}
    assert database.count_pending() == {"ops": 10, "chat": 2}  # pages alone go beyond the bound
    assert database.record_transitions([], [item(20, "f")]) == {"ops": 1}
    assert database.count_pending() == {"ops": 10, "chat": 2}


def test_what_is_delivered_makes_no_room_and_needs_none(database, monkeypatch):
    monkeypatch.setattr(state_module, "MOST_PENDING", 2)
    for number in range(1, 6):
        assert database.record_transitions([], [item(number, "a")]) == {}
        database.record_attempt(f"item{number}", state=ItemState.DELIVERED, attempts=1, next_attempt_ms=0, error=None)
    assert len(database._read("SELECT id FROM outbox")) == 5


# Silences and verdicts


def silence(number, ends_ms=NOW_MS + HOUR_MS, **match):
    return Silence(number, Match(**match), NOW_MS, ends_ms, "ana", "disk swap")


def test_a_silence_is_kept_until_it_is_over(path):
    with closing(StateDatabase(path)) as database:
        database.record_silence(silence("b", alertname="Unit*", resource="/srv/*", severity="critical", network="host"))
        database.record_silence(silence("a", ends_ms=NOW_MS + 5))
    with closing(StateDatabase(path)) as database:
        assert database.silences(NOW_MS) == [
            silence("a", ends_ms=NOW_MS + 5),
            silence("b", alertname="Unit*", resource="/srv/*", severity="critical", network="host"),
        ]
        assert [one.id for one in database.silences(NOW_MS + 5)] == ["b"]
        assert database.silences(NOW_MS + HOUR_MS) == []


def test_of_silences_those_that_end_last_are_kept(database):
    for number in range(5):
        database.record_silence(silence(str(number), ends_ms=NOW_MS + (5 - number) * HOUR_MS))
    assert database.prune(keep_rows=2) == 3
    assert [one.id for one in database.silences(NOW_MS)] == ["0", "1"]


def test_a_silence_that_is_ended_early_keeps_its_beginning(database):
    database.record_silence(silence("a"))
    database.record_silence(replace(silence("a"), ends_ms=NOW_MS + 7, comment="done"))
    assert database.silences(NOW_MS) == [replace(silence("a"), ends_ms=NOW_MS + 7, comment="done")]


def verdict(number, kind=VerdictKind.REAL, one="a", time_ms=NOW_MS):
    return Verdict(number, one, kind, "ana", "the disk was full", time_ms)


def test_verdicts_are_kept_and_the_newest_can_be_taken_back(database):
    given = [verdict("v1"), verdict("v2", VerdictKind.FALSE), verdict("v3", one="b")]
    for one in (*given, given[0]):
        database.record_verdict(one)
    assert database.verdicts("a") == given[:2]
    assert database.undo_verdict("a", NOW_MS + 1)
    assert database.verdicts("a") == [given[0], replace(given[1], undone_ms=NOW_MS + 1)]
    assert database.undo_verdict("a", NOW_MS + 2)
    assert not database.undo_verdict("a", NOW_MS + 3)
    assert [one.undone_ms for one in database.verdicts("a")] == [NOW_MS + 2, NOW_MS + 1]
    assert database.verdicts("b") == given[2:]
    assert database.verdicts("c") == []


def test_words_that_are_no_text_are_kept(database):
    database.record_silence(replace(silence("a"), author="\udcff", comment="\udcff"))
    database.record_verdict(replace(verdict("v"), author="\udcff", comment="\udcff"))
    assert database.silences(NOW_MS)[0].author == database.verdicts("a")[0].comment == "\\udcff"


# Jobs


def test_job_times(database):
    assert database.job_times() == {}
    database.job_started("compaction", 5)
    assert database.job_times() == {"compaction": JobTimes(5, None, None)}
    database.job_ended("compaction", 9, succeeded=True, outcome="done")
    database.job_started("compaction", 15)
    database.job_ended("compaction", 19, succeeded=False, outcome="no room")
    assert database.job_times() == {"compaction": JobTimes(15, 9, "no room")}


def test_changes_are_kept_once_and_the_newest_come_first(database):
    changes = [Change(time_ms, ChangeKind.UNIT, f"u{time_ms}.service started") for time_ms in (3, 1, 2)]
    database.record_changes(changes)
    database.record_changes([*changes, Change(2, ChangeKind.MARK, "\udcff")])
    assert [change.time_ms for change in database.recent_changes(3)] == [3, 2, 2]
    assert database.recent_changes(2)[1] == Change(2, ChangeKind.MARK, "\\udcff")
    assert len(database.recent_changes(99)) == 4


def test_changes_come_in_pages_that_miss_and_repeat_none(database):
    database.record_changes([Change(number // 3, ChangeKind.UNIT, f"{number}") for number in range(10)])
    seen, place = [], None
    while page := database.changes_before(place, 4):
        seen += [change.text for _, change in page]
        place = (page[-1][1].time_ms, page[-1][0])
    assert seen == ["9", "8", "7", "6", "5", "4", "3", "2", "1", "0"]


def test_changes_are_pruned_by_count(database):
    database.record_changes([Change(number, ChangeKind.UNIT, "x") for number in range(20)])
    assert database.prune(keep_rows=5) == 15
    assert [change.time_ms for change in database.recent_changes(99)] == [19, 18, 17, 16, 15]


# Versions, damage, foreign files

NEXT = len(MIGRATIONS) + 1


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_every_released_version_is_brought_up(path, monkeypatch, version):
    with monkeypatch.context() as patch:
        patch.setattr(state_module, "MIGRATIONS", MIGRATIONS[:version])
        with closing(StateDatabase(path)) as database:
            database.set_meta("key", "value")
    with closing(StateDatabase(path)) as database:
        assert database.meta("key") == "value"
        assert database.recent_changes(1) == []
        database.record_changes([Change(1, ChangeKind.MARK, "x")])
        database.record_transitions([occurrence("a")], [item(1, "a")])
        assert database.count_pending() == {"ops": 1}
    oldest = max(version + 1, len(MIGRATIONS) - 1)  # two copies are kept
    assert path.with_name(f"state.db.before-v{oldest}").exists()


def test_what_waited_before_groups_is_delivered_after_them_in_its_order(path, monkeypatch):
    """Migration 3: an outbox of occurrences becomes one of threads, and what was open stays so."""
    with monkeypatch.context() as patch:
        patch.setattr(state_module, "MIGRATIONS", MIGRATIONS[:2])
        with closing(StateDatabase(path)) as database:
            database._connection.executescript(
                f"""
                INSERT INTO occurrences (id, fingerprint, state, payload) VALUES
                    ('a', 'fa', 'firing', '{to_json(occurrence("a"))}'),
                    ('b', 'fb', 'resolved', '{to_json(occurrence("b", State.RESOLVED))}');
                INSERT INTO outbox (id, sink, occurrence, payload, created_ms, attempts, next_attempt_ms, state,
                    last_error) VALUES
                    ('i1', 'ops', 'b', '1', 5, 1, 0, 'delivered', NULL),
                    ('i2', 'ops', 'b', '2', 6, 0, 0, 'pending', NULL),
                    ('i3', 'ops', 'a', '3', 7, 4, 99, 'pending', 'no'),
                    ('i4', 'ops', 'b', '4', 8, 0, 0, 'pending', NULL),
                    ('i5', 'ops', 'a', '5', 9, 2, 0, 'dead', 'gone');
                """
            )
    with closing(StateDatabase(path)) as database:
        assert database.unsettled_occurrences() == [occurrence("a")]
        due = database.due_items("ops", now_ms=NOW_MS, beyond_ms=NOW_MS + 1, limit=9)
        assert due == [
            OutboxItem("i2", "ops", "b", "2", 6),
            OutboxItem("i3", "ops", "a", "3", 7, attempts=4),
        ]
        assert database._read("SELECT id, state, last_error FROM outbox ORDER BY ordinal") == [
            ("i1", "delivered", None), ("i2", "pending", None), ("i3", "pending", "no"), ("i4", "pending", None),
            ("i5", "dead", "gone"),
        ]  # fmt: skip
        database.record_transitions([], [item(6, "a")])
        assert database._read("SELECT max(ordinal), count(*) FROM outbox") == [(6, 6)]
        assert database._read("PRAGMA foreign_key_check") == []


@pytest.fixture
def next_version(monkeypatch):
    """Give this program one more migration."""

    def add(script):
        monkeypatch.setattr(state_module, "MIGRATIONS", (*state_module.MIGRATIONS, script))

    return add


def test_a_migration_leaves_a_copy_of_what_was(path, next_version):
    with closing(StateDatabase(path)) as database:
        database.set_meta("key", "value")
    assert list(path.parent.glob("*before*")) == []
    next_version("CREATE TABLE songs (id INTEGER PRIMARY KEY)")
    with closing(StateDatabase(path)) as database:
        assert database._read("SELECT count(*) FROM songs") == [(0,)]
        assert database.meta("key") == "value"
    copy = path.with_name(f"state.db.before-v{NEXT}")
    assert mode(copy) == 0o600
    with closing(sqlite3.connect(copy)) as old:
        assert old.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert old.execute("SELECT value FROM meta").fetchall() == [("value",)]
    assert [one.name for one in path.parent.glob("*draft*")] == []


def test_the_newest_two_copies_stay(path, next_version):
    StateDatabase(path).close()
    for number in range(NEXT, 12):
        next_version(f"CREATE TABLE t{number} (id INTEGER)")
        StateDatabase(path).close()
    assert {one.name for one in path.parent.glob("state.db.before-v*")} >= {
        "state.db.before-v10",
        "state.db.before-v11",
    }
    copies = [one.name for one in path.parent.glob("state.db.before-v*") if not one.name.endswith(("-wal", "-shm"))]
    assert sorted(copies) == ["state.db.before-v10", "state.db.before-v11"]


def test_a_migration_that_fails_changes_nothing(path, next_version, monkeypatch):
    with closing(StateDatabase(path)) as database:
        database.set_meta("key", "value")
    with monkeypatch.context() as patch:
        patch.setattr(state_module, "MIGRATIONS", (*MIGRATIONS, "CREATE TABLE t (id INTEGER); SELECT * FROM nowhere"))
        with pytest.raises(StateError, match="no such table: nowhere"):
            StateDatabase(path)
    with closing(StateDatabase(path)) as database:
        assert database.meta("key") == "value"
        assert database._read("PRAGMA user_version") == [(len(MIGRATIONS),)]


MIGRATING = """
import sys
from pathlib import Path
from daemon import state
state.MIGRATIONS = (*state.MIGRATIONS, *(
    f"CREATE TABLE many{n} AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 20000)"
    f" SELECT x, hex(randomblob(20)) AS y FROM c; UPDATE meta SET value = value || '{n}'" for n in range(4)))
sys.stdout.write("ready\\n")
sys.stdout.flush()
state.StateDatabase(Path(sys.argv[1])).close()
"""


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_killed_while_it_migrates_it_is_at_the_old_version_or_at_the_new_one(tmp_path, seed, scale):
    """Four kills, times the scale, of a process that brings a file of today four versions on."""
    chance = random.Random(seed)
    seen = Counter()
    for number in range(4 * scale):
        path = tmp_path / str(number) / "state.db"
        path.parent.mkdir()
        with closing(StateDatabase(path)) as database:
            database.set_meta("key", "v")
        with subprocess.Popen([sys.executable, "-c", MIGRATING, path], stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"ready\n"
            time.sleep(chance.uniform(0.0, 0.25))
            process.kill()
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            (version,) = database.execute("PRAGMA user_version").fetchone()
            tables = database.execute("SELECT count(*) FROM sqlite_master WHERE name LIKE 'many%'").fetchone()[0]
            assert database.execute("SELECT value FROM meta WHERE key = 'key'").fetchone()[0] == "v0123"[: 1 + tables]
        assert version == len(MIGRATIONS) + tables
        seen[tables] += 1
        subprocess.run([sys.executable, "-c", MIGRATING, path], check=True, capture_output=True)  # needs no hand
        shutil.rmtree(path.parent)
    print(f"{4 * scale} kills while four versions were taken: {dict(sorted(seen.items()))} of them were done")


def test_a_newer_file_is_refused_and_the_copy_named(path, next_version, monkeypatch):
    StateDatabase(path).close()
    with monkeypatch.context() as patch:
        patch.setattr(state_module, "MIGRATIONS", (*MIGRATIONS, "CREATE TABLE t (id INTEGER)"))
        StateDatabase(path).close()
    with pytest.raises(
        StateError,
        match=rf"newer presaged \(schema {NEXT}, this one knows {NEXT - 1}\).*copy .*before-v{NEXT} to",
    ) as caught:
        StateDatabase(path)
    assert "\n" not in str(caught.value)


def test_the_remedy_works(path, monkeypatch):
    with closing(StateDatabase(path)) as database:
        database.set_meta("key", "value")
    with monkeypatch.context() as patch:
        patch.setattr(state_module, "MIGRATIONS", (*MIGRATIONS, "CREATE TABLE t (id INTEGER)"))
        StateDatabase(path).close()
    for name in ("state.db", "state.db-wal", "state.db-shm"):
        path.with_name(name).unlink(missing_ok=True)
    path.with_name(f"state.db.before-v{NEXT}").rename(path)
    with closing(StateDatabase(path)) as database:
        assert database.meta("key") == "value"


def test_a_newer_file_without_a_copy(path):
    StateDatabase(path).close()
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA user_version = 99")
    with pytest.raises(StateError, match="there is no copy of it"):
        StateDatabase(path)


@pytest.mark.parametrize("content", [b"this is no database, it is a shopping list" * 50, b"\x00" * 8192])
def test_what_is_no_database_is_refused_and_left_alone(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(StateError, match="damaged") as caught:
        StateDatabase(path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_a_damaged_database_is_refused_and_left_alone(path):
    with closing(StateDatabase(path)) as database:
        database.record_transitions([occurrence(f"o{number}") for number in range(200)], [])
    content = bytearray(path.read_bytes())
    for offset in range(4096, len(content), 4096):
        content[offset : offset + 64] = os.urandom(64)
    path.write_bytes(content)
    with pytest.raises(StateError, match=r"damaged.*there is no copy of it") as caught:
        StateDatabase(path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_a_database_of_another_program_is_refused(path):
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE songs (name TEXT)")
    with pytest.raises(StateError, match="another program"):
        StateDatabase(path)


# A full disk


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 8 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], check=False, capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small disk to be had: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(disk):
    with (disk / "ballast").open("ab", buffering=0) as file:
        size = 65536
        while size:
            try:
                file.write(b"x" * size)
            except OSError:
                size //= 2


def write_until_it_fails(database):
    for number in range(2_000):
        database.record_transitions([occurrence(f"o{number}")], [])


def test_the_reserve_is_there_from_the_start(database, path):
    reserve = path.with_name("state.reserve")
    assert reserve.stat().st_size == 4 * 1024 * 1024
    assert reserve.stat().st_blocks * 512 >= 4 * 1024 * 1024


def test_a_full_disk_takes_the_reserve_and_the_promise_is_kept(small_disk):
    with closing(StateDatabase(small_disk / "state.db")) as database:
        fill(small_disk)
        number = 0
        while database.reserve_releases == 0:
            number += 1
            name = f"o{number}"
            database.record_transitions([occurrence(name)], [item(number, name)])
            assert number < 2_000
        assert not (small_disk / "state.reserve").exists()
        assert len(database.unsettled_occurrences()) == number == database.count_pending()["ops"]
        assert not database.restore_reserve()
        (small_disk / "ballast").unlink()
        assert database.restore_reserve()
        assert (small_disk / "state.reserve").stat().st_size == 4 * 1024 * 1024
        assert [one.name for one in small_disk.glob("*draft*")] == []


def test_a_full_disk_without_a_reserve_is_said_and_survived(small_disk):
    with closing(StateDatabase(small_disk / "state.db")) as database:
        fill(small_disk)
        (small_disk / "state.reserve").unlink()
        fill(small_disk)
        with pytest.raises(StateError, match="no room on the disk, and the reserve is used up"):
            write_until_it_fails(database)
        (small_disk / "ballast").unlink()
        stored = len(database.unsettled_occurrences())
        database.record_transitions([occurrence("after")], [])
        assert len(database.unsettled_occurrences()) == stored + 1
        assert database._read("PRAGMA integrity_check") == [("ok",)]


def test_opening_on_a_full_disk(small_disk):
    with closing(StateDatabase(small_disk / "state.db")) as database:
        database.record_transitions([occurrence("a")], [])
    fill(small_disk)
    with closing(StateDatabase(small_disk / "state.db")) as database:
        database.record_transitions([occurrence("b")], [])
        assert [one.id for one in database.unsettled_occurrences()] == ["a", "b"]
        assert database.reserve_releases == 1


# Threads and the door


def test_many_threads_use_it_at_once(database):
    def work(number):
        for step in range(10):
            database.assign_signals([spec(f"s{number}.{step}"), spec("shared")], NOW_MS)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(database.load_signals()) == 61


def test_a_caller_behind_a_stuck_one_is_let_go(database, monkeypatch):
    monkeypatch.setattr(durable, "_LOCK_SECONDS", 0.05)
    with database._locked(), pytest.raises(StateError, match=r"has not answered for 0\.05 s"):
        database.meta("key")


async def test_the_door_gives_alertings_own_error(database):
    offload = Offload()
    store = OffloadedState(database, offload)
    assert await store.record_transitions([occurrence("a")], [item(1, "a")]) == {}
    assert await store.unsettled_occurrences() == await store.recent_occurrences(5) == [occurrence("a")]
    await store.record_silence(silence("s"))
    assert await store.silences(NOW_MS) == [silence("s")]
    assert await store.count_pending() == {"ops": 1}
    (due,) = await store.due_items("ops", now_ms=NOW_MS, beyond_ms=NOW_MS + 1, limit=5)
    await store.record_attempt(due.id, state=ItemState.PENDING, attempts=1, next_attempt_ms=NOW_MS + 9, error="no")
    assert await store.next_due_ms("ops") == NOW_MS + 9
    refuse_items(database, "unknown")
    with pytest.raises(StoreError, match="refused"):
        await store.record_transitions([], [item(2, "unknown")])
    offload.close()


# The machine


MACHINE = "0123456789abcdef0123456789abcdef"


def test_a_folder_is_bound_to_its_machine(tmp_path):
    bind_to_machine(tmp_path, MACHINE)
    bind_to_machine(tmp_path, f"{MACHINE}\n")
    path = tmp_path / "machine"
    assert mode(path) == 0o600
    assert path.read_text() == hmac.new(durable._MACHINE_KEY, MACHINE.encode(), hashlib.sha256).hexdigest() + "\n"
    assert MACHINE not in path.read_text()


def test_a_cloned_image_is_told_so_in_one_line(tmp_path):
    bind_to_machine(tmp_path, MACHINE)
    with pytest.raises(StateError, match="belongs to another machine") as caught:
        bind_to_machine(tmp_path, MACHINE[::-1])
    assert "\n" not in str(caught.value)
    assert f"delete {tmp_path}/machine to keep it" in str(caught.value)
    (tmp_path / "machine").unlink()
    bind_to_machine(tmp_path, MACHINE[::-1])


def test_without_a_machine_id_there_is_no_binding(tmp_path):
    bind_to_machine(tmp_path, None)
    assert list(tmp_path.iterdir()) == []
    bind_to_machine(tmp_path, MACHINE)
    bind_to_machine(tmp_path, None)


def test_a_binding_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "machine").mkdir()
    with pytest.raises(StateError, match="machine: Is a directory"):
        bind_to_machine(tmp_path, MACHINE)
