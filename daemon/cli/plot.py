"""A forecast as a picture of characters: what was, what is to come with its bands, and the limit.

Enters: shares of a capacity over time, and how many columns and rows there are. Leaves: lines of text. It knows no
terminal and prints nothing; `plain` draws with ASCII only. Loads no NumPy: `presage` answers at once.
"""

from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, pairwise

from rich.text import Text

HISTORY_STEPS = 36  # shown before the twelve that are ahead, so that what is ahead can be read

_DOTS_WIDE, _DOTS_HIGH = 2, 4
_BRAILLE = 0x2800
_DOT_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by dot row and dot column
_LEAST_RANGE = 0.1  # of the capacity: what moves less looks as flat as it is
_LIMIT_WITHIN = 3.0  # ranges: a limit that is farther off would press the rest together
_ROOM = 0.05
_SHADED = 0.4  # of the height of a cell
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5)
_TICKS = 6
_BREAK_STEPS = 1.5
_LABEL_COLUMNS = 11  # from one label of time to the next
_HOURS = (1, 3, 6, 12, 24, 48, 168, 336, 672)
_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120)
_DAY_HOURS, _YEAR_MONTHS = 24, 12

HISTORY, MEDIAN, BAND, LIMIT, EDGE = "cyan", "bold yellow", "blue", "red", "dim"


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters of a picture; lines are braille where `line` is empty."""

    inner: str
    outer: str
    limit: str
    limit_band: str
    full: str
    now: str
    side: str
    corner: str
    floor: str
    tick: str
    history: str
    median: str


UNICODE = Glyphs("▒", "░", "─", "━", "◆", "│", "│", "└", "─", "┬", "", "")
ASCII = Glyphs(":", ".", "-", "=", "X", "|", "|", "+", "-", "+", "*", "o")


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn: shares of the capacity, 1 = all of it; times in UTC milliseconds.

    `history`: (time, share), the oldest first. The bands have one value for each step ahead, the first at `start_ms`.
    `full_ms`: when it is full by the low bound, the median and the high bound, None = never. `amount` says a share in
    the unit of the capacity, "" where percent say all.
    """

    history: Sequence[tuple[int, float]]
    start_ms: int
    step_ms: int
    median: Sequence[float]
    lo80: Sequence[float]
    hi80: Sequence[float]
    lo95: Sequence[float]
    hi95: Sequence[float]
    limit: float
    full_ms: tuple[int | None, int | None, int | None]
    amount: Callable[[float], str]

    @property
    def now_ms(self) -> int:
        """The moment up to which there is history."""
        return self.history[-1][0] if self.history else self.start_ms - self.step_ms

    @property
    def ahead_ms(self) -> list[int]:
        """The moments that are forecast."""
        return [self.start_ms + place * self.step_ms for place in range(len(self.median))]


@dataclass(frozen=True, slots=True)
class Axes:
    """Where a moment and a share stand: in columns from the left, in rows from the top, 0 to the edge."""

    from_ms: int
    to_ms: int
    low: float
    high: float
    columns: int
    rows: int

    def x(self, time_ms: float) -> float:
        """Return how far right a moment stands."""
        return (time_ms - self.from_ms) / max(1, self.to_ms - self.from_ms) * self.columns

    def y(self, share: float) -> float:
        """Return how far down a share stands."""
        return (self.high - share) / (self.high - self.low) * self.rows

    def time(self, x: float) -> float:
        """Return the moment of a column."""
        return self.from_ms + x / self.columns * (self.to_ms - self.from_ms)

    def column(self, time_ms: float) -> int:
        """Return the column of a moment."""
        return min(self.columns - 1, max(0, int(self.x(time_ms))))

    def row(self, share: float) -> int:
        """Return the row of a share."""
        return min(self.rows - 1, max(0, int(self.y(share))))


class Cells:
    """One glyph and one style for each cell; what is drawn later lies on top."""

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        self._cells = [[(" ", "")] * axes.columns for _ in range(axes.rows)]

    def put(self, column: int, row: int, glyph: str, style: str) -> None:
        """Set a cell, where there is such a one."""
        if 0 <= row < self.axes.rows and 0 <= column < self.axes.columns:
            self._cells[row][column] = (glyph, style)

    def curve(self, points: Sequence[tuple[int, float]], glyph: str, style: str) -> None:
        """Draw a line through points (time, share), in braille dots where there is no glyph."""
        wide, high = (1, 1) if glyph else (_DOTS_WIDE, _DOTS_HIGH)
        dots = set(_dots([(self.axes.x(time) * wide, self.axes.y(share) * high) for time, share in points]))
        last = (self.axes.columns * wide - 1, self.axes.rows * high - 1)
        bits: dict[tuple[int, int], int] = {}
        for right, below in dots:  # what stands on the edge belongs to the last cell
            x, y = min(max(right, 0), last[0]), min(max(below, 0), last[1])
            cell = x // wide, y // high
            bits[cell] = bits.get(cell, 0) | (0 if glyph else _DOT_BITS[y % high][x % wide])
        for (column, row), bit in bits.items():
            self.put(column, row, glyph or chr(_BRAILLE + bit), style)

    def lines(self) -> Iterator[Text]:
        """Yield the rows, from the top."""
        for row in self._cells:
            line = Text()
            for style, run in groupby(row, lambda cell: cell[1]):
                line.append("".join(glyph for glyph, _ in run), style)
            yield line


