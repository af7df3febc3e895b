"""Activations and their derivatives, in NumPy: the forms that training and the tests go by.

Enters: values before the activation. Leaves: values after it, or the gradient before it. Every
function keeps the type it is given, float32 or float64; none changes its arguments.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from detectors.kernels import Activation
from detectors.kernels.reference import gelu, normal_share

Floats = NDArray[np.floating]
Forward = Callable[[Floats], Floats]
Backward = Callable[[Floats, Floats, Floats], Floats]

LEAK = 0.01
_DENSITY = 0.3989422804014327  # 1 / sqrt(2 pi): the normal density at 0


def forward_linear(pre: Floats) -> Floats:
    """Return `pre` (B, O) itself."""
    return pre


def backward_linear(gradient: Floats, pre: Floats, out: Floats) -> Floats:  # noqa: ARG001 - one signature for all
    """Return d loss / d pre (B, O) from d loss / d out (B, O)."""
    return gradient


def forward_relu(pre: Floats) -> Floats:
    """Return max(pre, 0) (B, O); NaN stays NaN."""
    return np.maximum(pre, pre.dtype.type(0))  # (B, O)


def backward_relu(gradient: Floats, pre: Floats, out: Floats) -> Floats:  # noqa: ARG001 - one signature for all
    """Pass the gradient where pre > 0; at 0 it is 0."""
    return gradient * (pre > 0)  # (B, O)


def forward_leaky_relu(pre: Floats) -> Floats:
    """Return pre, or 0.01 pre below zero (Maas et al., "Rectifier Nonlinearities", ICML 2013)."""
    return np.maximum(pre, pre.dtype.type(LEAK) * pre)  # (B, O)


def backward_leaky_relu(gradient: Floats, pre: Floats, out: Floats) -> Floats:  # noqa: ARG001 - one signature for all
    """Pass the gradient where pre > 0, a hundredth of it elsewhere."""
    return gradient * np.where(pre > 0, pre.dtype.type(1), pre.dtype.type(LEAK))  # (B, O)


def forward_sigmoid(pre: Floats) -> Floats:
    """Return 1 / (1 + exp(-pre)) without overflow, as (1 + tanh(pre / 2)) / 2."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * pre))  # (B, O)


def backward_sigmoid(gradient: Floats, pre: Floats, out: Floats) -> Floats:  # noqa: ARG001 - one signature for all
    """Multiply by out (1 - out)."""
    return gradient * (out * (1 - out))  # (B, O)


def forward_tanh(pre: Floats) -> Floats:
    """Return tanh(pre) (B, O)."""
    return np.tanh(pre)


def backward_tanh(gradient: Floats, pre: Floats, out: Floats) -> Floats:  # noqa: ARG001 - one signature for all
    """Multiply by 1 - out²."""
    return gradient * (1 - out * out)  # (B, O)


def forward_gelu(pre: Floats) -> Floats:
    """Return pre times the normal distribution's share below it, exactly (Hendrycks and Gimpel, 2016)."""
    return gelu(pre)  # (B, O)


def backward_gelu(gradient: Floats, pre: Floats, out: Floats) -> Floats:  # noqa: ARG001 - one signature for all
    """Multiply by share + pre x density."""
    density = _DENSITY * np.exp(-0.5 * pre * pre)  # (B, O)
    return np.asarray(gradient * (normal_share(pre) + pre * density))  # (B, O)


def forward_softmax(pre: Floats) -> Floats:
    """Return exp(pre) over its sum by row (B, O), the row's maximum taken out first."""
    powers = np.exp(pre - pre.max(axis=1, keepdims=True))  # (B, O)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))  # (B, O)


def backward_softmax(gradient: Floats, pre: Floats, out: Floats) -> Floats:  # noqa: ARG001 - one signature for all
    """Multiply by the Jacobian: out (gradient - sum of gradient x out by row)."""
    return np.asarray(out * (gradient - (gradient * out).sum(axis=1, keepdims=True)))  # (B, O)


FORWARD: Mapping[Activation, Forward] = {
    Activation.LINEAR: forward_linear,
    Activation.RELU: forward_relu,
    Activation.LEAKY_RELU: forward_leaky_relu,
    Activation.SIGMOID: forward_sigmoid,
    Activation.TANH: forward_tanh,
    Activation.GELU: forward_gelu,
    Activation.SOFTMAX: forward_softmax,
}
BACKWARD: Mapping[Activation, Backward] = {
    Activation.LINEAR: backward_linear,
    Activation.RELU: backward_relu,
    Activation.LEAKY_RELU: backward_leaky_relu,
    Activation.SIGMOID: backward_sigmoid,
    Activation.TANH: backward_tanh,
    Activation.GELU: backward_gelu,
    Activation.SOFTMAX: backward_softmax,
}
