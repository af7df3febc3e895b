"""Histories of failures that never happened: what the hazard network learns before it sees a host.

Enters: a seed. Leaves: rows of `event_features.tempo` and whether a failure came within an hour and a day. Each history
is a group of 1 to 100 units watched for 20 to 500 days. Units differ in how often they fail, rates change from time
to time, a failure brings further ones there or elsewhere, some histories have shocks that hit many units at once, and
in some a failure repeats for a while. Every constant is drawn anew for each history, over orders of magnitude, so that
what is learned is how to read a tempo, not what the tempo of some machine was.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.event_features import DAY, HOUR, TEMPO, Times, tempo, thinned
from detectors.network import Float32

Units = NDArray[np.int64]

HORIZONS = (HOUR, DAY)
_GENERATIONS = 60
_MOST = 20_000  # events of a history, before it stops to grow
_WATCHED = 12  # units whose rows are taken of one history
_NEAR = 2 * HOUR


@dataclass(frozen=True, slots=True)
class Past:
    """One history: `times` (N,) in seconds from 0 to `end`, and whose they are, `unit` (N,) below `units`."""

    units: int
    end: float
    times: Times
    unit: Units


def simulated(histories: int, rows: int, seed: int) -> tuple[Float32, Float32, Float32]:
    """Return about `rows` rows of each history: inputs (R, TEMPO), what came (R, 2), 0 or 1, and weights (R,).

    Half of the moments are drawn within two hours after a failure, where the next hour is decided, and weigh as much
    less as they are drawn more often.
    """
    inputs, came = [np.zeros((0, TEMPO), np.float32)], [np.zeros((0, len(HORIZONS)), np.float32)]
    weights = [np.zeros(0, np.float32)]
    for number in range(histories):
        rng = np.random.default_rng([seed, number])
        past = history(rng)
        own = [thinned(past.times[past.unit == unit]) for unit in range(past.units)]
        group = np.sort(np.concatenate(own))
        watched = rng.permutation(past.units)[:_WATCHED]
        for unit in watched:
            at, weight = _moments(rng, own[unit], past.end, max(rows // len(watched), 1))
            inputs.append(tempo(own[unit], group, past.units, 0.0, at))
            came.append(within(own[unit], at))
            weights.append(weight)
    return np.concatenate(inputs), np.concatenate(came), np.concatenate(weights)


def _moments(rng: "np.random.Generator", failures: Times, end: float, rows: int) -> tuple[Times, Float32]:
    """Return moments (R,) to look from, ascending, and what each weighs."""
    first, last = 0.03 * end, end - DAY
    at = rng.uniform(first, last, rows)
    some = failures[(failures > first) & (failures < last - _NEAR)]
    if not len(some):
        return np.sort(at), np.ones(rows, np.float32)
    near = rng.random(rows) < 0.5  # noqa: PLR2004 - half
    at[near] = rng.choice(some, near.sum()) + rng.uniform(0, _NEAR, near.sum())
    at = np.sort(at)
    lately = np.searchsorted(some, at, side="right") - np.searchsorted(some, at - _NEAR, side="left")
    often = lately / len(some) * (last - first) / _NEAR  # as against moments drawn evenly
    return at, (1 / (0.5 + 0.5 * often)).astype(np.float32)


def within(failures: Times, at: Times) -> Float32:
    """Return whether one of `failures`, ascending, comes after each of `at` (R,) and within each horizon, (R, 2)."""
    following = np.append(failures, np.inf)[np.searchsorted(failures, at, side="right")] - at
    return np.column_stack([following <= horizon for horizon in HORIZONS]).astype(np.float32)


def history(rng: "np.random.Generator") -> Past:
    """Draw one history."""
    units = round(_log_uniform(rng, 1, 100)) if rng.random() < 0.8 else 1  # noqa: PLR2004 - one in five is a host alone
    end = _log_uniform(rng, 20, 500) * DAY
    parts = [_spread(rng, _background(rng, units, end), units, end)]
    if units > 1 and rng.random() < 0.6:  # noqa: PLR2004 - a share
        parts.append(_shocks(rng, units, end))
    times, unit = (np.concatenate(part) for part in zip(*parts, strict=True))
    if rng.random() < 0.5:  # noqa: PLR2004 - half
        again = np.repeat(np.arange(len(times)), rng.poisson(2, len(times)))
        late = rng.uniform(0, _log_uniform(rng, 300, 3 * HOUR), len(again))
        times, unit = np.r_[times, times[again] + late], np.r_[unit, unit[again]]
    seen = times < end
    return Past(units, end, times[seen], unit[seen])


def _log_uniform(rng: "np.random.Generator", low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _background(rng: "np.random.Generator", units: int, end: float) -> tuple[Times, Units]:
    """Return failures that nothing brought: rates differ between units, and change for all at some times."""
    shape = _log_uniform(rng, 0.3, 10)
    own = rng.gamma(shape, 1 / shape, units) * _log_uniform(rng, 1 / 1500, 1 / 3)  # a day
    changes = np.sort(rng.uniform(0, end, rng.poisson(end / DAY / _log_uniform(rng, 15, 200))))
    level = np.exp(rng.normal(0, _log_uniform(rng, 0.2, 1.5), len(changes) + 1))
    edges = np.r_[0.0, changes, end]
    times, unit = [], []
    for low, high, factor in zip(edges[:-1], edges[1:], level, strict=True):
        count = rng.poisson(np.minimum(own * factor * (high - low) / DAY, 300))
        unit.append(np.repeat(np.arange(units), count))
        times.append(rng.uniform(low, high, count.sum()))
    return np.concatenate(times), np.concatenate(unit)


def _spread(
    rng: "np.random.Generator", roots: tuple[Times, Units], units: int, end: float, most: float = 0.85
) -> tuple[Times, Units]:
    """Return `roots` with what they bring, generation after generation: on average less than `most` each."""
    children, stay = rng.uniform(0, most), rng.uniform(0.3, 1) if units > 1 else 1.0
    delays = _log_uniform(rng, HOUR / 6, 6 * DAY) * np.array([1, _log_uniform(rng, 1, 30)])
    times, unit = [roots[0]], [roots[1]]
    for _ in range(_GENERATIONS):
        parent = np.repeat(np.arange(len(times[-1])), rng.poisson(children, len(times[-1])))
        if not len(parent) or sum(map(len, times)) > _MOST:
            break
        born = times[-1][parent] + rng.exponential(delays[rng.integers(0, 2, len(parent))])
        home = np.where(rng.random(len(parent)) < stay, unit[-1][parent], rng.integers(0, units, len(parent)))
        times.append(born[born < end])
        unit.append(home[born < end])
    return np.concatenate(times), np.concatenate(unit)


def _shocks(rng: "np.random.Generator", units: int, end: float) -> tuple[Times, Units]:
    """Return failures that hit many units within minutes to hours; shocks, too, bring further ones."""
    first = rng.uniform(0, end, rng.poisson(end / DAY * _log_uniform(rng, 1 / 200, 1 / 3)))
    shocks = _spread(rng, (first, np.zeros(len(first), np.int64)), 1, end)[0][:400]
    hit, unit = np.nonzero(rng.random((len(shocks), units)) < rng.beta(0.7, 0.7, len(shocks))[:, None])
    return shocks[hit] + rng.exponential(_log_uniform(rng, 60, 2 * HOUR), len(hit)), unit
