"""The typed wrapper of machine code: the one place where an address becomes a call.

Enters: the addresses of the entries, from a shared object or from the JIT's object file. What a kernel
trusts is checked here or, for the forward pass, by the kernel itself on the NumPy object. Calls through
ctypes release the GIL.
"""

import ctypes
from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np

from detectors.kernels import layout
from detectors.kernels.backend import (
    Backend,
    BackendError,
    Counts,
    Float64,
    Int64,
    Packed,
    Sorted,
    check_training,
    check_weights,
)
from detectors.kernels.plan import Float32, Plan, Rule, TrainSettings, TrainState
from detectors.kernels.reference import can_train

_ADDRESS = ctypes.c_void_p
_ENTRIES: Mapping[str, tuple[type[ctypes.c_int] | type[ctypes.c_longlong] | type[ctypes.c_double], int]] = {
    "presaged_forward": (ctypes.c_int, 4),
    "presaged_train": (ctypes.c_double, 10),
    "presaged_sort": (ctypes.c_longlong, 5),
    "presaged_distances": (ctypes.c_longlong, 8),
    "presaged_place": (ctypes.c_longlong, 9),
    "presaged_read": (ctypes.c_longlong, 8),
}
NAMES = tuple(_ENTRIES)

_ROWS_OF_TILE = 8
_CONSTANTS = 32
_BUCKET_FLOATS = 6 * 2048


