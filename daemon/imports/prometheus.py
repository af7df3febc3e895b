"""A Prometheus, or what speaks like one, asked for raw samples: one bounded question at a time, again until it answers.

Enters: an address, and which series of which span. Leaves: samples with their own timestamps, or one sentence on why
there are none. It follows no redirect and no proxy, and none of its errors holds a secret.
"""

import asyncio
import errno
import gc
import itertools
import json
import os
import random
import re
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import NamedTuple, Self, TypedDict, TypeVar, cast
from urllib.parse import urlsplit

import aiohttp
import numpy as np
from yarl import URL

from daemon.errors import DaemonError
from daemon.imports.table import Series

T = TypeVar("T")
Form = Iterable[tuple[str, str]]

_ERROR_BYTES = 64 * 1024
_QUOTED_LETTERS = 200
_CONNECT_SECONDS = 10.0
_LONGEST_PAUSE_SECONDS = 60.0
_OK, _BAD_REQUEST, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _NO_METHOD = 200, 400, 401, 403, 404, 405
_TOO_MANY, _SERVER, _GATEWAY_TIMEOUT = 429, 500, 504
_DEAR_STATUSES = frozenset({413, 422})
# What Prometheus, Thanos, Mimir and VictoriaMetrics say of a question that is too dear, beside the status 422.
_DEAR = re.compile(
    r"too many (samples|chunks|points|series)|max.?samples|exceed|limit|time(d )?.?out|deadline", re.IGNORECASE
)


class LabelledSeries(NamedTuple):
    """A series as the server names it, with all of its labels (`__name__` too)."""

    labels: Mapping[str, str]
    series: Series


class TooMuch(DaemonError):
    """The server, or our bound, refuses so much at once: half of it may do."""


