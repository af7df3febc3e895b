"""The last trainings: what started each, how far it is, what it said.

Enters: progress of the child. Leaves: what is told of a training while it runs and after. Kept in memory: how each
ended is in the log, the metrics and, where it failed, among the alerts.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

Outcome = Literal["waiting", "running", "promoted", "shadow", "refused", "failed", "cancelled", "postponed"]

_MOST_LINES = 500
_MOST_TRAININGS = 20
OVER: tuple[Outcome, ...] = ("promoted", "shadow", "refused", "failed", "cancelled", "postponed")


@dataclass(frozen=True, slots=True)
class Line:
    """One line that a training said: the `number`-th, from 1."""

    number: int
    time_ms: int
    share: float
    text: str


@dataclass
class Training:
    """One training. `model` is what came of it, "" = nothing (yet)."""

    id: str
    trigger: str
    started_ms: int
    network: str = "anomaly"
    outcome: Outcome = "waiting"
    ended_ms: int | None = None
    share: float = 0.0
    text: str = ""
    model: str = ""
    said: int = 0
    lines: deque[Line] = field(default_factory=lambda: deque(maxlen=_MOST_LINES))
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def over(self) -> bool:
        """Whether it says nothing more."""
        return self.outcome in OVER

    def say(self, time_ms: int, share: float, text: str) -> None:
        """Note how far it is."""
        self.share, self.text = share, text
        self.said += 1
        self.lines.append(Line(self.said, time_ms, share, text))
        self._news.set()
        self._news = asyncio.Event()  # who waits from now on waits for the next line

    def after(self, number: int, most: int) -> Sequence[Line]:
        """Return at most `most` lines after the `number`-th, oldest first; the newest 500 are kept."""
        return list(islice((line for line in self.lines if line.number > number), most))

    async def wait(self, number: int, seconds: float) -> None:
        """Return when there is a line after the `number`-th, when it is over, or after `seconds`."""
        if self.said <= number and not self.over:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._news.wait()

    def end(self, time_ms: int, outcome: Outcome, text: str) -> None:
        """Note how it ended."""
        self.outcome, self.ended_ms = outcome, time_ms
        self.say(time_ms, 1.0 if outcome in ("promoted", "shadow", "refused") else self.share, text)


class Trainings:
    """The newest 20."""

    def __init__(self) -> None:
        self._kept: dict[str, Training] = {}
        self._count = 0

    def begin(self, trigger: str, now_ms: int, network: str = "anomaly") -> Training:
        """Return a new one. Its id is "NUMBER-TIME", unique over restarts too."""
        self._count += 1
        one = Training(f"{self._count}-{now_ms}", trigger, now_ms, network)
        self._kept[one.id] = one
        over = [known.id for known in self._kept.values() if known.over]
        for old in over[: max(0, len(self._kept) - _MOST_TRAININGS)]:
            del self._kept[old]
        return one

    def get(self, number: str) -> Training | None:
        """Return the training of this id."""
        return self._kept.get(number)

    def newest(self) -> list[Training]:
        """Return all that are kept, newest first."""
        return list(self._kept.values())[::-1]
