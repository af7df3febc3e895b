import json
import math
from dataclasses import FrozenInstanceError, replace
from itertools import count

import pytest

from alerting import alert as alert_module
from alerting.alert import AlertBook, Event
from alerting.errors import StoreError, UnknownAlert
from alerting.occurrence import Acknowledgement, State, fingerprint_of, from_json, to_json
from alerting.policy import DRILL, Kept, Severity
from detectors.findings import Finding, Strength


@pytest.fixture
def book(settings):
    numbers = count(1)
    return AlertBook(
        settings, gap_seconds=75.0, new_id=lambda time_ms: f"id{next(numbers)}", describe=lambda one: str(one.state)
    )


@pytest.fixture
def run(book, tick):
    """Observe one tick and return its events."""

    def observe(seconds, *findings):
        return [(one.event, one.occurrence.id) for one in book.observe(findings, tick(seconds))]

    return observe


def test_fingerprint_is_the_same_for_ever():
    assert fingerprint_of("Anomaly", "anomaly", "") == "dc9dad7ce891c9db"
    assert fingerprint_of("FilesystemReadOnly", "host", "/srv") == "e3f2dedb8ea505d0"


def test_fingerprint_parts_do_not_run_together():
    assert fingerprint_of("a", "b", "c,d") != fingerprint_of("a", 'b","c', "d")
    assert fingerprint_of("a", "b", "\udcff")


def test_fires_after_for_and_resolves_after_keep_firing(book, run, anomaly):
    assert run(0, anomaly()) == []
    assert [one.state for one in book.active] == [State.PENDING]
    assert run(30, anomaly()) == []
    assert run(60, anomaly()) == [(Event.FIRING, "id1")]
    assert run(90, anomaly()) == []
    assert run(120) == run(150) == run(180) == run(210) == []
    assert run(240) == [(Event.RESOLVED, "id1")]
    assert book.active == ()
    run(270, anomaly())
    run(300, anomaly())
    assert run(330, anomaly()) == [(Event.FIRING, "id2")]


def test_times_and_sentence_of_an_occurrence(book, tick, anomaly):
    book.observe([anomaly()], tick(0))
    book.observe([anomaly()], tick(30))
    (fired,) = book.observe([anomaly()], tick(60))
    for seconds in (90, 120, 150, 180):
        assert book.observe([], tick(seconds)) == []
    (resolved,) = book.observe([], tick(210))
    start = tick(0).time_ms
    assert (fired.occurrence.started_ms, fired.occurrence.fired_ms) == (start, start + 60_000)
    assert fired.occurrence.resolved_ms is None
    assert fired.occurrence.sentence == "firing"
    assert resolved.occurrence.resolved_ms == start + 210_000
    assert resolved.occurrence.sentence == "resolved"
    with pytest.raises(FrozenInstanceError):
        fired.occurrence.state = State.RESOLVED


def test_a_finding_that_only_holds_never_starts(book, run, anomaly):
    for seconds in range(0, 600, 30):
        assert run(seconds, anomaly(Strength.HOLDING)) == []
    assert book.active == ()


def test_a_pending_alert_that_only_holds_goes_back(book, run, anomaly):
    run(0, anomaly())
    run(30, anomaly(Strength.HOLDING))
    assert book.active == ()
    assert run(60, anomaly()) == []
    assert run(90, anomaly()) == []
    assert run(120, anomaly()) == [(Event.FIRING, "id2")]


def test_a_firing_alert_that_holds_keeps_firing(book, run, anomaly):
    run(0, anomaly())
    run(30, anomaly())
    run(60, anomaly())
    for seconds in range(90, 900, 30):
        assert run(seconds, anomaly(Strength.HOLDING)) == []
    assert [one.state for one in book.active] == [State.FIRING]


def test_a_clear_stretch_that_is_interrupted_starts_again(run, anomaly):
    for seconds in (0, 30, 60):
        run(seconds, anomaly())
    assert run(90) == run(120) == run(150) == []
    run(180, anomaly(Strength.HOLDING))
    assert run(210) == run(240) == run(270) == run(300) == []
    assert run(330) == [(Event.RESOLVED, "id1")]


