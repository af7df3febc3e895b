"""What a refined network keeps of this host for the next one."""

import numpy as np

from daemon.risk.moments import OwnMoments
from daemon.risk.refinement import _earlier, _memory
from detectors.factor_features import INPUTS


def moments(count, first_ms):
    rng = np.random.default_rng(first_ms)
    targets = (rng.random((count, 2)) < 0.2).astype(np.float32)
    weights = (0.5 + rng.random(count)).astype(np.float32)
    inputs = rng.random((count, INPUTS), np.float32)
    return OwnMoments(inputs, targets, weights, np.zeros(0, np.int64), first_ms + np.arange(count))


def test_only_what_history_no_longer_has_is_replayed(tmp_path):
    memory, own = _memory(""), moments(100, 1000)
    assert len(_earlier(memory, own).inputs) == 0
    answers = np.concatenate([own.targets, own.weights[:, None]], axis=1)
    memory.keep(own.inputs, answers, own.time_ms, np.random.default_rng(0))
    memory.save(tmp_path, "memory")
    read = _memory(str(tmp_path))
    later = _earlier(read, moments(50, 1060))
    np.testing.assert_array_equal(later.inputs, own.inputs[:60])
    np.testing.assert_array_equal(later.targets, own.targets[:60])
    np.testing.assert_array_equal(later.weights, own.weights[:60])
    assert len(_earlier(read, moments(0, 0)).inputs) == 100
    (tmp_path / "memory" / "manifest.json").write_text("{}")
    assert _memory(str(tmp_path)).regimes == []  # damaged: it costs no refinement
