"""A backtest as one page: nothing is loaded from anywhere, nothing runs in it, every word from elsewhere is escaped.

Enters: a report and its backtest. Leaves: HTML for a screen of any width, light or dark.
"""

from collections.abc import Iterator
from html import escape

from alerting.render import duration, one_line
from daemon.backtest.forecast_plots import section
from daemon.backtest.outcome import BEGAN, Comparison, Record, Report, Told
from daemon.backtest.plots import around, axis, lane, numbered, span_of, timeline, weeks
from daemon.backtest.report import (
    FIGURES,
    SHORT,
    WHAT_WORDS,
    beside_words,
    budget_words,
    counted,
    headline,
    kept_words,
    lead_words,
    learning_words,
    local,
)
from daemon.backtest.result import Backtest
from daemon.backtest.svg import Span

MOST_PLOTTED = 60  # notifications with plots: the newest
MOST_LISTED = 300

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_STYLE = """
:root{color-scheme:light dark;--ground:#fff;--text:#1b1f24;--soft:#59636e;--line:#d1d9e0;--card:#f6f8fa;--score:#3b6fb5;
--usual:#cfe3cf;--learning:#eef1f4;--gap:#c4ccd4;--alarm:#f3c9c4;--told:#c2281d;--threshold:#8a5a00;--warning:#8a5a00;
--critical:#c2281d;--info:#59636e;--lane:#7a8794}
@media(prefers-color-scheme:dark){:root{--ground:#14181d;--text:#e4e9ee;--soft:#9aa5b1;--line:#343c45;--card:#1c2229;
--score:#7fb0ee;--usual:#284a30;--learning:#20262d;--gap:#454f59;--alarm:#5c2a27;--told:#ff8278;--threshold:#e0ac4e;
--warning:#e0ac4e;--critical:#ff8278;--info:#9aa5b1;--lane:#8b98a5}}
*{box-sizing:border-box}
body{font:1rem/1.5 system-ui,sans-serif;margin:0 auto;max-width:64rem;padding:1rem 1.2rem 3rem;background:var(--ground);
color:var(--text);overflow-wrap:anywhere}
h1{font-size:1.5rem;line-height:1.25;margin:.2rem 0 .6rem}h2{font-size:1.15rem;margin:2.2rem 0 .6rem}
p{margin:.3rem 0}small,.soft{color:var(--soft);font-size:.85rem}code{font-size:.9em}
article{background:var(--card);border:1px solid var(--line);border-left:.3rem solid var(--info);border-radius:.4rem;
padding:.6rem .9rem;margin:.7rem 0}
article.warning{border-left-color:var(--warning)}article.critical{border-left-color:var(--critical)}
article.over{padding:.35rem .9rem}article.over .sentence{color:var(--soft);font-size:.9rem}
article header{display:flex;flex-wrap:wrap;gap:.1rem .7rem;align-items:baseline}
.number{display:inline-block;min-width:1.5em;text-align:center;border-radius:1em;background:var(--told);
color:var(--ground);font-weight:bold;font-size:.85rem}
.severity{font-weight:bold;font-size:.85rem}.severity.warning{color:var(--warning)}
.severity.critical{color:var(--critical)}
.lead{font-weight:bold;font-size:.9rem}
.signals{display:grid;grid-template-columns:repeat(auto-fit,minmax(15rem,1fr));gap:.4rem 1.2rem;margin-top:.5rem}
figure{margin:0;display:flex;flex-direction:column;justify-content:flex-end}
figcaption{font-size:.85rem;line-height:1.3}figcaption small{display:block}
svg{display:block;width:100%;height:4.2rem;background:var(--ground);border:1px solid var(--line)}
.chart{display:flex}.chart svg{flex:1 1 auto;min-width:0}.tall svg{height:13rem}
.scale{position:relative;flex:0 0 4.6rem;font-size:.75rem;color:var(--soft)}
.scale span{position:absolute;left:.35rem;transform:translateY(-50%);white-space:nowrap}
.scale span:first-child{transform:none}.scale span:last-child{transform:translateY(-100%)}
.axis{position:relative;height:1.4rem;font-size:.75rem;color:var(--soft);margin-right:4.6rem}
.axis span{position:absolute;white-space:nowrap;padding-left:.2rem;border-left:1px solid var(--line)}
figure .axis span{border:0;padding:0}.axis .middle{transform:translateX(-50%);color:var(--told)}
.pins{position:relative;margin-right:4.6rem}
.pins a{position:absolute;transform:translateX(-50%);min-width:1.5em;text-align:center;border-radius:1em;
background:var(--told);color:var(--ground);font-size:.75rem;font-weight:bold;text-decoration:none;line-height:1.5}
.lane{margin-top:.35rem;margin-right:4.6rem}.lane p{margin:0;font-size:.85rem;line-height:1.3}
.lane svg{height:.75rem;background:var(--card)}
.week{display:grid;grid-template-columns:10.5rem 1fr 2.5rem;gap:.6rem;align-items:center;margin:.25rem 0}
.week small{display:block;line-height:1.2}.week svg{height:1.1rem}.week b{text-align:right}
path{fill:none;vector-effect:non-scaling-stroke;stroke-linecap:round;stroke-linejoin:round}
line{vector-effect:non-scaling-stroke}
.score,.signal{stroke:var(--score);stroke-width:1.3}.score{stroke-width:1;opacity:.85}.threshold{stroke:var(--threshold);stroke-width:1.2;
stroke-dasharray:5 4}.told{stroke:var(--told);stroke-width:1.6}.ceiling{stroke:var(--text);stroke-width:2}
.usual{fill:var(--usual)}.learning{fill:var(--learning)}.gap{fill:var(--gap)}.alarmed{fill:var(--alarm)}
.fired{fill:var(--lane)}.fired.grave{fill:var(--critical)}.ours{fill:var(--told)}.ground{fill:var(--card)}
.band80{fill:var(--score);fill-opacity:.3}.band95{fill:var(--score);fill-opacity:.14}
.used{stroke:var(--score);stroke-width:3;opacity:.8}.median{stroke:var(--told);stroke-width:1.3}
.made{stroke:var(--told);stroke-width:7}
.bar{fill:var(--score)}.bar.over{fill:var(--critical)}
.key{display:flex;flex-wrap:wrap;gap:.1rem 1rem;font-size:.8rem;color:var(--soft)}
.key i{display:inline-block;width:1.1em;height:.75em;margin-right:.35em;border:1px solid var(--line)}
.key .score,.key .told,.key .threshold{height:0;border:0;border-top:2px solid;vertical-align:middle}
.key .score{border-color:var(--score)}.key .told{border-color:var(--told)}
.key .threshold{border-top:2px dashed var(--threshold)}
.key .learning{background:var(--learning)}.key .alarmed{background:var(--alarm)}.key .gap{background:var(--gap)}
.key .median,.key .used{height:0;border:0;border-top:2px solid var(--told);vertical-align:middle}
.key .used{border-top:3px solid var(--score)}.key .made{width:.5em;height:.5em;border:0;border-radius:1em;
background:var(--told)}
.key .band80{background:var(--score);opacity:.44}.key .band95{background:var(--score);opacity:.16}
.key .usual{background:var(--usual)}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;
border-top:1px solid var(--line)}th{font-weight:normal;color:var(--soft)}td.id{font-family:ui-monospace,monospace}
td.when,td.id{white-space:nowrap}.figures td+td,.figures th+th,
.forecasts td+td+td,.forecasts th+th+th{text-align:right;white-space:nowrap}
@media(max-width:40rem){body{padding:.7rem .7rem 2rem}h1{font-size:1.25rem}.axis .odd{display:none}
.scale{flex-basis:3.6rem}.axis,.pins,.lane{margin-right:3.6rem}.tall svg{height:10rem}
.week{grid-template-columns:7.5rem 1fr 1.8rem}
.records tr{display:block;border-top:1px solid var(--line);padding:.3rem 0}
.records td{display:inline;border:0;padding:0 .5rem 0 0}.records td.what{display:block}}
"""


