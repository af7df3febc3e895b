"""The durable outbox: every stored notification reaches its sink at least once, or is counted as dead.

Enters: what the store says is due. Leaves: deliveries, and the outcome of each attempt in the store.
Each sink has a task of its own, so that a slow one delays no other. Of one thread (a group of alerts) a sink gets
the oldest undelivered notification only: a resolve never overtakes its fire. It holds one page of items in
memory, and never decides what is sent. What waits for a sink is bounded: the store drops the oldest that does
not tell of a page that fires, counted here.
"""

import asyncio
import random
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from types import MappingProxyType
from typing import Protocol, TypeVar

import structlog

from alerting.errors import DeliveryError, StoreError
from alerting.sinks.base import Notification, Sink

T = TypeVar("T")

_PAGE = 50
_LONGEST_SHIFT = 30  # 2 ** 30 times any base is beyond every cap

_NOTHING: Mapping[str, int] = MappingProxyType({})

_log = structlog.get_logger(__name__)
_random = random.SystemRandom()


class ItemState(StrEnum):
    """Where a notification stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class OutboxItem:
    """One notification for one sink. `created_ms` is on the outbox's own steady clock.

    Items of one `thread` are delivered in order. One that `is_page` tells of a page that fires: it is never dropped.
    """

    id: str
    sink: str
    thread: str
    payload: str
    created_ms: int
    attempts: int = 0
    is_page: bool = False


class OutboxStore(Protocol):
    """What the outbox asks of the database. Every method raises StoreError when it could not."""

    async def due_items(self, sink: str, *, now_ms: int, beyond_ms: int, limit: int) -> Sequence[OutboxItem]:
        """Return the oldest pending item of each thread that is due, in order of creation.

        Due is what may go at `now_ms`, and what is dated after `beyond_ms`: no wait is that long, so
        its date comes from a clock that jumped.
        """
        ...

    async def next_due_ms(self, sink: str) -> int | None:
        """Return when the next of the items that `due_items` could return is due, None without any."""
        ...

    async def record_attempt(
        self, item_id: str, *, state: ItemState, attempts: int, next_attempt_ms: int, error: str | None
    ) -> None:
        """Keep how an attempt ended."""
        ...

    async def count_pending(self) -> Mapping[str, int]:
        """Return how many items are pending for each sink."""
        ...


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to wait, and when to give up.

    An item is dead after `dead_after_seconds`, but never before `least_attempts`: an item that waited
    in a host that was switched off, or that a jump of the clock made old, still gets its chance.
    """

    base_seconds: float = 1.0
    cap_seconds: float = 300.0
    retry_after_cap_seconds: float = 3_600.0
    delivery_seconds: float = 90.0  # beyond what any sink takes with the longest timeout of the configuration
    dead_after_seconds: float = 86_400.0
    least_attempts: int = 20

    def wait_seconds(self, attempts: int, retry_after_seconds: float | None = None) -> float:
        """Return the wait after `attempts` failures: exponential, full jitter, never below the receiver's wish.

        Full jitter after Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
        """
        ceiling = min(self.cap_seconds, self.base_seconds * 2 ** min(attempts - 1, _LONGEST_SHIFT))
        wish = min(retry_after_seconds or 0.0, self.retry_after_cap_seconds)
        return max(_random.uniform(0.0, ceiling), wish)

    def gives_up(self, attempts: int, age_seconds: float) -> bool:
        """Tell whether an item of this age is dead after its `attempts`."""
        # An item from the future comes from a clock that was wrong; its distance counts like an age,
        # so that there is a bound in that case too.
        return attempts >= self.least_attempts and abs(age_seconds) >= self.dead_after_seconds


@dataclass(frozen=True, slots=True)
class SinkCounts:
    """What a sink did since the start; `failed` counts attempts, `dead` notifications given up.

    `dropped` counts notifications that made room for others.
    """

    sent: int
    failed: int
    dead: int
    pending: int
    dropped: int = 0


def steady_clock(time_ms: int, monotonic_ns: Callable[[], int]) -> Callable[[], int]:
    """Return a clock that began at the wall time `time_ms` and goes on with the monotonic clock.

    Waits and deadlines kept on it survive a restart, and no jump of the wall clock touches them before.
    """
    offset_ms = time_ms - monotonic_ns() // 1_000_000
    return lambda: offset_ms + monotonic_ns() // 1_000_000


