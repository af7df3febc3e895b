"""Figures that applications tell themselves: a Prometheus endpoint, or a folder of *.prom files.

Enters: the text of the one or the other. Leaves: the listed metrics and no others, each the sum over its labels:
gauges as they are, counters as rates, a histogram or summary as the mean of what it saw since the last round. NaN,
what has a stale timestamp and files that nobody writes any more are missing. Nothing is sent but the request, and a
redirection is not followed.
"""

import os
import queue
import socket
import ssl
import stat
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from daemon.collectors.base import Measurement
from daemon.errors import CollectorError
from daemon.exposition import Figures, figures
from daemon.rates import Rates
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit

DEADLINE_SECONDS = 2.0
MOST_BYTES = 2_000_000
_MOST_FILES = 64
_LATE = "no whole answer in time"
_PIECE_BYTES = 65_536
_SPARE_SECONDS = 1.0  # for what comes after the fetch
_ACCEPT = {"Accept": "text/plain;version=0.0.4", "Accept-Encoding": "identity", "User-Agent": "presaged"}
_GAUGES = (Unit.BYTES_PER_SECOND, Unit.PER_SECOND, Unit.BYTES, Unit.SECONDS, Unit.CELSIUS, Unit.COUNT)


@dataclass(frozen=True, slots=True)
class Asked:
    """One application: where its figures are, a `url` or else a `directory`, and the `metrics` of interest."""

    name: str
    url: str
    directory: str
    metrics: tuple[str, ...]


class _Source(Protocol):
    """Where the text comes from."""

    def fetch(self, until: float) -> bytes:
        """Return the text; `until` is of the monotonic clock. Raises CollectorError."""
        ...

    def interrupt(self) -> None:
        """End a `fetch` of another thread that takes too long."""
        ...


class _Endpoint:
    """A Prometheus endpoint."""

    def __init__(self, url: str) -> None:
        self._url = url
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port
        self._trust = ssl.create_default_context() if parts.scheme == "https" else None
        self._target = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        self._socket: socket.socket | None = None

    def fetch(self, until: float) -> bytes:
        """Ask and read the answer to its end."""
        connection = self._connection(_left(until))
        try:
            connection.connect()
            # the connection lets go of it when the server says that it will close
            self._socket = held = connection.sock
            held.settimeout(_left(until))
            connection.request("GET", self._target, headers=_ACCEPT)
            with closing(connection.getresponse()) as response:
                if response.status != 200:  # noqa: PLR2004 - the one status that has figures
                    raise CollectorError(f"{self._url} answers {response.status} {response.reason[:40]}".rstrip())
                text = b""
                while piece := response.read1(_PIECE_BYTES):
                    text += piece
                    if len(text) > MOST_BYTES:
                        raise CollectorError(f"{self._url} is larger than {MOST_BYTES / 1e6:g} MB")
                    held.settimeout(_left(until))
                if response.length:  # of what was announced
                    raise CollectorError(f"{self._url}: the answer ends early")
        except TimeoutError as error:
            raise CollectorError(_LATE) from error
        except (OSError, HTTPException, ValueError) as error:
            words = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise CollectorError(f"{self._url}: {words}") from error
        finally:
            self._socket = None
            connection.close()
        return text

    def _connection(self, seconds: float) -> HTTPConnection:
        if self._trust is None:
            return HTTPConnection(self._host, self._port, timeout=seconds)
        return HTTPSConnection(self._host, self._port, timeout=seconds, context=self._trust)

    def interrupt(self) -> None:
        """Shut the connection: one that sends a letter a second would hold the thread for hours."""
        connection = self._socket
        if connection is not None:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # it has just ended
                return


