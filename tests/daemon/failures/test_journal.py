import asyncio
import json
import os
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from failing import NOW_MS

from daemon.collectors.base import HostPaths
from daemon.failures import journal as module
from daemon.failures.journal import JournalFollower, beginning, parse, unreadable

AT = beginning(NOW_MS)


@asynccontextmanager
async def following(journal, position=AT, take=None):
    """A follower that runs, and the entries it has handed over."""
    follower = JournalFollower(paths=HostPaths(root=journal.root), position=position)
    taken = []

    async def keep(entries):
        taken.extend(entries)

    task = asyncio.create_task(follower.run(take or keep))
    try:
        yield follower, taken
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        await asyncio.sleep(0.01)


async def test_lines_become_entries(journal):
    journal.say("an error", at=-5)
    journal.say(
        "a.service: Failed with result 'exit-code'.", at=1, _TRANSPORT="journal", PRIORITY="4", UNIT="a.service",
        SYSLOG_IDENTIFIER="systemd", _SYSTEMD_UNIT="init.scope", UNIT_RESULT="exit-code", MESSAGE_ID="d9b3",
    )  # fmt: skip
    async with following(journal) as (follower, taken):
        await until(lambda: taken)
        journal.say("later", at=2)
        await until(lambda: len(taken) == 2)
    first, second = taken
    assert (first.time_ms, first.priority, first.identifier, first.unit) == (NOW_MS + 1000, 4, "systemd", "init.scope")
    assert (first.transport, first.about, first.result, first.message_id) == (
        "journal",
        "a.service",
        "exit-code",
        "d9b3",
    )
    assert (second.message, second.transport) == ("later", "kernel")
    assert follower.problem == ""
    assert follower.position == f"{NOW_MS / 1000 + 2:.3f} {second.cursor}"


async def test_it_asks_for_the_kernel_and_for_warnings_and_never_for_the_past(journal):
    async with following(journal):
        await until(lambda: journal.asked)
    (asked,) = journal.asked
    assert {"--follow", "--output=json", "_TRANSPORT=kernel", "PRIORITY=4", f"--since=@{AT}"} <= set(asked)
    assert "PRIORITY=5" not in asked


@pytest.mark.parametrize(("machine", "matches"), [("0123", True), ("other", False)])
async def test_what_other_hosts_sent_here_is_not_shown(journal, machine, matches):
    (journal.root / "etc").mkdir()
    (journal.root / "etc/machine-id").write_text(f"{machine}\n")
    async with following(journal):
        await until(lambda: journal.asked)
    (asked,) = journal.asked
    assert "--merge" in asked  # of earlier boots too: what was said before a crash
    kernel = asked.index("_TRANSPORT=kernel")
    assert (asked[kernel - 1] == "_MACHINE_ID=0123") is matches
    assert asked.count("_MACHINE_ID=0123") == (asked.count("+") + 1 if matches else 0)


async def test_a_restart_goes_on_behind_the_last_entry(journal):
    for number in range(3):
        journal.say(f"line {number}", at=number)
    async with following(journal) as (follower, taken):
        await until(lambda: len(taken) == 3)
        position = follower.position
    journal.say("line 3", at=2)  # at the same moment as the one before
    async with following(journal, position) as (_, taken):
        await until(lambda: taken)
        assert [one.message for one in taken] == ["line 3"]


async def test_a_cursor_that_is_not_known_gives_way_to_its_time(journal, monkeypatch):
    monkeypatch.setattr(module, "_FIRST_WAIT_SECONDS", 0.01)
    journal.mark("refused")
    journal.say("old", at=-1)
    journal.say("new", at=1)
    async with following(journal, f"{AT} s=gone") as (_, taken):
        await until(lambda: taken)
        assert [one.message for one in taken] == ["new"]


async def test_a_child_that_ends_is_started_again_and_nothing_comes_twice(journal, monkeypatch):
    monkeypatch.setattr(module, "_FIRST_WAIT_SECONDS", 0.01)
    journal.mark("end")
    journal.say("one", at=1)
    async with following(journal) as (follower, taken):
        await until(lambda: len(journal.asked) >= 3)
        journal.say("two", at=2)
        await until(lambda: len(taken) == 2)
        await until(lambda: "ended with code 0" in follower.problem)
    assert [one.message for one in taken] == ["one", "two"]


async def test_the_waits_between_two_starts_grow(journal, monkeypatch):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 9:
            await asyncio.Event().wait()

    journal.mark("broken")
    async with following(journal) as (follower, _):
        monkeypatch.setattr(module.asyncio, "sleep", sleep)
        end = time.monotonic() + 20
        while len(waits) < 9 and time.monotonic() < end:
            await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(time.sleep, 0.05))])
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert (
        follower.problem
        == "journalctl ended with code 1: No journal files were opened due to insufficient permissions."
    )


