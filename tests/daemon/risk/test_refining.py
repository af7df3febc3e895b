"""The failure network refined by the host's own failures: by the real child, out of real databases.

Killed twice at random moments; with PRESAGED_TEST_SCALE above 1 four times as often as it says, in the whole of a real
job too, and a refinement at its full size is judged. PRESAGED_TEST_SEED repeats a run that failed.
"""

import asyncio
import json
import os
import random
import secrets
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest
from failing_often import BEGIN_MS, INTERVAL, SPECS, recorded
from risky import Said, registry_of, told

from daemon.child import Child
from daemon.errors import WorkerError
from daemon.history import History
from daemon.metrics import Metrics
from daemon.models.refined import RefinedModels
from daemon.offload import Offload
from daemon.risk.moments import own_moments
from daemon.risk.refining import Effort, Refining
from daemon.signals import SignalRegistry
from daemon.state import StateDatabase
from detectors.failure import FailureForecaster, load_forecaster, save, shipped
from detectors.failure_refinement import refine
from detectors.replay import load_memory

FAST = str(Path(__file__).parents[1] / "fast_daemon.py")
QUICK = Effort(moments=100, replayed=(24, 24, 24), epochs=25)
SCALE = int(os.environ.get("PRESAGED_TEST_SCALE", "1"))
SEED = int(os.environ.get("PRESAGED_TEST_SEED") or secrets.randbits(31))


class Begun(Child):
    """The child, and how often it was asked for."""

    def __init__(self):
        super().__init__()
        self.specs = []

    async def run(self, job, spec, **more):
        self.specs.append(spec)
        return await super().run(job, spec, **more)


@dataclass
class Host:
    """What refines the network of a risk watch, on the databases of `directory`."""

    directory: Path
    clock: object
    worked: list = field(default_factory=list)

    def open(self):
        self.offload, self.metrics, self.child = Offload(), Metrics("test", lambda: "numpy", 10), Begun()
        self.state = StateDatabase(self.directory / "state.db")
        self.history = History(self.directory / "history.db")
        known = [(one.id, one.spec, one.last_seen_ms) for one in self.state.load_signals()]
        self.registry = SignalRegistry(known, self.state.assign_signals, self.state.remove_signals)
        self.adopted = []
        self.models = RefinedModels(self.directory / "models", "failure", load_forecaster)
        self.refining = Refining(
            interval_seconds=INTERVAL,
            history=self.history.path,
            state=self.state,
            models=self.models,
            registry=self.registry,
            child=self.child,
            offload=self.offload,
            metrics=self.metrics,
            clock=self.clock,
            since=lambda: 0,
            adopt=self.adopted.append,
            own_work=self.own_work,
            memory_bytes=2_000_000_000,
            score_threshold=0.8,
            effort=QUICK,
        )
        self.refining.restore()
        return self

    @contextmanager
    def own_work(self):
        self.worked.append("begun")
        yield
        self.worked.append("ended")

    @property
    def taught(self):
        """Of how many failures the network on duty has learned; the shipped one of none."""
        return self.adopted[-1].taught if self.adopted else 0

    def count(self, name, **labels):
        return self.metrics._registry.get_sample_value(name, labels or None) or 0.0

    def accepted(self):
        folder = self.models.folder(0).parent
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    def close(self):
        self.offload.close()
        self.history.close()
        self.state.close()


@pytest.fixture
def hosts(tmp_path, clock):
    """Open hosts on one state folder, one after the other; the first time it is written as said."""
    made = []

    def build(**more):
        if made:
            made[-1].close()
        else:
            clock.time_ms = recorded(tmp_path / "state", **more).now_ms
        made.append(Host(tmp_path / "state", clock).open())
        return made[-1]

    yield build
    made[-1].close()


def taught(events):
    whole = shipped()
    return FailureForecaster(whole.network, whole.calibrations, whole.base, taught=events)


def hand_over(host, until_ms, events):
    save(host.models.incoming, taught(events), {})
    host.models.accept(until_ms)


async def test_a_host_that_fails_in_its_own_way_is_learned_by_the_real_child_and_that_lasts(hosts):
    host = hosts()
    assert host.taught == 0
    assert await host.refining.refine_again() == "refined by 7 failures of this host"
    assert host.taught == 7
    assert host.count("presaged_retrains_total", network="failure", trigger="schedule", outcome="promoted") == 1
    assert host.worked == ["begun", "ended"]
    assert (len(host.accepted()), host.models.incoming.exists()) == (1, False)
    memory = load_memory(host.models.folder(int(host.accepted()[0])) / "memory")  # for the next one
    assert memory.rows()[1][:, 1].any()
    again = hosts()
    assert again.refining.last.text == "refined by 7 failures of this host"
    assert again.refining.last.time_ms == again.clock.time_ms
    assert again.taught == 7
    assert await again.refining.refine_again() == "0 failures of this host are new, and 5 are needed"
    assert again.child.specs == []


