"""The integer logistic-mixing core: every adaptive binary decision of Triptych goes through it.

A decision has `n` inputs. Each is a *counter*, a u32 that holds the probability of a 1 (20 bits, high)
and its own adaptation rate (12 bits, low). `predict` looks the counters up, takes their logits
(`STRETCH`) and forms one weighted sum; `train` moves weights and counters towards the bit that came.
The weights of a decision are the sum of two to four rows, each chosen by a context of its own. Logistic
mixing is due to Mahoney (PAQ6, 2002); counters that slow themselves down are in the manner of lpaq and ZPAQ.

Everything is integer arithmetic on int32 vectors in plain LLVM IR, so that streams are identical on
every target, with or without SIMD; there is no flag on any operation, so overflow wraps (it is defined,
and FORMAT.md section 6.1 says where it may happen).

* logits: 1/256 nat, clamped to +-3071; probabilities: 16 bits, P(bit = 1), clamped to 2..65534;
* weights: int32, 1.0 = 65536 for the sum of the rows.

`rangecoder` turns probabilities into bytes. The tables are made here from integers alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import int32, int64, types, uint64
from numba.extending import intrinsic

from triptych_kernels._jit import inline
from triptych_kernels.arrays import I32

LOGIT_MAX = 3071
HALF = np.uint32((1 << 31) | 2560)
"""A counter that knows nothing: p = 1/2, and the fastest rate."""
BIAS = 100
"""The logit of the constant last input."""


def _tables() -> tuple[I32, I32]:
    """Return SQUASH[x + 3072] = 65536 / (1 + e^(-x/256)), STRETCH[i] = least x of p >= (2i + 1) / 8192."""
    one = 1 << 80
    term, step, n = one, 0, 0
    while term:  # e^(1/256) by its Taylor series, in 80-bit fixed point
        step += term
        n += 1
        term //= 256 * n
    power = [one]
    for _ in range(LOGIT_MAX + 1):
        power.append(power[-1] * step // one)
    squash = np.zeros(2 * LOGIT_MAX + 2, np.int32)
    for x in range(-LOGIT_MAX - 1, LOGIT_MAX + 1):
        p = 65536 * power[x] // (one + power[x]) if x >= 0 else 65536 * one // (one + power[-x])
        squash[x + LOGIT_MAX + 1] = min(65535, max(1, p))
    stretch = np.zeros(4096, np.int32)
    x = -LOGIT_MAX
    for i in range(2048):
        while one * 8192 < (2 * i + 1) * (one + power[-x]):
            x += 1
        stretch[i] = x
        stretch[4095 - i] = -x
    return squash, stretch


SQUASH, STRETCH = _tables()


@inline
def squash(logit: int) -> int:
    """Return the 16-bit probability of a logit that is already clamped to +-3071."""
    return int64(SQUASH[uint64(logit + (LOGIT_MAX + 1))])


@inline
def clamp(x: int, low: int, high: int) -> int:
    """Return x, or the bound it passes."""
    return min(int64(high), max(int64(low), int64(x)))


@inline
def decayed(rate: int, least: int) -> int:
    """Return a learning rate (8 fractional bits) one step later: 1/64 less, not below `least`."""
    return max(int64(least), (int64(rate) * 252) >> 8)


# Intrinsics: vectors of 8 int32 lanes, generic IR.

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_LANES = 8
_VEC = ir.VectorType(_I32, _LANES)


def _const(n: int) -> ir.Constant:
    return ir.Constant(_VEC, [n] * _LANES)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, offset: Any = None) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return data if offset is None else builder.gep(data, [offset])


def _load(builder: Any, pointer: Any, k: int) -> Any:
    vector = builder.load(builder.bitcast(builder.gep(pointer, [_I32(_LANES * k)]), _VEC.as_pointer()))
    vector.align = 4
    return vector


def _store(builder: Any, vector: Any, pointer: Any, k: int) -> None:
    target = builder.bitcast(builder.gep(pointer, [_I32(_LANES * k)]), _VEC.as_pointer())
    builder.store(vector, target).align = 4


def _splat(builder: Any, scalar: Any) -> Any:
    one = builder.insert_element(ir.Constant(_VEC, ir.Undefined), scalar, _I32(0))
    return builder.shuffle_vector(one, ir.Constant(_VEC, ir.Undefined), ir.Constant(_VEC, [0] * _LANES))


def _sum(builder: Any, vector: Any) -> Any:
    n = vector.type.count
    while n > 1:
        n //= 2
        halves = [
            builder.shuffle_vector(
                vector, vector, ir.Constant(ir.VectorType(_I32, n), list(range(at, at + n)))
            )
            for at in (0, n)
        ]
        vector = builder.add(*halves)
    return builder.extract_element(vector, _I32(0))


def _clamped(builder: Any, vector: Any, high: int) -> Any:
    low, top = _const(0), _const(high)
    vector = builder.select(builder.icmp_signed("<", vector, low), low, vector)
    return builder.select(builder.icmp_signed(">", vector, top), top, vector)


def _make_predict(n: int, n_sets: int) -> Any:
    """Build `predict` for n inputs; n + 1 (the bias) is padded to whole vectors with zero inputs."""
    n_vectors = n // _LANES + 1

    @intrinsic
    def predict(
        typing: Any, counters: Any, at: Any, stretch: Any, weights: Any, rows: Any, seen: Any, logits: Any
    ) -> Any:
        """Return the logit, clamped to +-3071, that n counters have under the sum of n_sets rows of weights.

        IN counters u32; at i64 (n): which counters; stretch = STRETCH; weights i32; rows i64 (n_sets): where
        each row begins. OUT seen u32 and logits i32 (whole vectors): counters and inputs, for `train`.
        """
        signature = types.int64(counters, at, stretch, weights, rows, seen, logits)

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            counters, at, stretch, weights, rows, seen, logits = (
                _pointer(context, builder, kind, value) for kind, value in zip(sig.args, args, strict=True)
            )
            sets = [builder.gep(weights, [builder.load(builder.gep(rows, [_I32(i)]))]) for i in range(n_sets)]
            total = None
            for k in range(n_vectors):
                counter = logit = _const(0)
                for lane in range(min(_LANES, n - k * _LANES)):
                    index = builder.load(builder.gep(at, [_I32(k * _LANES + lane)]))
                    value = builder.load(builder.gep(counters, [index]))
                    index = builder.zext(builder.lshr(value, _I32(20)), _I64)
                    counter = builder.insert_element(counter, value, _I32(lane))
                    value = builder.load(builder.gep(stretch, [index]))
                    logit = builder.insert_element(logit, value, _I32(lane))
                if k == n_vectors - 1:
                    logit = builder.insert_element(logit, _I32(BIAS), _I32(_LANES - 1))
                _store(builder, counter, seen, k)
                _store(builder, logit, logits, k)
                weight = _load(builder, sets[0], k)
                for row in sets[1:]:
                    weight = builder.add(weight, _load(builder, row, k))
                part = builder.mul(builder.ashr(weight, _const(3)), logit)
                total = part if total is None else builder.add(total, part)
            dot = builder.ashr(_sum(builder, total), _I32(13))
            low, high = _I32(-LOGIT_MAX), _I32(LOGIT_MAX)
            dot = builder.select(builder.icmp_signed("<", dot, low), low, dot)
            dot = builder.select(builder.icmp_signed(">", dot, high), high, dot)
            return builder.sext(dot, _I64)

        return signature, codegen

    return predict


def _make_train(n: int, n_sets: int) -> Any:
    """Build `train` for n inputs."""
    n_vectors = n // _LANES + 1

    @intrinsic
    def train(
        typing: Any,
        counters: Any,
        at: Any,
        weights: Any,
        rows: Any,
        seen: Any,
        logits: Any,
        step: Any,
        bit: Any,
        rate_min: Any,
    ) -> Any:
        """Learn from `bit`: move the weights (half as much in rows after the first) and the counters.

        step i64 = ((bit << 16) - p16) * rate >> 8, within +-2^19 for rates below 2048: a product with a
        logit (below 2^12) stays within int32. A counter p20|r12 becomes p += ((t - p) >> 2) * r >> 10
        with t = 2^20 - 1 or 0 (below 2^18 * 2^12 = 2^30: no overflow) and
        r = max(rate_min, r - 1 - (r * r >> 12)). Where two inputs are one counter, the later one stays.
        """
        signature = types.void(
            counters, at, weights, rows, seen, logits, types.int64, types.int64, types.int64
        )

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            counters, at, weights, rows, seen, logits = (
                _pointer(context, builder, sig.args[i], args[i]) for i in range(6)
            )
            sets = [builder.gep(weights, [builder.load(builder.gep(rows, [_I32(i)]))]) for i in range(n_sets)]
            step = _splat(builder, builder.trunc(args[6], _I32))
            target = _splat(builder, builder.mul(builder.trunc(args[7], _I32), _I32((1 << 20) - 1)))
            least = _splat(builder, builder.trunc(args[8], _I32))
            for k in range(n_vectors):
                gain = builder.mul(_load(builder, logits, k), step)
                for i, row in enumerate(sets):
                    shift = 14 if i == 0 else 15
                    move = builder.ashr(builder.add(gain, _const(1 << (shift - 1))), _const(shift))
                    _store(builder, builder.add(_load(builder, row, k), move), row, k)
                value = _load(builder, seen, k)
                rate, p = builder.and_(value, _const(4095)), builder.lshr(value, _const(12))
                move = builder.mul(builder.ashr(builder.sub(target, p), _const(2)), rate)
                p = builder.add(p, builder.ashr(move, _const(10)))
                decay = builder.lshr(builder.mul(rate, rate), _const(12))
                rate = builder.sub(builder.sub(rate, _const(1)), decay)
                rate = builder.select(builder.icmp_signed(">", rate, least), rate, least)
                value = builder.or_(builder.shl(p, _const(12)), rate)
                for lane in range(min(_LANES, n - k * _LANES)):
                    index = builder.load(builder.gep(at, [_I32(k * _LANES + lane)]))
                    builder.store(builder.extract_element(value, _I32(lane)), builder.gep(counters, [index]))
            return context.get_dummy_value()

        return signature, codegen

    return train


predict7, train7 = _make_predict(7, 2), _make_train(7, 2)
predict15, train15 = _make_predict(15, 4), _make_train(15, 4)
predict23, train23 = _make_predict(23, 3), _make_train(23, 3)


@inline
def trained(counter: int, bit: int, rate_min: int) -> int:
    """Return a counter after one more bit, by the rule of `train`."""
    p, rate = counter >> 12, counter & 4095
    p += (((bit * ((1 << 20) - 1) - p) >> 2) * rate) >> 10
    return (p << 12) | max(int64(rate_min), rate - 1 - ((rate * rate) >> 12))


@inline
def step_of(bit: int, p16: int, rate: int) -> int:
    """Return the step of `train`: the prediction error times the learning rate (8 fractional bits)."""
    return (((int64(bit) << 16) - int64(p16)) * int64(rate)) >> 8


@inline
def refine(table: I32, row: int, logit: int) -> int:
    """Return the 16-bit probability that an adaptive map (33 points of 22 bits a row) gives a logit."""
    x = clamp(logit, -2048, 2047) + 2048
    at = uint64(row * 33 + (x >> 7))
    f = x & 127
    return (int64(table[at]) * (128 - f) + int64(table[at + uint64(1)]) * f) >> 13


@inline
def refine_train(table: I32, row: int, logit: int, bit: int) -> None:
    """Move both points of `refine` towards the bit, in proportion to their nearness.

    A point stays in 0..2^22-1: it moves by at most (128 * 5) / 2^14 = 1/25 of its distance to the target.
    """
    x = clamp(logit, -2048, 2047) + 2048
    at = uint64(row * 33 + (x >> 7))
    f = x & 127
    target = int64(bit) * ((1 << 22) - 1)
    low, high = int64(table[at]), int64(table[at + uint64(1)])
    table[at] = int32(low + (((target - low) * (128 - f) * 5) >> 14))
    table[at + uint64(1)] = int32(high + (((target - high) * f * 5) >> 14))


def refine_table(n_rows: int) -> I32:
    """Return n_rows rows of 33 points that map every logit to its own probability."""
    points = np.clip((np.arange(33) - 16) * 128, -LOGIT_MAX, LOGIT_MAX)
    return np.tile(SQUASH[points + LOGIT_MAX + 1] << 6, n_rows).astype(np.int32)
