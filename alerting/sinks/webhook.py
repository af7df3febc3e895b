"""A webhook: one POST of the JSON payload, with the headers of Standard Webhooks, signed where there is a secret.

Enters: a notification. Leaves: a request, or DeliveryError. It never changes the payload: what is signed and posted
is what was stored. Signature: standardwebhooks.com, `v1`, HMAC-SHA256 over id, timestamp and body.
"""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable, Sequence

from alerting.sinks.base import Notification
from alerting.sinks.post import Post

_MOST_SECRETS = 2
_PREFIX = "whsec_"


class WebhookSink:
    """Posts to one URL.

    `bearer_token` goes into the Authorization header. `signing_keys` each give one signature: two while a secret is
    exchanged for another. `wall_seconds` gives UTC for the timestamp of an attempt. Raises ValueError for a URL
    that cannot work.
    """

    takes_digests = True

    def __init__(
        self,
        name: str,
        url: str,
        *,
        user_agent: str,
        timeout_seconds: float = 10.0,
        bearer_token: str | None = None,
        signing_keys: Sequence[bytes] = (),
        wall_seconds: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._post = Post(
            f"sink {name}",
            url,
            user_agent=user_agent,
            timeout_seconds=timeout_seconds,
            bearer_token=bearer_token,
            wall_seconds=wall_seconds,
        )
        self._keys = tuple(signing_keys)
        self._wall_seconds = wall_seconds

    async def send(self, notification: Notification) -> None:
        """Post the notification. Raises DeliveryError."""
        body = notification.payload.encode("utf-8")
        timestamp = str(int(self._wall_seconds()))
        headers = {"webhook-id": notification.id, "webhook-timestamp": timestamp}
        if self._keys:
            signed = b".".join((notification.id.encode(), timestamp.encode(), body))
            headers["webhook-signature"] = " ".join(f"v1,{_signature(key, signed)}" for key in self._keys)
        await self._post(body, headers)


def signing_keys(text: str) -> tuple[bytes, ...]:
    """Return the keys of a secret file: one a line, at most two, `whsec_` and Base64, or any other text as it is.

    Raises ValueError, never with a secret.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not 1 <= len(lines) <= _MOST_SECRETS:
        raise ValueError("give one secret, or two on two lines while one takes the place of the other")
    return tuple(_key(line) for line in lines)


def _key(line: str) -> bytes:
    if not line.startswith(_PREFIX):
        return line.encode("utf-8")
    try:
        key = base64.b64decode(line.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ValueError(f"what follows {_PREFIX} in a secret must be Base64") from None
    return key


def _signature(key: bytes, signed: bytes) -> str:
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode("ascii")
