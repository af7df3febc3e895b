import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from alerting.verdict import VerdictKind
from daemon.config import Anomaly
from daemon.continuity import Continuity, Passage
from daemon.precedents import unit_vector
from daemon.signals import Kind, SignalRegistry, SignalSpec
from daemon.verdicts.effects import NOTHING, Effect, Standing
from daemon.watch import AnomalyWatch, floors_of
from daemon.web.api import anomaly_answer
from detectors import learner
from detectors.anomaly import SCORE_SPAN, fit_model
from detectors.calibration import count_episodes
from detectors.features import FLOORS, SPAN
from detectors.findings import Strength, Unit

STEADY = Passage(gap=False, jump_seconds=0, suspended_seconds=0, doubtful=False, hour=5)
GAP = Passage(gap=True, jump_seconds=0, suspended_seconds=0, doubtful=False, hour=5)
SIGNALS = 12


def specs(count=SIGNALS):
    return [SignalSpec(f"s{number:02d}", Unit.RATIO, Kind.GAUGE, "test") for number in range(count)]


@pytest.fixture
def registry():
    known = [(10 + place, spec, 0) for place, spec in enumerate(specs())]
    return SignalRegistry(known, lambda *_: {}, lambda *_: None)


@pytest.fixture
def rows(quiet_host):
    return quiet_host(700, SIGNALS)


class Driver:
    """Feeds rows into a watch and learns when it is time, as the daemon does."""

    def __init__(self, registry, **settings):
        self.registry = registry
        self.watch = AnomalyWatch(Anomaly(**settings), 30.0)
        self.now_ns = 0
        self.said = NOTHING
        self.learned_at = []

    def feed(self, values, passage=STEADY, *, learn=True):
        verdicts = []
        for row in values:
            self.now_ns += 30 * 10**9
            verdicts.append(self.watch.observe(self.registry, row, passage, self.now_ns, said=self.said))
            if learn and self.watch.wants_to_learn():
                self.learned_at.append(self.watch.seen)
                self.watch.adopt(self.watch.lesson(self.registry)(), -self.watch.seen, "", None)
        return verdicts


@pytest.fixture
def driver(registry):
    return Driver(registry)


def test_it_learns_at_sixty_samples_and_at_each_doubling(driver, rows):
    driver.feed(rows)
    assert driver.learned_at == [60, 120, 240, 480]


def test_before_there_is_a_model_it_says_what_is_lacking(driver, rows):
    verdicts = driver.feed(rows[:61])
    assert verdicts[0].state.learning.startswith("learning: 1 of 60 samples")
    assert verdicts[58].state.learning.startswith("learning: 59 of 60 samples")
    first = verdicts[0]
    assert (first.raw, first.threshold, first.alarmed, first.findings) == (None, None, False, ())
    assert first.state.shown is None
    assert verdicts[60].raw is not None
    assert verdicts[60].state.learning == (
        "learning: 30 min of 7 days; anomalies are recorded, not sent; "
        "the network is trained after 2880 samples, 61 seen"
    )


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (120, "1 h of 7 days"),
        (2880, "1 day of 7 days"),
        (5760, "2 days of 7 days"),
        (20_159, "6 days of 7 days"),
        (20_160, "learning: the network is trained after 2880 samples, 2880 seen"),
    ],
)
def test_the_words_of_learning(driver, rows, seen, words):
    driver.feed(rows[:60])
    driver.watch.seen = seen - 1
    state = driver.feed(rows[60:61])[0].state
    assert words in state.learning
    assert driver.watch.learned == (seen >= 20_160)


