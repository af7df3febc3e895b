"""The forward pass: the whole network in one call, weights read once and in order.

`layer` is shared with training. Rows go through in chunks, so that activations stay in cache. Columns
beyond a layer's true width hold arbitrary numbers (inf * 0 of the padding); no sum ever reads them.
The header that stands before the weights is described in `layout`.
"""
# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, ANN202, C901, D103, PLR0917, PLR2004 - Numba infers types and calls by position

from numba import njit, types

from detectors.kernels import tile
from detectors.kernels.layout import (
    ARRAY_DATA,
    ARRAY_DESCRIPTOR,
    ARRAY_DIMENSIONS,
    ARRAY_FLAGS,
    ARRAY_NUMBER,
    ARRAY_READABLE,
    ARRAY_WRITABLE,
    CHUNK,
    HEADER_WORDS,
    LAYER_WORDS,
)
from detectors.kernels.vector import (
    LANES,
    ROWS,
    as_int64,
    at,
    broadcast,
    exp,
    floats,
    gelu,
    load,
    mul,
    sigmoid,
    store,
    sub,
    tanh,
    where_less,
    word,
)

_HALF = ROWS // 2
_LINEAR, _RELU, _LEAKY, _SIGMOID, _TANH, _GELU, _SOFTMAX = range(7)


@njit(error_model="numpy")
def padded(width):
    return (width + LANES - 1) // LANES * LANES


@njit(error_model="numpy")
def panel_vectors(vectors):
    """Vectors of the next panel when so many are left: threes, and twos rather than a single one."""
    if vectors == 4:
        return 2
    return min(vectors, 3)


@njit(error_model="numpy")
def _block(x, x_stride, panel, count, vectors, y, y_stride, relu, half):
    if half:
        if vectors == 3:
            tile.half_tile_3(x, x_stride, panel, count, y, y_stride, relu)
        elif vectors == 2:
            tile.half_tile_2(x, x_stride, panel, count, y, y_stride, relu)
        else:
            tile.half_tile_1(x, x_stride, panel, count, y, y_stride, relu)
    elif vectors == 3:
        tile.forward_tile_3(x, x_stride, panel, count, y, y_stride, relu)
    elif vectors == 2:
        tile.forward_tile_2(x, x_stride, panel, count, y, y_stride, relu)
    else:
        tile.forward_tile_1(x, x_stride, panel, count, y, y_stride, relu)


@njit(error_model="numpy")
def _row(x, panel, count, vectors, y, relu):
    if vectors == 3:
        tile.row_tile_3(x, panel, count, y, relu)
    elif vectors == 2:
        tile.row_tile_2(x, panel, count, y, relu)
    else:
        tile.row_tile_1(x, panel, count, y, relu)


@njit(error_model="numpy")
def _bf16_layer(x, x_stride, rows, weights, wide, out, y, y_stride, relu):
    """Do what `layer` does with weights of BF16, row by row: made for one."""
    depth = padded(wide) // 2
    vectors = padded(out) // LANES
    column = 0
    while vectors > 0:
        now = panel_vectors(vectors)
        for row in range(rows):
            source, target = at(x, row * x_stride), at(y, row * y_stride + column)
            if now == 3:
                tile.bf16_tile_3(source, weights, wide, target, relu)
            elif now == 2:
                tile.bf16_tile_2(source, weights, wide, target, relu)
            else:
                tile.bf16_tile_1(source, weights, wide, target, relu)
        weights = at(weights, now * LANES * (1 + depth))
        column += now * LANES
        vectors -= now


@njit(error_model="numpy")
def layer(x, x_stride, rows, weights, wide, out, y, y_stride, relu):
    """Fill y (rows, padded(out)) with x (rows, wide) @ weights + bias, rectified where `relu` is not 0.

    The last block of rows overlaps the one before it: the same numbers are written twice.
    """
    depth = padded(wide)
    vectors = padded(out) // LANES
    column = 0
    while vectors > 0:
        now = panel_vectors(vectors)
        if rows >= _HALF:
            row = 0
            while row < rows:
                half = 1 if rows - row <= _HALF or rows < ROWS else 0
                block = _HALF if half else ROWS
                row = min(row, rows - block)
                _block(at(x, row * x_stride), x_stride, weights, wide, now, at(y, row * y_stride + column), y_stride,
                       relu, half)  # fmt: skip
                row += block
        else:
            for row in range(rows):
                _row(at(x, row * x_stride), weights, wide, now, at(y, row * y_stride + column), relu)
        weights = at(weights, now * LANES * (1 + depth))
        column += now * LANES
        vectors -= now


