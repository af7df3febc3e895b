"""Two-sample Kolmogorov-Smirnov over many features: sort, compare, and a window kept up to date.

Rows are features. NaN is a missing value: it sorts to the end and counts for nothing; -0.0 is 0.0. The
sort is a radix sort, three passes of 11 bits over the ordered bits of float32. The statistic is the
largest distance of the two empirical distribution functions, ties included, in float64.
"""
# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, ANN202, FURB136, PLR0917, PLR1714 - Numba infers types and calls by position

import numpy as np
from numba import njit, types

from detectors.kernels.vector import as_float64, as_int16, as_int64, as_uint32, at, floats

_BITS = 11
_BUCKETS = 1 << _BITS
_NOTHING = 0xFFFFFFFF  # the key of NaN, above that of every number


@njit(error_model="numpy")
def _keys(values, count, keys, buckets):
    """Fill keys with integers in the order of values, count the buckets of all passes; return the count of numbers."""
    bits = as_uint32(values)
    for i in range(3 * _BUCKETS):
        buckets[i] = 0
    numbers = 0
    for i in range(count):
        value, word = values[i], types.int64(bits[i])
        if value != value:  # noqa: PLR0124 - not a number
            key = types.int64(_NOTHING)
        else:
            numbers += 1
            if value == 0:
                word = types.int64(0)
            key = word ^ 0xFFFFFFFF if word >> 31 else word | 0x80000000
        keys[i] = types.uint32(key)
        for turn in range(3):
            buckets[turn * _BUCKETS + ((key >> (_BITS * turn)) & (_BUCKETS - 1))] += 1
    return numbers


@njit(error_model="numpy")
def _pass(source, count, target, buckets, turn):
    place = 0
    for i in range(turn * _BUCKETS, (turn + 1) * _BUCKETS):
        here = buckets[i]
        buckets[i] = place
        place += here
    for i in range(count):
        bucket = turn * _BUCKETS + ((types.int64(source[i]) >> (_BITS * turn)) & (_BUCKETS - 1))
        target[buckets[bucket]] = source[i]
        buckets[bucket] += 1


def sort(values_at, features, count, numbers_at, scratch_at):
    """Entry: sort each row of values (features, count) in place; fill numbers (features) with what is not NaN.

    The scratch holds 3 * 2048 words of 64 bits, then 2 * count of 32.
    """
    numbers, buckets = as_int64(floats(numbers_at)), as_int64(floats(scratch_at))
    one = as_uint32(at(floats(scratch_at), 6 * _BUCKETS))
    other = at(one, count)
    for feature in range(features):
        values = at(floats(values_at), feature * count)
        numbers[feature] = _keys(values, count, one, buckets)
        _pass(one, count, other, buckets, 0)
        _pass(other, count, one, buckets, 1)
        _pass(one, count, other, buckets, 2)
        bits = as_uint32(values)
        for i in range(count):
            key = types.int64(other[i])
            bits[i] = types.uint32(key & 0x7FFFFFFF if key >> 31 else key ^ 0xFFFFFFFF)
            if key == _NOTHING:
                bits[i] = types.uint32(0x7FC00000)
    return types.int64(0)


@njit(error_model="numpy")
def _distance(a, many, b, others):
    """Walk through both in order, without a branch that depends on which is smaller; whole numbers lose nothing."""
    farthest = i = j = 0
    first, second = a[0], b[0]
    while True:
        value = second if second < first else first  # min() would look for NaN
        i += first == value
        j += second == value
        if i == many or j == others:
            break
        first, second = a[i], b[j]
        apart = abs(i * others - j * many)
        farthest = max(farthest, 0 if first == value or second == value else apart)  # a tie goes on
    while i < many and a[i] == value:
        i += 1
    while j < others and b[j] == value:
        j += 1
    return max(farthest, abs(i * others - j * many)) / (many * others)


def distances(reference_at, reference_numbers_at, width, sample_at, sample_numbers_at, count, features, out_at):
    """Entry: fill out (features) with the statistic of two sets of sorted rows; NaN where one has no number."""
    many, others, out = as_int64(floats(reference_numbers_at)), as_int64(floats(sample_numbers_at)), floats(out_at)
    out = as_float64(out)
    for f in range(features):
        if many[f] == 0 or others[f] == 0:
            out[f] = np.nan
        else:
            a, b = at(floats(reference_at), f * width), at(floats(sample_at), f * count)
            out[f] = _distance(a, many[f], b, others[f])
    return types.int64(0)


@njit(error_model="numpy")
def _below(reference, many, value, equal):
    """How many of the sorted reference are below value, or, where `equal`, not above it."""
    low, high = 0, many
    while low < high:
        middle = (low + high) >> 1
        if reference[middle] < value or (equal and reference[middle] == value):
            low = middle + 1
        else:
            high = middle
    return low


def place(reference_at, numbers_at, width, features, values_at, sign, below_at, upto_at, sizes_at):
    """Entry: take one value of each feature into the window (sign 1) or out of it (sign -1).

    `below` and `upto` (features, width + 1) count the window's values by how many of the reference are
    below them, and not above them; `sizes` (features) counts the values.
    """
    numbers, values, sizes = as_int64(floats(numbers_at)), floats(values_at), as_int64(floats(sizes_at))
    below, upto = as_int16(floats(below_at)), as_int16(floats(upto_at))
    for f in range(features):
        value = values[f]
        if value == value:  # noqa: PLR0124 - a number
            reference = at(floats(reference_at), f * width)
            below[f * (width + 1) + _below(reference, numbers[f], value, False)] += sign
            upto[f * (width + 1) + _below(reference, numbers[f], value, True)] += sign
            sizes[f] += sign
    return types.int64(0)


def read(reference_at, numbers_at, width, features, below_at, upto_at, sizes_at, out_at):
    """Entry: fill out (features) with the statistic of the window against the reference, from the counts alone.

    At each value of the reference: the window's share up to it against the reference's, and just before it.
    """
    numbers, sizes, out = as_int64(floats(numbers_at)), as_int64(floats(sizes_at)), as_float64(floats(out_at))
    for f in range(features):
        reference = at(floats(reference_at), f * width)
        below = at(as_int16(floats(below_at)), f * (width + 1))
        upto = at(as_int16(floats(upto_at)), f * (width + 1))
        many, size = numbers[f], sizes[f]
        farthest = before = reached = types.int64(0)
        for i in range(many):
            before += upto[i]
            reached += below[i]
            if i == 0 or reference[i - 1] != reference[i]:
                farthest = max(farthest, abs(i * size - before * many))
            if i == many - 1 or reference[i + 1] != reference[i]:
                farthest = max(farthest, abs((i + 1) * size - reached * many))
        out[f] = farthest / (many * size) if many * size else np.nan
    return types.int64(0)


ENTRIES = {
    "presaged_sort": (sort, types.int64(*[types.int64] * 5)),
    "presaged_distances": (distances, types.int64(*[types.int64] * 8)),
    "presaged_place": (place, types.int64(*[types.int64] * 9)),
    "presaged_read": (read, types.int64(*[types.int64] * 8)),
}
