"""What is known of the models after a tick, in one immutable piece."""

from dataclasses import dataclass, field
from enum import StrEnum


class Health(StrEnum):
    """How the model on duty does."""

    OK = "ok"
    UNKNOWN = "unknown"
    INACCURATE = "inaccurate"
    DEGRADED = "degraded"
    SLOW = "slow"


@dataclass(frozen=True, slots=True)
class ModelState:
    """One model that scores: its role, and, where it scores beside the champion, what it has raised so far."""

    name: str
    role: str
    episodes: int = 0


@dataclass(frozen=True, slots=True)
class ModelsState:
    """The models that score now.

    `performance`: the share of injected strengths that the champion notices in recent rows; `baseline`: what it was at
    first; `retention`: what it notices in earlier rows, of what its predecessor did; `latency`: seconds that it takes
    for one sample. None = not measured yet. `health` says what of that is beyond its threshold.
    """

    models: tuple[ModelState, ...] = ()
    performance: float | None = None
    baseline: float | None = None
    retention: float | None = None
    degraded: bool = False
    latency: float | None = None
    health: tuple[Health, ...] = (Health.UNKNOWN,)


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of one champion, as state.db keeps it."""

    name: str = ""
    baseline: float | None = None
    performance: float | None = None
    predecessor_threshold: float | None = field(default=None)
