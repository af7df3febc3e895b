"""The heap of a process whose threads take turns."""

import subprocess
import sys

import pytest

ALLOCATING = """
import ctypes, sys, threading
from detectors.kernels import bound_heap
if sys.argv[1] == "bound":
    bound_heap()
kept, together = [], threading.Barrier(4)

def allocate():
    together.wait()
    kept.extend(bytes(50_000) for _ in range(50))

threads = [threading.Thread(target=allocate) for _ in range(4)]
for one in threads:
    one.start()
for one in threads:
    one.join()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, file)
libc.fflush(file)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_all_threads_share_one_heap():
    heaps = {}
    for how in ("bound", "free"):
        done = subprocess.run([sys.executable, "-c", ALLOCATING, how], capture_output=True, text=True, check=True)
        if "<heap" not in done.stdout:
            pytest.skip("the C library is not glibc")
        heaps[how] = done.stdout.count("<heap nr=")
    assert heaps["bound"] == 1
    assert heaps["free"] > 1  # or the one above would prove nothing
