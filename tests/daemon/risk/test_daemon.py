"""The risk in the whole daemon: from the first sample to the metric, and through the pipeline to one alert."""

import json
from pathlib import Path

import pytest
from risky import Said, cause, told

from daemon.risk.watch import RiskWatch
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit

FAST = str(Path(__file__).parents[1] / "fast_daemon.py")


def test_a_real_daemon_says_what_is_missing_and_then_how_likely_and_goes_on_after_a_restart(daemons):
    daemon = daemons(program=(FAST,))
    daemon.start()
    daemon.wait(lambda _status: True)
    first = json.loads(daemon.get("/api/v1/risk"))
    assert first["missing"].startswith(("no sample yet", "not enough evidence: "))
    assert first["within_1h"] is None
    assert "presaged_failure_probability_ratio" not in daemon.get("/metrics")
    assert json.loads(daemon.get("/api/v1/drift"))["state"] == "too little data"
    daemon.wait(lambda status: (status["risk"] or {}).get("within_1h") is not None)
    told = json.loads(daemon.get("/api/v1/risk"))
    assert 0 <= told["within_1h"]["probability"] <= told["within_24h"]["probability"] <= 1
    assert told["missing"] == ""
    assert told["basis"].startswith("calibrated on simulated hosts; this host: ")
    metrics = daemon.get("/metrics")
    for name in (
        'presaged_failure_probability_ratio{horizon="1h"}',
        'presaged_failure_probability_ratio{horizon="24h"}',
        'presaged_failure_evidence_info{basis="calibrated on simulated hosts; ',
    ):
        assert name in metrics
    assert daemon.end()[0] == 0
    daemon.start()
    daemon.wait(lambda status: status["samples"] > 0)
    assert json.loads(daemon.get("/api/v1/risk"))["missing"] == ""  # what is stored counts
    assert daemon.end()[0] == 0


def follow(host):
    """Let the tick of a daemon without its loop ask a network that says what it is told."""
    network = Said(told(0.1, 0.2))
    host.tick._risk = RiskWatch(
        interval_seconds=host.interval,
        registry=host.registry,
        offload=host.offload,
        metrics=host.metrics,
        events=list,
        since=lambda: 0,
        loops=lambda _: [],
        load=lambda: network,
    )
    return network


@pytest.fixture
async def risky(hosts, quiet_collector):
    host = await hosts(quiet_collector())
    return host, follow(host)


def alerts(snapshot):
    return [(one.alertname, one.severity.value, one.state.value) for one in snapshot.alerts]


async def test_a_high_risk_is_one_ticket_until_it_has_gone(risky):
    host, network = risky
    snapshot = await host.take(3, learn=False)
    assert (alerts(snapshot), snapshot.risk.hour.probability) == ([], 0.1)
    network.answer = told(0.6, 0.65, cause())
    assert alerts(await host.take(learn=False)) == [("FailureRiskHigh", "warning", "pending")]
    snapshot = await host.take(10, learn=False)  # five minutes
    assert alerts(snapshot) == [("FailureRiskHigh", "warning", "firing")]
    assert "zero in 5 min 30 s (simulated)" in snapshot.alerts[0].sentence
    network.answer = told(0.4, 0.5, cause())  # less, and still there
    assert alerts(await host.take(80, learn=False)) == [("FailureRiskHigh", "warning", "firing")]
    network.answer = told(0.1, 0.2)
    await host.take(61, learn=False)
    assert alerts(await host.take(learn=False)) == []


async def test_a_risk_that_lasts_two_minutes_is_none(risky):
    host, network = risky
    network.answer = told(0.9, 0.95, cause())
    await host.take(4, learn=False)
    network.answer = told(0.1, 0.2)
    seen = [alerts(await host.take(learn=False)) for _ in range(70)]
    assert not any(state == "firing" for each in seen for _, _, state in each)


class Mount:
    """A source that tells of one file system of 100 GiB."""

    name, deadline_seconds = "filesystem", 5.0

    def __init__(self):
        self.used = 0.05
        units = {"used": Unit.RATIO, "free_bytes": Unit.BYTES, "inodes_used": Unit.RATIO, "read_only": Unit.RATIO}
        self.specs = [
            SignalSpec(f"filesystem./var.{name}", unit, Kind.GAUGE, "filesystem", "/var")
            for name, unit in units.items()
        ]

    def collect(self, _monotonic_ns):
        return list(zip(self.specs, [self.used, (1 - self.used) * 100 * 2.0**30, 0.1, 0.0], strict=True))

    def close(self):
        pass


async def test_what_capacity_tells_is_not_told_as_risk_too_and_both_agree(hosts):
    mount = Mount()
    host = await hosts(mount)
    network = follow(host)
    seen = []
    while mount.used < 0.97:
        mount.used += 0.005
        if mount.used > 0.2:
            network.answer = told(0.9, 0.95, cause("space", "/var"))
        snapshot = await host.take(learn=False)
        seen += alerts(snapshot)
        chance = snapshot.capacity.resources[0].outlook.probability[1]
        assert snapshot.risk.day.probability == max(network.answer.day.probability, chance)
    assert ("ResourceExhaustionImminent", "critical", "firing") in seen
    mount.used = 0.1
    for _ in range(20):  # ten minutes in which that alert still fires
        seen += alerts(await host.take(learn=False))
    assert not any(name == "FailureRiskHigh" and state == "firing" for name, _, state in seen)
