import numpy as np
import pytest

from daemon.capacity.points import Reader, history_points, points_of
from daemon.capacity.resources import find_resources
from daemon.clock import Instant
from daemon.samples import StoredSample
from detectors.forecasts import DAYS, HOURS, MONTHS, POINTS

GIB, DAY = 2.0**30, 86_400.0
SIZE = 100 * GIB


def read(past, horizon, *, names=("/var",), capacity=SIZE, end_ms=None):
    """Return the points of the resources `names`."""
    resources = [one for one in find_resources(past.specs) if one.name in names]
    capacities = np.full(len(resources), capacity)
    uses = Reader(past.history, resources, past.ids, past.interval).uses(horizon, capacities)
    return history_points(uses, horizon, past.clock.time_ms if end_ms is None else end_ms)


@pytest.mark.parametrize(
    ("horizon", "written"), [(HOURS, {"hours": 30}), (DAYS, {"days": 30}), (MONTHS, {"months": 30})]
)
def test_the_newest_step_ends_now_and_holds_the_most_of_it(past, host, clock, horizon, written):
    clock.advance(17 * 60 + 13)  # not on the hour, and now is not a boundary of any rollup
    one = past(*host)
    one.write(**written)
    used = read(one, horizon).used[0]
    assert np.isfinite(used).sum() in {30, 31}
    step_days = horizon.step_seconds / DAY
    # the end of each step, less what is not rolled up yet
    np.testing.assert_allclose(used[-25:] / GIB, 60 - step_days * np.arange(24, -1, -1), atol=1.1 * step_days)
    assert np.all(np.diff(used[-25:]) > 0)
    assert used[-1] / GIB == pytest.approx(60, abs=min(step_days, 1.05))


def test_a_processor_is_told_by_its_mean_and_a_disk_by_its_most(past, host):
    specs, values = host
    one = past(specs, lambda at: values(at, var=lambda at: 50 * GIB + 10 * GIB * np.sin(2 * np.pi * at / DAY)))
    one.write(days=20)
    got = read(one, DAYS, names=("cpu", "/var"))
    np.testing.assert_allclose(got.used[0, -15:], 0.3, atol=0.01)
    np.testing.assert_allclose(got.used[1, -15:] / GIB, 60, atol=0.1)


def test_what_is_not_rolled_up_is_taken_from_finer_steps_and_samples(past, host, clock):
    """Months: days until yesterday, hours until this one, five minutes, and the samples since."""
    one = past(*host)
    one.write(hours=97, days=100, months=20)
    expected = read(one, MONTHS).used[0]
    assert expected[-1] / GIB == pytest.approx(60, abs=0.01)
    for tier, before in ((86_400, 3 * DAY), (3600, 5 * 3600)):  # as if these had not run for a while
        one.history.write(
            ("DELETE FROM rollups WHERE tier = ? AND time_ms > ?", [(tier, clock.time_ms - before * 1000)]),
        )
    np.testing.assert_allclose(read(one, MONTHS).used[0], expected, rtol=1e-3)
    ids = np.arange(1, len(one.specs) + 1)
    row = [value for _, value in one.measured(0)]
    place = [spec.name for spec in one.specs].index("filesystem./var.used")
    row[place : place + 2] = [0.95, 5 * GIB]
    instant = Instant(clock.time_ms, 1, 0, "b")
    sample = StoredSample(10**9, instant, 0, 0, 0, None, None, ids, np.array(row, np.float32))
    one.history.append(sample)
    for horizon in (HOURS, DAYS, MONTHS):
        assert read(one, horizon).used[0, -1] == pytest.approx(SIZE - 5 * GIB, rel=1e-5)


def with_gap(past, host, first_hours_ago, last_hours_ago):
    one = past(*host)
    one.write(hours=60)
    now_ms = one.clock.time_ms
    one.history.write(
        (
            "DELETE FROM rollups WHERE tier = 300 AND time_ms BETWEEN ? AND ?",
            [(now_ms - first_hours_ago * 3_600_000, now_ms - last_hours_ago * 3_600_000)],
        )
    )
    return read(one, HOURS)


