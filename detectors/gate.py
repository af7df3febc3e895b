"""Whether a challenger may take the champion's place: the rules of promotion, on the host's own rows.

Enters: two models, the threshold of the one that serves, and three stretches of rows: recent ones that neither has
learned from, the week before, and what lies before that. Leaves: a verdict with its reasons and the figures behind
it. It moves nothing and knows no label: what counts as an incident is what the champion recorded.

A challenger has to be non-inferior on injected faults, retention and budget, to keep raising what was an incident,
and to be better on recent data. A champion that keeps its budget is trusted: what it raises is left out as an
incident, and both are compared at the thresholds that they begin with, or one that an incident has driven up would
make every challenger look sharp. One that has been out of budget through most hours of three days is compared in the
recent ones as it stands: an alarm that is always on notices nothing; elsewhere at the threshold that it would need to
serve here. What has lasted for less is an incident, whatever its size.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from detectors import fault_suite
from detectors.anomaly import AnomalyModel, decision_scores
from detectors.calibration import WEEK_SECONDS, budget_threshold, count_episodes, runs
from detectors.features import SPAN

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Hours = NDArray[np.int64]
Known = NDArray[np.bool_]

REPLAY_SECONDS = 7 * 86_400.0
_LOWER = 1.645  # standard errors below the mean: the lower end of a one-sided 95 % interval
_SUITE_MARGIN = 0.03  # share of strengths noticed, at the lower end of the interval
_RETAINED = 0.95  # of what the champion notices in earlier rows
_OUT_OF_BUDGET = 3.0  # times the budget
_MOST_HOURS = 0.5  # of each day
_DAYS_BEFORE = 2  # that were so too: an incident of less than two days and a half is no other host
_DAY_SECONDS = 86_400.0
_INCIDENT_SECONDS = 900.0  # an episode of the champion's that lasts is an incident
_INCIDENT_KEPT = 0.5  # of the share of it that the champion raises
_LEAST_WINDOW = 200  # rows that tell something


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows in their order: `values` (T, S), a NaN row at each gap; `hours`, `alarmed` (T,): what was recorded."""

    values: Float32
    hours: Hours
    alarmed: Known


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the two are judged on. `signal_ids` (S,) name the columns, `floor` (S,) is the least spread that matters."""

    signal_ids: Sequence[int]
    floor: Float64
    recent: Stretch
    week: Stretch
    earlier: Stretch
    interval_seconds: float
    episodes_per_week: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """`passes`, or the `reasons` why not; `metrics` are the figures behind it, those of the champion with its name."""

    passes: bool
    reasons: tuple[str, ...]
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two: its scores of the recent rows and of the week (T,), and the threshold it is judged at."""

    score: Callable[[Float32, Hours], Float32]
    recent: Float64
    week: Float64
    threshold: float


def judge(
    champion: AnomalyModel, threshold: float, challenger: AnomalyModel, evidence: Evidence, seed: int = 0
) -> Verdict:
    """Judge `challenger` against `champion`, which serves at `threshold`."""
    interval, budget = evidence.interval_seconds, evidence.episodes_per_week
    if len(evidence.recent.values) < _LEAST_WINDOW:
        return Verdict(passes=False, reasons=(f"{len(evidence.recent.values)} recent samples tell too little",))
    old = _side(champion, threshold, evidence)
    started = budget_threshold(challenger.quiet_scores, interval, budget, challenger.least_threshold)
    new = _side(challenger, started, evidence)
    beyond = _out_of_budget(old.week > old.threshold, old.recent > old.threshold, interval, budget)
    quiet = tuple(_quiet(old, new, evidence, trusted=not beyond))
    if beyond:
        fair = max(old.threshold, budget_threshold(old.recent, interval, budget, champion.least_threshold))
        metrics, reasons = _compare(old, new, evidence, quiet, seed, elsewhere=fair)
    else:
        fair = min(threshold, budget_threshold(champion.quiet_scores, interval, budget, champion.least_threshold))
        old = replace(old, threshold=fair)
        metrics, reasons = _compare(old, new, evidence, quiet, seed, elsewhere=fair)
    reasons += _budget(old, new, evidence, metrics)
    if not beyond:
        reasons += _incidents(old, new, evidence, metrics)
    metrics["champion_out_of_budget"] = float(beyond)
    if not (np.isfinite(new.recent).sum() >= np.isfinite(old.recent).sum()):
        reasons.append("scores that are not finite")
    return Verdict(not reasons, tuple(reasons), metrics)


