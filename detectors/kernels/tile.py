"""Register tiles: the three inner loops on which all time is spent, written as LLVM loops.

`forward_tile(rows, vectors)` computes a block of x @ w + bias, `gradient_tile(vectors)` a block of
x.T @ delta, `row_tile(vectors)` one row of x @ w + bias. Accumulators stay in registers over the whole
loop: 8 rows x 3 vectors with 32 registers, 4 x 3 with 16. A single row has too few accumulators to hide
the latency of an FMA, so it runs several k at once and adds the partial sums at the end.

A panel of the packed weights is [bias: width][k][width] with width = vectors * LANES floats.
"""
# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, ANN202, ARG001, PLR0917 - Numba infers types and calls by position

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from detectors.kernels.vector import LANES, ROWS, WIDE, Emit

_POINTER = types.CPointer(types.float32)
_I64 = ir.IntType(64)
_LATENCY = 9  # accumulators that keep the FMA units busy


def _index(value):
    return ir.Constant(_I64, value)


def _loop(builder, count, step, starts, body):
    """Run body(p, values) for p = 0, step, ... while p + step <= count; return the last p and values."""
    before = builder.block
    head = builder.append_basic_block("tile.head")
    inside = builder.append_basic_block("tile.body")
    after = builder.append_basic_block("tile.after")
    builder.branch(head)
    builder.position_at_end(head)
    place = builder.phi(_I64)
    place.add_incoming(_index(0), before)
    phis = [builder.phi(value.type) for value in starts]
    for phi, start in zip(phis, starts, strict=True):
        phi.add_incoming(start, before)
    following = builder.add(place, _index(step))
    builder.cbranch(builder.icmp_signed("<=", following, count), inside, after)
    builder.position_at_end(inside)
    values = body(place, phis)
    for phi, value in zip(phis, values, strict=True):
        phi.add_incoming(value, builder.block)
    place.add_incoming(following, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return place, phis


def _rectified(emit, values, relu):
    """The values, below zero replaced by zero where `relu` is not 0."""
    zero = emit.constant(0)
    builder = emit.builder
    wanted = builder.icmp_signed("!=", relu, _index(0))
    start = builder.block
    with builder.if_then(wanted):
        cut = [emit.choose("<", value, zero, zero, value) for value in values]
        end = builder.block
    out = []
    for value, rectified in zip(values, cut, strict=True):
        phi = builder.phi(value.type)
        phi.add_incoming(value, start)
        phi.add_incoming(rectified, end)
        out.append(phi)
    return out


def _block(emit, rows, vectors, a_place, b, b_stride, count, starts):
    """Accumulate a rows x vectors block; a_place(i, p) says where the scalar of row i at step p stands."""
    builder = emit.builder

    def body(place, values):
        row = emit.pointer(b, builder.mul(place, b_stride))
        right = [emit.load(row, _index(j * LANES)) for j in range(vectors)]
        out = []
        for i in range(rows):
            left = emit.broadcast(builder.load(a_place(i, place)))
            out += [emit.fma(left, right[j], values[i * vectors + j]) for j in range(vectors)]
        return out

    return _loop(builder, count, 1, starts, body)[1]


def _forward_tile(rows, vectors):
    @intrinsic
    def tile(typingctx, x, x_stride, panel, count, y, y_stride, relu):
        """y[i, :] = x[i, :count] @ panel + bias for `rows` rows; y is `vectors` vectors wide."""

        def codegen(context, builder, signature, arguments):
            x, x_stride, panel, count, y, y_stride, relu = arguments
            emit = Emit(builder)
            lines = [emit.pointer(x, builder.mul(x_stride, _index(i))) for i in range(rows)]
            bias = [emit.load(panel, _index(j * LANES)) for j in range(vectors)]
            width = _index(vectors * LANES)
            out = _block(
                emit, rows, vectors, lambda i, p: emit.pointer(lines[i], p), emit.pointer(panel, width), width, count,
                [bias[j] for _ in range(rows) for j in range(vectors)],
            )  # fmt: skip
            for place, value in enumerate(_rectified(emit, out, relu)):
                i, j = divmod(place, vectors)
                emit.store(value, y, builder.add(builder.mul(y_stride, _index(i)), _index(j * LANES)))
            return context.get_dummy_value()

        integer = types.int64
        return types.void(_POINTER, integer, _POINTER, integer, _POINTER, integer, integer), codegen

    return tile


def _gradient_tile(vectors):
    @intrinsic
    def tile(typingctx, x, x_stride, delta, delta_stride, count, y):
        """y[k, :] = sum over b < count of x[b, k] * delta[b, :] for ROWS features k; y is contiguous."""

        def codegen(context, builder, signature, arguments):
            x, x_stride, delta, delta_stride, count, y = arguments
            emit = Emit(builder)
            out = _block(
                emit, ROWS, vectors,
                lambda i, p: emit.pointer(x, builder.add(builder.mul(p, x_stride), _index(i))),
                delta, delta_stride, count, [emit.constant(0)] * (ROWS * vectors),
            )  # fmt: skip
            for place, value in enumerate(out):
                emit.store(value, y, _index(place * LANES))
            return context.get_dummy_value()

        integer = types.int64
        return types.void(_POINTER, integer, _POINTER, integer, integer, _POINTER), codegen

    return tile


def _row_step(emit, x, weights, vectors, deep, halves):
    """The body of a loop over one row: at each step `deep` vectors of words, of each its first `halves` weights.

    `halves` is 0 where a word is one weight; of BF16 it is 2, or 1 for the last of an odd number.
    """
    builder, per_word = emit.builder, 2 if halves else 1

    def body(place, values):
        row = emit.pointer(weights, builder.mul(place, _index(vectors * LANES)))
        left = emit.pointer(x, builder.mul(place, _index(per_word)))
        out = list(values)
        for word in range(deep):
            packed = [emit.load(row, _index((word * vectors + j) * LANES)) for j in range(vectors)]
            for half in range(halves or 1):
                k = word * per_word + half
                scalar = emit.broadcast(builder.load(emit.pointer(left, _index(k))))
                for j, right in enumerate(packed):
                    weight = emit.low_half(right) if halves and not half else right
                    out[k * vectors + j] = emit.fma(scalar, weight, out[k * vectors + j])
        return out

    return body


def _added(builder, values, vectors):
    """The sums of every `vectors`-th value, in pairs."""
    out = []
    for j in range(vectors):
        parts = list(values[j::vectors])
        while len(parts) > 1:
            pairs = [builder.fadd(*parts[i : i + 2]) for i in range(0, len(parts) - 1, 2)]
            parts = pairs + parts[2 * len(pairs) :]
        out.append(parts[0])
    return out


def _row_tile(vectors, halves=0):
    per_word = halves or 1

    @intrinsic
    def tile(typingctx, x, panel, count, y, relu):
        """y[:] = x[:count] @ panel + bias for one row; y is `vectors` vectors wide."""
        depth = -(-_LATENCY // (vectors * per_word))

        def codegen(context, builder, signature, arguments):
            x, panel, count, y, relu = arguments
            emit = Emit(builder)
            weights = emit.pointer(panel, _index(vectors * LANES))
            values = [emit.load(panel, _index(j * LANES)) for j in range(vectors)]
            values += [emit.constant(0)] * (vectors * (depth * per_word - 1))
            words = builder.sdiv(count, _index(per_word))
            for deep in (depth, 1):
                done, values = _loop(builder, words, deep, values, _row_step(emit, x, weights, vectors, deep, halves))
                words = builder.sub(words, done)
                x = emit.pointer(x, builder.mul(done, _index(per_word)))
                weights = emit.pointer(weights, builder.mul(done, _index(vectors * LANES)))
            if halves:
                last = _row_step(emit, x, weights, vectors, 1, 1)
                values = _loop(builder, builder.and_(count, _index(1)), 1, values, last)[1]
            for j, value in enumerate(_rectified(emit, _added(builder, values, vectors), relu)):
                emit.store(value, y, _index(j * LANES))
            return context.get_dummy_value()

        integer = types.int64
        return types.void(_POINTER, _POINTER, integer, _POINTER, integer), codegen

    return tile


forward_tile_1, forward_tile_2, forward_tile_3 = (_forward_tile(ROWS, n) for n in range(1, WIDE + 1))
half_tile_1, half_tile_2, half_tile_3 = (_forward_tile(ROWS // 2, n) for n in range(1, WIDE + 1))
gradient_tile_1, gradient_tile_2, gradient_tile_3 = (_gradient_tile(n) for n in range(1, WIDE + 1))
row_tile_1, row_tile_2, row_tile_3 = (_row_tile(n) for n in range(1, WIDE + 1))
bf16_tile_1, bf16_tile_2, bf16_tile_3 = (_row_tile(n, 2) for n in range(1, WIDE + 1))


@intrinsic
def transpose(typingctx, source, source_stride, target, target_stride):
    """target[j, i] = source[i, j] for LANES x LANES numbers: interleaved log2(LANES) times."""

    def codegen(context, builder, signature, arguments):
        source, source_stride, target, target_stride = arguments
        emit = Emit(builder)
        rows = [emit.load(source, builder.mul(source_stride, _index(i))) for i in range(LANES)]
        half = LANES // 2
        low = [i // 2 + (i % 2) * LANES for i in range(LANES)]
        masks = [ir.Constant(ir.VectorType(ir.IntType(32), LANES), [i + add for i in low]) for add in (0, half)]
        for _ in range(LANES.bit_length() - 1):
            rows = [builder.shuffle_vector(rows[i], rows[i + half], mask) for i in range(half) for mask in masks]
        for j, row in enumerate(rows):
            emit.store(row, target, builder.mul(target_stride, _index(j)))
        return context.get_dummy_value()

    integer = types.int64
    return types.void(_POINTER, integer, _POINTER, integer), codegen
