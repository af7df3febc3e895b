"""Forecasts against what came: on histories whose end is known."""

import json
import math
import re

import numpy as np
import pytest

from daemon.backtest.forecast_origins import MOST_ROWS
from daemon.backtest.forecast_plots import section
from daemon.backtest.forecast_words import document, rows
from daemon.backtest.forecasts import LAST, LINE, OURS, judge_forecasts
from daemon.backtest.page import render
from daemon.backtest.report import make_report
from daemon.backtest.result import Samples
from daemon.config import Capacity
from daemon.signals import Kind, SignalSpec
from detectors.capacity import CapacityForecaster
from detectors.findings import Unit

START = 1_772_344_800_000
STEP = 300  # seconds between two samples
DAY = 86_400 // STEP
CAPACITY = 1e11
FORECASTER = CapacityForecaster()


def mount(name, share):
    """The signals of a file system of which `share` (T,) is used, and their values."""
    prefix = f"filesystem.{name}."
    return [
        (SignalSpec(prefix + "used", Unit.RATIO, Kind.GAUGE, "filesystem", name), share),
        (SignalSpec(prefix + "free_bytes", Unit.BYTES, Kind.GAUGE, "filesystem", name), CAPACITY * (1 - share)),
    ]


def samples(*signals, keep=None):
    """Samples of signals (spec, values), the rows of `keep` alone."""
    values = np.stack([part for _, part in signals], axis=1).astype(np.float32)
    at = np.arange(len(values))
    at = at if keep is None else at[keep]
    zeros = np.zeros(len(at), np.int64)
    specs = tuple(spec for spec, _ in signals)
    time_ms = START + at.astype(np.int64) * STEP * 1000
    ids = tuple(range(len(specs)))
    return Samples(specs, ids, values[at], at + 1, time_ms, time_ms * 1_000_000, zeros, zeros, zeros)


def noise(days, size, seed=1):
    return np.random.default_rng(seed).normal(0.0, size, days * DAY)


def growing(days=24, per_day=0.035, start=0.2):
    """Steady growth that is full after (0.98 - start) / per_day days, and stays so."""
    return np.clip(start + per_day * np.arange(days * DAY) / DAY + noise(days, 0.0005), 0.0, 0.995)


def judged(*signals, keep=None, **capacity):
    return judge_forecasts(samples(*signals, keep=keep), FORECASTER, Capacity(**capacity))


def announced(report):
    return {one.name: (one.announced, one.came_true, one.missed) for one in report.announced}


def test_growth_is_announced_before_it_is_full():
    report = judged(*mount("/var", growing(days=23)))
    said = announced(report)
    happened = said[LAST][2]
    assert 3 <= happened <= 5  # origins of the last day before, one each six hours
    assert said[LAST] == (0, 0, happened)
    ours, came_true, missed = said[OURS]
    assert came_true + missed == happened
    assert came_true >= happened - 1
    assert ours - came_true <= 1
    hours, days = report.accuracies
    assert (hours.kind, hours.horizon, days.kind, days.horizon) == ("storage", "hours", "storage", "days")
    assert days.mase < 0.5 * days.mase_last
    assert days.coverage95 >= 0.8


