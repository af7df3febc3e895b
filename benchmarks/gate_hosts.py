"""Hosts for the gate's benchmarks: recorded ones, simulated ones, and each with a part of its time changed.

Enters: npz with `train` (T, S), one row a minute. Leaves: hosts, and models that have learned from them.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detectors.anomaly import AnomalyModel, fit_model
from detectors.calibration import budget_threshold

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

INTERVAL = 60.0
HOUR, DAY, WEEK = 60, 1440, 10_080  # rows
BUDGET = 7.0
LEARNED = 6 * DAY  # what the first model has learned from
_FLOOR = 1e-3  # of the largest value: recorded data has no units whose floors could be known


@dataclass(frozen=True, slots=True)
class Host:
    """One host: `values` (T, S), one row a minute, and the floors (S,)."""

    name: str
    values: Float32
    floor: Float64

    @property
    def hours(self) -> NDArray[np.int64]:
        """Return the hour of the week of each row."""
        return np.arange(len(self.values)) // HOUR % 168


def recorded(folder: Path) -> list[Host]:
    """Read the recorded servers: only what they have without labels."""
    hosts = []
    for file in sorted(folder.rglob("*.npz")):
        with np.load(file) as arrays:
            if "train" in arrays and len(arrays["train"]) > LEARNED + 10 * DAY:
                values = arrays["train"].astype(np.float32)
                largest = np.abs(values).max(axis=0).astype(np.float64)
                hosts.append(Host(file.stem, values, _FLOOR * np.where(largest > 0, largest, 1.0)))
    return hosts


def simulated(number: int) -> Host:
    """Make a host of 12 signals over 16 days: a day's rhythm, causes that wander, bursts, and noise."""
    rng = np.random.default_rng([11, number])
    rows, signals, causes = 16 * DAY, 12, 4
    wander, steps = np.zeros((rows, causes)), rng.normal(size=(rows, causes))
    for row in range(1, rows):
        wander[row] = 0.95 * wander[row - 1] + steps[row]
    wander[:, 0] += 4 * np.sin(2 * np.pi * np.arange(rows) / DAY + rng.uniform(0, 6))
    bursts = np.convolve(rng.random(rows) < 1 / 400, np.ones(8), "same")[:, None] * rng.exponential(2.0, (rows, 1))
    mixed = wander @ rng.normal(size=(causes, signals)) * 0.03 + bursts * 0.05 * np.abs(rng.normal(size=signals))
    values = 0.5 + mixed + 0.02 * rng.standard_t(5, (rows, signals))
    return Host(f"simulated-{number}", values.astype(np.float32), np.full(signals, 0.01))


def changed(host: Host, span: slice, strength: float, rng: np.random.Generator, *, louder: float = 1.0) -> Host:
    """Return the host with some of its signals on another level, and `louder` in what they do, during `span`."""
    low, centre, high = np.quantile(host.values[:LEARNED], [0.25, 0.5, 0.75], axis=0)
    spread = np.maximum(np.maximum((high - low) / 1.349, 0.25 * host.values[:LEARNED].std(axis=0)), host.floor)
    signals = len(host.floor)
    touched = rng.choice(signals, max(2, int(signals * rng.uniform(0.15, 0.5))), replace=False)
    values = host.values.copy()
    part = values[span][:, touched]
    level = rng.choice((-1.0, 1.0), len(touched)) * strength * spread[touched]
    values[span, touched] = (centre[touched] + louder * (part - centre[touched]) + level).astype(np.float32)
    return replace(host, values=values)


def learn(host: Host, rows: slice) -> AnomalyModel:
    """Fit a model on `rows`."""
    return fit_model(host.values[rows], host.hours[rows], range(len(host.floor)), host.floor, with_network=False)


def begun(model: AnomalyModel) -> float:
    """Return the threshold that a model begins with."""
    return budget_threshold(model.quiet_scores, INTERVAL, BUDGET, model.least_threshold)
