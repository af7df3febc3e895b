"""The shipped unit under a real systemd: start, status, reload, kill, watchdog, bad configuration, state, sandbox."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from container import Container
from real import wait_for

UNIT = "presaged.service"
REPOSITORY = Path(__file__).resolve().parents[2]
SEEN = sorted({sys.base_prefix, sys.prefix, str(REPOSITORY)})
DROP_INS = f"/etc/systemd/system/{UNIT}.d"
CONFIG = '[sampling]\ninterval_seconds = 1\n[compute]\nbackend = "numpy"\n'
STATE = "/var/lib/private/presaged"
MOST_SECONDS = 300  # of all of this in CI


@pytest.fixture(scope="module")
def container(tmp_path_factory, pytestconfig):
    began = time.monotonic()
    one = Container(tmp_path_factory.mktemp("container"), SEEN)
    try:
        one.write("/etc/systemd/system/presaged.service", (REPOSITORY / "systemd/presaged.service").read_text())
        one.write("/etc/systemd/system/presaged.service.d/test.conf", drop_in())
        yield one
    finally:
        one.stop()
    seconds = time.monotonic() - began
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\nthe unit under a real systemd: {seconds:.0f} s")
    assert seconds < MOST_SECONDS


def drop_in():
    """Run the checkout's program with a short watchdog; where it lies in a closed home, show it that much of it."""
    closed = [path for path in SEEN if path.startswith(("/root", "/home", "/tmp", "/var/tmp"))]
    lines = ["[Service]", "ExecStart=", f"ExecStart={sys.executable} -P -m daemon", "WatchdogSec=5", "RestartSec=0.5"]
    lines.append(f"Environment=PYTHONPATH={REPOSITORY}")  # that of a worktree, too
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

# Takes all memory of a process's group until the kernel has killed that process; by a file, so it is no choice itself.
TAKE_ALL = """
import sys
from pathlib import Path
pid, file = sys.argv[1], Path("/dev/shm/taken")
groups = dict(line.split(":", 2)[1:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())
top = "/sys/fs/cgroup/memory" + groups["memory"] if "memory" in groups else "/sys/fs/cgroup" + groups[""]
Path(top, "cgroup.procs").write_text("0")
try:
    with file.open("wb") as taken:
        while Path(f"/proc/{pid}").exists() and "VmRSS" in Path(f"/proc/{pid}/status").read_text():
            taken.write(bytes(1 << 20))
finally:
    file.unlink(missing_ok=True)
"""

