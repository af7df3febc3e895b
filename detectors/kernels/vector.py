"""Vectors of float32 for Numba, and the instructions on them: what every kernel here is written in.

A Numba type backed by LLVM's `<LANES x float>`. One process compiles for one width: LANES and FMA come
from the environment that `compiler` sets, so that a kernel is plain module-level code and sizes stay
arguments. Without FMA a product is rounded before it is added: the same results as NumPy's, not as the
other back ends'. No libm: exp, log, tanh and erf are polynomials of our own.

Not a number in gives not a number out, and infinities give NumPy's limits. exp is 0 below -87.33 and
inf above 88.72 (NumPy: denormal down to -103). Errors: exp and log 1e-7, sigmoid 1e-7, tanh 2e-7
relative; gelu, the exact form x/2 (1 + erf(x / sqrt 2)), 5e-7 absolute.
"""
# mypy: ignore-errors
# ruff: noqa: ANN001, ANN002, ANN201, ANN202, ANN204, ARG001, D102, D103, PLR2004 - Numba infers types

import os

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models, register_default
from numba.extending import intrinsic

LANES = int(os.environ.get("PRESAGED_KERNEL_LANES", "8"))
FMA = os.environ.get("PRESAGED_KERNEL_FMA", "0") == "1"
ROWS = 8 if LANES == 16 else 4  # rows of a register tile: ROWS x WIDE accumulators leave room for the operands
WIDE = 3  # vectors of a register tile

_F32 = ir.FloatType()
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
VECTOR = ir.VectorType(_F32, LANES)
_INTEGERS = ir.VectorType(_I32, LANES)

_LOG2E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
_ROUND = 12582912.0  # 1.5 * 2**23: adding it rounds to an integer, left in the low bits
# Cephes expf, logf, tanhf (S. Moshier); erf: Abramowitz and Stegun 7.1.26
_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
_LOG = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
_TANH = (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)
_ERF = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)


class Vector(types.Type):
    """LANES numbers of float32 in one register (or in several, where the processor's are narrower)."""

    def __init__(self):
        super().__init__(name=f"float32x{LANES}")


@register_default(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, VECTOR)


vector = Vector()


class Emit:
    """Writes vector arithmetic into an LLVM function; what the intrinsics here and in `tile` are made of."""

    def __init__(self, builder):
        self.builder = builder

    def constant(self, value):
        return ir.Constant(VECTOR, [float(value)] * LANES)

    def integers(self, value):
        return ir.Constant(_INTEGERS, [int(value)] * LANES)

    def pointer(self, base, index):
        return self.builder.gep(base, [index])

    def load(self, base, index=None):
        place = base if index is None else self.pointer(base, index)
        value = self.builder.load(self.builder.bitcast(place, VECTOR.as_pointer()))
        value.align = 4
        return value

    def store(self, value, base, index=None):
        place = base if index is None else self.pointer(base, index)
        self.builder.store(value, self.builder.bitcast(place, VECTOR.as_pointer())).align = 4

    def broadcast(self, scalar):
        first = self.builder.insert_element(ir.Constant(VECTOR, ir.Undefined), scalar, ir.Constant(_I32, 0))
        zeros = ir.Constant(_INTEGERS, [0] * LANES)
        return self.builder.shuffle_vector(first, ir.Constant(VECTOR, ir.Undefined), zeros)

    def call(self, name, kind, *arguments):
        signature = ir.FunctionType(kind, [argument.type for argument in arguments])
        function = cgutils.get_or_insert_function(self.builder.module, signature, name)
        return self.builder.call(function, arguments)

    def fma(self, a, b, c):
        if FMA:
            return self.call(f"llvm.fma.v{LANES}f32", VECTOR, a, b, c)
        return self.builder.fadd(self.builder.fmul(a, b), c)

    def polynomial(self, x, factors):
        total = self.constant(factors[0])
        for factor in factors[1:]:
            total = self.fma(total, x, self.constant(factor))
        return total

    def low_half(self, x):
        """Return the low 16 bits of each as the float32 that starts with them."""
        b = self.builder
        return b.bitcast(b.shl(b.bitcast(x, _INTEGERS), self.integers(16)), VECTOR)

    def choose(self, comparison, a, b, then, other):
        return self.builder.select(self.builder.fcmp_ordered(comparison, a, b), then, other)

    def exp(self, x):
        b = self.builder
        scaled = self.fma(x, self.constant(_LOG2E), self.constant(_ROUND))
        n = b.fsub(scaled, self.constant(_ROUND))
        r = self.fma(n, self.constant(-_LN2_HIGH), x)
        r = self.fma(n, self.constant(-_LN2_LOW), r)
        p = self.fma(b.fmul(r, r), self.polynomial(r, _EXP), b.fadd(r, self.constant(1)))
        power = b.shl(b.bitcast(scaled, _INTEGERS), self.integers(23))
        # 2**n is added to the exponent of p, in 0.7..1.5: right for n in -125..127
        value = b.bitcast(b.add(b.bitcast(p, _INTEGERS), power), VECTOR)
        value = self.choose(">", x, self.constant(88.7228), self.constant(float("inf")), value)
        value = self.choose("<", x, self.constant(-87.33), self.constant(0), value)
        return b.select(b.fcmp_unordered("uno", x, x), x, value)

    def log(self, x):
        """Logarithm of normal positive numbers; others are the caller's."""
        b = self.builder
        bits = b.bitcast(x, _INTEGERS)
        exponent = b.ashr(b.sub(bits, self.integers(0x3F3504F3)), self.integers(23))  # mantissa in sqrt(1/2)..sqrt 2
        m = b.bitcast(b.sub(bits, b.shl(exponent, self.integers(23))), VECTOR)
        n = b.sitofp(exponent, VECTOR)
        f = b.fsub(m, self.constant(1))
        z = b.fmul(f, f)
        y = b.fmul(b.fmul(f, z), self.polynomial(f, _LOG))
        y = self.fma(n, self.constant(_LN2_LOW), y)
        y = self.fma(z, self.constant(-0.5), y)
        return self.fma(n, self.constant(_LN2_HIGH), b.fadd(f, y))

    def sigmoid(self, x):
        b = self.builder
        return b.fdiv(self.constant(1), b.fadd(self.constant(1), self.exp(b.fneg(x))))

    def tanh(self, x):
        b = self.builder
        z = b.fmul(x, x)
        small = self.fma(b.fmul(z, x), self.polynomial(z, _TANH), x)
        far = b.fdiv(self.constant(2), b.fadd(self.exp(b.fadd(x, x)), self.constant(1)))
        size = self.call(f"llvm.fabs.v{LANES}f32", VECTOR, x)
        return self.choose("<", size, self.constant(0.625), small, b.fsub(self.constant(1), far))

    def gelu(self, x):
        """Return x times the normal distribution's share below it (Hendrycks and Gimpel, 2016), erf by a polynomial."""
        b = self.builder
        z = b.fmul(self.call(f"llvm.fabs.v{LANES}f32", VECTOR, x), self.constant(0.7071067811865476))
        t = b.fdiv(self.constant(1), self.fma(z, self.constant(0.3275911), self.constant(1)))
        tail = b.fmul(b.fmul(t, self.polynomial(t, _ERF)), self.exp(b.fneg(b.fmul(z, z))))  # 1 - erf z
        twice = self.choose("<", x, self.constant(0), tail, b.fsub(self.constant(2), tail))
        value = b.fmul(b.fmul(x, self.constant(0.5)), twice)
        return self.choose("<", x, self.constant(-14), self.constant(0), value)  # -inf * 0 would be NaN


