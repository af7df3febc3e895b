"""Four failures for real, each foretold or not: `python tests/e2e/risk.py [--json FILE]`, or `make e2e-risk`.

The shipped unit runs in a real systemd, in a container over this host's own root. For each failure it begins anew,
without any history, watches in quiet, and then a service leaks memory up to its limit, fills a file system on a loop
device, opens files without end, or crashes and is started again until systemd gives up. The risk is asked for at every
sample. `--loud` lets nothing fail: quiet at first, then stress-ng at full load on the same processors and memory.

Needs root. Exits with 1 when the figures are not reached.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest
from container import Container, run
from real import need, wait_for
from test_systemd import REPOSITORY, SEEN, UNIT, drop_in

RUN_UPS = Path(__file__).with_name("run_ups.py")
LIKELY, HARMLESS = 0.5, 0.3
LEAST_LEAD = 0.25  # of the run-up
_ASKS = """
import json, sys, time, urllib.request
while True:
    try:
        found = {}
        for what in ("risk", "failures"):
            with urllib.request.urlopen("http://127.0.0.1:9736/api/v1/" + what, timeout=2) as answer:
                found[what] = json.load(answer)
        print(json.dumps({"time": time.time(), **found}), flush=True)
    except OSError:
        pass
    time.sleep(float(sys.argv[1]))