def test_a_line_through_six_hours_cries_wolf_at_a_sawtooth():
    saw = 0.5 + 0.45 * ((np.arange(24 * DAY) % (DAY // 2)) / (DAY // 2)) + noise(24, 0.001)
    said = announced(judged(*mount("/var/log", np.clip(saw, 0.0, 0.97))))
    assert said[LINE][0] >= 20
    assert said[LINE][1] == 0
    assert said[OURS][0] <= said[LINE][0] / 4


def test_what_never_changes_is_forecast_without_error():
    report = judged(*mount("/", np.full(20 * DAY, 0.42)))
    assert announced(report) == {OURS: (0, 0, 0), LAST: (0, 0, 0), LINE: (0, 0, 0)}
    assert all(one.coverage80 == pytest.approx(1.0) for one in report.accuracies)


def test_no_forecast_knows_what_comes_after_it():
    share = growing(days=24, per_day=0.02)
    whole = judged(*mount("/var", share))
    fan = whole.shown.fans[1]
    other = share.copy()
    other[(fan.made_ms - START) // (STEP * 1000) + 1 :] = 0.1
    again = judged(*mount("/var", other))
    same = next(one for one in again.shown.fans if one.made_ms == fan.made_ms)
    assert same == fan
    assert again.shown.fans[-1] != whole.shown.fans[-1]


def test_the_most_endangered_is_shown():
    report = judged(*mount("/", np.full(24 * DAY, 0.5)), *mount("/var", growing(days=24, per_day=0.03)))
    shown = report.shown
    assert (shown.resource, shown.horizon, shown.limit) == ("/var", "days", 0.98)
    assert len(shown.fans) == 4
    for fan in shown.fans:
        assert fan.step_ms == 86_400_000
        assert all(low <= middle <= high for low, middle, high in zip(fan.lo95, fan.mean, fan.hi95, strict=True))
        truth = min(0.995, 0.2 + 0.03 * (fan.made_ms + fan.step_ms - START) / 86_400_000)
        assert fan.mean[0] == pytest.approx(truth, abs=0.01)


def test_many_resources_are_looked_at_less_often():
    signals = [one for place in range(8) for one in mount(f"/srv/{place}", growing(days=24, per_day=0.01))]
    report = judged(*signals)
    for one in report.accuracies:
        assert one.resources == 8
        assert one.forecasts <= MOST_ROWS


def test_processor_and_links_are_judged_and_never_full():
    wave = 0.5 + 0.4 * np.sin(np.arange(20 * DAY) / DAY * 2 * math.pi) + noise(20, 0.02)
    busy = (SignalSpec("cpu.busy", Unit.RATIO, Kind.RATE, "cpu"), np.clip(wave, 0, 1))
    name = "network.eth0.receive_bytes_per_second"
    link = (SignalSpec(name, Unit.BYTES_PER_SECOND, Kind.RATE, "network", "eth0"), 1e6 * np.clip(wave, 0.01, 1))
    report = judged(busy, link)
    assert {one.kind for one in report.accuracies} == {"cpu", "bandwidth"}
    assert all(one.mase < one.mase_last for one in report.accuracies if one.horizon == "hours")
    assert (report.looks, report.shown) == (0, None)


def test_what_is_left_out_of_forecasts_is_left_out_here():
    signals = [*mount("/var", growing(days=16)), *mount("/tmp", growing(days=16))]
    assert {one.resources for one in judged(*signals, exclude=("/tmp",)).accuracies} == {1}
    assert judged(*signals, exclude=("/*",)) is None


def test_a_floor_makes_it_full_sooner():
    share = growing(days=20, per_day=0.02)  # 60 % at the end
    low, high = (judged(*mount("/var", share), free_floor_ratio=floor) for floor in (0.02, 0.45))
    assert (announced(low)[LAST][2], announced(high)[LAST][2] > 0) == (0, True)


def test_what_nobody_can_write_to_is_not_said_to_be_full():
    read_only = SignalSpec("filesystem./iso.read_only", Unit.RATIO, Kind.GAUGE, "filesystem", "/iso")
    report = judged(*mount("/iso", growing(days=16)), (read_only, np.ones(16 * DAY)))
    assert (report.looks, report.shown) == (0, None)


def test_a_history_too_short_or_of_nothing_has_no_forecast():
    assert judged(*mount("/", np.full(100, 0.4))) is None
    load = (SignalSpec("load.one_per_cpu", Unit.RATIO, Kind.GAUGE, "load"), np.full(20 * DAY, 0.4))
    assert judged(load) is None
    assert judged(*mount("/", np.full(20 * DAY, 0.4)), keep=slice(0, 0)) is None
    assert judged(*mount("/", np.full(20 * DAY, np.nan))) is None


def test_a_gap_is_no_growth():
    keep = np.r_[0 : 8 * DAY, 14 * DAY : 24 * DAY]
    report = judged(*mount("/var", growing(days=24, per_day=0.01)), keep=keep)
    assert announced(report)[OURS] == (0, 0, 0)


def told(report):
    return [f"{label:<10} {text.plain}".rstrip() for label, text in rows(report)]


def test_it_is_told_in_eighty_columns():
    report = judged(*mount("/var", growing(days=23)))
    lines = told(report)
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("forecasts  from what was known then")
    assert re.match(r"^ +resource +ahead +forecasts +MASE +last value +line 6 h +in 80 % +in 95 %$", lines[1])
    assert re.match(r"^ +storage +hours +\d+ +\d\.\d\d +\d+\.\d\d +\d\.\d\d +\d+ % +\d+ %$", lines[2])
    assert re.match(r"^full +within a day: at [345] of \d+ times that it was looked at$", lines[4])
    assert re.match(r"^ +ours +announced [345], of them true [345]; missed [01]$", lines[5])
    quiet = told(judged(*mount("/", np.full(20 * DAY, 0.42))))
    assert re.match(r"^full +within a day: at none of \d+ times that it was looked at; nobody said so$", quiet[-1])


def test_programs_get_the_same_figures():
    report = judged(*mount("/var", growing(days=23)))
    said = json.loads(json.dumps(document(report), allow_nan=False))
    assert list(said) == ["accuracy", "full_within_a_day", "problem"]
    assert [one["horizon"] for one in said["accuracy"]] == ["hours", "days"]
    assert said["full_within_a_day"]["methods"][0] == {
        "name": OURS,
        **dict(zip(("announced", "came_true", "missed"), announced(report)[OURS], strict=True)),
    }


def test_the_page_has_a_table_and_a_picture():
    name = "/mnt/<script>\"'&"
    said = "".join(section(judged(*mount(name, growing(days=24, per_day=0.03)))))
    assert "<script" not in said
    assert "&lt;script&gt;" in said
    assert said.count("<polygon ") == 8
    assert said.count('class="median"') == 5  # and the key
    points = re.findall(r'points="([^"]*)"', said)
    for x, y in (pair.split(",") for one in points for pair in one.split()):
        assert 0 <= float(x) <= 1000
        assert 0 <= float(y) <= 200


def test_a_backtest_reports_them(scene):
    host = scene(days=14)
    for spec, values in mount("/var", np.repeat(growing(days=14, per_day=0.01), 10)):
        host.columns[spec] = values
    backtest = host.backtest()
    report = make_report(backtest, backtest)
    assert {one.kind for one in report.forecasts.accuracies} == {"storage"}
    assert report.comparison.other.forecasts is None  # the same history: once is enough
    assert "Forecasts of capacity" in render(report, backtest)
