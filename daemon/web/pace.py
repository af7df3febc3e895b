"""How fast strangers may ask: a bucket of requests that fills again, one for the whole listener.

Enters: each request of somebody who shows neither token nor session. Leaves: whether it is answered. Health, readiness
and metrics are not counted: they cost next to nothing, and whoever floods the API must not blind a Prometheus.
"""

import time
from collections.abc import Callable

PER_SECOND = 100.0  # a dashboard and `presage top` ask some times a second
AT_ONCE = 300.0  # a dashboard that is opened asks for some dozens of things
FREE = frozenset(("/healthz", "/readyz", "/metrics"))


class Pace:
    """One bucket; `now` is a clock in seconds that never goes back."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._left = AT_ONCE
        self._filled = now()

    def allows(self, path: str) -> bool:
        """Take one request out of the bucket; tell whether there was one."""
        if path in FREE:
            return True
        now = self._now()
        self._left = min(AT_ONCE, self._left + PER_SECOND * (now - self._filled))
        self._filled = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
