"""Pages of a Prometheus, one after the other, from the oldest to the newest, into history.db.

Enters: a server that answers, and a span of time. Leaves: rows written, and what is to be said of them. While one page
is written the next is fetched, never more: memory stays the same however long the span is.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from daemon.errors import DaemonError, StateError
from daemon.imports.prometheus import LabelledSeries, Prometheus, TooMuch, selector
from daemon.imports.table import Scrapes, Series, SeriesKey, Table
from daemon.imports.targets import PAGE_MS, Targets
from daemon.imports.writer import Written

T = TypeVar("T")
Convert = Callable[[Scrapes], Table]

_SMALLEST_PAGE_MS = PAGE_MS // 64  # 5.6 minutes: less would not hold the rows that a rate needs
_GROW_AFTER = 4  # pages in a row that were not too large
_APART_INTERVALS = 0.75  # a scrape that is nearer to one under another name is of the same moment
_LOCKED_SECONDS = 120.0


@dataclass(slots=True)
class Imported:
    """What came of an import so far; `unseen_ms` is time without a sample, `skipped_ms` time that was known as done."""

    first_ms: int
    end_ms: int
    new: int = 0
    known: int = 0
    unseen_ms: int = 0
    skipped_ms: int = 0
    signals: set[str] = field(default_factory=set)


class Writer(Protocol):
    """As `daemon.imports.writer.ImportWriter`."""

    def write(self, table: Table, first_ms: int, end_ms: int) -> Written: ...  # noqa: D102
    def is_done(self, source: str, first_ms: int, end_ms: int) -> bool: ...  # noqa: D102
    def note_done(self, source: str, first_ms: int, end_ms: int) -> None: ...  # noqa: D102


def join(found: Iterable[LabelledSeries], target_labels: frozenset[str], apart_ms: float) -> Scrapes:
    """Return the series of one host, whatever names it was scraped under.

    Who was scraped twice is taken once: a scrape counts where no scrape under an earlier name is within `apart_ms`.
    """
    sources: dict[tuple[tuple[str, str], ...], dict[SeriesKey, Series]] = {}
    for labels, series in found:
        source = tuple(sorted(pair for pair in labels.items() if pair[0] in target_labels))
        kept = sorted(pair for pair in labels.items() if pair[0] not in target_labels and pair[0] != "__name__")
        sources.setdefault(source, {})[SeriesKey(labels["__name__"], tuple(kept))] = series
    if len(sources) == 1:
        return next(iter(sources.values()))
    taken = np.zeros(0, np.int64)
    parts: dict[SeriesKey, list[Series]] = {}
    for source in sorted(sources):
        scrapes = np.unique(np.concatenate([series.time_ms for series in sources[source].values()]))
        scrapes = scrapes[_distance(scrapes, taken) > apart_ms]
        for key, series in sources[source].items():
            mine = np.isin(series.time_ms, scrapes)
            if mine.any():
                parts.setdefault(key, []).append(Series(series.time_ms[mine], series.values[mine]))
        taken = np.union1d(taken, scrapes)
    return {key: _concatenated(several) for key, several in parts.items()}


def _distance(time_ms: NDArray[np.int64], to: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how far each time is from the nearest of `to`."""
    if len(to) == 0:
        return np.full(len(time_ms), np.iinfo(np.int64).max)
    at = np.searchsorted(to, time_ms)
    after, before = to[np.minimum(at, len(to) - 1)], to[np.maximum(at - 1, 0)]
    nearest: NDArray[np.int64] = np.minimum(np.abs(after - time_ms), np.abs(time_ms - before))
    return nearest


def _concatenated(several: Sequence[Series]) -> Series:
    time_ms = np.concatenate([series.time_ms for series in several])
    order = np.argsort(time_ms, kind="stable")
    return Series(time_ms[order], np.concatenate([series.values for series in several])[order])


