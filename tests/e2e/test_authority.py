"""One fault gives exactly one notification, whoever alerts: presaged, Alertmanager, or rules of Prometheus.

A file system on a loop device is really remounted read-only, under three daemons at once. Needs root.
"""

import os
import signal
import subprocess
import time

import pytest
from real import Daemon, Receiver, need, wait_for
from servers import alertmanager, prometheus

SCALE = int(os.environ.get("PRESAGED_TEST_SCALE", "1"))
STALE_SECONDS = 5

CONFIG = """
[sampling]
interval_seconds = 1
[alerting]
authority = "{authority}"
scrape_stale_seconds = {stale}
[[alerting.sinks]]
name = "own"
type = "{type}"
url = "{url}"
"""

# As the rules that come with presaged will be: an alert of theirs for each of ours that asks for a person.
RULES = """
groups:
- name: presaged
  rules:
  - alert: FilesystemReadOnly
    expr: presaged_alert_active{alertname="FilesystemReadOnly"} == 1
    labels: {severity: critical}
"""

ROUTES = """  routes:
  - receiver: "nobody"
    matchers: [alertname="Heartbeat"]
  - receiver: "rules"
    matchers: [job="via-prometheus"]
"""


@pytest.fixture
def mount(tmp_path):
    if os.geteuid():
        pytest.skip("a file system is mounted as root only")
    need("mkfs.ext4", "e2fsprogs")
    image, device, place = tmp_path / "image", tmp_path / "device", tmp_path / "mount"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(8 << 20)
    found = subprocess.run(["losetup", "--find", "--show", str(image)], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(f"no loop device here: {found.stderr.strip()}")
    loop = found.stdout.strip()
    os.mknod(device, 0o60600, os.stat(loop).st_rdev)  # noqa: PTH116 - under /dev/loop it would be an image, no disk
    try:
        subprocess.run(["mkfs.ext4", "-q", "-F", str(device)], check=True, capture_output=True)
        subprocess.run(["mount", str(device), str(place)], check=True)
        yield str(place)
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False)
        subprocess.run(["losetup", "--detach", loop], check=False)


def of_this_fault(receiver, place):
    """Return the event or status of each notification about the mount, of ours or of Alertmanager."""
    found = []
    for _, body in receiver.got:
        if "alerts" in body:
            found += [alert["status"] for alert in body["alerts"] if alert["labels"].get("resource") == place]
        elif body.get("resource") == place:
            found.append(body["event"])
    return found


@pytest.mark.soak
@pytest.mark.timeout(700)
def test_one_fault_is_told_once_in_each_mode(tmp_path, mount):
    receivers = {name: Receiver() for name in ("presaged", "alertmanager", "rules", "fallback")}
    urls = {"default": receivers["alertmanager"].url, "rules": receivers["rules"].url, "nobody": ""}
    daemons = {}
    try:
        with alertmanager(tmp_path / "am", urls, ROUTES) as manager:
            for authority, kind, url in (
                ("presaged", "webhook", receivers["presaged"].url),
                ("alertmanager", "alertmanager", manager.url),
                ("prometheus", "webhook", receivers["fallback"].url),
            ):
                folder = tmp_path / authority
                folder.mkdir()
                text = CONFIG.format(authority=authority, type=kind, url=url, stale=STALE_SECONDS)
                daemons[authority] = Daemon(folder, text, ("-m", "daemon"))
            target = {"via-prometheus": f"127.0.0.1:{daemons['prometheus'].port}"}
            with prometheus(tmp_path / "p", target, rules=RULES, alertmanager_url=manager.url) as scraping:
                for one in daemons.values():
                    one.wait_samples(3)
                subprocess.run(["mount", "-o", "remount,ro", mount], check=True)
                began = time.monotonic()

                def told(name):
                    return of_this_fault(receivers[name], mount)

                for name in ("presaged", "alertmanager", "rules"):
                    wait_for(lambda name=name: told(name), 100, f"{name} tells of the fault")
                seconds = time.monotonic() - began
                time.sleep(5)
                print(f"\nall told after {seconds:.0f} s")
                assert {name: told(name) for name in receivers} == {
                    "presaged": ["firing"],
                    "alertmanager": ["firing"],
                    "rules": ["firing"],
                    "fallback": [],
                }
                scraping.process.send_signal(signal.SIGSTOP)
                try:  # nobody scrapes any more: our own sinks take over
                    wait_for(lambda: told("fallback") == ["firing"], STALE_SECONDS + 10, "the sink takes over")
                finally:
                    scraping.process.send_signal(signal.SIGCONT)
                if SCALE > 1:  # the end comes after five clear minutes
                    subprocess.run(["mount", "-o", "remount,rw", mount], check=True)
                    for name in receivers:
                        wait_for(lambda name=name: told(name)[1:] == ["resolved"], 400, f"{name} tells of the end")
                    time.sleep(5)
                    assert {name: told(name) for name in receivers} == {
                        name: ["firing", "resolved"] for name in receivers
                    }
    finally:
        for one in daemons.values():
            one.stop()
        for one in receivers.values():
            one.close()
