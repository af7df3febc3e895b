"""What the model on duty would say of samples that nobody took: the newest one, with other values in some places.

Enters: values by signal, and the window as it stands. Leaves: scores, and the signals that they rest on. It is no
sample: nothing is stored, no alarm raised, no threshold moved.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from daemon.errors import DeskError
from daemon.signals import SignalRegistry
from daemon.watch import AnomalyWatch
from detectors.anomaly import SCORE_SPAN, score_rows
from detectors.calibration import shown_score
from detectors.explain import ranking
from detectors.features import SPAN
from detectors.registry import ModelError

Values = Mapping[str, float | None]

_TOP = 5


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model would say; None where nothing of the sample is known. `contributions`: the top five, by share.

    `confidence` that this is no quiet time: the share of what the model has seen of it that scores lower, one sample
    more held against it (conformal: Vovk, Gammerman, Shafer, 2005). `seconds`: how long it took.
    """

    model: str
    raw: float | None
    threshold: float
    shown: float | None
    network: float | None
    contributions: tuple[tuple[str, float], ...]
    confidence: float | None = None
    seconds: float = 0.0

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
    model = replace(watch.model, network=None if network is None else network.own())
    names = [registry.spec_of(number).name for number in model.signal_ids]
    columns = {name: column for column, name in enumerate(names)}
    unknown = sorted({name for values in samples for name in values} - columns.keys())
    if unknown:
        raise DeskError(f"the model on duty does not know {', '.join(unknown[:_TOP])}")
    rows = watch.window.recent(model.signal_ids, SPAN + SCORE_SPAN)
    hours = np.array(watch.window.recent_hours(1) * (SPAN + SCORE_SPAN))
    quiet = np.sort(model.quiet_scores)
    serves, threshold, shown = watch.name, watch.in_force, watch.score_threshold

    def one(values: Values) -> Prediction:
        started = time.perf_counter()
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
            confidence=int(np.searchsorted(quiet, raw)) / (len(quiet) + 1) if known else None,
            seconds=time.perf_counter() - started,
        )

    return lambda: [one(values) for values in samples]
