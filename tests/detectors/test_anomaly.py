from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors import learner
from detectors.anomaly import MINIMUM_ROWS, LiveScorer, decision_scores, fit_model, score_rows
from detectors.features import SPAN, WINDOW, Context, surprise

HOUR = 120


def hours_of(values):
    return np.arange(len(values)) // HOUR % 168


def fitted(values, floor=0.01, **more):
    return fit_model(
        values,
        hours_of(values),
        range(values.shape[1]),
        np.full(values.shape[1], floor),
        with_network=more.pop("with_network", False),
        **more,
    )


def live_scores(model, values, hours, gaps=()):
    """Score row by row as the daemon does: a row of `gaps` is no sample but the mark of a gap."""
    live = LiveScorer(model)
    out = np.full((len(values), 2), np.nan, np.float32)
    for row in range(SPAN, len(values)):
        if row in gaps:
            live.restart()
            continue
        score = live.score(values[row - SPAN : row + 1], int(hours[row]))
        out[row] = score.raw[0], score.network[0]
    return out


def test_live_equals_batch_also_over_gaps_and_absent_rows(model_of, trained, quiet_host, seed):
    values, hours = quiet_host(400, 12, seed), np.arange(400) // HOUR
    rng = np.random.default_rng(seed)
    values[rng.random(values.shape) < 0.01] = np.nan
    values[[120, 121, 300]] = np.nan
    values[200] = np.nan  # not told to the live scorer: it sees a sample in which nothing was measured
    values[320:340, :5] += 0.6
    batch = score_rows(trained, values, hours)
    live = live_scores(trained, values, hours, gaps={120, 121, 300})
    present = np.isfinite(batch.raw)
    assert np.flatnonzero(~present).tolist() == [row - SPAN for row in (120, 121, 200, 300)]
    np.testing.assert_allclose(live[SPAN:, 0], batch.raw, atol=1e-5)
    np.testing.assert_allclose(live[SPAN:, 1][present], batch.network[present], atol=1e-5)


def test_the_parts_of_a_score(trained, quiet_host):
    values = quiet_host(60, 12, 3)
    scores = score_rows(trained, values, hours_of(values))
    assert scores.raw.shape == scores.network.shape == (45,)
    assert scores.surprise.shape == (45, 12)
    assert ((scores.network >= 0) & (scores.network <= 1)).all()
    assert scores.parts.shape == scores.single.shape == (45, 2)
    np.testing.assert_array_equal(scores.raw, scores.parts[:, 0])  # the network has not proven its lead
    bare = score_rows(replace(trained, network=None, scales=trained.scales[:1]), values, hours_of(values))
    assert np.isnan(bare.network).all()
    np.testing.assert_array_equal(bare.raw, scores.raw)


def test_what_is_unlike_the_host_scores_high_and_names_the_signal(model_of, quiet_host):
    model, _ = model_of(600, 12)
    values = quiet_host(120, 12, 9)
    quiet = score_rows(model, values, hours_of(values))
    values[100:, 4] += 5.0
    scores = score_rows(model, values, hours_of(values))
    assert (scores.raw[100 - SPAN :] > quiet.raw[100 - SPAN :]).all()
    assert np.median(scores.raw[100 - SPAN :]) > quiet.raw.max()
    assert (scores.surprise[100 - SPAN :].argmax(axis=1) == 4).all()


def test_too_little_is_refused_in_words(quiet_host):
    with pytest.raises(ValueError, match=f"59 samples are too few to learn from: {MINIMUM_ROWS} are needed"):
        fitted(quiet_host(59, 3))
    nothing = np.full((80, 3), np.nan, np.float32)
    with pytest.raises(ValueError, match="no sample with a value in it"):
        fitted(nothing)
    with pytest.raises(ValueError, match="no sample with a value in it"):
        fitted(nothing[:, :0])
    assert fitted(quiet_host(60, 3)).quiet_scores.shape == (30,)


