"""An upgrade with state, from the package of an older commit to this one, and back, on a clean Debian 12.

$PRESAGED_OLDER names the older package (tests/e2e/older.py makes one), dist/ holds this one's; skipped where one is
missing. A host of few samples is enough for a model: what is asked is whether it is kept, not whether it is good.
"""

import json
import os
import re
import time
from pathlib import Path

import pytest
from debian import boot
from real import wait_for
from test_package import UNIT, install, package, sampled, status  # noqa: F401 - package is a fixture

CONFIG = """\
[sampling]
interval_seconds = 1
[anomaly]
network_after_samples = 120
learning_days = 0
"""
SETTLES_SECONDS, QUIET_SECONDS = 20, 90
MOST_NEW = 1
PUT_BACK = """
cd /var/lib/private/presaged
for copy in *.before-v*; do rm -f ${copy%.before*}-*; mv $copy ${copy%.before*}; done
"""

pytestmark = [pytest.mark.timeout(900), pytest.mark.soak]


@pytest.fixture(scope="module")
def older():
    file = Path(os.environ.get("PRESAGED_OLDER", ""))
    if not file.is_file():
        pytest.skip("$PRESAGED_OLDER names no package: python tests/e2e/older.py COMMIT FOLDER")
    return file


@pytest.fixture
def clean(tmp_path):
    one = boot(tmp_path)
    try:
        yield one
    finally:
        one.stop()


def asked(host, path):
    program = "import sys, urllib.request as u; print(u.urlopen('http://127.0.0.1:9736' + sys.argv[1]).read().decode())"
    return host.do("python3", "-c", program, path).stdout


def figures(host):
    """Return what was learned and what is stored."""
    text = asked(host, "/metrics")
    models = re.findall(r'presaged_model_info\{network="anomaly",role="([^"]*)",version="([^"]*)"\}', text)
    threshold = re.search(r"^presaged_anomaly_raw_threshold (\S+)", text, re.MULTILINE)
    occurrences = json.loads(host.do("presage", "alerts", "--all", "--json").stdout)
    first, count = stored(host)
    return {
        "model": [name for role, name in models if role == "champion"],
        "threshold": float(threshold[1]) if threshold else None,
        "first": first,
        "rows": count,
        "alerts": len(occurrences["alerts"] if isinstance(occurrences, dict) else occurrences),
        "trainings": sum(float(one) for one in re.findall(r"^presaged_retrains_total\{.*\} (\S+)", text, re.MULTILINE)),
        "version": status(host)["version"],
        "seq": status(host)["seq"],
    }


def stored(host):
    """Return the number of the oldest sample, and how many there are."""
    program = (
        "import sqlite3; d = sqlite3.connect('file:/var/lib/presaged/history.db?mode=ro', uri=True);"
        "print(*d.execute('SELECT min(seq), count(*) FROM samples').fetchone())"
    )
    return tuple(map(int, host.do("python3", "-c", program).stdout.split()))


def test_with_its_state_it_goes_on_as_if_nothing_had_been(clean, older, package, capsys):  # noqa: F811
    install(clean, older)
    clean.write("/etc/presaged/config.toml", CONFIG)
    clean.do("systemctl", "restart", UNIT)
    wait_for(lambda: figures(clean)["model"], 400, "a trained model")
    time.sleep(SETTLES_SECONDS)
    before = figures(clean)
    seconds = install(clean, package)
    time.sleep(QUIET_SECONDS)
    after = figures(clean)
    log = clean.do("journalctl", "-u", UNIT, "-o", "cat", "--no-pager").stdout
    with capsys.disabled():
        print(f"\nbefore: {before}\nafter {seconds:.1f} s and {QUIET_SECONDS} s: {after}")
    assert after["version"] != before["version"]
    for what in ("model", "threshold", "first"):
        assert after[what] == before[what], what
    assert after["trainings"] == 0
    assert after["rows"] > before["rows"] + QUIET_SECONDS / 2
    assert after["alerts"] <= before["alerts"] + MOST_NEW  # unpacking 300 MB is unusual on a host that does nothing
    assert "model_refused" not in log
    assert "learned_from_window" not in log.partition(f'"version": "{after["version"]}"')[2]

    install(clean, older)  # over a change of the tables: it refuses in one line, once
    wait_for(lambda: clean.show(UNIT, "ActiveState") == "failed", 20, "the older one refuses")
    assert (clean.show(UNIT, "ExecMainStatus"), clean.show(UNIT, "NRestarts")) == ("2", "0")
    said = clean.do("journalctl", "-u", UNIT, "-o", "cat", "--no-pager").stdout
    assert "history.db: written by a newer presaged" in said
    clean.do("sh", "-c", PUT_BACK)
    clean.do("systemctl", "restart", UNIT)
    sampled(clean, before["seq"])
    back = figures(clean)
    with capsys.disabled():
        print(f"with the copies of before: {back}")
    for what in ("version", "model", "threshold", "first"):
        assert back[what] == before[what], what
    assert back["rows"] >= before["rows"]
