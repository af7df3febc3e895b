import numpy as np
import pytest
from failing_often import BEGIN_MS, SPECS, recorded
from risky import registry_of

from daemon.clock import Instant
from daemon.history import History
from daemon.risk.moments import own_moments
from daemon.risk.samples import FactorSamples
from detectors.factor_features import FEATURES, PRESENT, features
from detectors.factors import COUNT, PLACE

DAY = 86_400_000
SLOW = 600.0


@pytest.fixture
def gathered(tmp_path):
    """Moments of a host that is written as said, and what was written."""

    def build(*, most=40, specs=SPECS, change=lambda history: None, since_ms=0, **more):
        host = recorded(tmp_path / "state", interval=SLOW, **{"days": 8.0, **more})
        writable = History(host.history)
        change(writable)
        writable.close()
        own = own_moments(
            History(host.history, read_only=True),
            registry_of(specs),
            SLOW,
            host.failed_ms,
            host.now_ms,
            since_ms=since_ms,
            most=most,
            score_threshold=0.8,
            progress=lambda share, _text: shares.append(share),
        )
        return own, host

    shares = []
    build.shares = shares
    return build


def factor(own, name):
    return own.inputs.reshape(-1, COUNT, FEATURES)[:, PLACE[name]]


def test_moments_before_failures_and_beside_them_stand_for_their_share_of_time(gathered):
    own, host = gathered(failed_days=[3.0, 6.5], most=60)
    assert own.failed_ms.tolist() == host.failed_ms
    hours, days = own.targets.T
    assert hours.sum() == 12  # there are not more: two hours of six samples
    assert 12 + 40 >= days.sum() > 40
    assert len(own.inputs) > 90
    assert own.weights.mean() == pytest.approx(1)
    told = np.average(own.targets, axis=0, weights=own.weights)  # seven days, of which two days and two hours
    assert told == pytest.approx([2 / 24 / 7, 2 / 7], rel=0.05)
    assert gathered.shares == sorted(gathered.shares)
    assert gathered.shares[-1] == 1


def test_what_a_moment_shows_is_what_the_daemon_saw(gathered, clock):
    """The newest is made again as the daemon makes it at each tick."""
    own, host = gathered(days=2.0, failed_days=[0.5], most=1000)
    rows = History(host.history, read_only=True).last_rows(10_000)
    last = int(np.flatnonzero(rows.time_ms + DAY <= host.now_ms)[-1])
    live = FactorSamples(registry_of(SPECS), SLOW)
    for row in range(last + 1):
        time_ms = int(rows.time_ms[row])
        live.push(rows.values[row], Instant(time_ms, 0, time_ms * 1_000_000, ""), np.nan, np.nan)
    now_ms = int(rows.time_ms[last])
    seen = features(live.reading(host.failed_ms, now_ms)().values, SLOW)
    np.testing.assert_array_equal(own.inputs[-1], seen)
    assert factor(own, "failure_age")[-1].any()
    assert not factor(own, "failure_age")[0].any()  # it had not failed yet: nothing is known beforehand


def test_before_failures_were_recorded_nothing_is_known_of_them(gathered):
    own, _ = gathered(failed_days=[6.5], most=60, since_ms=BEGIN_MS + 4 * DAY)
    told = np.average(own.targets[:, 1], weights=own.weights)  # of three days one
    assert told == pytest.approx(1 / 3, rel=0.05)


def test_a_day_that_is_not_over_teaches_nothing(gathered):
    own, host = gathered(days=2.5, failed_days=[2.4], most=500)
    assert (BEGIN_MS + own.inputs.shape[0] * SLOW * 1000 + DAY) == pytest.approx(host.now_ms, abs=16 * SLOW * 1000)
    assert own.targets.sum(axis=0).tolist() == [0, 16]  # the hour before it is not over either


def test_a_day_that_was_not_watched_teaches_nothing_unless_it_brought_a_failure(gathered):
    def unwatched(history):
        history.write(("DELETE FROM samples WHERE seq > 144 AND seq <= 288", [()]))  # the second day

    own, _ = gathered(days=3.5, failed_days=[], most=500, change=unwatched)
    assert len(own.inputs) == 144 - 15 - 71 + 72  # those are left out after which half a day is missing
    again, _ = gathered(days=3.5, failed_days=[1.9], most=500, change=unwatched)
    assert again.targets.sum(axis=0).tolist() == [0, 15]
    assert len(again.inputs) == len(own.inputs) + 15


def test_what_was_imported_is_the_past_of_moments_and_none_itself(gathered):
    def imported(history):
        history.write(("UPDATE samples SET seq = seq - 700", [()]))

    own, _ = gathered(days=7.0, failed_days=[2.0], most=500, change=imported)
    assert len(own.inputs) == 7 * 144 - 143 - 700  # of the last day none
    assert factor(own, "memory")[0, 1:].any()
    assert len(own.failed_ms) == 0


def test_samples_of_another_interval_are_none(gathered):
    own, _ = gathered(days=5.0, change=lambda history: history.bind_interval(30.0))
    assert len(own.inputs) == 0
    assert len(own.failed_ms) == 0


def test_the_anomaly_score_is_the_one_that_was_shown(gathered):
    def scored(history):
        history.write(("UPDATE samples SET raw_score = 1.0, raw_threshold = 1.0 WHERE seq > 400", [()]))

    own, _ = gathered(days=5.0, failed_days=[], most=100, change=scored)
    present = factor(own, "anomaly")[:, PRESENT] > 0
    assert present.any()
    assert not present.all()
    known = factor(own, "anomaly")[present, 0]
    assert known.max() - known.min() < 0.01
    assert known.min() > 0.1


def test_where_too_few_factors_are_there_nothing_is_learned(gathered):
    own, _ = gathered(days=4.0, failed_days=[2.0], specs=SPECS[:3])
    assert len(own.inputs) == 0


def test_many_failures_are_bounded(gathered):
    failed = [1 + 0.01 * number for number in range(400)]
    own, _ = gathered(days=8.0, failed_days=failed, most=50)
    assert len(own.inputs) <= 100
    assert own.targets[:, 0].sum() <= 20


def test_no_history_is_no_moment(gathered):
    own, _ = gathered(days=0.01, failed_days=[])
    assert own.inputs.shape == (0, 512)
    assert own.targets.shape == (0, 2)
