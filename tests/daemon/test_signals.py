import math

import numpy as np
import pytest

from daemon.errors import StateError
from daemon.signals import Kind, SignalRegistry, SignalSpec
from daemon.state import StateDatabase
from detectors.findings import Unit


def spec(name, unit=Unit.RATIO):
    return SignalSpec(name, unit, Kind.GAUGE, "test")


@pytest.fixture
def database(tmp_path):
    database = StateDatabase(tmp_path / "state.db")
    yield database
    database.close()


@pytest.fixture
def registry_of(database):
    def build(maximum=2000):
        known = [(one.id, one.spec, one.last_seen_ms) for one in database.load_signals()]
        return SignalRegistry(known, database.assign_signals, database.remove_signals, maximum)

    return build


def test_a_signal_keeps_its_id_over_restarts(registry_of):
    registry = registry_of()
    measured = [(spec("b"), 2.0), (spec("a"), 1.0)]
    assert registry.unknown(measured) == [spec("b"), spec("a")]
    registry.learn([one for one, _ in measured], 1000)
    assert registry.unknown(measured) == []
    again = registry_of()
    assert again.ids.tolist() == registry.ids.tolist() == sorted(registry.ids.tolist())
    assert again.specs == registry.specs
    np.testing.assert_array_equal(again.fill(measured), registry.fill(measured))
    again.learn([spec("c")], 2000)
    assert again.ids.tolist()[:2] == registry.ids.tolist()
    assert len(set(again.ids.tolist())) == 3


def test_a_row_has_a_place_for_every_signal(registry_of):
    registry = registry_of()
    registry.learn([spec("a"), spec("b"), spec("c")], 1000)
    filled = registry.fill([(spec("c"), 3.0), (spec("a"), math.inf), (spec("stranger"), 9.0)])
    assert filled.dtype == np.float32
    np.testing.assert_array_equal(filled, np.array([np.nan, np.nan, 3.0], np.float32))
    assert np.isnan(registry.fill([(spec("a"), 1e300)])[0])  # beyond float32
    assert np.isnan(registry.fill([(spec("a"), math.nan)])[0])


def test_the_least_recently_seen_leave_first(registry_of, database):
    registry = registry_of(maximum=3)
    registry.learn([spec("old"), spec("b"), spec("c")], 1000)
    registry.touch(2000, [(spec("b"), 1.0), (spec("c"), 1.0), (spec("old"), math.nan)])
    numbers = {one.name: int(number) for number, one in zip(registry.ids, registry.specs, strict=True)}
    assert registry.learn([spec("new")], 3000) == [numbers["old"]]
    assert {one.name for one in registry.specs} == {"b", "c", "new"}
    assert registry.dropped == 1
    assert {one.spec.name for one in database.load_signals()} == {"b", "c", "new"}
    assert registry.spec_of(numbers["old"]).name == f"signal {numbers['old']}"
    assert registry.spec_of(numbers["b"]) == spec("b")


def test_more_than_all_at_once_is_cut_and_counted(registry_of):
    registry = registry_of(maximum=5)
    registry.learn([spec(f"s{number}") for number in range(12)], 1000)
    assert len(registry.ids) == 5
    assert registry.dropped == 7


def test_a_database_that_refuses_leaves_the_registry_as_it_was(registry_of, database, monkeypatch):
    registry = registry_of(maximum=3)
    registry.learn([spec("a"), spec("b"), spec("c")], 1000)
    before = registry.ids.tolist(), registry.specs

    def refuse(*_arguments):
        raise StateError("the disk is full")

    monkeypatch.setattr(registry, "_assign", refuse)
    with pytest.raises(StateError):
        registry.learn([spec("d")], 2000)
    assert (registry.ids.tolist(), registry.specs) == before
    assert registry.dropped == 0
    assert registry.unknown([(spec("d"), 1.0)]) == [spec("d")]
    monkeypatch.undo()
    registry._assign = database.assign_signals
    registry.learn([spec("d")], 3000)
    assert len(registry.specs) == 3
    assert "d" in {one.name for one in registry.specs}


def test_what_is_measured_now_never_leaves_for_something_new(registry_of):
    registry = registry_of(maximum=4)
    here = [spec(name) for name in ("a", "b", "c", "d")]
    registry.learn(here, 1000)
    registry.touch(2000, [(one, 1.0) for one in here])
    measured = [(one, 1.0) for one in [*here, spec("new")]]
    present = {one.name for one, _ in measured}
    assert registry.unknown(measured) == [spec("new")]
    assert registry.learn([spec("new")], 3000, present) == []
    assert {one.name for one in registry.specs} == {"a", "b", "c", "d"}
    assert registry.dropped == 1
    assert registry.unknown(measured) == []  # not asked for again at every tick
    registry.touch(4000, measured[:4])
    assert registry.unknown(measured) == [spec("new")]  # but in the next hour
    registry.learn([spec("new")], 5000, present - {"b"})
    assert {one.name for one in registry.specs} == {"a", "c", "d", "new"}


def test_where_room_is_short_the_largest_family_does_without_some(registry_of):
    registry = registry_of(maximum=5)
    lan = [SignalSpec(f"network.lan{number}", Unit.RATIO, Kind.GAUGE, "network") for number in range(9)]
    registry.learn([*lan, spec("cpu"), spec("memory")], 1000)
    assert [one.name for one in registry.specs][:2] == ["cpu", "memory"]
    assert len(registry.specs) == 5
