"""One picture from a file: its pixels, what goes with them, and in words what was changed on the way.

Files are read with Pillow, or with numpy where their names end in .npy.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, NamedTuple

from triptych.errors import EncodeError, InvalidImage, LimitExceeded
from triptych.limits import Limits

if TYPE_CHECKING:
    from PIL import Image

    from triptych.images import Pixels
    from triptych.interop.conversion import Change
    from triptych.interop.pictures import Metadata

STDIN = "-"
UNREADABLE = (EncodeError, LimitExceeded, OSError, MemoryError)
"""Errors of one input, which leave others alone."""
_ARRAY_SUFFIX = ".npy"
"""Arrays, for images of more channels than pictures have; only files that are named."""


class Reading(NamedTuple):
    """How pictures are read: exact ones only (`--lossless`), and with their metadata or without."""

    exact: bool = False
    metadata: bool = True


AS_GIVEN = Reading()


class Picture(NamedTuple):
    """An image read from a file; `metadata` holds what `read_metadata` finds."""

    pixels: Pixels
    metadata: Metadata
    n_frames: int = 1
    changes: tuple[Change, ...] = ()


def read_picture(path: str, limits: Limits, reading: Reading = AS_GIVEN) -> Picture:
    """Read an image; the first frame, where there are several.

    Raises
    ------
    InvalidImage, LimitExceeded, OSError
        It cannot be read, or not exactly where that is asked for.
    """
    from PIL import Image, UnidentifiedImageError

    if path.lower().endswith(_ARRAY_SUFFIX):
        return Picture(_load_array(path, limits), {})
    source: str | IO[bytes] = path
    if path == STDIN:
        source = io.BytesIO(sys.stdin.buffer.read())
    elif os.path.isdir(path):
        os.scandir(path).close()  # a directory that cannot be opened says so
        raise IsADirectoryError(None, "is a directory")
    try:
        with Image.open(source) as image:
            limits.check("pixels_per_image", image.width * image.height)
            return _take(image, reading)
    except UnidentifiedImageError:
        raise InvalidImage("not an image that Pillow reads") from None
    except Image.DecompressionBombError as error:
        allowed = f"Limits.pixels_per_image allows {limits.pixels_per_image:,}"
        raise LimitExceeded(f"{allowed}, and this needs more than twice that") from error
    except UNREADABLE:
        raise
    except Exception as error:  # there is hardly one that no plugin of Pillow raises for some file
        raise InvalidImage(f"cannot be read: {str(error) or type(error).__name__}") from error


def _take(image: Image.Image, reading: Reading) -> Picture:
    from triptych.images import as_pixels
    from triptych.interop.conversion import convert, look_at_file
    from triptych.interop.pictures import read_metadata

    n_frames = getattr(image, "n_frames", 1)
    facts = look_at_file(image)
    plain, changes = convert(image, facts)
    if reading.exact and changes:
        raise InvalidImage(
            f"--lossless: {changes[0].text}; without --lossless the picture is stored so, and a line says it"
        )
    return Picture(as_pixels(plain), read_metadata(plain), n_frames, tuple(changes))


def _load_array(path: str, limits: Limits) -> Pixels:
    import numpy as np

    from triptych.images import Shape, as_pixels

    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InvalidImage(f"cannot be read: {error}") from error
    if values.dtype != np.uint8:
        raise InvalidImage(
            f"holds {values.dtype}, and pixels are uint8: bring the values to 0..255 and save them so, "
            "with numpy"
        )
    pixels = as_pixels(values)
    limits.check("pixels_per_image", Shape(*pixels.shape).pixels)
    return pixels


@contextmanager
def limiting_pillow(limits: Limits) -> Iterator[None]:
    """Have Pillow refuse images of twice the pixels that our limits allow, and not warn of what we refuse.

    Around all of the reading, as its limit and filters of warnings are the whole process's, not a thread's.
    """
    from PIL import Image

    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, limits.pixels_per_image
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
