"""Links by which a person can answer a notification from afar: each is for one alert and one action, and expires.

Enters: an alert and the wall clock. Leaves: URLs that carry their own proof (HMAC-SHA256, RFC 2104), and whether
one that comes back is genuine. A link alone does nothing: it leads to a page that asks.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from urllib.parse import urlencode

LIFETIME_MS = 14 * 86_400_000
ACTIONS = ("ack", "real", "false", "expected")

_TEXT = "presaged link v1"


class LinkSigner:
    """Signs with `key`; `base_url` is how this host is reached from afar, "" = not at all."""

    def __init__(self, key: bytes, base_url: str) -> None:
        self._key = key
        self._base = base_url

    def links(self, occurrence: str, time_ms: int) -> Mapping[str, str]:
        """Return one URL an action, valid for 14 days from `time_ms`; none without a base URL."""
        if not self._base:
            return {}
        expires = time_ms + LIFETIME_MS
        return {action: self._base + self.path(occurrence, action, expires) for action in ACTIONS}

    def path(self, occurrence: str, action: str, expires_ms: int) -> str:
        """Return the path and query of one link."""
        query = {"action": action, "expires": expires_ms, "signature": self._sign(occurrence, action, expires_ms)}
        return f"/api/v1/alerts/{occurrence}/feedback?{urlencode(query)}"

    def refusal(self, occurrence: str, action: str, expires: str, signature: str, time_ms: int) -> str:
        """Return why a link is not to be followed, "" when it is genuine and not expired."""
        if not (expires.isascii() and expires.isdecimal() and len(expires) <= 15):  # noqa: PLR2004 - digits of a time
            return "this link is not complete"
        wanted = self._sign(occurrence, action, int(expires))
        if not hmac.compare_digest(wanted.encode(), signature.encode("utf-8", "replace")):
            return "this link is not one of ours, or it was altered"
        return "this link has expired" if time_ms > int(expires) else ""

    def _sign(self, occurrence: str, action: str, expires_ms: int) -> str:
        words = json.dumps([_TEXT, occurrence, action, expires_ms]).encode("ascii")  # no part runs into the next
        return base64.urlsafe_b64encode(hmac.new(self._key, words, hashlib.sha256).digest()).rstrip(b"=").decode()
