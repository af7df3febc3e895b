"""After an upgrade to other features the next model scores in shadow first; going back finds the one before."""

import json

import pytest
from structlog.testing import capture_logs

from daemon.config import Anomaly, Compute, Config
from detectors import model_file
from detectors.registry import FORMAT, State, save

CONFIG = Config(anomaly=Anomaly(network_after_samples=60, learning_days=0), compute=Compute(backend="numpy"))


def name(number):
    return f"{number:012d}"


def rewrite_format(folder, number):
    """Make a whole model one of a program with other features."""
    file = folder / model_file.MANIFEST
    record = json.loads(file.read_text())
    record["format"] = number
    record["manifest_sha256"] = model_file._digest(record)
    file.write_text(json.dumps(record))


async def bring(host, number, **more):
    """Hand over a model as the child does."""
    manifest = {
        "name": name(number), "number": number, "trained_ms": host.clock.time_ms, "interval_seconds": host.interval,
        "samples": 100, "first_seq": 1, "last_seq": host.history.last()[0], **more,
    }  # fmt: skip
    save(host.models.incoming, host.watch.lesson(host.registry)(), manifest)
    return await host.learning.promotion.receive(name(number))


@pytest.fixture
async def upgraded(hosts, quiet_collector):
    """A host that has served by a model of other features, started again by this program; with what it logged."""
    source = quiet_collector(8)
    host = await hosts(source, config=CONFIG)
    await host.take(100)
    await bring(host, 90)
    await host.take(20)
    rewrite_format(host.models.folder(name(90)), FORMAT - 1)
    with capture_logs() as lines:
        host = await hosts(source, config=CONFIG)
    return host, lines, source


async def test_what_the_window_teaches_serves_from_the_first_sample(upgraded):
    host, lines, _ = upgraded
    assert host.watch.lasting
    assert (host.watch.name, host.watch.number) == (name(120), 120)
    assert host.models.pointed == name(120)
    (line,) = [one for one in lines if one["event"] == "model_of_other_features"]
    assert (line["model"], line["log_level"]) == (name(90), "warning")
    snapshot = await host.take()
    assert snapshot.anomaly.raw is not None
    assert [one.alertname for one in host.pipeline.active] == []


async def test_the_next_model_is_asked_for_at_once_and_scores_in_shadow(upgraded):
    host, _, _ = upgraded
    assert host.learning.retraining.asked
    await host.take(2)
    outcome, words = await bring(host, 130)
    assert outcome == "shadow", words
    await host.take(2)
    assert host.watch.number == 120
    assert {one.name: str(one.state) for one in host.models.lineage()}[name(130)] == "shadow"
    assert [one.name for one in (await host.take()).models.models] == [name(130)]


async def test_it_is_judged_against_what_stands_in(upgraded, monkeypatch):
    host, _, _ = upgraded
    asked = []

    async def run(_job, spec, **_more):
        asked.append(spec)
        passes = {"passes": True, "reasons": [], "metrics": {"recent": 0.4, "champion_recent": 0.3}}
        return {"performance": 0.4, "predecessor": None, "verdicts": {name(130): passes}}

    await host.take(2)
    await bring(host, 130)
    monkeypatch.setattr(host.child, "run", run)
    host.tick.seq += 2880
    await host.take(2)
    assert f"{name(130)} serves" in await host.learning.promotion.judge_due()
    assert asked[0]["champion"][0].endswith(name(120))
    assert host.watch.number == 130
    assert host.models.predecessor()[1].name == name(120)


async def test_a_successor_is_asked_for_again_after_a_start_until_there_is_one(upgraded, hosts):
    _, _, source = upgraded
    host = await hosts(source, config=CONFIG)
    assert host.watch.number == 120
    assert host.learning.retraining.asked
    await host.take(2)
    await bring(host, 130, parent=name(120))
    host = await hosts(source, config=CONFIG)
    assert not host.learning.retraining.asked


async def test_the_program_before_finds_its_own_model_again(upgraded, hosts):
    host, _, source = upgraded
    rewrite_format(host.models.folder(name(90)), FORMAT)  # as the program before sees them
    rewrite_format(host.models.folder(name(120)), FORMAT + 1)
    host = await hosts(source, config=CONFIG)
    assert (host.watch.number, host.models.pointed) == (90, name(90))
    assert (await host.take()).anomaly.raw is not None


async def test_on_a_full_disk_the_window_serves_all_the_same(hosts, quiet_collector, monkeypatch):
    source = quiet_collector(8)
    host = await hosts(source, config=CONFIG)
    await host.take(100)
    await bring(host, 90)
    rewrite_format(host.models.folder(name(90)), FORMAT - 1)

    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("daemon.models.superseded.save", full)
    host = await hosts(source, config=CONFIG)
    assert not host.watch.lasting
    assert (await host.take()).anomaly.raw is not None
    assert host.count("presaged_model_failures_total") >= 1


async def test_an_altered_manifest_is_no_other_schema(hosts, quiet_collector):
    source = quiet_collector(8)
    host = await hosts(source, config=CONFIG)
    await host.take(100)
    await bring(host, 90)
    file = host.models.folder(name(90)) / model_file.MANIFEST
    file.write_text(file.read_text().replace(f'"format": {FORMAT}', f'"format": {FORMAT + 1}'))
    with capture_logs() as lines:
        host = await hosts(source, config=CONFIG)
    assert not host.watch.lasting
    assert host.models.superseded() == ""
    assert [one["event"] for one in lines if "model" in one["event"]] == ["model_refused"]
    assert State.CHAMPION not in [one.state for one in host.models.lineage() if not one.problem]
