"""When the host's model is trained again, and when it must not be.

Enters: what is measured of the host and of the model. Leaves: one trigger, or none. However many are due, they become
one training, and the next waits a day.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from daemon.config import Learning

_DAY_SECONDS = 86_400.0


class Trigger(StrEnum):
    """What started a training."""

    FIRST = "first"
    DRIFT = "drift"
    DEGRADATION = "degradation"
    SAMPLES = "samples"
    SCHEDULE = "schedule"
    HAND = "hand"
    SCHEMA = "schema"  # the features of this program are not those of the model before


@dataclass(frozen=True, slots=True)
class Standing:
    """How host and model stand.

    `age_seconds`: of this host, as far as it was watched; `since_seconds`, `new_samples`: since the champion was
    trained or a training was last tried; `drift`, `performance`, `baseline`: None = not known.
    """

    age_seconds: float
    since_seconds: float
    new_samples: int
    drift: float | None
    performance: float | None
    baseline: float | None
    on_battery: bool


def due(standing: Standing, settings: Learning) -> tuple[Trigger | None, str]:
    """Return the gravest trigger that is due, and why; or None, and what keeps it waiting."""
    trigger, words = _pulled(standing, settings)
    if trigger is None:
        return None, words
    if standing.age_seconds < _DAY_SECONDS:
        return None, f"{words}; waits: this host is not known for a day yet"
    if standing.on_battery:
        return None, f"{words}; waits: this host runs on its battery"
    if standing.since_seconds < _DAY_SECONDS:
        return None, f"{words}; waits: less than a day since the last training"
    return trigger, words


def _pulled(standing: Standing, settings: Learning) -> tuple[Trigger | None, str]:
    if standing.drift is not None and standing.drift >= settings.drift:
        return Trigger.DRIFT, f"drift {standing.drift:.2f}"
    if standing.performance is not None and standing.baseline is not None:
        lost = standing.baseline - standing.performance
        if lost >= settings.degradation:
            return Trigger.DEGRADATION, f"performance {standing.performance:.2f}, at first {standing.baseline:.2f}"
    if standing.new_samples >= settings.new_samples:
        return Trigger.SAMPLES, f"{standing.new_samples} new samples"
    if standing.since_seconds >= settings.interval_days * _DAY_SECONDS:
        return Trigger.SCHEDULE, f"{settings.interval_days} days"
    return None, "nothing calls for a training"


def on_battery(sys: Path) -> bool:
    """Tell whether a battery of the host's own is being discharged; False where there is none or it cannot be read."""
    try:
        supplies = sorted((sys / "class" / "power_supply").iterdir())
    except OSError:
        return False
    return any(
        _read(supply / "type") == "Battery"
        and _read(supply / "scope") != "Device"  # a mouse has one, too
        and _read(supply / "status") == "Discharging"
        for supply in supplies
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
