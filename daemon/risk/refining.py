"""When the failure network is refined by what this host has gone through, and what becomes of it.

Enters: the failure log, history and the child. Leaves: the refined forecaster on duty at the risk watch, over a
restart too, and when that was last tried. Nothing is learned in this process. Whatever fails, what served before goes
on serving.
"""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from daemon.child import Child
from daemon.clock import Clock
from daemon.errors import PresagedError, WorkerError
from daemon.metrics import Metrics
from daemon.models.refined import RefinedModels
from daemon.models.triggers import Trigger
from daemon.offload import Offload
from daemon.signals import SignalRegistry
from daemon.state import StateDatabase
from detectors.factors import feeds
from detectors.failure import CHECKABLE, FailureForecaster
from detectors.model_file import ModelError

_log = structlog.get_logger()

_META = "risk.refinement"
_MOST_EVENTS = 10_000
_SECONDS = 1800.0
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
        self._interval = interval_seconds
        self._history = history
        self._state = state
        self._models = models
        self._registry = registry
        self._child = child
        self._offload = offload
        self._metrics = metrics
        self._clock = clock
        self._since = since
        self._adopt = adopt
        self._own_work = own_work
        self._memory_bytes = memory_bytes
        self._score_threshold = score_threshold
        self._effort = effort or Effort()
        self._until_ms = 0  # whose failures the one on duty knows; 0 = the shipped one
        self.last: Attempt | None = None

    @property
    def until_ms(self) -> int:
        """Until when the network on duty knows failures (UTC), 0 = it is the shipped one."""
        return self._until_ms

    def restore(self) -> None:
        """Put the newest refined forecaster that is whole on duty, if any; blocks, before the first tick."""
        found, self._until_ms, refused = self._models.newest()
        for reason in refused:
            self._metrics.model_failures.inc()
            _log.error("refined_model_refused", reason=reason, effect="the one before serves, or the shipped one")
        if found is not None:
            self._adopt(found)
            _log.info("refined_model_on_duty", events=found.taught)
        try:
            text = self._state.meta(_META)
            self.last = Attempt(**json.loads(text)) if text else None
        except (ValueError, TypeError) as error:
            _log.warning("last_refinement_not_read", reason=str(error))

    async def refine_again(self, trigger: Trigger = Trigger.SCHEDULE) -> str:
        """Refine where enough is new, and return a few words; a job of the scheduler. Raises PresagedError.

        Where the network does worse than at first, one failure that it does not know is enough.
        """
        return (await self._try(trigger))[1]

    async def refine_by_hand(self, say: Callable[[float, str], None]) -> tuple[bool, str]:
        """Refine at a person's word; return whether a refined network serves now, and words. Raises PresagedError."""
        outcome, words = await self._try(Trigger.HAND, say)
        return outcome == "promoted", words

    async def _try(
        self, trigger: Trigger, say: Callable[[float, str], None] = lambda _share, _text: None
    ) -> tuple[str, str]:
        needed = CHECKABLE if trigger is Trigger.SCHEDULE else 1
        now_ms = self._clock.now().time_ms
        if self._until_ms > now_ms:  # the clock was wrong then
            self._until_ms = 0
        failed_ms = await self._offload.run(self._failures, deadline_seconds=_STORE_SECONDS, what="state.db")
        new = sum(one > self._until_ms for one in failed_ms)
        if new < needed:
            return "", f"{new} failures of this host are new, and {needed} are needed"
        try:
            with self._own_work():
                outcome, words = await self._refine(failed_ms, now_ms, say)
        except PresagedError as error:
            self._metrics.failures.labels("failure_refinement").inc()
            self._metrics.retrains.labels("failure", trigger, "failed").inc()
            await self._remember(now_ms, f"failed: {error}")
            raise
        self._metrics.retrains.labels("failure", trigger, outcome).inc()
        await self._remember(now_ms, words)
        return outcome, words

    def _failures(self) -> list[int]:
        return [event.time_ms for event in self._state.recent_failures(_MOST_EVENTS)]

    async def _refine(
        self, failed_ms: Sequence[int], now_ms: int, say: Callable[[float, str], None]
    ) -> tuple[str, str]:
        """Return "promoted" or "refused", and what is told of it."""
        spec = {
            "history": str(self._history),
            "incoming": str(self._models.incoming),
            "served": str(self._models.folder(self._until_ms)) if self._until_ms else "",
            "until_ms": self._until_ms,
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
        began = time.monotonic()
        result = await self._child.run("refine", spec, deadline_seconds=_SECONDS, listener=say)
        refused = result.get("refused")
        if not isinstance(refused, str):
            raise WorkerError(f"the job refine said something that is not understood: {result}")
        if refused:
            _log.info("refinement_refused", reason=refused, seconds=round(time.monotonic() - began, 1))
            return "refused", f"refused: {refused}"
        try:
            found = await self._offload.run(
                lambda: self._models.accept(now_ms), deadline_seconds=_STORE_SECONDS, what="models"
            )
        except (ModelError, OSError) as error:
            self._metrics.model_failures.inc()
            raise WorkerError(f"the refined network was refused: {error}") from error
        self._adopt(found)
        self._until_ms = now_ms
        _log.info("refined_model_on_duty", seconds=round(time.monotonic() - began, 1), **result)
        return "promoted", f"refined by {found.taught} failures of this host"

    async def _remember(self, now_ms: int, text: str) -> None:
        self.last = Attempt(now_ms, " ".join(text.split()))
        kept = json.dumps(asdict(self.last))
        try:
            await self._offload.run(
                lambda: self._state.set_meta(_META, kept), deadline_seconds=_STORE_SECONDS, what="state.db"
            )
        except PresagedError as error:  # it is told until the next start
            _log.warning("last_refinement_not_stored", reason=str(error))
