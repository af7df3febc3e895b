from alerting.limit import Limiter, Limits

HOUR_NS = 3_600 * 10**9


def taken(limiter, times, now_ns=0, *, sink="ops", page=True):
    return sum(limiter.take(sink, now_ns, page=page) for _ in range(times))


def test_a_burst_and_no_more():
    assert taken(Limiter(Limits(10, 30.0)), 50) == 10


def test_it_is_refilled_over_time_up_to_the_burst():
    limiter = Limiter(Limits(10, 30.0))
    taken(limiter, 10)
    assert taken(limiter, 5, HOUR_NS // 30 - 10**9) == 0
    assert taken(limiter, 5, HOUR_NS // 30) == 1
    assert taken(limiter, 5, HOUR_NS // 30 + HOUR_NS // 10) == 3
    assert taken(limiter, 50, 9 * HOUR_NS) == 10


def test_an_hour_of_small_steps_brings_what_an_hour_brings():
    limiter = Limiter(Limits(10, 30.0))
    taken(limiter, 10)
    assert sum(limiter.take("ops", second * 10**9, page=True) for second in range(1, 3601)) == 30


def test_a_part_is_for_pages_alone():
    limiter = Limiter(Limits(10, 30.0))
    assert taken(limiter, 50, page=False) == 7
    assert taken(limiter, 50, page=True) == 3
    assert taken(limiter, 50, HOUR_NS // 10, page=False) == 0  # what comes back first is for pages
    assert taken(limiter, 50, HOUR_NS // 10 + HOUR_NS // 30, page=False) == 1


def test_the_smallest_burst_leaves_something_for_others_than_pages():
    assert taken(Limiter(Limits(4, 30.0)), 9, page=False) == 3
    assert taken(Limiter(Limits(1, 30.0)), 9, page=False) == 1


def test_each_sink_has_its_own():
    limiter = Limiter(Limits(4, 30.0))
    assert taken(limiter, 9) == 4
    assert taken(limiter, 9, sink="chat") == 4


def test_no_limit():
    assert taken(Limiter(Limits(4, 0.0)), 1_000, page=False) == 1_000


def test_changed_limits_hold_from_then_on():
    limiter = Limiter(Limits(10, 30.0))
    taken(limiter, 4)
    limiter.limits = Limits(4, 30.0)
    assert taken(limiter, 9) == 4
