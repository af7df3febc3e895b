"""What `presage top` asks, and how it goes on when the daemon is gone, back, or answers what it should not."""

import time

import pytest
from crowded import MODELS, SIGNAL, Crowded

from daemon.cli import client
from daemon.cli.top_facts import Watcher
from daemon.config import load


@pytest.fixture
def crowded(port):
    one = Crowded(port)
    yield one
    one.close()


@pytest.fixture
def watcher(config):
    one = Watcher(load(config), lambda: None)
    yield one
    one.stop()


@pytest.mark.usefixtures("crowded")
def test_all_is_asked_and_taken_together(watcher):
    assert watcher._look() == pytest.approx(5.0)  # seldom: a sample is taken every 30 s
    facts = watcher.facts
    assert facts.problem == ""
    assert facts.status.host.cpus == 64
    assert facts.unusual[0].signal == SIGNAL
    assert facts.unusual[0].value == pytest.approx(1.234e9)
    assert (facts.unusual[0].low, facts.unusual[0].high) == (pytest.approx(0.2), pytest.approx(0.79))
    assert facts.unusual[1].low is None  # nothing is stored of it
    assert (facts.sent.alerts, facts.sent.false) == (3, 1)
    assert len(facts.scores) >= 60
    assert facts.models.models[0].id == MODELS[0]
    assert len(facts.forecasts) == 3


def test_what_was_known_stays_while_nobody_answers(watcher, port):
    assert watcher._look() == pytest.approx(2.0)
    assert watcher.facts.status is None
    host = Crowded(port)
    watcher._look()
    host.close()
    before = watcher.facts
    watcher._look()
    assert "nothing runs on" in watcher.facts.problem
    assert watcher.facts.forecasts == before.forecasts
    host = Crowded(port)
    watcher._look()
    host.close()
    assert watcher.facts.problem == ""


@pytest.mark.usefixtures("crowded")
def test_a_fault_is_kept_for_who_draws(watcher, monkeypatch):
    def broken(*_arguments, **_more):
        raise KeyError("a fault of ours")

    monkeypatch.setattr(client, "fetch_risk", broken)
    watcher.start()
    until = time.monotonic() + 20
    while watcher.fault is None and time.monotonic() < until:
        time.sleep(0.02)
    assert isinstance(watcher.fault, KeyError)
    watcher.join(5)
    assert not watcher.is_alive()
