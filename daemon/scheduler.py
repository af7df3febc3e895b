"""Hourly and daily work: jobs declared in one table, run by APScheduler, remembered by state.db.

Enters: jobs. Leaves: their runs, one at a time each, with a deadline and a record of start and
success. The job store is in memory (nothing is pickled); state.db decides whether a run was missed
while the daemon was away, and then it happens once.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

import structlog
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, JobExecutionEvent, JobSubmissionEvent
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from daemon.clock import Clock
from daemon.errors import PresagedError
from daemon.metrics import Metrics
from daemon.offload import Offload
from daemon.state import JobTimes, StateDatabase

T = TypeVar("T")

_log = structlog.get_logger()

_SOON_SECONDS = 20.0  # a missed run waits until the first samples are taken


@dataclass(frozen=True, slots=True)
class Job:
    """One kind of recurring work. `run` returns a few words on its outcome."""

    name: str
    interval_seconds: float
    deadline_seconds: float
    run: Callable[[], Awaitable[str]]


class Scheduler:
    """Runs jobs until closed. A run that fails is counted and tried again at its next time."""

    def __init__(
        self, jobs: Sequence[Job], *, clock: Clock, state: StateDatabase, offload: Offload, metrics: Metrics
    ) -> None:
        self._jobs = {job.name: job for job in jobs}
        self._clock = clock
        self._state = state
        self._offload = offload
        self._metrics = metrics
        self._due_ns: dict[str, int] = {}
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        self._scheduler.add_listener(self._skipped, EVENT_JOB_MAX_INSTANCES)
        self._scheduler.add_listener(self._broke, EVENT_JOB_ERROR)

    async def start(self) -> None:
        """Declare every job at its next time."""
        times = await self._ask(self._state.job_times)
        now = self._clock.now()
        for job in self._jobs.values():
            if job.name not in times:  # from here on its interval counts, over restarts too
                await self._ask(partial(self._state.job_started, job.name, now.time_ms))
            wait = first_wait_seconds(times.get(job.name), job.interval_seconds, now.time_ms)
            self._due_ns[job.name] = now.boottime_ns + int(wait * 1e9)
            self._scheduler.add_job(
                self._run,
                "interval",
                (job,),
                id=job.name,
                seconds=job.interval_seconds,
                next_run_time=datetime.now(UTC) + timedelta(seconds=wait),
                misfire_grace_time=None,  # the default of 1 s skips a job when the loop was busy
                coalesce=True,
                max_instances=1,
            )
        self._scheduler.start()

    def realign(self) -> None:
        """Wait only for what is left of every interval: APScheduler keeps wall time, and that has jumped.

        What is left is told by the clock that never goes back and counts suspend.
        """
        if not self._scheduler.running:
            return
        now_ns = self._clock.now().boottime_ns
        for job in self._jobs.values():
            left = min(max((self._due_ns[job.name] - now_ns) / 1e9, _SOON_SECONDS), job.interval_seconds)
            self._scheduler.modify_job(job.name, next_run_time=datetime.now(UTC) + timedelta(seconds=left))

    def _skipped(self, event: JobSubmissionEvent) -> None:
        self._metrics.jobs_skipped.labels(event.job_id).inc()

    def _broke(self, event: JobExecutionEvent) -> None:
        if isinstance(event.exception, asyncio.CancelledError):  # the daemon stops
            return
        self._metrics.job_failures.labels(event.job_id).inc()
        _log.error("job_broke", job=event.job_id, reason=repr(event.exception), trace=event.traceback)

    async def _run(self, job: Job) -> None:
        """Run one job within its deadline, and remember how it went."""
        self._due_ns[job.name] = self._clock.now().boottime_ns + int(job.interval_seconds * 1e9)
        try:
            await self._ask(lambda: self._state.job_started(job.name, self._clock.now().time_ms))
            async with asyncio.timeout(job.deadline_seconds):
                outcome, succeeded = await job.run(), True
        except TimeoutError:
            outcome, succeeded = f"did not end within {job.deadline_seconds:g} s", False
        except (PresagedError, OSError, sqlite3.Error) as error:
            outcome, succeeded = str(error), False
        if not succeeded:
            self._metrics.job_failures.labels(job.name).inc()
            _log.warning("job_failed", job=job.name, reason=outcome)
        else:
            _log.debug("job_ended", job=job.name, outcome=outcome)
        try:
            await self._ask(
                lambda: self._state.job_ended(job.name, self._clock.now().time_ms, succeeded=succeeded, outcome=outcome)
            )
        except PresagedError as error:
            self._metrics.failures.labels("job_times").inc()
            _log.warning("job_time_not_stored", job=job.name, reason=str(error))

    async def _ask(self, run: Callable[[], T]) -> T:
        return await self._offload.run(run, deadline_seconds=5.0, what="state.db")

    def close(self) -> None:
        """Start nothing more; a job that runs is cancelled."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)


def first_wait_seconds(times: JobTimes | None, interval_seconds: float, now_ms: int) -> float:
    """Return how long a job waits after a start: the rest of its interval, or soon where it was missed.

    One that never succeeded counts from the last start, at first that of the first daemon. A last run in
    the future comes from a clock that was wrong, and counts as just now.
    """
    last_ms = (times.last_success_ms or times.last_start_ms) if times else None
    if last_ms is None or last_ms > now_ms:
        return interval_seconds
    return max(_SOON_SECONDS, interval_seconds - (now_ms - last_ms) / 1000)
