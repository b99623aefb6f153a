"""From scores and a basis to pixels, in integers: the last step of decoding a collection.

A mirrored basis holds the left halves (columns 0 to (width + 1) // 2 - 1) of even and of odd images; the
right half is the left one mirrored, with the other sign where the image is odd. FORMAT.md section 8.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import int16, int32, int64, uint8, uint32, uint64

from triptych_kernels._jit import inline, kernel
from triptych_kernels.arrays import I16, I32, I64, U8
from triptych_kernels.dotproduct import PAIRS, axpy_pairs

NEAR = 1 << 11
"""Sums that are worked on at a time."""
UNIT = 1 << 16
"""The factor of a frame whose step is its dictionary's."""


class Pairs(NamedTuple):
    """A basis as it is added up: components of one parity by pairs. K of them, with d entries each.

    entries: i16 flat (P, d, 2), P pairs: the entries of a pair's components side by side; of one alone, with
    zeros. members: i64 (P, 3): the components (-1: none), and 1 if they are odd.
    """

    entries: I16
    members: I64


def pair_rows(rows: I16, odd: U8) -> Pairs:
    """Return the pairs of rows, i16 (K, d); odd u8 (K)."""
    members = []
    for parity in (0, 1):
        components = [*np.flatnonzero(odd == parity).tolist(), -1]
        members += [(*components[i : i + 2], parity) for i in range(0, len(components) - 1, 2)]
    entries = np.zeros((len(members), rows.shape[1], 2), np.int16)
    for pair, (first, second, _) in enumerate(members):
        entries[pair, :, 0] = rows[first]
        if second >= 0:
            entries[pair, :, 1] = rows[second]
    return Pairs(entries.reshape(-1), np.array(members, np.int64).reshape(-1, 3))


@inline
def _add_pairs(entries: I16, places: I64, n: int, sums: I32) -> None:
    """Add PAIRS pairs times their factors."""
    done = axpy_pairs(entries, places, n, sums)
    for i in range(uint64(done), uint64(n)):
        total = int32(sums[i])
        for k in range(uint64(PAIRS)):
            at, factor = uint64(places[k]) + uint64(2) * i, uint64(places[uint64(PAIRS) + k])
            total += int32(entries[at]) * int32(int16(factor))
            total += int32(entries[at + uint64(1)]) * int32(int16(factor >> uint64(16)))
        sums[i] = total


@kernel
def add_components(scores: I16, image: int, pairs: Pairs, first: int, n: int, places: I64, sums: I32) -> None:
    """Add one image's scores times n columns of the basis to sums i32 (2, >= n): even rows, odd rows.

    IN scores i16 (m, K), of the first K components; first: the first column. places i64 (2 PAIRS): work.
    The caller has seen to it that the sum over components of |score| * (greatest |entry| of its row) is at
    most 2^30, so no partial sum leaves int32.
    """
    n_components = scores.shape[1]
    n_pairs = len(pairs.members)
    d = int64(len(pairs.entries)) // max(2 * n_pairs, 1)
    for row in range(2):
        waiting = 0
        for pair in range(n_pairs):
            a, b = pairs.members[pair, 0], pairs.members[pair, 1]
            if pairs.members[pair, 2] != row or a >= n_components:
                continue
            low = uint64(scores[image, a]) & uint64(0xFFFF)
            high = uint64(0)
            if b >= 0 and b < n_components:
                high = uint64(scores[image, b]) & uint64(0xFFFF)
            if low | high != uint64(0):
                places[waiting] = (pair * d + first) * 2
                places[PAIRS + waiting] = int64(low | high << uint64(16))
                waiting += 1
                if waiting == PAIRS:
                    _add_pairs(pairs.entries, places, n, sums[row])
                    waiting = 0
        if waiting > 0:
            for left in range(waiting, PAIRS):
                places[left], places[PAIRS + left] = places[0], 0
            _add_pairs(pairs.entries, places, n, sums[row])


