"""A dictionary of kind "blocks" that is small, and pictures for it: for tests, vectors and fuzzing.

It knows little of photographs (few classes, cosines for components), but each part of the format is used:
predictors that look at every part of the template, components that are no multiple of four, counters and
weights that differ, and two sets of filters.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from triptych import Dictionary
from triptych.fit.blockbook import CHROMA, SIDES, BlockBook, BlockClasses, build_blocks, template_size
from triptych.fit.counters import RATES
from triptych_kernels.blockmodel import N_COUNTERS, N_LEVELS, NEAR_ROWS, new_mixer
from triptych_kernels.postfilter import N_CLASSES, N_TAPS

SIZES = ((3, 30), (1, 27), (2, 14), (1, 10))
"""Classes and kept components of luma 8, luma 16, chroma 8, chroma 16."""

Pixels = npt.NDArray[np.uint8]


def _cosines(side: int, kept: int) -> npt.NDArray[np.float64]:
    """Return the first rows of the two-dimensional cosine transform, (kept, side * side), low ones first."""
    k = np.arange(side)
    one = np.cos(np.pi * (2 * k + 1) * k[:, None] / (2 * side)) * np.sqrt(2 / side)
    one[0] /= np.sqrt(2)
    order = sorted(((u, v) for u in range(side) for v in range(side)), key=lambda uv: (sum(uv), uv))
    return np.stack([np.outer(one[u], one[v]).ravel() for u, v in order[:kept]])


def _classes(side: int, chroma: bool, n_classes: int, kept: int) -> BlockClasses:
    n, template = side * side, template_size(side, chroma)
    predictor = np.zeros((n_classes, n, template), np.int16)
    for k in range(n_classes):
        for i in range(n):
            # A few entries each, so that the whole deflates well; every entry is some sample's.
            for turn, weight in enumerate((900, -420, 1300 - 500 * k)):
                predictor[k, i, (7 * i + 11 * k + turn * template // 3) % template] += weight
    rows = np.rint(_cosines(side, kept) * (1 << 14)).astype(np.int16)
    transform = np.stack([np.roll(rows, k, axis=1) for k in range(n_classes)])
    falls = np.arange(kept) * (96 // kept)
    log_sigma = np.stack([150 + 9 * k - falls for k in range(n_classes)]).astype(np.uint8)
    return BlockClasses(predictor, transform, log_sigma)


@cache
def small_book() -> BlockBook:
    """Return the book; the same on every call."""
    fresh = new_mixer()
    numbers = np.arange(N_COUNTERS)
    counters = ((2048 + numbers % 7 * 40 - 120) << 8 | 128) << 12 | RATES[numbers % 5]
    weights = fresh.weights.copy()
    weights[: NEAR_ROWS * 8 : 16] += 700
    y, x = np.mgrid[-2:3, -2:3]
    near = np.delete((np.rint(300 / (1 + y * y + x * x))).astype(np.int16).ravel(), N_TAPS // 2)
    filters = np.zeros((2, 2, N_CLASSES, N_TAPS), np.int16)
    for strength in range(3):
        filters[:, :, strength::3] = strength * near
    filters[1, 1, ::5] = -near
    root = 1 / np.sqrt(np.array([3, 2, 6]))
    axes = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) * root[:, None]
    return BlockBook(
        classes=tuple(
            _classes(side, chroma, *size) for side, chroma, size in zip(SIDES, CHROMA, SIZES, strict=True)
        ),
        color=np.rint(axes * (1 << 14)).astype(np.int16),
        means=np.arange(N_LEVELS, dtype=np.int64) ** 2 * 3 + 20,
        counters=counters.astype(np.uint32),
        weights=weights,
        filter_steps=np.array([50, 90]),
        filters=filters,
    )


@cache
def small_dictionary() -> Dictionary:
    """Return the dictionary of `small_book`."""
    return Dictionary.build("blocks", {}, build_blocks(small_book()))


def photograph(height: int, width: int, channels: int, seed: int = 0) -> Pixels:
    """Return a picture of smooth waves, an edge and a little noise; alpha is a disc."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 8.0
    phase = random.uniform(0, 6, (channels, 2))
    waves = [np.sin(x / (c + 2) + a) + np.cos(y / 2 + b) for c, (a, b) in enumerate(phase)]
    picture = 128 + 45 * np.stack(waves, -1) + random.normal(0, 3, (height, width, channels))
    picture[x > y + 2] -= 40
    if channels in (2, 4):
        picture[..., -1] = 255 * ((x - 2) ** 2 + (y - 2) ** 2 < 6)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
