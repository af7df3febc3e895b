import time
from collections import Counter

import numpy as np
import pytest

from detectors.forecasts import DAYS, HORIZONS, HOURS, MONTHS, STEPS
from detectors.synthetic import SHARES, groups, series
from detectors.synthetic_shapes import SHAPES, followed, noise, season

LENGTH = 96


@pytest.mark.parametrize("horizon", HORIZONS, ids=lambda one: one.name)
def test_rows_are_whole_from_their_beginning_and_never_below_0(horizon):
    rows, kinds = series(3, 2000, LENGTH, horizon)
    there = np.isfinite(rows)
    assert rows.shape == (2000, LENGTH + STEPS)
    assert (np.diff(there.astype(int), axis=1) >= 0).all()  # once begun, nothing is missing
    known = there[:, :LENGTH].sum(axis=1)
    assert horizon.least <= known.min() < 20
    assert 0.4 < (known == LENGTH).mean() < 0.7
    assert rows[there].min() >= 0
    assert set(kinds) <= set(SHAPES)


@pytest.mark.parametrize("horizon", HORIZONS, ids=lambda one: one.name)
def test_a_seed_says_what_comes_and_another_something_else(horizon):
    first, kinds = series(1, 200, 60, horizon)
    again, kinds_again = series(1, 200, 60, horizon)
    other, _ = series(2, 200, 60, horizon)
    np.testing.assert_array_equal(first, again)
    assert kinds == kinds_again
    assert not np.allclose(np.nan_to_num(first), np.nan_to_num(other))
    np.testing.assert_array_equal(groups(1, 20, 60, horizon), groups(1, 20, 60, horizon))


def test_horizons_of_one_seed_differ():
    assert not np.allclose(*(np.nan_to_num(series(1, 50, 60, horizon)[0]) for horizon in (HOURS, DAYS)))


def test_the_mixture_is_the_one_that_is_told():
    for horizon in HORIZONS:
        shares = SHARES[horizon.name]
        assert sum(shares.values()) == 100
        _, kinds = series(5, 4000, 24, horizon)
        counted = Counter(kinds)
        for name, share in shares.items():
            assert counted[name] / 40 == pytest.approx(share, abs=2.5)


def test_sizes_cover_fifteen_orders_of_magnitude():
    rows, _ = series(4, 3000, 48, MONTHS)
    top = np.nanmax(rows, axis=1)
    assert np.quantile(top, 0.02) < 0.1
    assert np.quantile(top, 0.98) > 1e11


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("period", [7, 12, 24])
def test_every_shape_is_finite_and_its_rows_differ(name, period):
    rows = SHAPES[name](np.random.default_rng(7), 100, 60, period)
    assert rows.shape == (100, 60)
    assert np.isfinite(rows).all()
    assert len(np.unique(rows.round(12), axis=0)) > 70


def test_utilisation_is_a_ratio_with_idle_rows_and_bursts():
    rows, kinds = series(9, 4000, LENGTH, HOURS)
    used = rows[np.array(kinds) == "ratio"]
    assert np.nanmax(used) <= 1
    assert (used == 0).any()
    assert (np.nanmax(used, axis=1) > 5 * np.nanmedian(used, axis=1)).mean() > 0.05


def test_a_season_repeats_and_noise_has_the_size_it_says():
    random = np.random.default_rng(3)
    waves = season(random, 400, 96, 24)
    assert np.median(np.abs(waves[:, 24:] - waves[:, :-24]).mean(axis=1)) < 0.3
    assert np.median(waves.std(axis=1)) == pytest.approx(1, abs=0.15)
    assert np.median(noise(random, 400, 400).std(axis=1)) == pytest.approx(1, abs=0.15)


def test_what_is_followed_is_the_recursion_written_out():
    values = np.random.default_rng(1).normal(size=(3, 20))
    memory = np.array([[0.0], [0.5], [0.9]])
    wanted = values.copy()
    for row in range(3):
        for at in range(1, 20):
            wanted[row, at] += memory[row, 0] * wanted[row, at - 1]
    np.testing.assert_allclose(followed(values, memory), wanted)


def test_resources_of_one_host_move_together_and_those_of_two_do_not():
    hosts = groups(6, 400, LENGTH, HOURS)
    assert hosts.shape == (400, 4, LENGTH + STEPS)
    whole = hosts[np.isfinite(hosts).all(axis=(1, 2))]
    assert np.isfinite(hosts[:, :, -STEPS - HOURS.least :]).all()
    assert whole[:, 0].max() <= 1
    assert whole.min() >= 0

    def together(first, second):
        return np.median(
            [abs(np.corrcoef(a, b)[0, 1]) for a, b in zip(first, second, strict=True) if a.std() and b.std()]
        )

    cpu, sent = whole[:, 0], np.log(whole[:, 3] + 1e-9)
    assert together(cpu, sent) > 2 * together(cpu, np.roll(sent, 1, axis=0))


def test_two_thousand_series_take_less_than_a_second():
    begun = time.process_time()
    series(8, 4000, LENGTH, HOURS)
    assert 4000 / (time.process_time() - begun) > 2000
