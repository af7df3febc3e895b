"""The operator's desk: what people ask of alerts, and what they do about them.

Enters: questions and orders, from the API and from the links of notifications. Leaves: answers as typed models;
what was ordered is in state.db, or a PresagedError says in one sentence why not. It sends nothing by itself but
the test of a sink, never waits for a sample, and an order that is given twice is done once.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TypeVar

import structlog

from alerting.document import test_document, to_text
from alerting.errors import StoreError
from alerting.links import LinkSigner
from alerting.occurrence import Occurrence, State
from alerting.outbox import Outbox
from alerting.pipeline import MOST_SILENCES, Pipeline
from alerting.policy import GRAVEST, RULES
from alerting.render import one_line, rfc3339
from alerting.silence import Match, Silence
from alerting.sinks.base import Notification
from alerting.ulid import UlidSource
from alerting.verdict import Recurrence, Verdict, VerdictKind
from daemon.clock import Clock
from daemon.errors import Conflict, DeskError, NotFound, StateError, did_you_mean
from daemon.offload import Offload
from daemon.state import StateDatabase
from daemon.verdicts.counting import Verdicts
from daemon.verdicts.words import in_brief, raised_by, told
from daemon.web.alert_answers import (
    LONGEST_SILENCE_SECONDS,
    AlertDetail,
    AlertsAnswer,
    FeedbackAnswer,
    JudgedAnswer,
    SilenceAnswer,
    SilenceRequest,
    SilencesAnswer,
    SinkTestAnswer,
    VerdictsAnswer,
    alert_detail,
    silence_answer,
    verdict_answer,
)
from daemon.web.api import AlertAnswer, alert_answer
from daemon.web.operations import FIRST_PAGE, PageQuery, page_of

T = TypeVar("T")

LATEST = "latest"

_STORE_SECONDS = 5.0
_WHOLE = 26  # letters of an id
_LEAST_ENDING = 4  # letters of an id that are enough, as long as they fit one alert only
_LETTERS = frozenset("0123456789ABCDEFGHJKMNPQRSTVWXYZ")
_READ_AS = str.maketrans("ILO", "110")  # as the alphabet of the ids has it: no letter is taken for a digit
_SHOWN = 40
_ABOVE_ALL = "~"  # no id comes behind it

_log = structlog.get_logger()


class Desk:
    """Answers one question or does one order at a time for each caller; `drill` lets the next sample carry a drill."""

    def __init__(
        self,
        *,
        host: str,
        state: StateDatabase,
        offload: Offload,
        pipeline: Pipeline,
        outbox: Outbox,
        clock: Clock,
        new_id: UlidSource,
        signer: LinkSigner,
        drill: Callable[[str], None],
        verdicts: Verdicts,
    ) -> None:
        self._host = host
        self._state = state
        self._offload = offload
        self._pipeline = pipeline
        self._outbox = outbox
        self._clock = clock
        self._new_id = new_id
        self._signer = signer
        self._drill = drill
        self._verdicts = verdicts
        self._judging = asyncio.Lock()

    @property
    def host(self) -> str:
        """How this host is called."""
        return self._host

    # Alerts

    async def alerts(self, state: str, limit: int, before: str = "") -> AlertsAnswer:
        """Return at most `limit` alerts, the newest first, behind the one with the id `before`.

        `state` is firing, resolved or all, which has the pending ones too.
        """
        found = {one.id: one for one in self._pipeline.active}
        if state != State.FIRING:
            most = limit + len(found) + 1
            stored = await self._ask(lambda: self._state.occurrences_before(before or _ABOVE_ALL, most))
            # What the store has as firing and fires no more has ended just now: it is listed once that is stored.
            found = {one.id: one for one in stored if one.state is State.RESOLVED} | found
        chosen = [one for one in found.values() if state in {"all", one.state} and (not before or one.id < before)]
        chosen.sort(key=lambda one: one.id, reverse=True)  # they tell when it began
        page = chosen[:limit]
        return AlertsAnswer(
            alerts=[self._answer(one) for one in page], next=page[-1].id if len(chosen) > limit else None
        )

    async def alert(self, name: str) -> AlertDetail:
        """Return all that is known of one alert."""
        one = await self._find(name)
        now_ms = self._clock.now().time_ms
        deliveries = await self._ask(lambda: self._state.deliveries(one.group, one.id)) if one.group else []
        return alert_detail(
            one,
            self._pipeline.muted,
            deliveries=deliveries,
            verdicts=await self._ask(lambda: self._state.verdicts(one.id)),
            effects={judged.verdict.id: told(judged, now_ms) for judged in self._verdicts.judged},
            silences=[
                silence for silence in self._pipeline.silences if silence.is_active(now_ms) and silence.match.takes(one)
            ],
        )

    async def acknowledge(self, name: str, author: str) -> AlertAnswer:
        """Note that `author` has taken an alert in hand; whoever came first stays."""
        one = await self._find(name)
        try:
            taken = await self._pipeline.acknowledge(one.id, author, self._clock.now())
        except StoreError as error:
            raise StateError(str(error)) from error
        if taken is None:
            why = "has not fired yet" if one.state is State.PENDING else "is over"
            raise Conflict(f"{_named(one)} {why}: there is nothing to take in hand")
        _log.info("alert_acknowledged", occurrence=taken.id, author=author)
        return self._answer(taken)

    async def feedback(
        self,
        name: str,
        kind: VerdictKind,
        author: str,
        comment: str,
        every: Recurrence = Recurrence.NONE,
    ) -> FeedbackAnswer:
        """Keep what `author` says of an alert, and do what it means; the same again, with nothing between, is nothing.

        `every`: what was expected comes again each day or week at about this hour.
        """
        one = await self._find(name)
        if one.state is State.PENDING:
            raise Conflict(f"{_named(one)} has not fired yet: there is nothing to judge")
        changed: tuple[str, ...] = ("nothing changes: the same was said already",)
        async with self._judging:  # two at once must not both find that it was not said yet
            verdict = await self._counting(one.id)
            said = (kind, author, comment, every)
            if verdict is None or (verdict.kind, verdict.author, verdict.comment, verdict.every) != said:
                time_ms = self._clock.now().time_ms
                verdict = Verdict(self._new_id(time_ms), one.id, kind, author, comment, time_ms, every=every)
                changed = await self._verdicts.give(verdict, one)
                _log.info("verdict_given", occurrence=one.id, verdict=kind.value, author=author, changed=changed)
        return self._judged(one, verdict, changed)

    async def undo(self, name: str, author: str) -> FeedbackAnswer:
        """Take back the newest verdict on an alert, and what it changed; the one before counts again."""
        one = await self._find(name)
        time_ms = self._clock.now().time_ms
        async with self._judging:
            changed = await self._verdicts.undo(one.id, time_ms)
            if changed is None:
                raise Conflict(f"{_named(one)} has no verdict that could be taken back")
            _log.info("verdict_undone", occurrence=one.id, author=author, changed=changed)
            verdict = await self._counting(one.id)
        return self._judged(one, verdict, changed)

    def verdicts(self, asked: PageQuery = FIRST_PAGE) -> VerdictsAnswer:
        """Return what verdicts change at this moment."""
        now_ms = self._clock.now().time_ms
        page, following = page_of(self._verdicts.in_force(now_ms), lambda one: one.verdict.id, asked)
        return VerdictsAnswer(
            next=following,
            threshold=raised_by(self._verdicts.effects, now_ms),
            verdicts=[
                JudgedAnswer(
                    occurrence=one.verdict.occurrence,
                    **verdict_answer(one.verdict, told(one, now_ms)).model_dump(),
                    until=None if one.effect.until_ms is None else rfc3339(one.effect.until_ms),
                )
                for one in page
            ],
        )

    def verdicts_in_brief(self) -> list[str]:
        """Return in words what verdicts change at this moment; of exclusions and incidents, how many there are."""
        return list(in_brief(self._verdicts.effects, self._clock.now().time_ms))

    def _judged(self, one: Occurrence, verdict: Verdict | None, changed: tuple[str, ...]) -> FeedbackAnswer:
        effects = {judged.verdict.id: told(judged, self._clock.now().time_ms) for judged in self._verdicts.judged}
        answer = None if verdict is None else verdict_answer(verdict, effects.get(verdict.id, ""))
        return FeedbackAnswer(occurrence=one.id, verdict=answer, changed=list(changed))

    def link_refusal(self, occurrence: str, action: str, expires: str, signature: str) -> str:
        """Return why a link is not to be followed, "" when it is genuine and not expired."""
        return self._signer.refusal(occurrence, action, expires, signature, self._clock.now().time_ms)

    # Silences

    def silences(self, asked: PageQuery = FIRST_PAGE) -> SilencesAnswer:
        """Return the silences that are not over."""
        page, following = page_of(self._standing(), lambda one: one.id, asked)
        return SilencesAnswer(silences=[silence_answer(one) for one in page], next=following)

    async def add_silence(self, wanted: SilenceRequest) -> SilenceAnswer:
        """Keep a new silence, from now on."""
        now_ms = self._clock.now().time_ms
        ends_ms = _end_of(wanted, now_ms)
        _check_names(wanted)
        if len(self._standing()) >= MOST_SILENCES:
            raise Conflict(f"there are {MOST_SILENCES} silences already; let one expire first")
        silence = Silence(
            self._new_id(now_ms),
            Match(wanted.alertname, wanted.resource, wanted.severity, wanted.network),
            now_ms,
            ends_ms,
            wanted.author,
            wanted.comment,
        )
        return await self._keep(silence, "silence_added", wanted.author)

    async def expire(self, name: str, author: str) -> SilenceAnswer:
        """End a silence now."""
        standing = self._standing()
        ending = _ending(name, "silence", "presage silence list")
        found = [one for one in standing if one.id.endswith(ending)]
        if not found:
            raise NotFound(f"no silence that is not over has an id ending in {ending}; see `presage silence list`")
        if len(found) > 1:
            raise Conflict(f"{len(found)} silences have an id ending in {ending}; give more of it")
        over = replace(found[0], ends_ms=self._clock.now().time_ms)
        return await self._keep(over, "silence_expired", author)

    # Trying whether notifications arrive

    def drill(self, author: str) -> str:
        """Let the next sample carry a finding that is none; return an id that is below that of its alert."""
        self._drill(f"this is a drill, started by {author}: nothing is wrong")
        _log.info("drill_asked", author=author)
        return self._new_id(self._clock.now().time_ms)

    def sink_names(self) -> list[str]:
        """Return the sinks in the order of the configuration."""
        return list(self._outbox.sink_names)

    async def test_sink(self, name: str) -> SinkTestAnswer:
        """Send one notification that says it is a test, beside the queue, and tell how that went."""
        began = self._clock.now()
        number = self._new_id(began.time_ms)
        names = self._outbox.sink_names
        if name not in names:
            there = f"there are {', '.join(names)}" if names else "none is configured; see [[alerting.sinks]]"
            raise NotFound(f"there is no sink {_quoted(name)}: {there}")
        document = test_document(number, self._host, name, began.time_ms)
        error = await self._outbox.attempt(name, Notification(number, to_text(document)))
        seconds = (self._clock.now().monotonic_ns - began.monotonic_ns) / 1e9
        return SinkTestAnswer(sink=name, id=number, error=error, seconds=round(seconds, 3))

    # How it is done

    async def _find(self, name: str) -> Occurrence:
        """Return the alert of an id, of the unique ending of one, or the latest that fired."""
        if name.lower() == LATEST:
            return await self._latest()
        ending = _ending(name, "alert", "presage alerts")
        found = {one.id: one for one in await self._ask(lambda: self._state.occurrences_named(ending))}
        found |= {one.id: one for one in self._pipeline.active if one.id.endswith(ending)}
        if not found:
            raise NotFound(f"no alert has an id ending in {ending}; see `presage alerts --all`")
        if len(found) > 1:
            raise Conflict(f"more than one alert has an id ending in {ending}; give more of it")
        return next(iter(found.values()))

    async def _latest(self) -> Occurrence:
        active = {one.id: one for one in self._pipeline.active}
        fired = [one for one in active.values() if one.state is State.FIRING]
        fired += [active.get(one.id, one) for one in await self._ask(lambda: self._state.recent_occurrences(1))]
        known = fired or list(active.values())
        if not known:
            raise NotFound("there has been no alert yet")
        return max(known, key=lambda one: (one.fired_ms or one.started_ms, -GRAVEST.index(one.severity), one.id))

    async def _counting(self, occurrence: str) -> Verdict | None:
        """Return the newest verdict that was not undone."""
        verdicts = await self._ask(lambda: self._state.verdicts(occurrence))
        return next((one for one in reversed(verdicts) if one.undone_ms is None), None)

    def _standing(self) -> list[Silence]:
        now_ms = self._clock.now().time_ms
        return [one for one in self._pipeline.silences if one.ends_ms > now_ms]

    async def _keep(self, silence: Silence, event: str, author: str) -> SilenceAnswer:
        try:
            await self._pipeline.silence(silence)
        except StoreError as error:
            raise StateError(str(error)) from error
        _log.info(event, silence=silence.id, takes=str(silence.match), author=author)
        return silence_answer(silence)

    def _answer(self, one: Occurrence) -> AlertAnswer:
        return alert_answer(one, self._pipeline.muted)

    async def _ask(self, run: Callable[[], T]) -> T:
        return await self._offload.run(run, deadline_seconds=_STORE_SECONDS, what="state.db")


def _ending(name: str, what: str, listing: str) -> str:
    """Return a name as the letters an id ends with. Raises NotFound for what can be the end of none."""
    ending = name.upper().translate(_READ_AS)
    if not _LEAST_ENDING <= len(ending) <= _WHOLE or not _LETTERS.issuperset(ending):
        latest = f', or "{LATEST}"' if what == "alert" else ""
        raise NotFound(
            f"{_quoted(name)} is no {what}: give its id or the last {_LEAST_ENDING} letters of it or more{latest};"
            f" see `{listing}`"
        )
    return ending


def _end_of(wanted: SilenceRequest, now_ms: int) -> int:
    """Return when a silence is to end. Raises DeskError for an end that makes no sense."""
    if wanted.for_seconds is not None:
        return now_ms + wanted.for_seconds * 1000
    ends_ms = now_ms if wanted.until is None else int(wanted.until.timestamp() * 1000)
    if ends_ms <= now_ms:
        raise DeskError("until: a silence must end in the future")
    if ends_ms - now_ms > LONGEST_SILENCE_SECONDS * 1000:
        raise DeskError("until: a silence lasts a year at most")
    return ends_ms


def _check_names(wanted: SilenceRequest) -> None:
    """Raise DeskError for a name that no alert will ever have: such a silence would keep nothing quiet."""
    if wanted.alertname and not any(fnmatchcase(name, wanted.alertname) for name in RULES):
        raise DeskError(
            f"alertname: no alert is named {_quoted(wanted.alertname)}; {_nearest(wanted.alertname, RULES)}"
        )
    networks = sorted({rule.network for rule in RULES.values()})
    if wanted.network and wanted.network not in networks:
        raise DeskError(f"network: nothing is named {_quoted(wanted.network)}; {_nearest(wanted.network, networks)}")


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    return did_you_mean(name, names, f"there are {', '.join(names)}")


def _named(one: Occurrence) -> str:
    return one_line(f"{one.alertname} {one.resource}".strip()) + f" ({one.id[-6:]})"


def _quoted(name: str) -> str:
    text = one_line(name)
    return f'"{text[:_SHOWN]}..."' if len(text) > _SHOWN else f'"{text}"'
