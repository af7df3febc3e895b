import math

import numpy as np
import pytest

from daemon.capacity.resources import Inventory, ResourceKind, find_resources
from daemon.collectors.base import HostPaths
from daemon.collectors.network import link_speeds
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit

GIB = 2.0**30


def values_of(reading):
    """Return name: (use, capacity)."""
    return {
        one.name: (used, size)
        for one, used, size in zip(reading.resources, reading.used.tolist(), reading.capacity.tolist(), strict=True)
    }


def test_a_host_has_these_resources(past, host):
    specs, values = host
    measured = past(specs, values).measured()
    inventory = Inventory(links={"eth0": 1.25e8})
    got = values_of(inventory.read(measured))
    assert got == {
        "cpu": (pytest.approx(0.3), 1.0),
        "memory": (pytest.approx(4 * GIB), pytest.approx(8 * GIB)),
        "swap": (pytest.approx(0.2 * GIB), pytest.approx(2 * GIB)),
        "/": (pytest.approx(40 * GIB), pytest.approx(100 * GIB)),
        "/ inodes": (pytest.approx(0.1), 1.0),
        "/var": (pytest.approx(60 * GIB), pytest.approx(100 * GIB)),
        "/var inodes": (pytest.approx(0.1), 1.0),
        "eth0 receive": (pytest.approx(2e6), 1.25e8),
        "eth0 transmit": (pytest.approx(1e6), 1.25e8),
    }
    assert inventory.interfaces == ("eth0",)


def test_a_link_of_unknown_speed_is_no_resource_and_one_processor_is_not_the_host(past, host):
    specs, values = host
    other = SignalSpec("cpu.0.busy", Unit.RATIO, Kind.RATE, "cpu", "cpu0")
    names = {one.name for one in Inventory().read([*past(specs, values).measured(), (other, 0.5)]).resources}
    assert not {name for name in names if name.startswith(("eth0", "cpu0"))}


def test_what_is_excluded_is_no_resource(past, host):
    specs, values = host
    got = Inventory(("* inodes", "/var", "swap")).read(past(specs, values).measured())
    assert [one.name for one in got.resources] == ["cpu", "memory", "/"]


def test_names_of_signals_are_not_parsed():
    """A mount may be called like anything, an interface too."""
    prefix = "filesystem./a.used.free_bytes."
    mount = [
        SignalSpec(prefix + "used", Unit.RATIO, Kind.GAUGE, "filesystem", "/a.used.free_bytes"),
        SignalSpec(prefix + "free_bytes", Unit.BYTES, Kind.GAUGE, "filesystem", "/a.used.free_bytes"),
    ]
    found = list(find_resources(mount))
    assert [(one.name, one.kind) for one in found] == [("/a.used.free_bytes", ResourceKind.STORAGE)]
    assert found[0].signals == (mount[0].name, mount[1].name)


def test_swap_has_a_size_once_something_is_in_it(past):
    from daemon.collectors.memory import SWAP_USED, SWAP_USED_BYTES  # noqa: PLC0415

    inventory = Inventory()
    assert inventory.read([(SWAP_USED, 0.0), (SWAP_USED_BYTES, 0.0)]).resources == ()
    assert values_of(inventory.read([(SWAP_USED, 0.25), (SWAP_USED_BYTES, GIB)])) == {"swap": (GIB, 4 * GIB)}
    assert values_of(inventory.read([(SWAP_USED, 0.0), (SWAP_USED_BYTES, 0.0)])) == {"swap": (0.0, 4 * GIB)}


def mount(past, used, size=100 * GIB, read_only=0.0):
    """Return the measurements of one mount."""
    specs = [one for one in past.specs if one.resource == "/var"]
    return list(zip(specs, [used / size, size - used, 0.1, read_only], strict=True))


