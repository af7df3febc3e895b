"""presaged in a container of its own, with the host's root at /host: what it tells is the host's, and it may do little.

The host is a real systemd (see container.py). In it the "pod" has namespaces of its own for mounts, processes, network,
names, IPC and control groups; its root is read-only, its /proc, /sys, /run and machine-id are not the host's, it has no
capability and may gain none: what deploy/kubernetes.yaml asks for, without a cluster. But for its network: there it
shares that of its node, and here it has one of its own, so that what is told of a network cannot be its own.
"""

import json
import os
import sys
from pathlib import Path

import pytest
from container import Container, run
from real import need, wait_for
from test_systemd import REPOSITORY, SEEN

from daemon.durable import bind_to_machine

PRESAGE = str(Path(sys.executable).with_name("presage"))
POD = """
set -e
mkdir -p /run/seen /run/image /var/lib/presaged-pod
mount --rbind / /run/seen
mount --rbind / /run/image
cd /run/image
mount -t proc proc proc
mount -t sysfs sysfs sys
for place in run tmp var/log etc/presaged var/lib/systemd; do mount -t tmpfs tmpfs $place; done
echo "$CONFIG" >etc/presaged/config.toml
for path in $SHOWN; do mkdir -p .$path; mount --rbind /run/seen$path .$path; done
mkdir -p run/systemd/system  # or systemctl does not even try to reach a bus
echo 11111111111111111111111111111111 >run/id; mount --bind run/id etc/machine-id
mount --rbind /run/seen host
mount -o remount,bind,ro host
for place in proc sys run; do mount --rbind host/$place host/$place; mount -o remount,bind,ro host/$place; done
mount --bind /var/lib/presaged-pod var/lib/presaged
mount -o remount,bind,ro .
hostname pod; ip link set lo up
exec chroot . setpriv --bounding-set=-all --inh-caps=-all --no-new-privs \
  env -u NOTIFY_SOCKET PRESAGED_ROOT_FS=/host PRESAGED_PROC=/host/proc $PYTHON -P -m daemon
"""
CONFIG = '[sampling]\ninterval_seconds = 1\n[compute]\nbackend = "numpy"\n[alerting]\nunits = ["broken.service"]\n'
UNSHARE = ("unshare", "--mount", "--propagation=slave", "--pid", "--fork", "--net", "--uts", "--ipc", "--cgroup")