async def test_what_brings_nothing_is_refused_and_tried_again_the_next_time(hosts, pretend):
    host = hosts(days=4.0, failed_days=[0.5, 0.6, 0.7, 0.8, 0.9, 1.0])  # the newest moments saw none
    words = await host.refining.refine_again()
    assert words == "refused: 6 events of this host are not enough: 5 are needed, apart"
    pretend("print(json.dumps({'result': {'refused': 'no reason'}}))")
    assert await host.refining.refine_again() == "refused: no reason"
    assert host.count("presaged_retrains_total", network="failure", trigger="schedule", outcome="refused") == 2
    assert host.count("presaged_internal_failures_total", where="failure_refinement") == 0
    assert host.taught == 0
    assert (host.accepted(), hosts().refining.last.text) == ([], "refused: no reason")


async def test_what_is_adopted_tells_the_risk_from_the_next_time_on(followed):
    host = followed(Said(told(0.1, 0.2)))
    assert (await host.take())[0].hour.probability == 0.1
    host.watch.adopt(Said(told(0.4, 0.5)))
    assert (await host.take())[0].hour.probability == 0.4


async def test_a_person_may_ask_with_fewer(hosts, pretend):
    host = hosts(days=2.0, failed_days=[0.5, 1.0, 1.5, 1.9])
    pretend("print(json.dumps({'result': {'refused': 'no reason'}}))")
    assert await host.refining.refine_by_hand(lambda *_told: None) == (False, "refused: no reason")
    assert host.count("presaged_retrains_total", network="failure", trigger="hand", outcome="refused") == 1


async def test_few_failures_start_nothing(hosts):
    host = hosts(days=2.0, failed_days=[0.5, 1.0, 1.5, 1.9])
    assert await host.refining.refine_again() == "4 failures of this host are new, and 5 are needed"
    assert (host.child.specs, host.worked, host.refining.last) == ([], [], None)


async def test_only_what_is_new_counts_and_the_next_goes_on_from_the_one_on_duty(hosts, pretend):
    host = hosts(days=2.0, failed_days=[0.2 * number for number in range(1, 8)])
    times = sorted(event.time_ms for event in host.state.recent_failures(10))
    hand_over(host, times[2], 3)
    again = hosts()
    assert await again.refining.refine_again() == "4 failures of this host are new, and 5 are needed"
    hand_over(again, times[1], 3)
    third = hosts()
    pretend("print(json.dumps({'result': {'refused': 'no reason'}}))")
    assert await third.refining.refine_again() == "refused: no reason"
    (spec,) = third.child.specs
    assert (spec["served"], spec["until_ms"]) == (str(third.models.folder(times[1])), times[1])
    assert sorted(spec["failed_ms"]) == times
    assert "network.eth0.receive_bytes_per_second" not in {signal[1] for signal in spec["signals"]}
    assert len(spec["signals"]) == len(SPECS) - 1


async def test_one_of_a_clock_that_was_wrong_keeps_nothing_from_being_learned(hosts, pretend):
    host = hosts(days=2.0, failed_days=[0.2 * number for number in range(1, 8)])
    hand_over(host, host.clock.time_ms + 10**10, 3)
    again = hosts()
    pretend("print(json.dumps({'result': {'refused': 'no reason'}}))")
    assert await again.refining.refine_again() == "refused: no reason"
    assert again.child.specs[0]["served"] == ""


SOME = {"days": 2.0, "failed_days": [0.2 * number for number in range(1, 8)]}


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("os.kill(os.getpid(), 9)", "code -9"),
        ("print(json.dumps({'error': 'MemoryError: too much'}))", "MemoryError: too much"),
        ("print(json.dumps({'result': {}}))", "not understood"),
        ("print(json.dumps({'result': {'refused': ''}}))", "the refined failure network was refused"),
    ],
    ids=["killed", "failing", "nothing", "nothing written"],
)
async def test_a_job_that_fails_is_counted_and_what_served_goes_on(hosts, pretend, code, reason):
    host = hosts(**SOME)
    pretend(code)
    with pytest.raises(WorkerError, match=reason):
        await host.refining.refine_again()
    assert host.count("presaged_internal_failures_total", where="failure_refinement") == 1
    assert host.count("presaged_retrains_total", network="failure", trigger="schedule", outcome="failed") == 1
    assert host.worked == ["begun"]
    assert host.refining.last.text.startswith("failed: ")
    assert reason in host.refining.last.text
    assert host.taught == 0


async def test_a_refined_model_that_is_broken_gives_way_to_the_one_before_and_then_to_the_shipped_one(hosts):
    host = hosts(**SOME)
    for until_ms, events in ((1000, 5), (2000, 11)):
        hand_over(host, until_ms, events)
    (host.models.folder(2000) / "calibration" / "model.safetensors").write_bytes(b"")
    again = hosts()
    assert again.taught == 5
    assert again.count("presaged_model_failures_total") == 1
    (host.models.folder(1000) / "network" / "manifest.json").write_text("{}")
    third = hosts()
    assert third.taught == 0
    assert third.count("presaged_model_failures_total") == 2


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', '"x"'])
async def test_what_was_tried_last_is_not_readable(hosts, text):
    hosts(**SOME).state.set_meta("risk.refinement", text)
    assert hosts().refining.last is None


