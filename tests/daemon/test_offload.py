import asyncio
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest

from daemon.errors import DeadlineExceeded, Overloaded
from daemon.offload import Call, Lane, Offload


@pytest.fixture
def lane():
    lane = Lane("test")
    yield lane
    lane.close()


@pytest.fixture
def release():
    """Blocked calls wait for it; it is set at the end, so that no thread outlives its test."""
    event = threading.Event()
    yield event
    event.set()


def by_key(outcomes):
    assert len({outcome.key for outcome in outcomes}) == len(outcomes)
    return {outcome.key: outcome for outcome in outcomes}


def until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_a_lane_gives_values_and_errors(lane):
    def fail():
        raise OSError(5, "I/O error")

    outcomes = by_key(lane.run_each([Call("a", lambda: 1, 1.0), Call("b", fail, 1.0), Call("c", lambda: 3, 1.0)]))
    assert outcomes["a"].value == 1
    assert outcomes["a"].error is None
    assert isinstance(outcomes["b"].error, OSError)
    assert outcomes["c"].value == 3
    assert lane.run_each([]) == []


def test_a_lane_without_files_holds_none_and_hears_no_signal(tmp_path):
    lane = Lane("test", holds_files=False)

    def look():
        own = {int(path.name) for path in Path("/proc/thread-self/fd").iterdir()}
        return own, signal.pthread_sigmask(signal.SIG_BLOCK, ())

    with (tmp_path / "file").open("w") as file:
        (outcome,) = lane.run_each([Call("look", look, 5.0)])
        own, blocked = outcome.value
        assert file.fileno() > 3
        assert max(own) <= 3  # the listing has its own
        assert signal.SIGTERM in blocked
        assert Path(f"/proc/self/fd/{file.fileno()}").exists()  # the others' is still there
        file.write("x")
    lane.close()


def test_an_overrun_is_abandoned_within_its_deadline_and_the_rest_goes_on(lane, release):
    calls = [Call("a", lambda: 1, 1.0), Call("dead", release.wait, 0.2), Call("c", lambda: 3, 1.0)]
    begin = time.monotonic()
    outcomes = by_key(lane.run_each(calls))
    assert 0.2 <= time.monotonic() - begin < 1.0
    assert outcomes["a"].value == 1
    assert outcomes["c"].value == 3
    assert isinstance(outcomes["dead"].error, DeadlineExceeded)
    assert lane.stuck == {"dead"}


def test_a_stuck_key_is_refused_at_once_and_usable_when_it_came_back(lane, release):
    started = []

    def block():
        started.append(1)
        release.wait()
        return "back"

    lane.run_each([Call("dead", block, 0.05)])
    begin = time.monotonic()
    outcomes = by_key(lane.run_each([Call("dead", block, 5.0), Call("a", lambda: 1, 1.0)]))
    assert time.monotonic() - begin < 1.0
    assert isinstance(outcomes["dead"].error, DeadlineExceeded)
    assert outcomes["a"].value == 1
    assert len(started) == 1
    release.set()
    until(lambda: not lane.stuck)
    (outcome,) = lane.run_each([Call("dead", block, 1.0)])
    assert outcome.value == "back"


def test_abandoned_threads_end_when_their_call_returns(lane, release):
    lane.run_each([Call(f"dead{n}", release.wait, 0.02) for n in range(5)])
    assert sum(thread.name == "test" for thread in threading.enumerate()) == 6
    release.set()
    until(lambda: sum(thread.name == "test" for thread in threading.enumerate()) == 1)
    assert lane.stuck == frozenset()


def test_a_budget_ends_a_round_of_stuck_calls(lane, release):
    calls = [Call(f"dead{n}", release.wait, 0.1) for n in range(20)]
    begin = time.monotonic()
    outcomes = by_key(lane.run_each(calls, budget_seconds=0.25))
    assert time.monotonic() - begin < 1.0
    assert len(outcomes) == 20
    assert all(isinstance(outcome.error, DeadlineExceeded) for outcome in outcomes.values())
    assert 1 <= len(lane.stuck) <= 3  # those not tried are not stuck; a busy machine wakes us late


