"""The benchmark on small made-up fleets: it writes what can be scored, and no row knows what came after it."""

import sys

import numpy as np
import pytest

from benchmarks import failure
from benchmarks.failure_peers import cluster_risk, run_scores
from benchmarks.failure_sets import machines, racks, systems
from detectors import hazard
from detectors.event_features import DAY, HOUR
from detectors.failure_history import shipped_history
from detectors.hazard import Hazard, pretrained

START = 1_000_000_000.0


@pytest.fixture(autouse=True, scope="module")
def prior():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("_ROWS_EACH", 200), ("_DRAWS", 1), ("_LEAST_STEPS", 30)):
            patch.setattr(hazard, name, value)
        yield pretrained(histories=10)


def bgl(days=40, seed=0):
    rng = np.random.default_rng(seed)
    t = np.sort(START + np.r_[0, days * DAY, rng.uniform(0, days * DAY, 300)])
    return {
        "t": t,
        "rack": rng.integers(0, 3, len(t)),
        "is_failure": (rng.random(len(t)) < 0.4).astype(np.int8),
        "facility": rng.integers(0, 2, len(t)),
    }


def lanl(seed=0):
    rng = np.random.default_rng(seed)
    start = np.sort(START + rng.uniform(0, 200 * DAY, 120))
    return {
        "start": start,
        "system": rng.integers(1, 3, len(start)),
        "node": rng.integers(0, 3, len(start)),
        "category": rng.integers(0, 2, len(start)),
        "category_names": np.array(["Hardware", "Software"]),
    }


def pdm(seed=0, days=40):
    rng = np.random.default_rng(seed)
    machine = np.repeat([1, 2, 3, 4], 12)
    errors = START + rng.integers(0, days * 24, len(machine)) * HOUR
    return {
        "machine": np.array([1, 2, 3, 4]),
        "err_machine": machine, "err_t": errors, "err_id": rng.integers(1, 3, len(machine)),
        "maint_machine": machine, "maint_t": errors - DAY, "maint_comp": rng.integers(1, 3, len(machine)),
        "fail_machine": machine, "fail_t": errors + 24 * HOUR, "fail_comp": rng.integers(1, 3, len(machine)),
    }  # fmt: skip


def prevent(seed=0, minutes=60):
    rng = np.random.default_rng(seed)
    return {
        "x": rng.normal(0, 1, (minutes, 6, 4)).astype(np.float32),
        "base": np.full((6, 4), 100.0),
        "timestamp": np.arange(minutes) * 60,
        "metrics": np.array(["system.load.1", "system.memory.used.pct", "system.network.in.bytes", "system.cpu.user"]),
    }


def grid(units, times):
    return np.repeat(np.array(units), len(times)), np.tile(times, len(units))


def test_it_writes_what_is_scored(tmp_path, monkeypatch, prior):
    run = prevent()
    days, hours = START + DAY * np.arange(150, 160), START + HOUR * np.arange(24 * 38)
    asked = {
        "bgl": (bgl(), grid([0, 1, 2], START + 28 * DAY + HOUR * np.arange(30))),
        "lanl": (lanl(), grid([100_000, 100_001, 100_002, 200_000], days)),
        "pdm": (pdm(), grid([2, 4], hours)),
        "prevent": (run, (np.zeros(len(run["x"]), np.int64), run["timestamp"].astype(float))),
    }
    (tmp_path / "tasks").mkdir()
    for name, (data, (unit, t)) in asked.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        np.savez(tmp_path / "data" / name / "one.npz", **data)
        np.savez(tmp_path / "tasks" / f"{name}.npz", unit=unit, t=t)
    out = tmp_path / "out"
    monkeypatch.setattr(failure, "pretrained", lambda seed, backend: prior)
    command = [
        "failure",
        "--data",
        tmp_path / "data",
        "--tasks",
        tmp_path / "tasks",
        "--out",
        out,
        "--backend",
        "numpy",
    ]
    monkeypatch.setattr(sys, "argv", [str(part) for part in command])
    failure.main()
    for name, (_, (unit, t)) in asked.items():
        beside = ("alone",) if name == "prevent" else ("alone", "simulated")
        for file in (out / f"{name}.npz", *(out / one / f"{name}.npz" for one in beside)):
            with np.load(file) as told:
                assert np.array_equal(told["unit"], unit)
                assert np.array_equal(told["t"], t)
                assert (told["risk_24h"] >= told["risk_1h"]).all()
                assert told["risk_1h"].min() >= 0
                assert told["risk_24h"].max() <= 1


