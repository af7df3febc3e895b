"""The change log: what was done to the host, kept, and cited when something unusual follows.

Enters: what collectors notice, what an operator marks. Leaves: rows of `state.db`, the change that
came last before a moment, and whether a marked change still has its grace.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from daemon.clock import Clock, Instant
from daemon.collectors.base import Noticed
from daemon.errors import PresagedError
from daemon.offload import Offload
from daemon.state import StateDatabase
from daemon.web.api import MAX_CHANGE_TEXT
from detectors.findings import Change, ChangeKind

_log = structlog.get_logger()

_META = "changes.host"
_CITED_MS = 3_600_000
_DAY_MS = 86_400_000
_ROUTINE = 3  # the same text so often within a day is how the host lives
_KEPT = 500
_STORE_SECONDS = 5.0
_WEIGHTY = frozenset((ChangeKind.MARK, ChangeKind.PACKAGE, ChangeKind.BOOT, ChangeKind.KERNEL))


class ChangeLog:
    """The last 500 changes in memory, all that retention leaves in the database."""

    def __init__(
        self,
        *,
        state: StateDatabase,
        offload: Offload,
        clock: Clock,
        grace_seconds: Callable[[], float],
        failed: Callable[[], None],
    ) -> None:
        self._state = state
        self._offload = offload
        self._clock = clock
        self._grace = grace_seconds
        self._failed = failed
        self._recent: deque[Change] = deque(maxlen=_KEPT)
        self._unsaved: list[Change] = []
        self._marked_ns: int | None = None

    def restore(self, proc: Path) -> None:
        """Take up what is stored and note a reboot or another kernel since; blocks, before the first tick."""
        self._recent.extend(reversed(self._state.recent_changes(_KEPT)))
        now = self._clock.now()
        kernel = _kernel(proc)
        known = (self._state.meta(_META) or "").split("\n")
        if known[0] and known[0] != now.boot_id:
            booted_ms = now.time_ms - now.boottime_ns // 1_000_000
            self._unsaved.append(Change(booted_ms, ChangeKind.BOOT, "the host was booted"))
            if known[1:] != [kernel]:
                text = f"the host was booted with the kernel {kernel}"
                self._unsaved[-1] = Change(booted_ms, ChangeKind.KERNEL, text)
        self._state.set_meta(_META, f"{now.boot_id}\n{kernel}")
        last = max((change.time_ms for change in self._recent if change.kind is ChangeKind.MARK), default=None)
        if last is not None and now.time_ms >= last:  # a grace outlasts a restart
            self._marked_ns = now.monotonic_ns - (now.time_ms - last) * 1_000_000
        self._recent.extend(self._unsaved)

    async def note(self, noticed: Sequence[Noticed], now: Instant) -> None:
        """Keep what collectors noticed. What cannot be stored now is tried again with the next tick."""
        known = {(change.time_ms, change.text) for change in self._recent} if noticed else set()
        new = [
            Change(
                now.time_ms if one.time_ms is None else min(one.time_ms, now.time_ms),
                one.kind,
                one.text[:MAX_CHANGE_TEXT],
            )
            for one in noticed
        ]
        new = [change for change in new if (change.time_ms, change.text) not in known]  # a log read again at a start
        self._recent.extend(new)
        self._unsaved = [*self._unsaved, *new][-_KEPT:]
        if not self._unsaved:
            return
        saving = tuple(self._unsaved)
        try:
            await self._offload.run(
                lambda: self._state.record_changes(saving), deadline_seconds=_STORE_SECONDS, what="change log"
            )
        except PresagedError as error:
            self._failed()
            _log.error("changes_not_stored", changes=len(saving), reason=str(error))
        else:
            self._unsaved.clear()

    async def mark(self, text: str) -> Change:
        """Note a change that an operator announces, and begin its grace. Raises PresagedError when it is not stored."""
        now = self._clock.now()
        change = Change(now.time_ms, ChangeKind.MARK, text)
        await self._offload.run(
            lambda: self._state.record_changes((change,)), deadline_seconds=_STORE_SECONDS, what="change log"
        )
        self._recent.append(change)
        self._marked_ns = now.monotonic_ns
        _log.info("change_marked", text=text, grace_seconds=self._grace())
        return change

    async def page(self, limit: int, before: tuple[int, int] | None = None) -> Sequence[tuple[int, Change]]:
        """Return at most `limit` stored changes with their numbers, the newest first, behind that of (time, number)."""
        return await self._offload.run(
            lambda: self._state.changes_before(before, limit), deadline_seconds=_STORE_SECONDS, what="change log"
        )

    def in_grace(self, now: Instant) -> bool:
        """Tell whether a marked change is so recent that anomalies are recorded and not sent."""
        return self._marked_ns is not None and (now.monotonic_ns - self._marked_ns) / 1e9 < self._grace()

    def before(self, time_ms: int) -> Change | None:
        """Return the change to cite for something that began at `time_ms`: of the hour before, none that is routine.

        What people and package managers did comes before what followed from it.
        """
        near = [change for change in self._recent if time_ms - _CITED_MS <= change.time_ms <= time_ms]
        if not near:
            return None
        often = Counter(change.text for change in self._recent if time_ms - change.time_ms <= _DAY_MS)
        news = [change for change in near if change.kind in _WEIGHTY or often[change.text] < _ROUTINE]
        return max(news, key=lambda change: (change.kind in _WEIGHTY, change.time_ms), default=None)


def _kernel(proc: Path) -> str:
    try:
        return (proc / "sys" / "kernel" / "osrelease").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
