"""The benchmark on a small made-up task: what it writes can be scored, and companions see their own host only."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.capacity import forecast, horizon_of
from detectors.capacity import load_forecaster
from detectors.forecasts import DAYS, HOURS, MONTHS

ROOT = Path(__file__).parents[2]
PARTS = ("mean", "lo80", "hi80", "lo95", "hi95")


def task(seed: int = 1, hosts: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    history = 100 + np.cumsum(rng.normal(0.2, 1, (hosts * 4, 50)), axis=1)
    history[1, :20] = np.nan
    return {
        "history": history,
        "horizon": np.array(12),
        "season": np.array(7),
        "step_seconds": np.array(86_400.0),
        "group": np.tile(np.arange(4), hosts),
        "unit": np.repeat(np.arange(hosts), 4),
        "origin": np.full(hosts * 4, 50),
    }


def test_it_writes_what_is_scored(tmp_path):
    (tmp_path / "tasks").mkdir()
    np.savez(tmp_path / "tasks" / "made_up.npz", **task())
    command = [sys.executable, "-m", "benchmarks.capacity", "--tasks", tmp_path / "tasks", "--out", tmp_path / "out"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=50)
    for folder in (tmp_path / "out", tmp_path / "out" / "simple"):
        with np.load(folder / "made_up.npz") as told:
            assert set(told.files) == set(PARTS)
            assert all(told[part].shape == (12, 12) and np.isfinite(told[part]).all() for part in PARTS)


def test_a_host_knows_nothing_of_others():
    ours = task()
    other = {**ours, "history": ours["history"].copy()}
    other["history"][4:] = 1000 * np.random.default_rng(2).random((8, 50))
    first, second = (forecast(load_forecaster(), one).bands for one in (ours, other))
    assert np.allclose(first.mean[:4], second.mean[:4])
    assert np.allclose(first.hi95[:4], second.hi95[:4])


def test_the_horizon_is_that_of_the_step():
    assert horizon_of(86_400.0, 7) == DAYS
    assert horizon_of(30.4375 * 86_400, 12) == MONTHS
    assert horizon_of(3600.0, 24) == HOURS
    assert horizon_of(3600.0, 168).season == 168