def import_table(
    table: Table, writer: Writer, result: Imported, gap_ms: int, progress: Callable[[Imported, int], None]
) -> None:
    """Write a table that is longer than a page, page by page, and add what came of it to `result`."""
    for page in np.unique(table.time_ms // PAGE_MS).tolist():
        end_ms = min((page + 1) * PAGE_MS, int(table.time_ms[-1]) + 1)
        first, last = np.searchsorted(table.time_ms, [page * PAGE_MS, end_ms]).tolist()
        before = max(first - 1, 0)  # tells of a gap
        part = Table(table.specs, table.time_ms[before:last], table.values[before:last], table.boot[before:last])
        written = patiently(partial(writer.write, part, page * PAGE_MS, end_ms))
        result.new += written.new
        result.known += written.known
        pauses = np.diff(np.concatenate(([result.end_ms], table.time_ms[first:last])))
        result.unseen_ms += int(pauses[pauses > gap_ms].sum())
        result.end_ms = int(table.time_ms[last - 1]) + 1
        progress(result, result.end_ms)
    result.signals.update(spec.name for spec in table.specs)


class PagedImport:
    """One import: `run` it; `result` tells how far it is, to `progress` after every page.

    `source` names in history.db what is done. `scrape_seconds` is the time between two scrapes, `gap_seconds` what is
    asked for before each page so that rates at its start are known, and longer than which is a gap.
    """

    def __init__(
        self,
        server: Prometheus,
        targets: Targets,
        writer: Writer,
        *,
        names: Iterable[str],
        convert: Convert,
        source: str,
        scrape_seconds: float,
        gap_seconds: float,
        span_ms: tuple[int, int],
        progress: Callable[[Imported, int], None] = lambda _imported, _until_ms: None,
    ) -> None:
        self._server = server
        self._targets = targets
        self._selector = selector(names, targets.instances)
        self._writer = writer
        self._convert = convert
        self._source = source
        self._apart_ms = _APART_INTERVALS * scrape_seconds * 1000
        self._gap_ms = round(gap_seconds * 1000)
        self._progress = progress
        self._page_ms = PAGE_MS
        self._fitting = 0
        self.result = Imported(*span_ms)

    async def run(self) -> Imported:
        """Import the span. Raises DaemonError and StateError; what was written by then need not be asked for again."""
        at, end_ms = self.result.first_ms, self.result.end_ms
        writing: asyncio.Task[None] | None = None
        try:
            while at < end_ms:
                until = min(end_ms, at - at % self._page_ms + self._page_ms)
                if self._writer.is_done(self._source, at, until):
                    self.result.skipped_ms += until - at
                    table = None
                else:
                    table = await self._fetch(at, until)
                    if table is _NOT_AT_ONCE:
                        continue
                if writing is not None:
                    await _ended(writing)
                writing = asyncio.create_task(self._write(table, at, until))
                at = until
        finally:
            if writing is not None:
                await _ended(writing)
        return self.result

    async def _fetch(self, first_ms: int, end_ms: int) -> Table | None:
        """Return the page and what is before it; _NOT_AT_ONCE after the page was made smaller, None without samples."""
        smallest = self._page_ms <= _SMALLEST_PAGE_MS
        try:
            found = await self._server.samples(self._selector, first_ms - self._gap_ms, end_ms, divisible=not smallest)
        except TooMuch as error:
            if smallest:
                raise DaemonError(f"{error}, even of {self._page_ms / 60_000:.0f} minutes: raise its limits") from None
            self._page_ms //= 2
            self._fitting = 0
            return _NOT_AT_ONCE
        self._fitting += 1
        if self._fitting >= _GROW_AFTER and self._page_ms < PAGE_MS:
            self._page_ms *= 2
            self._fitting = 0
        if not found:
            return None
        return await asyncio.to_thread(self._converted, found)

    def _converted(self, found: list[LabelledSeries]) -> Table:
        return self._convert(join(found, self._targets.target_labels, self._apart_ms))

    async def _write(self, table: Table | None, first_ms: int, end_ms: int) -> None:
        if table is not None:
            await asyncio.to_thread(self._written, table, first_ms, end_ms)
        elif not self._writer.is_done(self._source, first_ms, end_ms):
            self.result.unseen_ms += end_ms - first_ms  # not noted: it costs little to ask for again
        self._progress(self.result, end_ms)

    def _written(self, table: Table, first_ms: int, end_ms: int) -> None:
        written = patiently(lambda: self._writer.write(table, first_ms, end_ms))
        inside = table.time_ms[(table.time_ms >= first_ms) & (table.time_ms < end_ms)]
        pauses = np.diff(np.concatenate(([first_ms], inside, [end_ms])))
        result = self.result
        result.unseen_ms += int(pauses[pauses > self._gap_ms].sum())
        result.new += written.new
        result.known += written.known
        if len(inside):
            result.signals.update(spec.name for spec in table.specs)
            patiently(lambda: self._writer.note_done(self._source, first_ms, end_ms))


async def _ended(writing: asyncio.Task[None]) -> None:
    """Wait for the page that is written; unlike `await`, a Ctrl-C does not leave its thread alone with the database."""
    await asyncio.wait([writing])
    writing.result()


_NOT_AT_ONCE = Table((), np.zeros(0, np.int64), np.zeros((0, 0), np.float32), np.zeros(0, np.int64))


def patiently(work: Callable[[], T], *, seconds: float = _LOCKED_SECONDS, pause_seconds: float = 0.2) -> T:
    """Do `work`, again as long as the daemon holds the lock of the database. Raises what is anything else."""
    until = time.monotonic() + seconds
    while True:
        try:
            return work()
        except (sqlite3.OperationalError, StateError) as error:
            if not _is_locked(error) or time.monotonic() > until:
                raise
        time.sleep(pause_seconds)


def _is_locked(error: BaseException) -> bool:
    return any("locked" in str(one) or "busy" in str(one) for one in (error, error.__cause__) if one is not None)
