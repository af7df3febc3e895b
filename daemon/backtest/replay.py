"""Stored history through the real tick: the same watch, learning, alerts and dispatch, at a clock of its own.

Enters: samples and changes as they were recorded, and a configuration. Leaves: what would have come of them. It
begins as a new daemon does, with nothing learned, and learns, trains and sets its threshold when that one would.
What would be sent is kept instead. Two things are not as they were: a network that decides nothing is not trained,
and who took what (units, processes) is not recorded.
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alerting.alert import AlertBook
from alerting.outbox import Outbox, OutboxItem
from alerting.pipeline import Pipeline
from alerting.redact import redactor
from alerting.render import sentence
from alerting.sinks.base import Notification as Sent
from alerting.ulid import UlidSource
from daemon import worker
from daemon.alert_settings import pipeline_settings
from daemon.alert_store import OffloadedState
from daemon.backtest.recording import NoCulprits, RecordedClock, RecordedRounds, RecordedVerdicts
from daemon.backtest.result import Backtest, Notification, Samples
from daemon.changes import ChangeLog
from daemon.child import Child
from daemon.config import Compute, Config
from daemon.errors import PresagedError, WorkerError
from daemon.evidence import Evidence
from daemon.history import History
from daemon.learning import Learning
from daemon.metrics import Metrics
from daemon.offload import Inline
from daemon.precedents import Precedents
from daemon.routines import Routines
from daemon.samples import FLAG_ALARMED, FLAG_GAP, FLAG_OWN_WORK, Recorded, StoredSample
from daemon.signals import SignalRegistry
from daemon.snapshot import Snapshot
from daemon.state import StateDatabase
from daemon.tick import Tick
from daemon.verdicts.table import Judged
from daemon.watch import AnomalyWatch
from detectors import anomaly
from detectors.ahead import AheadScorer, Rows
from detectors.anomaly import AnomalyModel
from detectors.findings import Change, ChangeKind
from detectors.learner import TrainingError
from detectors.registry import Registry

Progress = Callable[[int, int], None]

_ALL = 2**62
_MOST = 1_000_000
_NOBODY = "you"
_STRIDE = 500
_HOURS = 6 * 3600.0  # between two looks at whether something is to be trained or judged


@dataclass(frozen=True, slots=True)
class FixedModel:
    """A model that is on duty from the first sample to the last, instead of those that would have been learned."""

    name: str
    model: AnomalyModel


@dataclass
class NamedSink:
    """In the place of a sink: its name stands in what would be sent, and nothing goes to it."""

    name: str
    takes_digests: bool = True

    async def send(self, notification: Sent) -> None:
        """Refuse: a replay sends nothing."""
        raise AssertionError(f"a replay sent {notification.id}")


class KeptOutbox(Outbox):
    """Keeps what would be sent, in order; it never delivers."""

    def __init__(self, *args: object, **more: object) -> None:
        super().__init__(*args, **more)  # type: ignore[arg-type]
        self.items: list[OutboxItem] = []

    def added(self, items: Iterable[OutboxItem], dropped: Mapping[str, int] = {}) -> None:  # noqa: ARG002
        """Keep `items`."""
        self.items += items


class Batched(History):
    """Commits many samples at once: nothing of a replay need survive it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._waiting: list[StoredSample] = []

    def append(self, sample: StoredSample) -> None:
        """Keep one sample."""
        self._waiting.append(sample)
        if len(self._waiting) >= _STRIDE:
            self.flush()

    def flush(self) -> None:
        """Commit what waits; called before anything is read."""
        self.add(self._waiting)
        self._waiting.clear()

    def scores(self, model: int, count: int) -> NDArray[np.float64]:
        """Return what `History` does."""
        self.flush()
        return super().scores(model, count)

    def recorded(self, first_ms: int, end_ms: int) -> Recorded:
        """Return what `History` does."""
        self.flush()
        return super().recorded(first_ms, end_ms)


class AtOnce(Child):
    """Does the child's work here and now: a replay waits for it in any case."""

    def __init__(self, history: Batched) -> None:
        super().__init__()
        self._history = history

    async def run(
        self,
        job: str,
        spec: Mapping[str, object],
        *,
        deadline_seconds: float,  # noqa: ARG002
        listener: Callable[[float, str], None] = lambda _share, _text: None,
    ) -> Mapping[str, object]:
        """Train or judge, and return the result. Raises WorkerError."""
        self._history.flush()  # the job reads the file
        try:
            return worker.train(spec, listener) if job == "train" else worker.judge(spec, listener)
        except (PresagedError, TrainingError, OSError, MemoryError) as error:
            raise WorkerError(f"the job {job} failed: {error}") from error


@dataclass
class _Outcome:
    """What each sample gave (T,)."""

    raw: NDArray[np.float64]
    threshold: NDArray[np.float64]
    episodes: NDArray[np.int64]
    learned: NDArray[np.bool_]
    models: set[int] = field(default_factory=set)


