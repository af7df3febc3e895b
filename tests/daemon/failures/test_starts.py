"""Units that are started again and again, and when systemd gives them up."""

from math import inf

import pytest
from failing import NOW_MS, entry

from daemon.collectors.base import HostPaths
from daemon.failures.journal import RESTART_SCHEDULED
from daemon.failures.starts import StartLimits, seconds_of

LIMIT = "[Unit]\nStartLimitBurst=12\nStartLimitIntervalSec=20min\n"


@pytest.fixture
def host(tmp_path):
    def write(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    write.paths = HostPaths(root=tmp_path)
    return write


def restart(unit, at, speaker="init.scope"):
    return entry(
        f"{unit}: Scheduled restart job, restart counter is at 1.", at, transport="journal", identifier="systemd",
        unit=speaker, about=unit, message_id=RESTART_SCHEDULED,
    )  # fmt: skip


def looping(host, times=range(0, 70, 10), unit="web.service"):
    starts = StartLimits(host.paths)
    for at in times:
        starts.take(restart(unit, at))
    starts.learn(starts.read(starts.unread))
    return starts


def at(seconds):
    return NOW_MS + int(1000 * seconds)


def limit(host, unit="web.service"):
    return StartLimits(host.paths).read((unit,))[unit]


def test_a_loop_says_how_far_it_is_from_its_limit(host):
    host("etc/systemd/system/web.service", LIMIT)
    starts = looping(host)
    (loop,) = starts.loops(at(65))
    assert (loop.unit, loop.restarts, loop.left, loop.every_seconds) == ("web.service", 7, 5, 10.0)
    assert (loop.since_ms, loop.last_ms) == (at(0), at(60))
    assert starts.unread == ()


def test_what_is_restarted_too_seldom_to_be_given_up_is_no_loop(host):
    assert looping(host).loops(at(61)) == []  # five within 10 s, where nothing else is said


def test_before_a_limit_is_read_there_is_no_loop(host):
    starts = StartLimits(host.paths)
    for second in range(0, 70, 10):
        starts.take(restart("web.service", second))
    assert starts.loops(at(61)) == []
    assert starts.unread == ("web.service",)


@pytest.mark.parametrize("setting", ["Burst=0", "IntervalSec=0", "Burst=200\nStartLimitIntervalSec=1min"])
def test_without_a_limit_that_is_reached_there_is_no_loop(host, setting):
    host("etc/systemd/system/web.service", f"[Unit]\nStartLimit{setting}\n")
    assert looping(host).loops(at(61)) == []


def test_one_that_runs_again_is_no_loop_any_more(host):
    host("etc/systemd/system/web.service", LIMIT)
    starts = looping(host)
    assert starts.loops(at(75))
    assert starts.loops(at(90)) == []


def test_three_restarts_make_a_loop(host):
    host("etc/systemd/system/web.service", LIMIT)
    assert looping(host, (0, 10)).loops(at(11)) == []
    assert len(looping(host, (0, 10, 20)).loops(at(21))) == 1


def test_only_systemd_is_believed_and_only_so_many_units_are_kept(host):
    starts = StartLimits(host.paths)
    starts.take(restart("web.service", 0, speaker="web.service"))
    starts.take(restart("../../etc/passwd", 0))
    assert starts.unread == ()
    for number in range(200):
        starts.take(restart(f"unit{number}.service", number))
    assert len(starts.unread) == 50


def test_files_count_in_the_order_of_systemd(host):
    assert limit(host) == (5, 10.0)
    host("etc/systemd/system.conf", "[Manager]\n#DefaultStartLimitBurst=9\nDefaultStartLimitIntervalSec=1min\n")
    assert limit(host) == (5, 60.0)
    host("usr/lib/systemd/system/web.service", "[Unit]\nStartLimitBurst=7\n[Service]\nStartLimitBurst=1\n")
    assert limit(host) == (7, 60.0)
    host("usr/lib/systemd/system/service.d/00-all.conf", "[Unit]\nStartLimitIntervalSec=5min 30s\n")
    assert limit(host) == (7, 330.0)
    host("etc/systemd/system/web.service", "[Unit]\nStartLimitBurst=8\n\n[Unit]\nStartLimitBurst = 3\n")
    assert limit(host) == (3, 330.0)
    host("etc/systemd/system/web.service.d/20-more.conf", "[Unit]\nStartLimitBurst=30\n")
    host("run/systemd/system/web.service.d/10-less.conf", "[Unit]\nStartLimitBurst=10\nStartLimitInterval=infinity\n")
    assert limit(host) == (30, inf)
    host("run/systemd/system/web.service.d/20-more.conf", "[Unit]\nStartLimitBurst=31\n")  # hidden by that of /etc
    assert limit(host) == (30, inf)


def test_an_instance_has_the_settings_of_its_template(host):
    host("etc/systemd/system/db@.service", LIMIT)
    assert limit(host, "db@main.service") == (12, 1200.0)
    host("etc/systemd/system/db@main.service.d/a.conf", "[Unit]\nStartLimitBurst=4\n")
    assert limit(host, "db@main.service") == (4, 1200.0)
    assert limit(host, "db@other.service") == (12, 1200.0)


def test_what_cannot_be_understood_leaves_the_default(host):
    host(
        "etc/systemd/system/web.service",
        "StartLimitBurst=3\n[Unit]\nStartLimitBurst=many\nStartLimitIntervalSec=soon\n",
    )
    (host.paths.root / "etc/systemd/system/web.service.d").touch()
    assert limit(host) == (5, 10.0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10), ("1min 30s", 90), ("500ms", 0.5), ("1h", 3600), ("2d 1us", 172800.000001), ("300", 300), ("0", 0)],
)
def test_spans_of_systemd(text, seconds):
    assert seconds_of(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "5 fortnights", "-3s", "1min, 2s"])
def test_what_is_no_span(text):
    assert seconds_of(text) is None
