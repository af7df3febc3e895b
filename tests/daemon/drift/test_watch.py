import json
from dataclasses import replace

import numpy as np
import pytest

from alerting.policy import rule_of
from daemon.drift.answers import drift_answer
from daemon.drift.series import drift_families
from daemon.drift.state import DriftState, NetworkDrift, SignalDrift, from_text
from daemon.errors import PresagedError
from detectors.drift import DriftLevel
from detectors.findings import Strength

HOUR = 1 / 24


async def test_a_quiet_host_has_no_drift_and_no_record(days):
    days.live(4 + HOUR)
    watch = days.watch()
    assert watch.state.level is DriftLevel.TOO_LITTLE
    words = await watch.check()
    assert words == "no drift: 0 of 10 signals"
    assert watch.state.score == 0
    assert list(watch.findings()) == []
    assert [one.inputs for one in watch.state.networks] == [0, 0]


async def test_drift_is_a_record_of_each_network_that_it_concerns(days):
    days.live(4 + HOUR)
    days.shift[[3, 4]] = [2, 5]
    days.live(1)
    watch = days.watch()
    await watch.check()
    assert watch.state.level is DriftLevel.CRITICAL
    assert watch.state.score == pytest.approx(0.2)
    assert [one.signal for one in watch.state.examples] == ["host.s4", "host.s3"]
    (told,) = watch.findings()
    assert (told.alertname, told.network, told.resource) == ("DataDrift", "drift", "anomaly")
    assert told.strength is Strength.RAISED
    assert told.detail.startswith(
        "2 of 10 signals that the anomaly network is made of no longer follow the days until 2026-03-04: host.s4 (0."
    )
    assert rule_of(told.alertname).sent == "never"
    assert rule_of(told.alertname).network == told.network


async def test_a_record_ends_below_half_of_the_warning(days):
    watch = days.watch(warning=0.2, critical=0.5)
    for inputs, strengths in ((0.2, [Strength.RAISED]), (0.1, [Strength.HOLDING]), (0.09, []), (None, [])):
        watch.state = DriftState(score=inputs, networks=(NetworkDrift("anomaly", inputs, 10, 2),), end_ms=0)
        assert [one.strength for one in watch.findings()] == strengths


async def test_where_too_little_is_known_it_says_why(days):
    watch = days.watch()
    assert await watch.check() == "no history yet"
    days.live(4 + HOUR)
    await watch.check()
    assert watch.state.missing == ""
    days.learned_ms = days.clock.time_ms
    await watch.check()
    assert watch.state.score == 0  # a training blinds it for no hour
    days.history.set_aside("a test")
    await watch.check()
    assert watch.state.level is DriftLevel.TOO_LITTLE
    assert watch.state.score is None
    assert list(drift_families(watch.state)) == []


async def test_walks_are_not_judged(days):
    days.rng = np.random.default_rng(3)
    steps = days.rng.normal(size=10)
    for _ in range(100):
        days.live(0.045)
        steps += days.rng.normal(size=10)
        days.shift[:] = 3 * steps
    watch = days.watch()
    await watch.check()
    assert watch.state.score is None
    assert watch.state.missing.startswith("a day tells too little")
    assert list(watch.findings()) == []


async def test_what_was_known_is_known_after_a_restart(days):
    days.live(4 + HOUR)
    days.shift[:] = 3
    days.live(1)
    watch = days.watch()
    await watch.check()
    again = days.watch()
    again.restore()
    assert again.state == watch.state
    assert again.state.drifted == 10


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", '{"examples": [], "networks": [{}]}', '{"level": "x"}'])
async def test_what_is_not_understood_is_forgotten(days, text):
    days.state.set_meta("drift.state", text)
    watch = days.watch()
    watch.restore()
    assert watch.state == DriftState()


async def test_a_state_that_cannot_be_stored_is_known_until_the_next_start(days, monkeypatch):
    def refuse(_key, _value):
        raise PresagedError("the disk is full")

    days.live(4 + HOUR)
    watch = days.watch()
    monkeypatch.setattr(days.state, "set_meta", refuse)
    await watch.check()
    assert watch.state.score == 0


FULL = DriftState(
    missing="",
    level=DriftLevel.WARNING,
    score=1 / 9,
    signals=12,
    judged=9,
    drifted=1,
    examples=(SignalDrift("cpu.busy", 0.41, 1e-9, 122.4),),
    networks=(NetworkDrift("anomaly", 1 / 9, 9, 1, 0.0, 1, 0), NetworkDrift("capacity", None, 0, 0)),
    time_ms=1_772_344_800_000,
    first_ms=1_771_740_000_000,
    end_ms=1_772_258_400_000,
)


def test_a_state_comes_back_from_its_text():
    assert from_text(FULL.to_text()) == FULL


def test_the_answer_says_what_is_known():
    told = json.loads(drift_answer(FULL, 0.1, 0.2).model_dump_json())
    assert told["state"] == "warning"
    assert told["score"] == 0.1111
    assert told["at"] == "2026-03-01T06:00:00.000Z"
    assert told["examples"] == [{"signal": "cpu.busy", "distance": 0.41, "probability": 1e-9, "effective": 122.4}]
    assert told["networks"] == [
        {
            "network": "anomaly", "inputs": 0.1111, "judged": 9, "drifted": 1,
            "outputs": 0.0, "outputs_judged": 1, "outputs_drifted": 0,
        },
        {
            "network": "capacity", "inputs": None, "judged": 0, "drifted": 0,
            "outputs": None, "outputs_judged": 0, "outputs_drifted": 0,
        },
    ]  # fmt: skip
    assert told["earlier"] is False
    empty = json.loads(drift_answer(DriftState(), 0.1, 0.2).model_dump_json())
    assert (empty["state"], empty["score"], empty["missing"]) == ("too little data", None, "not checked yet")


def test_the_series_are_those_of_what_drifted():
    found = {one.name: one.samples for one in drift_families(FULL)}
    assert [one.value for one in found["presaged_drift_score_ratio"]] == [pytest.approx(1 / 9)]
    assert [one.labels for one in found["presaged_drift_detected"]] == [{"signal": "cpu.busy"}]
    assert [one.labels for one in found["presaged_drift_inputs_ratio"]] == [{"network": "anomaly"}]
    assert [one.value for one in found["presaged_drift_outputs_ratio"]] == [0.0]
    bare = replace(FULL, examples=(), networks=())
    assert [one.name for one in drift_families(bare)] == ["presaged_drift_score_ratio"]
