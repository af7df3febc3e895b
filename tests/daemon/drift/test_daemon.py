"""Drift goes through the tick and the pipeline: into the snapshot, and into a record that nobody is sent."""

import pytest

from daemon.drift.state import DriftState, NetworkDrift, SignalDrift
from detectors.drift import DriftLevel


@pytest.fixture
async def drifting(hosts, quiet_collector, days):
    """A host whose last check found what it is told to have found."""
    host = await hosts(quiet_collector())
    host.drift = host.tick._drift = days.watch()
    return host


async def test_drift_is_one_record_and_no_notification(drifting):
    await drifting.take(2)
    drifting.drift.state = DriftState(
        missing="",
        level=DriftLevel.CRITICAL,
        score=0.4,
        signals=10,
        judged=10,
        drifted=4,
        examples=(SignalDrift("quiet.s1", 0.5, 1e-9, 100.0),),
        networks=(NetworkDrift("anomaly", 0.4, 10, 4),),
        end_ms=1_772_344_800_000,
    )
    snapshot = await drifting.take(3)
    assert snapshot.drift.score == 0.4
    (alert,) = [one for one in snapshot.alerts if one.alertname == "DataDrift"]
    assert alert.resource == "anomaly"
    assert alert.fired_ms is not None
    assert alert.kept.value == "record"
    drifting.drift.state = DriftState()
    snapshot = await drifting.take(2)
    assert not [one for one in snapshot.alerts if one.alertname == "DataDrift"]
