"""What a history looks like is recognised where it was drawn, and not where nothing was."""

import numpy as np
import pytest

from detectors.forecasts import DAYS, HOURS, MONTHS
from detectors.shape import Shape, Step, Teeth, explain, recognise, without_steps

AT = np.arange(96)
DAY = 86_400.0
ROWS = 600


def gib(amount):
    return f"{amount:.3g} GiB"


def said(points, horizon=DAYS, capacity=None):
    return explain(recognise(points, horizon, capacity), gib)


def noise(seed=0, size=96, deviation=1.0):
    return deviation * np.random.default_rng(seed).normal(size=size)


def quiet(kind, rng, width):
    at = np.arange(width)
    steps = rng.normal(size=(ROWS, width))
    return {
        "random walk": lambda: 50 + np.cumsum(steps, axis=1),
        "noise": lambda: 50 + steps,
        "heavy noise": lambda: 50 + rng.standard_t(3, size=(ROWS, width)),
        "bursts": lambda: rng.lognormal(size=(ROWS, width)),
        "season": lambda: 50 + 5 * np.sin(2 * np.pi * (at + rng.integers(24, size=(ROWS, 1))) / 24) + 0.3 * steps,
        "working hours": lambda: 50 + 20.0 * ((at + rng.integers(24, size=(ROWS, 1))) % 24 < 8) + 0.3 * steps,
        "growth": lambda: 50 + 0.3 * at + 0.3 * steps,
        "curve": lambda: 5 * np.exp(0.03 * at) + 0.05 * steps,
        "flat": lambda: np.full((ROWS, width), 50.0),
    }[kind]()


KINDS = ["random walk", "noise", "heavy noise", "bursts", "season", "working hours", "growth", "curve", "flat"]


@pytest.mark.parametrize("width", [50, 96])
@pytest.mark.parametrize("kind", KINDS)
def test_no_steps_are_seen_where_there_are_none(kind, width):
    rows = quiet(kind, np.random.default_rng(5), width)
    assert (without_steps(rows, 24) != rows).any(axis=1).mean() < 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_no_teeth_and_no_season_are_seen_where_there_are_none(kind):
    rows = quiet(kind, np.random.default_rng(6), 96)[:100]
    shapes = [recognise(row, HOURS) for row in rows]
    assert np.mean([shape.teeth is not None for shape in shapes]) <= 0.02
    seasonal = np.mean([shape.season_seconds > 0 for shape in shapes])
    assert seasonal == 1 if kind in ("season", "working hours") else seasonal <= 0.05


@pytest.mark.parametrize("height", [-30.0, 30.0])
def test_a_step_is_taken_out_and_the_newest_level_stands(height):
    plain = 50 + 0.2 * AT + noise(deviation=0.3)
    stepped = plain + np.where(AT >= 60, height, 0.0)
    row = without_steps(stepped[None, :])[0]
    assert np.array_equal(row[60:], stepped[60:])
    assert row[:60] == pytest.approx(plain[:60] + height, abs=1.5)


def test_growth_goes_on_through_a_cleanup():
    stepped = 50 + 1.0 * AT - np.where(AT >= 60, 40.0, 0.0)
    row = without_steps(stepped[None, :])[0]
    assert np.diff(row) == pytest.approx(1.0)


def test_only_rows_with_a_step_are_changed_and_nan_stays():
    rows = np.stack([50 + noise(), 50 + 20.0 * (AT >= 50) + noise(1), np.full(96, np.nan)])
    rows[1, :20] = np.nan
    bare = without_steps(rows)
    assert np.array_equal(bare[0], rows[0])
    assert np.isnan(bare[1, :20]).all()
    assert bare[1, 20:50].mean() == pytest.approx(70.0, abs=1.0)
    assert np.isnan(bare[2]).all()


def test_a_history_that_has_not_seen_each_hour_twice_has_no_steps():
    morning = 50 + 20.0 * (np.arange(30) >= 15)
    assert np.array_equal(without_steps(morning[None, :], 24)[0], morning)
    assert not np.array_equal(without_steps(morning[None, :], 7)[0], morning)


