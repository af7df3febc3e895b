"""Days of before: what is unlike is kept, a few of them, and nothing twice."""

import numpy as np
import pytest

from daemon.drift.days import Kept, Span, hours_of
from daemon.drift.earlier import MOST, EarlierDays
from detectors.drift import make_reference
from detectors.kernels import NUMPY

DAY_MS = 86_400_000
NUMBERS = np.arange(10, 15)


def kept(level, day=0, after=0, ids=NUMBERS):
    """Three days of five signals around `level`."""
    rng = np.random.default_rng(day)
    values = (level + rng.normal(size=(3 * 288, len(ids)))).astype(np.float32)
    hours = hours_of(np.arange(3 * 288) * 300_000)
    return Kept(Span(day * DAY_MS, 3, day * DAY_MS, after, 288), ids, make_reference(values, hours, 288))


@pytest.fixture
def earlier(tmp_path):
    return EarlierDays(tmp_path)


def days(earlier):
    return [one.span.first_ms // DAY_MS for _, one in earlier.all()]


def test_what_is_unlike_is_kept_and_what_is_alike_is_not(earlier):
    earlier.keep(NUMPY, kept(0, 1), kept(0, 5), 0.1)
    assert days(earlier) == []
    earlier.keep(NUMPY, kept(0, 1), kept(4, 5), 0.1)
    assert days(earlier) == [1]
    earlier.keep(NUMPY, kept(4, 5), kept(8, 9), 0.1)
    assert days(earlier) == [5, 1]
    earlier.keep(NUMPY, kept(8, 9), kept(0, 13), 0.1)  # as on the first day: that one is the reference again
    assert days(earlier) == [9, 5]
    earlier.keep(NUMPY, kept(4, 17), kept(0, 21), 0.1)
    assert days(earlier) == [17, 9]  # the newest of its kind


def test_of_many_those_seen_last_stay(earlier):
    for number in range(MOST):
        earlier.keep(NUMPY, kept(5 * number, number), kept(-50, 99), 0.1)
    places = {one.span.first_ms // DAY_MS: place for place, one in earlier.all()}
    earlier.seen(places[0])
    earlier.keep(NUMPY, kept(500, 50), kept(-50, 99), 0.1)
    assert set(days(earlier)) == {50, 0, *range(2, MOST)}


def test_what_cannot_be_compared_is_not_kept(earlier):
    earlier.keep(NUMPY, kept(0, 1), kept(4, 5, after=7), 0.1)  # another history
    earlier.keep(NUMPY, kept(0, 1), kept(4, 5, ids=NUMBERS + 100), 0.1)  # other signals
    assert days(earlier) == []


def test_what_is_damaged_goes(earlier, tmp_path):
    earlier.keep(NUMPY, kept(0, 1), kept(4, 5), 0.1)
    ((place, _),) = earlier.all()
    (place / "manifest.json").write_text("{}")
    assert days(earlier) == []
    assert not place.exists()
