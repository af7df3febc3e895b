"""The words of capacity: over which horizon something is forecast, and with which bands.

Everything is told in the unit of its series; points are equally spaced, the newest last, and NaN before the first.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STEPS = 12  # ahead
POINTS = 96  # behind, as the network sees them


@dataclass(frozen=True, slots=True)
class Horizon:
    """Twelve steps of `step_seconds`; a season has `season` steps, and below `least` points nothing is said."""

    name: str
    step_seconds: float
    season: int
    least: int


HOURS = Horizon("hours", 3600.0, 24, 12)
DAYS = Horizon("days", 86_400.0, 7, 10)
MONTHS = Horizon("months", 30.4375 * 86_400.0, 12, 9)
HORIZONS = (HOURS, DAYS, MONTHS)


@dataclass(frozen=True, slots=True, eq=False)
class Bands:
    """What is to come, (R, 12) each: the mean, and the bounds within which 80 % and 95 % fall."""

    mean: Floats
    lo80: Floats
    hi80: Floats
    lo95: Floats
    hi95: Floats