def test_what_was_not_observed_counts_neither_as_held_nor_as_clear(run, anomaly):
    run(0, anomaly())
    assert run(3600, anomaly()) == []  # an hour without a tick proves nothing
    run(3630, anomaly())
    assert run(3660, anomaly()) == [(Event.FIRING, "id1")]
    assert run(3690) == []
    assert run(7200) == []
    for seconds in (7230, 7260, 7290):
        assert run(seconds) == []
    assert run(7320) == [(Event.RESOLVED, "id1")]


def test_the_wall_clock_decides_nothing_and_its_jumps_leave_the_order(book, tick, anomaly):
    def at(seconds, jump_ms):
        return replace(tick(seconds), time_ms=tick(seconds).time_ms + jump_ms)

    hour_ms = 3_600_000
    assert book.observe([anomaly()], at(0, 0)) == []
    assert book.observe([anomaly()], at(30, 10 * hour_ms)) == []
    (fired,) = book.observe([anomaly()], at(60, -hour_ms))
    assert fired.occurrence.fired_ms == fired.occurrence.started_ms
    for seconds in (90, 120, 150, 180):
        assert book.observe([], at(seconds, -hour_ms)) == []
    (resolved,) = book.observe([], at(210, -hour_ms))
    assert resolved.occurrence.resolved_ms == fired.occurrence.fired_ms


def test_evidence_is_that_of_the_firing_or_of_a_higher_peak(book, run, anomaly, contributors):
    run(0, anomaly(score=9.0))
    run(30, anomaly(score=9.0))
    run(60, anomaly(score=5.0))
    assert book.active[0].score == 5.0
    assert run(90, anomaly(score=4.0)) == []
    assert run(120, anomaly(score=math.nan)) == []
    higher = replace(anomaly(score=8.0), contributors=contributors[:1])
    assert run(150, higher) == [(Event.PEAK, "id1")]
    assert (book.active[0].score, book.active[0].contributors) == (8.0, contributors[:1])


def test_a_fact_without_score_has_no_peak(run, read_only):
    run(0, read_only())
    run(30, read_only())
    assert run(60, read_only()) == [(Event.FIRING, "id1")]
    assert run(90, read_only()) == []


def test_alerts_of_different_resources_are_apart(book, run, read_only):
    for seconds in (0, 30):
        run(seconds, read_only("/srv"), read_only("/var"))
    assert run(60, read_only("/srv"), read_only("/var")) == [(Event.FIRING, "id1"), (Event.FIRING, "id2")]


def test_the_raised_one_of_two_findings_of_one_alert_counts(book, run, anomaly):
    run(0, anomaly(Strength.HOLDING), anomaly(), anomaly(Strength.HOLDING))
    assert [one.state for one in book.active] == [State.PENDING]


def test_restored_firing_keeps_its_id_and_resolves_only_after_clear_observation(book, run, tick, anomaly, settings):
    for seconds in (0, 30, 60):
        run(seconds, anomaly())
    later = AlertBook(settings, gap_seconds=75.0, new_id=lambda time_ms: "new", describe=lambda one: "")
    later.restore([from_json(to_json(one)) for one in book.active], tick(89_970))
    assert later.observe([], tick(90_000)) == []
    assert later.observe([anomaly()], tick(90_030)) == []  # the same occurrence: no second firing
    for seconds in (90_060, 90_090, 90_120, 90_150):
        assert later.observe([], tick(seconds)) == []
    (resolved,) = later.observe([], tick(90_180))
    assert (resolved.event, resolved.occurrence.id) == (Event.RESOLVED, "id1")


def test_a_restored_alert_that_has_no_rule_any_more_resolves_by_the_settings(book, run, tick, anomaly, settings):
    for seconds in (0, 30, 60):
        run(seconds, anomaly())
    later = AlertBook(settings, gap_seconds=75.0, new_id=lambda time_ms: "new", describe=lambda one: "")
    later.restore([replace(book.active[0], alertname="Former", fingerprint="f" * 16)], tick(0))
    ends = [one.event for seconds in range(0, 150, 30) for one in later.observe([], tick(seconds))]
    assert ends == [Event.RESOLVED]


def test_a_finding_without_a_rule_is_a_bug(book, tick):
    with pytest.raises(UnknownAlert):
        book.observe([Finding("Nope", "x", "", Strength.RAISED, "nope")], tick(0))


