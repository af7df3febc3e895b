"""`presage explain`: all that is known of one alert on one screen, and the commands to go on with.

Enters: the daemon's answer. Leaves: labelled rows of 80 columns, or JSON. It judges nothing: what is unusual, and who
is to blame, the daemon has found out when the alert fired or was at its worst.
"""

import json
import math
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

from alerting.render import amount, duration
from daemon.cli.alerts import SHORT, AlertArgument
from daemon.cli.client import fetch_alert
from daemon.cli.completion import LATEST
from daemon.cli.configuration import ConfigOption
from daemon.cli.status import SEVERITIES, standing, when
from daemon.cli.terminal import console, print_json, print_rows, printable
from daemon.config import load
from daemon.web.alert_answers import AlertDetail, ContributorAnswer, CulpritAnswer, DeliveryAnswer, VictimAnswer
from detectors.findings import Resource, Unit

Row = tuple[str, Text]

_LABEL = 10
_CAPACITY = "capacity"  # the network whose alerts have a forecast behind them
_PLAIN_RATIO = 2.0  # beyond it percent would mislead, as in the sentence
_HEADINGS = ("signal", "now", "usually", "what is unusual", "network")
ODD = {
    "above": "too high",
    "below": "too low",
    "rising": "rising",
    "falling": "falling",
    "changeable": "changing too much",
    "flat": "changing too little",
    "apart": "out of step with others",
}
_ENDS = {"delivered": "taken", "dead": "given up", "pending": "waiting"}


def explain(
    alert: AlertArgument = LATEST,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The daemon's answer as JSON.")] = False,
) -> None:
    """Show all about one alert: why it fired, who was told, and what to do next."""
    detail, body = fetch_alert(load(config), alert)
    if as_json:
        print_json(console(), json.loads(body))
    else:
        out = console()
        print_rows(out, rows(detail, datetime.now(UTC), out.width - _LABEL - 1 if out.is_terminal else None), _LABEL)


def rows(alert: AlertDetail, now: datetime, columns: int | None = None) -> Iterator[Row]:
    """Yield every row about an alert as of `now`, the texts for so many columns, None = any number."""
    name = printable(f"{alert.alertname} {alert.resource}".strip())
    head = Text(name, SEVERITIES.get(alert.severity, "bold"))
    yield "alert", head.append(f" ({alert.severity}), {alert.state}", "not bold default")
    yield "", Text(printable(alert.sentence))
    if alert.meaning:
        yield "meaning", Text(printable(alert.meaning), "dim")
    yield "when", Text("; ".join(_times(alert, now)))
    if alert.state == "pending":
        yield "told", Text("nobody yet: it must hold for a while first")
    else:
        yield "told", Text(printable("; ".join(standing(alert))), "cyan" if alert.held else "")
    yield from _listed("", [_delivery(one) for one in alert.deliveries])
    yield from _signals(alert.contributors, columns)
    yield from _listed("takes most", [_culprit(who) for who in alert.culprits])
    yield from _listed("waits", [_victim(who) for who in alert.victims])
    if alert.change is not None:
        yield "before it", Text(printable(f"{when(alert.change.at)}: {alert.change.text} ({alert.change.kind})"))
    if alert.precedent is not None:
        before = alert.precedent
        lasted = "" if before.lasted_seconds is None else f", for {duration(before.lasted_seconds)}"
        yield "like it", Text(f"{when(before.started_at)}{lasted}: {before.occurrence[-SHORT:]}")
    for verdict in alert.verdicts:
        said = f"{verdict.verdict}, by {verdict.author}, {when(verdict.at)}"
        said += f": {verdict.comment}" if verdict.comment else ""
        yield "verdict", Text(printable(said + (" (taken back)" if verdict.undone_at else "")))
        if verdict.effect:
            yield "", Text(printable(verdict.effect), "cyan")
    for silence in alert.silences:
        said = f"{silence.id[-SHORT:]} by {silence.author} until {when(silence.ends_at)}"
        yield "silence", Text(printable(said + (f": {silence.comment}" if silence.comment else "")))
    yield "id", Text(f"{alert.occurrence}", "dim")
    yield from _listed("next", list(_commands(alert)))


def _times(alert: AlertDetail, now: datetime) -> Iterator[str]:
    if alert.started_at is None:
        return
    began = datetime.fromisoformat(alert.started_at)
    end = now if alert.resolved_at is None else datetime.fromisoformat(alert.resolved_at)
    yield f"began {when(alert.started_at)}"
    if alert.fired_at is not None:
        yield f"fired {when(alert.fired_at)}"
    lasted = duration(float(round(max(0.0, (end - began).total_seconds()))))
    yield f"lasts {lasted}" if alert.resolved_at is None else f"over {when(alert.resolved_at)} after {lasted}"
    if alert.firings > 1:
        yield f"fired {alert.firings} times within the hour"


