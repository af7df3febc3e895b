"""An epoch of minibatches in one call: forward, backward and the optimizer's step, tile by tile.

Weights and both moments stay in the packed order of `layout`. The gradient of a tile of weights is summed
over the batch in registers and spent at once on that tile: a whole gradient is never stored. The gradient
of a layer's inputs comes from the same tiles as the forward pass, on a transposed copy of the weights.
"""
# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, ANN202, PLR0917, PLR2004 - Numba infers types and calls by position

import numpy as np
from numba import njit, types

from detectors.kernels import tile
from detectors.kernels.forward import activate, layer, padded, panel_vectors
from detectors.kernels.layout import HEADER_WORDS, LAYER_WORDS
from detectors.kernels.vector import (
    LANES,
    ROWS,
    WIDE,
    add,
    as_float64,
    as_int64,
    at,
    broadcast,
    div,
    exp,
    floats,
    fma,
    load,
    log,
    mul,
    prefetch,
    root,
    sigmoid,
    sqrt,
    store,
    sub,
    where_less,
)

_RELU, _LEAKY, _SIGMOID, _TANH = 1, 2, 3, 4
_SGD, _RMSPROP = 0, 1
_LINE = 16  # floats in a cache line
# settings, float64, as `native` writes them
_RULE, _LOSS, _BATCH, _RATE, _MOMENTUM, _FIRST, _SECOND, _EPSILON, _DECAY, _L2, _FLOOR = range(11)
_POWER1, _POWER2 = 11, 12  # the two decays to the power of the steps done
# constants of one step, float32
_C_RATE, _C_KEEP1, _C_NEW1, _C_KEEP2, _C_NEW2, _C_ROOT, _C_EPSILON, _C_L2, _C_DECAY, _C_FLOOR = range(10)
_CONSTANTS = 16


@njit(error_model="numpy")
def _constants(settings, c, biases):
    """Fill c with what one step needs: for weights, or for biases, which do not shrink and may be negative."""
    f = np.float32
    rate, rule = settings[_RATE], settings[_RULE]
    first, second = settings[_FIRST], settings[_SECOND]
    if rule == _SGD:
        first = settings[_MOMENTUM]
    c[_C_RATE] = f(rate)
    c[_C_ROOT] = f(1)
    if rule > _RMSPROP:
        c[_C_RATE] = f(rate / (1 - settings[_POWER1]))
        c[_C_ROOT] = f(1 / root(1 - settings[_POWER2]))
    c[_C_KEEP1], c[_C_NEW1] = f(first), f(1 - first)
    c[_C_KEEP2], c[_C_NEW2] = f(second), f(1 - second)
    c[_C_EPSILON] = f(settings[_EPSILON])
    c[_C_L2] = f(0) if biases else f(settings[_L2])
    c[_C_DECAY] = f(0) if biases else f(rate * settings[_DECAY])  # 1 minus it would round half of it away
    c[_C_FLOOR] = f(-np.inf) if biases else f(settings[_FLOOR])


@njit(error_model="numpy")
def _step(rule, w, m, v, g, count, c):
    """Spend the gradient g on the weights w, moments m and v; each `count` floats, whole vectors."""
    rate, scale, epsilon = broadcast(c[_C_RATE]), broadcast(c[_C_ROOT]), broadcast(c[_C_EPSILON])
    keep1, new1 = broadcast(c[_C_KEEP1]), broadcast(c[_C_NEW1])
    keep2, new2 = broadcast(c[_C_KEEP2]), broadcast(c[_C_NEW2])
    l2, decay, floor = broadcast(c[_C_L2]), broadcast(c[_C_DECAY]), broadcast(c[_C_FLOOR])
    zero = broadcast(np.float32(0))
    for i in range(0, count, LANES):
        weight = load(w, i)
        gradient = fma(l2, weight, load(g, i))
        if rule == _SGD:
            change = fma(keep1, load(m, i), gradient)
            store(m, i, change)
        elif rule == _RMSPROP:
            square = fma(keep2, load(v, i), mul(new2, mul(gradient, gradient)))
            store(v, i, square)
            change = div(gradient, add(sqrt(square), epsilon))
        else:
            moment = fma(keep1, load(m, i), mul(new1, gradient))
            square = fma(keep2, load(v, i), mul(new2, mul(gradient, gradient)))
            store(m, i, moment)
            store(v, i, square)
            change = div(moment, fma(sqrt(square), scale, epsilon))
        weight = fma(sub(zero, rate), change, fma(sub(zero, decay), weight, weight))
        store(w, i, where_less(weight, floor, floor, weight))


