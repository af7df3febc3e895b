"""Avalanche's elastic weight consolidation on permuted digits; runs in an environment of its own.

Enters: a file that `benchmarks.continual` wrote, with the permutations and first parameters of each run. Leaves:
one JSON object on standard output, the accuracy on every task after the last one. With `--digits` it only hands out
scikit-learn's 8x8 digits, which the product's environment does not have.
"""

import argparse
import json
import logging
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np


def main() -> None:
    """Hand out the digits, or train and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digits", type=Path, help="write the digits to this file and end")
    parser.add_argument("--work", type=Path, help="the runs to train")
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.0], help="ewc_lambda; 0 is plain fine-tuning")
    parser.add_argument("--decay", type=float, help="mode online with this decay_factor, else separate")
    arguments = parser.parse_args()
    if arguments.digits:
        from sklearn.datasets import load_digits  # noqa: PLC0415 - nothing else needs it

        inputs, labels = load_digits(return_X_y=True)
        np.savez_compressed(arguments.digits, inputs=inputs.astype(np.float32), labels=labels.astype(np.int64))
        return
    with np.load(arguments.work) as work:
        whole = dict(work)
    found = {
        str(strength): [_run(whole, run, strength, arguments.decay) for run in range(len(whole["permutations"]))]
        for strength in arguments.strengths
    }
    json.dump({"accuracy": found, "versions": _versions()}, sys.stdout)


def _versions() -> dict[str, str]:
    from importlib import metadata  # noqa: PLC0415 - the peer's environment only

    return {name: metadata.version(name) for name in ("avalanche-lib", "torch", "scikit-learn")}


def _modules():  # noqa: ANN202 - the peer is untyped
    """Import torch and Avalanche, beside a torchvision that may be built for another torch.

    Avalanche reads data sets through torchvision, which from PyPI is built against the torch with CUDA. Two of its
    operators are asked for at import; none is ever called here, so that naming them is enough.
    """
    import torch  # noqa: PLC0415

    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    logging.disable(logging.WARNING)
    from avalanche.benchmarks import benchmark_from_datasets  # noqa: PLC0415
    from avalanche.benchmarks.utils import as_classification_dataset  # noqa: PLC0415
    from avalanche.training.plugins import EvaluationPlugin  # noqa: PLC0415
    from avalanche.training.supervised import EWC, Naive  # noqa: PLC0415

    return torch, benchmark_from_datasets, as_classification_dataset, EvaluationPlugin, EWC, Naive


def _run(work: dict[str, np.ndarray], run: int, strength: float, decay: float | None) -> list[float]:
    """Train on the tasks of one run, one after the other; return the accuracy on each at the end."""
    torch, from_datasets, as_dataset, evaluation, ewc, naive = _modules()
    torch.manual_seed(run)
    torch.set_num_threads(1)
    sizes = work["sizes"].tolist()
    layers = []
    at = 0
    for wide, out in pairwise(sizes):
        layer = torch.nn.Linear(wide, out)
        block = work["parameters"][run]
        with torch.no_grad():
            layer.weight[:] = torch.from_numpy(block[at : at + wide * out].reshape(out, wide))
            at += wide * out
            layer.bias[:] = torch.from_numpy(block[at : at + out])
            at += out
        layers += [layer, torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    train, test = (
        [
            torch.utils.data.TensorDataset(
                torch.from_numpy(np.ascontiguousarray(work[f"{part}_inputs"][run][:, order])),
                torch.from_numpy(work[f"{part}_labels"][run]),
            )
            for order in work["permutations"][run]
        ]
        for part in ("train", "test")
    )
    for part in (*train, *test):
        part.targets = part.tensors[1].tolist()
    benchmark = from_datasets(train=[as_dataset(part) for part in train], test=[as_dataset(part) for part in test])
    common = {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=float(work["rate"]), momentum=float(work["momentum"])),
        "criterion": torch.nn.CrossEntropyLoss(),
        "train_mb_size": int(work["batch"]),
        "train_epochs": int(work["epochs"]),
        "eval_mb_size": 1024,
        "evaluator": evaluation(),
    }
    if strength == 0:
        strategy = naive(**common)
    elif decay is None:
        strategy = ewc(ewc_lambda=strength, **common)
    else:
        strategy = ewc(ewc_lambda=strength, mode="online", decay_factor=decay, **common)
    for experience in benchmark.train_stream:
        strategy.train(experience, num_workers=0)
    model.eval()
    with torch.no_grad():
        return [float((model(part.tensors[0]).argmax(1) == part.tensors[1]).float().mean()) for part in test]


if __name__ == "__main__":
    main()
