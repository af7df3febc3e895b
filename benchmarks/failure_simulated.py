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
_NOTHING = ("quiet", "stirs", "stress", "backup", "chatter", "full_for_long")
_RULE = "predict_linear"


def never_trained_on(chunks: int = _CHUNKS) -> list[Row]:
    """Return what networks are worth on kinds of faults that they never saw."""
    folder = spare_folder()
    known, judged = gathered(range(chunks), folder), gathered(JUDGING, folder)
    asked, risks = [], []
    for fold in FOLDS:
        others = known.some(~np.isin(known.kind, [KINDS.index(one) for one in fold]))
        third = others.host % 4 == 0
        forecaster = forecaster_of(others.some(~third), others.some(third))
        asked.append(np.isin(judged.kind, [KINDS.index(one) for one in (*fold, *HARMLESS)]))
        risks.append(forecaster.probabilities(judged.inputs)[:, 0])
    came, weights = judged.targets[:, 0].astype(np.float64), judged.weights.astype(np.float64)
    gains = gained(judged, asked, risks)  # (draws, folds)
    rows, figures = [], []
    for place, fold in enumerate(FOLDS):
        here, risk = asked[place], risks[place]
        mine, rule = (average_precision(one[here], came[here], weights[here]) for one in (risk, judged.rule))
        error = calibration_error(risk[here], came[here], weights[here])
        rows += _told(", ".join(fold), mine, rule, error, gains[:, place])
        figures.append((mine, rule, error))
    mine, rule, error = np.mean(figures, axis=0).tolist()
    return [*rows, *_told("kinds never trained on, mean", mine, rule, error, gains.mean(axis=1))]


def _told(case: str, mine: float, rule: float, error: float, gains: Floats) -> list[Row]:
    low, high = np.nanquantile(gains, [0.025, 0.975]).tolist()
    return [
        Row(case, "AUC-PR within 1 h", "", mine, _RULE, rule, mine / rule),
        Row(case, f"AUC-PR more than {_RULE}, lower end at 95 %", "", low),
        Row(case, f"AUC-PR more than {_RULE}, upper end at 95 %", "", high),
        Row(case, "ECE within 1 h", "", error),
    ]


def gained(judged: Moments, asked: Sequence[NDArray[np.bool_]], risks: Sequence[Floats], draws: int = _DRAWS) -> Floats:
    """Return how much more AUC-PR each of `risks` (M,) has than the rule over the moments `asked` (M,): (draws, folds).

    Each time hosts are drawn with return, the same ones for all: harmless hosts are in every fold.
    """
    random = np.random.default_rng(1)
    came, weights = judged.targets[:, 0].astype(np.float64), judged.weights.astype(np.float64)
    _, host = np.unique(judged.host + 100_000 * judged.kind, return_inverse=True)
    more = np.empty((draws, len(risks)))
    for draw in range(draws):
        times = np.bincount(random.integers(0, host.max() + 1, host.max() + 1), minlength=host.max() + 1)[host]
        counted = weights * times
        for fold, (here, risk) in enumerate(zip(asked, risks, strict=True)):
            mine, rule = (average_precision(one[here], came[here], counted[here]) for one in (risk, judged.rule))
            more[draw, fold] = mine - rule
    return more


def leads(forecaster: FailureForecaster, kind: str, interval_seconds: float, count: int, seed: int = 77) -> Floats:
    """Return of `count` hosts which share (N,) of the run-up is left when P(1 h) first exceeds one half, 0 = never."""
    made = hosts(seed, count, interval_seconds, only=[kind])
    found = []
    for values, episode in zip(made.values, made.episodes, strict=True):
        at = np.unique(np.linspace(episode.begin + 1, episode.failed - 1, _POINTS).astype(np.int64))
        over = np.flatnonzero(_said(forecaster, values, at, interval_seconds) > 0.5)
        run_up = episode.failed - episode.begin
        found.append((episode.failed - at[over[0]]) / run_up if len(over) else 0.0)
    return np.array(found)


def highest(forecaster: FailureForecaster, kind: str, interval_seconds: float, count: int, seed: int = 78) -> Floats:
    """Return the highest P(1 h) (N,) of `count` hosts over the whole of an episode that ends well."""
    made = hosts(seed, count, interval_seconds, only=[kind])
    found = []
    for values, episode in zip(made.values, made.episodes, strict=True):
        at = np.unique(np.linspace(max(episode.begin - 20, 30), episode.end, 3 * _POINTS).astype(np.int64))
        found.append(float(_said(forecaster, values, at, interval_seconds).max()))
    return np.array(found)


def _said(forecaster: FailureForecaster, values: Floats, at: NDArray[np.int64], interval_seconds: float) -> Floats:
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
