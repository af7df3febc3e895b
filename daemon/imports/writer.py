"""Rows of a table into history.db: each at its place before the first own sample, once.

Enters: tables of samples, in any order, again and again. Leaves: how many rows were new.
"""

from dataclasses import dataclass

from daemon.history import History
from daemon.imports.table import Table
from daemon.state import StateDatabase


@dataclass(frozen=True, slots=True)
class Written:
    """What came of one table: rows that are new, and rows whose place was taken already."""

    new: int
    known: int


class ImportWriter:
    """Writes into `history`, at a sample every `interval_seconds`; signals get their ids from `state`.

    `before_ms`: only what is earlier than this is written: from there on the daemon has its own samples.
    Raises StateError where history.db holds samples of another interval.
    """

    def __init__(self, history: History, state: StateDatabase, *, interval_seconds: float, now_ms: int) -> None:
        raise NotImplementedError

    @property
    def before_ms(self) -> int:
        """The end of what is imported: the first own sample, else the first time anything was imported."""
        raise NotImplementedError

    def write(self, table: Table, first_ms: int, end_ms: int) -> Written:
        """Write the rows of `table` with first_ms <= time < end_ms; earlier rows only tell of gaps before them."""
        raise NotImplementedError

    def is_done(self, source: str, first_ms: int, end_ms: int) -> bool:
        """Tell whether this span of `source` was written whole before."""
        raise NotImplementedError

    def note_done(self, source: str, first_ms: int, end_ms: int) -> None:
        """Keep that this span of `source` is written whole: it is not asked for again."""
        raise NotImplementedError

    def finish(self) -> None:
        """Roll up what was imported."""
        raise NotImplementedError
