import numpy as np
import pytest
from risky import SPECS, Stored, registry_of

from daemon.risk.samples import FactorSamples
from daemon.samples import Rows
from daemon.signals import Kind, SignalSpec
from detectors.factors import PLACE
from detectors.findings import Unit

ROW = np.array([0.5, 0.1, 0.2, 1e6], np.float32)


@pytest.fixture
def samples():
    return FactorSamples(registry_of(SPECS), 30.0)


def column(samples, name, failed=(), now_ms=0):
    return samples.reading(failed, now_ms)().values[:, PLACE[name]].tolist()


def test_factors_of_the_samples_with_what_is_known_beside_them(samples, clock):
    for used in (0.5, 0.6):
        samples.push(np.array([used, 0.1, 0.25, 1e6], np.float32), clock.advance(30), 0.3, np.nan)
    found = samples.reading([], clock.time_ms)()
    assert found.values[:, PLACE["memory"]] == pytest.approx([0.5, 0.6])
    assert found.values[:, PLACE["space"]] == pytest.approx([0.25, 0.25])
    assert found.about[PLACE["space"]] == "/var"
    assert found.values[:, PLACE["anomaly"]] == pytest.approx([0.3, 0.3])
    assert np.isnan(found.values[:, PLACE["expected_full"]]).all()
    assert np.isnan(found.values[:, PLACE["descriptors"]]).all()


@pytest.mark.parametrize(
    ("failed", "age", "count"),
    [
        ([], [np.nan] * 3, [0, 0, 0]),
        ([-80], [20, 50, 80], [1, 1, 1]),
        ([0, -10, -50], [np.nan, 20, 0], [0, 1, 3]),
        ([-29 * 86_400], [29 * 86_400 - 60, 29 * 86_400 - 30, 29 * 86_400], [0, 0, 0]),  # too old to count
    ],
)
def test_own_failures_are_as_old_as_they_were_at_each_sample(samples, clock, failed, age, count):
    """`failed`: seconds before the last of three samples."""
    for _ in range(3):
        samples.push(ROW, clock.advance(30), 0.0, 0.0)
    failed_ms = [clock.time_ms + 1000 * at for at in failed]
    assert column(samples, "failure_age", failed_ms, clock.time_ms) == pytest.approx(age, nan_ok=True)
    assert column(samples, "failures", failed_ms, clock.time_ms) == count


def test_what_was_not_sampled_stays_empty(samples, clock):
    samples.push(ROW, clock.advance(30), 0.0, 0.0)
    samples.push(ROW, clock.advance(30), 0.0, 0.0)
    samples.push(ROW, clock.advance(31), 0.0, 0.0)  # a little late
    clock.suspend(300)
    samples.push(ROW, clock.now(), 0.0, 0.0)
    there = np.isfinite(column(samples, "memory"))
    assert there.tolist() == [True] * 3 + [False] * 9 + [True]
    clock.advance(90 * 86_400)
    samples.push(ROW, clock.now(), 0.0, 0.0)
    assert np.isfinite(column(samples, "memory")).sum() == 1


def test_the_wall_clock_is_set_and_nothing_is_left_out(samples, clock):
    samples.push(ROW, clock.advance(30), 0.0, 0.0)
    clock.set_wall(86_400)
    samples.push(ROW, clock.advance(30), 0.0, 0.0)
    assert np.isfinite(column(samples, "memory")).all()


def test_signals_come_and_go(clock):
    registry = registry_of(SPECS)
    samples = FactorSamples(registry, 30.0)
    samples.push(ROW, clock.advance(30), 0.0, 0.0)
    full = SignalSpec("filesystem./srv.used", Unit.RATIO, Kind.GAUGE, "filesystem", "/srv")
    registry.learn([full], clock.time_ms)
    samples.push(np.array([*ROW, 0.9], np.float32), clock.advance(30), 0.0, 0.0)
    found = samples.reading([], clock.time_ms)()
    assert found.about[PLACE["space"]] == "/srv"
    assert found.values[:, PLACE["space"]] == pytest.approx([np.nan, 0.9], nan_ok=True)
    assert found.values[:, PLACE["memory"]] == pytest.approx([0.5, 0.5])


def test_a_restart_takes_up_what_is_stored_with_its_gaps(samples, clock):
    times = clock.time_ms + np.array([0, 30, 120]) * 1000
    values = np.array([[0.1, 9.0, 0.5], [0.2, 9.0, 0.5], [0.3, 9.0, 0.5]], np.float32)
    nothing = np.zeros(3, np.int64)
    samples.restore(Stored(Rows((1, 99, 3), values, nothing, times, nothing, nothing)))  # 99 has left the host
    clock.time_ms = int(times[-1])
    samples.push(ROW, clock.advance(60), 0.0, 0.0)
    expected = [0.1, 0.2, np.nan, np.nan, 0.3, np.nan, 0.5]
    assert column(samples, "memory") == pytest.approx(expected, nan_ok=True)
    assert column(samples, "cpu") == pytest.approx([np.nan] * 6 + [0.1], nan_ok=True)  # it was not stored
    assert column(samples, "space")[:2] == [0.5, 0.5]


def test_nothing_is_stored_yet(samples, clock):
    nothing = np.zeros(0, np.int64)
    samples.restore(Stored(Rows((), np.zeros((0, 0), np.float32), nothing, nothing, nothing, nothing)))
    samples.push(ROW, clock.now(), 0.0, 0.0)
    assert column(samples, "memory") == [0.5]
