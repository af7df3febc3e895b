import asyncio
import re
from math import nan

import pytest
from office import EXTERNAL, Office, Team, read_only
from pydantic import ValidationError

from alerting.occurrence import State
from alerting.policy import KEPT_WORDS, Kept
from alerting.verdict import VerdictKind
from daemon.errors import Conflict, DeskError, NotFound, PresagedError, StateError
from daemon.web.alert_answers import SilenceRequest
from detectors.findings import (
    Change,
    ChangeKind,
    Contributor,
    Culprit,
    Direction,
    Finding,
    Precedent,
    Resource,
    Strength,
    Unit,
)


@pytest.fixture
async def offices(tmp_path, clock):
    made = []

    async def build(*sinks, **more):
        made.append(await Office(tmp_path / "state", clock, sinks, **more).open())
        return made[-1]

    yield build
    for one in made:
        await one.close()


def wanted(**more):
    return SilenceRequest.model_validate({"author": "ann", **more}, strict=False)


# Which alerts there are


async def test_alerts_are_listed_newest_first_and_by_state(offices):
    office = await offices()
    await office.fire(read_only("/one"))
    await office.end()
    await office.fire(read_only("/two"))
    await office.tick(read_only("/two"), read_only("/three"))

    async def listed(state, limit=10):
        return [(one.resource, one.state) for one in (await office.desk.alerts(state, limit)).alerts]

    assert await listed("all") == [("/three", "pending"), ("/two", "firing"), ("/one", "resolved")]
    assert await listed("firing") == [("/two", "firing")]
    assert await listed("resolved") == [("/one", "resolved")]
    assert await listed("resolved", 1) == [("/one", "resolved")]
    assert await listed("all", 1) == [("/three", "pending")]


@pytest.mark.parametrize(("state", "limit"), [("all", 2), ("all", 3), ("resolved", 1), ("resolved", 2), ("firing", 1)])
async def test_pages_of_alerts_together_are_all_of_them(offices, state, limit):
    office = await offices()
    for number in range(4):
        await office.fire(read_only(f"/old{number}"))
        await office.end()
    await office.fire(read_only("/one"), read_only("/two"))
    whole = (await office.desk.alerts(state, 100)).alerts
    assert len(whole) == {"all": 6, "resolved": 4, "firing": 2}[state]
    seen, before = [], ""
    while before is not None:
        page = await office.desk.alerts(state, limit, before)
        assert 0 < len(page.alerts) <= limit
        seen += page.alerts
        before = page.next
    assert seen == whole


async def test_an_alert_says_how_it_stands(offices):
    office = await offices(Team())
    (one,) = await office.fire(read_only())
    (answer,) = (await office.desk.alerts("all", 10)).alerts
    assert (answer.occurrence, answer.sent_to, answer.group, answer.firings) == (one.id, ["team"], one.id, 1)
    assert (answer.held, answer.acknowledged_by, answer.resolved_at) == ("", None, None)
    await office.end()
    (answer,) = (await office.desk.alerts("all", 10)).alerts
    assert answer.resolved_at is not None


async def test_why_nobody_is_told_is_said(offices):
    office = await offices(Team(), notify="never")
    unusual = Finding("Anomaly", "anomaly", "", Strength.RAISED, "unusual", 5.0, 3.0)
    await office.desk.add_silence(wanted(resource="/srv", for_seconds=3600, comment="swap"))
    await office.fire(unusual, read_only())
    held = {one.alertname: one.held for one in (await office.desk.alerts("firing", 10)).alerts}
    assert held == {"Anomaly": KEPT_WORDS[Kept.SWITCHED_OFF], "FilesystemReadOnly": "silenced by ann: swap"}
    assert [one.held for one in [await office.desk.alert("latest")]] == [held["FilesystemReadOnly"]]


