"""The plots of a backtest: score over the whole span, lanes below it, bars of weeks, and signals around a firing.

Enters: a report and its backtest. Leaves: HTML with SVG inside, every text escaped.
"""

import math
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from alerting.render import amount, foremost
from daemon.backtest.outcome import BEGAN, Firing, Report, Told, Week
from daemon.backtest.report import local
from daemon.backtest.result import Backtest
from daemon.backtest.svg import WIDTH, Span, horizontal, line, plot, rectangle, thinned, vertical
from detectors.calibration import MERGE_SECONDS, runs
from detectors.findings import Contributor, Unit

MOST_POINTS = 2000
SHOWN_THRESHOLD = 0.8  # where the threshold stands on the scale from 0 to 1
BEFORE_MS, AFTER_MS = 7_200_000, 3_600_000

_SCORE_HEIGHT, _LANE_HEIGHT, _SIGNAL_HEIGHT, _BAR_HEIGHT = 200.0, 10.0, 80.0, 10.0
_SIGNAL_POINTS = 400
_GAP_INTERVALS = 3
_MOST_BLOCKS = 500
_NEAR_PINS = 0.025  # of the width: from there on two numbers would cover each other
_PIN_ROWS = 3
_PLAIN_RATIO = 2.0  # as in the sentence: beyond it a ratio is no share of anything
_CEILING_AT = 0.7


def span_of(report: Report) -> Span | None:
    """Return the time axis of the whole history, None without a sample."""
    if report.from_ms is None or report.to_ms is None:
        return None
    return Span(report.from_ms, max(report.to_ms, report.from_ms + 1))


def timeline(backtest: Backtest, span: Span, numbers: dict[int, Told]) -> str:
    """Return the shown score of the whole span against its threshold, with what was alarmed and what was told."""
    clock = backtest.samples.clock
    gap_ms = _GAP_INTERVALS * backtest.interval_seconds * 1000
    score = shown_scores(backtest.raw, backtest.threshold)
    height = _SCORE_HEIGHT

    def y(value: float) -> float:
        return height * (1.0 - value)

    pieces = [
        [(span.x(int(clock[row])), y(float(score[row]))) for row in rows.tolist()]
        for rows in thinned(clock, score, MOST_POINTS, gap_ms)
    ]
    content = [
        *_learning(backtest, clock, span, height),
        *(
            span.block(int(clock[row]), int(clock[row + 1]), height, "gap", title="no samples", least=1.0)
            for row in np.flatnonzero(np.diff(clock) > gap_ms)[:_MOST_BLOCKS].tolist()
        ),
        *_alarmed(backtest, clock, span, height),
        line(pieces, "score"),
        horizontal(y(SHOWN_THRESHOLD), "threshold"),
        *(vertical(span.x(one.time_ms), height, "told") for one in numbers.values()),
    ]
    label = f"Score from {local(span.from_ms)} to {local(span.to_ms)}"
    scale = '<span style="top:0">1</span><span style="top:20%">threshold</span><span style="top:100%">0</span>'
    return (
        f'{_pins(span, numbers)}<div class="chart tall">{plot("".join(content), height, label)}'
        f'<div class="scale">{scale}</div></div>{axis(span)}'
    )