def test_an_occurrence_survives_its_text(book, run, anomaly):
    run(0, replace(anomaly(), resource="/mnt/\udcff"))
    (occurrence,) = book.active
    told = replace(
        occurrence, told=("ops", "slack"), score=math.inf, kept=Kept.CHANGE, ended=("ops",), group="g", first_told_ms=1,
        last_told_ms=2, told_severity=Severity.PAGE, firings=3, acknowledged=Acknowledgement("ana", 4), owed=True,
    )  # fmt: skip
    assert from_json(to_json(told)) == replace(told, score=None)


def test_an_occurrence_from_before_groups_was_told_alone(book, run, anomaly):
    run(0, anomaly())
    (occurrence,) = book.active
    document = json.loads(to_json(replace(occurrence, told=("ops",))))
    for key in (
        "kept", "ended", "group", "first_told_ms", "last_told_ms", "told_severity", "firings", "acknowledged", "owed",
    ):  # fmt: skip
        del document[key]
    assert from_json(json.dumps(document)) == replace(occurrence, told=("ops",), group=occurrence.id)
    assert from_json(json.dumps({**document, "told": []})) == occurrence


def test_a_missing_value_survives_as_missing(book, run, anomaly, contributors):
    run(0, replace(anomaly(), contributors=(replace(contributors[0], value=math.nan),)))
    (part,) = from_json(to_json(book.active[0])).contributors
    assert math.isnan(part.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [("id", 5), ("state", "odd"), ("started_ms", None), ("score", "5"), ("contributors", {}), ("contributors", [1])],
)
def test_an_unreadable_occurrence_is_said_to_be_one(book, run, anomaly, key, value):
    run(0, anomaly())
    document = json.loads(to_json(book.active[0]))
    with pytest.raises(StoreError, match="unreadable"):
        from_json(json.dumps({**document, key: value}))
    del document[key]
    with pytest.raises(StoreError, match="unreadable"):
        from_json(json.dumps(document))


# What comes and goes


@pytest.fixture
def come_and_go(book, run, anomaly):
    """Let an alert fire from `start` on, of which `told` are told, and be clear after it; returns when it was over."""

    def cycle(start, told=("ops",), most_seconds=3_000):
        for seconds in (0, 30):
            assert run(start + seconds, anomaly()) == []
        assert [event for event, _ in run(start + 60, anomaly())] == [Event.FIRING]
        book.update(replace(book.active[0], told=told))
        for seconds in range(90, most_seconds, 30):
            if run(start + seconds):
                return start + seconds
        raise AssertionError("it was never over")

    return cycle


def test_from_the_third_firing_within_an_hour_on_it_must_be_clear_for_half_an_hour(book, come_and_go, run, anomaly):
    assert come_and_go(0) == 210
    assert come_and_go(240) == 450
    for seconds in (480, 510, 540):
        run(seconds, anomaly())
    assert book.active[0].firings == 3
    book.update(replace(book.active[0], told=("ops",)))
    for seconds in range(570, 1_500, 30):
        assert run(seconds) == []
    assert run(1_500, anomaly()) == []  # it is back: no other firing, and the half hour begins again
    for seconds in range(1_530, 3_330, 30):
        assert run(seconds) == []
    assert [event for event, _ in run(3_330)] == [Event.RESOLVED]


def test_a_record_is_not_held_however_often_it_comes_and_goes(come_and_go):
    for number in range(10):
        assert come_and_go(240 * number, told=()) == 240 * number + 210


def test_what_fires_less_often_than_that_is_not_held(come_and_go):
    assert come_and_go(0) == 210
    assert come_and_go(1_800) == 2_010
    assert come_and_go(3_630) == 3_840  # the first is more than an hour ago