async def test_an_alert_is_found_by_its_id_the_end_of_it_and_as_the_latest(offices):
    office = await offices()
    (old,) = await office.fire(read_only("/old"))
    await office.end()
    (new,) = await office.fire(read_only("/new"))
    for name in (old.id, old.id.lower(), old.id[-6:], old.id[-4:]):
        assert (await office.desk.alert(name)).occurrence == old.id
    for name in ("latest", "LATEST", new.id[-8:]):
        assert (await office.desk.alert(name)).occurrence == new.id
    await office.end()
    assert (await office.desk.alert("latest")).occurrence == new.id


async def test_letters_that_look_like_digits_are_read_as_such(offices):
    office = await offices()
    (one,) = await office.fire(read_only())
    await office.put(one, id="01KJ0000000000000000001110", fingerprint="a" * 16)
    assert (await office.desk.alert("oillo")).occurrence == "01KJ0000000000000000001110"


@pytest.mark.parametrize(
    "name", ["", "ABC", "%%%%%%", "____", "A' OR 1", "ABCDU", "\u0130AAAA", "x\ny\x1b[31mzzzz", "a" * 5000]
)
async def test_what_is_no_id_is_told_in_one_short_line(offices, name):
    office = await offices()
    await office.fire(read_only())
    with pytest.raises(NotFound) as caught:
        await office.desk.alert(name)
    assert str(caught.value).isprintable()
    assert "`presage alerts`" in str(caught.value)
    assert len(str(caught.value)) < 200


async def test_an_id_that_nobody_has_or_two_have_is_told(offices):
    office = await offices()
    with pytest.raises(NotFound, match="no alert yet"):
        await office.desk.alert("latest")
    with pytest.raises(NotFound, match="no alert has an id ending in ZZZZZZ; see `presage alerts --all`"):
        await office.desk.alert("zzzzzz")
    (one,) = await office.fire(read_only())
    for number in range(2):
        await office.put(one, id=f"01KJ00000000000000{number}0ABCDEF", fingerprint=f"{number}" * 16)
    with pytest.raises(Conflict, match="more than one alert has an id ending in ABCDEF"):
        await office.desk.alert("abcdef")


async def test_all_the_evidence_is_told_and_what_is_unknown_is_null(offices):
    office = await offices()
    (one,) = await office.fire(read_only())
    stored = await office.put(
        one,
        id="01KJ000000000000000000EEEE",
        fingerprint="e" * 16,
        state=State.RESOLVED,
        resolved_ms=one.started_ms + 90_000,
        contributors=(
            Contributor(
                "cpu.busy", Unit.RATIO, "cpu", "", 0.97, 0.03, 0.12, 9.0, Direction.ABOVE, 0.5, 0.97, network_share=0.4
            ),
            Contributor("net\x1b.rx", Unit.BYTES_PER_SECOND, "network", "eth0", nan, nan, nan, nan),
        ),
        culprits=(
            Culprit("backup.service", "rsync", Resource.READS, 0.6, 0.1),
            Culprit("db", "", Resource.DISK_WAIT, 0.3),
        ),
        change=Change(one.started_ms - 5000, ChangeKind.MARK, "deploy 42"),
        precedent=Precedent("01KJ000000000000000000FFFF", one.started_ms - 86_400_000, 720.0, 0.93),
    )
    detail = await office.desk.alert(stored.id)
    assert detail.contributors[0].model_dump() == {
        "signal": "cpu.busy", "family": "cpu", "resource": "", "value": 0.97, "unit": "ratio", "expected_low": 0.03,
        "expected_high": 0.12, "surprise": 9.0, "direction": "above", "recent_low": 0.5, "recent_high": 0.97,
        "network_share": 0.4,
    }  # fmt: skip
    assert (detail.contributors[1].signal, detail.contributors[1].value) == ("net .rx", None)
    assert [(who.unit, who.resource, who.usual_share) for who in detail.culprits] == [("backup.service", "reads", 0.1)]
    assert [(who.unit, who.waits_for, who.usual_share_of_time) for who in detail.victims] == [("db", "disk", None)]
    assert (detail.change.text, detail.precedent.likeness) == ("deploy 42", 0.93)
    assert detail.meaning.startswith("A file system that was writable")


