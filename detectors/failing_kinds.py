"""Faults of simulated hosts: each ends in a failure, most with a run-up.

Enters: a `Scene`. Leaves: the scene with the fault in it, and when it begins and the host fails.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from detectors.failing_scene import EXHAUSTIBLE, Episode, Kind, Scene, events, load, ramp, squeeze, stage


def _exhausts(name: str) -> Kind:
    """What is used of something grows until nothing is left."""

    def happens(scene: Scene) -> Episode:
        begin, end = stage(scene)
        series = scene.of(name)
        low = float(series[begin])
        if low > 0.8 and scene.often(0.7):  # noqa: PLR2004 - most begin with room
            series -= low - scene.between(0.05, 0.7)
            np.maximum(series, 0, out=series)
            low = float(series[begin])
        top = scene.between(0.95, 1.0) if name == "memory" else scene.between(0.985, 1.0)
        grown = np.clip(ramp(scene, end - begin, low, top), 0, 1)
        series[begin:end] = grown
        series[end:] = grown[-1]
        if name == "memory":
            squeeze(scene, begin, grown)
        elif name == "unit_memory":
            scene.add("memory", (grown - low) * scene.between(0.01, 0.4), begin)
            scene.add("memory_pressure", np.clip(grown - 0.97, 0, 1) * scene.between(0, 10), begin)
        elif name == "space" and scene.often(0.5):
            load(scene, begin, end - begin, scene.between(0, 0.3))
            scene.add("disk", np.full(end - begin, scene.between(0, 0.8)), begin)
        elif name == "unit_descriptors":
            scene.add("descriptors", (grown - low) * scene.wide(1e-4, 0.05), begin)
        elif name == "threads" and scene.often(0.5):
            load(scene, begin, end - begin, scene.between(0, 0.8))
        if scene.often(0.4):
            scene.add("journal_errors", grown**8 * scene.wide(0.01, 5), begin)
        return Episode(begin, end, end)

    return happens


def _swap_storm(scene: Scene) -> Episode:
    """More is asked of the memory than there is, for long: paging and stalls rise until the kernel kills."""
    begin, end = stage(scene, 1500)
    strength = np.clip(ramp(scene, end - begin, 0.1, 1), 0, 1.2)
    noise = 0.7 + 0.6 * scene.random.random(end - begin)
    scene.of("memory")[begin:] = np.clip(scene.between(0.9, 0.97) + 0.03 * scene.random.random(), 0, 1)
    swap = scene.of("swap")
    swap[begin:end] = np.clip(float(swap[begin]) + (1 - float(swap[begin])) * strength, 0, 1)
    scene.add("paging", strength * noise * scene.wide(1e6, 3e8), begin)
    scene.add("major_faults", strength * noise * scene.wide(100, 20000), begin)
    scene.add("memory_pressure", strength * noise * scene.between(0.3, 0.9), begin)
    scene.add("io_pressure", strength * noise * scene.between(0.1, 0.6), begin)
    scene.add("load", strength * scene.wide(1, 30), begin)
    scene.add("anomaly", strength * 0.6, begin)
    if scene.often(0.3):
        killed = scene.random.random(end - begin) < 0.02  # noqa: PLR2004
        scene.add("oom_kills", killed / scene.interval_seconds, begin)
    return Episode(begin, end, end)


def _io_errors(scene: Scene) -> Episode:
    """A disk that dies: errors more and more often, slow answers, at last a file system that is read-only."""
    begin, end = stage(scene, 2000)
    worse = np.clip(ramp(scene, end - begin, 0.03, 1), 0, 1.5) ** scene.between(1, 3)
    errors = events(scene, end - begin, worse * scene.wide(0.005, 2))
    scene.add("kernel_errors", errors, begin)
    scene.add("journal_errors", errors * scene.between(0, 1), begin)
    slow = worse * scene.random.random(end - begin)
    scene.add("disk_latency", slow * scene.wide(0.02, 5), begin)
    scene.add("io_pressure", slow * scene.between(0, 0.8), begin)
    scene.add("disk", slow * scene.between(0, 0.9), begin)
    scene.add("load", slow * scene.wide(0.2, 10), begin)
    scene.add("anomaly", worse * scene.between(0, 0.7), begin)
    return Episode(begin, end, end)


def _thermal(scene: Scene) -> Episode:
    """A fan that stands still: the temperature comes to where the host turns itself off."""
    begin, end = stage(scene, 1500)
    series = scene.of("temperature")
    grown = ramp(scene, end - begin, float(series[begin]), scene.between(96, 103), saturates=scene.often(0.3))
    series[begin:end] = grown
    if scene.often(0.5):
        rate = np.clip(grown - 88, 0, 20) * scene.wide(1e-4, 0.02)
        scene.add("kernel_errors", events(scene, end - begin, rate), begin)
    return Episode(begin, end, end)


def _restart_loop(scene: Scene) -> Episode:
    """A unit that ends and is started again and again, until systemd gives up."""
    begin, end = stage(scene, 1200)
    count = end - begin
    times = int(scene.between(4, 60))
    period = max(count / times, 1.0)
    at = (np.arange(times) * period + scene.random.random(times) * period * 0.3).astype(np.int64)
    series = np.bincount(np.clip(at, 0, count - 1), minlength=count) / scene.interval_seconds
    scene.add("restarts", series, begin)
    if scene.often(0.8):
        scene.add("journal_errors", series * scene.between(0.5, 10), begin)
    load(scene, begin, count, scene.between(0, 0.3))
    scene.add("anomaly", np.full(count, scene.between(0, 0.5)), begin)
    return Episode(begin, end, end)


def _network_decay(scene: Scene) -> Episode:
    """A link or a switch that goes: segments sent again, errors, slow connections, at last none."""
    begin, end = stage(scene, 2000)
    worse = np.clip(ramp(scene, end - begin, 0.02, 1), 0, 1.5) ** scene.between(0.8, 2)
    noise = 0.4 + 1.2 * scene.random.random(end - begin)
    scene.add("retransmits", worse * noise * scene.between(0.05, 0.5), begin)
    scene.add("interface_errors", worse * noise * scene.wide(0.1, 300), begin)
    scene.add("connect", worse * noise * scene.wide(0.02, 3), begin)
    scene.add("resets", worse * noise * scene.wide(0.05, 20), begin)
    scene.add("unreachable", (scene.random.random(end - begin) < 0.6 * worse - 0.2).astype(float), begin)
    scene.add("journal_errors", worse * noise * scene.wide(0.001, 2), begin)
    scene.add("anomaly", worse * scene.between(0, 0.7), begin)
    return Episode(begin, end, end)


def _sudden(scene: Scene) -> Episode:
    """A failure that nothing announces."""
    end = int(scene.between(100, len(scene.rows) - 1))
    return Episode(max(end - 200, 40), end, end)


def _again(scene: Scene) -> Episode:
    """A host that has failed lately fails again, with no other sign."""
    episode = _sudden(scene)
    begun = scene.wide(600, 40_000)
    scene.of("failure_age")[:] = begun + np.arange(len(scene.rows)) * scene.interval_seconds
    scene.of("failures")[:] = int(scene.between(2, 15))
    if scene.often(0.5):
        scene.add(
            "oom_kills", (scene.random.random(len(scene.rows)) < scene.wide(1e-3, 0.02)) / scene.interval_seconds, 0
        )
    return episode


FAULTS: Mapping[str, tuple[float, Kind]] = MappingProxyType(
    {
        **{name: (3.0, _exhausts(name)) for name in EXHAUSTIBLE},
        "swap_storm": (2.0, _swap_storm),
        "io_errors": (2.0, _io_errors),
        "thermal": (1.0, _thermal),
        "restart_loop": (2.0, _restart_loop),
        "network_decay": (2.0, _network_decay),
        "again": (1.0, _again),
        "sudden": (0.3, _sudden),
    }
)
