"""A simulated server through the daemon's own judgement: watch, learning, threshold, alerts, state.db.

Enters: a server and a folder. Leaves: what was scored, which episodes were counted, what alerts came of
them and what was put into the outbox. The loop, the listener and the child are left out: jobs run at their
times on the simulated clock, and the training job's code is called here instead of in a child.

Scores come from the batch path, in pieces ahead of time, because 86,400 single ones take too long for
every run of the tests; `live=True` computes each by itself, as the daemon does, and `check_live` compares.
"""

from dataclasses import dataclass, field

import numpy as np
from server import INTERVAL

from alerting.alert import AlertBook, Event
from alerting.outbox import Outbox
from alerting.pipeline import Pipeline, PipelineSettings
from alerting.policy import PolicySettings
from alerting.ulid import UlidSource
from alerting.verdict import Verdict
from daemon import worker
from daemon.alert_store import OffloadedState
from daemon.collectors.base import Noticed
from daemon.config import Config
from daemon.continuity import Continuity
from daemon.offload import Offload
from daemon.routines import Routines
from daemon.samples import (
    FLAG_ALARMED,
    FLAG_DOUBTFUL,
    FLAG_EXPECTED,
    FLAG_GAP,
    FLAG_OWN_WORK,
    FLAG_SPARED,
    FLAGS_UNUSUAL,
    Rows,
)
from daemon.signals import SignalRegistry
from daemon.state import StateDatabase
from daemon.verdicts.effects import effect_of, standing
from daemon.watch import WINDOW_ROWS, AnomalyWatch, floors_of
from detectors import anomaly
from detectors.ahead import AheadScorer
from detectors.anomaly import fit_model
from detectors.findings import ChangeKind

UNITS = {
    "backup": "backup.service",
    "rotate": "logrotate.service",
    "lists": "apt-daily.service",
    "scrub": "scrub.service",
}


@dataclass
class Outcome:
    """What came of a replay, by row: scores and thresholds (T,), NaN where there were none; and what was kept."""

    raw: np.ndarray
    threshold: np.ndarray
    alarmed: np.ndarray
    episodes: np.ndarray  # counted so far
    fired: list = field(default_factory=list)
    notifications: list = field(default_factory=list)


