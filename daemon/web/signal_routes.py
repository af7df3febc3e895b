"""The operations of signals: which there are, their past, and what the detectors say of the last sample.

Enters: requests that the guard has let in. Leaves: answers of the snapshot and the signal table, and charts of
history.db, which are read, shaped and compressed in a thread.
"""

import asyncio
import math
import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from aiohttp import web
from pydantic import AwareDatetime, BeforeValidator, Field

from alerting.occurrence import finite
from alerting.render import rfc3339
from daemon.errors import NotFound, StateError, did_you_mean
from daemon.offload import Offload
from daemon.snapshot import Snapshot
from daemon.state import StoredSignal
from daemon.web.alert_answers import evidence_answer
from daemon.web.forecast_answers import FieldProblem
from daemon.web.operations import (
    Count,
    Encoded,
    FieldErrors,
    Operation,
    PageQuery,
    Query,
    pack,
    page_of,
    query_of,
    to_json,
)
from daemon.web.series import DERIVED, SCORE, Buckets, Float64, Wanted, read_series
from daemon.web.series_answers import (
    FindingAnswer,
    FindingsAnswer,
    HistoryAnswer,
    SeriesAnswer,
    SignalAnswer,
    SignalsAnswer,
)

_DAY_MS = 86_400_000
_LATEST_MS = 4_102_444_800_000  # the year 2100
_MOST_SERIES = 20
_AT_ONCE = 2
_SECONDS = 10.0
_GAP = 2.5  # steps without a sample: there time is missing
_DIGITS = 6  # of a value in a chart
_MOST_DIGITS = 15
_DATE = re.compile(r"\d{4}-\d\d-\d\d[Tt ]", re.ASCII)


def _moment(value: object) -> object:
    """Take digits as UTC milliseconds, and no other number: pydantic would guess what it counts."""
    if not isinstance(value, str):
        return value
    if value.isascii() and value.isdecimal() and len(value) <= _MOST_DIGITS:
        return int(value)
    if not _DATE.match(value):
        raise ValueError("a date as RFC 3339 has it, or UTC milliseconds")
    return value


Milliseconds = Annotated[int, Field(ge=0, le=_LATEST_MS)]
Moment = Annotated[Milliseconds | AwareDatetime, BeforeValidator(_moment)]


class SeriesQuery(Query):
    """Which signals, and which span of time."""

    signal: list[Annotated[str, Field(max_length=300)]] = Field(
        min_length=1, max_length=_MOST_SERIES, description=f"A name of /api/v1/signals, or one of {', '.join(DERIVED)}."
    )
    from_: Moment | None = Field(
        None, alias="from", description="RFC 3339, or UTC milliseconds; a day before `to` where nothing is said."
    )
    to: Moment | None = Field(None, description="RFC 3339, or UTC milliseconds; the last sample where nothing is said.")
    points: Count = Field(500, ge=10, le=2000, description="How many buckets at most.")


class SignalsQuery(PageQuery):
    """Which signals."""

    family: str = Field("", max_length=100, description="Only of this subject: cpu, disk, ...")
    search: str = Field("", max_length=200, description="Only those whose name has this in it.")


@dataclass(frozen=True, slots=True)
class SignalRoutes:
    """`history` is the file, `signals` reads the table of signals (it blocks)."""

    history: Path
    signals: Callable[[], list[StoredSignal]]
    snapshot: Callable[[], Snapshot | None]
    offload: Offload
    interval_seconds: float
    score_threshold: Callable[[], float]
    now_ms: Callable[[], int]
    # charts must not take every thread for blocking work: the tick needs one
    reading: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    def table(self) -> list[Operation]:
        """Return the operations."""
        return [
            Operation(
                "GET", "/api/v1/signals", "listSignals", "All signals that were measured here, with their last values.",
                self._list, answer=SignalsAnswer, query=SignalsQuery, errors=(503,),
            ),
            Operation(
                "GET", "/api/v1/series", "getSeries", "The past of signals and of the anomaly score, for a chart.",
                self._series, answer=HistoryAnswer, query=SeriesQuery, errors=(404, 503),
            ),
            Operation(
                "GET", "/api/v1/findings", "listFindings", "What the detectors say of the last sample.",
                self._findings, answer=FindingsAnswer, query=PageQuery,
            ),
        ]  # fmt: skip

    async def _list(self, request: web.Request) -> SignalsAnswer:
        asked = query_of(request, SignalsQuery)
        known = await self._known()
        snapshot = self.snapshot()
        values = {spec.name: value for spec, value in snapshot.values} if snapshot else {}
        time_ms = snapshot.time_ms if snapshot else 0
        fitting = [
            one
            for one in known
            if asked.family in {"", one.spec.family} and asked.search.lower() in one.spec.name.lower()
        ]
        page, following = page_of(fitting, lambda one: str(one.id), asked)
        return SignalsAnswer(
            signals=[_signal(one, values.get(one.spec.name, math.nan), time_ms) for one in page],
            total=len(fitting),
            next=following,
        )

    async def _findings(self, request: web.Request) -> FindingsAnswer:
        asked = query_of(request, PageQuery)
        snapshot = self.snapshot()
        found = list(enumerate(snapshot.findings)) if snapshot else []
        page, following = page_of(found, lambda one: str(one[0]), asked)
        return FindingsAnswer(
            at=rfc3339(snapshot.time_ms) if snapshot else None,
            findings=[
                FindingAnswer(
                    alertname=one.alertname,
                    network=one.network,
                    resource=one.resource,
                    strength=one.strength.value,
                    detail=one.detail,
                    score=finite(one.score),
                    threshold=finite(one.threshold),
                    **evidence_answer(one).model_dump(),
                )
                for _, one in page
            ],
            next=following,
        )

    async def _series(self, request: web.Request) -> Encoded:
        asked = query_of(request, SeriesQuery)
        names = list(dict.fromkeys(asked.signal))
        to_ms = self._until_ms() if asked.to is None else _milliseconds(asked.to)
        from_ms = max(0, to_ms - _DAY_MS) if asked.from_ is None else _milliseconds(asked.from_)
        if from_ms >= to_ms:
            raise FieldErrors([FieldProblem(field="from", detail="it must be before `to`")])
        own = [name for name in names if name not in DERIVED]
        ids = _numbers(own, await self._known()) if own else {}
        scores = tuple(name for name in names if name in DERIVED)
        wanted = Wanted(tuple(one.id for one in ids.values()), scores, from_ms, to_ms, asked.points)
        units = {name: one.spec.unit.name.lower() for name, one in ids.items()}
        threshold = self.score_threshold()

        def work() -> Encoded:
            try:
                found = read_series(self.history, wanted, self.interval_seconds, threshold)
            except sqlite3.Error as error:
                raise StateError(f"history.db: {error}") from error
            return pack(history_json(found, wanted, units, names, threshold=threshold))

        async with self.reading:
            return await self.offload.run(work, deadline_seconds=_SECONDS, what="history.db")

    def _until_ms(self) -> int:
        """Return where the past ends: behind the last sample, so that until the next one the answer stays the same."""
        snapshot = self.snapshot()
        return self.now_ms() if snapshot is None else snapshot.time_ms + 1

    async def _known(self) -> list[StoredSignal]:
        return await self.offload.run(self.signals, deadline_seconds=_SECONDS, what="state.db")


