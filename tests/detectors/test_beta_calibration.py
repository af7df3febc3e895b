import numpy as np
import pytest

from detectors.beta_calibration import BetaCalibration, fit


def drawn(calibration, seed=1, count=20_000):
    random = np.random.default_rng(seed)
    scores = random.beta(0.7, 1.5, count)
    return scores, (random.random(count) < calibration(scores)).astype(float)


@pytest.mark.parametrize("truth", [(0.5, 1.4, -0.3), (1.0, 1.0, 0.0), (2.0, 0.3, 1.0)])
def test_what_distorted_the_scores_is_found(truth):
    scores, came = drawn(BetaCalibration(*truth))
    found = fit(scores, came)
    grid = np.linspace(0.02, 0.98, 49)
    np.testing.assert_allclose(found(grid), BetaCalibration(*truth)(grid), atol=0.03)


def test_the_order_of_scores_stays_without_ties():
    scores, came = drawn(BetaCalibration(0.5, 1.4, -0.3))
    grid = np.linspace(0.001, 0.999, 500)
    assert (np.diff(fit(scores, came)(grid)) > 0).all()


def test_scores_that_tell_nothing_become_the_base_rate():
    random = np.random.default_rng(3)
    scores, came = random.random(20_000), (random.random(20_000) < 0.07).astype(float)
    assert fit(scores, came)(np.array([0.1, 0.5, 0.9])) == pytest.approx(0.07, abs=0.02)


def test_scores_that_point_the_wrong_way_are_not_turned_round():
    scores, came = drawn(BetaCalibration())
    found = fit(1 - scores, came)
    assert found.a >= 0
    assert found.b >= 0
    assert (np.diff(found(np.linspace(0.001, 0.999, 99))) >= 0).all()


def test_a_weight_counts_a_row_as_often():
    scores, came = drawn(BetaCalibration(0.5, 1.4, -0.3), count=300)
    twice = np.arange(300) % 2 == 0
    weighted = fit(scores, came, np.where(twice, 2.0, 1.0))
    repeated = fit(np.r_[scores, scores[twice]], np.r_[came, came[twice]])
    grid = np.linspace(0.01, 0.99, 20)
    np.testing.assert_allclose(weighted(grid), repeated(grid), atol=1e-3)


def test_all_of_one_outcome_is_still_a_probability():
    told = fit(np.linspace(0, 1, 50), np.ones(50))(np.array([0.0, 1.0, np.nan]))
    assert np.isfinite(told[:2]).all()
    assert (told[:2] > 0.5).all()
    assert np.isnan(told[2])


@pytest.mark.parametrize(("scores", "came"), [([], []), ([0.5], [1.0, 0.0]), ([np.nan], [1.0])])
def test_what_cannot_be_fitted_is_refused(scores, came):
    with pytest.raises(ValueError, match="as many of each"):
        fit(np.array(scores), np.array(came))