def render(report: Report, backtest: Backtest) -> str:
    """Return the whole page of `report`, which was made from `backtest`."""
    body = "".join(
        [
            *_head(report),
            *_notifications(report, backtest),
            *_whole_span(report, backtest),
            *_weeks(report),
            *_records(report),
            *(section(report.forecasts) if report.forecasts is not None else ()),
            *_figures(report),
        ]
    )
    title = escape(one_line(f"Backtest of {report.host}"))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="referrer" content="no-referrer"><title>{title}</title><style>{_STYLE}</style></head>'
        f"<body>{body}</body></html>\n"
    )


def _said(text: str) -> str:
    return escape(one_line(text))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _head(report: Report) -> Iterator[str]:
    yield f'<header><p class="soft">Backtest of {_said(report.host)}: {_said(report.name)}</p>'
    yield f"<h1>{escape(_sentence(headline(report)))}</h1>"
    if report.from_ms is not None and report.to_ms is not None:
        yield (
            f"<p>Replayed: {local(report.from_ms)} to {local(report.to_ms)}, {counted(report.samples, 'sample')} of "
            f"{counted(report.signals, 'signal')}.</p>"
        )
    if learning_words(report):
        yield f"<p>{escape(_sentence(learning_words(report)))}.</p>"
    yield "</header>"


