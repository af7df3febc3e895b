import asyncio
import contextlib
import logging
import shutil
import sqlite3
import time

import numpy as np
import pytest
import structlog

from daemon.config import Anomaly, Compute, Config
from daemon.errors import StateError, WorkerError
from daemon.samples import FLAG_ALARMED, FLAG_DOUBTFUL
from detectors import kernels

SMALL = Config(anomaly=Anomaly(network_after_samples=60, learning_days=0), compute=Compute(backend="numpy"))


@pytest.fixture(autouse=True)
def _no_progress():
    """A training says a line an epoch: not into the report of a failure."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    yield
    structlog.configure(**before)


@contextlib.asynccontextmanager
async def learning(host):
    task = asyncio.create_task(host.learning.run())
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def raws(host, count):
    return np.array([one.anomaly.raw for one in host.published[-count:]])


@pytest.mark.parametrize(("trains", "first"), [(True, 100), (False, 100), (False, 260), (False, 60), (False, 61)])
async def test_a_restart_in_the_middle_gives_the_same_next_scores(hosts, quiet_collector, clock, trains, first):
    """A run of samples in one piece, and the same run with a restart: the scores are the same to 1e-5."""
    config = SMALL.model_copy(update={"anomaly": Anomaly(network_after_samples=9999, learning_days=0)})
    source = quiet_collector(12)
    host = await hosts(source, config=config)
    await host.take(first)
    if trains:
        await host.learning.train("first")
    clock.set_wall(7200.0)  # a doubtful hour and a gap are in the window too
    await host.take(20)
    clock.suspend(4000.0)
    await host.take(9)
    await host.learning._remember_threshold()
    shutil.copytree(host.directory, host.directory.with_name("copy"))
    state = clock.time_ms, clock.monotonic_ns, clock.boottime_ns
    source.shift[:6] = 0.2
    kept = [source.values() for _ in range(40)]
    replay = iter(kept)
    source.values = lambda: next(replay)
    await host.take(40, learn=False)
    expected = raws(host, 40)
    expected_flags = host.history.last_rows(40).flags

    clock.time_ms, clock.monotonic_ns, clock.boottime_ns = state
    replay_again = iter(kept)
    source.values = lambda: next(replay_again)
    again = await hosts(source, config=config, directory=host.directory.with_name("copy"))
    assert again.watch.lasting == trains
    assert again.watch.seen == first + 29
    assert again.watch.number == host.watch.number
    assert again.watch.threshold == host.watch.threshold
    await again.take(40, learn=False)
    np.testing.assert_allclose(raws(again, 40), expected, atol=1e-5)
    np.testing.assert_array_equal(again.history.last_rows(40).flags & FLAG_ALARMED, expected_flags & FLAG_ALARMED)
    assert expected.std() > 0.01


async def test_what_a_restart_takes_up_is_what_there_was(hosts, quiet_collector, clock):
    host = await hosts(quiet_collector(4))
    await host.take(30)
    clock.set_wall(-3600.0)
    await host.take(30)
    host.watch.window.mark_alarmed()
    host.history._database.execute("UPDATE samples SET flags = flags | 4 WHERE seq = 60")
    values, hours = host.watch.window.reference(host.registry.ids)
    again = await hosts(quiet_collector(4))
    got, got_hours = again.watch.window.reference(again.registry.ids)
    np.testing.assert_array_equal(got, values)
    np.testing.assert_array_equal(got_hours, hours)
    assert (hours[-5:] == -1).all()
    assert again.history.last_rows(1).flags[0] & FLAG_DOUBTFUL


async def test_the_real_child_trains_from_the_real_history_and_its_model_serves(hosts, quiet_collector):
    host = await hosts(quiet_collector(12), config=SMALL)
    await host.take(150)
    began = time.monotonic()
    words = await host.learning.train("first")
    print(f"a training of 150 samples in the child took {time.monotonic() - began:.2f} s")
    assert words == "000000000150: 150 samples, 12 signals"
    assert host.watch.lasting
    assert host.watch.number == 150
    await host.take()  # this one may still show the training
    snapshot = await host.take()
    assert snapshot.anomaly.model == "000000000150"
    assert 0 <= snapshot.anomaly.network <= 1
    assert host.models.champion()[1].name == "000000000150"
    assert list(host.models.incoming.iterdir()) == []
    assert host.count("presaged_retrains_total", network="anomaly", trigger="first", outcome="promoted") == 1
    scores = host.history.scores(150, 10)
    assert scores.tolist() == pytest.approx([snapshot.anomaly.raw])
    again = await hosts(quiet_collector(12), config=SMALL)
    assert (again.watch.number, again.watch.threshold) == (150, host.watch.threshold)
    assert (await again.take()).anomaly.model == "000000000150"


async def test_it_trains_by_itself_as_soon_as_there_is_enough(hosts, quiet_collector, until):
    host = await hosts(quiet_collector(6), config=SMALL)
    await host.take(59)
    async with learning(host):
        host.learning.after_tick()
        await asyncio.sleep(0.05)
        assert host.watch.model is None
        await host.take(1, learn=False)
        host.learning.after_tick()
        await until(lambda: host.watch.lasting, 30)
    assert host.watch.number == 60


async def test_the_threshold_is_persisted_and_follows(hosts, quiet_collector):
    host = await hosts(quiet_collector(6), config=SMALL)
    await host.take(80)
    await host.learning.train("first")
    assert await host.learning.reset_threshold() == "too few scores of this model yet"
    host.history._database.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1440) "
        "INSERT INTO samples SELECT 1000 + i, 0, 0, 1, 1, 0, 0, 80, 50.0, 1.0, x'00' FROM n"
    )
    before = host.watch.threshold
    words = await host.learning.reset_threshold()
    assert host.watch.threshold == pytest.approx(1.5 * before)
    assert words == f"{before:.3f} to {1.5 * before:.3f}"
    again = await hosts(quiet_collector(6), config=SMALL)
    assert again.watch.threshold == pytest.approx(1.5 * before)
    again.state.set_meta("anomaly.threshold", '{"number": 79, "threshold": 9.0}')  # of another model
    third = await hosts(quiet_collector(6), config=SMALL)
    assert third.watch.threshold != 9.0


async def test_the_scheduled_training_waits_while_the_host_decays(hosts, quiet_collector, clock):
    host = await hosts(quiet_collector(6), config=SMALL)
    await host.take(80)
    assert await host.learning.retraining.train_again() == "not before the first training"
    await host.learning.train("first")
    assert await host.learning.retraining.train_again() == "nothing calls for a training"
    clock.advance(8 * 86_400.0)
    assert (await host.learning.retraining.train_again()).endswith("this host is not known for a day yet")
    host.watch.seen = 3000
    host.history._database.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2880) "
        "INSERT INTO samples SELECT 1000 + i, 0, 0, 1, 1, 0, 0, 80, ?, 1.0, x'00' FROM n",
        (0.6 * host.watch.threshold,),
    )
    assert (await host.learning.retraining.train_again()).startswith("postponed: the last day was unlike this host")
    assert host.watch.number == 80
    assert host.count("presaged_retrains_total", network="anomaly", trigger="schedule", outcome="postponed") == 1
    host.history._database.execute("UPDATE samples SET raw_score = 0.1 WHERE seq > 1000")
    clock.advance(7 * 86_400.0)
    assert "samples" in await host.learning.retraining.train_again()
    assert host.models.lineage()[0].state == "shadow"


@pytest.mark.parametrize(
    "failure",
    [
        ("os.kill(os.getpid(), 9)", "code -9"),
        ("print(json.dumps({'error': 'TrainingError: dead'}))", "TrainingError: dead"),
        ("print('nonsense')", "not understood"),
        ("print(json.dumps({'result': {}}))", "the trained model was refused"),
        ("print(json.dumps({'result': {'name': '../../../etc'}}))", "the trained model was refused"),
        ("print(json.dumps({'result': {'name': 5}}))", "the trained model was refused"),
    ],
    ids=["killed", "failing", "nonsense", "nothing", "elsewhere", "a number"],
)
async def test_a_training_that_fails_leaves_the_model_before_in_its_place(
    hosts, quiet_collector, pretend, until, failure
):
    host = await hosts(quiet_collector(6), config=SMALL)
    await host.take(70)
    model, threshold = host.watch.model, host.watch.threshold
    pretend(failure[0])
    with pytest.raises(WorkerError, match=failure[1]):
        await host.learning.train("schedule")
    assert host.count("presaged_retrains_total", network="anomaly", trigger="schedule", outcome="failed") == 1
    async with learning(host) as task:
        host.learning.after_tick()
        await until(lambda: host.learning._train_after > time.monotonic())
        await asyncio.sleep(0.02)
        assert not task.done()
        assert not host.learning._wants_first_training()  # not again before an hour has passed
        assert host.learning._train_after - time.monotonic() == pytest.approx(3600, abs=5)
        host.learning._train_after = 0.0
        assert host.learning._wants_first_training()
    assert host.watch.model is model
    assert host.watch.threshold == threshold
    assert host.models.champion()[0] is None
    assert (await host.take()).anomaly.raw is not None


async def test_a_child_that_hands_over_a_broken_model_is_refused(hosts, quiet_collector, pretend, monkeypatch):
    host = await hosts(quiet_collector(6), config=SMALL)
    await host.take(70)
    await host.learning.train("first")
    good = host.models.versions()[0]
    await host.take(5)
    pretend(f"""
