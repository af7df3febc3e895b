"""`presage risk`: how likely this host fails within an hour and a day, what raises that, and on what evidence.

Enters: the daemon's answer. Leaves: labelled rows of 80 columns, or JSON. Where there is not enough evidence it says
what is missing, and no number.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from daemon.cli.client import fetch_risk
from daemon.cli.configuration import ConfigOption
from daemon.cli.status import percent
from daemon.cli.terminal import print_json, print_rows, printable
from daemon.cli.watching import SELDOM, WatchOption, shown
from daemon.config import load
from daemon.risk.answers import ErrorAnswer, GradeAnswer, ProbabilityAnswer, ReasonAnswer, RiskAnswer

Row = tuple[str, Text]

_LABEL = 11
_HIGH, _RAISED = 0.5, 0.3


def show_risk(
    config: ConfigOption = None,
    watch: WatchOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="The daemon's answer as JSON.")] = False,
) -> None:
    """Show how likely this host fails within an hour and a day, and what raises that.

    A failure is what `presage failures` records.
    """
    loaded = load(config)

    def show(out: Console) -> None:
        answer, body = fetch_risk(loaded)
        if as_json:
            print_json(out, json.loads(body))
        else:
            print_rows(out, rows(answer), _LABEL)

    shown(show, watch=watch, seconds=SELDOM)


def rows(answer: RiskAnswer) -> Iterator[Row]:
    """Yield every row of an answer."""
    if answer.within_1h is None or answer.within_24h is None:
        yield "risk", Text(printable(f"none told: {answer.missing}"), "cyan")
    else:
        yield "within 1 h", _chance(answer.within_1h)
        yield "within 24 h", _chance(answer.within_24h)
        yield from _reasons(answer.reasons)
    yield "evidence", Text(f"{answer.factors} of {answer.of_factors} factors are there")
    if answer.basis:
        yield "basis", Text(printable(answer.basis))
    if answer.grade is not None:
        yield "graded", Text(printable(_graded(answer.grade)))
    if answer.refinement is not None:
        yield "refinement", Text(printable(f"{_local(answer.refinement.at)} {answer.refinement.text}"))
    for place, one in enumerate(answer.errors):
        yield "" if place else "errors", _error(one)


def _graded(one: GradeAnswer) -> str:
    """Return how well it came true; 0.5 is what the base rate alone would reach."""
    if one.performance is None:
        return f"not known: {one.text}"
    first = "" if one.baseline is None else f", {one.baseline:.2f} at first"
    return f"{one.performance:.2f} ({one.text}; the base rate 0.50{first}{'; degraded' if one.degraded else ''})"


def _chance(one: ProbabilityAnswer) -> Text:
    style = "bold red" if one.probability >= _HIGH else "yellow" if one.probability >= _RAISED else "green"
    text = Text(percent(one.probability), style)
    return text.append(f" (80 %: {percent(one.lo80)} to {percent(one.hi80)})", "not bold default")


def _reasons(reasons: list[ReasonAnswer]) -> Iterator[Row]:
    """Yield what raises the risk, with its share of all that does; capacity's word has none."""
    for place, one in enumerate(reasons):
        share = f"{percent(one.share)}: " if one.share is not None else ""
        yield "" if place else "due to", Text(printable(f"{share}{one.text}"))
    if not reasons:
        yield "due to", Text("nothing stands out", "dim")


def _local(at: str) -> str:
    return datetime.fromisoformat(at).astimezone().strftime("%Y-%m-%d %H:%M")


def _error(one: ErrorAnswer) -> Text:
    times = f", {one.times} times" if one.times > 1 else ""
    return Text(printable(f"{_local(one.at)} {one.speaker} {one.family} ({one.severity}{times}): {one.text}"))
