"""Series of Prometheus' node_exporter as the signals that our own collectors measure.

Enters: series as they were scraped, of one host. Leaves: a row for each scrape, with the names, units and
resources that the collectors give, by their rules: what they exclude is excluded, what they call missing is
missing. The exporter reads the same files of /proc, so the values are the same too.

Left out, because nothing in the series says enough: temperatures (the names of sensors cannot be matched),
units, latencies and the daemon's own figures. What node_exporter does not expose by default is there when it
was exposed: `tcp.resets_per_second` (Tcp_EstabResets), `kernel.threads` and `processes.total_count` (its
collector "processes"). Names of disks are those of today: which disk was "sda" last month no series says.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from daemon.collectors import cpu, disk, kernel, memory, network, tcp
from daemon.collectors.base import one_of, printable
from daemon.collectors.disk_name import lasting_names
from daemon.collectors.filesystem import MAX_MOUNTS
from daemon.collectors.mounts import Mount, MountFilter
from daemon.imports import node_metrics as node
from daemon.imports.array_rates import ArrayRates, Vector
from daemon.imports.table import Scrapes, Series, Table
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit

METRICS: frozenset[str] = node.METRICS
SAME_SCRAPE_MS = 1000
REBOOT_SECONDS = 60  # a clock that is set moves the time of boot a little
LATEST_SECONDS = 2**40  # no clock says more, and it fits every integer
NO_NAMES: Mapping[str, str] = MappingProxyType({})
# sda1 and xvdb12; nvme0n1p2, mmcblk0p1 and md127p1. A name that this host knows as a disk is one.
PARTITION = re.compile(r"(?:[hsv]d|xvd)[a-z]+\d+$|.*\dp\d+$")


def names_of_disks(sys: Path) -> dict[str, str]:
    """Return kernel name to lasting name of the disks that this host has now, as the collector names them."""
    names: dict[str, str] = {}
    try:
        kernels = sorted(path.name for path in (sys / "block").iterdir())
    except OSError:  # no /sys here: kernel names must do
        return names
    for name in kernels:
        taken = set(names.values())
        names[name.replace("!", "/")] = next(one for one in (*lasting_names(sys, name), name) if one not in taken)
    return names


def convert(
    scrapes: Scrapes,
    *,
    gap_seconds: float,
    names: Mapping[str, str] = NO_NAMES,
    exclude_mounts: Sequence[str] = (),
    exclude_disks: Sequence[str] = (),
    exclude_interfaces: Sequence[str] = (),
) -> Table:
    """Return the samples of the host whose series these are; series that are not in METRICS are passed over.

    `gap_seconds` as for the collectors; it must be longer than the pause between two scrapes. `names` is
    kernel name to lasting name of disks, see `names_of_disks`. The `exclude_*` are the operator's shell patterns.
    A signal without a single value is not in the table.
    """
    conversion = _Conversion(_Scraped(scrapes), gap_seconds)
    with np.errstate(over="ignore", invalid="ignore"):  # nonsense of 1e308 becomes infinite, and so missing
        conversion.cpu()
        conversion.memory()
        conversion.whole_host()
        conversion.disks(names, exclude_disks)
        conversion.filesystems(MountFilter(exclude_mounts))
        conversion.network(exclude_interfaces)
    return conversion.table()


class _Scraped:
    """The series, found by name and labels, each brought onto the rows `time_ms` (T,)."""

    def __init__(self, scrapes: Scrapes) -> None:
        self._series: dict[str, list[tuple[dict[str, str], Series]]] = {}
        for key, series in scrapes.items():
            if key.name in METRICS and len(series.time_ms):
                self._series.setdefault(key.name, []).append((dict(key.labels), series))
        self.time_ms = _rows([series for several in self._series.values() for _, series in several])

    def labels(self, name: str) -> list[dict[str, str]]:
        """Return the labels of every series of this name."""
        return [labels for labels, _ in self._series.get(name, ())]

    def values_of(self, label: str, *names: str) -> list[str]:
        """Return what the label says in the series of these names, each once and in order."""
        return sorted({labels[label] for name in names for labels in self.labels(name) if label in labels})

    def column(self, name: str, **labels: str) -> Vector:
        """Return (T,) float64 of the series that have these labels, NaN = missing.

        Several are one that changed its other labels: they fill each other's holes.
        """
        column = np.full(len(self.time_ms), np.nan)
        wanted = labels.items()
        for has, series in self._series.get(name, ()):
            if wanted <= has.items():
                known = np.isfinite(series.values)
                places = np.searchsorted(self.time_ms, series.time_ms[known], side="right") - 1
                column[places] = series.values[known]
        return column

    def total(self, names: Iterable[str], **labels: str) -> Vector:
        """Return the sum of these columns, missing where one of them is."""
        total = np.zeros(len(self.time_ms))
        for name in names:
            total += self.column(name, **labels)
        return total


class _Conversion:
    """One method a subject; each adds the signals that its collector gives."""

    def __init__(self, scraped: _Scraped, gap_seconds: float) -> None:
        self._scraped = scraped
        self._boot = _boots(scraped.column(node.BOOT))
        self._rates = ArrayRates(scraped.time_ms, self._boot, gap_seconds)
        self._specs: list[SignalSpec] = []
        self._columns: list[NDArray[np.float32]] = []

    def table(self) -> Table:
        """Return what was added."""
        values = np.empty((len(self._scraped.time_ms), len(self._columns)), np.float32)
        for place, column in enumerate(self._columns):
            values[:, place] = column
        return Table(tuple(self._specs), self._scraped.time_ms, values, self._boot)

    def _add(self, spec: SignalSpec, values: Vector) -> None:
        column = values.astype(np.float32)
        known = np.isfinite(column)
        if known.any():
            column[~known] = np.nan
            self._specs.append(spec)
            self._columns.append(column)

    def cpu(self) -> None:
        """Add the shares of all processors and of each, and the load."""
        scraped, share = self._scraped, self._rates.share
        rows = len(scraped.time_ms)
        whole = {mode: np.zeros(rows) for mode in node.MODES}
        online = np.zeros(rows)
        cores: list[tuple[SignalSpec, Vector]] = []
        for core in sorted(int(core) for core in scraped.values_of("cpu", node.CPU) if core.isdecimal()):
            spent = {mode: scraped.column(node.CPU, cpu=str(core), mode=mode) for mode in node.MODES}
            total = _sum(spent, node.MODES)
            there = np.isfinite(total)
            online += there
            for mode, seconds in spent.items():
                whole[mode][there] += seconds[there]
            if len(cores) < cpu.MAX_CORES:
                spec = SignalSpec(f"cpu.{core}.busy", Unit.RATIO, Kind.RATE, "cpu", f"cpu{core}")
                cores.append((spec, share(_sum(spent, node.BUSY_MODES), total)))
        online[online == 0] = np.nan
        # processors that come or go take all that they ever counted with them
        steady = np.diff(online, prepend=np.nan) == 0
        total = _sum(whole, node.MODES)
        for spec, modes in node.CPU_SHARES:
            self._add(spec, np.where(steady, share(_sum(whole, modes), total), np.nan))
        for spec, values in cores:
            self._add(spec, values)
        for spec, name in node.LOADS:
            self._add(spec, scraped.column(name) / online)

    def memory(self) -> None:
        """Add use of memory and swap, and paging."""
        scraped = self._scraped
        total, available = scraped.column(node.MEMORY_TOTAL), scraped.column(node.MEMORY_AVAILABLE)
        self._add(memory.USED, 1 - _ratio(available, total))
        self._add(memory.AVAILABLE, available)
        for spec, names in node.MEMORY_GAUGES:
            self._add(spec, scraped.total(names))
        swap = scraped.column(node.SWAP_TOTAL)
        used = swap - scraped.column(node.SWAP_FREE)
        self._add(memory.SWAP_USED, _ratio(used, swap))
        self._add(memory.SWAP_USED_BYTES, np.where(swap > 0, used, np.nan))
        for spec, name, factor in node.VMSTAT:
            self._add(spec, self._rates.per_second(scraped.column(name) * factor))

    def whole_host(self) -> None:
        """Add pressure, TCP, sockets, the kernel's tables and processes."""
        scraped, rates = self._scraped, self._rates
        for spec, name in node.PRESSURE:
            self._add(spec, rates.share_of_time(scraped.column(name)))
        for spec, name in node.GAUGES:
            self._add(spec, scraped.column(name))
        for spec, name in node.COUNTERS:
            self._add(spec, rates.per_second(scraped.column(name)))
        again = scraped.column(node.SEGMENTS_AGAIN)
        self._add(tcp.RETRANSMITS, rates.share(again, scraped.column(node.SEGMENTS_OUT) + again))
        maximum = scraped.column(node.DESCRIPTORS_MAXIMUM)
        maximum[maximum >= kernel.NO_LIMIT] = np.nan
        self._add(kernel.DESCRIPTORS, _ratio(scraped.column("node_filefd_allocated"), maximum))
        limits = [scraped.column(name) for name in node.THREAD_LIMITS]
        self._add(kernel.THREADS, _ratio(scraped.column(node.THREADS), np.minimum(*limits)))

    def disks(self, names: Mapping[str, str], exclude: Sequence[str]) -> None:
        """Add whole disks under their lasting names."""
        scraped, rates = self._scraped, self._rates
        excluded = one_of((*disk.EXCLUDED, *exclude))
        taken: set[str] = set()
        for device in scraped.values_of("device", node.DISK_READS, node.DISK_WRITES):
            kernel_name = _printable(device)
            if excluded.match(kernel_name) or (device not in names and PARTITION.match(device)):
                continue
            resource = names.get(device, kernel_name)
            resource = kernel_name if resource.lower() in taken else resource
            if excluded.match(resource) or resource.lower() in taken or len(taken) == disk.MAX_DISKS:
                continue
            requests = scraped.total((node.DISK_READS, node.DISK_WRITES), device=device)
            worked = requests > 0
            if not worked.any():
                continue
            taken.add(resource.lower())
            prefix = f"disk.{resource.lower()}."

            def counter(name: str, device: str = device, worked: NDArray[np.bool_] = worked) -> Vector:
                return np.where(worked, scraped.column(name, device=device), np.nan)

            for suffix, unit, name in node.DISK_COUNTERS:
                spec = SignalSpec(prefix + suffix, unit, Kind.RATE, "disk", resource)
                self._add(spec, rates.per_second(counter(name)))
            for suffix, seconds, done in node.DISK_WAITS:
                spec = SignalSpec(prefix + suffix, Unit.SECONDS, Kind.RATE, "disk", resource)
                self._add(spec, rates.quotient(counter(seconds), counter(done)))
            spec = SignalSpec(prefix + "busy", Unit.RATIO, Kind.RATE, "disk", resource)
            self._add(spec, rates.share_of_time(counter(node.DISK_BUSY)))

    def filesystems(self, mounts: MountFilter) -> None:
        """Add the mounts worth watching, at any time one for each device."""
        scraped = self._scraped
        watched: dict[tuple[str, bytes, str], tuple[Mount, dict[str, str]]] = {}
        for labels in scraped.labels(node.READ_ONLY) + scraped.labels(node.SIZE):
            mount = _mount(mounts, labels)
            if mount is not None:
                watched.setdefault((mount.name, mount.kind, labels.get("device", "")), (mount, labels))
        nowhere, nothing = np.zeros(len(scraped.time_ms), np.bool_), np.full(len(scraped.time_ms), np.nan)
        taken: dict[str, NDArray[np.bool_]] = {}  # by device: where a shorter path has it
        columns: dict[str, tuple[Vector, ...]] = {}  # by mount point, whatever is mounted there
        for mount, labels in sorted(watched.values(), key=lambda found: (len(found[0].path), found[0].path)):
            # every tmpfs is called "tmpfs": each is a device of its own
            device = mount.name if mount.kind == b"tmpfs" else labels.get("device", "")
            there, answers = self._ask_mount({name: labels[name] for name in node.MOUNT_LABELS if name in labels})
            taken_before = taken.get(device, nowhere)
            taken[device] = taken_before | there
            before = columns.get(mount.name, (nothing,) * len(node.MOUNT_SIGNALS))
            own = there & ~taken_before
            columns[mount.name] = tuple(np.where(own, *pair) for pair in zip(answers, before, strict=True))
        for name in list(columns)[:MAX_MOUNTS]:
            for (suffix, unit), values in zip(node.MOUNT_SIGNALS, columns[name], strict=True):
                spec = SignalSpec(f"filesystem.{name}.{suffix}", unit, Kind.GAUGE, "filesystem", name)
                self._add(spec, values)

    def _ask_mount(self, labels: Mapping[str, str]) -> tuple[NDArray[np.bool_], tuple[Vector, ...]]:
        """Return where the mount is there, and the values (T,) of its signals."""
        size, free, available, files, files_free, read_only = (
            self._scraped.column(name, **labels) for name in node.MOUNT
        )
        used = size - free
        usable = used + available  # without the blocks reserved for root, as df counts
        answers = (
            _ratio(used, usable),
            np.where(usable > 0, available, np.nan),
            _ratio(files - files_free, files),
            read_only,
        )
        return np.isfinite(size) | np.isfinite(read_only), answers

    def network(self, exclude: Sequence[str]) -> None:
        """Add the interfaces that ever carried a packet."""
        scraped = self._scraped
        excluded = one_of((*network.EXCLUDED, *exclude))
        watched = 0
        for device in scraped.values_of("device", *node.PACKETS):
            interface = _printable(device)
            carried = scraped.total(node.PACKETS, device=device) > 0
            if excluded.match(interface) or not carried.any() or watched == network.MAX_INTERFACES:
                continue
            watched += 1
            for suffix, unit, names in node.NETWORK_COUNTERS:
                total = np.where(carried, scraped.total(names, device=device), np.nan)
                spec = SignalSpec(f"network.{interface}.{suffix}", unit, Kind.RATE, "network", interface)
                self._add(spec, self._rates.per_second(total))


