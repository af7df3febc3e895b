"""The refinements of capacity and failure that a person asks for, one after the other.

Enters: who refines each network. Leaves: a training for each order, which says how far it is and how it ended, among
those of the anomaly network. The schedule goes on beside them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from daemon.clock import Clock
from daemon.errors import PresagedError
from daemon.models.training import Training, Trainings

_log = structlog.get_logger()

Say = Callable[[float, str], None]
Refine = Callable[[Say], Awaitable[tuple[bool, str]]]  # whether a refined network serves now, and what came of it


class ByHand:
    """Takes orders and carries them out. `refiners`: by network."""

    def __init__(self, refiners: Mapping[str, Refine], trainings: Trainings, clock: Clock) -> None:
        self._refiners = refiners
        self._trainings = trainings
        self._clock = clock
        self._waiting: dict[str, Training] = {}  # by network: an order that waits takes in the next one
        self._current: Training | None = None
        self._running: asyncio.Task[tuple[bool, str]] | None = None
        self._due = asyncio.Event()

    def ask(self, network: str) -> Training:
        """Refine `network`; an order that waits or runs already is the same."""
        if self._current is not None and self._current.network == network:
            return self._current
        if network not in self._waiting:
            self._waiting[network] = self._trainings.begin("hand", self._clock.now().time_ms, network)
            self._due.set()
        return self._waiting[network]

    def cancel(self, training: Training) -> bool:
        """Stop a refinement that waits or runs: its child is killed. False where it is over, or none of these."""
        if self._waiting.get(training.network) is training:
            del self._waiting[training.network]
            training.end(self._clock.now().time_ms, "cancelled", "cancelled before it began")
            return True
        return training is self._current and self._running is not None and self._running.cancel()

    async def run(self) -> None:
        """Carry out what is asked, until cancelled."""
        while True:
            await self._due.wait()
            self._due.clear()
            while self._waiting:
                network = next(iter(self._waiting))
                await self._carry_out(self._waiting.pop(network))

    async def _carry_out(self, training: Training) -> None:
        def say(share: float, text: str) -> None:
            training.say(self._clock.now().time_ms, share, text)

        async def refine() -> tuple[bool, str]:
            return await self._refiners[training.network](say)

        training.outcome = "running"
        self._current, self._running = training, asyncio.create_task(refine(), name="refinement")
        try:
            serves, words = await self._running
            training.end(self._clock.now().time_ms, "promoted" if serves else "refused", words)
        except PresagedError as error:
            training.end(self._clock.now().time_ms, "failed", str(error))
            _log.warning("refinement_failed", network=training.network, reason=str(error))
        except asyncio.CancelledError:
            training.end(self._clock.now().time_ms, "cancelled", "cancelled")
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # the daemon stops
                self._running.cancel()
                raise
        finally:
            self._current = self._running = None