def _notifications(report: Report, backtest: Backtest) -> Iterator[str]:
    yield "<h2>What would have been sent</h2>"
    if not report.notifications:
        yield "<p>Nothing.</p>"
        return
    shown = report.notifications[-MOST_LISTED:]
    if len(shown) < len(report.notifications):
        yield f"<p>The newest {len(shown)} of {len(report.notifications):,}.</p>"
    yield (
        '<p class="key"><span><i class="usual"></i>usual at this hour</span>'
        '<span><i class="told"></i>where it fired</span></p>'
    )
    numbers = numbered(report)
    by_identity = {id(one): number for number, one in numbers.items()}
    plotted = {id(one) for one in list(numbers.values())[-MOST_PLOTTED:]}
    fired = {one.id: one.fired_ms for one in backtest.occurrences}
    for told in shown:
        fired_ms = fired.get(told.occurrence) or told.time_ms
        plots = around(told.contributors, backtest, fired_ms) if id(told) in plotted else ""
        yield _card(told, by_identity.get(id(told)), plots)
    yield (
        '<p class="soft">Was one of them wrong? <code>presage feedback ID false</code> says so, '
        "<code>presage explain ID</code> tells more.</p>"
    )


def _card(told: Told, number: int | None, plots: str) -> str:
    name = " ".join(filter(None, (told.alertname, told.resource)))
    others = f" and {told.others} more" if told.others else ""
    badge = f'<span class="number">{number}</span>' if number is not None else ""
    severity = told.severity if told.severity in {"critical", "warning"} else "info"
    lead = lead_words(told)
    more = ", ".join(
        filter(
            None,
            (
                f"to {', '.join(told.sinks)}",
                "while learning" if told.learning else "",
                f"judged {told.verdict}" if told.verdict else "",
            ),
        )
    )
    name_of_card = f" id=n{number}" if number is not None else ""
    what = escape(WHAT_WORDS.get(told.what, told.what))
    return (
        f'<article{name_of_card} class="{severity}{"" if told.what == BEGAN else " over"}">'
        f"<header>{badge}<span>{local(told.time_ms)}</span>"
        f'<span class="severity {severity}">{_said(told.severity)}, {what}</span>'
        f"<span>{_said(name)}{others}</span><small>{_said(told.occurrence[-SHORT:])}, {_said(more)}</small></header>"
        f'<p class="sentence">{_said(told.sentence)}</p>'
        f"{f'<p class=lead>{_said(_sentence(lead))}.</p>' if lead else ''}{plots}</article>"
    )


