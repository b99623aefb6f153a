"""Images from scores and basis, in integers: the last step of decoding a collection.

A mirrored basis holds the left halves (columns 0 to (width + 1) // 2 - 1) of even and of odd images; the
right half is the left one mirrored, with the other sign where the image is odd. FORMAT.md section 8.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import int32, int64, uint8

from triptych_kernels._jit import kernel
from triptych_kernels.arrays import I32, I64, U8

I16 = npt.NDArray[np.int16]


@kernel
def add_components(scores: I32, image: int, odd: U8, basis: I16, sums: I32) -> None:
    """Add one image's scores times the basis to sums i32 (2, d): even components, odd components.

    IN scores i32 (K, n), odd u8 (K), basis i16 (>= K, d). The caller has seen to it that the sum over
    components of |score| * (greatest |entry| of its row) is at most 2^30, so no partial sum leaves int32.
    """
    for j in range(scores.shape[0]):
        score = scores[j, image]
        if score != 0:
            row = int64(odd[j])
            for i in range(basis.shape[1]):
                sums[row, i] += score * int32(basis[j, i])


@kernel
def show_image(sums: I32, mean: I32, factor: int, shift: int, out: U8) -> None:
    """Turn sums into pixels: mean + (sum * factor >> 16), rounded at `shift` fraction bits, clamped.

    IN sums i32 (2, h * w2 * c), mean i32 (h * w2 * c), where w2 is the width of out, or half of it, rounded
    up, in a mirrored basis. OUT out u8 (h, w, c). |sum| <= 2^30 and factor < 2^33: products fit i64.
    """
    height, width, channels = out.shape
    stored = sums.shape[1] // (height * channels)
    half = int64(1) << int64(shift - 1)
    for y in range(height):
        for x in range(width):
            mirrored = x >= stored
            column = width - 1 - x if mirrored else x
            for c in range(channels):
                i = (y * stored + column) * channels + c
                odd = int64(sums[1, i])
                total = int64(sums[0, i]) - odd if mirrored else int64(sums[0, i]) + odd
                value = (int64(mean[i]) + ((total * int64(factor)) >> 16) + half) >> int64(shift)
                out[y, x, c] = uint8(min(int64(255), max(int64(0), value)))


def work_sums(size: int) -> I32:
    """Return sums of nothing for images of so many stored entries."""
    return np.zeros((2, size), np.int32)


def peaks(basis: I16) -> I64:
    """Return the greatest magnitude of each row's entries, i64 (K)."""
    if not basis.size:
        return np.zeros(len(basis), np.int64)
    return np.abs(basis.astype(np.int32)).max(axis=1).astype(np.int64)
