"""A small block basis fitted to a collection: few classes, so that thousands of images pay for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from triptych_kernels.blockcost import mean_magnitudes
from triptych_kernels.blockmodel import new_mixer
from triptych_kernels.postfilter import N_CLASSES, N_TAPS

from triptych.fit.blockbook import CHROMA, SIDES, BlockBook, BlockClasses, quantize_classes, template_size
from triptych.fit.blocks import F32, F64, color_axes, fit_classes, sample_blocks
from triptych.images import Pixels

CLASSES = (6, 1, 2, 1)
KEPT = (64, 48, 48, 24)
N_SAMPLES = 24_000
STEP = 24.0
LEAST_SIDE = 36
"""Images less wide or high hold no block of 16 with its surroundings."""
SMALL = 1 / 64
"""Entries of a predictor below this are left out: they cost bytes and foretell little."""
_GREY_AXES = np.array([[1, 1, 1], [1, 0, -1], [-1, 2, -1]]) / np.sqrt([[3], [2], [6]])


def fit_blocks(images: Sequence[Pixels], seed: int) -> BlockBook | None:
    """Fit a block basis to images of one shape; None where they are too small for it."""
    if min(images[0].shape[:2]) < LEAST_SIDE:
        return None
    colored = images[0].shape[2] >= 3
    rgb = [image[:, :, :3] if colored else np.repeat(image[:, :, :1], 3, axis=2) for image in images]
    axes: F64 = color_axes(rgb) if colored else _GREY_AXES
    if axes[0].sum() < 0.6:
        # The luma of this collection would be no luma: greys must be far from zero on the first axis.
        axes = _GREY_AXES
    planes = [
        ((image.reshape(-1, 3) - 128.0) @ axes.T).reshape(image.shape).transpose(2, 0, 1).astype(np.float32)
        for image in rgb
    ]
    classes = tuple(_fit_kind(planes, i, colored, seed) for i in range(len(SIDES)))
    means = np.rint(mean_magnitudes() * 256).astype(np.int64)
    mixer = new_mixer()
    no_filters = np.zeros((0, 2, N_CLASSES, N_TAPS), np.int16)
    color = np.rint(axes * (1 << 14)).astype(np.int16)
    steps = np.zeros(0, np.int64)
    return BlockBook(classes, color, means, mixer.counters, mixer.weights, steps, no_filters)


def _fit_kind(planes: list[F32], i: int, colored: bool, seed: int) -> BlockClasses:
    side, chroma = SIDES[i], CHROMA[i]
    n = side * side
    if chroma and not colored:
        predictor = np.zeros((1, n, template_size(side, chroma)), np.int16)
        return BlockClasses(predictor, np.zeros((1, 1, n), np.int16), np.zeros((1, 1), np.uint8))
    rows = sample_blocks(planes, side, N_SAMPLES, chroma=chroma, seed=seed)
    found = []
    for classes, _, _ in fit_classes(rows, n, CLASSES[i], STEP, n_rounds=4, seed=seed):
        found = classes
    for one in found:
        one.predictor[np.abs(one.predictor) < SMALL] = 0
    return quantize_classes(found, KEPT[i])
