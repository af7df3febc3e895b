import numpy as np
import pytest

from detectors.architectures import create_network
from detectors.capacity_inputs import FARTHEST, SHARE, corrected, correction, inputs, methods, part, units
from detectors.forecasters import select
from detectors.forecasts import DAYS, HOURS, MONTHS, STEPS
from detectors.synthetic import groups, series


@pytest.fixture(scope="module")
def history():
    return series(5, 60, 96, DAYS)[0][:, :96]


@pytest.fixture(scope="module")
def chosen(history):
    return select(history, STEPS, DAYS.season)


@pytest.fixture(scope="module")
def loud():
    """A network of random weights, which says something about everything."""
    return create_network("capacity", seed=1)


class Says:
    """Says the same of every row, and counts the rows it is asked about."""

    def __init__(self, value):
        self.value = value
        self.rows = 0

    def predict(self, rows):
        self.rows += len(rows)
        return np.full((len(rows), STEPS), self.value, np.float32)


def test_inputs_have_no_unit(history, chosen):
    asked = corrected(history, chosen) & (chosen.scale > 1e-6 * np.nanmax(history, axis=1))
    rows, some = history[asked], part(chosen, asked)
    grown = select(rows * 2.0**20, STEPS, DAYS.season)
    np.testing.assert_allclose(inputs(rows, None, DAYS, some), inputs(rows * 2.0**20, None, DAYS, grown), atol=1e-4)


def test_inputs_are_finite_and_small_whatever_comes(history, chosen):
    rows = np.array(history)
    rows[0, 50] *= 1e6
    rows[1, :94] = np.nan
    rows[2] = np.linspace(1, 2, 96)
    again = select(rows, STEPS, DAYS.season)
    asked = corrected(rows, again)
    seen = inputs(rows[asked], None, DAYS, part(again, asked))
    assert seen.shape == (int(asked.sum()), 384)
    assert np.isfinite(seen).all()
    assert np.abs(seen).max() < 30


def test_every_part_of_a_resource_is_seen_where_it_belongs(history, chosen):
    asked = corrected(history, chosen)
    rows, some = history[asked], part(chosen, asked)
    seen = inputs(rows, None, DAYS, some)
    unit = units(rows, some.scale)
    late = np.isfinite(rows[:, 40])
    away = (rows[late, 40] - rows[late, -1]) / unit[late]
    np.testing.assert_allclose(seen[late, 40], np.sign(away) * np.log1p(np.abs(away)) / 3, rtol=1e-5, atol=1e-6)
    assert (seen[:, 95] == 0).all()
    assert (seen[~late, 40] == 0).all()
    ahead = (some.mean[:, 0] - rows[:, -1]) / unit
    np.testing.assert_allclose(seen[:, 96], np.sign(ahead) * np.log1p(np.abs(ahead)), rtol=1e-5, atol=1e-6)
    ranks = seen[:, 140 + 4 * len(methods()) :][:, : len(methods())]
    assert [methods()[one] for one in ranks.argmax(axis=1)] == [names[0] for names in some.names]
    assert (seen[:, 240:] == 0).all()


def test_horizons_are_told_apart_and_companions_have_their_places(history, chosen):
    asked = corrected(history, chosen)
    rows, some = history[asked], part(chosen, asked)
    flags = [inputs(rows, None, horizon, some)[0, 137:140].tolist() for horizon in (HOURS, DAYS, MONTHS)]
    assert flags == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    others = np.full((len(rows), 3, 96), np.nan)
    others[:, 1] = np.arange(96.0)
    seen = inputs(rows, others, DAYS, some)
    assert (seen[:, 240:288] == 0).all()
    assert (seen[:, 288:335] < 0).all()
    assert (seen[:, 336:] == 0).all()


def test_a_correction_is_half_of_what_is_said_and_never_far(history, chosen):
    asked = corrected(history, chosen)
    unit = units(history, chosen.scale)[asked]
    half = correction(Says(1.0), history, None, DAYS, chosen)
    np.testing.assert_allclose(half[asked], SHARE * unit[:, None] * np.ones(STEPS))
    far = correction(Says(-50.0), history, None, DAYS, chosen)
    np.testing.assert_allclose(far[asked], -SHARE * FARTHEST * unit[:, None] * np.ones(STEPS))
    assert (correction(Says(np.nan), history, None, DAYS, chosen) == 0).all()


def test_what_stands_still_or_is_too_short_is_not_asked_about():
    rows = np.array(series(8, 3, 96, DAYS)[0][:, -96:])
    rows[0] = np.linspace(5, 9, 96)
    rows[1, -4:] = rows[1, -1]
    rows[2, :-3] = np.nan
    told = select(rows, STEPS, DAYS.season)
    says = Says(1.0)
    moved = correction(says, rows, None, DAYS, told)
    assert says.rows == 1
    assert (moved[0] != 0).all()
    assert (moved[1:] == 0).all()
    assert correction(says, rows[:0], None, DAYS, select(rows[:0], STEPS, DAYS.season)).shape == (0, STEPS)


def test_rows_are_corrected_each_for_itself(history, chosen, loud):
    whole = correction(loud, history, None, DAYS, chosen)
    some = np.arange(len(history)) % 7 == 3
    alone = correction(loud, history[some], None, DAYS, part(chosen, some))
    np.testing.assert_allclose(alone, whole[some], rtol=1e-4, atol=1e-6 * np.abs(whole[some]).max())
    assert np.abs(whole).max() > 0


def test_companions_that_are_missing_are_as_if_there_were_none(loud):
    hosts = groups(4, 20, 96, HOURS)[:, :, :96]
    chosen = select(hosts[:, 2], STEPS, HOURS.season)
    none = correction(loud, hosts[:, 2], None, HOURS, chosen)
    missing = correction(loud, hosts[:, 2], np.full((20, 3, 96), np.nan), HOURS, chosen)
    there = correction(loud, hosts[:, 2], hosts[:, [0, 1, 3]], HOURS, chosen)
    np.testing.assert_array_equal(none, missing)
    assert not np.allclose(none, there)


def test_a_unit_is_never_nothing():
    rows = np.array([[3.0] * 20, [0.0] * 20, [1.0, 2.0] * 10, [1e12] * 19 + [1e12 + 5]])
    unit = units(rows, np.array([0.0, np.nan, 1e-9, np.nan]))
    assert (unit > 0).all()
    assert unit[2] == pytest.approx(0.02)
    assert unit[3] == pytest.approx(1e3)
