"""Whether what is unusual hurts: tasks that stall, connections that are slow, repeated or refused.

Enters: the present values of the signals that tell of harm, with what is usual for them at this hour. Leaves: those
that are both beyond what is usual and beyond a level that somebody feels. One alone is no proof of harm on a host
that always lives with it, the other none on a host where a whisper is news.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from alerting.render import amount
from daemon.signals import SignalSpec
from detectors.findings import Unit

# From where on somebody feels it: the share of time in which no task got on, the share of segments sent again.
_LEVELS = {"pressure.memory_full": 0.10, "pressure.io_full": 0.20, "tcp.retransmits": 0.02}
_SLOW_SECONDS = 0.1
_SLOW_TIMES = 3.0  # as slow as usual at the worst, a connection is so often
_WORDS = {
    "pressure.memory_full": "all tasks wait for memory {} of the time",
    "pressure.io_full": "all tasks wait for the disk {} of the time",
    "tcp.retransmits": "{} of the TCP segments are sent again",
}


@dataclass(frozen=True, slots=True)
class Reading:
    """A signal with its value and what is usual for it, in its unit."""

    spec: SignalSpec
    value: float
    expected_low: float
    expected_high: float


def tells_of_harm(spec: SignalSpec) -> bool:
    """Tell whether a signal is one that `harm` looks at."""
    return spec.name in _LEVELS or spec.family == "latency"


def harm(readings: Iterable[Reading]) -> str:
    """Say what hurts, "" = nothing. NaN, a signal that is missing, hurts nobody."""
    return " and ".join(filter(None, map(_said, readings)))


def _said(one: Reading) -> str:
    name = one.spec.name
    if name in _LEVELS:
        hurts = one.value >= _LEVELS[name] and one.value > one.expected_high
        return _WORDS[name].format(amount(one.value, one.spec.unit)) if hurts else ""
    if one.spec.unit is Unit.SECONDS:
        slow = one.value >= max(_SLOW_SECONDS, _SLOW_TIMES * one.expected_high)
        return f"{one.spec.resource} takes {amount(one.value, Unit.SECONDS)} to answer" if slow else ""
    return f"{one.spec.resource} does not answer" if one.value < one.expected_low else ""
