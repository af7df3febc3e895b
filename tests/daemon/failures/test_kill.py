"""SIGKILL at any moment, again and again: every failure is recorded, and once.

A host that fails all the time is told by two sources at once, the kernel's counter and its log. Full figures:
PRESAGED_TEST_SCALE=25; a seed that failed is repeated with PRESAGED_TEST_SEED.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

from daemon.state import StateDatabase
from detectors.findings import FailureKind

CHILD = Path(__file__).with_name("watching_child.py")
KILLS = 5
MODES = ("never", "never", "before", "after")
VICTIM = (
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/s.slice/{unit},"
    "task_memcg=/s.slice/{unit},task=x,pid={pid},uid=0"
)


class World(threading.Thread):
    """Fails until it is told to stop; `units` and `disks` are the truth."""

    def __init__(self, seed, folder, journal):
        super().__init__(daemon=True)
        self.random = random.Random(seed)
        self.vmstat = folder / "proc" / "vmstat"
        self.vmstat.parent.mkdir()
        self.journal = journal
        self.units, self.disks = [], []
        self.over = threading.Event()
        self.count(0)

    def count(self, kills):
        draft = self.vmstat.with_name("draft")  # the kernel's file is never half of one
        draft.write_text(f"nr_free_pages 1\noom_kill {kills}\n")
        with self.vmstat.open("r+" if self.vmstat.exists() else "w") as file:
            file.write(draft.read_text())

    def run(self):
        while not self.over.is_set():
            time.sleep(self.random.uniform(0.0, 0.06))
            if self.random.random() < 0.5:
                self.kill()
            else:
                self.disks.append(f"sd{len(self.disks)}")
                for _ in range(self.random.randint(1, 3)):  # it goes on: one event
                    self.say(f"I/O error, dev {self.disks[-1]}, sector 1")

    def kill(self):
        unit, pid = f"u{self.random.randrange(5)}.service", len(self.units) + 1
        self.units.append(unit)
        tellers = [
            lambda: self.count(len(self.units)),
            lambda: (
                self.say(VICTIM.format(unit=unit, pid=pid)),
                self.say(f"Killed process {pid} (x) total-vm:1kB, anon-rss:2048kB"),
            ),
        ]
        self.random.shuffle(tellers)
        for tell in tellers:
            tell()
            time.sleep(self.random.choice((0.0, 0.0, 0.03)))

    def say(self, text):
        self.journal.say(text, __REALTIME_TIMESTAMP=str(time.time_ns() // 1000))


class Life:
    """One process after the other on the same folder."""

    def __init__(self, folder):
        self.folder = folder

    def start(self, mode):
        command = [sys.executable, "-P", str(CHILD), str(self.folder), mode]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout.readline() == "ready\n", (self.folder / "log").read_text()

    def end(self, expected):
        code = self.process.wait(30)
        self.process.stdout.close()
        assert code == expected, (self.folder / "log").read_text()


def test_no_failure_is_lost_or_doubled(tmp_path, journal, scale, seed):
    chance = random.Random(seed)
    world, life = World(seed, tmp_path, journal), Life(tmp_path)
    life.start("never")
    time.sleep(0.3)  # the counter has been looked at once: what it said before nobody can date
    world.start()
    for _ in range(KILLS * scale):
        time.sleep(chance.uniform(0.0, 0.4))
        os.kill(life.process.pid, signal.SIGKILL)
        life.end(-signal.SIGKILL)
        time.sleep(chance.uniform(0.0, 0.1))
        life.start(chance.choice(MODES))
    os.kill(life.process.pid, signal.SIGKILL)
    life.end(-signal.SIGKILL)
    world.over.set()
    world.join()
    life.start("never")
    (tmp_path / "stop").touch()
    life.end(0)
    with closing(StateDatabase(tmp_path / "state.db")) as database:
        events = database.recent_failures(100_000)
    found = {kind: Counter(one.resource for one in events if one.kind is kind) for kind in FailureKind}
    assert found[FailureKind.IO_ERROR] == Counter(world.disks)
    assert found[FailureKind.OOM_KILL] == Counter(world.units)
    assert len(events) == len(world.disks) + len(world.units) > 5
    assert all(len(one.marks) == 2 for one in events if one.kind is FailureKind.OOM_KILL)
