import numpy as np
import pytest

from detectors.explain import expected_range, integrated_gradients, network_shares, permutation_importance, ranking
from detectors.features import INPUTS, fit_context
from detectors.kernels import Activation
from detectors.network import Network
from detectors.parameters import Architecture


def test_the_most_surprising_come_first_with_their_share():
    ranked = ranking(np.array([1.0, 0.0, 3.0, 2.0], np.float32), 2)
    assert ranked == [(2, pytest.approx(27 / 36)), (3, pytest.approx(8 / 36))]


def test_what_does_not_surprise_is_not_named():
    assert ranking(np.zeros(4, np.float32), 5) == []
    assert ranking(np.zeros(0, np.float32), 5) == []
    assert ranking(np.array([0.0, 2.0], np.float32), 5) == [(1, 1.0)]


def test_the_expected_range_moves_with_the_hour():
    rng = np.random.default_rng(0)
    hours = np.arange(7 * 24 * 20) // 20 % 168
    values = (np.where(hours % 24 == 6, 1.0, 0.2) + 0.01 * rng.normal(size=len(hours))).astype(np.float32)[:, None]
    context = fit_context(values, hours, np.array([0.01]))
    low, high = expected_range(context, 0, 3 * 24 + 6)
    assert low < 1.0 <= high + 0.1
    noon_low, noon_high = expected_range(context, 0, 3 * 24 + 12)
    assert noon_low < 0.2 < noon_high
    assert low - noon_low == pytest.approx(0.8, abs=0.05)
    context.season[:] = np.nan
    assert expected_range(context, 0, 5) == (context.low[0], context.high[0])


def small(output=Activation.SIGMOID, **words):
    return Network(Architecture((6, 8, 8, 2), Activation.GELU, output, **words), seed=3)


@pytest.mark.parametrize("words", [{}, {"residual": True}, {"batch_norm": True}])
def test_integrated_gradients_are_complete(words):
    network = small(**words)
    rows = np.random.default_rng(0).normal(size=(9, 6)).astype(np.float32)
    baseline = np.full(6, 0.25)
    for output in (0, 1):
        told = integrated_gradients(network, rows, baseline=baseline, output=output)
        assert told.parts.shape == (9, 6)
        assert np.abs(told.completeness_error).max() < 1e-3
        change = network.logits(rows)[:, output] - network.logits(baseline[None])[0, output]
        np.testing.assert_allclose(told.parts.sum(axis=1), change, atol=1e-3)
    rough = integrated_gradients(network, rows, baseline=baseline, steps=2)
    fine = integrated_gradients(network, rows, baseline=baseline, steps=500)
    assert np.abs(rough.completeness_error).max() > 10 * np.abs(fine.completeness_error).max()


def test_integrated_gradients_of_a_line_are_its_terms():
    network = Network(Architecture((3, 1)), np.array([1, -2, 0, 5], np.float32))
    told = integrated_gradients(network, np.array([[1.0, 1.0, 7.0]]))
    np.testing.assert_allclose(told.parts, [[1, -2, 0]])
    np.testing.assert_allclose(told.completeness_error, 0, atol=1e-12)


def test_why_the_network_fired_is_shared_out_by_rank():
    """One layer that looks at two of the 31 signals and at one pooled mean: its shares are the terms of a sum."""
    weights = np.zeros(INPUTS + 1, np.float32)
    weights[0], weights[3 * 8 + 2], weights[31 * 8], weights[-1] = 1.0, 2.0, 4.0, -3.0
    network = Network(Architecture((INPUTS, 1)), weights)
    shares = network_shares(network, np.ones((1, INPUTS), np.float32))
    assert shares.shape == (31,)
    assert shares[[0, 3]] == pytest.approx([1 / 7, 2 / 7])
    assert np.delete(shares, [0, 3]).tolist() == [0.0] * 29
    assert np.isnan(network_shares(network, np.zeros((1, INPUTS), np.float32))).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"inputs": np.ones((2, 5))}, r"integrated gradients take inputs \(rows, 6\), not \(2, 5\)"),
        ({"output": 2}, "outputs are 0 to 1, not 2"),
        ({"baseline": np.zeros(5)}, r"the baseline is \(6,\), not \(5,\)"),
    ],
)
def test_attributions_refuse_what_does_not_fit(words, message):
    with pytest.raises(ValueError, match=message):
        integrated_gradients(small(), **({"inputs": np.ones((2, 6))} | words))


def test_permutation_finds_the_columns_that_matter():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(500, 4))
    wanted = 3 * rows[:, 0] + rows[:, 2]
    before = rows.copy()

    def measure(inputs):
        return float(np.mean((3 * inputs[:, 0] + inputs[:, 2] - wanted) ** 2))

    alone = permutation_importance(measure, rows, seed=1)
    assert alone[[1, 3]].tolist() == [0, 0]
    assert alone[0] == pytest.approx(2 * 9, rel=0.15)  # twice the term's variance
    assert alone[2] == pytest.approx(2, rel=0.15)
    grouped = permutation_importance(measure, rows, groups=[[0, 2], [1, 3]], seed=1)
    assert grouped[0] == pytest.approx(20, rel=0.15)
    assert grouped[1] == 0
    assert np.array_equal(rows, before)
    assert np.array_equal(alone, permutation_importance(measure, rows, seed=1))
