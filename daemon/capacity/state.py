"""What is known of every resource after a tick, in immutable pieces: what /metrics, the API and the alerts read."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import nan

import numpy as np

from daemon.capacity.resources import Resource
from detectors.exhaustion import REACH, WITHIN, Outlook
from detectors.forecasts import Floats, Horizon
from detectors.growth import Run

MEAN, LO80, HI80, LO95, HI95 = range(5)
_MONTH = list(WITHIN).index("30d")


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How the past forecasts of a resource over one horizon did here.

    `mase`: the mean absolute error in those of the seasonal naive method, NaN where the history was flat. The rest is
    the share of what came that lay within the bounds of 80 % and of 95 %.
    """

    forecasts: int
    mase: float
    coverage80: float
    coverage95: float


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """What one horizon says of a resource, in its unit.

    `points` (P,) end at `made_ms`, NaN before their beginning; `bands` (5, 12) are mean, lo80, hi80, lo95 and hi95,
    None where `needs` says what is lacking. `made_ns` is the same moment on the clock that never goes back. `said`: by
    how much the network corrected the first and the last step, in usual errors; None where it said nothing.
    """

    horizon: Horizon
    made_ms: int
    made_ns: int
    points: Floats
    needs: str
    bands: Floats | None = None
    methods: tuple[str, ...] = ()
    accuracy: Accuracy | None = None
    said: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the points of a resource tell beside the forecasts.

    `floor` is the lowest level of the last days, -inf where it is not known. `accustomed`: it has been used up for so
    long, and nobody minds, that it is no news. `trends`: growth that is younger than most of the history (see
    `detectors.trend`).
    """

    explanation: tuple[str, ...] = ()
    floor: float = -np.inf
    accustomed: bool = False
    trends: tuple[Run, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ResourceState:
    """One resource: its outlook as of `told_ms`, the words for it, and what each horizon says.

    `lasting` is the outlook by the forecasts alone, without what grows at this moment.
    """

    resource: Resource
    floor_ratio: float
    outlook: Outlook
    told_ms: int
    text: str
    lasting: Outlook
    explanation: tuple[str, ...] = ()
    horizons: tuple[Made, ...] = ()

    def time_ms(self, seconds: float) -> float:
        """Return a time of the outlook on the wall clock; `inf` is never."""
        return self.told_ms + 1000.0 * seconds


@dataclass(frozen=True, slots=True, eq=False)
class CapacityState:
    """All resources; `used` and `capacity` (R,) are of this tick. `problem`: what the forecasts lack."""

    resources: tuple[ResourceState, ...] = ()
    used: tuple[float, ...] = ()
    capacity: tuple[float, ...] = ()
    problem: str = ""

    def ranked(self) -> Iterator[tuple[ResourceState, float, float]]:
        """Yield each resource with its use and capacity, the most endangered within 30 days first."""
        every = zip(self.resources, self.used, self.capacity, strict=True)
        yield from sorted(every, key=lambda one: (-one[0].outlook.probability[_MONTH], one[0].resource.name))


def value_at(
    made: tuple[Made, ...], seconds: float, now_ms: int, now: float, *, fills: bool
) -> tuple[float, float, float]:
    """Return mean, lo80 and hi80 in `seconds` from now, from the nearest horizon that reaches so far.

    What is between two steps is on the line between them, before the first on that from what is `now`; where none
    reaches so far, the last one is continued: what `fills` by its slope, a load by the mean of its steps. NaN where
    nothing is said.
    """
    told = [(one, one.bands) for one in made if one.bands is not None]
    for place, (one, bands) in enumerate(told):
        at = (one.made_ms - now_ms) / 1000 + one.horizon.step_seconds * np.arange(1, bands.shape[1] + 1)
        if seconds > at[-1] and (place < len(told) - 1 or seconds > REACH * at[-1]):
            continue
        ahead = np.r_[0.0, at[at > 0]]
        if not fills and seconds > at[-1]:
            mean, lo80, hi80 = bands[[MEAN, LO80, HI80]].mean(axis=1).tolist()
            return mean, lo80, hi80
        lines = (np.r_[now, values[at > 0]] for values in bands[[MEAN, LO80, HI80]])
        mean, lo80, hi80 = (
            float(np.interp(seconds, ahead, line) + (line[-1] - now) * max(seconds / ahead[-1] - 1, 0))
            for line in lines
        )
        return mean, lo80, hi80
    return nan, nan, nan
