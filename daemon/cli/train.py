"""`presage train`: a training at a person's word, followed or not, or stopped.

Enters: the daemon's answers. Leaves: the training's id, and with `--follow` a bar, or a line for each that the
training says.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from typing import Annotated

import typer

from daemon.cli.client import cancel_training, fetch_training, start_training
from daemon.cli.configuration import ConfigOption
from daemon.cli.terminal import complain, console, print_json, printable, say
from daemon.config import Loaded, load
from daemon.models.answers import TrainingAnswer


class Network(StrEnum):
    """What can be trained."""

    ANOMALY = "anomaly"
    CAPACITY = "capacity"
    FAILURE = "failure"


_LOOK_SECONDS = 1.0
_FAILED, _INTERRUPTED = 1, 130

Tell = Callable[[float, str], object]


def train(
    config: ConfigOption = None,
    network: Annotated[Network, typer.Option("--network", help="Which of the three.")] = Network.ANOMALY,
    follow: Annotated[bool, typer.Option("--follow", help="Tell how far it is until it ends.")] = False,
    cancel: Annotated[str, typer.Option("--cancel", metavar="ID", help="Stop this one.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="The daemon's last answer as JSON.")] = False,
) -> None:
    """Train a new model of this host; it serves after a day in shadow, if it is better.

    The networks of capacity and failure are refined by what this host has lived through, and serve at once where that
    proves better; "refused" is no failure: what served before goes on.

    The exit code of `--follow` is 1 where the training does not end well.
    """
    loaded = load(config)
    out = console()
    if cancel:
        told = cancel_training(loaded, cancel)
        say(f"{told.id} is being stopped")
        return
    told = start_training(loaded, network.value)
    if not follow:
        if as_json:
            print_json(out, told.model_dump())
        else:
            say(f"training {told.id}: {told.outcome}; `presage models list` shows what comes of it")
        return
    try:
        with nullcontext(_nothing) if as_json else _telling() as tell:
            told = _followed(loaded, told.id, tell)
    except KeyboardInterrupt:
        complain(f"it goes on; `presage train --cancel {told.id}` stops it")
        raise typer.Exit(_INTERRUPTED) from None
    if as_json:
        print_json(out, told.model_dump())
    else:
        say(f"{told.outcome}: {told.text}")
    if told.outcome not in ("promoted", "shadow", "refused"):
        raise typer.Exit(_FAILED)


def _followed(loaded: Loaded, number: str, tell: Tell) -> TrainingAnswer:
    """Tell each line that the training says, once, until it is over."""
    shown = ""
    while True:
        told, _ = fetch_training(loaded, number)
        if told.over:
            return told
        for line in told.logs:
            if line.at > shown:
                tell(line.share, line.text)
                shown = line.at
        time.sleep(_LOOK_SECONDS)


@contextmanager
def _telling() -> Iterator[Tell]:
    """Tell it as a bar on a terminal, as lines elsewhere."""
    if not sys.stderr.isatty():
        yield lambda share, text: say(f"{share:4.0%} {text}")
        return
    from rich.console import Console  # noqa: PLC0415 - only on a terminal
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn  # noqa: PLC0415 - see above

    columns = (BarColumn(bar_width=24), TaskProgressColumn(), TextColumn("{task.description}", markup=False))
    screen = Console(stderr=True, markup=False, highlight=False, emoji=False)
    with Progress(*columns, console=screen, transient=True) as progress:
        task = progress.add_task("waiting for the child", total=1.0)
        yield lambda share, text: progress.update(task, completed=share, description=printable(text))


def _nothing(_share: float, _text: str) -> None:
    """Tell nobody."""
