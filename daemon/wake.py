"""Pressure as an event: the kernel wakes the loop when tasks stall, instead of the loop asking (PSI triggers).

Enters: a callback. Leaves: calls of it, at most one each 2 s a resource, by the kernel's own limit.
"""

import os
import select
from collections.abc import Callable
from pathlib import Path

import structlog

_log = structlog.get_logger()

# Stalled for 0.5 s within 2 s; windows of whole 2 s are what the kernel allows without privilege.
_TRIGGERS = {"cpu": b"some 1000000 2000000", "memory": b"some 500000 2000000", "io": b"some 1000000 2000000"}


class PressureTriggers:
    """Holds one trigger a resource. Where the kernel has none, or refuses, ticks come by the clock alone."""

    def __init__(self, proc: Path, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._epoll = select.epoll()
        self._files: list[int] = []
        for name, trigger in _TRIGGERS.items():
            try:
                file = os.open(proc / "pressure" / name, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
                self._files.append(file)
                os.write(file, trigger + b"\0")
                self._epoll.register(file, select.EPOLLPRI)
            except OSError as error:
                _log.debug("no_pressure_trigger", resource=name, reason=error.strerror)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when a trigger fires: an epoll of them, for `loop.add_reader`."""
        return self._epoll.fileno()

    def fired(self) -> None:
        """Wake the loop; to be called when `fileno` is readable.

        That is all there is to know: the kernel hands an event to the first who asks, and the outer
        epoll has asked already, so this one mostly finds nothing more. A file that says nothing but
        error is left out from then on.
        """
        for file, event in self._epoll.poll(0):
            if event & select.EPOLLERR:
                self._epoll.unregister(file)
        self._wake()

    def close(self) -> None:
        """Remove the triggers."""
        self._epoll.close()
        for file in self._files:
            os.close(file)
