import asyncio
from dataclasses import replace

import numpy as np
import pytest

from daemon.config import Anomaly, Compute, Config, Learning
from daemon.errors import WorkerError
from daemon.models.judging import judge_models
from detectors.probation import Reason
from detectors.registry import ModelError, save

CONFIG = Config(anomaly=Anomaly(network_after_samples=9999, learning_days=0), compute=Compute(backend="numpy"))
BY_HAND = CONFIG.model_copy(update={"learning": Learning(approval="hand")})
PASSES = {"passes": True, "reasons": [], "metrics": {"recent": 0.4, "champion_recent": 0.3, "retention": 0.97}}
FAILS = {"passes": False, "reasons": ["not better"], "metrics": {"recent": 0.2, "champion_recent": 0.3}}


def name(number):
    return f"{number:012d}"


async def bring(host, number, *, louder=1.0):
    """Hand over a model as the child does; its scores are `louder` times as high."""
    model = host.watch.lesson(host.registry)()
    scales = tuple(replace(one, means=tuple(mean / louder for mean in one.means)) for one in model.scales)
    manifest = {
        "name": name(number), "number": number, "trained_ms": host.clock.time_ms, "interval_seconds": host.interval,
        "samples": 400, "first_seq": 1, "last_seq": host.history.last()[0],
    }  # fmt: skip
    save(host.models.incoming, replace(model, scales=scales), manifest)
    return await host.learning.promotion.receive(name(number))


def judged(host, monkeypatch, verdicts=None, *, performance=0.4, predecessor=None, loud=None):
    """Let the child's judgement be this one; the answer is what it was asked."""
    asked = []

    async def run(_job, spec, **_more):
        asked.append(spec)
        return {"performance": performance, "predecessor": predecessor, "loud": loud, "verdicts": verdicts or {}}

    monkeypatch.setattr(host.child, "run", run)
    return asked


async def let_learn(host):
    """What follows a tick."""
    host.learning.after_tick()
    await host.learning.catch_up()
    if host.learning.promotion.wants_a_look:
        await host.learning.promotion.look()


def states(host):
    return {version.name.lstrip("0"): str(version.state) for version in host.models.lineage()}


def told(host):
    return [
        (one.alertname, one.detail)
        for snapshot in host.published
        for one in snapshot.findings
        if one.network == "learning"
    ]


@pytest.fixture
async def host(hosts, quiet_collector):
    """A host of 64 samples with a first model of the child's."""
    host = await hosts(quiet_collector(8), config=CONFIG)
    await host.take(64)
    assert (await bring(host, 100))[0] == "promoted"
    return host


async def test_the_first_serves_at_once_and_the_next_in_shadow_until_it_is_judged(host, monkeypatch):
    assert (await bring(host, 200))[0] == "shadow"
    assert host.watch.number == 100
    assert states(host) == {"200": "shadow", "100": "champion"}
    asked = judged(host, monkeypatch, {name(200): PASSES})
    await host.learning.promotion.judge_due()  # the first measure of the champion; the shadow is too young
    assert asked[0]["challengers"] == []
    assert await host.learning.promotion.judge_due() == "1 in shadow"
    host.tick.seq += 2880
    await host.take(2)
    words = await host.learning.promotion.judge_due()
    assert words.endswith("000000000200 serves: better on recent data: 0.400, the champion 0.300")
    assert asked[-1]["challengers"] == [str(host.models.folder(name(200)))]
    assert host.watch.number == 200
    assert states(host) == {"200": "champion", "100": "predecessor"}
    assert host.models.lineage()[0].metrics["retention"] == 0.97
    snapshot = await host.take()
    assert [(one.name, one.role) for one in snapshot.models.models] == [(name(100), "predecessor")]
    assert snapshot.models.retention == 0.97
    assert (
        "ModelPromoted",
        f"{name(200)} serves after {name(100)}: better on recent data: 0.400, the champion 0.300",
    ) in told(host)
    assert [alert.alertname for alert in host.state.recent_occurrences(5)].count("ModelPromoted") == 2


async def test_one_that_fails_retires_with_its_reasons_and_its_figures(host, monkeypatch):
    await bring(host, 200)
    host.tick.seq += 2880
    await host.take(2)
    judged(host, monkeypatch, {name(200): FAILS})
    assert "000000000200: not better" in await host.learning.promotion.judge_due()
    version = host.models.lineage()[0]
    assert (str(version.state), version.reason, version.metrics["recent"]) == ("retired", "not better", 0.2)
    assert host.watch.number == 100
    assert (await host.take()).models.models == ()


