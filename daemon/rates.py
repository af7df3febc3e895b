"""Counters to rates. A first reading, a reset, a wrap and a gap are missing (NaN), never a number.

A negative difference cannot be told from a wrap, and a guess of a petabyte a second would become
training data, so both are missing. A difference over a gap is a mean over unseen time: missing too.
"""

from math import inf, nan


class Rates:
    """The previous totals of one collector.

    `gap_seconds`: a pause longer than this makes every rate missing once. Keys that are not read in
    a round are forgotten at the next one, so a device that vanishes leaves nothing behind.
    """

    def __init__(self, gap_seconds: float) -> None:
        self._gap_seconds = gap_seconds
        self._before: dict[object, tuple[float, float]] = {}
        self._now: dict[object, tuple[float, float]] = {}
        self._before_ns = 0
        self._now_ns = 0
        self._elapsed = nan

    def begin(self, monotonic_ns: int) -> None:
        """Start a round: what follows was read at `monotonic_ns`."""
        self._before, self._now = self._now, {}
        self._before_ns, self._now_ns = self._now_ns, monotonic_ns
        elapsed = (self._now_ns - self._before_ns) / 1e9
        self._elapsed = elapsed if 0 < elapsed <= self._gap_seconds else nan

    def per_second(self, key: object, total: float) -> float:
        """Return the change of the counter `key` per second, NaN where it is not known."""
        self._now[key] = (total, 0.0)
        before = self._before.get(key)
        if before is None or total < before[0]:
            return nan
        return _finite((total - before[0]) / self._elapsed)

    def quotient(self, key: object, numerator: float, denominator: float) -> float:
        """Return the change of `numerator` per change of `denominator`; 0 when neither moved."""
        self._now[key] = (numerator, denominator)
        before = self._before.get(key)
        if before is None or numerator < before[0] or denominator < before[1] or self._elapsed != self._elapsed:
            return nan
        change = denominator - before[1]
        if change:
            return _finite((numerator - before[0]) / change)
        return 0.0 if numerator == before[0] else nan

    def share(self, key: object, part: float, whole: float) -> float:
        """Return `quotient` as a ratio of at most 1: jiffies of a part may run ahead of those of the whole."""
        return min(self.quotient(key, part, whole), 1.0)  # in this order min() keeps NaN

    def share_of_time(self, key: object, seconds: float) -> float:
        """Return the share of the elapsed time by which the clock-like counter `seconds` grew, at most 1."""
        return min(self.per_second(key, seconds), 1.0)


def _finite(value: float) -> float:
    return value if value < inf else nan
