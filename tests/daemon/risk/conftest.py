"""A risk watch with a clock of its own and a network that says what it is told."""

import pytest
from risky import SPECS, Followed, Remembered, Said, registry_of

from daemon.metrics import Metrics
from daemon.offload import Offload
from daemon.risk.watch import RiskWatch


@pytest.fixture
async def followed(clock):
    doors = []

    def build(network=None, *, interval=30.0, load=None, past=None, watched_days=90, loops=None):
        said, events, registry, metrics = (
            network or Said(),
            [],
            registry_of(SPECS),
            Metrics("test", lambda: "numpy", 10),
        )
        began_ms = clock.time_ms - watched_days * 86_400_000
        doors.append(Offload())
        watch = RiskWatch(
            interval_seconds=interval,
            registry=registry,
            offload=doors[-1],
            metrics=metrics,
            events=lambda: events,
            since=lambda: began_ms,
            loops=lambda _: loops or [],
            load=load or (lambda: said),
            load_past=lambda: past or Remembered(),
        )
        return Followed(watch, said, registry, metrics, events, clock, interval)

    yield build
    for one in doors:
        one.close()