async def test_the_health_of_the_champion_is_what_is_beyond_its_thresholds(host, monkeypatch):
    async def health(performance):
        judged(host, monkeypatch, performance=performance)
        host.learning.promotion._measured_ms = 0
        await host.learning.promotion.judge_due()
        return [str(one) for one in (await host.take()).models.health]

    assert (await host.take()).models.health == ("unknown",)
    assert 0 < host.published[-1].models.latency < 0.3
    assert await health(0.4) == ["ok"]
    assert await health(0.35) == ["degraded"]
    assert await health(0.01) == ["inaccurate", "degraded"]
    host.watch._latencies.extend([0.31] * 120)  # more than a hundredth of 30 s
    assert await health(0.4) == ["slow"]
    await bring(host, 200)
    await host.learning.promotion.promote(name(200), "a test says so")
    assert (await host.take()).models.health == ("unknown",)


async def test_of_two_in_shadow_the_better_serves_and_a_third_takes_the_place_of_the_first(host, monkeypatch):
    for number in (200, 300, 400):
        await bring(host, number)
    assert states(host) == {"400": "shadow", "300": "shadow", "200": "retired", "100": "champion"}
    host.tick.seq += 2880
    await host.take(2)
    better = {**PASSES, "metrics": {**PASSES["metrics"], "recent": 0.5}}
    judged(host, monkeypatch, {name(300): better, name(400): PASSES})
    await host.learning.promotion.judge_due()
    assert host.watch.number == 300
    assert states(host)["400"] == "retired"


async def test_by_hand_one_that_passes_waits_for_a_person_and_so_it_does_beside_a_pinned_one(
    hosts, quiet_collector, monkeypatch
):
    host = await hosts(quiet_collector(8), config=BY_HAND)
    await host.take(64)
    await bring(host, 100)
    await bring(host, 200)
    host.tick.seq += 2880
    await host.take(2)
    judged(host, monkeypatch, {name(200): PASSES})
    assert (await host.learning.promotion.judge_due()).endswith("passes, and waits")
    assert states(host) == {"200": "challenger", "100": "champion"}
    await bring(host, 201)
    host.tick.seq += 2880
    await host.take(2)
    judged(host, monkeypatch, {name(201): PASSES})
    await host.learning.promotion.judge_due()
    assert states(host) == {"201": "challenger", "200": "retired", "100": "champion"}
    await host.learning.promotion.promote(name(200), "by hand")
    assert host.watch.number == 200
    again = await hosts(quiet_collector(8), config=CONFIG)
    assert again.watch.number == 200
    await again.learning.promotion.pin(name(200), pinned=True)
    await bring(again, 300)
    again.tick.seq += 2880
    await again.take(2)
    judged(again, monkeypatch, {name(300): PASSES}, predecessor=0.4)
    assert (await again.learning.promotion.judge_due()).endswith("passes, and waits")
    assert again.watch.number == 200


async def test_a_champion_that_is_too_loud_leaves_within_the_hour_and_its_thresholds_come_back(host, monkeypatch):
    judged(host, monkeypatch)
    threshold = host.watch.threshold
    await bring(host, 200, louder=200.0)
    host.watch.adopt(host.watch.model, 100, name(100), 1, 1.5 * threshold)
    await host.learning.promotion.promote(name(200), "a test says so")
    minutes = 0
    while host.watch.number == 200:
        await host.take(2)
        minutes += 1
        await let_learn(host)
        assert minutes <= 60
    assert host.watch.number == 100
    assert host.watch.threshold == pytest.approx(1.5 * threshold)
    assert states(host) == {"200": "retired", "100": "champion"}
    assert host.models.lineage()[0].reason == Reason.LOUD
    await host.take()
    assert told(host)[-1] == ("ModelRolledBack", f"{name(100)} serves again after {name(200)}: {Reason.LOUD.value}")
    assert host.count("presaged_retrains_total", network="anomaly", trigger="rollback", outcome="rolled_back") == 1


async def test_a_new_champion_is_compared_with_its_predecessor_at_once_and_the_week_once(host, monkeypatch):
    asked = judged(host, monkeypatch, loud=False)
    await bring(host, 200)
    comparing = asyncio.create_task(host.learning.compare())
    await host.learning.promotion.promote(name(200), "a test says so")
    for _ in range(3):
        host.learning.after_tick()
        await asyncio.sleep(0.05)
    comparing.cancel()
    assert [(one["predecessor"][0], one["since_ms"]) for one in asked] == [
        (str(host.models.folder(name(100))), host.clock.time_ms)
    ]
    await host.learning.promotion.judge_due()
    assert asked[-1]["since_ms"] == 0
    assert host.watch.number == 200