def test_with_everything_learned_it_says_nothing(driver, rows, registry, monkeypatch):
    monkeypatch.setattr(learner, "_LEAST_STEPS", 90)
    model = fit_model(rows[:300], np.full(300, 5), registry.ids.tolist(), floors_of(registry.specs), with_network=True)
    driver.feed(rows[:60])
    driver.watch.adopt(model, 300, "000000000300", 1000)
    driver.watch.seen = 30_000
    state = driver.feed(rows[300:301])[0].state
    assert (state.learning, state.model, state.trained_ms) == ("", "000000000300", 1000)
    assert 0 <= state.network <= 1
    assert driver.watch.lasting
    driver.feed(rows[301:700])
    assert driver.learned_at == [60]  # a lasting model is not replaced from the window


def test_why_the_network_fired_is_told_beside_the_ranking(driver, rows, registry, monkeypatch):
    monkeypatch.setattr(learner, "_LEAST_STEPS", 90)
    model = fit_model(rows[:300], np.full(300, 5), registry.ids.tolist(), floors_of(registry.specs), with_network=True)
    driver.feed(rows[:60])
    driver.watch.adopt(model, 300, "000000000300", 1000)
    loud = rows[300:340].copy()
    loud[20:, 3:9] += 3.0
    verdicts = driver.feed(loud)
    calm, raised = verdicts[10], verdicts[21]
    assert not calm.alarmed
    assert np.isnan(calm.state.network_shares).all()
    assert raised.alarmed
    shares = raised.state.network_shares
    assert shares == tuple(one.network_share for one in raised.findings[0].contributors)
    assert all(share >= 0 for share in shares)
    assert 0 < sum(shares) <= 1
    assert [one.signal for one in raised.findings[0].contributors] == [name for name, _ in raised.state.contributions]
    for verdict, told in ((calm, [None] * 5), (raised, list(shares))):
        answer = json.loads(anomaly_answer(SimpleNamespace(anomaly=verdict.state), 0.8).model_dump_json())
        assert [one["network_share"] for one in answer["contributions"]] == told


def test_without_a_network_nothing_says_why_it_fired(driver, rows):
    driver.feed(rows[:300])
    loud = rows[300:301] + 3.0
    (verdict,) = driver.feed(loud)
    assert verdict.alarmed
    assert np.isnan([one.network_share for one in verdict.findings[0].contributors]).all()


def test_what_is_unusual_is_found_named_and_not_learned_from(driver, rows):
    driver.feed(rows[:300])
    loud = rows[300:310].copy()
    loud[:, 3:9] += 3.0
    verdicts = driver.feed(loud)
    assert all(one.alarmed for one in verdicts)
    last = verdicts[-1]
    assert last.raw > last.threshold
    assert last.state.shown > 0.8
    finding, felt = last.findings
    assert (felt.alertname, felt.strength) == ("AnomalyWithImpact", Strength.HOLDING)  # nothing tells of harm
    assert (finding.alertname, finding.network, finding.resource) == ("Anomaly", "anomaly", "")
    assert finding.strength is Strength.RAISED
    assert (finding.score, finding.threshold) == (last.state.shown, 0.8)
    assert len(finding.contributors) == 5
    assert {one.signal for one in finding.contributors} <= {f"s{number:02d}" for number in range(3, 9)}
    for one in finding.contributors:
        assert one.value > one.expected_high > one.expected_low
    assert last.state.contributions[0][0] == finding.contributors[0].signal
    values, _ = driver.watch.window.reference(driver.registry.ids)
    assert np.nanmax(values) < 2  # not one loud row is in what will be learned from
    assert np.isnan(values[-1]).all()


# What operators have said


def expected_of(verdict, strength=None):
    """An exclusion of what `verdict` found."""
    pattern = unit_vector(verdict.findings[0].contributors)
    strength = verdict.raw / verdict.threshold if strength is None else strength
    return Standing(
        exclusions=(Effect("v", "a", VerdictKind.EXPECTED, 0, 1, 2**60, pattern=pattern, strength=strength),)
    )


def loud(rows, columns, count=4):
    out = rows[300 : 300 + count].copy()
    out[:, columns] += 3.0
    return out


