import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daemon.imports.array_rates import ArrayRates
from daemon.rates import Rates

GAP = 60.0
totals = st.one_of(st.none(), st.integers(0, 2), st.integers(0, 50), st.floats(0, 1e300), st.integers(2**52, 2**53))
readings = st.lists(
    st.tuples(st.integers(1, 90_000), st.sampled_from((0, 0, 0, 1)), totals, totals), min_size=0, max_size=30
)


def one_by_one(rows):
    """Return what daemon.rates says, a reading at a time; a new boot is a new daemon."""
    rates, at, boot, out = Rates(GAP), 0, 0, []
    for pause, reboots, part, whole in rows:
        at += pause
        boot += reboots
        rates = Rates(GAP) if reboots else rates
        rates.begin(at * 10**6)
        alone = [np.nan if part is None else read("part", part) for read in (rates.per_second, rates.share_of_time)]
        both = part is not None and whole is not None
        pairs = [read(read, part, whole) if both else np.nan for read in (rates.quotient, rates.share)]
        out.append((at, boot, *alone, *pairs))
    return np.array(out, float).reshape(len(rows), 6)


@given(readings)
@example([(1, 0, 0, 0), (1, 0, 1, 0), (1, 0, 1, 0), (1, 0, 1.7e308, 1e-300)])
def test_arrays_give_what_one_reading_at_a_time_gives(rows):
    expected = one_by_one(rows)
    rates = ArrayRates(expected[:, 0].astype(np.int64), expected[:, 1].astype(np.int64), GAP)
    part, whole = (np.array([np.nan if row[at] is None else row[at] for row in rows], float) for at in (2, 3))
    given_back = (
        rates.per_second(part),
        rates.share_of_time(part),
        rates.quotient(part, whole),
        rates.share(part, whole),
    )
    for values, column in zip(given_back, expected.T[2:], strict=True):
        np.testing.assert_allclose(values, column, rtol=1e-12)


@pytest.mark.parametrize(("pause", "known"), [(60_000, True), (60_001, False), (0, False)])
def test_a_gap_is_missing_and_its_limit_is_none(pause, known):
    rates = ArrayRates(np.array([0, pause]), np.zeros(2, np.int64), GAP)
    assert np.isfinite(rates.per_second(np.array([1.0, 61.0]))).tolist() == [False, known]
    assert np.isfinite(rates.quotient(np.array([1.0, 1.0]), np.array([1.0, 1.0]))).tolist() == [False, known]
