"""Two models side by side: what each takes for one sample, and where what is known of them differs.

Enters: models, and answers as the API gives them. Leaves: seconds, and words; `presage models diff` shows the same.
"""

import time
from collections.abc import Callable

import numpy as np

from daemon.window import RingWindow
from detectors.anomaly import AnomalyModel, LiveScorer
from detectors.features import WINDOW
from detectors.kernels import Backend

_TIMES = 25


def latency(model: AnomalyModel, window: RingWindow, backend: Backend) -> Callable[[], float | None]:
    """Copy what is scored, between two ticks; the answer, seconds or None without a sample, blocks for some 10 ms.

    The model is one's own: it computes with `backend` from then on.
    """
    rows = window.recent(model.signal_ids, WINDOW)
    hour = window.recent_hours(1)[-1]

    def measure() -> float | None:
        if not np.isfinite(rows[-1]).any():
            return None
        if model.network is not None:
            model.network.use(backend)
        scorer, taken = LiveScorer(model), []
        for _ in range(_TIMES):
            started = time.perf_counter()
            scorer.score(rows, hour)
            taken.append(time.perf_counter() - started)
        return float(np.median(taken))

    return measure
