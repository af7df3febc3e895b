"""The database of promises, `state.db`: signals, occurrences, the outbox, changes, job times.

Enters: values of `daemon` and `alerting`. Leaves: the same values after a crash, a power cut or a full
disk: WAL with synchronous FULL, and a reserve beside it that is given up when the disk has no room.
Unlike the history it is never set aside by itself: it holds promises, so a file that is damaged,
foreign or newer is refused in one line that says what to do.

One piece, because one connection, one lock and one way of failing serve every table.
"""

import errno
import hashlib
import hmac
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from alerting.errors import AlertingError
from alerting.occurrence import Occurrence, State, from_json, to_json
from alerting.outbox import ItemState, OutboxItem
from daemon.errors import StateError
from daemon.signals import Kind, SignalSpec
from detectors.findings import Change, ChangeKind, Unit

T = TypeVar("T")

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
)

_APPLICATION_ID = 0x70727364  # "prsd" in the file's header: whose database this is
_KEPT_COPIES = 2
_BUSY_MS = 2_000
_LOCK_SECONDS = 4.0  # shorter than the door's deadline: a caller behind a stuck one gives its thread back
_RESERVE_BYTES = 4 * 1024 * 1024
_SPARE_BYTES = 2 * 1024 * 1024  # left to others when the reserve is put back, or it would fill the disk itself
_NO_ROOM_BYTES = 1024 * 1024
# Names this program to `hmac`, so that the machine-id itself, which systemd asks to keep private, is not written.
_MACHINE_KEY = bytes.fromhex("6f1c7b0a5e9d4b60a3c2f8d1907e45bb")

