"""The heartbeat: a sign of life to a receiver that raises the alarm when it stays out.

Enters: a beat after each sample that was stored and scored. Leaves: at most one POST in an interval. It pings for a
beat alone, never by a clock of its own: a daemon that runs and measures nothing is as good as dead.
"""

import asyncio
import time
from collections.abc import Callable

import structlog

from alerting.errors import DeliveryError
from alerting.sinks.post import Post

_EARLY = 0.95  # a tick that comes a moment early must not cost a whole interval
_RETRIES = 2
_BACKOFF_SECONDS = 1.0

_log = structlog.get_logger(__name__)


class Heartbeat:
    """Pings `url`; `sent` and `failed` count pings. Raises ValueError for a URL that cannot work."""

    def __init__(
        self,
        url: str,
        *,
        user_agent: str,
        interval_seconds: float,
        timeout_seconds: float = 10.0,
        wall_seconds: Callable[[], float] = time.time,
    ) -> None:
        self._post = Post(
            "heartbeat", url, user_agent=user_agent, timeout_seconds=timeout_seconds, wall_seconds=wall_seconds
        )
        self._interval_seconds = interval_seconds
        self._due = asyncio.Event()
        self._last_ns: int | None = None
        self.sent = 0
        self.failed = 0

    def beat(self, monotonic_ns: int) -> None:
        """Note that a sample was stored and scored; a ping follows when it is time for one."""
        wait_ns = int(self._interval_seconds * _EARLY * 1e9)
        if self._last_ns is None or monotonic_ns - self._last_ns >= wait_ns:
            self._last_ns = monotonic_ns
            self._due.set()

    async def run(self) -> None:
        """Ping until cancelled. A failure is counted, and logged when it is the first one after a success."""
        well = True
        while True:
            await self._due.wait()
            self._due.clear()
            error = await self._ping()
            if error is None:
                self.sent += 1
                if not well:
                    _log.info("heartbeat_again", failed=self.failed)
            else:
                self.failed += 1
                if well:
                    _log.warning("heartbeat_failed", error=str(error))
            well = error is None

    async def _ping(self) -> DeliveryError | None:
        """Ping, and again shortly after a failure, but not for longer than the interval: later a new beat counts."""
        clock = asyncio.get_running_loop().time
        began = clock()
        backoff = min(_BACKOFF_SECONDS, self._interval_seconds / 10)
        attempts = 0
        while True:
            try:
                await self._post(b"")
            except DeliveryError as error:
                attempts += 1
                wait = backoff * 2 ** (attempts - 1)
                if error.permanent or attempts > _RETRIES or clock() - began + wait >= self._interval_seconds:
                    return error
                await asyncio.sleep(wait)
            else:
                return None
