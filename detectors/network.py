"""A dense network on one flat float32 block: its parameters, named views on them, and its predictions.

Enters: rows of inputs. Leaves: outputs, or the logits below them, by one call of the back end. How
a network is trained stands in `detectors.trainer`; batch normalisation is folded away before the
back end sees the block, and dropout does not exist here.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from detectors.activations import Floats
from detectors.kernels import NUMPY, Activation, Backend, Packed, Plan, Precision
from detectors.parameters import Architecture, Layer, fold, initial, layers_of

Float32 = NDArray[np.float32]


def as_float32(values: Floats | NDArray[np.integer]) -> Float32:
    """Return `values` in float32, in C order and aligned, as kernels read them: themselves where they are so."""
    rows = np.ascontiguousarray(values, np.float32)
    return rows if rows.flags.aligned else rows.copy()


class Network:
    """Architecture, parameters, and the back end that computes.

    `parameters` (count,) and the views in `layers` are read-only: what changes goes through `assign`,
    so that no packed copy can be left behind. A network owns its scratch: one thread at a time.
    """

    def __init__(
        self,
        architecture: Architecture,
        parameters: Float32 | None = None,
        *,
        seed: int = 0,
        backend: Backend = NUMPY,
    ) -> None:
        """Take a copy of `parameters` (count,), or begin with random ones by `seed`. Raises ValueError."""
        self.architecture = architecture
        self.backend = backend
        self._plans = {False: architecture.plan(), True: architecture.plan(logits=True)}
        self._packed: dict[bool, Packed] = {}
        self._single: tuple[Plan, Packed] | None = None
        self._scratch = backend.scratch(self._plans[False])
        self._own(initial(architecture, seed) if parameters is None else self._checked(parameters).copy())

    def _checked(self, parameters: Float32) -> Float32:
        count = self.architecture.count
        if parameters.shape != (count,) or parameters.dtype != np.float32:
            raise ValueError(
                f"a network {self.architecture} has {count} float32 parameters, "
                f"not {parameters.dtype} {parameters.shape}"
            )
        return parameters

    def _own(self, block: Float32) -> None:
        block.flags.writeable = False
        self.parameters = block
        self.layers: tuple[Layer, ...] = layers_of(self.architecture, block)
        self._packed, self._single = {}, None

    def assign(self, parameters: Float32) -> None:
        """Take a copy of `parameters` (count,) from now on. Raises ValueError."""
        self._own(self._checked(parameters).copy())

    def own(self) -> "Network":
        """Return the same network with a scratch of its own, in float32: for another thread."""
        return Network(self.architecture, self.parameters, backend=self.backend)

    def use(self, backend: Backend) -> None:
        """Compute with `backend` from now on; to be called between two samples."""
        self.backend = backend
        self._packed, self._single = {}, None
        self._scratch = backend.scratch(self._plans[False])

    def use_bf16(self, rows: Floats, tolerance: float) -> float:
        """Let single samples read weights in bfloat16 where no output on `rows` (B, I) moves by more than `tolerance`.

        Returns the largest move; above the tolerance all stays float32. Batches and logits are float32 always,
        and `assign` and `use` bring single samples back to it. Raises as `predict`, and ValueError without rows.
        """
        inputs = self._rows(rows)
        if not len(inputs):
            raise ValueError("the tolerance is judged on one row at least")
        self._single = None
        plan = replace(self._plans[False], precision=Precision.BF16)
        packed = self.backend.pack(plan, fold(self.architecture, self.parameters))
        out = np.empty((len(inputs), self.architecture.sizes[-1]), np.float32)
        self.backend.forward(plan, packed, inputs, self._scratch, out)
        moved = float(np.abs(out - self._run(inputs, logits=False)).max())
        if moved <= tolerance:  # not where it is no number
            self._single = plan, packed
        return moved

    def predict(self, inputs: Floats) -> Float32:
        """Return the outputs (O,) of one sample (I,), or (B, O) of a batch (B, I).

        Any real type and memory layout is converted. What is not finite stays in its row, as `Backend.forward` says.
        Raises ValueError for another shape, TypeError for what is no real number.
        """
        if inputs.ndim == 1:
            width = self.architecture.sizes[0]
            if len(inputs) != width:
                raise ValueError(f"this network takes a sample ({width},), not {inputs.shape}")
            single: Float32 = self._run(self._rows(inputs[None]), logits=False)[0]
            return single
        return self._run(self._rows(inputs), logits=False)

    def logits(self, inputs: Floats) -> Float32:
        """Return the last layer's values (B, O) before its activation for `inputs` (B, I); raises as `predict`."""
        return self._run(self._rows(inputs), logits=True)

    def _rows(self, inputs: Floats) -> Float32:
        if inputs.dtype.kind not in "fiu":
            raise TypeError(f"this network takes float32 inputs, not {inputs.dtype}")
        width = self.architecture.sizes[0]
        if inputs.ndim != 2 or inputs.shape[1] != width:  # noqa: PLR2004 - rows and columns
            raise ValueError(f"this network takes inputs (rows, {width}), not {inputs.shape}")
        return as_float32(inputs)

    def _run(self, inputs: Float32, *, logits: bool) -> Float32:
        if self._single is not None and len(inputs) == 1 and not logits:
            plan, packed = self._single
        else:
            logits = logits and self.architecture.output is not Activation.LINEAR  # else one and the same
            plan = self._plans[logits]
            if logits not in self._packed:
                self._packed[logits] = self.backend.pack(plan, fold(self.architecture, self.parameters))
            packed = self._packed[logits]
        out = np.empty((len(inputs), self.architecture.sizes[-1]), np.float32)
        self.backend.forward(plan, packed, inputs, self._scratch, out)
        return out
