"""The anomaly detector on duty: window, model, threshold, and what they say of each sample.

Enters: one row of values a tick. Leaves: a verdict, and a model when it is time to learn one from
the window. Swapping a model in is one assignment between two ticks. It stores nothing itself.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from daemon.config import Anomaly
from daemon.continuity import Passage
from daemon.impact import Reading, harm, tells_of_harm
from daemon.signals import SignalRegistry, SignalSpec
from daemon.snapshot import AnomalyState
from daemon.verdicts.effects import NOTHING, Effect, Standing
from daemon.window import RingWindow
from detectors.anomaly import MINIMUM_ROWS, SCORE_SPAN, AnomalyModel, LiveScorer, RowScores, fit_model
from detectors.calibration import (
    MERGE_SECONDS,
    REFERENCE_DAYS,
    RELEASE_RATIO,
    RENOTIFY_SECONDS,
    budget_threshold,
    next_threshold,
    shown_score,
)
from detectors.direction import Directions
from detectors.explain import expected_range, network_shares, ranking
from detectors.features import FLOORS, SPAN, TOP_SIGNALS, WINDOW, network_inputs
from detectors.findings import Contributor, Finding, Strength, Unit
from detectors.kernels import NUMPY, Backend

WINDOW_ROWS = 2880  # a day at 30 s
_TOP = 5
_EXPECTED_RISE = 1.35  # while a job runs that always ran at this hour: what is more than its usual stir is news still
_UNLIKE_RATIO = 0.5  # of the threshold
_DAY_SECONDS = 86_400.0
_TIMED = 120  # samples whose latency is remembered
_LOOKS_BACK = SPAN + SCORE_SPAN  # samples: of features, and of the means of what they score
_FIRST = 2  # samples of a new history: they show its own beginning


def floors_of(specs: tuple[SignalSpec, ...]) -> NDArray[np.float64]:
    """Return the scale floor (S,) of each signal."""
    return np.array([FLOORS[spec.unit] for spec in specs], np.float64)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the detector says of one sample: for the database, for alerting, for people.

    `spared` and `expected`: unusual, and an operator's verdict kept it from being an alarm.
    """

    raw: float | None
    threshold: float | None
    alarmed: bool
    state: AnomalyState
    findings: tuple[Finding, ...]
    own_work: bool = False
    spared: bool = False
    expected: bool = False


class Scorer(Protocol):
    """Scores one sample after the other; see `LiveScorer`."""

    model: AnomalyModel

    @property
    def features(self) -> NDArray[np.float32]:
        """The surprise (1, S, 8) of the row that was scored last."""
        ...

    def score(self, window: NDArray[np.float32], hour: int) -> RowScores:
        """Score the last row of `window` (16, S)."""
        ...

    def restart(self) -> None:
        """Time has a gap here."""
        ...

    def warm(self, values: NDArray[np.float32], hours: NDArray[np.int64]) -> None:
        """Take in the last rows (16 + T, S), at `hours` (T,)."""
        ...


