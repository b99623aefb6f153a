"""Map pixels to a palette: to the nearest colour, with error diffusion, or to one that is near and cheap.

In: pixels or their histogram, and the palette's colours. Out: index maps, uint8. Distances are those of
`triptych_kernels.nearest`; a decoder never imports this.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from triptych_kernels.assign import assign_nearest, dither_floyd_steinberg
from triptych_kernels.histogram import sum_by_label
from triptych_kernels.nearest import RATE_LIMIT, RATE_SHIFT, table_len
from triptych_kernels.rateaware import assign_cheapest, count_neighbors

from triptych.errors import InvalidOption
from triptych.fit.colors import (
    Colors,
    Histogram,
    distinct_rows,
    keys_of,
    packed_colors,
    planes_of,
    round_centers,
    search_table,
)

_RATE_PASSES = 3
_WEST_SHARE, _NORTH_SHARE, _CORNER_SHARE = 0.75, 0.6, 0.3
"""How much of what a neighbour tells about a pixel counts: the three tell much of the same."""


def map_pixels(
    histogram_colors: Colors, inverse: npt.NDArray[np.int32], palette_colors: Colors
) -> npt.NDArray[np.uint8]:
    """Map each pixel to its own colour if the palette has it, else to the nearest, ties to the lower index.

    (A colour has distance 0 from itself; the first rule only matters where different colours of low alpha
    are one point of the metric.)

    Parameters
    ----------
    histogram_colors : uint8 (n, 4)
    inverse : int32 (n_pixels,)
        Row of `histogram_colors` of each pixel.
    palette_colors : uint8 (k, 4)
        1 to 256, each row once.

    Returns
    -------
    uint8 (n_pixels,)
        Row of `palette_colors` of each pixel.

    Examples
    --------
    >>> from triptych.fit.colors import count_colors
    >>> histogram, inverse = count_colors(np.array([[[0, 0, 0, 255], [250, 0, 0, 255]]], np.uint8))
    >>> map_pixels(histogram.colors, inverse, np.array([[255, 0, 0, 255], [9, 9, 9, 255]], np.uint8))
    array([1, 0], dtype=uint8)
    """
    labels = np.empty(len(histogram_colors), np.uint8)
    planes = planes_of(packed_colors(palette_colors))
    assign_nearest(packed_colors(histogram_colors), planes, search_table(len(palette_colors)), labels)
    translucent = np.flatnonzero(palette_colors[:, 3] < 255)
    if translucent.size:
        keys = keys_of(palette_colors)[translucent]
        order = np.argsort(keys)
        wanted = keys_of(histogram_colors)
        place = np.minimum(np.searchsorted(keys, wanted, sorter=order), keys.size - 1)
        found = keys[order[place]] == wanted
        labels[found] = translucent[order[place[found]]]
    return labels[inverse]


def dither_pixels(pixels: Colors, palette_colors: Colors) -> npt.NDArray[np.uint8]:
    """Map a picture with Floyd-Steinberg error diffusion, every other row from right to left.

    Parameters
    ----------
    pixels : uint8 (height, width, 4)
    palette_colors : uint8 (k, 4)
        1 to 256.

    Returns
    -------
    uint8 (height, width)
    """
    height, width, _ = pixels.shape
    labels = np.empty((height, width), np.uint8)
    carry = np.zeros((2, 4, width + 2), np.int32)
    planes = planes_of(packed_colors(palette_colors))
    points = packed_colors(pixels.reshape(-1, 4))
    dither_floyd_steinberg(points, planes, search_table(len(palette_colors)), carry, labels)
    return labels


def _sum_labels(
    packed: npt.NDArray[np.uint32], labels: npt.NDArray[np.uint8], n_colors: int
) -> npt.NDArray[np.int64]:
    """Sum the planes of the pixels of each label, and count them: int64 (n_colors, 5)."""
    sums = np.zeros((n_colors, 5), np.int64)
    ones = np.ones(labels.size, np.int64)
    sum_by_label(packed, ones, labels.reshape(-1).astype(np.int32), sums)
    return sums


def _mean_error(histogram: Histogram, planes: npt.NDArray[np.int32], sums: npt.NDArray[np.int64]) -> float:
    """Mean squared distance of all pixels from their colours, as |x|^2 - 2 x.c + |c|^2 summed by label."""
    colors = planes.astype(np.int64)
    squares = (planes_of(packed_colors(histogram.colors)).astype(np.int64) ** 2).sum(axis=0)
    products = (colors.T * (sums[:, 4:] * colors.T - 2 * sums[:, :4])).sum()
    return float((squares * histogram.weights).sum() + products) / histogram.n_pixels


def _smoothed(counts: npt.NDArray[np.int64], prior: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Conditional probabilities of rows of counts, drawn towards the prior where little was counted."""
    trust = 4 + 0.15 * prior.size
    return np.asarray((counts + trust * prior) / (counts.sum(axis=1, keepdims=True) + trust))


