from dataclasses import replace
from math import isnan

import numpy as np
import pytest
from risky import Remembered, Said, Stored, alert, capacity, cause, estimate, event, told

from alerting.occurrence import State
from daemon.errors import Overloaded
from daemon.failures.starts import Loop
from daemon.risk.series import risk_families
from daemon.risk.state import RiskState
from daemon.samples import Rows
from detectors.factors import COUNT, PLACE
from detectors.failure import Estimate, FailureForecaster, load_forecaster
from detectors.failure_history import BASIS, FailureHistory, Past, load_history
from detectors.findings import FailureKind, Finding, Strength

FULL = ("ResourceExhaustionExpected", "/var")


async def test_the_network_is_asked_with_all_that_is_known(followed):
    host = followed()
    host.events.append(event(host.clock.time_ms))
    await host.take(anomaly=0.4)
    state, findings = await host.take(anomaly=0.4, capacity=capacity(var=0.1, memory=0.3))
    values, interval, events, about = host.network.asked[-1]
    assert (values.shape, interval, events) == ((2, COUNT), 30.0, 1)
    assert values[-1, PLACE["memory"]] == pytest.approx(0.5)
    assert values[-1, PLACE["expected_full"]] == pytest.approx(0.3)
    assert values[:, PLACE["anomaly"]] == pytest.approx(0.4)
    assert values[-1, PLACE["failure_age"]] == 60
    assert about[PLACE["space"]] == "/var"
    assert (state.hour.probability, state.day.probability, state.events) == (0.1, 0.2, 2)
    assert state.time_ms == host.clock.time_ms
    assert findings == ()
    assert (state.said, state.taught) == ((0.1, 0.2), 0)


async def test_what_is_imported_while_it_runs_counts(followed):
    host = followed()
    await host.take()
    times = host.clock.time_ms + 1000 * np.arange(-600, 1, 30)
    nothing = np.zeros(len(times), np.int64)
    rows = Rows((1,), np.full((len(times), 1), 0.7, np.float32), nothing, times, nothing, nothing)
    host.watch.restored(Stored(rows))()
    await host.take()
    values = host.network.asked[-1][0]
    assert values[:, PLACE["memory"]] == pytest.approx([0.7] * 21 + [0.5])


@pytest.mark.parametrize(("interval", "asked"), [(30.0, 12), (3.0, 12), (1.0, 4), (0.25, 1)])
async def test_it_is_computed_every_three_seconds_at_most(followed, interval, asked):
    host = followed(interval=interval)
    for _ in range(12):
        state, _ = await host.take()
        assert state.hour is not None
    assert len(host.network.asked) == asked


async def test_on_a_host_where_nothing_stirs_it_is_computed_every_five_minutes(followed):
    host = followed(Said(told(0.02, 0.03)))
    for _ in range(31):
        await host.take(anomaly=0.1)
    assert len(host.network.asked) == 4


@pytest.mark.parametrize("stirs", ["score", "finding", "alert", "failure", "forecast"])
async def test_what_stirs_is_looked_at_at_once(followed, stirs):
    host = followed(Said(told(0.02, 0.03)))
    for _ in range(2):
        await host.take(anomaly=0.1, capacity=capacity(var=0.0))
    assert len(host.network.asked) == 1
    if stirs == "failure":
        host.events.append(event(host.clock.time_ms))
    await host.take(
        anomaly=0.4 if stirs == "score" else 0.1,
        findings=[Finding("AnyOther", "host", "", Strength.RAISED, "")] if stirs == "finding" else [],
        alerts=[alert("Any", "", State.PENDING)] if stirs == "alert" else [],
        capacity=capacity(var=0.2 if stirs == "forecast" else 0.0),
    )
    assert len(host.network.asked) == 2


async def test_reasons_are_sentences(followed):
    state, _ = await followed(Said(told(0.4, 0.5, cause()))).take()
    (reason,) = state.reasons
    assert reason.text == "memory headroom 6 %, falling 1.1 % a minute: zero in 5 min 30 s"
    assert (reason.factor, reason.share) == ("memory", 1.0)


