"""history.db: every sample, and rollups of 5 minutes, an hour and a day.

Enters: one sample a tick. Leaves: rows for learning, scores for the threshold, rollups for long views. Beside them
stands what was forecast, until it is judged: it is worth nothing without this history.
Order is `seq`, never the clock; retention counts rows. Samples that were imported have numbers below zero: they
come before the first own one. The file may be set aside when it is corrupt: what is promised to people lives in
state.db. Opened read-only by the child.
"""

import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from daemon.errors import StateError
from daemon.history_file import open_read_only, open_to_write
from daemon.samples import (
    FLAG_EXPECTED,
    FLAG_INCIDENT,
    FLAG_OWN_WORK,
    STATISTICS,
    Float32,
    Recorded,
    Rows,
    StoredSample,
    decode_all,
    encode,
    places,
    statistics,
)

_log = structlog.get_logger()

_BEFORE_ALL = -(2**62)
_MOST_KNOWN = 256  # schemas that are kept in memory: where mounts come and go, each sample may bring a new one
_MOST_SCHEMAS = 1000  # in the file, before it is looked which of them nothing needs any more

_READ_AT_ONCE = 200  # samples

TIERS_SECONDS = (300, 3600, 86_400)


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
        self._database = open_read_only(path) if read_only else self._open_or_set_aside()

    def _open_or_set_aside(self) -> sqlite3.Connection:
        try:
            return open_to_write(self.path)
        except sqlite3.OperationalError as error:
            raise StateError(f"{self.path}: cannot be opened: {error}") from error
        except (
            sqlite3.DatabaseError,
            UnicodeDecodeError,
        ) as error:  # the latter where SQLite's own text quotes the file
            self._set_aside(str(error))
            return open_to_write(self.path)

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
            self._database = open_to_write(self.path)
            if self._interval:
                self._database.execute("INSERT INTO meta VALUES ('interval_seconds', ?)", (self._interval,))

    def _forget(self) -> None:
        """Trust the database alone again for what its small tables hold."""
        self._schemas.clear()
        self._schema_ids.clear()
        self._boots.clear()

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
        table = statistics(rows.values)
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
