"""Pictures from a file: their pixels, what goes with them, and in words what was changed on the way.

Files are read with Pillow, or with numpy where their names end in .npy.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from typing import IO, TYPE_CHECKING, NamedTuple

from triptych.errors import EncodeError, InvalidImage, LimitExceeded
from triptych.limits import Limits

if TYPE_CHECKING:
    from PIL import Image

    from triptych.images import Pixels
    from triptych.interop.animation import Timing
    from triptych.interop.conversion import Change, Facts
    from triptych.interop.pictures import Metadata

STDIN = "-"
UNREADABLE = (EncodeError, LimitExceeded, OSError, MemoryError)
"""Errors of one input, which leave others alone."""
_ARRAY_SUFFIX = ".npy"
"""Arrays, for images of more channels than pictures have; only files that are named."""


class Reading(NamedTuple):
    """How pictures are read: exact ones only (`--lossless`), with metadata or without, all of a file."""

    exact: bool = False
    metadata: bool = True
    all_frames: bool = False


AS_GIVEN = Reading()


class Picture(NamedTuple):
    """An image read from a file; `metadata` holds what `read_metadata` finds.

    A file may have several (`n_frames`): frames of an animation, pages, sizes of an icon. `frame` is the
    number of this one, from 1, where all of them are read.
    """

    pixels: Pixels
    metadata: Metadata
    n_frames: int = 1
    changes: tuple[Change, ...] = ()
    timing: Timing = {}  # noqa: RUF012  # nothing writes into it
    frame: int = 0


def read_picture(path: str, limits: Limits, reading: Reading = AS_GIVEN) -> Picture:
    """Read an image, the first one of a file: see `read_pictures`."""
    with closing(read_pictures(path, limits, reading)) as pictures:
        return next(pictures)


def read_pictures(path: str, limits: Limits, reading: Reading) -> Generator[Picture]:
    """Read the first image of a file, or all, one at a time; what an icon has is sizes, the largest first.

    Raises
    ------
    InvalidImage, LimitExceeded, OSError
        It cannot be read, or not exactly where that is asked for.
    """
    from PIL import Image, UnidentifiedImageError

    if path.lower().endswith(_ARRAY_SUFFIX):
        yield Picture(_load_array(path, limits), {})
        return
    source: str | IO[bytes] = path
    if path == STDIN:
        source = io.BytesIO(sys.stdin.buffer.read())
    elif os.path.isdir(path):
        os.scandir(path).close()  # a directory that cannot be opened says so
        raise IsADirectoryError(None, "is a directory")
    try:
        with Image.open(source) as image:
            limits.check("pixels_per_image", image.width * image.height)
            yield from _take_all(image, limits, reading)
    except UnidentifiedImageError:
        raise InvalidImage("not an image that Pillow reads") from None
    except Image.DecompressionBombError as error:
        allowed = f"Limits.pixels_per_image allows {limits.pixels_per_image:,}"
        raise LimitExceeded(f"{allowed}, and this needs more than twice that") from error
    except UNREADABLE:
        raise
    except Exception as error:  # there is hardly one that no plugin of Pillow raises for some file
        raise InvalidImage(f"cannot be read: {str(error) or type(error).__name__}") from error


def _take_all(image: Image.Image, limits: Limits, reading: Reading) -> Iterator[Picture]:
    from triptych.interop.animation import count_frames, iterate_frames, time_frames
    from triptych.interop.conversion import look_at_file

    n_frames = count_frames(image)
    if n_frames == 1 or not reading.all_frames:
        yield _take(image, look_at_file(image), reading)._replace(n_frames=n_frames)
        return
    facts: list[Facts] = []

    def looked_at() -> Iterator[Image.Image]:
        for frame in iterate_frames(image):
            limits.check("pixels_per_image", frame.width * frame.height)
            facts.append(look_at_file(frame))
            yield frame

    for number, (frame, timing) in enumerate(time_frames(looked_at()), 1):
        picture = _take(frame, facts.pop(), reading)
        yield picture._replace(n_frames=n_frames, timing=timing, frame=number)


def _take(image: Image.Image, facts: Facts, reading: Reading) -> Picture:
    from triptych.images import as_pixels
    from triptych.interop.conversion import convert
    from triptych.interop.pictures import read_metadata

    plain, changes = convert(image, facts)
    if reading.exact and changes:
        raise InvalidImage(
            f"--lossless: {changes[0].text}; without --lossless the picture is stored so, and a line says it"
        )
    return Picture(as_pixels(plain), read_metadata(plain), changes=tuple(changes))


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
