"""What every source of imported history gives: series as they were scraped, and rows of our own signals."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from daemon.signals import SignalSpec


class SeriesKey(NamedTuple):
    """A series of a metrics exporter: its name, and its labels in order without `instance` and `job`."""

    name: str
    labels: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Series:
    """Samples of one series: `time_ms` (N,) UTC, ascending, and `values` (N,) float64 as they were exposed."""

    time_ms: NDArray[np.int64]
    values: NDArray[np.float64]


Scrapes = Mapping[SeriesKey, Series]


@dataclass(frozen=True, slots=True)
class Table:
    """Samples of this host: `values` (T, S) float32 of `specs` at `time_ms` (T,) UTC, ascending, NaN = missing.

    `boot` (T,) int64 tells boots apart, by any number that is the same within one.
    """

    specs: tuple[SignalSpec, ...]
    time_ms: NDArray[np.int64]
    values: NDArray[np.float32]
    boot: NDArray[np.int64]
