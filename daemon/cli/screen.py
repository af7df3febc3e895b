"""The whole terminal as one picture: drawn over and over, with keys, and left as it was found.

Enters: lines of text. Leaves: only the lines that changed, and the keys that were pressed. However it ends - Ctrl-C,
an error, SIGTERM, a closed window - the terminal is as before; behind Ctrl-Z it is the shell's, and ours again later.
"""

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Sequence
from types import FrameType
from typing import Self

from rich.console import Console
from rich.text import Text

from daemon.cli.terminal import console
from daemon.errors import DaemonError

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"  # other screen, no cursor, no wrap
_KEYS = {
    "\x1b[A": "up",
    "\x1bOA": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\t": "down",
    "\x1b[Z": "up",
    "\r": "enter",
    "\n": "enter",
    "\x1b": "escape",
    "\x0c": "redraw",
}
_REST_SECONDS = 0.05
_CANNOT_DRAW = frozenset(("", "dumb", "unknown"))
_ENDING = (signal.SIGTERM, signal.SIGHUP)


def can_draw() -> bool:
    """Say whether there is a terminal that can be drawn on."""
    return sys.stdout.isatty() and os.environ.get("TERM", "") not in _CANNOT_DRAW


class Screen:
    """A context: inside, the terminal is ours. Raises DaemonError where there is none to draw on."""

    def __init__(self, instead: str) -> None:
        if not can_draw() or not sys.stdin.isatty():
            terminal = f'TERM is "{os.environ.get("TERM", "")}"' if sys.stdout.isatty() else "stdout is no terminal"
            if can_draw():
                terminal = "stdin is no terminal"
            raise DaemonError(f"the whole screen cannot be drawn on here ({terminal}); try {instead}")
        self._input = sys.stdin.fileno()
        self._before = termios.tcgetattr(self._input)
        self._shown: list[str] = []
        self._texts: list[Text] = []
        self._waiting = ""
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        self._handlers: dict[int, object] = {}
        self.out: Console = console()

    def __enter__(self) -> Self:
        for number in (signal.SIGWINCH, signal.SIGTSTP, *_ENDING):
            self._handlers[number] = signal.signal(number, self._on_signal)
        self._take()
        return self

    def __exit__(self, *_error: object) -> None:
        self._give_back()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        os.close(self._woken)
        os.close(self._wake)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows, as they are now."""
        columns, rows = os.get_terminal_size(sys.stdout.fileno())
        return max(1, columns), max(1, rows)

    def wake(self) -> None:
        """Let `key` return at once; for other threads."""
        try:
            os.write(self._wake, b"x")
        except OSError:  # there is enough to wake up for already, or it is over
            return

    def key(self, seconds: float) -> str:
        """Return the next key, by its name or letter, or "" after `seconds` or when something else woke it."""
        if not self._waiting:
            ready, _, _ = select.select([self._input, self._woken], [], [], seconds)
            if self._woken in ready:
                os.read(self._woken, 4096)
            if self._input not in ready:
                return ""
            pressed = os.read(self._input, 1024)
            if not pressed:  # the terminal has gone
                raise SystemExit(0)
            if pressed == b"\x1b" and select.select([self._input], [], [], _REST_SECONDS)[0]:
                pressed += os.read(self._input, 1024)  # over a slow line the rest of a key comes later
            self._waiting = pressed.decode("utf-8", "replace")
        for letters, name in _KEYS.items():
            if self._waiting.startswith(letters) and (letters != "\x1b" or len(self._waiting) == 1):
                self._waiting = self._waiting[len(letters) :]
                return name
        if self._waiting.startswith("\x1b"):  # a key that has no meaning here
            self._waiting = ""
            return ""
        key, self._waiting = self._waiting[0], self._waiting[1:]
        return key

    def draw(self, lines: Sequence[Text]) -> None:
        """Show the lines from the top; what does not fit is cut off."""
        columns, rows = self.size
        fresh = len(self._shown) != rows
        known = [] if fresh else self._texts  # what has not changed need not be made into letters again
        drawn = [
            self._shown[row] if row < len(known) and _same(known[row], line) else self._drawn(line, columns)
            for row, line in enumerate(lines[:rows])
        ]
        self._texts = list(lines[:rows])
        if fresh:
            drawn += [""] * (rows - len(drawn))
            self._write("\x1b[2J" + "".join(f"\x1b[{row};1H{line}" for row, line in enumerate(drawn, 1)))
        else:
            drawn += [""] * (rows - len(drawn))
            changed = (  # erased first: behind a full line the cursor stands on its last letter
                f"\x1b[{row};1H\x1b[0m\x1b[K{new}"
                for row, (new, old) in enumerate(zip(drawn, self._shown, strict=True), 1)
                if new != old
            )
            self._write("".join(changed))
        self._shown = drawn

    def redraw(self) -> None:
        """Let the next drawing begin from nothing."""
        self._shown = []

    def _drawn(self, line: Text, columns: int) -> str:
        line = line.copy()
        line.truncate(columns, overflow="crop")
        with self.out.capture() as capture:
            self.out.print(line, end="", no_wrap=True, overflow="ignore", crop=False)
        return capture.get()

    def _take(self) -> None:
        tty.setcbreak(self._input)
        self._write(_ENTER)
        self.redraw()

    def _give_back(self) -> None:
        self._write("\x1b[0m" + _LEAVE)
        termios.tcsetattr(self._input, termios.TCSADRAIN, self._before)

    def _write(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except (BrokenPipeError, OSError):  # the window was closed: there is nothing left to draw on
            raise SystemExit(0) from None

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number in _ENDING:
            raise SystemExit(128 + number)
        if number == signal.SIGTSTP:
            self._give_back()
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTSTP)
            signal.signal(signal.SIGTSTP, self._on_signal)  # from here on we are in front again
            self._take()
        self.redraw()
        self.wake()


def _same(one: Text, other: Text) -> bool:
    return one.style == other.style and one == other
