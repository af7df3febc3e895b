import pytest

from daemon.web import pace


@pytest.fixture
def paced():
    now = [100.0]
    bucket = pace.Pace(lambda: now[0])

    def ask(count, path="/api/v1/status", *, after=0.0):
        now[0] += after
        return sum(bucket.allows(path) for _ in range(count))

    return ask


def test_a_burst_is_answered_and_what_comes_after_it_waits_for_its_turn(paced):
    assert paced(1000) == pace.AT_ONCE
    assert paced(1000, after=0.5) == pace.PER_SECOND / 2
    assert paced(1000) == 0
    assert paced(1000, after=3600) == pace.AT_ONCE


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_what_costs_nothing_is_always_answered(paced, path):
    paced(1000)
    assert paced(1000, path) == 1000
    assert paced(1, "/api/v1/status") == 0
