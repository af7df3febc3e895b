"""The last day of what the risk rests on: the samples of the signals that are factors, with their gaps.

Enters: each sample of all signals, and what is known beside them. Leaves: factors (T, 32) for the failure network.
The window of the anomaly detector does not serve: our own work is blanked there, and a gap is one row. Here time is
kept, since a line through samples tells when something ends.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.clock import Instant
from daemon.history import History
from daemon.signals import SignalRegistry
from daemon.window import Float32, RingWindow
from detectors.factor_features import SPAN
from detectors.factors import Factors, Gathering, feeds

Floats = NDArray[np.float64]

_BESIDE = ("anomaly", "expected_full")  # known at each tick and no signals; they take ids below those of signals
_BESIDE_IDS = (-1, -2)
_KEPT_MS = 28 * 86_400_000  # "failures within four weeks"


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """Which of the registry's signals are kept: their places `rows`, the ids of the ring's columns, how they gather."""

    of: NDArray[np.int64]
    rows: NDArray[np.intp]
    ids: NDArray[np.int64]
    gathering: Gathering


class FactorSamples:
    """Holds the last 2,880 samples. Called on the event loop only, but for `restore` and what `reading` returns."""

    def __init__(self, registry: SignalRegistry, interval_seconds: float) -> None:
        self._registry = registry
        self._interval = interval_seconds
        self._ring = RingWindow(SPAN)
        self._plan = self._planned()
        self._last_ms: int | None = None  # of what was restored
        self._last_ns: int | None = None

    def restore(self, history: History) -> None:
        """Take up the last samples that are stored; blocks, before anything is pushed."""
        rows, plan = history.last_rows(SPAN), self._plan
        column = {number: place for place, number in enumerate(rows.signal_ids)}
        places = np.array([column.get(number, len(column)) for number in plan.ids.tolist()])
        values = np.pad(rows.values, ((0, 0), (0, 1)), constant_values=np.nan)[:, places]
        for row, time_ms in zip(values, rows.time_ms.tolist(), strict=True):
            if self._last_ms is not None:
                self._leave_out((time_ms - self._last_ms) / 1000)
            self._ring.push(plan.ids, row, 0)
            self._last_ms = time_ms

    def push(self, values: Float32, now: Instant, anomaly: float, expected_full: float) -> None:
        """Add one sample: `values` (S,) of the registry's signals, and what has none; NaN = not known."""
        plan = self._follow()
        if self._last_ns is not None:
            self._leave_out((now.boottime_ns - self._last_ns) / 1e9)
        elif self._last_ms is not None:
            self._leave_out((now.time_ms - self._last_ms) / 1000)
        self._last_ns = now.boottime_ns
        row = np.concatenate([values[plan.rows], np.array([anomaly, expected_full], np.float32)])
        self._ring.push(plan.ids, row, 0)

    def reading(self, failed_ms: Sequence[int], now_ms: int) -> Callable[[], Factors]:
        """Copy what there is; the answer makes factors of it, and is called off the loop. `failed_ms`: own failures."""
        plan, interval_ms = self._plan, self._interval * 1000
        samples = self._ring.recent(plan.ids, self._ring.filled)
        return lambda: _gathered(plan.gathering, samples, _own_failures(failed_ms, now_ms, interval_ms, len(samples)))

    def _leave_out(self, seconds: float) -> None:
        """Leave room for what was not sampled since the last sample, `seconds` ago."""
        for _ in range(min(round(seconds / self._interval) - 1, SPAN)):
            self._ring.push_gap(0)

    def _follow(self) -> _Plan:
        """Look whether signals have come or gone."""
        if self._plan.of is not self._registry.ids:
            self._plan = self._planned()
            known = set(self._plan.ids.tolist())
            self._ring.forget([number for number in self._ring.signal_ids if number not in known])
        return self._plan

    def _planned(self) -> _Plan:
        every, ids = self._registry.specs, self._registry.ids
        rows = np.array([row for row, spec in enumerate(every) if feeds(spec)], np.intp)
        kept = np.concatenate([ids[rows], np.array(_BESIDE_IDS, np.int64)])
        return _Plan(ids, rows, kept, Gathering([every[row] for row in rows.tolist()]))


def _gathered(gathering: Gathering, samples: Float32, own: dict[str, Floats]) -> Factors:
    beside = {name: samples[:, -len(_BESIDE) + place].astype(np.float64) for place, name in enumerate(_BESIDE)}
    return gathering(samples[:, : -len(_BESIDE)], {**beside, **own})


def _own_failures(failed_ms: Sequence[int], now_ms: int, interval_ms: float, count: int) -> dict[str, Floats]:
    """Return at each of the last `count` samples how long ago the last failure was, and how many there were."""
    at = now_ms - interval_ms * np.arange(count - 1, -1, -1)
    failed = np.sort(np.array(failed_ms, np.float64))
    before = np.searchsorted(failed, at, side="right")
    age = np.full(count, np.nan)
    known = before > 0
    age[known] = (at[known] - failed[before[known] - 1]) / 1000
    return {"failure_age": age, "failures": (before - np.searchsorted(failed, at - _KEPT_MS)).astype(np.float64)}