@inline
def _show_row(
    even: I32, odd: I32, sign: int, mean: I32, at: int, factor: int, shift: int, row: U8, n: int
) -> None:
    """Set the first n bytes of a row of pixels; sign: 1 in the left half, -1 in the mirrored one."""
    begin, flip = uint64(at), int32(sign)
    half, most = int32(int64(1) << int64(shift - 1)), int32((int64(256) << int64(shift)) - int64(1))
    by = uint32(shift) & uint32(31)  # said so that the shift is known to be one of 32 bits
    if int64(factor) == UNIT:
        for i in range(uint64(n)):
            total = int32(even[begin + i] + int32(odd[begin + i] * flip))
            value = int32(int32(mean[begin + i] + total) + half)
            row[i] = uint8(uint32(min(most, max(int32(0), value))) >> by)
    else:
        for i in range(uint64(n)):
            total = int64(even[begin + i]) + int64(odd[begin + i]) * int64(sign)
            value = int64(mean[begin + i]) + ((total * int64(factor)) >> 16) + int64(half)
            row[i] = uint8(uint64(min(int64(most), max(int64(0), value))) >> uint64(shift))


@kernel
def show_image(sums: I32, n: int, mean: I32, factor: int, shift: int, channels: int, rows: U8) -> None:
    """Turn sums into pixels: mean + (sum * factor >> 16), rounded at `shift` fraction bits, clamped.

    IN sums i32 (2, >= h * n), mean i32 (h * n), n what is stored of a row of pixels: w * c, or the left half
    in a mirrored basis; shift 4 to 12. OUT rows u8 (h, w * c). |even| + |odd| <= 2^30, |mean| < 2^21 and
    factor < 2^33: products fit i64, and where the factor is UNIT all fits i32.

    Rows of pixels are flat, as a reshape in a kernel would divide in floats.
    """
    even, odd = sums[0], sums[1]
    width = rows.shape[1] // channels
    n_mirrored = width - n // channels
    for y in range(rows.shape[0]):
        row = rows[y]
        if n_mirrored > 0:
            # The right half is made in the place of the left one, and turned around into its own.
            _show_row(even, odd, -1, mean, y * n, factor, shift, row, n_mirrored * channels)
            for x in range(uint64(n_mirrored)):
                source, target = x * uint64(channels), (uint64(width - 1) - x) * uint64(channels)
                if channels == 3:
                    row[target], row[target + uint64(1)] = row[source], row[source + uint64(1)]
                    row[target + uint64(2)] = row[source + uint64(2)]
                else:
                    for c in range(uint64(channels)):
                        row[target + c] = row[source + c]
        _show_row(even, odd, 1, mean, y * n, factor, shift, row, n)


@kernel
def show_images(
    scores: I16,
    images: I64,
    pairs: Pairs,
    mean: I32,
    factor: int,
    shift: int,
    places: I64,
    sums: I32,
    channels: int,
    out: U8,
) -> None:
    """Do both for several images: out u8 (m, h, w * c) shows images i64 (m).

    places i64 (2 PAIRS) and sums i32 (2, n) are work. n, a multiple of what is stored of a row of pixels, is
    how much is done at a time: few enough that the sums stay in the nearest cache, and the basis's columns
    near by.
    """
    height = out.shape[1]
    stored = len(mean) // height
    step = sums.shape[1] // stored
    for top in range(0, height, step):
        bottom = min(height, top + step)
        first, end = top * stored, bottom * stored
        for k in range(len(images)):
            sums[:] = 0
            add_components(scores, images[k], pairs, first, end - first, places, sums)
            show_image(sums, stored, mean[first:end], factor, shift, channels, out[k, top:bottom])


def work_for(stored: int, height: int) -> tuple[I64, I32]:
    """Return the work arrays of `show_images` for images of so many stored entries."""
    rows = max(1, min(height, NEAR * height // max(1, stored)))
    return np.empty(2 * PAIRS, np.int64), np.empty((2, rows * (stored // height)), np.int32)
