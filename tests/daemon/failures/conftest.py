"""A failure log on a state.db of its own, and a host with a journal that says what it is told."""

import pytest
from failing import FakeJournal, Kept


@pytest.fixture
def kept(tmp_path):
    one = Kept(tmp_path / "state.db")
    yield one
    one.state.close()


@pytest.fixture
def journal(tmp_path, monkeypatch):
    one = FakeJournal(tmp_path)
    monkeypatch.setenv("PATH", f"{one.bin}:/usr/bin:/bin")
    return one
