"""When the capacity network is refined by what this host has lived through, and what becomes of it.

Enters: history, the child, and how well past forecasts came true. Leaves: the refined forecaster on duty, over a
restart too, and when that was last tried. Nothing is learned in this process. Whatever fails, what served before goes
on serving.
"""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import structlog

from daemon.capacity.resources import Resource
from daemon.child import Child
from daemon.clock import Clock
from daemon.config import Learning
from daemon.errors import PresagedError, WorkerError
from daemon.metrics import Metrics
from daemon.models.refined import RefinedModels
from daemon.models.triggers import Standing, Trigger, due, on_battery
from daemon.offload import Offload
from daemon.signals import SignalRegistry
from daemon.state import StateDatabase
from detectors.capacity import CapacityForecaster, load_forecaster
from detectors.forecasts import Floats
from detectors.model_file import ModelError

_log = structlog.get_logger()

_META = "capacity.refinement"
_SECONDS = 1800.0
_NOT_YET = "no forecast was made yet"
_STORE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is put into one refinement: moments of each horizon, simulated resources, and epochs.

    `replayed`: chunks of simulated resources to learn with, and to judge by; `chunk`: those on their own, and hosts.
    """

    moments: int = 4000
    replayed: tuple[int, int] = (2, 1)
    chunk: tuple[int, int] = (600, 100)
    epochs: int = 24


@dataclass(frozen=True, slots=True)
class _Kept:
    """What state.db keeps: since when it waits (UTC, ms), what came of it, and the performance at first."""

    tried_ms: int
    text: str = ""
    baseline: float | None = None


class CapacityRefining:
    """Keeps the forecasts supplied with a refined network. `adopt` puts one on duty; `own_work` marks samples.

    `known`: the resources of now and their capacity (R,); `performance`: how well past forecasts came true; `age`: for
    how many seconds this host has been watched.
    """

    def __init__(
        self,
        *,
        history: Path,
        state: StateDatabase,
        models: RefinedModels[CapacityForecaster],
        registry: SignalRegistry,
        child: Child,
        offload: Offload,
        metrics: Metrics,
        clock: Clock,
        settings: Callable[[], Learning],
        known: Callable[[], tuple[Sequence[Resource], Floats]],
        performance: Callable[[], float | None],
        age: Callable[[], float],
        adopt: Callable[[CapacityForecaster], None],
        own_work: Callable[[], AbstractContextManager[None]],
        sys: Path,
        effort: Effort | None = None,
    ) -> None:
        self._history = history
        self._state = state
        self._models = models
        self._registry = registry
        self._child = child
        self._offload = offload
        self._metrics = metrics
        self._clock = clock
        self._settings = settings
        self._known = known
        self._performance = performance
        self._age = age
        self._adopt = adopt
        self._own_work = own_work
        self._sys = sys
        self._effort = effort or Effort()
        self._kept: _Kept | None = None
        self._until_ms: int | None = None  # until when the one on duty knows this host, 0 = it is the shipped one

    @property
    def last(self) -> str:
        """What came of it the last time, "" = it was never tried."""
        return "" if self._kept is None else self._kept.text

    def load(self) -> CapacityForecaster:
        """Return the newest refined forecaster that is whole, else the shipped one; blocks."""
        found, self._until_ms, refused = self._models.newest()
        for reason in refused:
            self._metrics.model_failures.inc()
            _log.error("refined_model_refused", reason=reason, effect="the one before serves, or the shipped one")
        return load_forecaster() if found is None else found

    async def refine_due(self) -> str:
        """Refine where something calls for it, and return a few words; an hourly job. Raises PresagedError."""
        if self._until_ms is None:
            return _NOT_YET
        now_ms = self._clock.now().time_ms
        kept = await self._offload.run(self._read, deadline_seconds=_STORE_SECONDS, what="state.db")
        if kept is None or kept.tried_ms > now_ms:  # never yet, or the clock was wrong then
            kept = _Kept(now_ms)
            await self._keep(kept)
        performance = self._performance()
        if kept.baseline is None and performance is not None:
            kept = replace(kept, baseline=performance)
            await self._keep(kept)
        standing = Standing(
            age_seconds=self._age(),
            since_seconds=(now_ms - kept.tried_ms) / 1000,
            new_samples=0,  # forecasts are of hours and days: samples do not count
            drift=None,
            performance=performance,
            baseline=kept.baseline,
            on_battery=on_battery(self._sys),
        )
        trigger, words = due(standing, self._settings())
        return words if trigger is None else (await self._try(trigger, kept))[1]

    async def refine_by_hand(self, say: Callable[[float, str], None]) -> tuple[bool, str]:
        """Refine at a person's word; return whether a refined network serves now, and words. Raises PresagedError."""
        kept = await self._offload.run(self._read, deadline_seconds=_STORE_SECONDS, what="state.db")
        outcome, words = await self._try(Trigger.HAND, kept or _Kept(0), say)
        return outcome == "promoted", words

    async def _try(
        self, trigger: Trigger, kept: _Kept, say: Callable[[float, str], None] = lambda _share, _text: None
    ) -> tuple[str, str]:
        now_ms = self._clock.now().time_ms
        if self._until_ms is None:
            return "", _NOT_YET
        try:
            with self._own_work():
                outcome, words = await self._refine(now_ms, say)
        except PresagedError as error:
            self._metrics.failures.labels("capacity_refinement").inc()
            self._metrics.retrains.labels("capacity", trigger, "failed").inc()
            await self._keep(replace(kept, tried_ms=now_ms, text=f"failed: {error}"))
            raise
        self._metrics.retrains.labels("capacity", trigger, outcome).inc()
        # what is new on duty has a performance of its own; what stays may have got used to a worse one
        await self._keep(_Kept(now_ms, words, None if outcome == "promoted" else kept.baseline))
        return outcome, words

    async def _refine(self, now_ms: int, say: Callable[[float, str], None]) -> tuple[str, str]:
        """Return "promoted" or "refused", and what is told of it."""
        resources, capacity = self._known()
        names = {name for one in resources for name in one.signals}
        spec = {
            "history": str(self._history),
            "incoming": str(self._models.incoming),
            "served": str(self._models.folder(self._until_ms)) if self._until_ms else "",
            "resources": [(one.name, one.kind.value, one.unit.value, list(one.signals)) for one in resources],
            "capacity": capacity.tolist(),
            "signals": {
                spec.name: int(number)
                for number, spec in zip(self._registry.ids, self._registry.specs, strict=True)
                if spec.name in names
            },
            "memory_bytes": self._settings().memory_bytes,
            **asdict(self._effort),
        }
        began = time.monotonic()
        result = await self._child.run("refine_capacity", spec, deadline_seconds=_SECONDS, listener=say)
        refused = result.get("refused")
        if not isinstance(refused, str):
            raise WorkerError(f"the job refine_capacity said something that is not understood: {result}")
        seconds = round(time.monotonic() - began, 1)
        if refused:
            _log.info("capacity_refinement_refused", reason=refused, seconds=seconds)
            return "refused", f"refused: {refused}"
        try:
            found = await self._offload.run(
                lambda: self._models.accept(now_ms), deadline_seconds=_STORE_SECONDS, what="models"
            )
        except (ModelError, OSError) as error:
            self._metrics.model_failures.inc()
            raise WorkerError(f"the refined capacity network was refused: {error}") from error
        self._until_ms = now_ms
        self._adopt(found)
        _log.info("refined_capacity_model_on_duty", seconds=seconds, **result)
        if result.get("again"):
            return "promoted", "the shipped network serves again: the refined one had come to do worse"
        gain = f"error {result['before']:.3f} to {result['after']:.3f}"
        return "promoted", f"refined by {result['moments']} moments of this host: {gain}"

    def _read(self) -> _Kept | None:
        if self._kept is None:
            try:
                text = self._state.meta(_META)
                self._kept = _Kept(**json.loads(text)) if text else None
            except (ValueError, TypeError) as error:
                _log.warning("last_refinement_not_read", reason=str(error))
        return self._kept

    async def _keep(self, kept: _Kept) -> None:
        self._kept = replace(kept, text=" ".join(kept.text.split()))
        text = json.dumps(asdict(self._kept))
        try:
            await self._offload.run(
                lambda: self._state.set_meta(_META, text), deadline_seconds=_STORE_SECONDS, what="state.db"
            )
        except PresagedError as error:  # it is told until the next start
            _log.warning("last_refinement_not_stored", reason=str(error))