async def replay(
    samples: Samples,
    changes: Sequence[Change],
    config: Config,
    *,
    name: str,
    host: str,
    fixed: FixedModel | None = None,
    judged: Sequence[Judged] = (),
    live: bool = False,
    progress: Progress = lambda _done, _all: None,
) -> Backtest:
    """Return what would have come of `samples`; `changes` are the host's, oldest first, and so are verdicts `judged`.

    `live`: score each sample by itself, as the daemon does, instead of hours at once; the scores are the same.
    """
    with tempfile.TemporaryDirectory(prefix="presaged-backtest-") as folder:
        one = _Replay(samples, changes, config, host=host, fixed=fixed, judged=judged, live=live, folder=Path(folder))
        try:
            return await one.run(name, progress)
        finally:
            one.close()


class _Replay:
    """A daemon without listener, collectors and sinks, put together as `App` does."""

    def __init__(
        self,
        samples: Samples,
        changes: Sequence[Change],
        config: Config,
        *,
        host: str,
        fixed: FixedModel | None,
        judged: Sequence[Judged],
        live: bool,
        folder: Path,
    ) -> None:
        self._samples, self._fixed, self._host = samples, fixed, host
        self._verdicts = RecordedVerdicts(judged)
        self._marks = [change for change in changes if change.kind is ChangeKind.MARK]
        alerting = config.alerting.model_copy(update={"authority": "presaged"})
        self._config = config = config.model_copy(update={"alerting": alerting, "compute": Compute(backend="numpy")})
        self._interval = float(config.sampling.interval_seconds)
        self._column = {number: place for place, number in enumerate(samples.signal_ids)}
        self._clock = clock = RecordedClock(samples)
        self._offload = offload = Inline()
        self._state = state = StateDatabase(folder / "state.db")
        self._history = Batched(folder / "history.db")
        self._history.bind_interval(self._interval)
        numbers = {spec.name: number for spec, number in zip(samples.specs, samples.signal_ids, strict=True)}
        registry = SignalRegistry((), lambda specs, _ms: {one.name: numbers[one.name] for one in specs}, lambda _: None)
        metrics = Metrics("", lambda: "numpy", 0)
        scorer = {} if live else {"scorer": self._ahead}
        self._watch = AnomalyWatch(config.anomaly, self._interval, **scorer)
        self._learning = Learning(
            config=config,
            interval_seconds=self._interval,
            history=self._history,
            state=state,
            models=Registry(folder / "models"),
            registry=registry,
            watch=self._watch,
            child=AtOnce(self._history),
            offload=offload,
            metrics=metrics,
            cache=folder,
            with_network=anomaly.NETWORK_DECIDES,
            clock=clock,
            sys=folder,
        )
        settings = pipeline_settings(config)
        store = OffloadedState(state, offload)
        new_id = UlidSource(self._letters)
        sinks = [NamedSink(one.name) for one in config.alerting.sinks] or [NamedSink(_NOBODY)]
        self._outbox = KeptOutbox(store, sinks, now_ms=lambda: clock.now().time_ms)
        self._pipeline = Pipeline(
            host,
            settings,
            book=AlertBook(
                settings.policy,
                gap_seconds=3 * self._interval + 1,
                new_id=new_id,
                describe=partial(sentence, host),
            ),
            store=store,
            outbox=self._outbox,
            new_id=new_id,
        )
        self._changes = ChangeLog(
            state=state,
            offload=offload,
            clock=clock,
            grace_seconds=lambda: float(config.alerting.change_grace_seconds),
            failed=lambda: None,
        )
        evidence = Evidence(
            culprits=NoCulprits(),
            changes=self._changes,
            precedents=Precedents(),
            offload=offload,
            redact=redactor(config.privacy.log_text),
        )
        nothing = np.full(len(samples.seq), np.nan)
        self._outcome = _Outcome(
            nothing, nothing.copy(), np.zeros(len(nothing), np.int64), np.zeros(len(nothing), np.bool_)
        )
        self._tick = Tick(
            interval_seconds=self._interval,
            clock=clock,
            offload=offload,
            sampler=RecordedRounds(samples, clock, changes),
            registry=registry,
            history=self._history,
            watch=self._watch,
            evidence=evidence,
            routines=Routines(self._interval),
            pipeline=self._pipeline,
            metrics=metrics,
            publish=self._note,
            jumped=lambda: None,
            models=None if fixed is not None else self._learning.promotion,
            said=self._verdicts.at,
        )

    def _letters(self, count: int) -> bytes:
        """Return what stands for chance in an id: the same moment has the same ids in every replay of this host."""
        return hashlib.sha256(f"backtest {self._host} {self._clock.now().time_ms}".encode()).digest()[:count]

    def close(self) -> None:
        """Close the databases; the folder goes with them."""
        self._history.close()
        self._state.close()

    async def run(self, name: str, progress: Progress) -> Backtest:
        """Live through all samples."""
        began = time.monotonic()
        samples, clock = self._samples, self._clock
        count = len(samples.seq)
        if count:
            await self._pipeline.restore(clock.now())
        self._learning.restore()
        if self._fixed is not None:
            self._watch.adopt(self._fixed.model, 0, self._fixed.name, None)
        jobs = self._jobs()
        due = {job: int(samples.time_ms[0]) + round(seconds * 1000) for job, seconds in jobs.items() if count}
        own_work, said = (samples.flags & FLAG_OWN_WORK) != 0, 0
        times = samples.time_ms.tolist()
        for row in range(count):
            clock.row = row
            await self._mark(times[row])
            if self._verdicts.given(times[row]) != said:
                said = self._verdicts.given(times[row])
                self._mark_incidents()
            if own_work[row]:
                self._watch.note_own_work()
            await self._tick.once()
            await self._learning.catch_up()
            for job in jobs:
                if times[row] >= due[job]:
                    due[job] = times[row] + round(jobs[job] * 1000)
                    await self._do(job)
            if row % _STRIDE == 0:
                progress(row, count)
        progress(count, count)
        return self._result(name, time.monotonic() - began)

    def _jobs(self) -> dict[str, float]:
        """Return after how many seconds each job runs again."""
        jobs = {"threshold": float(self._config.anomaly.threshold_interval_seconds)}
        if self._fixed is None:
            jobs |= {"train": _HOURS, "judge": _HOURS}
        return jobs

    async def _do(self, job: str) -> None:
        try:
            learning = self._learning
            self._mark_incidents()
            if job == "judge" and not learning.promotion.state.models:
                return  # nobody asks a replay how well its champion does
            runs = {"train": learning.retraining.train_again, "judge": learning.promotion.judge_due}
            await runs.get(job, learning.reset_threshold)()
        except PresagedError:  # as the scheduler does: the next run may succeed
            return

    def _mark_incidents(self) -> None:
        """Mark what was real as far as that is known by now, so that nothing is learned from it."""
        spans = self._verdicts.incidents(self._clock.now().time_ms)
        if spans:
            self._history.flush()
            self._history.mark_incidents(spans)

    async def _mark(self, time_ms: int) -> None:
        while self._marks and self._marks[0].time_ms <= time_ms:
            await self._changes.mark(self._marks.pop(0).text)

    def _note(self, snapshot: Snapshot) -> None:
        """Keep what a tick said; the learning looks at it as it does in the daemon."""
        row, out = self._clock.row, self._outcome
        if snapshot.anomaly.raw is not None and snapshot.anomaly.threshold is not None:
            out.raw[row], out.threshold[row] = snapshot.anomaly.raw, snapshot.anomaly.threshold
        out.episodes[row], out.learned[row] = self._watch.episodes, self._watch.learned
        out.models.add(self._watch.number)
        self._learning.after_tick()

    def _ahead(self, model: AnomalyModel) -> AheadScorer:
        places = np.array([self._column.get(number, -1) for number in model.signal_ids], np.int64)

        def behind(count: int) -> Rows:
            window = self._watch.window
            return window.recent(model.signal_ids, count), np.array(window.recent_hours(count), np.int64)

        def coming(most: int) -> Rows:
            first = self._clock.row + 1
            flags = self._samples.flags[first : first + most]
            stops = np.flatnonzero(flags & (FLAG_GAP | FLAG_OWN_WORK))
            end = first + (int(stops[0]) if len(stops) else len(flags))
            values = self._samples.values[first:end][:, places]
            values[:, places < 0] = np.nan
            return values, self._samples.hours[first:end]

        return AheadScorer(model, behind, coming)

    def _result(self, name: str, seconds: float) -> Backtest:
        out, config = self._outcome, self._config
        flags = self._history.recorded(-_ALL, _ALL).rows.flags
        return Backtest(
            name=name,
            host=self._host,
            interval_seconds=self._interval,
            episodes_per_week=config.anomaly.episodes_per_week,
            learning_days=float(config.anomaly.learning_days),
            notify=config.anomaly.notify,
            samples=self._samples,
            raw=out.raw,
            threshold=out.threshold,
            alarmed=(flags & FLAG_ALARMED) != 0,
            episodes=out.episodes,
            learned=out.learned,
            notifications=tuple(_notification(item) for item in self._outbox.items),
            occurrences=tuple(reversed(self._state.recent_occurrences(_MOST))),
            models=len(out.models - {0}),
            seconds=seconds,
            capacity=config.capacity,
            honoured=self._verdicts.given(int(self._samples.time_ms[-1])) if len(self._samples.seq) else 0,
        )


def _notification(item: OutboxItem) -> Notification:
    document = json.loads(item.payload)
    told = [document, *document.get("also", ()), *document.get("would_have_sent", ())]
    numbers = tuple(str(one["occurrence"]) for one in told if "occurrence" in one)
    return Notification(item.created_ms, item.sink, document, numbers)
