"""The forward pass in NumPy: the reference of every other back end, and what serves when none can."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


def forward(
    parameters: NDArray[np.float32],
    sizes: NDArray[np.int64],
    inputs: NDArray[np.float32],
    scratch: NDArray[np.float32],  # noqa: ARG001 - one signature for every back end; NumPy allocates its own
    logits: NDArray[np.float32],
) -> None:
    """Fill `logits` (B, O) from `inputs` (B, I): relu between the layers, none after the last.

    `parameters` holds, layer after layer, the weights (out, in) and then the biases (out).
    """
    values = inputs
    at = 0
    last = len(sizes) - 2
    for layer, (wide, out) in enumerate(pairwise(sizes)):
        weights = parameters[at : at + wide * out].reshape(out, wide)
        at += wide * out
        values = values @ weights.T + parameters[at : at + out]
        at += out
        if layer < last:
            values = np.maximum(values, np.float32(0))
    logits[:] = values
