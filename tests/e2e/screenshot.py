"""The picture in README: `python tests/e2e/screenshot.py [--quiet SECONDS] [--out FILE] [--disable SOURCE ...]`.

A presaged of its own watches this host at one sample a second, is left alone for a while, and then stress-ng floods the
network: what the page says of that is the picture, once an alert is of that. Nothing in it is made up. Where others
work on the machine meanwhile, sources that hear mostly them are left out. Needs stress-ng and Chromium.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

from browser import Visit, chromium
from real import Daemon, get, need, wait_for

# An anomaly is told after seconds instead of a minute, and from the first minutes instead of a week.
CONFIG = """
[host]
name = "web-3"
[sampling]
interval_seconds = 1
[anomaly]
notify = "always"
learning_days = 0
network_after_samples = 100000
[alerting]
for_seconds = 3
keep_firing_seconds = 20
"""
HELD_SECONDS = 30
ATTEMPTS = 6
MOST_BYTES = 300_000
SIZE = {"width": 1280, "height": 1320}


def firing(daemon):
    return [one["occurrence"] for one in daemon.status()["alerts"] if one["state"] == "firing"]


def names_the_fault(daemon):
    """Tell whether an alert fires of what stress-ng does: by its name, or by the interface that it floods."""
    origin = f"http://127.0.0.1:{daemon.port}/api/v1/alerts"
    details = [json.loads(get(f"{origin}/{number}")) for number in firing(daemon)]
    return any(
        "stress-ng" in json.dumps(one["culprits"])
        or any(part["signal"].startswith("network.lo.") for part in one["contributors"])
        for one in details
    )


def take(daemon, browser, out):
    """Stress the host until an anomaly fires, and take the picture while it does."""
    wait_for(lambda: not firing(daemon), 180, "what others did is over")
    command = ["stress-ng", "--udp-flood", "1", "--timeout", str(HELD_SECONDS)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as fault:
        try:
            wait_for(lambda: names_the_fault(daemon), HELD_SECONDS - 8, "an anomaly of it")
            time.sleep(4)  # what is unusual, and who does it, stands at its worst
            visit = Visit(browser, f"http://127.0.0.1:{daemon.port}", **SIZE)
            visit.open()
            visit.page.wait_for_timeout(500)
            said = visit.text("#now-alerts")
            visit.page.screenshot(path=out)
            visit.close()
        finally:
            fault.terminate()
    return said


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quiet", type=int, default=600, help="seconds of being left alone before the fault")
    parser.add_argument("--out", type=Path, default=Path("docs/dashboard.png"))
    parser.add_argument("--disable", nargs="*", default=[], help="sources that are left out")
    given = parser.parse_args()
    need("stress-ng", "stress-ng")
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        daemon = Daemon(Path(folder), f"{CONFIG}[collectors]\ndisable = {json.dumps(given.disable)}\n")
        try:
            daemon.wait_samples(1)
            time.sleep(given.quiet)
            for attempt in range(ATTEMPTS):  # where the machine is never at rest, one fault may be no news
                try:
                    said = take(daemon, browser, given.out)
                except AssertionError:
                    if attempt == ATTEMPTS - 1:
                        raise
                    time.sleep(30)
                    continue
                break
        finally:
            daemon.stop()
    size = given.out.stat().st_size
    print(f"{said}\n{given.out}: {size / 1000:.0f} kB")
    return 0 if size <= MOST_BYTES else 1


if __name__ == "__main__":
    raise SystemExit(main())
