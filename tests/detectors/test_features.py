import warnings
from dataclasses import replace

import numpy as np
import pytest

from detectors.anomaly import fit_model, score_rows
from detectors.features import (
    FEATURES,
    FLOORS,
    INPUTS,
    SPAN,
    TOP_SIGNALS,
    WINDOW,
    Context,
    aggregate,
    fit_context,
    network_inputs,
    noise,
    signal_surprise,
    surprise,
)
from detectors.findings import Unit

HOUR = 120  # samples of 30 s


def context_of(values, floor=0.01):
    hours = np.arange(len(values)) // HOUR % 168
    return fit_context(values, hours, np.full(values.shape[1], floor)), hours


def test_there_is_a_floor_for_every_unit():
    assert set(FLOORS) == set(Unit)
    assert all(floor > 0 for floor in FLOORS.values())
    assert (len(FEATURES), WINDOW, INPUTS) == (8, SPAN + 1, 256)


def test_one_row_at_a_time_equals_all_at_once(quiet_host, seed):
    values = quiet_host(2500, 9, seed)  # more than one chunk
    rng = np.random.default_rng(seed)
    values[rng.random(values.shape) < 0.02] = np.nan
    values[700:703] = np.nan
    context, hours = context_of(values)
    batch = surprise(context, values, hours)
    assert batch.shape == (2500 - SPAN, 9, 8)
    for row in [*range(690, 730), *rng.integers(SPAN, 2500, 60).tolist(), SPAN, 2048 + SPAN - 1, 2048 + SPAN, 2499]:
        one = surprise(context, values[row - SPAN : row + 1], hours[row - SPAN : row + 1])
        np.testing.assert_allclose(one[0], batch[row - SPAN], atol=1e-6)
        whole = network_inputs(batch[row - SPAN : row - SPAN + 1], 9)
        np.testing.assert_allclose(network_inputs(one, 9), whole, atol=1e-6)


