"""Which failures a person is told of at once, as facts: a unit that the operator named, kills in a row, a failing disk.

Enters: the failure log, the units that systemd holds for failed, the operator's names. Leaves: findings, as long as
each holds. What the risk, capacity or an anomaly makes of a failure is decided elsewhere.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from daemon.failures.record import FailureEvent
from detectors.findings import FailureKind, Finding, Strength

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_KILLS = 3  # within an hour: one may be a slip, the third is a host that lives beyond its memory
_KILLED_LATELY_MS = 300_000
_FAILED_LATELY_MS = 900_000
_MOST_NAMED = 3


def facts(
    events: Sequence[FailureEvent], failed: Mapping[str, str], named: Sequence[str], now_ms: int
) -> Iterator[Finding]:
    """Yield what is to be told now.

    `failed`: what is said of each unit that is failed, by its name. `named`: names of units, or patterns.
    """
    for unit, detail in sorted(failed.items()):
        if any(fnmatchcase(unit, pattern) for pattern in named):
            yield _told("UnitFailed", unit, detail)
    yield from _repeated_kills([one for one in events if one.kind is FailureKind.OOM_KILL], now_ms)
    disks = {one.resource: one for one in events if one.kind is FailureKind.SMART and now_ms - one.last_ms < _DAY_MS}
    for disk, event in sorted(disks.items()):
        yield _told("DiskHealth", disk, event.detail)


def failed_lately(events: Sequence[FailureEvent], now_ms: int) -> dict[str, str]:
    """Return the units that failed within a quarter of an hour: what is known where systemd cannot be asked."""
    return {
        one.resource: one.detail
        for one in events
        if one.kind is FailureKind.UNIT_FAILED and now_ms - one.last_ms < _FAILED_LATELY_MS
    }


def _repeated_kills(kills: Sequence[FailureEvent], now_ms: int) -> Iterator[Finding]:
    """Yield one finding for each unit that is killed in, or one for the host where they were different ones."""
    lately = [one for one in kills if now_ms - one.time_ms < _HOUR_MS]
    if not lately or now_ms - max(one.time_ms for one in lately) >= _KILLED_LATELY_MS:
        return
    by_unit: dict[str, int] = defaultdict(int)
    for one in lately:
        by_unit[one.resource] += one.times
    repeated = {unit: times for unit, times in by_unit.items() if times >= _KILLS and unit}
    for unit, times in sorted(repeated.items()):
        yield _told(
            "RepeatedOOMKills", unit, f"the kernel killed {unit} {times} times within an hour for want of memory"
        )
    times = sum(by_unit.values())
    if not repeated and times >= _KILLS:
        units = sorted(unit for unit in by_unit if unit)
        shown = (
            f", of {', '.join(units[:_MOST_NAMED])}{' and others' if len(units) > _MOST_NAMED else ''}" if units else ""
        )
        yield _told("RepeatedOOMKills", "", f"the kernel killed {times} times within an hour for want of memory{shown}")


def _told(alertname: str, resource: str, text: str) -> Finding:
    return Finding(alertname, "host", resource, Strength.RAISED, text)
