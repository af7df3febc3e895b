import pytest
from failing import MINUTE_MS, NOW_MS, Kept, report
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.failures.record import FailureEvent, Source
from detectors.findings import FailureKind

OOM, UNIT, IO = FailureKind.OOM_KILL, FailureKind.UNIT_FAILED, FailureKind.IO_ERROR
LOG, CGROUP, VMSTAT, SYSTEMD = Source.KERNEL_LOG, Source.CGROUP, Source.VMSTAT, Source.SYSTEMD

SAME_KILL = [
    report(OOM, LOG, "cursor", 10, resource="a.service", detail="the kernel killed stress"),
    report(OOM, CGROUP, "a.service 30", 30, since=0, resource="a.service", detail="a process of a.service"),
    report(OOM, VMSTAT, "boot 7", 30, since=0, detail="a process"),
    report(OOM, SYSTEMD, "a.service 11", 11, since=-109, resource="a.service", detail="a.service failed"),
]


@given(order=st.permutations(SAME_KILL))
@settings(max_examples=24, deadline=None)
def test_one_kill_seen_by_four_is_one_event_whatever_comes_first(tmp_path_factory, order):
    kept = Kept(tmp_path_factory.mktemp("log") / "state.db")
    for one in order:
        kept.log.report(one)
    (event,) = kept.log.recent
    assert (event.resource, event.detail, event.source) == ("a.service", "the kernel killed stress", LOG)
    assert (event.time_ms, event.since_ms) == (NOW_MS + 10_000, NOW_MS + 10_000)
    assert set(event.marks) == {LOG, CGROUP, VMSTAT, SYSTEMD}
    assert (event.times, kept.counted) == (1, [OOM])
    kept.state.close()


def test_two_kills_in_one_interval_are_two_events(kept):
    for number, unit in enumerate(("a.service", "b.service")):
        kept.log.report(report(OOM, VMSTAT, f"boot {number}", 30, since=0))
        kept.log.report(report(OOM, CGROUP, f"{unit} 30 0", 30, since=0, resource=unit))
    for at, unit in ((4, "b.service"), (5, "a.service")):
        kept.log.report(report(OOM, LOG, f"c{at}", at, resource=unit))
    assert sorted(event.resource for event in kept.log.recent) == ["a.service", "b.service"]
    assert all(set(event.marks) == {VMSTAT, CGROUP, LOG} for event in kept.log.recent)


def test_kills_of_one_unit_one_after_the_other_are_each_an_event(kept):
    for at in (1, 2, 3):
        kept.log.report(report(OOM, LOG, f"c{at}", at, resource="a.service"))
    assert len(kept.log.recent) == 3


def test_what_goes_on_is_one_event_until_it_is_silent(kept):
    for minute in (0, 9, 18, 27):
        kept.log.report(report(IO, LOG, f"c{minute}", minute * 60, resource="sda"))
    (event,) = kept.log.recent
    assert (event.times, event.time_ms, event.last_ms) == (4, NOW_MS, NOW_MS + 27 * MINUTE_MS)
    kept.log.report(report(IO, LOG, "c40", 40 * 60, resource="sda"))
    kept.log.report(report(IO, LOG, "c41", 40 * 60, resource="sdb"))
    assert [one.resource for one in kept.log.recent] == ["sda", "sda", "sdb"]


def test_other_kinds_and_resources_are_other_events(kept):
    kept.log.report(report(UNIT, SYSTEMD, "a 1", 1, resource="a.service"))
    kept.log.report(report(UNIT, SYSTEMD, "b 1", 1, resource="b.service"))
    kept.log.report(report(OOM, SYSTEMD, "b 1", 1, resource="b.service"))
    assert len(kept.log.recent) == 3


def test_the_same_report_again_changes_nothing(kept):
    first = kept.log.report(report())
    assert isinstance(first, FailureEvent)
    assert kept.log.report(report()) is None
    assert kept.log.recent == (first,)


async def test_a_restart_knows_what_was_reported(kept):
    kept.log.report(report(resource="a.service"))
    kept.log.keep("place", "7")
    assert await kept.log.settle()
    before = kept.log.recent
    log = kept.again()
    assert log.recent == before == tuple(kept.stored())
    assert kept.state.meta("place") == "7"
    assert log.report(report(resource="a.service")) is None
    assert log.report(report(mark="n", at=400)).id == before[0].id + 1


async def test_an_event_is_written_at_once_and_a_place_now_and_then(kept):
    kept.log.keep("place", "1")
    await kept.log.settle()
    assert kept.writes == 0
    kept.log.report(report(IO))
    await kept.log.settle()
    assert kept.state.meta("place") == "1"
    assert kept.writes == 1
    kept.log.report(report(IO, mark="again", at=5))  # it goes on: no news
    kept.log.keep("place", "2")
    await kept.log.settle()
    assert kept.writes == 1
    kept.log._written -= 31
    await kept.log.settle()
    assert (kept.stored()[0].times, kept.state.meta("place")) == (2, "2")
    await kept.log.settle()
    assert kept.writes == 2


async def test_a_full_disk_costs_no_event(kept):
    kept.full = True
    kept.log.report(report())
    kept.log.keep("place", "1")
    assert not await kept.log.settle()
    assert kept.failures == 1
    kept.full = False
    assert await kept.log.settle()
    assert len(kept.stored()) == 1
    assert kept.state.meta("place") == "1"


async def test_what_comes_while_it_is_written_is_written_next(kept):
    kept.log.report(report(IO))
    write = kept.state.record_failures

    def meanwhile(events, values):
        write(events, values)
        kept.state.record_failures = write
        kept.log.report(report(IO, mark="again", at=5))

    kept.state.record_failures = meanwhile
    await kept.log.settle()
    assert kept.stored()[0].times == 1
    await kept.log.write()
    assert kept.stored()[0].times == 2


def test_of_too_many_the_last_counts_on(kept):
    for number in range(300):
        kept.log.report(report(OOM, LOG, f"c{number}", number))
    assert len(kept.log.recent) == 200
    assert kept.log.recent[-1].times == 101


def test_a_long_detail_is_cut(kept):
    assert len(kept.log.report(report(detail="x" * 5000)).detail) == 300


async def test_old_events_leave_by_count(kept):
    for number in range(20):
        kept.log.report(report(OOM, LOG, f"c{number}", number * 300, resource=f"u{number}\udcff"))
    await kept.log.write()
    assert kept.state.prune(5) == 15
    assert [one.id for one in kept.stored()] == [16, 17, 18, 19, 20]
    assert kept.stored()[-1].resource == "u19\\udcff"
    assert kept.again().report(report(mark="new", at=90_000)).id == 21


@pytest.mark.parametrize("kind", list(FailureKind))
async def test_every_kind_and_source_is_kept(kept, kind):
    for source in Source:
        kept.log.report(report(kind, source, "m"))
    await kept.log.write()
    assert tuple(kept.stored()) == kept.log.recent
    assert all(event.kind is kind for event in kept.stored())
