import asyncio

import pytest
from failing import NOW_MS, entry

from daemon.collectors.base import HostPaths
from daemon.failures.journal import RESTART_SCHEDULED
from daemon.failures.record import Source
from daemon.failures.units import FailedUnits, failed_units
from detectors.findings import FailureKind

# As systemd 252 answers.
ANSWER = """Result=exit-code
ExecMainStatus=3
Id=web.service
ActiveState=failed
StateChangeTimestamp=Sun 2026-03-01 06:00:00 UTC

Result=oom-kill
ExecMainStatus=9
Id=db@1.service
ActiveState=failed
StateChangeTimestamp=Sun 2026-03-01 06:00:05 UTC

Id=srv.mount
Result=timeout
ActiveState=failed
StateChangeTimestamp=Sun 2026-03-01 06:00:07 UTC
"""

AT = "StateChangeTimestamp=Sun 2026-03-01 06:00:00 UTC\n"


def systemctl(folder, script):
    program = folder / "systemctl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return (str(program),)


@pytest.fixture
def booted(tmp_path):
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    return HostPaths(root=tmp_path)


@pytest.fixture
def units(booted):
    return FailedUnits(booted, ("/nowhere/systemctl",))


def failed(unit="web.service", at=0, result="exit-code"):
    return entry(
        f"{unit}: Failed with result '{result}'.", at, transport="journal", identifier="systemd", unit="init.scope",
        priority=4, about=unit, result=result,
    )  # fmt: skip


def restarted(unit="web.service", at=0):
    return entry(
        f"{unit}: Scheduled restart job, restart counter is at 1.", at, transport="journal", identifier="systemd",
        unit="init.scope", priority=6, about=unit, message_id=RESTART_SCHEDULED,
    )  # fmt: skip


def test_the_answer_of_systemctl():
    web, db, mount = failed_units(ANSWER)
    assert (web.kind, web.resource, web.time_ms, web.since_ms) == (
        FailureKind.UNIT_FAILED,
        "web.service",
        NOW_MS,
        NOW_MS,
    )
    assert web.detail == "web.service failed: it ended with an error (3)"
    assert mount.detail == "srv.mount failed: it took too long"
    assert (db.kind, db.since_ms) == (FailureKind.OOM_KILL, NOW_MS + 5000 - 120_000)
    assert {one.source for one in (web, db, mount)} == {Source.SYSTEMD}
    assert failed_units(ANSWER) == [web, db, mount]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "Id=a.service\n",
        "ActiveState=failed\n",
        f"Id=a.service\nActiveState=active\n{AT}",
        f"ActiveState=failed\n{AT}",
        "Id=a.service\nActiveState=failed\nStateChangeTimestamp=n/a\n",
        f"Id=a.service\nActiveState=failed\n{AT}".replace("UTC", "CET"),
        "x" * 1000,
    ],
)
def test_what_is_no_failed_unit(text):
    assert failed_units(text) == []


async def test_it_asks_and_says_when_that_does_not_work(booted, tmp_path):
    (tmp_path / "answer").write_text(ANSWER)
    good = FailedUnits(
        booted, systemctl(tmp_path, f'test "$TZ $1 $2" = "UTC show --state=failed" && cat {tmp_path}/answer')
    )
    assert good.problem
    assert len(await good.ask()) == 3
    assert good.problem == ""
    bad = FailedUnits(booted, systemctl(tmp_path, "echo 'Failed to list units: Transport endpoint' >&2; exit 1"))
    assert await bad.ask() == []
    assert bad.problem == "Failed to list units: Transport endpoint"
    missing = FailedUnits(booted, ("/nowhere/systemctl",))
    assert await missing.ask() == []
    assert missing.problem == "/nowhere/systemctl: No such file or directory"
    elsewhere = FailedUnits(HostPaths(root=tmp_path / "other"))
    assert await elsewhere.ask() == []
    assert elsewhere.problem == "systemd does not run this host"


async def test_one_that_hangs_is_left(booted, tmp_path, monkeypatch):
    monkeypatch.setattr("daemon.failures.units._ASK_SECONDS", 0.2)
    units = FailedUnits(booted, systemctl(tmp_path, "exec sleep 60"))
    async with asyncio.timeout(5):
        assert await units.ask() == []
    assert "gave no answer" in units.problem


def test_the_journal_alone_tells_once_no_restart_follows(units):
    assert units.take(failed(at=0))
    assert units.take(failed("db.service", at=1, result="oom-kill"))
    assert not units.take(restarted("db.service", at=2))
    assert units.ripe(NOW_MS + 80_000) == []
    (report,) = units.ripe(NOW_MS + 95_000)
    assert (report.resource, report.time_ms, report.source) == ("web.service", NOW_MS, Source.JOURNAL)
    assert report.detail == "web.service failed: it ended with an error"
    assert units.ripe(NOW_MS + 95_000) == []


def test_a_unit_that_is_started_again_each_time_fails_when_that_ends(units):
    for at in (0, 10, 20):
        units.take(failed(at=at))
        units.take(restarted(at=at + 1))
    units.take(failed(at=30))
    (report,) = units.ripe(NOW_MS + 200_000)
    assert report.time_ms == NOW_MS + 30_000


def test_the_last_of_too_many_restarts_is_told_at_once(units):
    units.take(failed(at=0))
    units.take(restarted(at=1))
    units.take(
        entry(
            "web.service: Start request repeated too quickly.",
            2,
            transport="journal",
            identifier="systemd",
            unit="init.scope",
            priority=4,
            about="web.service",
        )
    )
    units.take(failed(at=2, result="start-limit-hit"))
    (report,) = units.ripe(NOW_MS + 2000)
    assert report.detail == "web.service failed: it failed too often"


async def test_what_systemctl_has_answered_is_not_told_by_the_journal_too(booted, tmp_path):
    units = FailedUnits(booted, systemctl(tmp_path, "exit 0"))
    units.take(failed())
    await units.ask()
    assert units.ripe(NOW_MS + 200_000) == []
    units.take(failed(at=1))
    assert units.ripe(NOW_MS + 200_000) == []


def test_what_is_held_back_outlives_a_restart(units, booted):
    units.take(failed())
    again = FailedUnits(booted)
    again.restore(units.state)
    assert len(again.ripe(NOW_MS + 95_000)) == 1
    for state in ("", "[]", '{"a": 1}', '{"a": ["x", "y"]}'):
        again.restore(state)
    assert again.ripe(NOW_MS + 95_000) == []


def test_others_cannot_speak_for_systemd(units):
    for one in (
        entry(
            "x", transport="journal", identifier="systemd", unit="app.service", about="a.service", result="exit-code"
        ),
        entry("x", transport="journal", identifier="systemd", about="a.service", result="exit-code"),
        entry("x", transport="journal", identifier="systemd", unit="init.scope", about="", result="exit-code"),
        entry("x", transport="journal", identifier="systemd", unit="init.scope", about="a.service"),
    ):
        assert not units.take(one)
    assert units.ripe(NOW_MS + 200_000) == []


def test_what_is_held_back_is_bounded(units):
    for number in range(1000):
        units.take(failed(f"u{number}.service", at=number / 100))
    assert len(units.ripe(NOW_MS + 200_000)) == 200
