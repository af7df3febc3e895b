"""Units that are started again and again, and when systemd gives them up."""

import pytest
from failing import NOW_MS, entry

from daemon.collectors.base import HostPaths
from daemon.errors import NotAvailable
from daemon.failures.journal import RESTART_SCHEDULED
from daemon.failures.starts import StartLimits, seconds_of
from daemon.failures.systemctl import Systemctl


class Answers:
    """A systemd that tells these limits."""

    def __init__(self, **limits):
        self.limits = {name.replace("_", "."): limit for name, limit in limits.items()}
        self.asked = []

    async def show(self, *arguments):
        self.asked.append(arguments[1:])
        if not self.limits:
            raise NotAvailable("no bus")
        return [
            {"Id": name, "StartLimitBurst": str(burst), "StartLimitIntervalUSec": span}
            for name, (burst, span) in self.limits.items()
        ]


def restart(unit, at, speaker="init.scope"):
    return entry(
        f"{unit}: Scheduled restart job, restart counter is at 1.", at, transport="journal", identifier="systemd",
        unit=speaker, about=unit, message_id=RESTART_SCHEDULED,
    )  # fmt: skip


async def looping(systemd, times, unit="web.service"):
    starts = StartLimits(systemd)
    for at in times:
        if starts.take(restart(unit, at)):
            await starts.ask()
    return starts


def at(seconds):
    return NOW_MS + int(1000 * seconds)


async def test_a_loop_says_how_far_it_is_from_its_limit():
    systemd = Answers(web_service=(12, "20min"))
    starts = await looping(systemd, range(0, 70, 10))
    (loop,) = starts.loops(at(65))
    assert (loop.unit, loop.restarts, loop.left, loop.every_seconds) == ("web.service", 7, 5, 10.0)
    assert (loop.since_ms, loop.last_ms) == (at(0), at(60))
    assert systemd.asked == [("web.service",)]  # once


async def test_what_is_restarted_too_seldom_to_be_given_up_is_no_loop():
    starts = await looping(Answers(web_service=(5, "10s")), range(0, 70, 10))
    assert starts.loops(at(61)) == []


@pytest.mark.parametrize("limit", [(0, "10s"), (5, "0"), (5, "nonsense"), (200, "1min")])
async def test_without_a_limit_that_is_reached_there_is_no_loop(limit):
    starts = await looping(Answers(web_service=limit), range(0, 70, 10))
    assert starts.loops(at(61)) == []


async def test_one_that_runs_again_is_no_loop_any_more():
    starts = await looping(Answers(web_service=(12, "20min")), range(0, 70, 10))
    assert starts.loops(at(75))
    assert starts.loops(at(90)) == []


async def test_three_restarts_make_a_loop():
    systemd = Answers(web_service=(12, "infinity"))
    assert (await looping(systemd, (0, 10))).loops(at(11)) == []
    assert len((await looping(systemd, (0, 10, 20))).loops(at(21))) == 1


async def test_a_limit_that_is_not_told_is_asked_for_again():
    systemd = Answers()
    starts = await looping(systemd, range(0, 30, 10))
    assert len(systemd.asked) == 3
    assert starts.loops(at(25)) == []
    systemd.limits = {"web.service": (12, "20min")}
    assert starts.take(restart("web.service", 30))
    await starts.ask()
    assert len(starts.loops(at(31))) == 1


async def test_only_systemd_is_believed_and_only_so_many_units_are_kept():
    starts = StartLimits(Answers(web_service=(12, "20min")))
    assert not starts.take(restart("web.service", 0, speaker="web.service"))
    for number in range(200):
        starts.take(restart(f"unit{number}.service", number))
    assert len(starts._units) == 50


async def test_no_name_is_taken_for_an_option():
    systemd = Answers(web_service=(12, "20min"))
    starts = StartLimits(systemd)
    starts.take(restart("--help", 0))
    await starts.ask()
    assert systemd.asked == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10),
        ("1min 30s", 90),
        ("500ms", 0.5),
        ("1h", 3600),
        ("2d 1us", 172800.000001),
        ("0", 0),
        ("", 0),
        ("s", 0),
    ],
)
def test_spans_of_systemd(text, seconds):
    assert seconds_of(text) == pytest.approx(seconds)


async def test_the_real_command_says_what_keeps_it(tmp_path):
    starts = StartLimits(Systemctl(HostPaths(root=tmp_path)))
    starts.take(restart("web.service", 0))
    await starts.ask()
    assert starts.loops(at(1)) == []
