"""Failure risk on simulated hosts: `python -m benchmarks.failure_simulated [--json]`, about five minutes on one core.

First, kinds of faults that were never trained on: four networks learn without a quarter of the kinds each, and are
judged on just these among harmless hosts, beside the rule of straight lines (predict_linear). The interval is that of
the paired difference, over hosts drawn again and again. Then the shipped network, sample by sample: how much of a
run-up is left when it first says more than one half, and how high it comes on hosts to which nothing happens.
Simulated hosts are no proof for real ones.
"""

import argparse
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Row, write
from detectors.factor_features import features
from detectors.failing_hosts import KINDS, Moments, hosts, window
from detectors.failure import FailureForecaster, load_forecaster
from detectors.failure_learning import average_precision, calibration_error
from detectors.failure_pretraining import JUDGING, forecaster_of, gathered, spare_folder
from detectors.harmless_kinds import HARMLESS

Floats = NDArray[np.float64]

FOLDS = (
    ("inodes", "swap_storm", "network_decay"),
    ("descriptors", "thermal", "restart_loop"),
    ("space", "io_errors", "unit_descriptors"),
    ("memory", "unit_memory", "threads"),
)
_CHUNKS = 10
_DRAWS = 300
_POINTS = 40
_SOURCES = {"memory": "unit_memory", "mount": "space", "descriptors": "unit_descriptors", "crash loop": "restart_loop"}
_NOTHING = ("quiet", "stress", "backup", "chatter", "full_for_long")
_RULE = "predict_linear"


def never_trained_on(chunks: int = _CHUNKS) -> list[Row]:
    """Return what networks are worth on kinds of faults that they never saw."""
    folder = spare_folder()
    known, judged = gathered(range(chunks), folder), gathered(JUDGING, folder)
    rows, ours, theirs, errors, doubts = [], [], [], [], []
    for fold in FOLDS:
        left_out = np.isin(known.kind, [KINDS.index(one) for one in fold])
        others = known.some(~left_out)
        third = others.host % 4 == 0
        forecaster = forecaster_of(others.some(~third), others.some(third))
        asked = [KINDS.index(one) for one in (*fold, *HARMLESS)]
        here = judged.some(np.isin(judged.kind, asked))
        risk = forecaster.probabilities(here.inputs)[:, 0]
        came, weights = here.targets[:, 0].astype(np.float64), here.weights.astype(np.float64)
        mine, rule = average_precision(risk, came, weights), average_precision(here.rule, came, weights)
        low, high = interval(here, risk)
        error = calibration_error(risk, came, weights)
        case = ", ".join(fold)
        rows += [
            Row(case, "AUC-PR within 1 h", "", mine, _RULE, rule, mine / rule),
            Row(case, f"AUC-PR more than {_RULE}, lower end at 95 %", "", low),
            Row(case, f"AUC-PR more than {_RULE}, upper end at 95 %", "", high),
            Row(case, "ECE within 1 h", "", error),
        ]
        ours.append(mine)
        theirs.append(rule)
        errors.append(error)
        doubts.append(low)
    mine, rule = float(np.mean(ours)), float(np.mean(theirs))
    rows += [
        Row("kinds never trained on", "AUC-PR within 1 h", "", mine, _RULE, rule, mine / rule),
        Row("kinds never trained on", "lowest lower end of the difference", "", min(doubts)),
        Row("kinds never trained on", "ECE within 1 h", "", float(np.mean(errors))),
    ]  # fmt: skip
    return rows


def interval(judged: Moments, risk: Floats, draws: int = _DRAWS) -> tuple[float, float]:
    """Return the 95 % interval of how much more AUC-PR `risk` (M,) has than the rule: hosts are drawn with return."""
    random = np.random.default_rng(1)
    came, weights = judged.targets[:, 0].astype(np.float64), judged.weights.astype(np.float64)
    _, host = np.unique(judged.host + 100_000 * judged.kind, return_inverse=True)
    more = []
    for _ in range(draws):
        times = np.bincount(random.integers(0, host.max() + 1, host.max() + 1), minlength=host.max() + 1)[host]
        counted = weights * times
        more.append(average_precision(risk, came, counted) - average_precision(judged.rule, came, counted))
    low, high = np.nanquantile(more, [0.025, 0.975])
    return float(low), float(high)


def leads(forecaster: FailureForecaster, kind: str, interval_seconds: float, count: int, seed: int = 77) -> Floats:
    """Return of `count` hosts which share (N,) of the run-up is left when P(1 h) first exceeds one half, 0 = never."""
    made = hosts(seed, count, interval_seconds, only=[kind])
    found = []
    for values, episode in zip(made.values, made.episodes, strict=True):
        at = np.unique(np.linspace(episode.begin + 1, episode.failed - 1, _POINTS).astype(np.int64))
        over = np.flatnonzero(_told(forecaster, values, at, interval_seconds) > 0.5)
        run_up = episode.failed - episode.begin
        found.append((episode.failed - at[over[0]]) / run_up if len(over) else 0.0)
    return np.array(found)


def highest(forecaster: FailureForecaster, kind: str, interval_seconds: float, count: int, seed: int = 78) -> Floats:
    """Return the highest P(1 h) (N,) of `count` hosts over the whole of an episode that ends well."""
    made = hosts(seed, count, interval_seconds, only=[kind])
    found = []
    for values, episode in zip(made.values, made.episodes, strict=True):
        at = np.unique(np.linspace(max(episode.begin - 20, 30), episode.end, 3 * _POINTS).astype(np.int64))
        found.append(float(_told(forecaster, values, at, interval_seconds).max()))
    return np.array(found)


def _told(forecaster: FailureForecaster, values: Floats, at: NDArray[np.int64], interval_seconds: float) -> Floats:
    seen = features(np.stack([window(values, one) for one in at.tolist()]), interval_seconds)
    return forecaster.probabilities(seen)[:, 0]


def shipped_live(count: int) -> Sequence[Row]:
    """Return how the shipped network does on run-ups like those that are made for real, and on loud hosts."""
    forecaster, rows = load_forecaster(), []
    for interval_seconds in (1.0, 30.0):
        for words, kind in _SOURCES.items():
            left = leads(forecaster, kind, interval_seconds, count)
            case = f"{words} at {interval_seconds:.0f} s"
            rows.append(Row(case, "share of the run-up left at P(1 h) above 0.5, median", "", float(np.median(left))))
            rows.append(Row(case, "failures never told", "", float(np.mean(left == 0))))
        for kind in _NOTHING:
            top = highest(forecaster, kind, interval_seconds, count)
            rows.append(
                Row(f"{kind} at {interval_seconds:.0f} s", "hosts ever above 0.3", "", float((top > 0.3).mean()))
            )
    return rows


def main() -> None:
    """Print all rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=30, help="simulated hosts of each kind for the second part")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    write("failure_simulated", [*never_trained_on(), *shipped_live(arguments.hosts)], ["numpy"], as_json=arguments.json)


if __name__ == "__main__":
    main()
