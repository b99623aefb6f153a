"""`fit`: learn a dictionary that many images share. Images are streamed: none is kept."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from triptych.callables import make_callable
from triptych.dictionary import Dictionary, DictionaryLike, resolve_dictionary
from triptych.errors import ExtraMissing, InvalidImage, InvalidOption
from triptych.images import MODES, Pixels, Shape, as_pixels
from triptych.options import Options, make_options
from triptych.parallel import ordered_map

if TYPE_CHECKING:
    from triptych.fit.colors import Histogram

__all__ = ["fit"]

CORE_SECONDS = 900.0


def fit(
    mode: str,
    images: Iterable[Any],
    *,
    dictionary: DictionaryLike | None = None,
    core_seconds: float = CORE_SECONDS,
    checkpoint: str | os.PathLike[str] | None = None,
    say: Callable[[dict[str, float]], None] | None = None,
    **options: Any,
) -> Dictionary:
    """Learn a dictionary from images.

    Parameters
    ----------
    mode : str
        `"kmeans"`: a palette. `"pca"`: the components of images of one shape; of images of more than 4
        channels, those of their spectra.
        `"ae"`: networks, trained for the least bits and squared error. `"gan"`: a second, more realistic
        decoder for the networks of `dictionary`.
    images : iterable
        Anything `Writer.write` takes; read once, and for networks held in memory.
    dictionary : Dictionary, path, id or name
        For `"gan"`: what `fit("ae", ...)` gave. For `"ae"`: networks to train further.
    core_seconds : float
        How long networks train, in seconds of processor time.
    checkpoint : path
        A folder where training of networks keeps its state every five minutes: the same call goes on from it,
        also with more `core_seconds`.
    say : callable
        Told the figures of training, a dict, at every checkpoint.
    **options
        For k-means `n_colors` or `target_psnr`, `keep`; for PCA `variance` or `n_components`, `quality`,
        `embed` (False: the dictionary is shared by many streams, can be finer, and its bytes do not count);
        for both `effort`, `seed`, `threads`, `executor`, `limits`: see `triptych.options.Options`.

    Returns
    -------
    Dictionary
        Its `params` (for k-means: `n_colors`, `images`, `pixels`, `wcss`) are attributes too; one of
        components also has `explained_variance_ratio_`.

    Raises
    ------
    InvalidOption
        No such mode, or a wrong option.
    InvalidImage
        No image at all, or something that is none.
    """
    checked = make_options(options)
    if mode in ("ae", "gan"):
        return _fit_networks(mode, images, checked, dictionary, core_seconds, checkpoint, say)
    if mode == "kmeans":
        return _fit_palette(images, checked)
    if mode == "pca":
        return _fit_pca(images, checked)
    raise InvalidOption(f"mode must be one of 'kmeans', 'pca', 'ae', 'gan', not {mode!r}")


def _fit_networks(
    mode: str,
    images: Iterable[Any],
    options: Options,
    dictionary: DictionaryLike | None,
    core_seconds: float,
    checkpoint: str | os.PathLike[str] | None,
    say: Callable[[dict[str, float]], None] | None,
) -> Dictionary:
    try:
        from triptych.fit.neural import Training, fit_networks
    except ImportError as error:
        raise ExtraMissing(
            "fitting 'ae' and 'gan' needs torch and safetensors: pip install 'triptych[neural]'"
        ) from error
    start = None if dictionary is None else resolve_dictionary(dictionary, options.limits, mode)
    pictures = []
    for pixels in _pixels_of(images, options):
        if pixels.shape[2] > len(MODES):
            raise InvalidImage(
                f"networks are for images of 1 to {len(MODES)} channels, not {pixels.shape[2]}"
            )
        pictures.append(np.array(pixels))
    with tempfile.TemporaryDirectory() as folder:
        training = Training(Path(checkpoint or folder), core_seconds, say, options.seed)
        return fit_networks(mode, pictures, training, start)


def _fit_palette(images: Iterable[Any], options: Options) -> Dictionary:
    from triptych.fit.colors import sort_palette
    from triptych.fit.kmeans import MAX_COLORS, fit_auto, fit_palette

    n_images, histogram = _count_all(images, options)
    keep = np.array(options.keep, np.uint8).reshape(-1, 4)
    if options.target_psnr is not None:
        palette = fit_auto(
            histogram, options.target_psnr, effort=options.effort, seed=options.seed, keep=keep
        )
    else:
        n_colors = MAX_COLORS if options.n_colors == "auto" else options.n_colors
        palette = fit_palette(histogram, n_colors, effort=options.effort, seed=options.seed, keep=keep)
    colors, _ = sort_palette(palette.colors)
    params = {"images": n_images, "n_colors": len(colors), "pixels": histogram.n_pixels, "wcss": palette.wcss}
    return Dictionary.build("palette", params, colors.tobytes())


def _fit_pca(images: Iterable[Any], options: Options) -> Dictionary:
    """Fit components; where none are asked for by number or variance, weigh them against blocks.

    Images of many bands get spectral components.
    """
    from triptych.fit.components import fit_components
    from triptych.fit.spectral import fit_spectral
    from triptych.modes.weigh import SAMPLE_IMAGES, SAMPLE_PIXELS, weigh

    sample: list[Pixels] = []
    n_images = 0

    def watched() -> Iterator[Pixels]:
        nonlocal n_images
        for pixels in pictures:
            n_images += 1
            if len(sample) < SAMPLE_IMAGES and (len(sample) + 1) * pixels[:, :, 0].size <= SAMPLE_PIXELS:
                sample.append(np.array(pixels))
            yield pixels

    pictures = _pixels_of(images, options)
    first = next(pictures, None)
    pictures = chain([] if first is None else [first], pictures)
    if first is not None and first.shape[2] > len(MODES):
        return fit_spectral(pictures, options)
    components = fit_components(watched(), options)
    if not sample or options.variance is not None or options.n_components is not None:
        return components
    return weigh(components, sample, n_images, options)


def _pixels_of(images: Iterable[Any], options: Options) -> Iterator[Pixels]:
    for image in images:
        pixels = as_pixels(image)
        options.limits.check("pixels_per_image", Shape(*pixels.shape).pixels)
        yield pixels


def _count_all(images: Iterable[Any], options: Options) -> tuple[int, Histogram]:
    n_images = 0

    def pixels_of_images() -> Iterator[Pixels]:
        nonlocal n_images
        for pixels in _pixels_of(images, options):
            if pixels.shape[2] > len(MODES):
                raise InvalidImage(
                    f"a palette is for images of 1 to {len(MODES)} channels, not {pixels.shape[2]}"
                )
            n_images += 1
            yield pixels

    # Histograms wait until one about as large is there to merge with, so merging costs no more than a sort.
    waiting: list[Histogram] = []
    for histogram in ordered_map(_count, pixels_of_images(), options.threads, options.executor):
        waiting.append(histogram)
        while len(waiting) > 1 and len(waiting[-2].colors) <= 2 * len(waiting[-1].colors):
            last = waiting.pop()
            waiting[-1] = waiting[-1].merge(last)
    if not waiting:
        raise InvalidImage("fit needs at least one image")
    total = waiting.pop()
    while waiting:
        total = waiting.pop().merge(total)
    return n_images, total


def _count(pixels: Pixels) -> Histogram:
    """Count the colours of an image as RGBA; runs anywhere, also in another process."""
    from triptych.fit.colors import count_colors

    rgba = np.full((*pixels.shape[:2], 4), 255, np.uint8)
    n_channels = pixels.shape[2]
    if n_channels >= 3:
        rgba[:, :, :n_channels] = pixels
    else:
        rgba[:, :, :3] = pixels[:, :, :1]
        rgba[:, :, 3:] = pixels[:, :, 1:] if n_channels == 2 else 255
    return count_colors(rgba)[0]


make_callable(fit)
