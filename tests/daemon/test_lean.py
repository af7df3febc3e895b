"""The daemon's own process: what it must not import, and that leaving it out leaves no trace."""

import subprocess
import sys

STARTED = """
import os
os.environ["SSL_CERT_FILE"] = "/somewhere"
os.environ.pop("SSL_CERT_DIR", None)
import sys
import daemon.__main__
left_out = {"rich", "typer", "scipy", "numba", "llvmlite", "numpy.random", "greenlet", "multiprocessing", "difflib"}
print(sorted((left_out | {"concurrent.futures.process", "detectors.trainer"}) & set(sys.modules)))
print(os.environ["SSL_CERT_FILE"], "SSL_CERT_DIR" in os.environ)
import multiprocessing, rich
from concurrent.futures import ProcessPoolExecutor
print(rich.__name__, multiprocessing.cpu_count() > 0, ProcessPoolExecutor.__module__)
"""


def test_the_daemon_imports_none_of_what_only_others_need():
    done = subprocess.run([sys.executable, "-P", "-c", STARTED], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "/somewhere False", "rich True concurrent.futures.process"]