class _Later(Exception):
    """No answer this time. `reached` means that the server was; `slow`, that it may answer to less."""

    def __init__(
        self, reason: str, *, pause_seconds: float | None = None, reached: bool = False, slow: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason, self.pause_seconds, self.reached, self.slow = reason, pause_seconds, reached, slow


class _Found(TypedDict):
    metric: dict[str, str]
    values: list[tuple[float, str]]


class Prometheus:
    """One server, as `async with` opens it.

    `token` goes as a bearer token. An answer has `deadline_seconds` and `largest_bytes`; after `patience_seconds`
    without any it is given up. `told` gets a line when there is something to wait for. Raises ValueError for a URL
    that cannot work or holds a secret.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        deadline_seconds: float = 60.0,
        patience_seconds: float = 300.0,
        pause_seconds: float = 0.5,
        largest_bytes: int = 32 * 1024 * 1024,
        told: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.where = base_url(url)
        if token is not None and not (token and token.isascii() and token.isprintable()):
            raise ValueError("the token must be one line of plain letters")
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._deadline_seconds = deadline_seconds
        self._patience_seconds = patience_seconds
        self._pause_seconds = pause_seconds
        self._largest_bytes = largest_bytes
        self._told = told
        self._answered = False
        self._progress_at = 0.0

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._deadline_seconds, sock_connect=_CONNECT_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(
                limit=1, ssl=ssl.create_default_context() if self.where.startswith("https:") else True
            ),
            headers=self._headers,
        )
        self._progress_at = time.monotonic()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def labels(self, selectors: Iterable[str], first_ms: int, end_ms: int) -> list[dict[str, str]]:
        """Return the labels of every series that `selectors` name in the span. Raises DaemonError."""
        form = [("match[]", selector) for selector in selectors]
        form += [("start", _seconds(first_ms)), ("end", _seconds(end_ms))]
        return await self._ask("/api/v1/series", form, _read_labels)

    async def samples(
        self, selector: str, first_ms: int, end_ms: int, *, divisible: bool = True
    ) -> list[LabelledSeries]:
        """Return every raw sample with first_ms <= time < end_ms. Raises DaemonError.

        Raises TooMuch where `divisible` and half of the span may be answered.
        """
        # Which of its ends a range includes differs by version: a second more is asked for, and cut off here.
        asked = f"{selector}[{-(-(end_ms - first_ms) // 1000) + 1}s]"
        form = [("query", asked), ("time", _seconds(end_ms)), ("timeout", f"{max(1, int(self._deadline_seconds))}s")]
        return await self._ask(
            "/api/v1/query", form, lambda body: _read_samples(body, first_ms, end_ms), divisible=divisible
        )

    async def _ask(self, path: str, form: Form, read: Callable[[bytes], T], *, divisible: bool = False) -> T:
        """Ask until there is an answer, TooMuch, an error that stays, or no more patience."""
        for attempt in itertools.count():
            try:
                value = await self._once(path, list(form), read)
            except _Later as later:
                if later.slow and divisible:
                    raise TooMuch(f"{self.where}: {later.reason}") from None
                if not (self._answered or later.reached):
                    raise DaemonError(f"{self.where}: {later.reason}") from None
                pause = self._pause(attempt, later.pause_seconds)
                if time.monotonic() + pause - self._progress_at > self._patience_seconds:
                    again = "; the same command goes on from here" if self._answered else ""
                    raise DaemonError(
                        f"{self.where}: {later.reason}, for {self._patience_seconds:g} s{again}"
                    ) from None
                if attempt == 0:
                    self._told(f"{later.reason}; trying again for {self._patience_seconds:g} s at most")
                await asyncio.sleep(pause)
            else:
                self._answered = True
                self._progress_at = time.monotonic()
                return value
        raise AssertionError

    def _pause(self, attempt: int, wished_seconds: float | None) -> float:
        if wished_seconds is not None:
            return min(wished_seconds, _LONGEST_PAUSE_SECONDS)
        # Jitter spreads clients that lost the server together; it needs no secrecy.
        return self._pause_seconds * float(min(2**attempt, 32)) * random.uniform(0.5, 1.0)  # noqa: S311

    async def _once(self, path: str, form: list[tuple[str, str]], read: Callable[[bytes], T]) -> T:
        try:
            async with self._session.post(self.where + path, data=form, allow_redirects=False) as response:
                if response.status != _OK:
                    said = await _read_bounded(response.content, _ERROR_BYTES)
                    raise self._refusal(response.status, response.headers.get("Retry-After"), said[:_ERROR_BYTES])
                body = await _read_bounded(response.content, self._largest_bytes)
        except TimeoutError as error:
            reached = not isinstance(error, aiohttp.ConnectionTimeoutError)
            raise _Later(f"no answer within {self._deadline_seconds:g} s", reached=reached, slow=reached) from None
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError, ssl.SSLError) as error:
            raise DaemonError(f"{self.where}: {_reason(error)}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _Later(_reason(error), reached=isinstance(error, aiohttp.ClientPayloadError)) from None
        if len(body) > self._largest_bytes:
            raise TooMuch(f"{self.where}: an answer of more than {self._largest_bytes:,} bytes")
        try:
            return await asyncio.to_thread(_without_collection, read, body)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DaemonError(self._not_prometheus("what it answers is not understood")) from None

    def _refusal(self, status: int, retry_after: str | None, body: bytes) -> Exception:
        """Return what an answer that is not 200 means: to wait, to ask for less, or to give up."""
        said = _error_text(body)
        answer = f"HTTP {status}: {said}" if said else f"HTTP {status}"
        dear = bool(_DEAR.search(said))
        if status in _DEAR_STATUSES or (status == _BAD_REQUEST and dear):
            return TooMuch(f"{self.where}: {answer}")
        if status == _TOO_MANY or status >= _SERVER:
            slow = status == _GATEWAY_TIMEOUT or (status != _TOO_MANY and dear)
            return _Later(answer, pause_seconds=_retry_after(retry_after), reached=True, slow=slow)
        if status in {_UNAUTHORIZED, _FORBIDDEN}:
            remedy = "its token is not accepted" if self._headers else "give a bearer token by --token-file FILE"
            text = f"{self.where} does not let us in (HTTP {status}): {remedy}; a user in the URL is not supported"
        elif _OK < status < _BAD_REQUEST:
            text = self._not_prometheus(f"HTTP {status}, a redirect, which is not followed; give where it leads")
        elif status in {_NOT_FOUND, _NO_METHOD} or not said:
            text = self._not_prometheus(f"HTTP {status}")
        else:
            text = f"{self.where} refuses the question ({answer})"
        return DaemonError(text)

    def _not_prometheus(self, finding: str) -> str:
        return (
            f"{self.where} is not a Prometheus ({finding}): give its address with the path before /api, "
            "like http://prometheus.example.org:9090"
        )


def base_url(url: str) -> str:
    """Return the address that /api/v1 is appended to. Raises ValueError, without the address, for any other."""
    try:
        parts = urlsplit(url)
        works = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0 and bool(URL(url).host)
    except ValueError:  # its text quotes what it does not understand
        works = False
    if not works or not url.isprintable() or " " in url:
        raise ValueError("the URL must begin with http:// or https:// and name a host, like http://127.0.0.1:9090")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a user or password in the URL is not supported, others see it: use --token-file FILE")
    if parts.query or parts.fragment:
        raise ValueError("the URL must end before ? and #, like http://127.0.0.1:9090")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def selector(names: Iterable[str], instances: Iterable[str]) -> str:
    """Return the PromQL of all series of the metrics `names` of the targets `instances`."""
    quoted = json.dumps("|".join(re.escape(instance) for instance in instances), ensure_ascii=False)
    return f'{{__name__=~"{"|".join(sorted(names))}",instance=~{quoted}}}'


def _seconds(time_ms: int) -> str:
    return f"{time_ms / 1000:.3f}"


def _without_collection(read: Callable[[bytes], T], body: bytes) -> T:
    """A million small lists that hold no cycle make the collector of cycles the larger part of the work."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        return read(body)
    finally:
        if collecting:
            gc.enable()


def _data(body: bytes) -> object:
    answer = json.loads(body)
    if answer["status"] != "success":
        raise ValueError
    return answer["data"]


def _read_labels(body: bytes) -> list[dict[str, str]]:
    found = cast("list[dict[str, str]]", _data(body))
    return [{str(name): str(value) for name, value in labels.items()} for labels in found]


def _read_samples(body: bytes, first_ms: int, end_ms: int) -> list[LabelledSeries]:
    data = cast("dict[str, object]", _data(body))
    if data["resultType"] != "matrix":
        raise ValueError
    out = []
    for found in cast("list[_Found]", data["result"]):
        pairs = found.get("values", ())  # native histograms have none
        time_ms = np.rint(np.array([pair[0] for pair in pairs], np.float64) * 1000).astype(np.int64)
        values = np.array([float(pair[1]) for pair in pairs], np.float64)
        inside = (time_ms >= first_ms) & (time_ms < end_ms)
        if inside.any():
            out.append(LabelledSeries(found["metric"], Series(time_ms[inside], values[inside])))
    return out


async def _read_bounded(content: aiohttp.StreamReader, most: int) -> bytes:
    """Read to the end, or until it is clear that there is more than `most`."""
    parts: list[bytes] = []
    size = 0
    async for part in content.iter_any():
        parts.append(part)
        size += len(part)
        if size > most:
            break
    return b"".join(parts)


def _error_text(body: bytes) -> str:
    """Return the error of an answer of the API in one printable line, "" when it is none."""
    try:
        answer = json.loads(body)
        said = str(answer["error"])
    except (ValueError, KeyError, TypeError):
        said = body.decode("utf-8", "replace")
        if "<" in said:  # a page for people
            return ""
    said = " ".join("".join(letter if letter.isprintable() else " " for letter in said).split())
    if len(said) <= _QUOTED_LETTERS:
        return said
    return f"{said[: _QUOTED_LETTERS // 4]} ... {said[-_QUOTED_LETTERS:]}"  # the reason is behind the question


_REASONS: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    (
        (aiohttp.ClientConnectorDNSError,),
        "the host name was not found: give the address of your Prometheus, like http://127.0.0.1:9090",
    ),
    (
        (aiohttp.ClientConnectorCertificateError,),
        "its certificate is not valid for this host, or not signed by an authority known here",
    ),
    (
        (aiohttp.ClientConnectorSSLError, ssl.SSLError),  # its errno is not the system's
        "it does not speak TLS as we do; is it http:// instead of https://?",
    ),
    ((aiohttp.ClientPayloadError,), "the answer ended early"),
    ((aiohttp.ServerDisconnectedError,), "the connection was closed without an answer"),
)


def _reason(error: Exception) -> str:
    """Return what went wrong without anything of the URL."""
    for kinds, reason in _REASONS:
        if isinstance(error, kinds):
            return reason
    if isinstance(error, ConnectionRefusedError) or getattr(error, "errno", None) == errno.ECONNREFUSED:
        return "Connection refused: nothing listens there; is it the right port, and is Prometheus running?"
    if isinstance(error, OSError) and error.errno:
        return f"connection failed: {os.strerror(error.errno)}"
    return f"connection failed: {type(error).__name__}"


def _retry_after(header: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for, in its number or its date form."""
    if header is None:
        return None
    text = header.strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # a day or a year of thirty digits
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
