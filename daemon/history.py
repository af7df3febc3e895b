"""history.db: every sample, and rollups of 5 minutes, an hour and a day.

Enters: one sample a tick. Leaves: rows for learning, scores for the threshold, rollups for long views. Beside them
stands what was forecast, until it is judged: it is worth nothing without this history.
Order is `seq`, never the clock; retention counts rows. Samples that were imported have numbers below zero: they
come before the first own one. The file may be set aside when it is corrupt: what is promised to people lives in
state.db. Opened read-only by the child.
"""

import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from daemon.clock import Instant
from daemon.errors import StateError
from daemon.tables import altered

_log = structlog.get_logger()

Float32 = NDArray[np.float32]

# Numbered by their place, from 1. A released script is never edited: the next change is a new one.
_MIGRATIONS = (
    """
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
""",
    """
CREATE TABLE forecasts (
    horizon TEXT NOT NULL, made_ms INTEGER NOT NULL, resource TEXT NOT NULL,
    scale REAL,  -- what an error is measured by, NULL = the history was flat
    bands BLOB NOT NULL,  -- mean, lo80, hi80, lo95, hi95 of 12 steps, little-endian float32
    known INTEGER NOT NULL DEFAULT 0,  -- steps that are over,
    judged INTEGER NOT NULL DEFAULT 0,  -- those of them that were measured, and what came of them:
    error REAL NOT NULL DEFAULT 0,  -- the sum of their absolute errors
    inside80 INTEGER NOT NULL DEFAULT 0, inside95 INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (horizon, made_ms, resource)
) WITHOUT ROWID;
""",
    """
-- scores of a month are drawn without reading the values beside them, a hundred times as long
CREATE INDEX samples_scores ON samples (seq, time_ms, raw_score, raw_threshold, flags);
""",
)
_VERSION = len(_MIGRATIONS)

FLAG_GAP = 1  # time before this sample is unseen: nothing may look across
FLAG_DOUBTFUL = 2  # the clock jumped in this hour: no rhythm may be learned from it
FLAG_ALARMED = 4  # inside an episode or incident: not to be learned from
FLAG_OWN_WORK = 8  # the daemon itself was learning or notifying: says little of the host
FLAG_SPARED = 16  # above the threshold, but not above where verdicts have raised it: no alarm, not to be learned from
FLAG_EXPECTED = 32  # what an operator called expected: no alarm, not to be learned from, sets no threshold
FLAG_INCIDENT = 64  # inside what an operator called real: never to be learned from
FLAGS_UNUSUAL = FLAG_ALARMED | FLAG_SPARED | FLAG_EXPECTED  # not to be learned from, unless they are the rule
FLAGS_LEFT_OUT = FLAGS_UNUSUAL | FLAG_INCIDENT

_BEFORE_ALL = -(2**62)
_SPARE_BYTES = 256 * 1024 * 1024  # left to others when the file is copied
_COPY_SECONDS = 14 * 86_400.0
_MOST_KNOWN = 256  # schemas that are kept in memory: where mounts come and go, each sample may bring a new one
_MOST_SCHEMAS = 1000  # in the file, before it is looked which of them nothing needs any more

_READ_AT_ONCE = 200  # samples
_AT_ONCE = 50_000  # values that are sorted together
_CACHE = "PRAGMA cache_size = -256"  # KiB; SQLite's own 2 MB fill over days, and nothing is faster for it

TIERS_SECONDS = (300, 3600, 86_400)
STATISTICS = ("mean", "min", "max", "p95", "last", "count")


@dataclass(frozen=True, slots=True)
class StoredSample:
    """One tick as it is stored. Scores are None before there is a model.

    `signal_ids` (S,) ascending is the schema, every signal that is known; `values` (S,) has NaN for
    what was missing in this tick, so a collector that stumbles makes no new schema.
    """

    seq: int
    instant: Instant
    hour: int
    flags: int
    model: int
    raw_score: float | None
    raw_threshold: float | None
    signal_ids: NDArray[np.int64]
    values: Float32


