"""What a history of events says at a moment: inputs of the hazard networks.

Enters: times of events, in seconds and ascending, of one unit and of the group that it is one of (a host alone is its
own group), and the moments to look from. Leaves: one row a moment. An event counts from its own second on, and nothing
after the moment is ever read.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.network import Float32

Times = NDArray[np.float64]

HOUR, DAY = 3600.0, 86_400.0
BURST_SECONDS = 300.0  # repeats of one event within the same five minutes are one
_DECAYS = HOUR * np.array([0.125, 0.5, 2, 8, 32, 128, 512, 2048])
_SLOW = 5  # decays from here on are also told as a rate of the time that was watched
_OLDEST = 2 * 365 * DAY
_LAST = 3  # ages of so many last events
_WINDOWS = HOUR * np.array([1, 6, 24, 168, 672])
_EDGES = HOUR * np.array([0.25, 1, 2, 4, 8, 16, 24, 48, 96, 192, 384, 768, 1536, 3072])
_NEVER = 365 * DAY
_HOURS = 24
_MONTH = 30 * DAY

VERSION = 1  # of the columns: what has learned from others cannot read these
_SCOPE = len(_DECAYS) + (len(_DECAYS) - _SLOW) + _LAST + 1
TEMPO = 2 * _SCOPE + 1  # columns of `tempo`
MEMORY = 1 + (len(_EDGES) + 2) + len(_WINDOWS) + _HOURS  # columns of `memory` for each kind


def thinned(times: Times) -> Times:
    """Return the first of `times` in each five minutes, ascending."""
    times = np.sort(times)
    slots = np.floor(times / BURST_SECONDS)
    return np.asarray(times[np.r_[True, np.diff(slots) > 0][: len(times)]])


def tempo(own: Times, group: Times, units: int, start: float, at: Times) -> Float32:
    """Return how often the unit and its group fail (R, TEMPO), by measures that fit any process.

    `own` and `group` are thinned failures; the group has `units` members, the unit among them, and was watched from
    `start` on. Intensities that decay at eight speeds are what a self-exciting process remembers of its past (Hawkes,
    "Spectra of some self-exciting and mutually exciting point processes", Biometrika 1971).
    """
    watched = np.maximum(at - start, HOUR)
    columns = [
        _scope(own, at, watched, 1),
        _scope(group, at, watched, units),
        np.log1p(watched / DAY)[:, None] / 6,
    ]
    return np.concatenate(columns, axis=1).astype(np.float32)


def _scope(times: Times, at: Times, watched: Times, units: int) -> Times:
    """Return intensities, rates a unit, ages and the rate of all time, each near 0 to 1, (R, _SCOPE)."""
    intensity = _decayed(times, at)  # (R, decays)
    slow = _DECAYS[_SLOW:]
    seen = slow * (1 - np.exp(-watched[:, None] / slow))  # of a decay, how much was watched
    rate = intensity[:, _SLOW:] / units * (_MONTH / seen)
    count = np.searchsorted(times, at, side="right")
    overall = 10 * count / units * (_MONTH / (watched + _MONTH))
    ages = [np.log1p(_age(times, count, nth, _OLDEST, at) / HOUR) / np.log1p(_OLDEST / HOUR) for nth in range(_LAST)]
    return np.column_stack([np.log1p(intensity) / 2, np.log1p(rate) / 5, *ages, np.log1p(overall) / 3])


def _decayed(times: Times, at: Times) -> Times:
    """Return the sum of exp(-age / decay) over the events so far, for each decay (R, decays)."""
    out = np.zeros((len(at), len(_DECAYS)))
    if not len(times):
        return out
    kept = np.exp(-np.diff(times, prepend=times[0])[:, None] / _DECAYS)
    after = np.empty_like(kept)  # the intensities just after each event
    now = np.zeros(len(_DECAYS))
    for index, share in enumerate(kept):
        now = now * share + 1
        after[index] = now
    count = np.searchsorted(times, at, side="right")
    some = count > 0
    last = count[some] - 1
    out[some] = after[last] * np.exp(-(at[some] - times[last])[:, None] / _DECAYS)
    return out


def _age(times: Times, count: NDArray[np.int64], nth: int, oldest: float, at: Times) -> Times:
    """Return the age (R,) of the event `nth` before the last one, `oldest` where there is none."""
    padded = np.concatenate([np.full(nth + 1, -np.inf), times])
    age: Times = np.minimum(at - padded[count], oldest)
    return age


def memory(kinds: Sequence[Times], at: Times) -> Float32:
    """Return what is remembered of each kind of event (R, len(kinds) x MEMORY) at `at` (R,), ascending.

    The age since the last one, plain and as one of sixteen bins; counts over an hour to 28 days; and of the last
    24 hours the hours of the day (UTC) in which one came: much of what happens to a host happens by the clock.
    """
    if not kinds:
        return np.zeros((len(at), 0), np.float32)
    return np.concatenate([_remembered(times, at) for times in kinds], axis=1)


def _remembered(times: Times, at: Times) -> Float32:
    out = np.zeros((len(at), MEMORY), np.float32)
    count = np.searchsorted(times, at, side="right")
    age = _age(times, count, 0, _NEVER, at)
    out[:, 0] = np.log1p(age / HOUR) / np.log1p(_NEVER / HOUR)
    place = np.where(age >= _NEVER, len(_EDGES) + 1, np.searchsorted(_EDGES, age, side="right"))
    out[np.arange(len(at)), 1 + place] = 1
    first = len(_EDGES) + 3
    for index, window in enumerate(_WINDOWS):
        out[:, first + index] = np.log1p(count - np.searchsorted(times, at - window, side="right")) / 3
    first += len(_WINDOWS)
    begins, ends = np.searchsorted(at, times), np.searchsorted(at, times + DAY)
    hours = (times // HOUR).astype(np.int64) % _HOURS
    for hour, begin, end in zip(hours, begins, ends, strict=True):
        out[begin:end, first + hour] = 1
    return out
