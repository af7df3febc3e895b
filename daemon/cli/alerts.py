"""`presage alerts` and `ack`: what fires and what did, and who has it in hand.

Enters: the daemon's answer. Leaves: a listing of 80 columns, JSON, or one line that says what is kept. Which alert is
meant is told by the end of its id, or "latest".
"""

import getpass
import os
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from alerting.policy import GRAVEST
from daemon.cli import client, completion
from daemon.cli.configuration import ConfigOption
from daemon.cli.status import SEVERITIES, standing
from daemon.cli.terminal import print_json, print_rows, printable, say
from daemon.cli.watching import WatchOption, shown
from daemon.config import load
from daemon.web.alert_answers import MAX_AUTHOR, AlertsAnswer
from daemon.web.api import AlertAnswer

AlertArgument = Annotated[
    str,
    typer.Argument(
        metavar="ALERT", help='End of its id, 4 letters or more, or "latest".', autocompletion=completion.alerts
    ),
]

SHORT = 6  # letters of an id that are shown
_ASKED_FOR_EACH = 10  # records are left out afterwards
_MOST_ASKED = 1000
_SEVERITIES = [severity.value for severity in GRAVEST]


def show_alerts(
    config: ConfigOption = None,
    records: Annotated[bool, typer.Option("--all", help="Records that are over, too.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=_MOST_ASKED, help="Most alerts shown.")] = 20,
    watch: WatchOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
) -> None:
    """List alerts: those that are open, then those that were, the newest first.

    Records, which nobody is told of, are left out once they are over.
    """
    asked = limit if records else min(_MOST_ASKED, limit * _ASKED_FOR_EACH)
    loaded = load(config)

    def show(out: Console) -> None:
        chosen = choose(client.fetch_alerts(loaded, asked).alerts, records=records)[:limit]
        if as_json:
            print_json(out, AlertsAnswer(alerts=chosen).model_dump(mode="json"))
            return
        for alert in chosen:
            print_rows(out, _rows(alert), SHORT)
        if not chosen:
            out.print("none" if records else "none; with --all, records that are over are listed too")

    shown(show, watch=watch)


def choose(alerts: list[AlertAnswer], *, records: bool) -> list[AlertAnswer]:
    """Return those to list: open ones first, the gravest of them before the others, then what is over."""
    over = [
        one for one in alerts if one.state == "resolved" and (records or one.sent_to or one.severity != _SEVERITIES[-1])
    ]
    still = [one for one in alerts if one.state != "resolved"]
    rank = {severity: place for place, severity in enumerate(_SEVERITIES)}  # a newer daemon may know more
    still.sort(key=lambda one: (one.state == "pending", rank.get(one.severity, len(rank))))
    return still + over


def _rows(alert: AlertAnswer) -> Iterator[tuple[str, Text]]:
    """Yield one row that names the alert, one that tells it, and one for what else an operator must know."""
    moment = datetime.fromisoformat(alert.fired_at or alert.started_at or "").astimezone()
    name = printable(f"{alert.alertname} {alert.resource}".strip())
    head = Text(f"{moment:%Y-%m-%d %H:%M} {alert.severity:<8} {alert.state:<8} ")
    over = alert.state == "resolved"
    head.append(name, "" if over else SEVERITIES.get(alert.severity, "bold"))
    yield alert.occurrence[-SHORT:], head
    yield "", Text(printable(alert.sentence), "dim" if over else "")
    if alert.held or alert.acknowledged_by is not None:
        yield "", Text(printable("; ".join(standing(alert))), "cyan")


def acknowledge(alert: AlertArgument, config: ConfigOption = None) -> None:
    """Take an alert in hand: it is not told again, and nobody else is called for it."""
    author = login_name()
    taken = client.acknowledge(load(config), alert, author)
    who = "yours" if taken.acknowledged_by == author else f"in the hands of {taken.acknowledged_by} already"
    say(f"{_named(taken)} is {who}")


def login_name() -> str:
    """Return who asks: behind sudo, whoever called it."""
    try:
        name = os.environ.get("SUDO_USER") or getpass.getuser()
    except (OSError, KeyError):  # no name goes with this user id
        name = f"user {os.getuid()}"
    return printable(name)[:MAX_AUTHOR]


def _named(alert: AlertAnswer) -> str:
    return f"{alert.alertname} {alert.resource}".strip() + f" ({alert.occurrence[-SHORT:]})"
