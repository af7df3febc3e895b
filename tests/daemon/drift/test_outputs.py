"""What capacity and failure answer: kept tick by tick, judged by the day."""

import numpy as np
import pytest

from daemon.capacity.resources import Resource, ResourceKind
from daemon.capacity.state import CapacityState, Made, ResourceState
from daemon.drift.outputs import MOST_SERIES, Answers, NetworkAnswers, answers_drifted, save
from daemon.risk.state import RiskState
from detectors.findings import Unit
from detectors.forecasts import DAYS, HOURS
from detectors.kernels import NUMPY

DAY_MS = 86_400_000
FIRST_MS = 1_772_323_200_000


class Host:
    """A host whose networks answer the same way day by day, every ten minutes; `shift` moves what they say."""

    def __init__(self):
        self.answers, self.now_ms, self.rng = NetworkAnswers(), FIRST_MS, np.random.default_rng(4)

    def live(self, days, shift=0.0, taught=0):
        for _ in range(round(days * 144)):
            self.now_ms += 600_000
            hour = float(np.exp(-3 + 0.3 * self.rng.normal() + shift))
            risk = RiskState("", said=(hour, 2 * hour), taught=taught)
            self.answers.observe(self.now_ms, self.forecast(shift), risk)

    def forecast(self, shift):
        """Each hour's forecasts of six file systems; those of days are no concern of drift."""
        made_ms = self.now_ms // 3_600_000 * 3_600_000
        rng = np.random.default_rng(made_ms // 1000)
        resources = []
        for number in range(6):
            said = (0.1 * rng.normal() + shift, rng.normal() + shift)
            made = tuple(Made(one, made_ms, 0, np.zeros(1), "", said=said) for one in (HOURS, DAYS))
            one = Resource(f"/{number}", ResourceKind.STORAGE, Unit.BYTES, ())
            resources.append(ResourceState(one, 0.02, None, 0, "", None, (), made))
        return CapacityState(tuple(resources))

    def told(self, learned_ms=None):
        self.answers.forget(learned_ms, self.now_ms)
        return answers_drifted(self.answers.copied(), NUMPY, learned_ms, self.now_ms)


@pytest.fixture
def host():
    return Host()


def test_what_networks_answer_is_judged_from_the_fourth_day_on(host):
    host.live(3.9)
    assert {one.judged for one in host.told().values()} == {0}
    host.live(0.2)
    told = host.told()
    assert (told["failure"].judged, told["failure"].drifted) == (2, 0)
    assert 6 <= told["capacity"].judged <= 12
    assert told["capacity"].drifted <= 1
    host.live(1, shift=2.0)
    told = host.told()
    assert told["failure"].share == 1
    assert told["capacity"].share > 0.5


def test_after_a_training_the_days_before_it_are_compared_with_at_once(host):
    host.live(4)
    host.live(9, shift=2.0)
    told = host.told(learned_ms=host.now_ms)
    assert {name: one.drifted for name, one in told.items()} == {"capacity": 0, "failure": 0}
    learned_ms = host.now_ms - 1000
    host.live(13, shift=2.0)
    kept = host.answers.copied()["failure"]
    for _ in range(9):  # hour by hour
        host.answers.forget(learned_ms, host.now_ms)
    left = host.answers.copied()["failure"]
    assert len(left.times) < len(kept.times)
    assert left.times[0] == pytest.approx(learned_ms - 8 * DAY_MS, abs=3 * 3_600_000)
    assert host.told(learned_ms)["failure"].drifted == 0
    host.live(1)
    assert host.told(learned_ms)["failure"].drifted == 2


def test_another_network_begins_anew(host):
    host.live(4.1)
    assert host.told()["failure"].judged == 2
    host.live(0.1, taught=7)
    assert host.told()["failure"].judged == 0
    assert len(host.answers.copied()["failure"].times) == 14
    assert host.told()["capacity"].judged >= 6


def test_slots_hold_one_answer_and_silence_none(host):
    for seconds in range(0, 3600, 30):
        host.answers.observe(FIRST_MS + 1000 * seconds, CapacityState(), RiskState("", said=(0.1, 0.2)))
    assert len(host.answers.copied()["failure"].times) == 12
    host.answers.observe(FIRST_MS + DAY_MS, CapacityState(), RiskState("not enough evidence"))
    assert len(host.answers.copied()["failure"].times) == 12
    assert len(host.answers.copied()["capacity"].times) == 0


def test_a_clock_that_is_set_back_and_resources_that_come_and_go():
    kept = Answers().with_row(1000, {"a": 1.0}, 0).with_row(2000, {"b": 2.0}, 0).with_row(1500, {"b": 3.0}, 0)
    assert kept.names == ("a", "b")
    assert kept.times.tolist() == [1000, 1500]
    np.testing.assert_array_equal(kept.values, [[1, np.nan], [np.nan, 3]])
    crowd = kept.with_row(3000, {str(number): 1.0 for number in range(500)}, 0)
    assert len(crowd.names) == MOST_SERIES
    later = kept.with_row(40 * DAY_MS, {"b": 1.0}, 0).without_old(39 * DAY_MS, 40 * DAY_MS)
    assert (later.names, later.times.tolist()) == (("b",), [40 * DAY_MS])


def test_answers_outlive_a_restart_and_damage_costs_them_alone(host, tmp_path):
    host.live(1)
    save(tmp_path, host.answers.copied())
    again = NetworkAnswers()
    again.load(tmp_path)
    for name, kept in host.answers.copied().items():
        found = again.copied()[name]
        assert (found.names, found.network) == (kept.names, kept.network)
        np.testing.assert_array_equal(found.times, kept.times)
        np.testing.assert_array_equal(found.values, kept.values)
    for damage in ("{}", '{"format": 1, "kind": "answers of networks", "capacity": 3}'):
        (tmp_path / "answers" / "manifest.json").write_text(damage)
        empty = NetworkAnswers()
        empty.load(tmp_path)
        assert len(empty.copied()["failure"].times) == 0
    NetworkAnswers().load(tmp_path / "nothing")
