"""The wheel as a host runs it: the whole daemon on compiled kernels, without Numba, without executable memory."""

import os
import platform
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from real import free_port, get, wait_for

from detectors.kernels import build, loader

FAST = Path(__file__).parents[1] / "daemon" / "fast_daemon.py"
MOST_BYTES = 86_000_000  # 82 million were measured, at 20 ticks a second just after a training
CONFIG = """[storage]
directory = "state"
[compute]
backend = "auto"
[anomaly]
network_after_samples = 60
[http]
listen = "127.0.0.1:{port}"
"""

UNDER_MDWE = """
import ctypes, os, sys
assert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0, "this kernel has no PR_SET_MDWE"  # it stays over exec
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""

pytestmark = [
    pytest.mark.skipif(not loader.variants(), reason="nothing is compiled ahead of time for this processor"),
    pytest.mark.timeout(240),  # it compiles, learns and trains
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The wheel's files, beside a Numba and an llvmlite that nobody can import."""
    folder = tmp_path_factory.mktemp("site")
    try:
        wheel = build.wheel(tmp_path_factory.mktemp("wheel"), platform.machine())
    except build.BuildError as error:
        pytest.skip(str(error))
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(folder)
    for name in ("numba", "llvmlite"):
        (folder / f"{name}.py").write_text(f"raise ImportError('{name} is not installed here')\n")
    return folder


def test_the_daemon_learns_trains_and_scores_without_numba_and_without_executable_memory(site, tmp_path):
    port = free_port()
    config = tmp_path / "config.toml"
    config.write_text(CONFIG.format(port=port))
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", UNDER_MDWE, "-P", FAST, "--config", config, "--collector", "quiet"],
            env={**os.environ, "PYTHONPATH": str(site)},
            stderr=stderr,
        )
    try:

        def scored():
            assert process.poll() is None, log.read_text()[-2000:]
            said = get(f"http://127.0.0.1:{port}/api/v1/status").decode()
            return f'"backend":"compiled-{loader.variants()[0]}"' in said and '"network":0' in said

        wait_for(scored, 120, "a score of the network")
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        assert str(site) in maps
        assert "llvmlite" not in maps
        assert "numba" not in maps
        status = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
        resident = int(status["VmRSS"].split()[0]) * 1024
        print(f"{resident / 1e6:.0f} MB resident")
        assert resident < MOST_BYTES
        assert "backend_cannot_serve" not in log.read_text()
    finally:
        process.terminate()
        assert process.wait(timeout=10) == 0
