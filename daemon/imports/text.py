"""History from a text file: a CSV of our own signals, or metrics of node_exporter with timestamps.

Enters: a path. Leaves: tables of samples. Files are read once and from front to back. What is wrong with one is told
in one line that names the file, the line and what would be right; nothing of it is guessed.
"""

import csv
import math
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from daemon.errors import DaemonError
from daemon.exposition import MILLISECONDS_FROM, NAME, SAMPLE, labels_of
from daemon.imports.node_exporter import METRICS, NO_NAMES, convert
from daemon.imports.table import Series, SeriesKey, Table
from daemon.signals import MAXIMUM, Kind, SignalSpec
from detectors.findings import Unit

BLOCK_BYTES = 2**20
LONGEST_LINE_BYTES = 2**20
TABLE_VALUES = 2**24  # of a CSV at once: 128 MiB as they are read
QUOTED_LETTERS = 40
GZIP, BYTE_ORDER_MARK = b"\x1f\x8b", b"\xef\xbb\xbf"
EARLIEST_MS, LATEST_MS = 946_684_800_000, 4_102_444_800_000  # the years 2000 and 2100
MISSING = frozenset(("", "-", "na", "n/a", "nan", "none", "null", "inf", "+inf", "-inf"))
SUFFIXED = sorted((unit for unit in Unit if unit), key=lambda unit: -len(unit))
# first and last part are ours; what stands between them is a device, a mount point, an interface
SIGNAL = re.compile(r"(?P<family>[a-z][a-z0-9_]*)\.(?:(?P<resource>[^\x00-\x1f]+)\.)?[a-z][a-z0-9_]*")
RIGHT_NAME = "dotted lower case like cpu.busy or disk.sda.read_bytes_per_second would be right"
RIGHT_TIME = "Unix seconds, Unix milliseconds or RFC 3339 with a zone like 2026-03-01T06:00:00Z would be right"
RIGHT_LINE = 'a line like node_cpu_seconds_total{cpu="0",mode="idle"} 17.25 1772344800.000 would be right'


class UnreadableFile(DaemonError):
    """A file cannot be imported as it is; the text says where and what would be right."""


def read_csv(path: Path) -> Iterator[Table]:
    """Yield the samples of a CSV: the column `time`, then one column for each of our signals.

    The unit comes from the suffix of the signal's name, its family is the first part; all are gauges. Empty cells,
    NaN and "-" are missing. Raises UnreadableFile.
    """
    text = (line.decode("utf-8") + "\n" for _, line in _lines(path))
    reader = csv.reader(text, strict=True)
    try:
        yield from _csv_tables(path, ((reader.line_num, cells) for cells in reader))
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"{path}: line {reader.line_num + 1} is not text in UTF-8") from error
    except csv.Error as error:
        raise UnreadableFile(f"{path}: line {reader.line_num}: {error}") from error


def _csv_tables(path: Path, rows: Iterator[tuple[int, list[str]]]) -> Iterator[Table]:
    header = [name.strip() for name in next(rows)[1]]
    specs = _specs(path, header)
    times, values = array("q"), array("d")
    last_ms = -1
    for number, cells in rows:
        where = f"{path}: line {number}"
        if not cells:
            continue
        if len(cells) != len(header):
            raise UnreadableFile(f"{where} has {len(cells)} cells: {len(header)}, as in the first line, would be right")
        time_ms = _time_ms(cells[0].strip())
        if time_ms is None:
            raise UnreadableFile(f"{where}, column time: {_quoted(cells[0])} is no time: {RIGHT_TIME}")
        if time_ms <= last_ms:
            how = "is there twice" if time_ms == last_ms else "is earlier than the line before"
            raise UnreadableFile(f"{where}, column time: {_quoted(cells[0])} {how}: times that rise would be right")
        last_ms = time_ms
        times.append(time_ms)
        values.extend(_numbers(where, header, cells))
        if len(values) >= TABLE_VALUES:
            yield _table(specs, times, values)
            times, values = array("q"), array("d")
    if times:
        yield _table(specs, times, values)
    elif last_ms < 0:
        raise UnreadableFile(f"{path}: has a header and no rows")


