"""How many may be connected at once, and for how long one who does not read is waited for.

Enters: each connection of the listener. Leaves: the same, handed to the HTTP protocol; or nothing, where there are
too many: descriptors are the daemon's own means of reading the host. What is asked and answered it never looks at;
slow headers end by the keep-alive time of the HTTP protocol, slow bodies in `daemon.web.operations`.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import structlog

_log = structlog.get_logger()

MOST = 200  # connections: a dashboard holds six, a scrape one
STALLED_SECONDS = 60.0  # an answer that nobody takes
_AGAIN_SECONDS = 60.0


class Crowd:
    """Those who are connected to one listener; `build` makes the protocol that serves one of them."""

    def __init__(self, build: Callable[[], asyncio.Protocol], most: int = MOST) -> None:
        self._build = build
        self._most = most
        self._silent_until = 0.0
        self.connected = 0
        self.refused = 0

    def admit(self) -> asyncio.Protocol:
        """Return the protocol for one more; a factory for `create_server`."""
        return _Guest(self, self._build())

    def enter(self) -> bool:
        """Count one more in, where there is room."""
        if self.connected < self._most:
            self.connected += 1
            return True
        self.refused += 1
        now = asyncio.get_running_loop().time()
        if now >= self._silent_until:
            self._silent_until = now + _AGAIN_SECONDS
            _log.warning("connections_refused", connected=self.connected, refused=self.refused)
        return False

    def leave(self) -> None:
        """Count one out."""
        self.connected -= 1


class _Guest(asyncio.Protocol):
    """Passes everything on to the protocol within."""

    def __init__(self, crowd: Crowd, within: asyncio.Protocol) -> None:
        self._crowd = crowd
        self._within = within
        self._transport: asyncio.Transport | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._crowd.enter():
            self._transport = cast("asyncio.Transport", transport)
            self._within.connection_made(transport)
        else:
            cast("asyncio.Transport", transport).abort()

    def connection_lost(self, error: Exception | None) -> None:
        if self._transport is None:
            return
        self._wait_no_more()
        self._transport = None
        self._crowd.leave()
        self._within.connection_lost(error)

    def data_received(self, data: bytes) -> None:
        if self._transport is not None:
            self._within.data_received(data)

    def eof_received(self) -> bool | None:
        return self._within.eof_received() if self._transport is not None else None

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._stalled = asyncio.get_running_loop().call_later(STALLED_SECONDS, self._transport.abort)
            self._within.pause_writing()

    def resume_writing(self) -> None:
        self._wait_no_more()
        if self._transport is not None:
            self._within.resume_writing()

    def _wait_no_more(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
