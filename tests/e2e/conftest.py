"""Fixtures of the end-to-end tests."""

import os

import pytest
from real import Daemon, Receiver


@pytest.fixture
def daemon(tmp_path):
    """Start daemons; the test gets a function of the configuration's text."""
    started = []

    def start(config):
        started.append(Daemon(tmp_path, config))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def receiver():
    one = Receiver()
    yield one
    one.close()


@pytest.fixture
def scale():
    """How thorough the repeating tests are: 1 in CI, 25 for the full figure."""
    return int(os.environ.get("PRESAGED_TEST_SCALE", "1"))
