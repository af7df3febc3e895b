"""`presage drift`: whether the last day still looks as the days that were learned from.

Enters: the daemon's answer. Leaves: labelled rows of 80 columns, or JSON. Where too little is known it says what is
lacking, and no number.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from daemon.cli.client import fetch_drift
from daemon.cli.configuration import ConfigOption
from daemon.cli.status import percent
from daemon.cli.terminal import print_json, print_rows, printable
from daemon.cli.watching import SELDOM, WatchOption, shown
from daemon.config import load
from daemon.drift.answers import DriftAnswer, NetworkDriftAnswer, SignalDriftAnswer

Row = tuple[str, Text]

_LABEL = 11
_STYLES = {"no drift": "green", "warning": "yellow", "critical": "bold red"}


def show_drift(
    config: ConfigOption = None,
    watch: WatchOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="The daemon's answer as JSON.")] = False,
) -> None:
    """Show which signals no longer follow the days that the networks have learned from.

    Checked every hour; never sent by default.
    """
    loaded = load(config)

    def show(out: Console) -> None:
        answer, body = fetch_drift(loaded)
        if as_json:
            print_json(out, json.loads(body))
        else:
            print_rows(out, rows(answer), _LABEL)

    shown(show, watch=watch, seconds=SELDOM)


def rows(answer: DriftAnswer) -> Iterator[Row]:
    """Yield every row of an answer."""
    if answer.score is None:
        yield "drift", Text(printable(f"{answer.state}: {answer.missing}"), "cyan")
    else:
        text = Text(printable(answer.state), _STYLES.get(answer.state, ""))
        told = f" ({percent(answer.score)} of the signals; warning from {percent(answer.warning)})"
        yield "drift", text.append(told, "not bold default")
    if answer.judged:
        yield (
            "signals",
            Text(f"{answer.drifted} of {answer.judged} drifted; {answer.signals - answer.judged} not judged"),
        )
    for place, one in enumerate(answer.networks):
        yield "" if place else "networks", _network(one)
    for place, signal in enumerate(answer.examples):
        yield "" if place else "farthest", _signal(signal)
    if answer.reference_from and answer.reference_until:
        again = ", for the host runs again as it did then" if answer.earlier else ""
        days = f"{_local(answer.reference_from)} to {_local(answer.reference_until)}"
        yield "compared", Text(f"the last day with {days}{again}")
    if answer.at:
        yield "checked", Text(_local(answer.at))


def _network(one: NetworkDriftAnswer) -> Text:
    if one.inputs is None and one.outputs is None:
        return Text(printable(f"{one.network}: too little data"), "dim")
    parts = [
        f"{'too little' if share is None else percent(share) if share else 'none'} of what it {what}"
        for share, what in ((one.inputs, "is made of"), (one.outputs, "answers"))
    ]
    return Text(printable(f"{one.network}: {', '.join(parts)}"))


def _signal(one: SignalDriftAnswer) -> Text:
    by_chance = f"p {one.probability:.0e}" if one.probability > 0 else "p 0"
    return Text(
        printable(f"{one.signal}  distance {one.distance:.2f}, {by_chance}, {one.effective:.0f} samples' worth")
    )


def _local(at: str) -> str:
    return datetime.fromisoformat(at).astimezone().strftime("%Y-%m-%d %H:%M")
