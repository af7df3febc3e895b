"""One bounded POST: what every sink that speaks HTTP, and the heartbeat, send by.

Enters: a body and its headers. Leaves: the answer's text, or DeliveryError for every answer that is not 2xx and
read to its end. It follows no redirect, reads at most 64 kB of an answer, uses no proxy of the environment and
keeps no cookie. Its errors never hold the URL's user, path or query, nor a token: they end up in logs.
"""

import math
import os
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from urllib.parse import SplitResult, unquote, urlsplit

import aiohttp
from yarl import URL

from alerting.errors import DeliveryError
from alerting.redact import mask, plain

_ANSWER_LIMIT = 64 * 1024
_QUOTED_LETTERS = 200
_SECRET_LETTERS = 8  # a shorter piece of a path is no secret, and masking it would hide words
# The receiver asks for another try: too slow, too early, too many. Every other 4xx stays refused.
_TRY_AGAIN = frozenset({408, 425, 429})
_NONE: Mapping[str, str] = MappingProxyType({})


class Post:
    """Posts to one URL; `owner` names in an error whose it is, like "sink ops".

    `bearer_token` goes into the Authorization header; `secrets` are others that a body holds and no error may.
    `wall_seconds` gives UTC, for a Retry-After that is a date. Raises ValueError for a URL that cannot work; one
    with a user and a token as well are two answers to one question.
    """

    def __init__(
        self,
        owner: str,
        url: str,
        *,
        user_agent: str,
        timeout_seconds: float = 10.0,
        bearer_token: str | None = None,
        secrets: Iterable[str] = (),
        wall_seconds: Callable[[], float] = time.time,
    ) -> None:
        parts = split_url(owner, url)
        if bearer_token is not None and parts.username is not None:
            raise ValueError(f"{owner}: the url holds a user and there is a token too; keep one of them")
        if bearer_token is not None and not (bearer_token.isascii() and bearer_token.isprintable()):
            raise ValueError(f"{owner}: the token must be one line of plain letters")
        self._url = url
        self._headers = {"User-Agent": user_agent}
        if bearer_token is not None:
            self._headers["Authorization"] = f"Bearer {bearer_token}"
        whole = [piece for piece in (bearer_token, parts.password, *secrets) if piece]
        self._secrets = _secrets(parts, whole)
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._wall_seconds = wall_seconds
        self._tls: ssl.SSLContext | bool = parts.scheme == "http" or ssl.create_default_context()

    async def __call__(self, body: bytes, headers: Mapping[str, str] = _NONE) -> str:
        """Post `body` (JSON, where it is not empty); return the answer in one line. Raises DeliveryError."""
        content = {"Content-Type": "application/json"} if body else {}
        try:
            # A session of its own for each post: they are rare, and a kept connection would be found dead.
            async with (
                aiohttp.ClientSession(
                    timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
                ) as session,
                session.post(
                    self._url,
                    data=body,
                    headers={**self._headers, **content, **headers},
                    skip_auto_headers=("Content-Type",),
                    allow_redirects=False,
                    ssl=self._tls,
                ) as response,
            ):
                answer = await _read_bounded(response.content)
                return self._judged(response.status, response.headers.get("Retry-After"), answer)
        except TimeoutError:
            raise DeliveryError(f"no answer within {self._timeout.total:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            # `from None`: the text of some of aiohttp's errors is the whole URL.
            raise DeliveryError(_reason(error)) from None

    def _judged(self, status: int, retry_after: str | None, answer: bytes) -> str:
        """Return what an answer says that takes the body, raise DeliveryError for any other."""
        # Masked before it is cut: half a secret is one too.
        said = plain(mask(answer.decode("utf-8", "replace"), self._secrets))[:_QUOTED_LETTERS].rstrip()
        if 200 <= status < 300:  # noqa: PLR2004 - the class of statuses
            return said
        told = f"HTTP {status}, a redirect, which is not followed" if 300 <= status < 400 else f"HTTP {status}"  # noqa: PLR2004
        raise DeliveryError(
            f"{told}: {said}" if said else told,
            retry_after_seconds=_retry_after_seconds(retry_after, self._wall_seconds()),
            permanent=400 <= status < 500 and status not in _TRY_AGAIN,  # noqa: PLR2004 - the class of statuses
        )


def split_url(owner: str, url: str) -> SplitResult:
    """Return the parts of a web address. Raises ValueError without any of them, when there is none to post to."""
    if not url.isprintable() or " " in url:
        raise ValueError(f"{owner}: the url must be one line without spaces")
    try:
        parts = urlsplit(url)
        works = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0 and bool(URL(url).host)
    except ValueError:  # its text quotes what it does not understand
        works = False
    if not works:
        raise ValueError(f"{owner}: the url must begin with http:// or https:// and name a host")
    return parts


def _secrets(url: SplitResult, whole: list[str]) -> list[str]:
    """Return what must not be quoted from an answer, the longest first: many a 404 repeats the path.

    `whole` are secrets however short they are.
    """
    pieces = [
        *whole,
        url.query,
        *url.path.split("/"),
        *(pair.partition("=")[2] for pair in url.query.split("&")),
    ]
    known = {form for piece in pieces if piece for form in (piece, unquote(piece))}
    kept = {piece for piece in known if len(piece) >= _SECRET_LETTERS or piece in whole or piece in map(unquote, whole)}
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
    if isinstance(error, aiohttp.ClientConnectorSSLError | ssl.SSLError):  # its errno is not the system's
        return "the receiver does not speak TLS as we do"
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
    except (ValueError, OverflowError):  # a day or a year of thirty digits
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.fromtimestamp(now_seconds, tz=UTC)).total_seconds())
