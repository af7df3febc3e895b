import json
import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from detectors import kernels
from detectors.architectures import ANOMALY
from detectors.network import Network

SHAPES = [(1, 1), (3, 2), (7, 5, 3, 2), (5, 9, 4), (64, 1, 64, 3), ANOMALY]


def child(code, *, cache=None):
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    if cache is not None:
        environment["NUMBA_CACHE_DIR"] = str(cache)
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=50, check=False
    )


def both(jit, network, inputs):
    expected = network.logits(inputs)
    network.use(jit)
    return expected, network.logits(inputs)


@pytest.mark.parametrize("sizes", SHAPES, ids=lambda sizes: "-".join(map(str, sizes)))
@pytest.mark.parametrize("rows", [1, 2, 33])
def test_numba_computes_what_numpy_computes(jit, sizes, rows, seed):
    rng = np.random.default_rng(seed)
    for _ in range(5):
        network = Network(sizes)
        for weights, bias in zip(network.weights, network.biases, strict=True):
            weights[:] = rng.normal(size=weights.shape) / np.sqrt(weights.shape[1])
            bias[:] = rng.normal(size=bias.shape)
        expected, got = both(jit, network, rng.normal(size=(rows, sizes[0])).astype(np.float32))
        assert expected.std() > 0 or expected.size == 1
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_comes_out_the_same(jit, bad):
    rng = np.random.default_rng(3)
    network = Network((6, 5, 4, 2))
    network.parameters[:] = rng.normal(size=network.parameters.size)
    inputs = rng.normal(size=(4, 6)).astype(np.float32)
    inputs[1, 2] = bad
    with np.errstate(invalid="ignore"):
        expected, got = both(jit, network, inputs)
    assert not np.isfinite(expected[1]).all()
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)  # NaN equals NaN here


def test_a_parameter_that_is_not_a_number_reaches_the_score(jit):
    network = Network((3, 2, 1), np.full(11, 0.5, np.float32))
    network.weights[0][1, 1] = np.nan
    expected, got = both(jit, network, np.ones((1, 3), np.float32))
    assert np.isnan(expected).all()
    assert np.isnan(got).all()


def test_the_reference_is_the_textbook(seed):
    rng = np.random.default_rng(seed)
    network = Network((5, 4, 3))
    network.parameters[:] = rng.normal(size=network.parameters.size)
    inputs = rng.normal(size=(6, 5)).astype(np.float32)
    values, at = inputs.astype(np.float64), 0
    for wide, out in pairwise(network.sizes):
        weights = network.parameters[at : at + wide * out].reshape(out, wide).astype(np.float64)
        values = values @ weights.T + network.parameters[at + wide * out : at + wide * out + out]
        at += wide * out + out
        values = np.maximum(values, 0) if out == 4 else values
    np.testing.assert_allclose(network.logits(inputs), values, rtol=1e-5, atol=1e-5)


def test_a_wrong_back_end_does_not_serve(jit):
    def wrong(parameters, sizes, inputs, scratch, logits):
        jit.forward(parameters, sizes, inputs, scratch, logits)
        logits += 1e-3

    with pytest.raises(kernels.BackendError, match="the back end wrong differs from NumPy"):
        kernels._self_test(kernels.Backend("wrong", wrong))


def test_kernels_are_compiled_once_in_a_child_and_then_taken_from_the_cache(tmp_path):
    code = f"""
import json, pathlib, time
from detectors import kernels
cache = pathlib.Path({str(tmp_path)!r})
before = kernels.is_cached(cache)
kernels.compile_all(cache)
from detectors.kernels import forward
print(json.dumps([before, kernels.is_cached(cache), sum(forward.forward.stats.cache_hits.values())]))
"""
    assert not kernels.is_cached(tmp_path)
    first = child(code)
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout) == [False, True, 0]
    assert json.loads(child(code).stdout) == [True, True, 1]
    assert kernels.is_cached(tmp_path)
    folder = tmp_path / f"kernels-{kernels.cache_key()}"
    assert list(folder.rglob("*.nbi"))
    (folder / "complete").unlink()  # a child that was killed half way
    assert not kernels.is_cached(tmp_path)


@pytest.mark.parametrize("below", ["file", "file/deeper"])
def test_an_unwritable_cache_is_a_back_end_error_and_not_a_crash(tmp_path, below):
    (tmp_path / "file").write_text("in the way: even root cannot make a folder of it")
    code = """
from detectors import kernels
try:
    kernels.load_jit()
except kernels.BackendError as error:
    print("refused:", error)
"""
    done = child(code, cache=tmp_path / below)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("refused: Numba cannot serve: ")


def test_numpy_serves_without_numba_being_imported():
    code = """
import sys
import numpy as np
from detectors.network import Network
Network((3, 1)).logits(np.zeros((1, 3), np.float32))
print("numba" in sys.modules)
"""
    assert child(code).stdout.strip() == "False"


def test_the_cache_key_follows_the_source(tmp_path, monkeypatch):
    before = kernels.cache_key()
    for source in (Path(kernels.__file__), Path(kernels.reference.__file__)):
        shutil.copy(source, tmp_path / source.name)
    monkeypatch.setattr(kernels, "__file__", str(tmp_path / "__init__.py"))
    other = kernels.cache_key.__wrapped__()
    (tmp_path / "reference.py").write_text("changed")
    assert len({before, other, kernels.cache_key.__wrapped__()}) == 3
