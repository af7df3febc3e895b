"""state.db as `alerting` asks for it: from the event loop, through the one door.

Enters: occurrences and notifications. Leaves: the same, durable, or alerting's StoreError.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from alerting.errors import StoreError
from alerting.occurrence import Occurrence
from alerting.outbox import ItemState, OutboxItem
from alerting.silence import Silence
from daemon.errors import PresagedError
from daemon.offload import Offload
from daemon.state import StateDatabase

T = TypeVar("T")

_DOOR_SECONDS = 10.0


class OffloadedState:
    """`StateDatabase` for the event loop: what `alerting` asks of a store, through the one door.

    Raises alerting's StoreError, so that `alerting` need not know the daemon's errors.
    """

    def __init__(self, database: StateDatabase, offload: Offload) -> None:
        self._database = database
        self._offload = offload

    async def unsettled_occurrences(self) -> Sequence[Occurrence]:
        """Return the occurrences that fire, or of which somebody is still to be told, the oldest first."""
        return await self._ask(self._database.unsettled_occurrences)

    async def recent_occurrences(self, limit: int, skip: int = 0) -> Sequence[Occurrence]:
        """Return at most `limit` occurrences, the newest first; behind the newest `skip`."""
        return await self._ask(lambda: self._database.recent_occurrences(limit, skip))

    async def record_transitions(
        self, occurrences: Sequence[Occurrence], items: Sequence[OutboxItem]
    ) -> Mapping[str, int]:
        """Keep the occurrences and add the items, all or nothing; return how many were dropped for them, by sink."""
        return await self._ask(lambda: self._database.record_transitions(occurrences, items))

    async def silences(self, time_ms: int) -> Sequence[Silence]:
        """Return the silences that are not over."""
        return await self._ask(lambda: self._database.silences(time_ms))

    async def record_silence(self, silence: Silence) -> None:
        """Keep a silence, in the place of one with the same id."""
        await self._ask(lambda: self._database.record_silence(silence))

    async def due_items(self, sink: str, *, now_ms: int, beyond_ms: int, limit: int) -> Sequence[OutboxItem]:
        """Return the due heads of the sink."""
        return await self._ask(lambda: self._database.due_items(sink, now_ms=now_ms, beyond_ms=beyond_ms, limit=limit))

    async def next_due_ms(self, sink: str) -> int | None:
        """Return when the next item of the sink is due."""
        return await self._ask(lambda: self._database.next_due_ms(sink))

    async def record_attempt(
        self, item_id: str, *, state: ItemState, attempts: int, next_attempt_ms: int, error: str | None
    ) -> None:
        """Keep how an attempt ended."""
        await self._ask(
            lambda: self._database.record_attempt(
                item_id, state=state, attempts=attempts, next_attempt_ms=next_attempt_ms, error=error
            )
        )

    async def count_pending(self) -> Mapping[str, int]:
        """Return how many items are pending for each sink."""
        return await self._ask(self._database.count_pending)

    async def _ask(self, run: Callable[[], T]) -> T:
        try:
            return await self._offload.run(run, deadline_seconds=_DOOR_SECONDS, what="state.db")
        except PresagedError as error:
            raise StoreError(str(error)) from error
