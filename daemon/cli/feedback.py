"""`presage feedback`: an operator's word on an alert, what it changes, and what all such words change now.

Enters: an alert and a word. Leaves: what is other than before, a line each; without an alert, a listing or JSON.
"""

import json
from enum import StrEnum
from typing import Annotated

import typer
from rich.text import Text

from alerting.verdict import Recurrence, VerdictKind
from daemon.cli import client, completion
from daemon.cli.alerts import SHORT, login_name
from daemon.cli.configuration import ConfigOption
from daemon.cli.status import when
from daemon.cli.terminal import console, print_json, print_table, printable, say
from daemon.config import Loaded, load
from daemon.web.alert_answers import FeedbackAnswer, JudgedAnswer


class Word(StrEnum):
    """What can be said of an alert."""

    REAL = "real"
    FALSE = "false"
    EXPECTED = "expected"
    UNDO = "undo"


class Every(StrEnum):
    """How often what is expected comes again."""

    DAY = "day"
    WEEK = "week"


def feedback(
    *,
    alert: Annotated[
        str,
        typer.Argument(
            metavar="ALERT", help='End of its id, 4 letters or more, or "latest".', autocompletion=completion.alerts
        ),
    ] = "",
    verdict: Annotated[
        Word | None, typer.Argument(metavar="VERDICT", help="What it was; undo takes the newest word back.")
    ] = None,
    every: Annotated[Every | None, typer.Option(help="Expected again at this hour.")] = None,
    config: ConfigOption = None,
    comment: Annotated[str, typer.Option(metavar="TEXT", help="Why, in one line.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="The same as undo.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The daemon's answer as JSON.")] = False,
) -> None:
    """Say whether an alert was real, false, or expected; without an alert, list what such words change now.

    false: anomalies must be a little stronger, for 28 days. expected: what is like it raises no alarm for a while.
    real: its samples are never learned from.
    """
    if not alert:
        _show(load(config), as_json=as_json)
        return
    if undo:
        if verdict is not None:
            raise typer.BadParameter("give real, false or expected, or else --undo", param_hint="'VERDICT'")
        verdict = Word.UNDO
    if verdict is None:
        raise typer.BadParameter("give real, false or expected, or else undo", param_hint="'VERDICT'")
    if every is not None and verdict is not Word.EXPECTED:
        raise typer.BadParameter("goes with expected only", param_hint="'--every'")
    loaded, author = load(config), login_name()
    if verdict is Word.UNDO:
        answer = client.undo_feedback(loaded, alert, author)
    else:
        again = (every or Recurrence.NONE).value
        answer = client.give_feedback(loaded, alert, verdict.value, author, comment=comment, every=again)
    if as_json:
        print_json(console(), answer.model_dump(mode="json"))
        return
    said = _taken_back(answer) if verdict is Word.UNDO else _kept(answer, VerdictKind(verdict.value))
    for line in (said, *answer.changed):
        say(line)


def _kept(answer: FeedbackAnswer, verdict: VerdictKind) -> str:
    short = answer.occurrence[-SHORT:]
    return f"{short} is kept as {verdict.value}; `presage feedback {short} undo` takes it back"


def _taken_back(answer: FeedbackAnswer) -> str:
    counts = answer.verdict
    left = f"what counts is {counts.verdict}, by {counts.author}" if counts else "none counts"
    return f"{answer.occurrence[-SHORT:]}: the verdict is taken back; {left}"


def _show(loaded: Loaded, *, as_json: bool) -> None:
    answer, body = client.fetch_verdicts(loaded)
    out = console()
    if as_json:
        print_json(out, json.loads(body))
        return
    print_table(
        out,
        ("alert", "verdict", "what it changes"),
        [
            (Text(one.occurrence[-SHORT:], "bold"), Text(one.verdict), Text(printable(_changing(one))))
            for one in answer.verdicts
        ],
    )
    if answer.threshold:
        out.print(Text(printable(answer.threshold), "cyan"), soft_wrap=not out.is_terminal)
    if not answer.verdicts:
        out.print("none: no verdict changes anything now")


def _changing(judged: JudgedAnswer) -> str:
    said = f"by {judged.author}, {when(judged.at)}"
    said += f": {judged.comment}" if judged.comment else ""
    return f"{said}: {judged.effect}"
