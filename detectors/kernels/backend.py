"""What every back end does, in one small abstract class: the seam between networks and kernels.

Arrays are float32 and C-contiguous throughout; a back end raises ValueError for others, and never
converts or copies by itself.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.kernels.plan import Float32, Plan, TrainSettings, TrainState

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


class BackendError(Exception):
    """A back end cannot serve: why, in one sentence."""


class Packed:
    """Parameters in one back end's own order: `buffer` means nothing to any other; `address` is its object's."""

    __slots__ = ("address", "buffer")

    def __init__(self, buffer: Float32) -> None:
        self.buffer = buffer
        self.address = id(buffer)


class Sorted:
    """Rows of ascending numbers (features, width); `numbers` (features,) of each row are not NaN and come first."""

    __slots__ = ("numbers", "values")

    def __init__(self, values: Float32, numbers: Int64) -> None:
        self.values = values
        self.numbers = numbers


@dataclass(frozen=True, slots=True)
class Counts:
    """A window of values among a sorted reference: `below` and `upto` (features, width + 1), `sizes` (features,).

    They count the window's values by how many of the reference are below them, by how many are not above
    them, and altogether; in 16 bits, for they are kept as long as the daemon runs: when they are read, fewer than
    32,768 samples may be in the window.
    """

    below: NDArray[np.int16]
    upto: NDArray[np.int16]
    sizes: Int64


class Backend(ABC):
    """One way to compute: `name` is compiled-v4, compiled-v3, compiled-aarch64, jit-16, jit-8, jit-generic or numpy."""

    name: str

    @abstractmethod
    def pack(self, plan: Plan, parameters: Float32) -> Packed:
        """Return canonical parameters (count,) in this back end's order."""

    @abstractmethod
    def unpack(self, plan: Plan, packed: Packed) -> Float32:
        """Return the canonical parameters (count,) of `packed`, bit for bit as it holds them."""

    @abstractmethod
    def scratch(self, plan: Plan, batch: int = 1) -> Float32:
        """Return the memory that `forward` needs for batches of this size; one thread at a time uses it."""

    @abstractmethod
    def forward(self, plan: Plan, packed: Packed, inputs: Float32, scratch: Float32, outputs: Float32) -> None:
        """Fill `outputs` (B, O) from `inputs` (B, I). Raises ValueError when an array does not fit the plan.

        Rows do not meet: what is not finite stays in its row. A NaN makes every output of its row NaN.
        Infinities go through sums as IEEE 754 has it (inf - inf and 0 x inf are NaN, weights of 0 included),
        and through activations as `Activation` says.
        """

    @abstractmethod
    def can_train(self, plan: Plan, settings: TrainSettings) -> bool:
        """Say whether `train` serves this network and loss."""

    @abstractmethod
    def train(  # noqa: PLR0917 - the seam
        self,
        plan: Plan,
        parameters: Float32,
        inputs: Float32,
        targets: Float32,
        order: Int64,
        settings: TrainSettings,
        state: TrainState,
        *,
        weights: Float32 | None = None,
    ) -> float:
        """Train on rows `order` (any length, repeats allowed) of `inputs` (N, I) and `targets` (N, O).

        Rows are taken in batches of `settings.batch`, the last one as it comes. `parameters` and `state`
        (canonical) change in place. `weights` (N,), from 0, scale each row's loss; a batch is divided by its
        number of rows and outputs, not by its weight. Returns the mean loss before each step; it is not
        finite when the training diverges. Raises ValueError.
        """

    @abstractmethod
    def sorted(self, values: Float32) -> Sorted:
        """Return each row of `values` (features, width) in ascending order, NaN last, -0.0 as 0.0."""

    @abstractmethod
    def ks(self, reference: Sorted, sample: Float32) -> Float64:
        """Return the two-sample KS statistic (features,) of `sample` (features, any width); NaN without numbers."""

    @abstractmethod
    def ks_place(self, reference: Sorted, counts: Counts, values: Float32, sign: int) -> None:
        """Count samples, (features,) or (samples, features), into the window (`sign` 1) or out of it (-1)."""

    @abstractmethod
    def ks_read(self, reference: Sorted, counts: Counts) -> Float64:
        """Return the two-sample KS statistic (features,) of the window that was counted; NaN without numbers."""


def check_training(  # noqa: PLR0917 - what `train` takes
    plan: Plan, parameters: Float32, inputs: Float32, targets: Float32, order: Int64, state: TrainState
) -> None:
    """Raise ValueError for arrays that do not fit: the kernels trust what they are given."""
    rows = len(inputs)
    shapes = {
        "parameters": (parameters, (plan.parameters,)),
        "first moment": (state.first, (plan.parameters,)),
        "second moment": (state.second, (plan.parameters,)),
        "inputs": (inputs, (rows, plan.sizes[0])),
        "targets": (targets, (rows, plan.sizes[-1])),
    }
    for name, (array, shape) in shapes.items():
        if array.shape != shape or array.dtype != np.float32 or not array.flags.c_contiguous:
            raise ValueError(f"{name} must be contiguous float32 {shape}, not {array.dtype} {array.shape}")
    if order.ndim != 1 or order.dtype != np.int64 or not order.flags.c_contiguous or not len(order):
        raise ValueError("the order must be one row of int64 that is not empty")
    if order.min() < 0 or order.max() >= rows:
        raise ValueError(f"the order names rows outside 0 to {rows - 1}")


def check_weights(weights: Float32 | None, rows: int) -> None:
    """Raise ValueError for row weights that do not fit."""
    if weights is None:
        return
    if weights.shape != (rows,) or weights.dtype != np.float32 or not weights.flags.c_contiguous or weights.min() < 0:
        raise ValueError(f"row weights must be contiguous float32 ({rows},) from 0")