def _rates(bits: npt.NDArray[np.float64], price: float) -> npt.NDArray[np.uint32]:
    """Bits as `assign_cheapest` takes them; only differences in a row matter, so its least is 0."""
    rates = np.zeros((len(bits), table_len(len(bits))), np.uint32)
    costs = np.rint((bits - bits.min(axis=1, keepdims=True)) * price)
    rates[:, : len(bits)] = np.minimum(costs, RATE_LIMIT >> 8).astype(np.uint32) << np.uint32(8)
    return rates


def _neighbor_rates(
    labels: npt.NDArray[np.uint8], n_colors: int, price: float
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Price each index after each west, north and north-east neighbour by the statistics of a map."""
    west, north, corner = (np.zeros((n_colors, n_colors), np.int64) for _ in range(3))
    count_neighbors(labels, west, north, corner)
    seen = np.bincount(labels.ravel(), minlength=n_colors).astype(np.float64) + 0.3
    prior = seen / seen.sum()
    return (
        _rates(-_WEST_SHARE * np.log2(_smoothed(west, prior)), price),
        _rates(-_NORTH_SHARE * np.log2(_smoothed(north, prior) / prior), price),
        _rates(-_CORNER_SHARE * np.log2(_smoothed(corner, prior) / prior), price),
    )


def assign_rate_aware(
    histogram: Histogram,
    inverse: npt.NDArray[np.int32],
    plain_map: npt.NDArray[np.uint8],
    palette_colors: Colors,
    strength: float,
    *,
    keep: Colors | None = None,
) -> tuple[npt.NDArray[np.uint8], Colors]:
    """Trade distance for the price of the index map: minimise D + lambda * bits, pixel by pixel.

    Bits are -log2 of P(index | west), P(index | north) and P(index | north-east), tempered, counted in the
    map of the pass before; lambda is `strength` times the mean squared distance of the plain map. After each
    pass every colour moves to the mean of its pixels.

    Parameters
    ----------
    histogram, inverse
        Of the picture, from `count_colors`.
    plain_map : uint8 (height, width)
        Its index map, from `map_pixels`.
    palette_colors : uint8 (k, 4)
    strength : float
        0 or more. At 0 the arguments come back as they are.
    keep : uint8 (m, 4), optional
        Colours of the palette that are neither moved nor dropped.

    Returns
    -------
    index_map : uint8 (height, width)
    colors : uint8 (at most k, 4)
        In the order of `palette_colors`, without those that no pixel uses.

    Raises
    ------
    InvalidOption
        If `strength` is negative or not finite.
    """
    if not 0 <= strength < float("inf"):
        raise InvalidOption(f"strength must be a finite number, 0 or more, not {strength}")
    if strength == 0:
        return plain_map, palette_colors
    n_colors = len(palette_colors)
    fixed = np.isin(keys_of(palette_colors), keys_of(distinct_rows(keep)))
    packed = np.take(packed_colors(histogram.colors), inverse, axis=1)
    labels = plain_map.copy()
    planes = planes_of(packed_colors(palette_colors))
    sums = _sum_labels(packed, labels, n_colors)
    # The mean squared distance, and so lambda, in the units of `assign_cheapest`.
    price = strength * _mean_error(histogram, planes, sums) / (1 << RATE_SHIFT)
    for turn in range(_RATE_PASSES):
        rates = _neighbor_rates(labels, n_colors, price / 2 if turn == 0 else price)
        assign_cheapest(packed, planes, search_table(n_colors), rates, labels)
        sums = _sum_labels(packed, labels, n_colors)
        moving = (sums[:, 4] > 0) & ~fixed
        weights = sums[moving, 4:]
        planes[:, moving] = ((2 * sums[moving, :4] + weights) // (2 * weights)).T
    colors = np.where(fixed[:, None], palette_colors, round_centers(planes))
    return _drop_unused(labels, colors, fixed)


def _drop_unused(
    labels: npt.NDArray[np.uint8], colors: Colors, fixed: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.uint8], Colors]:
    """Make equal colours one, and leave out those that no pixel uses and that are not fixed."""
    _, first, group = np.unique(keys_of(colors), return_index=True, return_inverse=True)
    own = first[group]
    used = np.zeros(len(colors), np.bool_)
    used[own[labels]] = True
    used[own[fixed]] = True
    rank = np.cumsum(used) - 1
    return rank[own].astype(np.uint8)[labels], colors[used]
