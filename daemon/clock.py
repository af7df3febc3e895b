"""The daemon's one source of time, so that tests and replays can bring their own.

`time_ms` is UTC wall time and may jump; `monotonic_ns` never goes back and orders everything
within one boot; `boottime_ns` also counts suspend.
"""

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment on the three clocks of one boot."""

    time_ms: int
    monotonic_ns: int
    boottime_ns: int
    boot_id: str


class Clock(Protocol):
    """What the daemon asks of a clock."""

    def now(self) -> Instant:
        """Return the present moment."""
        ...


class SystemClock:
    """The clocks of the kernel."""

    @cached_property
    def _boot_id(self) -> str:
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            return "unknown"

    def now(self) -> Instant:
        """Return the present moment."""
        return Instant(
            time_ms=time.time_ns() // 1_000_000,
            monotonic_ns=time.monotonic_ns(),
            boottime_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            boot_id=self._boot_id,
        )
