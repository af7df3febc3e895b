"""The parts of the screen of `presage top`: what is wrong, what is unusual, resources, what comes, what changed.

Enters: facts, how they are looked at, and how many columns there are. Leaves: blocks of lines. How many of them are
shown is for `top_view` to say.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.console import Console
from rich.text import Text

from alerting.render import amount
from daemon.cli.alerts import SHORT, choose
from daemon.cli.chart import Past, chart
from daemon.cli.forecast import grave, percent_used, told_chances, when_full
from daemon.cli.status import SEVERITIES, percent, span, standing
from daemon.cli.terminal import printable
from daemon.cli.top_facts import HOUR_SECONDS, Facts, Unusual
from daemon.web.api import AlertAnswer
from daemon.web.forecast_answers import ForecastAnswer
from detectors.findings import Unit

_LABEL = 7
_PICTURE_ROWS = 8
_LEAST_STEP_SECONDS = 30.0  # between two scores of the picture
_BAR = 10
_BARS_FROM = 60  # columns
_RESOURCES = 8
_CRITICAL, _WARNED = "bold red", "yellow"
_DRIFT = {"warning": _WARNED, "critical": _CRITICAL}
_HIGH, _RAISED = 0.5, 0.3
_TOLD, _TOLD_ALONE = 2, 4  # lines of the sentence of the alert that is picked
_NONE = "nothing is wrong"


@dataclass(frozen=True, slots=True)
class View:
    """How it is looked at. `picked`: the id of an alert; `said`: the answer to the last key, shown below."""

    picked: str = ""
    paused: bool = False
    said: str = ""
    asked: str = ""
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """A part of the screen: a heading and lines, of which `least` are kept; each is one thing where it `counts`.

    One that is `whole` is shown with all its lines or not at all.
    """

    heading: str
    lines: Sequence[Text]
    least: int
    counts: bool = True
    whole: bool = False


def open_alerts(facts: Facts) -> list[AlertAnswer]:
    """Return what is wrong now, in the order in which it is shown."""
    return [] if facts.status is None else choose(list(facts.status.alerts), records=False)


def cut(text: Text, width: int, *, plain: bool = True) -> Text:
    """Return a text of at most `width` columns; where it is not `plain`, an ellipsis says that it goes on."""
    out = text.copy()
    out.truncate(width, overflow="crop" if plain else "ellipsis")
    return out


def alerts_block(facts: Facts, view: View, columns: int, now: datetime) -> Block:
    """Return what is wrong now, each alert with its age and its sentence."""
    alerts = open_alerts(facts)
    if facts.status is None:
        return Block("wrong now", [Text("")], 1)
    if not alerts:
        return Block("wrong now", [Text(f"  {_NONE}", "green")], 1)
    picked = next((place for place, one in enumerate(alerts) if one.occurrence == view.picked), 0)
    lines: list[Text] = []
    for alert in alerts[max(0, picked - 1) :]:  # the one that is picked is in sight, however small the screen is
        told = 1 if alert.occurrence != view.picked else _TOLD_ALONE if len(alerts) == 1 else _TOLD
        lines += _alert(alert, told, columns, now, view)
    return Block(f"wrong now: {len(alerts)}, and who did it", lines, min(len(lines), 2 + 1 + _TOLD), counts=False)


def _alert(alert: AlertAnswer, told: int, columns: int, now: datetime, view: View) -> Iterator[Text]:
    """Yield the alert's name with its age, then `told` lines of its sentence."""
    picked = alert.occurrence == view.picked
    since = datetime.fromisoformat(alert.fired_at or alert.started_at or now.isoformat())
    short = alert.occurrence[-SHORT:]
    right = f" {alert.state} {span(max(0.0, (now - since).total_seconds()))}  {short}"
    mark = (">" if view.plain else "▸") if picked else " "
    style = SEVERITIES.get(alert.severity, "bold")
    head = Text(f"{mark} {alert.severity:<8} ", style)
    head.append(printable(f"{alert.alertname} {alert.resource}".strip()))
    head = ellipsis(head, columns - len(right))
    head.append(" " * max(0, columns - len(right) - head.cell_len)).append(right, "not bold default")
    if picked:
        head.stylize("reverse")
    yield head
    sentence = alert.sentence.partition(": ")[2] or alert.sentence
    held = "; ".join(standing(alert)) if alert.held or alert.acknowledged_by else ""
    text = Text(printable(f"{held}: ") if held else "", "cyan").append(printable(sentence), "default")
    for line in wrapped(text, columns - 2)[:told]:
        yield Text("  ").append_text(line)