def _unary(name):
    @intrinsic
    def function(typingctx, x):
        def codegen(context, builder, signature, arguments):
            return getattr(Emit(builder), name)(*arguments)

        return vector(vector), codegen

    return function


def _binary(name):
    @intrinsic
    def function(typingctx, a, b):
        def codegen(context, builder, signature, arguments):
            return getattr(builder, name)(*arguments)

        return vector(vector, vector), codegen

    return function


exp, log, sigmoid, tanh, gelu = (_unary(name) for name in ("exp", "log", "sigmoid", "tanh", "gelu"))
add, sub, mul, div = (_binary(name) for name in ("fadd", "fsub", "fmul", "fdiv"))


@intrinsic
def sqrt(typingctx, x):
    def codegen(context, builder, signature, arguments):
        return Emit(builder).call(f"llvm.sqrt.v{LANES}f32", VECTOR, *arguments)

    return vector(vector), codegen


@intrinsic
def fma(typingctx, a, b, c):
    def codegen(context, builder, signature, arguments):
        return Emit(builder).fma(*arguments)

    return vector(vector, vector, vector), codegen


@intrinsic
def root(typingctx, x):
    """The square root of one number in float64."""

    def codegen(context, builder, signature, arguments):
        return Emit(builder).call("llvm.sqrt.f64", ir.DoubleType(), *arguments)

    return types.float64(types.float64), codegen


@intrinsic
def where_less(typingctx, a, b, then, other):
    """`then` where a < b, else `other`: where either is NaN, `other`."""

    def codegen(context, builder, signature, arguments):
        return Emit(builder).choose("<", *arguments)

    return vector(vector, vector, vector, vector), codegen


@intrinsic
def broadcast(typingctx, x):
    def codegen(context, builder, signature, arguments):
        return Emit(builder).broadcast(*arguments)

    return vector(types.float32), codegen


@intrinsic
def load(typingctx, base, index):
    """The vector that starts at base[index]; no alignment asked."""

    def codegen(context, builder, signature, arguments):
        return Emit(builder).load(*arguments)

    return vector(types.CPointer(types.float32), types.int64), codegen


@intrinsic
def store(typingctx, base, index, value):
    def codegen(context, builder, signature, arguments):
        Emit(builder).store(arguments[2], *arguments[:2])
        return context.get_dummy_value()

    return types.void(types.CPointer(types.float32), types.int64, vector), codegen


@intrinsic
def at(typingctx, base, index):
    """The pointer to base[index]."""

    def codegen(context, builder, signature, arguments):
        return builder.gep(arguments[0], [arguments[1]])

    return base(base, types.int64), codegen


@intrinsic
def prefetch(typingctx, base, index):
    """Ask for the cache line of base[index], to be written soon."""

    def codegen(context, builder, signature, arguments):
        place = builder.bitcast(builder.gep(arguments[0], [arguments[1]]), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [place.type, _I32, _I32, _I32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [place, *(ir.Constant(_I32, value) for value in (1, 3, 1))])
        return context.get_dummy_value()

    return types.void(types.CPointer(types.float32), types.int64), codegen


def _cast(target):
    @intrinsic
    def function(typingctx, base):
        def codegen(context, builder, signature, arguments):
            return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(target)(base), codegen

    return function


as_int64, as_int16, as_uint32, as_float64 = (
    _cast(kind) for kind in (types.int64, types.int16, types.uint32, types.float64)
)


@intrinsic
def word(typingctx, address, offset):
    """The 64-bit word at address + offset, both integers."""

    def codegen(context, builder, signature, arguments):
        place = builder.inttoptr(builder.add(*arguments), _I64.as_pointer())
        return builder.load(place)

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def floats(typingctx, address):
    """The pointer to float32 at an address given as an integer."""

    def codegen(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], _F32.as_pointer())

    return types.CPointer(types.float32)(types.int64), codegen
