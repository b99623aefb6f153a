"""Map pixels to colours that are near and cheap: distance plus the price of the index beside its neighbours.

Called by `triptych.fit.kmeans`, which makes the prices from the statistics of the last map. The metric and
the proof of range are those of `triptych_kernels.nearest`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from triptych_kernels._jit import kernel
from triptych_kernels.nearest import build_table, cheapest_key


@kernel
def count_neighbors(
    labels: npt.NDArray[np.uint8],
    west: npt.NDArray[np.int64],
    north: npt.NDArray[np.int64],
    north_east: npt.NDArray[np.int64],
) -> None:
    """Count the pairs of (neighbour, pixel) of an index map.

    Parameters
    ----------
    labels : uint8 (height, width), IN
        Below k.
    west, north, north_east : int64 (k, k), INOUT
        Rows are the neighbour's index, columns the pixel's. Pixels without that neighbour do not count.
    """
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            if x > 0:
                west[labels[y, x - 1], label] += 1
            if y > 0:
                north[labels[y - 1, x], label] += 1
                if x + 1 < width:
                    north_east[labels[y - 1, x + 1], label] += 1


@kernel
def assign_cheapest(
    points: npt.NDArray[np.uint32],
    centers: npt.NDArray[np.int32],
    table: npt.NDArray[np.uint32],
    rates: tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32], npt.NDArray[np.uint32]],
    labels: npt.NDArray[np.uint8],
) -> None:
    """Label each pixel, in raster order, with the smallest sum of distance and rates.

    Parameters
    ----------
    points : uint32 (2, height * width), IN
        Packed pixels.
    centers : int32 (4, k), IN
    table : uint32 (3, table_len(k)), scratch
    rates : three of uint32 (k, table_len(k)), IN
        256 times the price of each index after its west, north and north-east neighbour, in units of
        2**RATE_SHIFT of the metric's, each at most RATE_LIMIT.
    labels : uint8 (height, width), OUT
        Outside the picture, west of a row is its north; north of the first row is west; north-east of the
        last column is north; the first pixel's neighbours are index 0.
    """
    height, width = labels.shape
    build_table(centers, table)
    for y in range(height):
        for x in range(width):
            i = y * width + x
            first = np.uint64(0)
            west = np.uint64(labels[y, x - 1]) if x > 0 else first
            north = np.uint64(labels[y - 1, x]) if y > 0 else west
            west = west if x > 0 else north
            corner = np.uint64(labels[y - 1, x + 1]) if y > 0 and x + 1 < width else north
            key = cheapest_key(table, points[0, i], points[1, i], rates, (west, north, corner))
            labels[y, x] = np.uint64(key) & np.uint64(0xFF)
