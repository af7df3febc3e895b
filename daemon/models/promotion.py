"""How one model takes another's place: shadow, judgement, promotion, probation, rollback.

Enters: models that the child has trained, every tick, and what operators order. Leaves: the model on duty, records of
each change, and what is told of the models. Only here is the champion's pointer moved.
"""

import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import structlog

from daemon.child import Child
from daemon.clock import Clock
from daemon.config import Config
from daemon.continuity import Passage
from daemon.errors import Conflict, PresagedError, WorkerError
from daemon.history import History
from daemon.metrics import Metrics
from daemon.models.shadows import Moment, Shadows
from daemon.models.state import Measured, ModelsState, health
from daemon.offload import Offload
from daemon.signals import SignalRegistry
from daemon.state import StateDatabase
from daemon.watch import AnomalyWatch, Verdict
from detectors.anomaly import AnomalyModel
from detectors.calibration import budget_threshold
from detectors.findings import Finding, Strength
from detectors.probation import PROBATION_SECONDS, SHADOW_SECONDS, Probation, Reason
from detectors.registry import Manifest, ModelError, Registry, State, Version, read_manifest
from detectors.registry import load as load_model

T = TypeVar("T")

_log = structlog.get_logger()

_NETWORK = "anomaly"
_META = "anomaly.measured"
_META_AT = "anomaly.measured_at"  # beside it, for an older presaged refuses what it does not know in the former
_STORE_SECONDS = 10.0
_JUDGE_SECONDS = 1800.0
_MEASURE_MS = 86_400_000  # how often the champion is measured when it is not on probation

_STOOD_IN = "the one before is broken"

Adopt = Callable[[AnomalyModel, Manifest, float | None], None]


