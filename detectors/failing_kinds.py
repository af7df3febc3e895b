"""What happens to simulated hosts: faults that end in a failure, and what only looks like one.

Enters: a `Scene`, the factors (T, 32) of one host that until now does ordinary things. Leaves: the same, changed in
place, and when the episode begins and the host fails, if it does. Parameters are drawn from wide ranges; nothing was
fitted to recorded data. Every fault has its harmless twin: growth that stops, load that ends, chatter that means
nothing; without them a network would learn that whatever moves is a failure.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from detectors.factors import PLACE

Floats = NDArray[np.float64]
Random = np.random.Generator

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
    """What came of a scene: from which sample to which something happens, and at which the host fails (inf = never)."""

    begin: int
    end: int
    failed: float = NEVER


Kind = Callable[[Scene], Episode]


def _stage(scene: Scene, longest: int = _LONGEST) -> tuple[int, int]:
    """Return when an episode begins and ends: anywhere, and as long as it happens to be."""
    width = len(scene.rows)
    shortest = max(_LEAST_SAMPLES, _LEAST_SECONDS / scene.interval_seconds)
    length = int(scene.wide(shortest, min(longest, width - 60)))
    end = int(scene.between(length + 40, width - 1))
    return end - length, end


def ramp(scene: Scene, count: int, begin: float, end: float, *, saturates: bool = False) -> Floats:
    """Return (count,) from `begin` to `end`: a line, a bent one, steps or bursts, with little noise."""
    at = np.linspace(0, 1, count)
    bend = scene.wide(0.7, 1.5) if scene.often(0.5) else 1.0
    path = at**bend
    if saturates:
        path = 1 - np.exp(-at * scene.between(2, 8))
    if scene.often(0.5):
        grain = scene.wide(0.05, 5)
        steps = np.diff(path, prepend=0) * scene.random.gamma(grain, 1 / grain, count)
        path = np.cumsum(steps)
    path /= max(path[-1], 1e-9)
    noise = scene.random.normal(0, scene.wide(1e-4, 0.015), count) * (scene.often(0.7))
    return np.asarray(begin + (end - begin) * path + noise * min(1.0, abs(end - begin)))


def _load(scene: Scene, begin: int, count: int, strength: float) -> None:
    """Make the processors and disks of a host busy by a share, with what this brings."""
    busy = strength * (1 - 0.1 * scene.random.random(count))
    for name, most in (("cpu", 1.0), ("cpu_pressure", 0.7), ("load", 2.0)):
        scene.add(name, most * busy, begin)
    scene.add("anomaly", 0.3 * strength * scene.random.random(count), begin)


def _squeeze(scene: Scene, begin: int, memory: Floats) -> None:
    """Let a host whose memory is used so far swap, page and stall."""
    tight = np.clip((memory - scene.between(0.82, 0.95)) / 0.12, 0, 1.2)
    noise = scene.random.random(len(memory))
    scene.add("swap", 0.9 * np.maximum.accumulate(tight) * scene.between(0.2, 1), begin)
    scene.add("paging", tight**2 * scene.wide(1e5, 1e8) * noise, begin)
    scene.add("major_faults", tight**2 * scene.wide(10, 5000) * noise, begin)
    scene.add("memory_pressure", tight**2 * scene.between(0.05, 0.7) * noise, begin)
    scene.add("io_pressure", tight**2 * scene.between(0, 0.3) * noise, begin)


EXHAUSTIBLE = ("memory", "unit_memory", "space", "inodes", "descriptors", "unit_descriptors", "threads")


def _exhausts(name: str) -> Kind:
    """What is used of something grows until nothing is left."""

    def happens(scene: Scene) -> Episode:
        begin, end = _stage(scene)
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
            _squeeze(scene, begin, grown)
        elif name == "unit_memory":
            scene.add("memory", (grown - low) * scene.between(0.01, 0.4), begin)
            scene.add("memory_pressure", np.clip(grown - 0.97, 0, 1) * scene.between(0, 10), begin)
        elif name == "space":
            _load(scene, begin, end - begin, scene.between(0, 0.3))
            scene.add("disk", np.full(end - begin, scene.between(0, 0.8)), begin)
        elif name == "unit_descriptors":
            scene.add("descriptors", (grown - low) * scene.wide(1e-4, 0.05), begin)
        elif name == "threads":
            _load(scene, begin, end - begin, scene.between(0, 0.8))
        if scene.often(0.4):
            scene.add("journal_errors", grown**8 * scene.wide(0.01, 5), begin)
        return Episode(begin, end, end)

    return happens


def _stops(name: str) -> Kind:
    """The same growth, which ends below the limit: a copy, a cache, a program that starts; it stays or is given back."""

    def happens(scene: Scene) -> Episode:
        begin, end = _stage(scene)
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
            _squeeze(scene, begin, series[begin:] * scene.between(0.8, 1))
        elif name == "space":
            scene.add("disk", np.full(end - begin, scene.between(0, 0.9)), begin)
            _load(scene, begin, end - begin, scene.between(0, 0.3))
        return Episode(begin, len(series) - 1)

    return happens


def _sawtooth(scene: Scene) -> Episode:
    """What fills and is emptied again and again: collected garbage, rotated logs, stress that maps and unmaps."""
    series = scene.of(EXHAUSTIBLE[int(scene.random.integers(len(EXHAUSTIBLE)))])
    begin, end = (20, len(series) - 1) if scene.often(0.6) else _stage(scene)
    low, top = scene.between(0.02, 0.5), scene.between(0.5, 0.975)
    period = scene.wide(3, max(4.0, (end - begin) / 5))
    at = (np.arange(end - begin) / period + scene.random.random()) % 1
    worn = 1 + 0.05 * scene.random.normal(size=end - begin) if scene.often(0.5) else 1.0
    series[begin:end] = np.clip(low + (top - low) * at * worn, 0, 0.985)
    return Episode(begin, end)


def _stress(scene: Scene) -> Episode:
    """Everything at full load, and no harm: processors, memory that is taken at once, disks, files, forks."""
    begin, end = _stage(scene)
    count = end - begin
    ends = slice(begin, end)
    if scene.often(0.8):
        _load(scene, begin, count, scene.between(0.5, 1))
        scene.add("load", np.full(count, scene.wide(0.5, 30)), begin)
        scene.add("cpu_pressure", np.full(count, scene.between(0, 0.6)), begin)
        scene.add("temperature", np.minimum(np.arange(count) / scene.wide(5, 200), 1) * scene.between(0, 20), begin)
    if scene.often(0.5):
        top = scene.between(0.5, 0.97)
        taken = np.minimum(np.arange(count) / scene.wide(1, 40), 1)
        level = scene.of("memory")[ends]
        waves = 1 - scene.between(0, 0.7) * (np.arange(count) / scene.wide(2, 60) % 1) * scene.often(0.6)
        level[:] = np.clip(level + (top - level) * taken * waves, 0, 0.985)
        _squeeze(scene, begin, level * scene.between(0.8, 1.0))
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


def _swap_storm(scene: Scene) -> Episode:
    """More is asked of the memory than there is, for long: paging and stalls rise until the kernel kills."""
    begin, end = _stage(scene, 1500)
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


def _paging(scene: Scene) -> Episode:
    """A host that swaps what it does not need, and goes on."""
    begin, end = _stage(scene)
    strength = scene.between(0.02, 0.4)
    noise = scene.random.exponential(1, end - begin) * (scene.random.random(end - begin) < scene.between(0.05, 1))
    scene.add("paging", strength * noise * scene.wide(1e4, 3e7), begin)
    scene.add("major_faults", strength * noise * scene.wide(10, 2000), begin)
    scene.add("memory_pressure", np.minimum(0.1 * strength * noise, 0.2), begin)
    swap = scene.of("swap")
    swap[begin:] = np.clip(swap[begin:] + scene.between(0, 0.5), 0, 0.95)
    return Episode(begin, end)


def events(scene: Scene, count: int, rate: Floats | float) -> Floats:
    """Return what a counter of events shows (count,), per second, where `rate` of them happen a second."""
    seconds = scene.interval_seconds
    return np.asarray(scene.random.poisson(np.broadcast_to(rate, count) * seconds) / seconds)


def _io_errors(scene: Scene) -> Episode:
    """A disk that dies: errors more and more often, slow answers, at last a file system that is read-only."""
    begin, end = _stage(scene, 2000)
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
    begin, end = _stage(scene, 1500)
    series = scene.of("temperature")
    grown = ramp(scene, end - begin, float(series[begin]), scene.between(96, 103), saturates=scene.often(0.3))
    series[begin:end] = grown
    if scene.often(0.5):
        rate = np.clip(grown - 88, 0, 20) * scene.wide(1e-4, 0.02)
        scene.add("kernel_errors", events(scene, end - begin, rate), begin)
    return Episode(begin, end, end)


def _hot(scene: Scene) -> Episode:
    """A host that works hard and grows hot, as far as it is cooled."""
    begin, end = _stage(scene)
    series = scene.of("temperature")
    low, top = float(series[begin]), scene.between(70, 94)
    series[begin:end] = ramp(scene, end - begin, low, max(low, top), saturates=True)
    series[end:] = low if scene.often(0.5) else series[end - 1]
    _load(scene, begin, end - begin, scene.between(0.3, 1))
    return Episode(begin, len(series) - 1)


def _restart_loop(scene: Scene) -> Episode:
    """A unit that ends and is started again and again, until systemd gives up."""
    begin, end = _stage(scene, 1200)
    count = end - begin
    times = int(scene.between(4, 60))
    period = max(count / times, 1.0)
    at = (np.arange(times) * period + scene.random.random(times) * period * 0.3).astype(np.int64)
    series = np.bincount(np.clip(at, 0, count - 1), minlength=count) / scene.interval_seconds
    scene.add("restarts", series, begin)
    if scene.often(0.8):
        scene.add("journal_errors", series * scene.between(0.5, 10), begin)
    _load(scene, begin, count, scene.between(0, 0.3))
    scene.add("anomaly", np.full(count, scene.between(0, 0.5)), begin)
    return Episode(begin, end, end)


def _deploy(scene: Scene) -> Episode:
    """Something new: a few restarts close together, errors meanwhile, another level of memory after."""
    begin, end = _stage(scene, 300)
    count = end - begin
    series = np.zeros(count)
    some = int(scene.between(1, 4))
    series[np.minimum((scene.random.random(some) * min(count, 20)).astype(np.int64), count - 1)] = (
        1 / scene.interval_seconds
    )
    scene.add("restarts", series, begin)
    scene.add("journal_errors", events(scene, count, np.exp(-np.arange(count) / 5) * scene.wide(0.01, 5)), begin)
    _load(scene, begin, count, scene.between(0, 0.5))
    memory = scene.of("memory")
    memory[begin:] = np.clip(memory[begin:] + scene.between(-0.1, 0.15), 0, 0.96)
    return Episode(begin, min(end + 200, len(memory) - 1))


def _network_decay(scene: Scene) -> Episode:
    """A link or a switch that goes: segments sent again, errors, slow connections, at last none."""
    begin, end = _stage(scene, 2000)
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


def _flaky(scene: Scene) -> Episode:
    """Bursts of what goes wrong on networks, over and over, and nothing comes of it."""
    begin, end = _stage(scene)
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
    begin, end = _stage(scene)
    rate = scene.wide(0.001, 3) * (1 if scene.often(0.5) else scene.random.random(end - begin) < 0.1)  # noqa: PLR2004
    scene.add("journal_errors", events(scene, end - begin, rate), begin)
    if scene.often(0.4):
        scene.add("kernel_errors", events(scene, end - begin, np.asarray(rate) * scene.wide(0.01, 0.5)), begin)
    return Episode(begin, end)


def _backup(scene: Scene) -> Episode:
    """Each night: disks and network busy, files opened, space taken and given back."""
    begin, end = _stage(scene, 600)
    count = end - begin
    _load(scene, begin, count, scene.between(0.1, 0.7))
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


def _full_for_long(scene: Scene) -> Episode:
    """A resource that is nearly all used, as it has been for months."""
    for name in scene.random.choice(EXHAUSTIBLE, 2, replace=False).tolist():
        series = scene.of(name)
        series += scene.between(0.85, 0.985) - float(series[0])
        np.clip(series, 0.8, 0.99, out=series)
    return Episode(len(scene.rows) // 2, len(scene.rows) - 1)


def _quiet(scene: Scene) -> Episode:
    """Nothing."""
    return Episode(len(scene.rows) // 2, len(scene.rows) - 1)


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
    return episode


FAULTS: Mapping[str, tuple[float, Kind]] = MappingProxyType(
    {
        **{name: (2.0, _exhausts(name)) for name in EXHAUSTIBLE},
        "swap_storm": (2.0, _swap_storm),
        "io_errors": (2.0, _io_errors),
        "thermal": (1.0, _thermal),
        "restart_loop": (2.0, _restart_loop),
        "network_decay": (2.0, _network_decay),
        "again": (1.0, _again),
        "sudden": (0.3, _sudden),
    }
)
HARMLESS: Mapping[str, tuple[float, Kind]] = MappingProxyType(
    {
        **{f"{name}_stops": (0.7, _stops(name)) for name in EXHAUSTIBLE},
        "sawtooth": (4.0, _sawtooth),
        "stress": (9.0, _stress),
        "paging": (2.0, _paging),
        "hot": (1.5, _hot),
        "deploy": (3.0, _deploy),
        "flaky": (2.0, _flaky),
        "chatter": (3.0, _chatter),
        "backup": (2.5, _backup),
        "full_for_long": (2.0, _full_for_long),
        "quiet": (12.0, _quiet),
    }
)
