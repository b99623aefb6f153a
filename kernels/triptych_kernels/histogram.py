"""Distinct keys of a long sequence, and weighted sums of points by label.

The same hash of uint32 keys serves pixels (RGBA in one word), histograms to be merged and the coarse cells
of the metric. Called by `triptych.fit.kmeans`, which owns and grows every array.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from triptych_kernels._jit import inline, kernel
from triptych_kernels.nearest import plane_of

_MIX_1 = np.uint64(0x7FEB352D)
_MIX_2 = np.uint64(0x846CA68B)
_WORD = np.uint64(0xFFFFFFFF)
_S15 = np.uint64(15)
_S16 = np.uint64(16)
_ONE = np.uint64(1)


@inline
def _mix(key: np.uint64) -> np.uint64:
    """Spread a 32-bit key over 32 bits, one to one (Wellons' lowbias32)."""
    key ^= key >> _S16
    key = (key * _MIX_1) & _WORD
    key ^= key >> _S15
    key = (key * _MIX_2) & _WORD
    return key ^ (key >> _S16)


@kernel
def find_unique(
    keys: npt.NDArray[np.uint32],
    start: int,
    slots: npt.NDArray[np.int32],
    unique: npt.NDArray[np.uint32],
    counts: npt.NDArray[np.int64],
    n_unique: int,
    inverse: npt.NDArray[np.int32],
) -> tuple[int, int]:
    """Find the distinct keys and number them in the order in which they first appear.

    Works from `start` until the keys end or `unique` is full; the caller then grows the arrays and calls
    again. A run of equal keys costs one look-up.

    Parameters
    ----------
    keys : uint32 (n,), IN
    start : int
        First key to look at; those before it are done.
    slots : int32 (2**s,), INOUT
        Open hash table: the number of a key, or -1. Longer than `unique`, so that a search ends.
    unique, counts : uint32, int64 (capacity,), INOUT
        Distinct keys and how often each occurs; the first `n_unique` are set.
    n_unique : int
    inverse : int32 (n,), OUT
        The number of each key.

    Returns
    -------
    position, n_unique
        The first key not done (n at the end), and how many distinct keys there are now.
    """
    mask = np.uint64(slots.size - 1)
    n_known = n_unique
    number = np.int64(-1)
    last = np.uint32(0)
    for i in range(start, keys.size):
        key = keys[i]
        if number < 0 or key != last:
            place = _mix(np.uint64(key)) & mask
            number = np.int64(slots[place])
            while number >= 0 and unique[number] != key:
                place = (place + _ONE) & mask
                number = np.int64(slots[place])
            if number < 0:
                if n_known == unique.size:
                    return i, n_known
                number = np.int64(n_known)
                slots[place] = number
                unique[number] = key
                counts[number] = 0
                n_known += 1
            last = key
        counts[number] += 1
        inverse[i] = number
    return keys.size, n_known


@kernel
def cell_keys(points: npt.NDArray[np.uint32], bits: int, keys: npt.NDArray[np.uint32]) -> None:
    """Name the cell of each point: the top `bits` (1 to 8) of the 11 bits of its four planes.

    Parameters
    ----------
    points : uint32 (2, n), IN
        Packed points.
    bits : int
    keys : uint32 (n,), OUT
    """
    for i in range(points.shape[1]):
        key = np.int64(0)
        for plane in range(4):
            key = (key << bits) | (plane_of(points, plane, np.uint64(i)) >> (11 - bits))
        keys[i] = key


@kernel
def sum_by_label(
    points: npt.NDArray[np.uint32],
    weights: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int32],
    sums: npt.NDArray[np.int64],
) -> None:
    """Add weight and weighted planes of each point to its label's.

    Parameters
    ----------
    points : uint32 (2, n), IN
        Packed points.
    weights : int64 (n,), IN
        The sum of all of them below 2**52: a plane is below 2**11.
    labels : int32 (n,), IN
        Below m.
    sums : int64 (m, 5), INOUT
        Four planes, then the weight.
    """
    for i in range(points.shape[1]):
        label, weight = labels[i], weights[i]
        for plane in range(4):
            sums[label, plane] += weight * plane_of(points, plane, np.uint64(i))
        sums[label, 4] += weight
