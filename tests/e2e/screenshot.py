"""The picture in README: `python tests/e2e/screenshot.py [--quiet SECONDS] [--out FILE]`.

A presaged of its own watches this host at one sample a second, is left alone for a while, and then stress-ng takes
memory: what the page says of that is the picture. Nothing in it is made up. Needs stress-ng and Chromium.
"""

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

from browser import Visit, chromium
from real import Daemon, need, wait_for

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
keep_firing_seconds = 60
"""
HELD_SECONDS = 30
ATTEMPTS = 4
MOST_BYTES = 300_000
SIZE = {"width": 1280, "height": 1040}


def firing(daemon):
    return [one for one in daemon.status()["alerts"] if one["state"] == "firing" and one["alertname"] == "Anomaly"]


def take(daemon, browser, out):
    """Stress the host until an anomaly fires, and take the picture while it does."""
    command = ["stress-ng", "--vm", "1", "--vm-bytes", "3G", "--vm-hang", "0", "--timeout", str(HELD_SECONDS)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as fault:
        try:
            wait_for(lambda: firing(daemon), HELD_SECONDS, "an anomaly")
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
    given = parser.parse_args()
    need("stress-ng", "stress-ng")
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        daemon = Daemon(Path(folder), CONFIG)
        try:
            daemon.wait_samples(1)
            time.sleep(given.quiet)
            for attempt in range(ATTEMPTS):  # where the machine is never at rest, one fault may be no news
                try:
                    said = take(daemon, browser, given.out)
                except AssertionError:
                    if attempt == ATTEMPTS - 1:
                        raise
                    time.sleep(60)
                    continue
                break
        finally:
            daemon.stop()
    size = given.out.stat().st_size
    print(f"{said}\n{given.out}: {size / 1000:.0f} kB")
    return 0 if size <= MOST_BYTES else 1


if __name__ == "__main__":
    raise SystemExit(main())
