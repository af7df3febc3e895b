"""How many series /metrics has on a host with very many things, and that those of things that are gone go too."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from crowded_host import GONE
from real import need

DRIVER = Path(__file__).parent / "crowded_host.py"
OWN = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


def series(text):
    return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}


def test_500_mounts_and_1000_interfaces_are_few_series_and_what_is_gone_leaves_none(tmp_path):
    if os.geteuid() != 0 or not Path("/dev/net/tun").exists():
        pytest.skip("namespaces with interfaces of their own take root and /dev/net/tun")
    need("promtool", "prometheus")
    done = subprocess.run(
        [*OWN, sys.executable, str(DRIVER), str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    if "unshare failed" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["code"] == 0
    before, after = series(told["before"]), series(told["after"])
    print(f"{len(before)} series, then {len(after)}; {told['megabytes']} MB")
    assert len(before) <= 300  # 1,000 is what is asked
    assert re.search(r"^presaged_signals (\d{4})\.0$", told["before"], re.MULTILINE), (
        "mounts and interfaces are watched"
    )
    for text in (told["before"], told["after"]):
        lint = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
        assert (lint.returncode, lint.stdout, lint.stderr) == (0, "", "")
    for text in (told["before"], told["after"]):
        assert 'presaged_signal_ratio{signal="cpu.busy"}' in text  # a crowd does not displace what matters
    gone = re.compile(r"(lan|disk)(\d+)\b")
    for one in after:
        assert not any(int(number) in GONE for _, number in gone.findall(one)), one
