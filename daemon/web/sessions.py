"""Sessions of the page: the bearer token, exchanged once for a cookie that a script cannot read.

Enters: a cookie as a browser sends it. Leaves: whether it is one of ours, and the CSRF token without which it changes
nothing. Kept in memory, the cookie as a hash only: a new process knows none of them, and neither does a disk.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass

LIFETIME_SECONDS = 7 * 86_400
MOST_SESSIONS = 32

_LONGEST = 200  # letters of a cookie that are looked at


@dataclass(frozen=True, slots=True)
class Session:
    """One that is open; times are UTC milliseconds."""

    digest: bytes
    csrf: str
    expires_ms: int

    def allows(self, csrf: str) -> bool:
        """Tell whether a request with this CSRF token comes from our own page."""
        return hmac.compare_digest(csrf.encode("utf-8", "surrogateescape"), self.csrf.encode())


class Sessions:
    """At most 32 are open; one more ends the oldest."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._open: list[Session] = []

    def begin(self) -> tuple[str, Session]:
        """Open a session; return the cookie and what is known of it."""
        cookie = secrets.token_urlsafe(32)
        expires_ms = self._now_ms() + LIFETIME_SECONDS * 1000
        session = Session(_digest(cookie), secrets.token_urlsafe(32), expires_ms)
        self._forget_expired()
        self._open = [*self._open, session][-MOST_SESSIONS:]
        return cookie, session

    def find(self, cookie: str) -> Session | None:
        """Return the session of a cookie that has not expired; every open one is compared, in constant time."""
        self._forget_expired()
        given, found = _digest(cookie[:_LONGEST]), None
        for session in self._open:
            if hmac.compare_digest(given, session.digest):
                found = session
        return found

    def end(self, session: Session) -> None:
        """Close a session."""
        self._open = [one for one in self._open if one is not session]

    def _forget_expired(self) -> None:
        now_ms = self._now_ms()
        # one that would last longer than any may was opened before the clock was set back
        self._open = [one for one in self._open if 0 < one.expires_ms - now_ms <= LIFETIME_SECONDS * 1000]


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "surrogateescape")).digest()
