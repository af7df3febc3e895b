import numpy as np
import pytest

from detectors.activations import BACKWARD, FORWARD, forward_gelu, forward_sigmoid, forward_softmax
from detectors.kernels import Activation

STEP = 1e-5


def central(function, at):
    """d function / d at in float64, value by value."""
    out = np.empty_like(at)
    for place in np.ndindex(at.shape):
        step = np.zeros_like(at)
        step[place] = STEP
        out[place] = (function(at + step) - function(at - step)) / (2 * STEP)
    return out


def relative_error(got, expected):
    return np.abs(got - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("activation", list(Activation), ids=lambda one: one.name)
def test_every_gradient_is_the_slope(activation):
    rng = np.random.default_rng(activation)
    pre = rng.normal(size=(7, 5)) * 2
    pre[np.abs(pre) < 0.01] = 0.3  # away from the kink
    wanted = rng.normal(size=pre.shape)
    out = FORWARD[activation](pre)
    got = BACKWARD[activation](wanted, pre, out)
    expected = central(lambda at: (wanted * FORWARD[activation](at)).sum(), pre)
    assert np.abs(expected).max() > 0.1
    assert relative_error(got, expected) < 1e-6


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("activation", list(Activation), ids=lambda one: one.name)
def test_the_type_is_kept_and_the_arguments_are_left_alone(activation, kind):
    pre = np.linspace(-3, 3, 12).reshape(4, 3).astype(kind)
    before = pre.copy()
    out = FORWARD[activation](pre)
    back = BACKWARD[activation](np.ones_like(pre), pre, out)
    assert out.dtype == back.dtype == kind
    assert np.array_equal(pre, before)


@pytest.mark.parametrize("activation", list(Activation), ids=lambda one: one.name)
def test_no_value_of_float32_overflows(activation):
    pre = np.array([[-3e38, -100, 0, 100], [3e38, 90, -90, 1]], np.float32)
    out = FORWARD[activation](pre)
    assert np.isfinite(out).all()
    assert np.isfinite(FORWARD[activation](np.zeros((0, 4), np.float32))).all()


def test_known_values():
    values = np.array([[-2.0, 0.0, 2.0]])
    assert FORWARD[Activation.LEAKY_RELU](values).tolist() == [[-0.02, 0, 2]]
    assert FORWARD[Activation.RELU](values).tolist() == [[0, 0, 2]]
    np.testing.assert_allclose(forward_sigmoid(values), 1 / (1 + np.exp(-values)), rtol=1e-14)
    np.testing.assert_allclose(forward_gelu(values), [[-0.04550026, 0, 1.95449974]], rtol=1e-7)
    np.testing.assert_allclose(forward_softmax(values).sum(axis=1), 1, rtol=1e-15)
    np.testing.assert_allclose(forward_softmax(values), forward_softmax(values + 1000), rtol=1e-12)


def test_what_is_no_number_stays_none():
    pre = np.array([[np.nan, 1.0]])
    for activation in Activation:
        assert np.isnan(FORWARD[activation](pre)[0, 0])
