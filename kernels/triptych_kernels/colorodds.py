"""The odds of each colour of a palette at a pixel: a distribution around the predicted colour.

A colour's weight falls with its distance from the prediction, measured in luma and two differences of
colour (Y = (R + 2G + B) / 4, U = R - G, V = B - G), each against the mean error that predictions had
where those of the neighbours were as good as here. The weights are added up over the leaves of the colour
tree, first to last, so that the odds of any decision are one division. FORMAT.md section 6.5 is the law.

Distances are in 1/8 steps, below 2^13, and mean errors count for half a step at least: an offset in units of
1/16 of a deviation, times 0.85, is below 2^15 / 1.47, and three squares of such are below 2^31.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import int32, int64, types, uint64
from numba.extending import intrinsic

from triptych_kernels._jit import inline
from triptych_kernels.arrays import I32, I64, U8
from triptych_kernels.contextmix import _const, _load, _pointer, _splat, _store

N_CLASSES = 72
CLASS = 3
"""Place in `point` (i64, 4) of the class of the errors around; before it Y, U, V of the prediction."""


def new_means() -> I64:
    """Return the mean errors, i64 (N_CLASSES * 3), 8 fractional bits, before the first pixel: 30 steps."""
    return np.full(N_CLASSES * 3, 240 << 8, np.int64)


@inline
def _factor(mean: int) -> int:
    """Return 2^16 * 0.8493 / deviation: 2^(-(d * factor / 2^16)^2) is a bell of that deviation."""
    return (44528 << 8) // max(int64(1024), int64(mean))


@inline
def find_odds(
    predictions: I32, errors: I32, x: int, means: I64, leaves: I32, point: I64, weights: I32, sums: I64
) -> None:
    """Fill sums (i64, 257; sums[i] is the weight of the first i leaves) and point for the pixel at x.

    errors i32 (width + 2): at x + 1 the error of N, before it those of this row. leaves: see
    palettetree. weights: i32 (256), of each leaf.
    """
    red, green, blue = int64(predictions[6]), int64(predictions[14]), int64(predictions[22])
    point[0], point[1], point[2] = (red + 2 * green + blue) >> 2, red - green, blue - green
    place = uint64(x)
    west, north = int64(errors[place]), int64(errors[place + uint64(1)])
    northeast = int64(errors[place + uint64(2)])
    around = 8 + 2 * (west + north) + northeast
    n_bits = 4
    while (around >> n_bits) > 0:
        n_bits += 1
    point[CLASS] = 4 * n_bits + ((around >> (n_bits - 3)) & 3)
    at = uint64(point[CLASS] * 3)
    y, u, v = _factor(means[at]), _factor(means[at + uint64(1)]), _factor(means[at + uint64(2)])
    n = leaves.size // 3
    total = 0
    for i in range(0, n, 8):
        _weigh(leaves, int64(i), n, point[0], point[1], point[2], y, u, v, weights)
    for i in range(n):
        total += int64(weights[uint64(i)])
        sums[uint64(i + 1)] = total


@inline
def learn_errors(colors: U8, s: int, errors: I32, x: int, means: I64, point: I64) -> None:
    """Note how far the prediction in `point` was from the pixel's colour, that of index s."""
    at = uint64(s * 4)
    red, green, blue = int64(colors[at]), int64(colors[at + uint64(1)]), int64(colors[at + uint64(2)])
    y = abs(2 * (red + 2 * green + blue) - point[0])
    u = abs(8 * (red - green) - point[1])
    v = abs(8 * (blue - green) - point[2])
    errors[uint64(x + 1)] = int32(y + u + v)
    at = uint64(point[CLASS] * 3)
    means[at] += ((y << 8) - means[at]) >> 5
    means[at + uint64(1)] += ((u << 8) - means[at + uint64(1)]) >> 5
    means[at + uint64(2)] += ((v << 8) - means[at + uint64(2)]) >> 5


@inline
def chance(sums: I64, span: I32, node: int) -> int:
    """Return the probability, 12 bits, that the way from a tree node is to the right."""
    first, middle, end = uint64(span[node, 0]), uint64(span[node, 1]), uint64(span[node, 2])
    return ((sums[end] - sums[middle]) << 12) // (sums[end] - sums[first])


def _halving(builder: Any, exponent: Any) -> Any:
    """Build 2^22 / 2^(exponent / 256), with a parabola for the part below one; exponent < 32 * 256."""
    part = builder.and_(exponent, _const(255))
    bent = builder.lshr(builder.mul(builder.mul(part, part), _const(44)), _const(8))
    mantissa = builder.add(builder.sub(_const(65536), builder.mul(part, _const(172))), bent)
    return builder.lshr(builder.shl(mantissa, _const(6)), builder.lshr(exponent, _const(8)))


@intrinsic
def _weigh(
    typing: Any,
    leaves: Any,
    first: Any,
    step: Any,
    y: Any,
    u: Any,
    v: Any,
    y_factor: Any,
    u_factor: Any,
    v_factor: Any,
    weights: Any,
) -> Any:
    """Set the weights of eight leaves from `first` on, as vectors.

    With z the sum of squares, in 1/256 halvings: 2^-z, 2^-(z / 16) / 128 for what is far off, and 2^-22.
    """
    signature = types.void(leaves, *[types.int64] * 8, weights)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        total = None
        for i in range(3):
            at = builder.add(args[1], builder.mul(args[2], args[2].type(i)))
            leaf = _load(builder, _pointer(context, builder, sig.args[0], args[0], at), 0)
            point, factor = (_splat(builder, builder.trunc(args[j + i], ir.IntType(32))) for j in (3, 6))
            away = builder.ashr(builder.mul(builder.sub(leaf, point), factor), _const(12))
            square = builder.mul(away, away)
            total = square if total is None else builder.add(total, square)
        most = _const(31 * 256 + 255)
        near = builder.select(builder.icmp_signed(">", total, most), most, total)
        far = builder.ashr(total, _const(4))
        far = builder.select(builder.icmp_signed(">", far, most), most, far)
        weight = builder.add(_halving(builder, near), builder.lshr(_halving(builder, far), _const(7)))
        weight = builder.add(weight, _const(1))
        _store(builder, weight, _pointer(context, builder, sig.args[9], args[9], args[1]), 0)
        return context.get_dummy_value()

    return signature, codegen