def _rows(several: Sequence[Series]) -> NDArray[np.int64]:
    """Return the times of the scrapes: series that differ by a second at most were scraped at once."""
    times = np.zeros(0, np.int64)
    for series in several:
        if not np.array_equal(times, series.time_ms):
            times = np.union1d(times, series.time_ms)
    if not len(times):
        return times
    longest = max(several, key=lambda series: len(series.time_ms)).time_ms
    pause = float(np.median(np.diff(longest))) if len(longest) > 1 else np.inf
    apart = min(SAME_SCRAPE_MS, pause / 2)
    return times[np.diff(times, prepend=times[0] - SAME_SCRAPE_MS - 1) > apart]


def _boots(seconds: Vector) -> NDArray[np.int64]:
    """Return for each row when its boot began, as its first row says it; 0 as long as that is not known."""
    boot = np.zeros(len(seconds), np.int64)
    known = np.flatnonzero((seconds > 0) & (seconds < LATEST_SECONDS))
    if len(known):
        first = known[np.diff(seconds[known], prepend=-np.inf) > REBOOT_SECONDS]
        which = np.searchsorted(first, np.arange(known[0], len(seconds)), side="right") - 1
        boot[known[0] :] = np.rint(seconds[first])[which].astype(np.int64)
    return boot


def _mount(mounts: MountFilter, labels: Mapping[str, str]) -> Mount | None:
    """Return the mount that these labels name, None when it is not worth watching: asked as a line of mountinfo."""
    path, kind, source = (_escaped(labels.get(name, "")) for name in ("mountpoint", "fstype", "device"))
    if not path:
        return None
    picked = mounts.pick(b"0 0 0:0 / %b rw - %b %b rw" % (path, kind or b"none", source or b"none"))
    return picked[0] if picked else None


def _escaped(label: str) -> bytes:
    raw = label.encode("utf-8", "surrogateescape")
    for character in b" \t\n\r":
        raw = raw.replace(bytes((character,)), b"\\%03o" % character)
    return raw


def _printable(label: str) -> str:
    return printable(label.encode("utf-8", "surrogateescape"))


def _sum(columns: Mapping[str, Vector], names: Sequence[str]) -> Vector:
    total = columns[names[0]].copy()
    for name in names[1:]:
        total += columns[name]
    return total


def _ratio(part: Vector, whole: Vector) -> Vector:
    """Return part / whole, missing where there is no whole."""
    out = np.full(len(part), np.nan)
    np.divide(part, whole, out=out, where=whole > 0)
    return out
