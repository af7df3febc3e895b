import random
import time

import pytest

from alerting.policy import Severity
from daemon.collectors.base import Noticed
from daemon.routines import Routines
from detectors.findings import ChangeKind

DAY, HOUR = 86_400, 3_600
NIGHTLY = "backup.service"


@pytest.fixture
def berlin(monkeypatch):
    """Local time with a summer time that begins on 29 March 2026."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def notice(job):
    """A run that begins, or with a minus before its name ends."""
    began, ended = (job, "") if job[0] != "-" else ("", job[1:])
    return Noticed(ChangeKind.UNIT, job, began=began, ended=ended)


class Host:
    """Ticks of a minute; `runs` are (job, seconds from the start)."""

    def __init__(self, clock, step=60):
        self.clock, self.step = clock, step
        self.routines = Routines(step)
        self.elapsed = 0
        self.expected = []  # seconds at which a run was no news
        self.found = []  # (seconds from the start, finding), when it begins

    def live(self, seconds, *runs):
        due = sorted(runs, key=lambda run: run[1])
        holding = {finding.resource for finding in self.routines.observe((), self.clock.now()).overdue}
        for _ in range(int(seconds // self.step)):
            self.clock.advance(self.step)
            self.elapsed += self.step
            noticed = [one for one, at in due if self.elapsed - self.step < at <= self.elapsed]
            routine = self.routines.observe(map(notice, noticed), self.clock.now())
            findings = routine.overdue
            if routine.expected:
                self.expected.append(self.elapsed)
            self.found += [(self.elapsed, one) for one in findings if one.resource not in holding]
            holding = {one.resource for one in findings}
        self.holding = holding


@pytest.fixture
def host(clock):
    return Host(clock)


def nightly(days, *, job=NIGHTLY, late=(0, 300, 900, 120, 600), at=20 * HOUR, every=1):
    return [(job, day * DAY + at + late[number % len(late)]) for number, day in enumerate(range(0, days, every))]


def test_a_job_that_runs_is_no_finding_and_one_that_does_not_is_found_within_two_hours(host):
    host.live(9 * DAY, *nightly(8))
    ((at, finding),) = host.found
    assert 0 < at - (8 * DAY + 20 * HOUR) <= 2 * HOUR
    assert (finding.alertname, finding.resource) == ("JobMissed", NIGHTLY)
    assert finding.detail == "backup.service did not run at about 02:15, as it had 8 days in a row"


def test_a_run_at_its_time_is_no_news_until_shortly_after_its_end(host):
    ends = [(f"-{job}", at + 1800) for job, at in nightly(6)]
    host.live(5.5 * DAY, *nightly(6), *ends)
    nights = {at // DAY for at in host.expected}
    assert nights == {3, 4}  # three make a habit
    began = 3 * DAY + 20 * HOUR + 120
    first = [at for at in host.expected if at // DAY == 3]
    assert (first[0], first[-1]) == (began, began + 1800 + 15 * 60)


def test_after_a_miss_the_next_run_at_its_time_is_no_news(host):
    runs = [run for run in nightly(7) if run[1] // DAY != 5]
    host.live(7 * DAY, *runs, *[(f"-{job}", at + 1800) for job, at in runs])
    assert len(host.found) == 1
    assert {at // DAY for at in host.expected} == {3, 4, 6}


def test_a_job_that_runs_at_any_hour_is_hardly_ever_a_habit(seed, clock):
    rng, found = random.Random(seed), 0
    for _ in range(5):
        host = Host(clock, step=300)
        host.live(30 * DAY, *[("lists.service", (day + rng.random()) * DAY) for day in range(30)])
        found += len(host.found)
    assert found <= 2  # one in forty months by chance


def test_a_run_at_another_hour_or_one_that_hangs_is_news(host):
    ends = [(f"-{job}", at + 1800) for job, at in nightly(4)]
    host.live(4.5 * DAY, *nightly(4), *ends, (NIGHTLY, 4 * DAY + 8 * HOUR))
    assert all(at < 4 * DAY for at in host.expected)
    host.live(DAY, (NIGHTLY, 4 * DAY + 20 * HOUR))  # and does not end
    hangs = [at for at in host.expected if at > 4 * DAY]
    assert hangs[-1] == 4 * DAY + 20 * HOUR + 1800 * 1.5 + 15 * 60


@pytest.mark.parametrize(("days", "found"), [(1, 0), (2, 0), (3, 1), (4, 1)])
def test_three_runs_make_a_habit(host, days, found):
    host.live(6 * DAY, *nightly(days))
    assert len(host.found) == found


def test_what_runs_at_any_hour_needs_more_than_three_runs_that_are_near_each_other(host):
    """As a timer with a random delay of a day does: three came within five minutes, after six that did not."""
    hours = (15.6, 10.9, 19.1, 3.3, 6.4, 22.0, 12.4, 12.48, 12.48)
    host.live(11 * DAY, *[("lists.service", day * DAY + hour * HOUR) for day, hour in enumerate(hours)])
    assert host.found == []
    again = [("lists.service", day * DAY + 12.48 * HOUR) for day in range(11, 14)]
    host.live(5 * DAY, *again)
    assert len(host.found) == 1  # and where it goes on so, it has an hour


def test_a_weekly_job_is_missed_after_three_weeks(host):
    runs = nightly(22, job="scrub.service", every=7)
    host.live(29 * DAY, *runs[:4])
    ((at, finding),) = host.found
    assert 0 < at - (28 * DAY + 20 * HOUR) <= 2 * HOUR
    assert "4 weeks in a row" in finding.detail


def test_it_ends_when_the_job_runs_late_or_when_a_second_turn_has_passed(host):
    host.live(5 * DAY, *nightly(4))
    assert host.holding == {NIGHTLY}
    host.live(HOUR, (NIGHTLY, 5 * DAY + 600))
    assert not host.holding

    host.live(4 * DAY, *[(NIGHTLY, day * DAY + 20 * HOUR) for day in (5, 6)])
    assert len(host.found) == 1  # it has let us down once: two runs are no habit yet


def test_a_job_that_was_removed_is_forgotten(host):
    host.live(20 * DAY, *nightly(5))
    assert len(host.found) == 1
    assert not host.holding


def test_who_was_wrong_once_must_see_more(host):
    """A run too short to be seen is no miss; a job of which some are seen would cry wolf for ever."""
    seen = [run for run in nightly(60) if run[1] // DAY % 4 != 3]  # every fourth is not seen
    host.live(60 * DAY, *seen)
    assert len(host.found) == 1


def test_hourly_jobs_and_restarts_at_any_hour_have_no_habit(host, seed):
    rng = random.Random(seed)
    hourly = [("hourly.service", hour * HOUR + 300) for hour in range(20 * 24) if hour < 240 or rng.random() < 0.5]
    anyhow = [("deploy.service", day * DAY + rng.uniform(0, 24) * HOUR) for day in range(20)]
    host.live(20 * DAY, *hourly)
    assert not host.found
    host.elapsed = 0
    host.live(20 * DAY, *anyhow)
    assert len(host.found) <= 1  # three of twenty within an hour of each other is chance


def test_an_additional_run_by_hand_changes_nothing(host):
    by_hand = [(NIGHTLY, 2 * DAY + 9 * HOUR), (NIGHTLY, 5 * DAY + 3 * HOUR)]
    host.live(9 * DAY, *nightly(8), *by_hand)
    assert [at // DAY for at, _ in host.found] == [8]


@pytest.mark.parametrize("away", ["suspend", "reboot", "stopped"])
def test_nothing_is_missed_while_nobody_watched(host, clock, away):
    host.live(6 * DAY, *nightly(6))
    host.live(19 * HOUR)
    if away == "suspend":
        clock.suspend(4 * HOUR)
    elif away == "reboot":
        clock.reboot()
        clock.time_ms += 4 * HOUR * 1000
    else:
        clock.advance(4 * HOUR)
    host.elapsed += 4 * HOUR
    host.live(HOUR)
    assert not host.found
    host.live(DAY, *nightly(9))  # one more at its time, and what was known is known still
    assert not host.found
    host.live(2 * DAY)
    assert len(host.found) == 1


def test_the_change_to_summer_time_is_no_miss(host, clock, berlin):
    host.live(22 * DAY)  # to 23 March
    runs = [(NIGHTLY, day * DAY + 20 * HOUR - (HOUR if day >= 27 else 0)) for day in range(22, 32)]
    host.live(10 * DAY - 2 * HOUR, *runs)
    assert not host.found


def test_habits_outlast_a_restart(host, clock):
    host.live(5 * DAY, *nightly(5))
    text = host.routines.remember()
    host.routines = Routines(60)
    host.routines.restore(text)
    clock.advance(600)
    host.elapsed += 600
    host.live(DAY)
    assert len(host.found) == 1


@pytest.mark.parametrize("text", ["[]", "{", '{"a": [{"no": 1}]}', '{"a": 1}', '{"a": []}'])
def test_what_is_not_understood_is_refused_in_words(text):
    with pytest.raises(ValueError, match=r"\w"):
        Routines(30).restore(text)


def test_memory_is_bounded(host):
    for number in range(1000):
        host.clock.advance(60)
        host.routines.observe([notice(f"job{number}.service")], host.clock.now())
    assert len(host.routines._jobs) == 200


class Units:
    """A source that sees a unit start at given moments."""

    name, deadline_seconds = "unit", 2.0

    def __init__(self, clock, runs):
        self.clock, self.runs, self.last_ms = clock, runs, clock.time_ms

    def collect(self, monotonic_ns):
        return ()

    def notices(self):
        before, self.last_ms = self.last_ms, self.clock.time_ms
        text = f"{NIGHTLY} started"
        return [Noticed(ChangeKind.UNIT, text, began=NIGHTLY) for at in self.runs if before < at <= self.last_ms]

    def close(self):
        pass


async def test_the_missed_backup_is_a_record_in_the_database_and_sent_to_nobody(hosts, clock):
    start_ms = clock.time_ms
    units = Units(clock, [start_ms + (day * DAY + 20 * HOUR) * 1000 for day in range(4)])
    host = await hosts(units, interval=900.0)
    await host.take(5 * 96 - 10, learn=False)
    (missed,) = host.state.recent_occurrences(10)
    assert (missed.alertname, missed.severity, missed.told) == ("JobMissed", Severity.RECORD, ())
    assert 0 < missed.fired_ms - (start_ms + (4 * DAY + 20 * HOUR) * 1000) <= 2 * HOUR * 1000
    assert "backup.service did not run at about" in missed.sentence
    assert await host.changes.page(10)  # its runs are in the change log
