"""What about a signal is unusual: its level, or how it moves.

Enters: the context, the last 16 samples, their surprise, and the range in which the level is expected.
Leaves: one word a signal. A surprise has eight sources, and only one of them is a level outside of its range.
"""

import numpy as np
from numpy.typing import NDArray

from detectors.features import FEATURES, SPAN, Context
from detectors.findings import Direction

_MARGIN = 0.5  # of the smallest scale that matters: a level that is beyond its range by less is within it
_MOVES = tuple(FEATURES.index(name) for name in ("slope", "difference", "volatility", "factors"))


class Directions:
    """Reads the directions of some signals of the last row of `window` (16, S), surprising by `features` (S, 8)."""

    def __init__(self, context: Context, window: NDArray[np.float32], features: NDArray[np.float32]) -> None:
        self._context = context
        self._window = window.astype(np.float64)
        self._features = features

    def of(self, column: int, low: float, high: float) -> Direction:
        """Return what is unusual about the signal in `column`, whose level is expected from `low` to `high`."""
        value = float(self._window[-1, column])
        margin = _MARGIN * float(self._context.floor[column])
        if not np.isfinite(value):
            return Direction.UNKNOWN
        if value > high + margin:
            return Direction.ABOVE
        if value < low - margin:
            return Direction.BELOW
        return self._move(column, value)

    def recent(self, column: int) -> tuple[float, float]:
        """Return the extremes of the last 15 samples."""
        values = self._window[-SPAN:, column]
        known = values[np.isfinite(values)]
        return (float(known.min()), float(known.max())) if len(known) else (np.nan, np.nan)

    def _move(self, column: int, value: float) -> Direction:
        features = self._features[column]
        strongest = max(_MOVES, key=lambda feature: features[feature])
        if features[strongest] <= 0:
            return Direction.UNKNOWN
        match FEATURES[strongest]:
            case "difference":
                return Direction.RISING if value > self._window[-2, column] else Direction.FALLING
            case "slope":
                half = SPAN // 2
                early, late = self._window[1 : 1 + half, column], self._window[-half:, column]
                return Direction.RISING if late.mean() > early.mean() else Direction.FALLING
            case "volatility":
                spread = self._window[-SPAN:, column].std()
                usual = np.exp(self._context.centre[FEATURES.index("volatility"), column])
                return Direction.CHANGEABLE if spread > usual else Direction.FLAT
            case _:
                return Direction.APART
