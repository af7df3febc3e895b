import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.window import RingWindow


def ids(*numbers):
    return np.array(numbers, np.int64)


def row(*values):
    return np.array(values, np.float32)


def test_rows_come_back_oldest_first_and_in_any_order_of_signals():
    window = RingWindow(4)
    columns = ids(3, 7)
    for number in range(3):
        window.push(columns, row(number, 10 * number), number)
    np.testing.assert_array_equal(window.recent([7, 3], 2), [[10, 1], [20, 2]])
    np.testing.assert_array_equal(window.recent([3], 4), [[np.nan], [0], [1], [2]])
    assert window.recent_hours(2) == [1, 2]
    assert np.isnan(window.recent([99], 2)).all()
    for number in range(3, 9):
        window.push(columns, row(number, 10 * number), number)
    assert window.filled == 4
    np.testing.assert_array_equal(window.recent([3], 4)[:, 0], [5, 6, 7, 8])


@given(st.lists(st.tuples(st.integers(1, 90), st.floats(-1e6, 1e6, width=32)), min_size=1, max_size=60), st.data())
def test_the_ring_holds_what_a_list_would(samples, data):
    capacity = data.draw(st.integers(1, 20))
    window, expected = RingWindow(capacity), []
    for number, (signal, value) in enumerate(samples):
        window.push(ids(signal, signal + 100), row(value, -value), number % 168)
        expected.append({signal: value, signal + 100: -value})
        if data.draw(st.integers(0, 9)) == 0:
            window.push_gap(number % 168)
            expected.append({})
    asked = [signal for signal, _ in samples] + [signal + 100 for signal, _ in samples]
    kept = expected[-capacity:]
    got = window.recent(asked, len(kept))
    want = np.array([[entry.get(signal, np.nan) for signal in asked] for entry in kept], np.float32)
    np.testing.assert_array_equal(got, want)


def test_a_gap_is_one_row_of_nothing_and_none_at_the_start():
    window = RingWindow(8)
    window.push_gap(3)
    assert window.filled == 0
    window.push(ids(1), row(5), 3)
    window.push_gap(4)
    window.push(ids(1), row(6), 4)
    np.testing.assert_array_equal(window.recent([1], 3)[:, 0], [5, np.nan, 6])


def test_a_signal_that_is_not_in_a_sample_is_missing_in_it():
    window = RingWindow(4)
    window.push(ids(1, 2), row(1, 2), 0)
    window.push(ids(1), row(3), 0)
    np.testing.assert_array_equal(window.recent([1, 2], 2), [[1, 2], [3, np.nan]])


def test_more_signals_than_a_step_find_room_and_columns_are_given_back():
    window = RingWindow(3)
    many = np.arange(1, 200)
    window.push(many, many.astype(np.float32), 0)
    np.testing.assert_array_equal(window.recent(many, 1)[0], many)
    wide = window._values.shape[1]
    window.forget(many[:100].tolist())
    assert np.isnan(window.recent(many[:100], 1)).all()
    np.testing.assert_array_equal(window.recent(many[100:], 1)[0], many[100:])
    fresh = np.arange(1000, 1100)
    window.push(fresh, fresh.astype(np.float32), 0)
    assert window._values.shape[1] == wide
    np.testing.assert_array_equal(window.recent(fresh, 1)[0], fresh)
    assert np.isnan(window.recent(fresh[:1], 2)[0])  # nothing is left of who had the column before
    window.forget([12345])


def test_alarmed_rows_are_not_learned_from_and_leave_one_gap():
    window = RingWindow(20)
    for number in range(10):
        window.push(ids(1), row(number), number)
        if number in {3, 4, 8}:
            window.mark_alarmed()
    values, hours = window.reference([1])
    np.testing.assert_array_equal(values[:, 0], [0, 1, 2, np.nan, 5, 6, 7, np.nan, 9])
    assert hours[[0, -1]].tolist() == [0, 9]


@pytest.mark.parametrize("capacity", [10, 7])
def test_when_most_is_alarmed_it_is_how_the_host_is(capacity):
    window = RingWindow(capacity)
    for number in range(10):
        window.push(ids(1), row(number), 0)
        if number >= 4:
            window.mark_alarmed()
    values, _ = window.reference([1])
    assert np.isfinite(values).all()
    assert len(values) == capacity


def test_the_mark_leaves_with_the_row():
    window = RingWindow(3)
    window.push(ids(1), row(0), 0)
    window.mark_alarmed()
    for number in range(1, 4):
        window.push(ids(1), row(number), 0)
    values, _ = window.reference([1])
    assert values[:, 0].tolist() == [1, 2, 3]
