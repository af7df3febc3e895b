"""One sample and batches through the daemon's three networks, beside ONNX Runtime and PyTorch in this process.

Also: the three in sequence with cold caches, as a 30 s tick finds them; the share of the core's measured
FMA peak; creating a network with its kernels ready; and compiling every kernel into an empty cache.
"""

import argparse
import ctypes
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from benchmarks import networks as peers
from benchmarks.report import Row, smaller_is_better, write
from detectors import kernels
from detectors.architectures import create_network
from detectors.kernels import loader
from detectors.kernels.plan import Float32, Plan

Call = Callable[[], object]
Peers = list[tuple[str, Callable[[Float32], Call]]]

_COLD_BYTES = 96 * 2**20  # more than a last-level cache
_PEAK_CHAINS = 24


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--backend", choices=("auto", "compiled", "jit", "numpy"), default="auto")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "presaged-bench-kernels")
    parser.add_argument("--rounds", type=int, default=31)
    arguments = parser.parse_args()
    backend, reasons = kernels.load(arguments.backend, arguments.cache)
    print(f"back end {backend.name}", *reasons, sep="\n  ", file=sys.stderr)
    lanes = loader.lanes_of(loader.host_target())
    rows: list[Row] = []
    networks: list[_Network] = []
    for name, plan in peers.PLANS.items():
        flat = peers.parameters_of(plan)
        beside: Peers = [
            (peer, bind)
            for peer, bind in (
                ("onnxruntime", peers.onnx_runtime(plan, flat)),
                ("torch eager", peers.torch_eager(plan, flat)),
            )
            if bind
        ]
        networks.append(_Network(name, plan, flat, beside))
        for batch in (1, 8, 32, 256, 1024):
            rows += _batch(backend, networks[-1], batch, arguments.rounds, lanes)
    rows += _cold(backend, networks, arguments.rounds)
    rows += [_create(backend), _compile()]
    write("inference", rows, peers.PACKAGES, as_json=arguments.json)


@dataclass(frozen=True, slots=True)
class _Network:
    name: str
    plan: Plan
    flat: Float32
    beside: Peers


def _call(backend: kernels.Backend, plan: Plan, flat: Float32, inputs: Float32) -> Call:
    packed, scratch = backend.pack(plan, flat), backend.scratch(plan, len(inputs))
    outputs = np.zeros((len(inputs), plan.sizes[-1]), np.float32)
    return lambda: backend.forward(plan, packed, inputs, scratch, outputs)


def _batch(backend: kernels.Backend, network: _Network, batch: int, rounds: int, lanes: int) -> list[Row]:
    plan, beside = network.plan, network.beside
    inputs = np.random.default_rng(1).normal(size=(batch, plan.sizes[0])).astype(np.float32)
    ours = _call(backend, plan, network.flat, inputs)
    seconds, *others = peers.alternate(
        [ours, *(bind(inputs) for _, bind in beside)], repeats=max(1, 1000 // batch), rounds=rounds
    )
    case = f"{network.name} f32 batch {batch}"
    rows = [
        smaller_is_better(case, "call", "µs", seconds * 1e6, (peer, theirs * 1e6))
        for (peer, _), theirs in zip(beside, others, strict=True)
    ] or [Row(case, "call", "µs", seconds * 1e6)]
    if batch >= 256:
        peak, again = _peak(lanes), peers.alternate([ours], repeats=max(1, 4000 // batch), rounds=5)[0]
        work = 2.0 * batch * sum(wide * out for wide, out in zip(plan.sizes[:-1], plan.sizes[1:], strict=True))
        rows.append(Row(case, "GF/s", "GF/s", work / again / 1e9))
        rows.append(Row(case, "share of the FMA peak", "ratio", work / again / peak))
    return rows


def _peak(lanes: int) -> float:
    """Return this core's multiply-adds in FLOP/s: independent chains in registers, no memory."""
    from llvmlite import binding as llvm  # noqa: PLC0415 - comes with Numba; only measured here

    kind, turns = f"<{lanes} x float>", 200_000
    chains = range(_PEAK_CHAINS)
    one = f"{kind} {{}}".format("<" + ", ".join(["float 1.0"] * lanes) + ">")
    heads = "\n".join(f"%s{c} = phi {kind} [ zeroinitializer, %entry ], [ %n{c}, %loop ]" for c in chains)
    steps = "\n".join(f"%n{c} = call {kind} @llvm.fma.v{lanes}f32({kind} %f, {kind} %f, {kind} %s{c})" for c in chains)
    sums, last = "", "%n0"
    for c in chains[1:]:
        sums += f"%t{c} = fadd {kind} {last}, %n{c}\n"
        last = f"%t{c}"
    text = f"""
declare {kind} @llvm.fma.v{lanes}f32({kind}, {kind}, {kind})
define float @peak(i64 %turns, float %x) {{
entry:
  %e = insertelement {kind} {one.removeprefix(kind)}, float %x, i32 0
  %f = shufflevector {kind} %e, {kind} %e, <{lanes} x i32> zeroinitializer
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  {heads}
  {steps}
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %turns
  br i1 %more, label %loop, label %done
done:
  {sums}
  %out = extractelement {kind} {last}, i32 0
  ret float %out
}}"""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features().flatten() + ",-prefer-256-bit"
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=3, jit=True
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(text), machine)
    engine.finalize_object()
    run = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_int64, ctypes.c_float)(engine.get_function_address("peak"))
    best = min(peers.alternate([lambda: run(turns, 0.5)], repeats=1, rounds=1)[0] for _ in range(9))
    return 2.0 * lanes * _PEAK_CHAINS * turns / best


def _cold(backend: kernels.Backend, networks: list[_Network], rounds: int) -> list[Row]:
    inputs = [np.ones((1, network.plan.sizes[0]), np.float32) for network in networks]
    ours = [_call(backend, n.plan, n.flat, rows) for n, rows in zip(networks, inputs, strict=True)]
    sequences = {backend.name: ours}
    for network, rows in zip(networks, inputs, strict=True):
        for peer, bind in network.beside:
            sequences.setdefault(peer, []).append(bind(rows))
    flood = np.zeros(_COLD_BYTES // 8)
    times: dict[str, list[float]] = {name: [] for name in sequences}
    for _ in range(2 * rounds):
        for name, calls in sequences.items():
            flood += 1
            started = perf_counter()
            for call in calls:
                call()
            times[name].append(perf_counter() - started)
    mine = median(times.pop(backend.name)) * 1e6
    case = "three networks f32 cold caches"
    rows = [smaller_is_better(case, "sequence", "µs", mine, (peer, median(seen) * 1e6)) for peer, seen in times.items()]
    return rows or [Row(case, "sequence", "µs", mine)]


def _create(backend: kernels.Backend) -> Row:
    sample = np.zeros(512, np.float32)

    def create() -> object:
        return create_network("failure", backend=backend).predict(sample)

    seconds = peers.alternate([create], repeats=1, rounds=31)[0]
    return Row("failure network", "created, first answer", "ms", seconds * 1e3)


def _compile() -> Row:
    with tempfile.TemporaryDirectory() as folder:
        started = perf_counter()
        command = [sys.executable, "-m", "detectors.kernels.compiler", folder, loader.host_target()]
        subprocess.run(command, check=True, capture_output=True)
        return Row("every kernel, empty cache", "compiled in a child", "s", perf_counter() - started)


if __name__ == "__main__":
    main()
