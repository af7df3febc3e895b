"""Standard output: one line a notification, for containers whose output is collected, and for trying things out.

Enters: a notification. Leaves: a line, or DeliveryError. It never waits in the loop: a reader that has stopped
reading is waited for in a thread, and not for long.
"""

import asyncio
import os
import select
import time

from alerting.errors import DeliveryError
from alerting.sinks.base import Notification
from alerting.sinks.reading import read

_LINE_BYTES = 4_000  # less than PIPE_BUF: a pipe takes the line whole or not at all


class StdoutSink:
    """Writes to `descriptor`, as it was opened; waits `timeout_seconds` for a reader."""

    takes_digests = True

    def __init__(self, name: str, *, timeout_seconds: float = 10.0, descriptor: int = 1) -> None:
        self.name = name
        self._timeout_seconds = timeout_seconds
        self._descriptor = descriptor
        self._turn = asyncio.Lock()

    async def send(self, notification: Notification) -> None:
        """Write the line. Raises DeliveryError; for good when nobody can ever read it."""
        data = line(notification).encode("utf-8")
        async with self._turn:
            await asyncio.to_thread(self._write, data)

    def _write(self, data: bytes) -> None:
        deadline = time.monotonic() + self._timeout_seconds
        poll = select.poll()
        try:
            poll.register(self._descriptor, select.POLLOUT)
            while data:
                if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                    raise DeliveryError(f"nobody read standard output for {self._timeout_seconds:g} s")
                data = data[os.write(self._descriptor, data) :]
        except BrokenPipeError:
            raise DeliveryError("nobody reads standard output any more", permanent=True) from None
        except OSError as error:
            raise DeliveryError(f"standard output does not take it: {error.strerror}") from None


def line(notification: Notification) -> str:
    """Return the line of a notification, with its end."""
    reading = read(notification)
    text = f"[{reading.event}] {reading.summary}"
    if reading.sentence != reading.summary:
        text += f" | {reading.sentence}"
    return text.encode("utf-8")[:_LINE_BYTES].decode("utf-8", "ignore") + "\n"
