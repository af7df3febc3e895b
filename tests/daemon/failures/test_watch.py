import asyncio
import os
import time
from contextlib import asynccontextmanager

import pytest
from failing import NOW_MS

from daemon.collectors.base import HostPaths, Noticed
from daemon.errors import StateError
from daemon.failures.record import Source
from daemon.failures.watch import FailureWatch, Seen
from daemon.offload import Inline
from daemon.signals import Kind, SignalSpec
from detectors.findings import ChangeKind, FailureKind, Unit


class Watched:
    """A host with a journal, a counter of kills and a systemctl, and the watch over it, which can be started again."""

    def __init__(self, kept, journal, clock):
        self.kept, self.journal, self.clock = kept, journal, clock
        self.paths = HostPaths(proc=journal.root / "proc", sys=journal.root / "sys", root=journal.root)
        self.paths.proc.mkdir()
        self.kills(0)
        self.heard = []
        self.build()

    def build(self):
        self.watch = FailureWatch(
            log=self.kept.log, meta=self.kept.state.meta, offload=Inline(), clock=self.clock, paths=self.paths,
            redact=str, redact_mark=lambda text: text.replace("secret", "<token>"), listeners=(self.heard.extend,),
        )  # fmt: skip

    def again(self):
        self.kept.again()
        self.build()

    def kills(self, count):
        (self.paths.proc / "vmstat").write_text(f"a 1\noom_kill {count}\n")

    def systemctl(self, answer):
        (self.journal.root / "run/systemd/system").mkdir(parents=True, exist_ok=True)
        (self.journal.bin / "answer").write_text(answer)
        program = self.journal.bin / "systemctl"
        program.write_text(f"#!/bin/sh\ncat {self.journal.bin}/answer\n")
        program.chmod(0o755)

    def tick(self, *, values=(), findings=(), noticed=(), seconds=30):
        self.watch.after_tick(Seen(self.clock.advance(seconds), values, findings, noticed))

    @asynccontextmanager
    async def running(self, last_ms=NOW_MS):
        self.watch.restore(last_ms)
        task = asyncio.create_task(self.watch.run())
        try:
            yield self.watch
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()

    @property
    def events(self):
        return [(one.kind, one.resource) for one in self.watch.log.recent]

    async def until(self, condition, seconds=10):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.events
            await asyncio.sleep(0.01)


@pytest.fixture
def watched(kept, journal, clock):
    return Watched(kept, journal, clock)


async def test_one_kill_of_the_log_the_counter_and_a_unit_is_one_event(watched):
    async with watched.running() as watch:
        watched.tick()
        await watched.until(watch._seen.empty)
        watched.journal.say("Killed process 7 (x) total-vm:1kB", at=40)
        watched.kills(1)
        watched.tick(noticed=[Noticed(ChangeKind.OOM, "", about="web.service")])
        await watched.until(lambda: watched.events and len(watch.log.recent[0].marks) == 3)
        assert watched.events == [(FailureKind.OOM_KILL, "web.service")]
        assert [one.message for one in watched.heard] == ["Killed process 7 (x) total-vm:1kB"]


@pytest.mark.parametrize(("rate", "looked"), [(0.0, 0), (0.1, 1), (float("nan"), 1), (None, 1)])
async def test_the_counter_of_kills_is_read_unless_the_sample_shows_none(watched, rate, looked):
    def sample(value):
        spec = SignalSpec("memory.oom_kills_per_second", Unit.PER_SECOND, Kind.RATE, "memory")
        return [] if value is None else [(spec, value)]

    async with watched.running() as watch:
        watched.tick()
        await watched.until(watch._seen.empty)
        watched.kills(1)
        watched.tick(values=sample(rate))
        await watched.until(watch._seen.empty)
        await asyncio.sleep(0.01)
        assert len(watched.events) == looked
        watched.tick(values=sample(0.1))  # none is lost: the counter tells of it later
        await watched.until(lambda: len(watched.events) == 1)


async def test_a_mount_that_became_full_is_recorded(watched):
    def space(free):
        return [(SignalSpec("filesystem./srv.free_bytes", Unit.BYTES, Kind.GAUGE, "filesystem", "/srv"), free)]

    async with watched.running():
        watched.tick(values=space(1e9))
        watched.tick(values=space(0.0))
        await watched.until(lambda: watched.events == [(FailureKind.FILESYSTEM_FULL, "/srv")])


