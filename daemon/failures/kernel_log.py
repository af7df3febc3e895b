"""What lines of the journal tell of failures: mostly the kernel's own, and a few of programs.

Enters: entries of the journal. Leaves: reports. The kernel's words are not an interface: each pattern names what says
it, and what has been said of a failure in older kernels. What is quoted has been redacted; names of disks, units and
the kernel's short names of processes are our own words.
"""

import json
import os
import re
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress

from alerting.redact import plain
from daemon.collectors.base import HostPaths, printable
from daemon.collectors.mounts import MountFilter
from daemon.collectors.unit_name import unit_of
from daemon.failures.journal import KERNEL, JournalEntry
from daemon.failures.record import FailureReport, Source
from detectors.findings import FailureKind

Found = re.Match[str]

_MOST_VICTIMS = 32

# mm/oom_kill.c: the first line says whose memory it was (since 5.0), the second that it is done.
_VICTIM = re.compile(r"oom-kill:.*task_memcg=(?P<group>[^,]*),task=.*,pid=(?P<pid>\d+),uid=")
_KILLED = re.compile(r"Killed process (?P<pid>\d+) \((?P<name>.{1,16}?)\)(?:.*anon-rss:(?P<kb>\d+)kB)?")
# block/blk-core.c ("blk_update_request: " until 5.15), fs/buffer.c, fs/ext4, fs/xfs, fs/btrfs, drivers/nvme
_IO = re.compile(
    r"(?:I/O error|critical (?:medium|target|nexus) error|critical space allocation error), dev (?P<block>[\w!.-]+)"
    r"|Buffer I/O error on dev(?:ice)? (?P<buffer>[\w!.-]+)"
    r"|EXT[234]-fs error \(device (?P<ext>[\w!.-]+)\)"
    r"|XFS \((?P<xfs>[\w!.-]+)\): (?:metadata I/O error|Metadata corruption)"
    r"|BTRFS (?:error|critical) \(device (?P<btrfs>[\w!.-]+)[ ):]"
    r"|nvme (?P<nvme>nvme\d+): (?:I/O .*timeout|controller is down|Device not ready)"
)
_EMPTY_DRIVES = re.compile(r"(?:fd|sr|ram)\d")  # a drive without a disk answers every probe with an error
_READ_ONLY = re.compile(
    r"EXT[234]-fs \((?P<ext>[\w!.-]+)\): Remounting filesystem read-only"
    r"|XFS \((?P<xfs>[\w!.-]+)\): .*(?:Shutting down filesystem|Filesystem has been shut down)"
    r"|BTRFS \w+ \(device (?P<btrfs>[\w!.-]+)[ ):].*forced readonly"
    r"|FAT-fs \((?P<fat>[\w!.-]+)\): Filesystem has been set read-only"
)
# The x86 code of machine checks, drivers/edac (UE: not corrected), and the firmware's own records.
_MACHINE = re.compile(
    r"Machine check events logged|Machine Check(?: Exception)?:|EDAC .*\b\d+ UE\b"
    r"|\[Hardware Error\]: event severity: (?:fatal|recoverable)"
)
# kernel/hung_task.c, kernel/watchdog.c, kernel/rcu/tree_stall.h
_HUNG = re.compile(
    r"INFO: task (?P<name>.{1,64}?):(?P<pid>\d+) blocked for more than (?P<seconds>\d+) seconds"
    r"|BUG: soft lockup - CPU#\d+ stuck|hard LOCKUP on cpu|rcu: INFO: rcu_\w+ (?:self-)?detected stall"
)
_SMARTD = re.compile(r"Device: /dev/(?P<disk>[\w./-]+)")
_SMARTD_PRIORITY = 3
_NO_SPACE = "No space left on device"
_NO_WATCHES = re.compile(r"inotify|watch", re.IGNORECASE)  # the kernel says the same where these run out


