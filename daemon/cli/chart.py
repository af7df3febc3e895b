"""The past of one signal as a picture of characters: its mean as a line, between its least and greatest values.

Enters: values over time in the signal's unit, and how many columns and rows there are. Leaves: lines of text. It
knows no terminal and prints nothing; `plain` draws with ASCII only.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.text import Text

from alerting.render import amount
from daemon.cli.plot import ASCII, BAND, EDGE, HISTORY, LIMIT, UNICODE, Axes, Cells, Glyphs, time_axis
from detectors.findings import Unit

_TICKS = 6
_ROOM = 0.05
_THOUSANDS = {Unit.BYTES: 1024.0, Unit.BYTES_PER_SECOND: 1024.0}
_FLAT = 0.01  # of the value: what moves less looks as flat as it is
_BREAK_STEPS = 1.5


@dataclass(frozen=True, slots=True)
class Past:
    """What is drawn: `mean`, `least` and `most` at each of `times_ms`, None = nothing was measured."""

    times_ms: Sequence[int]
    mean: Sequence[float | None]
    least: Sequence[float | None]
    most: Sequence[float | None]
    unit: Unit
    from_ms: int
    to_ms: int
    step_ms: float
    threshold: float | None = None


def chart(past: Past, columns: int, rows: int, *, plain: bool) -> list[Text]:
    """Return the picture: `rows` lines, then the axis of time and its labels."""
    glyphs = ASCII if plain else UNICODE
    low, high = _range(past)
    ticks = list(_values(low, high, past.unit))
    labels = [amount(value, past.unit) for value in ticks]
    margin = max(map(len, labels), default=0) + 2
    axes = Axes(past.from_ms, past.to_ms, low, high, max(1, columns - margin), rows)
    cells = Cells(axes)
    _draw_band(cells, past, glyphs)
    if past.threshold is not None and low <= past.threshold <= high:
        for column in range(axes.columns):
            cells.put(column, axes.row(past.threshold), glyphs.limit, LIMIT)
    for piece in _pieces(past):
        cells.curve(piece, glyphs.history, HISTORY)
    said = {axes.row(value): label for value, label in zip(ticks, labels, strict=True)}
    out = [
        Text(f"{said.get(row, ''):>{margin - 2}} ").append(glyphs.side, EDGE).append_text(line)
        for row, line in enumerate(cells.lines())
    ]
    return out + time_axis(axes, past.to_ms, glyphs, margin)


def known(values: Sequence[float | None]) -> list[float]:
    """Return the values that were measured."""
    return [value for value in values if value is not None]


def _range(past: Past) -> tuple[float, float]:
    low, high = min(known(past.least), default=0.0), max(known(past.most), default=1.0)
    if past.threshold is not None:
        high = max(high, past.threshold)
    if 0.0 <= low < (high - low):
        low = 0.0  # what is near to nothing is shown from there on
    room = max((high - low) * _ROOM, abs(high) * _FLAT, 1e-9)
    return (low if low == 0.0 else low - room), high + room


def _values(low: float, high: float, unit: Unit) -> Iterator[float]:
    """Yield round values within the range."""
    thousand = _THOUSANDS.get(unit, 1000.0)
    span = max(abs(low), abs(high))
    scale = 1.0
    while span / scale >= thousand:
        scale *= thousand
    rough = (high - low) / scale / _TICKS
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    step = next(power * one for one in (1, 2, 5, 10) if power * one >= rough * (1 - 1e-9)) * scale
    place = math.ceil(low / step - 1e-9)
    while place * step <= high:
        yield place * step
        place += 1


def _draw_band(cells: Cells, past: Past, glyphs: Glyphs) -> None:
    """Shade from the least to the greatest value of each column."""
    axes = cells.axes
    bounds: dict[int, tuple[float, float]] = {}
    for moment, least, most in zip(past.times_ms, past.least, past.most, strict=True):
        if least is not None and most is not None:
            low, high = bounds.get(axes.column(moment), (least, most))
            bounds[axes.column(moment)] = min(low, least), max(high, most)
    for column, (low, high) in bounds.items():
        for row in range(axes.row(high), axes.row(low) + 1):
            cells.put(column, row, glyphs.outer, BAND)


def _pieces(past: Past) -> Iterator[list[tuple[int, float]]]:
    """Yield the runs without a gap."""
    piece: list[tuple[int, float]] = []
    for moment, value in zip(past.times_ms, past.mean, strict=True):
        if piece and (value is None or moment - piece[-1][0] > _BREAK_STEPS * past.step_ms):
            yield piece
            piece = []
        if value is not None:
            piece.append((moment, value))
    if piece:
        yield piece