def history_json(
    found: Buckets, wanted: Wanted, units: Mapping[str, str], order: Sequence[str], *, threshold: float
) -> bytes:
    """Return buckets as the interface tells them; `units` of the signals by name, in the order of `wanted`.

    It is a `HistoryAnswer`, its series written one after the other: as lists of numbers all of them take megabytes.
    """
    columns = (*units, *wanted.scores)
    gaps = 1 + np.flatnonzero(np.diff(found.times_ms) > _GAP * max(found.step_ms, 1))
    times = np.insert(found.times_ms, gaps, found.times_ms[gaps - 1] + found.step_ms)
    figures = [np.insert(_short(table), gaps, np.nan, axis=0) for table in (found.mean, found.least, found.greatest)]
    place = {name: column for column, name in enumerate(columns)}
    answer = HistoryAnswer(
        from_ms=wanted.from_ms,
        to_ms=wanted.to_ms,
        step_seconds=found.step_ms / 1000,
        source_seconds=found.source_seconds,
        times_ms=times.tolist(),
        series=[],
        missing=[name for name in order if np.isnan(found.mean[:, place[name]]).all()],
    )
    before, empty, after = to_json(answer).partition(b'"series":[]')
    series = (to_json(_series(name, units, threshold, [each[:, place[name]] for each in figures])) for name in order)
    return b"".join((before, empty[:-1], b",".join(series), b"]", after))


def _series(name: str, units: Mapping[str, str], threshold: float, figures: Sequence[Float64]) -> SeriesAnswer:
    mean, least, greatest = (_listed(values) for values in figures)
    return SeriesAnswer(
        signal=name,
        unit=units.get(name, "ratio" if name in {SCORE, DERIVED[3]} else "score"),
        threshold=threshold if name == SCORE else None,
        mean=mean,
        min=least,
        max=greatest,
    )


def _numbers(names: list[str], known: list[StoredSignal]) -> dict[str, StoredSignal]:
    """Return the signals of these names. Raises NotFound, with the nearest name."""
    by_name = {one.spec.name: one for one in known}
    for name in names:
        if name not in by_name:
            hint = did_you_mean(name, by_name, "see /api/v1/signals")
            raise NotFound(f'there is no signal "{name[:100]}"; {hint}')
    return {name: by_name[name] for name in names}


def _milliseconds(moment: "int | AwareDatetime") -> int:
    return moment if isinstance(moment, int) else max(0, int(moment.timestamp() * 1000))


def _signal(one: StoredSignal, value: float, time_ms: int) -> SignalAnswer:
    return SignalAnswer(
        id=one.id,
        name=one.spec.name,
        unit=one.spec.unit.name.lower(),
        kind=one.spec.kind.value,
        family=one.spec.family,
        resource=one.spec.resource,
        value=finite(value),
        first_seen_at=rfc3339(one.first_seen_ms),
        last_seen_at=rfc3339(one.last_seen_ms if math.isnan(value) else max(one.last_seen_ms, time_ms)),
    )


def _short(values: Float64) -> Float64:
    """Return the values with six digits: a chart shows no more, and the answer is half as long."""
    with np.errstate(divide="ignore", invalid="ignore"):
        places = _DIGITS - 1 - np.floor(np.log10(np.abs(values)))
    places = np.where(np.isfinite(places), places, 0.0)
    up, down = 10.0 ** np.clip(places, 0, 300), 10.0 ** np.clip(-places, 0, 300)
    return np.asarray(np.where(places >= 0, np.round(values * up) / up, np.round(values / down) * down))


def _listed(values: Float64) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]
