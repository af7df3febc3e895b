"""`presage silence add | list | expire`: keeping alerts quiet for a while, by an operator's word.

Enters: which alerts, and for how long. Leaves: one line that says until when, a listing, or JSON. What fires under a
silence is kept and shown, and told when it still fires afterwards.
"""

import json
import re
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from alerting.policy import Severity
from daemon.cli import client, completion
from daemon.cli.alerts import SHORT, login_name
from daemon.cli.configuration import ConfigOption
from daemon.cli.status import when
from daemon.cli.terminal import print_json, print_table, printable, say
from daemon.cli.watching import SELDOM, WatchOption, shown
from daemon.config import load
from daemon.web.alert_answers import SilenceAnswer

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def add(
    *,
    lasting: Annotated[str, typer.Option("--for", metavar="TIME", help='For how long, like "30m", "2h" or "1d".')],
    alert: Annotated[str, typer.Option(metavar="PATTERN", help='Name of the alerts, like "Resource*".')] = "",
    resource: Annotated[
        str,
        typer.Option(
            metavar="PATTERN", help='What they are about, like "/srv/*".', autocompletion=completion.resources
        ),
    ] = "",
    severity: Annotated[Severity | None, typer.Option(help="Their severity.")] = None,
    network: Annotated[str, typer.Option(metavar="NAME", help='What finds them, like "anomaly" or "host".')] = "",
    everything: Annotated[bool, typer.Option("--everything", help="All alerts there are.")] = False,
    comment: Annotated[str, typer.Option(metavar="TEXT", help="Why, in one line.")] = "",
    config: ConfigOption = None,
) -> None:
    """Keep alerts quiet for a while; alerts must match all that is given."""
    seconds = seconds_of(lasting)
    if everything == bool(alert or resource or severity or network):
        hint = "'--alert' / '--resource' / '--severity' / '--network' / '--everything'"
        raise typer.BadParameter("give what is to be quiet, or else --everything alone", param_hint=hint)
    wanted = {
        "alertname": alert,
        "resource": resource,
        "severity": severity.value if severity else "",
        "network": network,
        "everything": everything,
        "for_seconds": seconds,
        "author": login_name(),
        "comment": comment,
    }
    silence = client.add_silence(load(config), wanted)
    short = silence.id[-SHORT:]
    said = f"{short}: {silence.takes} is quiet until {when(silence.ends_at)}; `presage silence expire {short}` ends it"
    say(said)


def show(
    config: ConfigOption = None,
    watch: WatchOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="The daemon's answer as JSON.")] = False,
) -> None:
    """List the silences that are not over."""
    loaded = load(config)

    def show_once(out: Console) -> None:
        answer, body = client.fetch_silences(loaded)
        if as_json:
            print_json(out, json.loads(body))
            return
        print_table(
            out,
            ("silence", "", "what is quiet"),
            [
                (Text(one.id[-SHORT:], "bold"), Text(f"until {when(one.ends_at)}"), Text(printable(_takes(one))))
                for one in answer.silences
            ],
        )
        if not answer.silences:
            out.print("none")

    shown(show_once, watch=watch, seconds=SELDOM)


def expire(
    silence: Annotated[
        str,
        typer.Argument(metavar="SILENCE", help="End of its id, 4 letters or more.", autocompletion=completion.silences),
    ],
    config: ConfigOption = None,
) -> None:
    """End a silence now."""
    over = client.expire_silence(load(config), silence, login_name())
    say(f"{over.id[-SHORT:]} is over: {over.takes} is told again")


def seconds_of(text: str, option: str = "--for") -> int:
    """Return a length of time in seconds. Raises BadParameter, which says what would be one."""
    found = re.fullmatch(r"([0-9]{1,9})([smhdw])", text.strip().lower())
    if not found or not int(found[1]):
        raise typer.BadParameter(
            "give a whole number above 0 and its unit: s, m, h, d or w, like 2h", param_hint=f"'{option}'"
        )
    return int(found[1]) * _SECONDS[found[2]]


def _takes(silence: SilenceAnswer) -> str:
    said = f"{silence.takes}, by {silence.author}"
    return f"{said}: {silence.comment}" if silence.comment else said
