"""Sixteen features of each factor: what the failure network sees of a host.

Enters: factors (..., T, 32) as `detectors.factors` has them, the newest last, NaN = missing, and how many seconds lie
between two. Leaves: (..., 512), sixteen for each factor in its order; all 0 for a factor that is missing, the
sixteenth says that it is there. Windows count samples; only the time that is left to a limit is in seconds, so that
a host that is sampled each second looks as one that is sampled each half minute.

At most the last 2,880 samples are looked at: a day of them at 30 s.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.factors import COUNT, FACTORS, LIMITED

Floats = NDArray[np.float64]
Float32 = NDArray[np.float32]

FEATURES = 16
INPUTS = COUNT * FEATURES
PRESENT = FEATURES - 1
SPAN = 2880
WINDOWS = (15, 60, 240)  # samples of which a line is taken, and all of the day by its blocks
_BLOCK = 30
_LEAST = 5  # samples, or blocks, that make a line
_NOW = 3
_SMALL = 0.01  # of the limit
_SURE = 3.0  # standard errors from which on a line rises
_SOON, _FAR = 10.0, 864_000.0  # seconds to the limit between which urgency falls from 1 to 0
_FLOOR = 1e-3

_LIMIT = np.array([one.limit or 1.0 for one in FACTORS])
_SCALE = np.array([one.scale for one in FACTORS])
_FALLS = np.array([one.falls for one in FACTORS])


def levels(values: Floats) -> Floats:
    """Return factors (..., 32) without unit, worse the higher: the share of the limit, or a logarithm; 0 to 1.5."""
    amount = np.maximum(values, 0.0)
    with np.errstate(over="ignore"):
        open_ended = np.log10(1 + amount / _SCALE) / 4
        level = np.where(LIMITED, values / _LIMIT, np.where(_FALLS, 1 / (1 + amount / _SCALE), open_ended))
    return np.asarray(np.clip(level, 0.0, 1.5))


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Straight lines through the newest samples of each factor (..., 32), by least squares.

    `slope`: per sample. `rise`: from one end to the other. `sure`: the slope in standard errors, as if samples did not
    depend on each other; all 0 where there are too few.
    """

    slope: Floats
    rise: Floats
    sure: Floats


def lines(level: Floats, step: float = 1.0) -> Lines:
    """Return the lines through `level` (..., W, 32), NaN = missing, whose points lie `step` samples apart."""
    there = np.isfinite(level)
    known = np.where(there, level, 0.0)
    at = np.arange(1 - level.shape[-2], 1) * step
    powers = np.stack([np.ones_like(at), at, at * at])  # (3, W)
    sums = powers @ there.astype(np.float64)  # (..., 3, 32)
    of_values = powers[:2] @ known
    square = (known * known).sum(axis=-2)
    count, first, second = np.moveaxis(sums, -2, 0)
    total, product = np.moveaxis(of_values, -2, 0)
    enough = count >= _LEAST
    count = np.where(enough, count, _LEAST)
    spread = second - first * first / count
    fits = enough & (spread > 0)
    spread = np.where(fits, spread, 1.0)
    covered = product - first * total / count
    slope = np.where(fits, covered / spread, 0.0)
    varied = np.maximum(square - total * total / count, 0.0)
    rest = np.maximum(varied - slope * covered, 0.0) / (count - 2)
    error = np.sqrt(rest / spread) + 1e-9  # what does not vary at all is no sure rise either
    span = np.sqrt(12 * spread / count)  # of points in even steps
    return Lines(slope, slope * span, slope / error)


def urgency(level: Floats, line: Lines, interval_seconds: Floats | float) -> Floats:
    """Return 0 to 1 (..., 32): how soon a line comes to the limit, by its logarithm; 0 where it does not rise."""
    left = seconds_left(level, line, interval_seconds)
    near = np.log(_FAR / np.clip(left, _SOON, _FAR)) / np.log(_FAR / _SOON)
    return np.asarray(np.where(np.isfinite(left), near, 0.0))


def seconds_left(level: Floats, line: Lines, interval_seconds: Floats | float) -> Floats:
    """Return in how many seconds (..., 32) each line comes to the limit, inf = never, or the factor has none."""
    rises = LIMITED & (line.sure > _SURE) & (line.slope > 0)
    slope = np.where(rises, line.slope, 1.0)
    return np.where(rises, np.maximum(1.0 - level, 0.0) / slope * interval_seconds, np.inf)


