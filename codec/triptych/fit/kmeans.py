"""Fit a palette to the colours of pictures.

In: a `Histogram` of RGBA colours. Out: a `Palette`. The encoder calls this; nothing here is part of the
format, and a decoder never imports it. Distances are those of `triptych_kernels.nearest`: premultiplied by
alpha, in eighths of a level, exact integers. A fit is a function of its arguments: the same colours and
weights, in whatever order, give the same palette on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from triptych_kernels.assign import assign_nearest
from triptych_kernels.nearest import SCALE

from triptych.errors import InvalidImage, InvalidOption
from triptych.fit.centers import RECIPES, fit_centers, measure
from triptych.fit.colors import (
    Colors,
    Histogram,
    Points,
    count_colors,
    distinct_rows,
    keys_of,
    packed_colors,
    planes_of,
    search_table,
)
from triptych.fit.mapping import assign_rate_aware, dither_pixels, map_pixels
from triptych.psnr import psnr_of

__all__ = [
    "MAX_COLORS",
    "Effort",
    "Histogram",
    "Palette",
    "assign_rate_aware",
    "count_colors",
    "dither_pixels",
    "fit_auto",
    "fit_palette",
    "map_pixels",
    "palette_psnr",
]

Effort = Literal["fast", "default", "max"]

MAX_COLORS = 256


@dataclass(frozen=True)
class Palette:
    """A fitted palette.

    Attributes
    ----------
    colors : uint8 (k, 4)
        RGBA, each row once; kept colours first.
    wcss : float
        Sum over all pixels of the squared distance to the nearest colour, in squared 8-bit levels of the
        premultiplied planes (for opaque pictures: of plain RGB).
    """

    colors: Colors
    wcss: float


def _complete(
    colors: Colors, n_fixed: int, histogram: Histogram, points: Points, n_colors: int
) -> tuple[Colors, int]:
    """Replace colours that repeat others or serve no pixel by the worst served ones of the picture.

    The first `n_fixed` stay. Returns the total error beside the colours.
    """
    measured = measure(points, planes_of(packed_colors(colors)))
    _, first = np.unique(keys_of(colors), return_index=True)
    useful = np.zeros(len(colors), np.bool_)
    useful[first] = (measured.errors[first] > 0) | (measured.utilities[first] > 0)
    useful[:n_fixed] = True
    if useful.all() and len(colors) == n_colors:
        return colors, measured.total
    colors = colors[useful]
    keys = keys_of(histogram.colors)
    distances = np.ones(keys.size, np.int64)
    if len(colors):
        planes = planes_of(packed_colors(colors))
        labels = np.empty(keys.size, np.uint8)
        assign_nearest(points.packed, planes, search_table(len(colors)), labels)
        distances = ((planes_of(points.packed) - planes[:, labels]).astype(np.int64) ** 2).sum(axis=0)
    order = np.lexsort((keys, -distances * points.weights))
    order = order[~np.isin(keys[order], keys_of(colors))]
    colors = np.concatenate([colors, histogram.colors[order[: n_colors - len(colors)]]])
    return colors, measure(points, planes_of(packed_colors(colors))).total


def fit_palette(
    histogram: Histogram,
    n_colors: int,
    *,
    effort: Effort = "default",
    seed: int = 0,
    keep: Colors | None = None,
) -> Palette:
    """Choose the colours that stand for those of a histogram with the least squared error.

    Parameters
    ----------
    histogram : Histogram
        At least one colour.
    n_colors : int
        1 to 256. The palette has as many, unless the histogram and `keep` have fewer distinct colours:
        then it has exactly those.
    effort : {"fast", "default", "max"}
    seed : int
        Of the swaps, 0 or more.
    keep : uint8 (m, 4), optional
        Colours that the palette holds exactly as they are; at most `n_colors`.

    Raises
    ------
    InvalidOption
        If `n_colors` is not 1 to 256, or more colours are kept than asked for.
    InvalidImage
        If the histogram is empty.

    Examples
    --------
    >>> histogram, _ = count_colors(np.array([[[0, 0, 0, 255], [10, 10, 10, 255]]], np.uint8))
    >>> palette = fit_palette(histogram, 1)
    >>> palette.colors, palette.wcss
    (array([[  5,   5,   5, 255]], dtype=uint8), 150.0)
    """
    if not 1 <= n_colors <= MAX_COLORS:
        raise InvalidOption(f"n_colors must be 1 to {MAX_COLORS}, not {n_colors}", options=("n_colors",))
    if not len(histogram.colors):
        raise InvalidImage("the histogram holds no colour")
    fixed = distinct_rows(keep)
    if len(fixed) > n_colors:
        raise InvalidOption(
            f"keep holds {len(fixed)} colours, and n_colors is {n_colors}", options=("keep", "n_colors")
        )
    points = Points(packed_colors(histogram.colors), histogram.weights)
    free = histogram.colors[~np.isin(keys_of(histogram.colors), keys_of(fixed))]
    if len(fixed) + len(free) <= n_colors:
        colors = np.concatenate([fixed, free[np.argsort(keys_of(free))]])
        total = measure(points, planes_of(packed_colors(colors))).total
    else:
        rounded = fit_centers(points, n_colors - len(fixed), fixed, RECIPES[effort], seed)
        colors = np.concatenate([fixed, rounded])
        colors, total = _complete(colors, len(fixed), histogram, points, n_colors)
    return Palette(colors, total / SCALE**2)


def fit_auto(
    histogram: Histogram,
    target_psnr: float,
    *,
    effort: Effort = "default",
    seed: int = 0,
    keep: Colors | None = None,
) -> Palette:
    """Find the smallest palette that meets a PSNR in dB, or the one of 256 colours where none does.

    Bisects the number of colours; the PSNR is that of `palette_psnr`.

    Raises
    ------
    InvalidOption
        As `fit_palette`.
    """

    def fit(n_colors: int) -> Palette:
        return fit_palette(histogram, n_colors, effort=effort, seed=seed, keep=keep)

    best = fit(MAX_COLORS)
    low, high = max(1, len(distinct_rows(keep))), len(best.colors)
    while low < high and palette_psnr(histogram, best) >= target_psnr:
        middle = (low + high) // 2
        trial = fit(middle)
        if palette_psnr(histogram, trial) >= target_psnr:
            best, high = trial, middle
        else:
            low = middle + 1
    return best


def palette_psnr(histogram: Histogram, palette: Palette) -> float:
    """PSNR in dB of the mapped pixels: over RGB where all is opaque, else over the four planes.

    Examples
    --------
    >>> histogram, _ = count_colors(np.zeros((1, 1, 4), np.uint8))
    >>> palette_psnr(histogram, fit_palette(histogram, 1))
    inf
    """
    return psnr_of(float(palette.wcss), histogram.n_pixels * (3 if histogram.opaque else 4))
