import shutil

import numpy as np
import pytest

HOUR = 1 / 24
DAY_MS = 86_400_000


def anew(days, learned_ms=None):
    """What a check says that has to begin with everything."""
    return days.run(days.check(), learned_ms)


def same(one, other):
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_allclose(one.verdict.distance, other.verdict.distance, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(one.verdict.judged, other.verdict.judged)
    np.testing.assert_allclose(one.verdict.effective, other.verdict.effective)


def test_until_four_days_have_passed_it_says_what_is_missing(days):
    check = days.check()
    assert days.run(check) == "no history yet"
    days.live(1)
    assert days.run(check) == "a whole day is needed after those that were learned from: 73 h are missing"
    days.live(3)
    assert days.run(check).endswith(" 1 h are missing")  # the first sample was five minutes late
    days.live(HOUR)
    told = days.run(check)
    assert told.verdict.judged.all()
    assert told.verdict.score() <= 0.1
    assert told.span.days == 3


def test_what_is_counted_from_hour_to_hour_is_what_counting_anew_gives(days):
    days.live(4 + HOUR)
    check = days.check()
    days.run(check)
    for hour in range(30):
        if hour == 10:
            days.shift[:4] = 2
        days.live(HOUR, missing=(5,) if hour % 3 else ())
        told = days.run(check)
        if hour % 5 == 0:
            same(told, anew(days))
    assert told.verdict.drifted[:4].all()
    assert not told.verdict.drifted[[4, 6, 7, 8]].any()


def test_only_what_came_and_went_is_read(days, monkeypatch):
    days.live(4 + HOUR)
    check = days.check()
    days.run(check)
    read = []
    following = days.history.following
    monkeypatch.setattr(days.history, "following", lambda after, count: read.append(after) or following(after, count))
    monkeypatch.setattr(days.history, "recorded", None)
    days.live(HOUR)
    days.run(check)
    assert len(read) <= 4
    assert read[0] == days.seq - 12


def test_a_training_makes_a_new_reference_that_serves_at_once_and_a_restart_none(days, monkeypatch):
    days.live(4 + HOUR)
    days.shift[:] = 3
    days.live(9)
    learned_ms = days.clock.time_ms
    check = days.check()
    told = days.run(check, learned_ms)
    assert told.span.end_ms == learned_ms - 86_400_000  # no sample is on both sides
    assert told.span.days == 7
    assert told.verdict.score() <= 0.1  # what it was then is what is compared with
    monkeypatch.setattr("daemon.drift.check.read", None)
    same(anew(days, learned_ms), told)


def test_a_reference_outlives_the_samples_that_it_comes_from(days):
    days.live(5)
    learned_ms = days.clock.time_ms
    days.live(2)
    before = anew(days, learned_ms)
    days.history.write(("DELETE FROM samples WHERE seq < ?", [(6 * 288,)]))
    after = anew(days, learned_ms)
    assert after.span == before.span
    same(after, before)


def test_a_model_that_comes_back_finds_its_days_though_their_samples_are_gone(days):
    days.live(9)
    first_ms = days.clock.time_ms
    check = days.check()
    before = days.run(check, first_ms)
    days.shift[:] = 4
    days.live(9)
    assert days.run(check, days.clock.time_ms).verdict.score() <= 0.1
    days.history.write(("DELETE FROM samples WHERE seq < ?", [(9 * 288,)]))
    days.shift[:] = 0
    days.live(1)
    for one in (check, days.check()):
        told = days.run(one, first_ms)
        assert (told.span, told.earlier) == (before.span, False)
        assert told.verdict.judged.all()
        assert told.verdict.score() <= 0.1


def test_a_damaged_reference_is_made_anew(days, tmp_path):
    days.live(4 + HOUR)
    before = anew(days)
    (tmp_path / "drift" / "reference" / "manifest.json").write_text("{}")
    same(anew(days), before)
    shutil.rmtree(tmp_path / "drift")
    same(anew(days), before)


def test_a_disk_that_refuses_costs_the_file_alone(days, tmp_path):
    days.live(4 + HOUR)
    (tmp_path / "drift").write_text("no folder")
    check = days.check()
    before = days.run(check)
    days.live(HOUR)
    assert days.run(check).span == before.span


def test_hours_that_nobody_measured_are_left_out(days):
    """A machine that is off at night, against days and nights."""
    days.live(5)
    learned_ms = days.clock.time_ms
    days.live(2, hours=range(9, 17))
    check = days.check()
    told = days.run(check, learned_ms)
    assert told.verdict.judged.all()
    assert told.verdict.score() <= 0.1
    for _ in range(5):
        days.live(0.2, hours=range(9, 17))
        told = days.run(check, learned_ms)
        same(told, anew(days, learned_ms))


def test_after_a_gap_too_little_is_known(days):
    days.live(5)
    days.clock.advance(86_400)
    days.live(HOUR)
    assert not anew(days).verdict.judged.any()


def test_a_history_that_was_set_aside_begins_again(days):
    days.live(5)
    check = days.check()
    days.run(check)
    days.history.set_aside("a test")
    days.live(0.5)
    told = days.run(check)  # the reference is still that of the model
    assert told.verdict.effective.max() <= 144
    days.live(1)
    same(days.run(check), anew(days))


def test_a_clock_that_is_set_back_breaks_nothing(days):
    days.live(5)
    check = days.check()
    days.run(check)
    days.clock.set_wall(-7200)
    for _ in range(30):
        days.live(HOUR)
        told = days.run(check)
    assert (told.verdict.effective <= 288).all()
    assert told.verdict.score() <= 0.2


@pytest.mark.parametrize(("shift", "drifted"), [(0.0, 0), (0.5, 1)])
def test_whether_what_a_model_answers_drifted(days, shift, drifted):
    days.live(4)
    learned_ms = days.clock.time_ms
    days.model = 1
    days.live(3)
    assert anew(days, learned_ms).outputs["anomaly"].share is None
    days.score_shift = shift
    days.live(1 + HOUR)
    told = anew(days, learned_ms).outputs["anomaly"]
    assert (told.share, told.judged, told.drifted) == (drifted, 1, drifted)


def test_a_way_of_before_is_recognised_and_is_no_drift(days):
    """Normal weeks, a week and more on standby that was learned, normal weeks again: then the standby comes back."""
    days.live(9)
    normal_ms = days.clock.time_ms
    check = days.check()
    assert days.run(check, normal_ms).verdict.score() <= 0.1
    days.shift[:] = -4
    days.live(1)
    told = days.run(check, normal_ms)
    assert (told.earlier, told.verdict.score()) == (False, 1.0)  # nobody has seen it before
    days.live(8)
    standby_ms = days.clock.time_ms
    told = days.run(check, standby_ms)
    assert (told.earlier, told.verdict.score() <= 0.1) == (False, True)
    days.shift[:] = 0
    days.live(1)
    told = days.run(check, standby_ms)
    assert told.earlier
    assert told.span.learned_ms == normal_ms
    assert told.verdict.score() < 0.1
    days.live(13)
    again_ms = days.clock.time_ms
    assert not days.run(check, again_ms).earlier
    days.shift[:] = -4
    days.live(1)
    for one in (check, days.check()):  # after a restart too
        told = days.run(one, again_ms)
        assert (told.earlier, told.span.learned_ms) == (True, standby_ms)
        assert told.verdict.score() < 0.1
    days.shift[:] = 5
    days.live(1)
    told = days.run(check, again_ms)  # as it never was
    assert (told.earlier, told.verdict.score()) == (False, 1.0)


def test_a_reference_that_is_lost_between_two_checks_is_made_anew(days, tmp_path):
    days.live(4 + HOUR)
    check = days.check()
    days.run(check)
    shutil.rmtree(check.folder)
    days.live(HOUR)
    same(days.run(check), anew(days))
    days.live(HOUR)
    same(days.run(check), anew(days))
