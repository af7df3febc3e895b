"""From findings to notifications, in one reading order.

findings -> alert book -> policy -> the transition and its notifications in ONE transaction -> the outbox wakes.

Enters: at each tick, the findings that hold. Leaves: the transitions of the tick; everything else is in
the store. It never sends anything itself, and a store that fails costs no transition: what is not
stored is tried again with the next tick, under the same ids.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import structlog

from alerting.alert import AlertBook, Event, Moment, Transition
from alerting.errors import StoreError
from alerting.occurrence import Occurrence
from alerting.outbox import Outbox, OutboxItem, SinkCounts
from alerting.policy import PolicySettings, decide, rule_of
from alerting.render import payload
from detectors.findings import Finding

_MOST_UNSAVED = 1_000  # occurrences; weeks of them. A store that fails for longer loses the oldest, counted.

_log = structlog.get_logger(__name__)


class TransitionStore(Protocol):
    """What the pipeline asks of the database. Every method raises StoreError when it could not."""

    async def open_occurrences(self) -> Sequence[Occurrence]:
        """Return the occurrences that fire, the oldest first."""
        ...

    async def record_transitions(self, occurrences: Sequence[Occurrence], items: Sequence[OutboxItem]) -> None:
        """Keep the occurrences as they stand now and add the items, all or nothing.

        The same call again changes nothing: it may follow one whose outcome nobody learned.
        """
        ...


class Pipeline:
    """Takes the findings of each tick; `new_id` makes notification ids from UTC milliseconds."""

    def __init__(
        self,
        host: str,
        settings: PolicySettings,
        *,
        book: AlertBook,
        store: TransitionStore,
        outbox: Outbox,
        new_id: Callable[[int], str],
    ) -> None:
        self._host = host
        self._settings = settings
        self._book = book
        self._store = store
        self._outbox = outbox
        self._new_id = new_id
        self._unsaved: dict[str, Occurrence] = {}
        self._unsaved_items: list[OutboxItem] = []
        self.store_failures = 0
        self.lost = 0

    @property
    def active(self) -> tuple[Occurrence, ...]:
        """The alerts that are pending or firing."""
        return self._book.active

    @property
    def counts(self) -> Mapping[str, SinkCounts]:
        """What each sink did since the start."""
        return self._outbox.counts

    @property
    def attempts(self) -> int:
        """Attempts to deliver since the start."""
        return self._outbox.attempts

    def reconfigure(self, settings: PolicySettings) -> None:
        """Follow changed settings from the next tick on."""
        self._settings = settings
        self._book.reconfigure(settings)

    async def restore(self) -> None:
        """Take up what an earlier run left open. Raises StoreError: without it promises would be broken."""
        self._book.restore(await self._store.open_occurrences())
        await self._outbox.load()

    async def observe(self, findings: Sequence[Finding], now: Moment, *, learned: bool) -> tuple[Transition, ...]:
        """Advance by one tick at which exactly `findings` hold.

        `learned` tells that the host's week has been seen. Raises UnknownAlert for a finding that has no rule.
        """
        transitions = tuple(
            self._routed(transition, learned=learned) for transition in self._book.observe(findings, now)
        )
        for transition in transitions:
            self._stage(transition, now)
        await self._save()
        return transitions

    def _routed(self, transition: Transition, *, learned: bool) -> Transition:
        """Return a firing with the sinks that are told of it; what began as a record stays one to its end."""
        occurrence = transition.occurrence
        if transition.event is not Event.FIRING or not decide(
            rule_of(occurrence.alertname), self._settings, learned=learned
        ):
            return transition
        return Transition(Event.FIRING, self._book.mark_told(occurrence.fingerprint, self._outbox.sink_names))

    def _stage(self, transition: Transition, now: Moment) -> None:
        occurrence = transition.occurrence
        self._unsaved[occurrence.id] = occurrence
        if transition.event is not Event.PEAK:
            for sink in occurrence.told:
                if sink in self._outbox.sink_names:  # it may have left the configuration since the firing
                    self._unsaved_items.append(self._item(sink, occurrence, now))
        if len(self._unsaved) > _MOST_UNSAVED:
            oldest = next(iter(self._unsaved))
            del self._unsaved[oldest]
            self._unsaved_items = [item for item in self._unsaved_items if item.occurrence != oldest]
            self.lost += 1

    def _item(self, sink: str, occurrence: Occurrence, now: Moment) -> OutboxItem:
        notification_id = self._new_id(now.time_ms)
        document = payload(notification_id, self._host, occurrence)
        return OutboxItem(
            id=notification_id,
            sink=sink,
            occurrence=occurrence.id,
            payload=json.dumps(document, allow_nan=False, ensure_ascii=False, separators=(",", ":")),
            created_ms=self._outbox.now_ms(),
        )

    async def _save(self) -> None:
        if not self._unsaved:
            return
        items = tuple(self._unsaved_items)
        try:
            await self._store.record_transitions(tuple(self._unsaved.values()), items)
        except StoreError as error:
            self.store_failures += 1
            _log.warning("transitions_not_stored", waiting=len(self._unsaved), error=str(error))
            return
        self._unsaved.clear()
        self._unsaved_items.clear()
        self._outbox.added(items)
