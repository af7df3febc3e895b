"""What a history says at a moment: measured against sums by hand, and blind to what comes later."""

import numpy as np
import pytest

from detectors.event_features import DAY, HOUR, MEMORY, TEMPO, memory, tempo, thinned

AT = np.array([1.0, 3.0, 10.0, 100.0, 1000.0]) * HOUR


def draw(seed: int, count: int = 60) -> np.ndarray:
    return thinned(np.random.default_rng(seed).uniform(0, 1200 * HOUR, count))


def test_repeats_within_five_minutes_are_one():
    assert thinned(np.array([650.0, 10.0, 20.0, 299.0, 301.0])).tolist() == [10.0, 301.0, 650.0]
    assert len(thinned(np.zeros(0))) == 0


def test_nothing_after_the_moment_is_read():
    own, group = draw(1), draw(2)
    for at in AT:
        row = np.array([at])
        known = tempo(own[own <= at], group[group <= at], 4, 0.0, row), memory([own[own <= at]], row)
        assert np.array_equal(tempo(own, group, 4, 0.0, row), known[0])
        assert np.array_equal(memory([own], row), known[1])


def test_rows_do_not_depend_on_each_other():
    own, group = draw(3), draw(4)
    whole = tempo(own, group, 3, 0.0, AT)
    assert whole.shape == (len(AT), TEMPO)
    assert np.allclose(whole, np.concatenate([tempo(own, group, 3, 0.0, AT[[row]]) for row in range(len(AT))]))


def test_an_intensity_is_the_decayed_count():
    own = draw(5)
    told = tempo(own, own, 1, 0.0, AT)
    for column, hours in enumerate((0.125, 0.5, 2, 8, 32, 128, 512, 2048)):
        by_hand = [np.exp(-(at - own[own <= at]) / (hours * HOUR)).sum() for at in AT]
        assert told[:, column] == pytest.approx(np.log1p(by_hand) / 2, abs=1e-5)


def test_an_event_counts_from_its_own_second():
    at = np.array([5 * HOUR])
    none, now, later = (memory([np.array(times)], at)[0] for times in ([], [5 * HOUR], [5 * HOUR + 1]))
    assert np.array_equal(none, later)
    assert now[0] == 0
    assert none[0] == 1


def test_memory_bins_counts_and_hours():
    event = 6 * HOUR  # six in the morning of the first day
    told = memory([np.array([event])], event + HOUR * np.array([0.0, 3.0, 23.9, 24.0, 700.0]))
    assert told.shape == (5, MEMORY)
    assert (told[:, 1:17].sum(axis=1) == 1).all()
    assert told[:, -24:].sum(axis=1).tolist() == [1, 1, 1, 0, 0]
    assert told[0, -24 + 6] == 1
    counts = np.expm1(3 * told[:, 17:22]).round().astype(int)
    assert counts.tolist() == [[1, 1, 1, 1, 1], [0, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 0, 1, 1], [0, 0, 0, 0, 0]]


def test_a_host_without_events_has_finite_rows():
    empty = np.zeros(0)
    assert np.isfinite(tempo(empty, empty, 1, 0.0, AT)).all()
    assert memory([], AT).shape == (len(AT), 0)
    assert np.isfinite(memory([empty, empty], AT + 400 * DAY)).all()
