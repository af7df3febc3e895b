"""A webhook: one POST of the JSON payload, with the id and timestamp headers of Standard Webhooks.

Enters: a notification. Leaves: a request, and DeliveryError for every answer that is not 2xx and read to
its end. It follows no redirect, reads at most 64 kB of an answer, uses no proxy of the environment and
keeps no cookie. Its errors never hold the URL's user, path or query, nor the token: they end up in logs.
"""

import math
import os
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, unquote, urlsplit

import aiohttp

from alerting.errors import DeliveryError
from alerting.sinks.base import Notification

_ANSWER_LIMIT = 64 * 1024
_QUOTED_LETTERS = 200
_SECRET_LETTERS = 8  # a shorter piece of a path is no secret, and masking it would hide words
# The receiver asks for another try: too slow, too early, too many. Every other 4xx stays refused.
_TRY_AGAIN = frozenset({408, 425, 429})


class WebhookSink:
    """Posts to one URL.

    `bearer_token` goes into the Authorization header. `wall_seconds` gives UTC for the timestamp of an
    attempt. A URL with a user and a token as well are two answers to one question: ValueError.
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        user_agent: str,
        timeout_seconds: float = 10.0,
        bearer_token: str | None = None,
        wall_seconds: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"sink {name}: the url must begin with http:// or https:// and name a host")
        if bearer_token is not None and parts.username is not None:
            raise ValueError(f"sink {name}: the url holds a user and there is a token too; keep one of them")
        self._url = url
        self._headers = {"Content-Type": "application/json", "User-Agent": user_agent}
        if bearer_token is not None:
            self._headers["Authorization"] = f"Bearer {bearer_token}"
        self._secrets = _secrets(parts, bearer_token)
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._wall_seconds = wall_seconds
        self._tls: ssl.SSLContext | bool = parts.scheme == "http" or ssl.create_default_context()

    async def send(self, notification: Notification) -> None:
        """Post the notification. Raises DeliveryError."""
        headers = {
            **self._headers,
            "webhook-id": notification.id,
            "webhook-timestamp": str(int(self._wall_seconds())),
        }
        try:
            # A session of its own for each post: they are rare, and a kept connection would be found dead.
            async with (
                aiohttp.ClientSession(
                    timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
                ) as session,
                session.post(
                    self._url,
                    data=notification.payload.encode("utf-8"),
                    headers=headers,
                    allow_redirects=False,
                    ssl=self._tls,
                ) as response,
            ):
                answer = await _read_bounded(response.content)
                self._judge(response.status, response.headers.get("Retry-After"), answer)
        except TimeoutError:
            raise DeliveryError(f"no answer within {self._timeout.total:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            # `from None`: the text of some of aiohttp's errors is the whole URL.
            raise DeliveryError(_reason(error)) from None

    def _judge(self, status: int, retry_after: str | None, answer: bytes) -> None:
        """Return for an answer that takes the notification, raise DeliveryError for any other."""
        if 200 <= status < 300:  # noqa: PLR2004 - the class of statuses
            return
        said = answer[:_QUOTED_LETTERS].decode("utf-8", "replace")
        for secret in self._secrets:
            said = said.replace(secret, "***")
        said = " ".join("".join(letter if letter.isprintable() else " " for letter in said).split())
        raise DeliveryError(
            f"HTTP {status}: {said}" if said else f"HTTP {status}",
            retry_after_seconds=_retry_after_seconds(retry_after, self._wall_seconds()),
            permanent=400 <= status < 500 and status not in _TRY_AGAIN,  # noqa: PLR2004 - the class of statuses
        )


def _secrets(url: SplitResult, token: str | None) -> list[str]:
    """Return what must not be quoted from an answer, the longest first: many a 404 repeats the path."""
    pieces = [
        token,
        url.password,
        url.query,
        *url.path.split("/"),
        *(pair.partition("=")[2] for pair in url.query.split("&")),
    ]
    known = {form for piece in pieces if piece for form in (piece, unquote(piece))}
    kept = {piece for piece in known if len(piece) >= _SECRET_LETTERS or piece in {token, url.password}}
    return sorted(kept, key=len, reverse=True)


async def _read_bounded(content: aiohttp.StreamReader) -> bytes:
    """Read to the end or to the limit; a receiver that never ends its answer costs 64 kB, no more."""
    parts: list[bytes] = []
    left = _ANSWER_LIMIT
    while left > 0 and (part := await content.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _reason(error: Exception) -> str:
    """Return what went wrong without anything of the URL."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the host name was not found"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "the certificate is not valid for this host"
    if isinstance(error, OSError) and error.errno:
        return f"connection failed: {os.strerror(error.errno)}"
    return f"connection failed: {type(error).__name__}"


def _retry_after_seconds(header: str | None, now_seconds: float) -> float | None:
    """Return the wish of a Retry-After header, in its seconds or its date form, or None."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        seconds = float(text)
        return seconds if math.isfinite(seconds) else None
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.fromtimestamp(now_seconds, tz=UTC)).total_seconds())
