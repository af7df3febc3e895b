from math import inf, nan

import pytest

from daemon.risk_words import said, span
from detectors.failure import Cause
from detectors.projection import Projection


def cause(factor, level, per_second=0.0, seconds=inf, *, usual=nan, about=""):
    return Cause(factor, about, 0.5, Projection(level, usual, per_second, seconds))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (
            cause("memory", 0.94, 0.011 / 60, 330),
            "memory headroom 6 %, falling 1.1 % a minute: zero in 5 min 30 s",
        ),
        (
            cause("unit_memory", 0.94, 0.011 / 60, 330, about="app.service"),
            "memory headroom of app.service 6 %, falling 1.1 % a minute: zero in 5 min 30 s",
        ),
        (cause("unit_memory", 0.5), "memory headroom of a unit 50 %, steady"),
        (
            cause("space", 0.9, 0.01 / 3600, 36_000, about="/var"),
            "disk space of /var 10 %, falling 1 % an hour: zero in 10 h",
        ),
        (cause("space", 0.9, -0.01 / 3600), "disk space 10 %, rising 1 % an hour"),
        (cause("inodes", 0.9, 0.01 / 86_400, 864_000), "free inodes 10 %, falling 1 % a day: zero in 10 d"),
        (
            cause("temperature", 92.0, 0.5 / 60, 960, about="cpu"),
            "temperature of cpu 92 °C, rising 0.5 °C a minute: 100 °C in 16 min",
        ),
        (cause("kernel_errors", 3.2, usual=0.0), "errors of the kernel log 3.2/s, usually 0/s"),
        (cause("disk_latency", 0.02, about="sda"), "time that sda takes to answer 20 ms"),
        (cause("memory_pressure", 0.4, usual=0.38), "time in which all tasks wait for memory 40 %"),
        (cause("restarts", 0.07, usual=0.0, about="units"), "restarts of units 0.07/s, usually 0/s"),
        (cause("failures", 3.0), "failures within four weeks 3"),
        (cause("failure_age", 7200.0), "the last failure was 2 h ago"),
    ],
)
def test_a_cause_is_one_sentence(given, wanted):
    assert said(given) == wanted


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [(0.4, "0 s"), (9, "9 s"), (60, "1 min"), (330, "5 min 30 s"), (3600, "1 h"), (90_000, "1 d 1 h"), (59.6, "1 min")],
)
def test_a_length_of_time_has_two_units(seconds, wanted):
    assert span(seconds) == wanted
