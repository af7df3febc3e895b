import asyncio

import pytest

from daemon.errors import WorkerError
from daemon.models.by_hand import ByHand
from daemon.models.training import Trainings


class Refiner:
    """Refines when it is let, and says what it was told to."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.go = asyncio.Event()
        self.begun = 0

    async def __call__(self, say):
        self.begun += 1
        say(0.5, "half way")
        await self.go.wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
async def orders(clock):
    started = []

    def build(**refiners):
        one = ByHand(refiners, Trainings(), clock)
        started.append(asyncio.create_task(one.run()))
        return one

    yield build
    for task in started:
        task.cancel()
    await asyncio.gather(*started, return_exceptions=True)


async def test_an_order_is_carried_out_and_told(orders, until):
    capacity, failure = Refiner((True, "refined")), Refiner((False, "refused: no reason"))
    one = orders(capacity=capacity, failure=failure)
    first, second = one.ask("capacity"), one.ask("failure")
    assert one.ask("capacity") is first
    await until(lambda: first.text == "half way")
    assert one.ask("capacity") is first  # while it runs, too
    assert (first.outcome, second.outcome, failure.begun) == ("running", "waiting", 0)  # one at a time
    capacity.go.set(), failure.go.set()
    await until(lambda: second.over)
    assert (first.network, first.outcome, first.text) == ("capacity", "promoted", "refined")
    assert (second.network, second.outcome, second.share) == ("failure", "refused", 1.0)
    assert one.ask("capacity") is not first


async def test_one_that_fails_leaves_the_others_their_turn(orders, until):
    one = orders(capacity=Refiner(WorkerError("the child was killed")), failure=Refiner((True, "refined")))
    first, second = one.ask("capacity"), one.ask("failure")
    for refiner in one._refiners.values():
        refiner.go.set()
    await until(lambda: second.over)
    assert (first.outcome, first.text) == ("failed", "the child was killed")
    assert second.outcome == "promoted"


async def test_it_can_be_stopped_before_and_while_it_runs(orders, until):
    capacity = Refiner((True, "refined"))
    one = orders(capacity=capacity, failure=Refiner((True, "refined")))
    first, second = one.ask("capacity"), one.ask("failure")
    await until(lambda: first.outcome == "running")
    assert one.cancel(second)
    assert one.cancel(first)
    await until(lambda: first.over)
    assert (first.outcome, second.outcome) == ("cancelled", "cancelled")
    assert not one.cancel(first)
    assert not one.cancel(second)
    third = one.ask("capacity")  # it goes on taking orders
    capacity.go.set()
    await until(lambda: third.over)
    assert third.outcome == "promoted"


async def test_the_end_of_the_daemon_ends_it(clock, until):
    one = ByHand({"capacity": Refiner((True, ""))}, Trainings(), clock)
    task = asyncio.create_task(one.run())
    first = one.ask("capacity")
    await until(lambda: first.outcome == "running")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert first.outcome == "cancelled"
