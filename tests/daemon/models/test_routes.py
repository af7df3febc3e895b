import asyncio

import aiohttp
import pytest
from aiohttp import web
from problem import sentence

from daemon.config import Anomaly, Compute, Config
from daemon.errors import WorkerError
from daemon.models.answers import (
    ModelAnswer,
    ModelMetricsAnswer,
    ModelsAnswer,
    PredictionAnswer,
    PredictionsAnswer,
    TrainingAnswer,
    TrainingsAnswer,
)
from daemon.models.routes import NeuralRoutes
from detectors.registry import save

CONFIG = Config(anomaly=Anomaly(network_after_samples=9999, learning_days=0), compute=Compute(backend="numpy"))


@pytest.fixture
async def host(hosts, quiet_collector):
    """A host whose models 100 and 200 have served; 200 does."""
    host = await hosts(quiet_collector(4), config=CONFIG)
    await host.take(70)
    model = host.watch.lesson(host.registry)()
    for number in (100, 200):
        manifest = {
            "name": f"{number:012d}", "number": number, "trained_ms": 5000, "interval_seconds": 30.0, "samples": 70,
            "first_seq": 1, "last_seq": 70, "trigger": "hand", "first_ms": 1000, "last_ms": 2000,
            "exclusions": {"alarmed": 7}, "metrics": {"recent": 0.25},
        }  # fmt: skip
        save(host.models.incoming, model, manifest)
        await host.learning.promotion.receive(f"{number:012d}")
    await host.learning.promotion.promote(f"{200:012d}", "better")
    return host


@pytest.fixture
async def ask(host):
    """Ask the routes; the answer is the status and what the model reads, or the text."""
    app = web.Application()
    app.add_routes([one.route() for one in NeuralRoutes(host.learning).table()])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:

        async def asking(method, path, model=None, **more):
            async with session.request(method, f"/api/v1/neural/{path}", **more) as answer:
                text = sentence(answer.status, answer.headers, await answer.text())
                return answer.status, model.model_validate_json(text) if model and answer.status < 300 else text

        yield asking
    await runner.cleanup()


async def test_the_listing_one_model_and_its_figures(ask):
    status, listed = await ask("GET", "models", ModelsAnswer)
    assert status == 200
    assert [(one.id[-3:], one.state, one.reason) for one in listed.models] == [
        ("200", "champion", "better"),
        ("100", "predecessor", "the first"),
    ]
    assert [listed.health, *(one.health for one in listed.models)] == [["unknown"], ["unknown"], []]
    status, one = await ask("GET", "models/200", ModelAnswer)  # by the end of its id
    assert (one.trigger, one.samples, one.exclusions, one.data_from) == (
        "hand", 70, {"alarmed": 7}, "1970-01-01T00:00:01.000Z",
    )  # fmt: skip
    assert (await ask("GET", "models/000000000200/metrics", ModelMetricsAnswer))[1].metrics == {"recent": 0.25}
    for unknown in ("models/7", "models/00", "models/..%2F", "train/5", "train/5/status"):
        assert (await ask("GET", unknown))[0] == 404, unknown


async def test_orders_and_what_cannot_be(ask, host):
    assert (await ask("DELETE", "models/200"))[0] == 409
    assert (await ask("POST", "models/200/promote"))[0] == 409
    assert (await ask("POST", "models/100/pin", ModelAnswer))[1].pinned
    assert not (await ask("DELETE", "models/100/pin", ModelAnswer))[1].pinned
    status, serves = await ask("POST", "rollback", ModelAnswer)
    assert (status, serves.id[-3:], serves.state) == (200, "100", "champion")
    assert host.watch.number == 100
    assert (await ask("POST", "rollback"))[0] == 409
    status, serves = await ask("POST", "models/200/promote", ModelAnswer)
    assert (status, serves.state, host.watch.number) == (200, "champion", 200)
    await host.learning.promotion.rollback("by hand")
    assert (await ask("DELETE", "models/200", ModelAnswer))[0] == 200
    assert (await ask("GET", "models/200"))[0] == 404


