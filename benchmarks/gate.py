"""The gate: who is promoted, who is not, and how soon a bad champion is noticed.

Challengers from a week with an incident inside that nothing excluded, from a host whose way of working changed while
the champion is out of budget, and from a host that stayed as it is; then champions that are too loud or blind beside
their predecessor, and an outage under a good one. Hosts: the recorded servers of `--data` (npz with `train` (T, S),
one row a minute) in turn with simulated ones. What is true is told by rows that come after the gate, with other faults.
Beside it: promotion without a gate, as a retraining on schedule has it. Models have no network: none decides.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Row, write
from detectors import fault_suite
from detectors.anomaly import AnomalyModel, fit_model
from detectors.calibration import RELEASE_RATIO, budget_threshold, next_threshold
from detectors.features import SPAN
from detectors.gate import Evidence, Stretch, Verdict, judge, performance, scorer
from detectors.probation import Beside, Probation, Reason, outside

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_INTERVAL = 60.0
_DAY, _WEEK = 1440, 10_080
_BUDGET = 7.0
_STEP = 720  # rows between two settings of the threshold
_LEARNED = 6 * _DAY  # what the champion has learned from
_FLOOR = 1e-3  # of the largest value: recorded data has no units whose floors could be known
_EARLIER_BLOCKS, _EARLIER_ROWS = 4, 700
_TRIES_TO_DRAW = 12
_RECORDED_EVERY = 4  # tries; the others are simulated
_LOUDER = {"2 times too loud": 2.0, "5 times too loud": 5.0, "50 times too loud": 50.0, "blind": 0.0, "good": 1.0}
_PROMOTED = 9 * _DAY  # when the champion on probation began
_COMPARED = (1, 12)  # hours after which what both notice is compared; the daemon does each hour
_HOUR = 60


@dataclass(frozen=True, slots=True)
class Host:
    """One host: `values` (T, S), one row a minute, and the floors (S,)."""

    name: str
    values: Float32
    floor: Float64

    @property
    def hours(self) -> NDArray[np.int64]:
        """Return the hour of the week of each row."""
        return np.arange(len(self.values)) // _HOUR % 168


@dataclass(frozen=True, slots=True)
class Try:
    """What one passage through the gate came to; `gain` is what is truly noticed more, by the rows that came after."""

    verdict: Verdict
    gain: float


def recorded(folder: Path) -> list[Host]:
    """Read the recorded servers: only what they have without labels."""
    hosts = []
    for file in sorted(folder.rglob("*.npz")):
        with np.load(file) as arrays:
            if "train" in arrays and len(arrays["train"]) > _LEARNED + 10 * _DAY:
                values = arrays["train"].astype(np.float32)
                largest = np.abs(values).max(axis=0).astype(np.float64)
                hosts.append(Host(file.stem, values, _FLOOR * np.where(largest > 0, largest, 1.0)))
    return hosts


def simulated(number: int) -> Host:
    """Make a host of 12 signals over 16 days: a day's rhythm, causes that wander, bursts, and noise."""
    rng = np.random.default_rng([11, number])
    rows, signals, causes = 16 * _DAY, 12, 4
    wander, steps = np.zeros((rows, causes)), rng.normal(size=(rows, causes))
    for row in range(1, rows):
        wander[row] = 0.95 * wander[row - 1] + steps[row]
    wander[:, 0] += 4 * np.sin(2 * np.pi * np.arange(rows) / _DAY + rng.uniform(0, 6))
    bursts = np.convolve(rng.random(rows) < 1 / 400, np.ones(8), "same")[:, None] * rng.exponential(2.0, (rows, 1))
    mixed = wander @ rng.normal(size=(causes, signals)) * 0.03 + bursts * 0.05 * np.abs(rng.normal(size=signals))
    values = 0.5 + mixed + 0.02 * rng.standard_t(5, (rows, signals))
    return Host(f"simulated-{number}", values.astype(np.float32), np.full(signals, 0.01))