async def test_each_sinks_deliveries_of_this_alert_are_told_and_of_no_other(offices):
    broken = Team("mail", error="HTTP 500: no")
    office = await offices(Team(), broken)
    first, second = read_only("/first"), read_only("/second")
    (one,) = await office.fire(first)
    async with asyncio.timeout(10):
        while not office.outbox.counts["mail"].failed:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    await office.tick(first, second, seconds=1)
    await office.tick(first, second, seconds=61)  # joins the group of the first, and is told after a minute
    await office.tick(first, second, seconds=61)
    other = next(alert for alert in office.pipeline.active if alert.resource == "/second")
    assert other.group == one.id
    await office.end()
    async with asyncio.timeout(10):
        while len(office.sinks[0].got) < 3 or office.outbox.counts["mail"].failed < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    told = [(d.sink, d.event) for d in (await office.desk.alert(other.id)).deliveries]
    assert told == [("team", "firing"), ("mail", "firing"), ("team", "resolved"), ("mail", "resolved")]
    mine = (await office.desk.alert(one.id)).deliveries
    assert [(d.sink, d.event) for d in mine] == [
        ("team", "firing"), ("mail", "firing"), ("team", "resolved"), ("mail", "resolved"),
    ]  # fmt: skip
    assert {d.state for d in mine if d.sink == "team"} == {"delivered"}
    waiting = next(d for d in mine if d.sink == "mail")
    assert (waiting.state, waiting.error) == ("pending", "HTTP 500: no")
    assert waiting.attempts >= 2


# In hand


async def test_an_alert_is_taken_in_hand_once_and_stays_so_over_a_restart(offices):
    office = await offices(Team())
    (one,) = await office.fire(read_only())
    taken = await office.desk.acknowledge(one.id[-6:], "ann")
    assert taken.acknowledged_by == "ann"
    assert (await office.desk.acknowledge(one.id, "bob")).acknowledged_by == "ann"
    await office.tick(read_only())
    assert (await office.desk.alert(one.id)).acknowledged_by == "ann"
    (stored,) = office.state.recent_occurrences(5)
    assert stored.acknowledged.author == "ann"


async def test_what_does_not_fire_is_not_taken_in_hand(offices):
    office = await offices()
    await office.tick(read_only("/new"))
    with pytest.raises(Conflict, match=r"FilesystemReadOnly /new .* has not fired yet"):
        await office.desk.acknowledge("latest", "ann")
    (one,) = await office.fire(read_only("/new"))
    await office.end()
    with pytest.raises(Conflict, match="is over: there is nothing to take in hand"):
        await office.desk.acknowledge(one.id, "ann")


# Verdicts


async def test_a_verdict_is_kept_once_and_the_newest_counts(offices):
    office = await offices()
    (one,) = await office.fire(read_only())
    for _ in range(2):
        kept = await office.desk.feedback(one.id, VerdictKind.FALSE, "ann", "cron")
        assert (kept.verdict.verdict, kept.verdict.author, kept.verdict.comment) == ("false", "ann", "cron")
    await office.desk.feedback(one.id, VerdictKind.REAL, "bob", "")
    await office.end()
    await office.desk.feedback("latest", VerdictKind.FALSE, "ann", "cron")
    said = [(v.kind.value, v.author) for v in office.state.verdicts(one.id)]
    assert said == [("false", "ann"), ("real", "bob"), ("false", "ann")]
    assert [v.verdict for v in (await office.desk.alert(one.id)).verdicts] == ["false", "real", "false"]


async def test_the_same_verdict_at_once_is_kept_once(offices):
    office = await offices()
    (one,) = await office.fire(read_only())
    await asyncio.gather(*(office.desk.feedback(one.id, VerdictKind.REAL, "ann", "") for _ in range(20)))
    assert len(office.state.verdicts(one.id)) == 1


