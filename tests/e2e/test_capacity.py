"""A real file system on a loop device that is filled at a constant rate, and a real daemon that is to see it coming.

The page waits for two minutes (`for` of ResourceExhaustionImminent), and nothing that the product offers shortens that.
So two fills: a quick one (45 s) in which the daemon must be sure with a third of the time left, and the alert wait for
its two minutes; and, from PRESAGED_TEST_SCALE=10 on, one of twenty minutes in which the notification must have arrived
by then. Loop devices are left out by the product (they are snaps), so this one bears another name.
"""

import json
import os
import stat
import subprocess
import sys
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

import pytest
from real import get, need, wait_for

FLOOR = 0.02  # [capacity] free_floor_ratio: from there on it counts as full
QUICK_SECONDS, WHOLE_SECONDS = 45, 1200
MEBIBYTES = 150
CONFIG = """
[sampling]
interval_seconds = 1
[[alerting.sinks]]
name = "ops"
type = "webhook"
url = "{url}"
"""
WRITER = """
import sys, time
path, rate = sys.argv[1], float(sys.argv[2])
began, written, block = time.monotonic(), 0, b"x" * 65536
with open(path, "wb", buffering=0) as file:
    while True:
        while written < rate * (time.monotonic() - began):
            written += file.write(block)
        time.sleep(0.02)
"""


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


@pytest.fixture
def volume(tmp_path):
    """A mounted, empty ext4 of its own."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    for program, package in (("mkfs.ext4", "e2fsprogs"), ("losetup", "mount")):
        need(program, package)
    image, mount, disk = tmp_path / "image", tmp_path / "volume", tmp_path / "disk"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(MEBIBYTES << 20)
    loop = ""
    try:
        run("mkfs.ext4", "-q", "-F", "-m", "0", str(image))
        loop = run("losetup", "--find", "--show", str(image))
        os.mknod(disk, 0o600 | stat.S_IFBLK, Path(loop).stat().st_rdev)
        run("mount", str(disk), str(mount))
    except (subprocess.CalledProcessError, OSError) as error:
        if loop:
            run("losetup", "--detach", loop)
        pytest.skip(f"a loop device cannot be mounted here: {getattr(error, 'stderr', '') or error}")
    yield mount
    run("umount", str(mount))
    run("losetup", "--detach", loop)


def left(mount):
    """Return the share that is free, as the daemon counts it."""
    space = os.statvfs(mount)
    return space.f_bavail / (space.f_blocks - space.f_bfree + space.f_bavail)


@dataclass
class Told:
    """What was said first: when, and for when; seconds since the beginning."""

    at: float
    full_at: float = 0.0


def fill(one, mount, seconds, receiver):
    """Fill the volume within so many seconds.

    Return the whole time, and when the daemon was sure, an alert began, and a notification arrived.
    """
    path = f"http://127.0.0.1:{one.port}/api/v1/forecasts?resource={urllib.parse.quote(str(mount))}"
    wait_for(lambda: get(path), 20, "the volume is known")
    space = os.statvfs(mount)
    rate = (left(mount) - FLOOR) * (space.f_blocks - space.f_bfree + space.f_bavail) * space.f_frsize / seconds
    told = {}
    began, began_ms = time.monotonic(), time.time() * 1000
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(mount / "file"), str(rate)], stderr=subprocess.DEVNULL)
    try:
        while left(mount) > FLOOR:
            assert writer.poll() is None
            now = time.monotonic() - began
            assert now < 2 * seconds
            forecast = json.loads(get(path))["forecasts"][0]
            exhaustion = forecast["exhaustion"]
            if exhaustion["probability"]["4h"] >= 0.9 and "sure" not in told:
                told["sure"] = Told(now, (exhaustion["median_ms"] - began_ms) / 1000)
                print(f"{now:.1f} s: {100 * forecast['used_ratio']:.0f} % used, {exhaustion['text']}")
            names = {(alert["alertname"], alert["resource"]) for alert in one.status()["alerts"]}
            if ("ResourceExhaustionImminent", str(mount)) in names:
                told.setdefault("alert", Told(now))
            for moment, body in receiver.got:
                if body["alertname"].startswith("ResourceExhaustion") and body["event"] == "firing":
                    told.setdefault("notified", Told(moment - began))
            time.sleep(0.25)
        return time.monotonic() - began, told
    finally:
        writer.kill()
        writer.wait()


def judge(whole, told):
    """Check that what was said came early enough and was right."""
    sure = told["sure"]
    wrong = abs(sure.full_at - whole) / (whole - sure.at)
    print(f"full after {whole:.1f} s; sure with {1 - sure.at / whole:.0%} of it left, wrong by {wrong:.0%} of that")
    for name, one in told.items():
        print(f"{name}: {one.at:.1f} s, {1 - one.at / whole:.0%} left")
    assert sure.at <= whole * 2 / 3
    assert wrong <= 0.2


@pytest.mark.timeout(180)
def test_a_fill_is_seen_with_a_third_of_its_time_left(daemon, volume, receiver):
    one = daemon(CONFIG.format(url=receiver.url))
    one.wait_samples(3)
    whole, told = fill(one, volume, QUICK_SECONDS, receiver)
    judge(whole, told)
    assert told["alert"].at <= whole * 2 / 3
    # full is a fact that stays: the alert that waits goes on waiting, and fires after its two minutes
    occurrence = wait_for(lambda: [a for a in one.status()["alerts"] if a["resource"] == str(volume)], 5, "an alert")
    assert [alert["alertname"] for alert in occurrence] == ["ResourceExhaustionImminent"]


@pytest.mark.soak
@pytest.mark.timeout(WHOLE_SECONDS + 300)
def test_a_page_arrives_with_a_third_of_the_time_left(daemon, volume, receiver, scale):
    if scale < 10:
        pytest.skip("twenty minutes: from PRESAGED_TEST_SCALE=10 on")
    one = daemon(CONFIG.format(url=receiver.url))
    one.wait_samples(3)
    whole, told = fill(one, volume, WHOLE_SECONDS, receiver)
    judge(whole, told)
    assert told["notified"].at <= whole * 2 / 3
    bodies = [body for _, body in receiver.got]
    assert [(body["event"], body["alertname"]) for body in bodies] == [("firing", "ResourceExhaustionImminent")]
    print(bodies[0]["sentence"] if "sentence" in bodies[0] else bodies[0])
