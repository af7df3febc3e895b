import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.calibration import budget_threshold, count_episodes, next_threshold, shown_score

ROWS = 20_160  # a week at 30 s


def crossed(length, *at):
    out = np.zeros(length, bool)
    out[list(at)] = True
    return out


@pytest.mark.parametrize(
    ("at", "episodes"),
    [
        ((), 0),
        ((0,), 1),
        ((5, 6, 7), 1),
        ((5, 35), 1),  # 30 samples of 30 s = 15 min apart: not less, but the gap between them is
        ((5, 36), 2),
        ((5, 34, 63), 1),
        (tuple(range(120)), 1),  # exactly an hour
        (tuple(range(121)), 2),  # the second hour has started
        (tuple(range(240)), 2),
        ((0, 30, 60, 90, 120), 2),  # 121 samples from the first to the last
        ((0, 200, 398), 3),
        ((399,), 1),
    ],
)
def test_episodes_by_hand(at, episodes):
    assert count_episodes(crossed(400, *at), 30.0) == episodes


@given(st.lists(st.booleans(), max_size=400), st.sampled_from([1.0, 30.0, 60.0, 300.0]))
def test_episodes_are_counted_as_one_who_reads_the_rule_aloud_does(flags, interval):
    runs, start, last = [], None, None
    for place, flag in enumerate(flags):
        if flag:
            if start is None or (place - last) * interval > 900:
                if start is not None:
                    runs.append((start, last))
                start = place
            last = place
    if start is not None:
        runs.append((start, last))
    expected = sum(math.ceil((end - begin + 1) * interval / 3600) for begin, end in runs)
    assert count_episodes(np.array(flags, bool), interval) == expected


@pytest.mark.parametrize("episodes_per_week", [1.0, 7.0, 20.0])
@pytest.mark.parametrize("shape", ["light", "heavy", "bursts", "steps"])
def test_the_budget_is_kept(episodes_per_week, shape, seed):
    rng = np.random.default_rng(seed)
    shapes = {
        "light": lambda: np.abs(rng.normal(size=ROWS)),
        "heavy": lambda: np.abs(rng.standard_cauchy(size=ROWS)),
        "bursts": lambda: np.abs(rng.normal(size=ROWS)) + 5 * (rng.random(ROWS) < 0.002),
        "steps": lambda: rng.integers(0, 5, ROWS).astype(float),
    }
    for _ in range(5):
        scores = shapes[shape]()
        threshold = budget_threshold(scores, 30.0, episodes_per_week)
        assert count_episodes(scores > threshold, 30.0) <= episodes_per_week


def test_the_budget_is_used_where_the_tail_is_heavy():
    """A threshold at the maximum would keep any budget: this one lets seven through."""
    rng = np.random.default_rng(4)
    scores = np.abs(rng.normal(size=ROWS))
    scores[rng.permutation(ROWS)[:40]] += np.linspace(20, 60, 40)
    threshold = budget_threshold(scores, 30.0, 7.0)
    assert 4 <= count_episodes(scores > threshold, 30.0) <= 7


def test_where_no_episode_is_allowed_it_is_a_tenth_above_the_maximum_and_more_at_first():
    scores = np.full(2000, 1.0)
    scores[7] = 10.0
    assert budget_threshold(scores, 30.0, 7.0) == pytest.approx(10 * (1.1 + 30 / 2000))
    few = scores[:60]
    assert budget_threshold(few, 30.0, 7.0) == pytest.approx(10 * 1.6)
    day = np.r_[scores, np.ones(2880)]
    assert budget_threshold(day, 30.0, 7.0) < 10  # a day allows one: the one at 7


def test_the_tail_floor_holds_where_the_budget_would_go_into_the_crowd():
    scores = np.random.default_rng(0).uniform(0, 1, ROWS)
    high = np.quantile(scores, 0.99)
    assert budget_threshold(scores, 30.0, 900.0) == pytest.approx(high)


def test_no_threshold_falls_below_the_least():
    still, loud = np.zeros(5000), np.full(5000, 3.0)
    assert budget_threshold(still, 30.0, 7.0) == 0
    assert budget_threshold(still, 30.0, 7.0, 0.4) == 0.4
    assert next_threshold(0.5, still, 30.0, 7.0, least=0.45) == 0.45  # a step down would end at 0.4
    assert next_threshold(3.0, loud, 30.0, 7.0, least=0.45) == next_threshold(3.0, loud, 30.0, 7.0)


def test_nothing_seen_gives_no_threshold_that_anything_crosses():
    assert budget_threshold(np.array([]), 30.0, 7.0) == math.inf
    assert budget_threshold(np.array([np.nan, np.inf]), 30.0, 7.0) == math.inf