def performance(model: AnomalyModel, threshold: float, evidence: Evidence, seed: int = 0) -> float:
    """Return the share of injected strengths that `model` notices at `threshold` among the recent rows, NaN = unknown.

    The faults are put where nothing was recorded. This is the figure that a model is watched by while it serves.
    """
    stretch = evidence.recent
    usable = _present(stretch) & _unless_most(stretch.alarmed)
    suite = fault_suite.build(
        stretch.values, stretch.hours, evidence.floor, usable, seed=seed, faults=fault_suite.FAULTS
    )
    found = fault_suite.noticed(suite, scorer(model, evidence.signal_ids), threshold)
    return float(found.mean()) if len(found) else float("nan")


def relative(model: AnomalyModel, threshold: float, signal_ids: Sequence[int], stretch: Stretch) -> Float64:
    """Return the scores of all rows (T,) over `threshold`; NaN where there is none."""
    missing = np.full(min(SPAN, len(stretch.values)), np.nan)
    scores = scorer(model, signal_ids)(stretch.values, stretch.hours)
    return np.concatenate([missing, scores]).astype(np.float64) / threshold


def scorer(model: AnomalyModel, signal_ids: Sequence[int]) -> Callable[[Float32, Hours], Float32]:
    """Return what scores rows (T, S) of `signal_ids` with `model`: (T - 15,)."""
    place = {signal: column for column, signal in enumerate(signal_ids)}
    columns = np.array([place.get(signal, -1) for signal in model.signal_ids], np.int64)

    def score(values: Float32, hours: Hours) -> Float32:
        own = values[:, columns]
        own[:, columns < 0] = np.nan
        return decision_scores(model, own, hours)

    return score


def _side(model: AnomalyModel, threshold: float, evidence: Evidence) -> _Side:
    week, recent = (relative(model, 1.0, evidence.signal_ids, one) for one in (evidence.week, evidence.recent))
    return _Side(scorer(model, evidence.signal_ids), recent, week, threshold)


def _out_of_budget(week: Known, recent: Known, interval: float, episodes_per_week: float) -> bool:
    """Tell whether alarms are far beyond the budget, in most hours of the `recent` rows (T,) and of the days before.

    Then they are no incident, but another host. Where there are not as many days in the `week` (W,), nobody knows.
    """
    allowed = episodes_per_week * len(recent) * interval / WEEK_SECONDS
    day = int(_DAY_SECONDS / interval)
    if len(week) < _DAYS_BEFORE * day or count_episodes(recent, interval) <= _OUT_OF_BUDGET * max(allowed, 1.0):
        return False
    days = [recent, *np.array_split(week[-_DAYS_BEFORE * day :], _DAYS_BEFORE)]
    return all(_share_of_hours(raised, interval) > _MOST_HOURS for raised in days)


def _share_of_hours(raised: Known, interval: float) -> float:
    hours = np.array_split(raised, max(1, round(len(raised) * interval / 3600)))
    return sum(bool(part.any()) for part in hours) / len(hours)


def _quiet(old: _Side, new: _Side, evidence: Evidence, *, trusted: bool) -> Sequence[Known]:
    """Return which rows of recent, week and earlier (T,) count as quiet.

    What both raise is an incident. What only a trusted champion raises is one too, and so is what was recorded.
    """
    out = []
    for stretch, ours, theirs in (
        (evidence.recent, old.recent, new.recent),
        (evidence.week, old.week, new.week),
    ):
        raised = ours > old.threshold
        out.append(_present(stretch) & ~(raised if trusted else raised & (theirs > new.threshold)))
    out[1] &= _unless_most(evidence.week.alarmed) | (not trusted)
    return [*out, _present(evidence.earlier) & _unless_most(evidence.earlier.alarmed)]


def _present(stretch: Stretch) -> Known:
    return np.asarray(np.isfinite(stretch.values).any(axis=1))


