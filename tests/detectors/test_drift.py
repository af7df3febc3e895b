import numpy as np
import pytest
from stationary import DAY, autoregressive, hours, with_rhythm

from detectors.drift import DriftLevel, DriftWindow, compare, hours_watched, level_of, make_reference
from detectors.kernels import NUMPY

PER_HOUR = DAY / 24


def verdict_on(values, days, change=lambda last: last, backend=NUMPY):
    """Of series (T, S): the last day against the `days` before."""
    at = hours(len(values))
    reference = make_reference(values[: days * DAY], at[: days * DAY], DAY)
    last = change(values[days * DAY :]).astype(np.float32)
    return compare(backend, reference, last, at[days * DAY :], PER_HOUR)


@pytest.mark.parametrize("days", [1, 7])
@pytest.mark.parametrize("rho", [0.0, 0.9, 0.99])
def test_what_repeats_itself_is_no_drift(rho, days, scale):
    """The full figure is 1,000 series: scale 17."""
    told = verdict_on(autoregressive(rho, (days + 1) * DAY, 60 * scale, seed=20 + days), days)
    false = (told.probability[told.judged] < 0.05).sum() / len(told.judged)
    assert false <= 0.07 + 2 * np.sqrt(0.05 * 0.95 / len(told.judged))
    assert told.drifted.sum() <= 2
    assert told.judged.mean() > 0.8


def test_neither_is_the_rhythm_of_a_day(scale):
    values = with_rhythm(autoregressive(0.8, 8 * DAY, 50 * scale, seed=30), 2.0, 31)
    told = verdict_on(values, 7)
    assert (told.probability[told.judged] < 0.05).mean() <= 0.1
    assert told.judged.mean() > 0.9
    assert verdict_on(values, 7, lambda last: last + 1).drifted.mean() > 0.95


def standardised_log_normal(last, width=0.75):
    """Return standard normal numbers as log-normal ones of the same mean and variance."""
    spread = np.exp(width**2)
    return (np.exp(width * last) - np.sqrt(spread)) / np.sqrt((spread - 1) * spread)


