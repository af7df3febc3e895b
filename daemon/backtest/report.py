"""How a backtest is told: labelled rows for a terminal of 80 columns, and a document for programs.

Enters: a report. Leaves: rows or JSON values. It computes nothing but words, and prints nothing.
"""

from collections.abc import Callable, Iterator
from datetime import datetime

from rich.text import Text

from alerting.policy import KEPT_WORDS, Kept
from alerting.render import duration, one_line, rfc3339
from daemon.backtest import forecast_words
from daemon.backtest.outcome import AGAIN, BEGAN, ENDED, GRAVITY, Beside, Record, Report, Told, Week
from daemon.backtest.summary import LEAD_SECONDS, make_report

__all__ = ["LABEL", "Report", "headline", "lead_words", "make_report", "rows", "to_json"]

Row = tuple[str, Text]

VERSION = 1
LABEL = 10  # columns of a row's label
SHORT = 6  # letters of an id that are shown, as `presage alerts` does
WHAT_WORDS = {BEGAN: "began", ENDED: "ended", AGAIN: "still", GRAVITY: "graver"}

_KINDS = ((BEGAN, "began"), (AGAIN, "still held"), (GRAVITY, "was graver"), (ENDED, "ended"))
_STYLES = {"critical": "bold red", "warning": "yellow"}
_BAR = 20
_WHOLE_WEEK = 6.9  # days of samples
_COLUMN = 16


def headline(report: Report) -> str:
    """Return the result in one line."""
    if report.from_ms is None:
        return "there is no history to judge yet"
    if not report.judged_days:
        return f"{_days(report.learned_days)} of history were learned from: nothing was judged yet"
    sent, judged = report.judged_notifications, _days(report.judged_days)
    if not sent:
        return f"nothing would have been sent in {judged.replace(' ', ' judged ', 1)}"
    kinds = [f"{counted(sum(one.what == what for one in sent), 'that something ' + said)}" for what, said in _KINDS]
    of_which = ", ".join(text for text in kinds if not text.startswith("0 "))
    many = "1 notification" if len(sent) == 1 else f"{len(sent)} notifications"
    return f"{many} would have been sent in {judged.replace(' ', ' judged ', 1)}: {of_which}"


def lead_words(told: Told) -> str:
    """Return what came of an alert after it was told, "" where this is not its first telling."""
    if told.is_fact:
        return "a fact, harm by itself" if told.what == BEGAN else ""
    if told.lead is None:
        return ""
    if told.lead.seconds is None:
        whole = told.lead.looked_seconds >= LEAD_SECONDS
        return (
            f"nothing followed within {duration(told.lead.looked_seconds)}{'' if whole else ', where the history ends'}"
        )
    apart = duration(abs(told.lead.seconds))
    if told.lead.seconds < 0:
        return f"lead -{apart}: {told.lead.harm} came first"
    return f"lead {apart}: then {told.lead.harm}"


def learning_words(report: Report) -> str:
    """Return what was kept in the learning time, "" where there was none."""
    if not report.learned_days:
        return ""
    facts = sum(one.learning for one in report.notifications)
    text = f"the first {_days(report.learned_days)} were learned from: would have sent {report.would_have_sent}"
    return f"{text}; {counted(facts, 'notification')} of facts went out all the same" if facts else text


def budget_words(report: Report) -> str:
    """Return how many episodes there were against the ceiling."""
    each = f"at most {report.ceiling:g} a week are meant"
    if report.judged_weeks < 1 / 7:
        return f"{counted(report.episodes, 'episode')}, all while learning; {each}"
    rate = report.judged_episodes / report.judged_weeks
    return f"{counted(report.judged_episodes, 'episode')} after the learning, {rate:.1f} a week; {each}"


def beside_words(one: Beside, report: Report) -> str:
    """Return how often a simple method fired, and how much of ours it saw too."""
    unit = "episode" if one.kind == "max|z|" else "firing"
    text = f"{counted(one.counted, unit)}, {one.per_week:.1f} a week"
    told = sum(told.what == BEGAN for told in report.notifications)
    ours = [
        f"{near} of our {counted(count, what)}"
        for near, count, what in (
            (one.near_notifications, told, "alert told"),
            (one.near_records, report.records, "record"),
        )
        if count
    ]
    return f"{text}; within an hour of {' and '.join(ours)}" if ours else text


