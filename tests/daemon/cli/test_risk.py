import json

import pytest
from rich.console import Console

from daemon.cli import risk as module
from daemon.cli.risk import rows
from daemon.cli.status import percent
from daemon.cli.terminal import print_rows
from daemon.risk.answers import RiskAnswer

BASIS = "calibrated on simulated hosts; this host: 2 events, not enough to check"
LEAK = "memory headroom of app.service 6 %, falling 1.1 % a minute: zero in 5 min 30 s"
ANSWER = {
    "at": "2026-03-01T06:00:00.000Z",
    "within_1h": {"probability": 0.62, "lo80": 0.4, "hi80": 0.8},
    "within_24h": {"probability": 0.994, "lo80": 0.6, "hi80": 0.998},
    "missing": "", "basis": BASIS, "factors": 18, "of_factors": 32, "events": 2,
    "reasons": [
        {"factor": "expected_full", "about": "/var", "share": None, "text": "/var is full in 9 h"},
        {"factor": "unit_memory", "about": "app.service", "share": 0.71, "text": LEAK},
    ],
    "errors": [
        {
            "at": "2026-03-01T06:00:00.000Z", "speaker": "kernel", "family": "io", "severity": "error", "times": 3,
            "text": "sda: I/O error\x1b[31m " + "x" * 120,
        }
    ],
}  # fmt: skip
LACKING = {
    **ANSWER, "within_1h": None, "within_24h": None, "factors": 3, "reasons": [], "errors": [],
    "missing": "not enough evidence: 3 of 32 factors are there, and 6 are needed",
}  # fmt: skip


@pytest.fixture
def shown(monkeypatch, capsys, config):
    """What `presage risk` prints into a pipe of an answer."""

    def show(answered, **more):
        body = json.dumps(answered)
        monkeypatch.setattr(module, "fetch_risk", lambda _: (RiskAnswer.model_validate_json(body), body.encode()))
        module.show_risk(config, **more)
        return capsys.readouterr().out

    return show


def test_both_probabilities_the_reasons_and_the_basis(shown):
    lines = shown(ANSWER).splitlines()
    assert lines[:6] == [
        "within 1 h  62 % (80 %: 40 % to 80 %)",
        "within 24 h above 99 % (80 %: 60 % to above 99 %)",
        "due to      /var is full in 9 h",
        f"            71 %: {LEAK}",
        "evidence    18 of 32 factors are there",
        f"basis       {BASIS}",
    ]
    assert "kernel io (error, 3 times): sda: I/O error" in lines[6]
    assert "\x1b" not in lines[6]


def test_without_enough_evidence_there_is_no_number(shown):
    assert shown(LACKING).splitlines() == [
        "risk        none told: not enough evidence: 3 of 32 factors are there, and 6 are needed",
        "evidence    3 of 32 factors are there",
        f"basis       {BASIS}",
    ]


def test_nothing_stands_out(shown):
    assert "due to      nothing stands out\n" in shown({**ANSWER, "reasons": []})


def test_when_it_was_last_tried_to_learn_from_this_host_and_why_that_was_refused(shown):
    tried = {"at": "2026-03-08T06:00:00.000Z", "text": "refused: it tells the newest moments no better"}
    lines = shown({**ANSWER, "refinement": tried}).splitlines()
    assert lines[6].startswith("refinement  2026-03-0")
    assert lines[6].endswith(" refused: it tells the newest moments no better")
    assert "refinement" not in shown(ANSWER)


@pytest.mark.parametrize(
    ("grade", "words"),
    [
        ((None, None, False, "4 failures came, and 5 are needed"), "not known: 4 failures came, and 5 are needed"),
        ((0.61, 0.7, True, "120 hours"), "0.61 (120 hours; the base rate 0.50, 0.70 at first; degraded)"),
        ((0.61, None, False, "120 hours"), "0.61 (120 hours; the base rate 0.50)"),
    ],
)  # fmt: skip
def test_how_well_it_came_true(shown, grade, words):
    told = dict(zip(("performance", "baseline", "degraded", "text"), grade, strict=True))
    assert f"graded      {words}\n" in shown({**ANSWER, "grade": told})


def test_json_is_the_answer_of_the_daemon(shown):
    assert json.loads(shown(ANSWER, as_json=True)) == ANSWER


def test_a_terminal_has_eighty_columns(capsys):
    out = Console(force_terminal=True, width=80, color_system=None)
    print_rows(out, rows(RiskAnswer.model_validate(ANSWER)), module._LABEL)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("x") == 120 + LEAK.count("x")


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.0, "below 1 %"), (0.0099, "below 1 %"), (0.01, "1 %"), (0.5, "50 %"), (0.99, "99 %"), (0.995, "above 99 %")],
)
def test_percent(share, said):
    assert percent(share) == said


def test_the_real_daemon_answers(daemon, presage, config):
    said = presage("risk", "--config", config)
    assert (said.returncode, said.stderr) == (0, "")
    assert "none told: n" in said.stdout or "within 1 h" in said.stdout
    answer = RiskAnswer.model_validate_json(presage("risk", "--json", "--config", config).stdout)
    assert (answer.within_1h is None) == bool(answer.missing)
    assert "\nrisk " in presage("status", "--config", config).stdout


def test_without_a_daemon_there_is_one_line(presage, config):
    said = presage("risk", "--config", config)
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith("presage: nothing runs on ")
