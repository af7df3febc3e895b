"""`presage changes` and `presage mark-change`: what was done to this host, seen or told.

Enters: the daemon's answer, or one line of an operator. Leaves: a listing of 80 columns, JSON, or a word
that it is kept.
"""

import json
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from daemon.cli.client import fetch_changes, mark_change
from daemon.cli.configuration import ConfigOption
from daemon.cli.terminal import print_json, print_table, printable, say
from daemon.cli.watching import SELDOM, WatchOption, shown
from daemon.config import load


def show_changes(
    config: ConfigOption = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most changes shown, the newest first.")] = 30,
    watch: WatchOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="The daemon's answer as JSON.")] = False,
) -> None:
    """Show what was changed on this host: packages, units, boots, mounts, disks, interfaces, and what was marked."""
    loaded = load(config)

    def show(out: Console) -> None:
        answer, body = fetch_changes(loaded, limit)
        if as_json:
            print_json(out, json.loads(body))
            return
        print_table(
            out,
            ("when", "kind", "what"),
            [(Text(_when(one.at)), Text(one.kind, "bold"), Text(printable(one.text))) for one in answer.changes],
        )
        if not answer.changes:
            out.print("none seen yet")

    shown(show, watch=watch, seconds=SELDOM)


def _when(at: str) -> str:
    return datetime.fromisoformat(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def mark(
    text: Annotated[str, typer.Argument(help="What was changed, in one line.")],
    config: ConfigOption = None,
) -> None:
    """Tell presaged of a change you make: for a while, anomalies are recorded and not sent."""
    loaded = load(config)
    mark_change(loaded, text)
    grace = loaded.config.alerting.change_grace_seconds
    say(f"marked; anomalies of the next {grace} s are recorded, not sent")
