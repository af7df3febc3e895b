"""What a backtest comes to: its notifications with their lead, its records, its budget, the simple methods beside it.

Enters: a backtest, and perhaps a second one of the same history. Leaves: a report. How it is said stands in
`daemon.backtest.report` and `daemon.backtest.page`.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from alerting.occurrence import Occurrence
from alerting.policy import DRILL, Kept, Severity
from alerting.render import duration
from daemon.backtest.dummies import Dummies, Dummy, Method, dummies
from daemon.backtest.forecasts import judge_forecasts
from daemon.backtest.outcome import BEGAN, ENDED, Beside, Comparison, Firing, Lead, Record, Report, Skipped, Told, Week
from daemon.backtest.result import Backtest, Notification
from detectors.capacity import load_forecaster
from detectors.findings import Contributor, Direction, Unit

LEAD_SECONDS = 86_400.0
NEWEST_RECORDS = 20

_NEAR_MS = 3_600_000
_WEEK_MS = 604_800_000
_GAP_INTERVALS = 3
_WEEK_SECONDS = 604_800.0


def make_report(backtest: Backtest, other: Backtest | None = None) -> Report:
    """Return the report of `backtest`, beside that of `other` where there is one."""
    forecasts = judge_forecasts(backtest.samples, load_forecaster(), backtest.capacity)
    first = replace(_report(backtest), forecasts=forecasts)
    if other is None:
        return first
    second = _report(other)
    only_first, only_second = _unmatched(first.notifications, second.notifications)
    return replace(first, comparison=Comparison(second, tuple(only_first), tuple(only_second)))


def _report(backtest: Backtest) -> Report:
    samples = backtest.samples
    count, day = len(samples.time_ms), 86_400.0 / backtest.interval_seconds
    clock = samples.clock
    simple = dummies(
        samples,
        interval_seconds=backtest.interval_seconds,
        episodes_per_week=backtest.episodes_per_week,
        learning_days=backtest.learning_days,
    )
    notifications = tuple(_told(backtest, clock, simple))
    records = _records(backtest)
    learned = int(backtest.learned.sum())
    episodes = int(backtest.episodes[-1]) if count else 0
    in_learning = int(backtest.episodes[~backtest.learned].max(initial=0))
    scored = np.isfinite(backtest.raw)
    return Report(
        name=backtest.name,
        host=backtest.host,
        notify=backtest.notify,
        from_ms=int(clock[0]) if count else None,
        to_ms=int(clock[-1]) if count else None,
        interval_seconds=backtest.interval_seconds,
        samples=count,
        imported=int((samples.seq < 0).sum()),
        signals=len(samples.specs),
        learning_days=backtest.learning_days,
        learned_days=(count - learned) / day,
        judged_days=learned / day,
        notifications=notifications,
        would_have_sent=sum(one.kept is Kept.LEARNING for one in backtest.occurrences),
        digests=sum(_text(one, "event") == "digest" for one in backtest.notifications),
        records=len(records),
        newest_records=tuple(records[::-1][:NEWEST_RECORDS]),
        weeks=tuple(_weeks(backtest, clock, records)),
        episodes=episodes,
        judged_episodes=episodes - in_learning,
        ceiling=backtest.episodes_per_week,
        alarmed_share=float(backtest.alarmed[scored].mean()) if scored.any() else None,
        beside=tuple(_beside(simple.judged, notifications, records)),
        skipped=tuple(_skipped(backtest, clock, simple)),
        models=backtest.models,
        seconds=backtest.seconds,
    )


def _told(backtest: Backtest, clock: NDArray[np.int64], simple: Dummies) -> Iterator[Told]:
    """Yield the notifications about alerts, one for all sinks that are given the same at the same time."""
    alerts = {one.id: one for one in backtest.occurrences}
    harms = sorted(_harms(simple, backtest.occurrences))
    about_alerts = sorted(_about_alerts(backtest), key=_likeness)
    seen: set[str] = set()
    for (time_ms, occurrences, what, _), same in groupby(about_alerts, _likeness):
        group = list(same)
        first = group[0]
        row = int(np.searchsorted(clock, time_ms, side="right")) - 1
        told_of = [alerts[name] for name in occurrences if name in alerts]
        new = what != ENDED and not seen.issuperset(occurrences)
        seen.update(occurrences)
        is_fact = any(map(_is_fact, told_of))
        began_ms = min((one.started_ms for one in told_of), default=time_ms)
        yield Told(
            time_ms=time_ms,
            sinks=tuple(dict.fromkeys(one.sink for one in group)),
            what=what,
            severity=_text(first, "severity"),
            alertname=_text(first, "alertname"),
            resource=_text(first, "resource"),
            sentence=_text(first, "sentence"),
            occurrence=occurrences[0],
            others=len(occurrences) - 1,
            learning=bool(len(clock)) and not bool(backtest.learned[max(row, 0)]),
            is_fact=is_fact,
            lead=_lead(time_ms, began_ms, harms, int(clock[-1])) if new and not is_fact and len(clock) else None,
            contributors=_contributors(first) or (told_of[0].contributors if told_of else ()),
            verdict=backtest.verdicts.get(occurrences[0], ""),
        )


def _about_alerts(backtest: Backtest) -> Iterator[Notification]:
    """Yield the notifications that are no digests."""
    for one in backtest.notifications:
        if one.occurrences and _text(one, "event") != "digest":
            yield one


def _likeness(one: Notification) -> tuple[int, tuple[str, ...], str, str]:
    return one.time_ms, one.occurrences, _what(one), _text(one, "severity")


def _what(one: Notification) -> str:
    return ENDED if _text(one, "event") == "resolved" else _text(one, "reason") or BEGAN


def _text(one: Notification, key: str) -> str:
    value = one.document.get(key)
    return value if isinstance(value, str) else ""


def _contributors(one: Notification) -> tuple[Contributor, ...]:
    """Return the evidence of the notification itself, none where it holds none that can be read."""
    parts = one.document.get("contributors")
    try:
        return tuple(map(_contributor, parts)) if isinstance(parts, list) else ()
    except (KeyError, TypeError, ValueError):
        return ()


def _contributor(part: Mapping[str, object]) -> Contributor:
    low, high, value, surprise = (
        float(str(number)) if (number := part[key]) is not None else math.nan
        for key in ("expected_low", "expected_high", "value", "surprise")
    )
    return Contributor(
        signal=str(part["signal"]),
        unit=Unit[str(part["unit"]).upper()],
        family=str(part["family"]),
        resource=str(part["resource"]),
        value=value,
        expected_low=low,
        expected_high=high,
        surprise=surprise,
        direction=Direction(str(part["direction"] or "")),
    )


def _is_fact(one: Occurrence) -> bool:
    return one.severity is Severity.PAGE and one.alertname != DRILL


def _harms(simple: Dummies, occurrences: Iterable[Occurrence]) -> Iterator[tuple[int, str]]:
    """Yield what shows harm: when it began, and what it is.

    A rule that is only for information (a busy processor) shows none.
    """
    for dummy in simple.judged:
        if dummy.method is Method.STATIC and dummy.severity is not Severity.RECORD:
            for firing in dummy.firings:
                yield firing.from_ms, f"{dummy.name} {dummy.resource}".strip()
    for one in occurrences:
        if _is_fact(one):
            yield one.fired_ms or one.started_ms, f"{one.alertname} {one.resource}".strip()


def _lead(time_ms: int, began_ms: int, harms: Sequence[tuple[int, str]], end_ms: int) -> Lead:
    """Return the lead over the first harm since the alert began; what was there before the alert is not its harm."""
    looked_ms = max(0, min(int(LEAD_SECONDS * 1000), end_ms - time_ms))
    for harm_ms, name in harms:
        if began_ms <= harm_ms <= time_ms + LEAD_SECONDS * 1000:
            return Lead((harm_ms - time_ms) / 1000, name, looked_ms / 1000)
    return Lead(None, "", looked_ms / 1000)


def _records(backtest: Backtest) -> list[Record]:
    told = {name for one in _about_alerts(backtest) for name in one.occurrences}
    return [
        Record(
            one.fired_ms or one.started_ms,
            one.started_ms,
            one.resolved_ms,
            one.alertname,
            one.resource,
            one.sentence,
            one.id,
            one.kept.value,
            backtest.verdicts.get(one.id, ""),
        )
        for one in backtest.occurrences
        if one.id not in told
    ]


def _weeks(backtest: Backtest, clock: NDArray[np.int64], records: Sequence[Record]) -> Iterator[Week]:
    """Yield the weeks from the first sample on, those without a sample too."""
    day = 86_400.0 / backtest.interval_seconds
    starts = range(int(clock[0]), int(clock[-1]) + 1, _WEEK_MS) if len(clock) else range(0)
    before = 0
    for start in starts:
        first, end = np.searchsorted(clock, (start, start + _WEEK_MS)).tolist()
        counted = int(backtest.episodes[end - 1]) if end > first else before
        yield Week(
            from_ms=start,
            to_ms=min(start + _WEEK_MS, int(clock[-1])),
            days=(end - first) / day,
            judged_days=int(backtest.learned[first:end].sum()) / day,
            episodes=counted - before,
            records=sum(start <= one.time_ms < start + _WEEK_MS for one in records),
        )
        before = counted


def _beside(judged: Sequence[Dummy], told: Sequence[Told], records: Sequence[Record]) -> Iterator[Beside]:
    """Yield each simple method over all its resources, in the order of the table."""
    moments = [np.array([one.time_ms for one in part], np.int64) for part in (_firsts(told), records)]
    for name in dict.fromkeys(one.name for one in judged):
        mine = [one for one in judged if one.name == name]
        firings = sorted((one for dummy in mine for one in _firings(dummy)), key=lambda one: one.from_ms)
        counted, judged_seconds = sum(one.counted for one in mine), mine[0].judged_seconds
        near_notifications, near_records = (_near(part, firings) for part in moments)
        yield Beside(
            name=name,
            kind=mine[0].method.value,
            counted=counted,
            per_week=counted * _WEEK_SECONDS / judged_seconds if judged_seconds else 0.0,
            firings=tuple(firings),
            near_notifications=near_notifications,
            near_records=near_records,
        )


def _firings(dummy: Dummy) -> Iterator[Firing]:
    for one in dummy.firings:
        yield Firing(one.from_ms, one.to_ms, dummy.severity.value, dummy.resource)


def _near(moments: NDArray[np.int64], firings: Sequence[Firing]) -> int:
    near = np.zeros(len(moments), np.bool_)
    for one in firings:
        near |= (moments >= one.from_ms - _NEAR_MS) & (moments <= one.to_ms + _NEAR_MS)
    return int(near.sum())


def _firsts(told: Iterable[Told]) -> list[Told]:
    return [one for one in told if one.what == BEGAN]


def _skipped(backtest: Backtest, clock: NDArray[np.int64], simple: Dummies) -> Iterator[Skipped]:
    """Yield what was not judged: time without a model or samples, methods without their signals; and verdicts."""
    scored = np.flatnonzero(np.isfinite(backtest.raw))
    first = int(scored[0]) if len(scored) else len(clock)
    if first:
        length = duration(first * backtest.interval_seconds)
        yield Skipped(f"the first {length} of samples", "there was no model to score them with")
    unscored = int(np.isnan(backtest.raw[first:]).sum())
    if unscored:
        length = duration(unscored * backtest.interval_seconds)
        yield Skipped(f"{length} of later samples", "a model needs some samples after each start and gap")
    apart = np.diff(clock)
    gaps = apart[apart > _GAP_INTERVALS * backtest.interval_seconds * 1000]
    if len(gaps):
        many = "a gap" if len(gaps) == 1 else f"{len(gaps)} gaps"
        yield Skipped(f"{many}, {duration(float(gaps.sum()) / 1000)} in all", "nothing was sampled then")
    for name, reason in simple.skipped:
        yield Skipped(name, reason)
    later = len(backtest.verdicts) - backtest.honoured
    if later > 0:
        many = "a verdict" if later == 1 else f"{later} verdicts"
        yield Skipped(f"what {many} changed", "given after these samples, or of no effect on them")


def _unmatched(first: Iterable[Told], second: Iterable[Told]) -> tuple[list[Told], list[Told]]:
    """Return what only one of the two tells the beginning of: the same alert within an hour is the same."""
    here, left = [], _firsts(second)
    for one in _firsts(first):
        near = [
            other
            for other in left
            if (other.alertname, other.resource) == (one.alertname, one.resource)
            and abs(other.time_ms - one.time_ms) <= _NEAR_MS
        ]
        if near:
            left.remove(min(near, key=lambda other: abs(other.time_ms - one.time_ms)))
        else:
            here.append(one)
    return here, left
