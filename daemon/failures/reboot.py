"""Whether the host went down without a clean stop: a new boot, and no mark that we were stopped before it.

Enters: the mark of the process before, and the present boot. Leaves: one report. Only a boot can be unclean: a daemon
that was killed and started again, and a suspend, leave the boot id as it is.
"""

from daemon.clock import Instant
from daemon.failures.record import FailureReport, Source
from detectors.findings import FailureKind

_RUNNING, _STOPPED = "running", "stopped"
_UNKNOWN = "unknown"


def running(boot_id: str) -> str:
    """Return the mark of a process that runs: left behind when the host goes down under it."""
    return f"{_RUNNING} {boot_id}"


def stopped(boot_id: str) -> str:
    """Return the mark of a clean stop."""
    return f"{_STOPPED} {boot_id}"


def unclean_reboot(mark: str, now: Instant, last_ms: int) -> FailureReport | None:
    """Return the report where `mark` was left by a process of another boot. `last_ms`: its last sample, 0 = none."""
    state, _, boot_id = mark.partition(" ")
    if state != _RUNNING or boot_id == now.boot_id or _UNKNOWN in {boot_id, now.boot_id}:
        return None
    booted_ms = now.time_ms - now.boottime_ns // 1_000_000
    since_ms = min(last_ms or booted_ms, booted_ms)
    detail = "the host went down without a clean stop and was booted again"
    return FailureReport(
        FailureKind.UNCLEAN_REBOOT, Source.BOOT, now.boot_id, since_ms, max(booted_ms, since_ms), "", detail
    )
