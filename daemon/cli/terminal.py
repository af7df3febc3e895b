"""How `presage` prints: labelled rows on a terminal, whole lines without colour into a pipe.

Enters: labels and texts. Leaves: characters on stdout. A terminal gets wrapped, coloured rows; anything
else gets one line for each fact, so that grep finds it whole.
"""

import json
import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text


def on_terminal() -> bool:
    """Say whether a person reads stdout."""
    return sys.stdout.isatty()


def console() -> Console:
    """Return the console of stdout, without colour where nobody looks."""
    return Console(force_terminal=on_terminal(), markup=False, highlight=False, emoji=False)


def printable(text: str) -> str:
    """Return `text` on one line and without control characters: names of mounts and processes may hold them."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def print_rows(out: Console, rows: Iterable[tuple[str, Text]], width: int) -> None:
    """Print a label of `width` columns and a text for each row; a long text continues under itself."""
    for label, text in rows:
        if out.is_terminal:
            grid = Table.grid(padding=(0, 1))
            grid.add_column(width=width, no_wrap=True, style="bold")
            grid.add_column(overflow="fold")
            grid.add_row(label, text)
            out.print(grid)
        else:
            out.print(f"{label:<{width}} {text.plain}", soft_wrap=True)


def print_json(value: object) -> None:
    """Print one JSON document and nothing else."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def complain(text: str) -> None:
    """Say on stderr what went wrong."""
    sys.stderr.write(f"presage: {text}\n")
