"""Real faults on this host, in short: each is recorded, named, delivered as an alarm, and resolves.

The full figures, with half an hour of quiet, 1 s and 30 s sampling, are those of `make e2e-anomaly`; here
the daemon ticks five times a second.
"""

import json
import os
import time
from pathlib import Path

import pytest
from anomaly import Trial, watching
from faults import FAULTS, Bench
from real import need, wait_for

FAST_DAEMON = str(Path(__file__).parents[1] / "daemon" / "fast_daemon.py")


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_faults_are_recorded_delivered_and_resolved(receiver, scale):
    if os.geteuid():
        pytest.skip("faults are injected as root only")
    need("stress-ng", "stress-ng")
    need("mkfs.ext4", "e2fsprogs")
    full = scale >= 10
    names = {fault.name for fault in FAULTS} if full else {"network flood", "descriptor leak"}
    configuration = f"""
[anomaly]
notify = "always"
learning_days = 0
network_after_samples = 100000
[alerting]
for_seconds = 1
keep_firing_seconds = 2
[[alerting.sinks]]
name = "test"
type = "webhook"
url = "{receiver.url}"
"""
    with Bench() as bench, watching(bench, configuration, (FAST_DAEMON,)) as one:
        one.wait_samples(1)
        wait_for(one.samples, 40, "a score")
        time.sleep(300 if full else 14)
        trial = Trial(bench, one, held_seconds=20 if full else 5)
        rows = [trial.run(fault) for fault in FAULTS if fault.name in names]
        trial.finish(rows)
        time.sleep(1)  # what ends last is still on its way
    print("\n" + json.dumps(rows, indent=1))
    rows = [row for row in rows if "skipped" not in row]
    if not rows:
        pytest.skip("none of the faults can be injected here")
    assert len(rows) >= len(names) - 1
    recorded = [row for row in rows if row["recorded_after_seconds"] is not None]
    assert len(recorded) >= len(names) - 1
    assert sum(row["family_right"] for row in recorded) >= len(names) - 1, "signals of the fault among the first three"
    ended = [row for row in recorded if "resolved_after_seconds" in row]
    assert ended, "what fired is resolved afterwards"
    delivered = {(body["occurrence"], body["event"]) for _, body in receiver.got}
    for row in ended:
        assert {(row["occurrence"], "firing"), (row["occurrence"], "resolved")} <= delivered, row["fault"]
