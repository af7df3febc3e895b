"""What smartd has seen of each disk, from the state that it keeps: /var/lib/smartmontools/smartd.MODEL-SERIAL.*.state.

Enters: these files, which any user may read where smartd runs with its defaults. Leaves: a report when a disk has
failed a test, or lost sectors, that it had not before. It never asks a disk: that takes capabilities.
"""

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from daemon.collectors.base import HostPaths, printable
from daemon.failures.record import FailureReport, Source
from detectors.findings import FailureKind

_MOST_DISKS = 64
_MOST_BYTES = 64 * 1024
_FILE = re.compile(r"smartd\.(?P<disk>.+)\.(?:ata|scsi|nvme)\.state")
_ATTRIBUTE = re.compile(r"^ata-smart-attribute\.(?P<place>\d+)\.(?P<field>id|raw) = (?P<value>\d+)$", re.MULTILINE)
_COUNT = re.compile(r"^(?P<name>self-test-errors|ata-error-count) = (?P<value>\d+)$", re.MULTILINE)
# The attributes that foretell a failure best: Pinheiro et al., Failure Trends in a Large Disk Drive Population, 2007.
_ATTRIBUTES = {
    5: "reallocated sectors",
    187: "uncorrectable errors",
    197: "pending sectors",
    198: "sectors that could not be corrected",
}
_COUNTS = {"self-test-errors": "failed self-tests", "ata-error-count": "errors in the disk's own log"}
_RAW_BITS = (1 << 32) - 1  # above them some vendors keep other counts


@dataclass(frozen=True, slots=True)
class DiskState:
    """The counts of one disk, by what they count, and when smartd wrote them."""

    counts: Mapping[str, int]
    written_ms: int


class SmartdStates:
    """Compares each disk with how it was; `state` is what `restore` takes. The first look only remembers."""

    def __init__(self, paths: HostPaths) -> None:
        self._folder = paths.root / "var" / "lib" / "smartmontools"
        self._known: dict[str, dict[str, int]] = {}
        self.problem = ""

    @property
    def state(self) -> str:
        """The counts of every disk."""
        return json.dumps(self._known, sort_keys=True)

    def restore(self, state: str) -> None:
        """Take up the state of an earlier process; what is not understood is left."""
        with suppress(ValueError, TypeError, AttributeError):
            self._known = {
                str(disk): {str(name): int(count) for name, count in counts.items()}
                for disk, counts in json.loads(state).items()
            }

    def read(self) -> dict[str, DiskState]:
        """Return the state of each disk; blocks. Empty, with a `problem`, where smartd leaves none."""
        found: dict[str, DiskState] = {}
        try:
            names = sorted(os.listdir(self._folder))  # noqa: PTH208 - names only
        except FileNotFoundError:
            names = []
        except OSError as error:
            self.problem = f"{self._folder}: {error.strerror}"
            return {}
        for name in names:
            file = _FILE.fullmatch(name)
            if file and len(found) < _MOST_DISKS:
                with suppress(OSError, ValueError), (self._folder / name).open("rb") as opened:
                    text = opened.read(_MOST_BYTES).decode("ascii", "replace")
                    written_ms = os.fstat(opened.fileno()).st_mtime_ns // 1_000_000
                    found[printable(file["disk"].encode("utf-8", "surrogateescape"))] = DiskState(
                        _counts(text), written_ms
                    )
        self.problem = "" if found else f"smartd leaves no state in {self._folder}"
        return found

    def observe(self, disks: Mapping[str, DiskState]) -> list[FailureReport]:
        """Return a report for each disk of which a count has grown."""
        reports = []
        for disk, state in disks.items():
            before = self._known.get(disk)
            self._known[disk] = dict(state.counts)
            if before is None:
                continue
            grown = [
                f"{count} {what}, {before.get(what, 0)} before"
                for what, count in state.counts.items()
                if count > before.get(what, 0)
            ]
            if grown:
                mark = f"{disk} {state.written_ms} {' '.join(map(str, state.counts.values()))}"
                detail = f"{disk}: {'; '.join(grown)}"
                time_ms = state.written_ms
                reports.append(FailureReport(FailureKind.SMART, Source.SMARTD, mark, time_ms, time_ms, disk, detail))
        return reports


def _counts(text: str) -> dict[str, int]:
    """Return what is counted in a state file, as smartd.cpp writes it."""
    attributes: dict[str, dict[str, int]] = {}
    for line in _ATTRIBUTE.finditer(text):
        attributes.setdefault(line["place"], {})[line["field"]] = int(line["value"])
    found = {
        _ATTRIBUTES[one["id"]]: one.get("raw", 0) & _RAW_BITS
        for one in attributes.values()
        if one.get("id") in _ATTRIBUTES
    }
    return found | {_COUNTS[line["name"]]: int(line["value"]) for line in _COUNT.finditer(text)}
