from hypothesis import given
from hypothesis import strategies as st

from alerting.ulid import UlidSource


def test_golden_value_of_the_specification():
    # 1469918176385 ms is the time of the example in the ULID specification.
    assert UlidSource(lambda count: b"\x00" * count)(1469918176385) == "01ARYZ6S410000000000000000"


@given(st.lists(st.integers(-5, 2**48 + 5), min_size=2, max_size=40), st.binary(min_size=10, max_size=10))
def test_ids_rise_whatever_the_clock_does(times, noise):
    source = UlidSource(lambda count: noise)
    ids = [source(time_ms) for time_ms in times]
    assert ids == sorted(set(ids))
    assert all(len(one) == 26 for one in ids)


def test_randomness_that_is_used_up_carries_into_the_time():
    source = UlidSource(lambda count: b"\xff" * count)
    assert source(5) < source(5) < source(6)
