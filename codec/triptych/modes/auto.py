"""`mode="auto"`: which panel serves a picture, or a collection, best.

A dictionary says it, or an option that only one panel has. Where a target is given, the panels are weighed:
the fewest bytes that reach the PSNR, or the highest PSNR in so many bytes. Else a picture of few colours
(drawn, not taken) goes to the k-means panel, which keeps it exactly, and any other to the PCA panel.

Panels that need torch are not weighed: their streams are for readers that have it, and so are asked for by
name.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from triptych.dictionary import Dictionary, shipped_dictionary
from triptych.errors import InvalidImage, TargetUnreachable
from triptych.framing import INLINE_ID_LEN
from triptych.images import MODES, Pixels, Shape, order_hint
from triptych.modes.base import Mode, check_bands
from triptych.modes.registry import get_mode
from triptych.options import Options

__all__ = ["Look", "Weighed", "choose_mode", "look_at", "may_be_drawn", "measure_panel", "weigh_modes"]

FEW_COLORS = 256
SAMPLE = 1 << 14
"""Pixels that are looked at first: a photograph shows itself in these."""
MANY_COLORS = 4
"""A picture with more colours than pixels over this is no palette's, and costs no search for one."""


def choose_mode(pixels: Pixels, options: Options, dictionary: Dictionary | None) -> Mode:
    """Choose the mode of one picture, (height, width, channels)."""
    if pixels.shape[2] > len(MODES):
        _check_bands(Shape(*pixels.shape), options.mode, dictionary)
    if options.mode != "auto":
        return get_mode(options.mode)
    if dictionary is not None:
        return get_mode({"palette": "kmeans", "network": "ae"}.get(dictionary.kind, "pca"))
    if options.of_palettes is None and options.target_size is None and options.target_psnr is None:
        return get_mode("kmeans" if _has_few_colors(pixels) else "pca")
    return get_mode(weigh_modes([look_at(pixels)], options).mode)


class Look(NamedTuple):
    """What a picture is judged by: its colours, and pixels, (height, width, 1 to 4), to be measured."""

    has_few_colors: bool
    is_plain: bool
    pixels: Pixels