def _unless_most(alarmed: Known) -> Known:
    """Rows (T,) that were not recorded as abnormal; all of them where most were: so the host is now."""
    if len(alarmed) and alarmed.mean() > 0.5:  # noqa: PLR2004 - half
        return np.ones(len(alarmed), np.bool_)
    return ~alarmed


def _compare(
    old: _Side, new: _Side, evidence: Evidence, quiet: Sequence[Known], seed: int, *, elsewhere: float
) -> tuple[dict[str, float], list[str]]:
    """Compare what both notice of the same faults in recent, in the week's and in earlier rows.

    `elsewhere`: the champion's threshold in all but the recent ones.
    """
    metrics: dict[str, float] = {}
    reasons: list[str] = []
    stretches = (evidence.recent, evidence.week, evidence.earlier)
    for place, (name, stretch, usable) in enumerate(zip(("recent", "suite", "earlier"), stretches, quiet, strict=True)):
        suite = fault_suite.build(
            stretch.values, stretch.hours, evidence.floor, usable, seed=seed + place, faults=fault_suite.FAULTS
        )
        ours = fault_suite.noticed(suite, old.score, old.threshold if name == "recent" else elsewhere)
        theirs = fault_suite.noticed(suite, new.score, new.threshold)
        if not suite.faults:
            if name == "recent":
                reasons.append("no recent stretch is quiet enough to put a fault in")
            continue
        gain = theirs - ours
        least = float(gain.mean() - _LOWER * gain.std() / np.sqrt(len(gain)))
        metrics |= {name: float(theirs.mean()), f"champion_{name}": float(ours.mean()), f"{name}_gain_least": least}
        if name == "recent" and least <= 0:
            reasons.append(f"not better on recent data: {_beside(theirs, ours)}")
        if name == "suite" and least < -_SUITE_MARGIN:
            reasons.append(f"notices less of the injected faults: {_beside(theirs, ours)}")
        if name == "earlier":
            metrics["retention"] = min(1.0, float(theirs.mean()) / max(float(ours.mean()), 1e-9))
            if metrics["retention"] < _RETAINED:
                reasons.append(f"forgets: in earlier rows it notices {_beside(theirs, ours)}")
    return metrics, reasons


def _beside(theirs: Float64, ours: Float64) -> str:
    return f"{theirs.mean():.3f}, the champion {ours.mean():.3f}"


def _budget(old: _Side, new: _Side, evidence: Evidence, metrics: dict[str, float]) -> list[str]:
    """Compare the episodes of both with what is allowed, and with each other."""
    reasons = []
    for name, ours, theirs in (("recent", old.recent, new.recent), ("week", old.week, new.week)):
        counts = [
            count_episodes(scores > side.threshold, evidence.interval_seconds)
            for scores, side in ((ours, old), (theirs, new))
        ]
        allowed = max(1.0, evidence.episodes_per_week * len(ours) * evidence.interval_seconds / WEEK_SECONDS)
        metrics |= {f"champion_{name}_episodes": float(counts[0]), f"{name}_episodes": float(counts[1])}
        if counts[1] > max(allowed, counts[0]):
            reasons.append(f"{counts[1]} episodes in the {name} rows, {allowed:.0f} allowed, the champion {counts[0]}")
    return reasons


def _incidents(old: _Side, new: _Side, evidence: Evidence, metrics: dict[str, float]) -> list[str]:
    """Look whether what the champion raised for long is raised by the challenger too: nothing else tells a poison.

    A challenger that has learned from an incident finds it normal, and notices its beginning at best.
    """
    kept = incidents = 0
    for ours, theirs in ((old.week, new.week), (old.recent, new.recent)):
        raised, again = ours > old.threshold, theirs > new.threshold
        at = np.flatnonzero(raised)
        for first, last in zip(*runs(at, np.diff(at) * evidence.interval_seconds > _INCIDENT_SECONDS), strict=True):
            if (last + 1 - first) * evidence.interval_seconds < _INCIDENT_SECONDS:
                continue
            incidents += 1
            span = slice(int(first), int(last) + 1)
            kept += bool(again[span].mean() >= _INCIDENT_KEPT * raised[span].mean())
    metrics |= {"incidents": float(incidents), "incidents_kept": float(kept)}
    return [] if kept == incidents else [f"{incidents - kept} of {incidents} incidents would no longer be raised"]