# The oldest pending item of each occurrence: what comes behind it waits, so a resolve never overtakes.
_HEADS = """
    FROM outbox AS item WHERE sink = ? AND state = 'pending' AND NOT EXISTS (
        SELECT 1 FROM outbox AS earlier WHERE earlier.sink = item.sink AND earlier.occurrence = item.occurrence
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


class StateDatabase:
    """The one connection to `state.db`. Its methods block and may be called from any thread.

    Opening creates, migrates and checks. Raises StateError, from every method, in one readable line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reserve = path.with_name("state.reserve")
        self._lock = threading.Lock()
        self.reserve_releases = 0
        try:
            _make_private(path)
        except OSError as error:
            raise StateError(f"{path} cannot be created: {error.strerror}") from error
        self._connection = self._with_room(self._open)
        self.restore_reserve()

    def close(self) -> None:
        """Close the connection. Nothing is lost without it."""
        with self._locked():
            self._connection.close()

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

    def record_transitions(self, occurrences: Sequence[Occurrence], items: Sequence[OutboxItem]) -> None:
        """Keep the occurrences as they stand and add the items, all or nothing; again changes nothing."""

        def work(db: sqlite3.Connection) -> None:
            db.executemany(
                "INSERT INTO occurrences (id, fingerprint, state, payload) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET state = excluded.state, payload = excluded.payload",
                [(one.id, one.fingerprint, one.state.value, to_json(one)) for one in occurrences],
            )
            db.executemany(
                "INSERT INTO outbox (id, sink, occurrence, payload, created_ms) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO NOTHING",
                [(item.id, item.sink, item.occurrence, item.payload, item.created_ms) for item in items],
            )

        self._write(work)

    def open_occurrences(self) -> list[Occurrence]:
        """Return the occurrences that fire, the oldest first."""
        rows = self._read("SELECT payload FROM occurrences WHERE state = ? ORDER BY ordinal", State.FIRING.value)
        return self._occurrences(rows)

    def recent_occurrences(self, limit: int) -> list[Occurrence]:
        """Return at most `limit` occurrences, the newest first."""
        return self._occurrences(self._read("SELECT payload FROM occurrences ORDER BY ordinal DESC LIMIT ?", limit))

    def _occurrences(self, rows: Sequence[tuple[str]]) -> list[Occurrence]:
        try:
            return [from_json(payload) for (payload,) in rows]
        except AlertingError as error:
            raise StateError(f"{self._path}: {error}") from error

    def due_items(self, sink: str, *, now_ms: int, beyond_ms: int, limit: int) -> list[OutboxItem]:
        """Return what `alerting.outbox.OutboxStore.due_items` promises."""
        rows = self._read(
            f"SELECT id, sink, occurrence, payload, created_ms, attempts {_HEADS}"
            " AND (next_attempt_ms <= ? OR next_attempt_ms > ?) ORDER BY ordinal LIMIT ?",
            sink, now_ms, beyond_ms, limit,
        )  # fmt: skip
        return [OutboxItem(*row) for row in rows]

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
        """Remove the oldest settled outbox rows, resolved occurrences and changes beyond `keep_rows`; return how many.

        By count, never by the clock; what is pending or fires stays, and so does what it belongs to.
        """

        def work(db: sqlite3.Connection) -> int:
            items = db.execute(
                "DELETE FROM outbox WHERE state <> 'pending' AND ordinal <= (SELECT ordinal FROM outbox"
                " WHERE state <> 'pending' ORDER BY ordinal DESC LIMIT 1 OFFSET ?)",
                (keep_rows,),
            )
            occurrences = db.execute(
                "DELETE FROM occurrences WHERE state = 'resolved' AND ordinal <= (SELECT ordinal FROM occurrences"
                " WHERE state = 'resolved' ORDER BY ordinal DESC LIMIT 1 OFFSET ?)"
                " AND id NOT IN (SELECT occurrence FROM outbox WHERE state = 'pending')",
                (keep_rows,),
            )
            changes = db.execute(
                "DELETE FROM changes WHERE ordinal <= (SELECT ordinal FROM changes"
                " ORDER BY ordinal DESC LIMIT 1 OFFSET ?)",
                (keep_rows,),
            )
            return items.rowcount + occurrences.rowcount + changes.rowcount

        return self._write(work)

    # Changes

    def record_changes(self, changes: Collection[Change]) -> None:
        """Keep changes of the host; the same again changes nothing."""
        rows = [(change.time_ms, change.kind.value, _text(change.text)) for change in changes]
        self._write(
            lambda db: db.executemany("INSERT OR IGNORE INTO changes (time_ms, kind, text) VALUES (?, ?, ?)", rows)
        )

    def recent_changes(self, limit: int) -> list[Change]:
        """Return at most `limit` changes, the newest first."""
        rows = self._read("SELECT time_ms, kind, text FROM changes ORDER BY time_ms DESC, ordinal DESC LIMIT ?", limit)
        return [Change(time_ms, ChangeKind(kind), text) for time_ms, kind, text in rows]

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

    # Room on the disk

    def restore_reserve(self) -> bool:
        """Put the reserve in its place where the disk has room to spare; tell whether it is there."""
        if self._reserve.exists():
            return True
        if _free_bytes(self._path) < _RESERVE_BYTES + _SPARE_BYTES:
            return False
        draft = self._reserve.with_suffix(".draft")
        try:
            _make_private(draft)
            with draft.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, _RESERVE_BYTES)
            draft.replace(self._reserve)
        except OSError:  # no room after all: the answer says so, and the caller asks again later
            draft.unlink(missing_ok=True)
            return False
        return True

    def _with_room(self, work: Callable[[], T]) -> T:
        """Do `work`; on a full disk give up the reserve and do it once more."""
        try:
            try:
                return work()
            except (sqlite3.Error, OSError) as error:
                if not self._is_full(error) or not self._reserve.exists():
                    raise
                self._reserve.unlink()
                self.reserve_releases += 1
                return work()
        except (sqlite3.Error, OSError) as error:
            raise StateError(self._explain(error)) from error

    def _is_full(self, error: sqlite3.Error | OSError) -> bool:
        if isinstance(error, OSError):
            return error.errno in {errno.ENOSPC, errno.EDQUOT}
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the module's own errors have none
        if code in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}:  # how a side file without room is reported
            return _free_bytes(self._path) < _NO_ROOM_BYTES
        return code == sqlite3.SQLITE_FULL

    def _explain(self, error: sqlite3.Error | OSError) -> str:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            return f"{self._path} is damaged ({error}); {self._how_to_restore(len(MIGRATIONS))}"
        if self._is_full(error):
            return f"{self._path} cannot be written: no room on the disk, and the reserve is used up"
        return f"{self._path}: {error}"

    def _how_to_restore(self, version: int) -> str:
        """Return what an operator can do; `version` is the newest schema that this program reads."""
        fitting = [copy for number, copy in self._copies() if number <= version + 1]
        files = f"{self._path.name}, {self._path.name}-wal and {self._path.name}-shm"
        if fitting:
            return f"stop presaged, move {files} away and copy {fitting[-1]} to {self._path}"
        return f"there is no copy of it: stop presaged, move {files} away to begin anew without open alerts"

    # The connection

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=_LOCK_SECONDS):
            raise StateError(f"{self._path} has not answered for {_LOCK_SECONDS:g} s")
        try:
            yield
        finally:
            self._lock.release()

    # The rows come from our own statements, whose columns the caller unpacks.
    def _read(self, statement: str, *values: str | int) -> list[tuple]:  # type: ignore[type-arg]
        with self._locked():
            return self._with_room(lambda: self._connection.execute(statement, values).fetchall())

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._locked():
            return self._with_room(lambda: self._transact(work))

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            value = work(self._connection)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return value

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
            self._refuse_what_is_not_ours(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _refuse_what_is_not_ours(self, connection: sqlite3.Connection) -> None:
        ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        ((owner,),) = connection.execute("PRAGMA application_id").fetchall()
        if tables and owner != _APPLICATION_ID:
            raise StateError(f"{self._path} is a database of another program; name another folder for the state")
        ((version,),) = connection.execute("PRAGMA user_version").fetchall()
        if version > len(MIGRATIONS):
            raise StateError(
                f"{self._path} is from a newer presaged (schema {version}, this one knows {len(MIGRATIONS)});"
                f" install that one again, or {self._how_to_restore(len(MIGRATIONS))}"
            )
        ((verdict,), *_) = connection.execute("PRAGMA quick_check(1)").fetchall()
        if verdict != "ok":
            raise StateError(
                f"{self._path} is damaged ({' '.join(verdict.split())}); {self._how_to_restore(len(MIGRATIONS))}"
            )

    def _migrate(self, connection: sqlite3.Connection) -> None:
        ((version,),) = connection.execute("PRAGMA user_version").fetchall()
        for number in range(version + 1, len(MIGRATIONS) + 1):
            if version:  # a file that is being made holds nothing to copy
                self._copy_before(connection, number)
            try:
                connection.executescript(
                    f"BEGIN IMMEDIATE; {MIGRATIONS[number - 1]};"
                    f" PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {number}; COMMIT;"
                )
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _copy_before(self, connection: sqlite3.Connection, number: int) -> None:
        copy = self._path.with_name(f"{self._path.name}.before-v{number}")
        draft = copy.with_name(f"{copy.name}.draft")
        draft.unlink(missing_ok=True)
        _make_private(draft)
        with closing(sqlite3.connect(draft)) as target:
            connection.backup(target)
        _sync(draft)
        draft.replace(copy)
        _sync(copy.parent)
        for _, old in self._copies()[:-_KEPT_COPIES]:
            old.unlink()

    def _copies(self) -> list[tuple[int, Path]]:
        """Return the copies made before migrations, the oldest schema first."""
        found = []
        for copy in self._path.parent.glob(f"{self._path.name}.before-v*"):
            with suppress(ValueError):  # a name of somebody else's making
                found.append((int(copy.name.rpartition("-v")[2]), copy))
        return sorted(found)


def bind_to_machine(directory: Path, machine_id: str | None) -> None:
    """Bind the state folder to the machine at the first call, and check the binding at every later one.

    Raises StateError when the folder was bound to another machine. Without a machine-id there is no binding.
    """
    if machine_id is None:
        return
    mark = hmac.new(_MACHINE_KEY, machine_id.strip().encode("utf-8"), hashlib.sha256).hexdigest()
    path = directory / "machine"
    try:
        if not path.exists():
            draft = path.with_name("machine.draft")
            _make_private(draft)
            draft.write_text(f"{mark}\n", encoding="ascii")
            _sync(draft)
            draft.replace(path)
            return
        known = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise StateError(f"{path}: {error.strerror}") from error
    if not hmac.compare_digest(known.encode(), mark.encode()):
        raise StateError(
            f"the state in {directory} belongs to another machine (a cloned image?):"
            f" move the folder away to begin anew, or delete {path} to keep it"
        )


def _text(value: str) -> str:
    """Return `value` as SQLite can keep it: device and mount names may hold bytes that are no text."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def _make_private(path: Path) -> None:
    """Create the file 0600, and its folder 0700 where there is none; side files of SQLite follow the file."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _free_bytes(path: Path) -> int:
    return shutil.disk_usage(path.parent).free
