from math import isnan

import pytest

from daemon.collectors.network import NetworkCollector
from daemon.errors import CollectorError, NotAvailable

HEADER = "Inter-|   Receive  |  Transmit\n face |bytes packets errs drop|bytes packets\n"


def line(name, *, received=1000, transmitted=500, packets_in=10, packets_out=5, errors=0, drops=0):
    return f"{name:>6}: {received} {packets_in} {errors} {drops} 0 0 0 0 {transmitted} {packets_out} 1 2 0 0 0 0\n"


@pytest.fixture
def build(tree):
    built = []

    def build(**arguments):
        built.append(NetworkCollector(paths=tree.paths, gap_seconds=60, **arguments))
        return built[-1]

    yield build
    for collector in built:
        collector.close()


def interfaces(values):
    return {name.removeprefix("network.").rsplit(".", 1)[0] for name in values}


def test_known_counters_give_exact_values(tree, build):
    tree.write("proc/1/net/dev", HEADER + line("eth0"))
    later = {"received": 4000, "transmitted": 3500, "packets_in": 40, "packets_out": 65, "errors": 3, "drops": 6}
    network = build()
    assert all(map(isnan, tree.values(network, 100).values()))
    tree.write("proc/1/net/dev", HEADER + line("eth0", **later))
    assert tree.values(network, 130) == pytest.approx(
        {
            "network.eth0.receive_bytes_per_second": 100.0,
            "network.eth0.transmit_bytes_per_second": 100.0,
            "network.eth0.receive_packets_per_second": 1.0,
            "network.eth0.transmit_packets_per_second": 2.0,
            "network.eth0.errors_per_second": 0.1,
            "network.eth0.drops_per_second": 0.2,
        }
    )


def test_container_interfaces_silent_ones_and_exclusions_give_nothing_but_loopback_stays(tree, build):
    names = ("lo", "eth0", "veth12", "br-1a", "cali9", "docker0", "ifb0", "wg0")
    silent = line("eth1", packets_in=0, packets_out=0)
    tree.write("proc/net/dev", HEADER + "".join(map(line, names)) + silent)
    assert interfaces(tree.values(build(exclude=("wg*",)), 100)) == {"lo", "eth0"}


def test_a_new_interface_starts_missing_and_one_that_goes_leaves_nothing(tree, build):
    tree.write("proc/net/dev", HEADER + line("eth0"))
    network = build()
    tree.values(network, 100)
    tree.write("proc/net/dev", HEADER + line("eth0") + line("eth1"))
    values = tree.values(network, 130)
    assert isnan(values["network.eth1.receive_bytes_per_second"])
    assert values["network.eth0.receive_bytes_per_second"] == 0.0
    tree.write("proc/net/dev", HEADER + line("eth1", received=1300))
    values = tree.values(network, 160)
    assert interfaces(values) == {"eth1"}
    assert values["network.eth1.receive_bytes_per_second"] == 10.0


def test_a_reset_and_a_wrap_are_missing(tree, build):
    tree.write("proc/net/dev", HEADER + line("eth0", received=2**32 - 1, transmitted=10**9))
    network = build()
    tree.values(network, 100)
    tree.write("proc/net/dev", HEADER + line("eth0", received=100, transmitted=0))
    values = tree.values(network, 130)
    assert isnan(values["network.eth0.receive_bytes_per_second"])
    assert isnan(values["network.eth0.transmit_bytes_per_second"])
    assert values["network.eth0.receive_packets_per_second"] == 0.0


def test_interfaces_beyond_the_bound_are_counted(tree, build):
    tree.write("proc/net/dev", HEADER + "".join(line(f"vlan{n}") for n in range(300)))
    network = build()
    for second in (100, 130):
        assert len(interfaces(tree.values(network, second))) == 256
        assert network.dropped_interfaces == 44


def test_a_source_that_vanishes_or_makes_no_sense_is_said(tree, build):
    with pytest.raises(NotAvailable):
        build().collect(0)
    tree.write("proc/net/dev", HEADER + "eth0: 1 2\n")
    with pytest.raises(CollectorError, match="dev: not understood"):
        build().collect(0)
