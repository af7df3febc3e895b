"""What `presage top` knows: asked of the daemon by a thread of its own, so that no key waits for an answer.

Enters: the configuration. Leaves: one immutable `Facts` after the other. It asks often what changes with each sample,
seldom what changes by the hour, goes on asking while the daemon is down, and keeps the last answers until it is back.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from alerting.policy import DRILL
from daemon.cli import client
from daemon.cli.explain import ODD, unit_of
from daemon.config import Loaded
from daemon.drift.answers import DriftAnswer
from daemon.errors import DaemonError
from daemon.models.answers import ModelsAnswer
from daemon.risk.answers import RiskAnswer
from daemon.web.api import ChangeAnswer, StatusAnswer
from daemon.web.forecast_answers import ForecastAnswer
from detectors.findings import Unit

HOUR_SECONDS = 3600.0
_LEAST_SECONDS, _MOST_SECONDS = 2.0, 5.0  # between two looks at what changes with each sample
_SLOW_SECONDS = 30.0
_AGAIN_SECONDS = 2.0  # after no answer
_CHANGES = 8
_SCORE = "anomaly.score"
_POINTS, _LEAST_POINTS = 240, 10
_DAY_SECONDS = 86_400.0
_LISTED = 1000
_MONTH_SECONDS = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class Sent:
    """What was told of in the last 30 days: how many alerts, and what was said of them. `partly`: there were more."""

    alerts: int
    real: int
    false: int
    expected: int
    partly: bool = False


@dataclass(frozen=True, slots=True)
class Unusual:
    """A signal that has most of the score. `low` to `high` is usual, or where not `expected` all of the last day.

    `share`: of the score, None for what a finding says. `odd`: in what way it is unusual, "" = not told.
    """

    signal: str
    unit: Unit
    value: float | None
    low: float | None
    high: float | None
    expected: bool
    share: float | None = None
    odd: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known at one moment; None = not answered yet. `problem`: why there is nothing newer.

    `scores`: (UTC seconds, shown score), the oldest first, of the last hour.
    """

    status: StatusAnswer | None = None
    at: float = 0.0
    problem: str = ""
    forecasts: tuple[ForecastAnswer, ...] | None = None
    risk: RiskAnswer | None = None
    drift: DriftAnswer | None = None
    models: ModelsAnswer | None = None
    changes: tuple[ChangeAnswer, ...] | None = None
    unusual: tuple[Unusual, ...] = ()
    sent: Sent | None = None
    scores: tuple[tuple[float, float], ...] = ()


