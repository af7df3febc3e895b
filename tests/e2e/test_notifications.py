"""A real daemon, as an operator tries it: a drill that arrives, a heartbeat that stops when the daemon does."""

import json
import signal
import subprocess
import sys
import time
from itertools import pairwise

import pytest
from real import Receiver, wait_for

CONFIG = """
[sampling]
interval_seconds = 1
[alerting.heartbeat]
url = "{beats}"
interval_seconds = 1
[[alerting.sinks]]
name = "ops"
type = "webhook"
url = "{ops}"
[[alerting.sinks]]
name = "log"
type = "stdout"
"""


@pytest.fixture
def beats():
    one = Receiver()
    yield one
    one.close()


def presage(one, *words):
    program = "import sys; from daemon.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, *words, "--config", str(one.file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)


@pytest.mark.timeout(120)
def test_a_drill_goes_all_the_way(daemon, receiver, beats):
    one = daemon(CONFIG.format(ops=receiver.url, beats=beats.url))
    one.wait_samples(2)
    done = presage(one, "drill")
    assert done.returncode == 0, done.stderr
    assert "ops" in done.stdout
    bodies = [body for _, body in receiver.got]
    assert [(body["event"], body["alertname"], body["drill"]) for body in bodies] == [
        ("firing", "Drill", True),
        ("resolved", "Drill", True),
    ]
    assert len({body["occurrence"] for body in bodies}) == 1
    listed = json.loads(presage(one, "alerts", "--all", "--json").stdout)
    assert [alert["alertname"] for alert in listed["alerts"]] == ["Drill"]
    tried = presage(one, "sinks", "test", "ops")
    assert tried.returncode == 0, tried.stderr
    assert receiver.got[-1][1]["event"] == "test"


@pytest.mark.timeout(60)
def test_a_dead_daemon_is_noticed_within_three_intervals(daemon, receiver, beats):
    one = daemon(CONFIG.format(ops=receiver.url, beats=beats.url))
    wait_for(lambda: len(beats.got) >= 5, 30, "five signs of life")
    moments = [at for at, _ in beats.got]
    assert max(later - earlier for earlier, later in pairwise(moments)) < 3
    one.process.send_signal(signal.SIGSTOP)  # it is there, and does nothing
    stopped = time.monotonic()
    time.sleep(4)
    assert max(at for at, _ in beats.got) < stopped + 1  # at most one was under way: silent since, for three intervals
