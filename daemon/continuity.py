"""Whether time went on as expected since the last sample: gap, suspend, clock jump, and the hour of the week.

Enters: one instant a tick. Leaves: what may be trusted. A jump restarts the windows and makes the
hour doubtful: nothing of it teaches a rhythm. A suspend is a gap and nothing more.
"""

import time
from dataclasses import dataclass

from daemon.clock import Instant

_SMALLEST_JUMP_SECONDS = 2.0  # at very short intervals an NTP step or a late tick is no jump
GAP_INTERVALS = 2.5
_JUMP_INTERVALS = 2.0
_DOUBT_SECONDS = 3600.0
UNKNOWN_HOUR = -1


@dataclass(frozen=True, slots=True)
class Passage:
    """How this sample follows the last one. `hour` is the local hour of the week (Monday 0 h = 0), -1 = unknown."""

    gap: bool
    jump_seconds: float
    suspended_seconds: float
    doubtful: bool
    hour: int


class Continuity:
    """Compares each instant with the one before, across restarts too."""

    def __init__(self, interval_seconds: float) -> None:
        self._interval = interval_seconds
        self._last: Instant | None = None
        self._doubtful_until_ns = 0

    def resume(self, last: Instant) -> None:
        """Take up the last stored sample. Its `boottime_ns` is 0, unknown: a jump while we were away is only a gap."""
        self._last = last

    def step(self, now: Instant) -> Passage:
        """Judge the passage from the last instant to `now`."""
        last, self._last = self._last, now
        if last is None:
            return self._passage(now, gap=False)
        if last.boot_id != now.boot_id:
            return self._passage(now, gap=True)
        ran = (now.monotonic_ns - last.monotonic_ns) / 1e9
        wall = (now.time_ms - last.time_ms) / 1e3
        boot = (now.boottime_ns - last.boottime_ns) / 1e9 if last.boottime_ns else wall
        tolerance = max(_JUMP_INTERVALS * self._interval, _SMALLEST_JUMP_SECONDS)
        suspended = boot - ran  # below zero only over a restart, where the wall clock stands in: set back meanwhile
        jump = wall - boot
        if abs(jump) <= tolerance:
            jump = 0.0
        else:
            self._doubtful_until_ns = now.monotonic_ns + int(_DOUBT_SECONDS * 1e9)
        missed = ran > max(GAP_INTERVALS * self._interval, self._interval + 1.0)
        gap = missed or abs(suspended) > tolerance or jump != 0.0
        return self._passage(now, gap=gap, jump=jump, suspended=suspended if suspended > tolerance else 0.0)

    def _passage(self, now: Instant, *, gap: bool, jump: float = 0.0, suspended: float = 0.0) -> Passage:
        doubtful = now.monotonic_ns < self._doubtful_until_ns
        hour = UNKNOWN_HOUR if doubtful else hour_of_week(now.time_ms)
        return Passage(gap, jump, suspended, doubtful, hour)


def hour_of_week(time_ms: int) -> int:
    """Return the local hour of the week, 0..167, of a UTC time."""
    local = time.localtime(time_ms / 1000)
    return local.tm_wday * 24 + local.tm_hour