class Watcher(threading.Thread):
    """Asks until it is told to stop; `told` is called whenever there is something newer."""

    def __init__(self, loaded: Loaded, told: Callable[[], None]) -> None:
        super().__init__(daemon=True, name="facts")
        self._loaded = loaded
        self._told = told
        self._now = threading.Event()
        self._over = False
        self._slow_at = float("-inf")
        self._sampled: str | None = ""
        self._ranges: dict[str, tuple[float | None, float | None]] = {}
        self.facts = Facts()
        self.fault: Exception | None = None

    def ask_now(self) -> None:
        """Look again at once, at what changes seldom too: something was just done."""
        self._slow_at = float("-inf")
        self._now.set()

    def stop(self) -> None:
        """End soon."""
        self._over = True
        self._now.set()

    def run(self) -> None:
        """Ask, again and again; a fault of ours is kept for who draws, or it would be printed over the picture."""
        while not self._over:
            try:
                pause = self._look()
            except Exception as error:  # noqa: BLE001 - it is raised again where the terminal is given back first
                self.fault = error
                self._told()
                return
            if self._over:
                return
            self._told()
            self._now.wait(pause)
            self._now.clear()

    def _look(self) -> float:
        """Ask once, and return after how many seconds to ask again."""
        try:
            status = client.fetch_status(self._loaded)[0]
            facts = replace(self.facts, status=status, at=time.time(), problem="")
            if self.facts.status is not None and self.facts.status.started_at != status.started_at:
                self._slow_at = float("-inf")  # it was restarted
            if status.last_sample_at != self._sampled:
                facts = replace(facts, scores=self._scores(facts, status), unusual=self._unusual(status))
                self._sampled = status.last_sample_at
            self.facts = facts
            if time.monotonic() - self._slow_at >= _SLOW_SECONDS:
                self._told()  # what is known already need not wait for the rest
                self._look_at_the_rest()
                self._slow_at = time.monotonic()
        except DaemonError as error:
            self._slow_at = float("-inf")
            self.facts = replace(self.facts, problem=str(error))
            return _AGAIN_SECONDS
        return min(_MOST_SECONDS, max(_LEAST_SECONDS, status.interval_seconds))

    def _look_at_the_rest(self) -> None:
        loaded = self._loaded
        self._ranges.clear()  # of signals that are looked at next
        self.facts = replace(
            self.facts,
            scores=_past_scores(loaded),
            forecasts=tuple(client.fetch_forecasts(loaded)[0].forecasts),
            risk=client.fetch_risk(loaded)[0],
            drift=client.fetch_drift(loaded)[0],
            models=client.fetch_models(loaded)[0],
            changes=tuple(client.fetch_changes(loaded, _CHANGES)[0].changes),
            sent=_sent(loaded),
        )

    def _unusual(self, status: StatusAnswer) -> tuple[Unusual, ...]:
        """Return what has most of the score: as the finding of an anomaly says it, else with its range of a day."""
        for one in client.fetch_findings(self._loaded).findings:
            if one.network == "anomaly" and one.contributors:
                return tuple(
                    Unusual(
                        part.signal,
                        unit_of(part.unit),
                        part.value,
                        part.expected_low,
                        part.expected_high,
                        expected=True,
                        odd=ODD.get(part.direction or "", ""),
                    )
                    for part in one.contributors
                )
        parts = [] if status.anomaly is None else status.anomaly.contributions
        if not parts:
            return ()
        there = {one.name: one for one in client.fetch_signals(self._loaded, _LISTED).signals}
        parts = [part for part in parts if part.signal in there]
        if new := [part.signal for part in parts if part.signal not in self._ranges]:
            self._ranges |= _ranges(self._loaded, new)
        out = []
        for part in parts:
            low, high = self._ranges.get(part.signal, (None, None))
            unit, value = unit_of(there[part.signal].unit), there[part.signal].value
            out.append(Unusual(part.signal, unit, value, low, high, expected=False, share=part.share))
        return tuple(out)

    def _scores(self, facts: Facts, status: StatusAnswer) -> tuple[tuple[float, float], ...]:
        """Return the scores of the last hour with the newest of them."""
        anomaly, at = status.anomaly, status.last_sample_at
        kept = tuple(one for one in facts.scores if one[0] > time.time() - HOUR_SECONDS)
        if anomaly is None or anomaly.score is None or at is None:
            return kept
        return (*kept, (datetime.fromisoformat(at).timestamp(), anomaly.score))


def _past_scores(loaded: Loaded) -> tuple[tuple[float, float], ...]:
    """Return the worst scores of the last hour as they are stored."""
    past = client.fetch_history(loaded, [_SCORE], HOUR_SECONDS, _POINTS)
    worst = past.series[0].max if past.series else []
    return tuple((at / 1000, score) for at, score in zip(past.times_ms, worst, strict=False) if score is not None)


def _ranges(loaded: Loaded, signals: list[str]) -> dict[str, tuple[float | None, float | None]]:
    """Return between what the signals were in the last day."""
    past = client.fetch_history(loaded, signals, _DAY_SECONDS, _LEAST_POINTS).series
    lows = {one.signal: [low for low in one.min if low is not None] for one in past}
    highs = {one.signal: [high for high in one.max if high is not None] for one in past}
    return {name: (min(lows.get(name, ()), default=None), max(highs.get(name, ()), default=None)) for name in signals}


def _sent(loaded: Loaded) -> Sent:
    """Count what was told of in the last 30 days."""
    alerts = client.fetch_alerts(loaded, _LISTED).alerts
    since = datetime.fromtimestamp(time.time() - _MONTH_SECONDS, UTC)
    told = [
        one
        for one in alerts
        if one.sent_to and one.alertname != DRILL and datetime.fromisoformat(one.started_at or "") >= since
    ]
    words = {one.occurrence: one.verdict for one in client.fetch_verdicts(loaded)[0].verdicts}
    said = [words.get(one.occurrence, "") for one in told]
    real, false, expected = (said.count(word) for word in ("real", "false", "expected"))
    return Sent(len(told), real, false, expected, partly=len(alerts) == _LISTED)
