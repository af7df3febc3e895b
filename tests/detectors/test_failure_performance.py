import numpy as np
import pytest

from detectors.event_features import DAY, HOUR
from detectors.failure_performance import performance

AT = HOUR * np.arange(28 * 24.0)
NOW = float(AT[-1])
FAILED = DAY * np.array([3.3, 7.2, 11.1, 15.6, 19.9, 24.4])


def came(failed, within):
    return np.array([((failed > at) & (failed <= at + within)).any() for at in AT], float)


def told(hour, day):
    return np.stack(np.broadcast_arrays(hour, day, AT)[:2], axis=1).astype(float)


TRUTH = told(came(FAILED, HOUR), came(FAILED, DAY))


def test_who_knows_what_comes_has_one_who_tells_the_rate_half_and_who_claims_the_contrary_less():
    judged = AT + DAY <= NOW
    assert performance(AT, TRUTH, FAILED, NOW).value == 1
    rate = performance(AT, TRUTH * 0 + TRUTH[judged].mean(axis=0), FAILED, NOW)
    assert rate.value == pytest.approx(0.5)
    assert (rate.moments, rate.failures, rate.text) == (judged.sum(), 6, "648 hours, 6 failures")
    assert performance(AT, 1 - TRUTH, FAILED, NOW).value < 0.2
    hint = performance(AT, 0.1 + 0.4 * TRUTH, FAILED, NOW).value
    assert 0.5 < hint < 1


def test_the_figure_is_what_its_formula_says():
    hour, day = came(FAILED, HOUR)[:-23], came(FAILED, DAY)[:-23]
    error = ((0.2 - hour) ** 2).mean() + ((0.3 - day) ** 2).mean()
    reference = hour.var() + day.var()
    found = performance(AT, told(0.2, 0.3), FAILED, NOW + HOUR)
    assert found.value == pytest.approx(1 / (1 + error / reference))


@pytest.mark.parametrize(
    ("failed", "at", "words"),
    [
        (FAILED[:4], AT, "4 failures came, and 5 are needed"),
        (np.repeat(FAILED[:2], 9) + np.tile(np.arange(9.0), 2), AT, "2 failures came, and 5 are needed"),
        (FAILED, AT[:100], "76 hours are judged, and 96 are needed"),
        (np.zeros(0), AT[:0], "0 hours are judged, and 96 are needed"),
        (HOUR * (np.arange(700.0) + 0.5), AT, "the host failed in each of the hours that are judged"),
    ],
)
def test_too_little_is_said_and_no_figure(failed, at, words):
    found = performance(at, np.full((len(at), 2), 0.1), failed, float(at[-1]) if len(at) else 0.0)
    assert np.isnan(found.value)
    assert found.text == words


def test_a_day_that_nobody_watched_counts_only_where_it_brought_a_failure():
    until = AT < 10 * DAY
    gap = until | (AT >= 14 * DAY)  # four days without a moment, and the failure of day 11 in them
    at = AT[gap]
    found = performance(at, TRUTH[gap], FAILED, NOW)
    whole = performance(AT, TRUTH, FAILED, NOW)
    without = performance(at, TRUTH[gap], np.delete(FAILED, 2), NOW)
    assert whole.moments - found.moments == (~gap).sum() + 12
    assert found.moments == without.moments
    near = np.append(FAILED, 10.2 * DAY)
    assert performance(at, TRUTH[gap], near, NOW).moments > found.moments