def features(values: Floats, interval_seconds: Floats | float) -> Float32:
    """Return the features (..., 512) of factors `values` (..., T, 32), T >= 1.

    `interval_seconds`: one for all, or (..., 1) with one for each host.
    """
    values = values[..., -SPAN:, :]
    blocks = levels(_blocks(values))  # (..., B, 32)
    recent = levels(values[..., -WINDOWS[-1] :, :])  # (..., W, 32)
    there: NDArray[np.bool_] = np.isfinite(recent)
    present = np.asarray(there[..., -WINDOWS[0] :, :].any(axis=-2))
    level = _mean(recent[..., -_NOW:, :])
    level = np.where(np.isfinite(level), level, _mean(recent[..., -WINDOWS[0] :, :]))
    level = np.where(present, level, 0.0)
    drawn = [lines(recent[..., -width:, :]) for width in WINDOWS]
    drawn.append(lines(blocks, _BLOCK))
    means = [levels(_mean(values[..., -width:, :])) for width in WINDOWS]
    means.append(_mean(blocks))
    noisy = _mean(np.where(there, recent > 0.25 * np.maximum(level, 0.1)[..., None, :], np.nan))
    limited = [-np.log10(np.maximum(1 - level, _FLOOR)) / 3, *(urgency(level, one, interval_seconds) for one in drawn)]
    steps = np.abs(np.diff(recent[..., -WINDOWS[1] :, :], axis=-2))
    parts = [
        level,
        *(_squashed(one.rise / _SMALL) / 5 for one in drawn),
        *(np.where(LIMITED, one, other) for one, other in zip(limited, [*means, noisy], strict=True)),
        drawn[2].sure / (10 + np.abs(drawn[2].sure)),
        _largest(recent[..., -WINDOWS[1] :, :]),
        np.log1p(_mean(steps) / _FLOOR) / 7,
        *_against_the_past(level, blocks),
    ]
    seen = np.stack([*parts, np.ones_like(level)], axis=-1)  # (..., 32, 16)
    seen = np.where(present[..., None] & np.isfinite(seen), seen, 0.0)
    return seen.reshape(*seen.shape[:-2], INPUTS).astype(np.float32)


def _blocks(values: Floats) -> Floats:
    """Return means of 30 samples each (..., B, 32), the newest block last and whole."""
    lead = -values.shape[-2] % _BLOCK
    if lead:
        width = [(0, 0)] * values.ndim
        width[-2] = (lead, 0)
        values = np.pad(values, width, constant_values=np.nan)
    return _mean(values.reshape(*values.shape[:-2], -1, _BLOCK, COUNT))


def _mean(values: Floats) -> Floats:
    """The mean along the time (..., 32) of what is there, NaN of nothing."""
    there = np.isfinite(values)
    count = there.sum(axis=-2)
    return np.where(count > 0, np.where(there, values, 0.0).sum(axis=-2) / np.maximum(count, 1), np.nan)


def _largest(values: Floats) -> Floats:
    return np.asarray(np.where(np.isfinite(values), values, 0.0).max(axis=-2))


def _against_the_past(level: Floats, blocks: Floats) -> tuple[Floats, Floats]:
    """Return (..., 32) how far the level is from the middle of the past in its own spread, and from a day ago."""
    past = np.sort(blocks[..., :-2, :], axis=-2)  # NaN last
    count = np.isfinite(past).sum(axis=-2)

    def at(share: float) -> Floats:
        place = np.clip(np.floor(share * (count - 1)).astype(np.int64), 0, max(past.shape[-2] - 1, 0))
        return np.take_along_axis(past, place[..., None, :], axis=-2)[..., 0, :]

    nothing = np.zeros_like(level)
    if past.shape[-2] < _LEAST:
        return nothing, nothing
    spread = np.maximum(at(0.9) - at(0.1), _SMALL)
    unusual = np.where(count >= _LEAST, _squashed((level - at(0.5)) / spread) / 4, 0.0)
    whole_day = SPAN // _BLOCK
    ago = blocks[..., 0, :] if blocks.shape[-2] == whole_day else np.full_like(level, np.nan)
    return unusual, np.where(np.isfinite(ago), _squashed((level - ago) / _SMALL) / 5, 0.0)


def _squashed(values: Floats) -> Floats:
    return np.asarray(np.sign(values) * np.log1p(np.abs(values)))
