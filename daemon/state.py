"""The tables of promises, `state.db`: signals, occurrences, the outbox, silences, verdicts, changes, job times.

Enters: values of `daemon` and `alerting`. Leaves: the same values after a crash, a power cut or a full disk.
"""

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from alerting.errors import AlertingError
from alerting.occurrence import Occurrence, State, from_json, to_json
from alerting.outbox import ItemState, OutboxItem
from alerting.silence import Match, Silence
from daemon.errors import StateError
from daemon.failures.table import FAILURES, FailureTable
from daemon.signals import Kind, SignalSpec
from daemon.verdicts.table import EFFECTS, VerdictTable
from detectors.findings import Change, ChangeKind, Unit

# Numbered by their place, from 1. A released script is never edited: the next change is a new one.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE signals (
        id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice: samples and models refer to it
        name TEXT NOT NULL UNIQUE,
        unit TEXT NOT NULL,
        kind TEXT NOT NULL,
        family TEXT NOT NULL,
        resource TEXT NOT NULL,
        first_seen_ms INTEGER NOT NULL,
        last_seen_ms INTEGER NOT NULL
    );
    CREATE TABLE occurrences (
        ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        fingerprint TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('firing', 'resolved')),
        payload TEXT NOT NULL
    );
    CREATE UNIQUE INDEX occurrences_open ON occurrences (fingerprint) WHERE state = 'firing';
    CREATE TABLE outbox (
        ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        sink TEXT NOT NULL,
        occurrence TEXT NOT NULL REFERENCES occurrences (id) ON DELETE CASCADE,
        payload TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        next_attempt_ms INTEGER NOT NULL DEFAULT 0,
        state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'dead')),
        last_error TEXT
    );
    CREATE INDEX outbox_pending ON outbox (sink, occurrence, ordinal) WHERE state = 'pending';
    CREATE INDEX outbox_occurrence ON outbox (occurrence);
    CREATE TABLE jobs (
        name TEXT PRIMARY KEY,
        last_start_ms INTEGER,
        last_success_ms INTEGER,
        last_outcome TEXT
    );
    CREATE TABLE meta (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL
    );
    """,
    """
    CREATE TABLE changes (
        ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
        time_ms INTEGER NOT NULL,
        kind TEXT NOT NULL,
        text TEXT NOT NULL,
        UNIQUE (time_ms, kind, text)  -- a log is read again after a restart
    );
    """,
    """
    ALTER TABLE occurrences ADD COLUMN owed INTEGER NOT NULL DEFAULT 0;  -- somebody is still to be told of it
    CREATE INDEX occurrences_unsettled ON occurrences (ordinal) WHERE state = 'firing' OR owed;
    CREATE TABLE outbox_of_threads (
        ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        sink TEXT NOT NULL,
        thread TEXT NOT NULL,  -- what is told in order: a group of alerts
        payload TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        next_attempt_ms INTEGER NOT NULL DEFAULT 0,
        state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'dead')),
        last_error TEXT,
        is_page INTEGER NOT NULL DEFAULT 0
    );
    INSERT INTO outbox_of_threads (ordinal, id, sink, thread, payload, created_ms, attempts, next_attempt_ms, state,
        last_error) SELECT ordinal, id, sink, occurrence, payload, created_ms, attempts, next_attempt_ms, state,
        last_error FROM outbox;
    DROP TABLE outbox;
    ALTER TABLE outbox_of_threads RENAME TO outbox;
    CREATE INDEX outbox_pending ON outbox (sink, thread, ordinal) WHERE state = 'pending';
    CREATE INDEX outbox_thread ON outbox (thread);
    CREATE TABLE silences (
        id TEXT PRIMARY KEY,
        starts_ms INTEGER NOT NULL,
        ends_ms INTEGER NOT NULL,
        author TEXT NOT NULL,
        comment TEXT NOT NULL,
        match TEXT NOT NULL
    );
    CREATE TABLE verdicts (
        ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        occurrence TEXT NOT NULL,
        kind TEXT NOT NULL,
        author TEXT NOT NULL,
        comment TEXT NOT NULL,
        time_ms INTEGER NOT NULL,
        undone_ms INTEGER
    );
    CREATE INDEX verdicts_occurrence ON verdicts (occurrence);
    """,
    """
    CREATE TABLE backtested (id TEXT PRIMARY KEY, payload TEXT NOT NULL);  -- alerts of a replay, to be judged
    """,
    FAILURES,
    EFFECTS,
)

_END = (2**62, 2**62)  # no time and no number lies behind it
MOST_PENDING = 2_000  # notifications that wait for a sink; a page that fires is above it

# The oldest pending item of each thread: what comes behind it waits, so a resolve never overtakes.
_HEADS = """
    FROM outbox AS item WHERE sink = ? AND state = 'pending' AND NOT EXISTS (
        SELECT 1 FROM outbox AS earlier WHERE earlier.sink = item.sink AND earlier.thread = item.thread
        AND earlier.state = 'pending' AND earlier.ordinal < item.ordinal)
