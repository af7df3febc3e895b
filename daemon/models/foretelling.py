"""What the networks of capacity and failure would say of numbers that somebody brings.

Enters: points of a resource, or factors of a host, as they were checked (daemon/models/questions). Leaves: forecasts
and risks with their bounds, or what is lacking for them. It computes for some ms a sample, off the loop, and keeps
nothing.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from daemon.capacity.forecasts import needs
from daemon.errors import DeskError
from daemon.models.questions import CapacityBatch, Columns, FailureBatch
from daemon.offload import Offload
from detectors.capacity import CapacityForecaster, Forecasts
from detectors.factors import COUNT, PLACE
from detectors.failure import FailureForecaster, Risk
from detectors.forecasts import HORIZONS, Floats

_NAMED = 5
_CALL_SECONDS = 60.0
_BY_NAME = {horizon.name: horizon for horizon in HORIZONS}


class Foretelling:
    """Answers questions beside the daemon's own forecasts; the networks are brought by `capacity` and `failure`."""

    def __init__(
        self,
        capacity: Callable[[], Awaitable[CapacityForecaster]],
        failure: Callable[[], Awaitable[FailureForecaster]],
        offload: Offload,
        interval_seconds: float,
    ) -> None:
        self._capacity = capacity
        self._failure = failure
        self._offload = offload
        self._interval = interval_seconds

    async def forecast(self, asked: CapacityBatch) -> "list[Told]":
        """Return the forecasts of several resources. Raises PresagedError."""
        work = partial(forecast, await self._capacity(), asked)
        return await self._offload.run(work, deadline_seconds=_CALL_SECONDS, what="forecasts")

    async def judge(self, asked: FailureBatch) -> "list[Judged]":
        """Return the risks of several moments. Raises DeskError, PresagedError."""
        work = partial(judge, await self._failure(), asked, self._interval)
        return await self._offload.run(work, deadline_seconds=_CALL_SECONDS, what="failure risk")


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """A forecast of one resource: `bands` (5, 12) are mean, lo80, hi80, lo95, hi95; None where `missing` says why."""

    horizon: Literal["hours", "days", "months"]
    bands: Floats | None
    methods: tuple[str, ...]
    missing: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Judged:
    """The risk of one moment, and how long it took."""

    risk: Risk
    seconds: float


def forecast(forecaster: CapacityForecaster, asked: CapacityBatch) -> list[Told]:
    """Return the forecasts of several resources; blocks."""
    started = time.perf_counter()
    horizon = _BY_NAME[asked.horizon]
    rows = np.full((len(asked.samples), max(map(len, asked.samples))), np.nan)
    for row, points in zip(rows, asked.samples, strict=True):
        row[-len(points) :] = np.array(points, np.float64)  # None is NaN
    known = np.isfinite(rows).sum(axis=1)
    lacking = [needs(horizon, int(count)) for count in known]
    enough = np.array([not one for one in lacking])
    found: dict[int, tuple[Floats, tuple[str, ...]]] = {}
    if enough.any():
        high = np.inf if asked.high is None else asked.high
        count = int(enough.sum())
        got = forecaster.forecast(rows[enough], horizon, np.full(count, asked.low), np.full(count, high))
        found = dict(zip(np.flatnonzero(enough).tolist(), _each(got), strict=True))
    seconds = (time.perf_counter() - started) / len(rows)
    return [
        Told(asked.horizon, *found[row], missing="", seconds=seconds)
        if row in found and np.isfinite(found[row][0]).all()
        else Told(asked.horizon, None, (), lacking[row] or "the forecast is no number", seconds)
        for row in range(len(rows))
    ]


def _each(got: Forecasts) -> list[tuple[Floats, tuple[str, ...]]]:
    bands = got.bands
    stacked = np.stack([bands.mean, bands.lo80, bands.hi80, bands.lo95, bands.hi95], axis=1)
    return list(zip(stacked, got.methods, strict=True))


def judge(forecaster: FailureForecaster, asked: FailureBatch, interval_seconds: float) -> list[Judged]:
    """Return the risks of several moments, samples `interval_seconds` apart; blocks. Raises DeskError."""
    tables = [_table(columns) for columns in asked.samples]
    out = []
    for table in tables:
        started = time.perf_counter()
        risk = forecaster.risk(table, interval_seconds, events=asked.events)
        out.append(Judged(risk, time.perf_counter() - started))
    return out


def _table(columns: Columns) -> Floats:
    """Return factors (T, 32). Raises DeskError for one that there is not, or of another length."""
    unknown = sorted(columns.keys() - PLACE.keys())
    if unknown:
        raise DeskError(f"factors: there is no {', '.join(unknown[:_NAMED])}; there are {', '.join(PLACE)}")
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        few, many = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
        raise DeskError(f"factors: {few} has {lengths[few]} samples and {many} {lengths[many]}: all are of one length")
    out = np.full((max(lengths.values(), default=0), COUNT), np.nan)
    for name, column in columns.items():
        out[:, PLACE[name]] = np.array(column, np.float64)
    return out
