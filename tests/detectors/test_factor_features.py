import time

import numpy as np
import pytest

from detectors.factor_features import FEATURES, PRESENT, features, lines
from detectors.factors import COUNT, PLACE

MEMORY, ERRORS = PLACE["memory"], PLACE["kernel_errors"]
URGENCY = slice(6, 10)


def quiet(samples=600, seed=1):
    random = np.random.default_rng(seed)
    values = np.full((samples, COUNT), np.nan)
    values[:, MEMORY] = 0.4 + 0.002 * random.normal(size=samples)
    values[:, ERRORS] = 0.0
    return values


def seen(values, interval=30.0, factor=MEMORY):
    return features(values, interval).reshape(COUNT, FEATURES)[factor]


def test_lines_are_those_of_least_squares():
    random = np.random.default_rng(2)
    level = random.normal(size=(60, COUNT)) + 0.1 * np.arange(60)[:, None]
    level[random.random(level.shape) < 0.1] = np.nan
    found = lines(level)
    for place in range(COUNT):
        there = np.isfinite(level[:, place])
        slope = np.polyfit(np.flatnonzero(there), level[there, place], 1)[0]
        assert found.slope[place] == pytest.approx(slope)
    assert (found.sure > 5).all()


def test_a_missing_factor_is_all_zero_and_one_that_is_there_says_so():
    blocks = features(quiet(), 30.0).reshape(COUNT, FEATURES)
    assert blocks[:, PRESENT].sum() == 2
    assert not blocks[blocks[:, PRESENT] == 0].any()


def test_a_factor_that_went_missing_lately_is_missing():
    values = quiet()
    values[-15:, MEMORY] = np.nan
    assert not seen(values).any()
    values[-8, MEMORY] = 0.4
    assert seen(values)[PRESENT] == 1


def test_the_nearer_the_limit_the_more_urgent_and_only_while_it_rises():
    values = quiet()
    still = seen(values)
    values[-120:, MEMORY] = np.linspace(0.4, 0.6, 120)
    rising = seen(values)
    values[-120:, MEMORY] = np.linspace(0.4, 0.95, 120)
    near = seen(values)
    values[-120:, MEMORY] = np.linspace(0.95, 0.4, 120)
    falling = seen(values)
    assert (still[URGENCY] < 0.1).all()
    assert 0.2 < rising[URGENCY][1] < near[URGENCY][1]
    assert falling[URGENCY][:2].tolist() == [0, 0]


def test_seconds_count_for_the_time_that_is_left_and_for_nothing_else():
    values = quiet()
    values[-120:, MEMORY] = np.linspace(0.4, 0.8, 120)
    slow, fast = seen(values, 30.0), seen(values, 1.0)
    assert (fast[URGENCY][:3] > slow[URGENCY][:3]).all()
    others = [at for at in range(FEATURES) if not URGENCY.start <= at < URGENCY.stop]
    np.testing.assert_array_equal(fast[others], slow[others])


def test_events_count_by_how_many_there_were():
    few, many = quiet(), quiet()
    few[-20, ERRORS] = 1.0
    many[-60::5, ERRORS] = 1.0
    few, many, none = seen(few, factor=ERRORS), seen(many, factor=ERRORS), seen(quiet(), factor=ERRORS)
    assert (none[:14] == 0).all()
    assert (many[7:9] > few[7:9]).all()
    assert (few[7:9] > 0).all()


def test_a_limited_factor_against_its_past_and_yesterday():
    values = quiet(2880)
    values[-20:, MEMORY] += 0.3
    one = seen(values)
    assert one[13] > 0.3
    assert one[14] > 0.5
    assert seen(values[-2000:])[14] == 0  # yesterday is not known


def test_many_hosts_at_once_are_each_of_them_alone():
    random = np.random.default_rng(3)
    values = random.random((4, 700, COUNT))
    values[random.random(values.shape) < 0.2] = np.nan
    interval = np.array([[1.0], [30.0], [30.0], [5.0]])
    together = features(values, interval)
    for host in range(4):
        np.testing.assert_allclose(together[host], features(values[host], float(interval[host, 0])), atol=1e-6)


@pytest.mark.parametrize("samples", [1, 2, 5, 16, 31, 100, 3000])
def test_whatever_is_known_is_finite_and_small(samples):
    random = np.random.default_rng(samples)
    values = 10.0 ** random.uniform(-8, 12, (samples, COUNT))
    values[random.random(values.shape) < 0.3] = np.nan
    found = features(values, 30.0)
    assert np.isfinite(found).all()
    assert np.abs(found).max() < 3


def test_a_day_of_samples_takes_milliseconds():
    values = np.random.default_rng(1).random((2880, COUNT))
    features(values, 30.0)
    taken = []
    for _ in range(20):
        begun = time.thread_time()
        features(values, 30.0)
        taken.append(time.thread_time() - begun)
    assert min(taken) < 0.005
