"""File systems that became full, or read-only, by what the collectors measured.

Enters: the signals and findings of a tick. Leaves: one report when a file system becomes so, none while it stays so,
also over a restart: `state` is what `restore` takes. One that was full at the very first look is how the host is.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from math import nan

from daemon.failures.record import FailureReport, Source
from daemon.signals import SignalSpec
from detectors.findings import FailureKind, Finding

_FULL, _ROOM_AGAIN = 0.999, 0.99
_ONE_BLOCK, _MUCH_BYTES = 4096.0, 64.0 * 1024 * 1024
_FAMILY = "filesystem"
_USED, _INODES, _FREE = "used", "inodes_used", "free_bytes"
_READ_ONLY = "FilesystemReadOnly"


class FilesystemFailures:
    """Remembers which file systems are full and which are read-only and should not be."""

    def __init__(self) -> None:
        self._had_room: set[str] = set()
        self._full: set[str] = set()
        self._read_only: set[str] = set()

    @property
    def state(self) -> str:
        """What is full and what is read-only now."""
        return json.dumps([sorted(self._full), sorted(self._read_only), sorted(self._had_room)])

    def restore(self, state: str) -> None:
        """Take up the state of an earlier process; what is not understood is left."""
        try:
            full, read_only, had_room = json.loads(state)
            self._full, self._read_only, self._had_room = set(full), set(read_only), set(had_room)
        except (ValueError, TypeError):
            return

    def observe(
        self, values: Iterable[tuple[SignalSpec, float]], findings: Sequence[Finding], now_ms: int, last_ms: int
    ) -> list[FailureReport]:
        """Return what became full or read-only between `last_ms` and `now_ms`. A value that is missing says nothing."""
        read_only = {one.resource for one in findings if one.alertname == _READ_ONLY}
        reports = [
            _report(FailureKind.FILESYSTEM_READ_ONLY, mount, f"{mount} became read-only", now_ms, last_ms)
            for mount in sorted(read_only - self._read_only)
        ]
        self._read_only = read_only
        spaces = _by_mount(values)
        self._had_room &= spaces.keys()
        self._full &= spaces.keys()
        for mount, space in spaces.items():
            lacking = _none_left(space)
            if lacking and mount in self._had_room and mount not in self._full | read_only:
                self._full.add(mount)
                detail = f"{mount} has no {lacking} left"
                reports.append(_report(FailureKind.FILESYSTEM_FULL, mount, detail, now_ms, last_ms))
            elif _has_room(space):
                self._full.discard(mount)
                self._had_room.add(mount)
        return reports


def _by_mount(values: Iterable[tuple[SignalSpec, float]]) -> dict[str, Mapping[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for spec, value in values:
        if spec.family == _FAMILY:
            found.setdefault(spec.resource, {})[spec.name.rpartition(".")[2]] = value
    return dict(found)


def _none_left(space: Mapping[str, float]) -> str:
    """Return what a user other than root has none left of, "" = nothing. A thousandth of a large disk is much room."""
    free = space.get(_FREE, nan)
    if free < _ONE_BLOCK or (space.get(_USED, nan) >= _FULL and not free >= _MUCH_BYTES):
        return "space"
    return "inodes" if space.get(_INODES, nan) >= _FULL else ""


def _has_room(space: Mapping[str, float]) -> bool:
    """Tell whether it is known to have room: a value that is missing says nothing."""
    used, inodes = space.get(_USED, nan), space.get(_INODES, 0.0)
    return (used < _ROOM_AGAIN or space.get(_FREE, nan) >= _MUCH_BYTES) and inodes < _ROOM_AGAIN


def _report(kind: FailureKind, mount: str, detail: str, now_ms: int, last_ms: int) -> FailureReport:
    return FailureReport(kind, Source.MOUNTS, f"{mount} {now_ms}", last_ms, now_ms, mount, detail)
