"""Samples to surprise: how far every signal is from what is usual for it here, in eight unsigned ways.

Enters: rows of signal values (T, S), NaN = missing, one NaN row wherever time has a gap. Leaves:
surprise (T, S, 8), 0 = usual, the anomaly network's inputs (T, 256), and the simple method's score
(T,). Every feature of a row needs that row and the 15 before it, nothing else, so one row at a time
and a month at once give the same numbers. Nothing here knows a label or a clock.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from detectors.findings import Unit

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Known = NDArray[np.bool_]

FEATURES = ("shift", "slope", "difference", "volatility", "season", "factors", "autoregression", "range")
SPAN = 15  # samples that slope and volatility look at
WINDOW = SPAN + 1
TOP_SIGNALS = 31
SCORED_SIGNALS = 10  # of them in the simple method: over more, many small surprises outweigh a fault
_ENOUGH = np.float32(6.0)  # log surprise, four hundred scales: beyond, a feature tells the simple method no more
INPUTS = TOP_SIGNALS * len(FEATURES) + len(FEATURES)

# The smallest spread that matters, in the signal's unit: without it an idle host is surprised by a whisper.
FLOORS = {
    Unit.RATIO: 0.01,
    Unit.BYTES: 4e6,
    Unit.BYTES_PER_SECOND: 100e3,
    Unit.PER_SECOND: 5.0,
    Unit.SECONDS: 0.005,
    Unit.COUNT: 2.0,
    Unit.CELSIUS: 2.0,
}

HOURS = 168
_FACTORS_MAXIMUM = 8
_CLIP = 8.0  # standardised values beyond this pull no factor and no regression
_RIDGE = 1e-3  # keeps factors that no known signal speaks of near 0
_STILL = 1e-9  # standardised values that stay below do not move
_LEAST_SEEN = 8  # values
_WHISPER = 0.1  # of the floor: a volatility below is none
_LEAST_DAYS = 3  # two days show no rhythm
TAIL = 0.99  # what a signal reaches in quiet time: one row in a hundred is beyond
_DAMPING = 0.5  # the square root of how much noisier a signal is
_UNJUDGED = 1e30  # the scale of what nothing is known of: no value of it surprises
_CHUNK_CELLS = 400_000  # values a batch computes at once: bounds memory, not results
_REFERENCE_CELLS = 2_000_000  # values that scales and factors are learned from; the season is learned from all
_REFERENCE_ROWS = (2_000, 20_000)
_BLOCK = 512  # consecutive rows that are kept together when not all are
_SLOPE = (np.arange(SPAN) - (SPAN - 1) / 2) * (SPAN / (((np.arange(SPAN) - (SPAN - 1) / 2) ** 2).sum()))


def _robust(values: Float64, floor: Float64 | float) -> tuple[Float64, Float64]:
    """Return centre and scale of each column, NaN ignored: median, and the wider of IQR and a quarter of the std.

    The IQR alone is zero for a signal that rests most of the time; `floor` keeps a constant one from
    dividing by nothing (netdata#12967). A column that was hardly ever seen has no usual: a disk that is
    plugged in later must not be judged by the 0 that stands for it here.
    """
    times = np.isfinite(values).sum(axis=0)
    seen = times > 0
    safe = np.where(seen, values, 0.0)
    low, centre, high = np.nanquantile(safe, [0.25, 0.5, 0.75], axis=0)
    scale = np.maximum((high - low) / 1.349, 0.25 * np.nanstd(safe, axis=0))
    return centre, np.where(times >= _LEAST_SEEN, np.maximum(scale, floor), _UNJUDGED)


@dataclass(frozen=True, slots=True)
class Context:
    """What is usual on this host, for S signals; fitted once, then only read.

    `floor` (S,): the smallest scale that matters, in the signal's unit. `centre`, `scale` (8, S):
    of each feature's raw statistic. `season` (168, S): what is usual at the local hour of the week, NaN where
    not seen enough. `loadings` (S, K): principal directions of standardised values. `own`, `cross`
    (S,), (K, S): a first-order vector autoregression on own past and factors. `low`, `high` (S,):
    the range that 99 % of the reference lie in. `noise` (8, S): what the surprise is divided by, 1 at least.
    """

    floor: Float64
    centre: Float64
    scale: Float64
    season: Float64
    loadings: Float64
    own: Float64
    cross: Float64
    low: Float64
    high: Float64
    noise: Float64

    @property
    def signals(self) -> int:
        """Number of signals."""
        return len(self.floor)

    @property
    def moving(self) -> int:
        """Number of signals that moved in the reference, 1 at least."""
        return max(1, int(np.count_nonzero(self.high > self.low)))

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return every array by name, for a model file."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def fit_context(values: Float32, hours: NDArray[np.int64], floor: Float64, without: Collection[str] = ()) -> Context:
    """Learn from `values` (T, S), `hours` (T,) of the local week (-1 = unknown), and the scale floors (S,).

    `without`: features that are to surprise nobody, to measure what each is worth.
    """
    season, foretold, visit = _season(values, hours)
    values, visit = _evenly(values, visit)
    table = values.astype(np.float64)
    signals = table.shape[1]
    statistics = np.concatenate([_level_statistics(part, floor) for part in _chunks(values)])
    centre, scale = np.zeros((len(FEATURES), signals)), np.full((len(FEATURES), signals), _UNJUDGED)
    floors = (floor, floor, floor, 0.25, floor, 0.25, 0.25)
    names = FEATURES.index
    for feature in ("shift", "slope", "difference", "volatility"):
        at = names(feature)
        centre[at], scale[at] = _robust(statistics[:, :, at], floors[at])
    residual = table - np.where((visit >= 0)[:, None], foretold[visit], np.nan)  # never by itself: that is too close
    at = names("season")
    if np.isfinite(residual).any():
        centre[at], scale[at] = _robust(residual, floors[at])
    standard = _standardise(table, centre[0], scale[0])
    loadings = _loadings(standard)
    own, cross = _autoregression(standard, loadings)
    low, high = np.nanquantile(np.where(np.isfinite(table).any(axis=0), table, 0.0), [0.005, 0.995], axis=0)
    centre[names("range")], scale[names("range")] = 0.0, scale[names("shift")]
    context = Context(floor, centre, scale, season, loadings, own, cross, low, high, np.ones_like(scale))
    known = np.isfinite(table)
    residuals = _factor_residuals(context, standard, known)
    for feature, values_of in zip(("factors", "autoregression"), residuals, strict=True):
        at = names(feature)
        missing = ~known[1:] | ~known[:-1]
        centre[at], scale[at] = _robust(np.where(missing, np.nan, values_of), floors[at])
    scale[[names(feature) for feature in without]] = _UNJUDGED
    return context


def noise(context: Context, judged: Float32, hours: NDArray[np.int64]) -> Float64:
    """Return how much noisier each feature of each signal is here than that of the host's middle signal (8, S).

    `judged` (T, S, 8): surprise of quiet rows in a context that they were not learned from; a signal that
    surprises there is one whose past does not foretell it, and the square root of that is held against it.
    `hours`: of the reference; less counts by as much as has not been seen of the week, in which night is noise by day.
    """
    moving = (context.high > context.low) & (context.scale < _UNJUDGED).any(axis=0)
    if not len(judged) or not moving.any():
        return np.ones_like(context.scale)
    tail = 1 + np.quantile(judged, TAIL, axis=0)  # (S, 8)
    seen = len(np.unique(hours[hours >= 0])) / HOURS
    excess = np.maximum(tail / np.median(tail[moving], axis=0), 1.0) ** (_DAMPING * seen)
    return np.ascontiguousarray(excess.T, np.float64)


def surprise(context: Context, values: Float32, hours: NDArray[np.int64]) -> Float32:
    """Return the surprise (T - 15, S, 8) of the rows 15... of `values` (T, S): log of the deviation, over its noise.

    What cannot be known (missing value, gap, no season yet) is 0: it neither raises nor hides anything.
    """
    return np.concatenate([part for _, part in surprise_by_chunk(context, values, hours)])


def surprise_by_chunk(context: Context, values: Float32, hours: NDArray[np.int64]) -> Iterator[tuple[slice, Float32]]:
    """Yield the same in pieces, each with its place: memory stays bounded over a month."""
    start = 0
    for part in _chunks(values):
        end = start + max(0, len(part) - SPAN)
        yield slice(start, end), _surprise_chunk(context, part, hours[start + SPAN : end + SPAN])
        start = end


def _chunks(values: Float32) -> Iterator[Float32]:
    """Yield `values` (T, S) in pieces that overlap by 15 rows; at least one."""
    rows, step = max(0, len(values) - SPAN), max(64, _CHUNK_CELLS // max(1, values.shape[1]))
    for start in range(0, max(rows, 1), step):
        yield values[start : min(start + step, rows) + SPAN]


def _evenly(values: Float32, visit: NDArray[np.int64]) -> tuple[Float32, NDArray[np.int64]]:
    """Return evenly spaced blocks of rows, a NaN row between two: enough for a scale, and bounded in memory."""
    least, most = _REFERENCE_ROWS
    wanted = min(max(_REFERENCE_CELLS // max(1, values.shape[1]), least), most)
    if len(values) <= wanted:
        return values, visit
    starts = np.linspace(0, len(values) - _BLOCK, wanted // _BLOCK).astype(np.int64)
    rows = (starts[:, None] + np.arange(_BLOCK)).reshape(-1)
    gaps = np.arange(_BLOCK, len(rows), _BLOCK)
    return np.insert(values[rows], gaps, np.nan, axis=0), np.insert(visit[rows], gaps, -1)


def _surprise_chunk(context: Context, values: Float32, hours: NDArray[np.int64]) -> Float32:
    raw = _level_statistics(values, context.floor)
    table = values[SPAN - 1 :].astype(np.float64)  # the first row is the one before
    now, known = table[1:], np.isfinite(table)
    raw[:, :, FEATURES.index("season")] = now - _at_hours(context.season, hours)
    raw[:, :, FEATURES.index("range")] = np.maximum(np.maximum(now - context.high, context.low - now), 0.0)
    residuals = _factor_residuals(context, _standardise(table, context.centre[0], context.scale[0]), known)
    pair_missing = ~known[1:] | ~known[:-1]
    for feature, values_of in zip(("factors", "autoregression"), residuals, strict=True):
        raw[:, :, FEATURES.index(feature)] = np.where(pair_missing, np.nan, values_of)
    deviation = (raw - context.centre.T) / context.scale.T
    logarithm = np.log1p(np.abs(deviation)) / context.noise.T
    logarithm[~np.isfinite(logarithm)] = 0.0  # `nan_to_num` takes four times as long for a row
    return logarithm.astype(np.float32)


def _level_statistics(values: Float32, floor: Float64) -> Float64:
    """Return raw shift, slope, difference, volatility, flatness (T - 15, S, 8) of the rows 15...; the rest is NaN."""
    rows = len(values) - SPAN
    out = np.full((max(rows, 0), values.shape[1], len(FEATURES)), np.nan)
    if rows <= 0:
        return out
    table = values.astype(np.float64)
    # (rows, S, 15); of one row, as at each tick, it need not be worked out
    windows = table[1:].T[None] if rows == 1 else sliding_window_view(table[1:], SPAN, axis=0)
    names = FEATURES.index
    out[:, :, names("shift")] = table[SPAN:]
    out[:, :, names("slope")] = windows @ _SLOPE
    out[:, :, names("difference")] = table[SPAN:] - table[SPAN - 1 : -1]
    out[:, :, names("volatility")] = np.log(_deviation(windows) + _WHISPER * floor)
    return out


def _deviation(windows: Float64) -> Float64:
    """Return `windows.std(axis=-1)`, to the last digit; a row at a time NumPy's own takes twice as long."""
    centred = windows - np.add.reduce(windows, axis=-1, keepdims=True) / windows.shape[-1]
    np.multiply(centred, centred, out=centred)
    return np.asarray(np.sqrt(np.add.reduce(centred, axis=-1) / windows.shape[-1]))


def _season(values: Float32, hours: NDArray[np.int64]) -> tuple[Float64, Float64, NDArray[np.int64]]:
    """Return the season (168, S), what the other visits of an hour foretell of each (V, S), and the visit of rows (T,).

    The mean by hour of the week or of the day, whichever foretells an hour that it was not learned from
    better; drawn to the overall mean by what it does not foretell (James and Stein, 1961): a rhythm that is
    only noise would surprise by its own error. NaN below 3 days.
    """
    signals = values.shape[1]
    starts = np.flatnonzero(np.r_[True, hours[1:] != hours[:-1]]) if len(hours) else np.zeros(0, np.int64)
    visit = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(hours)]))
    hour = hours[starts]
    if len(np.unique(hour[hour >= 0] // 24)) < _LEAST_DAYS:
        return np.full((HOURS, signals), np.nan), np.full((len(starts), signals), np.nan), visit
    known = np.isfinite(values) & (hours >= 0)[:, None]
    count = np.add.reduceat(known, starts, axis=0, dtype=np.float64)  # (V, S)
    total = np.add.reduceat(np.where(known, values, 0), starts, axis=0, dtype=np.float64)
    overall = total.sum(axis=0) / np.maximum(count.sum(axis=0), 1)
    by_day, others_day = _profile(total, count, hour % 24, 24)
    by_week, others_week = _profile(total, count, hour, HOURS)
    by_day, seen = np.tile(by_day, (7, 1)), np.isfinite(others_week)
    by_week = np.where(np.isfinite(by_week), by_week, by_day)
    others_week = np.where(seen, others_week, others_day)
    mean = total / np.where(count > 0, count, np.nan)
    judged = np.isfinite(mean) & np.isfinite(others_day)

    def missed(foretold: Float64) -> Float64:
        return np.asarray(np.where(judged, count * (mean - foretold) ** 2, 0.0).sum(axis=0))

    flat, day, week = missed(np.broadcast_to(overall, mean.shape)), missed(others_day), missed(others_week)
    weekly = week < day
    skill = np.maximum(1 - np.minimum(week, day) / np.maximum(flat, 1e-30), 0.0)
    season = overall + skill * (np.where(weekly, by_week, by_day) - overall)
    return season, overall + skill * (np.where(weekly, others_week, others_day) - overall), visit


def _profile(total: Float64, count: Float64, hour: NDArray[np.int64], hours: int) -> tuple[Float64, Float64]:
    """Return the mean by hour (hours, S), and of each visit the mean of the others of its hour (V, S); NaN = unseen."""
    known = hour >= 0
    sums, counts = np.zeros((hours, total.shape[1])), np.zeros((hours, total.shape[1]))
    np.add.at(sums, hour[known], total[known])
    np.add.at(counts, hour[known], count[known])
    others = counts[hour] - count
    profile = sums / np.where(counts > 0, counts, np.nan)
    return profile, np.where(known[:, None], (sums[hour] - total) / np.where(others > 0, others, np.nan), np.nan)


def _at_hours(season: Float64, hours: NDArray[np.int64]) -> Float64:
    """Expected values (T, S) at `hours` (T,); an hour below 0 is one that the clock cannot be trusted for."""
    return np.where((hours >= 0)[:, None], season[hours], np.nan)


def _standardise(table: Float64, centre: Float64, scale: Float64) -> Float64:
    standard: Float64 = np.minimum(np.maximum((table - centre) / scale, -_CLIP), _CLIP)
    standard[np.isnan(standard)] = 0.0
    return standard


def _loadings(standard: Float64) -> Float64:
    """Principal directions (S, K) that hold 90 % of the variance, at most 8 and at most half of the moving signals."""
    signals = standard.shape[1]
    keep = min(_FACTORS_MAXIMUM, int((np.abs(standard) > _STILL).any(axis=0).sum()) // 2)  # constant ones span nothing
    if keep == 0:
        return np.zeros((signals, 0))
    variance, directions = np.linalg.eigh(standard.T @ standard / len(standard))
    share = np.cumsum(variance[::-1]) / max(float(variance.sum()), 1e-12)
    return directions[:, ::-1][:, : min(keep, int(np.searchsorted(share, 0.9)) + 1)].copy()


def _autoregression(standard: Float64, loadings: Float64) -> tuple[Float64, Float64]:
    """Least squares of each signal on its own past, then of the rest on the factors' past (ridge)."""
    before, now = standard[:-1], standard[1:]
    own = (before * now).sum(axis=0) / ((before**2).sum(axis=0) + 1.0)
    factors = before @ loadings
    gram = factors.T @ factors + 0.01 * len(before) * np.eye(factors.shape[1]) + 1e-9
    cross = np.linalg.solve(gram, factors.T @ (now - own * before)) if factors.shape[1] else np.zeros((0, len(own)))
    return own, cross


def _factor_residuals(context: Context, standard: Float64, known: Known) -> tuple[Float64, Float64]:
    """Residuals (T, S) of the reconstruction from the factors and of the vector autoregression.

    Of the rows behind the first of `standard` (1 + T, S), each with the one before it.
    """
    factors, now = _factors(context.loadings, standard, known), standard[1:]
    reconstruction = factors[1:] @ context.loadings.T
    prediction = context.own * standard[:-1] + factors[:-1] @ context.cross
    return now - reconstruction, now - prediction


def _factors(loadings: Float64, standard: Float64, known: Known) -> Float64:
    """Return the factors (T, K) that the known values tell: least squares where some are missing.

    Taken as 0 instead, a collector that fails would surprise every signal that used to move with its own.
    """
    out = standard @ loadings
    known = known | (np.abs(loadings) < _STILL).all(axis=1)  # what speaks of no factor is not missed
    partial = np.flatnonzero(~known.all(axis=1) & known.any(axis=1))
    if len(partial) and loadings.shape[1]:
        patterns, which = known[partial[:1]], np.zeros(len(partial), np.int64)
        if not (known[partial] == patterns).all():  # a signal that is away is so for many rows
            patterns, which = np.unique(known[partial], axis=0, return_inverse=True)
        ridge = _RIDGE * np.eye(loadings.shape[1])
        for number, pattern in enumerate(patterns):
            rows = partial[which.reshape(-1) == number]
            there = loadings[pattern]
            out[rows] = np.linalg.solve(there.T @ there + ridge, out[rows].T).T
    return out


def signal_surprise(features: Float32) -> Float32:
    """Return one number a signal (T, S): the power mean (p = 3) of its features (T, S, 8)."""
    cubes = np.add.reduce(features * features * features, axis=-1)
    out: Float32 = np.cbrt(cubes / np.float32(features.shape[-1]))
    return out


def network_inputs(features: Float32, moving: int) -> Float32:
    """Return the network's inputs (T, 256): the 31 most surprising signals in order, then 8 pooled means.

    `moving`: how many signals the means are over; constant ones must not thin them out.
    """
    rows, signals, width = features.shape
    out = np.zeros((rows, INPUTS), np.float32)
    if signals == 0 or rows == 0:
        return out
    order = np.argsort(-signal_surprise(features), axis=1, kind="stable")[:, :TOP_SIGNALS]
    top = features[np.arange(rows)[:, None], order]
    out[:, : top.shape[1] * width] = top.reshape(rows, -1)
    out[:, TOP_SIGNALS * width :] = features.sum(axis=1) / max(moving, 1)
    return out


def aggregate(inputs: Float32) -> Float32:
    """Return the power mean (p = 3) of the surprising signals' features (T,): the simple method beside the network.

    It is over ten signals always, so that those that stand still change nothing.
    """
    top = np.minimum(inputs[:, : SCORED_SIGNALS * len(FEATURES)], _ENOUGH)
    out: Float32 = np.cbrt((top * top * top).sum(axis=1) / top.shape[1])
    return out
