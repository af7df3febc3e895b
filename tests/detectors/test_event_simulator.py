"""Simulated histories: the same by seed, whole in shape, and their weights give back the time as it passed."""

import numpy as np

from detectors.event_features import DAY, HOUR, TEMPO
from detectors.event_simulator import history, simulated, within


def test_the_same_seed_gives_the_same_rows():
    first, again, other = (simulated(3, 200, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert first[0].shape != other[0].shape or not np.array_equal(first[0], other[0])
    assert first[0].shape == (len(first[1]), TEMPO)
    assert (first[1][:, 1] >= first[1][:, 0]).all()


def test_what_comes_within_an_hour_and_a_day():
    failures = HOUR * np.array([10.0, 50.0])
    at = HOUR * np.array([0.0, 9.5, 10.0, 26.0, 49.0, 50.0])
    assert within(failures, at).tolist() == [[0, 1], [1, 1], [0, 0], [0, 1], [1, 1], [0, 0]]
    assert within(np.zeros(0), at).sum() == 0


def test_histories_keep_to_their_units_and_time():
    drawn = [history(np.random.default_rng(seed)) for seed in range(30)]
    for past in drawn:
        assert len(past.times) == len(past.unit)
        assert ((past.times >= 0) & (past.times < past.end)).all()
        assert ((past.unit >= 0) & (past.unit < past.units)).all()
        assert 20 * DAY <= past.end <= 500 * DAY
    assert {past.units == 1 for past in drawn} == {True, False}


def test_weights_give_back_the_time_as_it_passed():
    inputs, came, weights = simulated(25, 1500, 5)
    drawn, weighed = came[:, 0].mean(), np.average(came[:, 0], weights=weights)
    assert abs(weights.mean() - 1) < 0.05
    assert weighed < drawn / 2  # moments after failures are drawn more often, and do not count for more
    assert np.isfinite(inputs).all()
