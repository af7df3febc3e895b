import json

import pytest

from daemon.cli import drift as module
from daemon.drift.answers import DriftAnswer

ANSWER = {
    "at": "2026-03-09T06:00:00.000Z", "state": "critical", "score": 0.25, "warning": 0.1, "critical": 0.2,
    "missing": "", "signals": 90, "judged": 80, "drifted": 20,
    "reference_from": "2026-03-01T06:00:00.000Z", "reference_until": "2026-03-08T06:00:00.000Z", "earlier": False,
    "examples": [
        {"signal": "cpu.busy\x1b[31m", "distance": 0.412, "probability": 1.2e-9, "effective": 122.4},
        {"signal": "memory.used", "distance": 0.3, "probability": 0.0, "effective": 40.0},
    ],
    "networks": [
        {"network": "anomaly", "inputs": 0.25, "judged": 80, "drifted": 20,
         "outputs": 0.0, "outputs_judged": 1, "outputs_drifted": 0},
        {"network": "failure", "inputs": 0.5, "judged": 20, "drifted": 10,
         "outputs": None, "outputs_judged": 0, "outputs_drifted": 0},
        {"network": "capacity", "inputs": None, "judged": 1, "drifted": 0,
         "outputs": None, "outputs_judged": 0, "outputs_drifted": 0},
    ],
}  # fmt: skip
LACKING = {
    **ANSWER, "state": "too little data", "score": None, "missing": "no history yet", "judged": 0, "drifted": 0,
    "reference_from": None, "reference_until": None, "examples": [], "networks": [],
}  # fmt: skip


@pytest.fixture
def shown(monkeypatch, capsys, config):
    """What `presage drift` prints into a pipe of an answer."""

    def show(answered, **more):
        body = json.dumps(answered)
        monkeypatch.setattr(module, "fetch_drift", lambda _: (DriftAnswer.model_validate_json(body), body.encode()))
        module.show_drift(config, **more)
        return capsys.readouterr().out

    return show


def test_the_score_the_networks_and_the_farthest(shown):
    lines = shown(ANSWER).splitlines()
    assert lines[:7] == [
        "drift       critical (25 % of the signals; warning from 10 %)",
        "signals     20 of 80 drifted; 10 not judged",
        "networks    anomaly: 25 % of what it is made of, none of what it answers",
        "            failure: 50 % of what it is made of, too little of what it answers",
        "            capacity: too little data",
        "farthest    cpu.busy [31m  distance 0.41, p 1e-09, 122 samples' worth",
        "            memory.used  distance 0.30, p 0, 40 samples' worth",
    ]
    assert lines[7].startswith("compared    the last day with 2026-03-01 ")
    assert lines[8].startswith("checked     2026-03-09 ")


def test_a_way_of_before_is_told(shown):
    told = " ".join(shown({**ANSWER, "earlier": True}).split())
    assert ", for the host runs again as it did then checked" in told


def test_too_little_data_is_an_answer(shown):
    lines = shown(LACKING).splitlines()
    assert lines[0] == "drift       too little data: no history yet"
    assert len(lines) == 2


def test_json_is_the_daemons_own(shown):
    assert json.loads(shown(ANSWER, as_json=True)) == ANSWER
