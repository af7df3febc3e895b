"""Verdicts on the operator's desk: what they change is said, stored, taken back, and survives a restart."""

import sqlite3
import time
from dataclasses import replace

import numpy as np
import pytest
from office import Office, Team, read_only

from alerting.verdict import Recurrence, VerdictKind
from daemon import durable
from daemon.clock import Instant
from daemon.samples import FLAG_ALARMED, FLAG_INCIDENT, StoredSample
from daemon.state import MIGRATIONS, StateDatabase
from daemon.verdicts import counting
from daemon.verdicts.effects import ALL_STEPS, NOTHING, STEP
from detectors.findings import Contributor, Finding, Strength, Unit

REAL, FALSE, EXPECTED = VerdictKind.REAL, VerdictKind.FALSE, VerdictKind.EXPECTED
FULL = Finding("ResourceExhaustionImminent", "capacity", "/srv", Strength.RAISED, "/srv is full in an hour", 0.95, 0.9)


def surprised(**surprise):
    return tuple(Contributor(name, Unit.RATIO, "", "", 1.0, 0.0, 0.5, value) for name, value in surprise.items())


def unusual(name="Anomaly", **surprise):
    surprise = surprise or {"disk.busy": 4.0, "load": 3.0, "net": 1.0, "tcp": 0.5}
    return Finding(name, "anomaly", "", Strength.RAISED, "unusual", 0.9, 0.8, surprised(**surprise))


@pytest.fixture(autouse=True)
def _utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
async def office(tmp_path, clock):
    made = [await Office(tmp_path / "state", clock, (Team(),)).open()]

    async def again():
        await made[-1].close()
        made.append(await Office(tmp_path / "state", clock, (Team(),)).open())
        return made[-1]

    made[0].again = again
    yield made[0]
    await made[-1].close()


async def over(office, *findings):
    """Let an alert fire and end; return it."""
    (one, *_) = await office.fire(*findings or (unusual(),))
    await office.end()
    return one


async def full(office):
    """Let a forecast fire; return its alert."""
    await office.tick(FULL)
    await office.tick(FULL, seconds=200)
    (one,) = office.pipeline.active
    return one


def record(office, first_ms, count, flags=0):
    """Store a sample every 30 s from `first_ms` on."""
    last = office.history.last()
    seq = last[0] if last else 0
    for number in range(count):
        now = Instant(first_ms + number * 30_000, number, number, "b")
        sample = (1 + seq + number, now, 0, flags, 0, None, None)
        office.history.append(StoredSample(*sample, np.array([1]), np.zeros(1, np.float32)))


def marked(office):
    rows = office.history.last_rows(10_000)
    return rows.time_ms[(rows.flags & FLAG_INCIDENT) != 0].tolist()


async def test_false_raises_the_threshold_by_a_step_and_says_exactly_which(office, clock):
    one = await over(office)
    answer = await office.desk.feedback(one.id, FALSE, "ann", "cron")
    assert answer.changed == ["threshold 2 -> 2.06 for anomalies of this host, until 2026-03-29 07:07 UTC"]
    assert answer.verdict.effect == "raises the threshold of anomalies until 2026-03-29 07:07 UTC"
    assert office.verdicts.at(clock.time_ms).factor == STEP
    assert (await office.desk.alert(one.id)).verdicts[0].effect == answer.verdict.effect
    again = await office.desk.feedback(one.id, FALSE, "ann", "cron")
    assert again.changed == ["nothing changes: the same was said already"]
    assert office.verdicts.at(clock.time_ms + 28 * 86_400_000).factor == 1.0
    taken = await office.desk.undo(one.id, "ann")
    assert taken.changed == ["threshold 2.06 -> 2 for anomalies of this host"]
    assert office.verdicts.at(clock.time_ms) == NOTHING


async def test_ten_false_verdicts_end_at_the_bound_which_is_said(office, clock):
    for number in range(10):
        one = await over(office)
        (said,) = (await office.desk.feedback(one.id, FALSE, "ann", "")).changed
        assert said.startswith("threshold 2" if number < 4 else "threshold stays 2.2: verdicts raise it to 1.1 times")
    assert office.verdicts.at(clock.time_ms).factor == ALL_STEPS
    assert office.desk.verdicts_in_brief()[0].startswith("the threshold is 1.10 times its own, by verdicts")
    (said,) = (await office.desk.undo(one.id, "ann")).changed
    assert said == "threshold stays 2.2: other verdicts raise it as much"


async def test_before_there_is_a_threshold_the_step_is_said_as_such(office):
    office.threshold = float("inf")
    one = await over(office)
    (said,) = (await office.desk.feedback(one.id, FALSE, "ann", "")).changed
    assert said.startswith("threshold x 1.00 of the first one -> x 1.03 of the first one for anomalies")


