"""Trainings in the child: what calls for one, what is asked for by hand, how each goes and ends.

Enters: what is measured of host and model, and orders. Leaves: a model in `incoming`, handed to the promotion, which
decides whether it ever serves. A failure leaves the model before on duty.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from daemon.child import Child
from daemon.clock import Clock
from daemon.config import Config
from daemon.errors import PresagedError, WorkerError
from daemon.history import History
from daemon.metrics import Metrics
from daemon.models import unfinished
from daemon.models.promotion import Promotion
from daemon.models.training import Outcome, Training, Trainings
from daemon.models.triggers import Standing, Trigger, due, on_battery
from daemon.offload import Offload
from daemon.signals import SignalRegistry
from daemon.watch import AnomalyWatch
from detectors.registry import ModelError, Registry

_log = structlog.get_logger()

_NETWORK = "anomaly"
_TRAIN_SECONDS = 3600.0
_STORE_SECONDS = 10.0
_UNDER_WAY = "a training is under way"


@dataclass(frozen=True, slots=True)
class Means:
    """With what is trained. `with_network`: a replay may leave out a network that decides nothing.

    `drift` tells which share of the signals has drifted, None = not known; `sys` is where the host's batteries are.
    """

    cache: Path
    with_network: bool
    drift: Callable[[], float | None]
    sys: Path


class Retraining:
    """Trains when something calls for it. `scores` returns those of the model on duty, `finished` is awaited after."""

    def __init__(
        self,
        *,
        config: Config,
        interval_seconds: float,
        history: History,
        models: Registry,
        registry: SignalRegistry,
        watch: AnomalyWatch,
        child: Child,
        offload: Offload,
        metrics: Metrics,
        clock: Clock,
        promotion: Promotion,
        means: Means,
        scores: Callable[[], Awaitable[NDArray[np.float64]]],
        finished: Callable[[], Awaitable[None]],
    ) -> None:
        self._config = config
        self._interval = interval_seconds
        self._history = history
        self._models = models
        self._registry = registry
        self._watch = watch
        self._child = child
        self._offload = offload
        self._metrics = metrics
        self._clock = clock
        self._promotion = promotion
        self._means = means
        self._scores = scores
        self._finished = finished
        self._wanted: Training | None = None
        self._current: Training | None = None
        self._running: asyncio.Task[tuple[str, str, str]] | None = None
        self._tried_seen, self._tried_ms = 0, 0
        self._may_go_on = True
        self.trainings = Trainings()

    @property
    def asked(self) -> bool:
        """Whether a training was asked for and waits."""
        return self._wanted is not None and self._running is None

    def resume(self, trained_ms: int, seen: int) -> None:
        """Take up that the champion was trained at `trained_ms`, when `seen` samples of this host had been seen."""
        self._tried_ms, self._tried_seen = trained_ms, max(0, seen)

    async def train_again(self) -> str:
        """Train where something calls for it, however many things do; a job of the scheduler. Raises PresagedError."""
        if not self._watch.lasting:
            return "not before the first training"
        if self._wanted is not None or self._running is not None:
            return _UNDER_WAY
        cut_off = await self._offload.run(self._cut_off, deadline_seconds=_STORE_SECONDS, what="models")
        if cut_off is not None:
            self._may_go_on = False
            return await self.train(cut_off)
        standing = await self._offload.run(self._standing, deadline_seconds=_STORE_SECONDS, what="history.db")
        trigger, words = due(standing, self._config.learning)
        if trigger is None:
            return words
        return await self._train_unless_decaying(trigger)

    def _cut_off(self) -> str | None:
        """Return the trigger of a training to go on with, None = none; blocks.

        One that fails is taken up once, and after a start of the daemon: what kills it may do so every time.
        """
        if not self._may_go_on or on_battery(self._means.sys):
            return None
        return unfinished.cut_off(self._models.incoming, self._clock.now().time_ms)

    async def _train_unless_decaying(self, trigger: Trigger) -> str:
        self._tried_ms, self._tried_seen = self._clock.now().time_ms, self._watch.seen
        if not self._watch.may_learn_again(await self._scores()):
            self._metrics.retrains.labels(_NETWORK, trigger, "postponed").inc()
            return "postponed: the last day was unlike this host; what lasts is learned after 28 days"
        self._may_go_on = True
        return await self.train(trigger)

    def _standing(self) -> Standing:
        """Return how host and model stand; blocks."""
        measured, now_ms = self._promotion.state, self._clock.now().time_ms
        return Standing(
            age_seconds=self._watch.seen * self._interval,
            since_seconds=max(0.0, (now_ms - self._tried_ms) / 1000),
            new_samples=self._watch.seen - self._tried_seen,
            drift=self._means.drift(),
            performance=measured.performance,
            baseline=measured.baseline,
            on_battery=on_battery(self._means.sys),
        )

    def ask(self, trigger: Trigger = Trigger.HAND) -> Training:
        """Train at a person's word, as soon as the child is free; one that waits or runs already is the same."""
        if self._current is not None:
            return self._current
        if self._wanted is None:
            self._wanted = self.trainings.begin(trigger, self._clock.now().time_ms)
        return self._wanted

    def cancel(self, training: Training) -> bool:
        """Stop a training that waits or runs: its child is killed, and nothing of it stays. False where it is over."""
        if training is self._wanted and training.outcome == "waiting":
            self._wanted = None
            training.end(self._clock.now().time_ms, "cancelled", "cancelled before it began")
            return True
        return training is self._current and self._running is not None and self._running.cancel()

    async def train_as_asked(self) -> None:
        """Do the training that was asked for."""
        if self._wanted is None or self._running is not None:
            return
        training, self._wanted = self._wanted, None  # who asks from now on gets the one that runs, or another one
        self._may_go_on = True
        try:
            await self.train(training.trigger, training)
        except PresagedError as error:
            _log.warning("training_failed", reason=str(error), effect="the model before goes on serving")

    async def train(self, trigger: str, training: Training | None = None) -> str:
        """Train in the child: the first model serves at once, others in shadow; one at a time. Raises PresagedError.

        A failure leaves the model before on duty. It runs in a task of its own, which `cancel` can stop.
        """
        if self._running is not None:
            return _UNDER_WAY
        one = training or self.trainings.begin(trigger, self._clock.now().time_ms)
        one.outcome = "running"
        self._tried_ms, self._tried_seen = self._clock.now().time_ms, self._watch.seen
        self._current, self._running = one, asyncio.create_task(self._train_and_hand_over(one), name="training")
        try:
            name, outcome, words = await self._running
        except (PresagedError, ModelError, OSError) as error:
            self._end(one, "failed", str(error))
            self._promotion.note("RetrainFailed", f"a training ({trigger}) failed: {error}")
            if isinstance(error, PresagedError):
                raise
            raise WorkerError(str(error)) from error
        except asyncio.CancelledError:
            self._end(one, "cancelled", "cancelled")
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # the daemon stops, or the job's time is over
                raise
            kept = unfinished.checkpoints(self._models.incoming)
            await self._offload.run(kept.forget, deadline_seconds=_STORE_SECONDS, what="models")
            return "cancelled"
        finally:
            self._current = self._running = None
        one.model, self._may_go_on = name, True
        self._end(one, "promoted" if outcome == "promoted" else "shadow", words)
        await self._finished()
        return words

    async def _train_and_hand_over(self, training: Training) -> tuple[str, str, str]:
        """Return the name of the new model, what became of it, and words."""
        with self._watch.own_work():
            await self._promotion.look_after()
            name = await self._train(training)
            return name, *await self._promotion.receive(name)

    def _end(self, training: Training, outcome: Outcome, words: str) -> None:
        training.end(self._clock.now().time_ms, outcome, words)
        self._metrics.retrains.labels(_NETWORK, training.trigger, outcome).inc()

    async def _train(self, training: Training) -> str:
        """Return the name of what the child has left in `incoming`."""
        spec = {
            "history": str(self._history.path),
            "incoming": str(self._models.incoming),
            "interval_seconds": self._interval,
            "episodes_per_week": self._config.anomaly.episodes_per_week,
            "most_samples": int(self._config.storage.retention.raw_days * 86_400 / self._interval),
            "units": {
                str(int(number)): spec.unit.value
                for number, spec in zip(self._registry.ids, self._registry.specs, strict=True)
            },
            "memory_bytes": self._config.learning.memory_bytes,
            "backend": self._config.compute.backend,
            "cache": str(self._means.cache),
            "with_network": self._means.with_network,
            "champion": str(self._models.folder(self._watch.name)) if self._watch.name else "",
            "trigger": str(training.trigger),
        }

        def say(share: float, text: str) -> None:
            training.say(self._clock.now().time_ms, share, text)

        result = await self._child.run("train", spec, deadline_seconds=_TRAIN_SECONDS, listener=say)
        return str(result.get("name"))
