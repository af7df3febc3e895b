"""What was changed on the host: packages, mounts, disks, interfaces, timers that ran.

Enters: logs, folders and tables that any user may read. Leaves: no signals, only notices. Units that
come and go are the unit collector's to notice, a reboot and a new kernel the change log's.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from daemon.collectors.base import HostPaths, Measurement, Noticed, file_of_init, one_of, printable
from daemon.collectors.disk import EXCLUDED as EXCLUDED_DISKS
from daemon.collectors.mounts import MountFilter
from daemon.collectors.network import EXCLUDED as EXCLUDED_INTERFACES
from daemon.collectors.package_log import PackageLogs
from daemon.errors import NotAvailable
from detectors.findings import ChangeKind

MAX_ROUND = 20  # notices of one kind at one tick; a host of containers may have hundreds

_MAX_TIMERS = 200
_STAMP = "stamp-"
_TOLD = {
    ChangeKind.MOUNT: ("{} was mounted", "{} was unmounted"),
    ChangeKind.DEVICE: ("the disk {} appeared", "the disk {} disappeared"),
    ChangeKind.INTERFACE: ("the interface {} appeared", "the interface {} disappeared"),
}


class ChangesCollector:
    """Compares what is there with what was there a tick ago; the first look only remembers."""

    name = "changes"
    deadline_seconds = 2.0

    def __init__(
        self,
        *,
        paths: HostPaths,
        exclude_mounts: Sequence[str] = (),
        exclude_disks: Sequence[str] = (),
        exclude_interfaces: Sequence[str] = (),
    ) -> None:
        self._packages = PackageLogs(paths.root)
        self._mountinfo = file_of_init(paths, "mountinfo", "self/mountinfo")
        self._mount_text = b""
        self._filter = MountFilter(exclude_mounts)
        disks, interfaces = (
            one_of((*EXCLUDED_DISKS, *exclude_disks)),
            one_of((*EXCLUDED_INTERFACES, *exclude_interfaces)),
        )
        self._sources: dict[ChangeKind, Callable[[], Iterable[str] | None]] = {
            ChangeKind.MOUNT: self._mounts,
            ChangeKind.DEVICE: _Folder(paths.sys / "block", disks.match).names,
            ChangeKind.INTERFACE: _Folder(paths.sys / "class" / "net", interfaces.match).names,
        }
        self._there: dict[ChangeKind, frozenset[str]] = {}
        self._timers_folder = paths.root / "var" / "lib" / "systemd" / "timers"
        self._timers: Mapping[str, int] | None = None
        self._noticed: list[Noticed] = []

    def collect(self, monotonic_ns: int) -> Sequence[Measurement]:  # noqa: ARG002 - nothing here is a rate
        """Look at every source; the answer is in `notices`. NotAvailable where the host has none of them."""
        found = list(self._packages.new())
        for kind, look in self._sources.items():
            names = look()
            if names is not None:
                found += self._compare(kind, frozenset(names))
        found += self._ran()
        self._noticed += found
        if not self._there and self._timers is None and not self._packages.found:
            raise NotAvailable("there is no log, table or folder that tells of changes")
        return ()

    def notices(self) -> Sequence[Noticed]:
        """Hand over what was noticed since the last call."""
        noticed, self._noticed = self._noticed, []
        return noticed

    def close(self) -> None:
        """Give back the descriptor."""
        self._mountinfo.close()

    def _compare(self, kind: ChangeKind, now: frozenset[str]) -> list[Noticed]:
        before = self._there.get(kind)
        self._there[kind] = now
        if before is None or before == now:
            return []
        came, went = _TOLD[kind]
        texts = [came.format(name) for name in sorted(now - before)] + [
            went.format(name) for name in sorted(before - now)
        ]
        return [Noticed(kind, text) for text in texts[:MAX_ROUND]]

    def _mounts(self) -> Iterable[str] | None:
        try:
            text = self._mountinfo.read()
            if text == self._mount_text:
                return None
            self._mount_text = text
            return [mount.name for mount in self._filter.pick(text)]
        except (NotAvailable, ValueError, IndexError):  # the file system collector reports it
            return None

    def _ran(self) -> list[Noticed]:
        """Return the timers whose stamp was touched: systemd keeps one for each that makes up for missed runs."""
        try:
            with os.scandir(self._timers_folder) as entries:
                stamps = {
                    printable(os.fsencode(entry.name.removeprefix(_STAMP))): entry.stat().st_mtime_ns
                    for entry, _ in zip(entries, range(_MAX_TIMERS), strict=False)
                    if entry.name.startswith(_STAMP)
                }
        except OSError:
            return []
        before, self._timers = self._timers, stamps
        if before is None:
            return []
        return [
            Noticed(ChangeKind.TIMER, f"{name} ran", began=f"{name.removesuffix('.timer')}.service")
            for name, touched in sorted(stamps.items())
            if before.get(name) != touched
        ][:MAX_ROUND]


class _Folder:
    """The names in a folder, but for those that are excluded; None where they are the same as before, or not known."""

    def __init__(self, path: Path, excluded: Callable[[str], object]) -> None:
        self._path = path
        self._excluded = excluded
        self._before: list[str] | None = None

    def names(self) -> Iterable[str] | None:
        try:
            names = os.listdir(self._path)  # noqa: PTH208 - names only
        except OSError:
            return None
        if names == self._before:
            return None
        self._before = names
        return [printable(os.fsencode(name)) for name in names if not self._excluded(name)]
