import asyncio
import contextlib
from datetime import UTC, datetime

import pytest

from daemon import scheduler as scheduler_module
from daemon.errors import StateError, WorkerError
from daemon.metrics import Metrics
from daemon.offload import Offload
from daemon.scheduler import Job, Scheduler, first_wait_seconds
from daemon.state import JobTimes, StateDatabase

HOUR = 3600.0
NOW = 1_772_344_800_000


@pytest.mark.parametrize(
    ("times", "wait"),
    [
        (None, HOUR),
        (JobTimes(None, None, None), HOUR),
        (JobTimes(NOW, NOW, ""), HOUR),
        (JobTimes(NOW - 600_000, NOW - 600_000, ""), HOUR - 600),
        (JobTimes(NOW - 3_590_000, NOW - 3_590_000, ""), 20.0),
        (JobTimes(NOW, NOW - 7_200_000, "failed"), 20.0),  # missed: soon, and once
        (JobTimes(NOW, NOW - 10**11, ""), 20.0),
        (JobTimes(NOW, NOW + 1, ""), HOUR),  # from a clock that was wrong
        (JobTimes(NOW - 600_000, None, "failed"), HOUR - 600),  # never succeeded: since it was first declared
        (JobTimes(NOW - 10**10, None, None), 20.0),
        (JobTimes(NOW + 10**10, None, None), HOUR),
    ],
)
def test_how_long_a_job_waits_after_a_start(times, wait):
    assert first_wait_seconds(times, HOUR, NOW) == wait


@pytest.fixture
async def schedulers(tmp_path, clock, monkeypatch):
    """Make schedulers on one database; what is missed comes after 50 ms instead of 20 s."""
    monkeypatch.setattr(scheduler_module, "_SOON_SECONDS", 0.05)
    state, offload = StateDatabase(tmp_path / "state.db"), Offload()
    made = []

    def build(*jobs):
        one = Scheduler(jobs, clock=clock, state=state, offload=offload, metrics=Metrics("test", lambda: "numpy", 10))
        one.state = state
        made.append(one)
        return one

    yield build
    for one in made:
        one.close()
    await asyncio.sleep(0.02)
    offload.close()
    state.close()


def count(scheduler, name, **labels):
    return scheduler._metrics._registry.get_sample_value(name, labels) or 0.0


class Work:
    def __init__(self, outcome="fine"):
        self.outcome, self.runs = outcome, 0

    async def __call__(self):
        self.runs += 1
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


async def test_a_job_runs_at_its_interval_and_is_remembered(schedulers, until, clock):
    work = Work()
    scheduler = schedulers(Job("rollup", 0.1, 1.0, work))
    await scheduler.start()
    assert work.runs == 0
    await until(lambda: work.runs >= 3)
    await until(lambda: scheduler.state.job_times()["rollup"].last_success_ms is not None)
    assert scheduler.state.job_times()["rollup"] == JobTimes(clock.time_ms, clock.time_ms, "fine")


async def test_a_missed_run_happens_once_and_soon(schedulers, until, clock):
    first = schedulers(Job("threshold", HOUR, 1.0, Work()))
    await first.start()
    first.state.job_started("threshold", clock.time_ms)
    first.state.job_ended("threshold", clock.time_ms, succeeded=True, outcome="")
    first.close()
    clock.advance(50 * HOUR)
    work = Work()
    again = schedulers(Job("threshold", HOUR, 1.0, work))
    await again.start()
    await until(lambda: work.runs == 1)
    await asyncio.sleep(0.2)
    assert work.runs == 1  # not once for each of the fifty
    again.close()
    work = Work()
    third = schedulers(Job("threshold", HOUR, 1.0, work))
    await third.start()
    await asyncio.sleep(0.2)
    assert work.runs == 0


async def test_a_host_that_is_never_up_for_a_whole_interval_runs_its_jobs_all_the_same(schedulers, until, clock):
    work = Work()
    for _ in range(4):
        one = schedulers(Job("train", 100 * HOUR, 1.0, work))
        await one.start()
        await asyncio.sleep(0.1)
        one.close()
        clock.advance(30 * HOUR)
    assert work.runs == 0
    last = schedulers(Job("train", 100 * HOUR, 1.0, work))
    await last.start()
    await until(lambda: work.runs == 1)


