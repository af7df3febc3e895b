"""The shapes that resources draw over time, as the simulator of `detectors.synthetic` mixes them.

Enters: a generator, how many rows (n), how many points (W), how many points a season has. Leaves: (n, W), mostly in
units of order 1; the simulator gives them their size, their accidents and their beginning. Parameters are drawn for
each row alone and from wide ranges: what is learned from these rows should hold for a resource that nobody foresaw.
No figure here was fitted to recorded data.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from detectors.forecasts import Floats

Random = np.random.Generator
Shape = Callable[[Random, int, int, int], Floats]

_TAIL_FREEDOM = 3.0  # of Student's t: the heaviest tail that still has a variance
_LARGEST_LOG = 25.0


def uniform(random: Random, count: int, low: float, high: float) -> Floats:
    """Return (n, 1) between `low` and `high`."""
    return random.uniform(low, high, (count, 1))


def wide(random: Random, count: int, low: float, high: float) -> Floats:
    """Return (n, 1) between `low` and `high`, every order of magnitude as likely as the next."""
    return np.exp(random.uniform(np.log(low), np.log(high), (count, 1)))


def some(random: Random, count: int, share: float) -> Floats:
    """Return (n, 1) of 1 in a `share` of the rows and 0 in the others."""
    return (random.random((count, 1)) < share).astype(np.float64)


def either(random: Random, share: float, first: Floats, second: Floats) -> Floats:
    """Return the rows of `first` in a `share` of the cases, and those of `second` otherwise."""
    return np.where(random.random((len(first), 1)) < share, first, second)


def shocks(random: Random, count: int, width: int) -> Floats:
    """Return independent values (n, W) of variance 1: normal in most rows, with heavy tails in the others."""
    normal = random.normal(size=(count, width))
    heavy = random.standard_t(_TAIL_FREEDOM, (count, width)) / np.sqrt(_TAIL_FREEDOM / (_TAIL_FREEDOM - 2))
    return either(random, 0.65, normal, heavy)


def followed(values: Floats, memory: Floats) -> Floats:
    """Return the autoregression (n, W) that `values` drive: each point keeps the share `memory` (n, 1) of the last."""
    out = np.empty_like(values)
    level, keep = values[:, 0], memory[:, 0]
    out[:, 0] = level
    for at in range(1, values.shape[1]):
        level = keep * level + values[:, at]
        out[:, at] = level
    return out


def noise(random: Random, count: int, width: int) -> Floats:
    """Return ARMA(1, 1) noise (n, W) of variance about 1; a third of the rows are white."""
    drawn = shocks(random, count, width)
    memory = uniform(random, count, -0.4, 0.97) * some(random, count, 0.67)
    moved = drawn.copy()
    moved[:, 1:] += uniform(random, count, -0.6, 0.6) * some(random, count, 0.4) * drawn[:, :-1]
    return followed(moved, memory) * np.sqrt(1 - memory**2)


def season(random: Random, count: int, width: int, period: int) -> Floats:
    """Return waves (n, W) of mean 0 and variance about 1: smooth, in blocks or free, and slowly changing in a third."""
    at = np.arange(period) / period
    smooth = sum(
        uniform(random, count, 0, 1 / order) * np.cos(2 * np.pi * (order * at - uniform(random, count, 0, 1)))
        for order in (1, 2, 3)
    )
    blocks = ((at + uniform(random, count, 0, 1)) % 1 < uniform(random, count, 0.1, 0.7)).astype(np.float64)
    free = random.normal(size=(count, period))
    waves = either(random, 0.5, np.asarray(smooth), either(random, 0.5, blocks, free))
    other = either(random, 0.5, np.roll(waves, 1, axis=1), free)
    waves, other = (_evened(one)[:, np.arange(width) % period] for one in (waves, other))
    changes = some(random, count, 0.33)
    share = changes * uniform(random, count, 0, 0.6) * np.linspace(0, 1, width)
    breathes = np.exp(changes * 0.1 * np.cumsum(random.normal(size=(count, width)), axis=1) / np.sqrt(width / 10))
    changing: Floats = ((1 - share) * waves + share * other) * breathes
    return changing


def _evened(waves: Floats) -> Floats:
    spread = waves.std(axis=1, keepdims=True)
    even: Floats = (waves - waves.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)
    return even


def growth(random: Random, count: int, width: int, period: int) -> Floats:
    """A line, a power, compound growth, or one that saturates; little noise, sometimes a season."""
    at = np.linspace(0, 1, width)[None, :]
    started = either(random, 0.5, np.zeros((count, 1)), uniform(random, count, 0, 0.8))
    age = np.maximum(at - started, 0)
    forms = np.stack(
        [
            at.repeat(count, axis=0),
            at ** wide(random, count, 0.4, 2.5),
            (1 - np.exp(-age * wide(random, count, 0.5, 12))),
            1 / (1 + np.exp(-(at - uniform(random, count, 0.2, 1.1)) * wide(random, count, 4, 25))),
            np.expm1(at * wide(random, count, 0.1, 3)),
        ]
    )
    pick = random.choice(len(forms), count, p=(0.4, 0.2, 0.2, 0.1, 0.1))
    form = forms[pick, np.arange(count)]
    base = wide(random, count, 0.01, 30)
    grown: Floats = base + form * either(random, 0.9, np.ones((count, 1)), -0.7 * base)
    spread = wide(random, count, 1e-4, 0.15)
    wavy = spread * noise(random, count, width) + some(random, count, 0.3) * wide(random, count, 0.005, 0.2) * season(
        random, count, width, period
    )
    walked = np.cumsum(spread * 0.3 * shocks(random, count, width), axis=1)
    grown += either(random, 0.5, wavy, walked)
    return grown


def walk(random: Random, count: int, width: int, period: int) -> Floats:  # noqa: ARG001 - as all
    """A random walk, with or without a drift, whose steps may remember one another; a third by factors."""
    steps = followed(shocks(random, count, width), uniform(random, count, -0.5, 0.7) * some(random, count, 0.5))
    pull = some(random, count, 0.55) * random.normal(0, 0.5, (count, 1))
    path = np.cumsum(steps + pull, axis=1)
    plain = wide(random, count, 3, 300) + path
    by_factor = np.exp(np.clip(path * wide(random, count, 0.003, 0.12), -_LARGEST_LOG, _LARGEST_LOG))
    jitter = some(random, count, 0.4) * wide(random, count, 0.05, 2)
    return either(random, 0.67, plain + jitter * shocks(random, count, width), by_factor)


def bursts(random: Random, count: int, width: int, period: int) -> Floats:
    """What only grows, by bursts of heavy tails whose rate changes, rests and returns: repositories, databases."""
    spread = wide(random, count, 0.02, 0.3)
    rate = np.exp(np.cumsum(spread * random.normal(size=(count, width)), axis=1) - uniform(random, count, 0, 0.03))
    rate *= np.exp(some(random, count, 0.3) * uniform(random, count, 0.1, 0.6) * season(random, count, width, period))
    at = np.arange(width)
    for share, low, high in ((0.35, 0.02, 0.7), (0.25, 1.5, 10), (0.12, 0.0005, 0.02)):
        from_here = at >= uniform(random, count, 0, width)
        rate *= np.where(from_here & (some(random, count, share) > 0), wide(random, count, low, high), 1)
    grain = wide(random, count, 0.1, 20)
    steps = rate * random.gamma(np.broadcast_to(grain, rate.shape)) / grain
    steps *= random.random((count, width)) < either(random, 0.6, np.ones((count, 1)), uniform(random, count, 0.15, 1))
    rare = random.random((count, width)) < uniform(random, count, 0, 0.04)
    steps += np.where(rare, rate * random.pareto(1.3, (count, width)).clip(0, 60) * 2, 0)
    before = rate[:, :1] * wide(random, count, 0.05, 1.5 * width)
    shrinks = random.random((count, width)) < some(random, count, 0.35) * uniform(random, count, 0, 0.3)
    grown: Floats = before + np.cumsum(np.where(shrinks, -uniform(random, count, 0, 1) * steps, steps), axis=1)
    return grown


def sawtooth(random: Random, count: int, width: int, period: int) -> Floats:
    """What fills and is emptied, at a fixed time (rotation) or at a height (collection), often over a leak."""
    steps = np.abs(1 + wide(random, count, 0.01, 0.8) * shocks(random, count, width))
    cycle = either(random, 0.5, np.round(wide(random, count, 2, 50)), np.full((count, 1), float(period)))
    phase = np.floor(uniform(random, count, 0, 1) * cycle)
    by_time = some(random, count, 0.5)[:, 0] > 0
    height = cycle[:, 0] * random.uniform(0.7, 1.3, count)
    kept = either(random, 0.6, np.zeros((count, 1)), uniform(random, count, 0, 0.6))[:, 0]
    level = (phase * uniform(random, count, 0.7, 1.3))[:, 0]
    out = np.empty((count, width))
    for at in range(width):
        level = level + steps[:, at]
        empty = np.where(by_time, (at + phase[:, 0]) % cycle[:, 0] == 0, level > height)
        level = np.where(empty, kept * level, level)
        out[:, at] = level
    leak = some(random, count, 0.5) * wide(random, count, 0.002, 0.3) * np.arange(width)
    return out + leak + cycle * either(random, 0.4, np.zeros((count, 1)), wide(random, count, 0.1, 20))


def batch(random: Random, count: int, width: int, period: int) -> Floats:
    """A quiet level with jobs on it: at a fixed hour, every so many points, some skipped, some long."""
    every = either(random, 0.6, np.full((count, 1), float(period)), np.round(wide(random, count, 2, 40)))
    place = (np.arange(width) + np.floor(uniform(random, count, 0, 1) * every)) % every
    runs = place < np.round(wide(random, count, 0.6, 0.4 * period + 1))
    held = random.random((count, width)) > uniform(random, count, 0, 0.25)
    load = wide(random, count, 0.3, 30) * np.exp(wide(random, count, 0.01, 0.5) * shocks(random, count, width))
    quiet = 1 + wide(random, count, 0.01, 0.4) * noise(random, count, width)
    return np.maximum(quiet, 0) + np.where(runs & held, load, 0)


def shifted(random: Random, count: int, width: int, period: int) -> Floats:
    """Levels that last for a while, as migrations leave them, up or down, flat or sloping between."""
    jump = random.random((count, width)) < wide(random, count, 0.005, 0.06)
    size = wide(random, count, 0.05, 1.5) * shocks(random, count, width)
    level = np.cumsum(np.where(jump, size, 0), axis=1)
    level -= np.minimum(level.min(axis=1, keepdims=True), 0)
    slope = some(random, count, 0.4) * random.normal(0, 0.01, (count, 1)) * np.arange(width)
    wavy = some(random, count, 0.3) * wide(random, count, 0.02, 0.5) * season(random, count, width, period)
    shaky = wide(random, count, 0.001, 0.2) * noise(random, count, width)
    told: Floats = wide(random, count, 0.2, 5) + level + slope + wavy + shaky
    return told


def seasonal(random: Random, count: int, width: int, period: int) -> Floats:
    """A level and a slope with a season, added or multiplied, under noise of any size."""
    slope = random.normal(0, 0.3, (count, 1)) * np.linspace(0, 1, width) * some(random, count, 0.6)
    level = np.maximum(1 + slope, 0.05)
    wave = wide(random, count, 0.02, 0.7) * season(random, count, width, period)
    shaky = wide(random, count, 0.005, 0.4) * noise(random, count, width)
    added = level + 0.6 * wave + shaky
    by_factor = level * np.exp(np.clip(wave + shaky, -4, 4))
    return either(random, 0.5, added, by_factor)


def business(random: Random, count: int, width: int, period: int) -> Floats:
    """Trend times season times noise: a level that wanders, a slope that changes, both slowly or hardly at all."""
    slope = 0.01 * random.normal(0, 1, (count, 1)) + np.cumsum(
        some(random, count, 0.6) * wide(random, count, 1e-4, 4e-3) * random.normal(size=(count, width)), axis=1
    )
    slope *= either(random, 0.5, np.ones((count, 1)), uniform(random, count, 0.85, 1.0)) ** np.arange(width)
    wander = wide(random, count, 1e-3, 0.08) * shocks(random, count, width)
    cycle = (
        some(random, count, 0.3)
        * uniform(random, count, 0.02, 0.2)
        * np.sin(
            2
            * np.pi
            * (np.arange(width) / uniform(random, count, 2.5 * period, 7 * period) + uniform(random, count, 0, 1))
        )
    )
    wave = some(random, count, 0.7) * wide(random, count, 0.01, 0.4) * season(random, count, width, period)
    shaky = wide(random, count, 0.003, 0.25) * noise(random, count, width)
    logarithm: Floats = np.cumsum(slope + wander, axis=1) + cycle + wave + shaky
    told: Floats = np.exp(np.clip(logarithm, -6, 6))
    return told


def ratio(random: Random, count: int, width: int, period: int) -> Floats:
    """Utilisation from 0 to 1: idle floors, daily and weekly waves, bursts of heavy tails, and zeros."""
    wave = some(random, count, 0.6) * wide(random, count, 0.1, 2) * season(random, count, width, period)
    shaky = wide(random, count, 0.05, 1.2) * noise(random, count, width)
    wander = some(random, count, 0.5) * np.cumsum(wide(random, count, 0.01, 0.2) * shocks(random, count, width), axis=1)
    inner = uniform(random, count, -5, 2) + wave + shaky + wander
    value = 1 / (1 + np.exp(-np.clip(inner, -_LARGEST_LOG, _LARGEST_LOG)))
    rare = random.random((count, width)) < uniform(random, count, 0, 0.12)
    lasting = np.maximum(
        followed(np.where(rare, random.pareto(1.5, (count, width)), 0), uniform(random, count, 0, 0.8)), 0
    )
    value = value + wide(random, count, 0.02, 0.5) * lasting * some(random, count, 0.5)
    idle = some(random, count, 0.2) * np.quantile(value, 0.5, axis=1, keepdims=True)
    value = np.where(value < idle, either(random, 0.5, np.zeros((count, 1)), idle), value)
    return np.clip(value, 0, 1)


def rough(random: Random, count: int, width: int, period: int) -> Floats:  # noqa: ARG001 - as all
    """A level under noise that remembers, which multiplies in half of the rows."""
    size = wide(random, count, 0.01, 0.8)
    drawn = noise(random, count, width)
    return either(random, 0.5, 1 + size * drawn, np.exp(np.clip(size * drawn, -4, 4)))


def quiet(random: Random, count: int, width: int, period: int) -> Floats:  # noqa: ARG001 - as all
    """What hardly moves: nothing at all, a rare small step, or a trembling of the last digits."""
    moves = random.random((count, width)) < wide(random, count, 0.01, 0.15)
    steps = np.cumsum(np.where(moves, random.gamma(0.5, 0.02, (count, width)), 0), axis=1)
    tremble = 10.0 ** random.uniform(-6, -3, (count, 1)) * random.normal(size=(count, width))
    flat = np.zeros((count, width))
    return 1 + either(random, 0.7, steps, either(random, 0.6, tremble, flat))


SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        "growth": growth,
        "walk": walk,
        "bursts": bursts,
        "sawtooth": sawtooth,
        "batch": batch,
        "shifted": shifted,
        "seasonal": seasonal,
        "business": business,
        "ratio": ratio,
        "rough": rough,
        "quiet": quiet,
    }
)
