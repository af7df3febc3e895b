"""What a backtest found, as data: for the terminal, for programs, for the page, for comparison."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from alerting.occurrence import Occurrence
from daemon.config import Capacity
from daemon.signals import SignalSpec


@dataclass(frozen=True, slots=True)
class Samples:
    """The samples that were replayed: `values` (T, S) float32 of `specs`, NaN = missing; the rest is (T,).

    `seq` is below zero for samples that were imported. `hours` is the local hour of the week, `flags` as in
    `daemon.samples`; `monotonic_ns` and `boot` (a number for each boot) order them.
    """

    specs: tuple[SignalSpec, ...]
    signal_ids: tuple[int, ...]
    values: NDArray[np.float32]
    seq: NDArray[np.int64]
    time_ms: NDArray[np.int64]
    monotonic_ns: NDArray[np.int64]
    boot: NDArray[np.int64]
    hours: NDArray[np.int64]
    flags: NDArray[np.int64]

    @property
    def clock(self) -> NDArray[np.int64]:
        """`time_ms` as a clock (T,) that never falls: the wall clock may have been set back."""
        return np.maximum.accumulate(self.time_ms)


@dataclass(frozen=True, slots=True)
class Notification:
    """One notification that would have been sent: when (UTC milliseconds), to whom, and its document (webhook form).

    `occurrences`: ids of the alerts it tells of, in its order.
    """

    time_ms: int
    sink: str
    document: Mapping[str, object]
    occurrences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Backtest:
    """All that came of one replay. Arrays are (T,), by sample; scores are NaN before there was a model.

    `name`: which configuration or model it was. `alarmed`: the score was above the threshold of that moment.
    `episodes`: how many were counted so far. `learned`: the learning week was over. `occurrences`: every alert
    that fired, oldest first. `episodes_per_week` is the ceiling of the configuration, `capacity` what it
    says of resources. `verdicts`: what operators said of alerts, by id;
    `honoured`: how many of them changed something here.
    """

    name: str
    host: str
    interval_seconds: float
    episodes_per_week: float
    learning_days: float
    notify: str
    samples: Samples
    raw: NDArray[np.float64]
    threshold: NDArray[np.float64]
    alarmed: NDArray[np.bool_]
    episodes: NDArray[np.int64]
    learned: NDArray[np.bool_]
    notifications: tuple[Notification, ...]
    occurrences: tuple[Occurrence, ...]
    models: int
    seconds: float
    capacity: Capacity = field(default_factory=Capacity)
    verdicts: Mapping[str, str] = field(default_factory=dict)
    honoured: int = 0