async def test_systemd_is_asked_as_soon_as_it_says_that_a_unit_failed(watched, monkeypatch):
    monkeypatch.setattr("daemon.failures.watch._ASK_SOON_SECONDS", 0.01)
    watched.systemctl("")
    async with watched.running() as watch:
        await watched.until(lambda: not watch.units.problem)
        watched.systemctl(
            "Id=a.service\nActiveState=failed\nResult=signal\nStateChangeTimestamp=Sun 2026-03-01 06:00:01 UTC\n"
        )
        watched.journal.say(
            "a.service: Failed with result 'signal'.", at=1, _TRANSPORT="journal", SYSLOG_IDENTIFIER="systemd",
            _SYSTEMD_UNIT="init.scope", UNIT="a.service", UNIT_RESULT="signal",
        )  # fmt: skip
        await watched.until(lambda: watched.events == [(FailureKind.UNIT_FAILED, "a.service")])
        (fact,) = watch.facts(["a.*"], NOW_MS)
        assert (fact.alertname, fact.resource, fact.detail) == (
            "UnitFailed",
            "a.service",
            "a.service failed: a signal ended it",
        )
        assert watch.facts([], NOW_MS) == ()
        watch.units.problem, failed = "no bus", watch.log.recent[0].last_ms
        assert watch.facts(["a.*"], failed + 899_999) == (fact,)
        assert watch.facts(["a.*"], failed + 900_000) == ()
        watched.systemctl("")
        watch._ask.set()
        await watched.until(lambda: not watch.facts(["a.*"], NOW_MS))  # it was started again, or reset


async def test_a_restart_goes_on_where_it_was(watched):
    async with watched.running():
        watched.journal.say("I/O error, dev sda, sector 1", at=1)
        await watched.until(lambda: watched.events)
    watched.journal.say("I/O error, dev sdb, sector 1", at=2)
    watched.kills(1)
    watched.again()
    async with watched.running():
        watched.tick()
        await watched.until(lambda: len(watched.events) == 2)
        await asyncio.sleep(0.1)
    assert watched.events == [(FailureKind.IO_ERROR, "sda"), (FailureKind.IO_ERROR, "sdb")]  # kills: never looked at


async def test_an_unclean_reboot_is_known_by_the_mark_that_was_left(watched, clock):
    for stop_cleanly in (True, False):
        async with watched.running():
            await watched.until(lambda: watched.kept.state.meta("failures.boot") == f"running {clock.now().boot_id}")
        if stop_cleanly:
            await watched.watch.stop()
        clock.reboot()
        clock.advance(60)
        watched.again()
        watched.watch.restore(NOW_MS)
        assert watched.events == ([] if stop_cleanly else [(FailureKind.UNCLEAN_REBOOT, "")])
    await watched.kept.log.write()
    watched.again()
    watched.watch.restore(NOW_MS)  # killed and started again: the same boot
    assert len(watched.events) == 1


async def test_an_operators_word_is_kept_redacted_and_once(watched, clock):
    watched.watch.restore(NOW_MS)
    event = await watched.watch.mark("the secret raid broke", NOW_MS - 60_000)
    assert (event.kind, event.source, event.detail) == (FailureKind.OPERATOR, Source.OPERATOR, "the <token> raid broke")
    assert event.time_ms == NOW_MS - 60_000
    assert await watched.watch.mark("the secret raid broke", NOW_MS - 60_000) == event
    now = await watched.watch.mark("again", None)
    assert now.time_ms == clock.now().time_ms
    assert len(watched.kept.stored()) == 2
    watched.kept.full = True
    with pytest.raises(StateError, match="tried again"):
        await watched.watch.mark("third", None)
    watched.kept.full = False
    await watched.kept.log.settle()
    assert len(watched.kept.stored()) == 3


async def test_sources_say_what_they_lack(watched):
    async with watched.running() as watch:
        watched.tick()
        await watched.until(lambda: watch._smart.problem and watch.units.problem != "not asked yet")
        problems = {one.name: one.problem for one in watch.sources}
    assert problems["journal"] == problems["memory"] == ""
    assert problems["systemd"] == "systemd does not run this host"
    assert "smartd leaves no state" in problems["smartd"]


async def test_ticks_that_nobody_looks_at_cost_bounded_memory(watched):
    watched.watch.restore(NOW_MS)
    for number in range(500):
        watched.kills(number)
        watched.tick()
    assert watched.watch._seen.qsize() == 100


async def test_a_look_that_does_not_end_costs_that_look(watched, monkeypatch):
    failing = [True]
    read = watched.watch._kills.read

    def stuck():
        if failing.pop() if failing else False:
            raise StateError("stuck")
        return read()

    monkeypatch.setattr(watched.watch._kills, "read", stuck)
    async with watched.running() as watch:
        watched.tick()
        watched.tick()
        await watched.until(lambda: watch._kills.state)


def test_the_order_of_stopping_leaves_no_child(watched):
    async def run():
        async with watched.running():
            await watched.until(lambda: watched.journal.asked)

    asyncio.run(run())
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


async def test_since_when_failures_are_watched_outlasts_restarts(watched):
    async with watched.running() as watch:
        begun = watch.since_ms
        await watched.until(lambda: watched.kept.state.meta("failures.since"))
    watched.clock.advance(3600)
    watched.again()
    async with watched.running() as watch:
        assert watch.since_ms == begun < watched.clock.time_ms
