"""What every forecaster must do, each by its name, and what the selection makes of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.forecasters import BEST, ORIGINS, forecasts_of, select, theil_sen

NAMES = sorted(forecasts_of(np.arange(40.0)[None, :], 12, 7))


def mixed(seed: int, width: int = 60) -> np.ndarray:
    """Growth, a season, noise, a walk, what is flat, zeros, and short ones."""
    rng = np.random.default_rng(seed)
    at = np.arange(width)
    rows = np.stack(
        [
            10 + 0.5 * at + rng.normal(0, 0.3, width),
            20 + 5 * np.sin(2 * np.pi * at / 7) + rng.normal(0, 0.5, width),
            np.abs(rng.normal(3, 1, width)),
            100 + np.cumsum(rng.normal(0, 1, width)),
            np.full(width, 4.0),
            np.zeros(width),
            np.where(at > width - 14, 7 + rng.normal(0, 1, width), np.nan),
        ]
    )
    rows[3, :20] = np.nan
    return rows


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("period", [7, 12, 24])
def test_what_is_constant_stays_so(name, period):
    told = forecasts_of(np.full((2, 60), 4.25), 12, period)[name]
    assert told.shape == (2, 12)
    assert np.allclose(told, 4.25, rtol=1e-9)


@pytest.mark.parametrize("name", ["drift", "median change", "Theil-Sen"])
def test_lines_are_continued(name):
    told = forecasts_of((3 + 2 * np.arange(40.0))[None, :], 12, 7)[name]
    assert np.allclose(told[0], 3 + 2 * np.arange(40, 52))


def test_theta_has_half_of_the_slope():
    told = forecasts_of((3 + 2 * np.arange(60.0))[None, :], 12, 7)["Theta"]
    assert np.allclose(np.diff(told[0]), 1.0)


def test_a_burst_does_not_tilt_the_median_of_changes():
    row = 100 + 1.0 * np.arange(40)
    row[30:] += 500
    told = forecasts_of(row[None, :], 12, 7)
    assert told["median change"][0, -1] == pytest.approx(row[-1] + 12)
    assert told["drift"][0, -1] > row[-1] + 100


def test_theil_sen_bears_three_wild_values_in_24():
    row = 5 + 0.25 * np.arange(48)
    row[[28, 36, 41]] = 1e6
    assert theil_sen(row[None, :], 12)[0, -1] == pytest.approx(5 + 0.25 * 59, abs=0.2)


def test_a_seasonal_series_is_forecast_by_seasonal_methods():
    told = select(mixed(1), 12, 7)
    assert any("seasonal" in name or "Holt" in name for name in told.names[1])
    assert np.abs(told.mean[1] - (20 + 5 * np.sin(2 * np.pi * np.arange(60, 72) / 7))).mean() < 0.5


def test_a_growing_series_grows_on():
    told = select(mixed(2), 12, 7)
    assert told.mean[0] == pytest.approx(10 + 0.5 * np.arange(60, 72), abs=0.8)


def test_earlier_forecasts_are_those_that_the_shorter_history_gives():
    """The errors are honest: nothing after an origin reaches the forecast from it, but for which methods count."""
    rows = mixed(3)[:4]
    whole = select(rows, 12, 7)
    back = ORIGINS.index(12)
    changed = rows.copy()
    changed[:, -12:] += 1000  # what came after that origin
    other = select(changed, 12, 7)
    same = [place for place in range(4) if set(whole.names[place]) == set(other.names[place])]
    told = rows[:, -12:] - whole.errors[back]
    assert np.isfinite(told).all()
    made = forecasts_of(rows[:, :-12], 12, 7)
    for place in range(4):
        parts = np.stack([made[name][place] for name in whole.names[place]])
        assert (told[place] <= parts.max(axis=0) + 1e-6).all(), same
        assert (told[place] >= parts.min(axis=0) - 1e-6).all()


def test_nothing_is_known_of_steps_that_are_still_to_come():
    errors = select(mixed(4), 12, 7).errors
    for place, back in enumerate(ORIGINS):
        known = np.isfinite(errors[place, 0])
        assert known.tolist() == [step < back for step in range(12)]


def test_the_scale_is_the_mean_absolute_error_of_what_was_told():
    told = select(mixed(5), 12, 7)
    assert told.scale[:6] == pytest.approx(np.nanmean(np.abs(told.errors[:, :6]), axis=(0, 2)))
    assert told.scale[4] == pytest.approx(0, abs=1e-9)


def test_rows_that_only_hold_a_few_points_are_forecast_and_say_that_nothing_is_known():
    rows = np.full((2, 30), np.nan)
    rows[0, -3:] = [1.0, 2.0, 3.0]
    rows[1, -4:] = [2.0, 2.0, 2.0, 2.0]
    told = select(rows, 12, 24)
    assert np.isfinite(told.mean).all()
    assert np.isnan(told.scale[0])
    assert len(told.names[0]) > BEST
    assert np.allclose(told.mean[1], 2.0)


@pytest.mark.parametrize("seed", range(3))
def test_many_at_once_are_what_each_is_alone(seed):
    rows = np.concatenate([mixed(seed), mixed(seed + 10), mixed(seed + 20)])
    together = select(rows, 12, 7)
    for place in range(0, len(rows), 4):
        alone = select(rows[place : place + 1], 12, 7)
        assert np.allclose(together.mean[place], alone.mean[0], rtol=1e-6, atol=1e-9)
        assert together.names[place] == alone.names[0]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), factor=st.sampled_from([1e-6, 0.125, 8.0, 1e9]), width=st.integers(9, 50))
def test_the_unit_does_not_matter_and_every_answer_is_finite(seed, factor, width):
    rows = mixed(seed, max(width, 35))[:, -width:]
    rows = rows[np.isfinite(rows).sum(axis=1) >= 9]
    told, scaled = select(rows, 12, 7), select(rows * factor, 12, 7)
    assert np.isfinite(told.mean).all()
    assert (told.mean[(rows >= 0).all(axis=1)] >= 0).all()
    assert np.allclose(scaled.mean, factor * told.mean, rtol=1e-4, atol=1e-6 * factor)
