"""Rows of a table into history.db: each at its place before the first own sample, once.

Enters: tables of samples, in any order, again and again. Leaves: how many rows were new. A row's number follows
from its time alone, below zero, so that what is written twice is there once and any order gives the same history.
"""

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.clock import Instant
from daemon.continuity import GAP_INTERVALS, hour_of_week
from daemon.errors import StateError
from daemon.history import History
from daemon.imports.table import Table
from daemon.samples import FLAG_GAP, StoredSample
from daemon.signals import MAXIMUM
from daemon.state import StateDatabase

_ORIGIN = "import.origin_ms"
_BEFORE = "import.before_ms"
_DONE = "import.done"
_BOOTS = "import.boots"
_UNROLLED = "import.unrolled"
_SAME_BOOT = 60  # seconds by which the time of one boot may seem to move when the clock is set
_ROWS = 500  # in one transaction: the daemon waits for it


@dataclass(frozen=True, slots=True)
class Written:
    """What came of one table: rows that are new, and rows whose place was taken already."""

    new: int
    known: int


class ImportWriter:
    """Writes into `history`, at a sample every `interval_seconds`; signals get their ids from `state`.

    Only what is earlier than `before_ms` is written: from there on the daemon has its own samples. Raises
    StateError where history.db holds samples of another interval: the two cannot be compared.
    """

    def __init__(self, history: History, state: StateDatabase, *, interval_seconds: float, now_ms: int) -> None:
        self._history = history
        self._state = state
        self._step_ms = round(interval_seconds * 1000)
        kept = history.meta("interval_seconds")
        if history.meta("lineage_seq") is not None or (kept is not None and float(kept) != interval_seconds):
            raise StateError(
                f"{history.path}: holds samples that were not taken every {interval_seconds:g} s, which cannot be "
                "compared with imported ones; move the file away to begin anew"
            )
        if kept is None:
            history.bind_interval(interval_seconds)
        before, own = history.meta(_BEFORE), history.first_own_ms()
        self._before_ms = min(value for value in (own, int(before) if before else None, now_ms) if value is not None)
        if before is None:
            history.set_meta(_BEFORE, str(self._before_ms))
        origin = history.meta(_ORIGIN)
        self._origin_ms = None if origin is None else int(origin)
        self._done: dict[str, list[tuple[int, int]]] = {
            source: [(int(first), int(end)) for first, end in spans]
            for source, spans in json.loads(history.meta(_DONE) or "{}").items()
        }
        self._marked = self._unrolled = history.meta(_UNROLLED) == "1"  # what was killed has rows that are not

    @property
    def before_ms(self) -> int:
        """The end of what is imported: the first own sample, else the first time anything was imported."""
        return self._before_ms

    def write(self, table: Table, first_ms: int, end_ms: int) -> Written:
        """Write the rows of `table` with first_ms <= time < end_ms; earlier rows only tell of gaps before them."""
        wanted = np.flatnonzero((table.time_ms >= first_ms) & (table.time_ms < min(end_ms, self._before_ms)))
        wanted = wanted[np.isfinite(table.values[wanted]).any(axis=1)]
        if len(wanted) == 0:
            return Written(0, 0)
        specs = table.specs[:MAXIMUM]
        numbers = self._state.assign_signals(specs, int(table.time_ms[wanted[-1]]))
        ids = np.array([numbers[spec.name] for spec in specs], np.int64)
        order = np.argsort(ids)
        ids, values = ids[order], table.values[:, order]
        places = self._places(table.time_ms[wanted])
        first_of_place = np.r_[True, np.diff(places) > 0]
        distance = np.diff(table.time_ms, prepend=table.time_ms[0] - 2**40)
        rebooted = np.diff(table.boot, prepend=table.boot[0]) != 0
        gaps = (distance > GAP_INTERVALS * self._step_ms) | rebooted
        boots = {number: self._boot(number) for number in np.unique(table.boot[wanted]).tolist()}
        samples = [
            StoredSample(
                place,
                Instant(time_ms := int(table.time_ms[row]), time_ms * 1_000_000, 0, boots[int(table.boot[row])]),
                hour_of_week(time_ms),
                FLAG_GAP if gaps[row] else 0,
                0,
                None,
                None,
                ids,
                values[row],
            )
            for row, place in zip(wanted[first_of_place].tolist(), places[first_of_place].tolist(), strict=True)
        ]
        if not self._marked:
            self._history.set_meta(_UNROLLED, "1")
            self._marked = True
        new = sum(self._history.add(samples[at : at + _ROWS]) for at in range(0, len(samples), _ROWS))
        self._unrolled |= new > 0
        return Written(new, len(samples) - new)

    def _places(self, time_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number (T,) of the sample at each time: one for each interval, the last below zero.

        The border between two intervals lies half an interval from where the source takes its samples, so that a
        scrape that is a little late is still in its own.
        """
        if self._origin_ms is None:
            turns = (time_ms - self._before_ms) / self._step_ms
            middle = float(np.angle(np.exp(2j * np.pi * turns).mean())) / (2 * np.pi)  # the mean place
            phase = round((middle + 0.5) * self._step_ms) % self._step_ms
            self._origin_ms = self._before_ms + phase
            self._history.set_meta(_ORIGIN, str(self._origin_ms))
        return (time_ms - self._origin_ms) // self._step_ms

    def _boot(self, number: int) -> str:
        """Return the name of a boot: that of one that was seen before where it is the same."""
        known: list[int] = json.loads(self._history.meta(_BOOTS) or "[]")
        near = [one for one in known if abs(one - number) <= _SAME_BOOT]
        if not near:
            self._history.set_meta(_BOOTS, json.dumps([*known, number]))
        return f"imported-{near[0] if near else number}"

    def is_done(self, source: str, first_ms: int, end_ms: int) -> bool:
        """Tell whether this span of `source` was written whole before."""
        return any(first <= first_ms and end_ms <= end for first, end in self._done.get(source, ()))

    def note_done(self, source: str, first_ms: int, end_ms: int) -> None:
        """Keep that this span of `source` is written whole: it is not asked for again."""
        spans = sorted([*self._done.get(source, ()), (first_ms, end_ms)])
        merged = [spans[0]]
        for first, end in spans[1:]:
            if first <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((first, end))
        self._done[source] = merged
        self._history.set_meta(_DONE, json.dumps(self._done))

    def finish(self) -> None:
        """Roll up what was imported, by an earlier run too."""
        if self._unrolled:
            self._history.roll_up_imported()
        if self._marked:
            self._history.set_meta(_UNROLLED, "0")
        self._marked = self._unrolled = False
