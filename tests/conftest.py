"""What the tests of all three packages share: a clock of their own, quiet hosts to learn from, and how often to repeat.

PRESAGED_TEST_SCALE multiplies the repetitions ("1" = quick; the full figures are named beside each
test that repeats), PRESAGED_TEST_SEED repeats a run that failed.
"""

import os
import secrets
from dataclasses import dataclass

# Before NumPy is imported, here and in every child: threads that spin for each other take minutes on a busy machine.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np
import pytest
import structlog

from daemon.clock import Instant

START_MS = 1_772_344_800_000  # 2026-03-01T06:00:00Z, a Sunday


def pytest_collection_modifyitems(items):
    """Of tests that run side by side, those of a file stay together, and those that do things to this host as well."""
    for item in items:
        shared = item.path.parent.name == "e2e"
        item.add_marker(pytest.mark.xdist_group("this host" if shared else item.path.name))


@dataclass
class FakeClock:
    """Three clocks that stand still until they are told to go on, or to jump."""

    time_ms: int = START_MS
    monotonic_ns: int = 5_000 * 10**9
    boottime_ns: int = 5_000 * 10**9
    boot_id: str = "boot-1"

    def now(self) -> Instant:
        return Instant(self.time_ms, self.monotonic_ns, self.boottime_ns, self.boot_id)

    def advance(self, seconds: float) -> Instant:
        """Let time pass on all three."""
        self.time_ms += round(seconds * 1000)
        self.monotonic_ns += round(seconds * 1e9)
        self.boottime_ns += round(seconds * 1e9)
        return self.now()

    def set_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back, as a person or NTP does."""
        self.time_ms += round(seconds * 1000)

    def suspend(self, seconds: float) -> None:
        """Sleep: the monotonic clock stands still."""
        self.time_ms += round(seconds * 1000)
        self.boottime_ns += round(seconds * 1e9)

    def reboot(self) -> None:
        self.boot_id += "x"
        self.monotonic_ns = self.boottime_ns = 20 * 10**9


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture(scope="session")
def scale():
    return int(os.environ.get("PRESAGED_TEST_SCALE", "1"))


@pytest.fixture
def seed():
    number = int(os.environ.get("PRESAGED_TEST_SEED") or secrets.randbelow(2**31))
    print(f"PRESAGED_TEST_SEED={number}")
    return number


@pytest.fixture(scope="session")
def quiet_host():
    """Rows (T, S) of a host at rest: a few causes that wander, every signal a mix of them and some noise."""

    def build(rows, signals, seed=0, causes=3):
        rng = np.random.default_rng(seed)
        mixing = np.random.default_rng(1000 + signals).normal(size=(causes, signals)) * 0.05
        wander = np.zeros((rows, causes))
        for row in range(1, rows):
            wander[row] = 0.9 * wander[row - 1] + rng.normal(size=causes)
        return (0.4 + wander @ mixing + 0.02 * rng.normal(size=(rows, signals))).astype(np.float32)

    return build


@pytest.fixture(autouse=True)
def _words_are_heard_again():
    """Undo what a command did to the log of this process: a backtest silences it, and the next test may listen."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