class _Folder:
    """Files NAME.prom in a folder, as node_exporter's textfile collector reads them."""

    def __init__(self, folder: Path, stale_seconds: float) -> None:
        self._folder = folder
        self._stale_seconds = stale_seconds

    def fetch(self, until: float) -> bytes:
        """Return the text of all files that are fresh, one after the other."""
        try:
            files = sorted(path for path in self._folder.iterdir() if path.suffix == ".prom")[:_MOST_FILES]
        except OSError as error:
            raise CollectorError(f"{self._folder}: {error.strerror}") from error
        text, newest = b"", float("inf")
        for file in files:
            _left(until)
            part, age = self._read(file)
            newest = min(newest, age)
            text += part + b"\n"
            if len(text) > MOST_BYTES:
                raise CollectorError(f"{self._folder} holds more than {MOST_BYTES / 1e6:g} MB")
        if newest > self._stale_seconds:
            most = f"at most {self._stale_seconds:.0f} s would be right"
            what = f"nothing was written for {newest:.0f} s, {most}" if files else "there is no *.prom file"
            raise CollectorError(f"{self._folder}: {what}")
        return text

    def _read(self, file: Path) -> tuple[bytes, float]:
        """Return text and age in seconds of a file, b"" of a stale one."""
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would block for ever
        except FileNotFoundError:  # replaced at this moment
            return b"", float("inf")
        except OSError as error:
            raise CollectorError(f"{file}: {error.strerror}") from error
        try:
            status = os.fstat(descriptor)
            age = time.time() - status.st_mtime
            if not stat.S_ISREG(status.st_mode) or age > self._stale_seconds:
                return b"", age
            text = b""
            while len(text) <= MOST_BYTES and (piece := os.read(descriptor, _PIECE_BYTES)):
                text += piece
            return text, age
        finally:
            os.close(descriptor)

    def interrupt(self) -> None:
        """A read of a local file cannot be interrupted."""


