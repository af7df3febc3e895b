import numpy as np
import pytest

from detectors import kernels
from detectors.anomaly import fit_model


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
def jit(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBA_CACHE_DIR", "")
        kernels.use_cache(tmp_path_factory.mktemp("kernels"))
        yield kernels.load_jit()
