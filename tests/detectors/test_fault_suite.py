import numpy as np
import pytest

from detectors import fault_suite
from detectors.anomaly import score_rows
from detectors.calibration import budget_threshold


@pytest.fixture(scope="module")
def host(quiet_host):
    values = quiet_host(1500, 12, 3)
    return values, np.arange(1500) // 120 % 168, np.full(12, 0.01)


def built(host, faults=40, seed=0, usable=None):
    values, hours, floor = host
    usable = np.ones(len(values), np.bool_) if usable is None else usable
    return fault_suite.build(values, hours, floor, usable, seed=seed, faults=faults)


def test_each_fault_is_there_once_as_it_was_and_grows_with_its_strength(host):
    suite = built(host)
    assert suite.values.shape == (40, 6, fault_suite.ROWS, 12)
    assert suite.hours.shape == (40, fault_suite.ROWS)
    changed = np.abs(suite.values - suite.values[:, :1]).max(axis=(2, 3))
    assert (changed[:, 0] == 0).all()
    assert (np.diff(changed, axis=1) > 0).all()
    lead = suite.values[:, :, :30]
    np.testing.assert_array_equal(lead, np.broadcast_to(lead[:, :1], lead.shape))


def test_the_same_seed_gives_the_same_faults_and_another_one_others(host):
    assert built(host).values.tobytes() == built(host).values.tobytes()
    assert built(host).values.tobytes() != built(host, seed=1).values.tobytes()


def test_faults_keep_off_rows_that_are_not_quiet(host):
    usable = np.ones(1500, np.bool_)
    usable[400:1400] = False
    suite = built((host[0] * 0 + np.arange(1500, dtype=np.float32)[:, None], *host[1:]), usable=usable)
    rows = suite.values[:, 0, :, 0]
    assert ((rows < 400) | (rows >= 1400)).all()
    usable[:] = False
    nothing = built(host, usable=usable)
    assert nothing.faults == 0
    assert len(fault_suite.noticed(nothing, lambda _values, _hours: None, 1.0)) == 0


def test_a_signal_that_was_never_seen_is_left_alone(host):
    values = host[0].copy()
    values[:, 3] = np.nan
    assert np.isnan(built((values, *host[1:])).values[:, :, :, 3]).all()


def test_a_model_notices_the_strong_and_not_the_faint_and_one_that_always_alarms_notices_nothing(host, model_of):
    model, _ = model_of(1500, 12, 4)
    suite = built(host)
    threshold = budget_threshold(model.quiet_scores, 30.0, 7, model.least_threshold)

    def score(values, hours):
        return score_rows(model, values, hours).raw

    found = fault_suite.noticed(suite, score, threshold)
    assert found.shape == (40,)
    assert 0.1 < found.mean() < 0.95
    assert fault_suite.noticed(suite, score, 2 * threshold).mean() < found.mean()
    assert fault_suite.noticed(suite, score, -1.0).max() == 0
    assert fault_suite.noticed(suite, score, np.inf).max() == 0
