from math import isfinite, isnan, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.rates import Rates

SECOND = 10**9


@pytest.fixture
def rates():
    return Rates(gap_seconds=60)


def per_second(rates, second, total, key="k"):
    rates.begin(int(second * SECOND))
    return rates.per_second(key, total)


def test_the_first_reading_is_missing_and_the_second_exact(rates):
    assert isnan(per_second(rates, 1000, 50))
    assert per_second(rates, 1030, 350) == 10.0


def test_the_first_reading_is_missing_even_right_after_boot(rates):
    assert isnan(per_second(rates, 5, 50))


@pytest.mark.parametrize("total", [0, 49, 2**32 - 60])
def test_a_reset_and_a_wrap_are_missing_once(rates, total):
    per_second(rates, 1000, 2**32 - 50)
    assert isnan(per_second(rates, 1030, total))
    assert per_second(rates, 1060, total + 30) == 1.0


def test_a_gap_is_missing_once_and_its_limit_is_none(rates):
    per_second(rates, 1000, 0)
    assert per_second(rates, 1060, 60) == 1.0
    assert isnan(per_second(rates, 1121, 120))
    assert per_second(rates, 1151, 150) == 1.0


@pytest.mark.parametrize("second", [1000, 999])
def test_a_clock_that_stands_or_goes_back_is_missing(rates, second):
    per_second(rates, 1000, 0)
    assert isnan(per_second(rates, second, 10))


def test_a_key_that_was_not_read_is_forgotten(rates):
    per_second(rates, 1000, 0)
    rates.begin(1010 * SECOND)
    assert isnan(per_second(rates, 1020, 10))


def test_quotients(rates):
    rates.begin(1000 * SECOND)
    assert isnan(rates.quotient("q", 10, 100))
    rates.begin(1030 * SECOND)
    assert rates.quotient("q", 15, 110) == 0.5
    rates.begin(1060 * SECOND)
    assert rates.quotient("q", 15, 110) == 0.0  # neither moved
    rates.begin(1090 * SECOND)
    assert isnan(rates.quotient("q", 16, 110))  # something of nothing
    rates.begin(1120 * SECOND)
    assert isnan(rates.quotient("q", 10, 120))  # the part was reset
    rates.begin(1150 * SECOND)
    assert isnan(rates.quotient("q", 20, 100))  # the whole was reset
    rates.begin(1300 * SECOND)
    assert isnan(rates.quotient("q", 30, 110))  # a gap


def test_shares_end_at_one_and_keep_what_is_missing(rates):
    rates.begin(1000 * SECOND)
    assert isnan(rates.share("s", 0, 0))
    assert isnan(rates.share_of_time("t", 0))
    rates.begin(1010 * SECOND)
    assert rates.share("s", 11, 10) == 1.0
    assert rates.share_of_time("t", 11) == 1.0
    rates.begin(1020 * SECOND)
    assert rates.share("s", 12, 20) == pytest.approx(0.1)
    assert rates.share_of_time("t", 16) == pytest.approx(0.5)
    rates.begin(1030 * SECOND)
    assert isnan(rates.share("s", 0, 30))
    assert isnan(rates.share_of_time("t", 0))


totals = st.integers(0, 2**64) | st.floats(allow_nan=True, allow_infinity=True)
steps = st.lists(st.tuples(st.integers(-10, 200 * SECOND), totals, totals), min_size=1, max_size=20)


@given(steps, st.floats(0.001, 1000))
def test_a_rate_is_never_negative_and_never_infinite(readings, gap_seconds):
    rates = Rates(gap_seconds)
    now = 0
    for step, part, whole in readings:
        now += step
        rates.begin(now)
        speed = rates.per_second("a", part)
        for value in (
            speed,
            rates.quotient("b", part, whole),
            rates.share("c", part, whole),
            rates.share_of_time("d", part),
        ):
            assert isnan(value) or (isfinite(value) and value >= 0)
        if step <= 0 or step / 1e9 > gap_seconds:
            assert isnan(speed)


def test_a_total_that_is_no_number_is_missing(rates):
    per_second(rates, 1000, nan)
    assert isnan(per_second(rates, 1030, 10))
    assert isnan(per_second(rates, 1060, nan))
