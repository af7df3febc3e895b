import pytest
from failing import NOW_MS

from daemon.collectors.base import HostPaths, Noticed
from daemon.failures.memory_kills import MemoryKills, noticed_kills
from daemon.failures.record import Source
from detectors.findings import ChangeKind, FailureKind


@pytest.fixture
def vmstat(tmp_path):
    """The file /proc/vmstat of a host, and what counts with it."""

    class Vmstat:
        kills = MemoryKills(HostPaths(proc=tmp_path))

        @staticmethod
        def set(count):
            (tmp_path / "vmstat").write_text(f"nr_free_pages 7\noom_kill {count}\nswap_ra 1\n")

        def again(self):
            before, self.kills = self.kills, MemoryKills(HostPaths(proc=tmp_path))
            self.kills.restore(before.state)
            before.close()

        def look(self, clock, last_ms=NOW_MS):
            return self.kills.observe(self.kills.read(), clock.now(), last_ms)

    one = Vmstat()
    yield one
    one.kills.close()


def test_the_first_look_only_remembers(vmstat, clock):
    vmstat.set(7)
    assert vmstat.look(clock) == []
    assert vmstat.look(clock) == []


def test_each_kill_is_one_report_between_two_looks(vmstat, clock):
    vmstat.set(7)
    vmstat.look(clock)
    vmstat.set(9)
    last_ms = clock.now().time_ms
    now = clock.advance(30)
    reports = vmstat.look(clock, last_ms)
    assert [one.mark for one in reports] == ["boot-1 8", "boot-1 9"]
    assert {(one.kind, one.source, one.since_ms, one.time_ms) for one in reports} == {
        (FailureKind.OOM_KILL, Source.VMSTAT, last_ms, now.time_ms)
    }


def test_kills_while_we_were_away_are_reported(vmstat, clock):
    vmstat.set(7)
    vmstat.look(clock)
    vmstat.again()
    vmstat.set(8)
    clock.advance(600)
    assert [one.mark for one in vmstat.look(clock)] == ["boot-1 8"]
    vmstat.again()
    assert vmstat.look(clock) == []


def test_another_boot_counts_from_nothing(vmstat, clock):
    vmstat.set(7)
    vmstat.look(clock)
    vmstat.again()
    clock.reboot()
    clock.advance(10)
    vmstat.set(2)
    now = clock.now()
    reports = vmstat.look(clock, NOW_MS - 900_000)
    assert [one.mark for one in reports] == ["boot-1x 1", "boot-1x 2"]
    assert {one.since_ms for one in reports} == {now.time_ms - 30_000}  # not before it was booted


def test_a_flood_of_kills_is_bounded(vmstat, clock):
    vmstat.set(0)
    vmstat.look(clock)
    vmstat.set(10_000)
    assert len(vmstat.look(clock)) == 50
    assert vmstat.look(clock) == []


@pytest.mark.parametrize("text", ["nr_free_pages 7\n", "x 1\noom_kill many\n", None])
def test_a_kernel_that_does_not_count_is_told(tmp_path, vmstat, text):
    if text is not None:
        (tmp_path / "vmstat").write_text(text)
    assert vmstat.kills.read() is None
    assert ("No such file" if text is None else "does not count") in vmstat.kills.problem


@pytest.mark.parametrize("state", ["", "x", "boot", "boot x", "boot -1", "\n"])
def test_a_state_that_is_not_understood_is_left(vmstat, clock, state):
    vmstat.kills.restore(state)
    vmstat.set(3)
    assert vmstat.look(clock) == []


def test_what_the_unit_collector_notices_names_the_unit():
    noticed = [
        Noticed(ChangeKind.OOM, "text", about="web.service", times=2),
        Noticed(ChangeKind.UNIT, "web.service restarted", began="web.service"),
    ]
    reports = noticed_kills(noticed, NOW_MS, NOW_MS - 30_000)
    assert [(one.resource, one.since_ms, one.time_ms) for one in reports] == [
        ("web.service", NOW_MS - 30_000, NOW_MS)
    ] * 2
    assert len({one.mark for one in reports}) == 2
