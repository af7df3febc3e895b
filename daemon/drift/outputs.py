"""Whether what the networks answer still follows the days that were learned from: inputs may drift and mean nothing.

Enters: the raw scores of the anomaly network, out of history.db; what the networks of capacity and failure said by
themselves, tick by tick. Leaves: for each network how many of its answers are judged, and how many drifted. Answers of
capacity and failure are kept here, in memory and in a file, thinned to what a day can be judged by: nobody else keeps
them. A network that is exchanged begins anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import structlog
from numpy.typing import NDArray

from daemon.capacity.state import CapacityState
from daemon.drift.days import DAY_MS, HOUR_MS, LEAST_DAYS, MOST_DAYS, Float32, Int64, days_before, hours_of
from daemon.history import History
from daemon.risk.state import RiskState
from daemon.samples import FLAG_DOUBTFUL, FLAGS_LEFT_OUT
from detectors.drift import HOURS, Verdict, compare, make_reference
from detectors.forecasts import HOURS as BY_THE_HOUR
from detectors.kernels import Backend
from detectors.model_file import ModelError, read_arrays, read_record, write

_log = structlog.get_logger()

MOST_SERIES = 128  # answers of a network: memory is bounded
_A_DAY = {"capacity": HOURS, "failure": 288}  # slots; capacity is forecast by the hour
_KEPT_DAYS = 12  # a model that is promoted was made days ago, and the days before that are asked for
_EDGE_MS = 2 * HOUR_MS
_NAME = "answers"
_MARKS: Mapping[str, object] = {"format": 1, "kind": "answers of networks"}


@dataclass(frozen=True, slots=True)
class Outputs:
    """Of what a network answers `judged` series tell enough, and `drifted` of them drifted; `share` None = too few."""

    share: float | None
    judged: int
    drifted: int

    @classmethod
    def of(cls, verdict: Verdict) -> "Outputs":
        """Count a verdict."""
        return cls(verdict.score(), int(verdict.judged.sum()), int(verdict.drifted.sum()))


NOTHING = Outputs(None, 0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a network answered: `values` (T, S) of the series `names` at `times` (T,), rising; NaN = nothing said.

    `network` tells which one it was: another one's answers are not compared with these.
    """

    names: tuple[str, ...] = ()
    network: int = 0
    times: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    values: Float32 = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    def with_row(self, time_ms: int, said: Mapping[str, float], network: int) -> "Answers":
        """Return it with one row more; those that are newer (the clock was wrong) are dropped."""
        if network != self.network:
            return Answers(network=network).with_row(time_ms, said, network)
        names = (*self.names, *(name for name in said if name not in self.names))[:MOST_SERIES]
        older = self.times < time_ms
        values = np.full((int(older.sum()) + 1, len(names)), np.nan, np.float32)
        values[:-1, : len(self.names)] = self.values[older]
        values[-1] = [said.get(name, np.nan) for name in names]
        return Answers(names, network, np.append(self.times[older], time_ms), values)

    def without_old(self, learned_ms: int | None, now_ms: int) -> "Answers":
        """Return it without what is neither of the last days nor compared with, and without series that ended."""
        if not len(self.times):
            return self
        end_ms, days = days_before(int(self.times[0]), learned_ms)
        # some more, or the first of those days were found to be no whole one, hour by hour fewer
        compared = (self.times >= end_ms - days * DAY_MS - _EDGE_MS) & (self.times < end_ms)
        rows = (self.times > now_ms - _KEPT_DAYS * DAY_MS) | compared
        columns = np.flatnonzero(~np.isnan(self.values[rows]).all(axis=0))
        names = tuple(self.names[place] for place in columns)
        return Answers(names, self.network, self.times[rows], self.values[rows][:, columns])

    def judged(self, backend: Backend, a_day: int, learned_ms: int | None, now_ms: int) -> Outputs:
        """Compare the last day with those before the training, or with the first that there are."""
        if not len(self.times):
            return NOTHING
        end_ms, days = days_before(int(self.times[0]), learned_ms)
        if end_ms + DAY_MS > now_ms:
            return NOTHING
        first_ms, late = end_ms - days * DAY_MS, self.times > now_ms - DAY_MS
        grid = _grid(self.times, self.values, first_ms, days, a_day)
        return Outputs.of(_compared(backend, grid, first_ms, a_day, (self.times[late], self.values[late])))