"""


@dataclass(frozen=True, slots=True)
class StoredSignal:
    """A signal with its lasting id."""

    id: int
    spec: SignalSpec
    first_seen_ms: int
    last_seen_ms: int


@dataclass(frozen=True, slots=True)
class JobTimes:
    """When a job last started and last succeeded (UTC milliseconds), and how its last run ended."""

    last_start_ms: int | None
    last_success_ms: int | None
    last_outcome: str | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One notification as the outbox keeps it."""

    id: str
    sink: str
    state: str
    attempts: int
    last_error: str | None
    payload: str


class StateDatabase(FailureTable, VerdictTable):
    """The tables of `state.db`. Every method blocks, and raises StateError in one readable line."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, MIGRATIONS)

    # Signals

    def assign_signals(self, specs: Collection[SignalSpec], time_ms: int) -> dict[str, int]:
        """Return the id of each signal by name: known ones are touched, new ones get the next id."""

        def work(db: sqlite3.Connection) -> dict[str, int]:
            known = {name: number for number, name in db.execute("SELECT id, name FROM signals")}
            ids: dict[str, int] = {}
            for spec in specs:
                name = _text(spec.name)
                row = (spec.unit.value, spec.kind.value, _text(spec.family), _text(spec.resource), time_ms)
                if name in known:
                    db.execute(
                        "UPDATE signals SET unit = ?, kind = ?, family = ?, resource = ?, last_seen_ms = ?"
                        " WHERE id = ?",
                        (*row, known[name]),
                    )
                else:
                    cursor = db.execute(
                        "INSERT INTO signals (name, unit, kind, family, resource, last_seen_ms, first_seen_ms)"
                        " VALUES (?, ?, ?, ?, ?, ?, ?)",
                        (name, *row, time_ms),
                    )
                    known[name] = int(cursor.lastrowid or 0)
                ids[spec.name] = known[name]
            return ids

        return self._write(work)

    def load_signals(self) -> list[StoredSignal]:
        """Return every signal, by id."""
        rows = self._read(
            "SELECT id, name, unit, kind, family, resource, first_seen_ms, last_seen_ms FROM signals ORDER BY id"
        )
        return [
            StoredSignal(number, SignalSpec(name, Unit(unit), Kind(kind), family, resource), first, last)
            for number, name, unit, kind, family, resource, first, last in rows
        ]

    def remove_signals(self, ids: Collection[int]) -> None:
        """Forget signals. Their ids are never given again."""
        self._write(lambda db: db.executemany("DELETE FROM signals WHERE id = ?", [(number,) for number in ids]))

    # Occurrences and the outbox

    def record_transitions(self, occurrences: Sequence[Occurrence], items: Sequence[OutboxItem]) -> Mapping[str, int]:
        """Keep the occurrences as they stand and add the items, all or nothing; again changes nothing.

        Returns how many of those that waited were dropped to make room, by sink.
        """

        def work(db: sqlite3.Connection) -> Mapping[str, int]:
            # An end that a failing store lost (alerting counts it) must not keep every later firing out for ever.
            db.executemany(
                "UPDATE occurrences SET state = 'resolved' WHERE state = 'firing' AND fingerprint = ? AND id <> ?",
                [(one.fingerprint, one.id) for one in occurrences if one.state is State.FIRING],
            )
            db.executemany(
                "INSERT INTO occurrences (id, fingerprint, state, payload, owed) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET state = excluded.state, payload = excluded.payload,"
                " owed = excluded.owed",
                [(one.id, one.fingerprint, one.state.value, to_json(one), one.owed) for one in occurrences],
            )
            db.executemany(
                "INSERT INTO outbox (id, sink, thread, payload, created_ms, is_page) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO NOTHING",
                [(item.id, item.sink, item.thread, item.payload, item.created_ms, item.is_page) for item in items],
            )
            return {
                sink: dropped for sink in {item.sink for item in items} if (dropped := self._make_room(db, sink)) > 0
            }

        return self._write(work)

    def _make_room(self, db: sqlite3.Connection, sink: str) -> int:
        ((waiting,),) = db.execute(
            "SELECT count(*) FROM outbox WHERE sink = ? AND state = 'pending'", (sink,)
        ).fetchall()
        if waiting <= MOST_PENDING:
            return 0
        return db.execute(
            "DELETE FROM outbox WHERE ordinal IN (SELECT ordinal FROM outbox WHERE sink = ? AND state = 'pending'"
            " AND NOT is_page ORDER BY ordinal LIMIT ?)",
            (sink, waiting - MOST_PENDING),
        ).rowcount

    def unsettled_occurrences(self) -> list[Occurrence]:
        """Return the occurrences that fire, or of which somebody is still to be told, the oldest first."""
        return self._occurrences(
            self._read("SELECT payload FROM occurrences WHERE state = 'firing' OR owed ORDER BY ordinal")
        )

    def occurrences_named(self, ending: str) -> list[Occurrence]:
        """Return the occurrences whose id ends with `ending`, of a backtest too, at most two: so many are too many."""
        pattern = f"%{ending.upper()}"
        return self._occurrences(
            self._read(
                "SELECT payload FROM (SELECT id, payload FROM occurrences UNION ALL SELECT id, payload FROM backtested)"
                " WHERE id LIKE ? ORDER BY id DESC LIMIT 2",
                pattern,
            )
        )

    def record_backtest(self, occurrences: Collection[Occurrence]) -> None:
        """Keep the alerts of the newest backtest in the place of the last one's, so that they can be judged.

        Those that were judged stay, and so do their verdicts.
        """
        rows = [(one.id, to_json(one)) for one in occurrences]

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM backtested WHERE id NOT IN (SELECT occurrence FROM verdicts)")
            db.executemany("INSERT OR REPLACE INTO backtested (id, payload) VALUES (?, ?)", rows)

        self._write(work)

    def recent_occurrences(self, limit: int, skip: int = 0) -> list[Occurrence]:
        """Return at most `limit` occurrences, the newest first; behind the newest `skip`."""
        return self._occurrences(
            self._read("SELECT payload FROM occurrences ORDER BY ordinal DESC LIMIT ? OFFSET ?", limit, skip)
        )

    def fired_since(self, time_ms: int, limit: int) -> list[tuple[str, bool]]:
        """Return the id of each occurrence that fired since then, and whether somebody was told of it."""
        rows = self._read(
            "SELECT id, json_array_length(payload, '$.told') FROM occurrences"
            " WHERE json_extract(payload, '$.fired_ms') >= ? ORDER BY ordinal DESC LIMIT ?",
            time_ms,
            limit,
        )
        return [(number, bool(told)) for number, told in rows]

    def notifications_since(self, time_ms: int) -> dict[tuple[str, str], int]:
        """Return how many notifications made since then there are, by sink and state."""
        rows = self._read(
            "SELECT sink, state, count(*) FROM outbox WHERE created_ms >= ? GROUP BY sink, state", time_ms
        )
        return {(sink, state): count for sink, state, count in rows}

    def occurrences_before(self, number: str, limit: int) -> list[Occurrence]:
        """Return at most `limit` occurrences by their ids, which tell when each began: the newest below `number`."""
        return self._occurrences(
            self._read("SELECT payload FROM occurrences WHERE id < ? ORDER BY id DESC LIMIT ?", number, limit)
        )

    def _occurrences(self, rows: Sequence[tuple[str]]) -> list[Occurrence]:
        try:
            return [from_json(payload) for (payload,) in rows]
        except AlertingError as error:
            raise StateError(f"{self._path}: {error}") from error

    def due_items(self, sink: str, *, now_ms: int, beyond_ms: int, limit: int) -> list[OutboxItem]:
        """Return what `alerting.outbox.OutboxStore.due_items` promises."""
        rows = self._read(
            f"SELECT id, sink, thread, payload, created_ms, attempts, is_page {_HEADS}"
            " AND (next_attempt_ms <= ? OR next_attempt_ms > ?) ORDER BY ordinal LIMIT ?",
            sink, now_ms, beyond_ms, limit,
        )  # fmt: skip
        return [
            OutboxItem(number, sink, thread, payload, created_ms, attempts, bool(page))
            for number, sink, thread, payload, created_ms, attempts, page in rows
        ]

    def next_due_ms(self, sink: str) -> int | None:
        """Return when the next item of the sink is due, None without any."""
        ((due_ms,),) = self._read(f"SELECT min(next_attempt_ms) {_HEADS}", sink)
        return None if due_ms is None else int(due_ms)

    def record_attempt(
        self, item_id: str, *, state: ItemState, attempts: int, next_attempt_ms: int, error: str | None
    ) -> None:
        """Keep how an attempt ended."""
        self._write(
            lambda db: db.execute(
                "UPDATE outbox SET state = ?, attempts = ?, next_attempt_ms = ?, last_error = ? WHERE id = ?",
                (state.value, attempts, next_attempt_ms, error, item_id),
            )
        )

    def count_pending(self) -> dict[str, int]:
        """Return how many items are pending for each sink."""
        return dict(self._read("SELECT sink, count(*) FROM outbox WHERE state = 'pending' GROUP BY sink"))

    def prune(self, keep_rows: int = 10_000) -> int:
        """Remove the oldest settled rows of each kind beyond `keep_rows`; return how many.

        By count, never by the clock; what is pending, fires or is still owed to somebody stays.
        """

        def work(db: sqlite3.Connection) -> int:
            items = db.execute(
                "DELETE FROM outbox WHERE state <> 'pending' AND ordinal <= (SELECT ordinal FROM outbox"
                " WHERE state <> 'pending' ORDER BY ordinal DESC LIMIT 1 OFFSET ?)",
                (keep_rows,),
            )
            occurrences = db.execute(
                "DELETE FROM occurrences WHERE state = 'resolved' AND NOT owed AND ordinal <= (SELECT ordinal"
                " FROM occurrences WHERE state = 'resolved' ORDER BY ordinal DESC LIMIT 1 OFFSET ?)",
                (keep_rows,),
            )
            changes = db.execute(
                "DELETE FROM changes WHERE ordinal <= (SELECT ordinal FROM changes"
                " ORDER BY ordinal DESC LIMIT 1 OFFSET ?)",
                (keep_rows,),
            )
            silences = db.execute(
                "DELETE FROM silences WHERE id NOT IN (SELECT id FROM silences ORDER BY ends_ms DESC LIMIT ?)",
                (keep_rows,),
            )
            failures = db.execute(
                "DELETE FROM failures WHERE id NOT IN (SELECT id FROM failures ORDER BY time_ms DESC, id DESC LIMIT ?)",
                (keep_rows,),
            )
            return sum(one.rowcount for one in (items, occurrences, changes, silences, failures))

        return self._write(work)

    def deliveries(self, thread: str, naming: str = "") -> list[Delivery]:
        """Return the notifications of a thread whose text holds `naming`, the oldest first."""
        rows = self._read(
            "SELECT id, sink, state, attempts, last_error, payload FROM outbox"
            " WHERE thread = ? AND instr(payload, ?) ORDER BY ordinal",
            thread,
            naming,
        )
        return [Delivery(*row) for row in rows]

    # Silences

    def record_silence(self, silence: Silence) -> None:
        """Keep a silence, in the place of one with the same id."""
        self._write(
            lambda db: db.execute(
                "INSERT INTO silences (id, starts_ms, ends_ms, author, comment, match) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET ends_ms = excluded.ends_ms, comment = excluded.comment",
                (
                    silence.id, silence.starts_ms, silence.ends_ms, _text(silence.author), _text(silence.comment),
                    json.dumps(asdict(silence.match)),
                ),
            )
        )  # fmt: skip

    def silences(self, time_ms: int) -> list[Silence]:
        """Return the silences that are not over at `time_ms`, the oldest first."""
        rows = self._read(
            "SELECT id, match, starts_ms, ends_ms, author, comment FROM silences WHERE ends_ms > ? ORDER BY id", time_ms
        )
        return [Silence(number, Match(**json.loads(match)), *rest) for number, match, *rest in rows]

    # Changes

    def record_changes(self, changes: Collection[Change]) -> None:
        """Keep changes of the host; the same again changes nothing."""
        rows = [(change.time_ms, change.kind.value, _text(change.text)) for change in changes]
        self._write(
            lambda db: db.executemany("INSERT OR IGNORE INTO changes (time_ms, kind, text) VALUES (?, ?, ?)", rows)
        )

    def recent_changes(self, limit: int) -> list[Change]:
        """Return at most `limit` changes, the newest first."""
        return [change for _, change in self.changes_before(None, limit)]

    def changes_before(self, place: tuple[int, int] | None, limit: int) -> list[tuple[int, Change]]:
        """Return at most `limit` changes with their numbers, the newest first, behind the one of (time, number)."""
        rows = self._read(
            "SELECT ordinal, time_ms, kind, text FROM changes WHERE (time_ms, ordinal) < (?, ?)"
            " ORDER BY time_ms DESC, ordinal DESC LIMIT ?",
            *(place or _END), limit,
        )  # fmt: skip
        return [(ordinal, Change(time_ms, ChangeKind(kind), text)) for ordinal, time_ms, kind, text in rows]

    # Jobs and single values

    def job_started(self, name: str, time_ms: int) -> None:
        """Note the start of a job."""
        self._write(
            lambda db: db.execute(
                "INSERT INTO jobs (name, last_start_ms) VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET last_start_ms = excluded.last_start_ms",
                (name, time_ms),
            )
        )

    def job_ended(self, name: str, time_ms: int, *, succeeded: bool, outcome: str) -> None:
        """Note the end of a job; only a success moves the time of the last success."""
        self._write(
            lambda db: db.execute(
                "INSERT INTO jobs (name, last_success_ms, last_outcome) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE"
                " SET last_success_ms = coalesce(excluded.last_success_ms, last_success_ms),"
                " last_outcome = excluded.last_outcome",
                (name, time_ms if succeeded else None, outcome),
            )
        )

    def job_times(self) -> dict[str, JobTimes]:
        """Return the times of every job that ever started, by name."""
        rows = self._read("SELECT name, last_start_ms, last_success_ms, last_outcome FROM jobs")
        return {name: JobTimes(start, success, outcome) for name, start, success, outcome in rows}

    def meta(self, key: str) -> str | None:
        """Return a single kept value."""
        rows = self._read("SELECT value FROM meta WHERE key = ?", key)
        return str(rows[0][0]) if rows else None

    def set_meta(self, key: str, value: str) -> None:
        """Keep a single value."""
        self._write(
            lambda db: db.execute(
                "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (key, value),
            )
        )


def _text(value: str) -> str:
    """Return `value` as SQLite can keep it: device and mount names may hold bytes that are no text."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")
