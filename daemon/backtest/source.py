"""What is replayed: the samples of history.db with the signals of state.db, read by a process of its own.

Enters: the state folder. Leaves: `Samples`. It writes nothing, so the daemon may run beside it.
"""

import sqlite3
from pathlib import Path
from typing import Any

from daemon.backtest.result import Samples
from daemon.errors import StateError
from daemon.history import History
from daemon.signals import Kind, SignalSpec
from daemon.verdicts.table import JUDGED, Judged, judged_of
from detectors.findings import Change, ChangeKind, Unit

_ALL = 2**62


def read_samples(directory: Path, first_ms: int | None = None, end_ms: int | None = None) -> Samples:
    """Return the samples with first_ms <= time < end_ms. Raises StateError in one readable line."""
    history_path, state_path = directory / "history.db", directory / "state.db"
    for path in (history_path, state_path):
        _must_be_readable(path)
    try:
        specs = _specs(state_path)
        history = History(history_path, read_only=True)
        try:
            recorded = history.recorded(-_ALL if first_ms is None else first_ms, _ALL if end_ms is None else end_ms)
        finally:
            history.close()
    except sqlite3.Error as error:
        raise StateError(f"{history_path}: cannot be read: {error}") from error
    rows = recorded.rows
    known = [place for place, number in enumerate(rows.signal_ids) if number in specs]
    values = rows.values if len(known) == len(rows.signal_ids) else rows.values[:, known]
    ids = tuple(rows.signal_ids[place] for place in known)
    return Samples(
        specs=tuple(specs[number] for number in ids),
        signal_ids=ids,
        values=values,
        seq=rows.seq,
        time_ms=rows.time_ms,
        monotonic_ns=recorded.monotonic_ns,
        boot=recorded.boot,
        hours=rows.hours,
        flags=rows.flags,
    )


def read_changes(directory: Path) -> list[Change]:
    """Return the changes of the host, oldest first. Raises StateError."""
    rows = _ask(directory / "state.db", "SELECT time_ms, kind, text FROM changes ORDER BY time_ms, ordinal")
    return [Change(time_ms, ChangeKind(kind), text) for time_ms, kind, text in rows]


def read_verdicts(directory: Path) -> dict[str, str]:
    """Return the verdict that counts, by occurrence. Raises StateError."""
    rows = _ask(
        directory / "state.db", "SELECT occurrence, kind FROM verdicts WHERE undone_ms IS NULL ORDER BY ordinal"
    )
    return dict(rows)


def read_judged(directory: Path) -> list[Judged]:
    """Return the verdicts that change something, the oldest first. Raises StateError.

    In a state folder of a version in which verdicts changed nothing there are none.
    """
    path = directory / "state.db"
    if not _ask(path, "SELECT 1 FROM pragma_table_info('verdicts') WHERE name = 'effect'"):
        return []
    try:
        return judged_of(_ask(path, JUDGED))
    except ValueError as error:
        raise StateError(f"{path}: {error}") from error


def _must_be_readable(path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        raise StateError(
            f"{path}: there is no history yet; let presaged run for a while, or bring some with `presage import`"
        ) from error
    except OSError as error:
        raise StateError(f"{path}: cannot be read: {error.strerror}; ask as its owner or as root") from error


def _specs(path: Path) -> dict[int, SignalSpec]:
    rows = _ask(path, "SELECT id, name, unit, kind, family, resource FROM signals")
    return {
        number: SignalSpec(name, Unit(unit), Kind(kind), family, resource)
        for number, name, unit, kind, family, resource in rows
    }


def _ask(path: Path, question: str) -> list[tuple[Any, ...]]:
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)
        try:
            return connection.execute(question).fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StateError(f"{path}: cannot be read: {error}") from error
