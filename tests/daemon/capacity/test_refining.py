"""The capacity network refined by the host's own past: by the real child, out of a real history.

Killed at random moments; with PRESAGED_TEST_SCALE above 1 more often. PRESAGED_TEST_SEED repeats a run that failed.
"""

import asyncio
import os
import random
import secrets
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from daemon.capacity.past import lived
from daemon.capacity.refining import CapacityRefining, Effort
from daemon.capacity.resources import find_resources
from daemon.child import Child
from daemon.config import Learning
from daemon.errors import WorkerError
from daemon.models.refined import RefinedModels
from daemon.state import StateDatabase
from detectors.capacity import load_forecaster, refined

GIB, HOUR, DAY = 2.0**30, 3600.0, 86_400.0
SIZE = 100 * GIB
QUICK = Effort(moments=1500, replayed=(1, 1), chunk=(100, 20), epochs=24)
SCALE = int(os.environ.get("PRESAGED_TEST_SCALE", "1"))
SEED = int(os.environ.get("PRESAGED_TEST_SEED") or secrets.randbits(31))


@cache
def levels():
    """Return the bytes of a cache, hour by hour, that is dropped at random and fills again within nine hours."""
    dice, age, level = np.random.default_rng(1), 100, np.zeros(24 * 400)
    for hour in range(len(level)):
        age = 0 if age > 12 and dice.random() < 0.05 else age + 1
        level[hour] = 40 + 20 * (min(age, 9) / 9) ** 0.5 + dice.normal(0, 0.1)
    return GIB * level