@pytest.mark.parametrize("error", [WorkerError("no"), OSError(5, "no"), StateError("no")])
async def test_a_job_that_fails_is_counted_and_tried_again(schedulers, until, error):
    work = Work(error)
    scheduler = schedulers(Job("train", 0.05, 1.0, work))
    await scheduler.start()
    await until(lambda: count(scheduler, "presaged_job_failures_total", job="train") >= 2)
    times = scheduler.state.job_times()["train"]
    assert times.last_success_ms is None
    assert "no" in times.last_outcome
    work.outcome = "better"
    await until(lambda: scheduler.state.job_times()["train"].last_outcome == "better")


async def test_a_bug_in_a_job_is_counted_too(schedulers, until):
    scheduler = schedulers(Job("train", 0.05, 1.0, Work(TypeError("a bug"))))
    await scheduler.start()
    await until(lambda: count(scheduler, "presaged_job_failures_total", job="train") >= 1)


async def test_a_job_that_overruns_is_cut_off(schedulers, until):
    ended = []

    async def endless():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    scheduler = schedulers(Job("train", 0.1, 0.05, endless))
    await scheduler.start()
    await until(lambda: count(scheduler, "presaged_job_failures_total", job="train") >= 1)
    assert ended
    await until(lambda: scheduler.state.job_times()["train"].last_outcome == "did not end within 0.05 s")


async def test_a_run_that_comes_while_one_runs_is_skipped_and_counted(schedulers, until):
    at_once = []

    async def slow():
        at_once.append(1)
        await asyncio.sleep(0.4)
        at_once.pop()
        return str(len(at_once))

    scheduler = schedulers(Job("rollup", 0.1, 5.0, slow))
    await scheduler.start()
    await until(lambda: count(scheduler, "presaged_jobs_skipped_total", job="rollup") >= 2)
    assert len(at_once) == 1


async def test_a_database_that_refuses_stops_no_job(schedulers, until, monkeypatch):
    work = Work()
    scheduler = schedulers(Job("rollup", 0.05, 1.0, work))
    await scheduler.start()

    def refuse(*_arguments, **_named):
        raise StateError("the disk is full")

    monkeypatch.setattr(scheduler.state, "job_ended", refuse)
    await until(lambda: work.runs >= 2)
    assert count(scheduler, "presaged_internal_failures_total", where="job_times") >= 1


def waits(scheduler):
    return {job.id: (job.next_run_time - datetime.now(UTC)).total_seconds() for job in scheduler._scheduler.get_jobs()}


async def test_after_a_jump_every_job_waits_for_what_was_left(schedulers, clock):
    """APScheduler keeps wall time: what was left is told by the clock that cannot be set."""
    scheduler = schedulers(Job("train", 100 * HOUR, 1.0, Work()), Job("rollup", 300.0, 1.0, Work()))
    await scheduler.start()
    assert waits(scheduler) == {"train": pytest.approx(100 * HOUR, abs=2), "rollup": pytest.approx(300, abs=2)}
    clock.advance(100)
    for job in scheduler._scheduler.get_jobs():  # what a clock that was set back by a year leaves behind
        scheduler._scheduler.modify_job(job.id, next_run_time=datetime(2040, 1, 1, tzinfo=UTC))
    clock.set_wall(-365 * 24 * HOUR)
    scheduler.realign()
    assert waits(scheduler) == {
        "train": pytest.approx(100 * HOUR - 100, abs=2),
        "rollup": pytest.approx(200, abs=2),
    }


async def test_after_a_suspend_what_fell_due_happens_soon(schedulers, clock, until):
    work = Work()
    scheduler = schedulers(Job("train", 100 * HOUR, 1.0, Work()), Job("rollup", 300.0, 1.0, work))
    await scheduler.start()
    clock.suspend(10 * HOUR)
    scheduler.realign()
    assert waits(scheduler)["train"] == pytest.approx(90 * HOUR, abs=2)
    await until(lambda: work.runs == 1)
    scheduler.realign()
    assert waits(scheduler)["rollup"] == pytest.approx(300, abs=2)


async def test_before_it_is_started_a_jump_is_no_matter(schedulers):
    schedulers(Job("train", HOUR, 1.0, Work())).realign()


async def test_closing_cancels_what_runs_and_starts_nothing_more(schedulers, until):
    state = []

    async def endless():
        state.append("began")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            state.append("cancelled")
            raise

    scheduler = schedulers(Job("train", 0.05, 100.0, endless))
    await scheduler.start()
    await until(lambda: state)
    scheduler.close()
    with contextlib.suppress(asyncio.CancelledError):
        await until(lambda: state == ["began", "cancelled"])
    await asyncio.sleep(0.02)
    assert count(scheduler, "presaged_job_failures_total", job="train") == 0  # a stop is no fault of the job
    scheduler.close()  # twice is as good as once