def look_at(pixels: Pixels, most: int | None = None) -> Look:
    """Look at a picture; `most`: how many pixels from its middle are measured."""
    height, width = pixels.shape[:2]
    window = pixels
    if most is not None and height * width > most:
        n_rows = min(height, max(math.isqrt(most), most // width))
        n_columns = min(width, most // n_rows)
        top, left = (height - n_rows) // 2, (width - n_columns) // 2
        window = pixels[top : top + n_rows, left : left + n_columns].copy()  # so that the rest is let go
    return Look(_has_few_colors(pixels), _is_plain(pixels), window)


class Weighed(NamedTuple):
    """Which panel serves some pictures best, and why.

    mode: its name. psnr: the mean in dB that the panels were asked for, None where none was or bytes were.
    costs: what an image, or the part of it that was looked at, takes under each panel that meets that, in
    bytes (or what PSNR it has, where bytes were asked for); none where a rule decided.
    """

    mode: str
    why: str
    psnr: float | None = None
    costs: dict[str, float] = {}  # noqa: RUF012  # never changed

    def __str__(self) -> str:
        costs = ", ".join(f"{name} {cost:,.1f}" for name, cost in sorted(self.costs.items()))
        return f"{self.mode}: {self.why}{f' ({costs})' if costs else ''}"


def weigh_modes(sample: Sequence[Look], options: Options) -> Weighed:
    """Choose the panel for pictures without a dictionary.

    Without a target they are drawn or taken by what most of them are; where they were taken, the k-means
    panel is asked for the PSNR that the quality gives under PCA, since icons with soft edges have many
    colours and are drawn all the same.
    """
    if options.of_palettes is not None:
        return Weighed("kmeans", "an option that only k-means has")
    if options.target_size is not None:
        return _weigh_at_size(sample, options)
    if options.target_psnr is None:
        few = [look.has_few_colors for look in sample]
        if _are_most(few):
            return Weighed("kmeans", f"few colours, kept exactly ({sum(few)} of {len(few)} pictures)")
    pictures = [look.pixels for look in sample]
    if not _are_most([look.is_plain for look in sample]):
        return _of_many_colors(pictures, options)
    psnr, costs = options.target_psnr, {}
    for mode in ("pca", "kmeans"):
        tried = measure_panel(mode, pictures, options)
        if tried is not None:
            costs[mode] = tried[0]
            if psnr is None:
                psnr = tried[1]
                options = dataclasses.replace(options, quality=None, target_psnr=psnr)
    best = min(costs, key=costs.__getitem__, default="pca")
    return Weighed(best, f"the fewest bytes an image at {psnr:.2f} dB", psnr, costs)


def _weigh_at_size(sample: Sequence[Look], options: Options) -> Weighed:
    """Choose the panel that shows pictures best in so many bytes for each."""
    pictures = [look.pixels for look in sample]
    if not _are_most([look.is_plain for look in sample]):
        return _of_many_colors(pictures, options)
    shown: dict[str, float] = {}
    for mode in ("kmeans", "pca"):
        each = [measure_panel(mode, [pixels], options) for pixels in pictures]
        reached = [tried[1] for tried in each if tried]
        if len(reached) == len(pictures):
            shown[mode] = sum(reached) / len(reached)
    mode = max(shown, key=shown.__getitem__, default="pca")
    return Weighed(mode, f"the highest PSNR in {options.target_size:,} bytes an image", None, shown)


def _of_many_colors(sample: Sequence[Pixels], options: Options) -> Weighed:
    """Take PCA, unless its finest step (or its coarsest, for a size) misses what a palette meets."""
    psnr, size = options.target_psnr, options.target_size
    if psnr is not None or size is not None:
        end = dataclasses.replace(options, target_psnr=None, target_size=None, quality=100 if psnr else 0)
        for pixels in sample:
            n_bytes, reached = measure_panel("pca", [pixels], end) or (0.0, 0.0)
            misses = reached < psnr if psnr is not None else n_bytes > (size or 0)
            if misses and measure_panel("kmeans", [pixels], options) is not None:
                return Weighed("kmeans", "out of reach of PCA")
    return Weighed("pca", "many colours")


def measure_panel(mode_name: str, sample: Sequence[Pixels], options: Options) -> tuple[float, float] | None:
    """Give bytes an image and the PSNR of them all, at most 99 dB; None: out of the panel's reach."""
    mode = get_mode(mode_name)
    name = mode.default_dictionary
    dictionary = None if name is None else shipped_dictionary(name)
    # One frame names its dictionary; of many images it is next to nothing.
    n_bytes = INLINE_ID_LEN if dictionary is not None and len(sample) == 1 else 0
    error, n_samples = 0.0, 0
    at = 0
    while at < len(sample):
        stop = at + mode.images_per_frame(Shape(*sample[at].shape), options, dictionary)
        images, at = sample[at:stop], stop
        shapes = [Shape(*image.shape) for image in images]
        try:
            body = mode.encode_frame(images, options, dictionary)
        except TargetUnreachable:
            return None
        n_bytes += len(body)
        for image, decoded in zip(
            images, mode.decode_frame(memoryview(body), shapes, dictionary, 0, len(images)), strict=True
        ):
            difference = image.astype(np.int64) - decoded
            error += float((difference * difference).sum())
            n_samples += image.size
    psnr = 10 * math.log10(255**2 * n_samples / error) if error else math.inf
    return n_bytes / len(sample), min(psnr, 99.0)


def may_be_drawn(sample: Sequence[Pixels]) -> bool:
    """Say whether a palette may serve most pictures."""
    return _are_most([*map(_is_plain, sample)])


def _are_most(flags: Sequence[bool]) -> bool:
    return 2 * sum(flags) >= len(flags)


def _is_plain(pixels: Pixels) -> bool:
    flat = pixels.reshape(-1, pixels.shape[2])
    part = flat[:: max(1, len(flat) // SAMPLE)]
    return _n_colors(part) * MANY_COLORS <= len(part) + FEW_COLORS


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
