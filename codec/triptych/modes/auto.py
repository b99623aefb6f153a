"""`mode="auto"`: which panel serves a picture best.

A dictionary says it, or an option that only one panel has. Else a picture of few colours (drawn, not taken)
goes to the k-means panel, which keeps it exactly, and any other to the PCA panel.
"""

from __future__ import annotations

import numpy as np

from triptych.dictionary import Dictionary
from triptych.errors import InvalidImage
from triptych.images import MODES, Pixels, Shape, order_hint
from triptych.modes.base import Mode, check_bands
from triptych.modes.registry import get_mode
from triptych.options import Options

__all__ = ["choose_mode"]

FEW_COLORS = 256
SAMPLE = 1 << 14
"""Pixels that are looked at first: a photograph shows itself in these."""


def choose_mode(pixels: Pixels, options: Options, dictionary: Dictionary | None) -> Mode:
    """Choose the mode of one picture, (height, width, channels)."""
    if pixels.shape[2] > len(MODES):
        _check_bands(Shape(*pixels.shape), options.mode, dictionary)
    if options.mode != "auto":
        return get_mode(options.mode)
    if dictionary is not None:
        return get_mode({"palette": "kmeans", "network": "ae"}.get(dictionary.kind, "pca"))
    drawn = options.n_colors != "auto" or options.keep or options.dither or options.lossless
    return get_mode("kmeans" if drawn or _has_few_colors(pixels) else "pca")


def _check_bands(shape: Shape, mode: str, dictionary: Dictionary | None) -> None:
    """Refuse an image of many bands where it cannot be coded."""
    if mode not in ("auto", "pca"):
        raise InvalidImage(
            f"mode {mode!r} is for images of 1 to {len(MODES)} channels, not {shape.channels}: more of them "
            f"are for mode 'pca'{order_hint(shape)}"
        )
    if dictionary is None:
        raise InvalidImage(
            f"an image of {shape.channels} channels needs a dictionary for as many bands, from "
            f"triptych.fit('pca', images){order_hint(shape)}"
        )
    check_bands(shape, dictionary)


def _has_few_colors(pixels: Pixels) -> bool:
    flat = pixels.reshape(-1, pixels.shape[2])
    if flat.shape[1] <= 2:
        # Grey has no more levels than a palette has colours, in photographs too: ask for far fewer.
        return len(np.unique(flat[:, 0])) <= FEW_COLORS // 8
    stride = max(1, len(flat) // SAMPLE)
    return _n_colors(flat[::stride]) <= FEW_COLORS and (stride == 1 or _n_colors(flat) <= FEW_COLORS)


def _n_colors(flat: Pixels) -> int:
    packed = np.zeros(len(flat), np.uint32)
    for c in range(flat.shape[1]):
        packed |= flat[:, c].astype(np.uint32) << np.uint32(8 * c)
    return len(np.unique(packed))
