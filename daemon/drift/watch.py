"""Drift, hour by hour: the check off the loop, what it says of each network, a record of what drifted.

Enters: the time of the last training, which signals each network is given. Leaves: the state, findings that hold until
the next check. Whatever fails costs one check; nothing is ever sent by default.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from alerting.render import rfc3339
from daemon.capacity.state import CapacityState
from daemon.capacity.watch import CapacityWatch
from daemon.clock import Clock
from daemon.config import Drift
from daemon.drift.check import Asked, Checked, DriftCheck
from daemon.drift.outputs import NOTHING, NetworkAnswers
from daemon.drift.state import MOST_SIGNALS, DriftState, NetworkDrift, SignalDrift, from_text
from daemon.errors import PresagedError
from daemon.offload import Offload
from daemon.risk.state import RiskState
from daemon.signals import SignalRegistry
from daemon.state import StateDatabase
from daemon.watch import AnomalyWatch
from detectors.drift import Verdict, level_of
from detectors.factors import feeds
from detectors.findings import Finding, Strength

_log = structlog.get_logger()

CHECK_SECONDS = 3600.0
DEADLINE_SECONDS = 120.0
ALERTNAME = "DataDrift"

_META = "drift.state"
_STORE_SECONDS = 5.0
_HOLDING = 0.5  # of the warning: an open record stays open down to there
_NAMED = 3  # signals in a sentence

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Learned:
    """What the models rest on: when the anomaly model was made, None = none yet, its number; signals by network."""

    time_ms: int | None
    model: int
    signals: Mapping[str, frozenset[int]]


def learned(watch: AnomalyWatch, capacity: CapacityWatch, registry: SignalRegistry) -> Learned:
    """Return what the models on duty rest on, and of which signals the networks' inputs are made."""
    model = watch.model
    names = {name for one in capacity.known[0] for name in one.signals}
    known = list(zip(registry.ids.tolist(), registry.specs, strict=True))
    signals = {
        "anomaly": frozenset(model.signal_ids if model else ()),
        "capacity": frozenset(number for number, spec in known if spec.name in names),
        "failure": frozenset(number for number, spec in known if feeds(spec)),
    }
    return Learned(watch.trained_ms, watch.number, signals)


class DriftWatch:
    """Keeps the state of drift. `learned` is asked at every check; called on the event loop only."""

    def __init__(
        self,
        config: Drift,
        check: DriftCheck,
        *,
        registry: SignalRegistry,
        state: StateDatabase,
        offload: Offload,
        clock: Clock,
        learned: Callable[[], Learned],
    ) -> None:
        self.config = config
        self._check = check
        self._registry = registry
        self._store = state
        self._offload = offload
        self._clock = clock
        self._learned = learned
        self._answers = NetworkAnswers()
        self.state = DriftState()

    def restore(self) -> None:
        """Take up what the last process knew; blocks, before the first tick."""
        self._answers.load(self._check.folder)
        text = self._store.meta(_META)
        try:
            self.state = from_text(text) if text else DriftState()
        except ValueError as error:  # the next check knows it anew
            _log.warning("drift_not_read", reason=str(error))

    def observe(self, now_ms: int, capacity: CapacityState, risk: RiskState) -> None:
        """Take what networks answered at this tick."""
        self._answers.observe(now_ms, capacity, risk)

    async def check(self) -> str:
        """Check now and return a few words; a job of the scheduler. Raises PresagedError, sqlite3.Error."""
        now_ms = self._clock.now().time_ms
        learned = self._learned()
        ids = self._registry.ids.tolist()
        self._answers.forget(learned.time_ms, now_ms)
        asked = Asked(learned.time_ms, learned.model, ids, self.config.warning, self._answers.copied())
        checked = await self._offload.run(
            lambda: self._check.run(now_ms, asked),
            deadline_seconds=DEADLINE_SECONDS,
            what="drift",
        )
        if isinstance(checked, str):
            self.state = DriftState(missing=checked, signals=len(ids), time_ms=now_ms)
        else:
            self.state = self._told(checked, learned, now_ms)
        await self._remember()
        return self.state.missing or f"{self.state.level}: {self.state.drifted} of {self.state.judged} signals"

    async def _remember(self) -> None:
        text = self.state.to_text()
        try:
            await self._offload.run(
                lambda: self._store.set_meta(_META, text), deadline_seconds=_STORE_SECONDS, what="state.db"
            )
        except PresagedError as error:  # it is known until the next start
            _log.warning("drift_not_stored", reason=str(error))

    def _told(self, checked: Checked, learned: Learned, now_ms: int) -> DriftState:
        verdict, ids = checked.verdict, checked.ids
        score = verdict.score()
        return DriftState(
            missing="" if score is not None else "a day tells too little of most signals: they change too slowly",
            level=level_of(score, self.config.warning, self.config.critical),
            score=score,
            signals=len(ids),
            judged=int(verdict.judged.sum()),
            drifted=int(verdict.drifted.sum()),
            examples=self._examples(verdict, ids.tolist(), MOST_SIGNALS),
            networks=tuple(
                self._network(name, checked, np.isin(ids, list(given))) for name, given in learned.signals.items()
            ),
            time_ms=now_ms,
            first_ms=checked.span.first_ms,
            end_ms=checked.span.end_ms,
            earlier=checked.earlier,
        )

    def _examples(self, verdict: Verdict, ids: Sequence[int], most: int) -> tuple[SignalDrift, ...]:
        rows = np.flatnonzero(verdict.drifted)
        farthest = rows[np.argsort(-verdict.distance[rows], kind="stable")][:most].tolist()
        return tuple(
            SignalDrift(
                self._registry.spec_of(ids[row]).name,
                round(float(verdict.distance[row]), 4),
                float(f"{verdict.probability[row]:.3g}"),
                round(float(verdict.effective[row]), 1),
            )
            for row in farthest
        )

    @staticmethod
    def _network(name: str, checked: Checked, given: Flags) -> NetworkDrift:
        verdict = checked.verdict
        judged, drifted = int((verdict.judged & given).sum()), int((verdict.drifted & given).sum())
        told = checked.outputs.get(name, NOTHING)
        return NetworkDrift(name, verdict.score(given), judged, drifted, told.share, told.judged, told.drifted)

    def findings(self) -> Iterator[Finding]:
        """Yield a record for each network whose inputs drifted by the warning or more."""
        state, warning = self.state, self.config.warning
        for one in state.networks:
            if one.inputs is None or one.inputs < _HOLDING * warning:
                continue
            strength = Strength.RAISED if one.inputs >= warning else Strength.HOLDING
            farthest = ", ".join(f"{each.signal} ({each.distance:.2f})" for each in state.examples[:_NAMED])
            until = rfc3339(state.end_ms or 0)[:10]
            detail = (
                f"{one.drifted} of {one.judged} signals that the {one.network} network is made of no longer follow the "
                f"days until {until}: {farthest}"
            )
            if one.outputs_drifted:
                detail += "; what it answers drifted too"
            yield Finding(ALERTNAME, "drift", one.network, strength, detail, one.inputs, warning)