import shutil
spec = json.load(sys.stdin)
target = pathlib.Path(spec["incoming"]) / "000000000075"
shutil.copytree({str(good)!r}, target)
with (target / "model.safetensors").open("r+b") as file:
    file.seek(5000)
    file.write(b"????")
print(json.dumps({{"result": {{"name": "000000000075"}}}}), flush=True)
""")
    with pytest.raises(WorkerError, match="truncated or altered"):
        await host.learning.train("schedule")
    assert host.count("presaged_model_failures_total") == 1
    assert host.models.champion()[1].number == 70
    assert host.watch.number == 70
    assert [path.name for path in host.models.versions()] == ["000000000070"]


async def test_cancelling_kills_the_child_that_trains(hosts, quiet_collector, pretend, until, tmp_path):
    host = await hosts(quiet_collector(6), config=SMALL)
    await host.take(70)
    pretend(f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid())); time.sleep(60)")
    async with learning(host):
        host.learning.after_tick()
        await until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    pid = (tmp_path / "pid").read_text()
    assert not (tmp_path.__class__("/proc") / pid).exists()


async def test_a_corrupt_champion_at_the_start_gives_way_and_is_counted(hosts, quiet_collector):
    host = await hosts(quiet_collector(6), config=SMALL)
    await host.take(70)
    await host.learning.train("first")
    await host.take(10)
    await host.learning.train("schedule")
    assert host.watch.number == 70
    await host.learning.promotion.promote("000000000080", "a test says so")
    assert host.watch.number == 80
    (host.models._accepted / "000000000080" / "model.safetensors").write_bytes(b"")
    again = await hosts(quiet_collector(6), config=SMALL)
    assert again.watch.number == 70
    assert again.count("presaged_model_failures_total") == 1
    for path in again.models.versions():
        (path / "model.safetensors").write_bytes(b"")
    third = await hosts(quiet_collector(6), config=SMALL)
    assert not third.watch.lasting
    assert third.watch.number == -60  # what was learned from the window before serves again
    assert (await third.take(2)).anomaly.raw is not None


async def test_a_model_of_another_interval_does_not_serve(hosts, quiet_collector):
    host = await hosts(quiet_collector(6), config=SMALL)
    await host.take(70)
    await host.learning.train("first")
    again = await hosts(quiet_collector(6), config=SMALL, interval=60.0)
    assert again.watch.model is None  # nor was anything at this interval seen to learn from
    assert again.watch.seen == 0
    assert again.watch.window.filled == 0
    await again.take(3)
    assert again.history.last()[0] == 73


async def test_a_history_that_is_broken_inside_is_set_aside_at_the_start(hosts, quiet_collector, monkeypatch):
    host = await hosts(quiet_collector(6), config=SMALL)
    await host.take(20)

    def broken(*_arguments):
        raise sqlite3.DatabaseError("database disk image is malformed")

    monkeypatch.setattr("daemon.history.History.last_rows", broken)
    again = await hosts(quiet_collector(6), config=SMALL)
    monkeypatch.undo()
    assert again.count("presaged_database_resets_total") == 1
    assert again.watch.seen == 0
    await again.take(2)
    assert again.history.last()[0] == 2


async def test_a_history_that_cannot_be_read_is_a_sentence(hosts, quiet_collector, monkeypatch):
    host = await hosts(quiet_collector(6))
    await host.take(5)

    def locked(*_arguments):
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr("daemon.history.History.last_rows", locked)
    with pytest.raises(StateError, match="cannot be read: disk I/O error"):
        host.learning.restore()


async def test_a_window_with_nothing_in_it_costs_a_line_in_the_log(hosts, fake_collector):
    host = await hosts(fake_collector("cpu"))
    await host.take(70)
    assert host.watch.model is None
    assert host.count("presaged_internal_failures_total", where="window_model") == 1
    assert (await host.take()).seq == 71


async def test_scores_of_the_window_are_no_lineage_of_the_child(hosts, quiet_collector):
    """Both count samples: without a sign the first model of the child could take up scores it never gave."""
    host = await hosts(quiet_collector(6), config=SMALL)
    await host.take(61)
    assert host.watch.number == -60
    assert len(host.history.scores(-60, 10)) == 1
    assert len(host.history.scores(60, 10)) == 0


@pytest.mark.timeout(300)  # a child of the lowest priority compiles
async def test_the_back_end_is_compiled_in_the_child_and_adopted(hosts, quiet_collector, until):
    config = SMALL.model_copy(update={"compute": Compute(backend="auto")})
    host = await hosts(quiet_collector(6), config=config)
    await host.take(70)
    async with learning(host):
        host.learning.after_tick()
        await until(lambda: host.watch.lasting, 200)  # the child compiles before it trains
        before = raws(host, 1)
        host.learning.after_tick()
        await until(lambda: host.learning.backend.startswith("jit"), 80)
    assert kernels.is_cached(host.directory / "cache")
    snapshot = await host.take()
    assert np.isfinite(snapshot.anomaly.network)
    assert host.watch.model.network.backend.name == host.learning.backend
    assert before.shape == (1,)
    assert (
        host.count("presaged_backend_failures_total") == 0
    )  # a checkout has no compiled kernels, and that is no failure


async def test_a_back_end_that_cannot_serve_costs_an_hour_and_no_score(hosts, quiet_collector, until):
    config = SMALL.model_copy(update={"compute": Compute(backend="compiled")})
    host = await hosts(quiet_collector(6), config=config)
    await host.take(70)
    await host.learning.train("first")
    async with learning(host):
        host.learning.after_tick()
        await until(lambda: host.count("presaged_backend_failures_total") == 1, 30)
        assert not host.learning._wants_backend()
    assert host.learning.backend == "numpy"
    assert np.isfinite((await host.take()).anomaly.network)