def test_a_rolling_row_knows_nothing_of_what_came_after_it(prior):
    data, (unit, t) = bgl(), grid([0, 1, 2], START + 28 * DAY + HOUR * np.arange(24 * 9))
    last = START + 36 * DAY
    kept = (data["t"] <= last) | (np.arange(len(data["t"])) == len(data["t"]) - 1)
    shorter = {name: values[kept] if len(values) == len(kept) else values for name, values in data.items()}
    assert kept.sum() < len(kept) - 5
    whole, cut = (failure.bgl(one, unit, t, Hazard(prior))[0] for one in (data, shorter))
    before = t <= last
    assert np.allclose(whole[before], cut[before], atol=1e-6)
    assert not np.allclose(whole[~before], cut[~before], atol=1e-6)


def test_alone_is_what_a_daemon_says_that_is_asked_at_each_moment():
    data, (unit, t) = bgl(), grid([2, 0], START + 28 * DAY + HOUR * np.arange(40))
    fleet, history = racks(data), shipped_history()
    told = failure.alone([fleet], unit, t)
    for place in (3, 50, 79):
        past = history.past(fleet.failures[unit[place]], fleet.start, t[place])
        assert told[place] == pytest.approx([past.hour.probability, past.day.probability], abs=1e-6)


def test_lanl_learns_from_what_lies_before_its_first_row(prior):
    data, (unit, t) = lanl(), grid([100_000, 100_001, 200_002], START + DAY * np.arange(150, 153))
    late = data["start"] > t.max()
    moved = {**data, "start": np.where(late, data["start"] + 3 * HOUR, data["start"])}
    assert late.sum() > 5
    whole, other = (failure.lanl(one, unit, t, Hazard(prior))[0] for one in (data, moved))
    assert np.array_equal(whole, other)


def test_pdm_does_not_learn_from_the_machines_of_its_task(prior):
    data, (unit, t) = pdm(), grid([2, 4], START + HOUR * np.arange(24 * 38))
    learned = []

    class Listening(Hazard):
        def learn(self, inputs, at, came, counted=None, **rest):
            learned.append((inputs, came))
            super().learn(inputs, at, came, counted, **rest)

    moved = {**data, "fail_t": np.where(np.isin(data["fail_machine"], [2, 4]), START + 5 * DAY, data["fail_t"])}
    for one in (data, moved):
        failure.pdm(one, unit, t, Listening(prior))
    assert all(np.array_equal(*pair) for pair in zip(*learned, strict=True))


def test_fleets_are_read_as_they_are():
    assert sorted(racks(bgl()).failures) == [0, 1, 2]
    assert [len(fleet.failures) for fleet in machines(pdm())] == [1, 1, 1, 1]
    data = lanl()
    never = 100_077
    first, second = systems(data, np.array([100_000, never]), START + 150 * DAY)
    assert len(first.failures[never]) == 0
    assert all(len(kinds) == 2 for kinds in second.kinds.values())


def test_one_node_apart_is_a_risk_and_a_common_rise_is_not():
    values = 100 + np.random.default_rng(2).normal(0, 1, (80, 8, 12))
    apart, together = values.copy(), values.copy()
    apart[50:, 3, :6] += 15
    together[50:, :, :6] += 15
    quiet, alone, common = (run_scores(one) for one in (values, apart, together))
    assert alone[60] > 2 * quiet[60]
    assert common[60] < 1.2 * quiet[60]
    assert run_scores(together, peers=False)[60] > 2 * quiet[60]  # what a host alone cannot know


def test_a_risk_of_a_run_rests_on_the_past(tmp_path):
    run = prevent()
    np.savez(tmp_path / "whole.npz", **run)
    np.savez(tmp_path / "cut.npz", **{**run, "x": run["x"][:40]})
    whole, cut = (cluster_risk(tmp_path / f"{name}.npz") for name in ("whole", "cut"))
    assert np.array_equal(whole[:40], cut)