def changed(host: Host, span: slice, strength: float, rng: np.random.Generator, *, louder: float = 1.0) -> Host:
    """Return the host with some of its signals on another level, and `louder` in what they do, during `span`."""
    low, centre, high = np.quantile(host.values[:_LEARNED], [0.25, 0.5, 0.75], axis=0)
    spread = np.maximum(np.maximum((high - low) / 1.349, 0.25 * host.values[:_LEARNED].std(axis=0)), host.floor)
    signals = len(host.floor)
    touched = rng.choice(signals, max(2, int(signals * rng.uniform(0.15, 0.5))), replace=False)
    values = host.values.copy()
    part = values[span][:, touched]
    level = rng.choice((-1.0, 1.0), len(touched)) * strength * spread[touched]
    values[span, touched] = (centre[touched] + louder * (part - centre[touched]) + level).astype(np.float32)
    return replace(host, values=values)


def learn(host: Host, rows: slice) -> AnomalyModel:
    """Fit a model on `rows`."""
    return fit_model(host.values[rows], host.hours[rows], range(len(host.floor)), host.floor, with_network=False)


def on_duty(champion: AnomalyModel, host: Host) -> tuple[Float64, Float64]:
    """Return scores and thresholds (T,) of the champion, from when it had learned on; NaN and inf before."""
    score = scorer(champion, range(len(host.floor)))
    begin = _LEARNED - SPAN
    scores = np.full(len(host.values), np.nan)
    scores[_LEARNED:] = score(host.values[begin:], host.hours[begin:])
    out = np.full(len(scores), np.inf)
    current = budget_threshold(champion.quiet_scores, _INTERVAL, _BUDGET, champion.least_threshold)
    for start in range(_LEARNED, len(scores), _STEP):
        if start > _LEARNED:
            past, least = scores[_LEARNED:start], champion.least_threshold
            current = next_threshold(current, past, _INTERVAL, _BUDGET, champion.quiet_scores, least=least)
        out[start : start + _STEP] = current
    return scores, out


def evidence_of(host: Host, alarmed: NDArray[np.bool_], trained: int) -> Evidence:
    """Return what the gate sees a day after a training that ended at row `trained`."""

    def stretch(first: int, end: int) -> Stretch:
        return Stretch(host.values[first:end], host.hours[first:end], alarmed[first:end])

    starts = np.linspace(0, trained - _WEEK - _EARLIER_ROWS, _EARLIER_BLOCKS).astype(int)
    blocks = [stretch(start, start + _EARLIER_ROWS) for start in starts]
    gap = np.full((1, len(host.floor)), np.nan, np.float32)
    earlier = Stretch(
        np.concatenate([part for one in blocks for part in (one.values, gap)]),
        np.concatenate([np.r_[one.hours, one.hours[-1:]] for one in blocks]),
        np.concatenate([np.r_[one.alarmed, False] for one in blocks]),
    )
    recent, week = stretch(trained, trained + _DAY), stretch(trained - _WEEK, trained)
    return Evidence(range(len(host.floor)), host.floor, recent, week, earlier, _INTERVAL, _BUDGET)


def attempt(
    host: Host,
    champion: AnomalyModel,
    duty: tuple[Float64, Float64],
    challenger: AnomalyModel,
    *,
    trained: int,
    seed: int,
) -> Try:
    """Judge, and look what comes after; `duty` is what `on_duty` returns."""
    scores, thresholds = duty
    evidence = evidence_of(host, scores > thresholds, trained)
    threshold = float(thresholds[trained + _DAY - 1])
    verdict = judge(champion, threshold, challenger, evidence, seed)
    after = slice(trained + _DAY, len(host.values))
    usable = np.ones(after.stop - after.start, np.bool_)
    suite = fault_suite.build(host.values[after], host.hours[after], host.floor, usable, seed=seed + 1000)
    if verdict.metrics.get("champion_out_of_budget") != 1.0:  # models are compared, not where a threshold happens to be
        begun = budget_threshold(champion.quiet_scores, _INTERVAL, _BUDGET, champion.least_threshold)
        threshold = min(threshold, begun)
    begun = budget_threshold(challenger.quiet_scores, _INTERVAL, _BUDGET, challenger.least_threshold)
    ours, theirs = (
        fault_suite.noticed(suite, scorer(model, evidence.signal_ids), at)
        for model, at in ((champion, threshold), (challenger, begun))
    )
    return Try(verdict, float((theirs - ours).mean()))