def test_a_night_off_is_drawn_through(past, host):
    got = with_gap(past, host, 20, 9)
    assert got.known[0] == 60
    np.testing.assert_allclose(np.diff(got.used[0, -60:]) * 24 / GIB, 1.0, atol=0.3)


def test_a_long_gap_begins_the_history_anew(past, host):
    assert with_gap(past, host, 40, 9).known[0] == 9


def test_a_beginning_that_is_less_than_half_a_step_is_left_out(past, host):
    one = past(*host)
    one.write(hours=20.4)
    assert read(one, HOURS).known[0] == 20
    one.write(hours=20.7)
    assert read(one, HOURS).known[0] == 21


def test_what_is_not_measured_any_more_has_no_points(past, host, clock):
    one = past(*host)
    one.write(hours=30)
    assert read(one, HOURS, end_ms=clock.time_ms + 2 * 3_600_000).known[0] == 0


def test_what_lies_in_the_future_is_not_read(past, host, clock):
    one = past(*host)
    one.write(hours=30)
    used = read(one, HOURS, end_ms=clock.time_ms - 10 * 3_600_000).used[0]
    assert used[-1] / GIB == pytest.approx(60 - 10 / 24, abs=0.05)


def test_a_grown_disk_moves_the_capacity_and_not_the_series(past, host):
    specs, values = host

    def grown(at):
        rows = values(at)
        size = np.where(at < -40 * 3600, SIZE, 2 * SIZE)
        used = 60 * GIB + at / DAY * GIB
        place = [spec.name for spec in specs].index("filesystem./var.used")
        rows[place], rows[place + 1] = used / size, size - used
        return rows

    one = past(specs, grown)
    one.write(hours=97)
    got = read(one, HOURS, capacity=2 * SIZE)
    assert np.abs(np.diff(got.used[0])).max() < 0.1 * GIB
    np.testing.assert_allclose(got.capacity[0, [0, -1]] / GIB, [100, 200], rtol=1e-4)


def test_a_full_disk_has_its_series_though_its_size_does_not_show(past, host):
    specs, values = host
    one = past(specs, lambda at: values(at, var=lambda at: np.minimum(SIZE, SIZE + (at / 3600 + 20) * GIB)))
    one.write(hours=60)
    got = read(one, HOURS)
    np.testing.assert_allclose(got.used[0, -15:], SIZE, rtol=1e-4)


def test_a_signal_that_history_does_not_know_gives_no_points(past, host):
    specs, values = host
    one = past(specs, values)
    one.write(hours=30)
    resources = [one for one in find_resources(specs) if one.name in {"/", "/var"}]
    ids = {name: number for name, number in one.ids.items() if not name.startswith("filesystem./var")}
    got = history_points(
        Reader(one.history, resources, ids, 30.0).uses(HOURS, np.full(2, SIZE)), HOURS, one.clock.time_ms
    )
    assert got.known.tolist() == [30, 0]


def test_an_empty_history_has_no_points(past, host):
    got = read(past(*host), DAYS)
    assert got.used.shape == (1, POINTS)
    assert got.known.tolist() == [0]


def test_steps_can_end_at_any_time(past, host, clock):
    """As past forecasts are judged: from the moment they were made."""
    one = past(*host)
    one.write(hours=60)
    resources = [found for found in find_resources(one.specs) if found.name == "/var"]
    uses = Reader(one.history, resources, one.ids, 30.0).uses(HOURS, np.full(1, SIZE))
    got = points_of(uses, end_ms=clock.time_ms - 1_800_000, step_seconds=3600, count=12)
    np.testing.assert_allclose(got.used[0] / GIB, 60 - (0.5 + np.arange(11, -1, -1)) / 24, atol=0.01)
    np.testing.assert_allclose(got.seconds[0], 3600)
