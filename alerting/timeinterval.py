"""Recurring times of maintenance: weekdays, from, until, in a time zone of their own.

Enters: the wall clock in UTC milliseconds. Leaves: whether a window is open then. Wall time on purpose: a
window from 22:00 on means what the clock on the wall says, in summer too.
"""

from dataclasses import dataclass
from datetime import datetime, time
from zoneinfo import ZoneInfo

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Window:
    """Opens at `start` on each of `weekdays` (0 = Monday) and closes at `end`, on the day after when that is earlier.

    Equal times are a whole day.
    """

    name: str
    weekdays: frozenset[int]
    start: time
    end: time
    zone: ZoneInfo

    def is_open(self, time_ms: int) -> bool:
        """Tell whether the window is open at `time_ms` (UTC milliseconds)."""
        local = datetime.fromtimestamp(time_ms / 1000, tz=self.zone)
        now, today = local.time(), local.weekday()
        if self.start < self.end:
            return today in self.weekdays and self.start <= now < self.end
        return (today in self.weekdays and now >= self.start) or ((today - 1) % 7 in self.weekdays and now < self.end)
