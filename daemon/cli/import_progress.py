"""How `presage import` tells how far it is: a bar on a terminal, else a line for every tenth; on stderr, both.

Enters: what came of the import so far. Leaves: days, rows and speed.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from daemon.cli.terminal import complain, printable

if TYPE_CHECKING:  # NumPy is loaded when it is needed: `presage --help` is quick
    from daemon.imports.pages import Imported

_DAY_MS = 86_400_000


class Progress:
    """What is told while it works: a bar on a terminal, else a line for every tenth."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._first_ms = self._end_ms = 0
        self._told = 0

    def begin(self, first_ms: int, end_ms: int) -> None:
        """Say of which span it is; (0, 0) when nobody knows."""
        self._first_ms, self._end_ms = first_ms, end_ms
        self._began = time.monotonic()

    def show(self, imported: "Imported", until_ms: int) -> None:
        """Tell of all up to `until_ms`."""
        tenth = int(10 * self._share(until_ms))
        if tenth > self._told:
            self._told = tenth
            if imported.new or imported.known:  # what was done before goes by in a moment
                self.say(f"{tenth * 10} %: {self._words(imported, until_ms)}")

    def say(self, text: str) -> None:
        """Tell one line."""
        complain(printable(text))

    def close(self) -> None:
        """Leave the terminal as it was."""

    def _share(self, until_ms: int) -> float:
        return (until_ms - self._first_ms) / (self._end_ms - self._first_ms) if self._end_ms else 0.0

    def _words(self, imported: "Imported", until_ms: int) -> str:
        rows = imported.new + imported.known
        speed = rows / max(time.monotonic() - self._began, 0.001)
        days = f"{(until_ms - self._first_ms) / _DAY_MS:.1f} of {(self._end_ms - self._first_ms) / _DAY_MS:.1f} days, "
        return f"{days if self._end_ms else ''}{rows:,} rows, {speed:,.0f} rows/s"


class _Bar(Progress):
    """The same as a bar that rich draws on stderr."""

    def __init__(self) -> None:
        from rich import progress  # noqa: PLC0415 - only on a terminal
        from rich.console import Console  # noqa: PLC0415 - only on a terminal

        super().__init__()
        self._bar = progress.Progress(
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.TextColumn("{task.description}", markup=False),
            progress.TimeRemainingColumn(),
            console=Console(stderr=True, markup=False, highlight=False, emoji=False),
            transient=True,
        )
        self._task = self._bar.add_task("asking for the series of this host", total=None)
        self._bar.start()

    def show(self, imported: "Imported", until_ms: int) -> None:
        total = 1.0 if self._end_ms else None
        words = self._words(imported, until_ms)
        self._bar.update(self._task, total=total, completed=self._share(until_ms), description=words)

    def say(self, text: str) -> None:
        self._bar.console.print(f"presage: {printable(text)}", soft_wrap=True)

    def close(self) -> None:
        self._bar.stop()


@contextmanager
def progress_of_import() -> Iterator[Progress]:
    """Tell of an import on stderr while it lasts."""
    shown = _Bar() if sys.stderr.isatty() else Progress()
    try:
        yield shown
    finally:
        shown.close()
