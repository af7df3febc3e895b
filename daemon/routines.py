"""Jobs that run every day or every week at about the same local hour: the one that runs, the one that did not.

Enters: the units and timers whose runs began and ended, and every tick's moment. Leaves: whether a run that
was to be expected is on, which is no news of this host; and a finding for each job that is overdue, until
it runs or a second turn has passed: then it is no habit any more. While nobody watched (a suspend, a
reboot, a stopped daemon) nothing was missed, and nothing was learned.
"""

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from daemon.clock import Instant
from daemon.collectors.base import Noticed
from detectors.features import SPAN
from detectors.findings import Finding, Strength

_DAY_MS = 86_400_000
_TURNS_MS = (_DAY_MS, 7 * _DAY_MS)
_ABOUT_MS = 3_600_000  # a run so near to its time is on time
_NEAR_MS = 1_200_000  # so near before it is a habit: what runs at any hour comes within an hour of itself by chance
_SAME_MS = 600_000  # a timer and its unit, or two starts in a row, are one run
_LEAST_RUNS = 3
_CHANCE = 2e-4  # that what runs at any hour comes so near to itself so often, in all that was seen of it
_MOST_MISSES = 3
_MOST_A_DAY = 4  # what runs more often has no hour of its own
_MOST_JOBS = 200
_LONGER = 1.5  # times its last run a job may take; one that hangs is news


@dataclass(frozen=True, slots=True)
class Routine:
    """What one tick has of routine: jobs that are `overdue`; `expected`: one that is on time runs or has just ended."""

    overdue: tuple[Finding, ...]
    expected: bool


@dataclass(slots=True)
class _Habit:
    """One turn of one job: `due_ms` is the next run's local time; `runs` came on time in a row, `seen` in all.

    `off_ms`: how far from its time the farthest of them came.
    """

    turn_ms: int
    due_ms: int
    runs: int = 1
    seen: int = 1
    overdue: bool = False
    off_ms: int = 0

    def is_chance(self, beginnings: int) -> bool:
        """Whether so many runs in a row may have come so near to each other by chance, once in so many beginnings."""
        return beginnings * (2 * self.off_ms / self.turn_ms) ** (self.runs - 1) > _CHANCE

    def meets(self, local_ms: int) -> bool:
        """Tell whether a run at `local_ms` is on time."""
        return abs(local_ms - self.due_ms) <= (_ABOUT_MS if self.seen >= _LEAST_RUNS else _NEAR_MS)


@dataclass(slots=True)
class _Job:
    """What is known of one job: its last runs (local time), its habits, how often one of them was not kept.

    `strays`: runs that came at no time that was known, the first included. `lasted_ms` is how long its last run took,
    `expected_ms` until when the present one is no news (0: it is news).
    """

    recent: list[int] = field(default_factory=list)
    habits: list[_Habit] = field(default_factory=list)
    misses: int = 0
    strays: int = 0
    lasted_ms: int = 0
    expected_ms: int = 0

    @property
    def enough(self) -> int:
        """How many runs in a row make a habit: more where one was missed before, or a run seen by chance cries wolf."""
        return _LEAST_RUNS * (1 + min(self.misses, _MOST_MISSES))


