"""Who reads which images of an epoch, and in which order: numbers in, numbers out.

An epoch is a sequence of frames, shuffled by seed and epoch or as they are in the stream, and so a sequence
of images. Ranks take equal stretches of it, and each rank's workers take equal stretches of that. A stretch
is read as *pieces*, whole frames but for the first and the last, and pieces are gathered in *windows*, within
which images are shuffled: each frame is decoded once, and memory is that of a window. Everything follows from
numbers that all workers know, so none has to ask another, and an epoch can be taken up in its middle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]


class Plan(NamedTuple):
    """How epochs are ordered. Without a seed they are as the stream is."""

    seed: int | None
    window: int
    """Frames within which images are shuffled."""


class Piece(NamedTuple):
    """Images `start` to `stop - 1` of a frame."""

    frame: int
    start: int
    stop: int


class Window(NamedTuple):
    """Pieces that are read together, and the order of their images, counted through all of them."""

    pieces: list[Piece]
    order: I64


class Stretch(NamedTuple):
    """Places `begin` to `end - 1` in the sequence of an epoch."""

    begin: int
    end: int

    @property
    def n_images(self) -> int:
        """Images in it."""
        return self.end - self.begin

    def part(self, number: int, of: int) -> Stretch:
        """Give one of `of` parts that are equal, or differ by one image."""
        return Stretch(
            self.begin + self.n_images * number // of, self.begin + self.n_images * (number + 1) // of
        )


def walk_windows(counts: I64, plan: Plan, epoch: int, shard: int, stretch: Stretch) -> Iterator[Window]:
    """Give the windows of a stretch.

    Parameters
    ----------
    counts : int64 array (frames)
        Images of each frame.
    plan : Plan
        How images are shuffled, if they are.
    epoch : int
        Another order for each.
    shard : int
        The number of the stretch among all: windows of different stretches are shuffled differently.
    stretch : Stretch
        What to read.
    """
    frames = np.arange(len(counts))
    if plan.seed is not None:
        frames = np.random.default_rng([plan.seed, epoch]).permutation(len(counts))
    ends = np.cumsum(counts[frames])
    first = int(np.searchsorted(ends, stretch.begin, "right"))
    last = int(np.searchsorted(ends, stretch.end, "left"))
    for number, low in enumerate(range(first, last + 1 if stretch.n_images else first, plan.window)):
        pieces = []
        for place in range(low, min(low + plan.window, last + 1)):
            frame, end = int(frames[place]), int(ends[place])
            begin = end - int(counts[frame])
            pieces.append(Piece(frame, max(stretch.begin - begin, 0), min(stretch.end, end) - begin))
        n_images = sum(piece.stop - piece.start for piece in pieces)
        order = np.arange(n_images)
        if plan.seed is not None:
            # Numbers from 1: a seed sequence does not see zeros at its end.
            order = np.random.default_rng([plan.seed, epoch, shard + 1, number + 1]).permutation(n_images)
        yield Window(pieces, order)


def skip_images(windows: Iterator[Window], n: int) -> Iterator[Window]:
    """Leave out the first n images, and all pieces that have only such."""
    for window in windows:
        skipped = min(n, len(window.order))
        n -= skipped
        if skipped < len(window.order):
            yield _without_first(window, skipped) if skipped else window


def _without_first(window: Window, n: int) -> Window:
    sizes = np.array([piece.stop - piece.start for piece in window.pieces])
    starts = np.cumsum(sizes) - sizes
    order = window.order[n:]
    owners = np.searchsorted(starts, order, "right") - 1
    kept = np.unique(owners)
    new_starts = np.zeros(len(sizes), np.int64)
    new_starts[kept] = np.cumsum(sizes[kept]) - sizes[kept]
    return Window([window.pieces[i] for i in kept], order - starts[owners] + new_starts[owners])


def take_turns(
    n_images: Sequence[int], batch_size: int, drop_last: bool, n_batches: int
) -> tuple[list[int], int]:
    """Follow a DataLoader that takes batches from its workers by turns.

    Parameters
    ----------
    n_images : sequence of int
        Images of each worker; they differ by one at most, so turns keep their order up to the end.
    batch_size, drop_last
        Of the loader.
    n_batches : int
        Batches taken up to now.

    Returns
    -------
    taken : list of int
        Images taken from each worker.
    turn : int
        The worker whose turn is next.
    """
    batches = [n // batch_size if drop_last else -(-n // batch_size) for n in n_images]
    common = min(n_batches // len(n_images), *batches)
    left, turn = n_batches - common * len(n_images), 0
    taken = []
    for worker, most in enumerate(batches):
        more = min(left, 1, most - common)
        if more:
            left, turn = left - 1, (worker + 1) % len(n_images)
        taken.append(min((common + more) * batch_size, n_images[worker]))
    return taken, turn