def test_learning_is_deterministic(quiet_host, monkeypatch):
    monkeypatch.setattr(learner, "_LEAST_STEPS", 90)  # seconds less, and the same to show
    values = quiet_host(300, 6)
    one, other = (fitted(values, with_network=True, seed=5) for _ in range(2))
    np.testing.assert_array_equal(one.network.parameters, other.network.parameters)
    np.testing.assert_array_equal(one.quiet_scores, other.quiet_scores)
    third = fitted(values, with_network=True, seed=6)
    assert not np.array_equal(one.network.parameters, third.network.parameters)


def test_live_attribution_equals_batch_and_forgets_what_is_old_news(trained, quiet_host):
    """A signal that has stood out for long is no longer what an alarm is about; a new one is, though it is fainter."""
    values = quiet_host(1500, 12, 8)
    values[100:, 3] += 50.0
    values[1400:, 7] += 2.0
    values[50] = np.nan
    hours = hours_of(values)
    batch = score_rows(trained, values, hours)
    live = LiveScorer(trained)
    for row in range(SPAN, 1500):
        got = live.score(values[row - SPAN : row + 1], int(hours[row])).attribution[0]
        np.testing.assert_allclose(got, batch.attribution[row - SPAN], atol=1e-5)
    first, later = batch.attribution[110 - SPAN], batch.attribution[1410 - SPAN]
    assert first.argmax() == 3
    assert later.argmax() == 7
    assert later[3] > np.sort(later)[-3]  # yet it is not forgotten
    assert batch.surprise[1410 - SPAN].argmax() == 3


def test_the_least_threshold_is_felt_only_where_nothing_moves(quiet_host):
    still = fitted(np.full((400, 6), 0.4, np.float32))
    assert still.least_threshold == 1.0
    np.testing.assert_array_equal(still.tails, 0.0)
    moved = quiet_host(400, 6)
    moved[380:] += 3.0  # a wide spread of its own
    assert fitted(moved).least_threshold < 0.5


def test_quiet_scores_are_of_rows_that_were_not_learned_from(quiet_host):
    """Scores of what was learned from are lower: a threshold on them would be crossed at once."""
    values = quiet_host(400, 12)
    model = fitted(values)
    own = score_rows(model, values, hours_of(values)).raw
    assert model.quiet_scores.mean() > own.mean()


few = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@few
@given(number=st.integers(0, 2**20), signals=st.integers(2, 40), data=st.data())
def test_the_order_of_the_signals_changes_no_score(quiet_host, trained, number, signals, data):
    values = quiet_host(360, signals, number)
    order = np.array(data.draw(st.permutations(range(signals))))
    later = quiet_host(80, signals, number + 1)
    later[60:, 0] += 0.5
    hours = hours_of(later)
    model, shuffled = fitted(values), fitted(values[:, order])
    expected = score_rows(model, later, hours)
    got = score_rows(shuffled, later[:, order], hours)
    np.testing.assert_allclose(got.raw, expected.raw, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(got.surprise, expected.surprise[:, order], atol=1e-5)
    # one trained network, given both orders
    expected = score_rows(replace(model, network=trained.network, scales=trained.scales), later, hours)
    got = score_rows(replace(shuffled, network=trained.network, scales=trained.scales), later[:, order], hours)
    # between two signals that surprise alike to the last bit of float32, rounding decides which the network sees first
    ranked = np.sort(expected.surprise.astype(np.float64), axis=1)
    clear = (np.diff(ranked, axis=1) > 1e-6).all(axis=1)
    assert clear.mean() > 0.8
    np.testing.assert_allclose(got.network[clear], expected.network[clear], atol=1e-5)


@few
@given(
    number=st.integers(0, 2**20),
    signals=st.integers(2, 40),
    constants=st.lists(st.sampled_from([0.0, 1.0, 0.1, 3.5e9, -2.0, 1e-7]), min_size=1, max_size=40),
)
def test_constant_signals_change_no_score(quiet_host, trained, number, signals, constants):
    values, later = quiet_host(360, signals, number), quiet_host(80, signals, number + 1)
    later[60:, 0] += 0.5
    hours = hours_of(later)
    model = fitted(values)
    expected = score_rows(model, later, hours)

    def more(rows):
        return np.concatenate([rows, np.tile(np.array(constants, np.float32), (len(rows), 1))], axis=1)

    wider = fitted(more(values))
    got = score_rows(wider, more(later), hours)
    np.testing.assert_allclose(got.raw, expected.raw, atol=1e-5, rtol=1e-5)
    assert wider.context.moving == model.context.moving
    # and the network's: its pooled means are over what moves
    expected = score_rows(replace(model, network=trained.network, scales=trained.scales), later, hours)
    got = score_rows(replace(wider, network=trained.network, scales=trained.scales), more(later), hours)
    ranked = np.sort(expected.surprise.astype(np.float64), axis=1)
    clear = (np.diff(ranked, axis=1) > 1e-6).all(axis=1)
    np.testing.assert_allclose(got.single[clear], expected.single[clear], atol=1e-5, rtol=1e-5)


def test_constant_signals_change_no_training(quiet_host, monkeypatch):
    monkeypatch.setattr(learner, "_LEAST_STEPS", 90)
    values, later = quiet_host(360, 6), quiet_host(80, 6, 1)
    constant = np.full((360, 3), 7.0, np.float32)
    expected = score_rows(fitted(values, with_network=True), later, hours_of(later))
    wider = fitted(np.concatenate([constant, values], axis=1), with_network=True)
    got = score_rows(wider, np.concatenate([constant[:80], later], axis=1), hours_of(later))
    np.testing.assert_allclose(got.raw, expected.raw, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(got.parts, expected.parts, atol=2e-3)


def test_a_restart_in_the_middle_changes_no_score(trained, quiet_host):
    """A scorer that begins anew and is given the last 15 rows goes on where the old one stopped."""
    values, hours = quiet_host(120, 12, 5), np.arange(120) // HOUR
    values[60:70] += 1
    whole = live_scores(trained, values, hours)
    anew = LiveScorer(trained)
    for row in range(70 - 15, 120):
        score = anew.score(values[row - SPAN : row + 1], int(hours[row])).raw[0]
        if row >= 70:
            assert score == pytest.approx(whole[row, 0], abs=1e-5)


def test_more_surprise_never_lowers_a_score(trained, quiet_host, seed):
    rng = np.random.default_rng(seed)
    values = quiet_host(WINDOW, 12, seed)
    base = surprise(trained.context, values, np.zeros(WINDOW, np.int64))
    network = trained.network
    inputs = np.abs(rng.normal(size=(200, 256))).astype(np.float32) * 2
    raised = inputs.copy()
    raised[np.arange(200), rng.integers(0, 256, 200)] += rng.random(200).astype(np.float32) * 5
    assert (network.logits(raised) >= network.logits(inputs) - 1e-5).all()
    assert (network.logits(raised) > network.logits(inputs) + 1e-6).any()
    assert all((layer.weights >= 0).all() for layer in network.layers)
    assert (base >= 0).all()


def test_a_context_of_other_signals_is_another_models(trained):
    assert isinstance(trained.context, Context)
    assert trained.signal_ids == tuple(range(10, 22))
    assert [len(scale.means) for scale in trained.scales] == [3, 3]


@pytest.mark.parametrize("with_network", [True, False])
def test_what_decides_alone_is_what_decides(model_of, trained, with_network):
    model = trained if with_network else model_of(400, 12)[0]
    values = model_of(400, 12, 3)[1].copy()
    values[100] = np.nan
    hours = np.arange(400) // 120 % 168
    np.testing.assert_array_equal(decision_scores(model, values, hours), score_rows(model, values, hours).raw)