class AnomalyWatch:
    """Scores each sample against the model on duty.

    `number` is the lineage of the scores: the seq up to which the model has learned, below zero for one
    that was learned from the window. `seen` counts the samples of this host and interval, and decides
    what is still lacking. `scorer`: a replay knows what comes, and brings a faster one.
    """

    def __init__(
        self,
        settings: Anomaly,
        interval_seconds: float,
        scorer: Callable[[AnomalyModel], Scorer] = LiveScorer,
    ) -> None:
        self._scorer = scorer
        self._settings = settings
        self._interval = interval_seconds
        self._live: Scorer | None = None
        self._backend = NUMPY
        self._last_crossing_ns: int | None = None
        self._episode_start_ns = 0
        self._episode_hours = 0
        self._fitted_at = 0
        self._lasting = False
        self._working, self._worked = 0, False
        self._rise = 1.0
        self._said = NOTHING
        self._expected: Effect | None = None
        self._expected_at = 0  # the count of samples at which it was there
        self._name = ""
        self._trained_ms: int | None = None
        self._latencies: deque[float] = deque(maxlen=_TIMED)
        self.window = RingWindow(WINDOW_ROWS)
        self.number = 0
        self.seen = 0
        self.threshold = math.inf
        self.episodes = 0

    @property
    def learned(self) -> bool:
        """Whether the learning days have passed: before, anomalies are records."""
        return self.seen * self._interval >= self._settings.learning_days * 86_400

    @property
    def in_force(self) -> float:
        """The threshold that judges the present sample."""
        return self.threshold * self._rise * self._said.factor

    @property
    def score_threshold(self) -> float:
        """Where the threshold stands on the shown score."""
        return self._settings.score_threshold

    @property
    def lasting(self) -> bool:
        """Whether the model on duty came from the child, and is not to be replaced from the window."""
        return self._lasting

    @property
    def latency(self) -> float | None:
        """How many seconds the model on duty takes for one sample, the middle one of the last; None = none yet."""
        return sorted(self._latencies)[len(self._latencies) // 2] if self._latencies else None

    @property
    def trained_ms(self) -> int | None:
        """When the model on duty was made (UTC), None = it is none that lasts."""
        return self._trained_ms

    @property
    def name(self) -> str:
        """The name of the model on duty, "" for none and for one that was learned from the window."""
        return self._name

    @property
    def model(self) -> AnomalyModel | None:
        """The model on duty."""
        return self._live.model if self._live else None

    def reconfigure(self, settings: Anomaly) -> None:
        """Follow changed settings from the next sample on; the threshold follows at its next step."""
        self._settings = settings

    def use_backend(self, backend: Backend) -> None:
        """Compute networks with `backend` from the next sample on."""
        self._backend = backend
        if self._live and self._live.model.network:
            self._live.model.network.use(backend)

    @contextmanager
    def own_work(self) -> Iterator[None]:
        """Mark what is sampled meanwhile: the daemon's own learning is no news of this host."""
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1
            self.note_own_work()

    def note_own_work(self) -> None:
        """Mark the next sample: it shows what the daemon itself has just done."""
        self._worked = True

    def adopt(
        self, model: AnomalyModel, number: int, name: str, trained_ms: int | None, threshold: float | None = None
    ) -> None:
        """Put `model` on duty from the next sample on. `threshold`: the one it had before a restart.

        `name` is "" for a model that was learned from the window and lasts until the next one.
        """
        if model.network:
            model.network.use(self._backend)
        self._live = self._scorer(model)
        self._latencies.clear()
        self.number, self._name, self._trained_ms, self._lasting = number, name, trained_ms, bool(name)
        budget = self._settings.episodes_per_week
        self.threshold = threshold or budget_threshold(
            model.quiet_scores, self._interval, budget, model.least_threshold
        )
        self._warm()

    def _warm(self) -> None:
        """Give the scorer the last 15 scores, as if it had been on duty."""
        if self._live is None:
            return
        rows = self.window.recent(self._live.model.signal_ids, WINDOW + SCORE_SPAN)
        self._live.warm(rows, np.array(self.window.recent_hours(SCORE_SPAN)))

    def wants_to_learn(self) -> bool:
        """Whether to learn from the window now: at 60 samples and at each doubling, until there is a lasting model."""
        return not self._lasting and self.window.filled >= max(MINIMUM_ROWS, 2 * self._fitted_at)

    def lesson(self, registry: SignalRegistry, oldest: int | None = None) -> Callable[[], AnomalyModel]:
        """Copy what there is to learn from, between two ticks; the answer learns from it.

        It makes a model without a network, blocks for some 10 ms, and is called off the loop. It raises
        ValueError where the window holds nothing to learn from. `oldest` rows: what an earlier run learned from.
        """
        self._fitted_at = self.window.filled if oldest is None else oldest
        values, hours = self.window.reference(registry.ids, oldest)
        ids, floors = registry.ids.tolist(), floors_of(registry.specs)
        return lambda: fit_model(values, hours, ids, floors, with_network=False)

    def next_threshold(self, scores: NDArray[np.float64]) -> Callable[[], float]:
        """Return what computes the threshold that follows `scores` of 28 days by one step; called off the loop."""
        quiet, least = (self.model.quiet_scores, self.model.least_threshold) if self.model else (np.zeros(0), 0.0)
        current, budget = self.threshold, self._settings.episodes_per_week
        return lambda: next_threshold(current, scores, self._interval, budget, quiet, least=least)

    def may_learn_again(self, scores: NDArray[np.float64]) -> bool:
        """Tell from the serving model's `scores` (T,) whether the last day is one to learn from, or a decay going on.

        Quiet time scores next to nothing; a day half of which is near the threshold would become normal with the
        next model. What lasts for 28 days is how the host is now.
        """
        day = int(_DAY_SECONDS / self._interval)
        if len(scores) == 0 or len(scores) >= REFERENCE_DAYS * day:
            return True
        return float(np.median(scores[-day:])) <= _UNLIKE_RATIO * self.threshold

    def observe(
        self,
        registry: SignalRegistry,
        values: NDArray[np.float32],
        passage: Passage,
        now_ns: int,
        *,
        expected: bool = False,
        said: Standing = NOTHING,
    ) -> Verdict:
        """Take in the row `values` (S,) of `registry.ids` and judge it.

        `expected`: a job runs that always ran at this hour; only what is well above the threshold raises an alarm
        then. `said`: what operators' verdicts are now. They move alarms, never what is learned: what they keep from
        an alarm teaches the next model as little as an alarm would. A sample of own work may keep an alarm up but
        raise none, and what follows does not look back on it.
        """
        self._rise = _EXPECTED_RISE if expected else 1.0
        self._said = said
        own_work, self._worked = self._working > 0 or self._worked or self.seen < _FIRST, False
        verdict = self._judge(registry, values, passage, now_ns, own_work=own_work)
        if own_work:
            self.window.blank()
            if self._live:
                self._live.restart()
        return replace(verdict, own_work=own_work)

    def _judge(
        self,
        registry: SignalRegistry,
        values: NDArray[np.float32],
        passage: Passage,
        now_ns: int,
        *,
        own_work: bool,
    ) -> Verdict:
        self.seen += 1
        if passage.gap:
            self.window.push_gap(passage.hour)
            if self._live:
                self._live.restart()
        self.window.push(registry.ids, values, passage.hour)
        if self._live is None:
            return Verdict(None, None, alarmed=False, state=self._state(None), findings=())
        model = self._live.model
        window = self.window.recent(model.signal_ids, WINDOW)
        began = time.perf_counter()
        score = self._live.score(window, passage.hour)
        self._latencies.append(time.perf_counter() - began)
        raw = float(score.raw[0])
        if math.isnan(raw):  # nothing of this row is known: neither usual nor unusual
            return Verdict(None, None, alarmed=False, state=self._state(None), findings=())
        top = ranking(score.attribution[0], _TOP)
        specs = [registry.spec_of(model.signal_ids[column]) for column, _ in top]
        unusual = raw > self.threshold * self._rise and not own_work
        above = raw > self.in_force and not own_work
        shares = self._network_shares([column for column, _ in top], score.surprise[0], alarmed=above)
        contributors: tuple[Contributor, ...] = ()
        if raw > RELEASE_RATIO * self.in_force:
            directions = Directions(model.context, window, self._live.features[0])
            contributors = tuple(
                _contributor(
                    spec,
                    expected_range(model.context, column, passage.hour),
                    directions,
                    column,
                    value=float(window[-1, column]),
                    surprise=float(score.attribution[0, column]),
                    network_share=network_share,
                )
                for spec, (column, _), network_share in zip(specs, top, shares, strict=True)
            )
        harmed = self._harm(registry, window[-1], passage.hour) if above else ""
        foretold = self._is_expected(contributors, raw / self.in_force, felt=bool(harmed)) if above else False
        alarmed = above and not foretold
        if alarmed:
            self._count_episode(now_ns)
        if unusual:
            self.window.mark_alarmed()
        contributions = tuple((spec.name, share) for spec, (_, share) in zip(specs, top, strict=True))
        state = self._state(score, contributions, shares)
        findings = self._findings(raw, state, contributors, alarmed=alarmed, harmed=harmed if alarmed else "")
        return Verdict(raw, self.in_force, alarmed, state, findings, spared=unusual and not above, expected=foretold)

    def _is_expected(self, contributors: tuple[Contributor, ...], strength: float, *, felt: bool) -> bool:
        """Tell whether an operator has called this expected, or it is what the score still shows of such a thing.

        When it ends, the score looks back on it for a while, and other signals are the most surprising ones.
        """
        found = self._said.expected(contributors, strength, felt=felt)
        if found is not None:
            self._expected, self._expected_at = found, self.seen
            return True
        last = self._expected
        lately = self.seen - self._expected_at <= _LOOKS_BACK and last in self._said.exclusions
        return lately and last is not None and last.bears(strength, felt=felt)

    def _harm(self, registry: SignalRegistry, row: NDArray[np.float32], hour: int) -> str:
        """Say what of the present `row` (S,) of the model's signals hurts, "" = nothing."""
        if self._live is None:
            return ""
        model = self._live.model
        named = [(column, registry.spec_of(number)) for column, number in enumerate(model.signal_ids)]
        return harm(
            Reading(spec, float(row[column]), *expected_range(model.context, column, hour))
            for column, spec in named
            if tells_of_harm(spec)
        )

    def _network_shares(self, columns: list[int], surprise: NDArray[np.float32], *, alarmed: bool) -> tuple[float, ...]:
        """Return why the network fired, of the signals in `columns`; NaN without an alarm or a network."""
        if not alarmed or self._live is None or self._live.model.network is None:
            return (math.nan,) * len(columns)
        inputs = network_inputs(self._live.features, self._live.model.context.moving)
        order = np.argsort(-surprise, kind="stable")[:TOP_SIGNALS].tolist()  # the network's, by surprise (S,)
        shares = dict(zip(order, network_shares(self._live.model.network, inputs).tolist(), strict=False))
        return tuple(shares.get(column, 0.0) for column in columns)

    def _findings(
        self, raw: float, state: AnomalyState, contributors: tuple[Contributor, ...], *, alarmed: bool, harmed: str
    ) -> tuple[Finding, ...]:
        """Return the anomaly, and once more where it is felt; the latter is kept up as long as the former."""
        if raw <= RELEASE_RATIO * self.in_force:
            return ()
        raised, holding = (Strength.RAISED, Strength.HOLDING)
        evidence = (state.shown, self._settings.score_threshold, contributors)
        return (
            Finding("Anomaly", "anomaly", "", raised if alarmed else holding, "unusual", *evidence),
            Finding(
                "AnomalyWithImpact",
                "anomaly",
                "",
                raised if harmed else holding,
                f"unusual, and felt: {harmed}" if harmed else "unusual, and was felt",
                *evidence,
            ),
        )

    def _count_episode(self, now_ns: int) -> None:
        """Count episodes as the budget does: runs merged below 15 min, each started hour counts again."""
        last, self._last_crossing_ns = self._last_crossing_ns, now_ns
        if last is None or (now_ns - last) / 1e9 > MERGE_SECONDS:
            self._episode_start_ns, self._episode_hours = now_ns, 0
        hours = int((now_ns - self._episode_start_ns) / 1e9 // RENOTIFY_SECONDS) + 1
        self.episodes += hours - self._episode_hours
        self._episode_hours = hours

    def _state(
        self,
        score: RowScores | None,
        contributions: tuple[tuple[str, float], ...] = (),
        network_shares: tuple[float, ...] = (),
    ) -> AnomalyState:
        raw = None if score is None else float(score.raw[0])
        network = None if score is None or math.isnan(float(score.network[0])) else float(score.network[0])
        return AnomalyState(
            shown=None if raw is None else shown_score(raw, self.in_force, self._settings.score_threshold),
            raw=raw,
            threshold=None if raw is None else self.in_force,
            network=network,
            contributions=contributions,
            episodes=self.episodes,
            learning=self._lacking(),
            model=self._name,
            trained_ms=self._trained_ms,
            network_shares=network_shares,
        )

    def _lacking(self) -> str:
        """Say in words what is still lacking, "" = nothing."""
        if self._live is None:
            left = max(0, MINIMUM_ROWS - self.window.filled)
            wait = f"; the first score comes in {_span(left * self._interval)}" if left else ""
            return f"learning: {MINIMUM_ROWS - left} of {MINIMUM_ROWS} samples{wait}"
        parts = []
        if not self.learned:
            seen = _span(self.seen * self._interval)
            parts.append(
                f"{seen} of {_span(self._settings.learning_days * 86_400.0)}; anomalies are recorded, not sent"
            )
        if self._live.model.network is None:
            needed = self._settings.network_after_samples
            parts.append(f"the network is trained after {needed} samples, {min(self.seen, needed)} seen")
        return "learning: " + "; ".join(parts) if parts else ""


def _contributor(
    spec: SignalSpec,
    expected: tuple[float, float],
    directions: Directions,
    column: int,
    *,
    value: float,
    surprise: float,
    network_share: float,
) -> Contributor:
    low, high = expected
    if spec.unit is not Unit.CELSIUS:
        low, high = max(low, 0.0), max(high, 0.0)
    return Contributor(
        spec.name,
        spec.unit,
        spec.family,
        spec.resource,
        value,
        low,
        high,
        surprise,
        directions.of(column, low, high),
        *directions.recent(column),
        network_share,
    )


def _span(seconds: float) -> str:
    for size, name in ((86_400.0, "day"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {name}{'s' if name == 'day' and count != 1 else ''}"
    return f"{int(seconds)} s"
