"""From a collection to one palette: the colours of all its images, counted anywhere, and merged.

In: images of 1 to 4 channels, of any sizes. Out: a palette dictionary. Images are sent to be counted in
pieces, and histograms of about the same size are merged, so the work grows with the pixels and the memory
with the colours. `triptych.fit.kmeans` does the clustering.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Self

import numpy as np

from triptych.dictionary import Dictionary
from triptych.errors import InvalidImage
from triptych.fit.colors import Histogram, count_colors, sort_palette
from triptych.fit.kmeans import MAX_COLORS, fit_auto, fit_palette
from triptych.images import MODES, Pixels
from triptych.options import Options
from triptych.parallel import ordered_map

PIECE_SAMPLES = 1 << 22
"""Images are counted together up to so many samples: sending a job costs as much as counting some images."""


class PaletteStatistics:
    """How often each colour occurs in a collection. After an error it is worthless.

    Attributes
    ----------
    n_images : int
    """

    def __init__(self) -> None:
        self.n_images = 0
        self._waiting: list[Histogram] = []

    def check(self, options: Options) -> None:
        """Refuse nothing: a palette can always be made."""

    def update(self, images: Iterable[Pixels], options: Options) -> None:
        """Add images (h, w, c), counted in `options.threads` or `options.executor`."""
        for histogram in ordered_map(_count, self._pieces(images), options.threads, options.executor):
            self._add(histogram)

    def merge(self, other: Self) -> None:
        """Add what other statistics know; their images come after those that are known here."""
        self.n_images += other.n_images
        for histogram in list(other._waiting):
            self._add(histogram)

    def histogram(self) -> Histogram:
        """Give the counts of all images, by first appearance."""
        while len(self._waiting) > 1:
            last = self._waiting.pop()
            self._waiting[-1] = self._waiting[-1].merge(last)
        return self._waiting[0]

    @classmethod
    def of_histogram(cls, n_images: int, histogram: Histogram) -> Self:
        """Make it of the counts of so many images."""
        made = cls()
        made.n_images = n_images
        made._add(histogram)
        return made

    def fit(self, options: Options) -> Dictionary:
        """Learn a palette; what is known stays, so that images can be added."""
        histogram = self.histogram()
        keep = np.array(options.keep, np.uint8).reshape(-1, 4)
        if options.target_psnr is not None:
            palette = fit_auto(
                histogram, options.target_psnr, effort=options.effort, seed=options.seed, keep=keep
            )
        else:
            n_colors = MAX_COLORS if options.n_colors == "auto" else options.n_colors
            palette = fit_palette(histogram, n_colors, effort=options.effort, seed=options.seed, keep=keep)
        colors, _ = sort_palette(palette.colors)
        params = {
            "images": self.n_images,
            "n_colors": len(colors),
            "pixels": histogram.n_pixels,
            "wcss": palette.wcss,
        }
        return Dictionary.build("palette", params, colors.tobytes())

    def _add(self, histogram: Histogram) -> None:
        """Keep counts until about as many are there to merge with: all merging costs no more than a sort."""
        self._waiting.append(histogram)
        while len(self._waiting) > 1 and len(self._waiting[-2].colors) <= 2 * len(self._waiting[-1].colors):
            last = self._waiting.pop()
            self._waiting[-1] = self._waiting[-1].merge(last)

    def _pieces(self, images: Iterable[Pixels]) -> Iterator[list[Pixels]]:
        """Gather copies of images until they are worth a job."""
        piece: list[Pixels] = []
        size = 0
        for image in images:
            if image.shape[2] > len(MODES):
                raise InvalidImage(
                    f"a palette is for images of 1 to {len(MODES)} channels, not {image.shape[2]}"
                )
            self.n_images += 1
            piece.append(image.copy())  # it may be counted after the caller changed it
            size += image.size
            if size >= PIECE_SAMPLES:
                yield piece
                piece, size = [], 0
        if piece:
            yield piece


def _count(images: list[Pixels]) -> Histogram:
    """Count the colours of images as RGBA; runs anywhere, also in another process."""
    rgba = np.full((sum(image[:, :, 0].size for image in images), 4), 255, np.uint8)
    start = 0
    for image in images:
        rows = image.reshape(-1, image.shape[2])
        n_channels = rows.shape[1]
        part = rgba[start : start + len(rows)]
        if n_channels >= 3:
            part[:, :n_channels] = rows
        else:
            part[:, :3] = rows[:, :1]
            part[:, 3:] = rows[:, 1:] if n_channels == 2 else 255
        start += len(rows)
    return count_colors(rgba)[0]