async def test_too_little_is_known(followed):
    state, findings = await followed(Said(told(missing="not enough evidence: 3 of 32 factors are there"))).take()
    assert (state.hour, state.day, findings) == (None, None, ())
    assert state.missing == "not enough evidence: 3 of 32 factors are there"
    assert list(risk_families(state)) == []


async def test_without_a_network_the_reason_is_told_once_and_capacity_speaks_for_itself(followed):
    host = followed(load=lambda: FailureForecaster(problem="no such file"))
    for _ in range(3):
        state, findings = await host.take(capacity=capacity(var=0.99))
    assert (state.hour, state.day, findings) == (None, None, ())
    assert state.missing == "no network: no such file"
    assert host.metrics.failures.labels("failure_risk")._value.get() == 1


@pytest.mark.parametrize("error", [ValueError("no number"), Overloaded("too much waits"), FloatingPointError("x")])
async def test_what_fails_costs_the_risk_and_not_the_tick(followed, error):
    host = followed(Said(told(0.9, 0.9), error=error))
    for _ in range(3):
        state, findings = await host.take()
    assert (state.hour, findings, state.missing) == (None, (), f"it could not be computed: {error}")
    assert host.metrics.failures.labels("failure_risk")._value.get() == 1
    host.network.error = None
    state, findings = await host.take()
    assert state.hour.probability == 0.9
    assert len(findings) == 1


@pytest.mark.parametrize(
    ("hour", "day", "strength"),
    [
        (0.34, 0.49, None),
        (0.35, 0.49, Strength.HOLDING),
        (0.1, 0.5, Strength.HOLDING),
        (0.49, 0.69, Strength.HOLDING),
        (0.5, 0.6, Strength.RAISED),
        (0.1, 0.7, Strength.RAISED),
    ],
)
async def test_from_where_it_is_told(followed, hour, day, strength):
    _, findings = await followed(Said(told(hour, day, cause()))).take()
    assert [one.strength for one in findings] == ([] if strength is None else [strength])


async def test_the_finding_says_how_likely_why_and_on_what_evidence(followed):
    _, (finding,) = await followed(Said(told(0.62, 0.81, cause()))).take()
    assert (finding.alertname, finding.network, finding.resource) == ("FailureRiskHigh", "failure", "")
    assert finding.detail == (
        "a failure is 62 % likely within an hour and 81 % within a day: memory headroom 6 %, falling 1.1 % a minute:"
        " zero in 5 min 30 s (simulated)"
    )


SPACE, INODES, READ_ONLY = (cause(name, "/var") for name in ("space", "inodes", "read_only"))


@pytest.mark.parametrize(
    ("causes", "others", "is_raised"),
    [
        ((SPACE,), (FULL,), False),
        ((SPACE,), (("ResourceExhaustionImminent", "/var"),), False),
        ((SPACE,), (("ResourceExhaustionImminent", "/srv"),), True),
        ((SPACE,), (("ResourceExhaustionImminent", "/var inodes"),), True),
        ((INODES,), (("ResourceExhaustionImminent", "/var inodes"),), False),
        ((READ_ONLY,), (("FilesystemReadOnly", "/var"),), False),
        ((READ_ONLY,), (FULL,), True),
        ((cause("memory"),), (("ResourceExhaustionImminent", "memory"),), False),
        ((cause("memory_pressure"),), (("ResourceExhaustionImminent", "memory"),), False),
        ((cause("unit_memory", "app.service"),), (("ResourceExhaustionImminent", "memory"),), True),
        ((cause("expected_full"),), (FULL,), False),
        ((cause("expected_full"),), (), True),
        ((cause("kernel_errors", share=0.6), cause("space", "/var", 0.4)), (FULL,), True),
        ((cause("kernel_errors", share=0.4), cause("space", "/var", 0.6)), (FULL,), False),
        ((), (FULL,), True),
        ((SPACE,), (("Anomaly", "/var"),), True),
    ],
)
async def test_one_fault_is_told_once(followed, causes, others, is_raised):
    """Neither while the other condition holds, nor while the alert of it goes on; what fired before is kept up."""
    host = followed(Said(told(0.7, 0.9, *causes)))
    raised = [Strength.RAISED] if is_raised else []
    holding = [Finding(name, "", resource, Strength.HOLDING, "") for name, resource in others]
    _, findings = await host.take(findings=holding)
    assert [one.strength for one in findings] == raised
    alerts = [alert(name, resource, State.PENDING) for name, resource in others]
    _, findings = await host.take(alerts=[*alerts, alert("FailureRiskHigh", "", State.PENDING)])
    assert [one.strength for one in findings] == raised
    _, findings = await host.take(alerts=[*alerts, alert("FailureRiskHigh", "", State.FIRING)])
    assert [one.strength for one in findings] == (raised or [Strength.HOLDING])


