"""Images as inputs: files, directories, globs, lists of files, stdin.

A directory means the image files in it and below, sorted. `collect_images` names them without opening any;
`Input.load` reads one with Pillow, or with numpy where its name ends in .npy.
"""

from __future__ import annotations

import glob
import io
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from triptych.cli.failures import Failures, UsageFailure, complain, naming
from triptych.errors import InvalidImage, LimitExceeded

if TYPE_CHECKING:
    from triptych.images import Pixels
    from triptych.interop.pictures import Metadata

_IMAGE_SUFFIX = re.compile(
    r"(?i)\.(a?png|avif|bmp|dds|gif|ico|icns|jfif|jp2|jpe?g?|p[bgnp]m|pcx|qoi|sgi|tga|tiff?|webp|xbm|xpm)"
)
"""What counts as an image in a directory; a file that is named is read whatever its name."""
STDIN = "-"
_ARRAY_SUFFIX = ".npy"
"""Arrays, for images of more channels than pictures have; only files that are named."""


class Picture(NamedTuple):
    """An image read from a file; `metadata` holds `exif`, `xmp` and `icc_profile` as far as there."""

    pixels: Pixels
    metadata: Metadata


class Input(NamedTuple):
    """An image to be read."""

    path: str
    key: str

    @property
    def name(self) -> str:
        """How messages call it."""
        return "stdin" if self.path == STDIN else self.path

    def load(self) -> Picture:
        """Read the image; the first frame, where there are several.

        Raises
        ------
        InvalidImage, LimitExceeded, OSError
            It cannot be read.
        """
        from PIL import Image, UnidentifiedImageError

        from triptych.images import as_pixels
        from triptych.interop.pictures import read_metadata
        from triptych.limits import DEFAULT

        if self.path.lower().endswith(_ARRAY_SUFFIX):
            return Picture(_load_array(self.path), {})
        source: str | IO[bytes] = self.path
        if self.path == STDIN:
            source = io.BytesIO(sys.stdin.buffer.read())
        elif os.path.isdir(self.path):
            raise IsADirectoryError(None, "is a directory")
        try:
            with warnings.catch_warnings():
                # Our own limit is lower than the size at which Pillow warns.
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                image = Image.open(source)
            with image:
                DEFAULT.check("pixels_per_image", image.width * image.height)
                n_frames = getattr(image, "n_frames", 1)
                if n_frames > 1:
                    complain(f"{self.name}: has {n_frames} frames, and only the first is read")
                return Picture(as_pixels(image), read_metadata(image))
        except UnidentifiedImageError:
            raise InvalidImage("not an image that Pillow reads") from None
        except Image.DecompressionBombError as error:
            raise LimitExceeded(str(error)) from None
        except (SyntaxError, ValueError, EOFError) as error:  # what Pillow raises for damaged files
            if isinstance(error, (InvalidImage, LimitExceeded)):
                raise
            raise InvalidImage(f"cannot be read: {error}") from error


def _load_array(path: str) -> Pixels:
    import numpy as np

    from triptych.images import Shape, as_pixels
    from triptych.limits import DEFAULT

    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InvalidImage(f"cannot be read: {error}") from error
    pixels = as_pixels(array)
    DEFAULT.check("pixels_per_image", Shape(*pixels.shape).pixels)
    return pixels


def collect_images(arguments: Sequence[str], filelist: str | None) -> list[Input]:
    """Give the images that the arguments mean, each with a key of its own."""
    names = list(arguments)
    if filelist is not None:
        names += _read_list(filelist)
    found: list[tuple[str, tuple[str, ...]]] = []
    for name in names:
        if name != STDIN and os.path.isdir(name):
            inside = list(_walk(Path(name)))
            if not inside:
                complain(f"{name}: no image files in it")
            found += inside
        elif name != STDIN and glob.has_magic(name) and not os.path.exists(name):
            matches = sorted(glob.glob(name, recursive=True))
            found += [(match, _keys_of_file(match)) for match in matches if os.path.isfile(match)] or [
                (name, (name,))
            ]
        else:
            found.append((name, _keys_of_file(name)))
    if not found:
        raise UsageFailure("no images: name files, directories or -, or use --filelist")
    if [path for path, _ in found].count(STDIN) > 1:
        raise UsageFailure("stdin can be read once only")
    keys = _distinct([candidates for _, candidates in found])
    return [Input(path, key) for (path, _), key in zip(found, keys, strict=True)]


def _read_list(filelist: str) -> list[str]:
    with naming(filelist):
        if filelist == STDIN:
            text = sys.stdin.read()
        else:
            text = Path(filelist).read_text(encoding="utf-8", errors="surrogateescape")
    return [line for line in text.splitlines() if line.strip()]


def _walk(folder: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    files = sorted(
        path
        for path in folder.rglob("*")
        if _IMAGE_SUFFIX.fullmatch(path.suffix) and not path.name.startswith(".") and path.is_file()
    )
    for path in files:
        inside = path.relative_to(folder)
        whole = _plain(path.as_posix())
        yield str(path), (inside.with_suffix("").as_posix(), inside.as_posix(), whole)


def _keys_of_file(name: str) -> tuple[str, ...]:
    path = Path(name)
    return path.stem, _plain(path.with_suffix("").as_posix()) if path.name else name, _plain(path.as_posix())


def _plain(path: str) -> str:
    """Give a path without what leads out of or up from a directory."""
    return "/".join(part for part in path.split("/") if part not in ("", ".", ".."))


def _distinct(candidates: Sequence[tuple[str, ...]]) -> list[str]:
    """Give each input its shortest key that no other input has; longer ones only where needed."""
    level = [0] * len(candidates)
    while True:
        keys = [options[min(at, len(options) - 1)] for options, at in zip(candidates, level, strict=True)]
        uses: dict[str, list[int]] = {}
        for number, key in enumerate(keys):
            uses.setdefault(key, []).append(number)
        clashes = [
            number
            for numbers in uses.values()
            if len(numbers) > 1
            for number in numbers
            if level[number] < len(candidates[number]) - 1
        ]
        if not clashes:
            return [key.encode("utf-8", "replace").decode() for key in keys]
        for number in clashes:
            level[number] += 1


def load_all(inputs: Sequence[Input], failures: Failures) -> Iterator[tuple[Input, Picture]]:
    """Read images one by one; those that cannot be read go to `failures`."""
    for each in inputs:
        try:
            picture = each.load()
        except (InvalidImage, LimitExceeded, OSError, MemoryError) as error:
            failures.add(each.name, error)
        else:
            yield each, picture
