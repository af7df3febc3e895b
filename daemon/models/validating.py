"""What the rules of promotion would say of a model today, asked by a person: judged in the child, acted on by nobody.

Enters: the names of models. Leaves: a judgement each, kept in memory until twenty newer ones are there. What the gate
did with a challenger is in the lineage; this answers for any model, at any time.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from daemon.clock import Clock
from daemon.errors import PresagedError, WorkerError
from daemon.models.promotion import Promotion
from detectors.registry import ModelError

_MOST = 20

Stage = Literal["waiting", "running", "done", "failed"]


@dataclass
class Validation:
    """One judgement: `passes` and `reasons` why not, beside the champion it was held against. `text`: why it failed."""

    model: str
    asked_ms: int
    stage: Stage = "waiting"
    ended_ms: int | None = None
    champion: str = ""
    passes: bool | None = None
    reasons: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    text: str = ""


class Validations:
    """The newest judgement of each model. Nothing else waits for one: a champion that must leave does so meanwhile."""

    def __init__(self, promotion: Promotion, clock: Clock) -> None:
        self._promotion = promotion
        self._clock = clock
        self._due = asyncio.Event()
        self._kept: dict[str, Validation] = {}

    def ask(self, name: str) -> Validation:
        """Judge the model `name` as soon as the child is free; one that waits or runs already is the same."""
        known = self._kept.pop(name, None)
        if known is None or known.ended_ms is not None:
            known = Validation(name, self._clock.now().time_ms)
        self._kept[name] = known
        over = [one.model for one in self._kept.values() if one.ended_ms is not None]
        for old in over[: max(0, len(self._kept) - _MOST)]:
            del self._kept[old]
        self._due.set()
        return known

    def get(self, name: str) -> Validation | None:
        """Return the newest one of the model `name`."""
        return self._kept.get(name)

    async def run(self) -> None:
        """Judge what is asked for, until cancelled."""
        while True:
            await self._due.wait()
            await self.catch_up()

    async def catch_up(self) -> None:
        """Judge all that wait."""
        self._due.clear()
        for one in [one for one in self._kept.values() if one.stage == "waiting"]:
            one.stage = "running"
            try:
                one.champion, verdict = await self._promotion.validate(one.model)
                _take(one, verdict)
            except (PresagedError, ModelError, OSError) as error:
                one.stage, one.text = "failed", str(error)
            finally:
                if one.stage == "running":  # the daemon stops
                    one.stage, one.text = "failed", "it was cut off"
                one.ended_ms = self._clock.now().time_ms


def _take(one: Validation, verdict: Mapping[str, object]) -> None:
    """Note what the child said. Raises WorkerError for what is no verdict."""
    passes, reasons, metrics = (verdict.get(key) for key in ("passes", "reasons", "metrics"))
    if not isinstance(passes, bool) or not isinstance(reasons, list | tuple) or not isinstance(metrics, Mapping):
        raise WorkerError(f"the job judge said something that is not understood: {verdict}")
    try:
        one.metrics = {str(key): float(value) for key, value in metrics.items()}
    except (ValueError, TypeError) as error:
        raise WorkerError(f"the job judge said a figure that is none: {error}") from error
    one.passes, one.reasons, one.stage = passes, tuple(str(reason) for reason in reasons), "done"
