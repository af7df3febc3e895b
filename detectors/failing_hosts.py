"""Simulated hosts to learn failures from: seeded, quiet, loud and failing ones, and of no machine.

Enters: a seed, how many, and which kinds of faults. Leaves: for each host moments, features of what was known then
(512), and whether it failed within an hour and within a day. Recorded data is never read.

How often hosts fail here is made up: a risk that was learned from them is calibrated on these hosts, and the real rate
of a host is known from its own events alone.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from detectors.factor_features import SPAN, WINDOWS, features, levels, lines
from detectors.factors import COUNT, PLACE
from detectors.failing_kinds import FAULTS
from detectors.failing_scene import EXHAUSTIBLE, Episode, Scene
from detectors.harmless_kinds import HARMLESS

Floats = NDArray[np.float64]
Float32 = NDArray[np.float32]
Random = np.random.Generator

HORIZONS = (3600.0, 86_400.0)
WIDTH = 4320  # samples of a host
INTERVALS = (30.0, 1.0)
_FAILING = 0.3
_EPISODE, _LATE, _BEFORE = 4, 3, 1  # moments of a host: within its episode, in the last part of it, and before it
_LAST = 0.4  # of an episode
_UNFORESEEABLE, _HARMLESS_COUNT = 0.1, 8.0  # how much a moment counts: of harmless hosts there are more
_DAY = 86_400.0
_KEPT = 28 * _DAY  # past failures count for so long
_JUDGED = 240  # samples over which a resource's growth is judged
_NOTABLE = 0.01
_FOLLOWED = 0.1  # of a unit's limit

_SHARES = (
    "swap", "cpu", "disk", "cpu_pressure", "memory_pressure", "io_pressure", "retransmits", "unreachable", "anomaly",
    "read_only",
)  # fmt: skip

# what a host may have no source for, together
_GROUPS: tuple[tuple[float, tuple[str, ...]], ...] = (
    (0.35, ("cpu_pressure", "memory_pressure", "io_pressure")),
    (0.4, ("swap", "paging")),
    (0.4, ("kernel_errors", "journal_errors")),
    (0.4, ("unit_memory", "unit_descriptors")),
    (0.3, ("restarts",)),
    (0.6, ("temperature",)),
    (0.5, ("connect", "unreachable")),
    (0.3, ("anomaly",)),
    (0.5, ("expected_full",)),
    (0.3, ("failures", "failure_age")),
    (0.2, ("interface_errors", "resets", "retransmits")),
    (0.15, ("disk", "disk_latency")),
    (0.15, ("inodes",)),
    (0.15, ("threads", "descriptors")),
    (0.1, ("oom_kills", "major_faults")),
)


@dataclass(frozen=True, slots=True, eq=False)
class Hosts:
    """N hosts: `values` (N, W, 32), NaN = missing, the `episode` and the kind of each, all at one interval."""

    values: Floats
    interval_seconds: float
    kinds: tuple[str, ...]
    episodes: tuple[Episode, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """M moments: `inputs` (M, 512), `targets` (M, 2) of both horizons, the place of its `kind` in KINDS and its `host`.

    `rule` (M,): what a straight line says, see `line_rule`. `weights` (M,): how much each counts; one that is before
    anything can be seen of a failure to come counts little, or every quiet hour would be suspected.
    """

    inputs: Float32
    targets: Float32
    kind: NDArray[np.int64]
    host: NDArray[np.int64]
    rule: Floats
    weights: Float32

    def some(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> "Moments":
        """Return those that `which` (M,) marks or numbers."""
        return Moments(*(getattr(self, one.name)[which] for one in fields(self)))


KINDS = (*FAULTS, *HARMLESS)


def hosts(
    seed: int, count: int, interval_seconds: float = 30.0, without: Collection[str] = (), only: Sequence[str] = ()
) -> Hosts:
    """Return `count` hosts by `seed`; none has a fault of the kinds `without`, or all are of the kinds `only`."""
    random = np.random.default_rng([seed, int(interval_seconds), 7])
    values = _ordinary(random, count, interval_seconds)
    kinds, episodes = [], []
    for host in range(count):
        kind = _drawn(random, without) if not only else only[host % len(only)]
        scene = Scene(random, values[host], interval_seconds)
        happens = (FAULTS.get(kind) or HARMLESS[kind])[1]
        episodes.append(happens(scene))
        kinds.append(kind)
    _bounded(values)
    _expected(random, values, interval_seconds)
    for host, episode in enumerate(episodes):
        _unseen(random, values[host], kinds[host], episode.begin)
    return Hosts(values, interval_seconds, tuple(kinds), tuple(episodes))


def _drawn(random: Random, without: Collection[str]) -> str:
    table = FAULTS if random.random() < _FAILING else HARMLESS
    names = [name for name in table if name not in without]
    weights = np.array([table[name][0] for name in names])
    return str(names[int(random.choice(len(names), p=weights / weights.sum()))])


def moments(known: Hosts, seed: int, first: int = 0) -> Moments:
    """Return moments of hosts, most of them within what happens to them; hosts are numbered from `first`."""
    random = np.random.default_rng([seed, 8])
    found: list[Moments] = []
    for number, (values, episode, kind) in enumerate(zip(known.values, known.episodes, known.kinds, strict=True)):
        at = _drawn_moments(random, episode, int(np.isfinite(values).any(axis=1).argmax()))
        windows = np.stack([window(values, int(one)) for one in at])
        interval = known.interval_seconds
        left = (episode.failed - at) * interval
        found.append(
            Moments(
                features(windows, interval),
                np.stack([(left > 0) & (left <= horizon) for horizon in HORIZONS], axis=1).astype(np.float32),
                np.full(len(at), KINDS.index(kind)),
                np.full(len(at), first + number),
                line_rule(windows, interval),
                _counted(at, kind, episode),
            )
        )
    return _joined(found)


def _drawn_moments(random: Random, episode: Episode, watched: int) -> NDArray[np.int64]:
    """Return moments (8,) of a host: before its episode one, and more of the end, where it is decided.

    `watched`: the first sample that is known.
    """
    first, last = episode.begin + 1, max(int(min(episode.failed, episode.end + 1)) - 1, episode.begin + 1)
    late = int(last - _LAST * (last - first))
    since = max(episode.since, min(watched + 3, episode.begin))
    before = random.integers(since, max(episode.begin, since) + 1, _BEFORE)
    at = [random.integers(first, last + 1, _EPISODE), random.integers(late, last + 1, _LATE), before]
    return np.maximum(np.concatenate(at), 5)


def _counted(at: NDArray[np.int64], kind: str, episode: Episode) -> Float32:
    """Return how much each moment counts (M,): those of the end are drawn more often and count less."""
    last = min(episode.failed, episode.end + 1) - 1
    ends = at >= last - _LAST * (last - episode.begin - 1)
    share = _EPISODE / (_EPISODE + _LATE)
    even = np.where(ends, 1 / (share + (1 - share) / _LAST), 1 / share)
    if kind in HARMLESS:
        return np.asarray(_HARMLESS_COUNT * even, np.float32)
    unforeseeable = (at <= episode.begin) | (kind == "sudden")
    return np.where(unforeseeable, _UNFORESEEABLE, even).astype(np.float32)


def simulated(seed: int, count: int, without: Collection[str] = (), only: Sequence[str] = ()) -> Moments:
    """Return the moments of about `count` hosts at 30 s and at 1 s, by `seed`."""
    found, size = [], 24
    for at in range(-(-count // size)):
        interval = INTERVALS[at % len(INTERVALS)]
        found.append(moments(hosts(seed * 1000 + at, size, interval, without, only), seed * 1000 + at, at * size))
    return _joined(found)


def _joined(found: Sequence[Moments]) -> Moments:
    return Moments(*(np.concatenate([getattr(one, name.name) for one in found]) for name in fields(Moments)))


def window(values: Floats, at: int) -> Floats:
    """Return the samples (2880, 32) up to `at`, NaN before the first."""
    out = np.full((SPAN, COUNT), np.nan)
    known = values[max(at + 1 - SPAN, 0) : at + 1]
    out[SPAN - len(known) :] = known
    return out


def line_rule(windows: Floats, interval_seconds: float) -> Floats:
    """Return the rule of most alerting systems (M,), as a score: a line through the last 240 samples, to the limit.

    What Prometheus calls predict_linear, over every factor that has a limit: 0 = never, higher = sooner.
    """
    recent = levels(windows[..., -WINDOWS[-1] :, :])
    drawn = lines(recent)
    last = np.nan_to_num(recent[..., -1, :])
    limited = [PLACE[name] for name in (*EXHAUSTIBLE, "swap", "temperature")]
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(drawn.slope > 0, np.maximum(1 - last, 0) / drawn.slope * interval_seconds, np.inf)
    soonest = left[..., limited].min(axis=-1)
    return np.asarray(1 / (1 + soonest / 3600.0))


def _ordinary(random: Random, count: int, interval_seconds: float) -> Floats:
    """Return what ordinary hosts do (N, W, 32): a day's rhythm, load that comes and goes, and little else."""
    size = (count, WIDTH)

    def base(low: float, high: float) -> Floats:
        return random.uniform(low, high, (count, 1))

    def wide(low: float, high: float) -> Floats:
        return np.exp(random.uniform(np.log(low), np.log(high), (count, 1)))

    def some(share: float) -> Floats:
        return (random.random((count, 1)) < share).astype(np.float64)

    def rare(share: Floats) -> Floats:
        return np.asarray((random.random(size) < share) * random.exponential(1, size))

    def slow(memory: float) -> Floats:
        return _followed(random.normal(0, (1 - memory**2) ** 0.5, size), memory)

    day = 2 * np.pi * np.arange(WIDTH) * interval_seconds / _DAY
    wave = np.sin(day + base(0, 6.3)) * base(0, 1)
    lasting, brief = slow(0.99), slow(0.8)
    load = 1 / (1 + np.exp(-(base(-4, 0.5) + wave + 0.5 * lasting + wide(0.1, 0.8) * brief)))
    disk = np.clip(load * base(0, 1) + rare(wide(0.001, 0.1)) * 0.1, 0, 1)
    touched = slow(0.9) < base(-3, 3)  # a disk that is idle for a whole sample took no time to answer
    out = np.zeros((count, WIDTH, COUNT))
    made = {
        "memory": base(0.1, 0.8) + 0.06 * load + wide(1e-4, 0.03) * slow(0.995) + wide(1e-5, 1e-3) * brief,
        "unit_memory": base(0.05, 0.85) + wide(1e-4, 0.03) * slow(0.995),
        "swap": some(0.5) * (base(0, 0.5) + 1e-3 * lasting),
        "paging": rare(some(0.4) * wide(0.001, 0.05)) * wide(1e3, 1e6),
        "major_faults": rare(wide(0.01, 0.5)) * wide(0.05, 20),
        "cpu_pressure": base(0, 0.3) * load**2 + 0.002 * random.random(size),
        "memory_pressure": rare(some(0.2) * 0.005) * 0.005,
        "io_pressure": disk * base(0, 0.3) * random.random(size),
        "cpu": load,
        "load": load * base(0.5, 2) + 0.05 * random.random(size),
        "space": base(0.05, 0.95) + wide(1e-5, 3e-3) * np.arange(WIDTH) / WIDTH + 1e-4 * brief,
        "inodes": base(0.01, 0.6) + wide(1e-6, 1e-3) * slow(0.99),
        "read_only": some(0.03) + np.zeros(size),
        "descriptors": wide(5e-4, 0.3) * (1 + 0.1 * load + 0.02 * brief),
        "unit_descriptors": wide(0.005, 0.8) * (1 + 0.1 * load + wide(1e-3, 0.1) * slow(0.98)),
        "threads": wide(2e-3, 0.3) * (1 + 0.1 * load + 0.01 * brief),
        "disk_latency": touched * wide(1e-4, 0.01) * (1 + 5 * disk) * random.gamma(2, 0.5, size),
        "disk": disk,
        "connect": wide(2e-4, 0.05) * random.gamma(5, 0.2, size) * (1 + 10 * rare(wide(0.001, 0.02))),
        "retransmits": rare(wide(0.01, 0.3)) * wide(1e-4, 0.01),
        "interface_errors": some(0.15) * wide(0.01, 5) * random.random(size),
        "resets": rare(wide(0.02, 1.0)) * wide(0.01, 1),
        "temperature": base(28, 60) + base(5, 25) * _followed(0.05 * load, 0.95) + 0.5 * np.round(brief),
        "restarts": (random.random(size) < some(0.5) * wide(5e-5, 1e-3)) / interval_seconds,
        "kernel_errors": (random.random(size) < some(0.5) * wide(1e-4, 1e-2)) / interval_seconds,
        "journal_errors": rare(wide(1e-3, 0.2)) * wide(0.01, 1),
        "unreachable": np.maximum(random.random(size) < some(0.4) * wide(1e-4, 0.02), some(0.03)),
        "anomaly": 0.25 + 0.1 * lasting + 0.05 * brief + 0.3 * rare(np.full((count, 1), 0.003)),
    }
    for name, values in made.items():
        out[:, :, PLACE[name]] = values
    age = wide(1000, 60 * _DAY) + np.arange(WIDTH) * interval_seconds
    failed = some(0.35) > 0
    out[:, :, PLACE["failure_age"]] = np.where(failed, age, np.nan)
    out[:, :, PLACE["failures"]] = np.where(failed & (age < _KEPT), np.ceil(wide(0.3, 6)), 0)
    return out


