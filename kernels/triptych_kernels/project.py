"""Images to quantized scores in one pass: tiles of rows small enough for the cache, from uint8 to int16.

The product is BLAS's, in float32: only an encoder in a hurry may use it, as its last bit differs between
machines. A tile of 512 images is converted, multiplied and rounded before the next one is looked at, so
the working memory is that of one tile.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import float32, int16, uint64

from triptych_kernels._jit import kernel
from triptych_kernels.arrays import F32, I16, U8

TILE = 512


@kernel
def _center(images: U8, mean: F32, tile: F32) -> None:
    """Set OUT tile f32 (m, d) to images u8 (m, d) less the mean f32 (d)."""
    for i in range(uint64(images.shape[0])):
        for k in range(uint64(images.shape[1])):
            tile[i, k] = float32(images[i, k]) - mean[k]


@kernel
def _round(products: F32, dead: float, out: I16) -> None:
    """Set OUT out i16 to products, rounded after a move of `dead` (0 to 1/2) towards zero, within +-32767."""
    away = float32(0.5) - float32(dead)
    for i in range(uint64(products.shape[0])):
        for k in range(uint64(products.shape[1])):
            value = products[i, k]
            value = value + away if value >= float32(0) else value - away
            out[i, k] = int16(min(max(value, float32(-32767)), float32(32767)))


def project_and_quantize(
    images: U8, mean: F32, directions: F32, dead: float, out: I16 | None = None
) -> npt.NDArray[np.int16]:
    """Return round((images - mean) @ directions) as int16 (n, k).

    Parameters
    ----------
    images : uint8 (n, d), C-contiguous
    mean : float32 (d)
    directions : float32 (d, k)
        Unit vectors, divided by the step.
    dead : float
        Results are moved so much towards zero before they are rounded; 0 rounds to nearest.
    out : int16 (n, k), optional
    """
    n, size = images.shape
    if out is None:
        out = np.empty((n, directions.shape[1]), np.int16)
    tile = np.empty((min(n, TILE), size), np.float32)
    products = np.empty((min(n, TILE), directions.shape[1]), np.float32)
    for first in range(0, n, TILE):
        rows = images[first : first + TILE]
        m = len(rows)
        _center(rows, mean, tile[:m])
        np.matmul(tile[:m], directions, out=products[:m])
        _round(products[:m], dead, out[first : first + m])
    return out