class Promotion:
    """The models beside the one on duty. `adopt` puts a model on duty; `settled` is awaited when it is there.

    `alone` is awaited when no whole model is left: what is learned from the window serves then.
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
        clock: Clock,
        adopt: Adopt,
        settled: Callable[[], Awaitable[None]],
        alone: Callable[[], Awaitable[None]],
    ) -> None:
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
        self._clock = clock
        self._adopt = adopt
        self._settled = settled
        self._alone = alone
        self._shadows = Shadows()
        self._leave: Reason | None = None
        self._since_ms = 0  # when the champion on probation was promoted; 0 = the week before it has been looked at
        self._look = False
        self._notices: list[Finding] = []
        self._measured = Measured()
        self._measured_ms = 0
        self._retention: float | None = None
        self._whole: dict[str, tuple[int, tuple[int, ...]]] = {}  # when files were read, and how they were then

    @property
    def state(self) -> ModelsState:
        """What is told of the models."""
        found, latency = self._measured, self._watch.latency
        lost = 0.0 if found.performance is None or found.baseline is None else found.baseline - found.performance
        degraded = lost >= self._config.learning.degradation
        return ModelsState(
            self._shadows.states,
            found.performance,
            found.baseline,
            self._retention,
            degraded=degraded,
            latency=latency,
            health=health(found.performance, latency, self._interval, self._config.learning, degraded=degraded),
        )

    @property
    def wants_rollback(self) -> bool:
        """Whether the champion has to leave, now."""
        return self._leave is not None

    @property
    def wants_a_look(self) -> bool:
        """Whether a new champion has not been compared with its predecessor yet."""
        return self._look

    def restore(self) -> None:
        """Let those score again that did when the process before ended; blocks, before the first tick."""
        text = self._state.meta(_META)
        try:
            self._measured = Measured(**json.loads(text)) if text else Measured()
        except (ValueError, TypeError) as error:
            _log.warning("measures_of_the_model_not_read", reason=str(error))
        name, _, at_ms = (self._state.meta(_META_AT) or "").rpartition(" ")
        if name and name == self._models.pointed and at_ms.isdecimal():
            self._measured_ms = int(at_ms)  # measuring is own work, which would cut off what is unusual just now
        for version in self._models.lineage()[::-1]:
            if version.state is State.CHAMPION:
                self._retention = version.metrics.get("retention", self._retention)
            if version.state is State.SHADOW and self._is_ours(version):
                self._restore_shadow(version.name)
        before, told, since_ms = self._models.predecessor()
        if before is None or told is None or told.interval_seconds != self._interval:
            return
        if 0 <= self._clock.now().time_ms - since_ms < PROBATION_SECONDS * 1000:
            self._watch_over(told.name, before, self._measured.predecessor_threshold, since_ms)

    def _restore_shadow(self, name: str) -> None:
        try:
            self._add(*load_model(self._models.folder(name)))
        except ModelError as error:
            self._refuse(str(error), "it is no challenger any more")
            with contextlib.suppress(ModelError, OSError):  # it is not restored the next time either
                self._models.note(name, State.RETIRED, self._clock.now().time_ms, "it is broken")

    def _is_ours(self, version: Version) -> bool:
        return version.manifest is not None and version.manifest.interval_seconds == self._interval

    def observe(self, verdict: Verdict, passage: Passage, now_ns: int) -> None:
        """Let all score the newest row; called after every tick, between two others."""
        model = self._watch.model
        if model is None or not self._watch.lasting or verdict.own_work:
            return
        moment = Moment(
            model=model,
            raw=verdict.raw,
            alarmed=verdict.alarmed,
            rise=self._watch.in_force / self._watch.threshold if self._watch.threshold else 1.0,
            hour=passage.hour,
            gap=passage.gap,
            now_ns=now_ns,
        )
        self._leave = self._shadows.observe(self._watch.window, moment, self._clock.now().time_ms) or self._leave

    def findings(self) -> tuple[Finding, ...]:
        """Return what happened since the last tick, each once."""
        told, self._notices = tuple(self._notices), []
        return told

    def note(self, alertname: str, words: str) -> None:
        """Let the next sample carry a record."""
        self._notices.append(Finding(alertname, "learning", _NETWORK, Strength.RAISED, words))

    # --- who comes in

    async def receive(self, name: str) -> tuple[str, str]:
        """Take what the child has left in `incoming`: "shadow" or, where nothing lasting serves, "promoted"; and words.

        Raises WorkerError where it is refused.
        """
        now_ms = self._clock.now().time_ms
        first = not self._watch.lasting

        def accept() -> tuple[AnomalyModel, Manifest]:
            folder = self._models.accept(name, State.SHADOW, now_ms)
            loaded = load_model(folder)
            if first:
                self._models.promote(name, now_ms, "the first")
            return loaded

        try:
            model, manifest = await self._do(accept)
        except (ModelError, OSError) as error:
            self._metrics.model_failures.inc()
            raise WorkerError(f"the trained model was refused: {error}") from error
        if first:
            self._adopt(model, manifest, None)
            await self._start_anew(manifest.name, None)
            self.note("ModelPromoted", f"{name} serves: it is the first of this host")
            return "promoted", f"{name}: {manifest.samples} samples, {len(model.signal_ids)} signals"
        out = self._add(model, manifest)
        if out is not None:
            await self._retire(out, "a newer challenger took its place")
        _log.info("model_in_shadow", model=name, samples=manifest.samples)
        return "shadow", f"{name}: {manifest.samples} samples, {len(model.signal_ids)} signals; in shadow for a day"

    def _add(self, model: AnomalyModel, manifest: Manifest) -> str | None:
        budget = self._config.anomaly.episodes_per_week
        threshold = budget_threshold(model.quiet_scores, self._interval, budget, model.least_threshold)
        return self._shadows.add(manifest.name, model, threshold, self._watch.window)

    # --- whose files are broken

    def _refuse(self, reason: str, effect: str) -> None:
        self._metrics.model_failures.inc()
        _log.error("model_refused", reason=reason, effect=effect)

    async def look_after(self) -> None:
        """See that the files of champion and predecessor are whole: a broken one gives way now, as it would at a start.

        A pointer that was lost is written again. Raises PresagedError, OSError.
        """
        if not self._watch.lasting:
            return
        predecessor = self._shadows.predecessor
        if predecessor is not None and (reason := await self._do(lambda: self._broken(predecessor[0]))):
            self._shadows.end_probation()
            self._refuse(reason, "there is no model to go back to")
        left = self._watch.name
        if reason := await self._do(lambda: self._broken(left)):
            await self._stand_in(left, reason)
        elif await self._do(lambda: self._models.pointed) != left:
            now_ms = self._clock.now().time_ms
            await self._do(lambda: self._models.promote(left, now_ms, "the pointer was lost"))
            self._refuse("the pointer does not name the model that serves", f"it names {left} again")

    def _broken(self, name: str) -> str:
        """Return what is wrong with the files of the model `name`, "" = nothing; blocks.

        They are read where they were changed since they were whole, and once a day: disks rot.
        """
        now_ms, before = self._clock.now().time_ms, self._whole.pop(name, None)
        try:
            folder = self._models.folder(name)
            changed = tuple(path.stat().st_mtime_ns for path in sorted(folder.iterdir()))
            if before is None or before[1] != changed or not 0 <= now_ms - before[0] < _MEASURE_MS:
                load_model(folder)
                before = now_ms, changed
        except (ModelError, OSError) as error:
            return str(error)
        self._whole[name] = before
        return ""

    async def _stand_in(self, left: str, reason: str) -> None:
        """Put the next best whole model in the place of `left`, whose files are broken, or what the window teaches."""
        now_ms, threshold = self._clock.now().time_ms, self._measured.predecessor_threshold

        def work() -> tuple[AnomalyModel, Manifest, bool] | None:
            before = self._models.predecessor()[1]
            model, manifest, _ = self._models.champion()
            if model is None or manifest is None or manifest.interval_seconds != self._interval:
                return None
            self._models.promote(manifest.name, now_ms, _STOOD_IN)
            return model, manifest, before is not None and before.name == manifest.name

        found = await self._do(work)
        self._shadows.end_probation()
        self._leave = None
        if found is None:
            self._refuse(reason, "no other is left: what is learned from the window serves")
            self.note("ModelRolledBack", f"{left} is broken, and no other is left: a new one is trained")
            await self._alone()
            return
        model, manifest, served_before = found
        self._refuse(reason, f"{manifest.name} serves in its place")
        self._shadows.remove(manifest.name)
        self._adopt(model, manifest, threshold if served_before else None)
        await self._start_anew(manifest.name, None)
        self.note("ModelRolledBack", f"{manifest.name} serves after {left}, which is broken")

    # --- who is judged

    async def judge_due(self) -> str:
        """Judge the challengers that have scored beside the champion for a day, and measure what serves; a job.

        Raises PresagedError, OSError.
        """
        await self.look_after()
        if not self._watch.lasting:
            return "no model of the child serves yet"
        try:
            return await self._judge()
        except ModelError as error:  # it went, or broke, while it was looked at
            self._metrics.model_failures.inc()
            raise WorkerError(str(error)) from error

    async def _judge(self) -> str:
        for name, whole in list(self._shadows.challengers.items()):
            if not whole:
                await self._retire(name, "its score was no number")
        ready, broken = await self._do(self._ready)
        for name, reason in broken.items():
            self._metrics.model_failures.inc()
            await self._retire(name, reason)
        predecessor = self._shadows.predecessor
        now_ms = self._clock.now().time_ms
        if not ready and predecessor is None and 0 <= now_ms - self._measured_ms < _MEASURE_MS:
            return f"{len(self._shadows.challengers)} in shadow"
        serves = self._watch.name
        with self._watch.own_work():
            result = await self._child.run(
                "judge", await self._do(lambda: self._spec(ready)), deadline_seconds=_JUDGE_SECONDS
            )
        if self._watch.name != serves:
            return "another model serves since"
        return await self._act(result, ready, now_ms)

    async def look(self) -> None:
        """Compare a new champion with its predecessor now; where that fails, the hourly judgement does."""
        self._look = False
        if self._shadows.predecessor is None:
            return
        try:
            await self.judge_due()
        except (PresagedError, ModelError, OSError) as error:
            _log.warning("champion_not_compared", reason=str(error), effect="it is within the hour")

    def _ready(self) -> tuple[list[str], dict[str, str]]:
        """Return the folders of challengers that have scored for a day, and why others never will; blocks."""
        last = self._history.last()
        day = SHADOW_SECONDS / self._interval
        out, broken = [], {}
        for name in self._shadows.challengers:
            try:
                folder = self._models.folder(name)
                manifest = read_manifest(folder)
            except ModelError as error:
                broken[name] = str(error)
                continue
            if last is not None and last[0] - manifest.last_seq >= day:
                out.append(str(folder))
        return out, broken

    def _spec(self, ready: list[str]) -> Mapping[str, object]:
        predecessor = self._shadows.predecessor
        return {
            "history": str(self._history.path),
            "interval_seconds": self._interval,
            "episodes_per_week": self._config.anomaly.episodes_per_week,
            "most_samples": int(self._config.storage.retention.raw_days * 86_400 / self._interval),
            "units": {
                str(int(number)): spec.unit.value
                for number, spec in zip(self._registry.ids, self._registry.specs, strict=True)
            },
            "champion": (str(self._models.folder(self._watch.name)), self._watch.threshold),
            "predecessor": (str(self._models.folder(predecessor[0])), predecessor[2]) if predecessor else "",
            "since_ms": self._since_ms,
            "challengers": ready,
            "memory_bytes": self._config.learning.memory_bytes,
        }

    async def _act(self, result: Mapping[str, object], asked: Sequence[str], now_ms: int) -> str:
        """Do what follows from the judgement of the folders `asked`."""
        verdicts = result.get("verdicts")
        if not isinstance(verdicts, Mapping) or {Path(folder).name for folder in asked} - verdicts.keys():
            raise WorkerError(f"the job judge said something that is not understood: {result}")
        performance, before = _ratio(result.get("performance")), _ratio(result.get("predecessor"))
        await self._note_performance(performance, now_ms)
        if self._shadows.predecessor:
            self._since_ms = 0
            await self._look_back(performance, before, loud=result.get("loud") is True)
            if self._shadows.predecessor is None:
                return "the champion was rolled back"  # what was judged beside it is judged beside the other one
        passed = []
        words = [f"performance {performance:.3f}" if performance is not None else "performance not known"]
        for name in (Path(folder).name for folder in asked):
            verdict = verdicts[name]
            metrics = {str(key): float(value) for key, value in verdict["metrics"].items()}
            if verdict["passes"]:
                passed.append((metrics.get("recent", 0.0), name, metrics))
            else:
                reason = "; ".join(verdict["reasons"])
                words.append(f"{name}: {reason}")
                await self._retire(name, reason, metrics)
        if not passed:
            return "; ".join(words)
        *others, (_, best, metrics) = sorted(passed, key=lambda one: one[:2])
        for _, name, measured in others:
            await self._retire(name, f"{best} was better still", measured)
        reason = f"better on recent data: {metrics['recent']:.3f}, the champion {metrics['champion_recent']:.3f}"
        self._shadows.remove(best)
        held = await self._do(self._is_pinned)
        await self._do(lambda: self._models.note(best, State.SHADOW, now_ms, reason, metrics))
        if self._config.learning.approval == "hand" or held:
            why = f"{self._watch.name} is pinned" if held else "it waits for approval"
            await self._do(lambda: self._let_wait(best, f"passes: {reason}; {why}"))
            _log.info("challenger_waits", model=best, reason=reason)
            return "; ".join([*words, f"{best} passes, and waits"])
        await self.promote(best, reason)
        self._retention = metrics.get("retention", self._retention)
        return "; ".join([*words, f"{best} serves: {reason}"])

    async def _look_back(self, performance: float | None, before: float | None, *, loud: bool) -> None:
        """Roll back where a judgement gives a reason."""
        if performance is not None and before is not None:
            self._leave = Probation.compare(performance, before) or self._leave
        if loud:
            self._leave = Reason.LOUD_BEFORE
        await self.settle()

    def _let_wait(self, name: str, reason: str) -> None:
        """Let `name` wait for a person's word, in the place of any that did; blocks."""
        now_ms = self._clock.now().time_ms
        for version in self._models.lineage():
            if version.state is State.CHALLENGER:
                self._models.note(version.name, State.RETIRED, now_ms, f"{name} waits in its place")
        self._models.note(name, State.CHALLENGER, now_ms, reason)
        self._models.prune()

    def _is_pinned(self) -> bool:
        return any(one.state is State.CHAMPION and one.pinned for one in self._models.lineage())

    async def _note_performance(self, performance: float | None, now_ms: int) -> None:
        self._measured_ms = now_ms
        told = f"{self._watch.name} {now_ms}"
        await self._do(lambda: self._state.set_meta(_META_AT, told))
        if performance is None:
            return
        known = self._measured
        baseline = known.baseline if known.name == self._watch.name and known.baseline is not None else performance
        await self._keep(Measured(self._watch.name, baseline, performance, known.predecessor_threshold))

    async def _keep(self, measured: Measured) -> None:
        self._measured = measured
        await self._do(lambda: self._state.set_meta(_META, json.dumps(asdict(measured))))

    async def _retire(self, name: str, reason: str, metrics: Mapping[str, float] | None = None) -> None:
        self._shadows.remove(name)
        now_ms = self._clock.now().time_ms

        def work() -> None:
            with contextlib.suppress(ModelError):  # its folder is gone
                self._models.note(name, State.RETIRED, now_ms, reason, metrics)
            self._models.prune()

        await self._do(work)
        _log.info("challenger_retired", model=name, reason=reason)

    # --- who serves

    async def promote(self, name: str, reason: str) -> None:
        """Put the accepted model `name` on duty; the one before scores beside it for a day.

        Raises ModelError, OSError.
        """
        now_ms = self._clock.now().time_ms
        before, before_name, threshold = self._watch.model, self._watch.name, self._watch.threshold

        def work() -> tuple[AnomalyModel, Manifest]:
            loaded = load_model(self._models.folder(name))
            if loaded[1].interval_seconds != self._interval:
                raise ModelError(f"{name} was trained at another interval, {loaded[1].interval_seconds:g} s")
            self._models.promote(name, now_ms, reason)
            return loaded

        model, manifest = await self._do(work)
        self._shadows.remove(name)
        self._shadows.end_probation()
        self._leave = None
        self._adopt(model, manifest, None)
        if before is not None and before_name and before_name != name:
            self._watch_over(before_name, before, threshold, now_ms)
            self._look = True
        await self._start_anew(name, threshold)
        self.note("ModelPromoted", f"{name} serves after {before_name or 'none'}: {reason}")

    async def _start_anew(self, name: str, predecessor_threshold: float | None) -> None:
        self._measured_ms = 0  # the new one is measured at the next judgement
        await self._keep(Measured(name, None, None, predecessor_threshold))
        await self._settled()

    def _watch_over(self, name: str, model: AnomalyModel, threshold: float | None, since_ms: int) -> None:
        budget = self._config.anomaly.episodes_per_week
        begun = budget_threshold(model.quiet_scores, self._interval, budget, model.least_threshold)
        until_ms = since_ms + int(PROBATION_SECONDS * 1000)
        self._since_ms = since_ms
        self._shadows.watch_over(name, model, (threshold or begun, begun), until_ms, self._watch.window)

    async def settle(self) -> None:
        """Roll back where the champion has to leave. Raises PresagedError where the store does not answer."""
        if self._leave is None:
            return
        reason, self._leave = self._leave, None
        try:
            await self.rollback(reason.value)
        except (ModelError, OSError) as error:
            _log.error("rollback_not_possible", reason=str(error), wanted=reason.value, effect="the champion stays")
            self._metrics.model_failures.inc()

    async def rollback(self, reason: str) -> str:
        """Let the predecessor serve again; returns its name. Raises ModelError, OSError where there is none."""
        now_ms = self._clock.now().time_ms
        left, threshold = self._watch.name, self._measured.predecessor_threshold

        def work() -> tuple[AnomalyModel, Manifest]:
            _, before, _ = self._models.predecessor()
            if before is not None and before.interval_seconds != self._interval:
                raise ModelError(f"{before.name} was trained at another interval, {before.interval_seconds:g} s")
            return load_model(self._models.folder(self._models.rollback(now_ms, reason)))

        model, manifest = await self._do(work)
        self._shadows.end_probation()
        self._leave = None
        self._adopt(model, manifest, threshold)
        await self._start_anew(manifest.name, None)
        self._metrics.retrains.labels(_NETWORK, "rollback", "rolled_back").inc()
        self.note("ModelRolledBack", f"{manifest.name} serves again after {left}: {reason}")
        _log.warning("model_rolled_back", model=left, serves=manifest.name, reason=reason)
        return manifest.name

    # --- what operators ask and order

    async def lineage(self) -> tuple[Version, ...]:
        """Return all models, newest first."""
        return await self._do(self._models.lineage)

    async def load(self, name: str) -> AnomalyModel:
        """Return an accepted model, to be looked at. Raises ModelError."""
        return await self._do(lambda: load_model(self._models.folder(name))[0])

    def not_comparable(self, version: Version) -> str:
        """Return why a model cannot be held against the one on duty, "" = it can."""
        if not self._watch.lasting:
            return "no model of the child serves yet: there is nothing to hold it against"
        if version.name == self._watch.name:
            return f"{version.name} serves itself: there is nothing to hold it against"
        if version.manifest is None:
            return version.problem
        if version.manifest.interval_seconds != self._interval:
            return f"{version.name} was trained at another interval, {version.manifest.interval_seconds:g} s"
        return ""

    async def validate(self, name: str) -> tuple[str, Mapping[str, object]]:
        """Return the champion and what the rules say of `name` beside it, judged in the child; nothing follows from it.

        Raises Conflict where there is nothing to compare, ModelError, PresagedError.
        """
        serves = self._watch.name
        for version in await self.lineage():
            if version.name == name and (why := self.not_comparable(version)):
                raise Conflict(why)

        def spec() -> Mapping[str, object]:
            return {**self._spec([str(self._models.folder(name))]), "predecessor": "", "since_ms": 0}

        with self._watch.own_work():
            result = await self._child.run("judge", await self._do(spec), deadline_seconds=_JUDGE_SECONDS)
        verdicts = result.get("verdicts")
        verdict = verdicts.get(name) if isinstance(verdicts, Mapping) else None
        if not isinstance(verdict, Mapping):
            raise WorkerError(f"the job judge said something that is not understood: {result}")
        return serves, verdict

    async def pin(self, name: str, *, pinned: bool) -> None:
        """Keep a model for good, and on duty where it serves; or no longer. Raises ModelError, OSError."""
        await self._do(lambda: self._models.pin(name, pinned=pinned))

    async def remove(self, name: str) -> None:
        """Delete a model that nothing needs. Raises ModelError, OSError."""
        await self._do(lambda: self._models.remove(name))
        self._shadows.remove(name)

    async def _do(self, work: Callable[[], T]) -> T:
        return await self._offload.run(work, deadline_seconds=_STORE_SECONDS, what="models")


def _ratio(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
