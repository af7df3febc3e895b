"""One fault gives exactly one notification, whoever alerts: presaged, Alertmanager, or rules of Prometheus.

A file system on a loop device is really remounted read-only, under three daemons at once. Needs root.
"""

import os
import signal
import subprocess
import time
import urllib.parse

import pytest
from real import Daemon, Receiver, need, wait_for
from servers import alertmanager, prometheus, rules_of_the_mixin

from mixin.rules import Places

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

GRAFANA, RUNBOOKS = "https://grafana.example.org", "https://docs.example.org/runbooks"

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


def assert_says_what_and_leads_there(receiver, place, instance, fired_ms):
    """The alert of a rule carries what it is about, and links to the runbook and to the host at that time."""
    (alert,) = [one for _, body in receiver.got for one in body["alerts"] if one["labels"].get("resource") == place]
    assert alert["labels"] == {
        "alertname": "FilesystemReadOnly", "severity": "critical", "network": "host", "resource": place,
        "job": "via-prometheus", "instance": instance,
    }  # fmt: skip
    written = alert["annotations"]
    assert written["summary"] == f"{instance}: FilesystemReadOnly {place}"
    assert "mounted read-only" in written["description"]
    assert written["runbook_url"] == f"{RUNBOOKS}/FilesystemReadOnly.md"
    address, _, query = written["dashboard"].partition("?")
    chosen = {name: values[0] for name, values in urllib.parse.parse_qs(query).items()}
    assert address == f"{GRAFANA}/d/presaged-host"
    assert (chosen["var-job"], chosen["var-instance"]) == ("via-prometheus", instance)
    assert abs(int(chosen["from"]) + 3_600_000 - fired_ms) <= 1000
    assert abs(int(chosen["to"]) - 3_600_000 - fired_ms) <= 1000


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
            rules = rules_of_the_mixin(Places(GRAFANA, RUNBOOKS))
            with prometheus(tmp_path / "p", target, rules=rules, alertmanager_url=manager.url) as scraping:
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
                fired_ms = [one["fired_ms"] for one in daemons["prometheus"].occurrences()]
                assert_says_what_and_leads_there(receivers["rules"], mount, target["via-prometheus"], fired_ms[0])
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
