"""The real daemon on a disk, a clock and limits that fail under it: it goes on sampling, says so, and heals by itself.

Calls fail, and the wall clock jumps, by a library of ours that is preloaded (`fault_shim.c`), switched while it runs.
"""

import contextlib
import errno
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from lived import lived

FAST = str(Path(__file__).with_name("fast_daemon.py"))
SECONDS = 1.5  # of a fault, times the scale
LEARNING = '[anomaly]\nnetwork_after_samples = 200\nlearning_days = 0\n[compute]\nbackend = "numpy"\n'
YEAR, HOUR = 365 * 86_400, 3600


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler to make the failing calls with")
    made = tmp_path_factory.mktemp("shim") / "faults.so"
    source = Path(__file__).with_name("fault_shim.c")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-w", "-o", made, source, "-ldl"], check=True)
    return made


class Faults:
    """What fails now."""

    def __init__(self, path):
        self.path = path
        path.write_bytes(bytes(32))

    def set(self, *, writing=0, reading=0, wall_seconds=0, slept_seconds=0):
        with self.path.open("r+b") as file:  # in place: it is mapped
            file.write(struct.pack("=qqqq", writing, reading, wall_seconds, slept_seconds))


@pytest.fixture
def failing(daemons, shim, tmp_path):
    """Start a fast daemon whose calls below `below` can be made to fail."""

    def start(below="/state/", **more):
        faults = Faults(tmp_path / "faults")
        environment = {"LD_PRELOAD": str(shim), "FAULT_FILE": str(faults.path), "FAULT_BELOW": below}
        daemon = daemons(program=(FAST, "--collector", "quiet"), environment=environment, **more).start()
        daemon.wait(lambda status: status["seq"] >= 5)
        return daemon, faults

    return start


def stored(daemon):
    with contextlib.closing(sqlite3.connect(f"{(daemon.state / 'history.db').as_uri()}?mode=ro", uri=True)) as database:
        return [row[0] for row in database.execute("SELECT seq FROM samples ORDER BY seq")]


def events(daemon, name):
    return [line for line in daemon.lines() if line.get("event") == name]


def goes_on(daemon, seconds, samples=3):
    """Wait `seconds`; tell how many samples were taken in them."""
    first = daemon.status()["seq"]
    time.sleep(seconds)
    last = daemon.wait(lambda status: status["seq"] >= first + samples)["seq"]
    assert daemon.get("/healthz") == "ok\n"
    return last - first


def heals(daemon):
    """Return after how many seconds samples are stored again; it ends well after that."""
    began, seen = time.monotonic(), daemon.status()["seq"]
    while not (daemon.state / "history.db").exists() or max(stored(daemon), default=0) <= seen:
        assert time.monotonic() - began < 15, daemon.words()
        time.sleep(0.02)
    seconds = time.monotonic() - began
    assert "Traceback" not in daemon.log.read_text()
    assert daemon.end()[0] == 0, daemon.words()
    return seconds


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS], ids=errno.errorcode.get)
def test_a_disk_that_takes_no_writes_costs_samples_on_it_and_nothing_else(failing, scale, number):
    daemon, faults = failing()
    before = stored(daemon)
    faults.set(writing=number)
    taken = goes_on(daemon, SECONDS * scale)
    assert events(daemon, "sample_not_stored")
    faults.set()
    seconds = heals(daemon)
    assert set(before) <= set(stored(daemon))
    assert not (daemon.state / "history.db.corrupt").exists()
    print(f"{errno.errorcode[number]} on writing: {taken} samples taken meanwhile, stored again after {seconds:.2f} s")


