"""Units that systemd holds for failed: asked of systemctl, and where that gives no answer, told by the journal.

Enters: the answer of a child, `systemctl show`, once a minute and soon after systemd says that a unit failed; or that
line alone. Leaves: a report for each failure. A unit that is started again by itself has not failed: systemctl knows;
of the journal, the line that a restart is scheduled says so. Asking takes no privilege, only the system's bus.
"""

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from daemon.collectors.base import HostPaths, printable
from daemon.failures.journal import RESTART_SCHEDULED, JournalEntry
from daemon.failures.record import FailureReport, Source
from detectors.findings import FailureKind

_ASK_SECONDS = 5.0
_MOST_BYTES = 1 << 20
_FAILED = "failed"
_MANAGER = "init.scope"  # as journald itself says of who speaks: no other program can
_OOM = "oom-kill"
_STOP_MS = 120_000  # systemd waits so long for the rest of a unit that lost a process
_HELD_MS = 90_000  # RestartSec is seldom longer
_MOST_HELD = 200
_NO_MORE = ": Start request repeated too quickly."  # said before the last failure of a unit that restarts by itself
_PROPERTIES = "Id,Result,ActiveState,ExecMainStatus,StateChangeTimestamp"
_ASK = ("show", "--state=failed", f"--property={_PROPERTIES}", "*")
_WORDS = {
    "exit-code": "it ended with an error",
    "signal": "a signal ended it",
    "core-dump": "it crashed",
    "timeout": "it took too long",
    "watchdog": "it stopped to answer",
    "start-limit-hit": "it failed too often",
    "resources": "what it needs could not be had",
    "protocol": "it did not say that it had started",
    _OOM: "a process of it was killed for want of memory",
}


class FailedUnits:
    """Asks, and holds back what the journal says until it is sure.

    `problem`: why systemctl gives no answer, "" = it does. `failed`: what it says of each unit that is failed now, by
    its name; none without an answer. `state` is what `restore` takes: what is held back.
    `command` is a seam for tests.
    """

    def __init__(self, paths: HostPaths, command: Sequence[str] = ("systemctl",)) -> None:
        self._booted = paths.root / "run" / "systemd" / "system"
        self._environment = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.environ.get("PATH", os.defpath)}
        if paths.is_elsewhere:  # of the host, whose bus is there; our own first process is nobody's manager
            bus = paths.root / "run" / "dbus" / "system_bus_socket"
            self._environment |= {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={bus}", "SYSTEMD_IGNORE_CHROOT": "1"}
        self._command = command
        self._held: dict[str, tuple[int, str, int]] = {}  # when it failed, how, and when that is sure
        self._given_up: set[str] = set()
        self.failed: Mapping[str, str] = {}
        self.problem = "not asked yet"

    @property
    def state(self) -> str:
        """Time, result and when it is sure of the units that may have failed, by name."""
        return json.dumps(self._held)

    def restore(self, state: str) -> None:
        """Take up the state of an earlier process; what is not understood is left."""
        with suppress(ValueError, TypeError, AttributeError):
            self._held = {
                str(unit): (int(at), str(result), int(sure)) for unit, (at, result, sure) in json.loads(state).items()
            }

    async def ask(self) -> list[FailureReport]:
        """Return a report for each unit that is failed now: the same failure has the same mark each time."""
        reports = await self._asked()
        self.failed = {report.resource: report.detail for report in reports}
        return reports

    async def _asked(self) -> list[FailureReport]:
        if not self._booted.is_dir():  # sd_booted(3)
            self.problem = "systemd does not run this host"
            return []
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                *_ASK,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=_MOST_BYTES,
                env=self._environment,
            )
        except OSError as error:
            self.problem = f"{self._command[0]}: {error.strerror}"
            return []
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                said, complaint = await process.communicate()
        except TimeoutError:
            self.problem = f"{self._command[0]} gave no answer within {_ASK_SECONDS:g} s"
            return []
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode:
            last = " ".join(complaint.decode(errors="replace").strip().splitlines()[-1:])[:200]
            self.problem = last or f"{self._command[0]} ended with code {process.returncode}"
            return []
        self.problem = ""
        self._held.clear()
        return failed_units(said.decode("utf-8", "backslashreplace"))

    def take(self, entry: JournalEntry) -> bool:
        """Take in an entry; tell whether it is time to ask."""
        unit = entry.about
        if entry.unit != _MANAGER or not unit:
            return False
        if entry.message_id == RESTART_SCHEDULED:
            self._held.pop(unit, None)
            return False
        if entry.message.endswith(_NO_MORE):
            self._given_up = {*list(self._given_up)[-_MOST_HELD:], unit}
        if not entry.result:
            return False
        self._held.pop(unit, None)
        wait_ms = 0 if unit in self._given_up else _HELD_MS
        self._given_up.discard(unit)
        self._held[unit] = (entry.time_ms, entry.result, entry.time_ms + wait_ms)
        while len(self._held) > _MOST_HELD:
            self._held.pop(next(iter(self._held)))
        return True

    def ripe(self, now_ms: int) -> list[FailureReport]:
        """Return the failures of which the journal alone tells, once no restart has followed for long enough."""
        if not self.problem:
            return []
        ripe = {unit: said for unit, said in self._held.items() if now_ms >= said[2]}
        for unit in ripe:
            del self._held[unit]
        return [
            _report(unit, result, time_ms, f"{unit} {time_ms}", Source.JOURNAL)
            for unit, (time_ms, result, _) in ripe.items()
        ]


def failed_units(text: str) -> list[FailureReport]:
    """Return the failures in an answer of `systemctl show`: properties by line, units parted by an empty line."""
    reports = []
    for block in text.split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        time_ms = _milliseconds(unit.get("StateChangeTimestamp", ""))
        if unit.get("ActiveState") == _FAILED and unit.get("Id") and time_ms is not None:
            code = unit.get("ExecMainStatus", "")
            status = f" ({code})" if unit.get("Result") == "exit-code" and code not in {"", "0"} else ""
            name = printable(unit["Id"].encode("utf-8", "backslashreplace"))
            mark = f"{name} {time_ms // 1000}"
            reports.append(_report(name, unit.get("Result", ""), time_ms, mark, Source.SYSTEMD, status=status))
    return reports


def _milliseconds(stamp: str) -> int | None:
    """Return "Sun 2026-03-01 06:00:00 UTC" in milliseconds: every systemd says it so, `--timestamp=unix` is of 251."""
    try:
        _, day, clock, zone = stamp.split(" ")
        return int(datetime.fromisoformat(f"{day}T{clock}+00:00").timestamp()) * 1000 if zone == "UTC" else None
    except ValueError:
        return None


def _report(unit: str, result: str, time_ms: int, mark: str, source: Source, *, status: str = "") -> FailureReport:
    """Return the report; a unit that failed for want of memory is the end of that kill, and no other failure."""
    kind = FailureKind.OOM_KILL if result == _OOM else FailureKind.UNIT_FAILED
    since_ms = time_ms - _STOP_MS if result == _OOM else time_ms
    why = _WORDS.get(result, f"result {result}" if result else "for a reason that is not told")
    return FailureReport(kind, source, mark, since_ms, time_ms, unit, f"{unit} failed: {why}{status}")