def kept_words(record: Record) -> str:
    """Return why nobody was told."""
    return KEPT_WORDS.get(Kept(record.kept), "") if record.kept else "not sent to anybody"


def verdict_words(report: Report) -> str:
    """Return what operators said of the alerts that were told, "" where they said nothing."""
    said = list(report.verdicts.values())
    if not said:
        return ""
    kinds = ", ".join(f"{said.count(kind)} {kind}" for kind in ("real", "expected", "false") if kind in said)
    return f"{counted(len(said), 'alert')} told and judged: {kinds}; {said.count('real') / len(said):.0%} were real"


def rows(report: Report, *, plain: bool) -> Iterator[Row]:
    """Yield every row of the report; `plain` draws with ASCII only."""
    yield from _span(report)
    yield "result", Text(headline(report), "bold" if report.judged_notifications else "green")
    if learning_words(report):
        yield "learning", Text(learning_words(report), "cyan")
    for told in report.notifications:
        yield from _told(told)
    if verdict_words(report):
        yield "verdicts", Text(verdict_words(report))
    yield from _records(report)
    yield "budget", Text(budget_words(report))
    for number, week in enumerate(report.weeks, 1):
        yield f"week {number}", _week(week, report.ceiling, plain=plain)
    yield from _beside(report)
    if report.forecasts is not None:
        yield from forecast_words.rows(report.forecasts)
    for skipped in report.skipped:
        yield "skipped", Text(one_line(f"{skipped.what}: {skipped.why}"), "dim")
    if report.comparison is not None:
        yield from _compared(report)
    if report.notifications or report.newest_records:
        yield "hint", Text("`presage feedback ID false` judges an alert, `presage explain ID` tells more of it", "dim")


def _span(report: Report) -> Iterator[Row]:
    yield "host", Text(one_line(f"{report.host}: {report.name}"))
    if report.from_ms is None or report.to_ms is None:
        return
    many = f"{counted(report.samples, 'sample')} of {counted(report.signals, 'signal')}"
    text = f"{local(report.from_ms)} to {local(report.to_ms)}: {many}"
    imported = f", {report.imported:,} of them imported" if report.imported else ""
    yield "history", Text(text + imported)
    yield (
        "replay",
        Text(f"{counted(report.models, 'model')} learned, {duration(report.seconds)}; notify {report.notify}"),
    )


def _told(told: Told) -> Iterator[Row]:
    head = Text(f"{local(told.time_ms)} {told.severity:<8} {WHAT_WORDS.get(told.what, told.what):<8} ")
    style = "" if told.what == ENDED else _STYLES.get(told.severity, "bold")
    head.append(one_line(f"{told.alertname} {told.resource}".strip()), style)
    if told.others:
        head.append(f" and {told.others} more")
    yield one_line(told.occurrence[-SHORT:]), head
    yield "", Text(one_line(told.sentence), "dim" if told.what == ENDED else "")
    learning = "while learning" if told.learning else ""
    verdict = f"judged {told.verdict}" if told.verdict else ""
    more = "; ".join(filter(None, (f"to {', '.join(told.sinks)}", learning, verdict, lead_words(told))))
    yield "", Text(one_line(more), "cyan")


def _records(report: Report) -> Iterator[Row]:
    newest = len(report.newest_records)
    shown = f", the newest {newest} of them" if newest < report.records else ""
    yield "records", Text(f"{counted(report.records, 'alert')} kept and shown, told to nobody{shown}")
    for record in report.newest_records:
        head = Text(f"{local(record.time_ms)} {record.alertname} {one_line(record.resource)}".rstrip())
        if record.resolved_ms is not None:
            head.append(f", {duration(round((record.resolved_ms - record.started_ms) / 1000))}")
        if record.kept != Kept.RECORD:
            head.append(f", {kept_words(record)}", "cyan")
        yield one_line(record.occurrence[-SHORT:]), head
        yield "", Text(one_line(record.sentence), "dim")


