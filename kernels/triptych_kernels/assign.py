"""Map colours to the nearest palette entry, and pixels by error diffusion.

Called by `triptych.fit.kmeans`. The metric and its proof of range are those of `triptych_kernels.nearest`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from triptych_kernels._jit import kernel
from triptych_kernels.nearest import build_table, pack_pair, plane_of, smallest_key


@kernel
def assign_nearest(
    points: npt.NDArray[np.uint32],
    centers: npt.NDArray[np.int32],
    table: npt.NDArray[np.uint32],
    labels: npt.NDArray[np.uint8],
) -> None:
    """Label every point with the index of its nearest colour, the lower index among equally near ones.

    Parameters
    ----------
    points : uint32 (2, n), IN
        Packed points.
    centers : int32 (4, k), IN
        Planes of 1 to 256 colours.
    table : uint32 (3, table_len(k)), scratch
    labels : uint8 (n,), OUT
    """
    build_table(centers, table)
    for i in range(points.shape[1]):
        labels[i] = np.uint64(smallest_key(table, points[0, i], points[1, i])) & np.uint64(0xFF)


@kernel
def dither_floyd_steinberg(
    points: npt.NDArray[np.uint32],
    centers: npt.NDArray[np.int32],
    table: npt.NDArray[np.uint32],
    carry: npt.NDArray[np.int32],
    labels: npt.NDArray[np.uint8],
) -> None:
    """Diffuse the error of each pixel over its neighbours (Floyd and Steinberg, 1976), rows in turn each way.

    The carried error is kept in sixteenths of the metric's unit, so the shares 7, 3, 5 and 1 lose nothing.
    A pixel plus its carry is rounded and clipped to 0..2040 before the search, and its error is taken from
    the clipped value: an error is then at most 2040, a carry at most 16 * 2040.

    Parameters
    ----------
    points : uint32 (2, height * width), IN
        Packed pixels in raster order.
    centers : int32 (4, k), IN
    table : uint32 (3, table_len(k)), scratch
    carry : int32 (2, 4, width + 2), scratch, zero on entry
    labels : uint8 (height, width), OUT
    """
    height, width = labels.shape
    build_table(centers, table)
    value = np.empty(4, np.int64)
    for y in range(height):
        here, below = y & 1, 1 - (y & 1)
        step = 1 - 2 * (y & 1)
        x = 0 if step == 1 else width - 1
        for _ in range(width):
            i = np.uint64(y * width + x)
            for plane in range(4):
                v = plane_of(points, plane, i) + ((np.int64(carry[here, plane, x + 1]) + 8) >> 4)
                value[plane] = min(max(v, np.int64(0)), np.int64(2040))
            pair01, pair23 = pack_pair(value[0], value[1]), pack_pair(value[2], value[3])
            label = np.uint64(smallest_key(table, pair01, pair23)) & np.uint64(0xFF)
            labels[y, x] = label
            for plane in range(4):
                error = value[plane] - np.int64(centers[plane, label])
                carry[here, plane, x + 1 + step] += 7 * error
                carry[below, plane, x + 1 - step] += 3 * error
                carry[below, plane, x + 1] += 5 * error
                carry[below, plane, x + 1 + step] += error
            x += step
        carry[here, :, :] = 0
