"""Failures that a real systemd and a real kernel bring about, recorded by the shipped unit."""

import json
import sys
from pathlib import Path

import pytest
from container import Container
from real import wait_for
from test_systemd import CONFIG, REPOSITORY, SEEN, UNIT, drop_in, restarted


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    one = Container(tmp_path_factory.mktemp("container"), SEEN)
    try:
        folder = REPOSITORY / "systemd"
        one.write("/etc/systemd/system/presaged.service", (folder / "presaged.service").read_text())
        one.write("/etc/systemd/system/presaged.service.d/test.conf", drop_in())
        one.write("/etc/presaged/config.toml", CONFIG + '[alerting]\nunits = ["crash*.service"]\n')
        one.do("systemctl", "daemon-reload")
        one.do("systemctl", "start", UNIT)
        yield one
    finally:
        one.stop()


def asked(host, what):
    program = (
        "import urllib.request;"
        f"print(urllib.request.urlopen('http://127.0.0.1:9736/api/v1/{what}', timeout=5).read().decode())"
    )
    said = host.do(sys.executable, "-c", program, check=False).stdout
    return json.loads(said) if said else {}


def answer(host):
    return asked(host, "failures") or {"failures": [], "sources": []}


def told(host, alertname, *states):
    found = asked(host, "alerts").get("alerts", [])
    return [one for one in found if one["alertname"] == alertname and (not states or one["state"] in states)]


def of_unit(host, unit):
    return [one for one in answer(host)["failures"] if one["resource"] == unit]


def test_a_unit_that_crashes_until_systemd_gives_up_is_one_failure(host):
    wait_for(lambda: answer(host)["sources"], 20, "an answer")
    assert {one["name"]: one["problem"] for one in answer(host)["sources"]}["journal"] == ""
    settings = ("Restart=always", "RestartSec=100ms", "StartLimitBurst=4", "StartLimitIntervalSec=60")
    host.do(
        "systemd-run", "--unit=crashes", *(f"--property={one}" for one in settings), "sh", "-c", "sleep 0.2; exit 3"
    )
    wait_for(lambda: host.show("crashes.service", "ActiveState") == "failed", 20, "the unit is given up")
    (failure,) = wait_for(lambda: of_unit(host, "crashes.service"), 20, "the failure is recorded")
    assert failure["kind"] == "unit_failed"
    (alert,) = wait_for(lambda: told(host, "UnitFailed"), 20, "the failure of a named unit is told")
    assert alert["resource"] == "crashes.service"
    before = host.show(UNIT, "MainPID")
    host.do("systemctl", "kill", "-s", "KILL", UNIT)
    wait_for(lambda: restarted(host, before), 20, "a restart")
    wait_for(lambda: answer(host)["sources"], 20, "an answer")
    assert of_unit(host, "crashes.service") == [failure]
    wait_for(lambda: told(host, "UnitFailed", "firing"), 90, "it is told for as long as the unit is failed")


def test_a_process_that_the_kernel_kills_is_one_failure_of_its_unit(host):
    if Path("/sys/fs/cgroup/memory").is_dir() and not host.groups:
        pytest.skip("the container has no control group for memory")
    eats = "b'x' * 200_000_000"
    host.do(
        "systemd-run",
        "--unit=eats",
        "--property=MemoryMax=30M",
        "--property=MemorySwapMax=0",
        sys.executable,
        "-c",
        eats,
    )
    wait_for(lambda: host.show("eats.service", "ActiveState") == "failed", 20, "the kernel kills it")
    kills = wait_for(
        lambda: [one for one in answer(host)["failures"] if one["kind"] == "oom_kill"], 20, "the kill is recorded"
    )
    assert len(kills) == 1
    assert "vmstat" in kills[0]["seen_by"]
