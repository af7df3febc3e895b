import numpy as np
import pytest

from daemon.drift.days import MOST_A_DAY, Span, columns, load, read, samples_a_day, save
from detectors.model_file import ModelError

DAY_MS = 86_400_000
A_DAY = 288


def span(host, days=3, **more):
    return Span(**{"first_ms": host.first_ms, "days": days, "learned_ms": 0, "after": 0, "a_day": A_DAY, **more})


def test_a_reference_is_what_was_measured_in_its_days(days):
    days.live(4)
    kept = read(days.history, days.registry.ids.tolist(), span(days))
    stored = days.history.recorded(days.first_ms, days.first_ms + 3 * DAY_MS).rows
    assert kept.ids.tolist() == list(stored.signal_ids)
    assert kept.reference.counts.tolist() == [len(stored.seq)] * 10
    known = {row.tobytes() for row in stored.values}
    assert all(row.tobytes() in known for row in kept.reference.values)
    assert np.bincount(kept.reference.hours, minlength=24).min() > 0


def test_incidents_are_no_reference_and_neither_is_what_is_hardly_known(days, alarmed):
    days.live(1)
    days.shift[:] = 50
    days.live(0.5, flags=alarmed)
    days.shift[:] = 0
    days.live(2, missing=(3,))
    kept = read(days.history, [*days.registry.ids.tolist(), 999], span(days))
    assert np.nanmax(kept.reference.values) < 25
    assert 999 not in kept.ids
    assert kept.reference.counts[3] < 1.5 * A_DAY
    later = span(days, days=1, first_ms=days.first_ms + 2 * DAY_MS)
    assert 13 not in read(days.history, days.registry.ids.tolist(), later).ids


def test_more_samples_than_slots_are_passed_over():
    assert samples_a_day(30.0) == MOST_A_DAY
    assert samples_a_day(1.0) == MOST_A_DAY
    assert samples_a_day(300.0) == 288
    assert samples_a_day(86_400.0) == 24


def test_what_is_kept_comes_back(days, tmp_path):
    days.live(4)
    kept = read(days.history, days.registry.ids.tolist(), span(days))
    assert load(tmp_path / "drift") is None
    save(tmp_path / "drift", kept)
    again = load(tmp_path / "drift")
    assert again.span == kept.span
    np.testing.assert_array_equal(again.ids, kept.ids)
    np.testing.assert_array_equal(again.reference.values, kept.reference.values)
    np.testing.assert_array_equal(again.reference.hours, kept.reference.hours)
    np.testing.assert_array_equal(again.reference.repeats.time, kept.reference.repeats.time)


@pytest.mark.parametrize("name", ["manifest.json", "model.safetensors"])
@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: data[:-9] + b"x" * 9])
def test_what_is_damaged_is_refused(days, tmp_path, name, damage):
    days.live(4)
    save(tmp_path / "drift", read(days.history, days.registry.ids.tolist(), span(days)))
    file = tmp_path / "drift" / "reference" / name
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ModelError):
        load(tmp_path / "drift")


def test_a_signal_that_is_gone_is_missing(days):
    days.live(0.1)
    rows = days.history.following(0, 10)
    told = columns(rows, np.array([5, 11, 400]))
    assert np.isnan(told[:, [0, 2]]).all()
    np.testing.assert_array_equal(told[:, 1], rows.values[:, 1])
