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
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from triptych.errors import InvalidImage, LimitExceeded
from triptych.images import Pixels, Shape
from triptych.options import Options
from triptych.parallel import count_cores, ordered_map

F64 = npt.NDArray[np.float64]

MAX_SIDE = 8192
"""Rows of a scatter matrix: 512 MB."""
MAX_HELD = 4096
"""Up to so many images are held, and decomposed themselves where they are fewer than their samples."""
MAX_IMAGES = 1 << 37
"""Sums of more would not be exact."""
_TILE = 1024
_MIRRORED_TILE = 256
"""Sums of two samples are at most 2^8."""
PIECE_SAMPLES = 1 << 23
PIECE_IMAGES = 1 << 12
"""What an executor gets at once: so many images that counting them is more work than sending statistics."""
PARTS_BYTES = 2 << 30
"""Of all statistics that are under way at once."""


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


def matrix_side(shape: Shape, mirrored: bool) -> int:
    """Say how many rows the scatter has; more than are held are `LimitExceeded`."""
    side = shape.height * (half_width(shape.width) if mirrored else shape.width) * shape.channels
    if side > MAX_SIDE:
        raise LimitExceeded(
            f"the covariance of images {tuple(shape)} has {side:,} rows, and at most {MAX_SIDE:,} are "
            f"held: fit a random sample of at most {MAX_HELD:,} images, or smaller ones"
        )
    return side


def needs_mirroring(shape: Shape) -> bool:
    """Say whether plain statistics of such images would be too large; mirrored ones are half as large."""
    return shape.nbytes > MAX_SIDE


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
        side = matrix_side(shape, mirrored)
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

    def mirror(self) -> Self:
        """Give the mirrored statistics of the same images; those that are mirrored give themselves."""
        if self.mirrored:
            return self
        made = type(self)(self.shape, mirrored=True)
        made.n = self.n
        places = np.arange(self.shape.nbytes).reshape(self.shape)
        columns = half_width(self.shape.width)
        left, right = places[:, :columns].reshape(-1), places[:, ::-1][:, :columns].reshape(-1)
        total, scatter = self.sums[0], self.scatters[0]
        for part, sign in enumerate((1, -1)):  # of l + r and of l - r
            made.sums[part] += total[left] + sign * total[right]
            for one, one_sign in ((left, 1), (right, sign)):
                for other, other_sign in ((left, 1), (right, sign)):
                    made.scatters[part] += one_sign * other_sign * scatter[np.ix_(one, other)]
        return made

    def pack(self) -> list[F64]:
        """Give all numbers: of each part the sums, and the lower triangle of the scatter, row after row."""
        packed = []
        for total, scatter in zip(self.sums, self.scatters, strict=True):
            packed += [total, np.concatenate([row[: i + 1] for i, row in enumerate(scatter)])]
        return packed

    @classmethod
    def unpack(cls, shape: Shape, mirrored: bool, n: int, packed: Iterable[npt.NDArray[Any]]) -> Self:
        """Make statistics of what `pack` gave, of any number type."""
        made = cls(shape, mirrored)
        made.n = n
        numbers = iter(packed)
        for total, scatter in zip(made.sums, made.scatters, strict=True):
            total[:] = next(numbers)
            triangle, start = next(numbers), 0
            for i, row in enumerate(scatter):
                row[: i + 1] = scatter[: i + 1, i] = triangle[start : start + i + 1]
                start += i + 1
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between machines as triangles, which are half of it."""
        return type(self).unpack, (self.shape, self.mirrored, self.n, self.pack())


def gather(batches: Iterable[Pixels], total: Statistics, options: Options) -> None:
    """Add batches of images to `total`, counted in `options.threads` or `options.executor`.

    The sums are the same for any number of either. Each thread adds to statistics of its own. An executor may
    be of processes or machines: it gets more images at once, and sends statistics back.
    """
    at_once = max(1, min(options.threads or count_cores(), PARTS_BYTES // total.nbytes))
    if options.executor is not None:
        count = partial(_count, total.shape, total.mirrored)
        # Twice as many jobs are under way as there are workers.
        for part in ordered_map(count, _join(batches), max(1, at_once // 2), options.executor):
            total.merge(part)
        return
    idle = [total]

    def add(images: Pixels) -> None:
        try:
            own = idle.pop()
        except IndexError:
            own = Statistics(total.shape, total.mirrored)
        own.update(images)
        idle.append(own)

    for _ in ordered_map(add, batches, at_once):
        pass
    for part in idle:
        if part is not total:
            total.merge(part)


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
