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
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from benchmarks.gate_hosts import (
    BUDGET,
    DAY,
    HOUR,
    INTERVAL,
    LEARNED,
    WEEK,
    Host,
    begun,
    changed,
    learn,
    recorded,
    simulated,
)
from benchmarks.gate_probation import probation, rollback_rows
from benchmarks.report import Row, write
from detectors import fault_suite
from detectors.anomaly import AnomalyModel
from detectors.calibration import next_threshold
from detectors.features import SPAN
from detectors.gate import Evidence, Stretch, Verdict, judge, scorer

Float64 = NDArray[np.float64]

_STEP = 720  # rows between two settings of the threshold
_EARLIER_BLOCKS, _EARLIER_ROWS = 4, 700
_TRIES_TO_DRAW = 12
_RECORDED_EVERY = 4  # tries; the others are simulated


@dataclass(frozen=True, slots=True)
class Try:
    """What one passage through the gate came to; `gain` is what is truly noticed more, by the rows that came after."""

    verdict: Verdict
    gain: float


def on_duty(champion: AnomalyModel, host: Host) -> tuple[Float64, Float64]:
    """Return scores and thresholds (T,) of the champion, from when it had learned on; NaN and inf before."""
    score = scorer(champion, range(len(host.floor)))
    begin = LEARNED - SPAN
    scores = np.full(len(host.values), np.nan)
    scores[LEARNED:] = score(host.values[begin:], host.hours[begin:])
    out = np.full(len(scores), np.inf)
    current = begun(champion)
    for start in range(LEARNED, len(scores), _STEP):
        if start > LEARNED:
            past, least = scores[LEARNED:start], champion.least_threshold
            current = next_threshold(current, past, INTERVAL, BUDGET, champion.quiet_scores, least=least)
        out[start : start + _STEP] = current
    return scores, out


def evidence_of(host: Host, alarmed: NDArray[np.bool_], trained: int) -> Evidence:
    """Return what the gate sees a day after a training that ended at row `trained`."""

    def stretch(first: int, end: int) -> Stretch:
        return Stretch(host.values[first:end], host.hours[first:end], alarmed[first:end])

    starts = np.linspace(0, trained - WEEK - _EARLIER_ROWS, _EARLIER_BLOCKS).astype(int)
    blocks = [stretch(start, start + _EARLIER_ROWS) for start in starts]
    gap = np.full((1, len(host.floor)), np.nan, np.float32)
    earlier = Stretch(
        np.concatenate([part for one in blocks for part in (one.values, gap)]),
        np.concatenate([np.r_[one.hours, one.hours[-1:]] for one in blocks]),
        np.concatenate([np.r_[one.alarmed, False] for one in blocks]),
    )
    recent, week = stretch(trained, trained + DAY), stretch(trained - WEEK, trained)
    return Evidence(range(len(host.floor)), host.floor, recent, week, earlier, INTERVAL, BUDGET)


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
    threshold = float(thresholds[trained + DAY - 1])
    verdict = judge(champion, threshold, challenger, evidence, seed)
    after = slice(trained + DAY, len(host.values))
    usable = np.ones(after.stop - after.start, np.bool_)
    suite = fault_suite.build(
        host.values[after], host.hours[after], host.floor, usable, seed=seed + 1000, faults=fault_suite.FAULTS
    )
    if verdict.metrics.get("champion_out_of_budget") != 1.0:  # models are compared, not where a threshold happens to be
        threshold = min(threshold, begun(champion))
    ours, theirs = (
        fault_suite.noticed(suite, scorer(model, evidence.signal_ids), at)
        for model, at in ((champion, threshold), (challenger, begun(challenger)))
    )
    return Try(verdict, float((theirs - ours).mean()))


def unchanged(host: Host, champion: AnomalyModel, rng: np.random.Generator, seed: int) -> Try:
    """A challenger that has learned more of the same."""
    trained = int(rng.uniform(10.5, 12.5) * DAY)
    return attempt(host, champion, on_duty(champion, host), learn(host, slice(trained)), trained=trained, seed=seed)


def poisoned(host: Host, champion: AnomalyModel, rng: np.random.Generator, seed: int) -> Try | None:
    """A challenger that has learned from an incident of 2 to 24 h as well; None where the champion never raises one."""
    for _ in range(_TRIES_TO_DRAW):
        trained = int(rng.uniform(10.5, 12.5) * DAY)
        lasts = int(np.exp(rng.uniform(np.log(120), np.log(DAY))))
        begin = int(rng.uniform(max(LEARNED, trained - WEEK), trained - lasts))
        span = slice(begin, begin + lasts)
        sick = changed(host, span, float(np.exp(rng.uniform(np.log(6), np.log(64)))), rng)
        scores, thresholds = on_duty(champion, sick)
        if (scores[span] > thresholds[span]).mean() > 0.5:  # an incident: it is raised most of its time
            return attempt(
                sick, champion, (scores, thresholds), learn(sick, slice(trained)), trained=trained, seed=seed
            )
    return None


def unfinished(host: Host, champion: AnomalyModel, rng: np.random.Generator, seed: int) -> Try | None:
    """A challenger that has learned from the first 1 to 24 h of an incident that lasts on through most of its shadow.

    It ends 12 to 24 h later; two in three still go on when it is judged. None where the champion never raises one.
    """
    for _ in range(_TRIES_TO_DRAW):
        trained = int(rng.uniform(10.5, 12.5) * DAY)
        span = slice(trained - int(rng.uniform(HOUR, DAY)), trained + min(DAY, int(rng.uniform(DAY // 2, 2 * DAY))))
        sick = changed(host, span, float(np.exp(rng.uniform(np.log(6), np.log(64)))), rng)
        scores, thresholds = on_duty(champion, sick)
        if (scores[span] > thresholds[span]).mean() > 0.5:
            return attempt(
                sick, champion, (scores, thresholds), learn(sick, slice(trained)), trained=trained, seed=seed
            )
    return None


def regime(host: Host, champion: AnomalyModel, rng: np.random.Generator, seed: int) -> Try | None:
    """A challenger of another way of working, 2 to 4 days old; None where the champion keeps its budget in each."""
    for _ in range(_TRIES_TO_DRAW):
        trained = int(rng.uniform(11.5, 12.5) * DAY)
        since = trained - int(rng.uniform(2, 4) * DAY)
        strength, louder = float(np.exp(rng.uniform(np.log(8), np.log(48)))), float(rng.uniform(1, 3))
        other = changed(host, slice(since, None), strength, rng, louder=louder)
        scores, thresholds = on_duty(champion, other)
        day = slice(trained, trained + DAY)
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
    "poisoned, the incident in most of the shadow": unfinished,
}


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
            champion = champions.setdefault(host.name, learn(host, slice(LEARNED)))
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