def test_false_raises_the_threshold_and_what_it_spares_is_not_learned_from(driver, rows):
    driver.feed(rows[:300])
    (verdict,) = driver.feed(loud(rows, [3, 4], 1), learn=False)
    assert verdict.alarmed
    driver.feed(rows[301:340])
    driver.watch.threshold = verdict.raw / 1.05
    driver.said = Standing(factor=1.1)
    (spared,) = driver.feed(loud(rows, [3, 4], 1), learn=False)
    assert driver.watch.threshold < spared.raw < spared.threshold == driver.watch.in_force
    assert (spared.alarmed, spared.spared, spared.expected) == (False, True, False)
    assert {one.strength for one in spared.findings} == {Strength.HOLDING}
    assert np.nanmax(driver.watch.window.reference(driver.registry.ids)[0]) < 2
    driver.feed(rows[301:340], learn=False)
    driver.said = NOTHING
    (again,) = driver.feed(loud(rows, [3, 4], 1), learn=False)
    assert (again.alarmed, again.spared) == (True, False)


def test_what_is_expected_raises_nothing_counts_nothing_and_is_not_learned_from(driver, rows):
    driver.feed(rows[:300])
    verdict = driver.feed(loud(rows, [3, 4]))[-1]
    driver.feed(rows[304:400])
    episodes = driver.watch.episodes
    driver.said = expected_of(verdict)
    found = driver.feed(loud(rows, [3, 4]))
    assert [(one.alarmed, one.expected, one.spared) for one in found] == [(False, True, False)] * 4
    assert {finding.strength for one in found for finding in one.findings} == {Strength.HOLDING}
    assert driver.watch.episodes == episodes
    assert np.nanmax(driver.watch.window.reference(driver.registry.ids)[0]) < 2


def test_another_pattern_and_what_is_much_stronger_are_news(driver, rows):
    driver.feed(rows[:300])
    verdict = driver.feed(loud(rows, [3, 4]))[-1]
    driver.feed(rows[304:400])
    driver.said = expected_of(verdict)
    assert driver.feed(loud(rows, [7, 8, 9]))[-1].alarmed
    driver.feed(rows[304:400])
    driver.said = expected_of(verdict, 0.1)
    assert all(one.alarmed for one in driver.feed(loud(rows, [3, 4])))


def test_what_the_score_still_shows_of_it_is_expected_too_but_not_for_long(driver, rows):
    driver.feed(rows[:300])
    verdict = driver.feed(loud(rows, [3, 4], 10))[-1]
    driver.feed(rows[310:400])
    driver.said = expected_of(verdict, math.inf)
    driver.feed(loud(rows, [3, 4], 10))
    after = driver.feed(loud(rows, [7, 8, 9], 40), learn=False)
    heard = [number for number, one in enumerate(after) if one.alarmed]
    assert heard[0] == SPAN + SCORE_SPAN
    assert all(one.expected or one.alarmed for one in after)


def test_between_release_and_threshold_an_alert_is_held(driver, rows):
    driver.feed(rows[:300])
    verdict = driver.feed(rows[300:301])[0]
    for share, strengths in ((0.5, [Strength.RAISED]), (1.2, [Strength.HOLDING]), (2.0, [])):
        driver.watch.threshold = verdict.raw * share
        alarmed = share < 1
        found = driver.watch._findings(verdict.raw, verdict.state, (), alarmed=alarmed, harmed="it hurts")
        assert [one.strength for one in found if one.alertname == "Anomaly"] == strengths
        found = driver.watch._findings(verdict.raw, verdict.state, (), alarmed=alarmed, harmed="")
        felt = [one.strength for one in found if one.alertname == "AnomalyWithImpact"]
        assert felt == [Strength.HOLDING] * len(strengths)


@pytest.fixture
def suffering(rows):
    """A driver on a host whose last signal tells of harm."""
    harmful = SignalSpec("pressure.memory_full", Unit.RATIO, Kind.GAUGE, "pressure")
    known = [(10 + place, spec, 0) for place, spec in enumerate([*specs(SIGNALS - 1), harmful])]
    driver = Driver(SignalRegistry(known, lambda *_: {}, lambda *_: None))
    driver.feed(rows[:300])
    return driver


