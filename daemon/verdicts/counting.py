"""The verdicts that count: given, taken back, remembered, and what they are at each sample.

Enters: a verdict and its alert. Leaves: sentences on what is other than before; for each sample what all together are;
marks in the history. What they change follows from state.db alone, so a crash between two steps heals by itself.
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog

from alerting.occurrence import Occurrence
from alerting.verdict import Verdict, VerdictKind
from daemon.errors import PresagedError
from daemon.history import History
from daemon.offload import Offload
from daemon.verdicts import words
from daemon.verdicts.effects import (
    MOST_EXCLUSIONS,
    NOTHING,
    Effect,
    Standing,
    effect_of,
    incidents,
    standing,
)
from daemon.verdicts.table import Judged, VerdictTable

T = TypeVar("T")

_STORE_SECONDS = 5.0
_MARK_SECONDS = 30.0

_log = structlog.get_logger()


class Verdicts:
    """What operators said, as far as it changes something. `threshold` is asked for the one without verdicts."""

    def __init__(
        self, *, table: VerdictTable, history: History, offload: Offload, threshold: Callable[[], float]
    ) -> None:
        self._table = table
        self._history = history
        self._offload = offload
        self._threshold = threshold
        self._judged: tuple[Judged, ...] = ()
        self._marked: list[tuple[int, int]] | None = None

    def restore(self) -> None:
        """Take up what was said before; blocks. Raises StateError."""
        self._judged = tuple(self._table.judged())

    @property
    def judged(self) -> Sequence[Judged]:
        """The verdicts that count and change something, the oldest first; some may have ended."""
        return self._judged

    @property
    def effects(self) -> tuple[Effect, ...]:
        """What they change."""
        return tuple(one.effect for one in self._judged)

    def at(self, time_ms: int) -> Standing:
        """Return what all are at `time_ms`."""
        return standing(self.effects, time_ms) if self._judged else NOTHING

    def in_force(self, time_ms: int) -> list[Judged]:
        """Return the verdicts that have not ended."""
        return [one for one in self._judged if one.effect.is_active(time_ms)]

    async def give(self, verdict: Verdict, alert: Occurrence) -> tuple[str, ...]:
        """Keep a verdict and what it changes; say what that is. Raises StateError when it could not be kept."""
        effect = effect_of(verdict, alert)
        crowded = effect is not None and effect.kind is VerdictKind.EXPECTED and self._is_crowded(verdict)
        if crowded:
            effect = None
        said = await self._change(lambda: self._table.record_verdict(verdict, effect), verdict.time_ms)
        return said if effect is not None else (*said, words.nothing(verdict, alert, crowded=crowded))

    async def undo(self, occurrence: str, time_ms: int) -> tuple[str, ...] | None:
        """Take back the newest verdict on an alert; say what that changes, None where there is no verdict."""
        undone = False

        def work() -> None:
            nonlocal undone
            undone = self._table.undo_verdict(occurrence, time_ms)

        said = await self._change(work, time_ms)
        return said if undone else None

    async def follow(self, time_ms: int) -> None:
        """Take up which judged alerts have ended since, and mark what must not be learned from; a job calls it."""
        if any(one.effect.end_ms is None for one in self._judged):
            self._judged = await self._ask(lambda: tuple(self._table.judged()))
        await self._mark(time_ms)

    def _is_crowded(self, verdict: Verdict) -> bool:
        others = [
            one
            for one in self.in_force(verdict.time_ms)
            if one.effect.kind is VerdictKind.EXPECTED and one.effect.occurrence != verdict.occurrence
        ]
        return len(others) >= MOST_EXCLUSIONS

    async def _change(self, write: Callable[[], None], time_ms: int) -> tuple[str, ...]:
        def work() -> tuple[Judged, ...]:
            write()
            return tuple(self._table.judged())

        before = self.effects
        self._judged = await self._ask(work)
        samples = await self._mark_or_later(time_ms)
        return tuple(words.changes(before, self.effects, time_ms=time_ms, threshold=self._threshold(), samples=samples))

    async def _mark_or_later(self, time_ms: int) -> int:
        try:
            return await self._mark(time_ms)
        except (sqlite3.Error, PresagedError) as error:  # the job does it again; nothing is trained in a moment
            _log.warning("incidents_not_marked", reason=str(error), effect="tried again within minutes")
            return 0

    async def _mark(self, time_ms: int) -> int:
        """Mark in the history what real incidents have shown; return how many samples that changes."""
        spans = [(first, min(end, time_ms + 1)) for first, end in incidents(self.effects, time_ms)]
        if spans == self._marked:  # never so after a start: a crash may have come between a word and its marks
            return 0
        changed = await self._offload.run(
            lambda: self._history.mark_incidents(spans), deadline_seconds=_MARK_SECONDS, what="history.db"
        )
        self._marked = spans
        return changed

    async def _ask(self, run: Callable[[], T]) -> T:
        return await self._offload.run(run, deadline_seconds=_STORE_SECONDS, what="state.db")
