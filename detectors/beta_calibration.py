"""Scores to probabilities that come true: beta calibration, fitted on rows that no score was trained on.

Enters: scores (N,) in 0..1 and what came (N,), 0 or 1. Leaves: a map that keeps the order of all scores, without ties,
so that no ranking is lost (isotonic steps lose it). Three numbers; few rows give nearly the base rate.

Kull, Silva Filho and Flach, "Beyond sigmoids: how to obtain well-calibrated probabilities from binary classifiers with
beta calibration", EJS 2017. With equal exponents it is Platt's sigmoid of the logit.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_EDGE = 1e-6  # a score of exactly 0 or 1 would be a logarithm without end
_ROUNDS = 60
_RIDGE = 1e-3  # of a row's weight, towards exponents of 1: what a handful of rows say is not all believed
_DONE = 1e-9


@dataclass(frozen=True, slots=True)
class BetaCalibration:
    """logit(p) = a ln(s) - b ln(1 - s) + c, with a and b of at least 0."""

    a: float = 1.0
    b: float = 1.0
    c: float = 0.0

    def __call__(self, scores: Floats) -> Floats:
        """Return the probabilities of `scores`, any shape; NaN stays NaN."""
        held = np.clip(np.asarray(scores, np.float64), _EDGE, 1 - _EDGE)
        logit = self.a * np.log(held) - self.b * np.log1p(-held) + self.c
        return np.asarray(1 / (1 + np.exp(-np.clip(logit, -50, 50))))


def fit(scores: Floats, came: Floats, weights: Floats | None = None) -> BetaCalibration:
    """Return the calibration of `scores` (N,) to `came` (N,), each row counted by `weights` (N,).

    Newton's steps on the logistic loss; an exponent that would fall below 0 is 0, and the others are fitted again.
    Raises ValueError without rows, and where a value is not finite.
    """
    counted = np.ones(len(scores)) if weights is None else np.asarray(weights, np.float64)
    known = np.isfinite(scores).all() and np.isfinite(came).all() and np.isfinite(counted).all()
    if not len(scores) or not len(scores) == len(came) == len(counted) or not known:
        raise ValueError(f"{len(scores)} scores and {len(came)} outcomes: as many of each, finite, one at least")
    held = np.clip(np.asarray(scores, np.float64), _EDGE, 1 - _EDGE)
    columns = np.stack([np.log(held), -np.log1p(-held), np.ones(len(held))], axis=1)  # (N, 3)
    free = np.ones(3, np.bool_)
    while True:
        found = _newton(columns, np.asarray(came, np.float64), counted, free)
        negative = free & (found < 0) & np.array([True, True, False])
        if not negative.any():
            return BetaCalibration(*found.tolist())
        free &= ~negative


def _newton(columns: Floats, came: Floats, weights: Floats, free: NDArray[np.bool_]) -> Floats:
    """Minimise the logistic loss over the `free` of three parameters; the others are 0."""
    x, prior = columns[:, free], np.array([1.0, 1.0, 0.0])[free]
    ridge = _RIDGE * weights.sum() * np.array([1.0, 1.0, 0.0])[free] / max(len(came), 1) + 1e-9

    def loss(at: Floats) -> float:
        logit = x @ at
        return float(weights @ (np.logaddexp(0, logit) - came * logit) + 0.5 * ridge @ (at - prior) ** 2)

    at = prior.copy()
    best = loss(at)
    for _ in range(_ROUNDS):
        p = 1 / (1 + np.exp(-np.clip(x @ at, -50, 50)))
        gradient = x.T @ (weights * (p - came)) + ridge * (at - prior)
        curve = (x * (weights * p * (1 - p))[:, None]).T @ x + np.diag(ridge + 1e-9)
        step = np.linalg.solve(curve, gradient)
        size = 1.0
        while (tried := loss(at - size * step)) > best and size > _DONE:  # Newton overshoots where all is certain
            size /= 2
        if tried > best - _DONE * max(1.0, abs(best)):
            break
        at, best = at - size * step, tried
    out = np.zeros(3)
    out[free] = at
    return out
