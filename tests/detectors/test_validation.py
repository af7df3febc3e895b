import numpy as np
import pytest

from detectors import validation
from detectors.validation import FOLDS, validate

SIGNALS = 8
FLOOR = np.full(SIGNALS, 0.005)


def judged(values, **more):
    hours = np.arange(len(values)) // 120 % 168
    return validate(values, hours, FLOOR, interval_seconds=30.0, episodes_per_week=7.0, **more)


def test_a_host_that_stays_as_it_is_is_noticed_alike_forwards_and_across(quiet_host):
    shares = []
    figures = judged(quiet_host(2400, SIGNALS), progress=lambda share, _text: shares.append(share))
    assert set(figures) == {
        f"{way}_{what}"
        for way in ("walk_forward", "k_fold")
        for what in ("noticed", "noticed_least", "episodes_per_week")
    }
    assert 0.3 < figures["walk_forward_noticed_least"] <= figures["walk_forward_noticed"] <= 1
    assert abs(figures["walk_forward_noticed"] - figures["k_fold_noticed"]) < 0.15
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_host_that_changes_is_told_by_its_episodes(quiet_host):
    values = quiet_host(2400, SIGNALS)
    before = judged(values)
    values[1800:] = 2 * values[1800:] + 1.0  # the last block is of another host
    after = judged(values)
    assert after["walk_forward_episodes_per_week"] > before["walk_forward_episodes_per_week"] + 50
    assert after["walk_forward_noticed_least"] == 0  # an alarm that is always on notices nothing


def test_nothing_is_judged_by_what_was_learned_from_it_and_forwards_only_by_what_was_before(quiet_host, monkeypatch):
    values = quiet_host(1200, SIGNALS)
    values[:, 0] = np.arange(len(values))  # each row tells its place
    real, pairs = validation.fit_model, []

    def fit(rows, *arguments, **more):
        pairs.append([set(rows[np.isfinite(rows[:, 0]), 0].astype(int) // 300)])
        return real(rows, *arguments, **more)

    def judge(_model, _threshold, block, *_arguments, **_more):
        pairs[-1].append(set(block[0][:, 0].astype(int) // 300))
        return 0.5, 1.0

    monkeypatch.setattr(validation, "fit_model", fit)
    monkeypatch.setattr(validation, "_judge", judge)
    judged(values)
    assert pairs[: FOLDS - 1] == [[{0}, {1}], [{0, 1}, {2}], [{0, 1, 2}, {3}]]
    assert pairs[FOLDS - 1 :] == [[{1, 2, 3}, {0}], [{0, 2, 3}, {1}], [{0, 1, 3}, {2}]]  # the fourth is known already


@pytest.mark.parametrize("rows", [0, 60, 959])
def test_of_too_short_a_history_there_are_no_figures(rows):
    assert judged(np.zeros((rows, SIGNALS), np.float32)) == {}


def test_a_block_in_which_nothing_was_measured_costs_only_itself(quiet_host):
    values = quiet_host(1200, SIGNALS)
    values[:300] = np.nan
    figures = judged(values)
    assert 0 < figures["walk_forward_noticed"] <= 1
    assert all(np.isfinite(list(figures.values())))
