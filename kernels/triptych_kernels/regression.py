"""Local least squares: the weights that would have predicted the colours around here best.

A prediction is a mean plus a weighted sum of what twelve neighbours differ from it by. Rows are cut into
blocks of BLOCK pixels. A block's weights solve the normal equations of pixels near it that are coded: of
the three blocks above, older rows counting less and less, and of those to its left. All channels share
the weights. Integers only; FORMAT.md section 6.5 is the law.

Sizes: an offset is below 2^11, so the products of a block (16 pixels, 4 channels) stay within 2^28 and
are kept with 3 bits less; sums lose an eighth (a quarter, to the left) each time and stay within 2^28, what
is solved within 2^30. It is positive definite, as RIDGE is more than all that rounding can take from it
(13 * 74): then no entry passes the geometric mean of its diagonal ones, and all products are below 2^63.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import int32, int64, types, uint64
from numba.extending import intrinsic

from triptych_kernels._jit import inline, kernel
from triptych_kernels.arrays import I32, I64, U8
from triptych_kernels.contextmix import _load, _pointer, _splat, _store, clamp

BLOCK = 16
TAPS = 12
ROW = 16
"""Places of a row of sums or offsets: twelve neighbours, the pixel itself, three unused."""
SIZE = (TAPS + 1) * ROW
"""Sums of one block: the products of each offset with those before it and itself."""
RIDGE = 2048
HERE = TAPS
"""Place in `taps` of the number of the block that they are for; -1 where none is."""
FRESH, LEFT, ABOVE = 0, SIZE, 3 * SIZE
"""Where sums lie: this block's in this row; all to its left in this row; the first block's from above."""


def new_sums(width: int) -> I32:
    """Return the sums of an image: i32, of each block and of one more on either side."""
    return np.zeros((5 + (width - 1) // BLOCK) * SIZE, np.int32)


def new_taps() -> I32:
    """Return what `solve` fills: i32 (13), weights (1.0 = 65536) and the block's number."""
    return np.full(TAPS + 1, -1, np.int32)


@inline
def begin_row(sums: I32, taps: I32) -> None:
    """Forget what is to the left."""
    for i in range(2 * SIZE):
        sums[uint64(i)] = int32(0)
    taps[HERE] = int32(-1)


@kernel
def move_to(sums: I32, taps: I32, block: int) -> None:
    """Close the blocks of this row before number `block`: add each one's products to its sums."""
    for j in range(max(int64(0), int64(taps[HERE])), block):
        above = ABOVE + j * SIZE
        for i in range(SIZE):
            fresh = int64(sums[FRESH + i]) >> 3
            left, old = int64(sums[LEFT + i]), int64(sums[above + i])
            sums[FRESH + i] = int32(0)
            sums[LEFT + i] = int32(left - (left >> 2) + fresh)
            sums[above + i] = int32(old - (old >> 3) + fresh)
    taps[HERE] = int32(block)


@kernel
def solve(sums: I32, taps: I32, work: I64) -> None:
    """Set taps[0:12] for the block at hand by Gaussian elimination; work is i64 (SIZE).

    The ridge draws the weights towards those of a plane: W / 2 + N / 2 - NW / 5 + NE / 5.
    """
    at = ABOVE + int64(taps[HERE]) * SIZE
    for i in range(SIZE):
        beside = int64(sums[at - SIZE + i]) + int64(sums[at + SIZE + i])
        work[i] = int64(sums[at + i]) + ((3 * beside) >> 2) + int64(sums[LEFT + i])
    for i in range(TAPS):
        work[i * (ROW + 1)] += RIDGE
    target = TAPS * ROW
    work[target] += 1024
    work[target + 1] += 1024
    work[target + 2] -= 410
    work[target + 3] += 410
    # The factor of row r by row i replaces entry (i, r), which is not looked at as the matrix is symmetric.
    for i in range(TAPS):
        pivot = work[i * (ROW + 1)]
        for r in range(i + 1, TAPS + 1):
            factor = (work[r * ROW + i] << 30) // pivot
            work[i * ROW + r] = factor
            for j in range(i + 1, min(r + 1, TAPS)):
                work[r * ROW + j] -= (factor * work[j * ROW + i]) >> 30
    for i in range(TAPS - 1, -1, -1):
        total = 0
        for j in range(i + 1, TAPS):
            total += work[i * ROW + j] * int64(taps[j])
        taps[i] = int32(clamp((work[i * ROW + TAPS] >> 14) - (total >> 30), -(1 << 19), 1 << 19))


@inline
def predict(colors: U8, near: I64, n_channels: int, taps: I32, predictions: I32, offsets: I32) -> None:
    """Replace the mean in predictions[6] of each channel by mean + taps . offsets; fill offsets.

    offsets: i32 (4 * ROW), what each neighbour differs from the mean by, in 1/8 steps. Products: twelve
    below 2^11 * 2^19, in i64.
    """
    for c in range(n_channels):
        mean = int64(predictions[uint64(c * 8 + 1)])
        total = 0
        for i in range(TAPS):
            offset = int64(colors[uint64(near[i] * 4 + c)]) * 8 - mean
            offsets[uint64(c * ROW + i)] = int32(offset)
            total += offset * int64(taps[uint64(i)])
        predictions[uint64(c * 8 + 6)] = int32(clamp(mean + (total >> 16), -2048, 4096))


@inline
def learn(colors: U8, s: int, n_channels: int, predictions: I32, offsets: I32, sums: I32) -> None:
    """Add the products of the pixel's offsets, with its own (index s), to its block's."""
    for c in range(n_channels):
        own = int64(colors[uint64(s * 4 + c)]) * 8 - int64(predictions[uint64(c * 8 + 1)])
        offsets[uint64(c * ROW + TAPS)] = int32(own)
        _add_products(offsets, c * ROW, sums)


@intrinsic
def _add_products(typing: Any, offsets: Any, first: Any, sums: Any) -> Any:
    """Add the products of thirteen offsets, from `first` on, to the first SIZE sums, as vectors.

    In the rows of the first eight, only the first eight places are filled.
    """
    signature = types.void(offsets, types.int64, sums)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        offset = _pointer(context, builder, sig.args[0], args[0], args[1])
        total = _pointer(context, builder, sig.args[2], args[2])
        halves = [_load(builder, offset, k) for k in range(ROW // 8)]
        for i in range(TAPS + 1):
            one = _splat(builder, builder.load(builder.gep(offset, [ir.Constant(ir.IntType(32), i)])))
            for k in range(1 + i // 8):
                row = i * (ROW // 8) + k
                _store(
                    builder,
                    builder.add(_load(builder, total, row), builder.mul(one, halves[k])),
                    total,
                    row,
                )
        return context.get_dummy_value()

    return signature, codegen