async def test_risk_of_a_day_is_not_below_what_capacity_says_of_space(followed):
    host = followed(Said(told(0.1, 0.2, cause("cpu"))))
    state, findings = await host.take(capacity=capacity(inodes=0.5, var=0.93, memory=0.99))
    assert (state.hour.probability, state.day.probability) == (0.1, 0.93)
    assert state.day.lo <= 0.93 <= state.day.hi
    assert state.reasons[0].text == "/var is full in 9 h"
    assert isnan(state.reasons[0].share)
    assert len(state.reasons) == 2
    assert findings == ()  # capacity tells it


async def test_a_unit_that_is_about_to_be_given_up_is_told(followed):
    loops = [Loop("web.service", 10, 2, 10.0, 0, 90_000)]
    host = followed(loops=loops)
    loops[:] = [Loop("web.service", 10, 2, 10.0, host.clock.time_ms - 60_000, host.clock.time_ms + 29_000)]
    state, findings = await host.take()
    assert state.hour.probability > 0.7
    assert state.reasons[0].about == "web.service"
    assert [one.strength for one in findings] == [Strength.RAISED]
    assert "systemd gives it up" in findings[0].detail


async def test_capacity_is_followed_between_two_answers_of_the_network(followed):
    host = followed(interval=0.5)
    state, _ = await host.take()
    assert state.day.probability == 0.2
    state, _ = await host.take(capacity=capacity(var=0.7))
    assert state.day.probability == 0.7
    assert len(host.network.asked) == 1


async def test_a_leak_on_a_quiet_host_with_the_shipped_network(followed):
    """What is shipped is asked for a risk that rises; how well it knows faults is measured elsewhere."""
    host = followed(load=load_forecaster)
    random = np.random.default_rng(1)
    quiet = rising = None
    for number in range(300):
        used = 0.4 + max(number - 200, 0) * 0.0055 + 0.002 * random.random()
        rest = (0.1 + 0.01 * random.random(), 0.2, 1e6)
        state, _ = await host.take(used, *rest, anomaly=0.2, capacity=capacity(var=0.0))
        quiet = state if number == 200 else quiet
        rising = state
    assert (quiet.factors, quiet.missing) == (6, "")
    assert quiet.hour.probability < 0.3
    assert rising.hour.probability > quiet.hour.probability
    assert rising.day.probability >= rising.hour.probability
    assert rising.reasons[0].text.startswith("memory headroom ")
    assert rising.basis == "calibrated on simulated hosts; this host: 0 events, not enough to check"


def test_metrics_of_the_risk():
    state = RiskState("", Estimate(0.25, 0.1, 0.5), Estimate(0.5, 0.2, 0.8), "simulated")
    chance, evidence = risk_families(state)
    assert {(one.name, one.labels["horizon"], one.value) for one in chance.samples} == {
        ("presaged_failure_probability_ratio", "1h", 0.25),
        ("presaged_failure_probability_ratio", "24h", 0.5),
    }
    assert [(one.name, one.labels) for one in evidence.samples] == [
        ("presaged_failure_evidence_info", {"basis": "simulated"})
    ]


BURST = Past(estimate(0.4), estimate(0.6))
QUIET = (0.5, 0.1, 0.2, 1e6)


def fail(host, *minutes, resource="web.service"):
    host.events += [event(host.clock.time_ms - 60_000 * one, FailureKind.UNIT_FAILED, resource) for one in minutes]


