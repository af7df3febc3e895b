"""When the failure network is refined by what this host has gone through, and what becomes of it.

Enters: the failure log, history and the child. Leaves: the refined forecaster on duty at the risk watch, over a
restart too, and when that was last tried. Nothing is learned in this process. Whatever fails, what served before goes
on serving.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from daemon.child import Child
from daemon.clock import Clock
from daemon.errors import PresagedError
from daemon.metrics import Metrics
from daemon.models.refined import RefinedModels
from daemon.models.refiner import Refiner, Say, unheard
from daemon.models.triggers import Trigger
from daemon.offload import Offload
from daemon.signals import SignalRegistry
from daemon.state import StateDatabase
from detectors.factors import feeds
from detectors.failure import CHECKABLE, FailureForecaster

_META = "risk.refinement"
_MOST_EVENTS = 10_000
_STORE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is put into one refinement: moments of this host before failures and beside them, simulated hosts."""

    moments: int = 1000
    replayed: tuple[int, int, int] = (240, 240, 720)
    epochs: int = 24


@dataclass(frozen=True, slots=True)
class Attempt:
    """When it was last tried (UTC milliseconds), and what came of it in one line."""

    time_ms: int
    text: str


class Refining:
    """Keeps the risk watch supplied with a refined forecaster. `adopt` puts one on duty; `own_work` marks samples.

    `since`: from when on failures are recorded (UTC, ms): what lies before may have failed unseen. `memory_bytes`: what
    the child may take; `score_threshold`: where the threshold stands on the shown anomaly score.
    """

    def __init__(
        self,
        *,
        interval_seconds: float,
        history: Path,
        state: StateDatabase,
        models: RefinedModels[FailureForecaster],
        registry: SignalRegistry,
        child: Child,
        offload: Offload,
        metrics: Metrics,
        clock: Clock,
        since: Callable[[], int],
        adopt: Callable[[FailureForecaster], None],
        own_work: Callable[[], AbstractContextManager[None]],
        memory_bytes: int,
        score_threshold: float,
        effort: Effort | None = None,
    ) -> None:
        self._refiner = Refiner(
            "failure", "refine", meta=_META, models=models, state=state, child=child, offload=offload, metrics=metrics,
            own_work=own_work,
        )  # fmt: skip
        self._interval = interval_seconds
        self._history = history
        self._state = state
        self._registry = registry
        self._offload = offload
        self._clock = clock
        self._since = since
        self._adopt = adopt
        self._memory_bytes = memory_bytes
        self._score_threshold = score_threshold
        self._effort = effort or Effort()
        self.last: Attempt | None = None

    @property
    def until_ms(self) -> int:
        """Until when the network on duty knows failures (UTC), 0 = it is the shipped one."""
        return self._refiner.until_ms or 0

    def restore(self) -> None:
        """Put the newest refined forecaster that is whole on duty, if any; blocks, before the first tick."""
        found = self._refiner.newest()
        if found is not None:
            self._adopt(found)
        match self._refiner.remembered():
            case {"time_ms": int(time_ms), "text": str(text)}:
                self.last = Attempt(time_ms, text)

    async def refine_again(self, trigger: Trigger = Trigger.SCHEDULE) -> str:
        """Refine where enough is new, and return a few words; a job of the scheduler. Raises PresagedError.

        Where the network does worse than at first, one failure that it does not know is enough.
        """
        return (await self._try(trigger, unheard))[1]

    async def refine_by_hand(self, say: Say) -> tuple[bool, str]:
        """Refine at a person's word; return whether a refined network serves now, and words. Raises PresagedError."""
        return await self._try(Trigger.HAND, say)

    async def _try(self, trigger: Trigger, say: Say) -> tuple[bool, str]:
        needed = CHECKABLE if trigger is Trigger.SCHEDULE else 1
        now_ms = self._clock.now().time_ms
        if self.until_ms > now_ms:  # the clock was wrong then
            self._refiner.until_ms = 0
        failed_ms = await self._offload.run(self._failures, deadline_seconds=_STORE_SECONDS, what="state.db")
        new = sum(one > self.until_ms for one in failed_ms)
        if new < needed:
            return False, f"{new} failures of this host are new, and {needed} are needed"
        try:
            refined = await self._refiner.refine(self._spec(failed_ms, now_ms), now_ms, trigger, say)
        except PresagedError as error:
            await self._remember(now_ms, f"failed: {error}")
            raise
        if refined.found is None:
            words = f"refused: {refined.refused}"
        else:
            self._adopt(refined.found)
            words = f"refined by {refined.found.taught} failures of this host"
        await self._remember(now_ms, words)
        return refined.found is not None, words

    def _failures(self) -> list[int]:
        return [event.time_ms for event in self._state.recent_failures(_MOST_EVENTS)]

    def _spec(self, failed_ms: Sequence[int], now_ms: int) -> Mapping[str, Any]:
        return {
            "history": str(self._history),
            "until_ms": self.until_ms,
            "since_ms": self._since(),
            "now_ms": now_ms,
            "failed_ms": list(failed_ms),
            "signals": [
                (int(number), one.name, one.unit.value, one.kind.value, one.family, one.resource)
                for number, one in zip(self._registry.ids, self._registry.specs, strict=True)
                if feeds(one)
            ],
            "interval_seconds": self._interval,
            "score_threshold": self._score_threshold,
            "memory_bytes": self._memory_bytes,
            **asdict(self._effort),
        }

    async def _remember(self, now_ms: int, text: str) -> None:
        self.last = Attempt(now_ms, " ".join(text.split()))
        await self._refiner.remember(asdict(self.last))