def _specs(path: Path, header: Sequence[str]) -> tuple[SignalSpec, ...]:
    if header[:1] != ["time"]:
        first = _quoted(header[0]) if header else "nothing"
        raise UnreadableFile(f"{path}: line 1, column 1: {first} stands there: `time`, then a comma, would be right")
    if not 1 < len(header) <= MAXIMUM + 1:
        raise UnreadableFile(f"{path}: line 1: {len(header) - 1} signals: 1 to {MAXIMUM} would be right")
    specs: dict[str, SignalSpec] = {}
    for column, name in enumerate(header[1:], 2):
        where = f"{path}: line 1, column {column}"
        match = SIGNAL.fullmatch(name)
        if match is None:
            raise UnreadableFile(f"{where}: {_quoted(name)} is no name of a signal: {RIGHT_NAME}")
        if name in specs:
            raise UnreadableFile(f"{where}: {_quoted(name)} is there twice: each signal once would be right")
        unit = next((unit for unit in SUFFIXED if name.endswith(unit)), Unit.RATIO)
        resource = match["resource"] or ""
        if match["family"] == "cpu" and resource:
            resource = f"cpu{resource}"
        specs[name] = SignalSpec(name, unit, Kind.GAUGE, match["family"], resource)
    return tuple(specs.values())


def _time_ms(text: str) -> int | None:
    try:
        number = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
        if moment.tzinfo is None:
            return None
        number = moment.timestamp()
    if not math.isfinite(number):
        return None
    time_ms = round(number if number >= MILLISECONDS_FROM else number * 1000)
    return time_ms if EARLIEST_MS <= time_ms < LATEST_MS else None


def _numbers(where: str, header: Sequence[str], cells: Sequence[str]) -> list[float]:
    try:
        return list(map(float, cells[1:]))
    except ValueError:  # some are missing: one at a time
        return [_number(where, name, cell.strip()) for name, cell in zip(header[1:], cells[1:], strict=True)]


def _number(where: str, name: str, cell: str) -> float:
    try:
        return float(cell)
    except ValueError as error:
        if cell.lower() in MISSING:
            return math.nan
        right = "a number like 0.25, or nothing where it is missing, would be right"
        raise UnreadableFile(f"{where}, column {name}: {_quoted(cell)} is no number: {right}") from error


def _table(specs: tuple[SignalSpec, ...], times: "array[int]", values: "array[float]") -> Table:
    with np.errstate(over="ignore"):
        rows = np.array(values).reshape(len(times), len(specs)).astype(np.float32)
    rows[~np.isfinite(rows)] = np.nan
    return Table(specs, np.array(times, np.int64), rows, np.zeros(len(times), np.int64))


def read_openmetrics(
    path: Path,
    *,
    gap_seconds: float,
    instance: str | None = None,
    names: Mapping[str, str] = NO_NAMES,
    exclude_mounts: Sequence[str] = (),
    exclude_disks: Sequence[str] = (),
    exclude_interfaces: Sequence[str] = (),
) -> Iterator[Table]:
    """Yield the samples of node_exporter's series in OpenMetrics or Prometheus' text format, all in one table.

    Timestamps are seconds (OpenMetrics) or milliseconds (Prometheus), which their size tells apart. `instance`
    chooses one of several hosts. The others as `convert` takes them. Holds 16 bytes a sample until the file ends.
    Raises UnreadableFile.
    """
    found = _Found(path, instance)
    found.read()
    yield convert(
        found.scrapes(),
        gap_seconds=gap_seconds,
        names=names,
        exclude_mounts=exclude_mounts,
        exclude_disks=exclude_disks,
        exclude_interfaces=exclude_interfaces,
    )


class _Samples:
    """Timestamps and values of one series as they stood in the file; none are kept of one that is not `wanted`."""

    __slots__ = ("times", "values", "wanted")

    def __init__(self, *, wanted: bool) -> None:
        self.wanted = wanted
        self.times = array("d")
        self.values = array("d")


