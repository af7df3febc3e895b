"""What `presage top` draws, of facts of a test's own: everything is there, and nothing is wider than the terminal."""

from dataclasses import replace
from datetime import timedelta

import pytest
from answered import NOW
from answered import STATUS as ANSWERED
from rich.cells import cell_len

from daemon.cli.top_blocks import View
from daemon.cli.top_facts import Facts, Sent, Unusual
from daemon.cli.top_view import draw, spark
from daemon.drift.answers import DriftAnswer, SignalDriftAnswer
from daemon.models.answers import ModelAnswer, ModelsAnswer
from daemon.risk.answers import ProbabilityAnswer, ReasonAnswer, RiskAnswer
from daemon.web.api import AlertAnswer, ChangeAnswer
from daemon.web.forecast_answers import ExhaustionAnswer, ForecastAnswer
from detectors.findings import Unit

LONG = "/var/lib/kubernetes/pods/\u65e5\u672c\u8a9e-\u30c7\u30fc\u30bf/" + "volume-" * 12
SIZES = [(20, 5), (40, 12), (80, 24), (81, 24), (131, 30), (132, 30), (200, 60), (250, 80), (10, 1)]


def alert(number=1, **more):
    given = {
        "occurrence": f"01J00000000000000000ALERT{number}",
        "alertname": "ResourceExhaustionImminent",
        "severity": "critical",
        "state": "firing",
        "resource": LONG,
        "sentence": f"web-1: {LONG} is full in 3 h; backup.service writes 80 % of all that is written",
        "started_at": "2026-03-01T05:40:00.000Z",
        "fired_at": "2026-03-01T05:48:00.000Z",
        "sent_to": ["team"],
    }
    return AlertAnswer(**{**given, **more})


STATUS = ANSWERED.model_copy(
    update={
        "alerts": [
            alert(1),
            alert(2, resource="/srv", severity="warning", acknowledged_by="ann", held="silenced by ann"),
        ]
    }
)
FULL = ExhaustionAnswer(
    text="full in 3.0 h (80 %: 2.0 to 5.0)",
    lo80_ms=1,
    median_ms=2,
    hi80_ms=3,
    probability={"4h": 0.7, "24h": 0.95, "7d": 0.99, "30d": 1.0, "365d": 1.0},
)
FORECAST = ForecastAnswer.model_construct(
    resource=LONG, kind="filesystem", unit="bytes", used_ratio=0.93, capacity=1e12, floor_ratio=0.0,
    exhaustion=FULL, explanation=[], horizons=[],
)  # fmt: skip
MODEL = ModelAnswer.model_construct(
    id="anomaly-20260228T060000Z-4711", state="champion", trained_at="2026-02-28T06:00:00.000Z"
)
FACTS = Facts(
    status=STATUS,
    at=NOW.timestamp(),
    forecasts=(FORECAST,),
    risk=RiskAnswer(
        at=None,
        within_1h=ProbabilityAnswer(probability=0.12, lo80=0.1, hi80=0.2),
        within_24h=ProbabilityAnswer(probability=0.62, lo80=0.5, hi80=0.7),
        missing="",
        basis="simulator",
        factors=20,
        of_factors=32,
        events=0,
        reasons=[ReasonAnswer(factor="x", about="x", share=0.4, text="memory headroom 6 %, steady")],
        errors=[],
    ),
    drift=DriftAnswer.model_construct(
        state="warning", score=0.12, missing="", drifted=9, judged=75,
        examples=[SignalDriftAnswer(signal="disk.busy", distance=0.5, probability=0.0, effective=30.0)],
    ),
    models=ModelsAnswer.model_construct(models=[MODEL], retention=0.97),
    changes=(ChangeAnswer(at="2026-03-01T05:30:00.000Z", kind="package", text="nginx 1.24 -> 1.25"),),
    unusual=(Unusual("cpu.busy", Unit.RATIO, 0.93, 0.1, 0.2, expected=True, odd="too high"),),
    sent=Sent(alerts=3, real=2, false=1, expected=0),
    scores=tuple((NOW.timestamp() - ago * 60, 0.9 if ago < 10 else 0.2) for ago in range(60)),
)  # fmt: skip