async def test_a_verdict_that_is_taken_back_stays_seen_and_the_one_before_counts(offices):
    office = await offices()
    (one,) = await office.fire(read_only())
    await office.desk.feedback(one.id, VerdictKind.FALSE, "ann", "")
    await office.desk.feedback(one.id, VerdictKind.REAL, "bob", "")
    assert (await office.desk.undo(one.id, "bob")).verdict.verdict == "false"
    assert (await office.desk.undo(one.id, "bob")).verdict is None
    with pytest.raises(Conflict, match="has no verdict"):
        await office.desk.undo(one.id, "bob")
    assert all(v.undone_at for v in (await office.desk.alert(one.id)).verdicts)
    again = await office.desk.feedback(one.id, VerdictKind.REAL, "bob", "")
    assert again.verdict.undone_at is None
    assert len(office.state.verdicts(one.id)) == 3


async def test_what_has_not_fired_is_not_judged(offices):
    office = await offices()
    await office.tick(read_only())
    with pytest.raises(Conflict, match="has not fired yet"):
        await office.desk.feedback("latest", VerdictKind.REAL, "ann", "")
    with pytest.raises(Conflict, match="has no verdict"):
        await office.desk.undo("latest", "ann")


# Silences


async def test_a_silence_keeps_an_alert_quiet_until_it_is_expired(offices):
    team = Team()
    office = await offices(team)
    silence = await office.desk.add_silence(
        wanted(alertname="Filesystem*", resource="/srv*", severity="critical", for_seconds=7200, comment="swap")
    )
    assert silence.takes == "Filesystem* on /srv* of severity critical"
    assert office.desk.silences().silences == [silence]
    (one,) = await office.fire(read_only())
    assert (await office.desk.alert(one.id)).silences == [silence]
    assert team.got == []
    over = await office.desk.expire(silence.id[-5:].lower(), "bob")
    assert over.ends_at < silence.ends_at
    assert office.desk.silences().silences == []
    await office.tick(read_only())
    await office.delivered()
    assert [document["event"] for document in team.got] == ["firing"]
    assert (await office.desk.alert(one.id)).held == ""
    with pytest.raises(NotFound, match="no silence that is not over"):
        await office.desk.expire(silence.id, "bob")
    with pytest.raises(NotFound, match="is no silence"):
        await office.desk.expire("??", "bob")


async def test_a_silence_is_over_at_its_time(offices, clock):
    office = await offices()
    silence = await office.desk.add_silence(wanted(everything=True, until="2026-03-01T08:00:00+01:00"))
    assert silence.ends_at == "2026-03-01T07:00:00.000Z"
    assert silence.takes == "every alert"
    clock.advance(3600)
    assert office.desk.silences().silences == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"for_seconds": 0}, "greater than or equal to 1"),
        ({"for_seconds": -5}, "greater than or equal to 1"),
        ({"for_seconds": 365 * 86_400 + 1}, "less than or equal to"),
        ({}, "either for_seconds or until"),
        ({"for_seconds": 5, "until": "2026-03-02T06:00:00Z"}, "either for_seconds or until"),
        ({"until": "2026-03-02T06:00:00"}, "timezone"),
        ({"until": "2026-03-01T05:59:59Z"}, "must end in the future"),
        ({"until": "2026-03-01T06:00:00Z"}, "must end in the future"),
        ({"until": "0001-01-01T00:00:00Z"}, "must end in the future"),
        ({"until": "2027-03-02T06:00:00Z"}, "a year at most"),
        ({"until": "9999-12-31T23:59:59Z"}, "a year at most"),
        ({"for_seconds": 5, "alertname": "", "resource": ""}, "or everything = true"),
        ({"for_seconds": 5, "everything": True}, "either everything or"),
        ({"for_seconds": 5, "alertname": "DiskHelth"}, 'did you mean "DiskHealth"?'),
        ({"for_seconds": 5, "alertname": "Zzz*"}, "there are FilesystemReadOnly, "),
        ({"for_seconds": 5, "network": "hosts"}, 'did you mean "host"?'),
        ({"for_seconds": 5, "severity": "page"}, "critical"),
        ({"for_seconds": 5, "comment": "a\nb"}, "one line"),
        ({"for_seconds": 5, "author": " "}, "give a name"),
        ({"for_seconds": 5, "author": "x" * 101}, "at most 100"),
    ],
)
async def test_a_silence_that_makes_no_sense_is_refused(offices, given, said):
    office = await offices()
    with pytest.raises((ValidationError, DeskError), match=re.escape(said)):
        await office.desk.add_silence(wanted(**{"resource": "/srv", **given}))
    assert office.desk.silences().silences == []