def _beside(report: Report) -> Iterator[Row]:
    fired = [one for one in report.beside if one.counted]
    for one in fired:
        yield "beside", Text(one.name, "bold")
        yield "", Text(beside_words(one, report))
    if len(fired) < len(report.beside):
        quiet = ", ".join(one.name for one in report.beside if not one.counted)
        yield "beside", Text(f"never fired: {quiet}", "dim")


def _week(week: Week, ceiling: float, *, plain: bool) -> Text:
    """The episodes of a week as a bar, with a mark where the ceiling stands."""
    full, empty, mark = ("#", ".", "|") if plain else ("━", "─", "┃")
    scale = _BAR * 0.75 / max(ceiling, 1e-9)
    reached, at = min(_BAR, round(week.episodes * scale)), round(ceiling * scale)
    over = week.episodes > ceiling
    bar = Text()
    for cell in range(_BAR):
        if cell == at:
            bar.append(mark, "bold")
        bar.append(full if cell < reached else empty, ("red" if over else "green") if cell < reached else "dim")
    part = f" in {_days(week.days)}" if week.days < _WHOLE_WEEK else ""
    bar.append(f" {counted(week.episodes, 'episode')} of {ceiling:g}{part}, {counted(week.records, 'record')}")
    return bar.append(", learning" if week.judged_days < week.days / 2 or not week.days else "", "cyan")


def _compared(report: Report) -> Iterator[Row]:
    if report.comparison is None:
        return
    other = report.comparison.other
    yield "compared", Text(one_line(f"A is {report.name}, B is {other.name}"), "bold")
    for label, value in FIGURES:
        yield "", Text(f"{label:<36}{value(report):>{_COLUMN}}{value(other):>{_COLUMN}}")
    for name, only in (("only A", report.comparison.only_first), ("only B", report.comparison.only_second)):
        for told in only:
            yield name, Text(one_line(f"{local(told.time_ms)} {told.alertname} {told.resource}".rstrip()), "yellow")
            yield "", Text(one_line(told.sentence))
    if not (report.comparison.only_first or report.comparison.only_second):
        yield "", Text("both would have told the same alerts", "green")


