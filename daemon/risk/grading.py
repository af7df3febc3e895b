"""How well the failure network on duty does: what it told each hour beside what then came.

Enters: the risk as the networks tell it, once an hour, and the failure log. Leaves: its performance and what it was at
first, over a restart too, and the order to refine where it has fallen. What capacity and limits of units add is none of
its doing and does not count.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite

import numpy as np
import structlog

from daemon.clock import Clock
from daemon.offload import Offload
from daemon.risk.state import Grade, RiskState
from daemon.state import StateDatabase
from detectors.failure_performance import performance

_log = structlog.get_logger()

_META = "risk.graded"
_KEPT = 28 * 24  # moments
_PLACES = 4
_STORE_SECONDS = 10.0
_DAY_MS = 86_400_000


@dataclass
class _Kept:
    """What state.db keeps: of the network that knows failures `until_ms`, what it told at `moments` (ms, 1 h, 24 h)."""

    until_ms: int = 0
    baseline: float | None = None
    asked_ms: int = 0  # when it was last to be refined because it does worse
    moments: list[tuple[int, float, float]] = field(default_factory=list)


class Grading:
    """Grades the network on duty each hour.

    `told` is what the networks say now; `failed_ms` when the host failed; `until_ms` names the network on duty.
    `refine` is awaited where its performance has fallen by `degradation`, once a day at most; `publish` gets grades.
    """

    def __init__(
        self,
        *,
        state: StateDatabase,
        offload: Offload,
        clock: Clock,
        told: Callable[[], RiskState],
        failed_ms: Callable[[], Sequence[int]],
        until_ms: Callable[[], int],
        degradation: Callable[[], float],
        refine: Callable[[], Awaitable[str]],
        publish: Callable[[Grade], None],
    ) -> None:
        self._state = state
        self._offload = offload
        self._clock = clock
        self._told = told
        self._failed_ms = failed_ms
        self._until_ms = until_ms
        self._degradation = degradation
        self._refine = refine
        self._publish = publish
        self._kept = _Kept()

    def restore(self) -> None:
        """Take up what was told before; blocks, before the first tick."""
        text = self._state.meta(_META)
        try:
            self._kept = _Kept(**json.loads(text)) if text else _Kept()
        except (ValueError, TypeError) as error:
            _log.warning("grades_of_the_risk_not_read", reason=str(error))
        if self._kept.moments:
            self._publish(self._grade(self._clock.now().time_ms))

    async def grade(self) -> str:
        """Note what is told now, grade, and refine where it does worse; a job. Raises PresagedError."""
        now_ms, until_ms = self._clock.now().time_ms, self._until_ms()
        if until_ms != self._kept.until_ms:  # another network: what the one before told is not its own
            self._kept = _Kept(until_ms)
        kept, risk = self._kept, self._told()
        kept.moments = [one for one in kept.moments if one[0] < now_ms]  # a clock that was wrong
        if risk.hour is not None and risk.day is not None:
            hour, day = (round(one.probability, _PLACES) for one in (risk.hour, risk.day))
            kept.moments = [*kept.moments, (now_ms, hour, day)][-_KEPT:]
        found = self._grade(now_ms)
        if kept.baseline is None:
            kept.baseline = found.performance
            found = self._grade(now_ms)
        self._publish(found)
        asks = found.degraded and now_ms - kept.asked_ms >= _DAY_MS
        if asks:
            kept.asked_ms = now_ms
        text = json.dumps(asdict(kept))
        await self._offload.run(
            lambda: self._state.set_meta(_META, text), deadline_seconds=_STORE_SECONDS, what="state.db"
        )
        words = f"performance {found.performance:.3f}" if found.performance is not None else "performance not known"
        return f"{words}: {found.text}" + (f"; {await self._refine()}" if asks else "")

    def _grade(self, now_ms: int) -> Grade:
        rows = np.array(self._kept.moments, np.float64).reshape(-1, 3)
        failed = np.array(sorted(self._failed_ms()), np.float64) / 1000
        found = performance(rows[:, 0] / 1000, rows[:, 1:], failed, now_ms / 1000)
        value = found.value if isfinite(found.value) else None
        baseline = self._kept.baseline
        lost = 0.0 if value is None or baseline is None else baseline - value
        return Grade(value, baseline, found.text, degraded=lost >= self._degradation())