def signals_block(facts: Facts, columns: int) -> Block:
    """Return what is most unusual, with its usual range where it is known, else with that of the last day."""
    if facts.status is None:
        return Block("most unusual", [], 1)
    if not facts.unusual:
        return Block("most unusual", [Text("  no score yet", "dim")], 1)
    width = min(max(len(one.signal) for one in facts.unusual), max(12, columns - 46))
    lines = [_unusual(one, width, columns) for one in facts.unusual]
    usual = "now, and usually" if facts.unusual[0].expected else "now, in the last day, share of the score"
    return Block(f"most unusual: {usual}", lines, min(3, len(lines)))


def _unusual(one: Unusual, width: int, columns: int) -> Text:
    now, low, high = ("" if value is None else amount(value, one.unit) for value in (one.value, one.low, one.high))
    span_of = f"{low} to {high}" if low and high and low != high else low
    line = ellipsis(Text(f"  {printable(one.signal)}"), width + 2)
    line.append(" " * (width + 2 - line.cell_len)).append(f" {now:>10}", "bold").append(f"  {span_of:<20}")
    line.append(f"  {one.odd}" if one.share is None else f" {one.share:4.0%}", "yellow" if one.odd else "dim")
    return ellipsis(line, columns)


def resources_block(facts: Facts, view: View, columns: int) -> Block:
    """Return the resources, the most endangered first."""
    if facts.forecasts is None:
        return Block("resources", [Text("")] if facts.status else [], 1)
    shown = facts.forecasts[:_RESOURCES]
    width = min(max((len(one.resource) for one in shown), default=0), max(10, columns // 4))
    lines = [_resource(one, width, columns, view) for one in shown]
    return Block("resources, and when they are full", lines or [Text("  none is known yet", "dim")], 2)


def _resource(one: ForecastAnswer, width: int, columns: int, view: View) -> Text:
    style = grave(one)
    line = ellipsis(Text(f"  {printable(one.resource)}"), width + 2)
    line.append(" " * (width + 2 - line.cell_len) + " ")
    if columns >= _BARS_FROM:
        line.append_text(_bar(one.used_ratio, _BAR, style if style not in {"", "dim"} else "green", view)).append(" ")
    line.append(f"{percent_used(one.used_ratio):>5}  ")
    line.append(printable(when_full(one)), style)
    chances = told_chances(one)
    soon = [
        f"{percent_used(chances[within])} in {within[:-1]} {within[-1]}"
        for within in ("24h", "7d")
        if chances.get(within)
    ]
    if soon:
        line.append(f"  ({', '.join(soon)})", "dim")
    return ellipsis(line, columns)


def _bar(share: float, width: int, style: str, view: View) -> Text:
    full, empty = ("#", ".") if view.plain else ("━", "─")
    reached = round(min(max(share, 0.0), 1.0) * width)
    return Text(full * reached, style).append(empty * (width - reached), "dim")


def past_block(facts: Facts, view: View, columns: int, now: datetime) -> Block:
    """Return the score of the last hour as a picture, where there is room for one."""
    anomaly = None if facts.status is None else facts.status.anomaly
    if anomaly is None or not facts.scores:
        return Block("", [], 0)
    step_ms = 2000.0 * max(facts.status.interval_seconds if facts.status else 0.0, _LEAST_STEP_SECONDS / 2)
    end_ms = round(now.timestamp() * 1000)
    values = [score for _, score in facts.scores]
    past = Past(
        times_ms=[round(at * 1000) for at, _ in facts.scores],
        mean=values,
        least=values,
        most=values,
        unit=Unit.RATIO,
        from_ms=end_ms - round(HOUR_SECONDS * 1000),
        to_ms=end_ms,
        step_ms=step_ms,
        threshold=anomaly.score_threshold,
    )
    lines = chart(past, columns, _PICTURE_ROWS, plain=view.plain)
    return Block("the score of the last hour, and its threshold", lines, len(lines), counts=False, whole=True)


def brief_block(facts: Facts, columns: int, now: datetime) -> Block:
    """Return a line each: risk, drift, models, the child's job, what was sent."""
    if facts.status is None:
        return Block("", [], 0)
    rows = [("risk", _risk(facts)), ("drift", _drift(facts)), ("model", _model(facts, now))]
    job = facts.status.job
    if job is not None:
        rows.append(("job", Text(printable(f"{job.name} {job.share:.0%}, {job.text}"), "cyan")))
    rows.append(("sent", _sent(facts)))
    lines = [ellipsis(Text().append(f"  {label:<{_LABEL}}", "bold").append_text(text), columns) for label, text in rows]
    return Block("ahead, and within", lines, len(lines))


def _risk(facts: Facts) -> Text:
    risk = facts.risk
    if risk is None:
        return Text("")
    if risk.within_1h is None or risk.within_24h is None:
        return Text(f"none told: {risk.missing}", "dim")
    hour, day = risk.within_1h.probability, risk.within_24h.probability
    worst = max(hour, day)
    style = _CRITICAL if worst >= _HIGH else _WARNED if worst >= _RAISED else "green"
    text = Text(f"{percent(hour)} within 1 h, {percent(day)} within 24 h", style)
    return text.append(printable(f": {risk.reasons[0].text}") if risk.reasons else "", "not bold default")


def _drift(facts: Facts) -> Text:
    drift = facts.drift
    if drift is None:
        return Text("")
    if drift.score is None:
        return Text(printable(f"{drift.state}: {drift.missing}"), "dim")
    text = Text(f"{drift.state}, {drift.drifted} of {drift.judged} signals", _DRIFT.get(drift.state, "green"))
    farthest = ", ".join(one.signal for one in drift.examples[:2])
    return text.append(printable(f": {farthest}") if farthest else "", "not bold default")


def _model(facts: Facts, now: datetime) -> Text:
    if facts.models is None:
        return Text("")
    champion = next((one for one in facts.models.models if one.state == "champion"), None)
    if champion is None:
        anomaly = facts.status.anomaly if facts.status else None
        return Text(f"{anomaly.model}, not trained here yet" if anomaly and anomaly.model else "none yet", "dim")
    text = Text(champion.id)
    if champion.trained_at:
        text.append(f", trained {span((now - datetime.fromisoformat(champion.trained_at)).total_seconds())} ago")
    if facts.models.retention is not None:
        text.append(f", retention {facts.models.retention:.2f}")
    trying = [one.id for one in facts.models.models if one.state in {"shadow", "challenger"}]
    return text.append(f"; in shadow: {', '.join(trying)}" if trying else "")


def _sent(facts: Facts) -> Text:
    sinks = facts.status.sinks if facts.status else []
    if not sinks:
        return Text("no sink: alerts are kept and shown, not sent", "dim")
    text = Text()
    if facts.sent is not None:
        sent = facts.sent
        some = "more than " if sent.partly else ""
        text.append(f"{some}{sent.alerts} alert{'s' if sent.alerts != 1 else ''} in 30 days")
        judged = [
            f"{n} {word}" for n, word in ((sent.real, "real"), (sent.false, "false"), (sent.expected, "expected")) if n
        ]
        if judged:
            text.append(f" ({', '.join(judged)})")
    bad = [f"{one.name}: {one.failed} failed, {one.pending} waiting" for one in sinks if one.failed or one.pending]
    return text.append(printable(f"; {'; '.join(bad)}") if bad else "", _WARNED)


def changes_block(facts: Facts, columns: int) -> Block:
    """Return what was done to the host, the newest first."""
    if facts.changes is None:
        return Block("changes", [], 0)
    lines = []
    for one in facts.changes:
        at = datetime.fromisoformat(one.at).astimezone()
        lines.append(
            ellipsis(
                Text(f"  {at:%d %b %H:%M}  ", "dim").append(printable(f"{one.kind}: {one.text}"), "not dim"), columns
            )
        )
    return Block("last changes", lines or [Text("  none seen yet", "dim")], 1)


def ellipsis(text: Text, width: int) -> Text:
    """Return a text of at most `width` columns, with a sign where it goes on."""
    return cut(text, max(1, width), plain=False)


def wrapped(text: Text, width: int) -> list[Text]:
    """Return a text as lines of at most `width` columns."""
    return list(text.wrap(Console(width=max(10, width)), max(10, width), overflow="fold"))


def paragraphs(rows: Iterable[tuple[str, Text]], label: int, columns: int) -> list[Text]:
    """Return labelled rows as lines of at most `columns`, for a screen of its own."""
    out = []
    for name, text in rows:
        for place, line in enumerate(wrapped(text, columns - label - 1)):
            out.append(Text().append(f"{'' if place else name:<{label}} ", "bold").append_text(line))
    return out