def _median_lead(report: Report) -> str:
    leads = sorted(one.lead.seconds for one in report.notifications if one.lead and one.lead.seconds is not None)
    if not leads:
        return "-"
    middle = leads[len(leads) // 2] if len(leads) % 2 else sum(leads[len(leads) // 2 - 1 : len(leads) // 2 + 1]) / 2
    return f"{'-' if middle < 0 else ''}{duration(abs(middle))}"


def _followed(report: Report) -> str:
    leads = [one.lead for one in report.notifications if one.lead is not None]
    return f"{sum(lead.seconds is not None for lead in leads)} of {len(leads)}"


FIGURES: tuple[tuple[str, Callable[[Report], str]], ...] = (
    ("judged days", lambda report: f"{report.judged_days:.1f}"),
    ("notifications after the learning", lambda report: f"{len(report.judged_notifications)}"),
    ("would have sent while learning", lambda report: f"{report.would_have_sent}"),
    ("first tellings that harm belongs to", _followed),
    ("median lead", _median_lead),
    ("records", lambda report: f"{report.records}"),
    (
        "episodes a week after the learning",
        lambda report: f"{report.judged_episodes / report.judged_weeks:.1f}" if report.judged_weeks else "-",
    ),
    ("ceiling of episodes a week", lambda report: f"{report.ceiling:g}"),
    (
        "share of scored samples alarmed",
        lambda report: "-" if report.alarmed_share is None else f"{report.alarmed_share:.2%}",
    ),
    ("models learned", lambda report: f"{report.models}"),
    ("seconds of replay", lambda report: f"{report.seconds:.1f}"),
)


def local(time_ms: int) -> str:
    """Return a moment in this terminal's time zone."""
    return datetime.fromtimestamp(time_ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M")


def _days(days: float) -> str:
    text = f"{days:.1f}".removesuffix(".0")
    return f"{text} day" if text == "1" else f"{text} days"


def counted(count: int, what: str) -> str:
    """Return a number with its noun, in the plural where it is not one."""
    noun, _, rest = what.partition(" ")
    many = "" if count == 1 or noun == "that" else "s"
    return f"{count:,} {noun}{many}{f' {rest}' if rest else ''}"


def to_json(report: Report) -> dict[str, object]:
    """Return the report as JSON values: lasting keys, times as RFC 3339 in UTC, lengths in seconds or days."""
    document = _document(report)
    compared = report.comparison
    document["comparison"] = compared and {
        "other": _document(compared.other),
        "only_first": [_told_document(one) for one in compared.only_first],
        "only_second": [_told_document(one) for one in compared.only_second],
    }
    return document


def _document(report: Report) -> dict[str, object]:
    return {
        "version": VERSION,
        "name": report.name,
        "host": report.host,
        "headline": headline(report),
        "notify": report.notify,
        "from": None if report.from_ms is None else rfc3339(report.from_ms),
        "to": None if report.to_ms is None else rfc3339(report.to_ms),
        "interval_seconds": report.interval_seconds,
        "samples": report.samples,
        "imported_samples": report.imported,
        "signals": report.signals,
        "judged_days": report.judged_days,
        "learning": {
            "days": report.learning_days,
            "learned_days": report.learned_days,
            "would_have_sent": report.would_have_sent,
            "digests": report.digests,
        },
        "notifications": [_told_document(one) for one in report.notifications],
        "records": {"count": report.records, "newest": [_record_document(one) for one in report.newest_records]},
        "budget": {
            "episodes_per_week": report.ceiling,
            "episodes": report.episodes,
            "judged_episodes": report.judged_episodes,
            "alarmed_share": report.alarmed_share,
            "weeks": [_week_document(one) for one in report.weeks],
        },
        "simple_methods": [_beside_document(one) for one in report.beside],
        "forecasts": report.forecasts and forecast_words.document(report.forecasts),
        "skipped": [{"what": one.what, "why": one.why} for one in report.skipped],
        "models": report.models,
        "replay_seconds": report.seconds,
    }


def _told_document(told: Told) -> dict[str, object]:
    return {
        "at": rfc3339(told.time_ms),
        "sinks": list(told.sinks),
        "what": told.what,
        "severity": told.severity,
        "alertname": told.alertname,
        "resource": told.resource,
        "sentence": told.sentence,
        "occurrence": told.occurrence,
        "others": told.others,
        "learning": told.learning,
        "fact": told.is_fact,
        "verdict": told.verdict or None,
        "lead": told.lead
        and {
            "seconds": told.lead.seconds,
            "harm": told.lead.harm or None,
            "looked_seconds": told.lead.looked_seconds,
        },
    }


def _record_document(record: Record) -> dict[str, object]:
    return {
        "at": rfc3339(record.time_ms),
        "started_at": rfc3339(record.started_ms),
        "resolved_at": None if record.resolved_ms is None else rfc3339(record.resolved_ms),
        "alertname": record.alertname,
        "resource": record.resource,
        "sentence": record.sentence,
        "occurrence": record.occurrence,
        "kept": record.kept,
        "verdict": record.verdict or None,
    }


def _week_document(week: Week) -> dict[str, object]:
    return {
        "from": rfc3339(week.from_ms),
        "to": rfc3339(week.to_ms),
        "days": week.days,
        "judged_days": week.judged_days,
        "episodes": week.episodes,
        "records": week.records,
    }


def _beside_document(one: Beside) -> dict[str, object]:
    return {
        "name": one.name,
        "method": one.kind,
        "counted": one.counted,
        "per_week": one.per_week,
        "near_notifications": one.near_notifications,
        "near_records": one.near_records,
        "firings": [
            {
                "from": rfc3339(firing.from_ms),
                "to": rfc3339(firing.to_ms),
                "severity": firing.severity,
                "resource": firing.resource,
            }
            for firing in one.firings
        ],
    }
