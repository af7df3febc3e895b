"""Keys as a terminal sends them, and lines as it is sent them, on a pseudo-terminal."""

import os
import pty
import select
import sys
import termios
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.text import Text

from daemon.cli.screen import Screen
from daemon.errors import DaemonError


@contextmanager
def opened(monkeypatch):
    """Open a screen on a terminal of our own; `sent` returns what it was sent since, `press` presses keys."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (5, 20))

    def sent():
        """Read all that comes: the kernel hands it over a little later, and in pieces."""
        found = b""
        while select.select([ours], [], [], 0.1 if found else 5.0)[0]:
            found += os.read(ours, 65_536)
        return found.decode()

    with (
        monkeypatch.context() as patched,
        os.fdopen(os.dup(theirs), "r", encoding="utf-8") as given,
        os.fdopen(os.dup(theirs), "w", encoding="utf-8") as shown,
    ):
        patched.setattr(sys, "stdin", given)
        patched.setattr(sys, "stdout", shown)
        patched.setenv("TERM", "xterm")
        before = termios.tcgetattr(theirs)
        with Screen("something else") as screen:
            screen.press = lambda letters: os.write(ours, letters)
            screen.sent = sent
            yield screen
        assert termios.tcgetattr(theirs) == before
        assert sent().endswith("\x1b[?1049l")
    os.close(theirs)
    os.close(ours)


@pytest.mark.parametrize(
    ("pressed", "keys"),
    [
        (b"q", ["q"]),
        (b"\x1b[A\x1b[B\x1bOB", ["up", "down", "down"]),
        (b"\x1b", ["escape"]),
        (b"\t\x1b[Zpe", ["down", "up", "p", "e"]),
        (b"\x1b[6~\r", ["page down", "enter"]),
        (b"\x1b[15~", [""]),
        ("ü".encode(), ["ü"]),
        (b"\x0c", ["redraw"]),
    ],
)
def test_keys_have_names(monkeypatch, pressed, keys):
    with opened(monkeypatch) as screen:
        screen.press(pressed)
        assert [screen.key(5.0) for _ in keys] == keys
        assert screen.key(0.0) == ""


def test_another_thread_can_wake_it(monkeypatch):
    with opened(monkeypatch) as screen:
        screen.wake()
        assert screen.key(20.0) == ""


def test_only_what_changed_is_drawn_and_nothing_runs_over(monkeypatch):
    with opened(monkeypatch) as screen:
        screen.sent()
        screen.draw([Text("one"), Text("two"), Text("x" * 99)])
        first = screen.sent()
        assert "one" in first
        assert "x" * 20 in first
        assert "x" * 21 not in first
        screen.draw([Text("one"), Text("2"), Text("x" * 99)])
        assert screen.sent() == "\x1b[2;1H\x1b[0m\x1b[K2"
        screen.draw([Text("one"), Text("2", "bold"), Text("x" * 99)])
        assert "2" in screen.sent()  # the same letters in another style
        screen.redraw()
        screen.draw([Text("one")])
        assert screen.sent().startswith("\x1b[2J")


@pytest.mark.parametrize("term", ["", "dumb", "unknown"])
def test_what_cannot_be_drawn_on_is_told_with_what_can_be_done(monkeypatch, term):
    with opened(monkeypatch), monkeypatch.context() as patched:
        patched.setenv("TERM", term)
        with pytest.raises(DaemonError, match=f'TERM is "{term}".*; try something else'):
            Screen("something else")


def test_a_pipe_is_no_terminal(monkeypatch):
    with opened(monkeypatch), Path(os.devnull).open() as nothing, monkeypatch.context() as patched:
        patched.setattr(sys, "stdin", nothing)
        with pytest.raises(DaemonError, match="stdin is no terminal"):
            Screen("something else")
        patched.setattr(sys, "stdout", nothing)
        with pytest.raises(DaemonError, match="stdout is no terminal"):
            Screen("something else")
