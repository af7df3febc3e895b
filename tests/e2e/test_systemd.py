"""The shipped unit under a real systemd: start, status, reload, kill, watchdog, bad configuration, state, sandbox."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from container import Container
from real import wait_for

UNIT = "presaged.service"
REPOSITORY = Path(__file__).resolve().parents[2]
SEEN = sorted({sys.base_prefix, sys.prefix, str(REPOSITORY)})
DROP_INS = f"/etc/systemd/system/{UNIT}.d"
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


FREEZE = """
import ctypes, os, signal, sys
ptrace, pid = ctypes.CDLL(None).ptrace, int(sys.argv[1])
ptrace.argtypes = [ctypes.c_long] * 4
assert ptrace(16, pid, 0, 0) == 0  # PTRACE_ATTACH stops this one thread: the loop's
os.waitpid(pid, 0x40000000)
signal.alarm(60)
os.waitpid(pid, 0x40000000)  # its end is told to us first; only then to systemd
"""


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


def test_a_frozen_loop_is_aborted_though_other_threads_live(unit):
    wait_for(lambda: status_of(unit), 15, "an answer")
    before = unit.show(UNIT, "MainPID")
    assert len(unit.do("ls", f"/proc/{before}/task").stdout.split()) > 1
    unit.do("systemd-run", "--unit=freeze", "--collect", sys.executable, "-c", FREEZE, before)
    try:
        wait_for(lambda: restarted(unit, before), 40, "a restart by the watchdog")
    finally:
        unit.do("systemctl", "stop", "freeze", check=False)
    assert unit.show(UNIT, "NRestarts") == "1"


def test_all_but_its_own_folders_is_read_only(unit):
    wait_for(lambda: status_of(unit), 15, "an answer")
    pid = unit.show(UNIT, "MainPID")
    user, group = (unit.do("stat", "-c", what, f"/proc/{pid}").stdout.strip() for what in ("%u", "%g"))
    assert user != "0"
    folders = unit.do("find", "/", "-xdev", "-maxdepth", "3", "-type", "d", "-not", "-path", "/proc*").stdout.split()
    assert len(folders) > 200
    folders += ["/var/lib/presaged", "/var/cache/presaged"]  # links into folders that only its own namespace shows
    program = "import os, sys\nfor one in sys.stdin.read().split():\n    os.access(one, os.W_OK) and print(one)"
    enter = ["nsenter", "-t", unit.leader, "-m", "-p", "-C", "--", "nsenter", "-t", pid, "-m", "-S", user, "-G", group]
    done = subprocess.run(
        [*enter, "--", sys.executable, "-c", program],
        input="\n".join(folders),
        capture_output=True,
        text=True,
        check=True,
    )
    empty = {"/home", "/root", "/run/user"}  # of this test's own drop-in, to hide closed homes
    assert set(done.stdout.split()) - empty == {"/var/lib/presaged", "/var/cache/presaged", "/tmp", "/var/tmp"}
    for name in ("CapEff", "CapBnd", "CapAmb"):
        assert unit.do("grep", name, f"/proc/{pid}/status").stdout.split()[1] == "0" * 16


def test_a_secret_of_root_comes_as_a_credential(unit):
    sink = '[[alerting.sinks]]\nname = "team"\ntype = "slack"\nurl_file = "slack-url"\n'
    secret = "https://hooks.slack.com/services/T000/B000/planted-secret"
    unit.write("/etc/presaged/slack-url", secret)
    unit.do("chmod", "600", "/etc/presaged/slack-url")
    unit.write("/etc/presaged/config.toml", CONFIG + sink)
    unit.do("systemctl", "restart", UNIT, check=False)
    wait_for(lambda: unit.show(UNIT, "ActiveState") == "failed", 10, "the unit fails: it may not read the file")
    unit.write(f"{DROP_INS}/credentials.conf", (REPOSITORY / "systemd/drop-ins/credentials.conf").read_text())
    try:
        unit.do("systemctl", "daemon-reload")
        unit.do("systemctl", "reset-failed", UNIT)
        unit.do("systemctl", "start", UNIT)
        assert [one["name"] for one in wait_for(lambda: status_of(unit), 15, "an answer")["sinks"]] == ["team"]
        assert "planted-secret" not in unit.do("journalctl", "-u", UNIT, "-o", "cat", "--no-pager").stdout
    finally:
        unit.do("rm", f"{DROP_INS}/credentials.conf", "/etc/presaged/slack-url")
        unit.do("systemctl", "daemon-reload")


@pytest.mark.parametrize("setting", ["", "ReadOnlyPaths=/var/cache/private/presaged"], ids=["empty", "unwritable"])
def test_it_starts_with_whatever_kernel_cache(unit, setting):
    unit.do("systemctl", "stop", UNIT)
    unit.do("sh", "-c", "rm -rf /var/cache/private/presaged/*")
    unit.write("/etc/presaged/config.toml", CONFIG.replace("numpy", "auto"))
    unit.write(f"{DROP_INS}/cache.conf", f"[Service]\n{setting}\n")
    try:
        unit.do("systemctl", "daemon-reload")
        unit.do("systemctl", "start", UNIT)
        status = wait_for(lambda: (s := status_of(unit)) and s["samples"] >= 3 and s, 15, "three samples")
        assert status["backend"]
        assert unit.show(UNIT, "NRestarts") == "0"
    finally:
        unit.do("rm", f"{DROP_INS}/cache.conf")
        unit.do("systemctl", "daemon-reload")


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
