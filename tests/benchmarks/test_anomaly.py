import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


def machine(rng):
    load = np.sin(np.arange(2000) / 50)[:, None]
    return (load + 0.1 * rng.normal(size=(2000, 4))).astype(np.float32)


def replay(data, out):
    command = [sys.executable, "-m", "benchmarks.anomaly", "--data", data, "--out", out, "--backend", "numpy", "--json"]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    rows = machine(np.random.default_rng(1))
    rows[1500:1520, 2] += 5
    changed = rows.copy()
    changed[1700:] += 3  # the same until then
    for name, values in (("one", rows), ("other", changed)):
        np.savez(
            folder / f"{name}.npz", train=values[:1000], test=values[1000:], test_label=np.array([{}], dtype=object)
        )
    return folder


def test_predictions_are_causal_and_complete_and_no_label_is_opened(data, tmp_path):
    answer = replay(data, tmp_path / "out")
    assert answer["benchmark"] == "anomaly"
    one, other = (np.load(tmp_path / "out" / f"{name}.npz") for name in ("one", "other"))
    assert one["score"].shape == one["alarm"].shape == (1000,)
    assert one["attribution"].shape == (1000, 4)
    np.testing.assert_allclose(one["score"][:700], other["score"][:700], atol=1e-6)
    np.testing.assert_array_equal(one["alarm"][:700], other["alarm"][:700])
    assert one["score"][500:520].max() > 2 * np.quantile(one["score"][:500], 0.99)
    assert one["attribution"][505].argmax() == 2
    for variant in ("aggregate", "aggregate single scale", "max-z w5", "random"):
        assert (tmp_path / "out" / variant / "one.npz").exists()