def shown_scores(raw: NDArray[np.float64], threshold: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the scores (T,) on the scale that people see, as `detectors.calibration.shown_score`, NaN = none."""
    odds = (1.0 - SHOWN_THRESHOLD) / SHOWN_THRESHOLD
    known = np.isfinite(raw) & np.isfinite(threshold)
    above = np.where(known, np.maximum(raw, 0.0), 0.0)
    whole = above + np.where(known, threshold, 1.0) * odds
    return np.where(known, np.divide(above, whole, out=np.zeros(len(raw)), where=whole > 0), np.nan)


def _learning(backtest: Backtest, clock: NDArray[np.int64], span: Span, height: float) -> list[str]:
    learning = np.flatnonzero(~backtest.learned)
    if len(learning) == 0:
        return []
    return [span.block(int(clock[0]), int(clock[learning[-1]]), height, "learning", title="learned from", least=0.0)]


def _alarmed(backtest: Backtest, clock: NDArray[np.int64], span: Span, height: float) -> list[str]:
    at = np.flatnonzero(backtest.alarmed)
    starts, ends = runs(at, np.diff(clock[at]) > MERGE_SECONDS * 1000)
    pairs = list(zip(clock[starts].tolist(), clock[ends].tolist(), strict=True))[-_MOST_BLOCKS:]
    return [
        span.block(begin, end, height, "alarmed", title=f"above the threshold, {local(begin)}") for begin, end in pairs
    ]


def _pins(span: Span, numbers: dict[int, Told]) -> str:
    """Return the numbers of the notifications above the picture, in rows where they are near each other."""
    last = [-1.0] * _PIN_ROWS
    said = []
    for number, one in numbers.items():
        share = span.share(one.time_ms)
        row = next((row for row, before in enumerate(last) if share - before >= _NEAR_PINS), _PIN_ROWS - 1)
        last[row] = share
        said.append(
            f'<a href="#n{number}" style="left:{100 * share:.2f}%;bottom:{1.3 * row:.1f}rem">{number}</a>'
        )  # drawn from below
    rows = 1 + max((row for row, before in enumerate(last) if before >= 0), default=0)
    return f'<div class="pins" style="height:{1.3 * rows:.1f}rem">{"".join(said)}</div>' if said else ""


def axis(span: Span) -> str:
    """Return the labels of time below a picture."""
    labels = [
        f'<span style="left:{100 * span.share(moment):.2f}%"{" class=odd" if place % 2 else ""}>{escape(said)}</span>'
        for place, (moment, said) in enumerate(span.ticks())
        if span.share(moment) <= 0.97  # noqa: PLR2004 - a label there would be cut at the edge
    ]
    return f'<div class="axis">{"".join(labels)}</div>'


def lane(name: str, firings: Sequence[Firing], span: Span, figure: str, kind: str = "fired") -> str:
    """Return a lane below the same axis: when a method fired."""
    blocks = "".join(
        span.block(
            one.from_ms,
            one.to_ms,
            _LANE_HEIGHT,
            f"{kind} grave" if one.severity == "critical" else kind,
            title=f"{one.severity} {one.resource} {local(one.from_ms)} to {local(one.to_ms)}",
            least=2.0,
        )
        for one in firings[-_MOST_BLOCKS:]
    )
    picture = plot(blocks, _LANE_HEIGHT, f"{name}: {figure}")
    return f'<div class="lane"><p>{escape(name)} <small>{escape(figure)}</small></p>{picture}</div>'


def weeks(all_weeks: Iterable[Week], ceiling: float) -> str:
    """Return a bar of episodes for each week, with a mark at the ceiling."""
    said = []
    for place, week in enumerate(all_weeks, 1):
        full = min(1.0, _CEILING_AT * week.episodes / max(ceiling, 1e-9))
        over = " over" if week.episodes > ceiling else ""
        bar = rectangle(0.0, 0.0, WIDTH, _BAR_HEIGHT, kind="ground") + rectangle(
            0.0, 0.0, WIDTH * full, _BAR_HEIGHT, kind=f"bar{over}"
        )
        picture = plot(bar + vertical(WIDTH * _CEILING_AT, _BAR_HEIGHT, "ceiling"), _BAR_HEIGHT, f"week {place}")
        learning = " (learning)" if week.judged_days < week.days / 2 else ""
        said.append(
            f'<div class="week"><span>week {place}<small>from {local(week.from_ms)[:10]}{learning}</small></span>'
            f"{picture}<b>{week.episodes}</b></div>"
        )
    return "".join(said)


def around(contributors: Sequence[Contributor], backtest: Backtest, fired_ms: int) -> str:
    """Return the foremost signals of an alert from two hours before its firing to an hour after, with what is usual."""
    samples = backtest.samples
    clock = samples.clock
    first, end = np.searchsorted(clock, (fired_ms - BEFORE_MS, fired_ms + AFTER_MS)).tolist()
    columns = {spec.name: column for column, spec in enumerate(samples.specs)}
    span = Span(fired_ms - BEFORE_MS, fired_ms + AFTER_MS)
    pictures = [
        _signal(part, clock[first:end], samples.values[first:end, columns[part.signal]], span, backtest, fired_ms)
        for part in foremost(contributors)
        if part.signal in columns
    ]
    return f'<div class="signals">{"".join(pictures)}</div>' if pictures else ""


def _signal(  # noqa: PLR0917 - one picture needs all of it
    part: Contributor,
    clock: NDArray[np.int64],
    values: NDArray[np.float32],
    span: Span,
    backtest: Backtest,
    fired_ms: int,
) -> str:
    known = values[np.isfinite(values)].astype(np.float64)
    band = [value for value in (part.expected_low, part.expected_high) if math.isfinite(value)]
    every = [*band, *([float(known.min()), float(known.max())] if len(known) else [])]
    low, high = (min(every), max(every)) if every else (0.0, 1.0)
    room = 0.06 * (high - low) or max(abs(high), 1e-9) * 0.1
    bottom, top = low - room, high + room

    def y(value: float) -> float:
        return _SIGNAL_HEIGHT * (top - value) / (top - bottom)

    content = ""
    if len(band) == 2:  # noqa: PLR2004 - both ends are known
        content += rectangle(
            0.0, y(band[1]) - 0.7, WIDTH, y(band[0]) - y(band[1]) + 1.4, kind="usual", title="usual at this hour"
        )
    content += vertical(span.x(fired_ms), _SIGNAL_HEIGHT, "told")
    gap_ms = _GAP_INTERVALS * backtest.interval_seconds * 1000
    rows = thinned(clock, values, _SIGNAL_POINTS, gap_ms)
    content += line(
        [[(span.x(int(clock[row])), y(float(values[row]))) for row in piece.tolist()] for piece in rows], "signal"
    )
    plain = part.unit is Unit.RATIO and any(abs(value) > _PLAIN_RATIO for value in (*band, part.value))
    least, most = (amount(value, part.unit, plain=plain) for value in (low, high))
    usual = " to ".join(dict.fromkeys(amount(value, part.unit, plain=plain) for value in band))
    name = escape(part.signal).replace(".", ".<wbr>").replace("_", "_<wbr>")  # long names break where people would
    caption = f"<b>{name}</b>" + (f" <small>usually {escape(usual)}</small>" if usual else "")
    scale = f'<span style="top:0">{escape(most)}</span><span style="top:100%">{escape(least)}</span>'
    hours = (
        f'<span style="left:0">2 h before</span><span style="left:66.67%" class="middle">{local(fired_ms)[11:]}</span>'
        '<span style="right:0">1 h after</span>'
    )
    return (
        f'<figure><figcaption>{caption}</figcaption><div class="chart">'
        f"{plot(content, _SIGNAL_HEIGHT, f'{part.signal} around {local(fired_ms)}')}"
        f'<div class="scale">{scale}</div></div><div class="axis">{hours}</div></figure>'
    )


def numbered(report: Report) -> dict[int, Told]:
    """Return the notifications that something began, by the number that they have on the page."""
    return dict(enumerate((one for one in report.notifications if one.what == BEGAN), 1))
