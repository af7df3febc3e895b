"""Real failure histories as rows of the hazard networks: what may be learned from, and what is to be told.

Enters: the npz of a data set and the units of its task. Leaves: fleets, units that are watched together, each with its
failures and its events by kind. Only shapes differ between the sets; what a row is made of is the same for all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detectors.event_features import Times, memory, tempo, thinned
from detectors.event_simulator import within
from detectors.network import Float32

Integers = NDArray[np.integer]
Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)  # no slots: what is derived from the times is kept
class Fleet:
    """Units that are watched together from `start` to `end`: of each its failures, and its events of each kind."""

    start: float
    end: float
    failures: Mapping[int, Times]
    kinds: Mapping[int, Sequence[Times]]

    @cached_property
    def _thinned(self) -> Mapping[int, Times]:
        return {unit: thinned(times) for unit, times in self.failures.items()}

    @cached_property
    def _together(self) -> Times:
        return np.sort(np.concatenate(list(self._thinned.values())))

    def inputs(self, unit: int, at: Times) -> Float32:
        """Return the inputs (R, I) of `unit` at `at` (R,), ascending."""
        told = tempo(self._thinned[unit], self._together, len(self.failures), self.start, at)
        return np.concatenate([told, memory(self.kinds[unit], at)], axis=1)

    def came(self, unit: int, at: Times) -> Float32:
        """Return whether `unit` failed within each horizon of `at` (R,): (R, 2)."""
        return within(self.failures[unit], at)


def read(folder: Path) -> Arrays:
    """Return the arrays of the one file in `folder`."""
    with np.load(next(iter(sorted(folder.glob("*.npz"))))) as stored:
        return {name: stored[name] for name in stored.files if stored[name].dtype.kind in "iufU"}


def racks(data: Arrays) -> Fleet:
    """Return the racks of bgl: failures, and what else was logged, by facility, as kinds."""
    rack, times, failed = _integers(data["rack"]), _floats(data["t"]), _integers(data["is_failure"]) > 0
    facility = np.where(failed, -1, _integers(data["facility"]))
    names = np.unique(facility)
    units = [int(unit) for unit in np.unique(rack)]
    kinds = {unit: [thinned(times[(rack == unit) & (facility == name)]) for name in names] for unit in units}
    failures = {unit: np.sort(times[(rack == unit) & failed]) for unit in units}
    return Fleet(float(times.min()), float(times.max()), failures, kinds)


def systems(data: Arrays, units: Integers, before: float) -> list[Fleet]:
    """Return the systems of lanl, each with those of `units` that are its, and what failed of it before `before`.

    Kinds are the categories of a failure. A system that was gone before the task begins is learned from as well.
    """
    system, times = _integers(data["system"]), _floats(data["start"])
    unit, category = system * 100_000 + _integers(data["node"]), _integers(data["category"])
    out = []
    for one in np.unique(system):
        mine = system == one
        watched = units[units // 100_000 == one]
        everyone = np.union1d(watched, unit[mine & (times < before)])
        end = before if len(watched) else float(times[mine].max())
        names = range(len(data["category_names"]))
        failures, kinds = {}, {}
        for node in everyone:
            own = mine & (unit == node)
            failures[int(node)] = np.sort(times[own])
            kinds[int(node)] = [np.sort(times[own & (category == name)]) for name in names]
        if failures:
            out.append(Fleet(float(times[mine].min()), end, failures, kinds))
    return out


def machines(data: Arrays) -> list[Fleet]:
    """Return the machines of pdm, each alone: kinds are failures and maintenance by component, and errors by number."""
    parts = (("fail", "comp"), ("maint", "comp"), ("err", "id"))
    start = float(min(_floats(data[f"{part}_t"]).min() for part in ("fail", "err")))
    end = float(max(_floats(data[f"{part}_t"]).max() for part in ("fail", "err")))
    out = []
    for machine in _integers(data["machine"]):
        times: list[Times] = []
        for part, name in parts:
            mine = _integers(data[f"{part}_machine"]) == machine
            number = _integers(data[f"{part}_{name}"])
            times += [np.sort(_floats(data[f"{part}_t"])[mine & (number == one)]) for one in np.unique(number)]
        failed = np.sort(_floats(data["fail_t"])[_integers(data["fail_machine"]) == machine])
        out.append(Fleet(start, end, {int(machine): failed}, {int(machine): times}))
    return out


def _integers(values: NDArray[np.generic]) -> NDArray[np.int64]:
    return values.astype(np.int64)


def _floats(values: NDArray[np.generic]) -> Times:
    return values.astype(np.float64)
