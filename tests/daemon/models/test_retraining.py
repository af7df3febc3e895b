"""When a host is trained again, with the real parts of the daemon; the child itself answers at once."""

import asyncio
import contextlib
import itertools
from dataclasses import replace

import pytest

from daemon.config import Anomaly, Compute, Config
from daemon.errors import WorkerError
from daemon.models import unfinished
from daemon.models.triggers import Trigger
from detectors.registry import save

CONFIG = Config(anomaly=Anomaly(network_after_samples=9999, learning_days=0), compute=Compute(backend="numpy"))
DAY = 86_400.0
OLD = 3000  # samples of a host that is known for longer than a day


@pytest.fixture
async def host(hosts, quiet_collector, monkeypatch):
    """A host whose first model was trained long ago; `host.trained` names the triggers of trainings since."""
    host = await hosts(quiet_collector(4), config=CONFIG)
    await host.take(70)
    host.trained, host.gate, numbers = [], asyncio.Event(), itertools.count(100)
    host.gate.set()

    async def run(job, spec, **_more):
        assert job == "train"
        host.trained.append(spec["trigger"])
        await host.gate.wait()
        last = host.history.last()[0]
        number = next(numbers)
        manifest = {
            "name": f"{number:012d}", "number": number, "trained_ms": host.clock.time_ms, "interval_seconds": 30.0,
            "samples": last, "first_seq": 1, "last_seq": last,
        }  # fmt: skip
        save(host.models.incoming, host.watch.model, manifest)
        return {"name": manifest["name"]}

    monkeypatch.setattr(host.child, "run", run)
    await host.learning.train(Trigger.FIRST)
    host.trained.clear()
    host.clock.advance(8 * DAY)
    host.watch.seen = OLD
    return host


def battery(host, status):
    folder = host.directory / "class" / "power_supply" / "BAT0"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("type", "Battery"), ("scope", "System"), ("status", status)):
        (folder / name).write_text(f"{text}\n")


async def test_a_laptop_waits_until_it_is_plugged_in_but_not_for_a_person(host):
    battery(host, "Discharging")
    assert (await host.learning.retraining.train_again()).endswith("this host runs on its battery")
    assert host.trained == []
    battery(host, "Charging")
    assert "samples" in await host.learning.retraining.train_again()
    battery(host, "Discharging")
    host.learning.retraining.ask()
    await host.learning.retraining.train_as_asked()
    assert host.trained == ["schedule", "hand"]


async def test_a_host_that_is_younger_than_a_day_is_not_trained_again(host):
    host.watch.seen = 2879
    assert (await host.learning.retraining.train_again()).endswith("this host is not known for a day yet")
    host.watch.seen = 2880
    assert "samples" in await host.learning.retraining.train_again()
    assert host.trained == ["schedule"]


async def test_a_storm_of_triggers_is_one_training(host, until):
    """Everything that can call for one does, for a day, while operators ask, too."""
    retraining = host.learning.retraining
    retraining._means = replace(retraining._means, drift=lambda: 0.9)
    host.learning.promotion._measured = replace(host.learning.promotion._measured, baseline=0.9, performance=0.1)
    host.watch.seen = OLD + 50_000
    host.gate.clear()
    storm = [asyncio.create_task(retraining.train_again()) for _ in range(20)]
    await until(lambda: host.trained)
    asked = {retraining.ask().id for _ in range(20)}
    assert asked == {one.id for one in retraining.trainings.newest() if not one.ended_ms}
    assert len(asked) == 1
    host.gate.set()
    words = await asyncio.gather(*storm)
    assert sum("samples" in one for one in words) == 1
    for _ in range(23):
        host.clock.advance(3600.0)
        await retraining.train_again()
    assert host.trained == ["drift"]
    host.clock.advance(3600.0)
    await retraining.train_again()
    assert host.trained == ["drift", "drift"]  # a day has passed, and it drifts still


async def test_a_training_that_was_not_asked_for_can_be_stopped_too(host, until):
    host.gate.clear()
    job = asyncio.create_task(host.learning.retraining.train_again())
    await until(lambda: host.trained)
    training = host.learning.retraining.trainings.newest()[0]
    assert host.learning.retraining.cancel(training)
    assert await job == "cancelled"
    assert (training.outcome, host.learning.retraining.asked) == ("cancelled", False)
    assert not host.learning.retraining.cancel(training)
    assert await host.learning.retraining.train_again() == "nothing calls for a training"  # it has been tried


def leave(host, *, trigger="samples"):
    """Leave what a child leaves that was killed after an epoch."""
    spec = {"incoming": str(host.models.incoming), "most_samples": 1000, "trigger": trigger}
    unfinished.samples(host.history, spec, host.clock.now().time_ms)


async def test_a_training_that_was_cut_off_is_taken_up_once_and_after_a_start(
    host, hosts, quiet_collector, monkeypatch
):
    host.watch.seen = 0  # nothing else calls for one
    host.learning.retraining.resume(host.clock.time_ms, 0)

    async def killed(_job, spec, **_more):
        host.trained.append(spec["trigger"])
        raise WorkerError("code -9")

    monkeypatch.setattr(host.child, "run", killed)
    leave(host)
    for _ in range(2):
        with contextlib.suppress(WorkerError):
            await host.learning.retraining.train_again()
    assert host.trained == ["samples"]
    leave(host)
    again = await hosts(quiet_collector(4), config=CONFIG)
    monkeypatch.setattr(again.child, "run", killed)
    again.learning.retraining.resume(again.clock.time_ms, 0)
    with pytest.raises(WorkerError):
        await again.learning.retraining.train_again()
    assert host.trained == ["samples", "samples"]


async def test_one_that_a_person_has_stopped_is_not_taken_up_nor_one_on_the_battery(host, until):
    host.learning.retraining.resume(host.clock.time_ms, OLD)
    leave(host, trigger="drift")
    battery(host, "Discharging")
    await host.learning.retraining.train_again()
    assert host.trained == []
    battery(host, "Charging")
    host.gate.clear()
    job = asyncio.create_task(host.learning.retraining.train_again())
    await until(lambda: host.trained)
    host.learning.retraining.cancel(host.learning.retraining.trainings.newest()[0])
    assert await job == "cancelled"
    assert not list(host.models.incoming.iterdir())
    await host.learning.retraining.train_again()
    assert host.trained == ["drift"]


async def test_an_order_that_comes_as_another_ends_is_another_one(host, monkeypatch):
    retraining, asked = host.learning.retraining, []

    async def finished():
        asked.append(retraining.ask())

    monkeypatch.setattr(retraining, "_finished", finished)
    first = retraining.ask()
    await retraining.train_as_asked()
    assert first.outcome == "shadow"
    assert asked[0].id != first.id
    assert retraining.asked
    await retraining.train_as_asked()
    assert asked[0].outcome == "shadow"
    assert host.trained == ["hand", "hand"]