async def test_failures_in_a_row_raise_the_risk_and_are_told_at_their_share(followed):
    host = followed(Said(told(0.1, 0.2, cause())), past=Remembered(BURST))
    fail(host, 50, 20, 4)
    state, _ = await host.take()
    assert (state.hour.probability, state.day.probability) == (0.4, 0.6)
    assert state.said == (0.1, 0.2)  # what the network of factors says by itself
    first, second = state.reasons
    assert first.text == "3 failures in the last hour, the newest 4 min 30 s ago (unit_failed web.service)"
    assert (first.factor, first.about) == ("history", "web.service")
    assert (second.factor, first.share + second.share) == ("memory", pytest.approx(1.0))
    assert first.share > second.share > 0
    assert state.basis == f"simulated; {BASIS}"


async def test_a_history_that_says_less_than_the_factors_changes_nothing(followed):
    host = followed(Said(told(0.4, 0.7, cause())), past=Remembered(BURST))
    fail(host, 4)
    host.events[0] = replace(host.events[0], times=40)
    state, _ = await host.take()
    assert (state.hour.probability, state.day.probability, state.basis) == (0.4, 0.7, "simulated")
    assert [one.factor for one in state.reasons] == ["memory"]


async def test_without_evidence_of_factors_a_history_gives_no_figure(followed):
    host = followed(Said(told(missing="not enough evidence: 3 of 32 factors are there")), past=Remembered(BURST))
    fail(host, 50, 20, 4)
    state, findings = await host.take()
    assert (state.hour, state.day, state.reasons, findings) == (None, None, (), ())
    assert state.missing == "not enough evidence: 3 of 32 factors are there"


async def test_without_the_file_of_histories_factors_alone_serve_and_it_is_told_once(followed):
    host = followed(past=FailureHistory(problem="altered"))
    fail(host, 50, 20, 4)
    for _ in range(3):
        state, _ = await host.take()
    assert (state.hour.probability, state.basis) == (0.1, "simulated")
    assert host.metrics.failures.labels("failure_risk")._value.get() == 1


@pytest.mark.parametrize(
    ("resource", "others", "is_raised"), [("/var", (FULL,), False), ("web.service", (FULL,), True), ("/var", (), True)]
)
async def test_failures_that_another_alert_tells_of_are_told_once(followed, resource, others, is_raised):
    host = followed(Said(told(0.01, 0.02)), past=Remembered(Past(estimate(0.4), estimate(0.8))))
    fail(host, 50, 20, 4, resource=resource)
    _, findings = await host.take(findings=[Finding(name, "", about, Strength.HOLDING, "") for name, about in others])
    assert [one.strength for one in findings] == ([Strength.RAISED] if is_raised else [])
    for finding in findings:
        assert "within an hour and 80 % within a day: 3 failures in the last hour, the newest" in finding.detail


async def test_the_shipped_networks_hold_a_quiet_host_low_and_a_burst_high(followed):
    """A host that has not failed is told what its factors say; five minutes of watching are no evidence of either."""
    told_of = {}
    for name, days, minutes in (
        ("never", 90, ()),
        ("once", 90, (4,)),
        ("new", 0, (4,)),
        ("burst", 90, (40, 25, 12, 1)),
    ):
        host = followed(load=load_forecaster, past=load_history(), watched_days=days)
        fail(host, *minutes)
        for _ in range(20):
            state, findings = await host.take(*QUIET, seconds=1, anomaly=0.2, capacity=capacity(var=0.0))
            assert not any(one.strength is Strength.RAISED for one in findings)
        told_of[name] = state
    assert {one.missing for one in told_of.values()} == {""}
    never, once, new, burst = (told_of[name] for name in ("never", "once", "new", "burst"))
    assert never.hour.probability < once.hour.probability <= 0.3 < burst.hour.probability
    assert never.day.probability < once.day.probability <= new.day.probability < 0.7
    assert burst.reasons[0].factor == "history"
    assert "history" not in [one.factor for one in never.reasons]
    assert burst.day.lo < burst.day.probability < burst.day.hi