def test_an_anomaly_that_is_felt_is_one_more_finding_as_long_as_it_is_unusual(suffering, rows):
    loud = rows[300:306].copy()
    loud[:, 3:9] += 3.0
    loud[2:4, -1] = 0.9
    verdicts = suffering.feed(loud)
    said = [[(one.alertname, one.strength) for one in verdict.findings] for verdict in verdicts]
    only_unusual = [("Anomaly", Strength.RAISED), ("AnomalyWithImpact", Strength.HOLDING)]
    assert said == [only_unusual] * 2 + [[(name, Strength.RAISED) for name, _ in only_unusual]] * 2 + [only_unusual] * 2
    details = [verdict.findings[1].detail for verdict in verdicts]
    assert details[2] == "unusual, and felt: all tasks wait for memory 90 % of the time"
    assert details[4] == "unusual, and was felt"
    plain, felt = verdicts[2].findings
    assert (felt.score, felt.threshold, felt.contributors) == (plain.score, plain.threshold, plain.contributors)


def test_what_hurts_and_is_not_unusual_is_no_finding(suffering, rows):
    calm = rows[300:301].copy()
    suffering.watch.threshold = 1e9
    calm[:, -1] = 0.99
    (verdict,) = suffering.feed(calm)
    assert verdict.findings == ()


def test_while_own_work_runs_what_hurts_raises_nothing(suffering, rows):
    loud = rows[300:302].copy()
    loud[:, 3:] += 3.0
    with suffering.watch.own_work():
        (verdict, _) = suffering.feed(loud)
    assert [one.strength for one in verdict.findings] == [Strength.HOLDING] * 2


@pytest.mark.parametrize(("above", "expected", "alarmed"), [(1.2, False, True), (1.2, True, False), (1.5, True, True)])
def test_while_an_expected_job_runs_only_what_is_well_above_the_threshold_is_news(
    driver, rows, registry, *, above, expected, alarmed
):
    driver.feed(rows[:600])
    twin = Driver(registry)
    twin.feed(rows[:600])
    (plain,) = twin.feed(rows[600:601])
    driver.watch.threshold = plain.raw / above
    verdict = driver.watch.observe(registry, rows[600], STEADY, driver.now_ns + 30 * 10**9, expected=expected)
    assert verdict.alarmed is alarmed
    assert verdict.threshold == pytest.approx(plain.raw / above * (1.35 if expected else 1.0))
    assert verdict.state.threshold == verdict.threshold
    assert driver.watch.threshold == plain.raw / above  # what a restart takes up, and the next step starts from


def test_own_work_raises_nothing_keeps_what_is_up_and_is_not_looked_back_on(driver, rows):
    driver.feed(rows[:300])
    loud = rows[300:340].copy()
    loud[:, 3:9] += 3.0
    with driver.watch.own_work():
        during = driver.feed(loud[:3])
    after = driver.feed(loud[3:4])[0]  # work may have ended just before this sample
    for verdict in (*during, after):
        assert verdict.own_work
        assert not verdict.alarmed
        assert verdict.raw > verdict.threshold
        assert [one.strength for one in verdict.findings] == [Strength.HOLDING] * 2
    assert driver.watch.episodes == 0
    quiet = driver.feed(rows[304:310])
    assert not any(one.own_work or one.alarmed for one in quiet)
    values, _ = driver.watch.window.reference(driver.registry.ids)
    assert np.nanmax(values) < 2
    assert driver.feed(loud[10:12])[-1].alarmed


def test_what_it_remembers_after_own_work_is_a_gap(registry, rows):
    one, other = Driver(registry), Driver(registry)
    for driver in (one, other):
        driver.feed(rows[:300])
    with one.watch.own_work():
        one.feed(rows[300:301] + 5)
    one.feed(rows[301:302] + 5)
    nothing = np.full((2, SIGNALS), np.nan, np.float32)
    other.feed(nothing)
    for mine, expected in zip(one.feed(rows[302:330]), other.feed(rows[302:330]), strict=True):
        assert mine.raw == pytest.approx(expected.raw, abs=1e-6)


