"""The daemon's own process: what it must not import, and that leaving it out leaves no trace."""

import subprocess
import sys

STARTED = """
import os
os.environ["SSL_CERT_FILE"] = "/somewhere"
os.environ.pop("SSL_CERT_DIR", None)
import sys
import daemon.__main__
print(sorted({"rich", "typer", "scipy", "numba", "llvmlite", "numpy.random", "greenlet"} & set(sys.modules)))
print(os.environ["SSL_CERT_FILE"], "SSL_CERT_DIR" in os.environ)
import rich
print(rich.__name__)
"""


def test_the_daemon_imports_none_of_what_only_others_need():
    done = subprocess.run([sys.executable, "-P", "-c", STARTED], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "/somewhere False", "rich"]
