"""Model files that break or vanish while the daemon runs: the version before serves, with none left the aggregate."""

import shutil

import numpy as np
import pytest
from structlog.testing import capture_logs

from daemon.config import Anomaly, Compute, Config
from daemon.errors import WorkerError
from daemon.models import promotion
from detectors.registry import State, save

CONFIG = Config(anomaly=Anomaly(network_after_samples=9999, learning_days=0), compute=Compute(backend="numpy"))


def name(number):
    return f"{number:012d}"


async def bring(host, number):
    """Hand over a model as the child does."""
    manifest = {
        "name": name(number), "number": number, "trained_ms": host.clock.time_ms, "interval_seconds": host.interval,
        "samples": 100, "first_seq": 1, "last_seq": host.history.last()[0],
    }  # fmt: skip
    save(host.models.incoming, host.watch.lesson(host.registry)(), manifest)
    return await host.learning.promotion.receive(name(number))


@pytest.fixture
async def host(hosts, quiet_collector):
    """A host whose model 200 serves after 100, and 300 scores in shadow."""
    host = await hosts(quiet_collector(8), config=CONFIG)
    await host.take(100)
    await bring(host, 100)
    await bring(host, 200)
    await host.learning.promotion.promote(name(200), "better")
    await bring(host, 300)
    await host.take(2)
    return host


@pytest.fixture
def judging(host, monkeypatch):
    """The child's judgements, without a child: what each was asked."""
    asked = []

    async def run(_job, spec, **_more):
        asked.append(spec)
        return {"performance": 0.4, "predecessor": None, "verdicts": {}}

    monkeypatch.setattr(host.child, "run", run)
    return asked


def flip(folder):
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(3000)
        byte = file.read(1)[0]
        file.seek(3000)
        file.write(bytes([byte ^ 0x10]))


def truncate(folder):
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(700)


DAMAGES = {
    "flipped": flip,
    "truncated": truncate,
    "no arrays": lambda folder: (folder / "model.safetensors").unlink(),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "a manifest of something else": lambda folder: (folder / "manifest.json").write_text('{"format": 3}'),
    "gone": shutil.rmtree,
    "no folder": lambda folder: (shutil.rmtree(folder), folder.write_text("")),
}
damaged = pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
flipped_or_gone = pytest.mark.parametrize("damage", [flip, shutil.rmtree], ids=["flipped", "gone"])


def champions(host):
    return [one.name for one in host.models.lineage() if one.state is State.CHAMPION]


def refused(lines):
    return [line["effect"] for line in lines if line["event"] == "model_refused"]


@damaged
async def test_a_champion_that_breaks_gives_way_to_its_predecessor(hosts, quiet_collector, host, judging, damage):
    damage(host.models.folder(name(200)))
    assert (await host.take()).anomaly.raw is not None  # what is in memory is whole
    with capture_logs() as lines:
        assert "performance 0.400" in await host.learning.promotion.judge_due()
    assert refused(lines) == [f"{name(100)} serves in its place"]
    assert judging[0]["champion"][0].endswith(name(100))
    snapshot = await host.take()
    assert (snapshot.anomaly.model, snapshot.anomaly.raw is not None) == (name(100), True)
    assert host.count("presaged_model_failures_total") == 1
    assert champions(host) == [name(100)]
    assert [one.alertname for one in snapshot.findings if one.network == "learning"] == ["ModelRolledBack"]
    assert (await hosts(quiet_collector(8), config=CONFIG)).watch.name == name(100)


@flipped_or_gone
async def test_with_no_whole_model_left_the_aggregate_serves_until_there_is_one(host, judging, damage):
    for folder in host.models.versions():
        damage(folder)
    with capture_logs() as lines:
        assert await host.learning.promotion.judge_due() == "no model of the child serves yet"
    assert refused(lines) == [
        "there is no model to go back to",
        "no other is left: what is learned from the window serves",
    ]
    assert not host.watch.lasting
    snapshot = await host.take()
    assert (snapshot.anomaly.model, snapshot.anomaly.raw is not None) == ("", True)
    assert host.count("presaged_model_failures_total") == 2
    assert (await bring(host, 400))[0] == "promoted"
    assert champions(host) == [name(400)]


@flipped_or_gone
async def test_a_predecessor_that_breaks_is_none_to_go_back_to_and_hinders_no_judgement(host, judging, damage):
    damage(host.models.folder(name(100)))
    await host.learning.promotion.judge_due()
    assert (judging[0]["predecessor"], host.watch.name) == ("", name(200))
    assert host.count("presaged_model_failures_total") == 1
    assert [one.role for one in host.learning.promotion.state.models] == ["shadow"]