class Replay:
    """One daemon's weeks. `reference_days` 7 takes away what holds the threshold against 28 days."""

    def __init__(self, server, directory, *, config=None, live=False, notify=None):
        self.server, self.config = server, config or Config()
        self.interval, self.live = INTERVAL, live
        known = [(number, spec, 0) for number, spec in enumerate(server.specs)]
        self.registry = SignalRegistry(known, lambda *_: {}, lambda *_: None)
        self.watch = AnomalyWatch(self.config.anomaly, INTERVAL)
        self._directory = directory
        self._routines = Routines(INTERVAL)
        self._noticed = self._of_units()
        self._continuity = Continuity(INTERVAL)
        self._flags = np.zeros(server.rows, np.int64)
        self._models = np.zeros(server.rows, np.int64)
        self._settings = PolicySettings(
            notify or self.config.anomaly.notify,
            self.config.alerting.for_seconds,
            self.config.alerting.keep_firing_seconds,
        )
        nothing = np.full(server.rows, np.nan)
        self.outcome = Outcome(nothing, nothing.copy(), np.zeros(server.rows, bool), np.zeros(server.rows, np.int64))
        self.says = lambda _alert: None  # what an operator says of an alert when it is over
        self.effects = []  # of these verdicts
        self.row = self._last_row = 0

    async def run(self):
        """Live through all rows of the server."""
        offload, state = Offload(), StateDatabase(self._directory / "state.db")
        try:
            await self._run(OffloadedState(state, offload))
            self.occurrences = state.recent_occurrences(10_000)
            self.outcome.notifications = state.due_items("person", now_ms=2**62, beyond_ms=2**62, limit=10_000)
        finally:
            offload.close()
            state.close()
        return self.outcome

    async def _run(self, store):
        ids = UlidSource()
        book = AlertBook(self._settings, gap_seconds=3 * INTERVAL + 1, new_id=ids, describe=lambda one: one.detail)
        outbox = Outbox(store, (_Person(),), now_ms=lambda: int(self.server.time_ms[self.row]))
        pipeline = Pipeline("host", PipelineSettings(self._settings), book=book, store=store, outbox=outbox, new_id=ids)
        await pipeline.restore(self.server.instant(0))
        due = {
            "threshold": self.config.anomaly.threshold_interval_seconds,
            "train": self.config.learning.interval_days * 86_400,
        }
        next_run = {name: round(seconds / INTERVAL) for name, seconds in due.items()}
        for row in np.flatnonzero(~self.server.down).tolist():
            self.row = row
            findings, now = self._observe(row)
            transitions = await pipeline.observe(findings, now, learned=self.watch.learned, changing=False)
            self.outcome.fired += [one.occurrence for one in transitions if one.event is Event.FIRING]
            self.effects += [effect for one in transitions if (effect := self._said(one, now.time_ms))]
            self._learn(row)
            for name, job in (("threshold", self._follow), ("train", self._train_again)):
                if row >= next_run[name]:
                    next_run[name] += round(due[name] / INTERVAL)
                    job(row)
        np.maximum.accumulate(self.outcome.episodes, out=self.outcome.episodes)  # over rows that were never sampled

    def _behind(self, count):
        window = self.watch.window
        return window.recent(self.watch.model.signal_ids, count), np.array(window.recent_hours(count))

    def _coming(self, most):
        """The next rows that will be sampled, up to the next gap."""
        rows = self.row + 1 + np.arange(min(most, self.server.rows - self.row - 1))
        stop = np.flatnonzero(self.server.down[rows])
        rows = rows[: stop[0]] if len(stop) else rows
        return self.server.values[rows], self.server.hours[rows]

    def _restart(self, row):
        """A reboot: the next process takes up window, model and threshold, as `Learning.restore` does."""
        old, self.watch = self.watch, AnomalyWatch(self.config.anomaly, INTERVAL)
        self.watch.seen, self.watch.episodes = old.seen, old.episodes
        for before in np.flatnonzero(~self.server.down[:row])[-WINDOW_ROWS:].tolist():
            if self._flags[before] & FLAG_GAP:
                self.watch.window.push_gap(int(self.server.hours[before]))
            self.watch.window.push(self.registry.ids, self.server.values[before], int(self.server.hours[before]))
            if self._flags[before] & FLAGS_UNUSUAL:
                self.watch.window.mark_alarmed()
            if self._flags[before] & FLAG_OWN_WORK:
                self.watch.window.blank()
        if old.model is not None:
            self._adopt(old.model, old.number, "restored" if old.lasting else "", old.threshold)

    def _observe(self, row):
        server, now = self.server, self.server.instant(row)
        if server.boot[row] != server.boot[self._last_row]:
            self._restart(row)
        self._last_row = row
        passage = self._continuity.step(now)
        routine = self._routines.observe(self._noticed.get(row, ()), now)
        verdict = self.watch.observe(
            self.registry,
            server.values[row],
            passage,
            now.monotonic_ns,
            expected=routine.expected,
            said=standing(self.effects, now.time_ms),
        )
        self._flags[row] = (
            FLAG_GAP * passage.gap
            | FLAG_DOUBTFUL * passage.doubtful
            | FLAG_ALARMED * verdict.alarmed
            | FLAG_OWN_WORK * verdict.own_work
            | FLAG_SPARED * verdict.spared
            | FLAG_EXPECTED * verdict.expected
        )
        self._models[row] = self.watch.number
        out = self.outcome
        if verdict.raw is not None:
            out.raw[row], out.threshold[row] = verdict.raw, verdict.threshold
        out.alarmed[row], out.episodes[row] = verdict.alarmed, self.watch.episodes
        return (*routine.overdue, *verdict.findings), now

    def _said(self, transition, time_ms):
        """What the verdict on an alert that has just ended changes, None without one."""
        one = transition.occurrence
        kind = self.says(one) if transition.event is Event.RESOLVED else None
        return kind and effect_of(Verdict(f"v-{one.id}", one.id, kind, "ann", "", time_ms), one)

    def _of_units(self):
        """What the unit collector sees of the jobs: not those that are over within a sample, nor restarts."""
        noticed = {}
        for run in self.server.runs:
            unit = UNITS.get(run.job)
            if unit:
                noticed.setdefault(run.start, []).append(Noticed(ChangeKind.UNIT, f"{unit} started", began=unit))
                end = noticed.setdefault(run.start + run.rows, [])
                end.append(Noticed(ChangeKind.UNIT, f"{unit} stopped", ended=unit))
        return noticed

    def _learn(self, row):
        watch = self.watch
        if watch.wants_to_learn():
            with watch.own_work():
                self._adopt(watch.lesson(self.registry)(), -watch.seen, "")
        if not watch.lasting and watch.seen >= self.config.anomaly.network_after_samples:
            self._train(row)

    def _train_again(self, row):
        if self.watch.lasting and self.watch.may_learn_again(self._scores(row)):
            self._train(row)

    def _train(self, row):
        """What the child does, on the same rows: those of retention, without what is not to be learned from."""
        seen = np.flatnonzero(~self.server.down[: row + 1])
        seen = seen[-int(self.config.storage.retention.raw_days * 86_400 / INTERVAL) :]
        ids = tuple(self.registry.ids.tolist())
        rows = Rows(
            ids, self.server.values[seen], seen, self.server.time_ms[seen], self.server.hours[seen], self._flags[seen]
        )
        values, hours = worker.learnable(rows)
        floors = floors_of(self.registry.specs)
        decides = anomaly._DECIDING > 1  # a network that decides nothing is not worth its time here
        with self.watch.own_work():
            self._adopt(fit_model(values, hours, ids, floors, with_network=decides, seed=row), row, f"{row:012d}")

    def _adopt(self, model, number, name, threshold=None):
        self.watch.adopt(model, number, name, None, threshold)
        if not self.live:
            self.watch._live = AheadScorer(model, self._behind, self._coming)

    def _follow(self, row):
        """The threshold job."""
        scores = self._scores(row)
        if len(scores) * INTERVAL >= 43_200:
            self.watch.threshold = self.watch.next_threshold(scores)()

    def _scores(self, row):
        """The scores that history would hand to a job."""
        mine = np.flatnonzero(
            (self._models[: row + 1] == self.watch.number)
            & (self._flags[: row + 1] & (FLAG_OWN_WORK | FLAG_EXPECTED) == 0)
        )
        scores = self.outcome.raw[mine]
        return scores[np.isfinite(scores)][-int(28 * 86_400 / INTERVAL) :]


class _Person:
    """Who would be told; the outbox never runs, so that everything that was to be sent stays in it."""

    name = "person"
    takes_digests = True

    async def send(self, notification):
        raise AssertionError("the outbox does not run here")
