import numpy as np
import pytest

from detectors.probation import Beside, Probation, Reason, outside

MINUTE = 60 * 10**9


def lived(samples, probation=None):
    """Take one sample a minute in; returns the minute and the reason of the rollback, or None."""
    probation = probation or Probation()
    for minute, sample in enumerate(samples):
        reason = probation.observe(minute * MINUTE, sample)
        if reason is not None:
            return minute, reason
    return None


def sample(raised=False, seconded=False, outside=0.0, before=0.0, finite=True):
    return Beside(raised, seconded, outside, before, finite)


QUIET = sample()


def test_a_champion_that_is_always_on_leaves_within_the_hour():
    assert lived([sample(raised=True)] * 120) == (32, Reason.LOUD)


def test_three_episodes_of_its_own_within_an_hour_and_no_fewer():
    def episodes(*minutes):
        return [sample(raised=minute in minutes) for minute in range(300)]

    assert lived(episodes(5, 30, 55)) == (55, Reason.LOUD)
    assert lived(episodes(5, 30, 66)) is None
    assert lived(episodes(5, 6, 7, 8, 15, 40)) is None  # crossings within 15 min are one


def test_what_both_raise_is_an_incident():
    outage = [sample(raised=True, seconded=True, outside=0.9, before=0.8)] * 600
    assert lived(outage) is None
    flickering = [sample(raised=minute % 3 == 0, seconded=minute % 12 == 0) for minute in range(600)]
    assert lived(flickering) is None
    late = [sample(raised=True)] * 14 + [sample(raised=True, seconded=True)] * 300  # it saw it first
    assert lived([QUIET] * 20 + late + [QUIET] * 60) is None


def test_a_score_that_is_no_number_is_enough():
    assert lived([QUIET, sample(finite=False)]) == (1, Reason.BROKEN)


def test_inputs_outside_of_what_was_learned_unless_the_predecessor_sees_the_same():
    strange = sample(outside=0.3)
    found = lived([strange] * 120)
    assert found == (15, Reason.STRANGE)
    assert lived([QUIET] * 50 + [strange] * 25) is None
    assert lived([sample(outside=0.3, before=0.3)] * 120) is None
    assert lived([sample(outside=0.19)] * 120) is None


@pytest.mark.parametrize(
    ("ours", "before", "reason"),
    [
        (0.0, 0.4, Reason.BLIND),
        (0.34, 0.4, Reason.BLIND),
        (0.36, 0.4, None),
        (0.5, 0.4, None),
        (np.nan, 0.4, None),
        (0.1, np.nan, None),
    ],
)
def test_a_blind_one_is_told_by_injected_faults(ours, before, reason):
    assert Probation.compare(ours, before) is reason


def test_outside_counts_what_is_there_and_beyond_the_floor(model_of):
    model, values = model_of(400, 10)
    row = np.median(values, axis=0)
    assert outside(model, row) == 0
    row[:3] += 5
    row[9] = np.nan
    assert outside(model, row) == pytest.approx(3 / 9)
    assert outside(model, np.full(10, np.nan, np.float32)) == 0
    edge = model.context.high.astype(np.float32)
    assert outside(model, edge + 0.009) == 0
    assert outside(model, edge + 0.02) == 1
