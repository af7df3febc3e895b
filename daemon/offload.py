"""The one door for blocking work: daemon threads, a deadline on every call, stuck ones abandoned.

A `ThreadPoolExecutor` joins its threads at exit, so one `statvfs` on a dead mount would keep the
process from ending. Lanes are daemon threads: a call that overruns keeps its thread, the lane gets
a fresh one, and nothing ever waits for the lost one.
"""

import asyncio
import ctypes
import os
import queue
import resource
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import TypeVar

from daemon.errors import DeadlineExceeded, Overloaded

T = TypeVar("T")

_CLONE_FILES = 0x400
_FIRST_FILE = 3


@dataclass(frozen=True, slots=True)
class Call:
    """One piece of blocking work with its own deadline."""

    key: str
    run: Callable[[], object]
    deadline_seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call of a lane ended: `error` is None on success, DeadlineExceeded when abandoned."""

    key: str
    value: object
    error: Exception | None
    seconds: float


class _Batch:
    """Calls that one thread runs in order; `abandoned` tells it that nobody waits any more."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self.calls = calls
        self.outcomes: list[Outcome] = []
        self.started = time.monotonic()
        self.abandoned = False
        self.changed = threading.Condition()


class Lane:
    """Runs calls one after another in a daemon thread and replaces the thread that gets stuck.

    `stuck` holds the keys whose call never came back; a key in it is refused at once, so that a
    retry cannot leak a second thread and descriptor for the same dead mount. Where calls may be stuck
    for good in the kernel and need no descriptor, `holds_files` is False.
    """

    def __init__(self, name: str, *, holds_files: bool = True) -> None:
        self._name = name
        self._holds_files = holds_files
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._stuck: set[str] = set()
        self._inbox: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._start_thread()

    def _start_thread(self) -> None:
        self._inbox = queue.SimpleQueue()
        threading.Thread(target=self._serve, args=(self._inbox,), name=self._name, daemon=True).start()

    @property
    def stuck(self) -> frozenset[str]:
        """Keys whose call is still in flight after its deadline."""
        with self._lock:
            return frozenset(self._stuck)

    def _serve(self, inbox: "queue.SimpleQueue[_Batch | None]") -> None:
        if not self._holds_files:
            _let_go_of_files()
        while (batch := inbox.get()) is not None:
            for call in batch.calls:
                with batch.changed:
                    abandoned = batch.abandoned
                outcome = None if abandoned else _attempt(call, time.monotonic())
                with batch.changed:
                    if outcome is None or batch.abandoned:  # came back after all: the key may be tried again
                        with self._lock:
                            self._stuck.discard(call.key)
                        return
                    batch.outcomes.append(outcome)
                    batch.started = time.monotonic()
                    if len(batch.outcomes) == len(batch.calls):
                        batch.changed.notify()

    def run_each(self, calls: Sequence[Call], *, budget_seconds: float = inf) -> list[Outcome]:
        """Run `calls` and return one outcome each, in no set order; blocks the calling thread, boundedly.

        A call beyond its deadline is abandoned and the rest go on in a fresh thread. Once abandoned
        calls have used up `budget_seconds`, the rest are not tried: ten dead mounts cost one budget
        a round, not ten deadlines. A second caller waits its turn: its deadlines must not run while
        the thread is busy for the first.
        """
        with self._turn:
            return self._run_each(calls, time.monotonic() + budget_seconds)

    def _run_each(self, calls: Sequence[Call], give_up_at: float) -> list[Outcome]:
        outcomes: list[Outcome] = []
        waiting = list(calls)
        while waiting:
            stuck = self.stuck
            outcomes += [
                Outcome(call.key, None, DeadlineExceeded(f"{call.key} is still stuck"), 0.0)
                for call in waiting
                if call.key in stuck
            ]
            waiting = [call for call in waiting if call.key not in stuck]
            if not waiting:
                break
            if time.monotonic() >= give_up_at:
                late = [DeadlineExceeded(f"{call.key} was not tried: calls before it were stuck") for call in waiting]
                outcomes += [Outcome(call.key, None, error, 0.0) for call, error in zip(waiting, late, strict=True)]
                break
            batch = _Batch(waiting)
            self._inbox.put(batch)
            done = self._wait(batch)
            outcomes += batch.outcomes
            waiting = waiting[done:]
        return outcomes

    def _wait(self, batch: _Batch) -> int:
        """Wait for `batch`; on an overrun abandon it. Returns how many of its calls are settled."""
        shortest = min(call.deadline_seconds for call in batch.calls)
        with batch.changed:
            while len(batch.outcomes) < len(batch.calls):
                at = len(batch.outcomes)
                call = batch.calls[at]
                left = batch.started + call.deadline_seconds - time.monotonic()
                if left > 0:
                    # the thread tells only of the last call; one that began meanwhile ends no sooner than `shortest`
                    batch.changed.wait(min(left, shortest))
                    continue
                batch.abandoned = True
                with self._lock:
                    self._stuck.add(call.key)
                message = f"{call.key} did not answer within {call.deadline_seconds:g} s"
                batch.outcomes.append(Outcome(call.key, None, DeadlineExceeded(message), call.deadline_seconds))
                self._start_thread()
                return at + 1
            return len(batch.calls)

    def close(self) -> None:
        """Let the thread end after what it is doing."""
        self._inbox.put(None)


