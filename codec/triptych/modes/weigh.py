"""Which dictionary serves a collection best: its components, a block basis of its own, or the shipped one.

All three are asked for the same PSNR on a sample of the collection, and pay for their dictionary: its bytes
over the images it was learned from, nothing for the shipped one. What the k-means panel takes at that PSNR,
which needs no dictionary, is reported beside them. `triptych.fit` calls this; streams never do.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from triptych.dictionary import Dictionary, shipped_dictionary
from triptych.fit.blockbook import build_blocks
from triptych.fit.ownblocks import fit_blocks
from triptych.images import Pixels, Shape
from triptych.modes.auto import may_be_drawn, measure_panel
from triptych.modes.registry import get_mode
from triptych.options import Options
from triptych.psnr import psnr_of, squared_error

__all__ = ["SAMPLE_IMAGES", "SAMPLE_PIXELS", "weigh"]

SAMPLE_IMAGES = 256
SAMPLE_PIXELS = 1 << 18
"""A collection is judged by no more of its first images than this."""
_QUALITIES = (10, 30, 50, 70, 90)


def weigh(components: Dictionary, sample: Sequence[Pixels], n_images: int, options: Options) -> Dictionary:
    """Give the dictionary that takes the fewest bytes an image, with a report of all that were weighed.

    components: fitted to all n_images. sample: some of these, of one shape.
    """
    psnr, n_bytes = _measure(components, sample, None)
    candidates = {"components": components, "photo": shipped_dictionary("photo")}
    own = fit_blocks(sample, options.seed)
    if own is not None:
        params = {"images": n_images, "variance": None}
        candidates["blocks"] = Dictionary.build("blocks", params, build_blocks(own))
    costs: dict[str, float] = {}
    for name, dictionary in candidates.items():
        body = n_bytes if name == "components" else _bytes_at(psnr, dictionary, sample)
        share = 0.0 if name == "photo" or options.embed is False else len(dictionary.to_bytes()) / n_images
        costs[name] = body + share
    chosen = min(costs, key=lambda name: costs[name])
    weighed: dict[str, float | None] = {name: round(cost, 1) for name, cost in costs.items()}
    if own is None:
        weighed["blocks"] = None
    if may_be_drawn(sample):
        palettes = measure_panel("kmeans", sample, Options(target_psnr=psnr, seed=options.seed))
        weighed["kmeans"] = None if palettes is None else round(palettes[0], 1)
    report = {"weighed": weighed, "weighed_psnr": round(psnr, 2)}
    known: Mapping[str, Any] = candidates[chosen].report
    return dataclasses.replace(candidates[chosen], report={**known, **report, "chosen": chosen})


def _measure(dictionary: Dictionary, sample: Sequence[Pixels], quality: int | None) -> tuple[float, float]:
    """Give the PSNR of a sample, and its bytes an image, at a quality or the dictionary's own."""
    mode = get_mode("pca")
    options = Options(mode="pca", quality=quality, tune="psnr", effort="default")
    shape = Shape(*sample[0].shape)
    size = mode.images_per_frame(shape, options, dictionary)
    n_bytes, error = 0, 0.0
    for at in range(0, len(sample), size):
        images = sample[at : at + size]
        body = mode.encode_frame(images, options, dictionary)
        n_bytes += len(body)
        decoded = mode.decode_frame(memoryview(body), [shape] * len(images), dictionary, 0, len(images))
        error += squared_error(images, decoded)
    return psnr_of(max(error, 1), len(sample) * shape.nbytes), n_bytes / len(sample)


def _bytes_at(psnr: float, dictionary: Dictionary, sample: Sequence[Pixels]) -> float:
    """Give the bytes an image that blocks take at a PSNR, between the two qualities around it."""
    points = sorted(_measure(dictionary, sample, quality) for quality in _QUALITIES)
    psnrs, sizes = zip(*points, strict=True)
    # Beyond the ends, along the line of the last two.
    i = min(max(int(np.searchsorted(psnrs, psnr)), 1), len(points) - 1)
    slope = (math.log(sizes[i]) - math.log(sizes[i - 1])) / max(psnrs[i] - psnrs[i - 1], 1e-9)
    return float(math.exp(math.log(sizes[i - 1]) + slope * (psnr - psnrs[i - 1])))