def test_the_first_samples_of_a_history_show_its_own_beginning(driver, rows):
    assert [one.own_work for one in driver.feed(rows[:4])] == [True, True, False, False]


def test_a_quiet_host_stays_quiet(driver, rows):
    verdicts = driver.feed(rows)
    assert all(one.raw is not None for one in verdicts[60:])
    assert driver.watch.episodes <= 2  # six hours of it


def test_episodes_are_counted_as_the_budget_counts_them(driver):
    minute = 60 * 10**9
    at = [0, 14, 28, 42, 56, 59, 60, 80, 200]  # minutes; 60 starts the second hour, 80 comes 20 min later
    counted = []
    for one in at:
        driver.watch._count_episode(one * minute)
        counted.append(driver.watch.episodes)
    assert counted == [1, 1, 1, 1, 1, 1, 2, 3, 4]


def test_a_gap_restarts_the_means_and_nothing_looks_across(driver, rows):
    driver.feed(rows[:300], learn=True)
    before = driver.watch.window.filled
    level = rows[300:340] + 1.0  # the host came back with another load
    first = driver.feed(level[:1], GAP, learn=False)[0]
    assert driver.watch.window.filled == before + 2
    live = driver.watch._live
    assert len(live._relative) == 1
    top = dict(first.state.contributions)
    assert top  # the level itself surprises
    window = driver.watch.window.recent(driver.registry.ids, 2)
    assert np.isnan(window[0]).all()


def test_a_sample_with_nothing_in_it_is_neither_usual_nor_unusual(driver, rows):
    driver.feed(rows[:100])
    nothing = np.full((1, SIGNALS), np.nan, np.float32)
    verdict = driver.feed(nothing)[0]
    assert (verdict.raw, verdict.alarmed, verdict.findings) == (None, False, ())
    assert verdict.state.shown is None
    assert driver.feed(rows[100:101])[0].raw is not None


def test_nothing_to_learn_from_is_said_in_words(driver):
    driver.feed(np.full((60, SIGNALS), np.nan, np.float32), learn=False)
    assert driver.watch.wants_to_learn()
    lesson = driver.watch.lesson(driver.registry)
    assert not driver.watch.wants_to_learn()  # it is not asked again at once
    with pytest.raises(ValueError, match="no sample with a value in it"):
        lesson()


def test_a_lesson_is_of_the_moment_it_was_taken(driver, rows):
    """Samples that come while it is being learned change nothing of it."""
    driver.feed(rows[:200], learn=False)
    lesson = driver.watch.lesson(driver.registry)
    expected = lesson()
    driver.feed(rows[200:] + 5.0, learn=False)
    got = lesson()
    np.testing.assert_array_equal(got.quiet_scores, expected.quiet_scores)
    np.testing.assert_array_equal(got.context.centre, expected.context.centre)


def test_a_new_model_starts_with_the_scores_it_would_have_given(driver, rows):
    """A model that takes over in the middle gives the same next score as one that served all the time."""
    driver.feed(rows[:120])
    model = driver.watch.model
    other = Driver(driver.registry)
    other.feed(rows[:119], learn=False)
    other.watch.adopt(model, -60, "", None)
    driver.watch.adopt(model, -60, "", None)
    last = other.feed(rows[119:120], learn=False)
    assert last[0].raw is not None
    expected = driver.feed(rows[120:140], learn=False)
    got = other.feed(rows[120:140], learn=False)
    np.testing.assert_allclose([one.raw for one in got], [one.raw for one in expected], atol=1e-5)


def test_the_threshold_follows_in_bounded_steps(driver, rows):
    driver.feed(rows[:300])
    before = driver.watch.threshold
    high = np.full(3000, 50 * before)
    assert driver.watch.next_threshold(high)() == pytest.approx(1.5 * before)


