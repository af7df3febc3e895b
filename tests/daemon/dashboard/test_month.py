from contextlib import closing

import pytest

from alerting.occurrence import Occurrence, State, fingerprint_of
from alerting.outbox import OutboxItem
from alerting.policy import Kept, Severity
from alerting.verdict import Verdict, VerdictKind
from daemon.dashboard.month import MONTH_MS, last_month
from daemon.state import StateDatabase

NOW = 1_772_344_800_000
DAY = 86_400_000


@pytest.fixture
def state(tmp_path):
    with closing(StateDatabase(tmp_path / "state.db")) as database:
        yield database


def fire(state, number, *, days_ago, told=("hook",), fired=True):
    start = NOW - days_ago * DAY
    one = Occurrence(
        id=f"{number:026d}",
        fingerprint=fingerprint_of("Anomaly", "anomaly", str(number)),
        alertname="Anomaly",
        network="anomaly",
        resource=str(number),
        severity=Severity.TICKET,
        state=State.RESOLVED,
        started_ms=start,
        fired_ms=start if fired else None,
        resolved_ms=start + 1000,
        score=None,
        threshold=None,
        detail="",
        sentence="s",
        contributors=(),
        told=told,
        kept=Kept.NOT if told else Kept.RECORD,
    )
    items = [OutboxItem(f"{number}-{sink}", sink, "t", "{}", start) for sink in told]
    state.record_transitions([one], items)
    return one


def judge(state, one, kind, *, at=NOW, number=1):
    state.record_verdict(Verdict(f"v{number}-{one.id}", one.id, kind, "ana", "", at))


def test_what_was_sent_and_what_share_of_the_judged_was_real(state):
    sent = [fire(state, number, days_ago=number) for number in (1, 2, 3, 4)]
    kept = fire(state, 5, days_ago=5, told=())
    fire(state, 6, days_ago=40)  # of the month before
    judge(state, sent[0], VerdictKind.REAL)
    judge(state, sent[1], VerdictKind.REAL)
    judge(state, sent[2], VerdictKind.FALSE)
    judge(state, kept, VerdictKind.FALSE)  # nobody was woken for it: it is no noise
    told = last_month(state, ["hook", "idle"], now_ms=NOW, first_ms=NOW - 100 * DAY)
    assert (told.fired, told.sent, told.kept) == (5, 4, 1)
    assert (told.real, told.false, told.expected) == (2, 1, 0)
    assert told.share_real == pytest.approx(2 / 3)
    assert told.verdicts == {sent[0].id: "real", sent[1].id: "real", sent[2].id: "false", kept.id: "false"}
    assert [(one.name, one.pending, one.delivered) for one in told.sinks] == [("hook", 4, 0), ("idle", 0, 0)]


def test_the_newest_word_that_was_not_taken_back_counts(state):
    one = fire(state, 1, days_ago=1)
    judge(state, one, VerdictKind.FALSE, at=NOW - 3000, number=1)
    judge(state, one, VerdictKind.REAL, at=NOW - 2000, number=2)
    assert last_month(state, [], now_ms=NOW, first_ms=None).real == 1
    state.undo_verdict(one.id, NOW)
    told = last_month(state, [], now_ms=NOW, first_ms=None)
    assert (told.real, told.false, told.share_real) == (0, 1, 0.0)


def test_without_a_verdict_no_share_is_told_and_a_young_host_says_since_when(state):
    fire(state, 1, days_ago=1)
    told = last_month(state, [], now_ms=NOW, first_ms=NOW - 2 * DAY)
    assert told.share_real is None
    assert told.since == "2026-02-27T06:00:00.000Z"
    assert last_month(state, [], now_ms=NOW, first_ms=NOW - 2 * MONTH_MS).since == "2026-01-30T06:00:00.000Z"
