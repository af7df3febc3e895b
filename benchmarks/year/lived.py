"""What came of a year, as data."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from alerting.occurrence import Occurrence
from detectors.registry import Version


@dataclass(frozen=True, slots=True)
class Message:
    """What one notification told first: at which row, of which alerts, in which words."""

    row: int
    alerts: tuple[str, ...]
    text: str


@dataclass
class Lived:
    """What came of a year. By row (T,), NaN or 0 where there was no sample; `episodes` as counted so far.

    `occurrences`: every alert that fired, the oldest first. `resident`: (row, bytes of this process) once a day.
    """

    raw: NDArray[np.float64]
    threshold: NDArray[np.float64]
    episodes: NDArray[np.int64]
    occurrences: tuple[Occurrence, ...] = ()
    messages: list[Message] = field(default_factory=list)
    retrains: dict[str, int] = field(default_factory=dict)
    lineage: tuple[Version, ...] = ()
    retention: list[tuple[int, float]] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)
    resident: list[tuple[int, int]] = field(default_factory=list)
    starts: int = 0
    clone_refused: bool = False
