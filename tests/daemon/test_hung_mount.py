"""The real daemon while a disk of its host hangs: it goes on, says which one, sees it come back, and stops in time."""

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DISK = Path(__file__).with_name("fuse_disk.py")
# Into the namespace of a process, then another program.
ENTER = """
import ctypes, os, sys
mounts = os.open(f"/proc/{sys.argv[1]}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
assert ctypes.CDLL(None).setns(mounts, 0x20000) == 0
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
FAST = Path(__file__).with_name("fast_daemon.py")
USED = 0.5  # of the disk
STOP_SECONDS = 5

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")


@pytest.fixture
def disk(tmp_path):
    """A disk that its process serves; its name on the host is `place`."""
    place = tmp_path / "disk"
    place.mkdir()
    with subprocess.Popen(
        [sys.executable, DISK, place, tmp_path / "mountinfo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            if process.stdout.readline() != "ready\n":
                pytest.skip(f"no file system of FUSE is to be had: {process.stderr.read().strip().splitlines()[-1:]}")
            process.place = str(place)
            yield process
        finally:
            process.kill()  # whoever waits for it is let go


@pytest.fixture
def watching(daemons, disk, watchdog_fed, tmp_path):
    """A daemon that has seen the disk."""
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "90000000"}
    program = ("-c", ENTER, str(disk.pid), str(FAST), "--interval", "1", "--at-once")
    text = '[compute]\nbackend = "numpy"'
    daemon = daemons(program=program, text=text, environment=environment).start()
    daemon.wait(lambda status: status["seq"] >= 1)
    assert used(daemon, disk) == USED
    return daemon


def used(daemon, disk):
    """Return how full the disk is, None where that is not told."""
    name = re.escape(f"filesystem.{disk.place}.used")
    found = re.search(rf'^presaged_signal_ratio{{signal="{name}"}} (\S+)$', daemon.get("/metrics"), re.MULTILINE)
    return float(found[1]) if found else None


def told(status, disk):
    """Return the alerts that name the disk."""
    return [one for one in status["alerts"] if one["resource"] == disk.place]


def hang(daemon, disk, by=signal.SIGSTOP):
    """Let it hang, and return the status of the first tick that has found that out."""
    disk.send_signal(by)
    return daemon.wait(lambda status: told(status, disk))


def test_a_disk_that_hangs_is_named_and_costs_nothing_else_not_even_a_stop(watching, disk, watchdog_fed):
    began = time.monotonic()
    status = hang(watching, disk)
    (alert,) = told(status, disk)
    assert (alert["alertname"], alert["severity"], alert["state"]) == ("StoppedCollecting", "critical", "firing")
    assert f"{disk.place} gives no data any more: the file system does not answer" in alert["sentence"]
    text = watching.get("/metrics")
    counted = f'presaged_alert_active{{alertname="StoppedCollecting",resource="{disk.place}",severity="critical"}} 1.0'
    assert counted in text.splitlines()
    assert 'presaged_collector_success{collector="filesystem"} 1.0' in text.splitlines()  # the others are read
    assert used(watching, disk) is None
    watching.wait(lambda later: later["seq"] >= status["seq"] + 3)
    disk.send_signal(signal.SIGCONT)
    watching.wait(lambda later: not told(later, disk))
    assert used(watching, disk) == USED
    hang(watching, disk)
    times = [one for one in watchdog_fed if one >= began]
    apart = [later - before for before, later in itertools.pairwise(times)]
    code, seconds = watching.end()
    print(
        f"a disk that hung: {len(times)} ticks, one a second, at most {max(apart):.2f} s apart; hanging again, stopped "
        f"after {seconds:.2f} s"
    )
    assert max(apart) < 2.5  # late by an interval: the first round waits a second for the disk
    assert (code, seconds < STOP_SECONDS) == (0, True)
    assert "Traceback" not in watching.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_what_a_disk_never_gives_back_is_a_process_and_nothing_that_the_next_one_needs(watching, disk, daemons, number):
    """The kernel keeps a thread until its call is answered, and with it the process; lock and listener are free."""
    hang(watching, disk, by=signal.SIGUSR1)
    began = time.monotonic()
    last = watching.status()["seq"]
    watching.send(number)
    if number is signal.SIGTERM:
        watching.wait_for_event("stopped", STOP_SECONDS)
    seconds = time.monotonic() - began
    watching.send(signal.SIGKILL)
    time.sleep(0.3)
    stays = watching.process.poll() is None
    after = daemons(program=watching.program, directory=watching.directory).start()
    after.wait(lambda status: status["seq"] > last + 1 and told(status, disk))
    print(f"{number.name}: ended after {seconds:.2f} s; {'its process stays' if stays else 'and is gone'}")
    disk.send_signal(signal.SIGUSR2)
    watching.process.wait(STOP_SECONDS)
    after.wait(lambda status: not told(status, disk))
    assert after.end()[0] == 0
    assert "Traceback" not in after.log.read_text()