def test_each_feature_sees_the_change_it_is_named_after(quiet_host):
    values = quiet_host(3000, 6)
    context, hours = context_of(values)
    quiet = surprise(context, values, hours)
    usual = np.quantile(quiet, 0.99, axis=(0, 1))

    def raised(change, signal=2):
        changed = values[-WINDOW:].copy()
        change(changed)
        return surprise(context, changed, hours[-WINDOW:])[0, signal] > usual

    def up(rows):
        rows[-1, 2] += 3.0

    def ramp(rows):
        rows[:, 2] += np.linspace(0, 3, WINDOW)

    def shaken(rows):
        rows[:, 2] += np.tile([1.0, -1.0], WINDOW // 2)

    def frozen(rows):
        rows[1:, 2] = rows[1, 2]

    names = {name: place for place, name in enumerate(FEATURES)}
    assert raised(up)[[names[name] for name in ("shift", "difference", "factors", "autoregression", "range")]].all()
    assert raised(ramp)[[names["slope"], names["shift"]]].all()
    assert raised(shaken)[[names["volatility"], names["difference"]]].all()
    assert raised(frozen)[names["volatility"]]  # gone flat
    assert not raised(lambda rows: None).any()


def test_the_season_is_what_is_usual_at_this_hour():
    rng = np.random.default_rng(0)
    hours = np.arange(7 * 24 * 12) // 12 % 168
    rhythm = np.where(hours % 24 == 6, 1.0, 0.0)  # "the 6 am cron job"
    values = (rhythm[:, None] + 0.01 * rng.normal(size=(len(hours), 2))).astype(np.float32)
    context = fit_context(values, hours, np.full(2, 0.01))
    season = FEATURES.index("season")
    rows = np.flatnonzero(hours == 3 * 24 + 6)
    window = values[rows[-1] - SPAN : rows[-1] + 1]
    at_six = surprise(context, window, np.full(WINDOW, 3 * 24 + 6))[0, 0, season]
    at_noon = surprise(context, window, np.full(WINDOW, 3 * 24 + 12))[0, 0, season]
    unknown = surprise(context, window, np.full(WINDOW, -1))[0, 0, season]
    assert at_six < 2
    assert at_noon > 4
    assert unknown == 0


def test_two_days_show_no_season_and_doubtful_hours_teach_none(quiet_host):
    values = quiet_host(500, 3)
    assert np.isnan(fit_context(values, np.arange(500) // 12 % 168, np.full(3, 0.01)).season[40:]).all()
    assert np.isnan(fit_context(values, np.full(500, -1), np.full(3, 0.01)).season).all()


def test_constant_signals_divide_by_nothing_and_surprise_nobody(quiet_host):
    values = quiet_host(400, 5)
    values[:, 1] = 0.0
    values[:, 3] = 7e12
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        context, hours = context_of(values)
        quiet = surprise(context, values, hours)
        assert np.isfinite(quiet).all()
        assert quiet[:, [1, 3]].max() < 1e-5  # scales are learned from float32
        moved = values[-WINDOW:].copy()
        moved[-1, 1] = 0.5
        loud = surprise(context, moved, hours[-WINDOW:])
        assert np.isfinite(loud).all()
        assert loud[0, 1, FEATURES.index("shift")] > 3


def test_a_signal_that_was_never_seen_surprises_nobody_when_it_comes(quiet_host):
    """A disk that is plugged in later is not judged by what stood in its place."""
    values = quiet_host(400, 6)
    values[:, 2] = np.nan
    values[:396, 4] = np.nan  # four values are not enough either
    context, hours = context_of(values)
    later = quiet_host(60, 6, 7)
    later[:, [2, 4]] += 1e9
    assert (surprise(context, later, hours[:60])[:, [2, 4]] < 1e-6).all()
    model = fit_model(values, hours, range(6), np.full(6, 0.01), with_network=False)
    without = fit_model(values[:, [0, 1, 3, 5]], hours, range(4), np.full(4, 0.01), with_network=False)
    got = score_rows(model, later, hours[:60]).raw
    np.testing.assert_allclose(got, score_rows(without, later[:, [0, 1, 3, 5]], hours[:60]).raw, atol=1e-5)


def test_a_signal_that_comes_in_the_middle_does_not_deafen_the_rest(quiet_host):
    values = quiet_host(600, 10)
    hours = np.arange(600) // HOUR
    floor = np.full(10, 0.01)
    quiet = fit_model(values, hours, range(10), floor, with_network=False).scales[0].high
    values[:320, 9] = np.nan
    values[320:, 9] += 1e6
    got = fit_model(values, hours, range(10), floor, with_network=False).scales[0].high
    assert got < 1.3 * quiet


@pytest.mark.parametrize("what", ["all constant", "all missing", "one signal", "one missing signal"])
def test_poor_hosts_give_finite_surprise(quiet_host, what):
    values = quiet_host(200, 4)
    if what == "all constant":
        values[:] = 3.0
    elif what == "all missing":
        values[:] = np.nan
    elif what == "one signal":
        values = values[:, :1]
    else:
        values[:, 2] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        context, hours = context_of(values)
        out = surprise(context, values, hours)
    assert np.isfinite(out).all()
    assert np.isfinite(np.concatenate([array.ravel() for array in context.arrays().values()])[: context.signals]).all()


def test_missing_values_hardly_raise_the_score(quiet_host, seed):
    """What is missing says nothing; and it does not make the rest look unlike itself."""
    rng = np.random.default_rng(seed)
    values = quiet_host(1200, 14, seed)
    hours = np.arange(1200) // HOUR
    model = fit_model(values[:900], hours[:900], range(14), np.full(14, 0.01), with_network=False)
    later, at = values[900:].copy(), hours[900:]
    later[150:] += np.where(rng.random(14) < 0.5, 0.4, 0.0)  # half of the test is abnormal
    whole = score_rows(model, later, at).raw
    for count in (1, 4, 9):
        holes = later.copy()
        holes[:, rng.permutation(14)[:count]] = np.nan
        got = score_rows(model, holes, at).raw
        # the factors that the rest tell differ a little: 0.4 % at most with 120 seeds
        assert np.median(got) <= np.median(whole) * 1.02
        assert np.median(got[:130]) <= np.median(whole[:130]) * 1.02
        assert got.max() <= whole.max() * 1.05


def test_a_missing_value_lowers_every_feature_of_its_own_signal_to_zero(quiet_host):
    values = quiet_host(400, 8)
    context, hours = context_of(values)
    window = values[-WINDOW:].copy()
    window[-1] += 1.0
    full = surprise(context, window, hours[-WINDOW:])[0]
    window[-1, 3] = np.nan
    holed = surprise(context, window, hours[-WINDOW:])[0]
    assert (full[3] > 0).any()
    assert (holed[3] == 0).all()


def test_a_collector_that_fails_does_not_make_its_companions_suspicious():
    """Signals that move together and are all raised: without half of them the others are no more surprising."""
    rng = np.random.default_rng(5)
    load = rng.normal(size=(2000, 1))
    values = (load + 0.05 * rng.normal(size=(2000, 8))).astype(np.float32)
    context, hours = context_of(values)
    quiet = surprise(context, values, hours)[:, :, FEATURES.index("factors")]
    window = values[-WINDOW:].copy()
    window[-1] = 4.0 + 0.05 * rng.normal(size=8)
    window[:, :5] = np.nan
    residual = surprise(context, window, hours[-WINDOW:])[0, 5:, FEATURES.index("factors")]
    assert residual.max() <= np.quantile(quiet, 0.999)


def test_the_network_sees_the_most_surprising_signals_first():
    rng = np.random.default_rng(2)
    features = rng.random((5, 40, 8)).astype(np.float32)
    inputs = network_inputs(features, 40)
    assert inputs.shape == (5, 256)
    for row in range(5):
        order = np.argsort(-signal_surprise(features)[row])[:TOP_SIGNALS]
        np.testing.assert_allclose(inputs[row, : TOP_SIGNALS * 8], features[row, order].ravel())
    np.testing.assert_allclose(inputs[:, TOP_SIGNALS * 8 :], features.mean(axis=1), rtol=1e-6)
    few = network_inputs(features[:, :2], 2)
    assert (few[:, 16 : TOP_SIGNALS * 8] == 0).all()
    assert (network_inputs(features[:, :0], 0) == 0).all()
    assert network_inputs(features[:0], 40).shape == (0, 256)


def test_the_power_mean_is_the_power_mean():
    features = 8 * np.random.default_rng(1).random((4, 12, 8)).astype(np.float32)
    order = np.argsort(-signal_surprise(features), axis=1)[:, :10]
    ten = np.minimum(np.take_along_axis(features, order[:, :, None], axis=1).astype(float), 6)
    expected = np.cbrt((ten**3).mean(axis=(1, 2)))
    np.testing.assert_allclose(aggregate(network_inputs(features, 12)), expected, rtol=1e-6)
    few = np.cbrt((np.minimum(features[:, :6].astype(float), 6) ** 3).sum(axis=(1, 2)) / 80)
    np.testing.assert_allclose(aggregate(network_inputs(features[:, :6], 6)), few, rtol=1e-6)
    np.testing.assert_allclose(signal_surprise(features), np.cbrt((features**3).mean(axis=2)), rtol=1e-6)


def test_a_context_is_all_arrays_and_comes_back_from_them(quiet_host):
    context, _ = context_of(quiet_host(200, 5))
    again = Context(**context.arrays())
    assert again.signals == 5
    assert all(np.array_equal(value, again.arrays()[key], equal_nan=True) for key, value in context.arrays().items())


def test_a_weekly_rhythm_is_learned_once_an_hour_of_the_week_came_twice(seed):
    rng = np.random.default_rng(seed)
    hours = np.repeat(np.arange(3 * 168) % 168, 4)
    weekend = hours // 24 >= 5
    values = (0.2 + 0.6 * weekend[:, None] + 0.01 * rng.normal(size=(len(hours), 2))).astype(np.float32)
    floor = np.full(2, 0.01)
    learned = fit_context(values, hours, floor)
    assert learned.season[6 * 24 + 12] == pytest.approx(0.8, abs=0.02)
    assert learned.season[2 * 24 + 12] == pytest.approx(0.2, abs=0.02)
    one_week = fit_context(values[: 4 * 168], hours[: 4 * 168], floor)
    assert one_week.season[6 * 24 + 12] == pytest.approx((5 * 0.2 + 2 * 0.8) / 7, abs=0.02)


def test_a_rhythm_that_foretells_nothing_is_none(seed):
    """Means of a few days of noise differ from hour to hour; believed, they would surprise by their own error."""
    rng = np.random.default_rng(seed)
    hours = np.repeat(np.arange(6 * 24), 4)
    noise = rng.normal(size=(len(hours), 40)).astype(np.float32)
    season = fit_context(noise, hours, np.full(40, 0.01)).season
    believed = (season - noise.mean(axis=0)).std(axis=0)
    means = np.stack([noise[hours % 24 == hour].mean(axis=0) for hour in range(24)]).std(axis=0)
    assert believed.mean() < 0.15 * means.mean()


def test_the_scale_of_the_season_is_of_hours_that_it_was_not_learned_from(seed):
    rng = np.random.default_rng(seed)
    hours = np.repeat(np.arange(4 * 24), 12)
    level = np.sin(hours * 2 * np.pi / 24)[:, None] + np.repeat(rng.normal(size=(4 * 24, 40)) * 0.3, 12, axis=0)
    context = fit_context(level.astype(np.float32), hours, np.full(40, 1e-3))
    own = level - context.season[hours]
    low, high = np.quantile(own, [0.25, 0.75], axis=0)
    scale = context.scale[FEATURES.index("season")]
    assert scale.mean() > 1.15 * ((high - low) / 1.349).mean()


def test_a_feature_left_out_surprises_nobody(quiet_host):
    values = quiet_host(400, 5)
    hours = np.arange(400) // HOUR
    context = fit_context(values, hours, np.full(5, 0.01), ("slope", "range"))
    values[300:] += 3
    out = surprise(context, values, hours)
    assert (out[:, :, [1, 7]] < 1e-6).all()
    assert (out[-1, :, 0] > 1).all()


def test_what_lies_beyond_all_that_was_seen_is_more_than_far_from_the_middle(quiet_host):
    values = quiet_host(2000, 3)
    context, _ = context_of(values)
    assert (context.low < context.high).all()
    place = FEATURES.index("range")
    window = np.tile(context.high.astype(np.float32) - np.float32(0.01), (WINDOW, 1))
    hours = np.zeros(WINDOW, np.int64)
    assert (surprise(context, window, hours)[0, :, place] == 0).all()
    window[-1] += 5 * context.scale[0] + 0.01
    np.testing.assert_allclose(surprise(context, window, hours)[0, :, place], np.log(6), rtol=0.01)


def test_noise_is_what_a_signal_has_beyond_the_middle_one(quiet_host):
    context, _ = context_of(quiet_host(800, 5))
    judged = np.ones((200, 5, 8), np.float32)
    judged[:, 1] = 3.0  # tails of 1 + 3 where the middle signal has 1 + 1
    judged[:, 2] = 0.0
    week = np.arange(168)
    found = noise(context, judged, week)
    assert found.shape == (8, 5)
    np.testing.assert_allclose(found[:, 1], np.sqrt(2), rtol=1e-6)
    np.testing.assert_array_equal(found[:, [0, 2, 3, 4]], 1.0)  # what is quieter counts no more for that
    np.testing.assert_allclose(noise(context, judged, week[:84])[:, 1], 2**0.25, rtol=1e-6)  # half of a week
    np.testing.assert_array_equal(noise(context, judged, np.full(800, -1)), 1.0)
    np.testing.assert_array_equal(noise(context, judged[:0], week), 1.0)


def test_noise_divides_the_surprise_of_its_signal(quiet_host):
    values = quiet_host(300, 3)
    context, hours = context_of(values)
    plain = surprise(context, values, hours)
    factors = np.ones((8, 3))
    factors[:, 1] = 2.0
    np.testing.assert_allclose(surprise(replace(context, noise=factors), values, hours), plain / factors.T, rtol=1e-6)