def dropped_now_and_then(at):
    """Return what it holds at seconds (T,) from the making of the past."""
    return levels()[np.asarray(at // HOUR, int) % len(levels())]


@pytest.fixture
def built(past, mount, forecasting, tmp_path):
    """A host with days behind it, or months, and a file system that has a way of its own."""
    made = []

    def build(days=3):
        if not made:
            specs, values = mount
            one = past(specs, lambda at: values(dropped_now_and_then(at)))
            one.write(hours=97, days=days)
        else:
            one = made[0].past
        watch, forecasts, metrics = forecasting(one)
        watch.observe(one.measured(), one.clock.now())
        state = StateDatabase(tmp_path / "state.db")
        models = RefinedModels(tmp_path / "models", "capacity", refined)
        adopted, worked = [], []

        @contextmanager
        def own_work():
            worked.append("begun")
            yield
            worked.append("ended")

        told = SimpleNamespace(performance=None, age=30 * DAY, settings=Learning())
        refining = CapacityRefining(
            history=one.history.path, state=state, models=models, registry=one.registry(), child=Child(),
            offload=forecasts._offload, metrics=metrics, clock=one.clock, settings=lambda: told.settings,
            known=lambda: watch.known, performance=lambda: told.performance, age=lambda: told.age,
            adopt=adopted.append, own_work=own_work, sys=tmp_path / "sys", effort=QUICK,
        )  # fmt: skip
        whole = SimpleNamespace(
            past=one, watch=watch, forecasts=forecasts, metrics=metrics, state=state, models=models, adopted=adopted,
            worked=worked, told=told, refining=refining,
        )  # fmt: skip
        made.append(whole)
        return whole

    yield build
    for one in made:
        one.state.close()


def retrains(one, trigger, outcome):
    labels = {"network": "capacity", "trigger": trigger, "outcome": outcome}
    return one.metrics._registry.get_sample_value("presaged_retrains_total", labels) or 0


def accepted(one):
    folder = one.models.folder(0).parent
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def a_month_later(one):
    one.past.clock.advance(31 * DAY)


def test_the_past_teaches_what_came_at_each_moment(built):
    one = built(days=40)
    resources = list(find_resources(one.past.specs))
    capacity = np.array([SIZE, 1.0])
    shares = []
    found = lived(
        one.past.history, resources, capacity, one.past.ids, lambda share, _text: shares.append(share), most=200
    )
    assert (np.diff(found.seconds) >= 0).all()
    assert set(found.examples.horizon.tolist()) == {0, 1}
    assert 100 < len(found.seconds) < 200
    assert found.seconds.max() <= one.past.clock.time_ms / 1000 - 12 * HOUR  # what came is known
    assert np.isfinite(found.examples.inputs).all()
    assert np.isfinite(found.examples.targets).all()
    assert shares == [0.0, 0.5]
    assert lived(one.past.history, [], np.zeros(0), one.past.ids, lambda *_: None, most=200) is None


async def test_what_only_this_host_does_is_learned_by_the_real_child_and_lasts(built):
    one = built(days=160)
    assert await one.refining.refine_due() == "no forecast was made yet"
    assert one.refining.load().network.parameters.tobytes() == load_forecaster().network.parameters.tobytes()
    assert await one.refining.refine_due() == "nothing calls for a training"
    assert (one.worked, one.refining.last) == ([], "")
    a_month_later(one)
    words = await one.refining.refine_due()
    assert words.startswith("refined by ")
    assert retrains(one, "schedule", "promoted") == 1
    assert one.worked == ["begun", "ended"]
    assert (len(accepted(one)), one.models.incoming.exists()) == (1, False)
    again = built()
    found = again.refining.load()
    assert found.problem == ""
    assert found.network.parameters.tobytes() == one.adopted[-1].network.parameters.tobytes()
    assert found.network.parameters.tobytes() != load_forecaster().network.parameters.tobytes()
    assert await again.refining.refine_due() == "nothing calls for a training"
    assert again.refining.last == words
    again.forecasts.adopt(found)
    assert "hours" in await again.forecasts.make_due()


async def test_a_young_host_and_one_on_its_battery_wait(built, tmp_path):
    one = built(days=3)
    one.refining.load()
    await one.refining.refine_due()
    a_month_later(one)
    one.told.age = HOUR
    assert "not known for a day yet" in await one.refining.refine_due()
    one.told.age = 30 * DAY
    supply = tmp_path / "sys" / "class" / "power_supply" / "BAT0"
    supply.mkdir(parents=True)
    for name, text in (("type", "Battery"), ("status", "Discharging")):
        (supply / name).write_text(text)
    assert "runs on its battery" in await one.refining.refine_due()
    (supply / "status").write_text("Charging")
    assert "are not enough" in await one.refining.refine_due()
    assert retrains(one, "schedule", "refused") == 1
    assert accepted(one) == []


async def test_forecasts_that_become_worse_call_for_it_once_a_day(built, pretend):
    one = built(days=3)
    one.refining.load()
    one.told.performance = 0.6
    await one.refining.refine_due()
    one.past.clock.advance(2 * DAY)
    one.told.performance = 0.56
    assert await one.refining.refine_due() == "nothing calls for a training"
    one.told.performance = 0.54
    pretend("print(json.dumps({'result': {'refused': 'no reason'}}))")
    assert await one.refining.refine_due() == "refused: no reason"
    assert retrains(one, "degradation", "refused") == 1
    one.past.clock.advance(HOUR)
    assert "less than a day since the last training" in await one.refining.refine_due()
    pretend("print('?')")
    one.past.clock.advance(DAY)
    with pytest.raises(WorkerError):
        await one.refining.refine_due()
    assert one.refining.last.startswith("failed: ")
    assert retrains(one, "degradation", "failed") == 1


async def test_a_person_may_ask_at_any_time(built, pretend):
    one = built(days=3)
    said = []
    assert await one.refining.refine_by_hand(lambda *told: said.append(told)) == (False, "no forecast was made yet")
    one.refining.load()
    pretend(
        "print(json.dumps({'progress': 0.5, 'text': 'half way'}), flush=True)\n"
        "print(json.dumps({'result': {'refused': 'no reason'}}))"
    )
    told = await one.refining.refine_by_hand(lambda *told: said.append(told))
    assert told == (False, "refused: no reason")
    assert (0.5, "half way") in said
    assert retrains(one, "hand", "refused") == 1


async def test_what_is_broken_gives_way_to_the_shipped_one_and_is_counted(built):
    one = built(days=3)
    folder = one.models.folder(1000) / "network"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{")
    assert one.refining.load().network.parameters.tobytes() == load_forecaster().network.parameters.tobytes()
    assert one.metrics._registry.get_sample_value("presaged_model_failures_total") == 1


async def test_killed_at_any_moment_it_leaves_what_served_or_what_it_made(built):
    dice = random.Random(SEED)
    print(f"PRESAGED_TEST_SEED={SEED}")
    one = built(days=180)
    shipped = load_forecaster().network
    one.refining.load()
    await one.refining.refine_due()
    for _ in range(2 * SCALE):
        a_month_later(one)
        task = asyncio.create_task(one.refining.refine_due())
        await asyncio.wait([task], timeout=4 * dice.random())
        for child in psutil.Process().children():
            child.kill()
        try:
            await task
        except WorkerError:
            assert one.refining.last.startswith("failed: ")
        found, until_ms, refused = one.models.newest()
        assert refused == []
        assert accepted(one)[-1:] == ([f"{until_ms:015d}"] if found else [])
        assert (found.network if found else shipped).predict(np.zeros((1, 384), np.float32)).shape == (1, 12)


async def test_the_shipped_one_that_serves_again_is_told(built, pretend):
    one = built()
    one.refining.load()
    await one.refining.refine_due()
    a_month_later(one)
    pretend(
        f"sys.path.insert(0, {str(Path(__file__).parents[3])!r})\n"
        "from detectors.capacity import load_forecaster, save\n"
        "folder = pathlib.Path(json.load(sys.stdin)['incoming'])\n"
        "save(folder, load_forecaster().network, {})\n"
        "print(json.dumps({'result': {'refused': '', 'moments': 9, 'again': True, 'before': 2.0, 'after': 1.0}}))"
    )
    words = await one.refining.refine_due()
    assert words == "the shipped network serves again: the refined one had come to do worse"
    assert len(accepted(one)) == 1


async def test_what_the_child_did_not_write_is_not_adopted(built, pretend):
    one = built()
    one.refining.load()
    await one.refining.refine_due()
    a_month_later(one)
    pretend("print(json.dumps({'result': {'refused': '', 'moments': 9}}))")
    with pytest.raises(WorkerError, match="the refined capacity network was refused"):
        await one.refining.refine_due()
    assert (accepted(one), one.adopted) == ([], [])
