"""An epoch of Adam over 20,000 rows of the daemon's three networks, beside PyTorch's fused Adam in this process.

Also XOR on a 2-3-1 network, in epochs a second, and code from the wheel beside the JIT where both serve.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks import networks as peers
from benchmarks.epochs import ROWS, Epoch, data
from benchmarks.report import Row, smaller_is_better, write
from detectors import kernels
from detectors.kernels import Activation, Backend, Loss, Plan, TrainSettings, TrainState, dense

_XOR_EPOCHS = 20_000


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--backend", choices=("auto", "compiled", "jit", "numpy"), default="auto")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "presaged-bench-kernels")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    backend, reasons = kernels.load(arguments.backend, arguments.cache)
    print(f"back end {backend.name}", *reasons, sep="\n  ", file=sys.stderr)
    jit = kernels.load("jit", arguments.cache)[0] if backend.name.startswith("compiled") else None
    rows: list[Row] = []
    for name, plan in peers.PLANS.items():
        for batch in (32, 256):
            calls = [Epoch(backend, plan, batch)]
            theirs = _torch(plan, batch)
            if theirs:
                calls.append(theirs)
            if jit and jit is not kernels.NUMPY:
                calls.append(Epoch(jit, plan, batch))
            seconds = peers.alternate(calls, repeats=1, rounds=arguments.rounds)
            case = f"{name} adam batch {batch}"
            if theirs:
                beside = ("torch fused Adam", seconds[1])
                rows.append(smaller_is_better(case, "epoch of 20,000 rows", "s", seconds[0], beside))
            else:
                rows.append(Row(case, "epoch of 20,000 rows", "s", seconds[0]))
            if len(calls) > 1 + bool(theirs):
                rows.append(smaller_is_better(case, "epoch, wheel and JIT", "s", seconds[0], (jit.name, seconds[-1])))
    rows.append(_xor(backend))
    write("training", rows, peers.PACKAGES, as_json=arguments.json)


def _torch(plan: Plan, batch: int):  # noqa: ANN202 - a closure over an untyped peer
    module = peers.torch_module(plan, peers.parameters_of(plan), logits=True)
    if module is None:
        return None
    import torch  # noqa: PLC0415 - a peer, not a dependency

    inputs, targets = (torch.from_numpy(block) for block in data(plan))
    criterion = torch.nn.BCEWithLogitsLoss() if plan.activations[-1] is Activation.SIGMOID else torch.nn.MSELoss()
    optimizer = torch.optim.Adam(module.parameters(), fused=True)

    def epoch() -> None:
        order = torch.randperm(ROWS)
        for start in range(0, ROWS, batch):
            rows = order[start : start + batch]
            optimizer.zero_grad(set_to_none=True)
            criterion(module(inputs[rows]), targets[rows]).backward()
            optimizer.step()

    return epoch


def _xor(backend: Backend) -> Row:
    plan = dense((2, 3, 1), Activation.TANH, Activation.SIGMOID)
    inputs = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    targets = np.array([[0], [1], [1], [0]], np.float32)
    settings = TrainSettings(loss=Loss.BCE, batch=4, learning_rate=0.05)
    order = np.tile(np.arange(4), _XOR_EPOCHS)
    best = np.inf
    for _ in range(5):
        flat, state = peers.parameters_of(plan, 5), TrainState.start(plan)
        started = perf_counter()
        backend.train(plan, flat, inputs, targets, order, settings, state)
        best = min(best, perf_counter() - started)
    return Row("xor 2-3-1", "epochs", "1/s", _XOR_EPOCHS / best)


if __name__ == "__main__":
    main()
