"""Learning without forgetting: permuted digits beside Avalanche, and servers one after the other as regimes of a host.

Enters: scikit-learn's digits and Avalanche, from the environment that `--peers` names; with `--data`, npz files of
servers as in `benchmarks.anomaly`, whose predictions `--scorer` judges. Leaves: mean accuracy over five tasks after
the last one, and how much of its VUS-PR on earlier servers the anomaly network keeps. Each side's strength is chosen on
runs of its own, which are not reported. No label of a server is opened here.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from benchmarks import anomaly as servers
from benchmarks.report import Row, write
from detectors import continual, kernels, learner
from detectors.anomaly import AnomalyModel, fit_model, score_rows
from detectors.consolidation import Elastic, Episodes, consolidated, importance
from detectors.features import SPAN
from detectors.kernels import Activation
from detectors.losses import Loss, LossName
from detectors.network import Network
from detectors.optimizers import Sgd
from detectors.parameters import Architecture, initial
from detectors.replay import Memory
from detectors.trainer import Settings, Trainer

Work = dict[str, np.ndarray]

_SHAPE = Architecture((64, 128, 128, 10), output=Activation.LINEAR)
_LOSS = Loss(LossName.CROSS_ENTROPY)
_TASKS = 5
_RATE, _BATCH, _EPOCHS = 0.05, 32, 10
_TUNING, _REPORTED = range(100, 103), range(5)  # seeds
_STRENGTHS, _THEIRS = (0.3, 1.0, 3.0, 10.0), (30.0, 100.0, 300.0, 1000.0)
_BESIDE_REPLAY = (0.0001, 0.001, 0.01, 0.1)
_KEPT_ROWS = 200  # of each digit task, for what replays: an eighth of its rows
_WAYS = ("presaged", "without the penalty", "plain fine-tuning", "from scratch")


def tasks(digits: Mapping[str, np.ndarray], seeds: range) -> Work:
    """Return for each seed a split of the digits, five permutations of the pixels, and first parameters."""
    inputs, labels = digits["inputs"] / 16, digits["labels"]
    cut = round(0.8 * len(inputs))
    whole: dict[str, list[np.ndarray]] = {}
    for seed in seeds:
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(inputs))
        for name, rows in (("train", order[:cut]), ("test", order[cut:])):
            whole.setdefault(f"{name}_inputs", []).append(inputs[rows].astype(np.float32))
            whole.setdefault(f"{name}_labels", []).append(labels[rows])
        whole.setdefault("permutations", []).append(np.array([rng.permutation(64) for _ in range(_TASKS)]))
        whole.setdefault("parameters", []).append(initial(_SHAPE, seed))
    common = {"sizes": np.array(_SHAPE.sizes), "rate": _RATE, "momentum": 0.0, "batch": _BATCH, "epochs": _EPOCHS}
    return {name: np.array(rows) for name, rows in whole.items()} | {
        name: np.array(value) for name, value in common.items()
    }


def learn_digits(work: Work, run: int, way: str, strength: float = 0.0) -> list[float]:
    """Learn the tasks of one run one after the other; return the accuracy on each at the end."""
    network = Network(_SHAPE, work["parameters"][run])
    targets = np.eye(10, dtype=np.float32)[work["train_labels"][run]]
    memory = Memory(64, 10, bytes_=_TASKS * _KEPT_ROWS * 304, most=_TASKS)
    elastic: Elastic | None = None
    rng = np.random.default_rng(run)
    for number, order in enumerate(work["permutations"][run]):
        inputs = np.ascontiguousarray(work["train_inputs"][run][:, order])
        rows, wanted, groups = memory.rows()
        replays = "replay" in way and len(rows) > 0
        settings = Settings(loss=_LOSS, optimizer=Sgd(_RATE, 0.0), epochs=_EPOCHS, batch=_BATCH, seed=10 * run + number)
        episodes = Episodes(rows, wanted, groups, drawn=_BATCH) if "episodes" in way and len(rows) else None
        trainer = Trainer(network, settings, elastic=elastic, episodes=episodes)
        for _ in range(_EPOCHS):
            if replays:  # as many steps as without: a replayed row takes the place of a new one
                mixed = _mixed(len(inputs), len(rows), number, rng)
                trainer.epoch(np.concatenate([inputs, rows])[mixed], np.concatenate([targets, wanted])[mixed])
            else:
                trainer.epoch(inputs, targets)
        trainer.store()
        if strength:
            found = importance(_SHAPE, network.parameters, _LOSS, inputs, targets)
            elastic = consolidated(elastic, network.parameters, found, strength=strength, decay=1.0)
        memory.keep(inputs, targets, np.arange(len(inputs)) + number * len(inputs), rng)
    return [
        float((network.logits(work["test_inputs"][run][:, order]).argmax(1) == work["test_labels"][run]).mean())
        for order in work["permutations"][run]
    ]


def _mixed(new: int, kept: int, earlier: int, rng: np.random.Generator) -> np.ndarray:
    """Return `new` places, of rows or of those kept after them: of every task as many."""
    share = round(new * earlier / (earlier + 1))
    return np.concatenate([rng.permutation(new)[: new - share], new + rng.integers(kept, size=share)])


def _peer(python: Path, *arguments: str) -> str:
    command = [str(python), "-W", "ignore", "-m", "benchmarks.continual_peer", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def digit_rows(python: Path) -> list[Row]:
    """Measure on permuted digits."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _peer(python, "--digits", str(folder / "digits.npz"))
        with np.load(folder / "digits.npz") as arrays:
            digits = dict(arrays)
        works = {"tuning": tasks(digits, _TUNING), "reported": tasks(digits, _REPORTED)}
        for part, work in works.items():
            np.savez(folder / f"{part}.npz", **work)

        def theirs(part: str, *strengths: float) -> dict[float, list[list[float]]]:
            text = _peer(python, "--work", str(folder / f"{part}.npz"), "--strengths", *map(str, strengths))
            found = json.loads(text[text.rindex('{"accuracy"') :])["accuracy"]
            return {float(strength): runs for strength, runs in found.items()}

        tried = theirs("tuning", *_THEIRS)
        chosen = max(tried, key=lambda strength: float(np.mean(tried[strength])))
        reported = theirs("reported", 0.0, chosen)
    ours = {
        strength: [learn_digits(works["tuning"], run, "elastic", strength) for run in range(len(_TUNING))]
        for strength in _STRENGTHS
    }
    best = max(ours, key=lambda strength: float(np.mean(ours[strength])))
    beside = {
        strength: [learn_digits(works["tuning"], run, "replay", strength) for run in range(len(_TUNING))]
        for strength in _BESIDE_REPLAY
    }
    light = max(beside, key=lambda strength: float(np.mean(beside[strength])))
    print(f"chosen on other runs: strength {best:g}, beside replay {light:g}, ewc_lambda {chosen:g}", file=sys.stderr)
    peer = np.mean(reported[chosen], axis=1)
    rows = [_accuracy("plain fine-tuning by Avalanche", np.mean(reported[0.0], axis=1), peer)]
    ways = {
        "plain fine-tuning": ("plain", 0.0),
        "elastic": ("elastic", best),
        "episodes": ("episodes", 0.0),
        "replay": ("replay", 0.0),
        "elastic and replay": ("replay", light),
        "elastic as strong as alone, and replay": ("replay", best),
    }
    for name, (way, strength) in ways.items():
        found = [learn_digits(works["reported"], run, way, strength) for run in range(len(_REPORTED))]
        rows += [_accuracy(name, np.mean(found, axis=1), peer)]
        rows += [Row(f"digits {name}", "least of the seeds", "ratio", float(np.mean(found, axis=1).min()))]
    return rows


