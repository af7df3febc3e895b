from dataclasses import dataclass

import numpy as np
import pytest

from detectors.factors import COUNT, FACTORS, LIMITED, NAMES, PLACE, Gathering, feeds
from detectors.findings import Unit


@dataclass(frozen=True)
class Signal:
    name: str
    unit: Unit
    family: str
    resource: str = ""


MEMORY = Signal("memory.used", Unit.RATIO, "memory")
ROOT = Signal("filesystem./.used", Unit.RATIO, "filesystem", "/")
DATA = Signal("filesystem./data.used", Unit.RATIO, "filesystem", "/data")
INODES = Signal("filesystem./data.inodes_used", Unit.RATIO, "filesystem", "/data")


def column(gathered, name):
    return gathered.values[:, PLACE[name]]


def test_the_table_has_thirty_two_factors_in_an_order_that_networks_rely_on():
    assert COUNT == len(set(NAMES)) == 32
    assert NAMES[:3] == ("memory", "unit_memory", "swap")
    assert NAMES[-2:] == ("failure_age", "failures")
    assert LIMITED.sum() == 9
    for factor in FACTORS:
        assert bool(factor.left) == (factor.limit is not None)
        assert factor.scale > 0


def test_signals_find_their_factor_and_the_rest_is_missing():
    gathering = Gathering([MEMORY, ROOT, INODES, Signal("memory.dirty_bytes", Unit.BYTES, "memory")])
    assert gathering.present == ("memory", "space", "inodes")
    assert feeds(INODES)
    assert not feeds(Signal("memory.dirty_bytes", Unit.BYTES, "memory"))
    found = gathering(np.array([[0.5, 0.6, 0.1, 1e9], [0.55, 0.6, 0.1, 1e9]], np.float32))
    assert column(found, "memory") == pytest.approx([0.5, 0.55])
    assert column(found, "inodes") == pytest.approx([0.1, 0.1])
    assert np.isnan(column(found, "swap")).all()
    assert found.about[PLACE["inodes"]] == "/data"
    assert found.about[PLACE["memory"]] == ""


def test_a_small_file_system_that_fills_counts_before_a_large_one_that_is_fuller():
    samples = np.full((100, 2), 0.9)
    samples[:, 1] = 0.2
    samples[40:, 1] = np.linspace(0.2, 0.5, 60)
    found = Gathering([ROOT, DATA])(samples)
    assert found.about[PLACE["space"]] == "/data"
    assert column(found, "space")[-1] == pytest.approx(0.5)
    samples[:, 1] = 0.2
    assert Gathering([ROOT, DATA])(samples).about[PLACE["space"]] == "/"


def test_a_resource_that_is_gone_is_not_the_worst():
    samples = np.full((80, 2), np.nan)
    samples[:, 0] = 0.3
    samples[:10, 1] = 0.95
    found = Gathering([ROOT, DATA])(samples)
    assert found.about[PLACE["space"]] == "/"


def test_errors_of_all_interfaces_add_up_and_one_that_is_missing_costs_nothing():
    signals = [
        Signal(f"network.{one}.{what}_per_second", Unit.PER_SECOND, "network", one)
        for one in ("eth0", "eth1")
        for what in ("errors", "drops", "receive_packets")
    ]
    samples = np.array([[1, 2, 1000, 4, np.nan, 1000], [np.nan] * 6])
    found = column(Gathering(signals)(samples), "interface_errors")
    assert found[0] == 7
    assert np.isnan(found[1])


def test_a_restart_that_two_sources_tell_of_counts_once():
    names = (("errors", "errors.units.restarted_per_second"), ("units", "units.restarts_per_second"))
    signals = [Signal(name, Unit.PER_SECOND, family) for family, name in names]
    found = column(Gathering(signals)(np.array([[0.2, 0.1], [0.0, 0.0], [0.4, 0.2]])), "restarts")
    assert found.tolist() == [0.2, 0.0, 0.4]


def test_units_are_named_by_their_last_part():
    signals = [
        Signal(f"units.{unit}.{what}", Unit.RATIO, "units", unit)
        for unit in ("a.service", "b.service")
        for what in ("memory_used", "descriptors_used")
    ]
    found = Gathering(signals)(np.array([[0.2, 0.9, 0.5, 0.1]]))
    assert (column(found, "unit_memory")[0], found.about[PLACE["unit_memory"]]) == (0.5, "b.service")
    assert (column(found, "unit_descriptors")[0], found.about[PLACE["unit_descriptors"]]) == (0.9, "a.service")


def test_what_answers_is_not_unreachable():
    signals = [Signal(f"latency.{one}.reachable", Unit.RATIO, "latency", one) for one in ("a", "b")]
    found = Gathering(signals)(np.array([[1.0, 0.0]]))
    assert column(found, "unreachable") == [1.0]
    assert found.about[PLACE["unreachable"]] == "b"


def test_what_the_daemon_knows_itself_is_given_by_name():
    found = Gathering([MEMORY])(np.full((3, 1), 0.5), {"failures": 2.0, "anomaly": np.array([0.1, 0.2, 0.3])})
    assert column(found, "failures").tolist() == [2, 2, 2]
    assert column(found, "anomaly").tolist() == [0.1, 0.2, 0.3]


def test_no_samples_are_no_factors():
    assert Gathering([MEMORY, ROOT, DATA])(np.zeros((0, 3))).values.shape == (0, 32)
