"""Sufficient statistics of same-size images: how many, their sum, and their scatter; exact, and mergeable.

Images are taken in tiles so small that a product of float32 matrices is exact: samples less 128 are
integers of at most 2^7, and a sum of 1024 products of two of them at most 2^24, so BLAS may add them in
whatever order it likes. Tiles are added in float64, exact below 2^53, that is for 2^37 images. So the merged
statistics of any parts equal those of the whole, bit for bit, for any order of images, parts and threads.

Costs: 8 bytes times the square of the number of samples of an image (128 MB for 64 x 64 grey), and as many
multiplications an image. *Mirrored* statistics take images and their mirror images: these split into even
and odd halves which do not correlate, for half the memory and half the work.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Self

import numpy as np
import numpy.typing as npt

from triptych.errors import InvalidImage, LimitExceeded
from triptych.images import Pixels, Shape
from triptych.options import Options
from triptych.parallel import count_cores, ordered_map

F64 = npt.NDArray[np.float64]

MAX_SIDE = 8192
"""Rows of a scatter matrix: 512 MB."""
_TILE = 1024
_MIRRORED_TILE = 256
"""Sums of two samples are at most 2^8."""
PIECE_SAMPLES = 1 << 24
PIECE_IMAGES = 1 << 12
"""What an executor gets at once: so many images that counting them is more work than sending statistics."""
PARTS_BYTES = 2 << 30
"""Of all statistics that are under way at once."""
_HEAD = struct.Struct("<4sIIHBQ")
_MAGIC = b"TYS2"


def half_width(width: int) -> int:
    """Say how many columns of a mirrored image are stored: the left half, with the middle column."""
    return (width + 1) // 2


def split_rows(images: Pixels, mirrored: bool) -> list[npt.NDArray[np.int16]]:
    """Give images (n, h, w, c), samples less 128, as rows: all samples, or the even and the odd halves.

    With l the left half and r the mirrored right one (both with the middle column, if there is one),
    these are l + r and l - r.
    """
    values = images.astype(np.int16) - 128
    if mirrored:
        columns = half_width(images.shape[2])
        left, right = values[:, :, :columns], values[:, :, ::-1][:, :, :columns]
        halves = [left + right, left - right]
    else:
        halves = [values]
    return [half.reshape(len(half), math.prod(half.shape[1:])) for half in halves]


def row_weights(shape: Shape, mirrored: bool) -> F64:
    """Give what turns entries of `split_rows` into coordinates of an orthonormal system of the image.

    A pair of samples l, r has coordinates (l + r) / sqrt(2) and (l - r) / sqrt(2). The middle column is its
    own mirror image: its sum is twice the sample.
    """
    if not mirrored:
        return np.ones(shape.nbytes)
    columns = half_width(shape.width)
    weights = np.full((shape.height, columns, shape.channels), np.sqrt(0.5))
    if shape.width % 2:
        weights[:, -1] = 0.5
    return weights.reshape(-1)


class Statistics:
    """Count, sum and scatter of images of one shape.

    Parameters
    ----------
    shape : Shape
        Of every image.
    mirrored : bool
        Take each image and its mirror image, as even and odd halves.

    Attributes
    ----------
    n : int
        Images so far.
    sums, scatters : lists of float64 arrays, all integers
        Of the rows of `split_rows`: one of each, or an even and an odd one.

    Raises
    ------
    LimitExceeded
        An image has so many samples that its scatter would not fit in memory.

    Examples
    --------
    >>> a, b = Statistics(Shape(1, 2, 1)), Statistics(Shape(1, 2, 1))
    >>> a.update(np.array([[[[128], [129]]]], np.uint8))
    >>> b.update(np.array([[[[130], [127]]]], np.uint8))
    >>> a.merge(b)
    >>> a.n, a.sums[0].tolist(), a.scatters[0].tolist()
    (2, [2.0, 0.0], [[4.0, -2.0], [-2.0, 2.0]])
    """

    def __init__(self, shape: Shape, mirrored: bool = False) -> None:
        side = shape.height * (half_width(shape.width) if mirrored else shape.width) * shape.channels
        if side > MAX_SIDE:
            raise LimitExceeded(
                f"the covariance of images {tuple(shape)} has {side:,} rows, and at most {MAX_SIDE:,} are "
                f"held: fit fewer images, or smaller ones"
            )
        self.shape, self.mirrored, self.n = shape, mirrored, 0
        self.sums = [np.zeros(side) for _ in range(1 + mirrored)]
        self.scatters = [np.zeros((side, side)) for _ in range(1 + mirrored)]

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return sum(array.nbytes for array in (*self.sums, *self.scatters))

    def update(self, images: Pixels) -> None:
        """Add images, uint8 (n, h, w, c)."""
        if images.dtype != np.uint8 or images.shape[1:] != tuple(self.shape):
            raise InvalidImage("images of another shape", expected=tuple(self.shape), got=images.shape[1:])
        size = _MIRRORED_TILE if self.mirrored else _TILE
        for first in range(0, len(images), size):
            for part, rows in enumerate(split_rows(images[first : first + size], self.mirrored)):
                tile = rows.astype(np.float32)
                self.sums[part] += tile.sum(axis=0, dtype=np.float64)
                self.scatters[part] += tile.T @ tile
        self.n += len(images)

    def merge(self, other: Self) -> None:
        """Add what other statistics have seen."""
        if (self.shape, self.mirrored) != (other.shape, other.mirrored):
            raise InvalidImage(
                "statistics of other images",
                expected=(*self.shape, self.mirrored),
                got=(*other.shape, other.mirrored),
            )
        self.n += other.n
        for part in range(len(self.sums)):
            self.sums[part] += other.sums[part]
            self.scatters[part] += other.scatters[part]

    def covariances(self) -> list[F64]:
        """Give the covariance of each part in orthonormal coordinates; of the mirrored odd part about 0."""
        weights = row_weights(self.shape, self.mirrored)
        found = []
        for part, (total, scatter) in enumerate(zip(self.sums, self.scatters, strict=True)):
            covariance = scatter / self.n
            if part == 0:
                mean = total / self.n
                covariance -= np.outer(mean, mean)
            covariance *= weights[:, None]
            covariance *= weights
            found.append(covariance)
        return found

    def to_bytes(self) -> bytes:
        """Give all of it as bytes: the scatters' lower triangles."""
        height, width, channels = self.shape
        parts = [_HEAD.pack(_MAGIC, height, width, channels, self.mirrored, self.n)]
        rows, columns = np.tril_indices(len(self.sums[0]))
        for total, scatter in zip(self.sums, self.scatters, strict=True):
            parts += [total.astype("<i8").tobytes(), scatter[rows, columns].astype("<i8").tobytes()]
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Give statistics back from `to_bytes`."""
        if len(data) < _HEAD.size or data[:4] != _MAGIC:
            raise InvalidImage("these bytes are not statistics")
        _, height, width, channels, mirrored, n = _HEAD.unpack_from(data)
        made = cls(Shape(height, width, channels), bool(mirrored))
        made.n = n
        side = len(made.sums[0])
        size = side + side * (side + 1) // 2
        if len(data) != _HEAD.size + 8 * size * len(made.sums):
            raise InvalidImage(
                "statistics were cut", expected=_HEAD.size + 8 * size * len(made.sums), got=len(data)
            )
        rows, columns = np.tril_indices(side)
        for part in range(len(made.sums)):
            values = np.frombuffer(data, "<i8", size, _HEAD.size + 8 * size * part).astype(np.float64)
            made.sums[part][:] = values[:side]
            made.scatters[part][rows, columns] = values[side:]
            made.scatters[part][columns, rows] = values[side:]
        return made


def gather(batches: Iterable[Pixels], shape: Shape, mirrored: bool, options: Options) -> Statistics:
    """Give the statistics of batches of images, counted in `options.threads` or `options.executor`.

    They are the same for any number of either. Each thread adds to statistics of its own. An executor may be
    of processes or machines: it gets more images at once, and sends statistics back.
    """
    total = Statistics(shape, mirrored)
    at_once = max(1, min(options.threads or count_cores(), PARTS_BYTES // total.nbytes))
    if options.executor is not None:
        count = partial(_count, shape, mirrored)
        # Twice as many jobs are under way as there are workers.
        for part in ordered_map(count, _join(batches), max(1, at_once // 2), options.executor):
            total.merge(part)
        return total
    idle = [total]

    def add(images: Pixels) -> None:
        try:
            own = idle.pop()
        except IndexError:
            own = Statistics(shape, mirrored)
        own.update(images)
        idle.append(own)

    for _ in ordered_map(add, batches, at_once):
        pass
    total = idle.pop()
    for part in idle:
        total.merge(part)
    return total


def _count(shape: Shape, mirrored: bool, images: Pixels) -> Statistics:
    """Count images; runs anywhere, also in another process."""
    statistics = Statistics(shape, mirrored)
    statistics.update(images)
    return statistics


def _join(batches: Iterable[Pixels]) -> Iterator[Pixels]:
    """Join batches until they are worth sending."""
    waiting: list[Pixels] = []
    for batch in batches:
        waiting.append(batch)
        n_images = sum(map(len, waiting))
        if n_images >= PIECE_IMAGES or n_images * batch[0].size >= PIECE_SAMPLES:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)
