"""The forward pass in Numba: the whole network in one call, in the dot form that LLVM vectorises.

Importing this module imports Numba. `nogil=True` because a kernel that held the GIL froze the event
loop for its whole duration; the fastmath subset keeps NaN and infinity what they are.
"""

import numba
import numpy as np


@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "arcp", "nsz", "afn"}, error_model="numpy")
def forward(parameters, sizes, inputs, scratch, logits):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Fill `logits` (B, O) from `inputs` (B, I); see `reference.forward`. `scratch` is (2, widest layer)."""
    last = sizes.shape[0] - 2
    for row in range(inputs.shape[0]):
        at = 0
        for layer in range(last + 1):
            wide, out = sizes[layer], sizes[layer + 1]
            bias = at + wide * out
            for unit in range(out):
                total = np.float32(0)
                start = at + unit * wide
                if layer == 0:
                    for k in range(wide):
                        total += parameters[start + k] * inputs[row, k]
                else:
                    for k in range(wide):
                        total += parameters[start + k] * scratch[layer & 1, k]
                total += parameters[bias + unit]
                if layer == last:
                    logits[row, unit] = total
                elif total < 0:
                    scratch[(layer + 1) & 1, unit] = np.float32(0)
                else:
                    scratch[(layer + 1) & 1, unit] = total
            at = bias + out
