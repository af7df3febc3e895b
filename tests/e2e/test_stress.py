"""Real load on this host: every kind raises the score, is delivered as an alarm that names it, and resolves.

While it measures, the test asks the daemon nothing: its own requests on loopback would be what is
unusual. Scores are read from history.db.
"""

import contextlib
import json
import sqlite3
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
    quiet_seconds, names = (600, list(LOADS)) if full else (64, ["sock"])
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
    one.wait_samples(1)
    time.sleep(quiet_seconds)
    assert scores(one, 1), "there is a score after the quiet time"
    report = {"quiet_seconds": quiet_seconds, "notified_while_quiet": len(receiver.got), "loads": {}}
    for name in names:
        report["loads"][name] = load(one, receiver, name, tmp_path, seconds=15 if full else 8)
        if full:
            settle(one)
    print("\n" + json.dumps(report, indent=1))
    results = report["loads"].values()
    assert all(result["raised"] for result in results), "every load raises the score"
    delivered = [result for result in results if result["ticks"] is not None and result["ticks"] <= TICKS]
    right = [result for result in delivered if result["right_family"]]
    assert len(right) >= len(names) - 1 if full else right, "an alarm within ten ticks, the right family first"
    assert all(result["resolved"] for result in delivered), "what fired is resolved afterwards"


def scores(one, count):
    """Return (raw score, threshold) of the newest `count` samples that were scored, oldest first."""
    with contextlib.closing(sqlite3.connect(f"file:{one.folder}/state/history.db?mode=ro", uri=True)) as database:
        rows = database.execute(
            "SELECT raw_score, raw_threshold FROM samples WHERE raw_score IS NOT NULL ORDER BY seq DESC LIMIT ?",
            (count,),
        ).fetchall()
    return rows[::-1]


def settle(one):
    """Wait until the score no longer shows the load before; look rarely, for looking is a load too."""
    for _ in range(8):
        time.sleep(15)
        if max(raw / threshold for raw, threshold in scores(one, 10)) < 0.3:
            return


def load(one, receiver, name, folder, seconds):
    arguments, families = LOADS[name]
    seen = len(receiver.got)
    quiet = sorted(raw / threshold for raw, threshold in scores(one, 30))
    before = quiet[len(quiet) // 2]
    started = time.monotonic()
    subprocess.run(
        ["stress-ng", *arguments, "--timeout", str(seconds), "--temp-path", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    time.sleep(2)
    peak = max(raw / threshold for raw, threshold in scores(one, seconds))
    fired = next(((at, body) for at, body in receiver.got[seen:] if body["event"] == "firing"), None)
    result = {
        "median_share_of_threshold_before": round(before, 2),
        "share_of_threshold_at_peak": round(peak, 2),
        "raised": peak > max(2 * before, 0.5),  # the median: one blip of the host's own says nothing of the load
        "ticks": None,
        "right_family": False,
        "resolved": False,
    }
    if fired is None:
        return result
    result["ticks"] = round(fired[0] - started, 1)
    result["sentence"] = fired[1]["sentence"]
    result["right_family"] = fired[1]["contributors"][0]["family"] in families
    occurrence = fired[1]["occurrence"]

    def ended():
        return any(body["event"] == "resolved" and body["occurrence"] == occurrence for _, body in receiver.got)

    with contextlib.suppress(AssertionError):
        wait_for(ended, 120, "the end")
        result["resolved"] = True
    result["resolved_after_seconds"] = round(time.monotonic() - started, 1)
    return result
