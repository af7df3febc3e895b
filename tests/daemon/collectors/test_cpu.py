from math import isnan

import pytest

from daemon.collectors.cpu import CpuCollector
from daemon.errors import CollectorError, NotAvailable


def stat(*cpus, interrupts=1000, switches=2000):
    total = [sum(column) for column in zip(*cpus, strict=True)]
    lines = [("cpu ", total), *((f"cpu{n}", cpu) for n, cpu in enumerate(cpus))]
    text = "".join(f"{name} {' '.join(map(str, cpu))} 0 0\n" for name, cpu in lines)
    return text + f"intr {interrupts} 5 6 7 0 0\nctxt {switches}\nbtime 1\nprocesses 9\nprocs_running 1\n"


# user nice system idle iowait irq softirq steal
START = ([100, 0, 50, 800, 40, 5, 5, 0], [100, 0, 50, 800, 40, 5, 5, 0])
LATER = ([120, 10, 60, 830, 50, 7, 8, 15], [100, 0, 50, 900, 40, 5, 5, 0])


@pytest.fixture
def cpu(tree):
    tree.write("proc/stat", stat(*START))
    tree.write("proc/loadavg", "1.50 3.00 0.06 1/83 4221\n")
    collector = CpuCollector(paths=tree.paths, gap_seconds=60)
    yield collector
    collector.close()


def test_known_jiffies_give_exact_ratios(tree, cpu):
    first = tree.values(cpu, 100)
    assert all(isnan(value) for name, value in first.items() if not name.startswith("load."))
    tree.write("proc/stat", stat(*LATER, interrupts=1300, switches=2600))
    assert tree.values(cpu, 130) == pytest.approx(
        {
            "cpu.busy": 60 / 200,
            "cpu.user": 30 / 200,
            "cpu.system": 10 / 200,
            "cpu.iowait": 10 / 200,
            "cpu.steal": 15 / 200,
            "cpu.irq": 5 / 200,
            "cpu.0.busy": 60 / 100,
            "cpu.1.busy": 0.0,
            "cpu.interrupts_per_second": 10.0,
            "cpu.context_switches_per_second": 20.0,
            "load.one_per_cpu": 0.75,
            "load.five_per_cpu": 1.5,
        }
    )


def test_iowait_that_steps_back_is_missing_and_nothing_is_negative(tree, cpu):
    tree.values(cpu, 100)
    back = [list(row) for row in LATER]
    back[0][4] = 38
    back[1][4] = 40
    tree.write("proc/stat", stat(*back))
    values = tree.values(cpu, 130)
    assert isnan(values["cpu.iowait"])
    assert all(0 <= value <= 1 for name, value in values.items() if name.endswith("busy"))


def test_idle_that_steps_back_never_gives_more_than_one(tree, cpu):
    tree.values(cpu, 100)
    tree.write("proc/stat", stat([200, 0, 50, 799, 40, 5, 5, 0], START[1]))
    assert tree.values(cpu, 130)["cpu.0.busy"] == 1.0


def test_a_processor_that_goes_offline_gives_nothing_and_starts_anew(tree, cpu):
    tree.values(cpu, 100)
    tree.write("proc/stat", stat(LATER[0]))
    assert "cpu.1.busy" not in tree.values(cpu, 130)
    tree.write("proc/stat", stat(*LATER))
    assert isnan(tree.values(cpu, 160)["cpu.1.busy"])


def test_processors_beyond_the_bound_are_counted_and_stay_in_the_sum(tree, cpu):
    tree.write("proc/stat", stat(*[START[0]] * 70))
    values = tree.values(cpu, 100)
    assert sum(name.endswith(".busy") for name in values) == 1 + 64
    assert cpu.dropped_cores == 6
    assert values["load.one_per_cpu"] == pytest.approx(1.5 / 70)


def test_a_gap_makes_every_rate_missing_once(tree, cpu):
    tree.values(cpu, 100)
    tree.write("proc/stat", stat(*LATER))
    assert isnan(tree.values(cpu, 200)["cpu.busy"])
    assert tree.values(cpu, 230)["cpu.busy"] == 0.0


def test_a_source_that_vanishes_is_said(tree):
    collector = CpuCollector(paths=tree.paths, gap_seconds=60)
    with pytest.raises(NotAvailable):
        collector.collect(0)


def test_a_content_that_makes_no_sense_is_a_failure(tree, cpu):
    tree.write("proc/stat", "cpu what\nintr 1\nctxt 1\n")
    with pytest.raises(CollectorError, match="stat: not understood"):
        cpu.collect(0)
