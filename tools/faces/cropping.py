"""From a picture's bytes to a face's pixels: opening, cutting, scaling, and what crops are judged by."""

from __future__ import annotations

import io
import warnings
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from triptych.images import Pixels


class BadPicture(ValueError):
    """Bytes that are no picture, or not all of one."""


class Box(NamedTuple):
    """A part of a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int


def open_picture(data: bytes) -> Image.Image:
    """Give a picture as people see it: upright, RGB, on white where it is transparent.

    Raises
    ------
    BadPicture
        Not a picture, a truncated or damaged one, or larger than `PIL.Image.MAX_IMAGE_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow repairs
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                return _on_white(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise BadPicture("not an image that Pillow reads") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadPicture(f"more than {Image.MAX_IMAGE_PIXELS:,} pixels") from None
    except MemoryError:
        raise
    except Exception as error:  # damaged files bring the readers of Pillow to raise anything
        raise BadPicture(f"cannot be read: {error}") from error


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("samples are floating-point numbers of unknown range")
    if image.mode.startswith("I"):  # 16 bits a sample, which `convert` would clip
        return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    clear = image.convert("RGBA")
    white = Image.new("RGBA", clear.size, "white")
    return Image.alpha_composite(white, clear).convert("RGB")


def central_square(width: int, height: int) -> Box:
    """Give the largest square in the middle."""
    side = min(width, height)
    return Box((width - side) // 2, (height - side) // 2, side, side)


def square_around(face: Box, margin: float, width: int, height: int) -> Box:
    """Give the square to cut for a face: its longer side, and `margin` of that on each side.

    The square has the face's middle, is moved where it would leave the picture, and is smaller only where
    the picture is.

    Examples
    --------
    >>> square_around(Box(0, 40, 20, 20), 0.25, 100, 100)
    Box(left=0, top=35, width=30, height=30)
    """
    side = min(round(max(face.width, face.height) * (1 + 2 * margin)), width, height)
    left = face.left + (face.width - side) // 2
    top = face.top + (face.height - side) // 2
    return Box(min(max(left, 0), width - side), min(max(top, 0), height - side), side, side)


def cut(picture: Image.Image, box: Box, size: int) -> Image.Image:
    """Give a part of a picture, scaled; pixels outside the part have no influence."""
    part = picture.crop((box.left, box.top, box.left + box.width, box.top + box.height))
    return part.resize((size, size), Image.Resampling.LANCZOS)


def mean_chroma(pixels: Pixels) -> float:
    """Give the mean distance of the largest from the smallest of R, G and B: 0 is grey."""
    return float((pixels.max(axis=2) - pixels.min(axis=2)).mean())


def sharpness(image: Image.Image) -> float:
    """Give the mean square of the Laplacian of luma, in sums of 2 x 2.

    Of single pixels it would take the noise of compression for detail more often.
    """
    luma = np.asarray(image.convert("L"), dtype=np.int64)
    luma = luma[1:, 1:] + luma[:-1, 1:] + luma[1:, :-1] + luma[:-1, :-1]
    around = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    return float(((4 * luma[1:-1, 1:-1] - around) ** 2).mean())
