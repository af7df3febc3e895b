import asyncio
import contextlib
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from daemon import wake
from daemon.wake import PressureTriggers


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def burn(stack):
    """Keep more processes busy than there are processors."""
    for _ in range(2 * (os.cpu_count() or 1) + 1):
        burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        stack.callback(burner.wait)
        stack.callback(burner.kill)


def stalled():
    return Path("/proc/pressure/cpu").read_text()


async def woken_within(triggers, called, seconds):
    loop = asyncio.get_running_loop()
    loop.add_reader(triggers.fileno(), triggers.fired)
    await asyncio.sleep(seconds)
    loop.remove_reader(triggers.fileno())
    return len(called)


async def test_where_the_kernel_has_no_pressure_nothing_wakes_and_nothing_fails(tmp_path):
    called = []
    triggers = PressureTriggers(tmp_path, lambda: called.append(1))
    assert await woken_within(triggers, called, 0.05) == 0
    triggers.close()


async def test_a_kernel_that_refuses_a_trigger_leaves_the_clock(tmp_path):
    (tmp_path / "pressure").mkdir()
    for name in ("cpu", "memory", "io"):
        (tmp_path / "pressure" / name).write_text("some avg10=0.00\n")
    before = open_files()
    called = []
    triggers = PressureTriggers(tmp_path, lambda: called.append(1))  # epoll refuses an ordinary file
    assert await woken_within(triggers, called, 0.05) == 0
    triggers.close()
    assert open_files() == before


async def test_what_fires_wakes_and_what_only_fails_does_not_spin():
    """Pipes in place of the kernel's files: readiness is what counts."""
    called = []
    triggers = PressureTriggers(Path("/nowhere"), lambda: called.append(1))
    reader, writer = os.pipe()
    broken, other_end = os.pipe()
    triggers._epoll.register(reader, select.EPOLLIN | select.EPOLLET)
    triggers._epoll.register(other_end, select.EPOLLPRI)
    os.write(writer, b"x")
    assert await woken_within(triggers, called, 0.05) == 1
    os.close(broken)  # its other end is in error from now on
    assert await woken_within(triggers, called, 0.05) <= 3
    for file in (reader, writer, other_end):
        os.close(file)
    triggers.close()


def refusal():
    """Why this kernel gives no trigger, "" = it does."""
    try:
        file = os.open("/proc/pressure/cpu", os.O_RDWR | os.O_NONBLOCK)
    except OSError as error:
        return f"/proc/pressure/cpu: {error.strerror}"
    try:
        os.write(file, b"some 100000 2000000\0")
    except OSError as error:
        return f"this kernel refuses pressure triggers: {error.strerror}"
    finally:
        os.close(file)
    return ""


async def test_a_host_under_pressure_wakes_the_loop(monkeypatch):
    """More work than processors for some seconds, and the kernel itself tells."""
    if reason := refusal():
        pytest.skip(reason)
    monkeypatch.setattr(wake, "_TRIGGERS", {"cpu": b"some 100000 2000000"})
    woken = asyncio.Event()
    triggers = PressureTriggers(Path("/proc"), woken.set)
    loop = asyncio.get_running_loop()
    loop.add_reader(triggers.fileno(), triggers.fired)
    before = stalled()
    with contextlib.ExitStack() as stack:
        stack.callback(triggers.close)
        stack.callback(loop.remove_reader, triggers.fileno())
        burn(stack)
        try:
            async with asyncio.timeout(8):
                await woken.wait()
        except TimeoutError:
            if stalled() == before:
                pytest.skip("this kernel accounts no pressure: its total stood still under more work than processors")
            raise
