"""The stage on which simulated hosts live: one host's factors, and what changes them.

Enters: a seeded generator and the factors (T, 32) of a host that does ordinary things. Leaves: the same, changed in
place. Parameters are drawn from wide ranges; nothing was fitted to recorded data.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.factors import PLACE

Floats = NDArray[np.float64]
Random = np.random.Generator

EXHAUSTIBLE = ("memory", "unit_memory", "space", "inodes", "descriptors", "unit_descriptors", "threads")
_LEAST_SAMPLES, _LEAST_SECONDS, _LONGEST = 8, 45.0, 3000  # of a run-up; what rises faster is a program that starts
NEVER = np.inf


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One host: `rows` (T, 32) in the units of the factors, sampled each `interval_seconds`."""

    random: Random
    rows: Floats
    interval_seconds: float

    def of(self, name: str) -> Floats:
        """Return the factor `name` (T,), to be changed in place."""
        return self.rows[:, PLACE[name]]

    def between(self, low: float, high: float) -> float:
        """Return a number of that range."""
        return float(self.random.uniform(low, high))

    def wide(self, low: float, high: float) -> float:
        """Return a number of that range, every order of magnitude as likely as the next."""
        return float(np.exp(self.random.uniform(np.log(low), np.log(high))))

    def often(self, share: float) -> bool:
        """Return true in a `share` of the cases."""
        return bool(self.random.random() < share)

    def add(self, name: str, much: Floats, begin: int) -> None:
        """Add `much` (n,) to the factor `name` from sample `begin` on."""
        part = self.of(name)[begin : begin + len(much)]
        part += much[: len(part)]


@dataclass(frozen=True, slots=True)
class Episode:
    """What came of a scene: from which sample to which something happens, and at which the host fails (inf = never).

    `since`: the first sample that says anything of what comes.
    """

    begin: int
    end: int
    failed: float = NEVER
    since: int = 20


Kind = Callable[[Scene], Episode]


def stage(scene: Scene, longest: int = _LONGEST) -> tuple[int, int]:
    """Return when an episode begins and ends: anywhere, and as long as it happens to be."""
    width = len(scene.rows)
    shortest = max(_LEAST_SAMPLES, _LEAST_SECONDS / scene.interval_seconds)
    length = int(scene.wide(shortest, min(longest, width - 60)))
    end = int(scene.between(length + 40, width - 1))
    return end - length, end


def ramp(scene: Scene, count: int, begin: float, end: float, *, saturates: bool = False) -> Floats:
    """Return (count,) from `begin` to `end`: a line, a bent one, steps or bursts; most with a little noise."""
    at = np.linspace(0, 1, count)
    if scene.often(0.35) and not saturates:  # what one program writes as fast as it can is a line
        return np.asarray(begin + (end - begin) * at)
    path = at ** scene.wide(0.7, 1.5)
    if saturates:
        path = 1 - np.exp(-at * scene.between(2, 8))
    if scene.often(0.5):
        grain = scene.wide(0.05, 5)
        steps = np.diff(path, prepend=0) * scene.random.gamma(grain, 1 / grain, count)
        path = np.cumsum(steps)
    path /= max(path[-1], 1e-9)
    noise = scene.random.normal(0, scene.wide(1e-4, 0.015), count) * scene.often(0.7)
    return np.asarray(begin + (end - begin) * path + noise * min(1.0, abs(end - begin)))


def load(scene: Scene, begin: int, count: int, strength: float) -> None:
    """Make the processors and disks of a host busy by a share, with what this brings."""
    busy = strength * (1 - 0.1 * scene.random.random(count))
    for name, most in (("cpu", 1.0), ("cpu_pressure", 0.7), ("load", 2.0)):
        scene.add(name, most * busy, begin)
    scene.add("anomaly", 0.3 * strength * scene.random.random(count), begin)


def squeeze(scene: Scene, begin: int, memory: Floats) -> None:
    """Let a host whose memory is used so far swap, page and stall."""
    tight = np.clip((memory - scene.between(0.82, 0.95)) / 0.12, 0, 1.2)
    noise = scene.random.random(len(memory))
    scene.add("swap", 0.9 * np.maximum.accumulate(tight) * scene.between(0.2, 1), begin)
    scene.add("paging", tight**2 * scene.wide(1e5, 1e8) * noise, begin)
    scene.add("major_faults", tight**2 * scene.wide(10, 5000) * noise, begin)
    scene.add("memory_pressure", tight**2 * scene.between(0.05, 0.7) * noise, begin)
    scene.add("io_pressure", tight**2 * scene.between(0, 0.3) * noise, begin)


def events(scene: Scene, count: int, rate: NDArray[np.floating] | float) -> Floats:
    """Return what a counter of events shows (count,), per second, where `rate` of them happen a second."""
    seconds = scene.interval_seconds
    return np.asarray(scene.random.poisson(np.broadcast_to(rate, count) * seconds) / seconds)
