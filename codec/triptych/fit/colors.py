"""Colours as numbers: histograms of pictures, and points of the palette metric.

In: RGBA pixels, uint8. Out: a `Histogram`; packed points and planes as `triptych_kernels.nearest` defines
them. `triptych.fit.kmeans` fits them, `triptych.fit.mapping` maps pixels to them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from triptych_kernels.histogram import find_unique
from triptych_kernels.nearest import SCALE, pack_colors, table_len, unpack_points
from triptych_kernels.paletteset import HAS_ALPHA, HAS_COLOR, colors_to_keys

Colors = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Histogram:
    """Distinct colours and how often each occurs.

    Attributes
    ----------
    colors : uint8 (n, 4)
        RGBA, each row once.
    weights : int64 (n,)
        Positive.
    """

    colors: Colors
    weights: npt.NDArray[np.int64]

    @property
    def n_pixels(self) -> int:
        """How many pixels were counted."""
        return int(self.weights.sum())

    @property
    def opaque(self) -> bool:
        """Whether every colour has alpha 255."""
        return bool((self.colors[:, 3] == 255).all())

    def merge(self, other: Histogram) -> Histogram:
        """Count the pixels of both.

        Examples
        --------
        >>> one, _ = count_colors(np.zeros((1, 3, 4), np.uint8))
        >>> one.merge(one).weights
        array([6])
        """
        keys = np.concatenate([keys_of(self.colors), keys_of(other.colors)])
        unique, _, inverse = number_keys(keys)
        weights = np.zeros(unique.size, np.int64)
        np.add.at(weights, inverse, np.concatenate([self.weights, other.weights]))
        return Histogram(colors_of(unique), weights)


@dataclass(frozen=True)
class Points:
    """Weighted points of the metric: packed pairs uint32 (2, n), weights int64 (n,)."""

    packed: npt.NDArray[np.uint32]
    weights: npt.NDArray[np.int64]


def _writable(colors: Colors) -> Colors:
    """Give the array, or a copy: numba compiles a kernel anew for read-only arrays and for other layouts."""
    return np.require(colors, np.uint8, ["C_CONTIGUOUS", "WRITEABLE"])


def keys_of(colors: Colors) -> npt.NDArray[np.uint32]:
    """Write each colour as one word, red in the low byte on every machine."""
    words = _writable(colors).view("<u4").reshape(-1)
    return words.astype(np.uint32, copy=False)


def colors_of(keys: npt.NDArray[np.uint32]) -> Colors:
    """Undo `keys_of`."""
    return keys.astype("<u4", copy=False).view(np.uint8).reshape(-1, 4)


def number_keys(
    keys: npt.NDArray[np.uint32],
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Give the distinct keys in order of first appearance, their counts, and the number of every key."""
    inverse = np.empty(keys.size, np.int32)
    unique, counts = np.empty(1 << 12, np.uint32), np.empty(1 << 12, np.int64)
    slots = np.full(4 * unique.size, -1, np.int32)
    position, n_unique = find_unique(keys, 0, slots, unique, counts, 0, inverse)
    while position < keys.size:
        # Full: four times the room, but never more than there are keys left to need it.
        room = min(4 * n_unique, n_unique + keys.size - position)
        slots = np.full(1 << (room + room // 2).bit_length(), -1, np.int32)
        known = unique[:n_unique]
        unique, new_counts = np.empty(room, np.uint32), np.empty(room, np.int64)
        find_unique(known, 0, slots, unique, new_counts, 0, np.empty(n_unique, np.int32))
        new_counts[:n_unique] = counts
        counts = new_counts
        position, n_unique = find_unique(keys, position, slots, unique, counts, n_unique, inverse)
    return unique[:n_unique].copy(), counts[:n_unique].copy(), inverse


def count_colors(pixels: Colors) -> tuple[Histogram, npt.NDArray[np.int32]]:
    """Count the distinct colours of a picture.

    Parameters
    ----------
    pixels : uint8 (..., 4)
        RGBA.

    Returns
    -------
    histogram : Histogram
        Colours in the order of their first appearance.
    inverse : int32 (n_pixels,)
        The row of `histogram.colors` of each pixel, in raster order.

    Examples
    --------
    >>> pixels = np.array([[[1, 2, 3, 255], [9, 9, 9, 255], [1, 2, 3, 255]]], np.uint8)
    >>> histogram, inverse = count_colors(pixels)
    >>> histogram.weights, inverse
    (array([2, 1]), array([0, 1, 0], dtype=int32))
    """
    unique, counts, inverse = number_keys(keys_of(pixels))
    return Histogram(colors_of(unique), counts), inverse


def distinct_rows(colors: Colors | None) -> Colors:
    """Drop the later ones of equal colours; None is no colour."""
    if colors is None:
        return np.empty((0, 4), np.uint8)
    rows = np.ascontiguousarray(colors, np.uint8).reshape(-1, 4)
    _, first = np.unique(keys_of(rows), return_index=True)
    return rows[np.sort(first)]


def packed_colors(colors: Colors) -> npt.NDArray[np.uint32]:
    """Turn RGBA colours into packed points, uint32 (2, n)."""
    packed = np.empty((2, len(colors)), np.uint32)
    pack_colors(_writable(colors), packed)
    return packed


def planes_of(packed: npt.NDArray[np.uint32]) -> npt.NDArray[np.int32]:
    """Turn packed points into planes, int32 (4, n)."""
    planes = np.empty((4, packed.shape[1]), np.int32)
    unpack_points(packed, planes)
    return planes


def search_table(n_colors: int) -> npt.NDArray[np.uint32]:
    """Make room for the search table that the kernels fill."""
    return np.empty((3, table_len(n_colors)), np.uint32)


def pack_planes(planes: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    """Pack planes, int64 (4, n), as `triptych_kernels.nearest` does."""
    scaled = planes.astype(np.uint32) << np.uint32(4)
    return np.ascontiguousarray(scaled[0::2] | (scaled[1::2] << np.uint32(16)))


def round_centers(centers: npt.NDArray[np.int32]) -> Colors:
    """Turn centres, int32 (4, k), into RGBA colours: undo the product with alpha, round."""
    alpha = (centers[3] + SCALE // 2) // SCALE
    whole = np.maximum(alpha, 1) * SCALE
    rgb = np.where(alpha > 0, (centers[:3] * 255 * 2 + whole) // (2 * whole), 0)
    return np.concatenate([np.minimum(rgb, 255), alpha[None]]).T.astype(np.uint8)


def sort_palette(colors: Colors) -> tuple[Colors, npt.NDArray[np.int64]]:
    """Give colours in the order of their keys (FORMAT.md section 6.3, layout 3), and where each went.

    Parameters
    ----------
    colors : uint8 (k, 4)

    Examples
    --------
    >>> colors = np.array([[9, 9, 9, 255], [0, 0, 0, 255]], np.uint8)
    >>> sort_palette(colors)[1]
    array([1, 0])
    """
    order = np.argsort(colors_to_keys(_writable(colors), HAS_ALPHA | HAS_COLOR), kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return np.ascontiguousarray(colors[order]), place