def test_what_comes_and_goes_is_known_over_a_restart(book, tick, anomaly, settings):
    past = []
    for start in (0, 240):
        for seconds in (0, 30, 60):
            past += book.observe([anomaly()], tick(start + seconds))
        for seconds in (90, 120, 150, 180, 210):
            past += book.observe([], tick(start + seconds))
    stored = [from_json(to_json(one.occurrence)) for one in past if one.event is Event.RESOLVED]
    assert [one.firings for one in stored] == [1, 2]
    later = AlertBook(settings, gap_seconds=75.0, new_id=lambda time_ms: "new", describe=lambda one: "")
    later.restore(stored, tick(470))
    for seconds in (480, 510, 540):
        later.observe([anomaly()], tick(seconds))
    assert [one.firings for one in later.active] == [3]
    later.update(replace(later.active[0], told=("ops",)))
    again = AlertBook(settings, gap_seconds=75.0, new_id=lambda time_ms: "new", describe=lambda one: "")
    again.restore([from_json(to_json(one)) for one in later.active], tick(560))
    for seconds in range(570, 2_370, 30):
        assert again.observe([], tick(seconds)) == []
    assert [one.event for one in again.observe([], tick(2_370))] == [Event.RESOLVED]


def test_a_drill_is_over_with_the_next_tick_however_often_it_is_tried(book, run):
    drill = Finding(DRILL, "drill", "", Strength.RAISED, "a try")
    for number in range(5):
        assert [event for event, _ in run(60 * number, drill)] == [Event.FIRING]
        assert [event for event, _ in run(60 * number + 30)] == [Event.RESOLVED]
    assert book.active == ()


# What comes in thousands


@pytest.fixture
def little_room(monkeypatch):
    monkeypatch.setattr(alert_module, "MOST_OPEN", 8)
    monkeypatch.setattr(alert_module, "_ALWAYS_FOLLOWED", 2)


def disk(number):
    return Finding("DiskHealth", "host", f"sd{number}", Strength.RAISED, "it fails")


@pytest.mark.usefixtures("little_room")
def test_beyond_a_bound_alerts_are_counted_and_pages_have_half_of_the_room(book, run, failed):
    disks, units = [disk(number) for number in range(20)], [failed(f"{number}.service") for number in range(20)]
    for seconds in (0, 30, 60):
        run(seconds, *disks, *units)
    names = [one.alertname for one in book.active]
    assert (names.count("UnitFailed"), names.count("DiskHealth")) == (8, 2)
    assert book.not_followed == {"UnitFailed": 12, "DiskHealth": 18}


@pytest.mark.usefixtures("little_room")
def test_tickets_that_came_first_leave_room_for_pages(book, run, failed):
    run(0, *[disk(number) for number in range(20)])
    assert len(book.active) == 4
    run(30, *[disk(number) for number in range(20)], *[failed(f"{number}.service") for number in range(20)])
    names = [one.alertname for one in book.active]
    assert (names.count("UnitFailed"), names.count("DiskHealth")) == (4, 4)


@pytest.mark.usefixtures("little_room")
def test_a_thousand_of_one_name_do_not_hide_another(book, run, failed, read_only):
    units = [failed(f"{number}.service") for number in range(20)]
    run(0, *units)
    run(30, *units, read_only("/srv"))
    assert [one.resource for one in book.active if one.alertname == "FilesystemReadOnly"] == ["/srv"]


@pytest.mark.usefixtures("little_room")
def test_what_was_not_followed_is_when_there_is_room(book, run, failed):
    units = [failed(f"{number}.service") for number in range(10)]
    run(0, *units)
    assert book.not_followed.total() == 2
    run(30, *units[5:])
    assert {one.resource for one in book.active} == {one.resource for one in units[5:]}
    assert book.not_followed.total() == 0


def test_a_step_is_one_alert_so_that_others_may_run_between(book, tick, failed):
    units = [failed(f"{number}.service") for number in range(100)]
    assert len(list(book.steps(units, tick(0)))) == 200
    assert len(list(book.steps(units[:50], tick(60)))) == 150


def test_an_update_of_the_table_changes_the_severity_once(book, run, tick, failed):
    for seconds in (0, 30, 60):
        run(seconds, failed())
    (one,) = book.active
    book.update(replace(one, severity=Severity.TICKET))
    (changed,) = book.observe([failed()], tick(90))
    assert (changed.event, changed.occurrence.severity) == (Event.GRAVITY, Severity.PAGE)
    assert book.observe([failed()], tick(120)) == []


def test_what_is_over_cannot_be_updated(book, run, failed):
    for seconds in (0, 30, 60):
        run(seconds, failed())
    (one,) = book.active
    book.update(replace(one, id="other", sentence="x"))
    assert book.active == (one,)
    for seconds in range(90, 300, 30):
        run(seconds)
    book.update(one)
    assert book.active == ()
