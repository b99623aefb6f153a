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
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

from triptych.errors import EncodeError, InvalidImage, LimitExceeded
from triptych.limits import Limits

if TYPE_CHECKING:
    from PIL import Image

    from triptych.images import Pixels
    from triptych.interop.animation import Timing
    from triptych.interop.conversion import Change, Facts
    from triptych.interop.pictures import Metadata
    from triptych.paletteorder import IndexedPicture

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
    """An image read from a file, its metadata as `Writer.write` takes them, and what is to be told.

    A file may have several (`n_frames`): frames of an animation, pages, sizes of an icon. `frame` is the
    number of this one, from 1, where all of them are read.
    """

    pixels: Pixels
    metadata: Metadata
    n_frames: int = 1
    changes: tuple[Change, ...] = ()
    timing: Timing = {}  # noqa: RUF012  # nothing writes into it
    frame: int = 0
    indexed: IndexedPicture | None = None
    """The same with its palette, where the file has one and metadata are wanted."""


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
    texts = _read_texts(image, limits)
    if n_frames == 1 or not reading.all_frames:
        facts = look_at_file(image)
        image.load()  # what a file says behind its pixels is known only then
        yield _take(image, facts, texts, limits, reading)._replace(n_frames=n_frames)
        return
    facts_of_frames: list[Facts] = []

    def looked_at() -> Iterator[Image.Image]:
        for frame in iterate_frames(image):
            limits.check("pixels_per_image", frame.width * frame.height)
            facts_of_frames.append(look_at_file(frame))
            yield frame

    for number, (frame, timing) in enumerate(time_frames(looked_at()), 1):
        picture = _take(frame, facts_of_frames.pop(), texts, limits, reading)
        yield picture._replace(n_frames=n_frames, timing=timing, frame=number)


def _take(
    image: Image.Image, facts: Facts, texts: dict[str, Any], limits: Limits, reading: Reading
) -> Picture:
    from triptych.images import as_pixels
    from triptych.interop.conversion import convert
    from triptych.interop.orientation import read_orientation, set_upright, turn
    from triptych.interop.pictures import read_metadata
    from triptych.paletteorder import indexed_of_pillow

    plain, changes = convert(image, facts)
    if reading.exact and changes:
        raise InvalidImage(
            f"--lossless: {changes[0].text}; without --lossless the picture is stored so, and a line says it"
        )
    indexed = indexed_of_pillow(plain) if reading.metadata else None
    pixels = as_pixels(plain) if indexed is None else indexed.pixels
    said = read_metadata(image, texts)
    kept: Metadata = {}
    if reading.metadata:
        kept, left_out = _fit(said, limits)
        changes += left_out
        if "icc_profile" not in plain.info:  # the conversion made use of it
            kept.pop("icc_profile", None)
    # Where what said it is not kept, the pixels are turned.
    orientation = read_orientation(said)
    if read_orientation(kept) != orientation:
        pixels, kept = turn(pixels, orientation), cast("Metadata", set_upright(kept))
        if indexed is not None:
            indexed = indexed._replace(indices=turn(indexed.indices, orientation))
    return Picture(pixels, kept, changes=tuple(changes), indexed=indexed)


def _read_texts(image: Image.Image, limits: Limits) -> dict[str, Any]:
    """Return the texts of a file, where they are more than Pillow knows."""
    from triptych.interop.pngtext import read_png_text

    file = getattr(image, "fp", None)
    if image.format != "PNG" or file is None:
        return {}
    return {"text": read_png_text(file, limits.metadata_bytes)}


def _fit(said: Metadata, limits: Limits) -> tuple[Metadata, list[Change]]:
    """Leave out what is too large."""
    from triptych.interop.conversion import Change
    from triptych.interop.pictures import LABELS, fit_metadata

    kept, names = fit_metadata(said, limits.metadata_bytes)
    most = f"{limits.metadata_bytes:,} bytes of metadata an image may have"
    return kept, [Change(f"{LABELS[name]} is left out: it does not fit into the {most}") for name in names]


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

    Of PNG, a profile or text that is larger than Pillow likes is no reason to refuse the picture.

    Around all of the reading, as its limit and filters of warnings are the whole process's, not a thread's.
    """
    from PIL import Image, PngImagePlugin

    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, limits.pixels_per_image
    text, PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
        PngImagePlugin.MAX_TEXT_CHUNK = text