def test_a_grown_disk_has_another_capacity_and_the_same_use(past, host):
    one, inventory = past(*host), Inventory(("* inodes",))
    assert values_of(inventory.read(mount(one, 60 * GIB))) == {"/var": (60 * GIB, 100 * GIB)}
    got = values_of(inventory.read(mount(one, 60 * GIB, 200 * GIB)))
    assert got == {"/var": (pytest.approx(60 * GIB), pytest.approx(200 * GIB))}


def test_a_full_disk_keeps_its_size_also_over_a_restart(past, host):
    one, inventory = past(*host), Inventory(("* inodes",))
    assert values_of(inventory.read(mount(one, 100 * GIB))) == {"/var": (1.0, 1.0)}  # how large it is does not show
    inventory.read(mount(one, 60 * GIB))
    assert values_of(inventory.read(mount(one, 100 * GIB))) == {"/var": (100 * GIB, 100 * GIB)}
    again = Inventory(("* inodes",))
    again.sizes.update(inventory.remember())
    assert values_of(again.read(mount(one, 100 * GIB))) == {"/var": (100 * GIB, 100 * GIB)}


def test_a_read_only_mount_says_so(past, host):
    reading = Inventory().read(mount(past(*host), 60 * GIB, read_only=1.0))
    assert [one.name for one in reading.resources] == ["/var", "/var inodes"]
    assert reading.read_only.tolist() == [True, True]


@pytest.mark.parametrize("vanishes", [False, True])
def test_a_source_that_stumbles_keeps_its_resource_for_three_rounds(past, host, vanishes):
    one, inventory = past(*host), Inventory(("* inodes",))
    inventory.read(mount(one, 60 * GIB))
    gone = [] if vanishes else [(spec, math.nan) for spec, _ in mount(one, 1.0)]
    seen = [values_of(inventory.read(gone)) for _ in range(5)]
    assert seen == [{"/var": (60 * GIB, 100 * GIB)}] * 3 + [{}] * 2
    assert values_of(inventory.read(mount(one, 61 * GIB))) == {"/var": (pytest.approx(61 * GIB), 100 * GIB)}


def test_a_rate_is_known_of_before_it_is_measured(past, host):
    specs, values = host
    inventory = Inventory(links={"eth0": 1.25e8})
    first = [(spec, math.nan if spec.kind is Kind.RATE else value) for spec, value in past(specs, values).measured()]
    assert "cpu" not in {one.name for one in inventory.read(first).resources}
    known, sizes = inventory.known
    got = dict(zip([one.name for one in known], sizes.tolist(), strict=True))
    assert got.items() >= {"cpu": 1.0, "eth0 receive": 1.25e8}.items()
    assert np.isfinite(sizes).all()


def test_link_speeds_are_read_where_they_are_told(tmp_path):
    for name, text in {"eth0": "1000\n", "wlan0": None, "virt0": "-1\n", "odd0": "fast\n"}.items():
        folder = tmp_path / "class" / "net" / name
        folder.mkdir(parents=True)
        if text is not None:
            (folder / "speed").write_text(text)
    speeds = link_speeds(HostPaths(sys=tmp_path), ("eth0", "wlan0", "virt0", "odd0", "gone0"))
    assert speeds == {"eth0": 125_000_000.0}


def test_beyond_three_hundred_the_rest_is_counted():
    def mount(number):
        path = f"/m{number:03}"
        return [
            (SignalSpec(f"filesystem.{path}.used", Unit.RATIO, Kind.GAUGE, "filesystem", path), 0.5),
            (SignalSpec(f"filesystem.{path}.free_bytes", Unit.BYTES, Kind.GAUGE, "filesystem", path), GIB),
        ]

    inventory = Inventory()
    assert len(inventory.read([one for number in range(310) for one in mount(number)]).resources) == 300
    assert inventory.dropped == 10
    assert len(inventory.read(mount(5)).resources) == 1 + 299  # the others are missed for three rounds
    assert inventory.dropped == 0
    for start in range(0, 1500, 250):
        inventory.read([one for number in range(start, start + 250) for one in mount(number)])
    assert len(inventory.remember()) == 1000
    assert "/m1499" in inventory.sizes
