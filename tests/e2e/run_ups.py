"""Run-ups to real failures, each a process of its own: `python run_ups.py NAME SECONDS [PLACE]`.

Each takes a resource at an even pace, so that it is used up after SECONDS, and ends with the failure. What is taken
stands between what the kernel counts and the limit, so nothing of the host itself is used up.
"""

import os
import resource
import sys
import time
from pathlib import Path

_STEP_SECONDS = 0.2


def memory(seconds, limit):
    """Keep more and more memory up to `limit` bytes of the control group, and a little beyond: the kernel kills."""
    kept = []
    for step in _steps(seconds):
        wanted = 1.05 * int(limit) * step
        while len(kept) << 20 < wanted:
            kept.append(os.urandom(1 << 20))
    time.sleep(60)


def mount(seconds, place):
    """Write one file until there is no space left: OSError."""
    whole = os.statvfs(place)
    free = whole.f_bavail * whole.f_frsize
    with (Path(place) / "log").open("wb", buffering=0) as file:
        for step in _steps(seconds):
            file.write(bytes(max(int(1.02 * free * step) - file.tell(), 0)))
            os.fdatasync(file.fileno())
    time.sleep(60)


def descriptors(seconds, _place=""):
    """Open files and close none, up to the limit and beyond: OSError, with which the program ends."""
    limit, kept = resource.getrlimit(resource.RLIMIT_NOFILE)[0], []
    for step in _steps(seconds):
        while len(kept) < 1.05 * limit * step:
            kept.append(os.open("/dev/null", os.O_RDONLY))


def _steps(seconds):
    """Yield what share of the time is over, until a little after its end."""
    began = time.monotonic()
    while (share := (time.monotonic() - began) / float(seconds)) < 1.05:
        yield share
        time.sleep(_STEP_SECONDS)


if __name__ == "__main__":
    {one.__name__: one for one in (memory, mount, descriptors)}[sys.argv[1]](*sys.argv[2:])
