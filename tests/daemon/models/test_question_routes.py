import asyncio
import contextlib

import pytest

from daemon.errors import WorkerError
from daemon.models.answers import ComparisonAnswer, EnsemblesAnswer, ModelAnswer, ValidationAnswer
from daemon.models.prediction_answers import (
    CapacityPredictionAnswer,
    FailurePredictionAnswer,
    PredictionAnswer,
    PredictionsAnswer,
)
from detectors.factors import NAMES

JSON = {"Content-Type": "application/json"}


async def test_two_models_side_by_side(ask, two_models):
    status, told = await ask("GET", "models/200/compare/100", ComparisonAnswer)
    assert (status, told.model.model.id, told.other.model.state) == (200, "000000000200", "predecessor")
    found = {one.name: (one.model, one.other) for one in told.differences}
    assert found["id"] == ("000000000200", "000000000100")
    assert (found["state"], found["reason"]) == (("champion", "predecessor"), ("better", "the first"))
    assert not found.keys() & {"samples", "left out alarmed", "recent"}  # these are the same
    assert (told.model.performance, told.model.metrics, told.model.retention) == (0.25, {"recent": 0.25}, None)
    for side in (told.model, told.other):
        assert 0 < side.latency_seconds < 1
    _, mirrored = await ask("GET", "models/100/compare/200", ComparisonAnswer)
    assert {one.name: (one.other, one.model) for one in mirrored.differences} == found
    _, same = await ask("GET", "models/200/compare/000000000200", ComparisonAnswer)
    assert same.differences == []
    assert (await ask("GET", "models/200/compare/7"))[0] == 404
    (two_models.models.folder("000000000100") / "model.safetensors").write_bytes(b"rotten")
    _, broken = await ask("GET", "models/200/compare/100", ComparisonAnswer)
    assert broken.other.latency_seconds is None


async def test_a_model_is_held_against_the_champion_in_the_child_and_nothing_follows(ask, two_models):
    assert (await ask("GET", "models/100/validate"))[0] == 404
    status, asked = await ask("POST", "models/100/validate", ValidationAnswer)
    assert (status, asked.state, asked.passes) == (202, "waiting", None)
    assert (await ask("POST", "models/100/validate", ValidationAnswer))[1] == asked  # one and the same
    await two_models.learning.validations.catch_up()  # the real child
    _, over = await ask("GET", "models/100/validate", ValidationAnswer)
    assert (over.state, over.passes, over.champion, over.text) == ("done", False, "000000000200", "")
    assert over.reasons == ["0 recent samples tell too little"]
    assert over.ended_at is not None
    assert (await ask("GET", "models/100", ModelAnswer))[1].state == "predecessor"
    assert two_models.watch.name == "000000000200"


async def test_what_the_child_says_of_a_model_is_told_or_why_it_says_nothing(ask, two_models, monkeypatch, until):
    spoken = {"passes": True, "reasons": [], "metrics": {"recent": 0.5}}
    specs = []

    async def run(job, spec, **_more):
        specs.append((job, spec))
        return {"performance": None, "predecessor": None, "loud": None, "verdicts": {"000000000100": spoken}}

    async def tell():
        await ask("POST", "models/100/validate")
        await until(lambda: validations.get("000000000100").ended_ms is not None)
        return (await ask("GET", "models/100/validate", ValidationAnswer))[1]

    monkeypatch.setattr(two_models.child, "run", run)
    validations = two_models.learning.validations
    work = asyncio.create_task(validations.run())
    found = await tell()
    assert (found.state, found.passes, found.metrics) == ("done", True, {"recent": 0.5})
    ((job, spec),) = specs
    assert (job, spec["predecessor"]) == ("judge", "")
    assert [folder[-12:] for folder in spec["challengers"]] == ["000000000100"]
    for wrong in ({"passes": "perhaps"}, {"passes": True, "reasons": [], "metrics": {"recent": "much"}}):
        spoken.update(wrong)
        found = await tell()
        assert (found.state, found.passes, found.text[:18]) == ("failed", None, "the job judge said")

    async def fail(*_words, **_more):
        raise WorkerError("it is too hot")

    monkeypatch.setattr(two_models.child, "run", fail)
    assert (await tell()).text == "it is too hot"
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work
    assert (await ask("POST", "models/200/validate"))[0] == 409
    assert "serves itself" in (await ask("POST", "models/200/validate"))[1]
    assert (await ask("POST", "models/7/validate"))[0] == 404


