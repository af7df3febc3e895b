"""Which signals a score is about: ranked by plain surprise (on real servers better than integrated gradients)."""

import numpy as np
from numpy.typing import NDArray

from detectors.features import Context


def ranking(surprise: NDArray[np.float32], count: int) -> list[tuple[int, float]]:
    """Return (column, share of the score's cube) of the `count` most surprising signals of `surprise` (S,)."""
    cubes = surprise.astype(np.float64) ** 3
    total = float(cubes.sum())
    if total <= 0:
        return []
    order = np.argsort(-cubes, kind="stable")[:count]
    return [(int(column), float(cubes[column] / total)) for column in order if cubes[column] > 0]


def expected_range(context: Context, column: int, hour: int) -> tuple[float, float]:
    """Return what is usual for a signal at this hour of the week, in its unit: the middle 96 % of the reference."""
    low, high = float(context.low[column]), float(context.high[column])
    season = float(context.season[hour, column])
    if np.isfinite(season):
        move = season - float(context.centre[0, column])
        return low + move, high + move
    return low, high
