"""The host as it was recorded: its clock, its collectors and its changes, one stored sample after the other.

Enters: stored samples and changes. Leaves: the moment, and one round of measurements at each. What history does not
hold is not there: who took what, and facts that no signal shows.
"""

from collections.abc import Iterable, Sequence
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from daemon.backtest.result import Samples
from daemon.clock import Instant
from daemon.collectors.base import Noticed
from daemon.config import COLLECTOR_NAMES
from daemon.culprits import Culprits
from daemon.sampler import STOPPED_ROUNDS, Round, Writability, stopped
from daemon.samples import FLAG_DOUBTFUL, FLAG_GAP
from daemon.verdicts.effects import NOTHING, Effect, Standing, incidents, standing
from daemon.verdicts.table import Judged
from detectors.findings import Change, ChangeKind, Contributor, Culprit

_STARTED, _STOPPED, _RAN = " started", " stopped", ".timer ran"


class RecordedClock:
    """The moments of the samples; `row` is the present one."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self._monotonic_ns, self._boottime_ns = _clocks(samples)
        self.row = 0

    def now(self) -> Instant:
        """Return when the present sample was taken."""
        samples, row = self._samples, self.row
        return Instant(
            int(samples.time_ms[row]),
            int(self._monotonic_ns[row]),
            int(self._boottime_ns[row]),
            str(int(samples.boot[row])),
        )


def _clocks(samples: Samples) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return two clocks (T,) that only rise: one as stored, and one that counts suspend too, which is not stored.

    The replay lives through every boot, and each begins its monotonic clock anew: between two boots the wall clock
    stands in. It does for the second clock as well, but for where it jumped.
    """
    wall = np.diff(samples.time_ms, prepend=samples.time_ms[:1]) * 1_000_000
    ran = np.diff(samples.monotonic_ns, prepend=samples.monotonic_ns[:1])
    booted = np.diff(samples.boot, prepend=samples.boot[:1]) != 0
    ran = np.where(booted, np.maximum(wall, 10**9), ran)
    doubtful = (samples.flags & FLAG_DOUBTFUL) != 0
    jumped = doubtful & ((samples.flags & FLAG_GAP) != 0)
    start = 10**9
    return start + np.cumsum(ran), start + np.cumsum(np.where(jumped | booted, ran, wall))


class RecordedVerdicts:
    """What operators said, each from the moment on at which it was said. `judged`: the oldest first."""

    def __init__(self, judged: Sequence[Judged]) -> None:
        self._judged = judged

    def at(self, time_ms: int) -> Standing:
        """Return what all change at `time_ms`."""
        return standing(self._given(time_ms), time_ms) if self._judged else NOTHING

    def incidents(self, time_ms: int) -> list[tuple[int, int]]:
        """Return the times [first, end) that are known by then to be real incidents, and are not learned from."""
        return [(first, min(end, time_ms + 1)) for first, end in incidents(self._given(time_ms), time_ms)]

    def given(self, time_ms: int) -> int:
        """Return how many were given until then."""
        return len(self._given(time_ms))

    def _given(self, time_ms: int) -> list[Effect]:
        return [one.effect for one in self._judged if one.verdict.time_ms <= time_ms]


class RecordedRounds:
    """In the place of the collectors. `changes` are the host's, oldest first; marks are left to the caller."""

    def __init__(self, samples: Samples, clock: RecordedClock, changes: Sequence[Change]) -> None:
        self._samples = samples
        self._clock = clock
        self._changes = [change for change in changes if change.kind is not ChangeKind.MARK]
        self._next_change = 0
        self._writability = Writability()
        self._read_only = [
            (column, spec.resource)
            for column, spec in enumerate(samples.specs)
            if spec.family == "filesystem" and spec.name == f"filesystem.{spec.resource}.read_only"
        ]
        self._families = {
            name: np.array([column for column, spec in enumerate(samples.specs) if spec.family == name], np.int64)
            for name in COLLECTOR_NAMES
            if any(spec.family == name for spec in samples.specs)
        }
        self._worked: set[str] = set()
        self._silent: dict[str, int] = {}

    def collect(self, monotonic_ns: int) -> Round:  # noqa: ARG002 - the clock knows the row
        """Return what was measured at the present sample."""
        row = self._clock.row
        values = self._samples.values[row]
        present = np.isfinite(values)
        measured = tuple(zip(self._samples.specs, values.tolist(), strict=True))
        if not present.all():
            measured = tuple(compress(measured, present.tolist()))
        mounts = {mount: values[column] > 0 for column, mount in self._read_only if np.isfinite(values[column])}
        findings = self._writability.observe(mounts)
        if self._samples.flags[row] & FLAG_GAP:  # a restart, perhaps with other sources
            self._worked.clear()
        for name, columns in self._families.items():
            self._silent[name] = 0 if present[columns].any() else self._silent.get(name, 0) + 1
            if not self._silent[name]:
                self._worked.add(name)
            elif name in self._worked and self._silent[name] >= STOPPED_ROUNDS:
                findings.append(stopped(name, "its signals are missing"))
        return Round(measured, (), tuple(findings), None, tuple(self._noticed(int(self._samples.time_ms[row]))))

    def _noticed(self, time_ms: int) -> Iterable[Noticed]:
        while self._next_change < len(self._changes) and self._changes[self._next_change].time_ms <= time_ms:
            change = self._changes[self._next_change]
            self._next_change += 1
            yield _as_noticed(change)


def _as_noticed(change: Change) -> Noticed:
    """Return a stored change as the collector told it, with the run of a unit that it began or ended."""
    began = ended = ""
    if change.kind is ChangeKind.UNIT:
        began = change.text.removesuffix(_STARTED) if change.text.endswith(_STARTED) else ""
        ended = change.text.removesuffix(_STOPPED) if change.text.endswith(_STOPPED) else ""
    if change.kind is ChangeKind.TIMER and change.text.endswith(_RAN):
        began = f"{change.text.removesuffix(_RAN)}.service"
    return Noticed(change.kind, change.text, change.time_ms, began, ended)


class NoCulprits(Culprits):
    """In the place of the process scan: who ran then is not recorded."""

    def __init__(self) -> None:
        pass

    def calm(self, units: object) -> None:
        """Learn nothing."""

    def taking(self, resource: object, units: object) -> tuple[Culprit, ...]:  # noqa: ARG002
        """Name nobody."""
        return ()

    def name(self, contributors: Sequence[Contributor], units: object, monotonic_ns: int) -> tuple[Culprit, ...]:  # noqa: ARG002
        """Name nobody."""
        return ()
