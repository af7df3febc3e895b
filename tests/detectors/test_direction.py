"""What is said of a signal follows how it was made to move."""

import numpy as np
import pytest

from detectors.direction import Directions
from detectors.features import WINDOW, fit_context, surprise
from detectors.findings import Direction

ROWS = 400


@pytest.fixture(scope="module")
def past():
    rng = np.random.default_rng(4)
    values = np.full((ROWS, 3), 100.0) + rng.normal(size=(ROWS, 3))
    values[:, 2] = 100.0 + 5.0 * np.sin(np.arange(ROWS) / 3) + rng.normal(size=ROWS)  # never still
    return values.astype(np.float32)


@pytest.fixture(scope="module")
def context(past):
    return fit_context(past, np.full(ROWS, -1), np.full(3, 0.1))


def read(context, window):
    return Directions(context, window, surprise(context, window, np.full(WINDOW, -1))[0])


def direction(context, past, column, tail):
    window = past[-WINDOW:].copy()
    window[WINDOW - len(tail) :, column] = tail
    return read(context, window).of(column, float(context.low[column]), float(context.high[column]))


@pytest.mark.parametrize(
    ("column", "tail", "expected"),
    [
        (0, [130.0], Direction.ABOVE),
        (0, [70.0], Direction.BELOW),
        (0, [100.0] * 3 + [160.0] * 2 + [100.0] * 6, Direction.CHANGEABLE),
        (0, [160.0, 100.0], Direction.FALLING),
        (0, [40.0, 100.0], Direction.RISING),
        (2, [100.0] * 15, Direction.FLAT),
        (0, [np.nan], Direction.UNKNOWN),
    ],
)
def test_directions(context, past, column, tail, expected):
    assert direction(context, past, column, tail) is expected


def test_recent_extremes(context, past):
    window = past[-WINDOW:].copy()
    window[0, 0] = 1e6  # the sixteenth, which is out of it
    window[5, 0], window[6, 0], window[7, 0] = 500.0, -500.0, np.nan
    assert read(context, window).recent(0) == (-500.0, 500.0)
    window[:, 0] = np.nan
    assert np.isnan(read(context, window).recent(0)).all()


def test_a_level_counts_as_outside_only_by_what_matters(context, past):
    window = past[-WINDOW:].copy()
    window[-1, 0] = context.high[0] + 0.04
    assert read(context, window).of(0, context.low[0], context.high[0]) is not Direction.ABOVE


def test_what_did_not_surprise_has_no_direction(context, past):
    features = surprise(context, past[-WINDOW:], np.full(WINDOW, -1))
    assert features.shape == (1, 3, 8)
    constant = fit_context(np.ones((ROWS, 1), np.float32), np.full(ROWS, -1), np.array([0.1]))
    window = np.ones((WINDOW, 1), np.float32)
    assert read(constant, window).of(0, 1.0, 1.0) in {Direction.UNKNOWN, Direction.APART, Direction.FLAT}