async def test_who_answers_together_and_with_which_weights(ask):
    _, told = await ask("GET", "ensembles", EnsemblesAnswer)
    by = {one.network: {member.name: member for member in one.members} for one in told.ensembles}
    assert {name: member.weight for name, member in by["anomaly"].items()} == {"aggregate": 1.0}  # no network yet
    assert by["capacity"]["network"].weight == 0.5
    assert {member.kind for member in by["capacity"].values()} == {"method", "network"}
    assert len(by["capacity"]) > 4
    assert "refined by 7 failures" in by["failure"]["factors"].text


def timeless(one):
    return one.model_copy(update={"latency_seconds": 0.0})


async def test_what_the_model_on_duty_would_say(ask, two_models):
    snapshot = await two_models.take(1, learn=False)
    _, as_it_is = await ask("POST", "predict", PredictionAnswer)
    assert as_it_is.raw_score == pytest.approx(snapshot.anomaly.raw, rel=1e-5)
    assert (as_it_is.model, as_it_is.raw_threshold) == ("000000000200", two_models.watch.in_force)
    before = two_models.history.last(), two_models.watch.seen, two_models.watch.episodes
    status, loud = await ask("POST", "predict", PredictionAnswer, json={"values": {"s02": 9.0}})
    assert (status, loud.alarm, loud.contributions[0].signal) == (200, True, "s02")
    assert loud.raw_score > 2 * loud.raw_threshold
    assert loud.score > 0.8
    assert 0 < loud.latency_seconds < 5
    assert loud.confidence > as_it_is.confidence
    assert loud.confidence == pytest.approx(
        1, abs=1 / len(two_models.watch.model.quiet_scores)
    )  # above all of quiet time
    samples = [{"s02": 9.0}, {}, dict.fromkeys(("s00", "s01", "s02", "s03"))]
    _, several = await ask("POST", "predict/batch", PredictionsAnswer, json={"samples": samples})
    assert [timeless(one) for one in several.predictions[:2]] == [timeless(loud), timeless(as_it_is)]
    assert several.latency_seconds == pytest.approx(sum(one.latency_seconds for one in several.predictions))
    nothing = several.predictions[2]
    assert (nothing.raw_score, nothing.confidence, nothing.alarm) == (None, None, False)
    assert (two_models.history.last(), two_models.watch.seen, two_models.watch.episodes) == before
    assert (await two_models.take(1, learn=False)).anomaly.raw < two_models.watch.in_force


async def test_the_two_other_networks_answer_with_bounds_or_what_lacks(ask):
    points = [50 + hour % 24 for hour in range(96)]
    body = {"network": "capacity", "horizon": "hours", "points": points, "high": 80}
    status, told = await ask("POST", "predict", CapacityPredictionAnswer, json=body)
    assert (status, told.missing, told.confidence, len(told.mean)) == (200, "", 0.8, 12)
    for step, value in enumerate(told.mean):  # a day like the others
        assert value == pytest.approx(50 + step, abs=3)
        assert 0 <= told.lo95[step] <= told.lo80[step] <= value <= told.hi80[step] <= told.hi95[step] <= 80
    del body["points"]
    several = {**body, "samples": [points, [1, None, 3]]}
    _, both = await ask("POST", "predict/batch", PredictionsAnswer, json=several)
    assert [one.missing for one in both.predictions] == ["", "needs 10 more hours"]
    assert (both.predictions[1].mean, both.predictions[1].confidence) == (None, None)
    calm = {name: [0.1] * 60 for name in NAMES}
    ill = {**calm, "memory": [0.4 + 0.01 * at for at in range(60)], "memory_pressure": [0.01 * at for at in range(60)]}
    _, one = await ask("POST", "predict", FailurePredictionAnswer, json={"network": "failure", "factors": ill})
    assert 0 < one.within_1h.lo80 < one.within_1h.probability < one.within_1h.hi80 < 1
    assert (one.factors, one.confidence, one.missing) == (32, 0.8, "")
    batch = {"network": "failure", "samples": [calm, ill, {}]}
    _, three = await ask("POST", "predict/batch", PredictionsAnswer, json=batch)
    assert timeless(three.predictions[1]) == timeless(one)
    assert three.predictions[0].within_1h.probability < one.within_1h.probability
    assert "not enough evidence" in three.predictions[2].missing
    assert (three.predictions[2].within_24h, three.predictions[2].confidence) == (None, None)


