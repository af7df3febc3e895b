"""Whether series still follow the distribution that they had: a verdict for each, and the share that does not.

Enters: reference days and a last day of the same series: signals, what a network is given, what it answers. Leaves:
for each series its distance (two-sample Kolmogorov-Smirnov), the probability of that where nothing has changed, and
whether it drifted. It keeps no time itself: the hour of a sample is handed in.

A metric is no row of independent draws: plain KS cries wolf on nearly all of them. Sizes are therefore effective ones
(`dependence`), and of many series at most 5 % of those that are believed are false. A series of which a day
tells too little is not judged, and that is an answer too.
"""

import zlib
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from detectors.dependence import Dependence, dependence
from detectors.kernels import Backend, KsWindow, Sorted
from detectors.kolmogorov import Float64, believed, probability

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
Flags = NDArray[np.bool_]

HOURS = 24
FALSE_SHARE = 0.05
MOST_ROWS = 1440  # of the reference are compared with: more of a metric's samples say the same again
_LEAST_EFFECTIVE = 8.0  # independent samples' worth, of either side
_LEAST_FREEDOM = 2.0
_LEAST_JUDGED = 0.2  # of all series: a score of fewer is one of a few


class DriftLevel(StrEnum):
    """What the share of drifted series comes to."""

    TOO_LITTLE = "too little data"
    NONE = "no drift"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What is compared with: `values` (n, S) of the `hours` (n,), thinned evenly from more.

    `counts` (S,): how many known samples they stand for, whose dependence is `repeats`.
    """

    values: Float32
    hours: Int64
    counts: Int64
    repeats: Dependence

    def columns(self, kept: Int64) -> "Reference":
        """Return that of the series `kept`."""
        repeats = Dependence(self.repeats.time[kept], self.repeats.freedom[kept])
        return Reference(np.ascontiguousarray(self.values[:, kept]), self.hours, self.counts[kept], repeats)


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """Of each series (S,): its `distance`, 0 to 1, and the `probability` of that where nothing has changed.

    `effective`: how many independent samples the last day is worth; `judged`: whether that is enough.
    """

    distance: Float64
    probability: Float64
    effective: Float64
    judged: Flags
    drifted: Flags

    def score(self, of: Flags | None = None) -> float | None:
        """Return the share of the judged series that drifted, or of those in `of` (S,); None: too few are judged."""
        chosen = np.ones(len(self.judged), np.bool_) if of is None else of
        judged = int((self.judged & chosen).sum())
        if not judged or judged < _LEAST_JUDGED * chosen.sum():
            return None
        return float((self.drifted & chosen).sum()) / judged


def level_of(score: float | None, warning: float, critical: float) -> DriftLevel:
    """Return what a score comes to."""
    if score is None:
        return DriftLevel.TOO_LITTLE
    if score >= critical:
        return DriftLevel.CRITICAL
    return DriftLevel.WARNING if score >= warning else DriftLevel.NONE


def make_reference(values: Float32, hours: Int64, day: int, most: int = MOST_ROWS) -> Reference:
    """Return the reference of `values` (T, S) on an even grid of whole days of `day` samples, at `hours` (T,)."""
    every = max(1, round(len(values) / most))
    kept = np.arange(every // 2, len(values), every)
    kept = kept[~np.isnan(values[kept]).all(axis=1)]
    return Reference(
        np.ascontiguousarray(values[kept]), hours[kept], (~np.isnan(values)).sum(axis=0), dependence(values, day)
    )


def hours_watched(hours: Int64, per_hour: float) -> Flags:
    """Return which hours (24,) the samples at `hours` cover by half, of `per_hour` when none is missing."""
    return np.bincount(hours, minlength=HOURS) >= max(per_hour / 2, 1.0)


class DriftWindow:
    """A last day against the reference at the same hours, kept up to date sample by sample.

    `watched` (24,): the hours that both have; samples of others are left out on either side. The statistic is that of
    sorting everything anew, to the last digit. Folded up it takes a twentieth of its room, and can do nothing.
    """

    def __init__(self, backend: Backend, reference: Reference, watched: Flags) -> None:
        rows = watched[reference.hours]
        self.watched = watched
        self._backend = backend
        self._repeats = reference.repeats
        self._share = rows.mean() if len(rows) else 0.0
        self._counts = reference.counts
        self._laid: tuple[Sorted, KsWindow] | None = self._lay(reference)
        self._folded = (0, b"")
        self._sizes = np.zeros(len(reference.counts), np.int64)

    def _lay(self, reference: Reference) -> tuple[Sorted, KsWindow]:
        ordered = self._backend.sorted(np.ascontiguousarray(reference.values[self.watched[reference.hours]].T))
        return ordered, KsWindow(self._backend, ordered)

    @property
    def _open(self) -> tuple[Sorted, KsWindow]:
        if self._laid is None:
            raise RuntimeError("the window is folded up")
        return self._laid

    @property
    def is_folded(self) -> bool:
        """Whether it is folded up."""
        return self._laid is None

    def fold(self) -> None:
        """Keep only the counts, packed."""
        ordered, window = self._open
        self._folded, self._laid = (zlib.crc32(ordered.values.data), window.packed()), None

    def unfold(self, reference: Reference) -> bool:
        """Go on with the reference that it was made with; returns False, and stays as it is, where this is another."""
        if self._laid is None:
            ordered, window = self._lay(reference)
            if zlib.crc32(ordered.values.data) != self._folded[0]:
                return False
            window.unpack(self._folded[1])
            self._laid = ordered, window
        return True

    def add(self, values: Float32, hours: Int64) -> None:
        """Take samples (k, S) of `hours` (k,) in."""
        self._move(values, hours, 1)

    def remove(self, values: Float32, hours: Int64) -> None:
        """Take samples out that were added."""
        self._move(values, hours, -1)

    def _move(self, values: Float32, hours: Int64, sign: int) -> None:
        rows = np.ascontiguousarray(values[self.watched[hours]])
        if len(rows):
            _, window = self._open
            (window.add if sign > 0 else window.remove)(rows)
            self._sizes += sign * (~np.isnan(rows)).sum(axis=0)

    def verdict(self) -> Verdict:
        """Judge every series."""
        ordered, window = self._open
        many = self._counts * self._share
        return judge(window.statistic(), ordered.numbers, many, self._sizes, self._repeats)


def compare(backend: Backend, reference: Reference, last: Float32, hours: Int64, per_hour: float) -> Verdict:
    """Return the verdict on `last` (k, S) of `hours` (k,) at once, for any series, a network's inputs or outputs."""
    window = DriftWindow(backend, reference, hours_watched(hours, per_hour))
    window.add(last, hours)
    return window.verdict()


def judge(distance: Float64, thinned: Int64, many: Float64, last: Int64, repeats: Dependence) -> Verdict:
    """Return the verdict on `distance` (S,) of `thinned` (S,) values, which stand for `many`, against `last` (S,)."""
    effective = last / repeats.time
    former = np.minimum(many / repeats.time, thinned)
    with np.errstate(invalid="ignore"):
        enough = (np.minimum(effective, former) >= _LEAST_EFFECTIVE) & (repeats.freedom >= _LEAST_FREEDOM)
    judged = enough & ~np.isnan(distance)
    found = np.full(len(distance), np.nan)
    size = former[judged] * effective[judged] / (former[judged] + effective[judged])
    found[judged] = probability(distance[judged], size, repeats.freedom[judged])
    return Verdict(distance, found, effective, judged, believed(found, FALSE_SHARE))