def _accuracy(name: str, ours: np.ndarray, theirs: np.ndarray) -> Row:
    """Return the mean accuracy over runs and tasks, beside Avalanche's."""
    mean, peer = float(ours.mean()), float(theirs.mean())
    return Row(f"digits {name}", "mean accuracy", "ratio", mean, "Avalanche EWC", peer, mean / peer)


class Host:
    """Servers learned one after the other, each with its own context, by one network that goes on."""

    def __init__(self, way: str, seed: int, backend: kernels.Backend) -> None:
        self._way, self._seed, self._backend = way, seed, backend
        self._known: continual.Knowledge | None = None
        self._stamp = 0
        self.figures: list[Mapping[str, float]] = []

    def learn(self, series: servers.Series) -> AnomalyModel:
        """Learn this server; return its model."""
        model = self._fit(series, self._learn, self._stamp)
        self._stamp += len(series.train)
        return model

    def again(self, series: servers.Series) -> AnomalyModel:
        """Return a model of a server from before, with the network as it is now."""
        return self._fit(series, self._as_it_is, self._stamp)

    def _fit(self, series: servers.Series, learn: continual.Learn, first: int) -> AnomalyModel:
        largest = np.abs(series.train).max(axis=0).astype(np.float64)
        count = len(series.train)
        return fit_model(
            series.train, series.hours[:count], range(series.train.shape[1]),
            servers.FLOOR * np.where(largest > 0, largest, 1.0), with_network=True, seed=self._seed,
            backend=self._backend, learn=learn, stamps=np.arange(first, first + count),
        )  # fmt: skip

    def _learn(self, normals, stamps, signals, **options) -> continual.Learned:  # noqa: ANN001, ANN003 - as Learn
        if self._way in ("presaged", "without the penalty"):
            known = self._known
            if known is not None and self._way != "presaged":
                known = replace(known, elastic=replace(known.elastic, strength=0.0))
            learned = continual.learn(normals, stamps, signals, known=known, **options)
        elif self._known is None or self._way == "from scratch":
            learned = continual.learn(normals, stamps, signals, **options)
        else:
            free = replace(self._known.elastic, strength=0.0)
            network = learner.train_on(free, normals, signals, options.pop("seed"), options.pop("progress"), **options)
            learned = continual.Learned(
                network, replace(self._known, elastic=replace(free, anchor=network.parameters)), {}
            )
        self._known = learned.knowledge
        self.figures.append(learned.figures)
        return learned

    def _as_it_is(self, _normals, _stamps, _signals, **_options) -> continual.Learned:  # noqa: ANN001, ANN003
        assert self._known is not None  # noqa: S101 - something was learned before
        network = Network(learner.CATALOGUE["anomaly"].architecture, self._known.elastic.anchor, backend=self._backend)
        return continual.Learned(network, self._known, {})


