"""The forecasts of a backtest on its page: a table, and one resource with its forecasts and what came of them.

Enters: what was judged. Leaves: HTML with SVG inside, every text escaped.
"""

from collections.abc import Iterator
from html import escape

from alerting.render import one_line
from daemon.backtest.forecast_words import HEADINGS, figures
from daemon.backtest.forecasts import Fan, ForecastReport, Shown
from daemon.backtest.plots import axis
from daemon.backtest.svg import Span, element, horizontal, line, number, plot

_HEIGHT = 200.0
_TICKS = (1.0, 0.75, 0.5, 0.25, 0.0)


def section(report: ForecastReport) -> Iterator[str]:
    """Yield the part of the page."""
    head = "".join(f"<th>{escape(cell)}" for cell in HEADINGS)
    lines = ["".join(f"<td>{escape(cell)}" for cell in figures(one)) for one in report.accuracies]
    yield "<h2>Forecasts of capacity</h2>"
    yield "<p>Made from what was known then. A MASE below 1 is better than the season repeated.</p>"
    yield f'<table class="forecasts"><tr>{head}</tr>{"".join(f"<tr>{cells}</tr>" for cells in lines)}</table>'
    yield from _announcements(report)
    if report.problem:
        yield f"<p>{escape(one_line(report.problem))}</p>"
    if report.shown is not None:
        yield from _picture(report.shown)


def _announcements(report: ForecastReport) -> Iterator[str]:
    """Yield which methods would have said that something is full within a day, and whether it was."""
    if not report.looks:
        return
    lines = [
        f"<tr><td>{escape(one.name)}<td>{one.announced:,}<td>{one.came_true:,}<td>{one.missed:,}</tr>"
        for one in report.announced
    ]
    yield f"<p>Said to be full within a day, at {report.looks:,} times that something was looked at:</p>"
    yield (f'<table class="figures"><tr><th>method<th>announced<th>of them true<th>missed</tr>{"".join(lines)}</table>')


def _picture(shown: Shown) -> Iterator[str]:
    """Yield the use of a resource with some of its forecasts: what was known, what was said, what came."""
    ends = [fan.made_ms + len(fan.mean) * fan.step_ms for fan in shown.fans]
    first = min([shown.used[0][0], *(fan.made_ms for fan in shown.fans)]) if shown.used else shown.fans[0].made_ms
    span = Span(first, max([*ends, *(moment for moment, _ in shown.used[-1:]), first + 1]))

    content = [_fan(fan, span) for fan in shown.fans]
    content.append(horizontal(_y(shown.limit), "threshold"))
    content.append(line([[(span.x(moment), _y(share)) for moment, share in shown.used]], "used"))
    content += [line([_through(fan, fan.mean, span)], "median") for fan in shown.fans]
    content.append(line([[(span.x(fan.made_ms), _y(fan.used))] for fan in shown.fans], "made"))
    label = one_line(f"{shown.resource} with its forecasts of {shown.horizon}")
    scale = "".join(f'<span style="top:{100 * (1 - tick):g}%">{tick * 100:.0f} %</span>' for tick in _TICKS)
    yield f"<p><b>{escape(one_line(shown.resource))}</b>, the most endangered, with forecasts of 12 {shown.horizon}</p>"
    yield (
        f'<div class="chart tall">{plot("".join(content), _HEIGHT, label)}<div class="scale">{scale}</div></div>'
        f"{axis(span)}"
    )
    key = (
        ("used", "used"),
        ("median", "forecast"),
        ("made", "when it was made"),
        ("band80", "80 %"),
        ("band95", "95 %"),
        ("threshold", "limit"),
    )
    yield '<p class="key">' + "".join(f'<span><i class="{kind}"></i>{said}</span>' for kind, said in key) + "</p>"


def _y(share: float) -> float:
    return _HEIGHT * (1.0 - min(1.0, max(0.0, share)))


def _through(fan: Fan, shares: tuple[float, ...], span: Span) -> list[tuple[float, float]]:
    """Return the points of a bound, which begins at what was used."""
    moments = [fan.made_ms + place * fan.step_ms for place in range(len(shares) + 1)]
    return [(span.x(moment), _y(share)) for moment, share in zip(moments, (fan.used, *shares), strict=True)]


def _fan(fan: Fan, span: Span) -> str:
    """Return the bands of one forecast, the inner over the outer."""
    said = ""
    for low, high, kind in ((fan.lo95, fan.hi95, "band95"), (fan.lo80, fan.hi80, "band80")):
        around = [*_through(fan, high, span), *_through(fan, low, span)[::-1]]
        points = " ".join(f"{number(x)},{number(y)}" for x, y in around)
        said += element("polygon", points=points, class_=kind)
    return said
