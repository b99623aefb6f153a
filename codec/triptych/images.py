"""Images in and out: whatever holds pixels becomes a uint8 array (height, width, channels).

`as_pixels` takes anything with `__array_interface__`, `__dlpack__` or a buffer, and Pillow images. It does
not convert depths and does not guess channel orders: what it refuses, it refuses with the way to do it.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from triptych.errors import InvalidImage

Pixels = npt.NDArray[np.uint8]
MODES = ("L", "LA", "RGB", "RGBA")
"""Names of 1, 2, 3 and 4 channels."""
MAX_CHANNELS = 512
"""Images of more channels than MODES has are of many bands: hyperspectral."""


class Shape(NamedTuple):
    """The shape of one image, in array order."""

    height: int
    width: int
    channels: int

    @property
    def pixels(self) -> int:
        """Width times height; as often as that again for each 4 further channels (limits count this)."""
        return self.height * self.width * -(-self.channels // len(MODES))

    @property
    def has_bands(self) -> bool:
        """Whether there are more channels than a picture has."""
        return self.channels > len(MODES)

    @property
    def color(self) -> str:
        """The name of the channels: L, LA, RGB, RGBA, or how many bands there are."""
        return f"{self.channels} bands" if self.has_bands else MODES[self.channels - 1]

    @property
    def nbytes(self) -> int:
        """Bytes of the decoded image."""
        return self.height * self.width * self.channels


def count_bytes(shapes: Iterable[Shape]) -> int:
    """Add up the bytes of decoded images; most often many have the same shape."""
    return sum(n * shape.nbytes for shape, n in Counter(shapes).items())


def count_pixels(shapes: Iterable[Shape]) -> int:
    """Add up the pixels of images, as limits count them."""
    return sum(n * shape.pixels for shape, n in Counter(shapes).items())


def as_pixels(image: Any) -> Pixels:
    """Give an image as a C-contiguous uint8 array (height, width, channels); it may share the image's memory.

    Parameters
    ----------
    image
        uint8 of shape (height, width) or (height, width, 1 to 512); or a Pillow image of mode 1, L, LA, La,
        RGB, RGBA, RGBa, P or PA (a palette becomes RGB). Transparency is kept, also that of one colour, and
        alpha is straight then.

    Raises
    ------
    InvalidImage
        Anything else.

    Examples
    --------
    >>> as_pixels(np.zeros((2, 3), np.uint8)).shape
    (2, 3, 1)
    """
    array = _as_array(image)
    if array.dtype != np.uint8:
        raise InvalidImage(f"pixels must be uint8, not {array.dtype}; {_advice(array.dtype)}")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or not 1 <= array.shape[2] <= MAX_CHANNELS:
        raise InvalidImage(
            f"an image has shape (height, width) or (height, width, 1 to 4), or up to {MAX_CHANNELS} bands, "
            f"not {array.shape}{order_hint(array.shape)}"
        )
    if 0 in array.shape:
        raise InvalidImage(f"an image has at least one pixel, not shape {array.shape}")
    return np.ascontiguousarray(array)


def split_pictures(images: Any) -> Iterable[Any]:
    """Return the pictures of a collection one by one, where it may be one array or one Pillow image.

    Parameters
    ----------
    images
        An iterable of pictures; or one array of them, by its shape: (height, width) and (height, width, 1 to
        4) are one picture, other arrays of 3 axes grey pictures (n, height, width), and of 4 axes n pictures.

    Raises
    ------
    InvalidImage
        An array of another number of axes; or (2 to 4, height, width), which may be that many grey pictures
        or one whose channels come first.

    Examples
    --------
    >>> len(list(split_pictures(np.zeros((9, 8, 3), np.uint8))))
    1
    >>> len(list(split_pictures(np.zeros((9, 8, 8), np.uint8))))
    9
    """
    if isinstance(images, memoryview):
        images = np.asarray(images)  # as its own parts cannot be taken
    shape = getattr(images, "shape", None)
    if shape is None and hasattr(images, "__array_interface__"):
        return (images,)  # a Pillow image
    if not isinstance(shape, tuple) or getattr(getattr(images, "dtype", None), "kind", "") == "O":
        return cast("Iterable[Any]", images)
    if len(shape) == 2 or (len(shape) == 3 and 1 <= shape[2] <= len(MODES)):
        return (images,)
    if len(shape) not in (3, 4):
        raise InvalidImage(
            f"one array of shape {shape} is no collection: give (n, height, width, channels), or a list"
        )
    if len(shape) == 3 and 2 <= shape[0] <= len(MODES):
        raise InvalidImage(
            f"one array of shape {shape} may be {shape[0]} grey pictures: give list(images); or one whose "
            "channels come first: give [images.transpose(1, 2, 0)]"
        )
    return cast("Iterable[Any]", images)


def order_hint(shape: tuple[int, ...]) -> str:
    """Give advice for an array that looks as if its channels came first."""
    return "; channels come last: use transpose(1, 2, 0)" if len(shape) == 3 and shape[0] <= 4 else ""


def drop_grey_axis(pixels: Pixels) -> Pixels:
    """Give a grey image as (height, width), as the public face has it."""
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels


def is_pillow(image: Any) -> bool:
    """Say whether this is a Pillow image; whoever has one has imported Pillow."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(image, pillow.Image)


def check_pillow_mode(mode: str) -> None:
    """Refuse a mode of Pillow that has other values than grey or RGB of 8 bits, with the way out."""
    if mode in ("1", "La", "P", "PA", "RGBa", *MODES):
        return
    if mode in ("I", "F") or mode.startswith("I;"):
        raise InvalidImage(
            f"Pillow images of mode {mode} are not encoded; scale the values of numpy.asarray(image) from "
            "their range to 0..255, and give them as uint8 (Pillow's convert would clip them)"
        )
    raise InvalidImage(
        f"Pillow images of mode {mode} are not encoded; use image.convert('RGB') or another "
        f"of {', '.join(MODES)}"
    )


def _as_array(image: Any) -> npt.NDArray[Any]:
    if isinstance(image, np.ndarray):
        return image
    if is_pillow(image):
        return np.asarray(_plain_pillow(image))
    try:
        if hasattr(image, "__array_interface__"):
            return np.asarray(image)
        if hasattr(image, "__dlpack__"):
            return np.from_dlpack(image)
        return np.asarray(memoryview(image))
    except (TypeError, ValueError, BufferError, RuntimeError) as error:
        raise InvalidImage(
            f"{type(image).__name__} gives no pixels ({error}); use numpy.asarray first"
        ) from error


def _plain_pillow(image: Any) -> Any:
    """Give a Pillow image in one of MODES; the transparency that its mode or a colour key says is kept."""
    mode = image.mode
    check_pillow_mode(mode)
    if mode in ("La", "RGBa"):
        return image.convert(mode.upper())
    grey = mode in ("1", "L", "LA")
    key = image.info.get("transparency")
    if isinstance(key, tuple) and max(key) > 255:  # of a file of 16 bits, of which Pillow has the upper ones
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in key)
    target = ("LA" if grey else "RGBA") if image.has_transparency_data else ("L" if grey else "RGB")
    return image if mode == target else image.convert(target)


def _advice(dtype: np.dtype[Any]) -> str:
    if dtype == np.bool_:
        return "use image.astype('uint8') * 255"
    if dtype == np.uint16:
        return "use (image >> 8).astype('uint8')"
    if dtype.kind == "f":
        return "use (image * 255).round().clip(0, 255).astype('uint8') if it goes from 0 to 1"
    return "use image.clip(0, 255).astype('uint8') if it goes from 0 to 255"
