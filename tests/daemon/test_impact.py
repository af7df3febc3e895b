import math

import pytest

from daemon.impact import Reading, harm, tells_of_harm
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit

MEMORY = SignalSpec("pressure.memory_full", Unit.RATIO, Kind.GAUGE, "pressure")
DISK = SignalSpec("pressure.io_full", Unit.RATIO, Kind.GAUGE, "pressure")
AGAIN = SignalSpec("tcp.retransmits", Unit.RATIO, Kind.GAUGE, "tcp")
CONNECT = SignalSpec("latency.gateway.connect_seconds", Unit.SECONDS, Kind.GAUGE, "latency", "gateway")
REACHABLE = SignalSpec("latency.gateway.reachable", Unit.RATIO, Kind.GAUGE, "latency", "gateway")
BUSY = SignalSpec("cpu.busy", Unit.RATIO, Kind.GAUGE, "cpu")


@pytest.mark.parametrize(
    ("spec", "value", "low", "high", "said"),
    [
        (MEMORY, 0.10, 0.0, 0.0, "all tasks wait for memory 10 % of the time"),
        (MEMORY, 0.0999, 0.0, 0.0, ""),  # nobody feels it
        (MEMORY, 0.3, 0.0, 0.3, ""),  # this host always lives with it
        (MEMORY, 0.31, 0.0, 0.3, "all tasks wait for memory 31 % of the time"),
        (DISK, 0.20, 0.0, 0.05, "all tasks wait for the disk 20 % of the time"),
        (DISK, 0.19, 0.0, 0.05, ""),
        (AGAIN, 0.02, 0.0, 0.001, "2 % of the TCP segments are sent again"),
        (AGAIN, 0.019, 0.0, 0.001, ""),
        (CONNECT, 0.12, 0.001, 0.004, "gateway takes 120 ms to answer"),
        (CONNECT, 0.09, 0.001, 0.004, ""),  # many times as slow as usual, and still quick
        (CONNECT, 0.5, 0.1, 0.2, ""),  # slow, and usually about as slow
        (CONNECT, 0.61, 0.1, 0.2, "gateway takes 610 ms to answer"),
        (REACHABLE, 0.0, 1.0, 1.0, "gateway does not answer"),
        (REACHABLE, 1.0, 1.0, 1.0, ""),
        (REACHABLE, 0.0, 0.0, 1.0, ""),  # it never did for long
    ],
)
def test_it_hurts_where_it_is_both_unusual_and_felt(spec, value, low, high, *, said):
    assert tells_of_harm(spec)
    assert harm([Reading(spec, value, low, high)]) == said


@pytest.mark.parametrize("spec", [MEMORY, DISK, AGAIN, CONNECT, REACHABLE])
def test_what_is_not_known_hurts_nobody(spec):
    assert harm([Reading(spec, math.nan, 0.0, 0.1)]) == ""
    assert harm([Reading(spec, math.nan, math.nan, math.nan)]) == ""
    assert harm([Reading(spec, 0.01, math.nan, math.nan)]) == ""


def test_all_that_hurts_is_said():
    readings = [Reading(MEMORY, 0.5, 0.0, 0.0), Reading(DISK, 0.0, 0.0, 0.0), Reading(REACHABLE, 0.0, 1.0, 1.0)]
    assert harm(readings) == "all tasks wait for memory 50 % of the time and gateway does not answer"
    assert harm([]) == ""


def test_a_busy_processor_is_no_harm():
    assert not tells_of_harm(BUSY)
