"""Made-up resources to learn capacity from: seeded, of every kind we could think of, and of no machine.

Enters: a seed and how many. Leaves: rows (n, length + 12), equally spaced at the step of a horizon, NaN before their
beginning, the last 12 points the future of the others. Nothing falls below 0. Recorded data is never read.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from detectors.forecasts import STEPS, Floats, Horizon
from detectors.synthetic_shapes import SHAPES, either, followed, noise, season, shocks, some, uniform, wide

Random = np.random.Generator

COMPANIONS = 4  # cpu, memory, storage, bandwidth of one host, in this order
_LATEST = 2  # points by which a resource follows its host's load
_LATE_STARTERS = 0.5

# of a hundred resources, how many draw which shape at the step of a horizon
SHARES: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "hours": {
            "growth": 9, "walk": 13, "bursts": 8, "sawtooth": 10, "batch": 10, "shifted": 6, "seasonal": 12,
            "business": 0, "ratio": 22, "rough": 5, "quiet": 5,
        },
        "days": {
            "growth": 10, "walk": 14, "bursts": 10, "sawtooth": 8, "batch": 6, "shifted": 7, "seasonal": 10,
            "business": 3, "ratio": 22, "rough": 6, "quiet": 4,
        },
        "months": {
            "growth": 10, "walk": 12, "bursts": 20, "sawtooth": 3, "batch": 2, "shifted": 4, "seasonal": 9,
            "business": 28, "ratio": 4, "rough": 5, "quiet": 3,
        },
    }
)  # fmt: skip


def series(seed: int, count: int, length: int, horizon: Horizon) -> tuple[Floats, tuple[str, ...]]:
    """Return `count` resources that know nothing of each other, (count, length + 12), and which shape each draws."""
    random = np.random.default_rng([seed, int(horizon.step_seconds), 0])
    width = length + STEPS
    shares = SHARES[horizon.name]
    names = list(shares)
    weights = np.array(list(shares.values()), np.float64)
    drawn = random.choice(len(names), count, p=weights / weights.sum())
    rows = np.empty((count, width))
    for place, name in enumerate(names):
        of_kind = drawn == place
        many = int(of_kind.sum())
        if many:
            made = SHAPES[name](random, many, width, horizon.season)
            rows[of_kind] = _with_accidents(random, made) if name != "quiet" else made
    bounded = (drawn == names.index("ratio"))[:, None]
    rows = np.clip(_in_steps(random, rows), 0, np.where(bounded, 1, np.inf))
    rows *= np.where(bounded, 1, 10.0 ** random.uniform(-3, 12, (count, 1)))
    return _begun(random, rows, horizon), tuple(names[one] for one in drawn.tolist())


def groups(seed: int, count: int, length: int, horizon: Horizon) -> Floats:
    """Return `count` hosts (count, 4, length + 12): cpu, memory, storage, bandwidth, which one load moves together.

    A quarter of the resources follows nothing but itself.
    """
    random = np.random.default_rng([seed, int(horizon.step_seconds), 1])
    width = length + STEPS
    load = _load(random, count, width + _LATEST, horizon)
    felt = [
        either(random, 0.75, _later(random, load, width), _load(random, count, width, horizon))
        for _ in range(COMPANIONS)
    ]

    def strength() -> Floats:
        return wide(random, count, 0.15, 1.5)

    inner = uniform(random, count, -4, 0.5) + strength() * felt[0] + 0.3 * noise(random, count, width)
    cpu = 1 / (1 + np.exp(-np.clip(inner, -20, 20)))
    lasting = followed(felt[1], uniform(random, count, 0.5, 0.98))
    spread = lasting.std(axis=1, keepdims=True)
    leak = some(random, count, 0.3) * wide(random, count, 1e-4, 1e-2) * np.arange(width)
    memory = 1 + 0.2 * strength() * lasting / np.where(spread > 0, spread, 1) + leak
    memory += 0.03 * noise(random, count, width)
    written = np.exp(np.clip(strength() * felt[2] + 0.4 * shocks(random, count, width), -5, 5))
    storage = np.cumsum(written, axis=1) + wide(random, count, 0.1, 10) * width
    carried = np.exp(np.clip(strength() * felt[3] + 0.2 * noise(random, count, width), -5, 5))
    parts = [cpu, *(_with_accidents(random, one) for one in (memory, storage, carried))]
    size = 10.0 ** random.uniform(-1, 12, (count, COMPANIONS, 1))
    size[:, 0] = 1.0
    rows = np.maximum(np.stack(parts, axis=1), 0) * size
    begun = _begun(random, rows[:, 0], horizon)
    return np.where(np.isnan(begun)[:, None, :], np.nan, rows)


def _later(random: Random, load: Floats, width: int) -> Floats:
    """Return the newest `width` points of `load` as a resource feels them that lags by up to two points."""
    start = random.integers(0, _LATEST + 1, (len(load), 1))
    return np.take_along_axis(load, start + np.arange(width), axis=1)


def _load(random: Random, count: int, width: int, horizon: Horizon) -> Floats:
    """What a host is asked to do: a season, what lasts, bursts and a slow change."""
    waves = uniform(random, count, 0, 1) * season(random, count, width, horizon.season)
    slow = some(random, count, 0.5) * np.cumsum(0.08 * shocks(random, count, width), axis=1)
    rare = random.random((count, width)) < uniform(random, count, 0, 0.05)
    lasting = followed(np.where(rare, 2.0, 0.0), uniform(random, count, 0, 0.9))
    return waves + slow + lasting + uniform(random, count, 0.1, 0.8) * noise(random, count, width)


def _with_accidents(random: Random, rows: Floats) -> Floats:
    """Return rows to which happens what happens to resources: outliers, cleanups, moves, and other rates."""
    count, width = rows.shape
    span = rows.max(axis=1, keepdims=True) - rows.min(axis=1, keepdims=True)
    at = np.arange(width)

    def from_here() -> NDArray[np.bool_]:
        return at >= uniform(random, count, 0, width)

    out = rows.copy()
    slope = span / width * random.normal(0, 1.5, (count, 1))
    bend = np.maximum(at - uniform(random, count, 0, width), 0)
    out += np.where(some(random, count, 0.08) > 0, slope * bend, 0)
    moved = span * random.normal(0, 0.5, (count, 1))
    out += np.where((some(random, count, 0.07) > 0) & from_here(), moved, 0)
    freed = uniform(random, count, 0.05, 0.9) * (rows - 0.9 * rows.min(axis=1, keepdims=True))
    when = np.floor(uniform(random, count, 0, width)).astype(np.int64)
    lost = np.take_along_axis(freed, when, axis=1)
    out -= np.where((some(random, count, 0.07) > 0) & (at >= when), lost, 0)
    wild = (random.random((count, width)) < wide(random, count, 0.003, 0.04)) & (some(random, count, 0.12) > 0)
    return out + np.where(wild, span * random.standard_t(2, (count, width)).clip(-10, 10), 0)


def _in_steps(random: Random, rows: Floats) -> Floats:
    """Round a seventh of the rows to what they are counted in."""
    top = rows.max(axis=1, keepdims=True)
    grain = np.where(top > 0, top, 1) / wide(random, len(rows), 5, 5000)
    return np.where(some(random, len(rows), 0.15) > 0, np.round(rows / grain) * grain, rows)


def _begun(random: Random, rows: Floats, horizon: Horizon) -> Floats:
    """Return rows of which half begin later, with as few points as the horizon allows at least."""
    count, width = rows.shape
    known = width - STEPS
    least = min(max(horizon.least, STEPS), known)
    length = np.where(random.random(count) < _LATE_STARTERS, random.integers(least, known + 1, count), known)
    return np.where(np.arange(width) >= (known - length)[:, None], rows, np.nan)
