"""The daemon's three networks in ONNX Runtime and PyTorch, one thread, for the benchmarks; both may be absent."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.epochs import PLANS, parameters_of
from detectors.kernels import Activation, Plan
from detectors.kernels.plan import Float32
from detectors.kernels.reference import split

__all__ = ["PACKAGES", "PLANS", "alternate", "onnx_runtime", "parameters_of", "torch_eager", "torch_module"]

PACKAGES = tuple(name for name in ("numpy", "onnxruntime", "torch") if find_spec(name))

Call = Callable[[], object]


def onnx_runtime(plan: Plan, flat: Float32) -> Callable[[Float32], Call] | None:
    """Return what makes a call of `InferenceSession.run` on given inputs, or None where it is not installed."""
    if not (find_spec("onnxruntime") and find_spec("onnx")):
        return None
    import onnxruntime  # noqa: PLC0415 - a peer, not a dependency
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415

    nodes, weights_of, last = [], [], "x"
    for number, (weights, bias) in enumerate(split(plan, flat)):
        weights_of += [numpy_helper.from_array(weights, f"w{number}"), numpy_helper.from_array(bias, f"b{number}")]
        nodes.append(helper.make_node("Gemm", [last, f"w{number}", f"b{number}"], [f"z{number}"], transB=1))
        last = f"z{number}"
        name = {Activation.RELU: "Relu", Activation.SIGMOID: "Sigmoid"}.get(plan.activations[number])
        if name:
            nodes.append(helper.make_node(name, [last], [f"y{number}"]))
            last = f"y{number}"
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", plan.sizes[0]])]
    outputs = [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["rows", plan.sizes[-1]])]
    graph = helper.make_graph(nodes, "network", inputs, outputs, weights_of)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda rows: lambda: session.run(None, {"x": rows})


def torch_module(plan: Plan, flat: Float32, *, logits: bool = False) -> Any | None:  # noqa: ANN401 - untyped here
    """Return the network as a PyTorch module, or None where PyTorch is not installed."""
    if not find_spec("torch"):
        return None
    import torch  # noqa: PLC0415 - a peer, not a dependency

    torch.set_num_threads(1)
    parts = []
    for number, (weights, bias) in enumerate(split(plan, flat)):
        linear = torch.nn.Linear(weights.shape[1], weights.shape[0])
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weights))
            linear.bias.copy_(torch.from_numpy(bias))
        parts.append(linear)
        if plan.activations[number] is Activation.RELU:
            parts.append(torch.nn.ReLU())
        elif plan.activations[number] is Activation.SIGMOID and not logits:
            parts.append(torch.nn.Sigmoid())
    return torch.nn.Sequential(*parts)


def torch_eager(plan: Plan, flat: Float32) -> Callable[[Float32], Call] | None:
    """Return what makes an eager call without gradients on given inputs, or None."""
    module = torch_module(plan, flat)
    if module is None:
        return None
    import torch  # noqa: PLC0415 - a peer, not a dependency

    def bind(rows: Float32) -> Call:
        tensor = torch.from_numpy(rows)

        def call() -> object:
            with torch.inference_mode():
                return module(tensor)

        return call

    return bind


def alternate(calls: Sequence[Call], *, repeats: int, rounds: int) -> list[float]:
    """Return the median seconds of each call: `rounds` rounds, in each every call `repeats` times in turn."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds + 2):
        for call, seen in zip(calls, times, strict=True):
            started = perf_counter()
            for _ in range(repeats):
                call()
            seen.append((perf_counter() - started) / repeats)
    return [median(seen[2:]) for seen in times]