class _Fetcher:
    """Fetches in a thread of its own, so that applications are asked at once and not one after the other.

    One that does not come back keeps the thread and is not asked again until it does.
    """

    def __init__(self, source: _Source, name: str) -> None:
        self._source = source
        self._inbox: queue.SimpleQueue[float | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._is_busy = self._is_late = False
        self._answer: bytes | Exception | None = None
        threading.Thread(target=self._serve, name=f"application-{name}", daemon=True).start()

    def begin(self, until: float) -> None:
        """Start to fetch, unless the last fetch has not ended yet."""
        with self._changed:
            if self._is_busy:
                return
            self._is_busy, self._is_late, self._answer = True, False, None
        self._inbox.put(until)

    def wait(self, until: float) -> bytes:
        """Return what was fetched. Raises CollectorError, and when it does not come by `until`."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_busy, max(0.0, until - time.monotonic()))
            self._is_late = self._is_busy
            answer = self._answer
        if self._is_late:
            self._source.interrupt()
        if isinstance(answer, bytes):
            return answer
        raise answer or CollectorError(_LATE)

    def _serve(self) -> None:
        while (until := self._inbox.get()) is not None:
            answer: bytes | Exception
            try:
                answer = self._source.fetch(until)
            except Exception as error:  # noqa: BLE001 - raised where it is waited for
                answer = error
            with self._changed:
                self._is_busy = False
                self._answer = None if self._is_late else answer
                self._changed.notify_all()

    def close(self) -> None:
        """Let the thread end."""
        self._source.interrupt()
        self._inbox.put(None)


class _Together:
    """Starts all fetchers in the moment in which the first of them is asked in a round."""

    def __init__(self, fetchers: Sequence[_Fetcher], deadline_seconds: float) -> None:
        self._fetchers = fetchers
        self._deadline_seconds = deadline_seconds
        self._round_ns = -1
        self.until = 0.0

    def begin(self, monotonic_ns: int) -> None:
        """Begin the round of this moment, once."""
        if monotonic_ns == self._round_ns:
            return
        self._round_ns = monotonic_ns
        self.until = time.monotonic() + self._deadline_seconds
        for fetcher in self._fetchers:
            fetcher.begin(self.until)


class ApplicationCollector:
    """The metrics of one application. A failure of it costs its own signals and is told under its own name.

    `missing` are the listed metrics that it did not tell in the last round.
    """

    def __init__(
        self, asked: Asked, fetcher: _Fetcher, together: _Together, *, gap_seconds: float, stale_seconds: float
    ) -> None:
        self.name = f"application.{asked.name}"
        self.deadline_seconds = DEADLINE_SECONDS + _SPARE_SECONDS
        self._asked = asked
        self._where = asked.url or asked.directory
        self._fetcher = fetcher
        self._together = together
        self._stale_seconds = stale_seconds
        self._rates = Rates(gap_seconds)
        self.missing: tuple[str, ...] = ()

    def collect(self, monotonic_ns: int) -> Sequence[Measurement]:
        """Read the figures; those of all other applications are fetched at the same time.

        Raises CollectorError when they cannot be had or hold none of the listed metrics.
        """
        self._together.begin(monotonic_ns)
        text = self._fetcher.wait(self._together.until)
        self._rates.begin(monotonic_ns)
        try:
            found = figures(text, self._asked.metrics, time.time() - self._stale_seconds)
        except ValueError as error:
            raise CollectorError(f"{self._where}: {error}") from error
        if not found.totals:
            raise CollectorError(f"{self._where} has none of the listed metrics")
        told = {metric: self._measure(metric, found) for metric in self._asked.metrics}
        self.missing = tuple(metric for metric, one in told.items() if one is None)
        measured: dict[str, Measurement] = {}
        for one in told.values():
            if one is not None:  # of two that would be called alike, the first
                measured.setdefault(one[0].name, one)
        return list(measured.values())

    def _measure(self, metric: str, found: Figures) -> Measurement | None:
        if found.is_parted(metric):
            total, count = (found.totals.get(f"{metric}_{part}") for part in ("sum", "count"))
            if total is None or count is None:
                return None
            return _gauge(self._asked.name, metric), self._rates.quotient(metric, total, count)
        value = found.totals.get(metric)
        if value is None:
            return None
        if not found.is_counter(metric):
            return _gauge(self._asked.name, metric), value
        return _counter(self._asked.name, metric), self._rates.per_second(metric, value)

    def close(self) -> None:
        """Let the thread end."""
        self._fetcher.close()


def application_collectors(applications: Sequence[Asked], gap_seconds: float) -> list[ApplicationCollector]:
    """Return one collector for each application; all are fetched at once, within one deadline."""
    stale_seconds = 4 * gap_seconds  # ten intervals
    fetchers = [
        _Fetcher(_Endpoint(one.url) if one.url else _Folder(Path(one.directory), stale_seconds), one.name)
        for one in applications
    ]
    together = _Together(fetchers, min(DEADLINE_SECONDS, gap_seconds / 5))
    return [
        ApplicationCollector(one, fetcher, together, gap_seconds=gap_seconds, stale_seconds=stale_seconds)
        for one, fetcher in zip(applications, fetchers, strict=True)
    ]


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise CollectorError(_LATE)
    return left


def _gauge(application: str, metric: str) -> SignalSpec:
    """Return the signal of a gauge. What has no unit in its name is a count; "_ratio" is one."""
    name = _name(metric)
    unit = next((unit for unit in _GAUGES if name.endswith(unit)), None)
    if unit is None:
        unit = Unit.RATIO if name.endswith("_ratio") else Unit.COUNT
        name += unit
    return SignalSpec(f"app.{application}.{name}", unit, Kind.GAUGE, "app", application)


def _counter(application: str, metric: str) -> SignalSpec:
    """Return the signal of a counter's rate: http_requests_total is http_requests_per_second."""
    name = _name(metric.removesuffix("_total"))
    unit = Unit.BYTES_PER_SECOND if name.endswith(Unit.BYTES) else Unit.PER_SECOND
    name = name.removesuffix(Unit.BYTES) + unit if unit is Unit.BYTES_PER_SECOND else name + unit
    return SignalSpec(f"app.{application}.{name}", unit, Kind.RATE, "app", application)


def _name(metric: str) -> str:
    return metric.lower().replace(":", "_")
