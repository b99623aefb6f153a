"""Collections on disk: what writes images into a folder, and reads them again in order or at random.

A `Store` is a peer with `write` and `open`; ours are made by `triptych_store`. All take and give uint8 images
of one shape, so that the same loops measure all of them. `check` says whether a store does what it says.
Files in folders are here, and datasets of other libraries in `shards`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import triptych
from PIL import Image, features

from bench.measure import Pixels
from bench.peers import Peer, oxipng


class Opened(NamedTuple):
    """A collection that is being read."""

    read_all: Callable[[Pixels], object]
    """Fills an array of all images, in order."""
    read_one: Callable[[int], Pixels] | None
    """Gives an image by number; None where the store has no random access."""


@dataclass(frozen=True)
class Store(Peer):
    """Keeps a collection in a folder."""

    write: Callable[[Pixels, Path], None]
    """Takes images, uint8 (n, height, width, 3), and an empty folder."""
    open: Callable[[Path], AbstractContextManager[Opened]]
    is_lossless: bool = False

    def read_all(self, folder: Path, shown: Pixels) -> None:
        """Open, fill the array in order, close."""
        with self.open(folder) as opened:
            opened.read_all(shown)

    def read_each(self, folder: Path, order: Iterable[int], shown: Pixels) -> None:
        """Open, read images one by one in this order, each to its place, close."""
        with self.open(folder) as opened:
            assert opened.read_one is not None
            for number in order:
                shown[number] = opened.read_one(number)

    def check(self, images: Pixels, folder: Path) -> Pixels:
        """Give what a written folder shows; raise AssertionError where both ways to read are not the same."""
        shown = np.zeros_like(images)
        self.read_all(folder, shown)
        if self.is_lossless and not np.array_equal(shown, images):
            raise AssertionError(f"{self.name} does not give the images back")
        with self.open(folder) as opened:
            if opened.read_one and not np.array_equal(opened.read_one(len(images) - 1), shown[-1]):
                raise AssertionError(f"{self.name} gives another image by number than in order")
        return shown


def folder_nbytes(folder: Path) -> int:
    """Add up the sizes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def fill(images: Iterable[Pixels], shown: Pixels) -> None:
    """Put images into an array, in order."""
    for number, image in enumerate(images):
        shown[number] = image


# Ours.


def triptych_store(
    name: str,
    settings: str,
    book: triptych.Dictionary | None = None,
    *,
    threads: int = 1,
    has_keys: bool = True,
    **options: Any,
) -> Store:
    """Give a store of one stream: default frames, the dictionary in it, an image's number as its key."""

    def write(images: Pixels, folder: Path) -> None:
        with triptych.Writer(folder / "images.tych", book, threads=threads, **options) as writer:
            for number, image in enumerate(images):
                writer.write(image, key=str(number) if has_keys else None)

    @contextmanager
    def read(folder: Path) -> Iterator[Opened]:
        with triptych.Reader(folder / "images.tych", threads=threads) as reader:
            yield Opened(lambda shown: reader.read_batch(range(len(reader)), out=shown), reader.__getitem__)

    is_lossless = bool(options.get("lossless"))
    return Store(name, settings, lambda: f"triptych {triptych.__version__}", write, read, is_lossless)


# Files in a folder.


def encode_image(image: Pixels, **parameters: Any) -> bytes:
    """Give the file that Pillow writes."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, **parameters)
    return file.getvalue()


def decode_image(file: Path | io.BytesIO, kind: str) -> Pixels:
    """Read an RGB image from a file whose format is known."""
    with Image.open(file, formats=(kind,)) as image:
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _write_files(encode: Callable[[Pixels], bytes], images: Pixels, folder: Path) -> None:
    for number, image in enumerate(images):
        (folder / f"{number:08}").write_bytes(encode(image))


@contextmanager
def _open_files(kind: str, folder: Path) -> Iterator[Opened]:
    paths = sorted(folder.iterdir())
    yield Opened(
        lambda shown: fill((decode_image(path, kind) for path in paths), shown),
        lambda number: decode_image(paths[number], kind),
    )


def _file_store(
    name: str,
    settings: str,
    encode: Callable[[Pixels], bytes],
    kind: str,
    version_of: Callable[[], str],
    *,
    is_lossless: bool = True,
) -> Store:
    settings = f"{settings}; files in a folder, read with Pillow, which is told the format"
    return Store(
        name, settings, version_of, partial(_write_files, encode), partial(_open_files, kind), is_lossless
    )


def _pillow_version(feature: str) -> Callable[[], str]:
    return lambda: f"{feature} {features.version(feature)} by Pillow {version('pillow')}"


_PNG = partial(encode_image, format="PNG", optimize=True)
encode_webp = partial(encode_image, format="WEBP", quality=75)
"""The lossy WebP that files, tars and datasets of the bench hold."""

JPEG = _file_store(
    "JPEG files",
    "quality 75, Pillow's defaults",
    partial(encode_image, format="JPEG", quality=75),
    "JPEG",
    _pillow_version("jpg"),
    is_lossless=False,
)
WEBP = _file_store(
    "WebP files",
    "lossy, quality 75, method 4",
    encode_webp,
    "WEBP",
    _pillow_version("webp"),
    is_lossless=False,
)
WEBP_LOSSLESS = _file_store(
    "WebP lossless files",
    "method 6, quality 100, exact",
    partial(encode_image, format="WEBP", lossless=True, method=6, quality=100, exact=True),
    "WEBP",
    _pillow_version("webp"),
)
WEBP_LOSSLESS_4 = _file_store(
    "WebP lossless files, method 4",
    "method 4, quality 80, exact",
    partial(encode_image, format="WEBP", lossless=True, exact=True),
    "WEBP",
    _pillow_version("webp"),
)
PNG = _file_store("PNG files", "optimize", _PNG, "PNG", _pillow_version("zlib"))
OXIPNG = _file_store(
    "PNG files, oxipng",
    "oxipng level 6, strip all, no zopfli",
    lambda image: oxipng(_PNG(image)),
    "PNG",
    lambda: f"pyoxipng {version('pyoxipng')}",
)
