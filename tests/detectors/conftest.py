import shutil

import numpy as np
import pytest

from detectors import kernels
from detectors.anomaly import fit_model
from detectors.kernels import build, loader


@pytest.fixture(scope="session")
def model_of(quiet_host):
    """Fit a model of a quiet host; the answer is the model and the rows it was learned from."""

    def build(rows=400, signals=12, seed=0, *, with_network=False, floor=0.01):
        values = quiet_host(rows, signals, seed)
        hours = np.arange(rows) // 120 % 168
        model = fit_model(
            values, hours, range(10, 10 + signals), np.full(signals, floor), with_network=with_network, seed=seed
        )
        return model, values

    return build


@pytest.fixture(scope="session")
def trained(model_of):
    """One model with a network; read only."""
    return model_of(600, 12, with_network=True)[0]


@pytest.fixture(scope="session")
def kernel_cache(tmp_path_factory):
    """A folder that all tests of one session compile into."""
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(scope="session")
def jit(kernel_cache):
    backend, reasons = kernels.load("jit", kernel_cache)
    assert backend is not kernels.NUMPY, reasons
    return backend


@pytest.fixture(scope="session")
def backends(kernel_cache):
    """Every back end of Numba's that this processor can run: all vector widths, and the one without FMA."""
    narrower = {"jit-16": ["jit-8"], "jit-8": [], "jit-generic": []}[loader.host_target()]
    targets = dict.fromkeys([loader.host_target(), *narrower, "jit-generic"])
    return [loader.load_jit(target, kernel_cache) for target in targets]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """The shared objects of the wheel that a linker on this machine can make."""
    if not shutil.which("cc"):
        pytest.skip("no linker: ziglang or cc")
    folder = tmp_path_factory.mktemp("compiled")
    build.build(folder, loader.variants())
    return folder
