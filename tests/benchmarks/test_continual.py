"""The benchmark of forgetting on small made-up tasks: it measures what it says, and opens no label."""

import numpy as np
import pytest

from benchmarks import anomaly as servers
from benchmarks import continual
from detectors import learner
from detectors.kernels import NUMPY

SCORER = """
import json, sys
from pathlib import Path
import numpy as np
folder = Path(sys.argv[-1])
found = {file.stem: {"vus_pr": float(np.load(file)["score"].mean() > 0) / 2} for file in folder.glob("*.npz")}
print(json.dumps({"presaged": {"per_machine": found}}))
"""


@pytest.fixture
def digits():
    """Ten classes of 64 pixels, each around a centre of its own."""
    rng = np.random.default_rng(0)
    labels = rng.integers(10, size=600)
    centres = rng.uniform(0, 16, (10, 64))
    return {"inputs": (centres[labels] + rng.normal(size=(600, 64)) * 3).astype(np.float32), "labels": labels}


def test_digits_are_forgotten_and_kept(digits, monkeypatch):
    monkeypatch.setattr(continual, "_EPOCHS", 4)
    work = continual.tasks(digits, range(1))
    assert work["train_inputs"].shape == (1, 480, 64)
    assert work["test_inputs"].shape == (1, 120, 64)
    assert sorted(work["permutations"][0, 1].tolist()) == list(range(64))
    plain, elastic, replay, episodes = (
        continual.learn_digits(work, 0, way, strength)
        for way, strength in (("plain", 0.0), ("elastic", 0.1), ("replay", 0.0), ("episodes", 0.0))
    )
    assert plain[-1] > 0.9
    for kept in (elastic, replay, episodes):
        assert np.mean(kept) > np.mean(plain) + 0.02


def test_replay_takes_as_many_rows_as_without():
    rng = np.random.default_rng(0)
    assert sorted(continual._mixed(100, 30, 0, rng).tolist()) == list(range(100))
    mixed = continual._mixed(100, 30, 3, rng)
    assert len(mixed) == 100
    assert ((mixed >= 100) & (mixed < 130)).sum() == 75  # three tasks before this one


def test_servers_are_learned_one_after_the_other_and_judged(tmp_path, monkeypatch, quiet_host):
    monkeypatch.setattr(learner, "_LEAST_STEPS", 60)
    data, scorer = tmp_path / "data", tmp_path / "scorer.py"
    data.mkdir()
    scorer.write_text(SCORER)
    for place in range(2):
        rows = quiet_host(500, 4 + place, seed=place)
        np.savez(data / f"server-{place}.npz", train=rows[:400], test=rows[400:], test_label=np.array([{}], object))
    monkeypatch.setattr(continual, "_WAYS", ("without the penalty", "plain fine-tuning"))
    rows = continual.server_rows(data, scorer, NUMPY, 1)
    kept = {row.case: row.ours for row in rows if row.metric == "VUS-PR kept"}
    assert kept == {f"servers {way}": 1.0 for way in continual._WAYS}


def test_ways_differ_in_what_they_go_on_from(tmp_path, monkeypatch, quiet_host):
    monkeypatch.setattr(learner, "_LEAST_STEPS", 60)
    series = [servers.Series(str(place), quiet_host(400, 5, seed=place), None, 60.0) for place in range(2)]
    series = [servers.Series(one.name, one.train, one.train[:50], one.interval_seconds) for one in series]
    networks = {}
    for way in ("presaged", "plain fine-tuning", "from scratch"):
        host = continual.Host(way, 3, NUMPY)
        first, second = (host.learn(one).network.parameters for one in series)
        again = host.again(series[0]).network.parameters
        np.testing.assert_array_equal(again, second)  # judged with the network as it is at the end
        networks[way] = first, second
    for way in ("plain fine-tuning", "from scratch"):
        np.testing.assert_array_equal(networks["presaged"][0], networks[way][0])
        assert not np.array_equal(*networks[way])
