"""How a network that this host refines is asked of the child, taken in, and remembered: the same for each of them.

Enters: what the child is to learn from. Leaves: the refined forecaster, or why it was refused; in state.db what came
of the last try. When it is tried, and what is learned, says its owner: the `refining` of risk and of capacity.
"""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic

import structlog

from daemon.child import Child
from daemon.errors import PresagedError, WorkerError
from daemon.metrics import Metrics
from daemon.models.refined import Read, RefinedModels
from daemon.models.triggers import Trigger
from daemon.offload import Offload
from daemon.state import StateDatabase
from detectors.model_file import ModelError

_log = structlog.get_logger()

_SECONDS = 1800.0
_STORE_SECONDS = 10.0

Say = Callable[[float, str], None]


def unheard(_share: float, _text: str) -> None:
    """Let what the child says of its progress pass."""


@dataclass(frozen=True, slots=True)
class Refined(Generic[Read]):
    """`found` serves from now on, None = refused, and `refused` says why; `told`: all that the child said of it."""

    found: Read | None
    refused: str
    told: Mapping[str, Any]

    @property
    def outcome(self) -> str:
        """Return the word of the metrics for it."""
        return "refused" if self.found is None else "promoted"


class Refiner(Generic[Read]):
    """Refines `network` by the child's `job`. `own_work` marks samples that show it.

    `until_ms`: until when what serves knows this host (UTC), 0 = it is the shipped one, None = not read yet.
    """

    def __init__(
        self,
        network: str,
        job: str,
        *,
        meta: str,
        models: RefinedModels[Read],
        state: StateDatabase,
        child: Child,
        offload: Offload,
        metrics: Metrics,
        own_work: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._network = network
        self._job = job
        self._meta = meta
        self._models = models
        self._state = state
        self._child = child
        self._offload = offload
        self._metrics = metrics
        self._own_work = own_work
        self.until_ms: int | None = None

    def newest(self) -> Read | None:
        """Return the newest refined forecaster that is whole, None = the shipped one is to serve; blocks."""
        found, self.until_ms, refused = self._models.newest()
        for reason in refused:
            self._metrics.model_failures.inc()
            _log.error("refined_model_refused", reason=reason, effect="the one before serves, or the shipped one")
        if found is not None:
            _log.info("refined_model_on_duty", network=self._network, until_ms=self.until_ms)
        return found

    async def refine(self, spec: Mapping[str, Any], now_ms: int, trigger: Trigger, say: Say) -> Refined[Read]:
        """Have the child learn by `spec`, and take in what proves better. Raises PresagedError; all is counted."""
        try:
            with self._own_work():
                refined = await self._refine(spec, now_ms, say)
        except PresagedError:
            self._metrics.failures.labels(f"{self._network}_refinement").inc()
            self._metrics.retrains.labels(self._network, trigger, "failed").inc()
            raise
        self._metrics.retrains.labels(self._network, trigger, refined.outcome).inc()
        return refined

    async def _refine(self, spec: Mapping[str, Any], now_ms: int, say: Say) -> Refined[Read]:
        began = time.monotonic()
        places = {
            "incoming": str(self._models.incoming),
            "served": str(self._models.folder(self.until_ms)) if self.until_ms else "",
        }
        told = await self._child.run(self._job, {**spec, **places}, deadline_seconds=_SECONDS, listener=say)
        refused = told.get("refused")
        if not isinstance(refused, str):
            raise WorkerError(f"the job {self._job} said something that is not understood: {told}")
        seconds = round(time.monotonic() - began, 1)
        if refused:
            _log.info("refinement_refused", network=self._network, reason=refused, seconds=seconds)
            return Refined(None, refused, told)
        try:
            found = await self._offload.run(
                lambda: self._models.accept(now_ms), deadline_seconds=_STORE_SECONDS, what="models"
            )
        except (ModelError, OSError) as error:
            self._metrics.model_failures.inc()
            raise WorkerError(f"the refined {self._network} network was refused: {error}") from error
        self.until_ms = now_ms
        _log.info("refined_model_on_duty", network=self._network, seconds=seconds, **told)
        return Refined(found, "", told)

    def remembered(self) -> dict[str, Any]:
        """Return what was kept of the last try, empty = nothing; blocks."""
        try:
            kept = json.loads(self._state.meta(self._meta) or "{}")
            return kept if isinstance(kept, dict) else {}
        except ValueError as error:
            _log.warning("last_refinement_not_read", reason=str(error))
            return {}

    async def remember(self, kept: Mapping[str, Any]) -> None:
        """Keep what came of it over a restart."""
        text = json.dumps(kept)
        try:
            await self._offload.run(
                lambda: self._state.set_meta(self._meta, text), deadline_seconds=_STORE_SECONDS, what="state.db"
            )
        except PresagedError as error:  # it is told until the next start
            _log.warning("last_refinement_not_stored", reason=str(error))