def _followed(values: Floats, memory: float) -> Floats:
    """Return the autoregression (N, W) that `values` drive."""
    out = np.empty_like(values)
    level = values[:, 0] / max(1 - memory, 1e-3) ** 0.5 if memory < 1 else values[:, 0]
    for at in range(values.shape[1]):
        level = memory * level + values[:, at]
        out[:, at] = level
    return out


def _bounded(values: Floats) -> None:
    """Bring everything back to what can be measured."""
    shares = [PLACE[name] for name in (*EXHAUSTIBLE, *_SHARES)]
    values[:, :, shares] = np.clip(values[:, :, shares], 0, 1)
    np.maximum(values, 0, out=values)


def _expected(random: Random, values: Floats, interval_seconds: float) -> None:
    """Fill in what a capacity forecast says: the chance that something is full within a day, by how far it has grown.

    As `detectors.growth` has it: what has grown by `a` grows by another `f` with probability a / (a + f).
    """
    used = values[:, :, [PLACE[name] for name in ("memory", "space", "inodes", "descriptors")]]
    grown = used - used[:, np.maximum(np.arange(WIDTH) - _JUDGED, 0)]
    ahead = used + grown * _DAY / interval_seconds / _JUDGED
    goes_on = grown / np.maximum(grown + 1 - used, 1e-9)
    chance = np.where((grown > _NOTABLE) & (ahead > 1), goes_on, 0).max(axis=2)
    trusted = random.uniform(0.3, 1.0, (len(values), 1))
    values[:, :, PLACE["expected_full"]] = np.clip(trusted * chance, 0, 1)


def _unseen(random: Random, rows: Floats, kind: str, begin: int) -> None:
    """Take away what a host has no source for, what was before it was watched, and single samples."""
    for share, names in _GROUPS:
        told = {"restart_loop": "restarts", "thermal": "temperature", "again": "failures"}.get(kind, kind)
        if told not in names and random.random() < share:  # what the fault is about is seen, or it would be sudden
            rows[:, [PLACE[name] for name in names]] = np.nan
    if random.random() < 0.6:  # noqa: PLR2004 - most are watched since lately
        watched = np.exp(random.uniform(np.log(5), np.log(max(begin, 6))))
        rows[: max(int(begin - watched), 0)] = np.nan
    if random.random() < 0.5:  # noqa: PLR2004 - units far from their limit are not followed
        units = rows[:, [PLACE["unit_memory"], PLACE["unit_descriptors"]]]
        rows[:, [PLACE["unit_memory"], PLACE["unit_descriptors"]]] = np.where(units < _FOLLOWED, np.nan, units)
    if random.random() < 0.2:  # noqa: PLR2004
        rows[random.random(rows.shape) < 0.02] = np.nan  # noqa: PLR2004
