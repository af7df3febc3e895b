"""Bands hold what they promise on series whose law is known, and follow the host where it is worse."""

from dataclasses import replace

import numpy as np
import pytest

from detectors.capacity_inputs import units
from detectors.forecasters import select
from detectors.interval_fitting import AIMED, fit_table
from detectors.intervals import (
    FALLBACK,
    LEVELS,
    IntervalTable,
    error_quantiles,
    features_of,
    from_arrays,
    growth_of,
    to_arrays,
)

FLAT = IntervalTable(
    0.5, np.log(np.array([[4.0], [2.0], [2.0], [4.0]]) * np.ones(12)), np.zeros((4, 2)), np.zeros(2), np.ones(2)
)


def law(seed: int, count: int, width: int = 60) -> np.ndarray:
    """Random walks and noise about a level, of many scales and tails."""
    rng = np.random.default_rng(seed)
    normal, heavy = rng.normal(0, 1, (2, count, width)), rng.standard_t(3, (2, count, width))
    shocks = np.where(rng.random((count, 1)) < 0.5, normal, heavy)
    rows = np.where(rng.random((count, 1)) < 0.5, np.cumsum(shocks[0], axis=1), 3 * shocks[1])
    return (500 + rows) * 10.0 ** rng.uniform(-3, 9, (count, 1))


def told(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    history = rows[:, :-12]
    chosen = select(history, 12, 7)
    return history, chosen.errors, units(history, chosen.scale), rows[:, -12:] - chosen.mean


@pytest.fixture(scope="module")
def table() -> IntervalTable:
    return fit_table(*told(law(1, 800)))


def test_a_fitted_table_holds_what_it_aims_at_on_series_it_has_not_seen(table):
    history, errors, unit, came = told(law(2, 800))
    quantiles = error_quantiles(table, history, errors, unit, np.arange(len(history)))
    below = (came[None] < quantiles).mean(axis=1)  # (4, 12)
    for place, share in enumerate(AIMED):
        assert below[place].mean() == pytest.approx(share, abs=0.02)
        assert below[place] == pytest.approx(np.full(12, share), abs=0.05)


def test_heavy_tails_get_wider_outer_bounds(table):
    rng = np.random.default_rng(3)
    light, heavy = rng.normal(0, 1, (1, 60)), rng.standard_t(2, (1, 60))
    size = [table.quantiles(features_of(np.cumsum(one, axis=1)))[3, 0].mean() for one in (light, heavy)]
    assert size[1] > 1.1 * size[0]


def test_features_of_normal_changes_of_a_line_and_of_nothing():
    rng = np.random.default_rng(4)
    walk = np.cumsum(rng.normal(0, 1, (1, 20_000)), axis=1)
    tails, trend = features_of(np.concatenate([walk, np.arange(20_000.0)[None, :], np.full((1, 20_000), 3.0)])).T
    assert tails[0] == pytest.approx(np.log(np.sqrt(np.pi / 2)), abs=0.02)
    assert trend == pytest.approx([0.0, 1.0, 0.0], abs=0.02)
    assert tails[1:] == pytest.approx([0.0, 0.0])
    padded = np.r_[[np.nan] * 7, walk[0]][None, :]
    assert features_of(padded)[0] == pytest.approx([tails[0], trend[0]])


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_the_growth_of_errors_with_the_step_is_the_rows_own(exponent):
    errors = np.arange(1, 13.0) ** exponent * np.ones((12, 1, 12))
    assert growth_of(errors, np.ones(1), 0.3)[0] == pytest.approx(np.arange(1, 13) ** exponent, rel=0.35)
    many = np.repeat(errors, 20, axis=0)
    assert growth_of(many, np.ones(1), 0.3)[0] == pytest.approx(np.arange(1, 13) ** exponent, rel=0.03)


def test_without_any_error_the_tables_exponent_rules():
    grown = growth_of(np.full((12, 1, 12), np.nan), np.ones(1), 0.5)[0]
    assert grown[-1] / grown[0] == pytest.approx(12**0.5)


def walk_with_errors(size: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    rows = np.cumsum(rng.normal(0, 1, (4, 60)), axis=1)
    return rows, rng.normal(0, size, (12, 4, 12))


def test_a_host_that_is_worse_than_the_table_widens_its_bands_and_one_that_is_better_does_not_narrow_them():
    rows, calm = walk_with_errors(0.3)
    _, wild = walk_with_errors(3.0)
    pools = np.zeros(4, np.int64)
    plain = FLAT.quantiles(features_of(rows))
    unit = np.full(4, 1.0)
    by_calm = error_quantiles(FLAT, rows, calm, unit, pools) / growth_of(calm, unit, 0.5)
    assert np.allclose(by_calm, plain, rtol=1e-9)
    narrow = replace(FLAT, base=FLAT.base - np.log(3))
    by_wild = error_quantiles(narrow, rows, wild, unit, pools)
    for lower, upper, share in ((1, 2, 0.8), (0, 3, 0.95)):
        inside = (wild >= by_wild[lower]) & (wild <= by_wild[upper])
        assert inside.mean() == pytest.approx(share, abs=0.02)


def test_pools_do_not_touch_each_other():
    rows, errors = walk_with_errors(0.3)
    errors[:, 2:] *= np.where(np.arange(12) % 3 == 0, 40, 1)[:, None, None]
    unit = np.full(4, 1.0)
    apart = error_quantiles(FLAT, rows, errors, unit, np.array([0, 0, 1, 1]))
    alone = error_quantiles(FLAT, rows[:2], errors[:, :2], unit[:2], np.zeros(2, np.int64))
    assert np.allclose(apart[:, :2], alone)


def test_the_bounds_stand_in_their_order():
    history, errors, unit, _ = told(law(6, 50))
    for one in (FALLBACK, FLAT):
        quantiles = error_quantiles(one, history, errors, unit, np.zeros(50, np.int64))
        assert (np.diff(quantiles, axis=0) >= 0).all()
        assert quantiles.shape == (len(LEVELS), 50, 12)


def test_too_few_series_are_refused():
    with pytest.raises(ValueError, match="too few"):
        fit_table(*told(law(7, 10)))


def test_tables_survive_a_file(table):
    back = from_arrays(to_arrays({"hours": table}), ("hours",))["hours"]
    assert back.exponent == table.exponent
    assert np.array_equal(back.base, table.base)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("base", np.zeros((4, 11))),
        ("slopes", np.full((4, 2), np.nan)),
        ("spread", np.zeros(2)),
        ("exponent", np.zeros(0)),
    ],
)
def test_tables_that_are_not_sound_are_refused(table, part, value):
    arrays = to_arrays({"hours": table}) | {f"hours.{part}": value}
    with pytest.raises(ValueError, match="hours"):
        from_arrays(arrays, ("hours",))
    del arrays[f"hours.{part}"]
    with pytest.raises(KeyError):
        from_arrays(arrays, ("hours",))