"""
_MEMORY = 200 << 20
_CRASHES = 12
_LATELY_SECONDS = 10  # within which a kill is recorded
_STATE = ("/var/lib/private/presaged", "/var/lib/presaged")
LOUD = ("--cpu", "0", "--vm", "2", "--vm-bytes", "60%", "--hdd", "1", "--hdd-bytes", "1G", "--sock", "1", "--fork", "1")


class Host:
    """A container with the unit in it, and a file system of its own at /srv/fill."""

    def __init__(self, folder, interval_seconds):
        self._undo = contextlib.ExitStack()
        self.interval_seconds = interval_seconds
        self.inside = Container(folder, SEEN)
        self._undo.callback(self.inside.stop)
        try:
            self._installed(interval_seconds)
            self._file_system(folder)
        except BaseException:
            self.close()
            raise
        self.answers = []
        self._asked = None

    def _installed(self, interval_seconds):
        units, write = REPOSITORY / "systemd", self.inside.write
        write(f"/etc/systemd/system/{UNIT}", (units / UNIT).read_text())
        ours = f"Environment=PYTHONPATH={REPOSITORY}\n"
        write(f"/etc/systemd/system/{UNIT}.d/test.conf", drop_in().replace("WatchdogSec=5", "WatchdogSec=120") + ours)
        write("/etc/presaged/config.toml", f"[sampling]\ninterval_seconds = {interval_seconds:g}\n")
        self.inside.write("/opt/run_ups.py", RUN_UPS.read_text())
        self.inside.do("systemctl", "daemon-reload")

    def _file_system(self, folder):
        image = folder / "image"
        with image.open("wb") as file:
            file.truncate(128 << 20)
        self._device = run("losetup", "--find", "--show", str(image)).stdout.strip()
        self._undo.callback(run, "losetup", "--detach", self._device, check=False)
        number = Path(self._device).stat().st_rdev
        run("mkfs.ext4", "-q", "-F", "-m", "0", self._device)
        self.inside.do("mkdir", "-p", "/srv/fill")
        self.inside.do("mknod", "/dev/filled", "b", str(os.major(number)), str(os.minor(number)))
        self.inside.do("mount", "/dev/filled", "/srv/fill")
        self._undo.callback(self.inside.do, "umount", "--lazy", "/srv/fill", check=False)

    def close(self):
        """Take everything away again."""
        self._undo.close()

    def begin_anew(self):
        """Start the daemon without any history, and ask it for its risk at every sample from now on."""
        self.inside.do("systemctl", "stop", UNIT, check=False)
        self.inside.do("rm", "-rf", *_STATE)
        self.inside.do("rm", "-f", "/srv/fill/log")
        self.answers = []
        self.inside.do("systemctl", "reset-failed", check=False)
        self.inside.do("systemctl", "start", UNIT)
        if self._asked is None:
            enter = ("nsenter", "-t", self.inside.leader, "-n", "--")
            every = str(min(self.interval_seconds, 5) / 2)
            self._asked = subprocess.Popen(
                [*enter, sys.executable, "-c", _ASKS, every], stdout=subprocess.PIPE, text=True
            )
            self._listener = threading.Thread(target=self._listen, daemon=True)
            self._listener.start()
            self._undo.callback(self._ask_no_more)

    def _ask_no_more(self):
        self._asked.kill()
        self._asked.wait()
        self._listener.join()
        self._asked.stdout.close()

    def _listen(self):
        for line in self._asked.stdout:
            self.answers.append(json.loads(line))

    def hours(self, since=0.0):
        """Return (time, P(1 h), the first reason) of the answers since then that have one."""
        told = [(one["time"], one["risk"]) for one in self.answers if one["time"] >= since and one["risk"]["within_1h"]]
        return [(at, one["within_1h"]["probability"], *(why["text"] for why in one["reasons"][:1])) for at, one in told]

    def failures(self):
        """Return what is recorded so far."""
        return self.answers[-1]["failures"]["failures"] if self.answers else []

    def service(self, name, *command, **settings):
        """Start a service of that name."""
        properties = [f"--property={key}={value}" for key, value in settings.items()]
        self.inside.do("systemd-run", f"--unit={name}", *properties, *command)

    def runs(self, name):
        """Tell whether that service runs."""
        return self.inside.do("systemctl", "is-active", name, check=False).stdout.strip() == "active"


def leak(host, seconds):
    """A service leaks memory until the kernel kills it."""
    command = (sys.executable, "/opt/run_ups.py", "memory", str(seconds), str(_MEMORY))
    host.service("leak", *command, MemoryMax=_MEMORY, MemorySwapMax=0)
    return "oom_kill", ("", "leak.service")


def fill(host, seconds):
    """A service fills a file system until nothing can be written."""
    host.service("fill", sys.executable, "/opt/run_ups.py", "mount", str(seconds), "/srv/fill")
    return "filesystem_full", ("/srv/fill",)


def open_files(host, seconds):
    """A service opens files until it cannot, and ends with the error."""
    host.service("files", sys.executable, "/opt/run_ups.py", "descriptors", str(seconds), LimitNOFILE=1024)
    return "unit_failed", ("files.service",)


def crash_loop(host, seconds):
    """A service crashes, and is started again until systemd gives it up."""
    settings = {"Restart": "always", "StartLimitBurst": _CRASHES, "StartLimitIntervalSec": 10 * seconds}
    host.service("crashes", "sh", "-c", "sleep 1; exit 3", RestartSec=max(seconds / _CRASHES - 1, 0.1), **settings)
    return "unit_failed", ("crashes.service",)


TRIALS = {one.__name__: one for one in (leak, fill, open_files, crash_loop)}


def foretold(host, happens, quiet_seconds, seconds):
    """Watch in quiet, let it happen, and say when P(1 h) went above one half and when the failure was recorded."""
    host.begin_anew()
    wait_for(host.hours, 120 + 20 * host.interval_seconds, "a risk")
    time.sleep(quiet_seconds)
    before = max(host.hours(), key=lambda one: one[1])[1:]
    began = time.time()
    kind, resources = happens(host, seconds)
    deadline = began + 1.6 * seconds + 120
    found = []
    while not found and time.time() < deadline:
        time.sleep(0.5)
        if kind == "oom_kill" and host.runs("leak"):
            continue  # the kernel counts for the whole machine: what it has killed so far was somewhere else
        found = [
            one
            for one in host.failures()
            if one["kind"] == kind
            and one["resource"] in resources
            and (kind != "oom_kill" or time.time() - _seconds_of(one["at"]) < _LATELY_SECONDS)
        ]
    ended = _seconds_of(found[0]["at"]) if found else None
    path = host.hours(began)
    crossed = next(((at, text) for at, chance, *text in path if chance > LIKELY and at < (ended or 0)), None)
    row = {
        "failure": happens.__name__,
        "interval_seconds": host.interval_seconds,
        "highest_in_quiet": before,
        "recorded": bool(found),
        "recorded_as": [f"{one['kind']} {one['resource']}: {one['detail']}" for one in host.failures()],
        "run_up_seconds": found and round(ended - began, 1),
        "highest_before": max((chance for at, chance, *_ in path if at < (ended or 0)), default=None),
        "lead_seconds": crossed and round(ended - crossed[0], 1),
        "lead_share": crossed and round((ended - crossed[0]) / (ended - began), 3),
        "said": crossed and " ".join(crossed[1]),
        "path": [(round(at - began, 1), chance) for at, chance, *_ in path[:: max(len(path) // 30, 1)]],
    }
    host.inside.do("systemctl", "stop", "leak", "fill", "files", "crashes", check=False)
    return row


def _seconds_of(text):
    return datetime.fromisoformat(text).timestamp()


def nothing_fails(host, quiet_seconds, loud_seconds):
    """Watch in quiet and under full load; say how high the risk came."""
    host.begin_anew()
    began = time.time()
    time.sleep(quiet_seconds)
    loud = time.time()
    done = subprocess.run(["stress-ng", "--quiet", *LOUD, "--timeout", f"{loud_seconds}s"], check=False)
    ended = time.time()
    told = [one for one in host.hours(began) if one[0] < ended]
    quiet, noisy = [one for one in told if one[0] < loud], [one for one in told if one[0] >= loud]
    return {
        "interval_seconds": host.interval_seconds,
        "quiet_seconds": quiet_seconds,
        "loud_seconds": round(ended - loud),
        "stress_ng": done.returncode,
        "highest_in_quiet": max(quiet, key=lambda one: one[1], default=None),
        "highest_when_loud": max(noisy, key=lambda one: one[1], default=None),
        "above": sum(one[1] > HARMLESS for one in told),
        "answers": len(told),
        "failures": host.failures(),
    }


def judge(report):
    """Return the demands with whether each is met."""
    demands = []
    if rows := report.get("failures"):
        leads = [row["lead_share"] or 0.0 for row in rows]
        told = sum(row["lead_seconds"] is not None for row in rows)
        recorded = sum(row["recorded"] for row in rows)
        demands += [
            (f"{recorded} of {len(rows)} recorded (all)", recorded == len(rows)),
            (f"{told} of {len(rows)} with P(1 h) above {LIKELY} before it (all)", told == len(rows)),
            (f"median lead {statistics.median(leads):.2f} of the run-up (at least {LEAST_LEAD})",
             statistics.median(leads) >= LEAST_LEAD),
        ]  # fmt: skip
    if loud := report.get("loud"):
        demands.append((f"{loud['above']} of {loud['answers']} answers above {HARMLESS} (none)", not loud["above"]))
    return demands


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    parser.add_argument("--interval", type=float, default=1, help="seconds between samples")
    parser.add_argument("--quiet-seconds", type=float, default=60, help="quiet before each failure, or before the load")
    parser.add_argument("--seconds", type=float, default=150, help="how long a run-up takes, or the load")
    parser.add_argument("--only", nargs="*", choices=tuple(TRIALS), default=tuple(TRIALS), help="these failures only")
    parser.add_argument("--loud", action="store_true", help="let nothing fail")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all is taken away again
    if os.geteuid():
        sys.exit("a container needs root")
    report = {}
    try:
        need("stress-ng", "stress-ng")
        need("mkfs.ext4", "e2fsprogs")
        with tempfile.TemporaryDirectory(prefix="presaged-risk-", dir="/var/tmp") as folder:
            host = Host(Path(folder), given.interval)
            try:
                if given.loud:
                    report["loud"] = nothing_fails(host, given.quiet_seconds, given.seconds)
                    print(json.dumps(report["loud"], indent=1), flush=True)
                else:
                    report["failures"] = []
                    for name in given.only:
                        row = foretold(host, TRIALS[name], given.quiet_seconds, given.seconds)
                        report["failures"].append(row)
                        print(json.dumps(row), flush=True)
            finally:
                host.close()
    except pytest.skip.Exception as reason:
        sys.exit(str(reason))
    verdict = judge(report)
    report["verdict"] = dict(verdict)
    if given.json:
        given.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print("\n".join(f"{'met    ' if met else 'NOT MET'} {words}" for words, met in verdict))
    return 0 if all(met for _, met in verdict) else 1


if __name__ == "__main__":
    sys.exit(main())