async def killed(host, seconds, begun):
    """Start the job and kill it `seconds` after `begun`; tell whether it came to its end before."""
    task = asyncio.create_task(host.refining.refine_again())
    while not begun() and not task.done():  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    await asyncio.wait([task], timeout=seconds)
    for child in psutil.Process().children():
        child.kill()
    try:
        await task
    except WorkerError:
        return False
    return True


async def test_killed_while_it_writes_it_leaves_what_served(hosts, pretend):
    hand_over(hosts(**SOME), 1000, 5)
    host = hosts()
    pretend(
        f"sys.path.insert(0, {str(Path(__file__).parents[3])!r})\nfrom detectors.failure import save, shipped\n"
        "folder = pathlib.Path(json.load(sys.stdin)['incoming'])\n"
        "while True: save(folder, shipped(), {})"
    )
    dice = random.Random(SEED)
    print(f"PRESAGED_TEST_SEED={SEED}")
    for _ in range(2 if SCALE == 1 else 4 * SCALE):
        assert not await killed(host, 0.1 * dice.random(), host.models.incoming.exists)
        assert host.accepted() == ["000000000001000"]
        assert host.models.newest()[0].taught == 5
    host = hosts()
    assert host.taught == 5


@pytest.mark.soak
@pytest.mark.skipif(SCALE == 1, reason="PRESAGED_TEST_SCALE is 1: killed while it writes, not in all of its life")
@pytest.mark.timeout(600)
async def test_killed_at_any_moment_it_leaves_one_valid_model_on_duty(hosts):
    hand_over(hosts(), 1000, 5)
    host = hosts()
    dice = random.Random(SEED)
    print(f"PRESAGED_TEST_SEED={SEED}")
    for _ in range(4 * SCALE):
        ended = await killed(host, 6 * dice.random(), lambda child=host.child: child.progress is not None)
        found, until_ms, refused = host.models.newest()
        assert refused == []
        assert host.accepted()[-1] == f"{until_ms:015d}"
        assert (found.taught, len(host.accepted())) == ((12, 2) if ended else (5, 1))
        host = hosts()
        assert host.taught == found.taught
        if ended:
            for name in host.accepted()[1:]:
                host.models.folder(int(name)).rename(host.directory / f"{name}-{secrets.token_hex(4)}")
            host = hosts()


@pytest.mark.soak
@pytest.mark.skipif(SCALE == 1, reason="PRESAGED_TEST_SCALE is 1: a refinement at its full size takes a minute")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("lead_hours", [1.0, 4.0])
def test_the_weeks_after_are_told_better(tmp_path, lead_hours):
    host = recorded(tmp_path / "state", days=49.0, every_days=4.0, lead_hours=lead_hours)
    known_ms = BEGIN_MS + 28 * 86_400_000
    history = History(host.history)

    def moments(failed_ms, now_ms):
        return own_moments(
            history, registry_of(SPECS), INTERVAL, failed_ms, now_ms, since_ms=0, most=1000, score_threshold=0.8,
            progress=lambda _share, _text: None,
        )  # fmt: skip

    later = moments(host.failed_ms, host.now_ms)  # of its four weeks the first is known
    history.write((f"DELETE FROM samples WHERE time_ms >= {known_ms}", [()]))
    failed_ms = [one for one in host.failed_ms if one < known_ms]
    own = moments(failed_ms, known_ms)
    history.close()
    found = refine(shipped(), own.inputs, own.targets, len(own.failed_ms), weights=own.weights)
    assert found.refused == ""
    new = round(0.3 * len(later.inputs))
    squares = [
        (one.probabilities(later.inputs[new:]) - later.targets[new:]) ** 2 for one in (shipped(), found.forecaster)
    ]
    before, after = (np.average(each, axis=0, weights=later.weights[new:]) for each in squares)
    print(f"squared error of an hour and a day: {before} before, {after} after")
    assert after[0] < 1.02 * before[0]
    assert after[1] < 0.95 * before[1]


def test_the_real_daemon_puts_it_on_duty_at_the_start(daemons):
    daemon = daemons(program=(FAST,))
    models = RefinedModels(daemon.state / "models", "failure", load_forecaster)
    save(models.incoming, taught(7), {})
    models.accept(1000)
    daemon.start()
    daemon.wait(lambda status: status["samples"] > 0)
    answer = json.loads(daemon.get("/api/v1/risk"))
    assert answer["basis"] == "calibrated on simulated hosts, refined by 7 events of this host"
    assert answer["refinement"] is None
    assert daemon.end()[0] == 0
    state = StateDatabase(daemon.state / "state.db")
    assert "refine" in state.job_times()  # it has a time in the schedule
    state.close()