def server_rows(data: Path, scorer: Path, backend: kernels.Backend, seeds: int) -> list[Row]:
    """Measure what is kept of earlier servers: VUS-PR of the network's own part, at the end against when it was new."""
    files = [servers.read(file, None) for file in sorted(data.glob("*.npz"))]
    found: dict[str, list[tuple[float, float, float]]] = {}
    with tempfile.TemporaryDirectory() as name, Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("learning", total=len(_WAYS) * seeds * len(files))
        for way in _WAYS:
            for seed in range(seeds):
                order = [files[place] for place in np.random.default_rng(seed).permutation(len(files))]
                host, judge = Host(way, seed, backend), partial(_judged, scorer, data)
                new = {}
                for series in order:
                    progress.update(task, description=f"{way}, seed {seed}: {series.name}")
                    new[series.name] = (series, host.learn(series))
                    progress.advance(task)
                end = {series.name: (series, host.again(series)) for series in order}
                at_first, at_end = (judge(one, Path(tempfile.mkdtemp(dir=name))) for one in (new, end))
                earlier = [series.name for series in order[:-1]]
                kept = sum(at_end[one] for one in earlier) / sum(at_first[one] for one in earlier)
                least = min(at_end[one] / at_first[one] for one in earlier)
                found.setdefault(way, []).append((kept, least, float(np.mean(list(at_end.values())))))
                print(way, seed, f"kept {kept:.3f}", *host.figures, sep="\n  ", file=sys.stderr)
    rows = []
    for way, figures in found.items():
        kept, least, end = np.mean(figures, axis=0)
        plain = np.mean(found["plain fine-tuning"], axis=0)
        rows += [
            Row(f"servers {way}", "VUS-PR kept", "ratio", kept, "plain fine-tuning", plain[0], kept / plain[0]),
            Row(
                f"servers {way}", "VUS-PR kept, worst", "ratio", least, "plain fine-tuning", plain[1], least / plain[1]
            ),
            Row(
                f"servers {way}",
                "VUS-PR of all at the end",
                "ratio",
                end,
                "plain fine-tuning",
                plain[2],
                end / plain[2],
            ),
            Row(f"servers {way}", "VUS-PR kept, least of seeds", "ratio", min(one[0] for one in figures)),
        ]
    return rows


def _judged(
    scorer: Path, data: Path, models: Mapping[str, tuple[servers.Series, AnomalyModel]], out: Path
) -> dict[str, float]:
    """Return the VUS-PR of each server's network, which scores the test row by row in time; alarms are none of this."""
    for name, (series, model) in models.items():
        count = len(series.train)
        rows = np.concatenate([series.train, series.test])[count - SPAN :]
        scores = score_rows(model, rows, series.hours[count - SPAN :])
        np.savez_compressed(
            out / f"{name}.npz", score=scores.parts[:, -1], alarm=np.zeros(len(series.test), np.bool_),
            attribution=scores.surprise,
        )  # fmt: skip
    judged = servers.score(scorer, data, out)["per_machine"]
    return {name: float(judged[name]["vus_pr"]) for name in models}


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peers", type=Path, default=Path(".venv/continual/bin/python"))
    parser.add_argument("--data", type=Path, help="a folder of servers, or one with anomaly/smd below it")
    parser.add_argument("--scorer", type=Path, help="a program that scores predictions; else eval/score.py beside it")
    parser.add_argument("--seeds", type=int, default=3, help="orders of the servers")
    parser.add_argument("--backend", choices=("auto", "compiled", "jit", "numpy"), default="auto")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "presaged-bench-kernels")
    arguments = parser.parse_args()
    rows: list[Row] = []
    if arguments.peers.exists():
        rows += digit_rows(arguments.peers)
    else:
        print(f"{arguments.peers} is not there: no digits, and no Avalanche beside", file=sys.stderr)
    if arguments.data:
        below = arguments.data / "anomaly" / "smd"
        data = below if below.is_dir() else arguments.data
        scorer = arguments.scorer or arguments.data.parent / "eval" / "score.py"
        backend, reasons = kernels.load(arguments.backend, arguments.cache)
        print(f"back end {backend.name}", *reasons, sep="\n  ", file=sys.stderr)
        rows += server_rows(data, scorer, backend, arguments.seeds)
    write("continual", rows, ("numpy",), as_json=arguments.json)


if __name__ == "__main__":
    main()
