import numpy as np
import pytest

from detectors.explain import expected_range, ranking
from detectors.features import fit_context


def test_the_most_surprising_come_first_with_their_share():
    ranked = ranking(np.array([1.0, 0.0, 3.0, 2.0], np.float32), 2)
    assert ranked == [(2, pytest.approx(27 / 36)), (3, pytest.approx(8 / 36))]


def test_what_does_not_surprise_is_not_named():
    assert ranking(np.zeros(4, np.float32), 5) == []
    assert ranking(np.zeros(0, np.float32), 5) == []
    assert ranking(np.array([0.0, 2.0], np.float32), 5) == [(1, 1.0)]


def test_the_expected_range_moves_with_the_hour():
    rng = np.random.default_rng(0)
    hours = np.arange(7 * 24 * 20) // 20 % 168
    values = (np.where(hours % 24 == 6, 1.0, 0.2) + 0.01 * rng.normal(size=len(hours))).astype(np.float32)[:, None]
    context = fit_context(values, hours, np.array([0.01]))
    low, high = expected_range(context, 0, 3 * 24 + 6)
    assert low < 1.0 <= high + 0.1
    noon_low, noon_high = expected_range(context, 0, 3 * 24 + 12)
    assert noon_low < 0.2 < noon_high
    assert low - noon_low == pytest.approx(0.8, abs=0.05)
    context.season[:] = np.nan
    assert expected_range(context, 0, 5) == (context.low[0], context.high[0])
