"""How soon a bad champion is noticed by its predecessor, and whether an outage under a good one ever is mistaken.

Enters: hosts. Leaves: for champions that are too loud, blind or good, and for outages under a good one, after how many
minutes each is rolled back: with the comparison that the child makes at once, and by the samples alone.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.gate_hosts import BUDGET, DAY, HOUR, INTERVAL, LEARNED, WEEK, Host, begun, changed, learn
from benchmarks.report import Row
from detectors.anomaly import AnomalyModel
from detectors.gate import Evidence, Stretch, performance, relative
from detectors.probation import Beside, Probation, Reason, outside

Float64 = NDArray[np.float64]

_LOUDER = {"2 times too loud": 2.0, "5 times too loud": 5.0, "50 times too loud": 50.0, "blind": 0.0, "good": 1.0}
_PROMOTED = 9 * DAY  # when the champion on probation began
_COMPARED = (1, 12)  # hours after which what both notice is compared; the daemon does each hour
_OUTAGES = ((12, 64), (3, 12))  # spreads
_RAISED = 0.5  # of its time: what the champion raises less is no outage to it
_DEAFER = 4.0


@dataclass(frozen=True, slots=True)
class Pair:
    """Champion and predecessor beside each other from the week before row `begin` to a day after.

    `relative` (2, T): scores over the threshold of each, the champion first; `alarmed` (T,) is what was recorded until
    `begin`; `levels` are the thresholds.
    """

    host: Host
    models: tuple[AnomalyModel, AnomalyModel]
    levels: tuple[float, float]
    begin: int
    relative: Float64
    alarmed: NDArray[np.bool_]


End: TypeAlias = tuple[int, Reason] | None  # after how many minutes a champion is rolled back, and why


def day_before(host: Host, row: int, alarmed: NDArray[np.bool_]) -> Evidence:
    """Return the day that ends at `row` as recent rows, `alarmed` (1440,), and nothing else."""
    past = slice(row - DAY, row)
    recent = Stretch(host.values[past], host.hours[past], alarmed)
    empty = Stretch(recent.values[:0], recent.hours[:0], recent.alarmed[:0])
    return Evidence(range(len(host.floor)), host.floor, recent, empty, empty, INTERVAL, BUDGET)


def promoted(host: Host, begin: int) -> tuple[AnomalyModel, AnomalyModel]:
    """Return champion and predecessor: the one that notices more on the day before is the champion, as at the gate."""
    seen = day_before(host, begin, np.zeros(DAY, np.bool_))
    models = [learn(host, slice(rows)) for rows in (LEARNED, _PROMOTED - DAY)]
    noticed = [performance(model, begun(model), seen) for model in models]
    return (models[0], models[1]) if noticed[0] >= noticed[1] else (models[1], models[0])


def pair(host: Host, models: tuple[AnomalyModel, AnomalyModel], begin: int) -> Pair:
    """Score with both."""
    rows = slice(begin - WEEK, begin + DAY)
    span = Stretch(host.values[rows], host.hours[rows], np.zeros(WEEK + DAY, np.bool_))
    levels = begun(models[0]), begun(models[1])
    both = [relative(one, level, range(len(host.floor)), span) for one, level in zip(models, levels, strict=True)]
    recorded_until = (both[1] > 1) & (np.arange(WEEK + DAY) < WEEK)
    return Pair(host, models, levels, begin, np.nan_to_num(np.stack(both)), recorded_until)


def looked(seen: Pair, minute: int, louder: float) -> Reason | None:
    """Compare what both notice of the same faults in the day before `minute`, as the daemon does each hour."""
    now = WEEK + minute
    alarmed = seen.alarmed.copy()
    alarmed[WEEK:] = louder * seen.relative[0, WEEK:] > 1
    evidence = day_before(seen.host, seen.begin + minute, alarmed[now - DAY : now])
    thresholds = seen.levels[0] / louder if louder else np.inf, seen.levels[1]
    ours, theirs = (performance(model, level, evidence) for model, level in zip(seen.models, thresholds, strict=True))
    return Probation.compare(ours, theirs)


def lived(seen: Pair, *, louder: float = 1.0, deafer: float = 1.0, first_look: bool = True, hourly: bool = True) -> End:
    """Let the champion, whose scores are `louder` times as high, serve for a day.

    `deafer`: how much higher than in the beginning the predecessor's threshold is. `first_look`: whether the child
    compares the two at once; `hourly`: whether it measures what they notice.
    """
    ours, theirs = louder * seen.relative[0], seen.relative[1]
    if first_look:
        reason = Probation.compare_weeks(ours[:WEEK], theirs[:WEEK] / deafer, INTERVAL, BUDGET)
        reason = reason or (looked(seen, 0, louder) if hourly else None)
        if reason is not None:
            return 1, reason
    watch = Probation()
    for minute in range(DAY):
        row = seen.host.values[seen.begin + minute]
        at = WEEK + minute
        sample = Beside(
            raised=bool(ours[at] > 1),
            before=float(theirs[at] * max(1.0, 1.0 / deafer)),  # the lower one of its two thresholds
            outside=outside(seen.models[0], row),
            outside_before=outside(seen.models[1], row),
            finite=True,
        )
        reason = watch.observe(minute * 60 * 10**9, sample)
        if reason is None and hourly and minute % HOUR == 0 and minute // HOUR in _COMPARED:
            reason = looked(seen, minute, louder)
        if reason is not None:
            return minute, reason
    return None


def probation(host: Host, number: int, rng: np.random.Generator) -> dict[str, End]:
    """Return when each kind of champion is rolled back within its day, None = it is not."""
    begin = _PROMOTED + int(rng.uniform(0, DAY))
    models = promoted(host, begin)
    seen = pair(host, models, begin)
    out = {name: lived(seen, louder=louder) for name, louder in _LOUDER.items()}
    loud = {name: louder for name, louder in _LOUDER.items() if louder > 1}
    out |= {
        f"{name}, no child to compare it": lived(seen, louder=louder, first_look=False, hourly=False)
        for name, louder in loud.items()
    }
    for strength in _OUTAGES:
        lasts, after = int(np.exp(rng.uniform(np.log(30), np.log(6 * HOUR)))), int(rng.uniform(2, 16) * HOUR)
        hit = slice(begin + after, begin + after + lasts)
        sick = pair(changed(host, hit, float(np.exp(rng.uniform(*np.log(strength)))), rng), models, begin)
        span = slice(WEEK + after, WEEK + after + lasts)
        if (sick.relative[0, span] > 1).mean() > _RAISED:
            name = f"good, an outage {strength[0]} to {strength[1]} spreads strong"
            out |= {
                name: lived(sick, first_look=False),  # the week before is that of the good one
                f"{name}, the predecessor's threshold driven up": lived(
                    sick, deafer=_DEAFER, first_look=False, hourly=False
                ),
            }
    print(f"probation {host.name} {number} {out}", file=sys.stderr, flush=True)
    return out


def rollback_rows(lives: list[dict[str, End]]) -> Iterator[Row]:
    """Yield how often and how soon each kind of champion is rolled back."""
    for case in dict.fromkeys(case for one in lives for case in one):
        ends = [one[case] for one in lives if case in one]
        minutes = sorted(end[0] for end in ends if end is not None)
        yield Row(f"champion {case}", "tries", "1", len(ends))
        yield Row(f"champion {case}", "rolled back", "1", len(minutes))
        if minutes:
            within = sum(minute <= HOUR for minute in minutes)
            yield Row(f"champion {case}", "rolled back within the hour", "1", within)
            yield Row(f"champion {case}", "time to rollback, median", "min", minutes[len(minutes) // 2])
            yield Row(f"champion {case}", "time to rollback, longest", "min", minutes[-1])
