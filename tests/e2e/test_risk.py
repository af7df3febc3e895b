"""What leads to a failure is told before it: all four, and half an hour of nothing, are those of `make e2e-risk`."""

import json
import os

import pytest
from real import need
from risk import LEAST_LEAD, LIKELY, TRIALS, Host, foretold, judge


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_failure_is_told_before_it_comes(tmp_path, scale):
    if os.geteuid():
        pytest.skip("a container needs root")
    need("mkfs.ext4", "e2fsprogs")
    names, quiet_seconds, seconds = (("leak",), 15, 45) if scale == 1 else (tuple(TRIALS), 60, 150)
    host = Host(tmp_path, 1)
    try:
        rows = [foretold(host, TRIALS[name], quiet_seconds, seconds) for name in names]
    finally:
        host.close()
    print("\n" + json.dumps(rows, indent=1))
    for row in rows:
        assert row["recorded"], row["failure"]
        assert row["highest_before"] > LIKELY, row["failure"]
    assert all(met for _, met in judge({"failures": rows})), f"a median lead of {LEAST_LEAD}"
