"""The small interface behind which every source stands.

Enters: the moment of the reading. Leaves: measurements, each a signal's specification and a value in
its unit; NaN is *missing*. A collector never guesses: what it cannot read it leaves out or raises.
"""

import errno
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable

from daemon.errors import CollectorError, NotAvailable
from daemon.host_paths import HostPaths as HostPaths  # noqa: PLC0414 - collectors take it from here
from daemon.signals import SignalSpec
from detectors.findings import ChangeKind

Measurement = tuple[SignalSpec, float]

_PIECE = 4096  # of a file that is read once


@dataclass(frozen=True, slots=True)
class Visitors:
    """Open connections to the daemon's own server: all, and those that come from this host."""

    every: int = 0
    local: int = 0


@dataclass(frozen=True, slots=True)
class Noticed:
    """A change that a source has seen. `time_ms` is what the source says of it, None = just now.

    `began` and `ended` name the unit whose run began or ended with it, "" = none. `about` is the unit that it befell,
    so many `times`.
    """

    kind: ChangeKind
    text: str
    time_ms: int | None = None
    began: str = ""
    ended: str = ""
    about: str = ""
    times: int = 1


class Collector(Protocol):
    """One source. `collect` blocks, runs in a lane with `deadline_seconds`, and is never called twice at once."""

    name: str
    deadline_seconds: float

    def collect(self, monotonic_ns: int) -> Sequence[Measurement]:
        """Read the source now.

        Raises NotAvailable where the host has no such source, CollectorError where it has and it failed.
        """
        ...

    def close(self) -> None:
        """Give back descriptors."""
        ...


@runtime_checkable
class Notices(Protocol):
    """A collector that also sees what is changed on the host."""

    def notices(self) -> Sequence[Noticed]:
        """Hand over what was noticed since the last call."""
        ...


class ProcFile:
    """A file of /proc or /sys kept open and read anew from its start: a third of the cost of opening it.

    The descriptor is opened at the first read and again after an error, so a file that appears later is found.
    """

    def __init__(self, path: Path, size: int = 65536) -> None:
        self.path = path
        self._size = size
        self._descriptor = -1

    def read(self) -> bytes:
        """Return the whole content. Raises NotAvailable when it does not exist or may not be read."""
        try:
            if self._descriptor < 0:
                self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            parts = [os.pread(self._descriptor, self._size, 0)]
            offset = len(parts[0])
            while offset and (part := os.pread(self._descriptor, self._size, offset)):
                parts.append(part)
                offset += len(part)
        except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
            self.close()
            raise NotAvailable(f"{self.path}: {error.strerror}") from error
        except OSError as error:
            self.close()
            if error.errno == errno.EOPNOTSUPP:  # the kernel has the file but not the feature: psi=0
                raise NotAvailable(f"{self.path}: {error.strerror}") from error
            raise CollectorError(f"{self.path}: {error.strerror}") from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Close the descriptor; the next read opens it anew."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read_whole(path: str, root: int | None = None) -> bytes:
    """Return the content of a small file, below the folder `root` where it is relative. Raises OSError.

    For files that are opened once: no Path is made of it, whose parts would go into Python's table of interned strings,
    which grows by all that have been in it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=root)
    try:
        text = part = os.read(descriptor, _PIECE)
        while len(part) == _PIECE and (part := os.read(descriptor, _PIECE)):
            text += part
        return text
    finally:
        os.close(descriptor)


def network_file(paths: HostPaths, name: str) -> ProcFile:
    """Return /proc/1/net/`name`, or /proc/net/`name` where the first process is hidden.

    /proc/net is a link to the reader's own network namespace: in a container with the host's /proc
    mounted it would show the container.
    """
    return file_of_init(paths, f"net/{name}", f"net/{name}")


def file_of_init(paths: HostPaths, name: str, otherwise: str) -> ProcFile:
    """Return /proc/1/`name`, or /proc/`otherwise` where the first process is hidden."""
    of_init = paths.proc / "1" / name
    return ProcFile(of_init if os.access(of_init, os.R_OK) else paths.proc / otherwise)


class understood:  # noqa: N801 - reads as a function; a generator would take four times as long, at every file
    """Turn an error of parsing `path` into a CollectorError that names it."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, ValueError | IndexError | KeyError | ArithmeticError):
            raise CollectorError(f"{self._path}: not understood ({error})") from error


def printable(raw: bytes) -> str:
    """Return a name from the kernel as text that any log, database or metric can hold.

    Bytes that are not UTF-8 and control characters become escapes; a space stays.
    """
    text = raw.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def one_of(patterns: Sequence[str]) -> re.Pattern[str]:
    """Return the shell patterns as one expression for `match`; no pattern matches nothing."""
    return re.compile("|".join(translate(pattern) for pattern in patterns) or r"(?!)")
