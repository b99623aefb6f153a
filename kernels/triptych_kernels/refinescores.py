"""Better scores for pictures with black or white in them: a search that knows what clamping forgives.

Where a picture is black or white, whatever lies beyond is cut off without an error. The encoder moves one
score at a time by one step, where error and bits together become less. The format knows nothing of it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import int32, int64, uint64

from triptych_kernels._jit import inline, kernel
from triptych_kernels.arrays import I32, I64, U8

F64 = npt.NDArray[np.float64]

FINE = 4
"""Errors are in 1/16 of a sample: squares of 255 * 16 stay below 2^24, and of sums of 2^38 below 2^63."""


@inline
def _error(sums: I32, row: I32, by: int, pixels: U8, shift: int) -> int:
    """Return the squared error of clamped sums + by * row."""
    top = int32(255 << shift)
    total = int64(0)
    for i in range(uint64(pixels.size)):
        value = min(max(int32(sums[i] + int32(by) * row[i]), int32(0)), top)
        apart = int32((value >> int32(shift - FINE)) - (int32(pixels[i]) << int32(FINE)))
        total += int64(int32(apart * apart))
    return total


@inline
def _slope(sums: I32, row: I32, pixels: U8, shift: int) -> tuple[int, int]:
    """Return the residual times the row, and the square of the row, where nothing is cut off."""
    top = int32(255 << shift)
    along, energy = int64(0), int64(0)
    for i in range(uint64(pixels.size)):
        inside = int32((sums[i] >= 0) & (sums[i] <= top))
        value = min(max(sums[i], int32(0)), top)
        apart = int32((int32(pixels[i]) << int32(FINE)) - (value >> int32(shift - FINE)))
        fine = int32(row[i] >> int32(shift - FINE))
        along += int64(apart) * int64(fine)
        energy += int64(int32(inside * fine)) * int64(fine)
    return along, energy


@kernel
def refine_scores(
    scores: I32,
    images: U8,
    chosen: I64,
    rows: I32,
    mean: I32,
    bits: F64,
    exchange: float,
    shift: int,
    sums: I32,
) -> int:
    """Go once over all scores of the chosen images; return how many were moved.

    IN/OUT scores i32 (K, n). IN images u8 (n, d); chosen i64: numbers of images; rows i32 (K, d) and mean
    i32 (d) in 1/2^shift of a sample; bits f64 (K, m): what a score of that magnitude, or m - 1 and more,
    costs; exchange: squared error, in 1/256, that a bit may cost. sums i32 (d): work. No sum passes 2^30.
    """
    moved = 0
    most = bits.shape[1] - 1
    for image in chosen:
        pixels = images[image]
        for i in range(sums.size):
            sums[i] = mean[i]
        for j in range(rows.shape[0]):
            if scores[j, image] != 0:
                for i in range(sums.size):
                    sums[i] += scores[j, image] * rows[j, i]
        error = _error(sums, mean, 0, pixels, shift)
        for j in range(rows.shape[0]):
            row = rows[j]
            along, energy = _slope(sums, row, pixels, shift)
            score = int64(scores[j, image])
            now = bits[j, min(abs(score), most)]
            for by in (-1, 1):
                change = exchange * (bits[j, min(abs(score + by), most)] - now)
                if float(energy - 2 * by * along) + change < 0.0:
                    then = _error(sums, row, by, pixels, shift)
                    if float(then - error) + change < 0.0:
                        for i in range(sums.size):
                            sums[i] += int32(by) * row[i]
                        scores[j, image] = int32(score + by)
                        error = then
                        moved += 1
                        break
    return moved