def _address(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> int:
    return array.ctypes.data


def array_layout_is_known() -> bool:
    """Say whether a NumPy object looks as NumPy's C interface lays it out on this interpreter."""
    probe = np.zeros((3, 5), np.float32)
    if object.__basicsize__ != layout.HEAD_BYTES:
        return False
    word = ctypes.c_int64.from_address
    return (
        word(id(probe) + layout.ARRAY_DATA).value == probe.ctypes.data
        and word(id(probe) + layout.ARRAY_NUMBER).value & 0xFFFFFFFF == probe.ndim
        and word(word(id(probe) + layout.ARRAY_DIMENSIONS).value + 8).value == probe.shape[1]
        and word(id(probe) + layout.ARRAY_DESCRIPTOR).value == id(probe.dtype)
        and bool(word(id(probe) + layout.ARRAY_FLAGS).value & layout.ARRAY_WRITABLE == layout.ARRAY_WRITABLE)
    )


class NativeBackend(Backend):
    """Machine code for vectors of `lanes` float32; `code` keeps what the addresses point into."""

    def __init__(self, name: str, lanes: int, addresses: Mapping[str, int], code: object) -> None:
        if not array_layout_is_known():
            raise BackendError("NumPy's arrays do not lie in memory as its C interface says: kernels cannot read them")
        self.name = name
        self.lanes = lanes
        self._code = code
        calls: dict[str, Callable[..., float]] = {}
        for entry, (result, count) in _ENTRIES.items():
            calls[entry] = ctypes.CFUNCTYPE(result, *[_ADDRESS] * count)(addresses[entry])
        self._calls = calls
        self._forward = calls["presaged_forward"]

    def pack(self, plan: Plan, parameters: Float32) -> Packed:
        """Return the parameters in panels behind a header; see `layout`."""
        if parameters.shape != (plan.parameters,) or parameters.dtype != np.float32:
            raise ValueError(f"parameters must be float32 ({plan.parameters},)")
        return Packed(layout.pack(plan, parameters, self.lanes))

    def unpack(self, plan: Plan, packed: Packed) -> Float32:
        """Return the canonical parameters."""
        return layout.unpack(plan, packed.buffer, self.lanes, np.empty(plan.parameters, np.float32))

    def scratch(self, plan: Plan, batch: int = 1) -> Float32:  # noqa: ARG002 - batches go through in chunks
        """Return what one chunk of rows needs, whatever the batch."""
        return layout.aligned(int(layout.header(plan, self.lanes)[0][5]))

    def forward(self, plan: Plan, packed: Packed, inputs: Float32, scratch: Float32, outputs: Float32) -> None:
        """Fill `outputs` (B, O) from `inputs` (B, I) in one call; the kernel checks shapes and types."""
        if self._forward(packed.address, id(inputs), id(scratch), id(outputs)):
            self._refuse(plan, packed, inputs, scratch, outputs)

    def _refuse(self, plan: Plan, packed: Packed, inputs: Float32, scratch: Float32, outputs: Float32) -> None:
        """Say what did not fit; a float32 type that is equal but another object is looked through."""
        for name, array, width in (("inputs", inputs, plan.sizes[0]), ("outputs", outputs, plan.sizes[-1])):
            if array.shape != (len(inputs), width) or array.dtype != np.float32 or not array.flags.c_contiguous:
                raise ValueError(
                    f"{name} must be contiguous float32 ({len(inputs)}, {width}), not {array.dtype} {array.shape}"
                )
        if not (inputs.flags.aligned and outputs.flags.aligned and outputs.flags.writeable):
            raise ValueError("inputs and outputs must be aligned, and outputs writable")
        plain = inputs.view(np.float32), outputs.view(np.float32)
        if self._forward(packed.address, id(plain[0]), id(scratch), id(plain[1])):
            raise ValueError("packed parameters or scratch of another plan or back end")

    def can_train(self, plan: Plan, settings: TrainSettings) -> bool:
        """Say whether the fused training serves; others train in NumPy."""
        return can_train(plan, settings)

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
        """Train in one call; see `Backend.train`."""
        check_training(plan, parameters, inputs, targets, order, state)
        check_weights(weights, len(inputs))
        if not can_train(plan, settings):
            raise ValueError(f"no fused training for {plan} with {settings.loss.name}")
        batch = min(settings.batch, len(order))
        blocks = [layout.pack(plan, block, self.lanes) for block in (parameters, state.first, state.second)]
        numbers = _numbers(settings, state.step, batch)
        scratch = layout.aligned(self._training_floats(plan, batch))
        loss = self._calls["presaged_train"](
            *map(_address, blocks),
            _address(inputs),
            _address(targets),
            0 if weights is None else _address(weights),
            _address(order),
            len(order),
            _address(numbers),
            _address(scratch),
        )
        for block, into in zip(blocks, (parameters, state.first, state.second), strict=True):
            layout.unpack(plan, block, self.lanes, into)
        state.step += -(-len(order) // batch)
        return float(loss)

    def _training_floats(self, plan: Plan, batch: int) -> int:
        """Return the floats of scratch that `train.train` lays out."""
        widths = [layout.padded(size, self.lanes) for size in plan.sizes]
        deltas = 2 * batch * (max(widths[1:]) + self.lanes)
        values = batch * sum(width + self.lanes for width in widths)
        turned = max((wide * (1 + out) for wide, out in pairwise(widths[1:])), default=0)
        tile = _ROWS_OF_TILE * 3 * self.lanes
        return _CONSTANTS + tile + layout.padded(batch, self.lanes) + deltas + values + turned + self.lanes

    def sorted(self, values: Float32) -> Sorted:
        """Sort each row in machine code; see `Backend.sorted`."""
        if values.ndim != 2 or values.dtype != np.float32:  # noqa: PLR2004 - features and samples
            raise ValueError(f"rows to sort must be float32 (features, width), not {values.dtype} {values.shape}")
        rows = np.array(values, np.float32, order="C")
        features, width = rows.shape
        numbers = np.zeros(features, np.int64)
        scratch = layout.aligned(_BUCKET_FLOATS + 2 * width)
        self._calls["presaged_sort"](_address(rows), features, width, _address(numbers), _address(scratch))
        return Sorted(rows, numbers)

    def ks(self, reference: Sorted, sample: Float32) -> Float64:
        """Return the statistic of each row; see `Backend.ks`."""
        features, width = reference.values.shape
        if len(sample) != features:
            raise ValueError(f"the sample has {len(sample)} features, the reference {features}")
        other = self.sorted(sample)
        out = np.empty(features)
        self._calls["presaged_distances"](
            _address(reference.values),
            _address(reference.numbers),
            width,
            _address(other.values),
            _address(other.numbers),
            other.values.shape[1],
            features,
            _address(out),
        )
        return out

    def ks_place(self, reference: Sorted, counts: Counts, values: Float32, sign: int) -> None:
        """Count samples; see `Backend.ks_place`."""
        features, width = reference.values.shape
        if values.shape[-1:] != (features,) or values.dtype != np.float32 or not values.flags.c_contiguous:
            raise ValueError(f"samples must be contiguous float32 (…, {features}), not {values.dtype} {values.shape}")
        place, first = self._calls["presaged_place"], _address(values)
        known = _address(reference.values), _address(reference.numbers), width, features
        into = sign, _address(counts.below), _address(counts.upto), _address(counts.sizes)
        for at in range(first, first + values.nbytes, max(values.itemsize * features, 1)):
            place(*known, at, *into)

    def ks_read(self, reference: Sorted, counts: Counts) -> Float64:
        """Return the statistic of the counters; see `Backend.ks_read`."""
        features, width = reference.values.shape
        out = np.empty(features)
        self._calls["presaged_read"](
            _address(reference.values), _address(reference.numbers), width, features,
            _address(counts.below), _address(counts.upto), _address(counts.sizes), _address(out),
        )  # fmt: skip
        return out


def _numbers(settings: TrainSettings, steps: int, batch: int) -> Float64:
    """Return the settings in the order that `train` reads them."""
    second = settings.decay_second
    return np.array(
        [
            settings.rule,
            settings.loss,
            batch,
            settings.learning_rate,
            settings.momentum,
            settings.decay_first,
            second,
            settings.epsilon,
            settings.weight_decay if settings.rule is Rule.ADAMW else 0.0,
            settings.l2,
            0.0 if settings.non_negative else -np.inf,
            settings.decay_first**steps,
            second**steps,
        ]
    )
