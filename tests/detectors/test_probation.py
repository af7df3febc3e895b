import numpy as np
import pytest

from detectors.probation import Beside, Probation, Reason, hours_alone, outside, too_many

MINUTE = 60 * 10**9


def lived(samples, probation=None):
    """Take one sample a minute in; returns the minute and the reason of the rollback, or None."""
    probation = probation or Probation()
    for minute, sample in enumerate(samples):
        reason = probation.observe(minute * MINUTE, sample)
        if reason is not None:
            return minute, reason
    return None


def sample(raised=False, second=0.0, outside=0.0, before=0.0, finite=True):
    return Beside(raised, second, outside, before, finite)


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
    outage = [sample(raised=True, second=1.2, outside=0.9, before=0.8)] * 600
    assert lived(outage) is None
    flickering = [sample(raised=minute % 3 == 0, second=minute % 12 == 0 and 0.8) for minute in range(600)]
    assert lived(flickering) is None
    late = [sample(raised=True)] * 14 + [sample(raised=True, second=1.2)] * 300  # it saw it first
    assert lived([QUIET] * 20 + late + [QUIET] * 60) is None


def test_a_fault_that_only_the_champion_sees_is_one_episode_while_it_stirs_the_predecessor():
    assert lived([sample(raised=True, second=0.5)] * 600) is None
    apart = [sample(raised=minute % 20 == 0, second=0.5) for minute in range(600)]
    assert lived(apart) == (40, Reason.LOUD)


def weeks(hours, *, second=()):
    """A week of scores, one a minute, each raised once in each of `hours`, the predecessor's in `second`."""
    both = np.zeros((2, 10_080))
    for row, places in zip(both, (hours, second), strict=True):
        row[np.array(places, int) * 60 + 30] = 3.0
    return both


def test_a_champion_that_would_have_raised_more_than_its_budget_in_the_week_before_leaves():
    def compare(both, budget=7.0):
        return Probation.compare_weeks(*both, 60.0, budget)

    assert compare(weeks(range(17))) is Reason.LOUD_BEFORE
    assert compare(weeks(range(16))) is None
    assert compare(weeks(range(17)), budget=14.0) is None
    assert compare(weeks(range(17), second=range(4))) is None  # what both raise is no reason
    long = weeks([])
    long[0, 2000:2900] = 9.0  # a fault of 15 hours that only the champion sees
    assert compare(long) is None
    assert compare(weeks(range(17)) * np.nan) is None
    day = weeks(range(6))[:, :1440]
    assert compare(day) is Reason.LOUD_BEFORE
    assert compare(day[:, :100]) is None  # two hours tell nothing


def test_hours_next_to_what_the_predecessor_raises_are_not_its_own():
    near, far = weeks([10]), weeks([10])
    near[1, 645] = far[1, 646] = 0.71
    assert (hours_alone(*near, 60.0), hours_alone(*far, 60.0)) == (0, 1)
    assert not too_many(2, 20_160, 30.0, 0.0)
    assert too_many(3, 20_160, 30.0, 0.0)


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
        (0.0, 0.03, Reason.BLIND),  # of a host on which hardly anything is noticed
        (0.01, 0.03, None),
        (0.0, 0.0, None),
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
