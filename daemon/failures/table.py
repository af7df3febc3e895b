"""The table `failures` of state.db: events of the host's own history, and where each source goes on.

Enters: events, and single values that must hold at the same moment as they do. Leaves: the same after a crash.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence

from daemon.durable import DurableDatabase
from daemon.failures.record import FailureEvent, Source
from detectors.findings import FailureKind

FAILURES = """
    CREATE TABLE failures (
        id INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        source TEXT NOT NULL,
        since_ms INTEGER NOT NULL,
        time_ms INTEGER NOT NULL,
        last_ms INTEGER NOT NULL,
        times INTEGER NOT NULL,
        resource TEXT NOT NULL,
        detail TEXT NOT NULL,
        marks TEXT NOT NULL  -- what each source saw, so that none is counted twice
    );
    CREATE INDEX failures_time ON failures (time_ms);
"""


_END = (2**62, 2**62)  # no time and no id lies behind it


class FailureTable(DurableDatabase):
    """The part of the database that holds failures. Every method blocks, and raises StateError."""

    def record_failures(self, events: Sequence[FailureEvent], values: Mapping[str, str]) -> None:
        """Keep the events as they stand now, and `values` in `meta`: all or nothing."""
        rows = [
            (
                one.id, one.kind.value, one.source.value, one.since_ms, one.time_ms, one.last_ms, one.times,
                _text(one.resource), _text(one.detail), json.dumps(one.marks),
            )
            for one in events
        ]  # fmt: skip

        def work(db: sqlite3.Connection) -> None:
            db.executemany(
                "INSERT OR REPLACE INTO failures (id, kind, source, since_ms, time_ms, last_ms, times, resource,"
                " detail, marks) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
            db.executemany("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", list(values.items()))

        self._write(work)

    def recent_failures(self, limit: int, before: tuple[int, int] | None = None) -> list[FailureEvent]:
        """Return at most `limit` events, the newest first, behind the one of (time, id)."""
        rows = self._read(
            "SELECT id, kind, source, since_ms, time_ms, last_ms, times, resource, detail, marks FROM failures"
            " WHERE (time_ms, id) < (?, ?) ORDER BY time_ms DESC, id DESC LIMIT ?",
            *(before or _END), limit,
        )  # fmt: skip
        return [_event(*row) for row in rows]

    def last_failure_id(self) -> int:
        """Return the highest id that was given, 0 where there is none."""
        ((highest,),) = self._read("SELECT coalesce(max(id), 0) FROM failures")
        return int(highest)


def _event(  # noqa: PLR0917 - the columns
    number: int,
    kind: str,
    source: str,
    since_ms: int,
    time_ms: int,
    last_ms: int,
    times: int,
    resource: str,
    detail: str,
    marks: str,
) -> FailureEvent:
    said = {Source(name): mark for name, mark in json.loads(marks).items()}
    return FailureEvent(
        number, FailureKind(kind), Source(source), since_ms, time_ms, last_ms, times, resource, detail, said
    )


def _text(value: str) -> str:
    """Return `value` as SQLite can keep it."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")
