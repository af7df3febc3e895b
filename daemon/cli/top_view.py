"""What `presage top` shows: facts as lines of text, in one column on a small terminal and in two on a wide one.

Enters: facts, what was picked, and how many columns and rows there are. Leaves: exactly that many lines. It knows no
terminal and asks nobody; where rows are short, the less important parts shrink first. ASCII where the terminal is.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

from alerting.render import amount
from daemon.api import AlertAnswer
from daemon.cli.alerts import SHORT, choose
from daemon.cli.forecast import grave, percent_used, told_chances, when_full
from daemon.cli.status import SEVERITIES, percent, span, standing
from daemon.cli.terminal import printable
from daemon.cli.top_facts import HOUR_SECONDS, Facts, Unusual
from daemon.forecast_answers import ForecastAnswer

_WIDE = 132  # columns from which there are two
_GAP = 3
_LABEL = 7
_STALE = 3  # intervals
_BLOCKS, _PLAIN_BLOCKS = "▁▂▃▄▅▆▇█", ".:-=+*%#"
_BAR = 10
_BARS_FROM = 60  # columns
_RESOURCES = 8
_CRITICAL, _WARNED = "bold red", "yellow"
_DRIFT = {"warning": _WARNED, "critical": _CRITICAL}
_HIGH, _RAISED = 0.5, 0.3
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
    """A part of the screen: a heading and lines, of which `least` are kept however small it is."""

    heading: str
    lines: Sequence[Text]
    least: int


def open_alerts(facts: Facts) -> list[AlertAnswer]:
    """Return what is wrong now, in the order in which it is shown."""
    return [] if facts.status is None else choose(list(facts.status.alerts), records=False)


def draw(facts: Facts, view: View, columns: int, rows: int, now: datetime) -> list[Text]:
    """Return the whole screen."""
    head = [_header(facts, view, columns, now), *_score(facts, view, columns, now)]
    foot = _footer(view, columns)
    room = rows - len(head) - 1
    if columns >= _WIDE:
        half = (columns - _GAP) // 2
        left = _fitted([_alerts(facts, view, half, now), _signals(facts, half)], room, half, view)
        other = columns - half - _GAP
        right = _fitted(
            [_resources(facts, view, other), _brief(facts, other, now), _changes(facts, other)], room, other, view
        )
        body = [_beside(one, two, half) for one, two in zip(left, right, strict=True)]
    else:
        body = _fitted(
            [
                _alerts(facts, view, columns, now),
                _signals(facts, columns),
                _resources(facts, view, columns),
                _brief(facts, columns, now),
                _changes(facts, columns),
            ],
            room,
            columns,
            view,
        )
    return [_last(line, columns, view) for line in (*[*head, *body][: rows - 1], foot)]


def _last(line: Text, columns: int, view: View) -> Text:
    """Return a line that surely fits, and is ASCII where that is all there is but for names."""
    line = _cut(line, columns)
    if view.plain:
        line.plain = line.plain.replace("…", "~")
    return line


def _fitted(blocks: list[Block], room: int, columns: int, view: View) -> list[Text]:
    """Return exactly `room` lines: the last blocks shrink first, and each keeps its least."""
    counts = [len(block.lines) for block in blocks]
    for shrink_to in ([block.least for block in blocks], [0] * len(blocks)):
        for place in reversed(range(len(blocks))):
            over = sum(count + 1 for count in counts if count) - room
            if over <= 0:
                break
            counts[place] = max(min(shrink_to[place], counts[place]), counts[place] - over)
    out: list[Text] = []
    for block, count in zip(blocks, counts, strict=True):
        if count:
            out += [_heading(block, count, columns, view), *block.lines[:count]]
    out = out[:room]
    return out + [Text("")] * (room - len(out))


def _heading(block: Block, count: int, columns: int, view: View) -> Text:
    line = "-" if view.plain else "─"
    more = len(block.lines) - count
    said = f"{line}{line} {block.heading}{f' ({more} more)' if more > 0 and block.least else ''} "
    return Text(said + line * max(0, columns - len(said)), "dim")


def _beside(left: Text, right: Text, width: int) -> Text:
    out = _cut(left, width)
    out.append(" " * (width - out.cell_len + _GAP), "default")
    return out.append_text(right)


def _cut(text: Text, width: int, *, plain: bool = True) -> Text:
    out = text.copy()
    out.truncate(width, overflow="crop" if plain else "ellipsis")
    return out


def _header(facts: Facts, view: View, columns: int, now: datetime) -> Text:
    status = facts.status
    left = " presage top"
    if status is not None:
        up = span((now - datetime.fromisoformat(status.started_at)).total_seconds())
        size = f"{status.host.cpus:g} CPUs, {status.host.memory_bytes / 2**30:.1f} GiB"
        left += printable(f"  {status.host.name}  {size}, presaged {status.version} up {up}")
    right = f"  {'PAUSED  ' if view.paused else ''}{now.astimezone():%H:%M:%S} "
    room = max(0, columns - len(right))
    return Text(f"{left[:room]:<{room}}{right}"[:columns], "reverse bold")


def _score(facts: Facts, view: View, columns: int, now: datetime) -> Iterator[Text]:
    """Yield the score with its last hour, and what hinders it or that nothing answers."""
    status = facts.status
    if facts.problem:
        age = f" ({span(max(0.0, now.timestamp() - facts.at))} old)" if facts.at else ""
        yield Text(printable(f"no answer{age}: {facts.problem}; asking again")[:columns], _CRITICAL)
    if status is None:
        if not facts.problem:
            yield Text("asking presaged ...", "dim")
        return
    anomaly = status.anomaly
    if anomaly is None or anomaly.score is None:
        line = Text(f"{'score':<{_LABEL}}").append("none yet", "dim")
    else:
        over = anomaly.score >= anomaly.score_threshold
        line = Text(f"{'score':<{_LABEL}}")
        line.append(f"{anomaly.score:.2f}", "bold red" if over else "bold green")
        line.append(f" {'is over' if over else 'of'} {anomaly.score_threshold:.2f} ")
    line.append(" last hour ", "dim")
    room = columns - line.cell_len
    threshold = anomaly.score_threshold if anomaly is not None else 1.0
    yield line.append_text(spark(facts.scores, threshold, room, now.timestamp(), plain=view.plain))
    last = status.last_sample_at
    late = None if last is None else max(0.0, (now - datetime.fromisoformat(last)).total_seconds())
    words = []
    if late is not None and late > _STALE * status.interval_seconds + 1 and not facts.problem:
        yield Text(
            f"the last sample is {span(late)} old, and one is due every {status.interval_seconds:g} s", _CRITICAL
        )
    if anomaly is not None and anomaly.learning:
        words.append(anomaly.learning)
    words += [f"{one.name}: {one.problem}" for one in status.collectors if one.problem and not one.absent]
    if words:
        yield _ellipsis(Text(printable("; ".join(words)), "cyan"), columns)


def spark(scores: Sequence[tuple[float, float]], threshold: float, width: int, now: float, *, plain: bool) -> Text:
    """Return the last hour as a line of `width` columns, the worst of each; red where it was over the threshold."""
    blocks = _PLAIN_BLOCKS if plain else _BLOCKS
    worst: dict[int, float] = {}
    for at, score in scores:
        column = int((at - now + HOUR_SECONDS) / HOUR_SECONDS * width)
        if 0 <= column <= width:
            column = min(column, width - 1)
            worst[column] = max(score, worst.get(column, 0.0))
    out = Text()
    for column in range(max(0, width)):
        if column not in worst:
            out.append(" ")
            continue
        level = min(len(blocks) - 1, int(max(0.0, worst[column]) * len(blocks)))
        out.append(blocks[level], "bold red" if worst[column] >= threshold else "green")
    return out


def _alerts(facts: Facts, view: View, columns: int, now: datetime) -> Block:
    alerts = open_alerts(facts)
    if facts.status is None:
        return Block("wrong now", [Text("")], 1)
    if not alerts:
        return Block("wrong now", [Text(f"  {_NONE}", "green")], 1)
    lines: list[Text] = []
    for alert in alerts:
        lines += _alert(alert, alert.occurrence == view.picked, columns, now, view)
    return Block("wrong now, and who did it", lines, min(len(lines), 4))


def _alert(alert: AlertAnswer, picked: bool, columns: int, now: datetime, view: View) -> Iterator[Text]:
    """Yield the alert's name with its age, then its sentence: in full where it is picked."""
    since = datetime.fromisoformat(alert.fired_at or alert.started_at or now.isoformat())
    short = alert.occurrence[-SHORT:]
    right = f" {alert.state} {span(max(0.0, (now - since).total_seconds()))}  {short}"
    mark = (">" if view.plain else "▸") if picked else " "
    style = SEVERITIES.get(alert.severity, "bold")
    head = Text(f"{mark} {alert.severity:<8} ", style)
    head.append(printable(f"{alert.alertname} {alert.resource}".strip()))
    head = _ellipsis(head, columns - len(right))
    head.append(" " * max(0, columns - len(right) - head.cell_len)).append(right, "not bold default")
    if picked:
        head.stylize("reverse")
    yield head
    sentence = alert.sentence.partition(": ")[2] or alert.sentence
    held = "; ".join(standing(alert)) if alert.held or alert.acknowledged_by else ""
    told = Text(printable(f"{held}: ") if held else "", "cyan").append(printable(sentence), "default")
    for line in _wrapped(told, columns - 2)[: 3 if picked else 1]:
        yield Text("  ").append_text(line)


