"""What is kept of earlier times to learn from again: a few rows of every regime a host has been in.

Enters: rows that a network was trained on, oldest first. Leaves: rows to mix into a later training, as many of each
regime, however long ago. A regime (normal days, failover, month's end, standby) is told by a small summary: mean and
spread of every input. One that comes again is recognised and joined, not kept twice. Bounded in bytes and regimes:
where another one finds no room, the two that are most alike become one, so that a busy host's many shades cannot crowd
out a standby that was seen once. A reservoir keeps every row of a regime with the same chance. Files are safetensors;
nothing is pickled.
"""

from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from detectors.model_file import ModelError, read_arrays, read_record, write
from detectors.network import Float32

Stamps = NDArray[np.int64]
Floats = NDArray[np.float64]

_MARKS = {"format": 1, "network": "memory"}
_WHAT = "a memory of format 1"
_BLOCKS = 48  # that a training's rows are looked at in: of thirty days, fifteen hours each
_LEAST_BLOCK = 180  # rows: fewer say little of how a host runs
_ALIKE = 0.35  # mean distance in spreads. Blocks of one server are 0.1 to 0.4 from the others of it, of two 0.3 to 0.7
_LEAST_SPREAD = 0.1  # of the widest input's: an input that stood still is not infinitely surprising


@dataclass(frozen=True, slots=True)
class Regime:
    """One way a host runs: `inputs` (K, I), `targets` (K, O) and `stamps` (K,) of the rows kept out of `offered`.

    `centre` and `spread` (I,): mean and standard deviation of all that were offered. `last`: the newest one's stamp.
    """

    inputs: Float32
    targets: Float32
    stamps: Stamps
    offered: int
    centre: Floats
    spread: Floats
    last: int

    def distance(self, inputs: Float32) -> float:
        """Return how far the mean of `inputs` (T, I) is, in spreads, over all inputs (root mean square)."""
        return self._away(inputs.mean(axis=0, dtype=np.float64))

    def apart(self, other: "Regime") -> float:
        """Return how far the two are from each other, as the one says that finds the other nearer."""
        return min(self._away(other.centre), other._away(self.centre))  # noqa: SLF001 - one of its own

    def _away(self, centre: Floats) -> float:
        scale = np.maximum(self.spread, max(_LEAST_SPREAD * float(self.spread.max(initial=0)), 1e-6))
        return float(np.sqrt(np.mean(((centre - self.centre) / scale) ** 2)))


@dataclass(frozen=True, slots=True)
class Recognition:
    """What `Memory.keep` made of rows: how many were new to it, and of which regimes they were.

    `known`: the places, before the call, of those that came again. `new`: how many there are that were not known.
    `unlike`: rows that were like none when they came.
    """

    rows: int
    known: frozenset[int]
    new: int
    unlike: int = 0