def unchanged(host: Host, champion: AnomalyModel, rng: np.random.Generator, seed: int) -> Try:
    """A challenger that has learned more of the same."""
    trained = int(rng.uniform(10.5, 12.5) * _DAY)
    return attempt(host, champion, on_duty(champion, host), learn(host, slice(trained)), trained=trained, seed=seed)


def poisoned(host: Host, champion: AnomalyModel, rng: np.random.Generator, seed: int) -> Try | None:
    """A challenger that has learned from an incident of 2 to 24 h as well; None where the champion never raises one."""
    for _ in range(_TRIES_TO_DRAW):
        trained = int(rng.uniform(10.5, 12.5) * _DAY)
        lasts = int(np.exp(rng.uniform(np.log(120), np.log(_DAY))))
        begin = int(rng.uniform(max(_LEARNED, trained - _WEEK), trained - lasts))
        span = slice(begin, begin + lasts)
        sick = changed(host, span, float(np.exp(rng.uniform(np.log(6), np.log(64)))), rng)
        scores, thresholds = on_duty(champion, sick)
        if (scores[span] > thresholds[span]).mean() > 0.5:  # an incident: it is raised most of its time
            return attempt(
                sick, champion, (scores, thresholds), learn(sick, slice(trained)), trained=trained, seed=seed
            )
    return None


def regime(host: Host, champion: AnomalyModel, rng: np.random.Generator, seed: int) -> Try | None:
    """A challenger of another way of working, 2 to 4 days old; None where the champion keeps its budget in each."""
    for _ in range(_TRIES_TO_DRAW):
        trained = int(rng.uniform(11.5, 12.5) * _DAY)
        since = trained - int(rng.uniform(2, 4) * _DAY)
        strength, louder = float(np.exp(rng.uniform(np.log(8), np.log(48)))), float(rng.uniform(1, 3))
        other = changed(host, slice(since, None), strength, rng, louder=louder)
        scores, thresholds = on_duty(champion, other)
        day = slice(trained, trained + _DAY)
        raised = scores[day] > thresholds[day][-1]
        if raised.reshape(24, -1).any(axis=1).mean() > 0.5:  # most hours, at the threshold in force
            return attempt(
                other, champion, (scores, thresholds), learn(other, slice(trained)), trained=trained, seed=seed
            )
    return None


GATES: dict[str, Callable[[Host, AnomalyModel, np.random.Generator, int], Try | None]] = {
    "poisoned week": poisoned,
    "changed host": regime,
    "unchanged host": unchanged,
}


def probation(host: Host, number: int, rng: np.random.Generator) -> dict[str, tuple[int, Reason] | None]:
    """Return after how many minutes each kind of champion is rolled back within its day, and why; None = it is not.

    Of two models the one that notices more on the day before is the champion, as the gate would have it.
    """
    begin = _PROMOTED + int(rng.uniform(0, _DAY))
    none = np.zeros(len(host.values), np.bool_)
    seen = replace(evidence_of(host, none, begin - _DAY), earlier=Stretch(host.values[:0], host.hours[:0], none[:0]))
    models = [learn(host, slice(rows)) for rows in (_LEARNED, _PROMOTED - _DAY)]
    levels = [budget_threshold(one.quiet_scores, _INTERVAL, _BUDGET, one.least_threshold) for one in models]
    noticed = [performance(one, level, seen) for one, level in zip(models, levels, strict=True)]
    champion, before = models if noticed[0] >= noticed[1] else models[::-1]
    lasts, after = int(np.exp(rng.uniform(np.log(30), np.log(6 * _HOUR)))), int(rng.uniform(2, 16) * _HOUR)
    hit = slice(begin + after, begin + after + lasts)
    sick = changed(host, hit, float(np.exp(rng.uniform(np.log(12), np.log(64)))), rng)
    out = {name: lived(host, before, champion, begin, louder=louder) for name, louder in _LOUDER.items()}
    print(f"probation {host.name} {number} {out}", file=sys.stderr, flush=True)
    return {**out, "good, an outage": lived(sick, before, champion, begin)}