def test_a_disk_that_cannot_be_read_costs_nothing_that_was_there(failing, scale):
    daemon, faults = failing()
    before = stored(daemon)
    faults.set(reading=errno.EIO)
    taken = goes_on(daemon, SECONDS * scale)
    faults.set()
    seconds = heals(daemon)
    kept = set(stored(daemon))
    if not set(before) <= kept:
        aside = daemon.state / "history.db.corrupt"
        assert aside.exists()
    print(f"EIO on reading: {taken} samples taken meanwhile, stored again after {seconds:.2f} s")


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS], ids=errno.errorcode.get)
def test_a_start_on_a_disk_that_takes_no_writes_is_one_sentence_or_works(failing, number):
    daemon, faults = failing()
    assert daemon.end()[0] == 0
    before = stored(daemon)
    daemon.log.write_text("")
    faults.set(writing=number)
    daemon.start()
    give_up = time.monotonic() + 10
    while daemon.process.poll() is None and time.monotonic() < give_up and not events(daemon, "first_sample"):
        time.sleep(0.05)
    said = daemon.log.read_text()
    assert "Traceback" not in said, said
    if daemon.process.poll() is not None:
        assert daemon.process.returncode == 2
        assert said.count("cannot start") == 1
    faults.set()
    if daemon.process.poll() is None:
        heals(daemon)
    assert set(before) <= set(stored(daemon))


def test_the_wall_clock_jumps_under_the_running_daemon(failing, scale):
    daemon, faults = failing()
    for seconds in (HOUR, -HOUR, YEAR, -YEAR):
        faults.set(wall_seconds=seconds)
        taken = goes_on(daemon, 0.7 * scale)
        faults.set()
        goes_on(daemon, 0.3)
        assert daemon.status()["alerts"] == []
        numbers = stored(daemon)
        assert numbers == list(range(1, len(numbers) + 1))
        print(f"wall clock {seconds:+} s and back: {taken} samples while it was wrong, none lost, no alert")
    heals(daemon)


def test_a_clock_that_goes_back_at_every_tick_loses_no_sample(failing, scale):
    daemon, faults = failing()
    for step in range(10 * scale):
        faults.set(wall_seconds=-97 * step)
        time.sleep(0.1)
    goes_on(daemon, 0.2)
    numbers = stored(daemon)
    assert numbers == list(range(1, len(numbers) + 1))
    assert daemon.status()["alerts"] == []
    heals(daemon)


def test_a_suspend_is_a_gap_that_wakes_nobody(failing, scale):
    """The process stands still while the clocks of wall and boot go on: a night with the lid shut."""
    daemon, faults = failing()
    for night in range(1, 1 + 2 * scale):
        before = daemon.status()["seq"]
        daemon.send(signal.SIGSTOP)
        time.sleep(0.5)
        faults.set(slept_seconds=8 * HOUR * night)
        daemon.send(signal.SIGCONT)
        daemon.wait(lambda status, before=before: status["seq"] >= before + 3)
        assert daemon.status()["alerts"] == []
    numbers = stored(daemon)
    assert numbers == list(range(1, len(numbers) + 1))
    print(f"{2 * scale} nights of 8 h: {len(numbers)} samples, none lost, no alert")
    heals(daemon)


def test_a_disk_that_fails_under_the_models_costs_a_training_and_no_champion(failing, tmp_path, scale, seed):
    """One of three errors, all of them with a scale."""
    values = 0.5 + 0.02 * np.random.default_rng(1).normal(size=(300, 20)).astype(np.float32)
    lived(tmp_path / "state", values)
    daemon, faults = failing(below="/state/models/", text=LEARNING)
    serves = daemon.wait(lambda said: said["anomaly"] and said["anomaly"]["model"], 60)["anomaly"]["model"]
    outcomes = []
    for number in random.Random(seed).sample((errno.ENOSPC, errno.EROFS, errno.EIO), min(scale, 3)):
        faults.set(writing=number)
        outcomes.append(f"{errno.errorcode[number]}: {trained(daemon)}")
        before = daemon.status()["seq"]
        said = daemon.wait(lambda status, before=before: status["seq"] > before + 1)
        assert said["anomaly"]["model"] == serves
        assert said["anomaly"]["raw_score"] is not None
    faults.set()
    print(f"trainings on a disk of models that fails: {outcomes}; {serves} served all the while")
    assert all(outcome.endswith(": failed") for outcome in outcomes)
    assert trained(daemon) == "shadow"
    heals(daemon)


