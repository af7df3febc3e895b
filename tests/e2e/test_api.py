"""Schemathesis asks a live daemon everything that the daemon's own document allows, and much that it does not.

What must hold for every answer: no 5xx that is not told in the document, no content type, status or body that the
document does not have, what is no valid request is refused, what is secret is refused without the token.
`positive_data_acceptance` is left out: a name that nothing has, or a cursor that leads nowhere, fits a schema too.
"""

import json
import re
import subprocess
import sys
import time
import urllib.request

import pytest
from real import get, wait_for

CONFIG = """
[sampling]
interval_seconds = 1
[[alerting.sinks]]
name = "log"
type = "stdout"
"""
# What is too large is refused before it is read: it need not be wrong in another way.
REFUSED = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 409, 413, 415]
"""
# Names that are there, so that what lies behind them is reached as well.
REAL_NAMES = '[parameters]\n"path.id" = "latest"\n"path.name" = "log"\n'


@pytest.fixture
def living(daemon):
    """A daemon with an alert, so that there is something to judge."""
    one = daemon(CONFIG)
    one.wait_samples(3)
    one.token = (one.folder / "state" / "token").read_text().strip()
    drill(one)
    wait_for(lambda: [alert for alert in one.status()["alerts"] if alert["state"] == "firing"], 15, "the drill fires")
    return one


def url(one, path):
    return f"http://127.0.0.1:{one.port}/api/v1/{path}"


def drill(one):
    headers = {"Authorization": f"Bearer {one.token}", "Content-Type": "application/json"}
    order = urllib.request.Request(url(one, "drill"), b'{"author": "the test"}', headers)
    urllib.request.urlopen(order, timeout=5).close()


def test_what_happens_is_heard_as_it_happens(living):
    """A drill is heard from its beginning to its end, and the stop of the daemon is the end of the stream."""
    heard, seen = urllib.request.urlopen(url(living, "events"), timeout=20), []
    for line in heard:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            told = json.loads(value)
            seen.append(told.get("transition", kind))
            if seen[-1] == "resolved" and seen.count("resolved") == 1:  # of the alert that was there
                drill(living)
            elif seen[-1] == "resolved":
                break
    assert (seen[0], seen[1]) == ("hello", "tick")
    assert seen.index("resolved") < seen.index("firing")
    began = time.monotonic()
    assert living.stop() == 0
    assert heard.read() is not None
    assert time.monotonic() - began < 5


def asked_everything(one, folder, *options, names=""):
    """Let Schemathesis ask; return how many cases it made. Fails with what it says is wrong."""
    folder.mkdir()
    settings = folder / "schemathesis.toml"
    settings.write_text(REFUSED + names)
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings), "run", url(one, "openapi.json"),
        "--exclude-path", "/api/v1/events",  # it does not end; tests/daemon/test_events.py listens
        "--checks", "all", "--exclude-checks", "positive_data_acceptance", "--request-timeout", "10",
        "--generation-deterministic", "--no-color", "--max-failures", "20",
        *options,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=3600, check=False)
    wrong = "\n".join(line[:500] for line in done.stdout.partition(" WARNINGS ")[0].splitlines())
    assert done.returncode == 0, wrong[-9000:] + done.stderr[-2000:]
    assert "Selected: " in done.stdout
    made = re.search(r"^  ([\d,]+) generated.*", done.stdout, re.MULTILINE)
    assert made is not None, done.stdout[-3000:]
    print(folder.name, made[0].strip())
    assert one.process.poll() is None
    assert json.loads(get(url(one, "status")))["samples"] > 0
    said = (one.folder / "log").read_text()
    assert "Traceback" not in said, said[-4000:]
    return int(made[1].replace(",", ""))


@pytest.mark.timeout(3600)
def test_whatever_is_asked_the_document_has_the_answer(living, tmp_path, scale):
    """With the token and without it; PRESAGED_TEST_SCALE=25 asks some ten thousand questions."""
    token = ("--header", f"Authorization: Bearer {living.token}")
    cases = asked_everything(living, tmp_path / "known", *token, "--phases", "coverage")
    cases += asked_everything(
        living, tmp_path / "real", *token, "--phases", "fuzzing,stateful", "-n", str(2 * scale), names=REAL_NAMES
    )
    cases += asked_everything(living, tmp_path / "unknown", "--phases", "fuzzing", "-n", str(scale))
    assert cases > 500
