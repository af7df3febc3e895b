"""A dense network on one flat float32 block: relu between the layers, the logit at the end.

The last activation is left to the caller: the logit orders better than a saturated sigmoid.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.kernels import NUMPY, Backend

Float32 = NDArray[np.float32]


class Network:
    """Parameters, named views on them, and the back end that computes.

    `parameters` holds, layer after layer, weights (out, in) and biases (out); `weights` and `biases`
    are views, so a training step on them is a step on the block. `scratch` belongs to the network:
    one network serves one thread at a time.
    """

    def __init__(self, sizes: Sequence[int], parameters: Float32 | None = None) -> None:
        self.sizes = tuple(int(size) for size in sizes)
        shapes = list(zip(self.sizes[:-1], self.sizes[1:], strict=True))
        count = sum(wide * out + out for wide, out in shapes)
        if parameters is None:
            parameters = np.zeros(count, np.float32)
        if parameters.shape != (count,) or parameters.dtype != np.float32:
            raise ValueError(
                f"a network {'-'.join(map(str, self.sizes))} has {count} float32 parameters, "
                f"not {parameters.dtype} {parameters.shape}"
            )
        self.parameters: Float32 = np.ascontiguousarray(parameters)
        self.weights: list[Float32] = []
        self.biases: list[Float32] = []
        at = 0
        for wide, out in shapes:
            self.weights.append(self.parameters[at : at + wide * out].reshape(out, wide))
            at += wide * out
            self.biases.append(self.parameters[at : at + out])
            at += out
        self.backend = NUMPY
        self._sizes = np.array(self.sizes, np.int64)
        self._scratch = np.zeros((2, max(self.sizes)), np.float32)

    def use(self, backend: Backend) -> None:
        """Compute with `backend` from now on; to be called between two samples."""
        self.backend = backend

    def logits(self, inputs: Float32) -> Float32:
        """Return the last layer's values (B, O) before any activation for `inputs` (B, I)."""
        inputs = np.ascontiguousarray(inputs, np.float32)
        if inputs.ndim != 2 or inputs.shape[1] != self.sizes[0]:  # noqa: PLR2004 - rows and columns
            raise ValueError(f"this network takes inputs (rows, {self.sizes[0]}), not {inputs.shape}")
        out = np.empty((len(inputs), self.sizes[-1]), np.float32)
        self.backend.forward(self.parameters, self._sizes, inputs, self._scratch, out)
        return out