@dataclass(frozen=True, slots=True)
class Rows:
    """Samples as arrays: `values` (T, S) for `signal_ids` (S,), NaN = missing; the rest is (T,)."""

    signal_ids: tuple[int, ...]
    values: Float32
    seq: NDArray[np.int64]
    time_ms: NDArray[np.int64]
    hours: NDArray[np.int64]
    flags: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Recorded:
    """Samples with what orders them: `monotonic_ns` and `boot` (T,), a number for each boot."""

    rows: Rows
    monotonic_ns: NDArray[np.int64]
    boot: NDArray[np.int64]


class History:
    """One connection to history.db. Methods block and are called through the offload door, or in the child."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._schemas: dict[bytes, int] = {}
        self._schema_ids: dict[int, NDArray[np.int64]] = {}
        self._boots: dict[str, int] = {}
        self._interval = ""
        self.resets = 0
        if read_only:
            self._database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)
            self._database.execute(_CACHE)
        else:
            self._database = self._open_or_set_aside()

    def _open_or_set_aside(self) -> sqlite3.Connection:
        try:
            return self._open()
        except sqlite3.OperationalError as error:
            raise StateError(f"{self.path}: cannot be opened: {error}") from error
        except (
            sqlite3.DatabaseError,
            UnicodeDecodeError,
        ) as error:  # the latter where SQLite's own text quotes the file
            self._set_aside(str(error))
            return self._open()

    def _set_aside(self, reason: str) -> None:
        for suffix in ("-wal", "-shm", ""):
            broken = self.path.with_name(self.path.name + suffix)
            if broken.exists():
                broken.replace(self.path.with_name(f"{self.path.name}.corrupt{suffix}"))
        self.resets += 1
        _log.error("history_set_aside", reason=reason, kept=f"{self.path.name}.corrupt")

    def set_aside(self, reason: str) -> None:
        """Move the corrupt file away and start an empty one; the former is kept beside it, until the next time."""
        with self._lock:
            self._database.close()
            self._set_aside(reason)
            self._forget()
            self._database = self._open()
            if self._interval:
                self._database.execute("INSERT INTO meta VALUES ('interval_seconds', ?)", (self._interval,))

    def _forget(self) -> None:
        """Trust the database alone again for what its small tables hold."""
        self._schemas.clear()
        self._schema_ids.clear()
        self._boots.clear()

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=5, isolation_level=None, check_same_thread=False)
        try:
            database.execute("PRAGMA page_size = 16384")
            database.execute(_CACHE)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute("PRAGMA journal_size_limit = 16777216")
            version = database.execute("PRAGMA user_version").fetchone()[0]
            self._refuse_newer(version)
            self._migrate(database, version)
            self._refuse_altered(database)
            for table in ("meta", "boots", "schemas"):  # small; what is broken here would break every start
                database.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - our own names
            database.execute("SELECT * FROM samples ORDER BY seq DESC LIMIT 1").fetchall()
            database.execute("SELECT tier, max(seq) FROM rollups GROUP BY tier").fetchall()
        except BaseException:
            database.close()
            raise
        self.path.chmod(0o600)
        return database

    def _refuse_altered(self, database: sqlite3.Connection) -> None:
        if words := altered(database, _MIGRATIONS):
            raise sqlite3.DatabaseError(words)

    def _migrate(self, database: sqlite3.Connection, version: int) -> None:
        for number in range(version + 1, _VERSION + 1):
            if version and number == version + 1:  # as it was found; one that is being made holds nothing to copy
                self._copy_before(database, number)
            database.executescript(f"BEGIN;{_MIGRATIONS[number - 1]}PRAGMA user_version = {number};COMMIT;")
            if version:
                _log.info("history_migrated", version=number)

    def _copy_before(self, database: sqlite3.Connection, number: int) -> None:
        """Keep the file as it is for whoever goes back to the version before; history is large, and may lack room."""
        for old in self.path.parent.glob(f"{self.path.name}.before-v*"):
            old.unlink()
        pages = database.execute("PRAGMA page_count").fetchone()[0] * database.execute("PRAGMA page_size").fetchone()[0]
        if shutil.disk_usage(self.path.parent).free < pages + _SPARE_BYTES:
            _log.warning("history_not_copied", reason="no room on the disk", effect="an older presaged cannot read it")
            return
        copy = self.path.with_name(f"{self.path.name}.before-v{number}")
        draft = copy.with_name(f"{copy.name}.draft")
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)
        with closing(sqlite3.connect(draft)) as target:
            database.backup(target)
        draft.replace(copy)

    def forget_old_copies(self) -> None:
        """Delete a copy that nobody has gone back to for a fortnight."""
        for copy in self.path.parent.glob(f"{self.path.name}.before-v*"):
            if time.time() - copy.stat().st_mtime > _COPY_SECONDS:
                copy.unlink()

    def _refuse_newer(self, version: int) -> None:
        if version > _VERSION:
            raise StateError(f"{self.path}: written by a newer presaged (version {version}, this one knows {_VERSION})")

    # The rows come from our own statements, whose columns the caller unpacks.
    def read(self, statement: str, *values: str | int) -> list[tuple]:  # type: ignore[type-arg]
        """Return the rows of a statement."""
        with self._lock:
            return self._database.execute(statement, values).fetchall()

    def table(self, kinds: str, statement: str, *values: str | int) -> NDArray[np.void]:
        """Return the rows of a statement as an array, its columns as the fields f0, f1, ... of these kinds ("i8,f4").

        For statements that may have many rows: as tuples a month of samples is 15 MB, and of what is freed of so many
        small pieces some stays with the process.
        """
        with self._lock:
            return np.fromiter(self._database.execute(statement, values), np.dtype(kinds))

    def write(self, *work: tuple[str, Sequence[tuple[object, ...]]]) -> None:
        """Do statements, each for all of its rows, all or nothing."""
        with self._transaction() as database:
            for statement, rows in work:
                database.executemany(statement, rows)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                self._forget()  # what was numbered in this transaction has no number now
                if self._database.in_transaction:  # SQLite has ended it itself when the disk is full
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def _standing(self) -> Iterator[sqlite3.Connection]:
        """Read more than once what is there now: what others write meanwhile is not seen."""
        with self._lock:
            self._database.execute("BEGIN")
            try:
                yield self._database
            finally:
                if self._database.in_transaction:
                    self._database.execute("COMMIT")

    def bind_interval(self, interval_seconds: float) -> float | None:
        """Note the sampling interval. Returns the former one where it was another: that history is not comparable."""
        self._interval = f"{interval_seconds:g}"
        with self._transaction() as database:
            row = database.execute("SELECT value FROM meta WHERE key = 'interval_seconds'").fetchone()
            database.execute("INSERT OR REPLACE INTO meta VALUES ('interval_seconds', ?)", (self._interval,))
            former = float(row[0]) if row else interval_seconds
            if former == interval_seconds:
                return None
            database.execute("INSERT OR REPLACE INTO meta SELECT 'lineage_seq', ifnull(max(seq), 0) FROM samples")
            return former

    def lineage_start(self) -> int:
        """Return the last seq that was taken at another interval: nothing up to it is learned from."""
        value = self.meta("lineage_seq")
        return _BEFORE_ALL if value is None else int(value)

    def seen(self, seq: int) -> int:
        """Return how many samples of this lineage were taken up to `seq`: own ones, and those that are imported."""
        start = self.lineage_start()
        (imported,) = self._database.execute(
            "SELECT count(*) FROM samples WHERE seq > ? AND seq < 0 AND seq <= ?", (start, seq)
        ).fetchone()
        return int(imported) + max(0, seq - max(start, 0))

    def meta(self, key: str) -> str | None:
        """Return a single kept value."""
        row = self._database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else None

    def set_meta(self, key: str, value: str) -> None:
        """Keep a single value."""
        with self._transaction() as database:
            database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def first_own_ms(self) -> int | None:
        """Return when the first sample was taken that is there and was not imported."""
        rows = self.read("SELECT time_ms FROM samples WHERE seq >= 0 ORDER BY seq LIMIT 1")
        return int(rows[0][0]) if rows else None

    def last(self) -> tuple[int, int, int, str] | None:
        """Return (seq, time_ms, monotonic_ns, boot_id) of the newest sample, None in an empty database."""
        row = self._database.execute(
            "SELECT seq, time_ms, monotonic_ns, boot_id FROM samples JOIN boots ON boots.id = boot "
            "ORDER BY seq DESC LIMIT 1"
        ).fetchone()
        return tuple(row) if row else None

    def append(self, sample: StoredSample) -> None:
        """Commit one sample."""
        with self._transaction() as database:
            database.execute(
                "INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", self._record(database, sample)
            )

    def add(self, samples: Sequence[StoredSample]) -> int:
        """Commit those of `samples` whose number is not there yet, all or nothing; returns how many they were."""
        with self._transaction() as database:
            records = [self._record(database, sample) for sample in samples]
            before = database.total_changes
            database.executemany("INSERT OR IGNORE INTO samples VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", records)
            return database.total_changes - before

    def _record(self, database: sqlite3.Connection, sample: StoredSample) -> tuple[object, ...]:
        key = sample.signal_ids.astype("<i8").tobytes()
        instant = sample.instant
        return (
            sample.seq,
            instant.time_ms,
            instant.monotonic_ns,
            self._boots.get(instant.boot_id) or self._number_boot(database, instant.boot_id),
            self._schemas.get(key) or self._number_schema(database, key),
            sample.hour,
            sample.flags,
            sample.model,
            sample.raw_score,
            sample.raw_threshold,
            encode(sample.values),
        )

    def _number_schema(self, database: sqlite3.Connection, key: bytes) -> int:
        database.execute("INSERT OR IGNORE INTO schemas (signal_ids) VALUES (?)", (key,))
        number = int(database.execute("SELECT id FROM schemas WHERE signal_ids = ?", (key,)).fetchone()[0])
        self._know(number, key)
        self._schemas[key] = number
        return number

    def _know(self, number: int, key: bytes) -> None:
        if len(self._schema_ids) >= _MOST_KNOWN:
            self._schemas.clear()
            self._schema_ids.clear()
        self._schema_ids[number] = np.frombuffer(key, "<i8")

    def _number_boot(self, database: sqlite3.Connection, boot_id: str) -> int:
        database.execute("INSERT OR IGNORE INTO boots (boot_id) VALUES (?)", (boot_id,))
        number = int(database.execute("SELECT id FROM boots WHERE boot_id = ?", (boot_id,)).fetchone()[0])
        self._boots[boot_id] = number
        return number

    def last_rows(self, count: int) -> Rows:
        """Return the newest `count` samples of this lineage, oldest first; signals are all that occur in them."""
        chosen = "seq > ? ORDER BY seq DESC LIMIT ?"
        return self._gathered(chosen, self.lineage_start(), count, newest_first=True).rows

    def following(self, after: int, count: int) -> Rows:
        """Return the first `count` samples beyond the sample `after`, oldest first."""
        return self._gathered("seq > ? ORDER BY seq LIMIT ?", after, count).rows

    def recorded(self, first_ms: int, end_ms: int) -> Recorded:
        """Return the samples of this lineage with first_ms <= time < end_ms, in their order."""
        chosen = "seq > ? AND time_ms >= ? AND time_ms < ? ORDER BY seq"
        return self._gathered(chosen, self.lineage_start(), first_ms, end_ms)

    def _gathered(
        self, chosen: str, *asked: int, signals: Sequence[int] | None = None, newest_first: bool = False
    ) -> Recorded:
        """Return the samples that are `chosen`, with all signals that occur in them, or with `signals`.

        They are read some at a time into their place: of all their tuples and BLOBs at once, several times as much as
        the values are, some would stay with the process.
        """
        with self._standing() as database:
            occurring = database.execute(f"SELECT schema FROM samples WHERE {chosen}", asked)  # noqa: S608 - our own words
            counts = Counter(schema for (schema,) in occurring)
            schemas = {schema: self._schema_of(schema) for schema in counts}
            if signals is None:
                signals = np.unique(np.concatenate([np.zeros(0, np.int64), *schemas.values()])).tolist()
            columns = {schema: places(signals, ids) for schema, ids in schemas.items()}
            numbers = np.empty((counts.total(), 6), np.int64)
            values = np.full((len(numbers), len(signals)), np.nan, np.float32)
            records = database.execute(
                "SELECT schema, data, seq, time_ms, hour, flags, monotonic_ns, boot"  # noqa: S608 - our own words
                f" FROM samples WHERE {chosen}",
                asked,
            )
            for first in range(0, len(numbers), _READ_AT_ONCE):
                found = records.fetchmany(_READ_AT_ONCE)
                numbers[first : first + len(found)] = [record[2:] for record in found]
                kinds = np.array([record[0] for record in found])
                for schema in set(kinds.tolist()):
                    rows, (there, here) = np.flatnonzero(kinds == schema), columns[schema]
                    decoded = decode_all([found[row][1] for row in rows.tolist()], len(schemas[schema]))
                    values[first + rows[:, None], there] = decoded[:, here]
        if newest_first:
            numbers, values = numbers[::-1], values[::-1]
        seq, time_ms, hours, flags, monotonic_ns, boot = numbers.T
        return Recorded(Rows(tuple(signals), values, seq, time_ms, hours, flags), monotonic_ns, boot)

    def schema(self, number: int) -> NDArray[np.int64]:
        """Return the ids (S,) of the signals of a schema, ascending."""
        with self._lock:
            return self._schema_of(number)

    def _schema_of(self, schema: int) -> NDArray[np.int64]:
        ids = self._schema_ids.get(schema)
        if ids is None:  # written by another connection since, or long ago
            row = self._database.execute("SELECT signal_ids FROM schemas WHERE id = ?", (schema,)).fetchone()
            self._know(schema, row[0])
            ids = np.frombuffer(row[0], "<i8")
        return ids

    def scores(self, model: int, count: int) -> NDArray[np.float64]:
        """Return the newest `count` raw scores that `model` gave, oldest first; none of own work, none expected."""
        with self._lock:
            rows = self._database.execute(
                "SELECT raw_score FROM samples WHERE model = ? AND raw_score IS NOT NULL AND flags & ? = 0 "
                "ORDER BY seq DESC LIMIT ?",
                (model, FLAG_OWN_WORK | FLAG_EXPECTED, count),
            )
            found = np.fromiter((score for (score,) in rows), np.float64)  # a month of tuples would be 10 MB
        return found[::-1].copy()

    def mark_incidents(self, spans: Sequence[tuple[int, int]]) -> int:
        """Mark the samples with first <= time < end of any of `spans`, and no others; returns how many changed."""
        with self._transaction() as database:
            rows = np.fromiter(database.execute("SELECT seq, time_ms, flags FROM samples"), np.dtype("i8,i8,i8"))
            seq, time_ms, flags = (rows[field] for field in ("f0", "f1", "f2"))
            inside = np.zeros(len(seq), np.bool_)
            for first, end in spans:
                inside |= (time_ms >= first) & (time_ms < end)
            other = np.flatnonzero(inside != ((flags & FLAG_INCIDENT) != 0))
            database.executemany(
                "UPDATE samples SET flags = ? WHERE seq = ?",
                ((int(flags[row] ^ FLAG_INCIDENT), int(seq[row])) for row in other),
            )
        return len(other)

    def roll_up(self) -> int:
        """Fold finished buckets of every tier; returns how many rows were written.

        A bucket is a run of samples with the same start on the wall clock; when the clock was set back,
        the same start comes again under a later seq, and both stay.
        """
        return sum(self._roll_up_tier(tier, -1, 2**62) for tier in TIERS_SECONDS)

    def roll_up_imported(self) -> int:
        """Fold what was imported, anew; returns how many rows were written."""
        with self._transaction() as database:
            database.execute("DELETE FROM rollups WHERE seq < 0")
        return sum(self._roll_up_tier(tier, _BEFORE_ALL, 0) for tier in TIERS_SECONDS)

    def _roll_up_tier(self, tier: int, after: int, before_seq: int) -> int:
        width = tier * 1000
        written = 0
        while True:
            ((last,),) = self.read(
                "SELECT ifnull(max(seq), ?) FROM rollups WHERE tier = ? AND seq BETWEEN ? AND ?",
                after, tier, after, before_seq - 1,
            )  # fmt: skip
            if not self._is_over(width, last, before_seq):
                return written
            found = self.table(
                "i8,i8",
                "SELECT seq, time_ms / ? FROM samples WHERE seq > ? AND seq < ? ORDER BY seq LIMIT ?",
                width, last, before_seq, max(2 * tier, 20_000),
            )  # fmt: skip
            seq, bucket = found["f0"], found["f1"]
            ends = np.flatnonzero(np.diff(bucket))  # the last bucket is not over yet
            if not len(ends):
                return written
            for first, end in pairwise([-1, *ends.tolist()]):
                self._write_rollup(tier, int(seq[first + 1]), int(seq[end]), int(bucket[end]) * width)
            written += len(ends)

    def _is_over(self, width: int, after: int, before_seq: int) -> bool:
        """Tell whether the oldest and the newest of these samples lie in two buckets: of a day, few looks find that."""
        ends = self.read(
            "SELECT time_ms / ? FROM samples WHERE seq = (SELECT min(seq) FROM samples WHERE seq > ? AND seq < ?)"
            " OR seq = (SELECT max(seq) FROM samples WHERE seq > ? AND seq < ?)",
            width, after, before_seq, after, before_seq,
        )  # fmt: skip
        return len(set(ends)) > 1

    def _write_rollup(self, tier: int, first_seq: int, last_seq: int, time_ms: int) -> None:
        rows = self._gathered("seq BETWEEN ? AND ? ORDER BY seq", first_seq, last_seq).rows
        table = _statistics(rows.values)
        with self._transaction() as database:
            key = np.array(rows.signal_ids, "<i8").tobytes()
            schema = self._schemas.get(key) or self._number_schema(database, key)
            database.execute(
                "INSERT OR REPLACE INTO rollups VALUES (?, ?, ?, ?, ?, ?)",
                (tier, last_seq, time_ms, schema, len(rows.seq), table.tobytes()),
            )

    def rollup_rows(self, tier: int, count: int) -> list[tuple[int, NDArray[np.int64], Float32]]:
        """Return the newest `count` rollups of `tier` as (time_ms, signal ids (S,), statistics (6, S))."""
        with self._lock:
            records = self._database.execute(
                "SELECT time_ms, schema, data FROM rollups WHERE tier = ? ORDER BY seq DESC LIMIT ?", (tier, count)
            ).fetchall()
        return [
            (time_ms, self._schema_of(schema), np.frombuffer(data, "<f4").reshape(len(STATISTICS), -1))
            for time_ms, schema, data in reversed(records)
        ]

    def rolled_up_to(self, tier: int) -> int:
        """Return the number of the last sample that is in a rollup of `tier`; one before all where there is none."""
        ((seq,),) = self.read("SELECT max(seq) FROM rollups WHERE tier = ?", tier)
        return _BEFORE_ALL if seq is None else int(seq)

    def rolled(
        self, tier: int, signals: Sequence[int], *, after: int | None, most: int
    ) -> tuple[NDArray[np.int64], Float32]:
        """Return the newest rollups of `tier` beyond the sample `after`, oldest first.

        Their starts (T,), and the statistics (T, 6, K) of `signals` (K,), NaN for one that is not among them.
        """
        first = _BEFORE_ALL if after is None else after
        times, _, out = self._rolled("tier = ? AND seq > ? ORDER BY seq DESC LIMIT ?", tier, first, most, of=signals)
        return times[::-1], out[::-1]

    def rolled_between(
        self, tier: int, signals: Sequence[int], seqs: tuple[int, int], first_ms: int, end_ms: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], Float32]:
        """Return the rollups of `tier` from one sample to another with first_ms <= time < end_ms, in their order.

        Their starts (T,), their last samples (T,), and the statistics (T, 6, K) of `signals` (K,), NaN for one that is
        not among them.
        """
        chosen = "tier = ? AND seq BETWEEN ? AND ? AND time_ms >= ? AND time_ms < ? ORDER BY seq"
        return self._rolled(chosen, tier, *seqs, first_ms, end_ms, of=signals)

    def _rolled(
        self, chosen: str, *asked: int, of: Sequence[int]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], Float32]:
        with self._standing() as database:
            ((count,),) = database.execute(
                f"SELECT count(*) FROM (SELECT 1 FROM rollups WHERE {chosen})",  # noqa: S608 - our own words
                asked,
            )
            times, last = np.empty(count, np.int64), np.empty(count, np.int64)
            out = np.full((count, len(STATISTICS), len(of)), np.nan, np.float32)
            columns: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
            records = database.execute(
                f"SELECT time_ms, seq, schema, data FROM rollups WHERE {chosen}",  # noqa: S608 - our own words
                asked,
            )
            for row, (time_ms, seq, schema, data) in enumerate(records):
                times[row], last[row] = time_ms, seq
                if schema not in columns:
                    columns[schema] = places(of, self._schema_of(schema))
                there, here = columns[schema]
                out[row][:, there] = np.frombuffer(data, "<f4").reshape(len(STATISTICS), -1)[:, here]
        return times, last, out

    def sampled(self, signals: Sequence[int], *, after: int, most: int) -> tuple[NDArray[np.int64], Float32]:
        """Return the newest samples beyond the sample `after`, oldest first: their times (T,) and values (T, K)."""
        chosen = "seq > ? ORDER BY seq DESC LIMIT ?"
        rows = self._gathered(chosen, after, most, signals=signals, newest_first=True).rows
        return rows.time_ms, rows.values

    def sampled_between(self, signals: Sequence[int], seqs: tuple[int, int], first_ms: int, end_ms: int) -> Rows:
        """Return `signals` from one sample to another with first_ms <= time < end_ms, in their order."""
        chosen = "seq BETWEEN ? AND ? AND time_ms >= ? AND time_ms < ? ORDER BY seq"
        return self._gathered(chosen, *seqs, first_ms, end_ms, signals=signals).rows

    def prune(self, keep: dict[int, int]) -> int:
        """Delete the oldest rows beyond `keep[tier]` rows (tier 0 = samples) that are rolled up; returns how many."""
        with self._transaction() as database:
            rolled = min(
                database.execute(
                    "SELECT ifnull(max(seq), ?) FROM rollups WHERE tier = ?", (_BEFORE_ALL, tier)
                ).fetchone()[0]
                for tier in TIERS_SECONDS
            )
            newest = database.execute("SELECT ifnull(max(seq), 0) FROM samples").fetchone()[0]
            # a bucket that never ends (the clock stands still) must not keep raw samples for ever
            limit = max(min(newest - keep[0], rolled), newest - 2 * keep[0])
            gone = database.execute("DELETE FROM samples WHERE seq <= ?", (limit,)).rowcount
            for tier in TIERS_SECONDS:
                gone += database.execute(
                    "DELETE FROM rollups WHERE tier = ? AND seq <= "
                    "(SELECT seq FROM rollups WHERE tier = ? ORDER BY seq DESC LIMIT 1 OFFSET ?)",
                    (tier, tier, keep[tier]),
                ).rowcount
            if database.execute("SELECT count(*) FROM schemas").fetchone()[0] > _MOST_SCHEMAS:
                gone += database.execute(
                    "DELETE FROM schemas WHERE id NOT IN (SELECT schema FROM samples UNION SELECT schema FROM rollups)"
                ).rowcount
                self._forget()
        return gone

    def close(self) -> None:
        """Fold the log into the database file and close it."""
        with self._lock:
            self._database.close()


def left_out(flags: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which samples are not to be learned from, by their `flags` (T,): unusual ones, and real incidents.

    When more than half is unusual, that is how the host is now, and it is learned; a real incident never is.
    """
    out = np.asarray((flags & FLAGS_UNUSUAL) != 0)
    if out.any() and out.mean() > 0.5:  # noqa: PLR2004 - half
        out[:] = False
    return np.asarray(out | ((flags & FLAG_INCIDENT) != 0))


