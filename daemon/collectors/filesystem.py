"""Space, inodes and writability of each local file system.

Enters: the host's mountinfo and one `statvfs` per mount. Leaves: used ratio as df shows it, free
bytes, used inodes, and whether it is read-only. Every mount is asked in a lane with a deadline: a
dead one costs its deadline once and is then left alone until its call returns.

Writability comes from the first process's mountinfo: under ProtectSystem=strict the daemon's own
namespace shows every mount read-only.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from daemon.collectors.base import HostPaths, Measurement, ProcFile, understood
from daemon.collectors.mounts import Mount, MountFilter
from daemon.errors import CollectorError, DeadlineExceeded, NotAvailable
from daemon.offload import Call, Lane, Outcome
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit

MAX_MOUNTS = 128
MANY_DEVICE_NUMBERS = frozenset((b"btrfs", b"bcachefs"))  # each subvolume has a number that mountinfo does not show


@dataclass(frozen=True, slots=True)
class Space:
    """What a mount answered: the device that was reached, and its `statvfs`."""

    device: tuple[int, int]
    statvfs: os.statvfs_result


def ask_mount(path: bytes) -> Space:
    """Ask the mount at `path`; blocks for as long as the file system likes."""
    device = os.stat(path).st_dev  # noqa: PTH116 - bytes: a mount point need not be text
    return Space((os.major(device), os.minor(device)), os.statvfs(path))


@dataclass(frozen=True, slots=True)
class _Watched:
    mount: Mount
    call: Call
    used: SignalSpec
    free: SignalSpec
    inodes: SignalSpec
    read_only: SignalSpec


class FilesystemCollector:
    """Local mounts of the host.

    `deadline_seconds_per_mount` bounds one call, `budget_seconds` the round. `ask` is a seam for
    tests. After each round: `stuck_mounts` did not answer, `denied_mounts` counts those that we may
    not look at, `hidden_mounts` those that our own namespace does not show, `failed_mounts` those
    that answered with another error, `dropped_mounts` those beyond the bound.
    """

    name = "filesystem"

    def __init__(
        self,
        *,
        paths: HostPaths,
        exclude: Sequence[str] = (),
        deadline_seconds_per_mount: float = 1.0,
        budget_seconds: float = 3.0,
        ask: Callable[[bytes], Space] = ask_mount,
    ) -> None:
        self.deadline_seconds = budget_seconds + deadline_seconds_per_mount + 1.0
        self._files = [ProcFile(paths.proc / process / "mountinfo") for process in ("1", "self")]
        self._root = os.fsencode(paths.root).rstrip(b"/")
        self._filter = MountFilter(exclude)
        self._deadline_seconds = deadline_seconds_per_mount
        self._budget_seconds = budget_seconds
        self._ask = ask
        self._lane = Lane("mounts", holds_files=False)
        self._mountinfo = b""
        self._watched: dict[str, _Watched] = {}
        self.denied_mounts = 0
        self.hidden_mounts = 0
        self.failed_mounts = 0
        self.dropped_mounts = 0

    @property
    def stuck_mounts(self) -> frozenset[str]:
        """Mount points whose call is still in flight after its deadline."""
        return self._lane.stuck

    @property
    def read_only_mounts(self) -> dict[str, bool]:
        """Mount point to whether it is read-only, of all that are watched, stuck ones included: asking nobody."""
        return {name: watched.mount.read_only for name, watched in self._watched.items()}

    def collect(self, monotonic_ns: int) -> Sequence[Measurement]:  # noqa: ARG002 - gauges need no time
        """Ask every mount; those that are stuck, or that cannot be seen, are left out."""
        self._read_mounts()
        self.denied_mounts = self.hidden_mounts = self.failed_mounts = 0
        calls = [watched.call for watched in self._watched.values()]
        answers = {outcome.key: outcome for outcome in self._lane.run_each(calls, budget_seconds=self._budget_seconds)}
        measured: list[Measurement] = []
        for name, watched in self._watched.items():
            measured += self._measure(watched, answers[name])
        return measured

    def _read_mounts(self) -> None:
        mountinfo = self._read_mountinfo()
        if mountinfo == self._mountinfo:
            return
        with understood(self._files[0].path):
            mounts = self._filter.pick(mountinfo)
        before = self._watched
        self._watched = {}
        for mount in mounts[:MAX_MOUNTS]:
            known = before.get(mount.name)
            self._watched[mount.name] = known if known is not None and known.mount == mount else self._watch(mount)
        self.dropped_mounts = len(mounts) - len(self._watched)
        self._mountinfo = mountinfo

    def _read_mountinfo(self) -> bytes:
        of_init, of_self = self._files
        try:
            return of_init.read()
        except (NotAvailable, CollectorError):  # hidden by hidepid, or refused by a security module
            return of_self.read()

    def _watch(self, mount: Mount) -> _Watched:
        path = self._root + mount.path if mount.path != b"/" else self._root or b"/"
        prefix = f"filesystem.{mount.name}."
        return _Watched(
            mount,
            Call(mount.name, partial(self._ask, path), self._deadline_seconds),
            SignalSpec(prefix + "used", Unit.RATIO, Kind.GAUGE, "filesystem", mount.name),
            SignalSpec(prefix + "free_bytes", Unit.BYTES, Kind.GAUGE, "filesystem", mount.name),
            SignalSpec(prefix + "inodes_used", Unit.RATIO, Kind.GAUGE, "filesystem", mount.name),
            SignalSpec(prefix + "read_only", Unit.RATIO, Kind.GAUGE, "filesystem", mount.name),
        )

    def _measure(self, watched: _Watched, outcome: Outcome) -> list[Measurement]:
        read_only = (watched.read_only, float(watched.mount.read_only))
        space = outcome.value
        if isinstance(space, Space):
            mount = watched.mount
            if space.device != mount.device and mount.kind not in MANY_DEVICE_NUMBERS:
                self.hidden_mounts += 1  # the folder below the mount answered: its numbers are another's
                return [read_only]
            return [*_space(watched, space.statvfs), read_only]
        if isinstance(outcome.error, DeadlineExceeded):
            return []
        if isinstance(outcome.error, PermissionError):
            self.denied_mounts += 1
        elif isinstance(outcome.error, FileNotFoundError):
            self.hidden_mounts += 1
        elif isinstance(outcome.error, OSError):
            self.failed_mounts += 1
        elif outcome.error is not None:
            raise outcome.error
        return [read_only]

    def close(self) -> None:
        """Give back the descriptors and let the lane end."""
        for file in self._files:
            file.close()
        self._lane.close()


def _space(watched: _Watched, answer: os.statvfs_result) -> list[Measurement]:
    measured: list[Measurement] = []
    used = answer.f_blocks - answer.f_bfree
    usable = used + answer.f_bavail  # without the blocks reserved for root, as df counts
    if usable > 0:
        measured += [(watched.used, used / usable), (watched.free, answer.f_bavail * answer.f_frsize)]
    if answer.f_files > 0:  # btrfs and vfat have no table of inodes
        measured.append((watched.inodes, (answer.f_files - answer.f_ffree) / answer.f_files))
    return measured