def draw(picture: Picture, columns: int, rows: int, *, plain: bool) -> list[Text]:
    """Return the picture, `columns` wide and `rows` high without the axis below it and the key."""
    glyphs = ASCII if plain else UNICODE
    history = picture.history[-HISTORY_STEPS:]
    low, high, step = _range(picture, history)
    ticks = _shares(low, high, step)
    labels = _labels(ticks, picture)
    margin = max(map(len, labels)) + 2
    to_ms = picture.ahead_ms[-1] if picture.median else picture.now_ms
    from_ms = history[0][0] if history else picture.now_ms
    axes = Axes(from_ms, to_ms, low, high, columns - margin, rows)
    cells = Cells(axes)
    _draw_bands(cells, picture, glyphs)
    for row in range(rows):
        cells.put(axes.column(picture.now_ms), row, glyphs.now, EDGE)
    _draw_limit(cells, picture, glyphs)
    for piece in _pieces(history, picture.step_ms):
        cells.curve(piece, glyphs.history, HISTORY)
    ahead = list(zip(picture.ahead_ms, picture.median, strict=True))
    cells.curve([*history[-1:], *ahead], glyphs.median, MEDIAN)
    _draw_full(cells, picture, glyphs)
    said = {axes.row(share): label for share, label in zip(ticks, labels, strict=True)}
    out = [
        Text(f"{said.get(row, ''):>{margin - 2}} ").append(glyphs.side, EDGE).append_text(line)
        for row, line in enumerate(cells.lines())
    ]
    out += time_axis(axes, picture.now_ms, glyphs, margin)
    out.append(Text(" " * margin).append_text(_key(picture, glyphs, shown=low <= picture.limit <= high)))
    return out


def _range(picture: Picture, history: Sequence[tuple[int, float]]) -> tuple[float, float, float]:
    """Return the least and the greatest share that is drawn, and the step between labels."""
    every = [*(share for _, share in history), *picture.median, *picture.lo95, *picture.hi95]
    low, high = min(every), max(every)
    wanted = max(high - low, _LEAST_RANGE)
    if high < picture.limit <= low + _LIMIT_WITHIN * wanted:
        high = picture.limit
    middle, half = (low + high) / 2, max(high - low, _LEAST_RANGE) * (0.5 + _ROOM)
    low, high = max(0.0, middle - half), middle + half
    if every and max(every) <= 1.0:
        high = min(high, 1.0)
    step = next((one for one in _STEPS if (high - low) / one < _TICKS), (high - low) / _TICKS)
    return low, high, step


def _shares(low: float, high: float, step: float) -> list[float]:
    first = int(low / step - 1e-9) + (low > 0)
    return [place * step for place in range(first, int(high / step + 1e-9) + 1)]


def _labels(shares: Sequence[float], picture: Picture) -> list[str]:
    percent = [f"{share * 100:.0f} %" for share in shares]
    amounts = [picture.amount(share) for share in shares]
    width = max(map(len, amounts), default=0)
    return [f"{amount:>{width}}  {said:>5}" if width else said for amount, said in zip(amounts, percent, strict=True)]


def _draw_bands(cells: Cells, picture: Picture, glyphs: Glyphs) -> None:
    """Shade the cells that lie between the bounds with enough of their height; the line is drawn over them."""
    start = picture.history[-1:] or [(picture.now_ms, picture.median[0])]
    times = [start[0][0], *picture.ahead_ms]
    axes = cells.axes
    for low, high, glyph in (
        (picture.lo95, picture.hi95, glyphs.outer),
        (picture.lo80, picture.hi80, glyphs.inner),
    ):
        for column in range(axes.column(times[0]), axes.columns):
            moment = axes.time(column + 0.5)
            top, bottom = (axes.y(_between(times, [start[0][1], *bound], moment)) for bound in (high, low))
            for row in range(axes.rows):
                if min(bottom, row + 1) - max(top, row) >= _SHADED:
                    cells.put(column, row, glyph, BAND)


def _between(times: Sequence[int], values: Sequence[float], moment: float) -> float:
    """Return the value at a moment on the line through (times, values)."""
    place = min(max(bisect(times, moment), 1), len(times) - 1)
    begin, end = times[place - 1], times[place]
    share = min(1.0, max(0.0, (moment - begin) / max(1, end - begin)))
    return values[place - 1] + share * (values[place] - values[place - 1])


