"""When and from what the anomaly detector learns: from the window at first, in the child later.

Enters: history, window, child. Leaves: the first model and the threshold on duty, and challengers for those that
follow (daemon/models/promotion). Whatever fails, the model before goes on serving.
"""

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from daemon.child import Child
from daemon.clock import Clock, SystemClock
from daemon.config import Config
from daemon.continuity import UNKNOWN_HOUR
from daemon.errors import PresagedError, StateError
from daemon.history import History
from daemon.metrics import Metrics
from daemon.models.comparing import latency
from daemon.models.predicting import Prediction, Values, predictions
from daemon.models.promotion import Promotion
from daemon.models.retraining import Means, Retraining
from daemon.models.superseded import put_in_place, wants_a_successor
from daemon.models.triggers import Trigger
from daemon.models.validating import Validations
from daemon.offload import Offload
from daemon.samples import FLAG_DOUBTFUL, FLAG_GAP, FLAG_OWN_WORK, FLAGS_LEFT_OUT
from daemon.signals import SignalRegistry
from daemon.state import StateDatabase
from daemon.watch import WINDOW_ROWS, AnomalyWatch
from detectors import kernels
from detectors.anomaly import MINIMUM_ROWS, AnomalyModel
from detectors.registry import Manifest, ModelError, Registry, Version

_log = structlog.get_logger()

_META = "anomaly.threshold"
_FIT_SECONDS = 60.0
_COMPILE_SECONDS = 300.0
_RETRY_SECONDS = 3600.0
_STORE_SECONDS = 10.0
_REFERENCE_SECONDS = 28 * 86_400.0
_MOST_SCORES = 100_000  # at shorter intervals the reference is shorter: memory is bounded
_LEAST_SCORES_SECONDS = 43_200.0