@pytest.mark.parametrize(
    ("lacking", "problem"),
    [
        ("journal", "this host keeps no journal"),
        ("program", "journalctl is not installed"),
        ("permission", "is not ours to read: it takes the group systemd-journal"),
    ],
)
async def test_what_is_lacking_is_told(journal, monkeypatch, lacking, problem):
    if lacking == "journal":
        journal.system.unlink()
    elif lacking == "program":
        (journal.bin / "journalctl").unlink()
        monkeypatch.setenv("PATH", str(journal.bin))
    else:
        access = os.access
        monkeypatch.setattr(module.os, "access", lambda path, mode: "system" not in str(path) and access(path, mode))
    follower = JournalFollower(paths=HostPaths(root=journal.root), position=AT)
    assert problem in follower.problem  # before it runs: a first sample must not take absence for silence
    async with following(journal) as (follower, _):
        await asyncio.sleep(0.05)
        assert problem in follower.problem


def test_a_journal_in_memory_counts_too(journal):
    volatile = journal.root / "run/log/journal/0123/system.journal"
    volatile.parent.mkdir(parents=True)
    journal.system.rename(volatile)
    assert unreadable(HostPaths(root=journal.root)) == ""


async def test_the_child_does_not_outlive_us(journal):
    async with following(journal):
        await until(lambda: journal.asked)
        (child,) = children()
    await until(lambda: child not in children(), 2)


def children():
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((process / "stat").read_text().rpartition(") ")[2].split()[1])
            if parent == os.getpid() and "journalctl" in (process / "cmdline").read_text():
                found.add(int(process.name))
    return found


async def test_a_reader_who_is_slow_gets_every_line_in_order(journal):
    for number in range(3000):
        journal.say(f"line {number} {'x' * 300}", at=number)
    taken = []

    async def slowly(entries):
        await asyncio.sleep(0.002)
        taken.extend(entries)

    async with following(journal, take=slowly) as (follower, _):
        monkey = module._LINES_PER_SECOND
        module._LINES_PER_SECOND = 10_000
        try:
            await until(lambda: len(taken) == 3000)
        finally:
            module._LINES_PER_SECOND = monkey
    assert [int(one.message.split()[1]) for one in taken] == list(range(3000))
    assert follower.skips == 0


async def test_a_storm_is_paced_and_then_left_out(journal, monkeypatch):
    monkeypatch.setattr(module, "_LINES_PER_SECOND", 50)
    monkeypatch.setattr(module, "_MOST_BEHIND_SECONDS", 1)
    for number in range(5000):
        journal.say(f"storm {number}", at=number / 1000)
    async with following(journal) as (follower, taken):
        await until(lambda: follower.skips == 1)
        read = len(taken)
        await until(lambda: len(journal.asked) == 2)
    assert read < 2500  # three chunks of the pipe at most
    assert any(one.startswith("--since=@") for one in journal.asked[1])
    assert float(follower.position) == pytest.approx(time.time(), abs=30)


async def test_what_is_no_entry_is_left_out(journal):
    for line in (b"\n", b"[]\n", b'{"a": 1}\n', b"\xff\xfe\n", b'{"__CURSOR": "x"}\n', b"[" * 5000 + b"\n"):
        journal.raw(line)
    journal.say("good", at=1)
    async with following(journal) as (_, taken):
        await until(lambda: taken)
    assert [one.message for one in taken] == ["good"]


async def test_a_line_without_end_costs_bounded_memory(journal, monkeypatch):
    monkeypatch.setattr(module, "_LONGEST_LINE", 100_000)
    journal.raw(b'{"MESSAGE": "' + b"x" * 1_000_000 + b'"}\n')
    journal.say("good", at=1)
    async with following(journal) as (_, taken):
        await until(lambda: taken)
    assert [one.message for one in taken] == ["good"]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("plain", "plain"),
        ([104, 105, 255], "hi\\xff"),  # bytes that are no text
        (["first", "second"], "first"),  # a field that was given twice
        ([[104, 105], [106]], ""),
        ([300], None),
        (None, ""),  # too long for --output=json
        ([], ""),
        ("x" * 5000, "x" * 2000),
    ],
)
def test_the_forms_of_a_message(message, text):
    line = json.dumps({"__CURSOR": "c", "__REALTIME_TIMESTAMP": "1772344800000999", "MESSAGE": message})
    parsed = parse(line.encode())
    assert (parsed.message if parsed else None) == text
    if parsed:
        assert (parsed.time_ms, parsed.priority, parsed.transport) == (NOW_MS, 6, "")