class NetworkAnswers:
    """The answers of capacity and failure. Called on the event loop, but for `load` and what `copied` returned."""

    def __init__(self) -> None:
        self._kept = {name: Answers() for name in _A_DAY}

    def observe(self, now_ms: int, capacity: CapacityState, risk: RiskState) -> None:
        """Take what is known after a tick; the first of every slot is kept."""
        if risk.said is not None:
            self._take("failure", now_ms, dict(zip(("1 h", "24 h"), risk.said, strict=True)), risk.taught)
        made = [
            (one.resource.name, each)
            for one in capacity.resources
            for each in one.horizons
            if each.horizon is BY_THE_HOUR and each.said is not None
        ]
        if made:
            said = {
                f"{name} {step}": value
                for name, each in made
                for step, value in zip(("first", "last"), each.said or (), strict=True)
            }
            self._take("capacity", max(each.made_ms for _, each in made), said, 0)

    def _take(self, name: str, time_ms: int, said: Mapping[str, float], network: int) -> None:
        kept = self._kept[name]
        slot = DAY_MS // _A_DAY[name]
        if kept.network != network or not len(kept.times) or time_ms // slot != int(kept.times[-1]) // slot:
            self._kept[name] = kept.with_row(time_ms, said, network)

    def forget(self, learned_ms: int | None, now_ms: int) -> None:
        """Drop what no comparison needs any more."""
        self._kept = {name: kept.without_old(learned_ms, now_ms) for name, kept in self._kept.items()}

    def copied(self) -> Mapping[str, Answers]:
        """Return them as they are now."""
        return dict(self._kept)

    def load(self, folder: Path) -> None:
        """Take up what `save` kept; what is damaged is known no more."""
        if not (folder / _NAME).exists():
            return
        try:
            record = read_record(folder / _NAME, "answers of format 1", _MARKS)
            arrays = read_arrays(folder / _NAME, record)
            self._kept = {name: _read(arrays, cast("dict[str, dict[str, object]]", record), name) for name in _A_DAY}
        except (ModelError, KeyError, TypeError, ValueError) as error:
            _log.warning("network_answers_refused", reason=str(error), effect="they are gathered anew")


def save(folder: Path, answers: Mapping[str, Answers]) -> None:
    """Keep answers over a restart. Raises OSError."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, kept in answers.items():
        arrays |= {f"{name}.times": kept.times, f"{name}.values": kept.values}
    told = {name: {"names": list(kept.names), "network": kept.network} for name, kept in answers.items()}
    write(folder, _NAME, arrays, {**_MARKS, **told})


def _read(arrays: Mapping[str, NDArray[np.generic]], record: Mapping[str, dict[str, object]], name: str) -> Answers:
    names = tuple(str(one) for one in cast("Sequence[object]", record[name]["names"]))
    times = arrays[f"{name}.times"].astype(np.int64)
    values = arrays[f"{name}.values"].astype(np.float32)
    if values.shape != (len(times), len(names)) or (np.diff(times) <= 0).any():
        raise ValueError(f"the answers of {name} do not belong together")
    return Answers(names, int(str(record[name]["network"])), times, values)


def answers_drifted(
    answers: Mapping[str, Answers], backend: Backend, learned_ms: int | None, now_ms: int
) -> dict[str, Outputs]:
    """Return what drifted of the answers of each network. Blocks."""
    return {name: kept.judged(backend, _A_DAY[name], learned_ms, now_ms) for name, kept in answers.items()}


def scores_drifted(history: History, backend: Backend, model: int, a_day: int, now_ms: int) -> Outputs:
    """Return whether the raw scores of `model` of the last day drifted from its own first days. Blocks.

    Not known before it has served for four days. `a_day`: slots of a day.
    """
    found = history.table(
        "i8,f4,i8",
        "SELECT time_ms, raw_score, flags FROM samples WHERE model = ? AND raw_score IS NOT NULL AND time_ms <= ?"
        " AND seq > ? ORDER BY seq",
        model,
        now_ms,
        history.lineage_start(),
    )
    times = found["f0"]
    days = int(min((now_ms - DAY_MS - times[0]) // DAY_MS, MOST_DAYS)) if len(times) else 0
    if days < LEAST_DAYS:
        return NOTHING
    scores = found["f1"][:, None]
    usual = (found["f2"] & (FLAGS_LEFT_OUT | FLAG_DOUBTFUL)) == 0
    first_ms = int(times[0])
    late = times > now_ms - DAY_MS
    late[late] = np.diff(times[late] * a_day // DAY_MS, prepend=-1) != 0
    grid = _grid(times[usual], scores[usual], first_ms, days, a_day)
    return Outputs.of(_compared(backend, grid, first_ms, a_day, (times[late], scores[late])))


def _grid(times: Int64, values: Float32, first_ms: int, days: int, a_day: int) -> Float32:
    """Return `values` (T, S) on an even grid of `days` from `first_ms` on (days x a_day, S): the first of each slot."""
    grid = np.full((days * a_day, values.shape[1]), np.nan, np.float32)
    there = (times >= first_ms) & (times < first_ms + days * DAY_MS)
    grid[((times[there] - first_ms) * a_day // DAY_MS)[::-1]] = values[there][::-1]
    return grid


def _compared(backend: Backend, grid: Float32, first_ms: int, a_day: int, last: tuple[Int64, Float32]) -> Verdict:
    """Return the verdict on the `last` times (k,) and values (k, S), against a grid of days from `first_ms` on."""
    hours = hours_of(first_ms + np.arange(len(grid)) * DAY_MS // a_day)
    times, values = last
    return compare(backend, make_reference(grid, hours, a_day), values, hours_of(times), a_day / HOURS)
