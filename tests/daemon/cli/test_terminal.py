"""Tables and sentences as a terminal and a pipe get them."""

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from daemon.cli.terminal import is_ascii, print_json, print_table, say

ROWS = [
    [Text("2026-03-01 06:00"), Text("unit failed", "bold"), Text("日本語" * 20 + " and so on")],
    [Text("2026-03-01 05:00"), Text("disk full"), Text("/srv")],
]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_a_table_of_a_terminal_is_never_wider_than_it(width):
    out = Console(width=width, force_terminal=True, color_system=None)
    with out.capture() as capture:
        print_table(out, ("when", "what", "of which"), ROWS)
    lines = capture.get().splitlines()
    assert max(map(cell_len, lines)) <= width
    assert "".join(lines).count("日") == 20
    assert ("when" in lines[0]) == (width > 55)


def test_in_a_pipe_a_row_is_a_line_with_columns_below_each_other():
    out = Console(width=30, force_terminal=False)
    with out.capture() as capture:
        print_table(out, ("when", "what", "of which"), ROWS)
        print_table(out, ("nothing",), [])
    first, second = capture.get().splitlines()
    assert second == "2026-03-01 05:00  disk full    /srv"
    assert first.startswith("2026-03-01 06:00  unit failed  日本語")
    assert first.endswith("and so on")


def test_json_is_never_wrapped_nor_marked_up():
    out = Console(width=20, force_terminal=True)
    with out.capture() as capture:
        print_json(out, {"a": "[bold]x[/bold] " * 9})
    assert capture.get() == '{\n  "a": "' + "[bold]x[/bold] " * 9 + '"\n}\n'


def test_a_sentence_in_a_pipe_is_one_line(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    say("a \x1b[31m sentence " * 9)
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "\x1b" not in said


def test_where_there_is_nothing_but_ascii_it_is_plain(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    assert not is_ascii(Console(force_terminal=True))
    monkeypatch.setenv("TERM", "linux")
    assert is_ascii(Console(force_terminal=True))
    assert not is_ascii(Console(force_terminal=False))