@njit(error_model="numpy")
def _update(x, x_stride, delta, delta_stride, rows, w, m, v, wide, out, rule, c, g):
    """One layer: the gradient of each tile of weights from x (rows, wide) and delta (rows, out), spent at once."""
    depth = padded(wide)
    vectors = padded(out) // LANES
    column = 0
    zero = broadcast(np.float32(0))
    while vectors > 0:
        now = panel_vectors(vectors)
        width = now * LANES
        for j in range(0, width, LANES):
            bias = zero
            for row in range(rows):
                bias = add(bias, load(delta, row * delta_stride + column + j))
            store(g, j, bias)
        _step(rule, w, m, v, g, width, at(c, _CONSTANTS))
        w, m, v = at(w, width), at(m, width), at(v, width)
        for k in range(0, wide, ROWS):
            place = k * width
            for i in range(place, place + ROWS * width, _LINE):
                prefetch(w, i)
                prefetch(m, i)
                prefetch(v, i)
            if now == 3:
                tile.gradient_tile_3(at(x, k), x_stride, at(delta, column), delta_stride, rows, g)
            elif now == 2:
                tile.gradient_tile_2(at(x, k), x_stride, at(delta, column), delta_stride, rows, g)
            else:
                tile.gradient_tile_1(at(x, k), x_stride, at(delta, column), delta_stride, rows, g)
            _step(rule, at(w, place), at(m, place), at(v, place), g, ROWS * width, c)
        w, m, v = at(w, width * depth), at(m, width * depth), at(v, width * depth)
        column += width
        vectors -= now


@njit(error_model="numpy")
def _transpose(w, wide, out, t):
    """Fill t, the panels of a layer from `out` to `wide` with no bias, with the weights of w, turned."""
    depth, breadth = padded(wide), padded(out)
    zero = broadcast(np.float32(0))
    left, k = depth // LANES, 0
    while left > 0:
        now = panel_vectors(left)
        width = now * LANES
        for j in range(0, width, LANES):
            store(t, j, zero)
        source, column, right = w, 0, breadth // LANES
        while right > 0:
            take = panel_vectors(right)
            span = take * LANES
            for j in range(now):
                for o in range(0, span, LANES):
                    tile.transpose(at(source, span * (1 + k + j * LANES) + o), span,
                                   at(t, width * (1 + column + o) + j * LANES), width)  # fmt: skip
            source = at(source, span * (1 + depth))
            column += span
            right -= take
        t = at(t, width * (1 + breadth))
        k += width
        left -= now


@njit(error_model="numpy")
def _slope(kind, y):
    """The derivative of an activation, from its output y."""
    zero, one = broadcast(np.float32(0)), broadcast(np.float32(1))
    if kind == _RELU:
        return where_less(zero, y, one, zero)
    if kind == _LEAKY:
        return where_less(zero, y, one, broadcast(np.float32(0.01)))
    if kind == _SIGMOID:
        return mul(y, sub(one, y))
    if kind == _TANH:
        return sub(one, mul(y, y))
    return one


@njit(error_model="numpy")
def _losses(loss, kind, y, targets, scale, delta):
    """Store d loss / d sum in delta for one vector of outputs and return their losses; targets may be delta."""
    t = load(targets, 0)
    value = load(y, 0)
    if loss == 0:
        difference = sub(value, t)
        store(delta, 0, mul(mul(mul(broadcast(np.float32(2)), difference), _slope(kind, value)), scale))
        return mul(difference, difference)
    zero, one = broadcast(np.float32(0)), broadcast(np.float32(1))
    store(delta, 0, mul(sub(sigmoid(value), t), scale))
    size = where_less(value, zero, value, sub(zero, value))  # -|z|
    above = where_less(value, zero, zero, value)
    return add(sub(above, mul(value, t)), log(add(one, exp(size))))


@njit(error_model="numpy")
def _output(loss, kind, y, stride, rows, out, weights, delta, delta_stride, g):
    """Turn the targets that stand in delta (rows, out) into gradients; return the batch's sum of losses."""
    whole = 0.0
    for row in range(rows):
        factor = weights[row]
        scale = broadcast(factor / np.float32(rows * out))
        one = 0.0
        for column in range(0, out, LANES):
            place = at(delta, row * delta_stride + column)
            store(g, 0, _losses(loss, kind, at(y, row * stride + column), place, scale, place))
            for lane in range(min(LANES, out - column)):
                one += g[lane]
        for column in range(out, padded(out)):
            delta[row * delta_stride + column] = np.float32(0)
        whole += one * factor / out
    return whole