# As many samples as a first training asks for, of a host that this one is not.
PAST = """
import sys, time
from pathlib import Path
import numpy as np
from daemon.clock import Instant
from daemon.history import History
from daemon.samples import StoredSample
from daemon.state import StateDatabase
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit
folder, count = Path(sys.argv[1]), 100
state = StateDatabase(folder / "state.db")
specs = [SignalSpec(f"cpu.past{number}", Unit.RATIO, Kind.GAUGE, "cpu") for number in range(8)]
ids = np.array(sorted(state.assign_signals(specs, 1).values()))
state.close()
history, rng = History(folder / "history.db"), np.random.default_rng(1)
now_ms = time.time_ns() // 1_000_000
history.bind_interval(1.0)
history.add([
    StoredSample(seq, Instant(now_ms - 1000 * (count + 5 - seq), seq * 10**9, 0, "before"), 0, 0, 0, None, None,
                 ids, rng.uniform(size=len(ids)).astype(np.float32))
    for seq in range(1, count + 1)
])
history.close()
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


def told(container, path):
    """Return what the daemon answers to a GET, as text; None where there is no answer."""
    program = (
        "import sys, urllib.request as u;"
        "print(u.urlopen('http://127.0.0.1:9736' + sys.argv[1], timeout=3).read().decode())"
    )
    done = container.do(sys.executable, "-c", program, path, check=False)
    return done.stdout if done.returncode == 0 else None


def status_of(container):
    said = told(container, "/api/v1/status")
    return said and json.loads(said)


def restarted(container, before):
    return container.show(UNIT, "ActiveState") == "active" and container.show(UNIT, "MainPID") not in {before, "0"}


def log_of(container):
    return container.do("journalctl", "-u", UNIT, "-o", "cat", "--no-pager").stdout


def test_start_status_and_reload(unit):
    assert unit.show(UNIT, "ActiveState") == "active"
    wait_for(lambda: "samples" in unit.show(UNIT, "StatusText"), 10, "a status text")
    before = unit.show(UNIT, "MainPID")
    unit.write("/etc/presaged/config.toml", CONFIG + '[log]\nlevel = "debug"\n')
    unit.do("systemctl", "reload", UNIT)
    assert unit.show(UNIT, "MainPID") == before
    log = log_of(unit)
    assert '"event": "reloaded"' in log
    status = status_of(unit)
    assert not [one for one in status["collectors"] if one["problem"] and not one["absent"]]
    held = unit.do("sh", "-c", f"for task in /proc/{before}/task/*; do ls $task/fd | wc -l; done").stdout.split()
    assert min(map(int, held)) <= 3 < max(map(int, held)), "no thread is without files: a hung disk would keep all open"
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
    log = log_of(unit)
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


@pytest.fixture
def little_memory(unit):
    """A limit that is soon reached; what is not bounded here is the time until something has taken it."""
    unit.write(f"{DROP_INS}/memory.conf", "[Service]\nMemoryMax=300M\n")
    unit.do("systemctl", "daemon-reload")
    yield unit
    unit.do("rm", f"{DROP_INS}/memory.conf")
    unit.do("systemctl", "daemon-reload")


def kills(container):
    """Return how many kills for want of memory the daemon has recorded."""
    failures = json.loads(told(container, "/api/v1/failures") or '{"failures": []}')["failures"]
    return sum(one["times"] for one in failures if one["kind"] == "oom_kill")


def take_all(container, pid):
    """Take memory of the cgroup of `pid` until that is gone; while it dies, who takes may be killed too."""
    container.do(sys.executable, "-c", TAKE_ALL, pid, check=False)
    container.do("rm", "-f", "/dev/shm/taken")
    wait_for(lambda: not container.do("ps", "-o", "stat=", "-p", pid, check=False).stdout.strip("Z\n "), 10, "its end")


def child_of(container, pid):
    return container.do("pgrep", "-P", pid, "-f", "daemon.worker", check=False).stdout.strip()


def test_killed_for_want_of_memory_it_comes_back_with_its_state_and_knows_it(little_memory):
    unit = little_memory
    unit.do("systemctl", "restart", UNIT)
    wait_for(lambda: (s := status_of(unit)) and s["samples"] >= 3, 15, "three samples")
    known, seq, before = kills(unit), status_of(unit)["seq"], unit.show(UNIT, "MainPID")
    take_all(unit, before)
    wait_for(lambda: restarted(unit, before), 20, "a restart")
    status = wait_for(lambda: (s := status_of(unit)) and s["samples"] >= 1 and s, 15, "a sample")
    assert status["seq"] > seq
    assert unit.show(UNIT, "NRestarts") == "1"
    wait_for(lambda: kills(unit) > known, 15, "the record of its own end")


def test_the_child_is_killed_for_want_of_memory_alone(little_memory):
    unit = little_memory
    unit.do("systemctl", "stop", UNIT)
    unit.write("/etc/presaged/config.toml", CONFIG + "[anomaly]\nnetwork_after_samples = 60\n")
    unit.do("sh", "-c", f"rm -f {STATE}/*.db* && chown -R root {STATE}")  # systemd gives it back to its user
    unit.do(sys.executable, "-c", PAST, STATE)
    unit.do("systemctl", "start", UNIT)
    before = unit.show(UNIT, "MainPID")
    child = wait_for(lambda: child_of(unit, before), 20, "a child")
    wait_for(lambda: unit.do("cat", f"/proc/{child}/oom_score_adj").stdout == "800\n", 10, "that it goes first")
    unit.do("kill", "-STOP", child)  # or it may have ended
    take_all(unit, child)
    log = wait_for(lambda: '"event": "training_failed"' in (log := log_of(unit)) and log, 10, "its word of it")
    assert "want of memory" in log
    failed = 'presaged_retrains_total{network="anomaly",outcome="failed",trigger="first"} 1.0'
    assert failed in told(unit, "/metrics")
    seq = status_of(unit)["seq"]
    wait_for(lambda: status_of(unit)["seq"] > seq, 10, "the next sample")
    wait_for(lambda: kills(unit), 10, "the record of the kill")
    assert unit.show(UNIT, "MainPID") == before
    assert unit.show(UNIT, "ActiveState") == "active"
    assert unit.show(UNIT, "NRestarts") == "0"


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
        assert "planted-secret" not in log_of(unit)
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
    log = log_of(unit)
    assert 'did you mean "interval_seconds"?' in log


def test_stop_is_clean_and_quick(unit):
    unit.do("systemctl", "stop", UNIT, timeout=10)
    assert unit.show(UNIT, "Result") == "success"
