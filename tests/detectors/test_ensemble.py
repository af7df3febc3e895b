import numpy as np
import pytest

from detectors.ensemble import Ensemble, median, weighted_mean
from detectors.network import Network
from detectors.parameters import Architecture


def members(count=3):
    return [Network(Architecture((4, 3, 2)), seed=seed) for seed in range(count)]


def test_the_weighted_mean_by_hand():
    outputs = np.array([[[0.0, 1.0]], [[4.0, 5.0]]])
    assert weighted_mean(outputs, (3, 1)).tolist() == [[1, 2]]
    assert weighted_mean(outputs, (0, 2)).tolist() == [[4, 5]]
    assert weighted_mean(outputs.astype(np.float32), (1, 1)).dtype == np.float32


def test_one_member_that_went_astray_does_not_move_the_median():
    outputs = np.array([[[1.0]], [[2.0]], [[1e30]]])
    assert median(outputs).tolist() == [[2]]


def test_an_ensemble_answers_for_one_sample_and_for_many():
    networks = members()
    rows = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    each = np.stack([network.predict(rows) for network in networks])
    np.testing.assert_allclose(Ensemble(networks).predict(rows), np.median(each, axis=0), rtol=1e-6)
    mean = Ensemble(networks, (1, 2, 3)).predict(rows)
    np.testing.assert_allclose(mean, (each[0] + 2 * each[1] + 3 * each[2]) / 6, rtol=1e-5)
    assert mean.dtype == np.float32
    np.testing.assert_allclose(Ensemble(networks, (1, 2, 3)).predict(rows[1]), mean[1], rtol=1e-5)


def test_members_must_fit_each_other():
    with pytest.raises(ValueError, match="the same inputs and outputs"):
        Ensemble([*members(1), Network(Architecture((4, 3)))])
    with pytest.raises(ValueError, match="the same inputs and outputs"):
        Ensemble([])


@pytest.mark.parametrize("weights", [(1, 2), (1, 1, -1), (0, 0, 0), (1, 1, float("nan"))])
def test_weights_must_be_shares(weights):
    with pytest.raises(ValueError, match=r"^weights are 3 numbers, none below 0 and one above, not"):
        Ensemble(members(), weights)