async def test_one_that_would_have_been_too_loud_before_leaves_and_nobody_is_judged_beside_it(host, monkeypatch):
    await bring(host, 200)
    await bring(host, 300)
    host.tick.seq += 2880
    await host.take(2)
    await host.learning.promotion.promote(name(200), "a test says so")
    judged(host, monkeypatch, {name(300): PASSES}, loud=True)
    await let_learn(host)
    assert states(host) == {"300": "shadow", "200": "retired", "100": "champion"}
    assert next(one.reason for one in host.models.lineage() if one.name == name(200)) == Reason.LOUD_BEFORE


async def test_a_comparison_that_fails_is_made_within_the_hour(host, monkeypatch):
    async def fails(*_given, **_more):
        raise WorkerError("no memory")

    monkeypatch.setattr(host.child, "run", fails)
    await bring(host, 200)
    await host.learning.promotion.promote(name(200), "a test says so")
    await let_learn(host)
    assert host.watch.number == 200
    judged(host, monkeypatch, loud=True)
    await host.learning.promotion.judge_due()
    assert host.watch.number == 100


async def test_an_outage_under_a_good_champion_changes_nothing(host, quiet_collector, monkeypatch):
    judged(host, monkeypatch)
    await bring(host, 200)
    await host.learning.promotion.promote(name(200), "a test says so")
    host.collectors[0].shift[:6] = 2.0
    for _ in range(90):
        snapshot = await host.take()
        await let_learn(host)
    assert snapshot.anomaly.raw > snapshot.anomaly.threshold
    assert host.watch.number == 200


async def test_a_blind_champion_is_told_by_what_both_notice_and_a_day_ends_the_watch(host, clock, monkeypatch):
    await bring(host, 200)
    await host.learning.promotion.promote(name(200), "a test says so")
    judged(host, monkeypatch, performance=0.1, predecessor=0.4)
    await host.learning.promotion.judge_due()
    assert host.watch.number == 100
    assert host.models.lineage()[0].reason == Reason.BLIND
    await host.learning.promotion.promote(name(200), "again")
    clock.advance(86_400.0)
    await host.take(2)
    assert (await host.take()).models.models == ()
    await host.learning.promotion.judge_due()
    assert host.watch.number == 200


async def test_probation_and_shadows_go_on_after_a_restart(hosts, quiet_collector, host, clock):
    await bring(host, 200)
    await host.learning.promotion.promote(name(200), "a test says so")
    await bring(host, 300)
    clock.advance(3600.0)
    again = await hosts(quiet_collector(8), config=CONFIG)
    snapshot = await again.take()
    assert [(one.name, one.role) for one in snapshot.models.models] == [
        (name(100), "predecessor"),
        (name(300), "shadow"),
    ]
    clock.advance(86_400.0)
    third = await hosts(quiet_collector(8), config=CONFIG)
    assert [one.role for one in (await third.take()).models.models] == ["shadow"]


async def test_a_broken_challenger_costs_only_itself(hosts, quiet_collector, host, monkeypatch):
    await bring(host, 200)
    await bring(host, 300)
    for number in (200, 300):
        file = host.models.folder(name(number)) / "model.safetensors"
        whole = file.read_bytes()
        file.write_bytes(b"")
    again = await hosts(quiet_collector(8), config=CONFIG)
    assert again.watch.number == 100
    assert states(again) == {"300": "retired", "200": "retired", "100": "champion"}
    assert again.count("presaged_model_failures_total") == 2
    file.write_bytes(whole)
    await bring(again, 400)
    (again.models.folder(name(400)) / "manifest.json").unlink()  # while it scores
    judged(again, monkeypatch)
    await again.learning.promotion.judge_due()
    assert states(again)["400"] == "retired"
    assert again.watch.number == 100


async def test_a_score_that_is_no_number_brings_the_predecessor_back_at_once(host, monkeypatch):
    judged(host, monkeypatch)
    await bring(host, 200)
    await host.learning.promotion.promote(name(200), "a test says so")
    host.watch._live._relative.append(np.full(1, np.nan))
    await host.take()
    await let_learn(host)
    assert host.watch.number == 100
    assert host.models.lineage()[0].reason == Reason.BROKEN


