"""The files of a set: a stream or packs, and the manifest. None appears under its name half written."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from triptych.cli.outputs import write_file
from triptych.images import Pixels

from faces.collecting import Face

MAX_PACK_PIXELS = 1 << 26
"""Of one mosaic: below the size at which Pillow warns of it."""
_HEAD = ("file", "number", "key", "source", "sha256", "box", "size", "face_width", "licence")


class Part(NamedTuple):
    """The faces of one file, in their order."""

    path: Path
    faces: Sequence[Face]


def split_into_packs(part: Part, size: int, columns: int) -> list[Part]:
    """Give the packs of a part: its own name, then numbers from 2 where it gets too large."""
    room = max(1, MAX_PACK_PIXELS // (size * size * columns)) * columns
    starts = range(0, len(part.faces), room)
    return [
        Part(
            part.path.with_stem(part.path.stem + f"-{number}" * (number > 1)),
            part.faces[start : start + room],
        )
        for number, start in enumerate(starts, start=1)
    ]


def write_pack(path: Path, images: Sequence[Pixels], columns: int) -> None:
    """Write images of one size as a mosaic."""
    size = images[0].shape[0]
    rows = -(-len(images) // columns)
    cells = np.zeros((rows, columns, size, size, 3), np.uint8)
    for number, pixels in enumerate(images):
        cells[divmod(number, columns)] = pixels
    mosaic = cells.swapaxes(1, 2).reshape(rows * size, columns * size, 3)
    file = io.BytesIO()
    Image.fromarray(mosaic).save(file, "PNG")
    write_file(path, file.getvalue())


def write_stream(
    part: Part, images: Iterable[Pixels], keys: Mapping[Face, str], options: Mapping[str, Any]
) -> None:
    """Write faces as a stream; each has its key, and its source as metadata."""
    from triptych.writer import Writer

    with Writer(part.path, **options) as writer:
        for face, pixels in zip(part.faces, images, strict=True):
            source = face.source.name.encode("utf-8", "replace").decode()
            writer.write(pixels, key=keys[face], metadata={"source": source})


def assign_keys(faces: Sequence[Face], by_name: bool) -> dict[Face, str]:
    """Give each face a key of its own: the beginning of its pixels' hash, or its source's name.

    A name that is taken gets a number behind it, from 2.
    """
    taken: set[str] = set()
    keys = {}
    for face in faces:
        first = face.source.key if by_name else face.pixels_sha256[:16]
        keys[face] = next(key for key in _numbered(first) if key not in taken)
        taken.add(keys[face])
    return keys


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def write_manifest(
    path: Path, parts: Sequence[Part], keys: Mapping[Face, str], size: int, licence: str
) -> None:
    """Write a line for each face: tab-separated, quoted where a value holds a tab, quote or line end."""
    text = io.StringIO()
    table = csv.writer(text, dialect="excel-tab", lineterminator="\n")
    table.writerow(_HEAD)
    for part in parts:
        for number, face in enumerate(part.faces):
            box = ",".join(map(str, face.box))
            about = (face.source.name, face.source_sha256, box, size, face.face_width, licence)
            table.writerow((part.path.name, number, keys[face], *about))
    # Names of files are bytes, and come out as they are on the disk.
    write_file(path, text.getvalue().encode("utf-8", "surrogateescape"))
