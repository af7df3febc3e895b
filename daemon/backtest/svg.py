"""Small helpers for plots in a page: elements, numbers, a time axis, and lines thinned to what a screen shows.

Enters: numbers and texts. Leaves: SVG, every text escaped and every number finite. Plots are stretched to the width
of the page, so no text stands in them: labels are HTML beside them.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape

import numpy as np
from numpy.typing import NDArray

WIDTH = 1000.0

_TICKS = 8
_STEPS_HOURS = (1, 3, 6, 12, 24, 48, 96, 168, 336, 672, 1344, 2688, 5376)
_DAY_HOURS = 24


def number(value: float) -> str:
    """Return a coordinate with one decimal; what is not finite is 0."""
    text = f"{value if math.isfinite(value) else 0.0:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def element(name: str, content: str = "", /, **attributes: str | float) -> str:
    """Return an element; `content` is markup, attributes are escaped here. `class_` is class, `_` stands for `-`."""
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value) if isinstance(value, str) else number(value)}"'
        for key, value in attributes.items()
    )
    return f"<{name}{said}>{content}</{name}>"


def plot(content: str, height: float, label: str) -> str:
    """Return a picture of 1000 by `height` units that is stretched to its place."""
    return (
        f'<svg viewBox="0 0 {number(WIDTH)} {number(height)}" preserveAspectRatio="none" role="img"'
        f' aria-label="{escape(label)}">{content}</svg>'
    )


def rectangle(left: float, top: float, width: float, height: float, *, kind: str, title: str = "") -> str:
    """Return a filled rectangle of a class, with what is shown when somebody points at it."""
    inside = element("title", escape(title)) if title else ""
    return element("rect", inside, x=left, y=top, width=max(width, 0.0), height=max(height, 0.0), class_=kind)


def vertical(x: float, height: float, kind: str) -> str:
    """Return a line from top to bottom."""
    return element("line", x1=x, y1=0.0, x2=x, y2=height, class_=kind)


def horizontal(y: float, kind: str) -> str:
    """Return a line from left to right."""
    return element("line", x1=0.0, y1=y, x2=WIDTH, y2=y, class_=kind)


def line(pieces: Sequence[Sequence[tuple[float, float]]], kind: str) -> str:
    """Return a line through the points of each piece; the pieces are not joined."""
    path = "".join(_piece(piece) for piece in pieces if piece)
    return element("path", d=path, class_=kind) if path else ""


def _piece(points: Sequence[tuple[float, float]]) -> str:
    said = [f"{number(x)} {number(y)}" for x, y in points]
    return f"M{said[0]}h0" if len(said) == 1 else "M" + "L".join(said)


@dataclass(frozen=True, slots=True)
class Span:
    """A time axis from `from_ms` to `to_ms`, UTC milliseconds."""

    from_ms: int
    to_ms: int

    def share(self, time_ms: int) -> float:
        """Return where a moment stands, 0 at the left and 1 at the right; what is outside stands at the edge."""
        return min(1.0, max(0.0, (time_ms - self.from_ms) / max(1, self.to_ms - self.from_ms)))

    def x(self, time_ms: int) -> float:
        """Return where a moment stands in the picture."""
        return WIDTH * self.share(time_ms)

    def block(self, from_ms: int, to_ms: int, height: float, kind: str, *, title: str = "", least: float = 1.5) -> str:
        """Return a rectangle of full height over some time, `least` units wide so that a moment is seen."""
        left = self.x(from_ms)
        width = max(least, self.x(to_ms) - left)
        return rectangle(min(left, WIDTH - width), 0.0, width, height, kind=kind, title=title)

    def ticks(self) -> Iterator[tuple[int, str]]:
        """Yield moments of local time to label, at most 8 or so, with their labels."""
        hours = (self.to_ms - self.from_ms) / 3_600_000
        step = next((step for step in _STEPS_HOURS if hours / step <= _TICKS), _STEPS_HOURS[-1])
        # naive local time steps over the change to summer time without a shift of the labels
        at = datetime.fromtimestamp(self.from_ms / 1000).replace(hour=0, minute=0, second=0, microsecond=0)  # noqa: DTZ006
        while (moment_ms := int(at.timestamp() * 1000)) <= self.to_ms:
            if moment_ms >= self.from_ms:
                yield moment_ms, f"{at.day} {at:%b}" if step >= _DAY_HOURS or at.hour == 0 else f"{at:%H:%M}"
            at += timedelta(hours=step)


def thinned(
    time_ms: NDArray[np.int64], values: NDArray[np.floating], most: int, gap_ms: float
) -> list[NDArray[np.intp]]:
    """Return the rows to draw, in pieces that end where nothing is known for longer than `gap_ms`.

    `values` (T,) has NaN for what is missing; of each bucket of time the least and the greatest value are kept, at
    most `most` rows in all. A gap within one bucket is too narrow to be seen.
    """
    seen = np.flatnonzero(np.isfinite(values))
    if len(seen) == 0:
        return []
    if len(seen) > most:
        time = time_ms[seen]
        width = max(1.0, float(time[-1] - time[0] + 1) / max(1, most // 2))
        bucket = ((time - time[0]) / width).astype(np.int64)
        starts = np.flatnonzero(np.diff(bucket, prepend=-1))
        kept: list[int] = []
        for begin, end in zip(starts.tolist(), [*starts[1:].tolist(), len(seen)], strict=True):
            part = values[seen[begin:end]]
            kept += sorted({begin + int(np.argmin(part)), begin + int(np.argmax(part))})
        chosen = seen[np.array(kept)]
        gap_ms = max(gap_ms, 2 * width)
    else:
        chosen = seen
    breaks = np.flatnonzero(np.diff(time_ms[chosen]) > gap_ms) + 1
    return np.split(chosen, breaks)
