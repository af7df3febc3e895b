"""The forecaster as it is shipped: bounds, order, coverage on simulated resources, and what a broken file does."""

import shutil
from itertools import pairwise

import numpy as np
import pytest

from detectors import capacity, synthetic
from detectors.capacity import CapacityForecaster, load_forecaster
from detectors.forecasts import DAYS, HORIZONS, HOURS, MONTHS

FREE = np.inf
SHIPPED = load_forecaster()


def rows_of(seed: int, count: int, horizon=DAYS, length: int = 96) -> np.ndarray:
    return synthetic.series(seed, count, length, horizon)[0]


def forecast(rows, horizon=DAYS, forecaster=None, high=FREE, **more):
    bounds = np.zeros(len(rows)), np.full(len(rows), high)
    return (forecaster or SHIPPED).forecast(rows, horizon, *bounds, **more)


def test_what_is_shipped_is_whole():
    assert SHIPPED.problem == ""
    assert set(SHIPPED.tables) == {horizon.name for horizon in HORIZONS}


@pytest.mark.parametrize("horizon", HORIZONS, ids=lambda horizon: horizon.name)
def test_bands_hold_on_resources_that_were_not_seen(horizon):
    rows = rows_of(90_210, 240, horizon)
    bands = forecast(rows[:, :-12], horizon, pools=np.arange(len(rows))).bands
    came = rows[:, -12:]
    within80 = ((came >= bands.lo80) & (came <= bands.hi80)).mean()
    within95 = ((came >= bands.lo95) & (came <= bands.hi95)).mean()
    assert 0.74 <= within80 <= 0.9
    assert 0.92 <= within95 <= 0.995


def test_bands_stand_in_order_and_within_their_bounds():
    rows = rows_of(7, 120)[:, :-12]
    told = forecast(rows, high=float(np.nanmedian(rows)))
    bands = told.bands
    order = [bands.lo95, bands.lo80, bands.mean, bands.hi80, bands.hi95]
    for below, above in pairwise(order):
        assert (below <= above + 1e-9 * np.abs(above)).all()
    for one in (*order, told.simple):
        assert (one >= 0).all()
        assert (one <= np.nanmedian(rows)).all()


def test_what_never_moves_is_forecast_to_stay():
    told = forecast(np.full((1, 96), 7.0))
    assert told.bands.mean == pytest.approx(np.full((1, 12), 7.0))
    assert told.bands.hi95 == pytest.approx(told.bands.mean, abs=0.1)


def test_the_network_corrects_by_little_and_can_be_left_out():
    rows = rows_of(11, 100)[:, :-12]
    ours, alone = forecast(rows), forecast(rows, forecaster=CapacityForecaster(None, SHIPPED.tables))
    assert np.allclose(ours.simple, alone.simple)
    assert np.allclose(alone.bands.mean, alone.simple)
    moved = np.abs(ours.bands.mean - ours.simple) / np.maximum(ours.scale[:, None], 1e-300)
    assert 0 < np.nanmedian(moved) < 1.0


def test_the_network_does_no_harm_on_resources_it_has_not_seen():
    better = []
    for horizon in HORIZONS:
        rows = rows_of(31_337, 200, horizon)
        told = forecast(rows[:, :-12], horizon)
        scale = np.nanmean(np.abs(np.diff(rows[:, :-12], axis=1)), axis=1)[:, None]
        moving = scale[:, 0] > 0
        ours, alone = (np.abs(mean - rows[:, -12:])[moving] / scale[moving] for mean in (told.bands.mean, told.simple))
        better.append(np.minimum(alone, 30).mean() - np.minimum(ours, 30).mean())
    assert sum(better) > 0


def test_companions_may_be_missing_or_there():
    hosts = synthetic.groups(5, 30, 96, HOURS)[:, :, :-12]
    others = hosts[:, 1:]
    told = forecast(hosts[:, 0], HOURS, companions=others, high=1.0)
    none = forecast(hosts[:, 0], HOURS, companions=np.full_like(others, np.nan), high=1.0)
    assert np.allclose(forecast(hosts[:, 0], HOURS, high=1.0).bands.mean, none.bands.mean)
    assert np.isfinite(told.bands.mean).all()


@pytest.mark.parametrize("broken", ["network", "intervals"])
def test_a_file_that_is_broken_or_gone_is_told_and_done_without(tmp_path, broken):
    rows = rows_of(3, 20)[:, :-12]
    for how in ("gone", "altered", "foreign"):
        folder = tmp_path / how
        shutil.copytree(capacity.SHIPPED, folder)
        if how == "gone":
            shutil.rmtree(folder / broken)
        elif how == "altered":
            file = folder / broken / "model.safetensors"
            file.write_bytes(file.read_bytes()[:-3])
        else:
            shutil.rmtree(folder / broken)
            shutil.copytree(folder / ("intervals" if broken == "network" else "network"), folder / broken)
        forecaster = load_forecaster(folder)
        assert str(folder / broken) in forecaster.problem
        told = forecast(rows, forecaster=forecaster)
        assert np.isfinite(told.bands.hi95).all()
        if broken == "intervals":
            whole = forecast(rows)
            assert np.mean(told.bands.hi80 - told.bands.mean) > np.mean(whole.bands.hi80 - whole.bands.mean)


def test_no_resources_are_no_forecasts():
    assert forecast(np.zeros((0, 96)), MONTHS).bands.mean.shape == (0, 12)


def test_growth_goes_on_after_a_cleanup():
    rng = np.random.default_rng(8)
    grown = 100 + 2.0 * np.arange(96) + rng.normal(0, 0.3, 96)
    cleaned = grown - np.where(np.arange(96) >= 89, 60.0, 0.0)
    told = forecast(np.stack([grown, cleaned]))
    assert told.bands.mean[1] == pytest.approx(told.bands.mean[0] - 60, abs=1.0)
    assert told.bands.hi80[1] - told.bands.lo80[1] == pytest.approx(told.bands.hi80[0] - told.bands.lo80[0], rel=0.2)