class KernelLog:
    """Reads entries one by one; remembers for a moment whose memory a killed process had.

    The kernel says that in a line of its own; `state` is what `restore` takes: a crash between both loses no name.
    """

    def __init__(self, *, paths: HostPaths, redact: Callable[[str], str]) -> None:
        self._paths = paths
        self._redact = redact
        self._victims: OrderedDict[str, str] = OrderedDict()
        self._readers: tuple[tuple[re.Pattern[str], Callable[[JournalEntry, Found], FailureReport | None]], ...] = (
            (_KILLED, self._killed),
            (_READ_ONLY, self._became_read_only),
            (_IO, self._not_read),
            (_HUNG, self._hangs),
            (_MACHINE, self._machine),
        )

    @property
    def state(self) -> str:
        """The units of processes that are about to be killed, by process."""
        return json.dumps(self._victims)

    def restore(self, state: str) -> None:
        """Take up the state of an earlier process; what is not understood is left."""
        with suppress(ValueError, TypeError, AttributeError):
            self._victims = OrderedDict((str(pid), str(unit)) for pid, unit in json.loads(state).items())

    def report(self, entry: JournalEntry) -> FailureReport | None:
        """Return what the entry tells of a failure."""
        if entry.transport == KERNEL:
            return self._of_kernel(entry)
        if entry.identifier == "smartd" and entry.priority <= _SMARTD_PRIORITY:
            found = _SMARTD.search(entry.message)
            return self._made(entry, FailureKind.SMART, Source.SMARTD, found["disk"]) if found else None
        if _NO_SPACE in entry.message and not _NO_WATCHES.search(entry.message):
            return self._made(entry, FailureKind.FILESYSTEM_FULL, Source.JOURNAL, "", entry.unit or entry.identifier)
        return None

    def _of_kernel(self, entry: JournalEntry) -> FailureReport | None:
        if victim := _VICTIM.search(entry.message):
            self._victims[victim["pid"]] = unit_of(victim["group"])
            while len(self._victims) > _MOST_VICTIMS:
                self._victims.popitem(last=False)
            return None
        for pattern, make in self._readers:
            if found := pattern.search(entry.message):
                return make(entry, found)
        return None

    def _killed(self, entry: JournalEntry, found: Found) -> FailureReport:
        size = f", which had {int(found['kb']) // 1024} MiB" if found["kb"] else ""
        detail = f"the kernel killed {_named(found['name'])} ({found['pid']}) for want of memory{size}"
        return _report(entry, FailureKind.OOM_KILL, self._victims.pop(found["pid"], ""), detail)

    def _became_read_only(self, entry: JournalEntry, found: Found) -> FailureReport:
        return self._made(entry, FailureKind.FILESYSTEM_READ_ONLY, Source.KERNEL_LOG, self._mount(_first(found)))

    def _not_read(self, entry: JournalEntry, found: Found) -> FailureReport | None:
        device = _first(found)
        if _EMPTY_DRIVES.match(device):
            return None
        return self._made(entry, FailureKind.IO_ERROR, Source.KERNEL_LOG, self._disk(device))

    def _hangs(self, entry: JournalEntry, found: Found) -> FailureReport:
        if not found["name"]:
            return self._made(entry, FailureKind.HUNG_TASK, Source.KERNEL_LOG, "")
        name = _named(found["name"])
        detail = f"{name} ({found['pid']}) has waited for the kernel for more than {found['seconds']} s"
        return _report(entry, FailureKind.HUNG_TASK, name, detail)

    def _machine(self, entry: JournalEntry, _found: Found) -> FailureReport:
        return self._made(entry, FailureKind.MACHINE_CHECK, Source.KERNEL_LOG, "")

    def _made(
        self, entry: JournalEntry, kind: FailureKind, source: Source, resource: str, speaker: str = ""
    ) -> FailureReport:
        quoted = self._redact(plain(entry.message))
        return _report(entry, kind, resource, f"{_named(speaker)}: {quoted}" if speaker else quoted, source)

    def _disk(self, kernel: str) -> str:
        """Return the whole disk of a partition, by the kernel's name: errors of both are of one disk."""
        folder = self._paths.sys / "class" / "block" / kernel.replace("/", "!")
        if (folder / "partition").exists():
            return os.path.basename(os.path.dirname(os.path.realpath(folder)))  # noqa: PTH119, PTH120 - of /sys
        return kernel

    def _mount(self, kernel: str) -> str:
        """Return the mount point of the file system on a device, the device where it is not known."""
        try:
            folder = self._paths.sys / "class" / "block" / kernel.replace("/", "!")
            major, minor = (folder / "dev").read_text(encoding="ascii").strip().split(":")
            mounts = MountFilter().pick((self._paths.proc / "1" / "mountinfo").read_bytes())
        except (OSError, ValueError, IndexError):
            return kernel
        return next((mount.name for mount in mounts if mount.device == (int(major), int(minor))), kernel)


def _report(
    entry: JournalEntry, kind: FailureKind, resource: str, detail: str, source: Source = Source.KERNEL_LOG
) -> FailureReport:
    return FailureReport(kind, source, entry.cursor, entry.time_ms, entry.time_ms, resource, detail)


def _named(name: str) -> str:
    return printable(name.encode("utf-8", "backslashreplace"))


def _first(found: Found) -> str:
    """Return the group that took part: each alternative has one."""
    return next(group for group in found.groups() if group is not None)