def test_a_second_caller_of_a_lane_waits_its_turn_and_is_not_taken_for_stuck(lane):
    slow = threading.Thread(target=lane.run_each, args=([Call("slow", lambda: time.sleep(0.3), 5.0)],))
    slow.start()
    time.sleep(0.05)
    (outcome,) = lane.run_each([Call("quick", lambda: 1, 0.1)])
    slow.join()
    assert outcome.value == 1
    assert lane.stuck == frozenset()


async def test_offload_gives_the_value_and_hands_on_the_error():
    offload = Offload()
    assert await offload.run(lambda: 7, deadline_seconds=5, what="sum") == 7

    def fail():
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        await offload.run(fail, deadline_seconds=5, what="fail")
    offload.close()


async def test_offload_does_not_block_the_loop_and_reuses_its_threads(release):
    offload = Offload(lanes=2)
    names = set()

    def work():
        names.add(threading.current_thread().name)

    waiting = asyncio.create_task(offload.run(release.wait, deadline_seconds=5, what="wait"))
    await asyncio.sleep(0)
    for _ in range(20):
        await offload.run(work, deadline_seconds=5, what="work")
    assert len(names) == 1
    release.set()
    assert await waiting is True
    offload.close()


async def test_offload_abandons_at_the_deadline_and_the_slot_comes_back(release):
    offload = Offload(lanes=1)
    begin = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"disk did not end within 0\.1 s"):
        await offload.run(release.wait, deadline_seconds=0.1, what="disk")
    assert time.monotonic() - begin < 1.0
    with pytest.raises(Overloaded, match="next: every thread"):
        await offload.run(lambda: 1, deadline_seconds=0.1, what="next")
    release.set()
    assert await offload.run(lambda: 2, deadline_seconds=5, what="after") == 2
    offload.close()


async def test_a_timeout_of_the_work_itself_is_not_taken_for_our_deadline():
    offload = Offload()

    def fail():
        raise TimeoutError("the peer did not answer")

    with pytest.raises(TimeoutError, match="the peer did not answer"):
        await offload.run(fail, deadline_seconds=5, what="peer")
    offload.close()


async def test_a_stop_iteration_reaches_the_caller():
    offload = Offload()
    with pytest.raises(RuntimeError, match="walk raised StopIteration"):
        await offload.run(lambda: next(iter(())), deadline_seconds=5, what="walk")
    offload.close()


async def test_a_cancelled_caller_leaves_the_slot_to_the_next(release):
    offload = Offload(lanes=1)
    task = asyncio.create_task(offload.run(release.wait, deadline_seconds=5, what="wait"))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()
    assert await offload.run(lambda: 1, deadline_seconds=5, what="next") == 1
    offload.close()


STUCK = """
import asyncio, threading
from daemon.errors import DeadlineExceeded
from daemon.offload import Call, Lane, Offload

async def main():
    try:
        await Offload().run(threading.Event().wait, deadline_seconds=0.1, what="dead")
    except DeadlineExceeded:
        print("abandoned")

Lane("lane").run_each([Call("dead", threading.Event().wait, 0.1)])
asyncio.run(main())
"""


def test_the_process_ends_although_threads_are_stuck():
    begin = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "abandoned\n", "")
    assert time.monotonic() - begin < 10


async def test_an_idle_thread_keeps_nothing_of_what_it_has_run():
    class Much:
        pass

    offload, much = Offload(), Much()
    known = weakref.ref(much)
    assert await offload.run(lambda much=much: much, deadline_seconds=5.0, what="much") is much
    del much
    async with asyncio.timeout(5.0):
        while known() is not None:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
    offload.close()
