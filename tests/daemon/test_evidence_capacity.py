"""What capacity tells is told with the unit that fills it."""

import pytest

from alerting.redact import redactor
from daemon.changes import ChangeLog
from daemon.collectors.unit import UnitRound
from daemon.culprits import Culprits
from daemon.evidence import Evidence
from daemon.offload import Inline
from daemon.precedents import Precedents
from daemon.process_scan import ProcessScan
from daemon.sampler import Round
from daemon.state import StateDatabase
from detectors.findings import Finding, Resource, Strength

CALM = UnitRound(
    {"db.service": {Resource.WRITES: 0.1, Resource.MEMORY: 0.3}, "log.service": {Resource.WRITES: 0.9}},
    {Resource.WRITES: 1e5, Resource.MEMORY: 8e9},
)
FILLING = UnitRound(
    {"db.service": {Resource.WRITES: 0.9, Resource.MEMORY: 0.3}, "app.service": {Resource.MEMORY: 0.5}},
    {Resource.WRITES: 1e7, Resource.MEMORY: 8e9},
)


@pytest.fixture
def evidence(tmp_path, clock):
    state, offload = StateDatabase(tmp_path / "state.db"), Inline()
    changes = ChangeLog(state=state, offload=offload, clock=clock, grace_seconds=lambda: 0.0, failed=lambda: None)
    culprits = Culprits(ProcessScan(tmp_path))
    for _ in range(30):
        culprits.calm(CALM)
    yield Evidence(
        culprits=culprits, changes=changes, precedents=Precedents(), offload=offload, redact=redactor("full")
    )
    state.close()


def fact(resource, *, network="capacity", strength=Strength.RAISED):
    return Finding("ResourceExhaustionImminent", network, resource, strength, f"{resource} fills")


async def named(evidence, clock, *facts):
    found = await evidence.gather(Round((), (), facts, FILLING), (), clock.now())
    return [tuple(who.unit for who in one.culprits) for one in found]


async def test_a_mount_is_filled_by_who_writes_and_memory_by_who_holds(evidence, clock):
    told = await named(evidence, clock, fact("/var"), fact("/var inodes"), fact("memory"), fact("swap"))
    assert told == [("db.service",), ("db.service",), ("app.service",), ("app.service",)]


async def test_what_only_holds_or_is_no_matter_of_capacity_names_nobody(evidence, clock):
    told = await named(evidence, clock, fact("/var", strength=Strength.HOLDING), fact("/var", network="host"))
    assert told == [(), ()]
