"""From pixels to a palette and an index map: what the k-means panel does before it codes.

In: pixels (height, width, channels) and options. Out: `Indexed`. Every pixel that the decoder will show is
`colors[indices]`; what it differs from the picture is counted here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from triptych_kernels import paletteset

from triptych.dictionary import Dictionary
from triptych.errors import DictionaryMismatch, InvalidFrame, TooManyColors
from triptych.fit.colors import sort_palette
from triptych.fit.kmeans import (
    MAX_COLORS,
    Histogram,
    assign_rate_aware,
    count_colors,
    dither_pixels,
    fit_auto,
    fit_palette,
    map_pixels,
)
from triptych.images import Pixels
from triptych.modes.indexmaps import Colors, Indexed, IndexMap
from triptych.options import Options
from triptych.psnr import squared_error


def dictionary_colors(dictionary: Dictionary) -> Colors:
    """Give the colours of a palette dictionary, uint8 (k, 4).

    Raises
    ------
    DictionaryMismatch
        It is no palette.
    InvalidFrame
        Its content breaks FORMAT.md section 4.
    """
    if dictionary.kind != "palette":
        raise DictionaryMismatch(f"k-means needs a palette dictionary, not one of kind {dictionary.kind}")
    # A copy: read-only arrays are a type of their own to numba, and every kernel would be compiled twice.
    content = np.frombuffer(dictionary.content, np.uint8).copy()
    if not 4 <= content.size <= 1024 or content.size % 4:
        raise InvalidFrame("a palette holds 1 to 256 colours of 4 bytes", got=content.size)
    colors = content.reshape(-1, 4)
    keys = paletteset.colors_to_keys(colors, paletteset.HAS_ALPHA | paletteset.HAS_COLOR)
    if (keys[1:] <= keys[:-1]).any():
        raise InvalidFrame("the colours of a palette must ascend in the order of their keys")
    return colors


def to_rgba(pixels: Pixels) -> Pixels:
    """Give pixels of 1 to 4 channels as RGBA."""
    height, width, channels = pixels.shape
    rgba = np.empty((height, width, 4), np.uint8)
    rgba[:, :, :3] = pixels[:, :, :1] if channels < 3 else pixels[:, :, :3]
    rgba[:, :, 3] = pixels[:, :, -1] if channels in (2, 4) else 255
    return rgba


def from_indices(colors: Colors, indices: IndexMap, channels: int) -> Pixels:
    """Give the pixels that colours and indices stand for, with so many channels."""
    wanted = {1: colors[:, :1], 2: colors[:, ::3], 3: colors[:, :3], 4: colors}[channels]
    return np.ascontiguousarray(wanted)[indices]


@dataclass(frozen=True)
class Picture:
    """A picture on its way to an index map; what several tries have in common is computed once."""

    pixels: Pixels
    options: Options

    @cached_property
    def _counted(self) -> tuple[Histogram, npt.NDArray[np.int32]]:
        return count_colors(to_rgba(self.pixels))

    @cached_property
    def _keep(self) -> Colors | None:
        return np.array(self.options.keep, np.uint8).reshape(-1, 4) if self.options.keep else None

    @property
    def n_distinct(self) -> int:
        """How many colours the picture has."""
        return len(self._counted[0].colors)

    def fitted(self, n_colors: int) -> Colors:
        """Fit a palette of so many colours."""
        options = self.options
        histogram, _ = self._counted
        return fit_palette(
            histogram, n_colors, effort=options.effort, seed=options.seed, keep=self._keep
        ).colors

    def fitted_for(self, psnr: float) -> Colors:
        """Fit the smallest palette whose plain map has this PSNR, or 256 colours."""
        histogram, _ = self._counted
        options = self.options
        return fit_auto(histogram, psnr, effort=options.effort, seed=options.seed, keep=self._keep).colors

    def mapped(self, palette: Colors, strength: float = 0.0, fixed: bool = False) -> Indexed:
        """Map the picture to a palette.

        strength above 0 trades error for rate and may move and drop colours; `fixed` says that the palette
        must come out as it is, in its order (a dictionary's).
        """
        histogram, inverse = self._counted
        shape = self.pixels.shape[:2]
        if self.options.dither and self.n_distinct > len(palette):
            indices = dither_pixels(to_rgba(self.pixels), palette)
        else:
            indices = map_pixels(histogram.colors, inverse, palette).reshape(shape)
        if strength > 0:
            kept = palette if fixed else self._keep
            indices, palette = assign_rate_aware(histogram, inverse, indices, palette, strength, keep=kept)
        if not fixed:
            palette, indices = self._tidied(palette, indices)
        return Indexed(palette, indices, self._error(palette, indices))

    def _tidied(self, palette: Colors, indices: IndexMap) -> tuple[Colors, IndexMap]:
        """Drop what no pixel uses, and put the rest in key order."""
        used = np.bincount(indices.reshape(-1), minlength=len(palette)) > 0
        rank = np.cumsum(used) - 1
        colors, place = sort_palette(palette[used])
        return colors, place[rank[np.arange(len(palette))] * used].astype(np.uint8)[indices]

    def _error(self, palette: Colors, indices: IndexMap) -> float:
        return squared_error([self.pixels], [from_indices(palette, indices, self.pixels.shape[2])])

    def exact(self, n_colors: int = MAX_COLORS) -> Indexed:
        """Give the picture as it is.

        Raises
        ------
        TooManyColors
            It has more colours than n_colors.
        """
        if self.n_distinct > n_colors:
            raise TooManyColors(
                f"the picture has {self.n_distinct:,} colours, exact k-means holds at most {n_colors}; "
                "without lossless it is reduced to the nearest palette (n_colors)",
                options=("lossless", "n_colors"),
            )
        return self.mapped(self._counted[0].colors)

    def equals(self, reduced: Indexed) -> bool:
        """Whether every sample comes out as it is."""
        shown = from_indices(reduced.colors, reduced.indices, self.pixels.shape[2])
        return np.array_equal(shown, self.pixels)
