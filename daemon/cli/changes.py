"""`presage changes` and `presage mark-change`: what was done to this host, seen or told.

Enters: the daemon's answer, or one line of an operator. Leaves: a listing of 80 columns, JSON, or a word
that it is kept.
"""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.client import fetch_changes, mark_change
from daemon.cli.status import CONFIG_HELP
from daemon.cli.terminal import print_json, printable
from daemon.config import load


def show_changes(
    config: Annotated[Path | None, typer.Option(metavar="FILE", help=CONFIG_HELP)] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most changes shown, the newest first.")] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="The daemon's answer as JSON.")] = False,
) -> None:
    """Show what was changed on this host: packages, units, boots, mounts, disks, interfaces, and what was marked."""
    answer, body = fetch_changes(load(config), limit)
    if as_json:
        print_json(json.loads(body))
        return
    for change in answer.changes:
        when = datetime.fromisoformat(change.at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        sys.stdout.write(f"{when}  {change.kind:<9}  {printable(change.text)}\n")
    if not answer.changes:
        sys.stdout.write("none seen yet\n")


def mark(
    text: Annotated[str, typer.Argument(help="What was changed, in one line.")],
    config: Annotated[Path | None, typer.Option(metavar="FILE", help=CONFIG_HELP)] = None,
) -> None:
    """Tell presaged of a change you make: for a while, anomalies are recorded and not sent."""
    loaded = load(config)
    mark_change(loaded, text)
    grace = loaded.config.alerting.change_grace_seconds
    sys.stdout.write(f"marked; anomalies of the next {grace} s are recorded, not sent\n")
