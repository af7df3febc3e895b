"""Smoothing beside a plain loop over one row, and seasons that are known."""

import numpy as np
import pytest

from detectors import smoothing
from detectors.smoothing import holt_winters, lengths, level_of, line_through, season_of, trend_of


def random_rows(seed: int, count: int = 7, width: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 50 + np.cumsum(rng.normal(0.3, 1.0, (count, width)), axis=1)


def plain_level(row: np.ndarray, alpha: float) -> tuple[float, float]:
    level, error = row[0], 0.0
    for value in row:
        error += (value - level) ** 2
        level += alpha * (value - level)
    return level, error


def test_level_is_that_of_the_constant_with_the_least_error():
    rows = random_rows(1)
    for row, level in zip(rows, level_of(rows), strict=True):
        found = [plain_level(row, alpha) for alpha in smoothing._ALPHA]
        best = min(range(len(found)), key=lambda one: found[one][1])
        assert level == pytest.approx(found[best][0], rel=1e-12)


def plain_trend(row: np.ndarray, constants: np.ndarray) -> tuple[float, float, float]:
    alpha, beta, phi = constants
    slope, intercept = np.polyfit(np.arange(10), row[:10], 1)
    level, error = intercept - slope, 0.0
    for value in row:
        kept = phi * slope
        wrong = value - level - kept
        error += wrong**2
        level, slope = level + kept + alpha * wrong, kept + alpha * beta * wrong
    return error, level, slope


def test_trend_is_that_of_the_constants_with_the_least_error():
    rows = random_rows(8)
    for row, level, slope, phi in zip(rows, *trend_of(rows), strict=True):
        error, wanted_level, wanted_slope = min(plain_trend(row, constants) for constants in smoothing._TREND.T)
        assert error > 0
        assert (level, slope) == pytest.approx((wanted_level, wanted_slope), rel=1e-9)
        assert phi in smoothing._TREND[2]


def test_a_line_gives_its_level_and_slope_whatever_is_missing_before_it():
    row = np.r_[[np.nan] * 9, 5.0 + 0.5 * np.arange(21)]
    level, slope = line_through(row[None, :])
    assert level[0] == pytest.approx(row[-1])
    assert slope[0] == pytest.approx(0.5)


@pytest.mark.parametrize("method", [level_of, lambda rows: np.stack(trend_of(rows))])
def test_what_is_before_the_beginning_changes_nothing(method):
    rows = random_rows(2)
    padded = np.pad(rows, ((0, 0), (13, 0)), constant_values=np.nan)
    assert np.allclose(method(rows), method(padded), rtol=1e-12)


def test_rows_of_different_lengths_do_not_touch_each_other():
    rows = random_rows(3)
    rows[2, :25] = np.nan
    for place in range(len(rows)):
        alone = rows[place : place + 1]
        assert np.allclose(trend_of(rows)[0][place], trend_of(alone)[0][0], rtol=1e-12)
        both = holt_winters(rows, 12, 7, multiplied=True)[place], holt_winters(alone, 12, 7, multiplied=True)[0]
        assert np.allclose(*both, rtol=1e-9)
    assert lengths(rows)[2] == 15


@pytest.mark.parametrize("multiplied", [False, True])
def test_a_season_is_found_and_continued(multiplied):
    wave = np.array([0.0, 3.0, 1.0, -2.0, -1.0, -1.0, 0.0])
    at = np.arange(70)
    rows = (100 * (1 + wave[at % 7] / 100) if multiplied else 100 + wave[at % 7])[None, :]
    season = season_of(rows, 7)
    assert season.factor[0]
    assert np.allclose(season.ahead(7)[0], 1 + wave / 100, atol=1e-6)
    assert np.allclose(season.over(14)[0], np.tile(1 + wave / 100, 2), atol=1e-6)
    told = holt_winters(rows, 12, 7, multiplied=multiplied)
    assert np.allclose(told[0], 100 + wave[np.arange(70, 82) % 7], atol=0.05)


def test_a_season_of_noise_is_shrunk_and_one_that_is_there_is_not():
    rng = np.random.default_rng(4)
    noise = 100 + rng.normal(0, 5, (200, 84))
    real = noise + 10 * np.sin(2 * np.pi * np.arange(84) / 7)

    def size(rows, **how):
        return float(np.abs(season_of(rows, 7, **how).parts - 1).mean())

    assert size(noise) < 0.5 * size(noise, shrunk=False)
    assert size(real) > 0.95 * size(real, shrunk=False)


def test_two_periods_are_needed():
    assert np.array_equal(season_of(random_rows(5, width=13), 7).parts, np.ones((7, 7)))


def test_rows_with_zeros_and_below_get_a_season_that_is_added():
    rows = np.tile(np.array([0.0, 1.0, 0.0, -1.0, 0.0, 2.0, -2.0]), 8)[None, :]
    season = season_of(rows, 7)
    assert not season.factor[0]
    assert np.allclose(holt_winters(rows, 7, 7, multiplied=True)[0], rows[0, :7], atol=1e-6)
