"""A training that is killed after any epoch goes on there, and ends with the same bits."""

import numpy as np
import pytest

from detectors import learner
from detectors.anomaly import ARCHITECTURE
from detectors.architectures import CATALOGUE
from detectors.checkpoint import Checkpoints
from detectors.consolidation import Elastic
from detectors.features import TOP_SIGNALS
from detectors.model_file import ARRAYS, MANIFEST

EPOCHS = 6


class Killed(BaseException):
    pass


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch):
    monkeypatch.setattr(learner, "_LEAST_STEPS", EPOCHS)
    monkeypatch.setattr(learner, "_KEEP_SECONDS", 0.0)


def rows(seed=0, count=100):
    rng = np.random.default_rng(seed)
    out = np.zeros((count, 256), np.float32)
    block = -np.sort(-np.abs(rng.normal(size=(count, 10, 8))).astype(np.float32), axis=1)
    out[:, :80], out[:, TOP_SIGNALS * 8 :] = block.reshape(count, -1), block.mean(axis=1)
    return out


def train(checkpoints=None, *, until=None, seed=1, normals=None, elastic=None):
    """Train, killed after `until` epochs of this process; returns parameters and how many epochs it took here."""
    told = []

    def progress(_share, text):
        if text.startswith("epoch"):
            told.append(text)
        if until is not None and len(told) == until:
            raise Killed

    normals, more = rows() if normals is None else normals, {"checkpoints": checkpoints, "replayed": rows(7, 30)}
    if elastic is None:
        network = learner.train(normals, 10, ARCHITECTURE.sizes, seed, progress, **more)
    else:
        network = learner.train_on(elastic, normals, 10, seed, progress, **more)
    return network.parameters, len(told)


@pytest.fixture(scope="module")
def elastic():
    count = CATALOGUE["anomaly"].architecture.count
    rng = np.random.default_rng(0)
    return Elastic(np.abs(rng.normal(size=count)).astype(np.float32) * 0.05, np.ones(count, np.float32), 10.0)


@pytest.mark.parametrize("goes_on", [False, True], ids=["anew", "on from another"])
def test_whenever_it_is_killed_the_bits_are_the_same(tmp_path, elastic, goes_on):
    held = elastic if goes_on else None
    whole, epochs = train(elastic=held)
    assert epochs == EPOCHS
    for until in (1, 4, EPOCHS):
        kept = Checkpoints(tmp_path / str(until))
        with pytest.raises(Killed):
            train(kept, until=until, elastic=held)
        parameters, left = train(kept, elastic=held)
        np.testing.assert_array_equal(parameters, whole)
        assert left == EPOCHS - until
    kept = Checkpoints(tmp_path / "again and again")
    for _ in range(2):
        with pytest.raises(Killed):
            train(kept, until=2, elastic=held)
    parameters, left = train(kept, elastic=held)
    np.testing.assert_array_equal(parameters, whole)
    assert left == EPOCHS - 4


@pytest.mark.parametrize("change", [{"seed": 2}, {"normals": rows(3)}], ids=["another seed", "other rows"])
def test_of_another_training_nothing_is_taken_up(tmp_path, change):
    kept = Checkpoints(tmp_path)
    with pytest.raises(Killed):
        train(kept, until=2)
    parameters, epochs = train(kept, **change)
    assert epochs == EPOCHS
    np.testing.assert_array_equal(parameters, train(**change)[0])


@pytest.mark.parametrize("file", [ARRAYS, MANIFEST])
@pytest.mark.parametrize("damage", ["flipped", "truncated", "gone"])
def test_what_is_damaged_is_as_if_it_was_not_there(tmp_path, file, damage):
    kept = Checkpoints(tmp_path)
    with pytest.raises(Killed):
        train(kept, until=2)
    (path,) = tmp_path.glob(f"*/{file}")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content if damage == "flipped" else content[:100])
    if damage == "gone":
        path.unlink()
    parameters, epochs = train(kept)
    assert epochs == EPOCHS
    np.testing.assert_array_equal(parameters, train()[0])


def test_a_kill_while_it_is_written_leaves_the_one_before(tmp_path, monkeypatch):
    kept, whole = Checkpoints(tmp_path), train()[0]
    with pytest.raises(Killed):
        train(kept, until=2)

    def killed(*_arguments):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("detectors.model_file.sync", killed)
        with pytest.raises(Killed):
            train(kept)
    parameters, left = train(kept)
    assert left == EPOCHS - 2
    np.testing.assert_array_equal(parameters, whole)


def test_forgotten_is_forgotten(tmp_path):
    kept = Checkpoints(tmp_path / "unfinished")
    with pytest.raises(Killed):
        train(kept, until=2)
    kept.forget()
    assert not kept.folder.exists()
    assert train(kept)[1] == EPOCHS