def lived(
    host: Host, before: AnomalyModel, champion: AnomalyModel, begin: int, *, louder: float = 1.0
) -> tuple[int, Reason] | None:
    """Let `champion`, whose scores are `louder` times as high, serve for a day from row `begin` on."""
    end, signals = begin + _DAY, range(len(host.floor))
    raws, levels = [], []
    for model in (champion, before):
        raw = scorer(model, signals)(host.values[begin - 2 * SPAN : end], host.hours[begin - 2 * SPAN : end])
        raws.append(raw[SPAN:].astype(np.float64))
        levels.append(budget_threshold(model.quiet_scores, _INTERVAL, _BUDGET, model.least_threshold))
    raised = louder * raws[0] > levels[0]
    watch = Probation()
    for minute in range(_DAY):
        row = host.values[begin + minute]
        sample = Beside(
            raised=bool(raised[minute]),
            seconded=bool(raws[1][minute] > RELEASE_RATIO * levels[1]),
            outside=outside(champion, row),
            outside_before=outside(before, row),
            finite=True,
        )
        reason = watch.observe(minute * 60 * 10**9, sample)
        if reason is None and minute % _HOUR == 0 and minute // _HOUR in _COMPARED:
            now = begin + minute
            past = slice(now - _DAY, now)
            alarmed = np.zeros(_DAY, np.bool_)
            alarmed[_DAY - minute :] = raised[:minute]
            empty = Stretch(host.values[:0], host.hours[:0], alarmed[:0])
            recent = Stretch(host.values[past], host.hours[past], alarmed)
            seen = Evidence(signals, host.floor, recent, empty, empty, _INTERVAL, _BUDGET)
            level = levels[0] / louder if louder else np.inf
            reason = watch.compare(performance(champion, level, seen), performance(before, levels[1], seen))
        if reason is not None:
            return minute, reason
    return None


def rollback_rows(lives: list[dict[str, tuple[int, Reason] | None]]) -> Iterator[Row]:
    """Yield how often and how soon each kind of champion is rolled back."""
    for case in lives[0]:
        ends = [one[case] for one in lives]
        minutes = sorted(end[0] for end in ends if end is not None)
        yield Row(f"champion {case}", "rolled back", "ratio", len(minutes) / len(ends))
        if minutes:
            yield Row(f"champion {case}", "time to rollback, median", "min", minutes[len(minutes) // 2])
            yield Row(f"champion {case}", "time to rollback, longest", "min", minutes[-1])


def gate_rows(case: str, tries: list[Try]) -> Iterator[Row]:
    """Yield the figures of one kind of challenger."""
    through = [one.gain for one in tries if one.verdict.passes]
    yield Row(case, "tries", "1", len(tries))
    yield Row(case, "promoted", "1", len(through))
    for name, gains in (("promoted", through), ("all, as without a gate", [one.gain for one in tries])):
        if gains:
            yield Row(case, f"least true gain, {name}", "ratio", min(gains))
            yield Row(case, f"mean true gain, {name}", "ratio", mean(gains))


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--tries", type=int, default=50)
    parser.add_argument("--only", choices=(*GATES, "rollback"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    hosts = recorded(arguments.data) if arguments.data else []
    rows: list[Row] = []
    champions: dict[str, AnomalyModel] = {}
    for case, draw in GATES.items():
        if arguments.only not in (None, case):
            continue
        tries: list[Try] = []
        number = 0
        while len(tries) < arguments.tries and number < 3 * arguments.tries:
            recorded_turn = hosts and number % _RECORDED_EVERY == 0
            host = hosts[number // _RECORDED_EVERY % len(hosts)] if recorded_turn else simulated(number)
            champion = champions.setdefault(host.name, learn(host, slice(_LEARNED)))
            one = draw(host, champion, np.random.default_rng([5, number, list(GATES).index(case)]), number)
            number += 1
            if one is None:
                continue
            tries.append(one)
            words = "; ".join(one.verdict.reasons) or "promoted"
            print(f"{case} {host.name} {one.gain:+.3f} {words} {one.verdict.metrics}", file=sys.stderr, flush=True)
        rows += gate_rows(case, tries)
    if arguments.only in (None, "rollback"):
        lives = []
        for number in range(arguments.tries):
            host = hosts[number // 4 % len(hosts)] if hosts and number % _RECORDED_EVERY == 0 else simulated(number)
            lives.append(probation(host, number, np.random.default_rng([6, number])))
        rows += rollback_rows(lives)
    write("gate", rows, ("numpy",), as_json=arguments.json)


if __name__ == "__main__":
    main()