class Learning:
    """Keeps the watch supplied with models. `backend` names what computes the networks.

    `with_network`: a replay may leave out a network that decides nothing. `drift` tells which share of the signals
    has drifted, None = not known; `sys` is where the host's batteries are to be seen.
    """

    def __init__(
        self,
        *,
        config: Config,
        interval_seconds: float,
        history: History,
        state: StateDatabase,
        models: Registry,
        registry: SignalRegistry,
        watch: AnomalyWatch,
        child: Child,
        offload: Offload,
        metrics: Metrics,
        cache: Path,
        with_network: bool = True,
        clock: Clock | None = None,
        drift: Callable[[], float | None] = lambda: None,
        sys: Path = Path("/sys"),
    ) -> None:
        self._clock = clock or SystemClock()
        self._config = config
        self._interval = interval_seconds
        self._history = history
        self._state = state
        self._models = models
        self._registry = registry
        self._watch = watch
        self._child = child
        self._offload = offload
        self._metrics = metrics
        self._cache = cache
        self._due = asyncio.Event()
        self._promoted = asyncio.Event()
        self._ticked = asyncio.Event()
        self._train_after = 0.0
        self.backend = "numpy"
        self.computes: kernels.Backend = kernels.NUMPY
        self.promotion = Promotion(
            config=config,
            interval_seconds=interval_seconds,
            history=history,
            state=state,
            models=models,
            registry=registry,
            watch=watch,
            child=child,
            offload=offload,
            metrics=metrics,
            clock=self._clock,
            adopt=self._adopt,
            settled=self._remember_threshold,
            alone=self._learn_from_window,
        )
        self.retraining = Retraining(
            config=config,
            interval_seconds=interval_seconds,
            history=history,
            models=models,
            registry=registry,
            watch=watch,
            child=child,
            offload=offload,
            metrics=metrics,
            clock=self._clock,
            promotion=self.promotion,
            means=Means(cache, with_network, drift, sys),
            scores=self._scores,
            finished=self._release_memory,
        )
        self.validations = Validations(self.promotion, self._clock)

    def restore(self) -> None:
        """Fill the window from history and put the champion back on duty; blocks, before the first tick."""
        learned_at = (0, 0)
        try:
            learned_at = self._restore_window()
        except sqlite3.OperationalError as error:
            raise StateError(f"{self._history.path}: cannot be read: {error}") from error
        except sqlite3.DatabaseError as error:
            self._history.set_aside(str(error))
        try:
            self._models.prepare()
        except OSError as error:  # a full disk: what is there can be read all the same
            self._metrics.model_failures.inc()
            _log.error("models_not_prepared", reason=str(error), effect="nothing new can be kept until it is mended")
        model, manifest, refused = self._models.champion()
        for reason in refused:
            self._metrics.model_failures.inc()
            _log.error("model_refused", reason=reason)
        if model is None or manifest is None:
            self._relearn(*learned_at)
            if (superseded := self._models.superseded()) and self._watch.model is not None:
                self._stand_in(superseded, self._watch.model, learned_at[0])
        elif manifest.interval_seconds != self._interval:
            _log.warning("model_of_another_interval", model=manifest.name, interval_seconds=manifest.interval_seconds)
            self._relearn(*learned_at)
        else:
            self._use_what_came_compiled()
            self._adopt(model, manifest, self._stored_threshold(manifest.number))
            self.retraining.resume(manifest.trained_ms, self._watch.seen - self._since(manifest))
            if wants_a_successor(model, manifest, self._models.lineage()):
                self.retraining.ask(Trigger.SCHEMA)
            if refused:  # it stands in for one that is broken, and that one never serves again
                with contextlib.suppress(OSError):  # it stands in at the next start again
                    self._models.promote(manifest.name, self._clock.now().time_ms, "the one before is broken")
        self.promotion.restore()

    def _stand_in(self, superseded: str, model: AnomalyModel, rows: int) -> None:
        """Let what was learned from the window serve as the model to be beaten; what is trained next is in shadow."""
        try:
            manifest = put_in_place(
                self._models,
                model,
                self._history,
                rows=rows,
                interval_seconds=self._interval,
                now_ms=self._clock.now().time_ms,
            )
        except (OSError, ModelError) as error:
            self._metrics.model_failures.inc()
            _log.error("model_not_kept", reason=str(error), effect="the next one that is trained serves at once")
            return
        self._adopt(model, manifest)
        self.retraining.ask(Trigger.SCHEMA)
        _log.warning(
            "model_of_other_features",
            model=superseded,
            serves=f"{manifest.name}, learned from the last {rows} samples, without a network",
            next="a new one is trained now, and takes its place after a day in shadow, where it is better",
        )

    def _since(self, manifest: Manifest) -> int:
        """Return how many samples came after those that a model has learned from; blocks."""
        last = self._history.last()
        return 0 if last is None else max(0, last[0] - manifest.last_seq)

    def _use_what_came_compiled(self) -> None:
        """Take the wheel's kernels before the first tick: loading takes milliseconds, unlike compiling."""
        if kernels.came_compiled() and self._config.compute.backend in ("auto", "compiled"):
            backend, reasons = kernels.load("compiled", self._cache)
            if not reasons:  # what keeps one from serving is told and counted when the tick asks for it
                self._take(backend)

    def _take(self, backend: kernels.Backend) -> None:
        self._watch.use_backend(backend)
        self.backend, self.computes = backend.name, backend
        _log.info("backend_serves", backend=backend.name)

    def _relearn(self, rows: int, seen: int) -> None:
        """Learn from the oldest `rows` of the window again, as the run before did when it had `seen` samples."""
        if rows == 0:
            return
        try:
            model = self._watch.lesson(self._registry, rows)()
        except ValueError as error:
            _log.warning("nothing_learned_from_window", reason=str(error), effect="tried again with more samples")
            return
        self._watch.adopt(model, -seen, "", None, self._stored_threshold(-seen))

    def _restore_window(self) -> tuple[int, int]:
        """Fill the window; returns at how many rows, and samples seen, the last run learned from it (0: never)."""
        rows_learned = seen_learned = 0
        last = self._history.last()
        rows = self._history.last_rows(WINDOW_ROWS)
        if last is not None:
            self._watch.seen = self._history.seen(last[0])
        ids = np.array(rows.signal_ids, np.int64)
        for row in range(len(rows.seq)):
            hour = UNKNOWN_HOUR if rows.flags[row] & FLAG_DOUBTFUL else int(rows.hours[row])
            if rows.flags[row] & FLAG_GAP:
                self._watch.window.push_gap(hour)
            self._watch.window.push(ids, rows.values[row], hour)
            if rows.flags[row] & FLAGS_LEFT_OUT:
                self._watch.window.mark_alarmed()
            if rows.flags[row] & FLAG_OWN_WORK:
                self._watch.window.blank()
            if self._watch.window.filled >= max(MINIMUM_ROWS, 2 * rows_learned):
                rows_learned, seen_learned = (
                    self._watch.window.filled,
                    self._history.seen(int(rows.seq[row])),
                )
        if self._watch.window.filled == WINDOW_ROWS:  # its oldest rows are no longer those that were learned from
            rows_learned, seen_learned = WINDOW_ROWS, self._watch.seen
        return rows_learned, seen_learned

    def count_seen(self) -> int:
        """Return how many samples there are, those included that were imported since the start; blocks.

        0 where nothing waits for more: to count a month of rows is no small question.
        """
        last = None if self._watch.learned and self._watch.lasting else self._history.last()
        return 0 if last is None else self._history.seen(last[0])

    def note_seen(self, count: int) -> None:
        """Take `count` of `count_seen` for seen; on the loop, where each tick counts on."""
        self._watch.seen = max(self._watch.seen, count)

    def _stored_threshold(self, number: int) -> float | None:
        text = self._state.meta(_META)
        stored = json.loads(text) if text else {}
        return float(stored["threshold"]) if stored.get("number") == number else None

    def _adopt(self, model: AnomalyModel, manifest: Manifest, threshold: float | None = None) -> None:
        self._watch.adopt(model, manifest.number, manifest.name, manifest.trained_ms, threshold)
        _log.info("model_on_duty", model=manifest.name, samples=manifest.samples, signals=len(model.signal_ids))

    def after_tick(self) -> None:
        """Look whether something is to be learned; called after every tick, costs nothing."""
        self._ticked.set()
        asked = self.retraining.asked or self.promotion.wants_rollback
        if asked or self._watch.wants_to_learn() or self._wants_first_training() or self._wants_backend():
            self._due.set()
        if self.promotion.wants_a_look:
            self._promoted.set()

    def _wants_first_training(self) -> bool:
        enough = self._watch.seen >= self._config.anomaly.network_after_samples
        return not self._watch.lasting and enough and time.monotonic() >= self._train_after

    def _wants_backend(self) -> bool:
        model = self._watch.model
        wanted = self.backend == "numpy" and self._config.compute.backend != "numpy"
        return wanted and model is not None and model.network is not None and time.monotonic() >= self._train_after

    async def run(self) -> None:
        """Learn whenever something is due, until cancelled."""
        await self._ticked.wait()
        await self._release_memory()
        while True:
            await self._due.wait()
            await self.catch_up()

    async def compare(self) -> None:
        """Compare each new champion with its predecessor, until cancelled; nothing else waits for that."""
        while True:
            await self._promoted.wait()
            self._promoted.clear()
            await self.promotion.look()

    async def catch_up(self) -> None:
        """Learn what is due now."""
        if self._due.is_set():
            self._due.clear()
            await self._settle()
            with self._watch.own_work():
                await self._learn_what_is_due()

    async def _settle(self) -> None:
        try:
            await self.promotion.settle()
        except PresagedError as error:
            _log.error("rollback_failed", reason=str(error), effect="tried again when there is reason")
            self._metrics.failures.labels("rollback").inc()

    async def _learn_what_is_due(self) -> None:
        if self._watch.wants_to_learn():
            await self._learn_from_window()
        if self._wants_first_training():
            try:
                await self.train(Trigger.FIRST)
            except PresagedError as error:
                _log.warning("training_failed", reason=str(error), effect="the model before goes on serving")
            if not self._watch.lasting:  # it failed, or a person has stopped it
                self._train_after = time.monotonic() + _RETRY_SECONDS
        if self.retraining.asked:
            await self.retraining.train_as_asked()
        if self._wants_backend():
            await self._load_backend()

    async def _learn_from_window(self) -> None:
        number = -self._watch.seen
        try:
            model = await self._offload.run(
                self._watch.lesson(self._registry), deadline_seconds=_FIT_SECONDS, what="learning from the window"
            )
        except (PresagedError, ValueError) as error:
            self._metrics.failures.labels("window_model").inc()
            _log.warning("nothing_learned_from_window", reason=str(error), effect="tried again with twice the samples")
            return
        self._watch.adopt(model, number, "", None)
        _log.info("learned_from_window", samples=self._watch.window.filled, signals=len(model.signal_ids))

    async def train(self, trigger: str) -> str:
        """Train in the child now, and return a few words. Raises PresagedError."""
        return await self.retraining.train(trigger)

    async def predict(self, samples: Sequence[Values]) -> list[Prediction]:
        """Return what the model on duty would say of `samples`. Raises ModelError, PresagedError."""
        work = predictions(self._watch, self._registry, samples)
        return await self._offload.run(work, deadline_seconds=_FIT_SECONDS, what="predictions")

    @property
    def model(self) -> AnomalyModel | None:
        """The model on duty."""
        return self._watch.model

    async def latency(self, version: Version) -> float | None:
        """Return how many seconds a model takes for one sample here; None without a sample, and of a broken one.

        Raises PresagedError.
        """
        try:
            model = await self.promotion.load(version.name)
        except ModelError:
            return None
        work = latency(model, self._watch.window, self.computes)
        return await self._offload.run(work, deadline_seconds=_FIT_SECONDS, what="latency of a model")

    async def _scores(self) -> NDArray[np.float64]:
        """Return up to 28 days of scores of the model on duty, oldest first."""
        number, count = self._watch.number, min(_MOST_SCORES, int(_REFERENCE_SECONDS / self._interval))
        return await self._offload.run(
            lambda: self._history.scores(number, count), deadline_seconds=_STORE_SECONDS, what="history.db"
        )

    async def _load_backend(self) -> None:
        """Take the best back end that serves; the JIT compiles in the child where the cache is empty."""
        wanted = self._config.compute.backend
        backend, reasons = kernels.NUMPY, list[str]()
        try:
            if wanted == "compiled" or (wanted == "auto" and kernels.came_compiled()):
                backend, reasons = await self._load_kernels("compiled")
            if backend is kernels.NUMPY and wanted in ("auto", "jit"):
                if not kernels.is_cached(self._cache):
                    spec = {"cache": str(self._cache), "memory_bytes": self._config.learning.memory_bytes}
                    result = await self._child.run("compile", spec, deadline_seconds=_COMPILE_SECONDS)
                    _log.info("kernels_compiled", seconds=result.get("seconds"))
                backend, more = await self._load_kernels("jit")
                reasons += more
        except PresagedError as error:
            reasons.append(str(error))
        for reason in reasons:
            _log.warning("backend_cannot_serve", reason=reason, effect=f"{backend.name} computes the same")
            self._metrics.backend_failures.inc()
        if backend is kernels.NUMPY:
            self._train_after = time.monotonic() + _RETRY_SECONDS
            return
        self._take(backend)

    async def _load_kernels(self, preference: kernels.Preference) -> tuple[kernels.Backend, list[str]]:
        found = await self._offload.run(
            lambda: kernels.load(preference, self._cache), deadline_seconds=_FIT_SECONDS, what="kernels"
        )
        await self._release_memory()
        return found

    async def _release_memory(self) -> None:
        """Give back what only starting, loading and training have touched: far more code than a tick does."""
        try:
            released = await self._offload.run(kernels.release_memory, deadline_seconds=_FIT_SECONDS, what="memory")
        except (PresagedError, OSError) as error:
            _log.debug("memory_not_released", reason=str(error))
        else:
            _log.debug("memory_released", file_bytes=released)

    async def reset_threshold(self) -> str:
        """Let the threshold follow the last 7 days, held against 28; a job of the scheduler."""
        number, scores = self._watch.number, await self._scores()
        if len(scores) * self._interval < _LEAST_SCORES_SECONDS:
            return "too few scores of this model yet"
        before = self._watch.threshold
        after = await self._offload.run(
            self._watch.next_threshold(scores), deadline_seconds=_FIT_SECONDS, what="threshold"
        )
        if self._watch.number != number:
            return "another model serves since"
        self._watch.threshold = after
        await self._remember_threshold()
        return f"{before:.3f} to {after:.3f}"

    async def _remember_threshold(self) -> None:
        text = json.dumps({"number": self._watch.number, "threshold": self._watch.threshold})
        await self._offload.run(
            lambda: self._state.set_meta(_META, text), deadline_seconds=_STORE_SECONDS, what="state.db"
        )
