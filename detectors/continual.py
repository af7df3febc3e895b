"""How the anomaly network goes on learning: from what it knows, and without forgetting it.

Enters: quiet rows of a host (T, 256), and what the champion left beside its model. Leaves: a network, what it knows
from now on, and figures for the manifest. Two ways are tried where there is something to go on from: anew, and on from
the champion under elastic weights; both replay earlier regimes, and the one that sees drawn faults better, now and in
earlier regimes, serves. Rows like a regime that the network knows and still judges as well are no reason to learn it
again. Runs in the child.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from detectors import learner
from detectors.anomaly import ARCHITECTURE
from detectors.architectures import CATALOGUE
from detectors.checkpoint import Checkpoints
from detectors.consolidation import Elastic, consolidated, importance
from detectors.kernels import NUMPY, Backend
from detectors.model_file import ModelError, read_arrays, read_record, write
from detectors.network import Float32, Network
from detectors.replay import Memory, Stamps, load_memory

Figures = dict[str, float]

_SIZES = ARCHITECTURE.sizes

# Of the elastic weights (lambda), whose mean importance is 1. Light: beside replay a strong hold keeps the network from
# what is new, and gains nothing (docs/consolidation.md).
STRENGTH = 0.01
DECAY = 0.95  # what was important before counts as much at the next training (gamma)
_IMPORTANT_ROWS = 500  # by which importance is told, and as many raised ones
_QUIET = 0.98  # of quiet rows lie below the line over which a raised row is seen; of 500 rows, not by a few
_SAME = 0.03  # of sight: less is none lost
_LEAST_FRESH = 180  # rows: the sight among fewer is a matter of luck
_MARKS = {"format": 1, "network": "elastic"}
_WHAT = "elastic weights of format 1"
_MEMORY, _ELASTIC = "memory", "elastic"


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What is kept beside a network for those that follow it; the parameters are the anchor of `elastic`."""

    memory: Memory
    elastic: Elastic


@dataclass(frozen=True, slots=True)
class Learned:
    """A network, what it knows, and how it came about, by name."""

    network: Network
    knowledge: Knowledge
    figures: Figures


class Learn(Protocol):
    """How a network comes about from quiet rows: `learn` below, or what it is measured against."""

    def __call__(
        self,
        normals: Float32,
        stamps: Stamps,
        signals: int,
        *,
        seed: int,
        progress: learner.Progress,
        backend: Backend = NUMPY,
    ) -> Learned:
        """Learn from `normals` (T, 256) at rising `stamps` (T,)."""


def learn(
    normals: Float32,
    stamps: Stamps,
    signals: int,
    *,
    seed: int,
    progress: learner.Progress,
    backend: Backend = NUMPY,
    known: Knowledge | None = None,
    checkpoints: Checkpoints | None = None,
) -> Learned:
    """Learn from `normals` (T, 256), T <= 20,000, at rising `stamps` (T,), and from what is `known`.

    The memory of `known` takes the new rows in. With `checkpoints`, what was cut off goes on. Raises TrainingError.
    """
    rng = np.random.default_rng([seed, 11])
    memory = Memory(_SIZES[0], 0) if known is None else known.memory
    replayed, regimes = memory.rows()[0], [regime.inputs for regime in memory.regimes]
    fresh = normals[stamps > memory.until]
    found = memory.keep(normals, np.zeros((len(normals), 0), np.float32), stamps, rng)
    figures: Figures = {"regimes_known": len(found.known), "regimes_new": found.new, "replay_rows": len(replayed)}
    if known is None:
        network = learner.train(normals, signals, _SIZES, seed, progress, backend=backend, checkpoints=checkpoints)
        figures |= {"relearned": 1, "continued": 0}
        return _learned(network, None, memory, normals, signals, seed=seed, figures=figures)
    before = Network(CATALOGUE["anomaly"].architecture, known.elastic.anchor, backend=backend)
    had = Sight.of(before, normals, regimes, signals)
    as_well = min((had.earlier[place] for place in found.known if place < len(regimes)), default=0.0) - _SAME
    # of what came since; a month of several regimes together is harder to see faults in than each by itself
    sees = _seen(before, fresh, signals) if len(fresh) >= _LEAST_FRESH else had.now
    if not found.unlike and sees >= as_well:
        progress(1.0, "this host runs as it has before: the network is kept")
        kept = figures | {"relearned": 0, "continued": 1, "retention": 1.0, "ewc_lambda": 0.0, "sight": had.now}
        return Learned(before, Knowledge(memory, known.elastic), kept)
    ways: dict[str, Callable[[learner.Progress], Network]] = {
        "anew": lambda told: learner.train(
            normals,
            signals,
            _SIZES,
            seed,
            told,
            backend=backend,
            replayed=replayed,
            checkpoints=checkpoints,
        ),
        "on": lambda told: learner.train_on(
            known.elastic, normals, signals, seed, told, backend=backend, replayed=replayed, checkpoints=checkpoints
        ),
    }
    tried = {}
    for place, (name, way) in enumerate(ways.items()):
        try:
            network = way(_part(progress, place, len(ways)))
        except learner.TrainingError as error:
            progress((place + 1) / len(ways), str(error))
        else:
            tried[name] = Sight.of(network, normals, regimes, signals), network
    if not tried:
        raise learner.TrainingError("neither anew nor on from the champion came a usable network")
    chosen = max(tried, key=lambda name: tried[name][0].whole)
    has, network = tried[chosen]
    continued = int(chosen == "on")
    figures |= {
        "relearned": 1,
        "continued": continued,
        "ewc_lambda": continued * known.elastic.strength,
        "retention": has.kept_of(had),
        "sight": has.now,
    }
    return _learned(network, known.elastic, memory, normals, signals, seed=seed, figures=figures)