@pytest.mark.timeout(900)  # the child that compiles leaves the processor to all others
def test_a_disk_that_fails_under_the_cache_costs_speed_and_nothing_else(failing, tmp_path, scale, seed):
    """The library of the charts, one error; with a scale the kernels too, which takes a compilation."""
    if scale > 1:
        lived(tmp_path / "state", 0.5 + 0.02 * np.random.default_rng(1).normal(size=(300, 20)).astype(np.float32))
    backend = "jit" if scale > 1 else "numpy"
    daemon, faults = failing(below="/state/cache/", text=LEARNING.replace("numpy", backend))
    number = random.Random(seed).choice((errno.ENOSPC, errno.EROFS, errno.EIO))
    faults.set(writing=number)
    library = re.search(r"/dashboard/charts-\w+\.js", daemon.get("/"))[0]
    request = urllib.request.Request(f"http://127.0.0.1:{daemon.port}{library}", headers={"Accept-Encoding": "gzip"})

    def fetched():
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.headers["Content-Encoding"], len(answer.read())

    packing, length = fetched()
    assert (packing, length > 1_000_000) == (None, True)  # as it is installed
    if scale > 1:
        assert "kernels" in daemon.wait_for_event("backend_cannot_serve", 600)["reason"]
    taken = goes_on(daemon, 0.5)
    faults.set()
    assert fetched()[0] == "gzip"
    print(f"{errno.errorcode[number]} on the cache: {length / 1e6:.1f} MB of charts as they are, {taken} samples taken")
    heals(daemon)


def trained(daemon):
    """Order a training; return how it ended."""

    def ask(path, method="GET"):
        token = (daemon.state / "token").read_text().strip()
        request = urllib.request.Request(
            f"http://127.0.0.1:{daemon.port}/api/v1/neural/{path}",
            method=method,
            headers={"Authorization": f"Bearer {token}"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    number, give_up = ask("train", "POST")["id"], time.monotonic() + 60
    while not (said := ask(f"train/{number}"))["over"]:
        assert time.monotonic() < give_up, said
        time.sleep(0.05)
    return said["outcome"]


def test_descriptors_used_up_cost_what_needs_new_ones_and_no_sample(failing, scale):
    daemon, _ = failing(text="[collectors]\nexclude_disks = []")
    pid = daemon.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(list(Path(f"/proc/{pid}/fd").iterdir())) - 1, hard))
    before = max(stored(daemon))
    for _ in range(5):  # whoever asks meanwhile is not answered, and does not fill the log
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", daemon.port), 1):
            pass
    time.sleep(SECONDS * scale)
    assert daemon.process.poll() is None, daemon.words()
    taken = max(stored(daemon)) - before
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    assert daemon.wait(lambda status: status["seq"] > before)
    print(f"no descriptor to be had: {taken} samples stored meanwhile")
    assert taken >= 3
    assert len(events(daemon, "connections_not_taken")) == 1
    heals(daemon)


def test_no_inode_is_left_on_the_disk_of_the_state(daemons, tmp_path, scale):
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=200", "tmpfs", str(disk)]
    mounted = subprocess.run(options, check=False, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"no small disk to be had: {mounted.stderr.strip()}")
    try:
        daemon = daemons(program=(FAST, "--collector", "quiet"), directory=disk).start()
        daemon.wait(lambda status: status["seq"] >= 5)
        files = 0
        with contextlib.suppress(OSError):
            while True:
                (disk / f"ballast{files}").touch()
                files += 1
        taken = goes_on(daemon, SECONDS * scale)
        numbers = stored(daemon)
        print(f"no inode left after {files} files: {taken} samples taken meanwhile, {len(numbers)} stored")
        assert len(numbers) >= taken
        for number in range(files):
            (disk / f"ballast{number}").unlink()
        heals(daemon)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
