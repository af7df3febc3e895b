"""What the model on duty would say of samples that nobody took: the newest one, with other values in some places.

Enters: values by signal, and the window as it stands. Leaves: scores, and the signals that they rest on. It is no
sample: nothing is stored, no alarm raised, no threshold moved.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from daemon.errors import DeskError
from daemon.signals import SignalRegistry
from daemon.watch import AnomalyWatch
from detectors.anomaly import SCORE_SPAN, score_rows
from detectors.calibration import shown_score
from detectors.explain import ranking
from detectors.features import SPAN
from detectors.network import Network
from detectors.registry import ModelError

Values = Mapping[str, float | None]

MOST_SAMPLES = 256
_TOP = 5


class PredictRequest(BaseModel):
    """One sample: values by the name of the signal, null = missing; all others are as they were last."""

    model_config = ConfigDict(extra="forbid")

    network: str = "anomaly"
    values: dict[str, FiniteFloat | None] = {}


class PredictBatchRequest(BaseModel):
    """Several samples, each by itself the next one: not one after the other."""

    model_config = ConfigDict(extra="forbid")

    network: str = "anomaly"
    samples: list[dict[str, FiniteFloat | None]] = Field(min_length=1, max_length=MOST_SAMPLES)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model would say; None where nothing of the sample is known. `contributions`: the top five, by share."""

    model: str
    raw: float | None
    threshold: float
    shown: float | None
    network: float | None
    contributions: tuple[tuple[str, float], ...]

    @property
    def alarmed(self) -> bool:
        """Whether such a sample would raise an alarm, as far as its score decides."""
        return self.raw is not None and self.raw > self.threshold


def predictions(
    watch: AnomalyWatch, registry: SignalRegistry, samples: Sequence[Values]
) -> Callable[[], list[Prediction]]:
    """Copy what the answer rests on, between two ticks; the answer blocks for a few ms a sample, off the loop.

    Raises ModelError where there is no model yet, DeskError for a signal that it does not know.
    """
    if watch.model is None:
        raise ModelError("there is no model yet")
    network = watch.model.network
    # a network owns its scratch: the one on duty belongs to the tick
    own = None if network is None else Network(network.architecture, network.parameters)
    model = replace(watch.model, network=own)
    names = [registry.spec_of(number).name for number in model.signal_ids]
    columns = {name: column for column, name in enumerate(names)}
    unknown = sorted({name for values in samples for name in values} - columns.keys())
    if unknown:
        raise DeskError(f"the model on duty does not know {', '.join(unknown[:_TOP])}")
    rows = watch.window.recent(model.signal_ids, SPAN + SCORE_SPAN)
    hours = np.array(watch.window.recent_hours(1) * (SPAN + SCORE_SPAN))
    serves, threshold, shown = watch.name, watch.in_force, watch.score_threshold

    def one(values: Values) -> Prediction:
        changed = rows.copy()
        for name, value in values.items():
            changed[-1, columns[name]] = np.nan if value is None else value
        score = score_rows(model, changed, hours)
        raw, network = float(score.raw[-1]), float(score.network[-1])
        known = not math.isnan(raw)
        top = ranking(score.attribution[-1], _TOP) if known else ()
        return Prediction(
            model=serves,
            raw=raw if known else None,
            threshold=threshold,
            shown=shown_score(raw, threshold, shown) if known else None,
            network=network if known and not math.isnan(network) else None,
            contributions=tuple((names[column], share) for column, share in top),
        )

    return lambda: [one(values) for values in samples]
