"""Units that systemd starts again and again, and how near each is to the number of starts at which it is given up.

Enters: the journal, in which systemd says that it schedules a restart, and the limit of such a unit, asked of systemctl
once. Leaves: a `Loop` for each unit that would come to its limit if it went on like this (StartLimitBurst starts within
StartLimitIntervalSec, systemd.unit(5)). A unit whose restarts are too seldom for that is restarted for ever.
"""

from collections import deque
from dataclasses import dataclass, field
from math import inf

from daemon.collectors.base import printable
from daemon.errors import NotAvailable
from daemon.failures.journal import RESTART_SCHEDULED, JournalEntry
from daemon.failures.systemctl import Systemctl

_MANAGER = "init.scope"  # as journald itself says of who speaks: no other program can
_MOST_UNITS, _MOST_STARTS = 50, 200
_LEAST_RESTARTS = 3
_PROPERTIES = "--property=Id,StartLimitBurst,StartLimitIntervalUSec"
_UNASKED = (0, 0.0)
_SECONDS = {
    "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0,
    "month": 2_629_800.0, "y": 31_557_600.0,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Loop:
    """A unit that was started again `restarts` times, one `every_seconds`; after those that are `left` it is given up.

    `since_ms` is when the first of these restarts was, `last_ms` when the newest; UTC.
    """

    unit: str
    restarts: int
    left: int
    every_seconds: float
    since_ms: int
    last_ms: int


@dataclass(slots=True)
class _Starts:
    times_ms: deque[int] = field(default_factory=lambda: deque(maxlen=_MOST_STARTS))
    limit: tuple[int, float] = _UNASKED  # starts, and the seconds within which they count


class StartLimits:
    """Counts the restarts of each unit. What it knows is of this process: a loop says soon again that it is one."""

    def __init__(self, systemctl: Systemctl) -> None:
        self._systemctl = systemctl
        self._units: dict[str, _Starts] = {}

    def take(self, entry: JournalEntry) -> bool:
        """Take in an entry; tell whether the limit of its unit is not known yet."""
        if entry.unit != _MANAGER or entry.message_id != RESTART_SCHEDULED or not entry.about:
            return False
        starts = self._units.pop(entry.about, None) or _Starts()
        self._units[entry.about] = starts  # the newest last
        while len(self._units) > _MOST_UNITS:
            del self._units[next(iter(self._units))]
        starts.times_ms.append(entry.time_ms)
        return starts.limit is _UNASKED

    async def ask(self) -> None:
        """Ask for the limits that are not known; what is not answered is asked again with the next restart."""
        unknown = [name for name, one in self._units.items() if one.limit is _UNASKED and not name.startswith("-")]
        if not unknown:
            return
        try:
            answer = await self._systemctl.show(_PROPERTIES, *unknown)
        except NotAvailable:
            return
        for unit in answer:
            if (starts := self._units.get(unit["Id"])) is not None:
                starts.limit = (
                    _number(unit.get("StartLimitBurst", "")),
                    seconds_of(unit.get("StartLimitIntervalUSec", "")),
                )

    def loops(self, now_ms: int) -> list[Loop]:
        """Return the units that come to their limit if they go on as they do."""
        found = (_loop(name, one, now_ms) for name, one in self._units.items())
        return [loop for loop in found if loop is not None]


def _loop(name: str, starts: _Starts, now_ms: int) -> Loop | None:
    burst, within = starts.limit
    times = [at for at in starts.times_ms if at > now_ms - 1000 * within]
    if burst <= 0 or len(times) < _LEAST_RESTARTS:
        return None
    every = (times[-1] - times[0]) / 1000 / (len(times) - 1)
    waits = (now_ms - times[-1]) / 1000
    if burst * every >= within or waits > 2 * every + 1:  # it stays below its limit, or runs now
        return None
    left = max(burst - len(times), 1)  # the first start counts too, and the one beyond the limit is refused
    return Loop(printable(name.encode("utf-8", "backslashreplace")), len(times), left, every, times[0], times[-1])


def seconds_of(text: str) -> float:
    """Return a time span of systemd ("1min 30s") in seconds, 0 for what is none; "infinity" is inf."""
    if text == "infinity":
        return inf
    return sum(_span(part) for part in text.split())


def _span(part: str) -> float:
    figure = part.rstrip("abcdefghijklmnopqrstuvwxyz")
    try:
        return float(figure) * _SECONDS[part[len(figure) :]]
    except (KeyError, ValueError):
        return 0.0


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
