"""Near-duplicates: pictures whose difference hashes and mean colours are close.

A difference hash has 256 bits: of 16 x 17 means of luma, whether each is darker than its right neighbour. It
survives scaling, compression and brightness; unrelated faces are some 120 bits apart.

Pairs are found without comparing all: two hashes at most d bits apart agree in at least one of d + 1 bands
of bits, whatever the bands are, so only hashes that share a band are compared. No pair is missed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

Bits = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

HASH_BITS = 256
MAX_COLOR_DISTANCE = 32.0
"""Between mean colours, in RGB: drawings that differ in colour alone are two drawings."""
_ROWS = 256
"""Of a matrix of distances: bounds its memory, not its result."""
_STRIDE = 101
"""Odd, so that its multiples reach all bits. A band of neighbouring bits would lie in one row, and where many
pictures have a flat border, all of them would share that band."""


def difference_hash(image: Image.Image) -> Bits:
    """Give the hash: bool (256,)."""
    luma = np.asarray(image.convert("L").resize((17, 16), Image.Resampling.BOX))
    bits: Bits = (luma[:, 1:] > luma[:, :-1]).reshape(HASH_BITS)
    return bits


def find_keepers(
    hashes: Bits, colors: npt.NDArray[np.uint8], order: Sequence[int], distance: int
) -> list[int]:
    """Say which picture stands for each one.

    Parameters
    ----------
    hashes : bool (n, 256)
    colors : uint8 (n, 3)
        Mean colours.
    order : sequence of int
        All pictures, the best first.
    distance : int
        Bits in which near-duplicates differ at most, 0 to 255.

    Returns
    -------
    list of int
        A picture that stays has its own number. No two of these are near-duplicates; each other picture is
        one of the picture that stands for it, which is better.
    """
    if not len(order):
        return []
    ranked = np.asarray(order, dtype=np.int64)
    # Equal ones first: any number of copies costs one comparison.
    rows = np.concatenate([np.packbits(hashes[ranked], axis=1), colors[ranked]], axis=1)
    _, first, same = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    distinct = np.sort(first)  # places in the ranking, the best first
    pairs = near_pairs(hashes[ranked[distinct]], colors[ranked[distinct]], distance)
    keeper = list(range(len(distinct)))
    for better, worse in pairs.tolist():  # sorted: all that may take `better` away has been seen
        if keeper[better] == better and keeper[worse] == worse:
            keeper[worse] = better
    standing = ranked[distinct[keeper]]
    place = np.searchsorted(distinct, first[same.reshape(-1)])
    found = np.empty(len(ranked), np.int64)
    found[ranked] = standing[place]
    return [int(number) for number in found]


def near_pairs(hashes: Bits, colors: npt.NDArray[np.uint8], distance: int) -> Integers:
    """Give the pairs of near-duplicates, int64 (n_pairs, 2), sorted, the lower number first."""
    # A scalar product of +1 and -1 counts agreements less differences; float32 is exact up to 2**24.
    signs = np.where(hashes, np.float32(1), np.float32(-1))
    least = HASH_BITS - 2 * distance
    found: list[Integers] = [np.empty((0, 2), np.int64)]
    for bucket in _buckets(hashes, distance + 1):
        members = signs[bucket]
        for start in range(0, len(bucket), _ROWS):
            rows, columns = np.nonzero(members[start : start + _ROWS] @ members[start:].T >= least)
            above = columns > rows
            found.append(bucket[start + np.stack([rows[above], columns[above]], axis=1)])
    pairs = np.unique(np.concatenate(found), axis=0)
    apart = colors[pairs[:, 0]].astype(np.float64) - colors[pairs[:, 1]]
    near: Integers = pairs[(apart**2).sum(axis=1) <= MAX_COLOR_DISTANCE**2]
    return near


def _buckets(hashes: Bits, n_bands: int) -> Iterator[Integers]:
    """Give the hashes that agree in a band, two or more at a time, in ascending order."""
    spread = np.arange(HASH_BITS) * _STRIDE % HASH_BITS
    for band in np.array_split(spread, n_bands):
        keys = np.packbits(hashes[:, band], axis=1)
        _, inverse = np.unique(keys, axis=0, return_inverse=True)
        by_key = np.argsort(inverse.reshape(-1), kind="stable")
        ends = np.cumsum(np.bincount(inverse.reshape(-1)))
        yield from (bucket for bucket in np.split(by_key, ends[:-1]) if len(bucket) > 1)


def choose_test(groups: Sequence[Sequence[str]], share: float) -> set[str]:
    """Draw what is for testing, about `share` of the groups, by their names alone.

    Parameters
    ----------
    groups
        Names that belong together; groups with a name in common are one group.

    Returns
    -------
    set of str
        For each group all of its names, or none.
    """
    head: dict[str, str] = {}

    def find(name: str) -> str:
        while head.setdefault(name, name) != name:
            head[name] = name = head[head[name]]
        return name

    for names in groups:
        for name in names:
            one, other = sorted((find(names[0]), find(name)))
            head[other] = one  # the least name: the order of the groups has no influence
    limit = round(share * 2**64)
    return {
        name
        for name in head
        if int.from_bytes(hashlib.sha256(find(name).encode()).digest()[:8], "big") < limit
    }
