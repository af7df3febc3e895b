"""Eleven kinds of fault, really injected, each in a unit of its own: what starts it, and what tells of it.

What is needed beforehand (file systems on loop devices, a file to thrash on, somebody who takes a
little of everything) is made before the daemon starts, so that it belongs to what is usual. All of it is
taken away again, however the run ends.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
_INJECT = str(Path(__file__).with_name("inject.py"))
_ENTER = 'for group in $GROUPS_TO_ENTER; do echo $$ >"$group/cgroup.procs" || exit 1; done; exec "$@"'
_MIB = 1 << 20
_THRASHED_BYTES, _THRASHING_BYTES = 400 * _MIB, 100 * _MIB


class CannotInjectError(Exception):
    """This fault cannot be made here, for the reason given."""


@dataclass(frozen=True)
class Fault:
    """`signs` are beginnings of the names of the signals that tell of it, `{place}` being its mount.

    `process` is how the kernel calls the culprit. `at_30_seconds`: "held" until a daemon that samples every 30 s
    records it, "brief" to see whether it does, "" while that daemon is not looking.
    """

    name: str
    process: str
    signs: tuple[str, ...]
    command: tuple[str, ...]
    at_30_seconds: str = ""
    stopped: bool = False


def _stress(*arguments):
    return ("stress-ng", *arguments, "--temp-path", "{folder}")


def _inject(name, place=""):
    return (sys.executable, _INJECT, name, place)


FAULTS = (
    Fault(
        "cpu", "stress-ng-cpu", ("cpu.", "load.", "pressure.cpu", "processes.running"), _stress("--cpu", "2"), "held"
    ),
    Fault("memory pressure", "e2e-thrash", ("pressure.memory", "memory."), _inject("thrash", "{folder}")),
    Fault("inodes", "e2e-inodes", ("filesystem.{place}.inodes",), _inject("inodes", "{place}")),
    Fault("memory", "stress-ng-vm", ("memory.",), _stress("--vm", "1", "--vm-bytes", "3G", "--vm-hang", "0"), "held"),
    Fault("disk full", "e2e-fill", ("filesystem.{place}.used", "filesystem.{place}.free"), _inject("fill", "{place}")),
    Fault(
        "disk throughput",
        "stress-ng-hdd",
        ("disk.", "pressure.io", "processes.blocked"),
        _stress("--hdd", "1", "--hdd-bytes", "256M"),
        "held",
    ),
    Fault("fork storm", "stress-ng-fork", ("processes.",), _stress("--fork", "1")),
    Fault("descriptor leak", "e2e-leak", ("kernel.descriptors",), _inject("leak"), "brief"),
    Fault("stopped collector", "e2e-disk", (), (), stopped=True),
    Fault("network flood", "stress-ng-udp-f", ("network.lo.", "udp."), _stress("--udp-flood", "1"), "brief"),
    # last: what it leaves behind waits for a minute
    Fault("connection storm", "e2e-storm", ("tcp.", "sockets."), _inject("storm"), "held"),
)


class Bench:
    """The place where faults happen. A context: what was made is undone at the end."""

    def __init__(self):
        self._undo = contextlib.ExitStack()
        self._units = next(
            (top for top in (CGROUPS / "unified", CGROUPS) if (top / "cgroup.controllers").exists()), None
        )
        self._missing = {}
        self._places = {}
        self._disk = None

    def __enter__(self):
        try:
            self.folder = Path(self._undo.enter_context(_own_folder("/var/tmp")))
            self._images = Path(self._undo.enter_context(_own_folder("/dev/shm")))
            for name, arguments in (("disk full", ()), ("inodes", ("-N", "8192"))):
                self._try(name, lambda name=name, arguments=arguments: self._file_system(name, arguments))
            self._try("stopped collector", self._hanging_disk)
            with (self.folder / "thrashed").open("wb") as file:
                for _ in range(_THRASHED_BYTES // _MIB):
                    file.write(os.urandom(_MIB))
                file.flush()
                os.fsync(file.fileno())  # what is not on the disk yet cannot be dropped
            self.start("steady", _inject("steady", str(self.folder)))
        except BaseException:
            self._undo.close()
            raise
        return self

    def __exit__(self, *_):
        self._undo.close()

    def _try(self, name, make):
        try:
            make()
        except (CannotInjectError, OSError) as error:
            self._missing[name] = str(error)

    def _loop_device(self, name):
        """Return a new block device of 128 MiB in memory.

        It stands under another name than /dev/loop, for those are images to the daemon and no disks.
        """
        image, device = self._images / name.replace(" ", "-"), self._images / f"{name.replace(' ', '-')}-device"
        with image.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 128 * _MIB)
        loop = _run("losetup", "--find", "--show", str(image)).strip()
        self._undo.callback(_run, "losetup", "--detach", loop, check=False)
        os.mknod(device, 0o60600, os.stat(loop).st_rdev)  # noqa: PTH116
        return device

    def _file_system(self, name, arguments):
        device = self._loop_device(name)
        place = self.folder / name.replace(" ", "-")
        place.mkdir()
        _run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "nodiscard", *arguments, str(device))
        _run("mount", str(device), str(place))
        self._undo.callback(_run, "umount", "--lazy", str(place), check=False)
        self._places[name] = str(place)

    def _hanging_disk(self):
        name = "stopped collector"
        device = self._loop_device(name)
        place = self.folder / "disk"
        place.mkdir()
        self._disk = self.start("disk", _inject("disk", f"{device}:{place}"))
        for _ in range(50):
            if os.path.ismount(place):
                break
            if self._disk.poll() is not None:
                raise CannotInjectError("no file system of our own can be mounted (fuseblk)")
            time.sleep(0.1)
        else:
            raise CannotInjectError("the file system of our own was not mounted within 5 s")
        self._undo.callback(_run, "umount", "--lazy", str(place), check=False)
        self._undo.callback(self._disk.kill)  # first: nobody waits for its answer then
        self._places[name] = str(place)

    def place(self, fault):
        """Return the mount that the fault is about, "" for none."""
        return self._places.get(fault.name, "")

    def unit(self, name):
        """Return how the unit of `name` is called."""
        return f"e2e-{name.replace(' ', '-')}.service"

    def adopt(self, name, pid):
        """Put a process that runs already into the unit of `name`."""
        for group in self._groups(name):
            (group / "cgroup.procs").write_text(str(pid), encoding="ascii")

    def start(self, name, command, groups=()):
        """Start `command` in the unit of `name`; it ends with the bench at the latest."""
        entered = (*self._groups(name), *groups)
        process = subprocess.Popen(
            ["sh", "-c", _ENTER, "sh", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "GROUPS_TO_ENTER": " ".join(map(str, entered))},
        )
        self._undo.callback(_end, process)
        return process

    def _groups(self, name):
        if self._units is None:
            return ()
        group = self._units / self.unit(name)
        if not group.exists():
            try:
                group.mkdir()
            except OSError:  # no unit of its own then: the process alone is to be named
                return ()
            self._undo.callback(_remove, group)
        return (group,)

    @contextlib.contextmanager
    def injected(self, fault):
        """Hold the fault as long as the context lasts. Raises CannotInjectError."""
        if fault.name in self._missing:
            raise CannotInjectError(self._missing[fault.name])
        if fault.stopped:
            self._disk.send_signal(signal.SIGSTOP)
            try:
                yield
            finally:
                self._disk.send_signal(signal.SIGCONT)
            return
        groups = (self._scarce_memory(),) if fault.name == "memory pressure" else ()
        words = {"folder": str(self.folder), "place": self.place(fault)}
        process = self.start(fault.name, tuple(part.format(**words) for part in fault.command), groups)
        try:
            yield
            if process.poll() is not None:
                raise CannotInjectError(f"{fault.command[0]} ended by itself with {process.returncode}")
        finally:
            _end(process)
            self._clear(fault)
            for group in (*self._groups(fault.name), *groups):
                _remove(group)

    def _clear(self, fault):
        if place := self.place(fault):
            for file in Path(place).iterdir():
                if file.is_file():
                    file.unlink()

    def _scarce_memory(self):
        """Return a memory group with a limit: that of the unit with version 2, one of its own with version 1."""
        lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()]
        first = next((CGROUPS / "memory" / path.lstrip("/") for _, kind, path in lines if kind == "memory"), None)
        if first is None and self._units is None:
            raise CannotInjectError("there is no memory control group")
        top, limit = (first, "memory.limit_in_bytes") if first else (self._units, "memory.max")
        group = top / self.unit("memory pressure")
        try:
            group.mkdir(exist_ok=True)
            self._undo.callback(_remove, group)
            (group / limit).write_text(str(_THRASHING_BYTES), encoding="ascii")
        except OSError as error:
            raise CannotInjectError(f"no memory limit can be set: {error}") from error
        return group


@contextlib.contextmanager
def _own_folder(parent):
    folder = tempfile.mkdtemp(prefix="presaged-e2e-", dir=parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(*command, check=True):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        raise CannotInjectError(f"{command[0]} is not installed") from None
    if check and done.returncode:
        raise CannotInjectError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _end(process):
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):  # the whole session: what it has started goes with it
            os.killpg(process.pid, number)
        if number is signal.SIGTERM:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=3)
    process.wait()


def _remove(group):
    for _ in range(50):
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError:  # the last process has not gone yet
            time.sleep(0.1)
        else:
            return
