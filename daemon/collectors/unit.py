"""What each unit and container takes and how long it waits: processor, memory, disk, from cgroup version 2.

Enters: the tree of control groups. Leaves: no signals of a unit, for a hundred would crowd out the host's own and come
and go with every deployment; instead `latest`, the 20 that take most and the rest in one, as evidence for the sentence,
and the units that came, went or lost a process for want of memory. The one signal is how often units begin anew.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import isnan, nan
from pathlib import Path

from daemon.collectors.base import HostPaths, Measurement, Noticed, ProcFile, understood
from daemon.collectors.unit_name import is_group, is_transient, name_of
from daemon.errors import CollectorError, NotAvailable
from daemon.rates import Rates
from daemon.signals import Kind, SignalSpec
from detectors.findings import WAITS, ChangeKind, Resource, Unit

MAX_UNITS = 128  # read one by one; what the others take is in the sums of their slices
SHOWN_UNITS = 20
REST = ""
RESTARTS = SignalSpec("units.restarts_per_second", Unit.PER_SECOND, Kind.RATE, "units")

_MAX_GROUPS = 256
_MAX_DEPTH = 8
_MAX_INSIDE = 17
_WALK_ROUNDS = 10  # a unit that left and one that came in the same round leave the count as it was
_BUFFER = 4096
_CPU, _MEMORY, _IO = "cpu.stat", "memory.current", "io.stat"
_RESOURCES = (Resource.CPU, Resource.MEMORY, Resource.READS, Resource.WRITES)
_POOLED = frozenset((Resource.CPU, Resource.READS, Resource.WRITES))
_PRESSURE = dict(zip(WAITS, ("cpu.pressure", "memory.pressure", "io.pressure"), strict=True))
# Of the time. No unit waits longer than the whole host, so below it none is asked: that is most of the time.
_LEAST_WAIT = 0.05

Use = Mapping[Resource, float]


@dataclass(frozen=True, slots=True)
class UnitRound:
    """Who took what at one tick. `shares` are of the host's use, of its memory for memory; REST is all others.

    `totals` are the host's use: seconds of CPU a second, bytes, bytes a second; NaN = missing. A resource
    whose controller is off is in neither. Waiting is in shares of the last ten seconds, its total is 1.
    `groups` are the folders of the units.
    """

    shares: Mapping[str, Use]
    totals: Use
    groups: Mapping[str, Path] = field(default_factory=dict)


@dataclass(slots=True)
class _Group:
    """One control group whose files are kept open. `amounts` are its last readings."""

    path: Path
    name: str
    inode: int
    files: dict[str, int] = field(default_factory=dict)
    amounts: dict[Resource, float] = field(default_factory=dict)
    kills: int = 0

    def open(self) -> "_Group":
        """Open what the group has of the files that are read."""
        for name in (_CPU, _MEMORY, _IO):
            try:
                self.files[name] = os.open(self.path / name, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:  # the controller is not on, or the group has just gone
                continue
        self.kills = self.oom_kills()
        return self

    def read(self, rates: Rates) -> None:
        """Take new readings. Raises OSError when the group has gone."""
        amounts = {}
        key = (self.name, self.inode)
        if _CPU in self.files:
            text = os.pread(self.files[_CPU], _BUFFER, 0)
            amounts[Resource.CPU] = rates.per_second((*key, _CPU), int(text[11 : text.index(b"\n")]) / 1e6)
        if _MEMORY in self.files:
            amounts[Resource.MEMORY] = float(os.pread(self.files[_MEMORY], _BUFFER, 0))
        if _IO in self.files:
            read, written = _bytes_of(_whole(self.files[_IO]))
            amounts[Resource.READS] = rates.per_second((*key, "read"), read)
            amounts[Resource.WRITES] = rates.per_second((*key, "written"), written)
        self.amounts = amounts

    def waited(self, resource: Resource) -> float:
        """Return the share of the last ten seconds in which some task of the group waited, NaN where it is not told."""
        name = _PRESSURE[resource]
        try:
            if name not in self.files:
                self.files[name] = os.open(self.path / name, os.O_RDONLY | os.O_CLOEXEC)
            return _recent_wait(os.pread(self.files[name], _BUFFER, 0))
        except OSError:  # switched off for this group, or it has gone
            return nan

    def oom_kills(self) -> int:
        """Return how many processes of the group the kernel has killed for want of memory, those below it included."""
        try:
            text = (self.path / "memory.events").read_bytes()
            return int(text.split(b"\noom_kill ")[1].split(b"\n", 1)[0])
        except (OSError, IndexError, ValueError):
            return 0

    def close(self) -> None:
        for descriptor in self.files.values():
            os.close(descriptor)
        self.files.clear()


class UnitCollector:
    """Units by name. NotAvailable without a cgroup 2 tree that has units in it.

    `dropped_units` counts those beyond the bound. The slices are walked again when one of them has
    more or fewer groups than before, and every tenth round.
    """

    name = "unit"
    deadline_seconds = 2.0

    def __init__(self, *, paths: HostPaths, gap_seconds: float) -> None:
        top = paths.sys / "fs" / "cgroup"
        # beside version 1, systemd keeps version 2 in a folder of its own
        self._top = top if (top / "cgroup.controllers").exists() else top / "unified"
        self._meminfo = ProcFile(paths.proc / "meminfo")
        self._pressure = {
            resource: ProcFile(paths.proc / "pressure" / name.removesuffix(".pressure"))
            for resource, name in _PRESSURE.items()
        }
        self._rates = Rates(gap_seconds)
        self._units: dict[str, _Group] = {}
        self._tops: dict[str, _Group] = {}
        self._links: dict[Path, int] = {}
        self._rounds = 0
        self._had_units = False
        self._noticed: list[Noticed] = []
        self._looks = self._restarts = 0
        self._ended: dict[str, int] = {}
        self.latest: UnitRound | None = None
        self.dropped_units = 0

    def collect(self, monotonic_ns: int) -> Sequence[Measurement]:
        """Read every unit; what each takes is in `latest`."""
        self._looks += 1
        if self._rounds % _WALK_ROUNDS == 0 or self._has_changed():
            self._walk()
        self._rounds += 1
        if not self._units:
            self.latest, self._rounds = None, 0
            if self._had_units:  # the last container may go without anybody's fault
                return ()
            raise NotAvailable(f"{self._top}: there are no units of cgroup version 2")
        self._had_units = True
        self._rates.begin(monotonic_ns)
        self._read(self._tops)
        self._read(self._units)
        self._note_kills()
        self.latest = self._round()
        return ((RESTARTS, self._rates.per_second(RESTARTS.name, self._restarts)),)

    def notices(self) -> Sequence[Noticed]:
        """Hand over what was noticed since the last call."""
        noticed, self._noticed = self._noticed, []
        return noticed

    def close(self) -> None:
        """Give back the descriptors."""
        for file in (self._meminfo, *self._pressure.values()):
            file.close()
        for group in (*self._units.values(), *self._tops.values()):
            group.close()

    def _read(self, groups: dict[str, _Group]) -> None:
        with understood(self._top):
            for group in groups.values():
                try:
                    group.read(self._rates)
                except OSError:  # it went between two rounds: the next walk says so
                    group.amounts = {}
                    self._rounds = 0

    def _round(self) -> UnitRound:
        told = {resource for group in self._units.values() for resource in group.amounts}
        totals = {
            resource: _sum_of_known([group.amounts.get(resource, 0.0) for group in self._tops.values()])
            for resource in _RESOURCES
            if resource in told
        }
        if Resource.MEMORY in told:
            totals[Resource.MEMORY] = _total_memory(self._meminfo)
        shares = {
            name: {
                resource: _share(group.amounts[resource], totals[resource])
                for resource in _RESOURCES
                if resource in group.amounts
            }
            for name, group in self._units.items()
        }
        for resource, waits in self._waits().items():
            totals[resource] = 1.0
            for name, share in waits.items():
                shares[name][resource] = share
        ranked = sorted(shares, key=lambda name: -max(_known(shares[name]), default=0.0))
        shown = {name: shares[name] for name in ranked[:SHOWN_UNITS]}
        shown[REST] = {
            resource: max(0.0, 1.0 - sum(use.get(resource, 0.0) for use in shown.values()))
            for resource in totals
            if resource in _POOLED
        }
        return UnitRound(shown, totals, {name: group.path for name, group in self._units.items()})

    def _waits(self) -> dict[Resource, dict[str, float]]:
        """Return who waited how long, of each resource whose pressure the host tells."""
        found = {}
        for resource, file in self._pressure.items():
            try:
                host = _recent_wait(file.read())
            except (NotAvailable, CollectorError):  # the pressure collector says so
                continue
            is_asked = host >= _LEAST_WAIT
            found[resource] = {name: group.waited(resource) if is_asked else 0.0 for name, group in self._units.items()}
        return found

    def _has_changed(self) -> bool:
        try:
            return any(path.stat().st_nlink != links for path, links in self._links.items())
        except OSError:
            return True

    def _walk(self) -> None:
        """Find the units and the groups directly below the top; note which came and which went."""
        found: dict[str, tuple[Path, int]] = {}
        tops: dict[str, tuple[Path, int]] = {}
        links: dict[Path, int] = {}
        waiting = [(self._top, 0)]
        dropped = 0
        while waiting and len(links) < _MAX_GROUPS:
            folder, depth = waiting.pop(0)
            try:
                links[folder] = folder.stat().st_nlink
                with os.scandir(folder) as entries:
                    inside = [(entry.name, entry.inode()) for entry in entries if entry.is_dir(follow_symlinks=False)]
            except OSError:  # it went meanwhile
                continue
            for name, inode in inside:
                if depth == 0:
                    tops[name] = (folder / name, inode)
                if is_group(name):
                    if depth < _MAX_DEPTH:
                        waiting.append((folder / name, depth + 1))
                elif len(found) < MAX_UNITS:
                    found.setdefault(name_of(name, folder.name), (folder / name, inode))
                else:
                    dropped += 1
        self._links, self.dropped_units = links, dropped
        self._follow(self._tops, tops)
        before = {name: group.inode for name, group in self._units.items()}
        self._follow(self._units, found)
        if before and not dropped:  # of those beyond the bound nobody knows whether they were there
            self._note_moves(before, {name: inode for name, (_, inode) in found.items()})

    def _follow(self, groups: dict[str, _Group], found: Mapping[str, tuple[Path, int]]) -> None:
        for name in [name for name, group in groups.items() if found.get(name, (None, 0))[1] != group.inode]:
            groups.pop(name).close()
        for name, (path, inode) in found.items():
            if name not in groups:
                groups[name] = _Group(path, name, inode).open()

    def _note_moves(self, before: Mapping[str, int], now: Mapping[str, int]) -> None:
        """Tell which units came and went; one that is back in the next round was restarted: a timer waits longer."""
        back = {name for name, looks in self._ended.items() if looks == self._looks - 1}
        self._ended = dict.fromkeys(before.keys() - now.keys(), self._looks)
        for name in sorted(before.keys() | now.keys()):
            if is_transient(name) or before.get(name) == now.get(name):
                continue
            verb = "restarted" if name in before and name in now else "started" if name in now else "stopped"
            self._restarts += verb == "restarted" or (verb == "started" and name in back)
            came, went = (name if verb == word else "" for word in ("started", "stopped"))
            self._noticed.append(Noticed(ChangeKind.UNIT, f"{name} {verb}", began=came, ended=went))

    def _note_kills(self) -> None:
        """Name the units that lost a process; their slices are asked first, as the kernel counts upwards."""
        risen = False
        for group in self._tops.values():
            kills = group.oom_kills()
            risen, group.kills = risen or kills > group.kills, kills
        if not risen:
            return
        for unit in self._units.values():
            kills = unit.oom_kills()
            if kills > unit.kills:
                text = f"the kernel killed a process of {unit.name} for memory"
                self._noticed.append(Noticed(ChangeKind.OOM, text, about=unit.name, times=kills - unit.kills))
            unit.kills = kills


def processes_in(group: Path) -> list[int]:
    """Return the processes in a control group and in up to 16 below it, the newest first; empty when it has gone."""
    found: list[int] = []
    for folder, _, _ in islice(os.walk(group), _MAX_INSIDE):
        try:
            found += map(int, Path(folder, "cgroup.procs").read_bytes().split())
        except OSError:  # it has gone, or holds threads
            continue
    return sorted(found, reverse=True)


def _whole(descriptor: int) -> bytes:
    text = os.pread(descriptor, _BUFFER, 0)
    while len(text) % _BUFFER == 0 and (more := os.pread(descriptor, _BUFFER, len(text))):
        text += more
    return text


def _bytes_of(text: bytes) -> tuple[int, int]:
    """Return bytes read and written, over all devices of io.stat."""
    read = written = 0
    for device in text.split(b"rbytes=")[1:]:
        both = device.split(None, 2)
        read += int(both[0])
        written += int(both[1].removeprefix(b"wbytes="))
    return read, written


def _recent_wait(text: bytes) -> float:
    """Return "some" of the last ten seconds, a ratio."""
    start = text.find(b"some avg10=") + len(b"some avg10=")
    try:
        return float(text[start : text.index(b" ", start)]) / 100
    except ValueError:
        return nan


def _share(amount: float, total: float) -> float:
    return min(amount / total, 1.0) if total > 0 else 0.0 if total == 0 else nan


def _sum_of_known(amounts: Sequence[float]) -> float:
    """Return the sum without what is not known, NaN where nothing is: a group that has just come has no rate yet."""
    known = [amount for amount in amounts if not isnan(amount)]
    return sum(known) if known else nan


def _known(use: Use) -> list[float]:
    return [value for value in use.values() if not isnan(value)]


def _total_memory(meminfo: ProcFile) -> float:
    try:
        return int(meminfo.read().split(None, 2)[1]) * 1024.0
    except (NotAvailable, ValueError, IndexError):
        return nan
