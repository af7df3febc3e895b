import numpy as np
import pytest

from detectors.kolmogorov import believed, probability


@pytest.mark.parametrize("size", [100, 720, 1440])
def test_a_probability_is_that_of_scipy(size):
    from scipy.stats import kstwo  # noqa: PLC0415 - half a second that only these tests need

    distance = np.arange(0.3, 8.0, 0.05) / np.sqrt(size)
    wanted = kstwo.sf(distance, size)
    got = probability(distance, np.full(len(distance), float(size)), np.full(len(distance), np.inf))
    seen = wanted > (1e-8 if size == 100 else 1e-30)
    np.testing.assert_allclose(got[seen], wanted[seen], rtol=6e-3 if size == 100 else 3e-3)


def test_two_samples_give_what_ks_2samp_gives():
    from scipy.stats import ks_2samp  # noqa: PLC0415 - as above

    rng = np.random.default_rng(1)
    for moved in (0.0, 0.05, 0.1, 0.3):
        one, other = rng.normal(size=2880), rng.normal(moved, size=2880)
        told = ks_2samp(one, other, method="asymp")
        got = probability(np.array([told.statistic]), np.array([1440.0]), np.array([np.inf]))
        assert got[0] == pytest.approx(told.pvalue, rel=1e-2)


def test_a_size_that_is_hardly_known_makes_nothing_certain():
    at = np.full(4, 0.2)
    told = probability(at, np.full(4, 100.0), np.array([4.0, 10.0, 1000.0, np.inf]))
    assert (np.diff(told) < 0).all()
    assert told[2] == pytest.approx(told[3], rel=0.1)


def test_an_estimated_size_is_worth_what_a_simulation_says():
    rng = np.random.default_rng(2)
    bridge = np.cumsum(rng.normal(size=(20_000, 200)), axis=1) / np.sqrt(200)
    farthest = np.abs(bridge - np.arange(1, 201) / 200 * bridge[:, -1:]).max(axis=1)
    uncertain = np.sqrt(rng.chisquare(10, len(farthest)) / 10)
    share = np.mean(farthest / uncertain > 1.5)
    told = probability(np.array([1.5e-3]), np.array([1e6]), np.array([10.0]))[0]
    assert told == pytest.approx(share, rel=0.25)  # 200 steps see a little less than the whole bridge


def test_nothing_apart_is_certainly_the_same():
    assert probability(np.zeros(2), np.full(2, 50.0), np.array([5.0, np.inf])) == pytest.approx([1, 1], abs=1e-6)


def test_what_is_believed_is_by_the_step_up_rule():
    told = np.array([0.001, np.nan, 0.011, 0.02, 0.035, 0.6])
    assert believed(told, 0.05).tolist() == [True, False, True, True, True, False]
    assert not believed(np.array([0.02, 0.4, 0.5]), 0.05).any()
    assert believed(np.array([0.04, 0.04]), 0.05).all()
    assert believed(np.full(3, np.nan), 0.05).tolist() == [False] * 3
    assert believed(np.zeros(0), 0.05).tolist() == []
