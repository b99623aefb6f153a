"""The second panel as the sections use it: photographs at a quality, collections with a basis, projection.

Where this checkout has no such mode or kernel, what is here has no version, as a peer that is not installed.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import triptych
from triptych.dictionary import shipped_dictionaries
from triptych.modes.registry import get_mode

from bench.lossy import LossyFile
from bench.measure import Pixels

_PHOTO = "photo"
QUALITIES = (1, 12, 22, 32, 42, 52, 62, 72)
"""From about 0.1 to 3 bits a pixel of photographs, where the peers' are too."""
COLLECTION_QUALITIES = (5, 13, 23, 33, 43, 53, 63, 73)
LARGE_QUALITIES = (5, 23, 43, 63)
"""Of images of thousands of samples, whose components take minutes to find."""
PALETTE_TARGETS = (22, 27, 32, 37, 44)
"""PSNRs that each image of a collection is to have with a palette of its own."""

Project = Callable[[Pixels, npt.NDArray[np.float32], npt.NDArray[np.float32]], npt.NDArray[np.int16]]
"""(images uint8 (n, d), mean (d,), basis (d, k) divided by the step) to rounded scores (n, k)."""


def encode_photo(options: dict[str, Any], pixels: Pixels, quality: float) -> bytes:
    """Give a whole stream of one picture."""
    return triptych.encode(pixels, mode="pca", quality=round(quality), threads=1, **options)


def decode_photo(data: bytes, dictionary: Path | None = None) -> Pixels:
    """Give its pixels."""
    return np.asarray(triptych.decode(data, dictionary=dictionary))


def mode_version() -> str:
    """Give our version; raise ImportError where it has no mode of this name."""
    number = f"triptych {triptych.__version__}"
    try:
        get_mode("pca")
    except triptych.InvalidOption as error:
        raise ImportError(f"{number}: {error}") from error
    return number


def photo_version() -> str:
    """Give our version; raise ImportError where it has no mode, or no dictionary of photographs."""
    if _PHOTO not in shipped_dictionaries():
        raise ImportError(f"{mode_version()}: no dictionary {_PHOTO!r} is shipped")
    return mode_version()


def _photo_codec(name: str, **options: str) -> LossyFile:
    said = ", ".join(f"{key} {value}" for key, value in options.items())
    return LossyFile(
        f"triptych {name}",
        f"mode pca, {said}, the shipped dictionary",
        photo_version,
        partial(encode_photo, options),
        decode_photo,
        QUALITIES,
        is_ours=True,
    )


PSNR = _photo_codec("psnr", tune="psnr", effort="default")
VISUAL = _photo_codec("visual", tune="visual", effort="default")
FAST = _photo_codec("visual fast", tune="visual", effort="fast")


def with_photo_book(codec: LossyFile, dictionary: Path | None) -> LossyFile:
    """Give a codec of photographs with another dictionary than the shipped one; it is not counted either."""
    if dictionary is None:
        return codec
    options = codec.encode.args[0] if isinstance(codec.encode, partial) else {}
    return dataclasses.replace(
        codec,
        settings=codec.settings.replace("the shipped dictionary", f"dictionary {dictionary}"),
        version=mode_version,
        encode=partial(encode_photo, {**options, "dictionary": dictionary, "embed": False}),
        decode=partial(decode_photo, dictionary=dictionary),
    )


def fit_book(images: Pixels, n_components: int) -> triptych.Dictionary:
    """Fit a basis of so many components to images, uint8 (n, height, width, channels)."""
    return triptych.fit("pca", images, n_components=n_components)


def encode_collection(images: Pixels, quality: float) -> bytes:
    """Give a stream of all images in one frame, with what `fit` makes of them, unless that ships with us."""
    book = triptych.fit("pca", images, quality=round(quality))
    return _write(images, book, quality, embed=None)


def encode_with_book(book: triptych.Dictionary, images: Pixels, quality: float) -> bytes:
    """Give a stream of all images in one frame, without the dictionary."""
    return _write(images, book, quality, embed=False)


def encode_palettes(images: Pixels, psnr: float) -> bytes:
    """Give a stream of all images, each with the palette that its PSNR takes, in default frames."""
    return _collect(images, None, mode="kmeans", target_psnr=psnr)


def _write(images: Pixels, book: triptych.Dictionary, quality: float, embed: bool | None) -> bytes:
    return _collect(images, book, mode="pca", quality=round(quality), frame_images=len(images), embed=embed)


def _collect(images: Pixels, book: triptych.Dictionary | None, **options: Any) -> bytes:
    target = io.BytesIO()
    with triptych.Writer(target, book, threads=1, **options) as writer:
        for image in images:
            writer.write(image)
    return target.getvalue()


def decode_collection(book: triptych.Dictionary | None, data: bytes) -> Pixels:
    """Give all images of a stream as one array."""
    with triptych.Reader(data, dictionary=book) as reader:
        return np.stack(list(reader))


COLLECTION = LossyFile(
    "triptych",
    "fit('pca', images, quality=q); Writer of one frame; a dictionary of its own embedded and counted",
    mode_version,
    encode_collection,
    partial(decode_collection, None),
    COLLECTION_QUALITIES,
    is_ours=True,
)


PALETTES = LossyFile(
    "triptych k-means",
    "mode kmeans, target_psnr of each image; default frames, no dictionary",
    mode_version,
    encode_palettes,
    partial(decode_collection, None),
    PALETTE_TARGETS,
    is_ours=True,
)


def with_book(name: str, settings: str, book: triptych.Dictionary) -> LossyFile:
    """Give the codec of images with a dictionary that is not counted."""
    return LossyFile(
        name,
        settings,
        mode_version,
        partial(encode_with_book, book),
        partial(decode_collection, book),
        COLLECTION_QUALITIES,
        is_ours=True,
    )


def find_project() -> Project:
    """Give the kernel that projects and quantizes; raise ImportError where there is none."""
    project = import_module("triptych_kernels.project").project_and_quantize
    return lambda images, mean, basis: project(images, mean, basis, 0.0)