CHANGES = {
    "mean": (lambda last: last + 1, 0.95),
    "spread": (lambda last: last * 2, 0.9),
    "form": (standardised_log_normal, 0.8),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("days", [1, 7])
def test_what_changed_is_found(name, days, scale):
    change, least = CHANGES[name]
    told = verdict_on(autoregressive(0.9, (days + 1) * DAY, 50 * scale, seed=40), days, change)
    assert (told.probability < 0.05).mean() >= least - 2 * np.sqrt(least * (1 - least) / len(told.judged))


def test_of_a_walk_too_little_is_known():
    walk = np.random.default_rng(50).normal(size=(4 * DAY, 20)).cumsum(axis=0).astype(np.float32)
    told = verdict_on(walk, 3)
    assert told.judged.mean() < 0.2
    assert told.score() is None
    assert level_of(told.score(), 0.1, 0.2) is DriftLevel.TOO_LITTLE


def test_a_constant_that_is_another_one_drifted_and_a_rare_event_did_not():
    values = np.zeros((4 * DAY, 2), np.float32)
    values[3 * DAY :, 0] = 1
    values[3 * DAY + 50, 1] = 1
    told = verdict_on(values, 3)
    assert told.judged.all()
    assert told.drifted.tolist() == [True, False]


def test_a_series_that_is_not_there_is_not_judged():
    values = autoregressive(0.5, 4 * DAY, 3, seed=51)
    values[:, 0] = np.nan
    values[3 * DAY :, 1] = np.nan
    told = verdict_on(values, 3)
    assert told.judged.tolist() == [False, False, True]
    assert np.isnan(told.probability[:2]).all()


def test_the_score_is_the_share_of_what_is_judged():
    values = autoregressive(0.5, 4 * DAY, 10, seed=52)
    values[3 * DAY :, :2] += 2
    values[3 * DAY :, 9] = np.nan
    told = verdict_on(values, 3)
    assert told.score() == pytest.approx(2 / 9)
    of = np.zeros(10, np.bool_)
    assert told.score(of) is None
    of[[0, 5]] = True
    assert told.score(of) == 0.5
    assert level_of(2 / 9, 0.1, 0.2) is DriftLevel.CRITICAL
    assert level_of(0.1, 0.1, 0.2) is DriftLevel.WARNING
    assert level_of(0.09, 0.1, 0.2) is DriftLevel.NONE


def test_a_day_is_compared_with_the_hours_that_it_has():
    """Office hours alone, against days with nights: the level of the night is another, and no news."""
    values = autoregressive(0.5, 8 * DAY, 20, seed=53)
    at = hours(len(values))
    values[(at < 8) | (at >= 18)] -= 3
    reference = make_reference(values[: 7 * DAY], at[: 7 * DAY], DAY)
    day = slice(7 * DAY + 9 * 120, 7 * DAY + 17 * 120 + 20)  # 20 samples of the hour after
    watched = hours_watched(at[day], PER_HOUR)
    assert np.flatnonzero(watched).tolist() == list(range(9, 17))
    told = compare(NUMPY, reference, values[day], at[day], PER_HOUR)
    assert told.judged.all()
    assert (told.probability < 0.05).mean() <= 0.15
    everything = DriftWindow(NUMPY, reference, np.ones(24, np.bool_))
    everything.add(values[day], at[day])
    assert everything.verdict().drifted.all()


def test_a_window_that_goes_on_says_what_all_anew_says():
    values = autoregressive(0.8, 5 * DAY, 6, seed=54).round(1)
    values[::11, 2] = np.nan
    at = hours(len(values))
    reference = make_reference(values[: 3 * DAY], at[: 3 * DAY], DAY)
    window = DriftWindow(NUMPY, reference, np.ones(24, np.bool_))
    window.add(values[3 * DAY : 4 * DAY], at[3 * DAY : 4 * DAY])
    for hour in range(0, 24, 6):
        gone, come = (slice(day * DAY + hour * 120, day * DAY + (hour + 6) * 120) for day in (3, 4))
        window.remove(values[gone], at[gone])
        window.add(values[come], at[come])
        day = slice(gone.stop, come.stop)
        anew = compare(NUMPY, reference, values[day], at[day], PER_HOUR)
        np.testing.assert_allclose(window.verdict().distance, anew.distance, rtol=0, atol=1e-12)
        np.testing.assert_allclose(window.verdict().probability, anew.probability, rtol=0, atol=1e-12)


def test_columns_of_a_reference_are_those_of_its_series():
    values = autoregressive(0.5, 2 * DAY, 5, seed=55)
    at = hours(len(values))
    whole = make_reference(values[:DAY], at[:DAY], DAY)
    part = whole.columns(np.array([3, 1]))
    one = compare(NUMPY, whole, values[DAY:], at[DAY:], PER_HOUR)
    other = compare(NUMPY, part, values[DAY:][:, [3, 1]], at[DAY:], PER_HOUR)
    np.testing.assert_array_equal(one.distance[[3, 1]], other.distance)
    np.testing.assert_array_equal(one.probability[[3, 1]], other.probability)


def test_a_window_that_was_folded_up_goes_on_and_not_against_another_reference():
    rng = np.random.default_rng(4)
    values, hours = rng.normal(size=(3 * 288, 12)).astype(np.float32), np.arange(3 * 288) // 12 % 24
    reference = make_reference(values, hours, 288)
    open_, folded = (DriftWindow(NUMPY, reference, np.ones(24, np.bool_)) for _ in range(2))
    for window in (open_, folded):
        window.add(values[:200] + 1, hours[:200])
    folded.fold()
    with pytest.raises(RuntimeError, match="folded"):
        folded.verdict()
    assert not folded.unfold(make_reference(values + 1, hours, 288))
    assert not folded.unfold(make_reference(values[:, :5], hours, 288))
    assert folded.unfold(reference)
    for window in (open_, folded):
        window.remove(values[:50] + 1, hours[:50])
    np.testing.assert_array_equal(folded.verdict().distance, open_.verdict().distance)