@pytest.mark.parametrize("width", [1, 5, 6])
def test_the_shortest_rows_are_returned_as_they_are(width):
    rows = np.arange(2.0 * width).reshape(2, width)
    assert np.array_equal(without_steps(rows, 1), rows)


@pytest.mark.parametrize("period", [7, 12, 20])
def test_sawteeth_are_left_alone(period):
    rows = (50 + 20 * (AT % period) / period + noise(deviation=0.1))[None, :]
    assert np.array_equal(without_steps(rows), rows)


def test_teeth_have_a_period_a_height_and_a_trend():
    shape = recognise(50 + 0.2 * AT + 30 * (AT % 8) / 8, DAYS)
    assert shape.teeth.every_seconds == 8 * DAY
    assert shape.teeth.height == pytest.approx(26.0, rel=0.05)
    assert shape.teeth.peaks_a_day == pytest.approx(0.2, rel=0.01)
    assert shape.teeth.floors_a_day == pytest.approx(0.2, rel=0.01)
    assert shape.steps == ()


def test_what_is_recognised_is_said():
    assert said(50 + 1.2 * AT) == ["grows by 1.2 GiB a day"]
    assert said(250 - 1.2 * AT) == ["shrinks by 1.2 GiB a day"]
    assert said(np.full(96, 50.0)) == []
    assert said(50 + noise()) == []
    assert said(50 + 10 * np.sin(2 * np.pi * AT / 24), HOURS) == ["repeats every 24 hours"]
    assert said(50 + 10 * np.sin(2 * np.pi * AT / 7)) == ["repeats every 7 days"]
    assert said(50 + 10 * np.sin(2 * np.pi * AT / 12), MONTHS) == ["repeats every 12 months"]
    assert said(90 - 40.0 * (AT >= 94)) == ["40 GiB were cleaned up 2 days ago"]
    assert said(50 + 40.0 * (AT >= 90)) == ["40 GiB were added at once 6 days ago"]
    assert said(50 + 30 * (AT % 7) / 7) == ["falls back every 7 days (by 25.7 GiB)"]


def test_growth_under_a_season_is_seen():
    assert said(50 + 0.1 * AT + 10 * np.sin(2 * np.pi * AT / 24), HOURS) == [
        "grows by 2.4 GiB a day",
        "repeats every 24 hours",
    ]


def test_a_disk_that_was_grown_is_said():
    capacity = np.where(AT < 93, 100.0, 200.0)
    assert said(np.full(96, 50.0), capacity=capacity) == ["its capacity grew from 100 GiB to 200 GiB 3 days ago"]
    assert said(np.full(96, 50.0), capacity=capacity[::-1].copy()) == [
        "its capacity shrank from 200 GiB to 100 GiB 3 months ago"
    ]
    assert said(np.full(96, 50.0), capacity=np.full(96, 100.0)) == []


def test_a_rate_is_said_by_what_makes_it_a_number():
    shape = Shape(100.0, 0.001, 0.0, None, (), None)
    assert explain(shape, gib) == ["grows by 0.0304 GiB a month"]
    assert explain(Shape(1.0, 48.0, 0.0, None, (), None), gib) == ["grows by 2 GiB an hour"]


def test_the_newest_step_is_said_first_after_what_goes_on():
    steps = (Step(9 * DAY, 90.0, 50.0), Step(3 * DAY, 50.0, 70.0))
    shape = Shape(70.0, 0.0, 0.0, Teeth(7 * DAY, 30.0, 0.2, 0.2), steps, None)
    assert explain(shape, gib) == [
        "falls back every 7 days (by 30 GiB): its peaks rise by 0.2 GiB a day",
        "20 GiB were added at once 3 days ago",
        "40 GiB were cleaned up 9 days ago",
    ]


def test_nothing_has_no_shape():
    assert said(np.full(96, np.nan)) == []
    assert said([1.0, 2.0]) == []
