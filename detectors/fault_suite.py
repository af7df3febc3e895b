"""Faults put into a host's own quiet rows: how much of what goes wrong here a model would notice.

Enters: quiet rows (T, S) of signal values, their hours, the scale floors. Leaves: stretches of them, each once as it
was and once for every strength of one fault, and which share of the strengths a model raises. The same seed gives the
same faults, so two models are compared on the same ones. No network is ever trained on them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from detectors.anomaly import SCORE_SPAN
from detectors.features import SPAN

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Hours = NDArray[np.int64]
Random: TypeAlias = "np.random.Generator"  # imported by who draws: the daemon does not

FAULTS = 100
STRENGTHS = (1.5, 3.0, 6.0, 12.0, 24.0)  # of a signal's own spread
_LEAD = SPAN + SCORE_SPAN  # rows before a fault that its first score looks back on, its means included
_LASTS = 30  # rows
ROWS = _LEAD + _LASTS  # of one stretch
_SPIKE = 3  # rows
_MOST_SIGNALS = 0.25  # of the signals that one fault touches


@dataclass(frozen=True, slots=True)
class Suite:
    """`values` (F, 1 + K, 60, S): F faults at no strength and at K of them; `hours` (F, 60)."""

    values: Float32
    hours: Hours

    @property
    def faults(self) -> int:
        """Number of faults."""
        return len(self.values)


def _shift(random: Random, strength: float, scale: Float64) -> Float64:
    return np.broadcast_to(random.choice((-1.0, 1.0), len(scale)) * strength * scale, (_LASTS, len(scale)))


def _spike(random: Random, strength: float, scale: Float64) -> Float64:
    return np.where(np.arange(_LASTS)[:, None] < _SPIKE, _shift(random, strength, scale), 0.0)


def _ramp(random: Random, strength: float, scale: Float64) -> Float64:
    return np.linspace(0, 2, _LASTS)[:, None] * _shift(random, strength, scale)


def _shake(random: Random, strength: float, scale: Float64) -> Float64:
    return random.normal(size=(_LASTS, len(scale))) * strength * scale


def _beat(random: Random, strength: float, scale: Float64) -> Float64:
    """On and off: a unit that starts, fails, and starts again."""
    on = np.arange(_LASTS) // random.integers(2, 6) % 2
    return on[:, None] * _shift(random, strength, scale)


KINDS: dict[str, Callable[[Random, float, Float64], Float64]] = {
    "shift": _shift,
    "spike": _spike,
    "ramp": _ramp,
    "shake": _shake,
    "beat": _beat,
}


def build(values: Float32, hours: Hours, floor: Float64, usable: NDArray[np.bool_], *, seed: int, faults: int) -> Suite:
    """Put `faults` faults into stretches of 60 rows of `values` (T, S) that `usable` (T,) says are quiet throughout.

    A signal's spread is that of the usable rows; signals that were never seen there are left alone. Fewer come
    back, maybe none, where there are fewer stretches than a tenth of what is asked for.
    """
    random = np.random.default_rng([seed, 7])
    starts = _stretches(usable)
    if len(starts) < max(1, faults // 10):
        return Suite(
            np.zeros((0, 1 + len(STRENGTHS), ROWS, values.shape[1]), np.float32), np.zeros((0, ROWS), np.int64)
        )
    scale, seen = _spread(values[usable], floor)
    places = np.flatnonzero(seen)
    chosen = random.choice(starts, faults, replace=len(starts) < faults)
    at = chosen[:, None] + np.arange(ROWS)
    out = np.repeat(values[at][:, None], 1 + len(STRENGTHS), axis=1)
    kinds = list(KINDS.values())
    for fault in range(faults):
        count = int(np.exp(random.uniform(0, np.log(max(2.0, _MOST_SIGNALS * len(places)) + 1))))
        touched = random.choice(places, min(count, len(places)), replace=False)
        state = int(random.integers(2**32))
        for place, strength in enumerate(STRENGTHS, 1):  # the same fault, but for its strength
            added = kinds[fault % len(kinds)](np.random.default_rng(state), strength, scale[touched])
            out[fault, place, _LEAD:, touched] += added.T.astype(np.float32)
    return Suite(out, hours[at])


def _stretches(usable: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return where a stretch can begin: every fifth of those from which on all rows are usable."""
    total = np.concatenate([[0], np.cumsum(usable)])
    whole = total[ROWS:] - total[:-ROWS] == ROWS if len(usable) >= ROWS else np.zeros(0, np.bool_)
    return np.flatnonzero(whole)[::5]


def _spread(values: Float32, floor: Float64) -> tuple[Float64, NDArray[np.bool_]]:
    """Return the spread (S,) of each signal, at least its floor, and whether it was seen."""
    seen = np.isfinite(values).any(axis=0)
    low, high = np.nanquantile(np.where(seen, values, 0.0), [0.25, 0.75], axis=0)
    std = np.nanstd(np.where(seen, values, 0.0), axis=0)
    return np.maximum(np.maximum((high - low) / 1.349, 0.25 * std), floor), np.asarray(seen)


def noticed(suite: Suite, score: Callable[[Float32, Hours], Float32], threshold: float) -> Float64:
    """Return of each fault (F,) the share of its strengths that `score` raises above `threshold`.

    `score` takes rows (T, S) and hours (T,) and returns scores (T - 15,). A stretch that is raised as it was is
    noticed at no strength: an alarm that is always on tells nothing.
    """
    faults, versions, rows, signals = suite.values.shape
    if not faults:
        return np.zeros(0)
    apart = np.full((faults, versions, rows + 1, signals), np.nan, np.float32)  # a gap after each
    apart[:, :, :rows] = suite.values
    hours = np.repeat(np.pad(suite.hours, ((0, 0), (0, 1)), mode="edge")[:, None], versions, axis=1)
    scores = score(apart.reshape(-1, signals), hours.reshape(-1))
    whole = np.concatenate([np.full(SPAN, np.nan), scores]).reshape(faults, versions, rows + 1)
    peak = np.nan_to_num(whole[:, :, _LEAD:rows], nan=-np.inf).max(axis=2)  # (F, 1 + K)
    raised = peak > threshold
    return np.asarray(np.where(raised[:, 0], 0.0, raised[:, 1:].mean(axis=1)))