class Routines:
    """The habits of at most 200 jobs, at a sample every `interval_seconds`."""

    def __init__(self, interval_seconds: float) -> None:
        self._gap_ms = max(2.5 * interval_seconds, interval_seconds + 1.0) * 1000
        self._tail_ms = int(SPAN * interval_seconds * 1000)  # so long the features look back on what was
        self._jobs: dict[str, _Job] = {}
        self._last_ms: int | None = None
        self._watched_since_ms = 0

    def observe(self, noticed: Iterable[Noticed], now: Instant) -> Routine:
        """Take in what was noticed since the last tick."""
        local_ms = now.time_ms + time.localtime(now.time_ms / 1000).tm_gmtoff * 1000
        if self._last_ms is None or not 0 <= now.time_ms - self._last_ms <= self._gap_ms:
            self._watched_since_ms = local_ms
        self._last_ms = now.time_ms
        for one in noticed:
            if one.began:
                self._ran(one.began, local_ms)
            elif one.ended in self._jobs:
                self._end(self._jobs[one.ended], local_ms)
        findings = []
        for name, job in self._jobs.items():
            for habit in list(job.habits):
                if local_ms > habit.due_ms + _ABOUT_MS:
                    self._pass(job, habit, local_ms)
            overdue = next((habit for habit in job.habits if habit.overdue), None)
            if overdue is not None:
                findings.append(_missed(name, overdue))
        return Routine(tuple(findings), any(local_ms <= job.expected_ms for job in self._jobs.values()))

    def _ran(self, name: str, local_ms: int) -> None:
        job = self._jobs.setdefault(name, _Job())
        if job.recent and abs(local_ms - job.recent[-1]) < _SAME_MS:
            return
        job.expected_ms = 0
        job.recent = [*job.recent[-_MOST_A_DAY:], local_ms]
        if len(self._jobs) > _MOST_JOBS:
            del self._jobs[min(self._jobs, key=lambda other: self._jobs[other].recent[-1:])]
        if len(job.recent) > _MOST_A_DAY and local_ms - job.recent[0] < _DAY_MS:
            job.habits.clear()
            return
        for habit in job.habits:
            if habit.overdue:  # late, or again at its time: either way what was missed is over
                habit.overdue, habit.runs = False, 0
        stray = True
        for turn_ms in _TURNS_MS:
            met = next((one for one in job.habits if one.turn_ms == turn_ms and one.meets(local_ms)), None)
            if met is None:
                job.habits.append(_Habit(turn_ms, local_ms + turn_ms))
                continue
            stray = False
            if met.seen >= _LEAST_RUNS:  # one that was late once is no news when it comes on time
                job.expected_ms = local_ms + int(_LONGER * job.lasted_ms) + self._tail_ms
            met.off_ms = max(met.off_ms, abs(local_ms - met.due_ms))
            met.runs, met.seen, met.due_ms = met.runs + 1, met.seen + 1, local_ms + turn_ms
            if met.runs >= job.enough:
                break  # a daily job is no weekly one seven times over
        job.strays += stray

    def _end(self, job: _Job, local_ms: int) -> None:
        job.lasted_ms = max(0, local_ms - job.recent[-1])
        if job.expected_ms:
            job.expected_ms = local_ms + self._tail_ms

    def _pass(self, job: _Job, habit: _Habit, local_ms: int) -> None:
        """Let a turn go by at which the job did not run."""
        if self._watched_since_ms > habit.due_ms - _ABOUT_MS:
            habit.overdue = False
        elif habit.overdue or habit.runs < job.enough or habit.is_chance(job.strays):
            job.habits.remove(habit)
            return
        else:
            habit.overdue = True
            job.misses += 1
        habit.due_ms += habit.turn_ms * (1 + (local_ms - habit.due_ms - _ABOUT_MS) // habit.turn_ms)

    def remember(self) -> str:
        """Return what is known, for the next process."""
        return json.dumps({name: asdict(job) for name, job in self._jobs.items()})

    def restore(self, text: str) -> None:
        """Take up what `remember` returned. Raises ValueError where it is something else."""
        try:
            for name, job in json.loads(text).items():
                habits = [_Habit(**habit) for habit in job["habits"]]
                recent = [int(at) for at in job["recent"]]
                strays = int(job.get("strays", 1))  # older programs did not count them
                self._jobs[str(name)] = _Job(recent, habits, int(job["misses"]), strays, int(job["lasted_ms"]))
        except (TypeError, AttributeError, KeyError) as error:
            raise ValueError(f"the habits of jobs are not understood: {error}") from error


def _missed(name: str, habit: _Habit) -> Finding:
    at = time.strftime("%H:%M", time.gmtime(habit.due_ms % _DAY_MS / 1000))
    turns = "days" if habit.turn_ms == _DAY_MS else "weeks"
    detail = f"{name} did not run at about {at}, as it had {habit.runs} {turns} in a row"
    return Finding("JobMissed", "host", name, Strength.RAISED, detail)
