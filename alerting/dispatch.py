"""Who is told what now: routes, repeats, escalation, groups and the limit, in this order.

Enters: every alert that is not done with, and why some are muted. Leaves: messages, and the alerts with who was
told. It compares what each sink is to know with what it was told, at every tick anew, so that nothing is lost
by a restart, a silence that ends or a limit: what could not be told is still owed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from alerting.group import Groups, Message, News, What, gravest_first
from alerting.limit import Limiter, Limits
from alerting.occurrence import Occurrence, State
from alerting.policy import Kept, Severity
from alerting.route import Escalation, Route, sinks_of

NO_ESCALATION = Escalation(0.0, ())
USUAL_LIMITS = Limits(10, 30.0)


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """Where notifications go and how often; `repeat_seconds` 0 = a page is never repeated."""

    routes: tuple[Route, ...] = ()
    escalation: Escalation = NO_ESCALATION
    repeat_seconds: float = 0.0
    group_seconds: float = 300.0
    limits: Limits = USUAL_LIMITS


USUAL_DISPATCH = DispatchSettings()


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes now, and the alerts that are other than before, by id."""

    messages: tuple[Message, ...]
    changed: Mapping[str, Occurrence]


class Dispatcher:
    """Plans notifications to `sinks`. It sends nothing and keeps no alert."""

    def __init__(self, settings: DispatchSettings, sinks: Sequence[str]) -> None:
        self._settings = settings
        self._sinks = tuple(sinks)
        self._groups = Groups(settings.group_seconds)
        self._limiter = Limiter(settings.limits)

    def reconfigure(self, settings: DispatchSettings) -> None:
        """Follow changed settings from the next plan on."""
        self._settings = settings
        self._groups.group_seconds = settings.group_seconds
        self._limiter.limits = settings.limits

    def restore(self, occurrences: Iterable[Occurrence]) -> None:
        """Take up what was told before a restart."""
        self._groups.restore(occurrences)

    def plan(self, occurrences: Sequence[Occurrence], muted: Mapping[str, str], *, now_ms: int, now_ns: int) -> Plan:
        """Plan what goes at `now_ms` (the outbox's clock), `now_ns` (monotonic).

        `occurrences` fire, or are over and still owed; `muted` holds the ids of those that nobody new is told of.
        """
        owed: dict[tuple[str, str], list[News]] = {}
        members: dict[str, list[Occurrence]] = {}
        for one in occurrences:
            if one.group:
                members.setdefault(one.group, []).append(one)
            for sink, what in self._owed(one, now_ms, muted=one.id in muted):
                owed.setdefault((sink, self._groups.group_of(one, now_ms)), []).append(News(what, one))
        after = {one.id: one for one in occurrences}
        messages: list[Message] = []
        waiting: set[str] = set()
        for (sink, group), news in owed.items():
            of_group = {one.id: one for one in (*members.get(group, ()), *(item.occurrence for item in news))}
            known = {one.id for one in of_group.values() if sink in one.told} | {item.occurrence.id for item in news}
            firing = sum(one.state is State.FIRING and one.id in known for one in of_group.values())
            message = Message(sink, group, gravest_first(news), firing)
            if self._groups.is_due(message, now_ms) and self._limiter.take(sink, now_ns, page=message.is_page):
                messages.append(message)
                self._groups.told(message, now_ms)
                for item in news:
                    after[item.occurrence.id] = _told(after[item.occurrence.id], item.what, message, now_ms)
            else:
                waiting.update(item.occurrence.id for item in news)
        for one in occurrences:
            owing = one.id in waiting or (one.kept is Kept.LEARNING and one.owed)
            after[one.id] = replace(after[one.id], owed=owing)
        alive = {one.group for one in after.values() if not _is_done(one)}
        self._groups.forget({one.group for one in after.values()} - alive)
        return Plan(tuple(messages), {one.id: after[one.id] for one in occurrences if after[one.id] != one})

    def _owed(self, one: Occurrence, now_ms: int, *, muted: bool) -> list[tuple[str, What]]:
        """Return what each sink is still to be told of an alert."""
        if one.kept is not Kept.NOT:
            return []
        wanted: tuple[str, ...] = ()
        if not muted:
            wanted = sinks_of(one, self._settings.routes, self._settings.escalation, every=self._sinks, now_ms=now_ms)
        if one.state is State.RESOLVED:
            ends = [sink for sink in one.told if sink in self._sinks and sink not in one.ended]
            if one.owed:  # it was over before the turn of some came
                ends += [sink for sink in wanted if sink not in one.told]
            return [(sink, What.ENDED) for sink in ends]
        news = [(sink, What.BEGAN) for sink in wanted if sink not in one.told]
        known = [sink for sink in wanted if sink in one.told]
        if one.told_severity not in {None, one.severity}:  # None: told by a version that did not note it
            news += [(sink, What.GRAVITY) for sink in known]
        elif self._is_to_repeat(one, now_ms):
            news += [(sink, What.AGAIN) for sink in known]
        return news

    def _is_to_repeat(self, one: Occurrence, now_ms: int) -> bool:
        return (
            self._settings.repeat_seconds > 0
            and one.severity is Severity.PAGE
            and one.acknowledged is None
            and one.last_told_ms is not None
            # Told in the future is told by a clock that was wrong; its distance counts like an age.
            and abs(now_ms - one.last_told_ms) >= self._settings.repeat_seconds * 1000
        )


def _told(one: Occurrence, what: What, message: Message, now_ms: int) -> Occurrence:
    return replace(
        one,
        told=one.told if message.sink in one.told else (*one.told, message.sink),
        ended=(*one.ended, message.sink) if what is What.ENDED else one.ended,
        group=message.group,
        first_told_ms=now_ms if one.first_told_ms is None else one.first_told_ms,
        last_told_ms=now_ms,
        told_severity=one.severity,
    )


def _is_done(one: Occurrence) -> bool:
    return one.state is State.RESOLVED and not one.owed