class _Found:
    """The series of one file that are of use."""

    def __init__(self, path: Path, instance: str | None) -> None:
        self._path = path
        self._instance = instance
        self._instances: set[str] = set()
        self._heads: dict[bytes, _Samples] = {}  # by name and labels as they are written
        self._series: dict[SeriesKey, _Samples] = {}

    def read(self) -> None:
        """Read the whole file. A line whose head is known is split at its last two spaces and no more."""
        heads = self._heads
        number = 0
        try:
            for number, line in _lines(self._path):
                parts = line.rsplit(b" ", 2)
                samples = heads.get(parts[0])
                if samples is None:
                    self._read_line(number, line)
                elif samples.wanted:
                    value = float(parts[1])
                    samples.times.append(float(parts[2]))
                    samples.values.append(value)
        except IndexError as error:
            raise UnreadableFile(f"{self._path}: line {number} has no timestamp: {RIGHT_LINE}") from error
        except ValueError as error:
            raise UnreadableFile(f"{self._path}: line {number} is not understood: {RIGHT_LINE}") from error

    def _read_line(self, number: int, line: bytes) -> None:
        """Read a line whose head is new or has more around it. Raises ValueError when it is none."""
        line = line.strip()
        if not line or line.startswith(b"#"):
            return
        name = NAME.match(line)
        if name is not None and name[0].decode() not in METRICS:
            return
        sample = SAMPLE.fullmatch(line)
        if sample is None:
            raise ValueError
        samples = self._heads.get(sample["head"]) or self._new(sample)
        if samples is None:
            return
        if sample["time"] is None:
            raise UnreadableFile(f"{self._path}: line {number} has no timestamp: {RIGHT_LINE}")
        if samples.wanted:
            value = float(sample["value"])
            samples.times.append(float(sample["time"]))
            samples.values.append(value)

    def _new(self, sample: re.Match[bytes]) -> _Samples | None:
        """Return where the samples of a head that is new belong, None when it is none of ours."""
        labels = labels_of(sample["labels"] or b"")
        name = labels.pop("__name__", "") if sample["name"] is None else sample["name"].decode()
        if name not in METRICS:
            return None
        instance = labels.pop("instance", "")
        labels.pop("job", None)
        self._instances.add(instance)
        if self._instance is None and len(self._instances) > 1:
            self._drop_all()  # it will be refused: read on for the names of all
        wanted = instance == self._instance if self._instance is not None else len(self._instances) == 1
        if wanted:
            samples = self._series.setdefault(SeriesKey(name, tuple(sorted(labels.items()))), _Samples(wanted=True))
        else:
            samples = _Samples(wanted=False)
        self._heads[sample["head"]] = samples
        return samples

    def _drop_all(self) -> None:
        for samples in self._series.values():
            samples.wanted = False
            del samples.times[:], samples.values[:]
        self._series.clear()

    def scrapes(self) -> dict[SeriesKey, Series]:
        """Return the series with their samples in order, and forget them."""
        self._heads.clear()
        listed = ", ".join(_quoted(instance) for instance in sorted(self._instances))
        if self._instance is None and len(self._instances) > 1:
            raise UnreadableFile(f"{self._path}: has several instances, one must be chosen: {listed}")
        if self._instances and not self._series:
            raise UnreadableFile(f"{self._path}: has no instance {_quoted(self._instance or '')}, it has: {listed}")
        if not self._series:
            raise UnreadableFile(f"{self._path}: has no series of node_exporter: {RIGHT_LINE}")
        scrapes: dict[SeriesKey, Series] = {}
        while self._series:
            key, samples = self._series.popitem()
            scrapes[key] = self._in_order(key, samples)
        return scrapes

    def _in_order(self, key: SeriesKey, samples: _Samples) -> Series:
        times, values = np.array(samples.times), np.array(samples.values)
        stamps = np.where(times < MILLISECONDS_FROM, times * 1000, times)
        wrong = ~((stamps >= EARLIEST_MS) & (stamps < LATEST_MS))
        if wrong.any():
            stamp = float(times[np.flatnonzero(wrong)[0]])
            right = "Unix seconds or milliseconds between 2000 and 2100 would be right"
            raise UnreadableFile(f"{self._path}: {key.name} has the timestamp {stamp:.16g}: {right}")
        time_ms = np.rint(stamps).astype(np.int64)
        if np.any(np.diff(time_ms) < 0):
            order = np.argsort(time_ms, kind="stable")  # of one time the last counts
            time_ms, values = time_ms[order], values[order]
        return Series(time_ms, values)


def _quoted(text: str) -> str:
    return repr(text if len(text) <= QUOTED_LETTERS else text[:QUOTED_LETTERS] + "...")


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines and their numbers from 1, without their ends. Raises UnreadableFile when it is no text."""
    number, rest = 0, b""
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                if not number and not rest:
                    if block.startswith(GZIP):
                        raise UnreadableFile(f"{path}: is compressed: the unpacked file would be right")
                    block = block.removeprefix(BYTE_ORDER_MARK)
                if b"\0" in block:
                    raise UnreadableFile(f"{path}: is not a text file (line {number + 1} or below holds zero bytes)")
                *lines, rest = (rest + block).split(b"\n")
                for line in lines:
                    number += 1
                    yield number, line
                if len(rest) > LONGEST_LINE_BYTES:
                    raise UnreadableFile(f"{path}: line {number + 1} is longer than 1 MiB: this is no such file")
    except OSError as error:
        raise UnreadableFile(f"{path}: cannot be read: {error.strerror}") from error
    if rest:
        number += 1
        yield number, rest
    if not number:
        raise UnreadableFile(f"{path}: is empty")