async def test_a_training_is_ordered_followed_and_stopped(ask, host, monkeypatch, until):
    gate = asyncio.Event()

    async def run(_job, _spec, *, listener, **_more):
        listener(0.25, "epoch 1")
        await gate.wait()
        raise WorkerError("it is too hot")

    monkeypatch.setattr(host.child, "run", run)
    assert (await ask("POST", "train", data=b"["))[0] == 415
    assert (await ask("POST", "train", json={"network": "capacity"}))[0] == 400
    status, ordered = await ask("POST", "train", TrainingAnswer, json={"network": "anomaly"})
    assert (status, ordered.outcome, ordered.trigger) == (202, "waiting", "hand")
    assert (await ask("POST", "train", TrainingAnswer))[1].id == ordered.id
    host.learning.after_tick()
    work = asyncio.create_task(host.learning.catch_up())
    await until(lambda: host.learning.retraining.trainings.get(ordered.id).text == "epoch 1")
    _, runs = await ask("GET", f"train/{ordered.id}", TrainingAnswer)
    assert (runs.outcome, runs.over, [line.text for line in runs.logs]) == ("running", False, ["epoch 1"])
    assert (await ask("GET", f"train/{ordered.id}/status", TrainingAnswer))[1].logs == []
    assert (await ask("DELETE", f"train/{ordered.id}"))[0] == 202
    await work
    _, over = await ask("GET", f"train/{ordered.id}", TrainingAnswer)
    assert (over.outcome, over.over) == ("cancelled", True)
    assert (await ask("DELETE", f"train/{ordered.id}"))[0] == 409
    gate.set()
    _, second = await ask("POST", "train", TrainingAnswer)
    host.learning.after_tick()
    await host.learning.catch_up()
    listed = (await ask("GET", "train", TrainingsAnswer))[1].trainings
    assert [(one.id, one.outcome) for one in listed][:2] == [(second.id, "failed"), (ordered.id, "cancelled")]


async def test_what_the_model_on_duty_would_say(ask, host):
    snapshot = await host.take(1, learn=False)
    _, as_it_is = await ask("POST", "predict", PredictionAnswer)
    assert as_it_is.raw_score == pytest.approx(snapshot.anomaly.raw, rel=1e-5)
    assert (as_it_is.model, as_it_is.raw_threshold) == ("000000000200", host.watch.in_force)
    before = host.history.last(), host.watch.seen, host.watch.episodes
    status, loud = await ask("POST", "predict", PredictionAnswer, json={"values": {"s02": 9.0}})
    assert (status, loud.alarm, loud.contributions[0].signal) == (200, True, "s02")
    assert loud.raw_score > 2 * loud.raw_threshold
    assert loud.score > 0.8
    samples = [{"s02": 9.0}, {}, dict.fromkeys(("s00", "s01", "s02", "s03"))]
    _, several = await ask("POST", "predict/batch", PredictionsAnswer, json={"samples": samples})
    assert several.predictions[:2] == [loud, as_it_is]
    assert (several.predictions[2].raw_score, several.predictions[2].alarm) == (None, False)
    assert (host.history.last(), host.watch.seen, host.watch.episodes) == before
    assert (await host.take(1, learn=False)).anomaly.raw < host.watch.in_force


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("predict", "[", "the body: Invalid JSON"),
        ("predict", '{"values": {"s00": "high"}}', "values.s00"),
        ("predict", '{"values": {"s00": 1e999}}', "values.s00"),
        ("predict", '{"values": {"s77": 1}}', "does not know s77"),
        ("predict", '{"value": {}}', "value: Extra inputs"),
        ("predict", '{"network": "capacity"}', "/api/v1/forecasts"),
        ("predict/batch", "", "the body: Invalid JSON"),
        ("predict/batch", '{"samples": []}', "samples: "),
        ("predict/batch", '{"samples": [' + ", ".join(["{}"] * 257) + "]}", "samples: "),
    ],
)
async def test_a_question_that_is_none_is_told_where(ask, path, body, words):
    status, text = await ask("POST", path, data=body, headers={"Content-Type": "application/json"})
    assert (status, words in text) == (400, True), text


async def test_before_there_is_a_model_there_is_nothing_to_ask(ask, host):
    host.watch._live = None
    assert await ask("POST", "predict") == (404, "there is no model yet\n")