@njit(error_model="numpy")
def _copy(source, count, target):
    for i in range(0, count - LANES + 1, LANES):
        store(target, i, load(source, i))
    for i in range(count // LANES * LANES, count):
        target[i] = source[i]


@njit(error_model="numpy")
def _backward(head, packed, m, v, values, batch, rows, d, other, turned, rule, c, g, d_stride):
    """From the output's gradient in d: inputs' gradients, then each layer's update, last layer first."""
    layers = head[0]
    end = values
    for number in range(layers):
        end = at(end, batch * (padded(head[HEADER_WORDS + number * LAYER_WORDS]) + LANES))
    for back in range(layers):
        place = HEADER_WORDS + (layers - 1 - back) * LAYER_WORDS
        wide, out, offset = head[place], head[place + 1], head[place + 4]
        x_stride = padded(wide) + LANES
        x = at(end, -batch * x_stride)
        end = x
        if back < layers - 1:
            _transpose(at(packed, offset), wide, out, turned)
            layer(d, d_stride, rows, turned, out, wide, other, d_stride, 0)
            kind = head[place - LAYER_WORDS + 2]
            if kind:
                for row in range(rows):
                    for column in range(0, wide, LANES):
                        i = row * d_stride + column
                        store(other, i, mul(load(other, i), _slope(kind, load(x, row * x_stride + column))))
        _update(x, x_stride, d, d_stride, rows, at(packed, offset), at(m, offset), at(v, offset), wide, out, rule, c, g)
        d, other = other, d


def train(packed_at, first_at, second_at, inputs_at, targets_at, weights_at, order_at, count, settings_at, scratch_at):
    """Entry: addresses of aligned buffers. Returns the mean loss over `count` rows, taken in `order`.

    Rows go in batches of the settings' size, the last one as it comes; `weights` (rows) may be 0. The
    powers of the decays are read from the settings and written back.
    """
    packed, first, second = floats(packed_at), floats(first_at), floats(second_at)
    inputs, targets, row_weights = floats(inputs_at), floats(targets_at), floats(weights_at)
    order, settings = as_int64(floats(order_at)), as_float64(floats(settings_at))
    head = as_int64(packed)
    layers, features, outputs = head[0], head[1], head[2]
    batch = types.int64(settings[_BATCH])
    rule, loss = types.int64(settings[_RULE]), types.int64(settings[_LOSS])
    d_stride = LANES
    for number in range(layers):
        place = HEADER_WORDS + number * LAYER_WORDS
        d_stride = max(d_stride, padded(max(head[place + 1], head[place] if number else 0)) + LANES)
    c = floats(scratch_at)
    g = at(c, 2 * _CONSTANTS)
    weights = at(g, ROWS * WIDE * LANES)
    d = at(weights, padded(batch))
    other = at(d, batch * d_stride)
    values = at(other, batch * d_stride)
    turned = values
    for number in range(layers):
        turned = at(turned, batch * (padded(head[HEADER_WORDS + number * LAYER_WORDS]) + LANES))
    turned = at(turned, batch * (padded(outputs) + LANES))
    whole = 0.0
    for start in range(0, count, batch):
        rows = min(batch, count - start)
        settings[_POWER1] *= settings[_FIRST]
        settings[_POWER2] *= settings[_SECOND]
        _constants(settings, c, False)
        _constants(settings, at(c, _CONSTANTS), True)
        x, x_stride = values, padded(features) + LANES
        for row in range(rows):
            which = order[start + row]
            _copy(at(inputs, which * features), features, at(x, row * x_stride))
            _copy(at(targets, which * outputs), outputs, at(d, row * d_stride))
            weights[row] = row_weights[which] if weights_at else np.float32(1)
        kind = 0
        for number in range(layers):
            place = HEADER_WORDS + number * LAYER_WORDS
            out, kind = head[place + 1], head[place + 2]
            y, y_stride = at(x, batch * x_stride), padded(out) + LANES
            layer(x, x_stride, rows, at(packed, head[place + 4]), head[place], out, y, y_stride,
                  1 if kind == _RELU else 0)  # fmt: skip
            if loss == 0 or number < layers - 1:
                activate(y, y_stride, rows, out, kind)
            x, x_stride = y, y_stride
        whole += _output(loss, kind, x, x_stride, rows, outputs, weights, d, d_stride, g)
        _backward(head, packed, first, second, values, batch, rows, d, other, turned, rule, c, g, d_stride)
    return whole / count


ENTRIES = {"presaged_train": (train, types.float64(*[types.int64] * 10))}
