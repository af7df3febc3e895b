"""Real load on this host: every kind raises the score, is delivered as an alarm that names it, and resolves."""

import json
import subprocess
import time

import pytest
from real import need, wait_for

TICKS = 10
LOADS = {
    "cpu": (["--cpu", "2"], {"cpu", "load", "pressure", "process"}),
    "vm": (["--vm", "2", "--vm-bytes", "2G", "--vm-keep"], {"memory"}),
    "hdd": (["--hdd", "2", "--hdd-bytes", "512M"], {"disk", "filesystem"}),
    "sock": (["--sock", "2"], {"network", "tcp"}),
}


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_loads_are_delivered_and_resolve(daemon, receiver, scale, tmp_path):
    need("stress-ng", "stress-ng")
    full = scale >= 10
    quiet_seconds, names = (600, list(LOADS)) if full else (64, ["cpu"])
    one = daemon(
        f"""
[sampling]
interval_seconds = 1
[anomaly]
notify = "always"
learning_days = 0
[alerting]
for_seconds = 1
keep_firing_seconds = 5
[[alerting.sinks]]
name = "test"
type = "webhook"
url = "{receiver.url}"
"""
    )
    one.wait_samples(quiet_seconds, quiet_seconds + 30)
    wait_for(lambda: one.status()["anomaly"]["score"] is not None, 20, "a first score")
    report = {"quiet_seconds": quiet_seconds, "notified_while_quiet": len(receiver.got), "loads": {}}
    for name in names:
        report["loads"][name] = load(one, receiver, name, tmp_path, seconds=15 if full else 8)
        if full:
            time.sleep(20)
    print("\n" + json.dumps(report, indent=1))
    results = report["loads"].values()
    assert all(result["raised"] for result in results), "every load raises the score"
    delivered = [result for result in results if result["ticks"] is not None and result["ticks"] <= TICKS]
    right = [result for result in delivered if result["right_family"]]
    assert len(right) >= len(names) - 1 if full else right, "an alarm within ten ticks, the right family first"
    assert all(result["resolved"] for result in delivered), "what fired is resolved afterwards"


def load(one, receiver, name, folder, seconds):
    arguments, families = LOADS[name]
    seen = len(receiver.got)
    before = one.status()["anomaly"]["score"]
    started = time.monotonic()
    stress = subprocess.Popen(
        ["stress-ng", *arguments, "--timeout", str(seconds), "--temp-path", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    peak, shares = 0.0, []
    while stress.poll() is None:
        anomaly = one.status()["anomaly"]
        if anomaly["score"] > peak:
            peak, shares = anomaly["score"], anomaly["contributions"]
        time.sleep(0.25)
    fired = next(((at, body) for at, body in receiver.got[seen:] if body["event"] == "firing"), None)
    result = {
        "score_before": round(before, 3),
        "score_peak": round(peak, 3),
        "raised": peak > max(before, 0.8),
        "ticks": None,
        "right_family": False,
        "resolved": False,
        "top": [share["signal"] for share in shares[:3]],
    }
    if fired is None:
        return result
    result["ticks"] = round(fired[0] - started, 1)
    result["sentence"] = fired[1]["sentence"]
    result["right_family"] = fired[1]["contributors"][0]["family"] in families
    occurrence = fired[1]["occurrence"]
    ended = lambda: any(b["event"] == "resolved" and b["occurrence"] == occurrence for _, b in receiver.got)  # noqa: E731
    try:
        wait_for(ended, 120, "the end")
        result["resolved"] = True
    except AssertionError:
        result["resolved"] = False
    return result
