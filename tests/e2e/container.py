"""A real systemd as PID 1, booted in a container over an overlay of this host's own root, or of another."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from real import need

CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = ("systemd", "unified", "cpu", "cpuacct", "pids")


def run(*command, check=True, timeout=60):
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done


class Container:
    """Boots in about two seconds; `do` runs a command inside, `stop` leaves nothing behind.

    `below` is the root that it sees and does not change.
    """

    def __init__(self, folder, shown=(), below="/"):
        need("systemd-nspawn", "systemd-container")
        if os.geteuid() != 0 or not Path("/run").is_dir():
            pytest.skip("a container needs root")
        self.folder = folder
        # systemd-nspawn lays an empty /tmp over ours: what is needed of it is shown again
        self.binds = [f"--bind-ro={path}" for path in shown if path.startswith("/tmp/")]
        self.name = f"e2e{os.getpid()}"
        self.root = folder / "merged"
        self.groups = []
        self.boot_log = (folder / "boot.log").open("wb")
        layers = folder / "ov"
        for path in (layers, self.root):
            path.mkdir()
        if run("mount", "-t", "tmpfs", "-o", "size=1G", "tmpfs", str(layers), check=False).returncode:
            pytest.skip("mount is not permitted here")
        for part in ("up", "wk"):
            (layers / part).mkdir()
        options = f"lowerdir={below},upperdir={layers / 'up'},workdir={layers / 'wk'}"
        run("mount", "-t", "overlay", "overlay", "-o", options, str(self.root))
        for target in ("multi-user", "timers"):
            for wanted in (self.root / f"etc/systemd/system/{target}.target.wants").glob("*"):
                wanted.unlink()
        self._boot()

    def _boot(self):
        enter = self._own_cgroups()
        self.nspawn = subprocess.Popen(
            [
                *("systemd-nspawn", "--boot", "-D", str(self.root), "--register=no", "--keep-unit"),
                *("--private-network", f"--machine={self.name}", "--resolv-conf=off", "--timezone=off"),
                *self.binds,
                *("--system-call-filter=bpf", "--capability=CAP_BPF", "--console=pipe"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self.boot_log,
            stderr=self.boot_log,
            start_new_session=True,
            preexec_fn=enter,  # noqa: PLW1509 - two writes before exec; the groups must be entered by the child itself
        )
        deadline = time.monotonic() + 60
        self.leader = ""
        while time.monotonic() < deadline:
            assert self.nspawn.poll() is None, (self.folder / "boot.log").read_text(errors="replace")[-2000:]
            self.leader = run("pgrep", "-P", str(self.nspawn.pid), check=False).stdout.strip().split("\n")[0]
            if self.leader and self.do("systemctl", "is-system-running", check=False).stdout.strip() in {
                "running",
                "degraded",
            }:
                break
            time.sleep(0.1)
        else:
            raise AssertionError("systemd did not come up: " + (self.folder / "boot.log").read_text()[-2000:])
        if self.groups:
            for controller in ("memory", "cpu", "cpuacct", "pids"):
                self.do("mount", "-o", "remount,bind,rw", f"/sys/fs/cgroup/{controller}", check=False)
            self.do("systemctl", "daemon-reexec")

    def _own_cgroups(self):
        """On a host with version 1 controllers, give the container groups of its own; returns what enters them."""
        if not (CGROUPS / "memory").is_dir():
            return None
        own = Path("/proc/self/cgroup").read_text().splitlines()
        memory = next(line.split(":", 2)[2] for line in own if line.split(":")[1] == "memory")
        self.groups = [
            CGROUPS / controller / self.name for controller in CONTROLLERS if (CGROUPS / controller).is_dir()
        ]
        self.groups.append(CGROUPS / "memory" / memory.lstrip("/") / self.name)
        for group in self.groups:
            group.mkdir(exist_ok=True)

        def enter():
            for group in self.groups:
                (group / "cgroup.procs").write_text(str(os.getpid()))

        return enter

    def do(self, *command, check=True, timeout=60):
        """Run `command` inside."""
        return run(
            "nsenter",
            "-t",
            self.leader,
            "-m",
            "-u",
            "-i",
            "-n",
            "-p",
            "-C",
            "--",
            *command,
            check=check,
            timeout=timeout,
        )

    def show(self, unit, name):
        return self.do("systemctl", "show", "-P", name, unit).stdout.strip()

    def write(self, path, text):
        file = self.root / path.lstrip("/")
        self.do("mkdir", "-p", str(Path(path).parent))
        file.write_text(text)

    def stop(self):
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.kill(int(self.leader), signal.SIGRTMIN + 4)
        try:
            self.nspawn.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.nspawn.kill()
            self.nspawn.wait()
        self.boot_log.close()
        for group in self.groups:
            for below in sorted(group.rglob("*"), key=lambda path: -len(path.parts)):
                if below.is_dir():
                    with contextlib.suppress(OSError):
                        below.rmdir()
            with contextlib.suppress(OSError):
                group.rmdir()
        for mount in (self.root, self.folder / "ov"):
            run("umount", "-l", str(mount), check=False)
        shutil.rmtree(self.folder / "ov", ignore_errors=True)