def places(signals: Sequence[int], ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which of `signals` are among the ascending `ids`, and where."""
    asked = np.asarray(signals, np.int64)
    there = np.flatnonzero(np.isin(asked, ids))
    return there, np.searchsorted(ids, asked[there])


def encode(values: Float32) -> bytes:
    """One BLOB a sample: a bit for each signal that is present, then the present values, little-endian float32."""
    present = np.isfinite(values)
    return np.packbits(present).tobytes() + values[present].astype("<f4").tobytes()


def decode_all(blobs: Sequence[bytes], signals: int) -> Float32:
    """Return the values (T, S) of `encode`: those of one mask, as nearly all are, at once."""
    mask_bytes = (signals + 7) // 8
    mask = blobs[0][:mask_bytes]
    if not all(len(blob) == len(blobs[0]) and blob.startswith(mask) for blob in blobs):
        return np.stack([decode(blob, signals) for blob in blobs])
    present = np.unpackbits(np.frombuffer(mask, np.uint8), count=signals).astype(np.bool_)
    out = np.full((len(blobs), signals), np.nan, np.float32)
    table = np.frombuffer(b"".join(blobs), np.uint8).reshape(len(blobs), -1)
    out[:, present] = np.ascontiguousarray(table[:, mask_bytes:]).view("<f4")
    return out


def decode(data: bytes, signals: int) -> Float32:
    """Return the values (S,) of `encode`, NaN = missing."""
    mask_bytes = (signals + 7) // 8
    present = np.unpackbits(np.frombuffer(data, np.uint8, mask_bytes), count=signals).astype(np.bool_)
    out = np.full(signals, np.nan, np.float32)
    out[present] = np.frombuffer(data, "<f4", offset=mask_bytes)
    return out


def _statistics(values: Float32) -> Float32:
    """Return mean, min, max, p95, last, count (6, S) of `values` (T, S) without the missing ones; NaN where all are."""
    out = np.full((len(STATISTICS), values.shape[1]), np.nan, np.float32)
    out[5] = np.isfinite(values).sum(axis=0)
    measured = np.flatnonzero(out[5])
    few = max(1, _AT_ONCE // max(len(values), 1))  # all together would take five times what the values do
    for first in range(0, len(measured), few):
        columns = measured[first : first + few]
        part = values[:, columns]
        there = np.isfinite(part)
        ordered, seen = np.sort(part.astype(np.float64), axis=0), there.sum(axis=0)  # NaN last
        out[0, columns] = np.nansum(ordered, axis=0) / seen
        each = np.arange(len(columns))
        out[1, columns], out[2, columns] = ordered[0], ordered[seen - 1, each]
        place = 0.95 * (seen - 1)
        below = place.astype(np.int64)
        above = np.minimum(below + 1, seen - 1)
        out[3, columns] = ordered[below, each] + (place - below) * (ordered[above, each] - ordered[below, each])
        out[4, columns] = part[len(values) - 1 - np.argmax(there[::-1], axis=0), each]
    return out
