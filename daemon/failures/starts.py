"""Units that systemd starts again and again, and how near each is to the number of starts at which it is given up.

Enters: the journal, in which systemd says that it schedules a restart, and the files of such a unit, which say where
that ends (StartLimitBurst starts within StartLimitIntervalSec, systemd.unit(5)). Leaves: a `Loop` for each unit that
comes to its limit if it goes on like this. One whose restarts are too seldom for that is restarted for ever. The files
are read because any user may: systemd itself answers over the bus only.
"""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf

from daemon.collectors.base import HostPaths, printable
from daemon.failures.journal import RESTART_SCHEDULED, JournalEntry
from daemon.unit_files import file_settings, unit_settings

_MANAGER = "init.scope"  # as journald itself says of who speaks: no other program can
_MOST_UNITS, _MOST_STARTS = 50, 200
_LEAST_RESTARTS = 3
_DEFAULT = (5, 10.0)  # systemd-system.conf(5)
_NAME = re.compile(r"[A-Za-z0-9:_.\\@-]{1,255}\Z")
_PARTS = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)\s*")
_SECONDS = {
    "us": 1e-6, "usec": 1e-6, "ms": 1e-3, "msec": 1e-3, "": 1.0, "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0,
    "m": 60.0, "min": 60.0, "minute": 60.0, "minutes": 60.0, "h": 3600.0, "hr": 3600.0, "hour": 3600.0,
    "hours": 3600.0, "d": 86_400.0, "day": 86_400.0, "days": 86_400.0, "w": 604_800.0, "week": 604_800.0,
    "weeks": 604_800.0,
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
    limit: tuple[int, float] | None = None  # starts, and the seconds within which they count; None = not read yet


class StartLimits:
    """Counts the restarts of each unit. What it knows is of this process: a loop says soon again that it is one."""

    def __init__(self, paths: HostPaths) -> None:
        self._root = paths.root
        self._units: dict[str, _Starts] = {}

    def take(self, entry: JournalEntry) -> None:
        """Take in an entry."""
        if entry.unit != _MANAGER or entry.message_id != RESTART_SCHEDULED or not _NAME.match(entry.about):
            return
        starts = self._units.pop(entry.about, None) or _Starts()
        self._units[entry.about] = starts  # the newest last
        while len(self._units) > _MOST_UNITS:
            del self._units[next(iter(self._units))]
        starts.times_ms.append(entry.time_ms)

    @property
    def unread(self) -> tuple[str, ...]:
        """Return the units whose limit is not known yet."""
        return tuple(name for name, one in self._units.items() if one.limit is None)

    def read(self, units: tuple[str, ...]) -> dict[str, tuple[int, float]]:
        """Read the limits of `units`; blocks."""
        default = _limit(
            file_settings(self._root / "etc/systemd/system.conf", "manager"), "defaultstartlimit", _DEFAULT
        )
        return {unit: _limit(unit_settings(self._root, unit, "unit"), "startlimit", default) for unit in units}

    def learn(self, limits: dict[str, tuple[int, float]]) -> None:
        """Take what `read` has found."""
        for unit, limit in limits.items():
            if unit in self._units:
                self._units[unit].limit = limit

    def loops(self, now_ms: int) -> list[Loop]:
        """Return the units that come to their limit if they go on as they do."""
        found = (_loop(name, one, now_ms) for name, one in self._units.items())
        return [loop for loop in found if loop is not None]


def _loop(name: str, starts: _Starts, now_ms: int) -> Loop | None:
    burst, within = starts.limit or (0, 0.0)
    times = [at for at in starts.times_ms if at > now_ms - 1000 * within]
    if burst <= 0 or len(times) < _LEAST_RESTARTS:
        return None
    every = (times[-1] - times[0]) / 1000 / (len(times) - 1)
    waits = (now_ms - times[-1]) / 1000
    if burst * every >= within or waits > 2 * every + 1:  # it stays below its limit, or runs now
        return None
    left = max(burst - len(times), 1)  # the first start counts too, and the one beyond the limit is refused
    return Loop(printable(name.encode()), len(times), left, every, times[0], times[-1])


def _limit(settings: Iterator[tuple[str, str]], prefix: str, default: tuple[int, float]) -> tuple[int, float]:
    """Return starts, and seconds within which they count; of several settings the last counts."""
    burst, within = default
    for name, value in settings:
        if name == f"{prefix}burst" and value.isdecimal():
            burst = int(value)
        elif name in {f"{prefix}intervalsec", f"{prefix}interval"} and (seconds := seconds_of(value)) is not None:
            within = seconds
    return burst, within


def seconds_of(text: str) -> float | None:
    """Return a time span of systemd.time(7) ("1min 30s", "300") in seconds, None for what is none."""
    if text == "infinity":
        return inf
    parts = _PARTS.findall(text)
    if not parts or _PARTS.sub("", text) or any(unit not in _SECONDS for _, unit in parts):
        return None
    return sum(float(figure) * _SECONDS[unit] for figure, unit in parts)
