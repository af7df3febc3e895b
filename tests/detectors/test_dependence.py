import numpy as np
import pytest
from stationary import DAY, autoregressive, with_rhythm

from detectors.dependence import dependence


def exact(rho):
    """The time of AR(1): the covariance of two indicators of normal numbers, at the levels that are used."""
    from scipy.stats import multivariate_normal, norm  # noqa: PLC0415 - half a second that only this test needs

    total, own = 0.0, 0.0
    for level in np.arange(1, 8) / 8:
        at = norm.ppf(level)
        own += level * (1 - level)
        lag = 1
        while rho**lag > 0.02:
            both = multivariate_normal([0, 0], [[1, rho**lag], [rho**lag, 1]]).cdf([at, at])
            total += both - level**2
            lag += 1
    return 1 + 2 * total / own


@pytest.mark.parametrize("rho", [0.5, 0.9])
def test_the_time_of_ar1_is_that_of_its_indicators(rho):
    told = dependence(autoregressive(rho, 7 * DAY, 16, seed=3), DAY)
    assert np.median(told.time) == pytest.approx(exact(rho), rel=0.1)


def test_neither_the_unit_nor_outliers_nor_the_form_matter():
    values = autoregressive(0.8, 3 * DAY, 4, seed=4)
    wild = np.exp(3 * values) * 1e6
    wild[100:110] = np.float32(3e38)
    values[100:110] = np.float32(100)
    np.testing.assert_allclose(dependence(wild, DAY).time, dependence(values, DAY).time)


def test_a_rhythm_is_no_chance_where_there_are_days_to_tell():
    values = autoregressive(0.8, 7 * DAY, 8, seed=5)
    one = np.median(dependence(with_rhythm(values, 1.0, 6), DAY).time)
    assert one == pytest.approx(np.median(dependence(values, DAY).time), rel=0.4)


def test_where_days_differ_a_day_is_what_there_is_one_of():
    values = autoregressive(0.5, 7 * DAY, 16, seed=7)
    level = np.repeat(np.random.default_rng(8).normal(size=(7, 16)) * 0.3, DAY, axis=0).astype(np.float32)
    told = dependence(values + level, DAY)
    plain = dependence(values, DAY)
    known = ~np.isnan(told.time)
    assert np.median(plain.time) < 3
    assert (told.time[known] > 10 * np.median(plain.time)).mean() > 0.8


def test_a_walk_has_no_time():
    walk = np.random.default_rng(9).normal(size=(3 * DAY, 8)).cumsum(axis=0).astype(np.float32)
    told = dependence(walk, DAY)
    assert (np.isnan(told.time) | (told.time > DAY / 16)).all()


def test_what_is_constant_or_missing():
    values = np.full((2 * DAY, 3), np.nan, np.float32)
    values[:, 0] = 4
    values[:, 1] = autoregressive(0.0, 2 * DAY, 1, seed=10)[:, 0]
    told = dependence(values, DAY)
    assert told.time[0] == 1
    assert told.time[1] == pytest.approx(1, abs=0.3)
    assert told.time[2] == 1
    assert told.freedom[2] == 0  # nothing is known of it


def test_gaps_do_not_shorten_it():
    values = autoregressive(0.9, 7 * DAY, 16, seed=11)
    whole = np.median(dependence(values, DAY).time)
    for day in range(7):
        values[day * DAY : day * DAY + 1200] = np.nan
    values[::37] = np.nan
    assert np.median(dependence(values, DAY).time) == pytest.approx(whole, rel=0.25)


def test_whole_days_only():
    with pytest.raises(ValueError, match="not whole days"):
        dependence(np.zeros((100, 2), np.float32), DAY)
    assert dependence(np.zeros((DAY, 0), np.float32), DAY).time.shape == (0,)
