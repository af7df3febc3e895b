"""The anomaly detector on recorded machines: each file is replayed as the daemon would have seen it.

Enters: `--data` DIR of npz files (`train` and `test` (T, S), or `value` (T,), whose first 15 % is then the
training). Leaves: in `--out`, one npz a machine with `score`, `alarm` (T,) and `attribution` (T, S), for
the deciding score; the same for every part, ablation and baseline in `--out`/VARIANT. Everything goes
through the product's own fitting, scoring and threshold, row by row in time; no label is opened here.
`--scorer` FILE runs a scorer on the predictions once they are written, as `FILE anomaly --data --pred`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from benchmarks.report import Row, write
from detectors import kernels
from detectors.anomaly import fit_model, score_rows
from detectors.calibration import budget_threshold, next_threshold
from detectors.features import FEATURES, SPAN, Float32

Scores = NDArray[np.float64]
Prediction = tuple[Scores, Scores, Float32, float]  # quiet scores, scores, attribution, least threshold

DECIDES = "decides"
_METRICS = {"vus_pr": "ratio", "recall": "ratio", "fa_per_day": "1/day", "hit100": "ratio", "hit150": "ratio"}
_TRAINING_SHARE = 0.15  # of a series that comes in one piece
_INTERVALS = {"asd": 300.0, "jumpstarter": 300.0, "nab": 300.0}  # seconds; a file may say its own
_MINUTE = 60.0
FLOOR = 1e-3  # of the largest value seen: these data have no units whose floors could be known
_BUDGET = 7.0  # episodes a week
_EASE = 1e-6  # a rate of 0 is no division by it
_STEP_SECONDS = 43_200.0  # the daemon's, between two settings of the threshold
_NETWORK_AFTER = 1_440  # rows; a day of history at one a minute


@dataclass(frozen=True, slots=True)
class Series:
    """One machine: what may be learned from, and what is then replayed."""

    name: str
    train: Float32
    test: Float32
    interval_seconds: float

    @property
    def hours(self) -> NDArray[np.int64]:
        """Return the hour of the week of every row of both; which hour is the first is not known, and no matter."""
        rows = np.arange(len(self.train) + len(self.test))
        return (rows * self.interval_seconds // 3600).astype(np.int64) % 168


def read(file: Path, last_hours: float | None) -> Series:
    """Read one file, without its labels; `last_hours`: no more than the end of the training."""
    with np.load(file) as arrays:
        interval = _INTERVALS.get(file.parent.name, _MINUTE)
        if "train" in arrays:
            train, test = arrays["train"], arrays["test"]
        else:
            values = arrays["value"][:, None]
            cut = int(_TRAINING_SHARE * len(values))
            train, test = values[:cut], values[cut:]
    rows = len(train) if last_hours is None else int(last_hours * 3600 / interval)
    return Series(file.stem, train[-rows:].astype(np.float32), test.astype(np.float32), interval)


def thresholds(quiet: Scores, scores: Scores, interval: float, least: float) -> Scores:
    """Return the threshold (T,) that stands at each of `scores` (T,), set every 12 h from what lies before."""
    step = int(_STEP_SECONDS / interval)
    out = np.empty(len(scores))
    current = budget_threshold(quiet, interval, _BUDGET, least)
    for start in range(0, len(scores), step):
        if start:
            current = next_threshold(current, scores[:start], interval, _BUDGET, quiet, least=least)
        out[start : start + step] = current
    return out


def baselines(series: Series) -> dict[str, Prediction]:
    """Return the predictions of what anyone would try first."""
    rows = np.concatenate([series.train, series.test])
    low, centre, high = np.quantile(series.train, [0.25, 0.5, 0.75], axis=0)
    floor = 0.005 * max(1.0, float(np.abs(series.train).max()))
    scale = np.maximum((high - low) / 1.349, np.maximum(0.25 * series.train.std(axis=0), floor))
    deviation = np.abs(rows - centre) / scale
    total = np.concatenate([np.zeros(1), np.cumsum(deviation.max(axis=1))])
    last = np.arange(1, len(total))
    first = np.maximum(last - 5, 0)
    smooth = (total[last] - total[first]) / (last - first)
    chance = np.random.default_rng(0).random(len(rows))
    cut, attribution = len(series.train), deviation[len(series.train) :].astype(np.float32)
    shuffled = np.random.default_rng(1).random(attribution.shape).astype(np.float32)
    return {
        "max-z w5": (smooth[:cut], smooth[cut:], attribution, 0.0),
        "random": (chance[:cut], chance[cut:], shuffled, 0.0),
    }


def replay(series: Series, seed: int, backend: kernels.Backend, without: tuple[str, ...] = ()) -> dict[str, Prediction]:
    """Learn from the training and score the test as the daemon does; the parts beside what decides."""
    largest = np.abs(series.train).max(axis=0).astype(np.float64)
    floor = FLOOR * np.where(largest > 0, largest, 1.0)
    count, hours = len(series.train), series.hours
    network = count >= _NETWORK_AFTER
    model = fit_model(
        series.train, hours[:count], range(len(floor)), floor,
        with_network=network, seed=seed, backend=backend, without=without,
    )  # fmt: skip
    rows = np.concatenate([series.train, series.test])
    own, scores = (
        score_rows(model, rows[begin:end], hours[begin:end]) for begin, end in ((0, count), (count - SPAN, len(rows)))
    )
    quiet, values = model.quiet_scores.astype(np.float64), scores.raw.astype(np.float64)
    out: dict[str, Prediction] = {DECIDES: (quiet, values, scores.attribution, model.least_threshold)}
    for place, part in ((0, "aggregate"), (-1, "network")):  # before there is a network, the aggregate stands for it
        for scales, kind in (("", "parts"), (" single scale", "single")):
            quiet, values = (np.asarray(getattr(rated, kind)[:, place], np.float64) for rated in (own, scores))
            out[part + scales] = (quiet, values, scores.surprise, 0.0)
    out["sum single scale"] = (own.single.mean(axis=1), scores.single.mean(axis=1), scores.surprise, 0.0)
    out["sum"] = (own.parts.mean(axis=1), scores.parts.mean(axis=1), scores.surprise, 0.0)
    return out


def save(folder: Path, series: Series, prediction: Prediction) -> None:
    """Write one prediction; a score that is not known is the lowest."""
    quiet, scores, attribution, least = prediction
    known = np.nan_to_num(scores, nan=float(np.nanmin(scores)))
    alarm = known > thresholds(quiet, known, series.interval_seconds, least)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / f"{series.name}.npz", score=known, alarm=alarm, attribution=attribution)


def main() -> None:
    """Replay every file and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seeds", type=int, default=1, help="the first one decides; the others show the spread")
    parser.add_argument("--ablations", action="store_true", help="also without each of the features")
    parser.add_argument("--last-hours", type=float, help="learn from no more than the end of the training")
    parser.add_argument("--scorer", type=Path, help="a program that scores predictions")
    parser.add_argument("--backend", choices=("auto", "compiled", "jit", "numpy"), default="auto")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "presaged-bench-kernels")
    arguments = parser.parse_args()
    backend, reasons = kernels.load(arguments.backend, arguments.cache)
    print(f"back end {backend.name}", *reasons, sep="\n  ", file=sys.stderr)
    files = sorted(arguments.data.glob("*.npz"))
    runs: list[tuple[str, int, tuple[str, ...]]] = [
        ("" if seed == 0 else f" seed {seed}", seed, ()) for seed in range(arguments.seeds)
    ]
    if arguments.ablations:
        runs += [(f" without {feature}", 0, (feature,)) for feature in FEATURES]
    seconds: list[float] = []
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("replaying", total=len(files) * len(runs))
        for file in files:
            series = read(file, arguments.last_hours)
            for variant, prediction in baselines(series).items():
                save(arguments.out / variant, series, prediction)
            for suffix, seed, without in runs:
                progress.update(task, description=f"{series.name}{suffix}")
                started = perf_counter()
                for variant, prediction in replay(series, seed, backend, without).items():
                    plain = variant == DECIDES and not suffix
                    save(arguments.out if plain else arguments.out / f"{variant}{suffix}", series, prediction)
                seconds.append(perf_counter() - started)
                progress.advance(task)
    rows = [Row(arguments.data.name, "one machine learned and replayed", "s", mean(seconds))]
    if arguments.scorer:
        rows += _judged(arguments.scorer, arguments.data, arguments.out)
    write("anomaly", rows, ("numpy",), as_json=arguments.json)


def _judged(scorer: Path, data: Path, out: Path) -> list[Row]:
    """Have every variant scored, beside max|z| over five rows."""
    folders = {DECIDES: out} | {path.name: path for path in sorted(out.iterdir()) if path.is_dir()}
    found = {name: score(scorer, data, folder) for name, folder in folders.items()}
    rows = []
    for name, figures in found.items():
        for metric, unit in _METRICS.items():
            ours, theirs = figures[metric], found["max-z w5"][metric]
            if ours is None or theirs is None:
                continue
            ratio = (theirs + _EASE) / (ours + _EASE) if unit == "1/day" else (ours + _EASE) / (theirs + _EASE)
            rows.append(Row(f"{data.name} {name}", metric, unit, ours, "max|z| w5", theirs, ratio))
    return rows


def score(scorer: Path, data: Path, folder: Path) -> Mapping[str, Any]:
    """Have the predictions in `folder` scored; returns what the program says of ours."""
    command = [sys.executable, str(scorer), "anomaly", "--data", str(data), "--pred", str(folder)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures: Mapping[str, Any] = json.loads(text.splitlines()[-1])["presaged"]
    return figures


if __name__ == "__main__":
    main()
