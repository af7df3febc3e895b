"""When the capacity network is refined by what this host has lived through, and what becomes of it.

Enters: history, the child, and how well past forecasts came true. Leaves: the refined forecaster on duty, over a
restart too, and when that was last tried. Nothing is learned in this process. Whatever fails, what served before goes
on serving.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from daemon.capacity.resources import Resource
from daemon.child import Child
from daemon.clock import Clock
from daemon.config import Learning
from daemon.errors import PresagedError
from daemon.metrics import Metrics
from daemon.models.refined import RefinedModels
from daemon.models.refiner import Refiner, Say, unheard
from daemon.models.triggers import Standing, Trigger, due, on_battery
from daemon.offload import Offload
from daemon.signals import SignalRegistry
from daemon.state import StateDatabase
from detectors.capacity import CapacityForecaster, load_forecaster
from detectors.forecasts import Floats

_META = "capacity.refinement"
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
        self._refiner = Refiner(
            "capacity", "refine_capacity", meta=_META, models=models, state=state, child=child, offload=offload,
            metrics=metrics, own_work=own_work,
        )  # fmt: skip
        self._history = history
        self._registry = registry
        self._offload = offload
        self._clock = clock
        self._settings = settings
        self._known = known
        self._performance = performance
        self._age = age
        self._adopt = adopt
        self._sys = sys
        self._effort = effort or Effort()
        self._kept: _Kept | None = None

    @property
    def last(self) -> str:
        """What came of it the last time, "" = it was never tried."""
        return "" if self._kept is None else self._kept.text

    def load(self) -> CapacityForecaster:
        """Return the newest refined forecaster that is whole, else the shipped one; blocks."""
        return self._refiner.newest() or load_forecaster()

    async def refine_due(self) -> str:
        """Refine where something calls for it, and return a few words; an hourly job. Raises PresagedError."""
        if self._refiner.until_ms is None:
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
        return words if trigger is None else (await self._try(trigger, kept, unheard))[1]

    async def refine_by_hand(self, say: Say) -> tuple[bool, str]:
        """Refine at a person's word; return whether a refined network serves now, and words. Raises PresagedError."""
        kept = await self._offload.run(self._read, deadline_seconds=_STORE_SECONDS, what="state.db")
        return await self._try(Trigger.HAND, kept or _Kept(0), say)

    async def _try(self, trigger: Trigger, kept: _Kept, say: Say) -> tuple[bool, str]:
        now_ms = self._clock.now().time_ms
        if self._refiner.until_ms is None:
            return False, _NOT_YET
        try:
            refined = await self._refiner.refine(self._spec(), now_ms, trigger, say)
        except PresagedError as error:
            await self._keep(replace(kept, tried_ms=now_ms, text=f"failed: {error}"))
            raise
        if refined.found is None:
            words = f"refused: {refined.refused}"
        else:
            self._adopt(refined.found)
            words = _said(refined.told)
        # what is new on duty has a performance of its own; what stays may have got used to a worse one
        await self._keep(_Kept(now_ms, words, kept.baseline if refined.found is None else None))
        return refined.found is not None, words

    def _spec(self) -> Mapping[str, Any]:
        resources, capacity = self._known()
        names = {name for one in resources for name in one.signals}
        return {
            "history": str(self._history),
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

    def _read(self) -> _Kept | None:
        if self._kept is None:
            match self._refiner.remembered():
                case {"tried_ms": int(tried_ms), "text": str(text), "baseline": float() | None as baseline}:
                    self._kept = _Kept(tried_ms, text, baseline)
        return self._kept

    async def _keep(self, kept: _Kept) -> None:
        self._kept = replace(kept, text=" ".join(kept.text.split()))
        await self._refiner.remember(asdict(self._kept))


def _said(told: Mapping[str, Any]) -> str:
    """Return in words what was taken in."""
    if told.get("again"):
        return "the shipped network serves again: the refined one had come to do worse"
    return f"refined by {told['moments']} moments of this host: error {told['before']:.3f} to {told['after']:.3f}"