@njit(error_model="numpy")
def _softmax(y, out):
    """One row, over its true columns; the largest is taken off first."""
    largest = y[0]
    for column in range(1, out):
        if not y[column] <= largest:  # also when it is NaN: then all become NaN
            largest = y[column]
    top = broadcast(largest)
    for column in range(0, out, LANES):
        store(y, column, exp(sub(load(y, column), top)))
    whole = types.float32(0)
    for column in range(out):
        whole += y[column]
    for column in range(out):
        y[column] /= whole


@njit(error_model="numpy")
def activate(y, y_stride, rows, out, kind):
    """Apply an activation to y (rows, out) in place; relu has been applied by `layer`."""
    if kind in (_LINEAR, _RELU):
        return
    zero = broadcast(types.float32(0))
    slope = broadcast(types.float32(0.01))
    for row in range(rows):
        line = at(y, row * y_stride)
        if kind == _SOFTMAX:
            _softmax(line, out)
        elif kind == _SIGMOID:
            for column in range(0, out, LANES):
                store(line, column, sigmoid(load(line, column)))
        elif kind == _TANH:
            for column in range(0, out, LANES):
                store(line, column, tanh(load(line, column)))
        elif kind == _GELU:
            for column in range(0, out, LANES):
                store(line, column, gelu(load(line, column)))
        else:
            for column in range(0, out, LANES):
                value = load(line, column)
                store(line, column, where_less(value, zero, mul(value, slope), value))


@njit(error_model="numpy")
def _network(packed, x, batch, scratch, y):
    head = as_int64(packed)
    layers, inputs, outputs, stride = head[0], head[1], head[2], head[3]
    start = 0
    while start < batch:
        rows = min(CHUNK, batch - start)
        source, source_stride = at(x, start * inputs), inputs
        for number in range(layers):
            place = HEADER_WORDS + number * LAYER_WORDS
            wide, out, kind = head[place], head[place + 1], head[place + 2]
            target = at(scratch, (number & 1) * CHUNK * stride)
            weights, relu = at(packed, head[place + 4]), 1 if kind == _RELU else 0
            if head[6]:
                _bf16_layer(source, source_stride, rows, weights, wide, out, target, stride, relu)
            else:
                layer(source, source_stride, rows, weights, wide, out, target, stride, relu)
            activate(target, stride, rows, out, kind)
            if head[place + 3]:
                for row in range(rows):
                    for column in range(out):
                        target[row * stride + column] += source[row * source_stride + column]
            source, source_stride = target, stride
        for row in range(rows):
            for column in range(outputs):
                y[(start + row) * outputs + column] = source[row * stride + column]
        start += rows


@njit(error_model="numpy")
def _fits(array, width, descriptor, flags):
    """Say whether a NumPy array, given by the address of its object, is float32 (rows, width) with these flags."""
    if word(array, ARRAY_NUMBER) & 0xFFFFFFFF != 2 or word(array, ARRAY_DESCRIPTOR) != descriptor:
        return False
    columns = word(word(array, ARRAY_DIMENSIONS), 8)
    return columns == width and word(array, ARRAY_FLAGS) & flags == flags


def forward(packed_object, inputs_object, scratch_object, outputs_object):
    """Entry: the addresses of four NumPy objects. Returns 0, or which argument does not fit.

    The shape is read where C reads it, in the public layout of PyArrayObject: checking in Python
    would cost as much as the whole network.
    """
    packed = floats(word(packed_object, ARRAY_DATA))
    head = as_int64(packed)
    descriptor = head[4]
    if not _fits(inputs_object, head[1], descriptor, ARRAY_READABLE):
        return types.int32(1)
    if not _fits(outputs_object, head[2], descriptor, ARRAY_WRITABLE):
        return types.int32(2)
    batch = word(word(inputs_object, ARRAY_DIMENSIONS), 0)
    if word(word(outputs_object, ARRAY_DIMENSIONS), 0) != batch:
        return types.int32(2)
    if word(word(scratch_object, ARRAY_DIMENSIONS), 0) < head[5]:
        return types.int32(3)
    _network(
        packed,
        floats(word(inputs_object, ARRAY_DATA)),
        batch,
        floats(word(scratch_object, ARRAY_DATA)),
        floats(word(outputs_object, ARRAY_DATA)),
    )
    return types.int32(0)


ENTRIES = {"presaged_forward": (forward, types.int32(*[types.int64] * 4))}
