"""Pixels to planes and back: a colour matrix in integers. FORMAT.md section 7.5 is the law.

A plane is int16 in 1/8 of a sample, less 128. Matrices are in 1/16384.

A matrix entry is within 2^15 and a plane within 2^11: the sum of three products is below 2^28. Whatever
pixels and matrix are, planes stay within 3 * 2^15 * 2^7 / 2^11 = 6144.
"""

from __future__ import annotations

from numba import int16, int64, uint8

from triptych_kernels._jit import kernel
from triptych_kernels.arrays import I16, I64, U8
from triptych_kernels.contextmix import clamp

MATRIX_BITS = 14


@kernel
def to_planes(pixels: U8, matrix: I64, planes: I16) -> None:
    """Set planes (n_planes, padded height, padded width) from pixels (height, width, at least n_planes).

    matrix i64 (planes, channels). Beyond the right and lower edge the last pixel goes on.
    """
    n_planes, height, width = planes.shape
    last_row, last_column = pixels.shape[0] - 1, pixels.shape[1] - 1
    for p in range(n_planes):
        for y in range(height):
            row = min(y, last_row)
            for x in range(width):
                column = min(x, last_column)
                total = 0
                for c in range(n_planes):
                    total += matrix[p, c] * (int64(pixels[row, column, c]) - 128)
                planes[p, y, x] = int16((total + 1024) >> 11)


@kernel
def to_pixels(planes: I16, inverse: I64, pixels: U8) -> None:
    """Set the first n_planes channels of pixels (height, width, at least n_planes) from planes.

    inverse i64 (channels, planes). The pixels are as high and wide as they say.
    """
    n_planes = planes.shape[0]
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            for c in range(n_planes):
                total = 1 << 16
                for p in range(n_planes):
                    total += inverse[c, p] * int64(planes[p, y, x])
                pixels[y, x, c] = uint8(clamp((total >> 17) + 128, 0, 255))
