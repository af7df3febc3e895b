import json
from math import nan

import pytest
from asking import asking

from daemon.collectors.errors import Severity, Speaker
from daemon.failures.families import Belongs, ErrorPattern
from daemon.risk.answers import MOST_ERRORS, RiskAnswer, risk_answer, risk_in_brief
from daemon.risk.routes import risk_route
from daemon.risk.state import Grade, Reason, RiskState
from detectors.failure import Estimate

AT_MS = 1_772_344_800_000
STATE = RiskState(
    "",
    Estimate(0.62, 0.4, 0.8),
    Estimate(0.81, 0.6, 0.93),
    "simulated",
    18,
    2,
    (Reason("expected_full", "/var", nan, "/var is full in 9 h"), Reason("memory", "", 0.7, "memory headroom 6 %")),
    AT_MS,
    grade=Grade(0.61234, None, "600 hours, 6 failures"),
)
LACKING = RiskState("not enough evidence: 3 samples, and 15 are needed", time_ms=AT_MS)


def pattern(text):
    belongs = Belongs(Speaker.KERNEL, "io", Severity.ERROR, ())
    return ErrorPattern(belongs, text, 3, AT_MS - 1000, AT_MS)


def test_all_that_is_known_is_told():
    answer = risk_answer(STATE, 32, [pattern("sda: I/O error")])
    assert json.loads(answer.model_dump_json()) == {
        "at": "2026-03-01T06:00:00.000Z",
        "within_1h": {"probability": 0.62, "lo80": 0.4, "hi80": 0.8},
        "within_24h": {"probability": 0.81, "lo80": 0.6, "hi80": 0.93},
        "missing": "",
        "basis": "simulated",
        "factors": 18,
        "of_factors": 32,
        "events": 2,
        "reasons": [
            {"factor": "expected_full", "about": "/var", "share": None, "text": "/var is full in 9 h"},
            {"factor": "memory", "about": "", "share": 0.7, "text": "memory headroom 6 %"},
        ],
        "errors": [
            {
                "at": "2026-03-01T06:00:00.000Z",
                "speaker": "kernel",
                "family": "io",
                "severity": "error",
                "times": 3,
                "text": "sda: I/O error",
            }
        ],
        "refinement": None,
        "grade": {"performance": 0.6123, "baseline": None, "degraded": False, "text": "600 hours, 6 failures"},
    }


def test_the_newest_errors_alone():
    answer = risk_answer(STATE, 32, [pattern(str(number)) for number in range(9)])
    assert [one.text for one in answer.errors] == ["0", "1", "2", "3", "4"]
    assert len(answer.errors) == MOST_ERRORS


def test_without_enough_evidence_there_is_null_and_the_reason():
    told = json.loads(risk_answer(LACKING, 32, []).model_dump_json())
    assert (told["within_1h"], told["within_24h"]) == (None, None)
    assert told["missing"] == "not enough evidence: 3 samples, and 15 are needed"
    assert json.loads(risk_answer(RiskState(), 32, []).model_dump_json())["missing"] == "no sample yet"


@pytest.mark.parametrize(("state", "hour", "text"), [(STATE, 0.62, "/var is full in 9 h"), (LACKING, None, "")])
def test_in_brief(state, hour, text):
    brief = risk_in_brief(state)
    assert (brief.within_1h, brief.text, brief.missing) == (hour, text, state.missing)


async def test_the_route():
    async with asking([risk_route(lambda: risk_answer(STATE, 32, []))]) as ask:
        status, headers, text = await ask("/api/v1/risk")
    assert (status, headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert RiskAnswer.model_validate_json(text) == risk_answer(STATE, 32, [])
