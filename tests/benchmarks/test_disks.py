"""Invented disks are what they say, and the benchmarks tell ours beside the line's."""

import json
import subprocess
import sys
from math import inf
from pathlib import Path

import numpy as np
import pytest

from benchmarks import disks, everyday
from detectors.forecasts import DAYS, HOURS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("family", [*disks.FILLING, *disks.STILL])
def test_a_disk_fills_where_it_should_and_never_where_not(family):
    rng = np.random.default_rng(1)
    for _ in range(3):
        disk = disks.invent(family, rng)
        assert disk.used.max() < disks.LIMIT
        assert (disk.full < inf) == (family in disks.FILLING)


def test_points_are_the_maxima_of_whole_steps_back_from_the_newest():
    used = np.arange(3.0 * disks.DAY + 5)
    of_days = disks.points(used, DAYS)
    assert np.isfinite(of_days).sum() == 3
    assert of_days[-1] == used[-1]
    assert of_days[-2] == used[-1] - disks.DAY
    assert np.isfinite(disks.points(used, HOURS)).sum() == 72


def test_the_line_of_least_squares_arrives_when_it_should():
    used = 0.5 + 0.001 * np.arange(300)
    left = (disks.LIMIT - used[-1]) / 0.001 * disks.SECONDS
    assert disks.predict_linear(used, 72) == pytest.approx(left)
    assert disks.predict_linear(used[::-1].copy(), 72) == inf


def test_what_pages_again_within_the_hour_is_one_page():
    high = np.zeros(1000, np.bool_)
    high[[10, 11, 12]] = True  # too short
    high[100:110] = high[120:130] = high[600:700] = True
    assert everyday.starts(high).tolist() == [103, 603]


def test_it_prints_one_object_with_figures_beside_the_line_s():
    command = [sys.executable, "-m", "benchmarks.disks", "--runs", "20", "--no-everyday", "--json"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    document = json.loads(printed)
    assert document["benchmark"] == "disks"
    cases = {row["case"] for row in document["rows"]}
    assert cases == {"all that fill", "all that never fill", *disks.FILLING, *disks.STILL}
    held = next(row for row in document["rows"] if row["metric"] == "true time in 80 % interval")
    assert 0.5 <= held["ours"] <= 1.0
    assert {row["peer"] for row in document["rows"]} >= {f"predict_linear {name}" for name in disks.LINEAR}