class Outbox:
    """Delivers what the store holds to `sinks`; `now_ms` is a `steady_clock`."""

    def __init__(
        self, store: OutboxStore, sinks: Sequence[Sink], *, now_ms: Callable[[], int], retry: RetryPolicy | None = None
    ) -> None:
        self._store = store
        self._sinks = tuple(sinks)
        self.now_ms = now_ms
        self._retry = retry or RetryPolicy()
        self._wakes = {sink.name: asyncio.Event() for sink in self._sinks}
        self._sent: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._dead: Counter[str] = Counter()
        self._pending: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self.store_failures = 0

    @property
    def sink_names(self) -> tuple[str, ...]:
        """The sinks in the order of the configuration."""
        return tuple(sink.name for sink in self._sinks)

    @property
    def digest_sinks(self) -> tuple[str, ...]:
        """Those that are for digests too."""
        return tuple(sink.name for sink in self._sinks if sink.takes_digests)

    @property
    def counts(self) -> Mapping[str, SinkCounts]:
        """The counts of every sink, those included that have items but are no longer configured."""
        names = dict.fromkeys((*self.sink_names, *self._pending))
        return {
            name: SinkCounts(
                self._sent[name], self._failed[name], self._dead[name], max(0, self._pending[name]), self._dropped[name]
            )
            for name in names
        }

    @property
    def attempts(self) -> int:
        """Attempts of all sinks since the start."""
        return self._sent.total() + self._failed.total()

    async def load(self) -> None:
        """Count what an earlier run left. Raises StoreError."""
        self._pending = Counter(await self._store.count_pending())
        for name in self._pending.keys() - set(self.sink_names):
            _log.warning("outbox_sink_not_configured", sink=name, waiting=self._pending[name])

    def added(self, items: Iterable[OutboxItem], dropped: Mapping[str, int] = _NOTHING) -> None:
        """Take note of items that are stored now and of how many were dropped for them, and wake their sinks."""
        for sink, count in dropped.items():
            self._pending[sink] -= count
            self._dropped[sink] += count
        for item in items:
            self._pending[item.sink] += 1
            self._wakes[item.sink].set()

    async def attempt(self, sink_name: str, notification: Notification) -> str | None:
        """Try a sink once, beside the queue: None when it took it, else why not. Raises KeyError for another name."""
        sink = {sink.name: sink for sink in self._sinks}[sink_name]
        failure = await self._send(sink, notification)
        return None if failure is None else str(failure)

    async def run(self) -> None:
        """Deliver until cancelled. What is in flight then stays pending and goes again under its id."""
        async with asyncio.TaskGroup() as group:
            for sink in self._sinks:
                group.create_task(self._serve(sink), name=f"outbox-{sink.name}")

    async def _serve(self, sink: Sink) -> None:
        wake = self._wakes[sink.name]
        while True:
            wake.clear()  # before reading: what is added from here on is either read or wakes again
            now_ms = self.now_ms()
            beyond_ms = now_ms + int(self._retry.retry_after_cap_seconds * 1000)
            page = await self._insist(
                partial(self._store.due_items, sink.name, now_ms=now_ms, beyond_ms=beyond_ms, limit=_PAGE)
            )
            for item in page:
                await self._deliver(sink, item)
            if not page:
                await self._wait(sink, wake)

    async def _wait(self, sink: Sink, wake: asyncio.Event) -> None:
        due_ms = await self._insist(partial(self._store.next_due_ms, sink.name))
        seconds = None if due_ms is None else max(0.0, (due_ms - self.now_ms()) / 1000)
        with suppress(TimeoutError):  # the time has come: not an error
            async with asyncio.timeout(seconds):
                await wake.wait()

    async def _deliver(self, sink: Sink, item: OutboxItem) -> None:
        attempts = item.attempts + 1
        failure = await self._send(sink, Notification(item.id, item.payload))
        now_ms = self.now_ms()
        state, next_attempt_ms = ItemState.DELIVERED, now_ms
        if failure is None:
            self._sent[sink.name] += 1
        else:
            self._failed[sink.name] += 1
            age_seconds = (now_ms - item.created_ms) / 1000
            gone = failure.permanent or self._retry.gives_up(attempts, age_seconds)
            state = ItemState.DEAD if gone else ItemState.PENDING
            next_attempt_ms = now_ms + int(self._retry.wait_seconds(attempts, failure.retry_after_seconds) * 1000)
            _log.warning(
                "notification_dead" if gone else "notification_failed",
                sink=sink.name,
                id=item.id,
                thread=item.thread,
                attempts=attempts,
                error=str(failure),
            )
            if gone:
                self._dead[sink.name] += 1
        # A delivery that is not noted would go again: insist, and let the sink wait meanwhile.
        await self._insist(
            partial(
                self._store.record_attempt,
                item.id,
                state=state,
                attempts=attempts,
                next_attempt_ms=next_attempt_ms,
                error=None if failure is None else str(failure),
            )
        )
        if state is not ItemState.PENDING:
            self._pending[sink.name] -= 1

    async def _send(self, sink: Sink, notification: Notification) -> DeliveryError | None:
        try:
            async with asyncio.timeout(self._retry.delivery_seconds):
                await sink.send(notification)
        except DeliveryError as error:
            return error
        except TimeoutError:
            return DeliveryError(f"no answer within {self._retry.delivery_seconds:g} s")
        except Exception as error:  # noqa: BLE001 - one sink's bug must stop neither the others nor the monitor
            frame = traceback.extract_tb(error.__traceback__)[-1]
            # Type and place only: the text of a foreign error may hold the receiver's address.
            return DeliveryError(f"bug in the sink: {type(error).__name__} at {frame.filename}:{frame.lineno}")
        return None

    async def _insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the store until it answers; each failure is counted, logged and waited after."""
        failures = 0
        while True:
            try:
                return await ask()
            except StoreError as error:
                failures += 1
                self.store_failures += 1
                _log.warning("outbox_store_failed", error=str(error), failures=failures)
                await asyncio.sleep(self._retry.wait_seconds(failures))
