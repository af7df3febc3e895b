"""Short of memory the page goes first, and no child is started; on a full disk history goes first. Both are told."""

import pytest
from structlog.testing import capture_logs

from daemon.child import Child
from daemon.degraded import Degraded, MemoryLeft, Mode
from daemon.errors import WorkerError
from daemon.metrics import Metrics
from daemon.sampler import Sampler

MIB = 1024 * 1024


@pytest.fixture
def degraded():
    """Of a host whose memory is what `left` says, in MiB."""
    left = [1000.0]
    one = Degraded(lambda: left[0] * MIB)
    one.left = left
    return one


def test_memory_is_short_until_there_is_twice_as_much(degraded):
    seen = []
    with capture_logs() as lines:
        for left in (1000, 33, 31, 33, 63, 65, 33, 31):
            degraded.note_memory(left * MIB)
            seen.append(Mode.MEMORY in degraded.modes)
    assert seen == [False, False, True, True, True, False, False, True]
    assert [line["event"] for line in lines] == ["degraded", "not_degraded_any_more", "degraded"]


def test_why_a_mode_holds_is_told_as_it_is_now(degraded):
    degraded.note_memory(21 * MIB)
    degraded.note_round("database or disk is full")
    degraded.note_memory(17 * MIB)
    assert dict(degraded.reasons) == {
        "disk": "database or disk is full: sampling goes on, history has a gap; alerts wait in memory",
        "memory": "17 MiB are left: no page, no charts, no training; sampling and alerts go on",
    }
    degraded.note_memory(100 * MIB)
    degraded.note_round("")
    assert not degraded.reasons


def test_what_takes_memory_is_shed_and_what_tells_of_alerts_is_not(degraded):
    dear = "/", "/dashboard/app.js", "/api/v1/series", "/api/v1/signals", "/api/v1/neural/models", "/api/v1/events"
    kept = "/metrics", "/healthz", "/readyz", "/api/v1/status", "/api/v1/alerts", "/api/v1/alerts/01A/feedback"
    assert not any(map(degraded.sheds, (*dear, *kept)))
    degraded.note_memory(MIB)
    assert all(map(degraded.sheds, dear))
    assert not any(map(degraded.sheds, kept))


async def test_no_child_is_started_then(degraded):
    child = Child(degraded.refuse_child)
    degraded.note_memory(MIB)
    with pytest.raises(WorkerError, match="memory is short"):
        await child.run("nothing", {}, deadline_seconds=30.0)
    degraded.note_memory(1000 * MIB)
    with pytest.raises(WorkerError, match="nothing"):  # it was started, and knows no such job
        await child.run("nothing", {}, deadline_seconds=30.0)


def test_each_round_looks_again(degraded, monkeypatch):
    given = []
    monkeypatch.setattr("daemon.degraded.release_memory", lambda: given.append(degraded.modes))
    sampler = Sampler([], beside=degraded.look)
    for left, modes in ((1.0, (Mode.MEMORY,)), (40.0, (Mode.MEMORY,)), (1000.0, ()), (40.0, ())):
        degraded.left[0] = left
        sampler.collect(0)
        degraded.note_round("")
        assert degraded.modes == modes
    assert given == [(Mode.MEMORY,)] * 2  # in each round that finds it short
    sampler.close()


def test_what_is_not_known_changes_nothing(degraded):
    def unreadable():
        raise OSError(5, "Input/output error")

    degraded.left[0] = 1.0
    degraded.look()
    degraded.note_round("")
    degraded._memory_left = unreadable
    degraded.look()
    degraded.note_round("")
    assert degraded.modes == (Mode.MEMORY,)


def test_metrics_tell_each_mode(degraded):
    metrics = Metrics("1", lambda: "numpy", 10, degraded=lambda: degraded.modes)
    degraded.note_round("database or disk is full")
    text = metrics.render().decode()
    assert 'presaged_degraded{mode="disk"} 1.0' in text
    assert 'presaged_degraded{mode="memory"} 0.0' in text
    degraded.note_round("")
    assert 'presaged_degraded{mode="disk"} 0.0' in metrics.render().decode()


async def test_a_sample_that_is_not_stored_says_so(hosts, quiet_collector, monkeypatch):
    host = await hosts(quiet_collector(4))
    assert (await host.take()).not_stored == ""
    whole = host.history.append

    def full(_sample):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(host.history, "append", full)
    snapshot = await host.take(70)  # enough to learn from the window, which is in memory
    assert snapshot.not_stored == "[Errno 28] No space left on device"
    assert snapshot.anomaly.raw is not None
    monkeypatch.setattr(host.history, "append", whole)
    assert (await host.take()).not_stored == ""


GROUP = "memory.max", "memory.current", "memory.stat"


def cgroup(folder, limit, used, inactive=0):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in zip(GROUP, (limit, used, f"anon 1\ninactive_file {inactive}\n"), strict=True):
        (folder / name).write_text(f"{text}\n")


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host with 2,000 MiB left, on which this process is in /system.slice/presaged.service."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable:   {2000 * 1024} kB\n")
    whose = tmp_path / "cgroup"
    whose.write_text("0::/system.slice/presaged.service\n")
    monkeypatch.setattr("daemon.degraded._OWN_CGROUP", whose)
    return tmp_path


def test_what_is_left_is_the_least_of_host_and_cgroups(host):
    top = host / "sys" / "fs" / "cgroup"

    def left():
        return MemoryLeft(host / "proc", host / "sys")() / MIB

    assert left() == 2000
    cgroup(top / "system.slice" / "presaged.service", 450 * MIB, 100 * MIB, 50 * MIB)
    assert left() == 400
    cgroup(top / "system.slice", 1000 * MIB, 990 * MIB)
    assert left() == 10
    cgroup(top / "system.slice", "max", 990 * MIB)
    assert left() == 400
    (host / "proc" / "meminfo").write_text("MemAvailable: 1024 kB\n")
    assert left() == 1


@pytest.mark.parametrize("text", ["", "nonsense", "0::/../../x\n", "3:memory:/old\n", "0::\n"])
def test_what_is_not_understood_limits_nothing(host, monkeypatch, text):
    (host / "cgroup").write_text(text)
    (host / "proc" / "meminfo").unlink()
    assert MemoryLeft(host / "proc", host / "sys")() == float("inf")