async def test_a_second_alert_of_the_same_event_is_no_second_step(office):
    one, felt = await office.fire(unusual(), unusual("AnomalyWithImpact"))
    await office.end()
    await office.desk.feedback(one.id, FALSE, "ann", "")
    (said,) = (await office.desk.feedback(felt.id, FALSE, "ann", "")).changed
    assert said == "threshold stays 2.06: this event was judged false already"


async def test_expected_excludes_its_pattern_and_lists_it(office, clock):
    one = await over(office)
    answer = await office.desk.feedback(one.id, EXPECTED, "ann", "backup", Recurrence.DAY)
    (said,) = answer.changed
    assert said == (
        "anomalies of disk.busy, load, net and 1 more raise no alarm every day at about 06:00 until 2026-05-31"
        " 07:07 UTC, unless one is 1.5 times as strong, hurts or has another pattern"
    )
    assert answer.verdict.every == "day"
    now = office.verdicts.at(clock.time_ms + 86_400_000 - 3_600_000)
    assert now.expected(unusual().contributors, 1.0, felt=False)
    listed = office.desk.verdicts()
    assert [(v.occurrence, v.verdict, v.every, v.effect) for v in listed.verdicts] == [
        (one.id, "expected", "day", said)
    ]
    assert listed.verdicts[0].until == "2026-05-31T07:07:43.000Z"
    assert office.desk.verdicts_in_brief() == ["1 pattern is expected, and no alarm"]
    taken = await office.desk.undo(one.id, "ann")
    assert taken.changed == ["anomalies of disk.busy, load, net and 1 more raise alarms again"]
    assert office.desk.verdicts().verdicts == []


async def test_exclusions_are_bounded_in_number(office, monkeypatch):
    monkeypatch.setattr(counting, "MOST_EXCLUSIONS", 1)
    one = await over(office)
    await office.desk.feedback(one.id, EXPECTED, "ann", "")
    other = await over(office)
    answer = await office.desk.feedback(other.id, EXPECTED, "ann", "")
    assert answer.changed == [
        "nothing else changes: 50 patterns are expected already; take one back (`presage feedback`)"
    ]
    assert len(office.verdicts.effects) == 1
    assert len((await office.desk.feedback(one.id, EXPECTED, "ann", "", Recurrence.WEEK)).changed) == 2  # its own place


async def test_real_marks_what_was_sampled_and_undo_clears_it(office, clock):
    record(office, clock.time_ms + 1000 - 600_000, 40)  # from ten minutes before its beginning to ten after it
    one = await over(office)
    record(office, clock.time_ms - 3_000_000, 200, FLAG_ALARMED)
    answer = await office.desk.feedback(one.id, REAL, "ann", "")
    (said,) = answer.changed
    assert said == (
        "what was sampled from 2026-03-01 06:00 UTC to 2026-03-01 07:37 UTC, 30 minutes of recovery included, is never"
        " learned from (121 samples up to now)"
    )
    inside = marked(office)
    assert len(inside) == 121
    assert one.started_ms <= min(inside) <= max(inside) <= clock.time_ms
    clock.advance(7200)
    await office.verdicts.follow(clock.time_ms)  # its recovery is over by now
    assert len(marked(office)) == 180  # half an hour more
    taken = await office.desk.undo(one.id, "ann")
    assert taken.changed[0].endswith("is learned from again where it was not alarmed (180 samples)")
    assert marked(office) == []
    assert (office.history.last_rows(10).flags == FLAG_ALARMED).all()


async def test_an_incident_that_goes_on_is_marked_to_its_end(office, clock):
    one = await full(office)
    answer = await office.desk.feedback(one.id, REAL, "ann", "")
    assert "until it is over, 30 minutes of recovery included, is never learned from" in answer.changed[0]
    record(office, clock.time_ms, 60)
    clock.advance(1800)
    await office.verdicts.follow(clock.time_ms)
    assert len(marked(office)) == 60
    await office.end()
    await office.verdicts.follow(clock.time_ms)
    (effect,) = office.verdicts.effects
    assert effect.end_ms == (await office.desk._find(one.id)).resolved_ms


async def test_an_alert_that_is_judged_while_it_grows_counts_as_it_was_at_its_worst(office, clock):
    (one,) = await office.fire(unusual())
    await office.desk.feedback(one.id, EXPECTED, "ann", "")
    assert not office.verdicts.at(clock.time_ms).expected(surprised(other=1.0), 1.0, felt=False)
    await office.tick(replace(unusual(other=9.0), score=0.99))
    await office.end()
    await office.verdicts.follow(clock.time_ms)
    assert office.verdicts.at(clock.time_ms).expected(surprised(other=1.0), 20.0, felt=False)
    assert (await office.again()).verdicts.at(clock.time_ms).expected(surprised(other=1.0), 20.0, felt=False)


