"""The past of a signal as a picture: it fits, it shows what was, and where nothing was measured it shows nothing."""

import math

import pytest

from daemon.cli.chart import Past, chart
from detectors.findings import Unit

END_MS = 1_772_344_800_000
STEP_MS = 60_000


def past(mean, unit=Unit.RATIO, threshold=None, spread=0.0):
    count = len(mean)
    least = [None if value is None else value - spread for value in mean]
    most = [None if value is None else value + spread for value in mean]
    times = [END_MS - STEP_MS * (count - 1 - place) for place in range(count)]
    return Past(times, mean, least, most, unit, times[0], END_MS, STEP_MS, threshold)


def drawn(*arguments, columns=80, rows=14, plain=False, **more):
    return [line.plain for line in chart(past(*arguments, **more), columns, rows, plain=plain)]


WAVE = [0.5 + 0.4 * math.sin(place / 9) for place in range(160)]


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
@pytest.mark.parametrize("unit", list(Unit))
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 3.3e9])
def test_it_is_as_large_as_asked(columns, unit, scale):
    lines = drawn([scale * one for one in WAVE], unit, columns=columns)
    assert len(lines) == 16
    assert max(map(len, lines)) <= columns
    assert lines[-1].rstrip().endswith("now")


def test_the_line_stands_where_the_values_are():
    lines = drawn([0.1] * 80 + [0.9] * 80, plain=True)
    rows = [row for row, line in enumerate(lines[:14]) if "*" in line[6:40]]
    later = [row for row, line in enumerate(lines[:14]) if "*" in line[50:]]
    assert min(rows) > max(later)
    assert "80 %" in "\n".join(lines)


def test_where_nothing_was_measured_there_is_no_line():
    lines = drawn([0.5] * 50 + [None] * 60 + [0.5] * 50, plain=True)
    (row,) = [line for line in lines[:14] if "*" in line]
    assert "*" not in row[33:52]
    assert row.count("*") > 40


def test_the_threshold_is_drawn_where_it_is_even_when_nothing_reached_it():
    lines = drawn([0.1] * 160, threshold=0.8, plain=True)
    assert any(line.count("-") > 60 for line in lines[:5])
    assert not any(line.count("-") > 60 for line in drawn([0.1] * 160, plain=True)[:14])


def test_spikes_that_the_mean_hides_are_shaded():
    lines = drawn([0.4] * 160, spread=0.3, plain=True)
    assert sum(line.count(".") for line in lines[:14]) > 400


@pytest.mark.parametrize("mean", [[], [None], [5.0], [7.0] * 20])
def test_little_is_drawn_too(mean):
    given = past(mean) if mean else Past([], [], [], [], Unit.COUNT, END_MS - 1000, END_MS, STEP_MS)
    assert len(chart(given, 80, 5, plain=False)) == 7