async def test_a_rollback_without_a_whole_predecessor_leaves_the_champion(host):
    with pytest.raises(ModelError, match="no model before"):
        await host.learning.promotion.rollback("by hand")
    await bring(host, 200)
    await host.learning.promotion.promote(name(200), "a test says so")
    (host.models.folder(name(100)) / "model.safetensors").write_bytes(b"")
    host.learning.promotion._leave = Reason.LOUD
    await host.learning.promotion.settle()
    assert host.watch.number == 200
    assert host.count("presaged_model_failures_total") == 1


async def test_a_judgement_of_a_champion_that_has_left_meanwhile_does_nothing(host, monkeypatch):
    await bring(host, 200)

    async def run(_job, _spec, **_more):
        await host.learning.promotion.promote(name(200), "by hand")
        return {"performance": 0.9, "predecessor": None, "verdicts": {}}

    monkeypatch.setattr(host.child, "run", run)
    assert await host.learning.promotion.judge_due() == "another model serves since"
    assert host.learning.promotion.state.performance is None


async def test_no_rollback_to_a_model_of_another_interval(hosts, quiet_collector, host):
    await bring(host, 200)
    await host.learning.promotion.promote(name(200), "a test says so")
    other = await hosts(quiet_collector(8), config=CONFIG, interval=60.0)
    with pytest.raises(ModelError, match="another interval"):
        await other.learning.promotion.rollback("by hand")
    assert states(other)["200"] == "champion"


async def test_a_judgement_that_is_not_understood_is_a_failed_job(host, monkeypatch):
    async def run(_job, _spec, **_more):
        return {"verdicts": "good"}

    monkeypatch.setattr(host.child, "run", run)
    with pytest.raises(WorkerError, match="not understood"):
        await host.learning.promotion.judge_due()


async def test_the_real_child_judges_on_the_real_history(hosts, quiet_collector):
    host = await hosts(quiet_collector(6), config=CONFIG)
    await host.take(250)
    await bring(host, 400)
    await bring(host, 401)
    await host.take(210)
    promotion = host.learning.promotion
    folders = [str(host.models.folder(name(number))) for number in (400, 401)]
    beside = {"predecessor": (folders[0], 1e-3 * host.watch.threshold), "since_ms": host.clock.time_ms}
    spec = {**promotion._spec(folders[1:]), "interval_seconds": host.interval, **beside}
    result = await host.child.run("judge", spec, deadline_seconds=60)
    verdict = result["verdicts"][name(401)]
    assert not verdict["passes"]  # it is the same model
    assert verdict["metrics"]["recent"] == verdict["metrics"]["champion_recent"]
    assert 0 < result["performance"] < 1
    assert result["predecessor"] == 0  # always on
    assert result["loud"] is False
    loud = {"champion": beside["predecessor"], "predecessor": spec["champion"], "challengers": []}
    assert judge_models({**spec, **loud}, lambda _share, _text: None)["loud"]
    assert judge_models({**spec, **loud, "since_ms": 0}, lambda _share, _text: None)["loud"] is None
    await promotion._act(result, [], host.clock.time_ms)
    assert (await host.take()).models.performance == pytest.approx(result["performance"])
    again = await hosts(quiet_collector(6), config=CONFIG)
    assert again.learning.promotion.state.baseline == pytest.approx(result["performance"])


async def test_a_training_by_hand_is_followed_and_can_be_stopped(host, monkeypatch, until):
    started = asyncio.Event()

    async def run(_job, _spec, *, listener, **_more):
        listener(0.5, "half of it")
        started.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(host.child, "run", run)
    learning = host.learning.retraining
    training = learning.ask()
    assert learning.ask() is training  # a second word is the same training
    host.learning.after_tick()
    task = asyncio.create_task(host.learning.catch_up())
    await started.wait()
    assert (training.outcome, training.share, training.text) == ("running", 0.5, "half of it")
    assert learning.cancel(training)
    await task
    assert training.outcome == "cancelled"
    assert not learning.cancel(training)
    waiting = learning.ask()
    assert waiting is not training
    assert learning.cancel(waiting)
    assert waiting.outcome == "cancelled"
    await let_learn(host)
    assert host.count("presaged_retrains_total", network="anomaly", trigger="hand", outcome="cancelled") == 1


async def test_a_training_that_fails_is_a_record(host, monkeypatch):
    async def run(_job, _spec, **_more):
        raise WorkerError("the job train failed: too hot")

    monkeypatch.setattr(host.child, "run", run)
    training = host.learning.retraining.ask()
    await let_learn(host)
    assert (training.outcome, training.text) == ("failed", "the job train failed: too hot")
    await host.take()
    assert told(host)[-1] == ("RetrainFailed", "a training (hand) failed: the job train failed: too hot")
