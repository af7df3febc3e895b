"""Grouping: what belongs together is told together.

Enters: for each sink, what it is owed of each alert. Leaves: notifications. Alerts of one severity that fire
within `group_seconds` of the first are a group: the first is told at once, what joins it not before a minute has
passed for a page, `group_seconds` for anything else. The end of a group is told at once.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from alerting.occurrence import Occurrence
from alerting.policy import DRILL, GRAVEST, Severity

_PAGES_JOIN_SECONDS = 60.0


class What(StrEnum):
    """What a sink is told of an alert."""

    BEGAN = "began"
    AGAIN = "again"  # it still fires and nobody has acknowledged it
    GRAVITY = "gravity"  # its severity is another
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class News:
    """One alert as a sink is to be told of it."""

    what: What
    occurrence: Occurrence


@dataclass(frozen=True, slots=True)
class Message:
    """One notification: what one sink is told of one group. `news` has the gravest first.

    `still_firing` counts the alerts of the group that fire and of which the sink was told, those of `news` among them.
    """

    sink: str
    group: str
    news: tuple[News, ...]
    still_firing: int

    @property
    def is_page(self) -> bool:
        """Whether it tells of a page that fires."""
        return any(one.what is not What.ENDED and one.occurrence.severity is Severity.PAGE for one in self.news)


EVERYTHING = "everything"


@dataclass(slots=True)
class Groups:
    """The groups that may still be joined, by severity, and when each was told last, by sink.

    `group_seconds` 0: everything is one group and told at once, for a receiver that groups by itself.
    """

    group_seconds: float
    _joinable: dict[Severity, tuple[str, int]] = field(default_factory=dict)
    _told_ms: dict[tuple[str, str], int] = field(default_factory=dict)

    def restore(self, occurrences: Iterable[Occurrence]) -> None:
        """Take up when groups were told before a restart."""
        for one in occurrences:
            for sink in one.told:
                if one.last_told_ms is not None:
                    key = (sink, one.group)
                    self._told_ms[key] = max(one.last_told_ms, self._told_ms.get(key, one.last_told_ms))

    def group_of(self, occurrence: Occurrence, now_ms: int) -> str:
        """Return the group that `occurrence` is in, or joins or opens now."""
        if occurrence.group:  # for ever, or its end could overtake its beginning
            return occurrence.group
        if not self.group_seconds:
            return EVERYTHING
        if occurrence.alertname == DRILL:  # never part of an incident
            return occurrence.id
        group, opened_ms = self._joinable.get(occurrence.severity, ("", 0))
        if not group or not 0 <= now_ms - opened_ms < self.group_seconds * 1000:
            group = occurrence.id
            self._joinable[occurrence.severity] = (group, now_ms)
        return group

    def is_due(self, message: Message, now_ms: int) -> bool:
        """Tell whether `message` is to go now."""
        told_ms = self._told_ms.get((message.sink, message.group))
        if told_ms is None or not self.group_seconds:
            return True
        if any(one.what in {What.AGAIN, What.GRAVITY} for one in message.news):
            return True
        if not message.still_firing:  # all is over
            return True
        wait_seconds = min(self.group_seconds, _PAGES_JOIN_SECONDS) if message.is_page else self.group_seconds
        return not 0 <= now_ms - told_ms < wait_seconds * 1000

    def told(self, message: Message, now_ms: int) -> None:
        """Note that `message` goes."""
        self._told_ms[message.sink, message.group] = now_ms

    def forget(self, groups: set[str]) -> None:
        """Forget the groups all of whose members are done with."""
        if groups:
            self._told_ms = {key: told for key, told in self._told_ms.items() if key[1] not in groups}


def gravest_first(news: Iterable[News]) -> tuple[News, ...]:
    """Return what fires before what is over, the gravest first, then the oldest."""
    return tuple(
        sorted(
            news,
            key=lambda one: (
                one.what is What.ENDED,
                GRAVEST.index(one.occurrence.severity),
                one.occurrence.started_ms,
                one.occurrence.id,
            ),
        )
    )
