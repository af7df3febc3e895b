"""`presage train`: a training at a person's word, followed or not, or stopped.

Enters: the daemon's answers. Leaves: the training's id, and with `--follow` a line for each that the training says.
"""

import time
from enum import StrEnum
from typing import Annotated

import typer

from daemon.cli.client import cancel_training, fetch_training, start_training
from daemon.cli.configuration import ConfigOption
from daemon.cli.terminal import console, print_json, say
from daemon.config import load
from daemon.models.answers import TrainingAnswer


class Network(StrEnum):
    """What can be trained."""

    ANOMALY = "anomaly"
    CAPACITY = "capacity"
    FAILURE = "failure"


_LOOK_SECONDS = 1.0
_FAILED = 1


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
    shown = ""
    while True:
        told, _ = fetch_training(loaded, told.id)
        shown = _say(told, shown, quiet=as_json)
        if told.over:
            break
        time.sleep(_LOOK_SECONDS)
    if as_json:
        print_json(out, told.model_dump())
    else:
        say(f"{told.outcome}: {told.text}")
    if told.outcome not in ("promoted", "shadow", "refused"):
        raise typer.Exit(_FAILED)


def _say(told: TrainingAnswer, shown: str, *, quiet: bool) -> str:
    """Print what was said since the moment `shown`, and return the last moment."""
    for line in told.logs:
        if line.at > shown and not quiet and not told.over:
            say(f"{line.share:4.0%} {line.text}")
    return told.logs[-1].at if told.logs else shown
