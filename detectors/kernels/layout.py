"""How a network lies in memory for the compiled kernels, and how a NumPy array is found there.

Enters: a `Plan` and canonical parameters. Leaves: one 64-byte aligned float32 buffer: a header of
64-bit words (layers, inputs, outputs, stride, the address of NumPy's float32 dtype, floats of scratch,
precision, one spare; then for each layer: inputs, outputs, activation, residual, offset of its weights, three
spare), then for each layer its panels of up to three vectors of outputs: [bias: width][k][width].
Both widths are padded to whole vectors. With BF16 one word holds the weights of k, in the low half, and of
k + 1: the word itself, read as float32, is the latter. Nothing here imports Numba.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from detectors.kernels.plan import Plan, Precision

Float32 = NDArray[np.float32]

HEADER_WORDS = 8
LAYER_WORDS = 8
CHUNK = 64  # rows that go through the network together: their activations stay in the L2 cache
ALIGNMENT = 64

# PyArrayObject_fields of NumPy's C interface, after an object head of 16 bytes
HEAD_BYTES = 16
ARRAY_DATA, ARRAY_NUMBER, ARRAY_DIMENSIONS, ARRAY_DESCRIPTOR, ARRAY_FLAGS = 16, 24, 32, 56, 64
ARRAY_READABLE = 0x1 | 0x100  # C-contiguous and aligned
ARRAY_WRITABLE = ARRAY_READABLE | 0x400

_WIDEST_PANEL = 3
_SIGN, _LEAST_NORMAL = 0x80000000, 0x00800000  # bits of float32


def padded(width: int, lanes: int) -> int:
    """Return `width` rounded up to whole vectors."""
    return -(-width // lanes) * lanes


def panels(width: int, lanes: int) -> list[tuple[int, int]]:
    """Return (first column, columns) of each panel of a layer with `width` outputs; as `forward.panel_vectors`."""
    left, column, out = padded(width, lanes) // lanes, 0, []
    while left:
        vectors = 2 if left == _WIDEST_PANEL + 1 else min(left, _WIDEST_PANEL)
        out.append((column, vectors * lanes))
        column += vectors * lanes
        left -= vectors
    return out


def _depth(plan: Plan, wide: int, lanes: int) -> int:
    """Return the rows of a layer's panels, the bias's among them."""
    return 1 + padded(wide, lanes) // (2 if plan.precision is Precision.BF16 else 1)


def aligned(count: int) -> Float32:
    """Return `count` zeros of float32 that start on a cache line."""
    block = np.zeros(count + ALIGNMENT // 4, np.float32)
    first = (-block.ctypes.data % ALIGNMENT) // 4
    return block[first : first + count]


@lru_cache(maxsize=64)
def header(plan: Plan, lanes: int) -> tuple[NDArray[np.int64], tuple[int, ...], int]:
    """Return the header's words, the offset of each layer's panels and the length of the buffer, in floats."""
    layers = len(plan.activations)
    words = np.zeros(-(-(HEADER_WORDS + LAYER_WORDS * layers) // 8) * 8, np.int64)
    stride = max(padded(size, lanes) for size in plan.sizes[1:]) + lanes  # no power of two: other cache sets
    words[:6] = layers, plan.sizes[0], plan.sizes[-1], stride, id(np.dtype(np.float32)), 2 * CHUNK * stride
    words[6] = plan.precision
    at = 2 * len(words)
    offsets = []
    for number, (wide, out) in enumerate(pairwise(plan.sizes)):
        place = HEADER_WORDS + LAYER_WORDS * number
        words[place : place + 5] = wide, out, plan.activations[number], plan.residual[number], at
        offsets.append(at)
        at += padded(out, lanes) * _depth(plan, wide, lanes)
    return words, tuple(offsets), at


def pack(plan: Plan, parameters: Float32, lanes: int) -> Float32:
    """Return the buffer of `parameters` (canonical order) with its header."""
    words, _, count = header(plan, lanes)
    packed = aligned(count)
    packed[: 2 * len(words)].view(np.int64)[:] = words
    for canonical, panel in _views(plan, parameters, packed, lanes):
        if _halved(plan, canonical):
            _halve(canonical, panel)
        else:
            panel[:] = canonical
    return packed


def unpack(plan: Plan, packed: Float32, lanes: int, out: Float32) -> Float32:
    """Fill `out` with the canonical parameters of a buffer."""
    for canonical, panel in _views(plan, out, packed, lanes):
        if _halved(plan, canonical):
            canonical[::2] = (panel.view(np.uint32) << 16).view(np.float32)
            canonical[1::2] = panel[: len(canonical) // 2]
        else:
            canonical[:] = panel
    return out


def _halved(plan: Plan, values: Float32) -> bool:
    """Say whether these are weights, not biases, and two of them share a word."""
    return plan.precision is Precision.BF16 and values.ndim > 1


def _halve(weights: Float32, panel: Float32) -> None:
    """Fill `panel` (ceil(in / 2), n) with `weights` (in, n), each with the half that brings its word nearest.

    The half of k + 1 takes the bits behind it into account, and is never so small that they make a denormal.
    """
    bits = np.zeros((2 * len(panel), weights.shape[1]), np.int64)
    bits[: len(weights)] = np.ascontiguousarray(weights).view(np.uint32)
    low = (bits[::2] + 0x8000) >> 16
    sign, size = bits[1::2] & _SIGN, bits[1::2] & ~_SIGN
    panel.view(np.uint32)[:] = sign | np.maximum(size - low + 0x8000, _LEAST_NORMAL) & ~0xFFFF | low


def _views(plan: Plan, parameters: Float32, packed: Float32, lanes: int) -> Iterator[tuple[Float32, Float32]]:
    """Yield views on the same numbers in canonical order and in the panels: biases (n,), then weights (in, n)."""
    _, offsets, _ = header(plan, lanes)
    place = 0
    for offset, (wide, out) in zip(offsets, pairwise(plan.sizes), strict=True):
        weights = parameters[place : place + wide * out].reshape(out, wide)
        bias = parameters[place + wide * out : place + wide * out + out]
        place += wide * out + out
        deep = _depth(plan, wide, lanes)
        rows = -(-wide // 2) if plan.precision is Precision.BF16 else wide
        for column, width in panels(out, lanes):
            block = packed[offset + column * deep : offset + (column + width) * deep].reshape(deep, width)
            true = min(width, out - column)
            yield bias[column : column + true], block[0, :true]
            yield weights[column : column + true].T, block[1 : rows + 1, :true]
