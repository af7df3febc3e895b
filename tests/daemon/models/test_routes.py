import asyncio

from daemon.errors import WorkerError
from daemon.models.answers import (
    LogsAnswer,
    ModelAnswer,
    ModelMetricsAnswer,
    ModelsAnswer,
    TrainingAnswer,
    TrainingsAnswer,
)
from daemon.models.training import Trainings


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


async def test_orders_and_what_cannot_be(ask, two_models):
    assert (await ask("DELETE", "models/200"))[0] == 409
    assert (await ask("POST", "models/200/promote"))[0] == 409
    assert (await ask("POST", "models/100/pin", ModelAnswer))[1].pinned
    assert not (await ask("DELETE", "models/100/pin", ModelAnswer))[1].pinned
    status, serves = await ask("POST", "rollback", ModelAnswer)
    assert (status, serves.id[-3:], serves.state) == (200, "100", "champion")
    assert two_models.watch.number == 100
    assert (await ask("POST", "rollback"))[0] == 409
    status, serves = await ask("POST", "models/200/promote", ModelAnswer)
    assert (status, serves.state, two_models.watch.number) == (200, "champion", 200)
    await two_models.learning.promotion.rollback("by hand")
    assert (await ask("DELETE", "models/200", ModelAnswer))[0] == 200
    assert (await ask("GET", "models/200"))[0] == 404


async def test_a_training_is_ordered_followed_and_stopped(ask, two_models, monkeypatch, until):
    gate = asyncio.Event()

    async def run(_job, _spec, *, listener, **_more):
        listener(0.25, "epoch 1")
        await gate.wait()
        raise WorkerError("it is too hot")

    monkeypatch.setattr(two_models.child, "run", run)
    assert (await ask("POST", "train", data=b"["))[0] == 415
    assert (await ask("POST", "train", json={"network": "memory"}))[0] == 400
    _, other = await ask("POST", "train", TrainingAnswer, json={"network": "capacity"})
    assert (other.network, (await ask("DELETE", f"train/{other.id}"))[0]) == ("capacity", 202)
    status, ordered = await ask("POST", "train", TrainingAnswer, json={"network": "anomaly"})
    assert (status, ordered.outcome, ordered.trigger) == (202, "waiting", "hand")
    assert (await ask("POST", "train", TrainingAnswer))[1].id == ordered.id
    two_models.learning.after_tick()
    work = asyncio.create_task(two_models.learning.catch_up())
    await until(lambda: two_models.learning.retraining.trainings.get(ordered.id).text == "epoch 1")
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
    two_models.learning.after_tick()
    await two_models.learning.catch_up()
    listed = (await ask("GET", "train", TrainingsAnswer))[1].trainings
    assert [(one.id, one.outcome) for one in listed][:2] == [(second.id, "failed"), (ordered.id, "cancelled")]


async def test_the_lines_of_a_training_come_in_pages_and_are_waited_for(ask, two_models, monkeypatch, until):
    steps = asyncio.Queue()

    async def run(_job, _spec, *, listener, **_more):
        while (text := await steps.get()) is not None:
            listener(0.5, text)
        raise WorkerError("it is too hot")

    monkeypatch.setattr(two_models.child, "run", run)
    for step in range(5):
        steps.put_nowait(f"epoch {step}")
    _, ordered = await ask("POST", "train", TrainingAnswer)
    assert (await ask("GET", f"train/{ordered.id}/logs", LogsAnswer))[1].logs == []  # it waits, and says nothing yet
    two_models.learning.after_tick()
    work = asyncio.create_task(two_models.learning.catch_up())
    await until(lambda: two_models.learning.retraining.trainings.get(ordered.id).said == 5)
    read, cursor = [], "0"
    for expected in (2, 2, 1):
        status, page = await ask("GET", f"train/{ordered.id}/logs?limit=2&cursor={cursor}", LogsAnswer)
        assert (status, len(page.logs), page.over) == (200, expected, False)
        read, cursor = read + page.logs, page.next
    assert [(line.number, line.text) for line in read] == [(step + 1, f"epoch {step}") for step in range(5)]
    assert cursor == "5"
    # there is no line yet: the answer comes with the next one, and no later
    follows = asyncio.create_task(ask("GET", f"train/{ordered.id}/logs?wait_seconds=30&cursor=5", LogsAnswer))
    await asyncio.sleep(0.1)
    assert not follows.done()
    steps.put_nowait("epoch 5")
    _, page = await follows
    assert ([line.text for line in page.logs], page.next) == (["epoch 5"], "6")
    steps.put_nowait(None)
    await work
    _, last = await ask("GET", f"train/{ordered.id}/logs?wait_seconds=30&cursor=6", LogsAnswer)
    assert ([line.text for line in last.logs], last.outcome, last.over, last.next) == (
        ["it is too hot"], "failed", True, None,
    )  # fmt: skip
    _, beyond = await ask("GET", f"train/{ordered.id}/logs?wait_seconds=30&cursor=999", LogsAnswer)
    assert (beyond.logs, beyond.next) == ([], None)
    for wrong in ("cursor=x", "cursor=-1", "wait_seconds=31", "wait_seconds=1.5", "limit=0", "lines=3"):
        assert (await ask("GET", f"train/{ordered.id}/logs?{wrong}"))[0] == 400, wrong
    assert (await ask("GET", "train/9-9/logs"))[0] == 404


def test_the_newest_lines_are_kept_and_numbered_on():
    training = Trainings().begin("hand", 0)
    for number in range(1, 601):
        training.say(number, 0.0, str(number))
    assert [line.number for line in training.after(0, 3)] == [101, 102, 103]  # the gap shows in the numbers
    assert [line.text for line in training.after(598, 9)] == ["599", "600"]
