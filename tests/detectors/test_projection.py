from math import inf, isnan

import numpy as np
import pytest

from detectors.factors import FACTORS, PLACE
from detectors.projection import project

MEMORY, ERRORS, HEAT = (FACTORS[PLACE[one]] for one in ("memory", "kernel_errors", "temperature"))


def test_a_line_goes_on_to_its_limit():
    found = project(np.r_[np.full(200, 0.5), np.linspace(0.5, 0.94, 120)], MEMORY, 1.0)
    assert found.level == pytest.approx(0.94, abs=0.01)
    assert found.usual == pytest.approx(0.5, abs=0.01)
    assert found.per_second == pytest.approx(0.44 / 119, rel=0.02)
    assert found.seconds == pytest.approx((1 - found.level) / found.per_second)


def test_what_falls_never_ends_and_what_stands_still_has_no_rate():
    falling = project(np.linspace(0.9, 0.3, 300), MEMORY, 30.0)
    assert falling.per_second < 0
    assert falling.seconds == inf
    noise = project(0.5 + 0.01 * np.random.default_rng(1).normal(size=600), MEMORY, 30.0)
    assert abs(noise.per_second) * 30 < 1e-3


def test_a_slow_rise_is_seen_over_the_day():
    random = np.random.default_rng(2)
    found = project(np.linspace(0.5, 0.6, 2880) + 0.002 * random.normal(size=2880), MEMORY, 30.0)
    assert found.seconds == pytest.approx(4 * 86_400, rel=0.6)


def test_a_temperature_ends_at_its_own_limit():
    found = project(np.linspace(50, 90, 100), HEAT, 1.0)
    assert found.seconds == pytest.approx(10 / (40 / 99), rel=0.1)


def test_events_have_a_rate_of_their_own_and_no_limit():
    series = np.zeros(600)
    series[-10:] = 3.0
    found = project(series, ERRORS, 1.0)
    assert found.level == pytest.approx(2.0)
    assert found.usual == 0
    assert (found.per_second, found.seconds) == (0.0, inf)


def test_what_is_missing_is_not_known():
    assert isnan(project(np.full(50, np.nan), MEMORY, 1.0).level)
    series = np.full(50, np.nan)
    series[10] = 0.4
    found = project(series, MEMORY, 1.0)
    assert (found.level, found.per_second) == (0.4, 0.0)
    assert isnan(found.usual)