class Memory:
    """The regimes, at most `most` of them, in `bytes_` together at most; `until` is the newest stamp it was offered."""

    def __init__(self, width: int, outputs: int, *, bytes_: int = 6_000_000, most: int = 12) -> None:
        self.width = width
        self.outputs = outputs
        self.most = most
        self.rows_each = bytes_ // max(1, most) // (4 * (width + outputs) + 8)
        if self.rows_each < 1 or most < 1:
            raise ValueError(f"{bytes_} bytes hold no row for each of {most} regimes")
        self.regimes: list[Regime] = []
        self.until = -1

    def recognise(self, inputs: Float32) -> int | None:
        """Return which regime rows `inputs` (T, I) are of, None = none that is known."""
        far = [regime.distance(inputs) for regime in self.regimes]
        return int(np.argmin(far)) if far and min(far) <= _ALIKE else None

    def keep(self, inputs: Float32, targets: Float32, stamps: Stamps, rng: "np.random.Generator") -> Recognition:
        """Take in rows `inputs` (T, I), `targets` (T, O) at rising `stamps` (T,); those offered before are passed over.

        Neighbours are taken together, and go to the regime they resemble most, or to a new one. Where that is one too
        many, the two regimes that are most alike become one.
        """
        if inputs.shape != (len(stamps), self.width) or targets.shape != (len(stamps), self.outputs):
            raise ValueError(f"inputs {inputs.shape} and targets {targets.shape} are no rows of this memory")
        fresh = np.flatnonzero(stamps > self.until)
        origins = [frozenset({place}) for place in range(len(self.regimes))]  # of each regime, as places of before
        known, unlike = set[int](), 0
        for block in _blocks(fresh):
            place = self.recognise(inputs[block])
            if place is None:
                place, unlike = len(self.regimes), unlike + len(block)
                self.regimes.append(_nothing(self.width, self.outputs))
                origins.append(frozenset())
            known |= origins[place]
            grown = _joined(self.regimes[place], inputs[block], targets[block], stamps[block])
            self.regimes[place] = self._reservoir(self.regimes[place], grown, rng)
            if len(self.regimes) > self.most:
                first, second = self._most_alike()
                self.regimes[first] = self._united(self.regimes[first], self.regimes.pop(second), rng)
                origins[first] |= origins.pop(second)
        self.until = max(self.until, int(stamps.max(initial=self.until)))
        return Recognition(len(fresh), frozenset(known), sum(not origin for origin in origins), unlike)

    def _most_alike(self) -> tuple[int, int]:
        """Return the places, the lower first, of the two regimes that are nearest to each other."""
        return min(combinations(range(len(self.regimes)), 2), key=lambda two: self._apart(*two))

    def _apart(self, first: int, second: int) -> float:
        return self.regimes[first].apart(self.regimes[second])

    def _united(self, one: Regime, other: Regime, rng: "np.random.Generator") -> Regime:
        """Return both as one: of each as many rows as its share of all that were offered."""
        older, newer = sorted((one, other), key=lambda regime: regime.last)
        room = min(self.rows_each, len(older.stamps) + len(newer.stamps))
        of_older = int(rng.binomial(room, older.offered / (older.offered + newer.offered)))
        of_older = min(max(of_older, room - len(newer.stamps)), len(older.stamps))
        parts = [
            _only(regime, np.sort(rng.permutation(len(regime.stamps))[:count]))
            for regime, count in ((older, of_older), (newer, room - of_older))
        ]
        centre, spread = _summary(older, newer.offered, newer.centre, newer.spread)
        return Regime(
            np.concatenate([part.inputs for part in parts]),
            np.concatenate([part.targets for part in parts]),
            np.concatenate([part.stamps for part in parts]),
            older.offered + newer.offered,
            centre,
            spread,
            newer.last,
        )

    def _reservoir(self, before: Regime, grown: Regime, rng: "np.random.Generator") -> Regime:
        """Let the rows that `grown` has more than `before` in: Vitter's algorithm R (ACM TOMS 11, 1985)."""
        held = list(range(len(before.stamps)))
        for place in range(len(before.stamps), len(grown.stamps)):
            if len(held) < self.rows_each:
                held.append(place)
                continue
            number = before.offered + place - len(before.stamps)  # rows offered before this one
            drawn = int(rng.integers(number + 1))
            if drawn < self.rows_each:
                held[drawn] = place
        return _only(grown, np.array(held, np.int64))

    def rows(self) -> tuple[Float32, Float32, Stamps]:
        """Return all inputs (M, I), targets (M, O), and of which regime each row is (M,), from 0."""
        if not self.regimes:
            return np.zeros((0, self.width), np.float32), np.zeros((0, self.outputs), np.float32), np.zeros(0, np.int64)
        return (
            np.concatenate([regime.inputs for regime in self.regimes]),
            np.concatenate([regime.targets for regime in self.regimes]),
            np.repeat(np.arange(len(self.regimes)), [len(regime.stamps) for regime in self.regimes]),
        )

    def forget(self, first: int, last: int, learnable: Stamps) -> int:
        """Drop the rows from stamp `first` to `last` that are not among `learnable`; return how many.

        What an operator calls an incident later on was taken in before anybody knew. A regime of nothing else goes.
        """
        before, left = sum(len(regime.stamps) for regime in self.regimes), []
        for regime in self.regimes:
            stays = (regime.stamps < first) | (regime.stamps > last) | np.isin(regime.stamps, learnable)
            if stays.any():
                left.append(_only(regime, np.flatnonzero(stays)))
        self.regimes = left
        return before - sum(len(regime.stamps) for regime in left)

    def save(self, folder: Path, name: str) -> Path:
        """Write the memory as `folder`/`name`. Raises OSError."""
        arrays = {}
        for place, regime in enumerate(self.regimes):
            for key in ("inputs", "targets", "stamps", "centre", "spread"):
                arrays[f"{place}.{key}"] = getattr(regime, key)
        record = {
            **_MARKS,
            "width": self.width,
            "outputs": self.outputs,
            "most": self.most,
            "rows_each": self.rows_each,
            "until": self.until,
            "regimes": [{"offered": regime.offered, "last": regime.last} for regime in self.regimes],
        }
        return write(folder, name, arrays, record)


