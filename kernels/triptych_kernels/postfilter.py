"""The learned filter that a decoded plane goes through last. FORMAT.md section 7.4 is the law.

Each sample becomes itself plus a weighted sum of how its 24 neighbours (5 x 5) differ from it. The weights
are learned by least squares for classes of samples: where in its block a sample is, and how much and in which
direction its surroundings of 4 x 4 vary. The classes are those of adaptive loop filters (Tsai et al.,
"Adaptive loop filtering for video coding", 2013, section III), the weights are not sent with the picture but
shipped.

Samples are within 2^11. The 24 weights of a class sum to at most TAP_SUM < 2^15, in magnitude, so the
centre's fits in 16 bits and products sum below 2^27.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import int16, int64, types, uint64
from numba.core import cgutils
from numba.extending import intrinsic

from triptych_kernels._jit import inline, kernel
from triptych_kernels.arrays import F64, I16, I64
from triptych_kernels.blockcoder import REC_MAX
from triptych_kernels.blockmodel import log16
from triptych_kernels.contextmix import clamp

N_PLACES = 18
N_ACTIVITIES = 4
N_DIRECTIONS = 5
N_CLASSES = N_PLACES * N_ACTIVITIES * N_DIRECTIONS
N_TAPS = 24
TAP_BITS = 12
TAP_SUM = (1 << 15) - 1
MARGIN = 2
ROW_LANES = 8
"""A row of five taps is padded to a vector."""

_I16, _I32 = ir.IntType(16), ir.IntType(32)
_ROW, _WIDE = ir.VectorType(_I16, ROW_LANES), ir.VectorType(_I32, ROW_LANES)


@intrinsic
def _dot5x5(typing: Any, plane: Any, at: Any, stride: Any, taps: Any, first: Any) -> Any:
    """Return the sum of plane[at + i * stride + j] * taps[first + 8 i + j], 5 rows i of 8 columns j; i16."""
    signature = types.int64(plane, types.int64, types.int64, taps, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        def row(array_type: Any, array: Any, offset: Any) -> Any:
            data = context.make_array(array_type)(context, builder, array).data
            vector = builder.load(builder.bitcast(builder.gep(data, [offset]), _ROW.as_pointer()))
            vector.align = 2
            return builder.sext(vector, _WIDE)

        offset, first = args[1], args[4]
        total = None
        for _ in range(5):
            product = builder.mul(row(sig.args[0], args[0], offset), row(sig.args[3], args[3], first))
            total = product if total is None else builder.add(total, product)
            offset = builder.add(offset, args[2])
            first = builder.add(first, ir.IntType(64)(ROW_LANES))
        add = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_I32, [_WIDE]), f"llvm.vector.reduce.add.v{ROW_LANES}i32"
        )
        return builder.sext(builder.call(add, [total]), ir.IntType(64))

    return signature, codegen


def padded_taps(filters: I16) -> I16:
    """Lay filters (classes, 24) out as 5 rows of 8 each, with the centre that makes their sum zero."""
    taps = np.zeros((len(filters), 25), np.int64)
    taps[:, :12], taps[:, 13:] = filters[:, :12], filters[:, 12:]
    taps[:, 12] = -taps.sum(1)
    padded = np.zeros((len(filters), 5, ROW_LANES), np.int16)
    padded[:, :, :5] = taps.reshape(-1, 5, 5)
    return padded.reshape(-1)


@inline
def _place(i: int, side: int) -> int:
    """Return 0, 1, 2: the first, an inner, or the last sample of a block."""
    inside = i & (side - 1)
    return 0 if inside == 0 else (2 if inside == side - 1 else 1)


@inline
def _texture(padded: I16, y: int, x: int, step: int) -> int:
    """Return the activity and direction of the 4 x 4 samples at (y, x): 0..19."""
    across = down = falling = rising = 0
    for i in range(4):
        row = uint64(y + i + MARGIN)
        for j in range(4):
            column = uint64(x + j + MARGIN)
            one = uint64(1)
            centre = 2 * int64(padded[row, column])
            across += abs(centre - int64(padded[row, column - one]) - int64(padded[row, column + one]))
            down += abs(centre - int64(padded[row - one, column]) - int64(padded[row + one, column]))
            falling += abs(
                centre - int64(padded[row - one, column - one]) - int64(padded[row + one, column + one])
            )
            rising += abs(
                centre - int64(padded[row - one, column + one]) - int64(padded[row + one, column - one])
            )
    activity = clamp((log16(across + down + 1) - 48 - step) >> 4, 0, N_ACTIVITIES - 1)
    direction = 0
    if across > 2 * down:
        direction = 1
    elif down > 2 * across:
        direction = 2
    elif falling > 2 * rising:
        direction = 3
    elif rising > 2 * falling:
        direction = 4
    return activity * N_DIRECTIONS + direction


@kernel
def pad_plane(rec: I16, padded: I16) -> None:
    """Set padded (height + 4, width + 8) to a plane whose edges go on, two samples before it."""
    height, width = rec.shape
    for y in range(padded.shape[0]):
        row = clamp(y - MARGIN, 0, height - 1)
        for x in range(padded.shape[1]):
            padded[y, x] = rec[row, clamp(x - MARGIN, 0, width - 1)]


@kernel
def classify(padded: I16, split: I64, step: int, classes: I64) -> None:
    """Set classes i64 (height, width) of the samples of a padded plane; split: see `blockcoder.Plane`."""
    height, width = classes.shape
    for y in range(0, height, 4):
        for x in range(0, width, 4):
            texture = _texture(padded, y, x, step)
            side = 8 if split[y >> 4, x >> 4] == 2 else 16
            for i in range(y, y + 4):
                row = (0 if side == 8 else 9) + 3 * _place(i, side)
                for j in range(x, x + 4):
                    classes[i, j] = (row + _place(j, side)) * (N_ACTIVITIES * N_DIRECTIONS) + texture


@kernel
def filter_plane(padded: I16, split: I64, step: int, taps: I16, out: I16) -> None:
    """Set out i16 (height, width) to a padded plane, filtered. taps: see `padded_taps`."""
    height, width = out.shape
    stride = padded.shape[1]
    flat = padded.reshape(-1)
    for y in range(0, height, 4):
        for x in range(0, width, 4):
            texture = _texture(padded, y, x, step)
            side = 8 if split[y >> 4, x >> 4] == 2 else 16
            for i in range(y, y + 4):
                row = (0 if side == 8 else 9) + 3 * _place(i, side)
                for j in range(x, x + 4):
                    number = (row + _place(j, side)) * (N_ACTIVITIES * N_DIRECTIONS) + texture
                    moved = _dot5x5(flat, i * stride + j, stride, taps, number * (5 * ROW_LANES))
                    value = int64(padded[i + MARGIN, j + MARGIN]) + ((moved + 2048) >> TAP_BITS)
                    out[uint64(i), uint64(j)] = int16(clamp(value, -REC_MAX, REC_MAX))


@kernel
def add_sums(padded: I16, classes: I64, target: I16, scatter: F64, product: F64) -> None:
    """Add a plane to the normal equations of its filters.

    padded: see `pad_plane`; classes: from `classify`; target i16: what the plane should be. IN/OUT scatter
    f64 (N_CLASSES, 24, 24; only the lower triangle), product f64 (N_CLASSES, 24): sums of integers, so exact.
    """
    height, width = classes.shape
    difference = np.zeros(25, np.float64)
    for y in range(height):
        for x in range(width):
            centre = float(padded[y + MARGIN, x + MARGIN])
            n = 0
            for i in range(5):
                for j in range(5):
                    if i != MARGIN or j != MARGIN:
                        difference[n] = float(padded[y + i, x + j]) - centre
                        n += 1
            wanted = float(target[y, x]) - centre
            k = classes[y, x]
            for i in range(N_TAPS):
                product[k, i] += difference[i] * wanted
                for j in range(i + 1):
                    scatter[k, i, j] += difference[i] * difference[j]
