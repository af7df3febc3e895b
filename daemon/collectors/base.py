"""The small interface behind which every source stands.

Enters: the moment of the reading. Leaves: measurements, each a signal's specification and a value in
its unit; NaN is *missing*. A collector never guesses: what it cannot read it leaves out or raises.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from daemon.errors import CollectorError, NotAvailable
from daemon.signals import SignalSpec

Measurement = tuple[SignalSpec, float]


@dataclass(frozen=True, slots=True)
class HostPaths:
    """Where the host's own trees are mounted; elsewhere in a container and in tests."""

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    root: Path = Path("/")


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
            raise CollectorError(f"{self.path}: {error.strerror}") from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Close the descriptor; the next read opens it anew."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
