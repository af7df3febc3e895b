import gc
import os
import threading
import time
from math import isnan
from pathlib import Path

from daemon.collectors.base import Visitors
from daemon.collectors.itself import SelfCollector


def settle():
    """Let the threads end that tests before this one have let go."""
    gc.collect()
    known, since, limit = 0, time.monotonic(), time.monotonic() + 10
    while time.monotonic() < min(since + 0.3, limit):
        if (count := len(list(Path("/proc/self/task").iterdir()))) != known:
            known, since = count, time.monotonic()
        time.sleep(0.01)


def test_the_daemon_counts_its_own_descriptors_threads_and_memory(tree):
    settle()
    collector = SelfCollector(gap_seconds=60)
    first = tree.values(collector, 100)
    assert isnan(first["self.cpu"])
    assert 5e6 < first["self.resident_bytes"] < 5e9
    stop = threading.Event()
    threads = [threading.Thread(target=stop.wait) for _ in range(3)]
    descriptors = [os.open("/dev/null", os.O_RDONLY) for _ in range(5)]
    for thread in threads:
        thread.start()
    second = tree.values(collector, 130)
    stop.set()
    for thread in threads:
        thread.join()
    for descriptor in descriptors:
        os.close(descriptor)
    assert second["self.threads_count"] == first["self.threads_count"] + 3
    assert second["self.descriptors_count"] == first["self.descriptors_count"] + 5
    assert 0 <= second["self.cpu"] < 1
    collector.close()


def test_who_looks_at_our_own_page_holds_none_of_ours(tree):
    settle()
    alone = tree.values(SelfCollector(gap_seconds=60), 100)["self.descriptors_count"]
    watched = tree.values(SelfCollector(gap_seconds=60, visitors=lambda: Visitors(every=4, local=4)), 100)
    assert watched["self.descriptors_count"] <= alone + 2 - 4  # two files of its own
