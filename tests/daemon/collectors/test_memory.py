from math import isnan

import pytest

from daemon.collectors.memory import PAGE_BYTES, MemoryCollector
from daemon.errors import CollectorError

MEMINFO = """MemTotal:        1000 kB
MemFree:          100 kB
MemAvailable:     600 kB
Buffers:           10 kB
Cached:           200 kB
SwapCached:         0 kB
Dirty:              7 kB
Writeback:          1 kB
AnonPages:        300 kB
Slab:              50 kB
SwapTotal:        400 kB
SwapFree:         300 kB
HugePages_Total:    0
Hugepagesize:    2048 kB
"""


def vmstat(faults=100, major=10, swapped_in=1, swapped_out=2, kills=0):
    return (
        f"nr_free_pages 5\npswpin {swapped_in}\npswpout {swapped_out}\npgfault {faults}\npgmajfault {major}\n"
        f"oom_kill {kills}\nnr_last 1\n"
    )


@pytest.fixture
def build(tree):
    tree.write("proc/meminfo", MEMINFO)
    tree.write("proc/vmstat", vmstat())
    built = []

    def build(**arguments):
        built.append(MemoryCollector(paths=tree.paths, gap_seconds=60, **arguments))
        return built[-1]

    yield build
    for collector in built:
        collector.close()


def test_known_numbers_give_exact_values(tree, build):
    memory = build()
    tree.values(memory, 100)
    tree.write("proc/vmstat", vmstat(faults=400, major=40, swapped_in=31, swapped_out=62, kills=3))
    assert tree.values(memory, 130) == pytest.approx(
        {
            "memory.used": 0.4,
            "memory.available_bytes": 600 * 1024,
            "memory.dirty_bytes": 8 * 1024,
            "memory.cached_bytes": 210 * 1024,
            "memory.slab_bytes": 50 * 1024,
            "memory.anonymous_bytes": 300 * 1024,
            "swap.used": 0.25,
            "swap.used_bytes": 100 * 1024,
            "memory.page_faults_per_second": 10.0,
            "memory.major_faults_per_second": 1.0,
            "memory.swap_in_bytes_per_second": PAGE_BYTES,
            "memory.swap_out_bytes_per_second": 2 * PAGE_BYTES,
            "memory.oom_kills_per_second": 0.1,
        }
    )


def test_without_swap_there_is_no_swap_signal(tree, build):
    tree.write("proc/meminfo", MEMINFO.replace("SwapTotal:        400", "SwapTotal:          0"))
    assert not any(name.startswith("swap.") for name in tree.values(build(), 100))


def test_an_old_kernel_counts_no_oom_kills(tree, build):
    tree.write("proc/vmstat", vmstat().replace("oom_kill 0\n", ""))
    values = tree.values(build(), 100)
    assert "memory.oom_kills_per_second" not in values
    assert "memory.page_faults_per_second" in values


def test_a_counter_that_was_reset_is_missing(tree, build):
    memory = build()
    tree.values(memory, 100)
    tree.write("proc/vmstat", vmstat(faults=5))
    assert isnan(tree.values(memory, 130)["memory.page_faults_per_second"])


def test_the_limit_of_a_container_is_the_capacity(tree, build):
    values = tree.values(build(memory_limit=lambda: (150 * 1024, 200 * 1024)), 100)
    assert values["memory.used"] == pytest.approx(0.75)
    assert values["memory.available_bytes"] == 50 * 1024


@pytest.mark.parametrize("answer", [None, (150 * 1024, 5000 * 1024)])
def test_no_limit_or_one_above_the_memory_leaves_the_host(tree, build, answer):
    assert tree.values(build(memory_limit=lambda: answer), 100)["memory.used"] == pytest.approx(0.4)


def test_use_above_the_limit_is_full_and_not_more(tree, build):
    assert tree.values(build(memory_limit=lambda: (300 * 1024, 200 * 1024)), 100)["memory.used"] == 1.0


def test_a_missing_line_is_a_failure(tree, build):
    tree.write("proc/meminfo", "MemTotal: 1000 kB\n")
    with pytest.raises(CollectorError, match="meminfo: not understood"):
        build().collect(0)