@pytest.mark.parametrize(
    ("scores", "may"),
    [
        (np.full(100, 0.9), False),
        (np.r_[np.full(2880, 0.9), np.full(2880, 0.1)], True),  # what was unlike it is over
        (np.r_[np.full(2880, 0.1), np.full(2880, 0.9)], False),
        (
            np.r_[np.full(2000, 0.1), np.full(800, 5.0)],
            True,
        ),  # an episode is no decay: it is left out of what is learned
        (np.full(28 * 2880, 0.9), True),  # that is how the host is now
        (np.zeros(0), True),
    ],
)
def test_it_does_not_learn_while_the_host_is_unlike_itself(driver, scores, may):
    driver.watch.threshold = 1.2
    assert driver.watch.may_learn_again(scores) is may


def test_on_a_host_at_perfect_rest_a_whisper_is_no_alarm(driver):
    rest = np.full((200, SIGNALS), 0.2, np.float32)
    verdicts = driver.feed(rest[:150])
    assert driver.watch.threshold == 1.0
    assert not any(one.alarmed for one in verdicts)
    whisper, shout = rest[:2].copy(), rest[:2].copy()
    whisper[:, 3] += 0.001  # a tenth of the smallest scale that matters
    shout[:, 3:9] += 0.7
    assert not any(one.alarmed for one in driver.feed(whisper))
    assert all(one.alarmed for one in driver.feed(shout))


def test_episodes_are_counted_one_by_one_as_over_a_whole_history():
    rng = np.random.default_rng(3)
    for _ in range(30):
        watch = AnomalyWatch(Anomaly(), 30.0)
        crossed = rng.random(2000) < rng.choice([0.003, 0.02, 0.3, 0.9])
        for row in np.flatnonzero(crossed):
            watch._count_episode(int(row) * 30 * 10**9)
        assert watch.episodes == count_episodes(crossed, 30.0)


def test_a_threshold_from_before_a_restart_is_kept(driver, rows):
    driver.feed(rows[:60])
    driver.watch.adopt(driver.watch.model, 7, "model", 1000, threshold=3.25)
    assert driver.watch.threshold == 3.25
    driver.watch.adopt(driver.watch.model, 7, "model", 1000)
    assert driver.watch.threshold not in {3.25, math.inf}


def test_changed_settings_are_followed(driver, rows):
    driver.feed(rows[:300])
    loud = rows[300:302].copy()
    loud[:, 3:9] += 3.0
    assert driver.feed(loud[:1])[0].findings[0].threshold == 0.8
    driver.watch.reconfigure(Anomaly(score_threshold=0.5, learning_days=0))
    verdict = driver.feed(loud[1:])[0]
    assert verdict.findings[0].threshold == 0.5
    assert driver.watch.learned


def test_a_signal_that_left_is_told_by_its_number(driver, rows):
    driver.feed(rows[:100])
    driver.registry._specs.pop(10)
    driver.registry._order()
    verdict = driver.feed(rows[100:101, 1:])[0]
    assert verdict.raw is not None
    assert driver.registry.spec_of(10).name == "signal 10"


def test_every_unit_has_its_floor():
    units = tuple(SignalSpec(f"x{unit.value}", unit, Kind.GAUGE, "test") for unit in Unit)
    assert floors_of(units).tolist() == [FLOORS[unit] for unit in Unit]


def test_a_clock_that_jumps_hides_the_hour_from_what_is_learned(driver, rows, clock):
    continuity = Continuity(30.0)
    for row in rows[:10]:
        driver.feed([row], continuity.step(clock.advance(30)))
    clock.set_wall(7200)
    for row in rows[10:20]:
        driver.feed([row], continuity.step(clock.advance(30)))
    _, hours = driver.watch.window.reference(driver.registry.ids)
    assert (hours[:10] >= 0).all()
    assert (hours[10:] == -1).all()