async def test_two_silences_with_one_ending_are_told_apart(offices, monkeypatch):
    office = await offices()
    numbers = iter(("01KJ000000000000000010ABCD", "01KJ000000000000000020ABCD"))
    monkeypatch.setattr(office.desk, "_new_id", lambda _time_ms: next(numbers))
    for _ in range(2):
        await office.desk.add_silence(wanted(resource="/srv", for_seconds=60))
    with pytest.raises(Conflict, match="2 silences"):
        await office.desk.expire("abcd", "ann")
    assert (await office.desk.expire("20ABCD", "ann")).id == "01KJ000000000000000020ABCD"


# Whether notifications arrive


async def test_a_drill_says_who_started_it_and_its_alert_has_an_id_above(offices):
    team = Team()
    office = await offices(team)
    after = office.desk.drill("ann")
    assert office.drills == ["this is a drill, started by ann: nothing is wrong"]
    await office.tick()
    (one,) = (await office.desk.alerts("firing", 5)).alerts
    assert (one.alertname, one.occurrence > after) == ("Drill", True)
    await office.tick()
    await office.delivered()
    assert [(document["event"], document["drill"]) for document in team.got] == [("firing", True), ("resolved", True)]
    assert all("started by ann" in document["sentence"] for document in team.got)
    assert (await office.desk.alert(one.occurrence)).state == "resolved"


async def test_a_sink_is_tried_and_says_whether_it_took_it(offices):
    team, broken = Team(), Team("mail", error="HTTP 500: no")
    office = await offices(team, broken)
    took = await office.desk.test_sink("team")
    assert (took.sink, took.error) == ("team", None)
    assert [(document["id"], document["event"]) for document in team.got] == [(took.id, "test")]
    assert (await office.desk.test_sink("mail")).error == "HTTP 500: no"
    assert office.outbox.counts["mail"].pending == 0
    with pytest.raises(NotFound, match='there is no sink "slack": there are team, mail'):
        await office.desk.test_sink("slack")


async def test_without_sinks_there_is_none_to_try(offices):
    office = await offices()
    with pytest.raises(NotFound, match="none is configured"):
        await office.desk.test_sink("team")


# Links and failures


async def test_a_link_is_for_one_alert_and_one_action_and_expires(offices, clock):
    office = await offices()
    (one,) = await office.fire(read_only())
    links = office.signer.links(one.id, clock.time_ms)
    assert set(links) == {"ack", "real", "false", "expected"}
    assert all(link.startswith(f"{EXTERNAL}/api/v1/alerts/{one.id}/feedback?") for link in links.values())
    expires, signature = links["ack"].partition("expires=")[2].split("&signature=")
    assert office.desk.link_refusal(one.id, "ack", expires, signature) == ""
    assert office.desk.link_refusal(one.id, "real", expires, signature) != ""
    assert office.desk.link_refusal("01KJ000000000000000010ABCD", "ack", expires, signature) != ""
    clock.advance(15 * 86_400)
    assert office.desk.link_refusal(one.id, "ack", expires, signature) == "this link has expired"


async def test_a_store_that_fails_is_told_in_its_own_words(offices):
    office = await offices()
    (one,) = await office.fire(read_only())
    office.state._connection.close()
    asked = (
        office.desk.alerts("all", 5),
        office.desk.alert(one.id),
        office.desk.feedback("latest", VerdictKind.REAL, "ann", ""),
        office.desk.acknowledge(one.id, "ann"),
        office.desk.add_silence(wanted(everything=True, for_seconds=5)),
    )
    for question in asked:
        with pytest.raises(PresagedError) as caught:
            await question
        assert isinstance(caught.value, StateError)
        assert "state.db" in str(caught.value)
