import json

import pytest

from daemon.offload import Offload
from daemon.risk.grading import Grading
from daemon.risk.state import RiskState
from daemon.state import StateDatabase
from detectors.failure import Estimate

HOUR_MS = 3_600_000


class Host:
    """What is graded: a risk that a test says, failures that it says, and the network that it names."""

    def __init__(self, directory, clock):
        self.clock, self.failed, self.network, self.degradation = clock, [], 0, 0.05
        self.risk, self.grades, self.refined = RiskState(), [], []
        self.state, self.offload = StateDatabase(directory / "state.db"), Offload()
        self.open()

    def open(self):
        self.grading = Grading(
            state=self.state,
            offload=self.offload,
            clock=self.clock,
            told=lambda: self.risk,
            failed_ms=lambda: self.failed,
            until_ms=lambda: self.network,
            degradation=lambda: self.degradation,
            refine=self.refine,
            publish=self.grades.append,
        )
        self.grading.restore()

    async def refine(self):
        self.refined.append(self.clock.now().time_ms)
        return "refined"

    async def live(self, hours, *, told=0.1, fails=()):
        """Grade once an hour; the host fails half an hour after those of `fails`."""
        for hour in range(hours):
            self.risk = RiskState("", *(Estimate(value, 0.0, 1.0) for value in (told / 4, told)))
            self.words = await self.grading.grade()
            if hour in fails:
                self.failed.append(self.clock.now().time_ms + HOUR_MS // 2)
            self.clock.advance(3600.0)
        return self.grades[-1]


@pytest.fixture
async def host(tmp_path, clock):
    host = Host(tmp_path, clock)
    yield host
    host.offload.close()
    host.state.close()


async def test_few_failures_have_no_grade_and_the_reason_is_told(host):
    grade = await host.live(122, fails=(10, 30))
    assert (grade.performance, grade.degraded, grade.text) == (None, False, "2 failures came, and 5 are needed")
    assert host.words == "performance not known: 2 failures came, and 5 are needed"
    host.risk = RiskState("too few factors")
    await host.grading.grade()  # nothing is told: nothing to note
    assert len(host.grading._kept.moments) == 122


async def test_the_first_figure_is_the_baseline_and_a_fall_asks_to_refine_once_a_day(host):
    first = await host.live(122, told=0.7, fails=(20, 24, 60, 62, 95))  # at the last one it is known
    assert first.performance == pytest.approx(first.baseline, abs=0.02)
    assert 0.4 < first.performance < 0.7
    worse = await host.live(80, told=0.99)
    assert worse.degraded
    assert worse.baseline == first.baseline
    assert worse.performance < first.performance - 0.05
    assert 1 < len(host.refined) < 4
    assert min(b - a for a, b in zip(host.refined, host.refined[1:], strict=False)) >= 24 * HOUR_MS


async def test_a_restart_goes_on_and_another_network_starts_anew(host):
    before = await host.live(122, told=0.7, fails=(20, 24, 60, 62, 95))
    host.open()
    assert host.grades[-1].baseline == before.baseline
    assert host.grades[-1].performance == pytest.approx(before.performance, abs=0.02)
    host.network = 1
    after = await host.live(1)
    assert (after.performance, after.baseline) == (None, None)


async def test_what_is_kept_is_bounded_and_what_cannot_be_read_is_left(host):
    begin = host.clock.now().time_ms
    moments = [(begin - (700 - hour) * HOUR_MS, 0.1, 0.2) for hour in range(671)]
    host.state.set_meta("risk.graded", json.dumps({"moments": moments}))
    host.open()
    await host.live(3)
    assert len(host.grading._kept.moments) == 672
    host.state.set_meta("risk.graded", '{"moments": 1, "no": 2}')
    host.grades.clear()
    host.open()
    assert host.grades == []