@dataclass(frozen=True, slots=True)
class Sight:
    """The share of raised rows that a network sees: among the rows of now, and among those of each earlier regime.

    Raised rows are drawn, so that no label is needed. One is seen that scores above all but 2 in 100 quiet rows.
    """

    now: float
    earlier: tuple[float, ...]

    @classmethod
    def of(cls, network: Network, normals: Float32, regimes: Sequence[Float32], signals: int) -> "Sight":
        """Measure on `normals` (T, 256) and on the rows of `regimes` (K, 256)."""
        return cls(_seen(network, normals, signals), tuple(_seen(network, one, signals) for one in regimes))

    @property
    def whole(self) -> float:
        """Of now and of before, each counted half."""
        return self.now if not self.earlier else (self.now + float(np.mean(self.earlier))) / 2

    def kept_of(self, before: "Sight") -> float:
        """Return what is left of the sight of earlier regimes `before`: 1 = all of it."""
        return float(np.sum(self.earlier) / max(float(np.sum(before.earlier)), 1e-9)) if self.earlier else 1.0


def _seen(network: Network, quiet: Float32, signals: int) -> float:
    raised, _ = learner.negatives(quiet, signals, np.random.default_rng(0))
    return float((network.logits(raised)[:, 0] > np.quantile(network.logits(quiet)[:, 0], _QUIET)).mean())


def _learned(
    network: Network,
    before: Elastic | None,
    memory: Memory,
    normals: Float32,
    signals: int,
    *,
    seed: int,
    figures: Figures,
) -> Learned:
    """Hold the network by what matters to these rows and those of before."""
    rng = np.random.default_rng([seed, 12])
    rows = normals[rng.permutation(len(normals))[:_IMPORTANT_ROWS]]
    raised, targets = learner.negatives(rows, signals, rng)
    wanted = np.concatenate([np.zeros(len(rows), np.float32), targets])[:, None]
    loss = CATALOGUE["anomaly"].training.loss
    found = importance(network.architecture, network.parameters, loss, np.concatenate([rows, raised]), wanted)
    elastic = consolidated(before, network.parameters, found, strength=STRENGTH, decay=DECAY)
    return Learned(network, Knowledge(memory, elastic), figures | {"trainings": elastic.trainings})


def _part(progress: learner.Progress, place: int, of: int) -> learner.Progress:
    """Tell the progress of one training of several."""
    return lambda share, text: progress((place + share) / of, text)


def save(folder: Path, knowledge: Knowledge) -> None:
    """Write what a network knows into the folder of its model. Raises OSError."""
    knowledge.memory.save(folder, _MEMORY)
    elastic = knowledge.elastic
    record = {**_MARKS, "strength": elastic.strength, "trainings": elastic.trainings}
    write(folder, _ELASTIC, {"anchor": elastic.anchor, "importance": elastic.importance}, record)


def load(folder: Path) -> Knowledge:
    """Read what the model in `folder` knows. Raises ModelError, also where it is from before there was any."""
    memory = load_memory(folder / _MEMORY)
    record = read_record(folder / _ELASTIC, _WHAT, _MARKS)
    arrays = read_arrays(folder / _ELASTIC, record)
    try:
        anchor, important = (arrays[key].astype(np.float32) for key in ("anchor", "importance"))
        elastic = Elastic(anchor, important, float(str(record["strength"])), int(str(record["trainings"])))
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise ModelError(f"{folder / _ELASTIC}: {type(error).__name__}: {error}") from error
    count = CATALOGUE["anomaly"].architecture.count
    if anchor.shape != (count,) or not np.isfinite(anchor).all() or memory.width != _SIZES[0] or memory.outputs:
        raise ModelError(f"{folder}: what this model knows does not fit its network")
    return Knowledge(memory, elastic)