def _listed(label: str, texts: list[str]) -> Iterator[Row]:
    for number, text in enumerate(texts):
        yield "" if number else label, Text(printable(text))


def _signals(contributors: list[ContributorAnswer], columns: int | None) -> Iterator[Row]:
    """Yield a table: one line a signal, the most surprising first; two lines where one would be too long."""
    lines = [_HEADINGS, *(_signal(part) for part in contributors)]
    if len(lines) == 1:
        return
    if not any(line[-1] for line in lines[1:]):
        lines = [line[:-1] for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    if columns is not None and sum(widths) + 2 * len(widths) - 2 > columns:
        for number, (name, now, usual, odd, *share) in enumerate(lines[1:]):
            said = f"  {now}, usually {usual}{f': {odd}' if odd else ''}{f'; network {share[0]}' if share else ''}"
            yield "" if number else "signals", Text(name, "bold")
            yield "", Text(said)
        return
    for number, line in enumerate(lines):
        text = "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        yield "" if number else "signals", Text(text, "" if number else "dim")


def unit_of(name: str) -> Unit:
    """Return the unit of that name; a newer daemon may know more of them."""
    return Unit.__members__.get(name.upper(), Unit.COUNT)


def _signal(part: ContributorAnswer) -> tuple[str, ...]:
    unit = unit_of(part.unit)
    known = [value for value in (part.value, part.expected_low, part.expected_high) if value is not None]
    plain = any(abs(value) > _PLAIN_RATIO for value in known)
    low, high = (_amount(value, unit, plain=plain) for value in (part.expected_low, part.expected_high))
    usual = (low if low == high else f"{low} to {high}") if low and high else "not known"
    share = "" if part.network_share is None else f"{part.network_share:.0%}"
    now = _amount(part.value, unit, plain=plain) or "unknown"
    return printable(part.signal), now, usual, ODD.get(part.direction or "", ""), share


def _amount(value: float | None, unit: Unit, *, plain: bool) -> str:
    return "" if value is None else amount(value, unit, plain=plain)


def _culprit(who: CulpritAnswer) -> str:
    name = f"{who.unit} ({who.process})" if who.unit and who.process else who.unit or f"process {who.process}"
    said = f"{name}: {_share(who.share)} of the {_resource(who.resource)}{_usually(who.usual_share)}"
    return said if who.times_usual is None else f"{said}, {who.times_usual:.1f} times its usual"


def _victim(who: VictimAnswer) -> str:
    waited_for = _resource(f"{who.waits_for}_wait")
    return f"{who.unit}: {_share(who.share_of_time)} of the time for {waited_for}{_usually(who.usual_share_of_time)}"


def _resource(name: str) -> str:
    """Return how a sentence says it; a newer daemon may know more of them."""
    known = Resource.__members__.get(name.upper())
    return known.value if known is not None else name.replace("_", " ")


def _usually(share: float | None) -> str:
    return "" if share is None else f", usually {_share(share)}"


def _share(share: float | None) -> str:
    return amount(math.nan if share is None else share, Unit.RATIO)


def _delivery(one: DeliveryAnswer) -> str:
    tries = "" if one.attempts == 1 and not one.error else f", {one.attempts} attempts"
    again = " again" if one.reason == "again" else ""
    said = f"{one.sink}: {one.event}{again} {_ENDS.get(one.state, one.state)}{tries}"
    return f"{said}: {one.error}" if one.error and one.state != "delivered" else said


def _commands(alert: AlertDetail) -> Iterator[str]:
    short = alert.occurrence[-SHORT:]
    if alert.state == "firing" and alert.acknowledged_by is None:
        yield f"presage ack {short}"
    if alert.state != "pending":
        yield f"presage feedback {short} real|false|expected"
    if alert.state != "resolved" and not alert.silences:
        about = f" --resource {shlex.quote(printable(alert.resource))}" if alert.resource else ""
        yield f"presage silence add --alert {alert.alertname}{about} --for 2h"
    if alert.precedent is not None:
        yield f"presage explain {alert.precedent.occurrence[-SHORT:]}"
    if alert.network == _CAPACITY:
        yield f"presage forecast {shlex.quote(printable(alert.resource))}"
    yield "presage status"
