"""The benchmark of rollbacks on one simulated host: it tells what is too loud from what is good, and from an outage."""

import numpy as np
import pytest

from benchmarks.gate_hosts import DAY, LEARNED, changed, learn, simulated
from benchmarks.gate_probation import lived, pair, rollback_rows
from detectors.probation import Reason

BEGIN = 9 * DAY + 300


@pytest.fixture(scope="module")
def host():
    return simulated(1)


@pytest.fixture(scope="module")
def models(host):
    return learn(host, slice(LEARNED)), learn(host, slice(LEARNED + 2 * DAY))


def test_a_loud_champion_leaves_at_once_and_without_the_child_within_the_hour(host, models):
    seen = pair(host, models, BEGIN)
    assert lived(seen, louder=50.0, hourly=False) == (1, Reason.LOUD_BEFORE)
    minute, reason = lived(seen, louder=50.0, first_look=False, hourly=False)
    assert minute <= 60
    assert reason is Reason.LOUD
    assert lived(seen, hourly=False) is None


def test_an_outage_that_both_see_or_a_predecessor_whose_threshold_was_driven_up_is_no_reason(host, models):
    sick = pair(changed(host, slice(BEGIN + 200, BEGIN + 500), 20.0, np.random.default_rng(0)), models, BEGIN)
    assert (sick.relative[0, 7 * DAY + 200 : 7 * DAY + 500] > 1).mean() > 0.9
    for deafer in (1.0, 4.0):
        assert lived(sick, deafer=deafer, first_look=False, hourly=False) is None


def test_rows_count_what_came_back_and_how_soon():
    lives = [{"loud": (5, Reason.LOUD), "good": None}, {"loud": (90, Reason.LOUD), "good": None}, {"good": None}]
    rows = {(row.case, row.metric): row.ours for row in rollback_rows(lives)}
    assert rows["champion loud", "tries"] == 2
    assert rows["champion loud", "rolled back within the hour"] == 1
    assert rows["champion loud", "time to rollback, longest"] == 90
    assert rows["champion good", "rolled back"] == 0
