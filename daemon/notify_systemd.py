"""sd_notify: tells systemd that we are ready, alive, reloading or stopping. Silent where nobody listens."""

import contextlib
import os
import socket
import time


class Notifier:
    """The other end of $NOTIFY_SOCKET. Every method is one datagram, never blocks and never fails.

    `watchdog_seconds` is systemd's limit between two signs of life, None without a watchdog.
    """

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        limit = os.environ.get("WATCHDOG_USEC", "")
        mine = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_seconds = int(limit) / 1e6 if limit.isdigit() and mine else None
        for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
            os.environ.pop(name, None)  # a child must not speak for us

    def ready(self, status: str) -> None:
        """The first sample is stored; also ends a reload."""
        self._send(f"READY=1\nSTATUS={status}")

    def alive(self, status: str) -> None:
        """A tick has come to its end: the only thing that feeds the watchdog."""
        self._send(f"WATCHDOG=1\nSTATUS={status}")

    def reloading(self) -> None:
        """The configuration is being read again."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The stop has begun."""
        self._send("STOPPING=1\nSTATUS=stopping")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as channel,
        ):
            channel.sendto(text.encode(), address)
