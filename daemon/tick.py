"""The loop: on every beat of the monotonic clock one sample, from the collectors to the stored alert.

Never two ticks at once. A beat that comes while a tick still runs is skipped and counted, never
caught up. Between two beats, pressure may bring one tick forward.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import structlog
from numpy.typing import NDArray

from alerting.pipeline import Pipeline
from alerting.policy import DRILL
from daemon.capacity.state import CapacityState
from daemon.capacity.watch import CapacityWatch
from daemon.clock import Clock, Instant
from daemon.continuity import Continuity, Passage
from daemon.drift.state import DriftState
from daemon.drift.watch import DriftWatch
from daemon.errors import DeadlineExceeded, Overloaded, PresagedError
from daemon.evidence import Evidence
from daemon.history import History
from daemon.metrics import Metrics
from daemon.models.promotion import Promotion
from daemon.models.state import ModelsState
from daemon.offload import Offload
from daemon.risk.state import RiskState
from daemon.risk.watch import RiskWatch
from daemon.routines import Routines
from daemon.sampler import Round, Rounds
from daemon.samples import (
    FLAG_ALARMED,
    FLAG_DOUBTFUL,
    FLAG_EXPECTED,
    FLAG_GAP,
    FLAG_OWN_WORK,
    FLAG_SPARED,
    StoredSample,
)
from daemon.signals import SignalRegistry
from daemon.snapshot import Snapshot
from daemon.verdicts.effects import NOTHING, Standing
from daemon.watch import AnomalyWatch, Verdict
from detectors.findings import Finding, Strength

_log = structlog.get_logger()

_STORE_SECONDS = 5.0
_ROUND_SECONDS = 60.0


class Tick:
    """Takes samples. Everything it touches is handed in; `publish` is given each new snapshot.

    `said`: what operators' verdicts are at a moment, UTC milliseconds; `facts`: failures to be told at that moment.
    """

    def __init__(
        self,
        *,
        interval_seconds: float,
        clock: Clock,
        offload: Offload,
        sampler: Rounds,
        registry: SignalRegistry,
        history: History,
        watch: AnomalyWatch,
        evidence: Evidence,
        routines: Routines,
        pipeline: Pipeline,
        metrics: Metrics,
        publish: Callable[[Snapshot], None],
        jumped: Callable[[], None],
        beat: Callable[[int], None] = lambda _monotonic_ns: None,
        capacity: CapacityWatch | None = None,
        risk: RiskWatch | None = None,
        drift: DriftWatch | None = None,
        models: Promotion | None = None,
        said: Callable[[int], Standing] = lambda _time_ms: NOTHING,
        facts: Callable[[int], Sequence[Finding]] = lambda _time_ms: (),
    ) -> None:
        self._interval = interval_seconds
        self._clock = clock
        self._offload = offload
        self._sampler = sampler
        self._registry = registry
        self._history = history
        self._watch = watch
        self._evidence = evidence
        self._routines = routines
        self._pipeline = pipeline
        self._metrics = metrics
        self._publish = publish
        self._jumped = jumped
        self._beat = beat
        self._capacity = capacity
        self._risk = risk
        self._drift = drift
        self._models = models
        self._said = said
        self._facts = facts
        self._drill_words = ""
        self._continuity = Continuity(interval_seconds)
        self._wake = asyncio.Event()
        self._attempts = 0
        self.running = asyncio.Lock()
        self.seq = 0
        self.samples = 0

    def resume(self, seq: int, last: Instant) -> None:
        """Go on after the sample `seq` that was stored last; below zero, it was imported."""
        self.seq = max(seq, 0)
        self._continuity.resume(last)

    def drill(self, words: str) -> None:
        """Let the next sample carry a finding that is none, for those who try whether notifications arrive."""
        self._drill_words = words

    def _drill(self) -> tuple[Finding, ...]:
        words, self._drill_words = self._drill_words, ""
        return (Finding(DRILL, "drill", "", Strength.RAISED, words),) if words else ()

    def wake(self) -> None:
        """Bring the next tick forward; without effect while one runs, and once between two beats."""
        self._wake.set()

    async def run(self) -> None:
        """Tick until cancelled."""
        loop = asyncio.get_running_loop()
        beat = loop.time()
        while True:
            await self.once()
            self._wake.clear()
            beat = self._next(beat + self._interval, loop.time())
            if await self._woken(beat):
                self._metrics.early_ticks.inc()
                await self.once()
                beat = self._next(beat, loop.time())
            await asyncio.sleep(max(0.0, beat - loop.time()))

    def _next(self, beat: float, now: float) -> float:
        """Return `beat`, or the first one that is still to come; those that came while a tick ran are counted."""
        if now <= beat:
            return beat
        missed = int((now - beat) / self._interval) + 1
        self._metrics.ticks_missed.inc(missed)
        return beat + missed * self._interval

    async def _woken(self, beat: float) -> bool:
        """Rest until `beat`, or where pressure asks sooner until half time: before, a rate would be of a moment.

        Return whether it has asked. As a rule it does not, and half time passes asleep: to wake with cold caches for
        nothing costs a quarter of a tick.
        """
        loop = asyncio.get_running_loop()
        half = beat - self._interval / 2
        try:
            async with asyncio.timeout_at(beat):
                await self._wake.wait()
        except TimeoutError:
            return False
        early = loop.time() < half
        await asyncio.sleep((half if early else beat) - loop.time())
        return early

    async def once(self) -> Snapshot:
        """Take one sample: collect, fill, score, store, decide, publish. `running` is held meanwhile."""
        async with self.running:
            with self._metrics.tick_seconds.time():
                return await self._sample()

    async def _sample(self) -> Snapshot:
        now = self._clock.now()
        passage = self._continuity.step(now)
        self._tell(passage)
        round_ = await self._offload.run(
            lambda: self._sampler.collect(now.monotonic_ns), deadline_seconds=_ROUND_SECONDS, what="collectors"
        )
        await self._learn_signals(round_, now)
        self._note_deliveries()
        routine = self._routines.observe(round_.noticed, now)
        capacity, exhaustion = (
            (CapacityState(), ()) if self._capacity is None else self._capacity.observe(round_.measured, now)
        )
        facts = [*round_.findings, *routine.overdue, *exhaustion, *self._facts(now.time_ms)]
        values = self._registry.fill(round_.measured)
        with self._metrics.inference_seconds.labels("anomaly").time():
            verdict = self._watch.observe(
                self._registry,
                values,
                passage,
                now.monotonic_ns,
                expected=routine.expected,
                said=self._said(now.time_ms),
            )
        if self._models is not None:
            self._models.observe(verdict, passage, now.monotonic_ns)
        not_stored = await self._store(now, passage, verdict, values)
        risk = RiskState()
        if self._risk is not None:
            risk, risky = await self._risk.observe(
                values,
                now,
                capacity=capacity,
                findings=facts,
                alerts=self._pipeline.active,
                anomaly=verdict.state.shown,
            )
            facts += risky
        told = () if self._models is None else self._models.findings()
        if self._drift is not None:
            self._drift.observe(now.time_ms, capacity, risk)
            facts += self._drift.findings()
        round_ = replace(round_, findings=tuple(facts))
        findings = (*await self._evidence.gather(round_, verdict.findings, now), *told, *self._drill())
        transitions = await self._pipeline.observe(
            findings, now, learned=self._watch.learned, changing=self._evidence.in_grace(now)
        )
        self._evidence.settle(transitions)
        if not not_stored:
            self._beat(now.monotonic_ns)
        self.samples += 1
        self._metrics.samples.inc()
        snapshot = Snapshot(
            seq=self.seq,
            time_ms=now.time_ms,
            monotonic_ns=now.monotonic_ns,
            samples=self.samples,
            values=tuple(zip(self._registry.specs, values.tolist(), strict=True)),
            collectors=round_.states,
            anomaly=verdict.state,
            findings=findings,
            alerts=self._pipeline.active,
            muted=self._pipeline.muted,
            capacity=capacity,
            noticed=round_.noticed,
            risk=risk,
            drift=DriftState() if self._drift is None else self._drift.state,
            models=ModelsState() if self._models is None else self._models.state,
            not_stored=not_stored,
        )
        self._publish(snapshot)
        return snapshot

    def _note_deliveries(self) -> None:
        """On a quiet host the own notification is unusual traffic: it must not raise the next."""
        before, self._attempts = self._attempts, self._pipeline.attempts
        if self._attempts != before:
            self._watch.note_own_work()

    def _tell(self, passage: Passage) -> None:
        if passage.jump_seconds:
            _log.warning(
                "clock_jumped",
                seconds=round(passage.jump_seconds, 1),
                effect="windows restart; this hour teaches no rhythm",
            )
            self._jumped()
        elif passage.suspended_seconds:
            _log.info("host_was_suspended", seconds=round(passage.suspended_seconds, 1))
            self._jumped()

    async def _learn_signals(self, round_: Round, now: Instant) -> None:
        new = self._registry.unknown(round_.measured)
        if not new:
            return
        present = {spec.name for spec, _ in round_.measured}
        try:
            gone = await self._offload.run(
                lambda: self._registry.learn(new, now.time_ms, present),
                deadline_seconds=_STORE_SECONDS,
                what="signal table",
            )
        except PresagedError as error:  # a full disk costs the new signals, not the watch; the next tick tries again
            self._metrics.failures.labels("signal_table").inc()
            _log.error("signals_not_stored", signals=len(new), reason=str(error))
        else:
            self._watch.window.forget(gone)

    async def _store(self, now: Instant, passage: Passage, verdict: Verdict, values: NDArray[np.float32]) -> str:
        """Commit the sample; return why it is not, "" where it is. A disk that refuses costs history, not the watch."""
        flags = (
            FLAG_GAP * passage.gap
            | FLAG_DOUBTFUL * passage.doubtful
            | FLAG_ALARMED * verdict.alarmed
            | FLAG_OWN_WORK * verdict.own_work
            | FLAG_SPARED * verdict.spared
            | FLAG_EXPECTED * verdict.expected
        )
        sample = StoredSample(
            self.seq + 1,
            now,
            max(passage.hour, 0),
            flags,
            self._watch.number,
            verdict.raw,
            verdict.threshold,
            self._registry.ids,
            values,
        )
        problem = ""
        try:
            await self._offload.run(
                lambda: self._history.append(sample), deadline_seconds=_STORE_SECONDS, what="history.db"
            )
        except (sqlite3.OperationalError, DeadlineExceeded, Overloaded, OSError) as error:
            self._metrics.store_failures.inc()
            problem = str(error) or type(error).__name__
            _log.error("sample_not_stored", seq=sample.seq, reason=problem)
        except sqlite3.DatabaseError as error:
            problem = await self._begin_history_anew(sample, str(error))
        self.seq += 1
        return problem

    async def _begin_history_anew(self, sample: StoredSample, reason: str) -> str:
        def work() -> None:
            self._history.set_aside(reason)
            self._history.append(sample)

        try:
            await self._offload.run(work, deadline_seconds=_STORE_SECONDS, what="history.db")
        except (sqlite3.Error, PresagedError, OSError) as error:  # tried again with the next sample
            self._metrics.store_failures.inc()
            _log.error("sample_not_stored", seq=sample.seq, reason=str(error))
            return str(error) or type(error).__name__
        return ""
