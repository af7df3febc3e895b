import json

import pytest
import typer

from daemon.cli import models, train
from daemon.models.answers import LineAnswer, ModelAnswer, ModelMetricsAnswer, ModelsAnswer, TrainingAnswer

OLD = ModelAnswer(
    id="000000000100", network="anomaly", state="predecessor", pinned=True, since="2026-03-01T06:00:00.000Z",
    reason="the first", trained_at="2026-03-01T06:00:00.000Z", trigger="first", parent="", samples=2880,
    data_from="2026-02-28T06:00:00.000Z", data_to="2026-03-01T06:00:00.000Z", exclusions={"alarmed": 0, "gaps": 2},
    problem="",
)  # fmt: skip
NEW = OLD.model_copy(
    update={"id": "000000000200", "state": "champion", "pinned": False, "trigger": "drift", "parent": OLD.id,
            "samples": 9000, "reason": "better\x1b[31m", "exclusions": {"alarmed": 31}, "health": ["degraded", "slow"]}
)  # fmt: skip
FIGURES = {OLD.id: {"recent": 0.25}, NEW.id: {"recent": 0.375}}
TRAINING = TrainingAnswer(
    id="1-5", network="anomaly", trigger="hand", outcome="waiting", over=False, started_at="2026-03-01T06:00:00.000Z",
    ended_at=None, share=0.0, text="", model="", logs=[],
)  # fmt: skip


@pytest.fixture
def one_of(monkeypatch):
    both = {"100": OLD, "200": NEW}

    def fetch(_loaded, name):
        return both[name], ModelMetricsAnswer(id=both[name].id, metrics=FIGURES[both[name].id])

    monkeypatch.setattr(models, "fetch_model", fetch)


def listed(monkeypatch, *shown, **more):
    told = {"performance": None, "baseline": None, "retention": None, "degraded": False, **more}
    answer = ModelsAnswer(models=list(shown), **told)
    monkeypatch.setattr(models, "fetch_models", lambda _: (answer, answer.model_dump_json().encode()))


def test_a_line_a_model_and_how_well_the_champion_does(monkeypatch, capsys, config):
    listed(
        monkeypatch,
        NEW,
        OLD,
        performance=0.4,
        baseline=0.5,
        retention=0.97,
        latency_seconds=0.00123,
        health=["degraded", "slow"],
    )
    models.show_models(config)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["000000000200", "champion", *lines[0].split()[2:4], "drift", "better", "[31m"]
    assert "predecessor, pinned" in lines[1]
    assert lines[2:] == [
        "health degraded, slow",
        "performance 0.400 of injected faults, 0.500 when it began to serve",
        "retention 0.970",
        "latency 1.2 ms a sample",
    ]
    models.show_models(config, as_json=True)
    assert json.loads(capsys.readouterr().out)["models"][1]["pinned"]
    listed(monkeypatch)
    models.show_models(config)
    assert capsys.readouterr().out == "none yet: the first is trained after 2880 samples\n"


def test_where_one_comes_from_and_where_two_differ(capsys, config, one_of):
    models.show_one("200", config)
    text = capsys.readouterr().out
    for line in (
        "health      degraded, slow",
        "parent      000000000100",
        "left out    alarmed 31",
        "measured    recent 0.375",
    ):
        assert line in text
    models.diff("100", "200", config)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["recent", "0.25", "|", "0.375"] for line in lines)
    assert any(line.split() == ["left", "out", "gaps", "2", "|", "-"] for line in lines)
    assert not any(line.startswith("network") for line in lines)
    models.diff("100", "200", config, as_json=True)
    assert json.loads(capsys.readouterr().out)["samples"] == ["2880", "9000"]


def test_orders_say_what_is_now(monkeypatch, capsys, config):
    asked = []

    def order(_loaded, model, what, *, undo=False):
        asked.append((model, what, undo))
        return OLD.model_copy(update={"pinned": not undo})

    monkeypatch.setattr(models, "order_model", order)
    monkeypatch.setattr(models, "roll_back", lambda _: OLD)
    models.promote("100", config)
    models.pin("100", config)
    models.pin("100", config, off=True)
    models.rollback(config)
    assert capsys.readouterr().out.splitlines() == [
        "000000000100 serves now; `presage models rollback` undoes it",
        "000000000100 is pinned",
        "000000000100 is no longer pinned",
        "000000000100 serves again",
    ]
    assert asked == [("100", "promote", False), ("100", "pin", False), ("100", "pin", True)]


def test_a_training_is_followed_to_its_end(monkeypatch, capsys, config):
    said = [
        LineAnswer(at=f"2026-03-01T06:00:0{second}.000Z", share=second / 4, text=f"step {second}")
        for second in range(4)
    ]
    steps = iter(
        [
            TRAINING.model_copy(update={"outcome": "running", "logs": said[:1]}),
            TRAINING.model_copy(update={"outcome": "running", "logs": said[:3]}),
            TRAINING.model_copy(update={"outcome": "failed", "over": True, "text": "too hot", "logs": said}),
        ]
    )
    monkeypatch.setattr(train, "start_training", lambda *_: TRAINING)
    monkeypatch.setattr(train, "fetch_training", lambda _loaded, _number: (next(steps), b""))
    monkeypatch.setattr(train, "_LOOK_SECONDS", 0.0)
    with pytest.raises(typer.Exit) as ended:
        train.train(config, follow=True)
    assert ended.value.exit_code == 1
    assert capsys.readouterr().out.splitlines() == ["  0% step 0", " 25% step 1", " 50% step 2", "failed: too hot"]
    train.train(config)
    assert "training 1-5: waiting" in capsys.readouterr().out
    monkeypatch.setattr(train, "cancel_training", lambda _loaded, number: TRAINING.model_copy(update={"id": number}))
    train.train(config, cancel="1-5")
    assert capsys.readouterr().out == "1-5 is being stopped\n"
