"""From findings to notifications, in one reading order.

findings -> alert book -> policy -> mute (inhibition, silences, maintenance) -> dispatch (routes, groups, limit)
-> the alerts and their notifications in ONE transaction -> the outbox wakes.

Enters: at each tick, the findings that hold. Leaves: the transitions of the tick; everything else is in
the store. It never sends anything itself, and a store that fails costs no transition: what is not
stored is tried again with the next tick, under the same ids.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from alerting import digest, mute
from alerting.alert import AlertBook, Event, Moment, Transition
from alerting.dispatch import USUAL_DISPATCH, Dispatcher, DispatchSettings
from alerting.document import Links, digest_document, message_document, no_links, to_text
from alerting.errors import StoreError
from alerting.group import Message
from alerting.occurrence import Acknowledgement, Occurrence, State
from alerting.outbox import Outbox, OutboxItem, SinkCounts
from alerting.policy import Kept, PolicySettings, decide, rule_of
from alerting.silence import Silence
from detectors.findings import Finding

_MOST_UNSAVED = 5_000  # alerts, and notifications. A store that fails for longer loses the oldest, counted, pages last.
_REMEMBERED, _AT_ONCE = 1_000, 100  # all at once they are megabytes
MOST_SILENCES = 1_000
_LONG_OVER_MS = 7 * 86_400_000  # of a silence: a clock that is fast when the host starts is set right within days
_STRIDE = 50  # alerts between two turns of the others in the loop
_DIGESTS = "digest"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PipelineSettings:
    """What the operator decides about alerts: the policy, who is told, and when nobody is."""

    policy: PolicySettings
    dispatch: DispatchSettings = USUAL_DISPATCH
    maintenance: tuple[mute.Maintenance, ...] = ()


class TransitionStore(Protocol):
    """What the pipeline asks of the database. Every method raises StoreError when it could not."""

    async def unsettled_occurrences(self) -> Sequence[Occurrence]:
        """Return the occurrences that fire, or of which somebody is still to be told, the oldest first."""
        ...

    async def recent_occurrences(self, limit: int, skip: int = 0) -> Sequence[Occurrence]:
        """Return at most `limit` occurrences, the newest first; behind the newest `skip`."""
        ...

    async def record_transitions(
        self, occurrences: Sequence[Occurrence], items: Sequence[OutboxItem]
    ) -> Mapping[str, int]:
        """Keep the occurrences as they stand now and add the items, all or nothing.

        The same call again changes nothing: it may follow one whose outcome nobody learned. Returns how many
        waiting items had to make room, by sink.
        """
        ...

    async def silences(self, time_ms: int) -> Sequence[Silence]:
        """Return the silences that are not over at `time_ms`, wall clock."""
        ...

    async def record_silence(self, silence: Silence) -> None:
        """Keep a silence, in the place of one with the same id."""
        ...


class Pipeline:
    """Takes the findings of each tick; `new_id` makes notification ids from UTC milliseconds.

    `left_to` names who alerts instead of us at this moment, "" = nobody: then our own sinks do.
    """

    def __init__(
        self,
        host: str,
        settings: PipelineSettings,
        *,
        book: AlertBook,
        store: TransitionStore,
        outbox: Outbox,
        new_id: Callable[[int], str],
        left_to: Callable[[], str] = lambda: "",
        links: Links = no_links,
    ) -> None:
        self._host = host
        self._settings = settings
        self._book = book
        self._store = store
        self._outbox = outbox
        self._new_id = new_id
        self._left_to = left_to
        self._links = links
        self._dispatcher = Dispatcher(settings.dispatch, outbox.sink_names)
        self._owed: dict[str, Occurrence] = {}  # over, and not done with
        self._silences: tuple[Silence, ...] = ()  # those that are over too: the wall clock may go back
        self._time_ms = 0
        self._muted: Mapping[str, str] = {}
        self._unsaved: dict[str, Occurrence] = {}
        self._unsaved_items: list[OutboxItem] = []
        self._lock = asyncio.Lock()
        self.store_failures = 0
        self.lost = 0

    @property
    def active(self) -> tuple[Occurrence, ...]:
        """The alerts that are pending or firing."""
        return self._book.active

    @property
    def muted(self) -> Mapping[str, str]:
        """Why alerts that fire are not told now, by id."""
        return self._muted

    @property
    def silences(self) -> tuple[Silence, ...]:
        """The silences that are not over, or were not at the last tick."""
        return tuple(one for one in self._silences if one.ends_ms > self._time_ms)

    @property
    def counts(self) -> Mapping[str, SinkCounts]:
        """What each sink did since the start."""
        return self._outbox.counts

    @property
    def attempts(self) -> int:
        """Attempts to deliver since the start."""
        return self._outbox.attempts

    def reconfigure(self, settings: PipelineSettings) -> None:
        """Follow changed settings from the next tick on."""
        self._settings = settings
        self._book.reconfigure(settings.policy)
        self._dispatcher.reconfigure(settings.dispatch)

    async def restore(self, now: Moment) -> None:
        """Take up what an earlier run left open. Raises StoreError: without it promises would be broken."""
        self._time_ms = now.time_ms
        unsettled = await self._store.unsettled_occurrences()
        for skip in range(_REMEMBERED - _AT_ONCE, -1, -_AT_ONCE):
            past = await self._store.recent_occurrences(_AT_ONCE, skip)
            self._book.restore([one for one in reversed(past) if one.state is State.RESOLVED], now)
        self._book.restore([one for one in unsettled if one.state is State.FIRING], now)
        self._owed = {one.id: one for one in unsettled if one.owed and one.state is State.RESOLVED}
        self._dispatcher.restore(unsettled)
        self._silences = tuple(await self._store.silences(now.time_ms - _LONG_OVER_MS))
        await self._outbox.load()

    async def observe(
        self, findings: Sequence[Finding], now: Moment, *, learned: bool, changing: bool = False
    ) -> tuple[Transition, ...]:
        """Advance by one tick at which exactly `findings` hold.

        `learned` tells that the host's week has been seen, `changing` that an operator has marked a change just
        now. Raises UnknownAlert for a finding that has no rule.
        """
        async with self._lock:
            transitions = []
            for number, step in enumerate(self._book.steps(findings, now), 1):
                if step is not None:
                    transitions.append(self._judged(step, learned=learned, changing=changing))
                if number % _STRIDE == 0:
                    await asyncio.sleep(0)
            await self._tell(now)
            try:
                await self._save()
            except StoreError as error:
                self.store_failures += 1
                _log.warning("transitions_not_stored", waiting=len(self._unsaved), error=str(error))
            return tuple(transitions)

    async def acknowledge(self, occurrence_id: str, author: str, now: Moment) -> Occurrence | None:
        """Note that somebody has taken an alert in hand; None when no such alert fires. Raises StoreError."""
        async with self._lock:
            one = next((one for one in self._book.active if one.id == occurrence_id), None)
            if one is None or one.state is not State.FIRING:
                return None
            if one.acknowledged is None:
                one = replace(one, acknowledged=Acknowledgement(author, now.time_ms))
                self._follow(one)
                await self._save()
            return one

    async def silence(self, silence: Silence) -> None:
        """Keep a silence, or change the one of the same id. Raises StoreError."""
        async with self._lock:
            await self._store.record_silence(silence)
            others = [one for one in self._silences if one.id != silence.id]
            self._silences = (*others[-(MOST_SILENCES - 1) :], silence)

    def _judged(self, transition: Transition, *, learned: bool, changing: bool) -> Transition:
        """Return a transition with the policy's word; what began as a record stays one to its end."""
        one = transition.occurrence
        if transition.event is Event.FIRING:
            rule = rule_of(one.alertname)
            kept = decide(rule, self._settings.policy, learned=learned, changing=changing)
            one = replace(one, kept=kept, owed=kept is Kept.LEARNING)
            self._book.update(one)
        if transition.event is Event.RESOLVED:
            self._owed[one.id] = one
        self._keep(one)
        return Transition(transition.event, one)

    async def _tell(self, now: Moment) -> None:
        """Find out who is to be told what, and prepare it for the store."""
        self._time_ms = now.time_ms
        firing = [one for one in self._book.active if one.state is State.FIRING]
        if not firing and not self._owed:
            self._muted = {}
            return
        every = [*self._owed.values(), *firing]
        self._muted = mute.reasons(
            every,
            silences=self._silences,
            maintenance=self._settings.maintenance,
            left_to=self._left_to(),
            time_ms=now.time_ms,
        )
        await asyncio.sleep(0)
        plan = self._dispatcher.plan(every, self._muted, now_ms=self._outbox.now_ms(), now_ns=now.monotonic_ns)
        items = []
        for message in plan.messages:
            await asyncio.sleep(0)
            items.append(self._item(message, now))
        # Without a pause from here on: a tick that is cut off must not leave an alert as told and no notification.
        for one in plan.changed.values():
            self._follow(one)
        for item in items:
            self._add(item)
        self._tell_digest(now)
        self._owed = {number: one for number, one in self._owed.items() if one.owed}

    def _tell_digest(self, now: Moment) -> None:
        firing = [one for one in self._book.active if one.state is State.FIRING]
        kept = [one for one in (*self._owed.values(), *firing) if one.kept is Kept.LEARNING and one.owed]
        if not digest.is_due(kept, now.time_ms):
            return
        for sink in self._outbox.digest_sinks:
            number = self._new_id(now.time_ms)
            text = to_text(digest_document(number, self._host, kept))
            self._add(OutboxItem(number, sink, _DIGESTS, text, self._outbox.now_ms()))
        for one in kept:
            self._follow(replace(one, owed=False))

    def _follow(self, one: Occurrence) -> None:
        """Put a changed alert where it belongs, and keep it."""
        if one.state is State.RESOLVED:
            self._owed[one.id] = one
        else:
            self._book.update(one)
        self._keep(one)

    def _keep(self, one: Occurrence) -> None:
        self._unsaved[one.id] = one
        if len(self._unsaved) > _MOST_UNSAVED:
            del self._unsaved[next(iter(self._unsaved))]
            self.lost += 1

    def _add(self, item: OutboxItem) -> None:
        self._unsaved_items.append(item)
        if len(self._unsaved_items) > _MOST_UNSAVED:
            least = next((number for number, one in enumerate(self._unsaved_items) if not one.is_page), 0)
            del self._unsaved_items[least]
            self.lost += 1

    def _item(self, message: Message, now: Moment) -> OutboxItem:
        number = self._new_id(now.time_ms)
        document = message_document(
            number,
            self._host,
            message,
            time_ms=now.time_ms,
            not_followed=self._book.not_followed,
            links=self._links,
        )
        return OutboxItem(
            number, message.sink, message.group, to_text(document), self._outbox.now_ms(), is_page=message.is_page
        )

    async def _save(self) -> None:
        """Store what is not stored yet, all or nothing. Raises StoreError, and then keeps it for the next time."""
        if not self._unsaved and not self._unsaved_items:
            return
        items = tuple(self._unsaved_items)
        dropped = await self._store.record_transitions(tuple(self._unsaved.values()), items)
        self._unsaved.clear()
        self._unsaved_items.clear()
        self._outbox.added(items, dropped)
