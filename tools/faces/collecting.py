"""From sources to faces: the stages from a picture's bytes to what is left when near-duplicates are gone.

`collect_faces` keeps the pixels in a `Spool` on the disk and one `Face` for each in memory: a set may be
larger than memory.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from triptych.images import Pixels

from faces.cropping import BadPicture, Box, cut, mean_chroma, open_picture, sharpness, square_around
from faces.detecting import DetectionFailed, Detector
from faces.duplicates import Bits, difference_hash, find_keepers
from faces.fetching import FetchFailed
from faces.sources import Source

GREY_CHROMA = 6.0
"""Faces below this mean chroma are grey: room for the noise of JPEG, less than the palest drawing."""


@dataclass(frozen=True)
class Rules:
    """What a face has to be, in pixels; `margin` is a share of its box."""

    size: int
    margin: float
    min_face: int
    drop_grey: bool


@dataclass(frozen=True, eq=False)
class Face:
    """A face that was found, all but its pixels: those are in the spool under `number`."""

    number: int
    source: Source
    source_sha256: str
    box: Box
    """What was cut from the picture."""
    face_width: int
    """Of the detected face, before scaling."""
    pixels_sha256: str
    sharpness: float
    bits: Bits
    color: npt.NDArray[np.uint8]


@dataclass
class Tally:
    """How many pictures were read, and why faces were left out."""

    n_pictures: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


class Spool:
    """Pixels of one size, kept in a temporary file that is gone with the process."""

    def __init__(self, size: int) -> None:
        self._shape = (size, size, 3)
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `close`)
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def append(self, pixels: Pixels) -> None:
        """Add the pixels of a face."""
        self._file.seek(0, 2)
        self._file.write(pixels.tobytes())
        self._n += 1

    def __getitem__(self, number: int) -> Pixels:
        n_bytes = self._shape[0] * self._shape[1] * self._shape[2]
        self._file.seek(number * n_bytes)
        return np.frombuffer(self._file.read(n_bytes), np.uint8).reshape(self._shape)

    def close(self) -> None:
        """Give the disk back."""
        self._file.close()


def collect_faces(
    sources: Iterable[Source],
    detect: Detector,
    rules: Rules,
    spool: Spool,
    fail: Callable[[str, BaseException], None],
) -> tuple[list[Face], Tally]:
    """Give the faces of all pictures that obey the rules; what cannot be read goes to `fail`."""
    faces: list[Face] = []
    tally = Tally()
    for source in sources:
        try:
            data = source.read()
            picture = open_picture(data)
            boxes = detect(np.asarray(picture))
        except (BadPicture, DetectionFailed, FetchFailed, OSError, MemoryError) as error:
            fail(source.name, error)
            continue
        tally.n_pictures += 1
        tally.left_out["without a face"] += not boxes
        digest = hashlib.sha256(data).hexdigest()
        for found in boxes:
            if min(found.width, found.height) < rules.min_face:
                tally.left_out["too small"] += 1
                continue
            box = square_around(found, rules.margin, picture.width, picture.height)
            image = cut(picture, box, rules.size)
            pixels = np.asarray(image)
            if rules.drop_grey and mean_chroma(pixels) < GREY_CHROMA:
                tally.left_out["grey"] += 1
                continue
            faces.append(
                Face(
                    number=len(spool),
                    source=source,
                    source_sha256=digest,
                    box=box,
                    face_width=found.width,
                    pixels_sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
                    sharpness=sharpness(image),
                    bits=difference_hash(image),
                    color=np.rint(pixels.mean(axis=(0, 1))).astype(np.uint8),
                )
            )
            spool.append(pixels)
    return faces, tally


def keepers_of(faces: Sequence[Face], distance: int) -> list[Face]:
    """Give, for each face, the one that stands for it: itself, or a sharper near-duplicate."""
    order = sorted(range(len(faces)), key=lambda n: (-faces[n].sharpness, -faces[n].face_width, n))
    hashes = np.array([face.bits for face in faces])
    colors = np.array([face.color for face in faces])
    return [faces[number] for number in find_keepers(hashes, colors, order, distance)]
