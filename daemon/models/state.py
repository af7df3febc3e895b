"""What is known of the models after a tick, in one immutable piece, and how the one on duty does."""

from dataclasses import dataclass, field
from enum import StrEnum

from daemon.config import Learning


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


def health(
    performance: float | None, latency: float | None, interval_seconds: float, settings: Learning, *, degraded: bool
) -> tuple[Health, ...]:
    """Return all that is beyond its threshold in `settings`; where nothing is, whether that is known."""
    slow = latency is not None and latency > settings.latency * interval_seconds
    found = (
        (Health.INACCURATE, performance is not None and performance < settings.accuracy),
        (Health.DEGRADED, degraded),
        (Health.SLOW, slow),
    )
    beyond = tuple(one for one, holds in found if holds)
    return beyond or (Health.UNKNOWN if performance is None else Health.OK,)
