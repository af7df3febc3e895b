import threading
import time

import pytest

from daemon.collectors.base import HostPaths
from daemon.collectors.filesystem import FilesystemCollector
from daemon.errors import CollectorError, NotAvailable
from daemon.sampler import Sampler, Writability


@pytest.fixture
def sampler_of():
    made = []

    def build(*collectors):
        made.append(Sampler(collectors))
        return made[-1]

    yield build
    for one in made:
        one.close()


def names(round_):
    return {spec.name: value for spec, value in round_.measured}


def states(round_):
    return {state.name: state for state in round_.states}


def test_all_that_was_measured_in_one_round(sampler_of, fake_collector):
    one, other = fake_collector("one", {"a": 1.0}), fake_collector("other", {"b": 2.0})
    round_ = sampler_of(one, other).collect(77)
    assert names(round_) == {"a": 1.0, "b": 2.0}
    assert one.rounds == other.rounds == [77]
    assert all(not state.problem and not state.absent and state.seconds >= 0 for state in round_.states)
    assert round_.findings == ()


@pytest.mark.parametrize("error", [CollectorError("broken"), OSError(5, "Input/output error"), ValueError("nonsense")])
def test_a_failing_collector_costs_its_own_signals_only(sampler_of, fake_collector, error):
    bad, good = fake_collector("bad", {"a": 1.0}), fake_collector("good", {"b": 2.0})
    bad.error = error
    round_ = sampler_of(bad, good).collect(1)
    assert names(round_) == {"b": 2.0}
    assert states(round_)["bad"].problem == str(error)
    assert not states(round_)["bad"].absent
    assert states(round_)["good"].problem == ""


def test_a_number_without_end_costs_its_own_source_only(sampler_of, fake_collector):
    bad, good = fake_collector("bad", {"a": 10**400}), fake_collector("good", {"b": 2.0})
    round_ = sampler_of(bad, good).collect(1)
    assert names(round_) == {"b": 2.0}
    assert states(round_)["bad"].problem == "int too large to convert to float"


def test_a_hanging_collector_is_abandoned_in_its_deadline_and_comes_back(sampler_of, fake_collector):
    release = threading.Event()
    slow = fake_collector("slow", {"a": 1.0}, deadline_seconds=0.1)
    slow.before = lambda: release.wait(20)
    good = fake_collector("good", {"b": 2.0})
    sampler = sampler_of(slow, good)
    began = time.monotonic()
    round_ = sampler.collect(1)
    assert time.monotonic() - began < 2
    assert names(round_) == {"b": 2.0}
    assert "did not answer within 0.1 s" in states(round_)["slow"].problem
    threads = threading.active_count()
    for _ in range(5):  # it is not asked again while it hangs: no second thread is lost to it
        assert "still stuck" in states(sampler.collect(2))["slow"].problem
    assert threading.active_count() == threads
    assert slow.rounds == [1]
    release.set()
    give_up = time.monotonic() + 10
    while "a" not in names(sampler.collect(3)):
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_what_the_host_has_not_is_absent_and_never_failed(sampler_of, fake_collector):
    missing = fake_collector("missing")
    missing.error = NotAvailable("no such thing")
    sampler = sampler_of(missing)
    for _ in range(10):
        round_ = sampler.collect(1)
        assert states(round_)["missing"].absent
        assert round_.findings == ()


def test_three_failures_after_a_success_are_a_finding_until_it_answers(sampler_of, fake_collector):
    source = fake_collector("cpu", {"a": 1.0})
    sampler = sampler_of(source)
    sampler.collect(1)
    source.error = CollectorError("the file is gone")
    assert [len(sampler.collect(1).findings) for _ in range(4)] == [0, 0, 1, 1]
    finding = sampler.collect(1).findings[0]
    assert (finding.alertname, finding.network, finding.resource) == ("StoppedCollecting", "host", "cpu")
    assert finding.detail == "cpu gives no data any more: the file is gone"
    source.error = None
    assert sampler.collect(1).findings == ()
    source.error = NotAvailable("gone for good")  # it was there: that it is absent now is a failure
    assert [len(sampler.collect(1).findings) for _ in range(3)] == [0, 0, 1]
    assert not states(sampler.collect(1))["cpu"].absent


def test_failures_that_do_not_follow_each_other_are_chance(sampler_of, fake_collector):
    source = fake_collector("cpu", {"a": 1.0})
    sampler = sampler_of(source)
    for _ in range(10):
        source.error = CollectorError("now and then")
        assert sampler.collect(1).findings == ()
        assert sampler.collect(1).findings == ()
        source.error = None
        assert sampler.collect(1).findings == ()


def test_one_that_never_worked_has_not_stopped(sampler_of, fake_collector):
    source = fake_collector("cpu")
    source.error = CollectorError("never")
    sampler = sampler_of(source)
    assert all(sampler.collect(1).findings == () for _ in range(6))


def test_a_bug_in_a_collector_is_loud(sampler_of, fake_collector):
    source = fake_collector("cpu")
    source.error = TypeError("a bug")
    with pytest.raises(TypeError, match="a bug"):
        sampler_of(source).collect(1)


def test_closing_closes_the_sources(fake_collector):
    source = fake_collector()
    Sampler([source]).close()
    assert source.closed


@pytest.fixture
def mounts(tmp_path):
    """A host whose mount table is a file of ours."""
    (tmp_path / "proc" / "1").mkdir(parents=True)
    (tmp_path / "root" / "data").mkdir(parents=True)
    device = tmp_path.stat().st_dev

    def write(**options):
        lines = [
            f"{20 + place} 1 {device >> 8}:{place + 1} / {where} {option},relatime - ext4 /dev/sd{place} {option}"
            for place, (where, option) in enumerate(options.items())
        ]
        (tmp_path / "proc" / "1" / "mountinfo").write_text("\n".join(lines) + "\n")

    return write, FilesystemCollector(paths=HostPaths(tmp_path / "proc", tmp_path / "sys", tmp_path / "root"))


def test_a_file_system_that_turns_read_only_is_a_finding_and_one_that_always_was_is_not(sampler_of, mounts):
    write, collector = mounts
    sampler = sampler_of(collector)
    write(**{"/": "rw", "/data": "ro"})
    assert sampler.collect(1).findings == ()
    write(**{"/": "ro", "/data": "ro"})
    found = sampler.collect(2).findings
    assert [(one.alertname, one.resource) for one in found] == [("FilesystemReadOnly", "/")]
    assert "was writable and is mounted read-only" in found[0].detail
    write(**{"/": "rw", "/data": "ro"})
    assert sampler.collect(3).findings == ()


def test_what_an_earlier_run_knew_keeps_its_alerts(sampler_of, fake_collector):
    """A source that stopped before the restart is still one that stopped."""
    bad = fake_collector("bad", {"a": 1.0})
    bad.error = CollectorError("broken")
    sampler = sampler_of(bad)
    sampler.expect(["bad"], [])
    rounds = [sampler.collect(number).findings for number in range(4)]
    assert [len(findings) for findings in rounds] == [0, 0, 1, 1]
    assert rounds[-1][0].alertname == "StoppedCollecting"


def test_of_the_mounts_of_a_year_the_newest_are_remembered():
    writability = Writability()
    writability.expect(["/"])
    for number in range(5000):
        assert writability.observe({"/": False, f"/run/containers/{number}": False}) == []
    assert len(writability._was_writable) <= 2000
    (found,) = writability.observe({"/": True, "/run/containers/3": True})
    assert found.resource == "/"
    (found,) = writability.observe({"/run/containers/4999": True})
    assert found.resource == "/run/containers/4999"