def load_memory(folder: Path) -> Memory:
    """Read what `Memory.save` wrote. Raises ModelError with the reason."""
    record = read_record(folder, _WHAT, _MARKS)
    arrays = read_arrays(folder, record)
    try:
        width, outputs, most, rows_each = (int(str(record[key])) for key in ("width", "outputs", "most", "rows_each"))
        memory = Memory(width, outputs, bytes_=most * rows_each * (4 * (width + outputs) + 8), most=most)
        memory.until = int(str(record["until"]))
        for place, one in enumerate(cast("list[dict[str, int]]", record["regimes"])):
            inputs, targets, stamps, centre, spread = (
                arrays[f"{place}.{key}"] for key in ("inputs", "targets", "stamps", "centre", "spread")
            )
            regime = Regime(
                inputs.astype(np.float32), targets.astype(np.float32), stamps.astype(np.int64), int(one["offered"]),
                centre.astype(np.float64), spread.astype(np.float64), int(one["last"]),
            )  # fmt: skip
            _check(regime, memory)
            memory.regimes.append(regime)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise ModelError(f"{folder}: {type(error).__name__}: {error}") from error
    return memory


def _check(regime: Regime, memory: Memory) -> None:
    rows = len(regime.stamps)
    fits = regime.inputs.shape == (rows, memory.width) and regime.targets.shape == (rows, memory.outputs)
    summary = regime.centre.shape == regime.spread.shape == (memory.width,)
    numbers = (regime.inputs, regime.targets, regime.centre, regime.spread)
    if not (
        fits
        and summary
        and len(memory.regimes) < memory.most
        and rows <= memory.rows_each
        and all(np.isfinite(one).all() for one in numbers)
    ):
        raise ValueError("a regime's rows do not fit the memory, or are no numbers")


def _blocks(rows: Stamps) -> list[Stamps]:
    """Return `rows` in pieces of neighbours."""
    if not len(rows):
        return []
    size = max(_LEAST_BLOCK, -(-len(rows) // _BLOCKS))
    return [np.asarray(one) for one in np.array_split(rows, max(1, round(len(rows) / size)))]


def _nothing(width: int, outputs: int) -> Regime:
    nowhere = np.zeros(width)
    return Regime(
        np.zeros((0, width), np.float32),
        np.zeros((0, outputs), np.float32),
        np.zeros(0, np.int64),
        0,
        nowhere,
        nowhere,
        -1,
    )


def _joined(regime: Regime, inputs: Float32, targets: Float32, stamps: Stamps) -> Regime:
    """Return `regime` with these rows, all of them still, and in its summary."""
    exact = inputs.astype(np.float64)
    centre, spread = _summary(regime, len(stamps), exact.mean(axis=0), exact.std(axis=0))
    return Regime(
        np.concatenate([regime.inputs, inputs]),
        np.concatenate([regime.targets, targets]),
        np.concatenate([regime.stamps, stamps]),
        regime.offered + len(stamps),
        centre,
        spread,
        int(stamps[-1]),
    )


def _summary(regime: Regime, new: int, centre: Floats, spread: Floats) -> tuple[Floats, Floats]:
    """Return centre and spread of `regime` and `new` rows together (Chan et al., "Updating formulae", 1979)."""
    old, away = regime.offered, centre - regime.centre
    squares = regime.spread**2 * old + spread**2 * new + away**2 * (old * new / (old + new))
    return regime.centre + away * (new / (old + new)), np.sqrt(squares / (old + new))


def _only(regime: Regime, rows: Stamps) -> Regime:
    return replace(regime, inputs=regime.inputs[rows], targets=regime.targets[rows], stamps=regime.stamps[rows])