class Pod:
    """Runs in `host`; `do` runs a command in it."""

    def __init__(self, host):
        self.host = host
        host.do("mkdir", "-p", "/host", "/etc/presaged", "/var/lib/presaged", "/var/lib/presaged-pod")
        shown = " ".join(path for path in SEEN if path.startswith("/tmp/"))
        given = {"CONFIG": CONFIG, "SHOWN": shown, "PYTHON": sys.executable, "PYTHONPATH": str(REPOSITORY)}
        environment = [f"--setenv={name}={value}" for name, value in given.items()]
        host.do("systemd-run", "--unit=pod", *environment, "--", *UNSHARE, "sh", "-c", POD)

    @property
    def pid(self):
        """The daemon's, as the host counts."""
        shell = self.host.show("pod.service", "MainPID")
        return self.host.do("pgrep", "-P", shell).stdout.split()[0]

    def do(self, *command, check=True):
        enter = ("nsenter", "-t", self.pid, "-m", "-p", "-n", "-u", "-i", "-C", "--root", "--wd=/", "--")
        given = ("env", "PRESAGED_ROOT_FS=/host", "PRESAGED_PROC=/host/proc")
        return self.host.do(*enter, *given, *command, check=check)

    def told(self, path):
        program = (
            "import sys, urllib.request as u;"
            "print(u.urlopen('http://127.0.0.1:9736' + sys.argv[1], timeout=3).read().decode())"
        )
        done = self.do(sys.executable, "-c", program, path, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None


@pytest.fixture(scope="module")
def pod(tmp_path_factory):
    host = Container(tmp_path_factory.mktemp("container"), SEEN)
    try:
        host.do("sh", "-c", "mkdir -p /var/log/journal && systemctl restart systemd-journald dbus")
        one = Pod(host)
        try:
            wait_for(lambda: (said := one.told("/api/v1/status")) and said["samples"] >= 3, 30, "three samples")
        except AssertionError as error:
            raise AssertionError(
                host.do("journalctl", "-u", "pod", "-o", "cat", "--no-pager").stdout[-3000:]
            ) from error
        yield one
    finally:
        host.stop()


OPENS = """
import resource, socket, time
resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))
held = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(300)]
time.sleep(600)
"""


def signals(pod):
    return {one["name"]: one.get("value") for one in pod.told("/api/v1/signals?limit=1000")["signals"]}


def failures(pod, resource):
    return [one for one in pod.told("/api/v1/failures")["failures"] if one["resource"] == resource]


def alerts(pod, alertname):
    return [one["resource"] for one in pod.told("/api/v1/alerts")["alerts"] if one["alertname"] == alertname]


def doctor(pod, *options):
    return json.loads(pod.do(PRESAGE, "doctor", "--json", *options, check=False).stdout)


def test_its_signals_are_the_hosts(pod, tmp_path):
    host = pod.host
    assert all(not one["problem"] or one["absent"] for one in pod.told("/api/v1/status")["collectors"])
    of_host = host.do("cat", "/etc/machine-id").stdout.strip()
    assert pod.do("cat", "/etc/machine-id").stdout.strip() != of_host
    (tmp_path / "machine").write_text(pod.do("cat", "/var/lib/presaged/machine").stdout)
    bind_to_machine(tmp_path, of_host)  # its state is that of the host, or this is refused

    host.do("systemd-run", "--unit=opens", sys.executable, "-c", OPENS)
    try:
        wait_for(lambda: (signals(pod).get("sockets.used_count") or 0) >= 300, 15, "the sockets of the host's network")
        wait_for(lambda: (signals(pod).get("units.opens.service.descriptors_used") or 0) > 0.7, 20, "whose they are")
    finally:
        host.do("systemctl", "stop", "opens")


def test_a_file_system_that_the_host_mounts_later_is_seen(pod, tmp_path):
    need("mkfs.ext4", "e2fsprogs")
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    device = run("losetup", "--find", "--show", str(image)).stdout.strip()
    number = Path(device).stat().st_rdev
    try:
        run("mkfs.ext4", "-q", "-F", "-m", "0", device)
        pod.host.do("mkdir", "-p", "/srv/later")
        pod.host.do("mknod", "/dev/later", "b", str(os.major(number)), str(os.minor(number)))
        pod.host.do("mount", "/dev/later", "/srv/later")
        wait_for(lambda: signals(pod).get("filesystem./srv/later.used") is not None, 15, "the new file system")
        pod.host.do("umount", "/srv/later")  # it is not held by who looks at it from afar
        wait_for(lambda: signals(pod).get("filesystem./srv/later.used") is None, 15, "that it went")
    finally:
        pod.host.do("umount", "--lazy", "/srv/later", check=False)
        run("losetup", "--detach", device)


def test_the_hosts_journal_and_its_failed_units_are_seen(pod):
    sources = {one["name"]: one["problem"] for one in pod.told("/api/v1/failures")["sources"]}
    assert (sources["journal"], sources["systemd"], sources["memory"]) == ("", "", "")
    pod.host.do("systemd-run", "--unit=broken", "sh", "-c", "exit 3", check=False)
    (failure,) = wait_for(lambda: failures(pod, "broken.service"), 20, "the record of it")
    assert "systemd" in failure["seen_by"]
    wait_for(lambda: alerts(pod, "UnitFailed") == ["broken.service"], 10, "the alert")
    for _ in range(3):
        pod.host.do("logger", "-p", "user.err", "something is wrong")
    wait_for(lambda: (signals(pod).get("errors.journal.error_per_second") or 0) > 0, 10, "the lines of the journal")


def test_it_may_do_nothing_but_look(pod):
    told = pod.host.do("cat", f"/proc/{pod.pid}/status").stdout
    words = dict(line.split(":\t", 1) for line in told.splitlines() if ":\t" in line)
    assert {words[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {"0" * 16}
    assert words["NoNewPrivs"] == "1"
    assert pod.do("sh", "-c", "touch /x /usr/x /host/x /host/etc/x", check=False).stderr.count("Read-only") == 4
    files = "/host/proc/sys/kernel/core_pattern /host/sys/kernel/mm /host/run/systemd/system /host/var/log /host/root"
    writable = f"for file in {files}; do test -w $file && echo $file; done; true"
    assert pod.do("sh", "-c", writable).stdout == ""
    shared = [one for one in ("mnt", "pid", "net", "uts", "ipc", "cgroup") if _same(pod, one)]
    assert shared == []


def _same(pod, namespace):
    ours, init = (pod.host.do("readlink", f"/proc/{pid}/ns/{namespace}").stdout for pid in (pod.pid, "1"))
    return ours == init


def test_the_doctor_says_what_it_sees(pod):
    found = {one["check"]: one for one in doctor(pod)}
    assert [one for one in found.values() if one["verdict"] == "problem"] == []
    assert found["host paths"]["verdict"] == "ok"
    assert "/host/proc/1/mountinfo" in found["permissions"]["finding"]
    assert "/host/var/lib/smartmontools" in found["failures"]["finding"]
    blind = [one["finding"] for one in doctor(pod, "--root-fs=/srv") if one["verdict"] == "problem"]
    assert blind[0] == "--root-fs: /srv is not the root of a host: it has no etc"
