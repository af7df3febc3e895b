"""`--watch`: a command's answer again and again, until Ctrl-C.

Enters: what prints the answer. Leaves: on a terminal the newest answer on the whole screen, cut off below; elsewhere
one after the other, with a line of time between them. While the daemon is down, what was last known stays.
"""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from daemon.cli.screen import Screen, can_draw
from daemon.cli.terminal import console, on_terminal
from daemon.errors import DaemonError

SOON, SELDOM = 2.0, 10.0  # seconds between two looks: at what changes with each sample, and at what does not

WatchOption = Annotated[bool, typer.Option("--watch", "-w", help="Again and again, until Ctrl-C.")]


def shown(show: Callable[[Console], None], *, watch: bool, seconds: float = SOON) -> None:
    """Print what `show` prints, once or again and again. Raises DaemonError where the first answer cannot be had."""
    out = console()
    if not watch:
        show(out)
        return
    try:
        if can_draw():
            _on_screen(show, seconds)
        else:
            _one_after_the_other(show, out, seconds)
    except KeyboardInterrupt:  # the usual way to end it
        return


def _one_after_the_other(show: Callable[[Console], None], out: Console, seconds: float) -> None:
    show(out)
    while True:
        out.file.flush()
        time.sleep(seconds)
        if on_terminal():
            out.print(f"-- {datetime.now().astimezone():%H:%M:%S}")
        show(out)


def _on_screen(show: Callable[[Console], None], seconds: float) -> None:
    first = _printed(show)  # what is wrong from the beginning is told before the screen is taken
    with Screen("without --watch") as screen:
        lines, problem, at = first, "", time.monotonic()
        while True:
            columns, rows = screen.size
            if time.monotonic() - at >= seconds:
                at = time.monotonic()
                try:
                    lines, problem = _printed(show), ""
                except DaemonError as error:
                    problem = f"asking again: {error}"
            now = f"{datetime.now().astimezone():%H:%M:%S}"
            head = f"every {seconds:g} s, q or Ctrl-C ends"
            top = Text(problem, "bold red") if problem else Text(f"{head:<{max(0, columns - len(now))}}{now}", "dim")
            screen.draw([top, *lines[: rows - 1]])
            key = screen.key(max(0.05, min(1.0, at + seconds - time.monotonic())))
            if key == "q":
                return
            if key == "redraw":
                screen.redraw()
            if not key and screen.size != (columns, rows):
                at = float("-inf")  # the lines were made for another width


def _printed(show: Callable[[Console], None]) -> list[Text]:
    """Return what is printed as lines."""
    out = console()
    with out.capture() as capture:
        show(out)
    return [Text.from_ansi(line, no_wrap=True) for line in capture.get().splitlines()]