def _signals(facts: Facts, columns: int) -> Block:
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
    line = _ellipsis(Text(f"  {printable(one.signal)}"), width + 2)
    line.append(" " * (width + 2 - line.cell_len)).append(f" {now:>10}", "bold").append(f"  {span_of:<20}")
    line.append(f"  {one.odd}" if one.share is None else f" {one.share:4.0%}", "yellow" if one.odd else "dim")
    return _ellipsis(line, columns)


def _resources(facts: Facts, view: View, columns: int) -> Block:
    if facts.forecasts is None:
        return Block("resources", [Text("")] if facts.status else [], 1)
    shown = facts.forecasts[:_RESOURCES]
    width = min(max((len(one.resource) for one in shown), default=0), max(10, columns // 4))
    lines = [_resource(one, width, columns, view) for one in shown]
    return Block("resources, and when they are full", lines or [Text("  none is known yet", "dim")], 2)


def _resource(one: ForecastAnswer, width: int, columns: int, view: View) -> Text:
    style = grave(one)
    line = _ellipsis(Text(f"  {printable(one.resource)}"), width + 2)
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
    return _ellipsis(line, columns)


def _bar(share: float, width: int, style: str, view: View) -> Text:
    full, empty = ("#", ".") if view.plain else ("━", "─")
    reached = round(min(max(share, 0.0), 1.0) * width)
    return Text(full * reached, style).append(empty * (width - reached), "dim")


def _brief(facts: Facts, columns: int, now: datetime) -> Block:
    """Return a line each: risk, drift, models, the child's job, what was sent."""
    if facts.status is None:
        return Block("", [], 0)
    rows = [("risk", _risk(facts)), ("drift", _drift(facts)), ("model", _model(facts, now))]
    job = facts.status.job
    if job is not None:
        rows.append(("job", Text(printable(f"{job.name} {job.share:.0%}, {job.text}"), "cyan")))
    rows.append(("sent", _sent(facts)))
    lines = [_ellipsis(Text(f"  {label:<{_LABEL}}", "bold").append_text(text), columns) for label, text in rows]
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


def _changes(facts: Facts, columns: int) -> Block:
    if facts.changes is None:
        return Block("changes", [], 0)
    lines = []
    for one in facts.changes:
        at = datetime.fromisoformat(one.at).astimezone()
        lines.append(
            _ellipsis(
                Text(f"  {at:%d %b %H:%M}  ", "dim").append(printable(f"{one.kind}: {one.text}"), "not dim"), columns
            )
        )
    return Block("last changes", lines or [Text("  none seen yet", "dim")], 1)


def _footer(view: View, columns: int) -> Text:
    if view.asked or view.said:
        return _ellipsis(Text(printable(view.asked or view.said), "bold"), columns)
    arrows = "up/down" if view.plain else "↑↓"
    keys = (("q", "quit"), ("p", "go on" if view.paused else "pause"), (arrows, "pick"), ("e", "explain"), ("a", "ack"))
    line = Text()
    for key, what in (*keys, ("f", "feedback"), ("s", "silence"), ("?", "help")):
        line.append(key, "bold reverse").append(f" {what}  ")
    return _cut(line, columns)


def _ellipsis(text: Text, width: int) -> Text:
    return _cut(text, max(1, width), plain=False)


def _wrapped(text: Text, width: int) -> list[Text]:
    return list(text.wrap(Console(width=max(10, width)), max(10, width), overflow="fold"))


def paragraphs(rows: Iterable[tuple[str, Text]], label: int, columns: int) -> list[Text]:
    """Return labelled rows as lines of at most `columns`, for a screen of its own."""
    out = []
    for name, text in rows:
        for place, line in enumerate(_wrapped(text, columns - label - 1)):
            out.append(Text(f"{name if not place else '':<{label}} ", "bold").append_text(line))
    return out


def now_utc() -> datetime:
    """Return this moment."""
    return datetime.now(UTC)
