"""What happens to simulated hosts and only looks like a fault: growth that stops, load that ends, chatter.

Enters: a `Scene`. Leaves: the scene with it in it, and when it begins and ends. Every fault has its harmless twin;
without them a network would learn that whatever moves is a failure.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from detectors.failing_scene import EXHAUSTIBLE, Episode, Kind, Scene, events, load, ramp, squeeze, stage

# What a host may have of each, in its unit, without harm.
_LITTLE: Mapping[str, float] = MappingProxyType(
    {
        "paging": 1e5,
        "major_faults": 200.0,
        "cpu_pressure": 0.5,
        "memory_pressure": 0.01,
        "io_pressure": 0.1,
        "cpu": 1.0,
        "load": 3.0,
        "disk_latency": 0.02,
        "disk": 1.0,
        "connect": 0.05,
        "retransmits": 0.02,
        "interface_errors": 5.0,
        "resets": 5.0,
        "journal_errors": 1.0,
    }
)


def _stops(name: str) -> Kind:
    """The growth of a fault that ends below the limit: a copy, a cache, a start; it stays or is given back."""

    def happens(scene: Scene) -> Episode:
        begin, end = stage(scene)
        series = scene.of(name)
        if scene.often(0.5):
            series -= max(0.0, float(series[begin]) - scene.between(0.02, 0.6))
            np.maximum(series, 0, out=series)
        low = float(series[begin])
        top = low + (scene.between(0.6, 0.97) - low) * scene.between(0.1, 1)
        top = max(top, low)
        grown = np.clip(ramp(scene, end - begin, low, top, saturates=scene.often(0.5)), 0, 0.985)
        series[begin:end] = grown
        rest = len(series) - end
        kept = scene.often(0.6)
        series[end:] = np.clip((grown[-1] if kept else low) + 0.002 * scene.random.normal(size=rest), 0, 0.985)
        if name == "memory":
            squeeze(scene, begin, series[begin:] * scene.between(0.8, 1))
        elif name == "space" and scene.often(0.5):
            scene.add("disk", np.full(end - begin, scene.between(0, 0.9)), begin)
            load(scene, begin, end - begin, scene.between(0, 0.3))
        return Episode(begin, len(series) - 1)

    return happens


def _sawtooth(scene: Scene) -> Episode:
    """What fills and is emptied again and again: collected garbage, rotated logs, stress that maps and unmaps."""
    series = scene.of(EXHAUSTIBLE[int(scene.random.integers(len(EXHAUSTIBLE)))])
    begin, end = (20, len(series) - 1) if scene.often(0.6) else stage(scene)
    low, top = scene.between(0.02, 0.5), scene.between(0.4, 0.95)
    period = scene.wide(3, max(4.0, (end - begin) / 5))
    at = (np.arange(end - begin) / period + scene.random.random()) % 1
    worn = 1 + 0.05 * scene.random.normal(size=end - begin) if scene.often(0.5) else 1.0
    series[begin:end] = np.clip(low + (top - low) * at * worn, 0, 0.985)
    return Episode(begin, end)


def _stress(scene: Scene) -> Episode:
    """Everything at full load, and no harm: processors, memory that is taken at once, disks, files, forks."""
    begin, end = stage(scene)
    count = end - begin
    ends = slice(begin, end)
    if scene.often(0.8):
        load(scene, begin, count, scene.between(0.5, 1))
        scene.add("load", np.full(count, scene.wide(0.5, 30)), begin)
        scene.add("cpu_pressure", np.full(count, scene.between(0, 0.6)), begin)
        scene.add("temperature", np.minimum(np.arange(count) / scene.wide(5, 200), 1) * scene.between(0, 20), begin)
    if scene.often(0.5):
        top = scene.between(0.5, 0.97)
        taken = np.minimum(np.arange(count) / scene.wide(1, 20), 1)
        level = scene.of("memory")[ends]
        waves = 1 - scene.between(0, 0.7) * (np.arange(count) / scene.wide(2, 60) % 1) * scene.often(0.6)
        level[:] = np.clip(level + (top - level) * taken * waves, 0, 0.985)
        squeeze(scene, begin, level * scene.between(0.8, 1.0))
    if scene.often(0.5):
        noise = scene.random.random(count)
        scene.add("io_pressure", scene.between(0.1, 0.9) * noise, begin)
        scene.add("disk", np.ones(count), begin)
        scene.add("disk_latency", scene.wide(0.002, 0.5) * noise, begin)
        used = scene.of("space")[ends]
        hump = scene.between(0, 0.3) * (np.arange(count) / scene.wide(5, 200) % 1)
        used[:] = np.minimum(used + hump, 0.985)
    if scene.often(0.3):
        for name in ("descriptors", "threads", "unit_descriptors"):
            scene.add(name, scene.between(0, 0.5) * scene.random.random(count), begin)
    scene.add("anomaly", np.full(count, scene.between(0, 0.8)), begin)
    return Episode(begin, end)


def _paging(scene: Scene) -> Episode:
    """A host that swaps what it does not need, and goes on."""
    begin, end = stage(scene)
    strength = scene.between(0.02, 0.4)
    noise = scene.random.exponential(1, end - begin) * (scene.random.random(end - begin) < scene.between(0.05, 1))
    scene.add("paging", strength * noise * scene.wide(1e4, 3e7), begin)
    scene.add("major_faults", strength * noise * scene.wide(10, 2000), begin)
    scene.add("memory_pressure", np.minimum(0.1 * strength * noise, 0.2), begin)
    swap = scene.of("swap")
    swap[begin:] = np.clip(swap[begin:] + scene.between(0, 0.5), 0, 0.95)
    return Episode(begin, end)


def _hot(scene: Scene) -> Episode:
    """A host that works hard and grows hot, as far as it is cooled."""
    begin, end = stage(scene)
    series = scene.of("temperature")
    low, top = float(series[begin]), scene.between(70, 94)
    series[begin:end] = ramp(scene, end - begin, low, max(low, top), saturates=True)
    series[end:] = low if scene.often(0.5) else series[end - 1]
    load(scene, begin, end - begin, scene.between(0.3, 1))
    return Episode(begin, len(series) - 1)


def _deploy(scene: Scene) -> Episode:
    """Something new: a few restarts close together, errors meanwhile, another level of memory after."""
    begin, end = stage(scene, 300)
    count = end - begin
    series = np.zeros(count)
    some = int(scene.between(1, 4))
    series[np.minimum((scene.random.random(some) * min(count, 20)).astype(np.int64), count - 1)] = (
        1 / scene.interval_seconds
    )
    scene.add("restarts", series, begin)
    scene.add("journal_errors", events(scene, count, np.exp(-np.arange(count) / 5) * scene.wide(0.01, 5)), begin)
    load(scene, begin, count, scene.between(0, 0.5))
    memory = scene.of("memory")
    memory[begin:] = np.clip(memory[begin:] + scene.between(-0.1, 0.15), 0, 0.96)
    return Episode(begin, min(end + 200, len(memory) - 1))


def _flaky(scene: Scene) -> Episode:
    """Bursts of what goes wrong on networks, over and over, and nothing comes of it."""
    begin, end = stage(scene)
    bursts = (np.sin(np.arange(end - begin) / scene.wide(2, 200)) > scene.between(-0.5, 0.95)).astype(float)
    noise = bursts * scene.random.exponential(1, end - begin)
    scene.add("retransmits", np.minimum(noise * scene.wide(0.002, 0.15), 1), begin)
    scene.add("interface_errors", noise * scene.wide(0.01, 50), begin)
    scene.add("connect", noise * scene.wide(0.002, 0.7), begin)
    scene.add("resets", noise * scene.wide(0.01, 10), begin)
    if scene.often(0.5):
        scene.add("unreachable", bursts * (scene.random.random(end - begin) < scene.between(0, 0.5)), begin)
    return Episode(begin, end)


def _chatter(scene: Scene) -> Episode:
    """Logs that are full of errors which nobody minds."""
    begin, end = stage(scene)
    rate = scene.wide(0.001, 3) * (1 if scene.often(0.5) else scene.random.random(end - begin) < 0.1)  # noqa: PLR2004
    scene.add("journal_errors", events(scene, end - begin, rate), begin)
    if scene.often(0.4):
        scene.add("kernel_errors", events(scene, end - begin, np.asarray(rate) * scene.wide(0.01, 0.5)), begin)
    return Episode(begin, end)


def _backup(scene: Scene) -> Episode:
    """Each night: disks and network busy, files opened, space taken and given back."""
    begin, end = stage(scene, 600)
    count = end - begin
    load(scene, begin, count, scene.between(0.1, 0.7))
    noise = scene.random.random(count)
    scene.add("disk", scene.between(0.3, 1) * (0.7 + 0.3 * noise), begin)
    scene.add("io_pressure", scene.between(0, 0.6) * noise, begin)
    scene.add("disk_latency", scene.wide(0.001, 0.1) * noise, begin)
    used = scene.of("space")
    rise = scene.between(0, 0.25) * np.linspace(0, 1, count)
    used[begin:end] = np.minimum(used[begin:end] + rise, 0.985)
    if scene.often(0.3):
        used[end:] = np.minimum(used[end:] + rise[-1], 0.985)
    return Episode(begin, min(end + 60, len(used) - 1))


def _recovered(scene: Scene) -> Episode:
    """A failure that is over: something ran out, a program was killed or started again, and all is well since."""
    begin, at = stage(scene)
    name = EXHAUSTIBLE[int(scene.random.integers(len(EXHAUSTIBLE)))]
    series = scene.of(name)
    low = float(series[begin])
    series[begin:at] = np.clip(ramp(scene, at - begin, low, 0.99), 0, 1)
    blip = 1 / scene.interval_seconds
    if name in {"memory", "unit_memory"} or scene.often(0.5):
        scene.add("oom_kills", np.full(1, blip * int(scene.between(1, 4))), at)
        scene.add("kernel_errors", np.full(1, blip * int(scene.between(0, 30))), at)
    if scene.often(0.7):
        scene.add("restarts", np.full(1, blip), at + 1)
        scene.add("journal_errors", np.full(2, blip * scene.between(0, 5)), at)
    since = (np.arange(len(series) - at) + scene.random.random()) * scene.interval_seconds
    scene.of("failure_age")[at:] = since
    scene.of("failures")[at:] += 1
    return Episode(at, len(series) - 1, since=at)


def _full_for_long(scene: Scene) -> Episode:
    """A resource that is nearly all used, as it has been for months."""
    for name in scene.random.choice(EXHAUSTIBLE, 2, replace=False).tolist():
        series = scene.of(name)
        series += scene.between(0.85, 0.985) - float(series[0])
        np.clip(series, 0.8, 0.99, out=series)
    return Episode(len(scene.rows) // 2, len(scene.rows) - 1)


def _stirs(scene: Scene) -> Episode:
    """What was at rest moves a little, again and again or for long: an idle disk is written to, a log has lines."""
    begin, end = stage(scene)
    count = end - begin
    for name in scene.random.choice(tuple(_LITTLE), int(scene.between(1, 4)), replace=False).tolist():
        if scene.often(0.8):
            scene.of(name)[:] = 0
        moved = scene.random.random(count) < scene.wide(0.02, 2)
        much = scene.wide(1e-3, 1) * _LITTLE[name] * scene.random.gamma(3, 1 / 3, count)
        scene.add(name, np.minimum(much, _LITTLE[name]) * moved, begin)
    return Episode(begin, end)


def _quiet(scene: Scene) -> Episode:
    """Nothing."""
    return Episode(len(scene.rows) // 2, len(scene.rows) - 1)


HARMLESS: Mapping[str, tuple[float, Kind]] = MappingProxyType(
    {
        **{f"{name}_stops": (1.0, _stops(name)) for name in EXHAUSTIBLE},
        "sawtooth": (3.5, _sawtooth),
        "stress": (11.0, _stress),
        "paging": (2.0, _paging),
        "hot": (1.5, _hot),
        "deploy": (3.0, _deploy),
        "flaky": (2.0, _flaky),
        "chatter": (3.0, _chatter),
        "backup": (3.5, _backup),
        "recovered": (5.0, _recovered),
        "full_for_long": (2.0, _full_for_long),
        "stirs": (14.0, _stirs),
        "quiet": (12.0, _quiet),
    }
)