async def test_a_training_by_hand_after_the_champion_is_gone_goes_on_from_what_is_left(host, monkeypatch):
    shutil.rmtree(host.models.folder(name(200)))

    async def run(_job, spec, **_more):
        assert spec["champion"].endswith(name(100))
        raise WorkerError("enough")

    monkeypatch.setattr(host.child, "run", run)
    training = host.learning.retraining.ask()
    await host.learning.retraining.train_as_asked()
    assert (training.outcome, training.text) == ("failed", "enough")
    assert host.watch.name == name(100)


async def test_a_model_that_goes_while_it_is_judged_is_a_failed_job(host, monkeypatch):
    async def run(_job, _spec, **_more):
        shutil.rmtree(host.models._accepted)
        verdict = {"passes": True, "reasons": [], "metrics": {"recent": 0.4, "champion_recent": 0.3}}
        return {"performance": 0.4, "predecessor": None, "verdicts": {name(300): verdict}}

    host.history._database.execute("UPDATE samples SET seq = seq + 10000 WHERE seq = (SELECT max(seq) FROM samples)")
    monkeypatch.setattr(host.child, "run", run)
    with pytest.raises(WorkerError, match="there is no model"):
        await host.learning.promotion.judge_due()
    assert host.count("presaged_model_failures_total") == 1
    assert (await host.take()).anomaly.model == name(200)


@pytest.mark.parametrize("text", ["{", '{"000000000300": {"state": "champion"}}', None])
async def test_roles_that_break_cost_reasons_and_no_champion(hosts, quiet_collector, host, judging, text):
    roles = host.models._accepted / "roles.json"
    if text is None:
        roles.unlink()
    else:
        roles.write_text(text)
    await host.learning.promotion.judge_due()
    assert champions(host) == [name(200)]
    again = await hosts(quiet_collector(8), config=CONFIG)
    assert (again.watch.name, champions(again)) == (name(200), [name(200)])


def test_roles_that_say_who_serves_are_not_believed(tmp_path):
    from detectors.roles import Roles  # noqa: PLC0415

    one = '{"state": "champion", "since_ms": 1, "reason": "", "pinned": true, "metrics": {}}'
    (tmp_path / "roles.json").write_text(f'{{"7": {one}}}')
    role = Roles(tmp_path / "roles.json").read()["7"]
    assert (role.state, role.pinned) == (State.RETIRED, True)


@pytest.mark.parametrize("text", [None, "", "000000000300\n", "nonsense"])
async def test_a_pointer_that_is_lost_is_written_again(host, judging, text):
    pointer = host.models._accepted / "champion"
    if text is None:
        pointer.unlink()
    else:
        pointer.write_text(text)
    await host.learning.promotion.judge_due()
    assert (await host.take()).anomaly.model == name(200)
    assert champions(host) == [name(200)]
    assert host.count("presaged_model_failures_total") == 1


async def test_what_cannot_be_written_fails_the_training_and_not_the_daemon(host, monkeypatch):
    def full(*_arguments, **_more):
        raise OSError(28, "No space left on device")

    async def run(_job, _spec, **_more):
        return {"name": name(300)}

    monkeypatch.setattr(host.child, "run", run)
    monkeypatch.setattr("detectors.roles.sync", full)
    save(
        host.models.incoming,
        host.watch.model,
        {
            "name": name(400), "number": 400, "trained_ms": 1, "interval_seconds": 30.0, "samples": 1, "first_seq": 1,
            "last_seq": 1,
        },
    )  # fmt: skip
    training = host.learning.retraining.ask()
    await host.learning.retraining.train_as_asked()
    assert training.outcome == "failed"
    assert np.isfinite((await host.take()).anomaly.raw)


async def test_a_start_on_a_full_disk_serves_what_is_there(hosts, quiet_collector, host, monkeypatch):
    def full(*_arguments, **_more):
        raise OSError(28, "No space left on device")

    flip(host.models.folder(name(200)))
    monkeypatch.setattr("detectors.roles.sync", full)
    monkeypatch.setattr("detectors.registry.Registry._settle", full)
    again = await hosts(quiet_collector(8), config=CONFIG)
    assert again.watch.name == name(100)
    assert again.count("presaged_model_failures_total") == 2


async def test_whole_files_are_read_again_when_they_change_and_once_a_day(host, clock, judging, monkeypatch):
    read, load = [], promotion.load_model

    def reading(folder):
        read.append(folder.name)
        return load(folder)

    monkeypatch.setattr(promotion, "load_model", reading)
    host.learning.promotion._shadows.end_probation()
    for hour in range(24):
        await host.learning.promotion.look_after()
        clock.advance(3600.0)
        if hour == 12:
            (host.models.folder(name(200)) / "manifest.json").touch()
    assert read == [name(200)] * 2
    clock.advance(86_400.0)
    await host.learning.promotion.look_after()
    assert read == [name(200)] * 3
