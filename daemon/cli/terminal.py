"""How `presage` prints: labelled rows on a terminal, whole lines without colour into a pipe.

Enters: labels and texts. Leaves: characters on stdout. A terminal gets wrapped, coloured rows; anything
else gets one line for each fact, so that grep finds it whole.
"""

import json
import os
import sys
from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_GAP = 2
_LEAST_TEXT = 24  # columns of a text beside what it belongs to
_GLYPHLESS = frozenset(("linux", "dumb"))  # terminals whose fonts have no braille and few blocks


def on_terminal() -> bool:
    """Say whether a person reads stdout."""
    return sys.stdout.isatty()


def console() -> Console:
    """Return the console of stdout, without colour where nobody looks."""
    return Console(force_terminal=on_terminal(), markup=False, highlight=False, emoji=False)


def is_ascii(out: Console) -> bool:
    """Say whether only ASCII can be shown: in another encoding than UTF, or on a terminal whose font has no more."""
    utf = out.encoding.lower().startswith("utf")
    return not utf or (out.is_terminal and os.environ.get("TERM") in _GLYPHLESS)


def printable(text: str) -> str:
    """Return `text` on one line and without control characters: names of mounts and processes may hold them."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def say(text: str) -> None:
    """Print one sentence: wrapped on a terminal, one line elsewhere."""
    out = console()
    out.print(Text(printable(text)), soft_wrap=not out.is_terminal)


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


def print_table(out: Console, headings: Sequence[str], rows: Sequence[Sequence[Text]]) -> None:
    """Print a row for each thing; its last column is text that may be long.

    On a terminal the text is wrapped in its column, or below the row where that would be too narrow; elsewhere each
    row is a line without headings.
    """
    if not rows:
        return
    fixed = [
        max(map(cell_len, (heading, *(row[place].plain for row in rows)))) for place, heading in enumerate(headings)
    ]
    before = sum(fixed[:-1]) + _GAP * (len(headings) - 1)
    if not out.is_terminal:
        widths = [max(cell_len(row[place].plain) for row in rows) for place in range(len(headings) - 1)]
        for row in rows:
            cells = (_padded(cell, width).plain for cell, width in zip(row[:-1], widths, strict=True))
            out.print((" " * _GAP).join([*cells, row[-1].plain]).rstrip(), soft_wrap=True)
        return
    if out.width - before < min(_LEAST_TEXT, fixed[-1]):
        for row in rows:
            head = Text(" " * _GAP).join([cell for cell in row[:-1] if cell.plain])
            out.print(head, overflow="fold")
            out.print(Padding(row[-1], (0, 0, 0, _GAP)), overflow="fold")
        return
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="dim")
    for place, (heading, width) in enumerate(zip(headings, fixed, strict=True)):
        last = place == len(headings) - 1
        table.add_column(heading, overflow="fold", no_wrap=not last, min_width=None if last else width)
    for row in rows:
        table.add_row(*row)
    out.print(table)


def _padded(cell: Text, width: int) -> Text:
    return cell.copy().append(" " * max(0, width - cell.cell_len))


def print_json(out: Console, value: object) -> None:
    """Print one JSON document and nothing else, never wrapped."""
    out.print(Text(json.dumps(value, indent=2, ensure_ascii=False)), soft_wrap=True)


def complain(text: str) -> None:
    """Say on stderr what went wrong."""
    sys.stderr.write(f"presage: {text}\n")
