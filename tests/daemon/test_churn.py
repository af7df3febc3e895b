"""A day on a host whose mounts and interfaces come and go: what a Prometheus has to keep, and what we keep."""

import os

import pytest

from daemon.collectors.base import HostPaths
from daemon.collectors.filesystem import FilesystemCollector, Space
from daemon.collectors.network import NetworkCollector
from daemon.config import Config
from daemon.metrics import Metrics
from daemon.signals import Kind, SignalRegistry, SignalSpec
from daemon.snapshot import AnomalyState, Snapshot
from daemon.state import StateDatabase
from detectors.findings import Unit

MINUTE = 60 * 10**9
ROUNDS = 288  # every five minutes
ALIVE = 3  # rounds
NOTHING = AnomalyState(None, None, None, None, (), (), 0, "", "", None)


@pytest.fixture
def churning(tmp_path):
    """Collect from a host with one mount and one interface more every round, and one less; returns what is measured."""
    paths = HostPaths(proc=tmp_path / "proc", sys=tmp_path / "sys", root=tmp_path / "root")
    net, mounts = paths.proc / "1" / "net" / "dev", paths.proc / "1" / "mountinfo"
    net.parent.mkdir(parents=True)
    numbers = range(0)

    def write():
        net.write_text("\n\n" + "".join(f"lan{number}: {'7 ' * 16}\n" for number in numbers))
        mounts.write_text("".join(f"1 1 8:{n} / /data/{n} rw - ext4 /dev/sd{n} rw\n" for n in numbers))

    def ask(path):
        return Space((8, int(os.fsdecode(path).rpartition("/")[2])), os.statvfs("/"))

    write()
    network = NetworkCollector(paths=paths, gap_seconds=1e9)
    filesystem = FilesystemCollector(paths=paths, ask=ask)

    def measure(number):
        nonlocal numbers
        numbers = range(max(0, number - ALIVE), number)
        write()
        return [*network.collect(number * 5 * MINUTE), *filesystem.collect(number * 5 * MINUTE)]

    measure.collectors = network, filesystem
    yield measure
    network.close()
    filesystem.close()


def test_of_what_comes_and_goes_in_a_day_nothing_is_kept(churning, tmp_path):
    database = StateDatabase(tmp_path / "state.db")
    registry = SignalRegistry((), database.assign_signals, database.remove_signals)
    metrics = Metrics("1", lambda: "numpy", Config().metrics.signals)
    lasting = [(SignalSpec(f"cpu.s{n}", Unit.RATIO, Kind.GAUGE, "cpu"), 0.5) for n in range(70)]
    seen, most = set(), 0
    try:
        for number in range(1, ROUNDS + 1):
            measured = [*lasting, *churning(number)]
            new = registry.unknown(measured)
            if new:
                registry.learn(new, number * 300_000, {spec.name for spec, _ in measured})
            if number % 12 == 0:
                registry.touch(number * 300_000, measured)
            values = zip(registry.specs, registry.fill(measured).tolist(), strict=True)
            metrics.publish(Snapshot(number, 0, 0, number, tuple(values), (), NOTHING, (), ()), {})
            lines = metrics.render().decode().splitlines()
            now = {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}
            there = {name for name in now if "lan" in name or "/data/" in name}
            alive = {f"lan{n}." for n in range(number - ALIVE, number)} | {
                f"/data/{n}." for n in range(number - ALIVE, number)
            }
            assert all(any(one in name for one in alive) for name in there), "one that is gone is still told"
            seen |= now
            most = max(most, len(now))
    finally:
        database_rows = database.load_signals()
        database.close()
    print(f"{len(seen)} series in a day, {most} at once; {len(registry.specs)} signals known")
    assert most <= 300
    assert len(registry.specs) == 2000  # and no more: those of the morning are forgotten
    assert {spec.name for spec, _ in lasting} <= {spec.name for spec in registry.specs}
    assert len(seen) <= most + ROUNDS * 10  # ten signals each round
    assert len(database_rows) == 2000
    network, filesystem = churning.collectors
    kept = network._specs, network._rates._now, network._rates._before, filesystem._watched
    assert max(len(one) for one in kept) <= 6 * (ALIVE + 1)
