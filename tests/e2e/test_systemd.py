"""The shipped unit under a real systemd: start, status, reload, kill, watchdog, bad configuration, kept state."""

import json
import sys
from pathlib import Path

import pytest
from container import Container
from real import wait_for

UNIT = "presaged.service"
REPOSITORY = Path(__file__).resolve().parents[2]
SEEN = sorted({sys.base_prefix, sys.prefix, str(REPOSITORY)})
CONFIG = '[sampling]\ninterval_seconds = 1\n[compute]\nbackend = "numpy"\n'


@pytest.fixture(scope="module")
def container(tmp_path_factory):
    one = Container(tmp_path_factory.mktemp("container"), SEEN)
    try:
        one.write("/etc/systemd/system/presaged.service", (REPOSITORY / "systemd/presaged.service").read_text())
        one.write("/etc/systemd/system/presaged.service.d/test.conf", drop_in())
        yield one
    finally:
        one.stop()


def drop_in():
    """Run the checkout's program with a short watchdog; where it lies in a closed home, show it that much of it."""
    closed = [path for path in SEEN if path.startswith(("/root", "/home", "/tmp", "/var/tmp"))]
    lines = ["[Service]", "ExecStart=", f"ExecStart={sys.executable} -P -m daemon", "WatchdogSec=5", "RestartSec=0.5"]
    if closed:
        lines += ["ProtectHome=tmpfs", *(f"BindReadOnlyPaths={path}" for path in closed)]
    return "\n".join(lines) + "\n"


@pytest.fixture
def unit(container):
    """The unit, started anew with a good configuration."""
    container.write("/etc/presaged/config.toml", CONFIG)
    container.do("systemctl", "daemon-reload")
    container.do("systemctl", "stop", UNIT)
    container.do("systemctl", "reset-failed", UNIT, check=False)
    container.do("systemctl", "start", UNIT)
    yield container
    container.do("systemctl", "stop", UNIT)


def status_of(container):
    program = (
        "import urllib.request;"
        "print(urllib.request.urlopen('http://127.0.0.1:9736/api/v1/status', timeout=3).read().decode())"
    )
    done = container.do(sys.executable, "-c", program, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def restarted(container, before):
    return container.show(UNIT, "ActiveState") == "active" and container.show(UNIT, "MainPID") not in {before, "0"}


def test_start_status_and_reload(unit):
    assert unit.show(UNIT, "ActiveState") == "active"
    wait_for(lambda: "samples" in unit.show(UNIT, "StatusText"), 10, "a status text")
    before = unit.show(UNIT, "MainPID")
    unit.write("/etc/presaged/config.toml", CONFIG + '[log]\nlevel = "debug"\n')
    unit.do("systemctl", "reload", UNIT)
    assert unit.show(UNIT, "MainPID") == before
    log = unit.do("journalctl", "-u", UNIT, "-o", "cat", "--no-pager").stdout
    assert '"event": "reloaded"' in log
    status = status_of(unit)
    assert not [one for one in status["collectors"] if one["problem"] and not one["absent"]]
    assert status["state_directory"] == "/var/lib/presaged"


def test_kill_is_followed_by_a_restart_that_keeps_the_state(unit):
    wait_for(lambda: (s := status_of(unit)) and s["seq"] >= 3, 15, "three samples")
    seq, before = status_of(unit)["seq"], unit.show(UNIT, "MainPID")
    unit.do("systemctl", "kill", "-s", "KILL", UNIT)
    wait_for(lambda: restarted(unit, before), 20, "a restart")
    status = wait_for(lambda: (s := status_of(unit)) and s["samples"] >= 1 and s, 15, "a sample")
    assert status["seq"] > seq


def test_a_frozen_daemon_is_aborted_by_the_watchdog(unit):
    before = unit.show(UNIT, "MainPID")
    unit.do("systemctl", "kill", "-s", "STOP", UNIT)
    wait_for(lambda: restarted(unit, before), 40, "a restart by the watchdog")
    log = unit.do("journalctl", "-u", UNIT, "-o", "cat", "--no-pager").stdout
    assert "Watchdog timeout" in log


def test_a_bad_configuration_does_not_loop(unit):
    unit.do("systemctl", "stop", UNIT)
    unit.write("/etc/presaged/config.toml", "[sampling]\nintervall_seconds = 1\n")
    unit.do("systemctl", "start", UNIT, check=False)
    wait_for(lambda: unit.show(UNIT, "ActiveState") == "failed", 10, "the unit fails")
    assert unit.show(UNIT, "ExecMainStatus") == "2"
    assert unit.show(UNIT, "NRestarts") == "0"
    log = unit.do("journalctl", "-u", UNIT, "-o", "cat", "--no-pager").stdout
    assert 'did you mean "interval_seconds"?' in log


def test_stop_is_clean_and_quick(unit):
    unit.do("systemctl", "stop", UNIT, timeout=10)
    assert unit.show(UNIT, "Result") == "success"