def _draw_limit(cells: Cells, picture: Picture, glyphs: Glyphs) -> None:
    """Draw the limit; heavier where it is reached within the 80 % band."""
    axes = cells.axes
    if not axes.low <= picture.limit <= axes.high:
        return
    row = axes.row(picture.limit)
    for column in range(axes.columns):
        cells.put(column, row, glyphs.limit, LIMIT)
    first, _, last = picture.full_ms
    if first is not None and first <= axes.to_ms:
        for column in range(axes.column(first), axes.column(axes.to_ms if last is None else last) + 1):
            cells.put(column, row, glyphs.limit_band, f"bold {LIMIT}")


def _draw_full(cells: Cells, picture: Picture, glyphs: Glyphs) -> None:
    """Mark where the median reaches the limit, above all lines."""
    axes, middle = cells.axes, picture.full_ms[1]
    if middle is not None and middle <= axes.to_ms and axes.low <= picture.limit <= axes.high:
        cells.put(axes.column(middle), axes.row(picture.limit), glyphs.full, f"bold {LIMIT}")


def _pieces(history: Sequence[tuple[int, float]], step_ms: int) -> Iterator[Sequence[tuple[int, float]]]:
    """Yield the runs without a gap."""
    begin = 0
    for place in range(1, len(history) + 1):
        if place == len(history) or history[place][0] - history[place - 1][0] > _BREAK_STEPS * step_ms:
            yield history[begin:place]
            begin = place


def _dots(points: Sequence[tuple[float, float]]) -> Iterator[tuple[int, int]]:
    """Yield the dots of a line that has no holes, in steep places too."""
    if len(points) == 1:
        yield int(points[0][0]), int(points[0][1])
    for (x, y), (right, below) in pairwise(points):
        count = max(1, round(2 * max(abs(right - x), abs(below - y))))
        for place in range(count + 1):
            yield int(x + (right - x) * place / count), int(y + (below - y) * place / count)


def time_axis(axes: Axes, now_ms: int, glyphs: Glyphs, margin: int) -> list[Text]:
    """Return the line below the picture, and its labels: "now" first, the others where there is room."""
    line, words = [glyphs.floor] * axes.columns, [" "] * axes.columns
    found = [(now_ms, "now"), *moments(axes.from_ms, axes.to_ms, axes.columns // _LABEL_COLUMNS)]
    for moment, label in found:
        column = axes.column(moment)
        begin = min(max(0, column - len(label) // 2), axes.columns - len(label))
        around = words[max(0, begin - 1) : begin + len(label) + 1]
        if "".join(around).strip():
            continue
        line[column] = glyphs.tick
        words[begin : begin + len(label)] = label
    return [
        Text(" " * (margin - 1)).append(glyphs.corner + "".join(line), EDGE),
        Text((" " * margin + "".join(words)).rstrip()),
    ]


def moments(from_ms: int, to_ms: int, most: int) -> Iterator[tuple[int, str]]:
    """Yield moments of local time to label, about `most` of them, with their labels."""
    hours = (to_ms - from_ms) / 3_600_000
    step = next((one for one in _HOURS if hours / one <= most), None)
    # naive local time goes over the change to summer time without a shift of the labels
    at = datetime.fromtimestamp(from_ms / 1000).replace(hour=0, minute=0, second=0, microsecond=0)  # noqa: DTZ006
    if step is None:
        months = next((one for one in _MONTHS if hours / (730.5 * one) <= most), _MONTHS[-1])
        at = at.replace(day=1, month=1)
    while (moment_ms := int(at.timestamp() * 1000)) <= to_ms:
        if moment_ms >= from_ms:
            if step is None:
                yield moment_ms, f"{at:%b %Y}"
            else:
                yield moment_ms, f"{at.day} {at:%b}" if step >= _DAY_HOURS or at.hour == 0 else f"{at:%H:%M}"
        if step is None:
            place = at.month - 1 + months
            at = at.replace(year=at.year + place // _YEAR_MONTHS, month=place % _YEAR_MONTHS + 1)
        else:
            at += timedelta(hours=step)


def _key(picture: Picture, glyphs: Glyphs, *, shown: bool) -> Text:
    text = Text()
    for glyph, style, said in (
        (glyphs.history or "⠒⠒", HISTORY, "was"),
        (glyphs.median or "⠒⠒", MEDIAN, "median"),
        (glyphs.inner * 2, BAND, "80 %"),
        (glyphs.outer * 2, BAND, "95 %"),
    ):
        text.append(glyph, style).append(f" {said}   ")
    limit = f"limit {picture.limit * 100:.4g} %"
    return text.append(glyphs.limit * 2, LIMIT).append(f" {limit}") if shown else text.append(f"{limit} lies above")