def test_scores_that_are_not_finite_are_left_out():
    scores = np.random.default_rng(0).uniform(0, 1, 1000)
    spoiled = np.insert(scores, [3, 500], [np.nan, np.inf])
    assert budget_threshold(spoiled, 30.0, 7.0) == budget_threshold(scores, 30.0, 7.0)


def test_one_step_is_bounded_and_the_way_is_walked():
    low, high = np.full(3000, 0.1), np.full(3000, 100.0)
    assert next_threshold(10.0, low, 30.0, 7.0) == pytest.approx(8.0)
    assert next_threshold(10.0, high, 30.0, 7.0) == pytest.approx(15.0)
    wanted = budget_threshold(high, 30.0, 7.0)
    threshold = 10.0
    for _ in range(30):
        threshold = next_threshold(threshold, high, 30.0, 7.0)
    assert threshold == pytest.approx(wanted)
    assert next_threshold(math.inf, high, 30.0, 7.0) == wanted  # from none to the first: no step


@given(st.floats(1e-3, 1e3), st.floats(0.01, 0.99))
def test_the_threshold_shows_as_what_it_is_set_to(threshold, at):
    assert shown_score(threshold, threshold, at) == pytest.approx(at)


@given(st.floats(1e-3, 1e3), st.floats(0, 1e6), st.floats(0, 1e6))
def test_the_shown_score_keeps_the_order_and_stays_in_its_range(threshold, one, other):
    low, high = sorted((one, other))
    assert 0 <= shown_score(low, threshold, 0.8) <= shown_score(high, threshold, 0.8) <= 1


def test_without_a_threshold_nothing_is_shown():
    assert shown_score(5.0, math.inf, 0.8) == 0.0
    assert shown_score(-1.0, 2.0, 0.8) == 0.0


DAY = 2880


def days(seed, count, level=1.0):
    return level * np.abs(np.random.default_rng(seed).normal(size=count * DAY)) ** 0.5


def walk(quiet, scores):
    """Set the threshold every 12 h as the daemon does; returns what stood at each of `scores`."""
    current, out = budget_threshold(quiet, 30.0, 7.0), np.empty(len(scores))
    for start in range(0, len(scores), DAY // 2):
        if start:
            current = next_threshold(current, scores[:start], 30.0, 7.0, quiet)
        out[start : start + DAY // 2] = current
    return out


def test_a_decay_of_ten_days_stays_abnormal(seed):
    """Linear to three times the usual: slower than any step of the threshold, and seen on the last days."""
    scores = np.r_[days(seed, 14), days(seed + 1, 10) * np.linspace(1, 3, 10 * DAY), days(seed + 2, 3, 3.0)]
    held = walk(days(seed + 3, 7), scores)
    usual = held[14 * DAY - 1]
    assert held.max() <= 1.8 * usual
    last = scores[23 * DAY : 24 * DAY] > held[23 * DAY : 24 * DAY]
    assert count_episodes(last, 30.0) >= 12  # most hours of the last day of the decay
    assert count_episodes(scores[24 * DAY :] > held[24 * DAY :], 30.0) >= 36


def test_a_fault_that_flaps_for_five_days_stays_abnormal(seed):
    scores = np.r_[days(seed, 14), days(seed + 1, 5)]
    on = (np.arange(5 * DAY) // 60) % 2 == 0  # half an hour each
    scores[14 * DAY :][on] += 2.5
    held = walk(days(seed + 3, 7), scores)
    flapping = scores[14 * DAY :] > held[14 * DAY :]
    assert flapping[on].reshape(-1, 60).any(axis=1).all()
    assert held.max() <= 1.6 * held[14 * DAY - 1]


def test_a_new_level_that_stays_becomes_usual(seed):
    """More than half of four weeks: then it is how the host is, and the budget is kept again."""
    scores = np.r_[days(seed, 14), days(seed + 1, 20, 2.0)]
    held = walk(days(seed + 3, 7), scores)
    assert count_episodes(scores[-3 * DAY :] > held[-3 * DAY :], 30.0) <= 9


def test_the_reference_stands_for_the_days_before_the_model(seed):
    quiet, loud = days(seed, 7), days(seed + 1, 2, 4.0)
    alone = next_threshold(math.inf, loud, 30.0, 7.0)
    held = next_threshold(math.inf, loud, 30.0, 7.0, quiet)
    assert held <= 1.2 * 1.15 * budget_threshold(quiet, 30.0, 7.0) < alone