def _let_go_of_files() -> None:
    """Leave this thread without the process's descriptors.

    A thread that waits for a disk in the kernel outlives even SIGKILL, and with it all that it has open would: the lock
    of the state folder and the listener, which the next presaged needs. No signal comes here either: its handler writes
    to a descriptor.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    if ctypes.CDLL(None).unshare(_CLONE_FILES) == 0:  # else they are still all threads'
        os.closerange(_FIRST_FILE, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _attempt(call: Call, started: float) -> Outcome:
    try:
        value = call.run()
    except Exception as error:  # noqa: BLE001 - the outcome carries it to a caller who counts or raises it
        return Outcome(call.key, None, error, time.monotonic() - started)
    return Outcome(call.key, value, None, time.monotonic() - started)


def _settled(run: Callable[[], T], what: str) -> tuple[T | None, BaseException | None]:
    try:
        return run(), None
    except StopIteration as error:  # a future refuses it, and the caller would wait for nothing
        problem = RuntimeError(f"{what} raised StopIteration")
        problem.__cause__ = error
        return None, problem
    except BaseException as error:  # noqa: BLE001 - handed to the awaiting caller
        return None, error


class Offload:
    """The event loop's side of the door: `await offload.run(...)` with a deadline.

    At most `lanes` calls run at once, stuck ones included; beyond that a caller gets `Overloaded`
    after its deadline, never an unbounded queue.
    """

    def __init__(self, lanes: int = 8) -> None:
        self._slots = asyncio.Semaphore(lanes)
        self._idle: list[_Thread] = []
        self._threads = 0

    async def run(self, run: Callable[[], T], *, deadline_seconds: float, what: str) -> T:
        """Run `run` in a thread and return its value or raise its error.

        Raises DeadlineExceeded when it overruns (its thread is left to it and holds its slot until
        it returns) and Overloaded when no slot came free in time.
        """
        loop = asyncio.get_running_loop()
        if self._slots.locked():
            try:
                async with asyncio.timeout(deadline_seconds):
                    await self._slots.acquire()
            except TimeoutError:
                raise Overloaded(f"{what}: every thread for blocking work is stuck") from None
        else:
            await self._slots.acquire()  # at once
        thread = self._idle.pop() if self._idle else _Thread(self._next_name())
        answer: asyncio.Future[T] = loop.create_future()
        # An error that comes in the same turn as the deadline has no reader left: that is no news for the loop.
        answer.add_done_callback(lambda done: None if done.cancelled() else done.exception() and None)

        def settle(value: "T | None", error: BaseException | None) -> None:  # in quotes: it would be made at each call
            self._idle.append(thread)
            self._slots.release()
            if not answer.done():
                if error is not None:
                    answer.set_exception(error)
                else:
                    answer.set_result(value)  # type: ignore[arg-type]  # T | None is T where no error came

        def work() -> None:
            value, problem = _settled(run, what)
            try:
                loop.call_soon_threadsafe(settle, value, problem)
            except RuntimeError:  # the loop is closed: the process is going, nobody waits
                return

        thread.inbox.put(work)
        limit = asyncio.timeout(deadline_seconds)
        try:
            async with limit:
                return await answer
        except TimeoutError:
            if not limit.expired():  # `run` itself raised it, as a socket does
                raise
            raise DeadlineExceeded(f"{what} did not end within {deadline_seconds:g} s") from None

    def _next_name(self) -> str:
        self._threads += 1
        return f"offload-{self._threads}"

    def close(self) -> None:
        """Let the idle threads end; busy ones are daemon threads and never waited for."""
        for thread in self._idle:
            thread.inbox.put(None)
        self._idle.clear()


class Inline(Offload):
    """The door where nothing else waits, in a replay: everything is done at once, in the caller's own thread."""

    async def run(self, run: Callable[[], T], *, deadline_seconds: float, what: str) -> T:  # noqa: ARG002
        """Return what `run` returns, or raise its error."""
        return run()


class _Thread:
    """A daemon thread that runs what its inbox brings."""

    def __init__(self, name: str) -> None:
        self.inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name=name, daemon=True).start()

    def _serve(self) -> None:
        while (work := self.inbox.get()) is not None:
            work()
            del work  # or what it brought would stay with a thread that has nothing else to do
