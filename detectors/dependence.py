"""How much series repeat themselves: how many of their samples it takes to learn as much as from one independent one.

Enters: whole days of series on an even grid, NaN = missing. Leaves: the integrated autocorrelation time of each, in
samples, and how well it is known. Thinned by it a series is as good as independent.

What is correlated are not the values but whether they lie below the quantiles of their series, for that is what an
empirical distribution is made of: neither outliers nor the unit nor the form of a distribution matter. What is the
same at the same time of every day is a rhythm, not chance, and is taken away where there are two days or more.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_LEVELS = np.arange(1, 8) / 8  # of the distribution
_AT_ONCE = 16  # series: the memory it takes
_LEAST_LEFT = 0.2  # of a sum that the mean has taken its part of
_UNUSUAL = 2.326  # the quantile of the normal distribution at 99 %
_LEAST_DAYS = 3  # to know how days differ
_HALF = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Dependence:
    """Of each series the integrated autocorrelation `time` (S,) in samples, from 1, and its degrees of `freedom` (S,).

    A time is NaN where the correlation does not end within half a day, a third of one where there is one.
    """

    time: Float64
    freedom: Float64


def dependence(values: Float32, day: int) -> Dependence:
    """Return the dependence of `values` (T, S): T/`day` days of `day` samples each, one at least.

    The autocorrelation is summed while pairs of lags are positive (Geyer, "Practical Markov chain Monte Carlo",
    1992). Where days differ by more than that explains (at 1 %), a day is what there is one of. The freedom is that of
    a spectral window as wide (Priestley, "Spectral Analysis and Time Series", 1981).
    """
    days = len(values) // day
    if days < 1 or len(values) != days * day:
        raise ValueError(f"{len(values)} samples are not whole days of {day}")
    parts = [
        _dependence(np.ascontiguousarray(values[:, first : first + _AT_ONCE].T), days)
        for first in range(0, values.shape[1], _AT_ONCE)
    ]
    if not parts:
        return Dependence(np.zeros(0), np.zeros(0))
    time, freedom = np.concatenate(parts, axis=1)
    return Dependence(time, freedom)


def _dependence(values: Float32, days: int) -> Float64:
    """Return times and freedoms (2, S) of `values` (S, T)."""
    series, samples = values.shape
    known = ~np.isnan(values)
    count = known.sum(axis=1)
    ordered = np.sort(values, axis=1)  # NaN last
    lags = min(samples // days // 2, samples // 3) // 2 * 2
    width = 1 << (samples + lags).bit_length()
    power = np.zeros((series, width // 2 + 1))
    variance, between = np.zeros(series), np.zeros(series)
    for level in _LEVELS:
        at = np.maximum(np.ceil(level * count).astype(np.int64) - 1, 0)
        below = np.where(known, values <= ordered[np.arange(series), at][:, None], 0.0)
        below = np.where(known, below - (below.sum(axis=1) / np.maximum(count, 1))[:, None], 0.0)
        variance += (below**2).sum(axis=1) / np.maximum(count, 1)
        between += _between_days(below, known, days)
        spectrum = np.fft.rfft(_without_rhythm(below, known, days), width, axis=1)
        power += spectrum.real**2 + spectrum.imag**2
    pairs = _pairs(known, lags, width)
    covariance = np.fft.irfft(power, width, axis=1)[:, :lags] / np.maximum(pairs, 1.0)
    time, freedom = _summed(covariance, variance, count, days)
    daily = between / np.maximum(variance, 1e-300)
    if days >= _LEAST_DAYS:
        differ = daily > time * _quantile(days - 1)
        time, freedom = np.where(differ, daily, time), np.where(differ, days - 1.0, freedom)
    still = variance <= 0  # constant
    return np.array([np.where(still, 1.0, np.maximum(time, 1.0)), np.where(still, count, freedom)])


def _without_rhythm(below: Float64, known: NDArray[np.bool_], days: int) -> Float64:
    """Return what is left (S, T) when the mean of the same time of every day is taken away."""
    if days == 1:
        return below
    series = len(below)
    by_day, there = (one.reshape(series, days, -1) for one in (below, known))
    usual = by_day.sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    return np.asarray(np.where(there, by_day - usual[:, None], 0.0).reshape(series, -1))


def _between_days(below: Float64, known: NDArray[np.bool_], days: int) -> Float64:
    """Return the variance (S,) of the means of days, times the samples of a day; a day half missing is none."""
    series = len(below)
    sums, counts = (one.reshape(series, days, -1).sum(axis=2) for one in (below, known))
    day = below.shape[1] // days
    whole = counts >= _HALF * day
    means = np.where(whole, sums / np.maximum(counts, 1), 0.0)
    many = whole.sum(axis=1)
    centred = np.where(whole, means - (means.sum(axis=1) / np.maximum(many, 1))[:, None], 0.0)
    return np.asarray((centred**2).sum(axis=1) / np.maximum(many - 1, 1) * day)


def _pairs(known: NDArray[np.bool_], lags: int, width: int) -> Float64:
    """Return how many pairs of known samples lie each lag apart (S, lags)."""
    samples = known.shape[1]
    if known.all():
        return np.tile(samples - np.arange(lags, dtype=np.float64), (len(known), 1))
    spectrum = np.fft.rfft(known.astype(np.float64), width, axis=1)
    return np.asarray(np.fft.irfft(np.abs(spectrum) ** 2, width, axis=1)[:, :lags].round())


def _summed(covariance: Float64, variance: Float64, count: NDArray[np.int64], days: int) -> tuple[Float64, Float64]:
    """Return the integrated times and their freedoms (S,); a time is NaN where the sum does not end."""
    pairs = covariance[:, 0::2] + covariance[:, 1::2]
    ended = pairs <= 0
    many = np.where(ended.any(axis=1), ended.argmax(axis=1), pairs.shape[1])
    upto = np.concatenate([np.zeros((len(pairs), 1)), pairs.cumsum(axis=1)], axis=1)
    total = 2 * upto[np.arange(len(pairs)), many] - covariance[:, 0]
    lost = days / (days - 1) if days > 1 else 1.0  # with the rhythm goes a share of what was none
    samples, wide = np.maximum(count, 1) / lost, 4.0 * many - 1
    left = np.maximum(1 - wide / samples, _LEAST_LEFT)
    time = total * lost / left / np.maximum(variance, 1e-300)
    return np.where(ended.any(axis=1), time, np.nan), samples / np.maximum(wide, 1.0)


def _quantile(freedom: int) -> float:
    """Return the 99 % quantile of chi-squared over its freedom (Wilson and Hilferty, 1931)."""
    part = 2 / (9 * freedom)
    return float((1 - part + _UNUSUAL * np.sqrt(part)) ** 3)
