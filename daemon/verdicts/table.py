"""The table `verdicts` of state.db: what operators said of alerts, each with what it changes.

Enters: verdicts and their effects, as one row. Leaves: the same after a crash. What was taken back stays, marked.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from alerting.errors import AlertingError
from alerting.occurrence import State, from_json
from alerting.verdict import Recurrence, Verdict, VerdictKind
from daemon.durable import DurableDatabase
from daemon.errors import StateError
from daemon.verdicts.effects import Effect, effect_from_json, effect_of, to_json

EFFECTS = """
    ALTER TABLE verdicts ADD COLUMN every TEXT NOT NULL DEFAULT '';
    ALTER TABLE verdicts ADD COLUMN effect TEXT NOT NULL DEFAULT '';  -- '' = it changes nothing, as all before did
"""

_MOST_EFFECTS = 1_000  # the newest
JUDGED = f"""
    SELECT id, occurrence, kind, author, comment, time_ms, undone_ms, every, effect,
    (SELECT payload FROM occurrences WHERE occurrences.id = verdicts.occurrence) FROM verdicts
    WHERE effect <> '' AND ordinal = (SELECT max(ordinal) FROM verdicts AS other
    WHERE other.occurrence = verdicts.occurrence AND other.undone_ms IS NULL)
    ORDER BY ordinal DESC LIMIT {_MOST_EFFECTS}
"""  # noqa: S608 - a number


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict that counts, and what it changes."""

    verdict: Verdict
    effect: Effect


class VerdictTable(DurableDatabase):
    """The part of the database that holds verdicts. Every method blocks, and raises StateError."""

    def record_verdict(self, verdict: Verdict, effect: Effect | None = None) -> None:
        """Keep a verdict and what it changes; the same again changes nothing."""
        self._write(
            lambda db: db.execute(
                "INSERT INTO verdicts (id, occurrence, kind, author, comment, time_ms, every, effect)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
                (
                    verdict.id, verdict.occurrence, verdict.kind.value, _text(verdict.author), _text(verdict.comment),
                    verdict.time_ms, verdict.every.value, "" if effect is None else to_json(effect),
                ),
            )
        )  # fmt: skip

    def undo_verdict(self, occurrence: str, time_ms: int) -> bool:
        """Take back the newest verdict on an occurrence; tell whether there was one."""

        def work(db: sqlite3.Connection) -> bool:
            cursor = db.execute(
                "UPDATE verdicts SET undone_ms = ? WHERE ordinal = (SELECT max(ordinal) FROM verdicts"
                " WHERE occurrence = ? AND undone_ms IS NULL)",
                (time_ms, occurrence),
            )
            return cursor.rowcount > 0

        return self._write(work)

    def verdicts(self, occurrence: str) -> list[Verdict]:
        """Return every verdict on an occurrence, the oldest first, those that were undone too."""
        rows = self._read(
            "SELECT id, occurrence, kind, author, comment, time_ms, undone_ms, every FROM verdicts"
            " WHERE occurrence = ? ORDER BY ordinal",
            occurrence,
        )
        return [_verdict(*row) for row in rows]

    def standing_verdicts(self, time_ms: int) -> dict[str, VerdictKind]:
        """Return the word that counts on each occurrence that was judged since then."""
        rows = self._read(
            "SELECT occurrence, kind FROM verdicts WHERE undone_ms IS NULL AND time_ms >= ? ORDER BY ordinal", time_ms
        )
        return {occurrence: VerdictKind(kind) for occurrence, kind in rows}

    def judged(self) -> list[Judged]:
        """Return the verdicts that count and change something, the oldest first."""
        try:
            return judged_of(self._read(JUDGED))
        except ValueError as error:
            raise StateError(f"{self._path}: {error}") from error


def judged_of(rows: Iterable[Sequence[Any]]) -> list[Judged]:
    """Return what the rows of `JUDGED` say, the oldest first. Raises ValueError where they are not understood."""
    try:
        return [_judged(_verdict(*row[:8]), row[8], row[9]) for row in rows][::-1]
    except AlertingError as error:
        raise ValueError(str(error)) from error


def _judged(verdict: Verdict, effect: str, alert: str | None) -> Judged:
    """Return a verdict with its effect; an alert that was open when it was judged counts as it was at its end."""
    kept = effect_from_json(verdict.id, verdict.occurrence, verdict.kind.value, effect)
    if kept.end_ms is not None:
        return Judged(verdict, kept)
    if alert is None:  # nobody knows when it ended, and it must not go on for ever
        return Judged(verdict, replace(kept, end_ms=kept.first_ms))
    now = from_json(alert)
    if now.state is State.FIRING:
        return Judged(verdict, kept)
    return Judged(verdict, effect_of(verdict, now) or replace(kept, end_ms=now.resolved_ms))


def _verdict(  # noqa: PLR0917 - the columns
    number: str,
    occurrence: str,
    kind: str,
    author: str,
    comment: str,
    time_ms: int,
    undone_ms: int | None,
    every: str,
) -> Verdict:
    return Verdict(number, occurrence, VerdictKind(kind), author, comment, time_ms, undone_ms, Recurrence(every))


def _text(value: str) -> str:
    """Return `value` as SQLite can keep it."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")
