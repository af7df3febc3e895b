"""What the event loop complains of: without a free descriptor each client would fill the log, a traceback a time.

Enters: what asyncio tells its exception handler. Leaves: one line a minute while no connection can be taken, and
everything else as asyncio writes it.
"""

import asyncio
import errno
from typing import Any

import structlog

_log = structlog.get_logger()

_AGAIN_SECONDS = 60.0
_STARVED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class LoopFaults:
    """The exception handler of one loop."""

    def __init__(self) -> None:
        self._silent_until = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Write what is told."""
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in _STARVED and "accept" in context.get("message", "")):
            loop.default_exception_handler(context)
        elif loop.time() >= self._silent_until:
            self._silent_until = loop.time() + _AGAIN_SECONDS
            _log.warning(
                "connections_not_taken", reason=error.strerror, effect="who asks is answered when there is room again"
            )