def _whole_span(report: Report, backtest: Backtest) -> Iterator[str]:
    span = span_of(report)
    if span is None:
        return
    yield "<h2>The whole time</h2>"
    yield timeline(backtest, span, numbered(report))
    key = (
        ("score", "score"),
        ("threshold", "threshold"),
        ("told", "told that it began"),
        ("alarmed", "above the threshold"),
        ("learning", "learned from"),
        ("gap", "no samples"),
    )
    yield '<p class="key">' + "".join(f'<span><i class="{kind}"></i>{said}</span>' for kind, said in key) + "</p>"
    yield from _lanes(report, span)


def _lanes(report: Report, span: Span) -> Iterator[str]:
    yield "<h2>Simple methods beside it</h2>"
    fired = [one for one in report.beside if one.counted]
    for one in fired:
        yield lane(one.name, one.firings, span, beside_words(one, report))
    if fired:
        yield axis(span)
    quiet = ", ".join(one.name for one in report.beside if not one.counted)
    if quiet:
        yield f'<p class="soft">Never fired: {escape(quiet)}.</p>'


def _weeks(report: Report) -> Iterator[str]:
    if not report.weeks:
        return
    yield f"<h2>Episodes a week</h2><p>{escape(_sentence(budget_words(report)))} (the mark).</p>"
    yield weeks(report.weeks, report.ceiling)


def _records(report: Report) -> Iterator[str]:
    yield "<h2>Records, told to nobody</h2>"
    if not report.newest_records:
        yield "<p>None.</p>"
        return
    newest = len(report.newest_records)
    if newest < report.records:
        yield f"<p>The newest {newest} of {report.records:,}.</p>"
    yield '<table class="records">' + "".join(map(_record, report.newest_records)) + "</table>"


def _record(record: Record) -> str:
    lasted = "" if record.resolved_ms is None else duration(round((record.resolved_ms - record.started_ms) / 1000))
    kept = "" if record.kept == "record" else f"<br><small>{_said(kept_words(record))}</small>"
    name = " ".join(filter(None, (record.alertname, record.resource)))
    return (
        f'<tr><td class="when">{local(record.time_ms)}<td class="when">{escape(lasted)}<td class="id">'
        f'{_said(record.occurrence[-SHORT:])}<td class="what">{_said(name)}<br><small>{_said(record.sentence)}</small>'
        f"{kept}</tr>"
    )


def _figures(report: Report) -> Iterator[str]:
    other = report.comparison.other if report.comparison else None
    yield "<h2>Figures</h2>"
    head = f"<tr><th><th>{_said(report.name)}<th>{_said(other.name)}</tr>" if other else ""
    lines = [
        f"<tr><td>{escape(label)}<td>{escape(value(report))}{f'<td>{escape(value(other))}' if other else ''}</tr>"
        for label, value in FIGURES
    ]
    yield f'<table class="figures">{head}{"".join(lines)}</table>'
    if report.comparison is not None:
        yield from _only(report, report.comparison)
    if report.skipped:
        items = "".join(f"<li>{_said(one.what)}: {_said(one.why)}</li>" for one in report.skipped)
        yield f'<h2>Not judged</h2><ul class="soft">{items}</ul>'


def _only(report: Report, comparison: Comparison) -> Iterator[str]:
    for name, only in ((report.name, comparison.only_first), (comparison.other.name, comparison.only_second)):
        yield f"<h2>Only {_said(name)} would have sent</h2>"
        yield "".join(_card(told, None, "") for told in only[-MOST_LISTED:]) or "<p>Nothing.</p>"