def text_of(facts, view=View(), columns=80, rows=24):  # noqa: B008 - it is frozen
    return "\n".join(line.plain for line in draw(facts, view, columns, rows, NOW))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "facts",
    [FACTS, Facts(), replace(FACTS, problem="nothing runs on 127.0.0.1:9736"), Facts(status=STATUS)],
    ids=["all", "nothing", "gone", "first"],
)
@pytest.mark.parametrize("view", [View(), View(picked=alert(2).occurrence, plain=True, paused=True, said="x" * 300)])
def test_it_is_exactly_as_large_as_the_terminal(facts, view, size):
    lines = draw(facts, view, *size, NOW)
    assert len(lines) == size[1]
    assert max(cell_len(line.plain) for line in lines) <= size[0]
    assert all(line.plain.isprintable() for line in lines)
    if view.plain and facts.status is None:
        assert "\n".join(line.plain for line in lines).isascii()


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
def test_all_that_matters_is_there(size):
    shown = text_of(FACTS, View(picked=alert(1).occurrence), *size)
    for part in (
        "web-1",
        "0.91 is over 0.80",
        "learning: 3 of 7 days",
        "critical ResourceExhaustionImminent",
        "firing 12 min",
        "ALERT1",
        "cpu.busy",
        "93 %",
        "10 % to 20 %",
        "12 % within 1 h, 62 % within 24 h",
        "warning, 9 of 75 signals: disk.busy",
        "anomaly-20260228T060000Z-4711, trained 24.0 h ago",
        "train 40%, epoch 3 of 6",
        "3 alerts in 30 days (2 real, 1 false); team: 1 failed, 4 waiting",
        "q quit",
    ):
        assert part in shown, part


def test_what_there_is_no_room_for_is_told():
    status = STATUS.model_copy(update={"degraded": {"disk": "database or disk is full: history has a gap"}})
    assert "short of disk: database or disk is full: history has a gap\n" in text_of(replace(FACTS, status=status))


def test_on_a_large_terminal_nothing_is_left_out():
    shown = text_of(FACTS, View(picked=alert(1).occurrence), 200, 60)
    for part in ("backup.service writes 80 %", "silenced by ann", "nginx 1.24", "full in 3.0 h", "95 % in 24 h"):
        assert part in shown, part


def test_the_picture_of_the_score_is_whole_or_not_there():
    for rows in range(30, 60):
        shown = text_of(FACTS, columns=80, rows=rows)
        assert shown.count("the score of the last hour") == shown.count(" now\n")
    assert "the score of the last hour" in shown


def test_an_alert_keeps_its_place_however_small():
    assert "ResourceExhaustionImminent" in text_of(FACTS, columns=60, rows=8)


def test_the_alert_that_is_picked_is_in_sight_with_the_one_before_it():
    many = [alert(number, resource=f"/disk{number}") for number in range(9)]
    facts = replace(FACTS, status=STATUS.model_copy(update={"alerts": many}))
    for place, one in enumerate(many):
        shown = text_of(facts, View(picked=one.occurrence), 80, 20)
        assert f"/disk{place}" in shown
        assert "wrong now: 9" in shown
        assert place == 0 or f"/disk{place - 1}" in shown


def test_an_empty_host_says_so():
    status = STATUS.model_copy(update={"alerts": [], "anomaly": None, "sinks": [], "job": None, "collectors": []})
    shown = text_of(Facts(status=status))
    assert "nothing is wrong" in shown
    assert "none yet" in shown
    assert "no sink" in shown


def test_what_is_old_says_how_old():
    gone = replace(FACTS, problem="nothing runs on 127.0.0.1:9736", at=NOW.timestamp() - 90)
    assert "no answer (90 s old): nothing runs on 127.0.0.1:9736; asking again" in text_of(gone, columns=100)
    late = STATUS.model_copy(update={"last_sample_at": (NOW - timedelta(minutes=5)).isoformat()})
    assert "the last sample is 5 min old, and one is due every 30 s" in text_of(replace(FACTS, status=late))


def test_the_line_of_scores_shows_the_worst_and_where_it_was_over():
    now = NOW.timestamp()
    line = spark([(now - 3599, 0.1), (now - 1800, 0.2), (now - 1799, 0.95), (now, 1.0)], 0.8, 60, now, plain=False)
    assert len(line.plain) == 60
    assert (line.plain[0], line.plain[30], line.plain[59]) == ("\u2581", "\u2588", "\u2588")
    assert line.plain.count(" ") == 57
    assert {span.style for span in line.spans if span.start in {30, 59}} == {"bold red"}
    assert spark([], 0.8, 5, now, plain=True).plain == " " * 5
    assert spark([(now, 0.5)], 0.8, 0, now, plain=True).plain == ""
