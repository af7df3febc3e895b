"""The same numbers as PyTorch: always by outputs that it once gave, and live where it is installed.

PRESAGED_TORCH_PYTHON names a Python that has it.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from detectors.kernels import NUMPY, Activation
from detectors.network import Network
from detectors.parameters import Architecture

pytestmark = pytest.mark.timeout(240)  # the first test waits for three compilations

# torch 2.13.0: Linear(4, 5), activation, Linear(5, 3), activation; SOFTMAX behind a hidden RELU. All weights and
# biases in canonical order are sin(1), sin(2), ...; the two inputs 2 cos(0), 2 cos(1), ... of four each.
RECORDED = {
    "LINEAR": [3.4407172, -1.6134999, -4.826527, -0.43830818, -4.025369, -2.3158143],
    "RELU": [3.2269535, 0.0, 0.0, 1.1789964, 0.18904543, 0.0],
    "LEAKY_RELU": [3.229091, -0.0106326565, -0.043027405, 1.1628233, 0.14690137, -0.01549915],  # LeakyReLU(0.01)
    "SIGMOID": [0.57959145, 0.46438232, 0.29473576, 0.45663825, 0.34445128, 0.34037283],
    "TANH": [0.33923912, -0.17393783, -0.72748196, -0.67060983, -0.9224416, -0.5147924],
    "GELU": [3.2940435, -0.12986527, -1.6441902e-05, 0.94839257, 0.1466618, -0.10933237],  # approximate="none"
    "SOFTMAX": [0.985884, 0.013583793, 0.00053213164, 0.69570434, 0.2585202, 0.045775525],
}


@pytest.mark.parametrize("kind", Activation, ids=lambda kind: kind.name)
def test_what_pytorch_gave_comes_out(backends, kind):
    hidden = Activation.RELU if kind is Activation.SOFTMAX else kind
    architecture = Architecture((4, 5, 3), hidden, kind)
    block = np.sin(np.arange(1, architecture.count + 1)).astype(np.float32)
    inputs = (2 * np.cos(np.arange(8))).astype(np.float32).reshape(2, 4)
    for backend in (*backends, NUMPY):
        got = Network(architecture, block, backend=backend).predict(inputs)
        np.testing.assert_allclose(got.ravel(), RECORDED[kind.name], rtol=1e-5, atol=1e-6)


TORCH = """
import sys, numpy as np, torch
from pathlib import Path
data = np.load(sys.argv[1])
layers, hidden, output = int(data["layers"]), str(data["hidden"]), str(data["output"])
kinds = {"LINEAR": torch.nn.Identity(), "RELU": torch.nn.ReLU(), "LEAKY_RELU": torch.nn.LeakyReLU(0.01),
    "SIGMOID": torch.nn.Sigmoid(), "TANH": torch.nn.Tanh(), "GELU": torch.nn.GELU(), "SOFTMAX": torch.nn.Softmax(1)}
x = torch.tensor(data["inputs"])
with torch.no_grad():
    for i in range(layers):
        x = torch.nn.functional.linear(x, torch.tensor(data[f"w{i}"]), torch.tensor(data[f"b{i}"]))
        if f"scale{i}" in data:
            x = torch.nn.functional.batch_norm(x, torch.tensor(data[f"mean{i}"]), torch.tensor(data[f"variance{i}"]),
                torch.tensor(data[f"scale{i}"]), torch.tensor(data[f"shift{i}"]))
        x = kinds[output if i == layers - 1 else hidden](x)
np.save(sys.argv[2], x.numpy())
"""


@pytest.fixture(scope="module")
def torch_python():
    """A Python that has PyTorch: this one, or the one that PRESAGED_TORCH_PYTHON names."""
    python = os.environ.get("PRESAGED_TORCH_PYTHON", sys.executable)
    asked = [python, "-c", "import torch"]
    if not Path(python).exists() or subprocess.run(asked, capture_output=True, check=False).returncode:
        pytest.skip("PyTorch is not importable, and PRESAGED_TORCH_PYTHON names no Python that has it")
    return python


@pytest.mark.parametrize(
    ("hidden", "output", "shape"),
    [
        ("RELU", "SIGMOID", {"sizes": (256, 128, 64, 32, 1)}),
        ("RELU", "LINEAR", {"sizes": (384, 192, 96, 48, 12)}),
        ("RELU", "SIGMOID", {"sizes": (512, 256, 128, 64, 2)}),
        ("LEAKY_RELU", "SOFTMAX", {"sizes": (96, 64, 32, 5), "batch_norm": True}),
        ("TANH", "LINEAR", {"sizes": (96, 64, 32, 5)}),
        ("GELU", "TANH", {"sizes": (96, 64, 32, 5), "batch_norm": True}),
        ("SIGMOID", "RELU", {"sizes": (96, 64, 32, 5)}),
    ],
)
def test_pytorch_computes_the_same(torch_python, backends, tmp_path, hidden, output, shape):  # noqa: PLR0917 - fixtures
    architecture = Architecture(hidden=hidden, output=output, **shape)
    network = Network(architecture, seed=3)
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(40, architecture.sizes[0])).astype(np.float32)
    data = {"layers": architecture.layers, "hidden": hidden, "output": output, "inputs": inputs}
    for index, layer in enumerate(network.layers):
        data |= {f"w{index}": layer.weights, f"b{index}": layer.biases}
        if layer.norm is not None:
            for part in ("mean", "variance", "scale", "shift"):
                data[f"{part}{index}"] = getattr(layer.norm, part)
    np.savez(tmp_path / "in.npz", **data)
    arguments = [torch_python, "-c", TORCH, str(tmp_path / "in.npz"), str(tmp_path / "out.npy")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    wanted = np.load(tmp_path / "out.npy")
    for backend in (*backends, NUMPY):
        network.use(backend)
        got = network.predict(inputs)
        print(f"{backend.name}: {np.abs(got - wanted).max():.1e}")
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
