"""What a verdict changes: bounded whatever is said, ended by itself, and the same after it was stored."""

import math
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.occurrence import Occurrence, State
from alerting.policy import Severity
from alerting.verdict import Recurrence, Verdict, VerdictKind
from daemon.verdicts.effects import (
    ALL_STEPS,
    NOTHING,
    RECOVERY_MS,
    STEP,
    STRONGER,
    Effect,
    effect_from_json,
    effect_of,
    factor,
    incidents,
    standing,
    to_json,
)
from detectors.findings import Contributor, Unit

NOW_MS = 1_772_344_800_000  # a Sunday, 06:00 UTC
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
REAL, FALSE, EXPECTED = VerdictKind.REAL, VerdictKind.FALSE, VerdictKind.EXPECTED


@pytest.fixture(autouse=True)
def _summer_time(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def surprised(**surprise):
    return tuple(Contributor(name, Unit.RATIO, "", "", 1.0, 0.0, 0.5, value) for name, value in surprise.items())


def alert(number="a", *, name="Anomaly", network="anomaly", started_ms=NOW_MS, minutes=30, **more):
    given = {"score": 0.9, "threshold": 0.8, "contributors": surprised(disk=4.0, load=3.0), **more}
    return Occurrence(
        id=number, fingerprint=number, alertname=name, network=network, resource="", severity=Severity.RECORD,
        state=State.RESOLVED, started_ms=started_ms, fired_ms=started_ms, resolved_ms=started_ms + minutes * 60_000,
        detail="", sentence="", **given,
    )  # fmt: skip


def said(kind, about, *, time_ms=NOW_MS, every=Recurrence.NONE):
    return effect_of(Verdict(f"v-{about.id}", about.id, kind, "ann", "", time_ms, every=every), about)


def step(number, first_ms, end_ms, until_ms=2**60):
    return Effect(str(number), str(number), FALSE, first_ms, end_ms, until_ms)


SPANS = st.tuples(st.integers(0, 1000), st.one_of(st.none(), st.integers(0, 200)), st.integers(0, 2000))
STEPS = st.lists(SPANS, max_size=30).map(
    lambda spans: [
        step(number, first, None if length is None else first + length, until)
        for number, (first, length, until) in enumerate(spans)
    ]
)


@given(STEPS, st.integers(0, 2500))
def test_the_threshold_is_raised_by_a_bounded_factor_whatever_was_said(steps, now_ms):
    times = factor(steps, now_ms)
    assert 1.0 <= times <= ALL_STEPS
    active = [one for one in steps if one.is_active(now_ms)]
    assert (times == 1.0) == (not active)
    assert times <= STEP ** len(active) + 1e-12
    assert factor(reversed(steps), now_ms) == times


@given(STEPS, SPANS, st.integers(0, 2500))
def test_one_more_false_never_lowers_it_and_raises_it_by_one_step_at_most(steps, span, now_ms):
    first, length, until = span
    more = [*steps, step("more", first, None if length is None else first + length, until)]
    before, after = factor(steps, now_ms), factor(more, now_ms)
    assert before <= after <= before * STEP + 1e-12
    assert factor(more[:-1], now_ms) == before  # taken back, it is as if it had never been said


def test_every_step_ends_by_itself():
    effects = [
        said(FALSE, alert(str(day), started_ms=NOW_MS + day * DAY_MS), time_ms=NOW_MS + day * DAY_MS) for day in (0, 1)
    ]
    at = [factor(effects, NOW_MS + round(day * DAY_MS)) for day in (2, 27.9, 28.1, 29.1)]
    assert at == pytest.approx([STEP**2, STEP**2, STEP, 1.0])


def test_two_alerts_of_one_event_are_one_step():
    felt = alert("b", name="AnomalyWithImpact", started_ms=NOW_MS + 60_000)
    assert factor([said(FALSE, alert()), said(FALSE, felt)], NOW_MS) == pytest.approx(STEP)
    later = alert("c", started_ms=NOW_MS + HOUR_MS)
    assert factor([said(FALSE, alert()), said(FALSE, felt), said(FALSE, later)], NOW_MS) == pytest.approx(STEP**2)


@pytest.mark.parametrize("kind", [FALSE, EXPECTED])
@pytest.mark.parametrize(
    ("name", "network"),
    [("FilesystemReadOnly", "host"), ("ResourceExhaustionImminent", "capacity"), ("FailureRiskHigh", "failure")],
)
def test_no_fact_and_no_forecast_is_judged_away(kind, name, network):
    about = alert(name=name, network=network)
    assert said(kind, about) is None
    assert said(REAL, about) is not None


def test_without_known_signals_nothing_is_expected():
    assert said(EXPECTED, alert(contributors=())) is None
    assert said(EXPECTED, alert(contributors=surprised(disk=math.nan))) is None


# What is expected


def expects(effects, now_ms=NOW_MS, *, strength=1.5, felt=False, **surprise):
    return (
        standing(effects, now_ms).expected(surprised(**surprise or {"disk": 4.1, "load": 3.1}), strength, felt=felt)
        is not None
    )


def test_what_is_alike_is_expected_and_what_is_not_is_news():
    effects = [said(EXPECTED, alert())]
    assert expects(effects)
    assert expects(effects, disk=40.0, load=30.0)  # the pattern; how strong it may be is another question
    assert not expects(effects, disk=4.0, net=4.0)
    assert not expects(effects, net=9.0)
    assert not expects([], disk=4.0, load=3.0)


def test_what_is_much_stronger_or_begins_to_hurt_is_news():
    effects = [said(EXPECTED, alert())]  # 0.9 shown is 2.25 times the threshold
    assert expects(effects, strength=2.25 * STRONGER - 0.01)
    assert not expects(effects, strength=2.25 * STRONGER + 0.01)
    assert not expects(effects, felt=True)
    felt = [said(EXPECTED, alert(name="AnomalyWithImpact"))]
    assert expects(felt, felt=True)
    assert expects(felt, felt=False)


@pytest.mark.parametrize("score", [None, math.nan, 0.0, 1.0, 5.0, 0.3])
def test_where_its_strength_is_not_known_only_what_is_weak_is_expected(score):
    assert not expects([said(EXPECTED, alert(score=score))], strength=STRONGER + 0.01)


@pytest.mark.parametrize(
    ("every", "days", "hours", "expected"),
    [
        (Recurrence.NONE, 1, 9, True),
        (Recurrence.NONE, 29, 0, False),
        (Recurrence.DAY, 1, 0, True),
        (Recurrence.DAY, 1, 1.4, True),  # 30 minutes long, and an hour after it
        (Recurrence.DAY, 1, 1.6, False),
        (Recurrence.DAY, 1, -0.9, True),
        (Recurrence.DAY, 1, -1.1, False),
        (Recurrence.DAY, 35, -1, True),  # in summer time it comes an hour earlier in UTC
        (Recurrence.DAY, 35, 0.6, False),
        (Recurrence.DAY, 90, -1, True),
        (Recurrence.DAY, 92, -1, False),
        (Recurrence.WEEK, 1, 0, False),
        (Recurrence.WEEK, 7, 0, True),
        (Recurrence.WEEK, 21, 1.4, True),
        (Recurrence.WEEK, 21, 1.6, False),
        (Recurrence.WEEK, 189, -1, False),
    ],
)
def test_what_comes_again_is_expected_at_its_hour_and_until_it_ends(every, days, hours, expected):
    effects = [said(EXPECTED, alert(), every=every)]
    assert expects(effects, NOW_MS + days * DAY_MS + round(hours * HOUR_MS)) is expected


@given(st.integers(0, 400), st.sampled_from(list(Recurrence)), st.integers(0, 3000))
def test_what_recurs_is_expected_at_every_turn_as_long_as_it_stands(days, every, minutes):
    effect = said(EXPECTED, alert(minutes=minutes), every=every)
    turn_ms = 7 * DAY_MS if every is Recurrence.WEEK else DAY_MS
    now_ms = NOW_MS + days // 7 * 7 * DAY_MS if every is Recurrence.WEEK else NOW_MS + days * DAY_MS
    now_ms -= (time.localtime(now_ms / 1000).tm_gmtoff - time.localtime(NOW_MS / 1000).tm_gmtoff) * 1000
    assert effect.is_its_hour(now_ms)
    assert effect.is_active(now_ms) == (now_ms < effect.until_ms)
    if every is not Recurrence.NONE and minutes * 60_000 + 2 * HOUR_MS < turn_ms:
        assert not effect.is_its_hour(NOW_MS - HOUR_MS - 60_000)


# What is real


def test_what_was_real_is_an_incident_with_its_recovery():
    assert incidents([said(REAL, alert())], NOW_MS + DAY_MS) == [(NOW_MS, NOW_MS + 30 * 60_000 + RECOVERY_MS)]
    still = replace(said(REAL, alert()), end_ms=None)
    assert incidents([still], NOW_MS + 5) == [(NOW_MS, NOW_MS + 6)]
    assert incidents([said(FALSE, alert()), said(EXPECTED, alert())], NOW_MS) == []
    assert standing([said(REAL, alert())], NOW_MS) == NOTHING


# As text


@given(
    st.sampled_from(list(VerdictKind)),
    st.sampled_from(list(Recurrence)),
    st.dictionaries(st.sampled_from(["disk", "n\u00e4t", "a b", "\U0001f4be"]), st.floats(0.01, 1e6)),
    st.one_of(st.none(), st.floats(0, 1)),
)
def test_what_is_stored_is_what_is_read(kind, every, surprise, score):
    about = alert(contributors=surprised(**surprise), score=score)
    effect = said(kind, about, every=every)
    if effect is not None:
        assert effect_from_json(effect.verdict, effect.occurrence, kind.value, to_json(effect)) == effect


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"first_ms": "x"}', to_json(step(1, 0, 1))[:-1]])
def test_what_is_none_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - of JSON or ours
        effect_from_json("v", "a", "false", text)