@pytest.mark.parametrize(
    ("kind", "finding", "why"),
    [
        (FALSE, read_only(), "FilesystemReadOnly is a fact, and is told whenever it is so"),
        (EXPECTED, read_only(), "FilesystemReadOnly is a fact, and is told whenever it is so"),
        (FALSE, FULL, "ResourceExhaustionImminent is a forecast, which is checked against what comes"),
        (EXPECTED, FULL, "ResourceExhaustionImminent is a forecast, which is checked against what comes"),
        (EXPECTED, unusual(nothing=0.0), "it is not known which signals were unusual"),
    ],
)
async def test_what_is_not_judged_away_says_what_is_done_instead(office, clock, kind, finding, why):
    await office.tick(finding)
    await office.tick(finding, seconds=200)
    one = await over(office, finding)
    (said,) = (await office.desk.feedback(one.id, kind, "ann", "")).changed
    assert said.startswith("nothing else changes: ")
    assert why in said
    assert f"`presage silence add --alert {one.alertname}" in said
    assert office.verdicts.at(clock.time_ms) == NOTHING
    await office.tick(finding)
    await office.tick(finding, seconds=200)
    assert office.pipeline.active[0].told == ("team",)  # the next time too


async def test_another_word_takes_the_place_of_the_first_and_undo_brings_it_back(office, clock):
    one = await over(office)
    await office.desk.feedback(one.id, FALSE, "ann", "")
    changed = (await office.desk.feedback(one.id, REAL, "bob", "")).changed
    assert changed[0] == "threshold 2.06 -> 2 for anomalies of this host"
    assert "is never learned from" in changed[1]
    assert office.verdicts.at(clock.time_ms).factor == 1.0
    back = await office.desk.undo(one.id, "bob")
    assert back.verdict.verdict == "false"
    assert any(said.startswith("threshold 2 -> 2.06") for said in back.changed)
    assert office.verdicts.at(clock.time_ms).factor == STEP


async def test_all_of_it_survives_a_restart(office, clock):
    for kind, every in ((FALSE, Recurrence.NONE), (EXPECTED, Recurrence.WEEK), (REAL, Recurrence.NONE)):
        one = await over(office)
        await office.desk.feedback(one.id, kind, "ann", "why", every)
    before = (office.verdicts.effects, office.desk.verdicts(), office.verdicts.at(clock.time_ms))
    office = await office.again()
    assert (office.verdicts.effects, office.desk.verdicts(), office.verdicts.at(clock.time_ms)) == before
    assert len(before[0]) == 3


async def test_a_mark_that_fails_costs_nothing_and_comes_later(office, clock, monkeypatch):
    record(office, clock.time_ms + 1000, 10)
    one = await over(office)

    def broken(_spans):
        raise sqlite3.OperationalError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(office.history, "mark_incidents", broken)
        assert "(0 samples up to now)" in (await office.desk.feedback(one.id, REAL, "ann", "")).changed[0]
    await office.verdicts.follow(clock.time_ms)
    assert len(marked(office)) == 10


async def test_a_crash_between_an_undo_and_its_marks_heals(office, clock, monkeypatch):
    record(office, clock.time_ms + 1000, 10)
    one = await over(office)
    await office.desk.feedback(one.id, REAL, "ann", "")
    with monkeypatch.context() as patch:
        patch.setattr(office.history, "mark_incidents", lambda _spans: 0)
        await office.desk.undo(one.id, "ann")
    assert len(marked(office)) == 10
    office = await office.again()
    await office.verdicts.follow(clock.time_ms)
    assert marked(office) == []


async def test_an_alert_that_is_not_kept_any_more_does_not_stay_an_incident(office, clock):
    one = await full(office)
    await office.desk.feedback(one.id, REAL, "ann", "")
    office.state._write(lambda db: db.execute("DELETE FROM occurrences"))
    clock.advance(86_400 * 30)
    await office.verdicts.follow(clock.time_ms)
    (effect,) = office.verdicts.effects
    assert effect.end_ms == one.started_ms


def test_verdicts_of_before_change_nothing_and_a_copy_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "state.db"
    with monkeypatch.context() as patch:
        patch.setattr("daemon.state.MIGRATIONS", MIGRATIONS[:-1])
        old = StateDatabase(path)
        old._write(
            lambda db: db.execute("INSERT INTO verdicts VALUES (1, 'v', 'one', 'false', 'ann', 'cron', 5, NULL)")
        )
        old.close()
    new = StateDatabase(path)
    try:
        assert new.judged() == []
        (verdict,) = new.verdicts("one")
        assert (verdict.kind, verdict.author, verdict.every) == (FALSE, "ann", Recurrence.NONE)
    finally:
        new.close()
    assert (tmp_path / f"state.db.before-v{len(MIGRATIONS)}").exists()
    assert durable._KEPT_COPIES >= 1