WRONG = [
    ("predict", "[", "the body: Invalid JSON"),
    ("predict", '{"values": {"s00": "high"}}', "values.s00"),
    ("predict", '{"values": {"s00": 1e999}}', "values.s00"),
    ("predict", '{"values": {"s77": 1}}', "does not know s77"),
    ("predict", '{"value": {}}', "value: Extra inputs"),
    ("predict", '{"values": {"s00": NaN}}', "values.s00"),
    ("predict", '{"values": {"s00": "1"}}', "values.s00"),
    ("predict", '{"network": "failure", "factors": {}, "events": true}', "failure.events"),
    ("predict", '{"values": {"s00": 1e19}}', "values.s00"),
    ("predict", '{"network": "weather"}', '"anomaly" (where none is named), "capacity" or "failure"'),
    ("predict", '{"network": "capacity"}', "capacity.points: Field required"),
    ("predict", '{"network": "capacity", "points": []}', "capacity.points"),
    ("predict", '{"network": "capacity", "points": [1, "2 GB"]}', "capacity.points.1"),
    ("predict", '{"network": "capacity", "points": [1, NaN]}', "capacity.points.1"),
    ("predict", '{"network": "capacity", "points": [1], "horizon": "weeks"}', "capacity.horizon"),
    ("predict", '{"network": "capacity", "points": [1], "low": 2, "high": 1}', "high is not above low"),
    ("predict", '{"network": "capacity", "points": [' + ", ".join(["1"] * 1001) + "]}", "capacity.points"),
    ("predict", '{"network": "failure", "factors": {"mood": [1]}}', "factors: there is no mood; there are memory,"),
    (
        "predict",
        '{"network": "failure", "factors": {"memory": [1], "swap": [1, 2]}}',
        "memory has 1 samples and swap 2",
    ),
    ("predict", '{"network": "failure", "factors": {"memory": []}}', "failure.factors.memory"),
    ("predict", '{"network": "failure", "factors": {}, "events": -1}', "failure.events"),
    ("predict/batch", '{"network": "capacity", "samples": [[1], []]}', "capacity.samples.1"),
    ("predict/batch", '{"network": "failure", "samples": [' + ", ".join(["{}"] * 257) + "]}", "failure.samples"),
    ("predict/batch", "", "the body: Invalid JSON"),
    ("predict/batch", '{"samples": []}', "samples: "),
    ("predict/batch", '{"samples": [' + ", ".join(["{}"] * 257) + "]}", "samples: "),
]  # fmt: skip


async def test_a_question_that_is_none_is_told_where(ask):
    for path, body, words in WRONG:
        status, text = await ask("POST", path, data=body, headers=JSON)
        assert (status, words in text) == (400, True), text
    assert (await ask("POST", "predict", data="{}"))[0] == 415


async def test_before_there_is_a_model_there_is_nothing_to_ask(ask, two_models):
    two_models.watch._live = None
    assert await ask("POST", "predict") == (404, "there is no model yet\n")
