"""The coder of a mean image and of the basis images of a PCA dictionary, entry by entry.

An entry is foretold from its neighbours by taps that adapt (normalised least mean squares), which suits the
smooth leading components and fades to nothing on the noisy ones. What is left is coded as a signed number;
its contexts are the residuals around it, in this image, in the channel before and at this place in the
images before. FORMAT.md section 8 is the law.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import int32, int64

from triptych_kernels._jit import inline, kernel
from triptych_kernels.arrays import I32, I64, U8, U64
from triptych_kernels.contextmix import clamp
from triptych_kernels.rangecoder import overrun
from triptych_kernels.signednumber import (
    SIGN,
    NumberModel,
    coarse,
    code_magnitude,
    code_node,
    new_numbers,
)
from triptych_kernels.status import BAD_SYMBOL

MAX_ENTRY = 16383
"""Twice this, the greatest residual, is no more than MAX_NUMBER."""
N_TAPS = 10
"""W, N, NW, NE, WW, NN of this channel; of the channel before: this place, W, N, and NE."""
# Where the contexts of each input begin.
_LEVEL = 4
_NEAR, _EXPECTED, _CROSS = _LEVEL + 512, _LEVEL + 1024, _LEVEL + 1536
_PAST, _PART, _SIGNS = _CROSS + 512, _CROSS + 1024, _CROSS + 1536
_FACTS = _SIGNS + 2048
N_FACTS = 2
N_CONTEXTS = _FACTS + 7 * N_FACTS
MEAN_LEVEL = 31
"""The level that stands for the mean image."""


class BasisModel(NamedTuple):
    """Adaptive state over the images of a dictionary, of shape (height, width, channels).

    numbers; taps i32 (channels, 10), 65536 = 1; residuals i32 (h, w, c): of this image; past i32 (h, w, c):
    running mean magnitude of the residuals at this place, in sixteenths; near i64 (10): work.
    """

    numbers: NumberModel
    taps: I32
    residuals: I32
    past: I32
    near: I64


def new_basis(shape: tuple[int, int, int]) -> BasisModel:
    """Return the model before the first image."""
    taps = np.zeros((shape[2], N_TAPS), np.int32)
    taps[:, :4] = [40960, 40960, -26214, 6554]
    return BasisModel(
        new_numbers(N_CONTEXTS),
        taps,
        np.zeros(shape, np.int32),
        np.zeros(shape, np.int32),
        np.zeros(N_TAPS, np.int64),
    )


@inline
def _at(plane: I32, y: int, x: int, c: int) -> int:
    """Return an entry; outside of the picture all are 0."""
    if y < 0 or x < 0 or x >= plane.shape[1] or c < 0:
        return int64(0)
    return int64(plane[y, x, c])


@inline
def _log_class(energy: int) -> int:
    """Return 0 to 15: two an octave."""
    if energy < 2:
        return int64(energy)
    length, rest = 0, int64(energy)
    while rest >= 2:
        rest >>= 1
        length += 1
    return min(int64(15), 2 * length + ((int64(energy) >> int64(length - 1)) & 1))


@inline
def _foretell(entries: I32, y: int, x: int, c: int, taps: I32, near: I64) -> int:
    """Return the prediction in sixteenths, and set near[0:10] to the neighbours.

    Entries are below 2^14 and taps within 2^20: ten products stay below 2^38.
    """
    near[0], near[1] = _at(entries, y, x - 1, c), _at(entries, y - 1, x, c)
    near[2], near[3] = _at(entries, y - 1, x - 1, c), _at(entries, y - 1, x + 1, c)
    near[4], near[5] = _at(entries, y, x - 2, c), _at(entries, y - 2, x, c)
    near[6], near[7] = _at(entries, y, x, c - 1), _at(entries, y, x - 1, c - 1)
    near[8], near[9] = _at(entries, y - 1, x, c - 1), _at(entries, y - 1, x + 1, c - 1)
    total = int64(0)
    for i in range(N_TAPS):
        total += near[i] * int64(taps[c, i])
    return clamp(total >> 12, -16 * MAX_ENTRY, 16 * MAX_ENTRY)


@inline
def _adapt(error: int, c: int, taps: I32, near: I64) -> None:
    """Move the taps towards what would have foretold the entry. error: in sixteenths, below 2^20."""
    norm = int64(40)
    for i in range(N_TAPS):
        norm += near[i] * near[i]
    gain = (error * 2048) // norm
    for i in range(N_TAPS):
        taps[c, i] = int32(clamp(int64(taps[c, i]) + ((gain * near[i]) >> 4), -(1 << 20), 1 << 20))


@inline
def _set_bases(bases: I64, a: int, b: int, c: int, d: int, e: int, f: int, g: int) -> None:
    """Say which contexts the next decisions have, the seven inputs in order."""
    bases[0], bases[1], bases[2], bases[3] = a * 64, b * 64, c * 64, d * 64
    bases[4], bases[5], bases[6] = e * 64, f * 64, g * 64


@kernel
def code_image(
    entries: I32, level: int, model: BasisModel, coder: U64, sink: U8 | None, source: U8 | None
) -> int:
    """Code one image's entries; return OK or a status.

    IN/OUT entries i32 (h, w, c), within +-MAX_ENTRY and all 0 before a decoder fills them; level 0 to 31;
    model; coder. A decoder finds an entry beyond +-MAX_ENTRY to be BAD_SYMBOL.
    """
    low, high, code, pos = coder[0], coder[1], coder[2], coder[3]
    numbers, taps, near = model.numbers, model.taps, model.near
    residuals, past = model.residuals, model.past
    bases, place = numbers.bases, numbers.place
    for y in range(entries.shape[0]):
        for x in range(entries.shape[1]):
            for c in range(entries.shape[2]):
                foretold = _foretell(entries, y, x, c, taps, near)
                whole = (foretold + 8) >> 4
                r_w, r_n = _at(residuals, y, x - 1, c), _at(residuals, y - 1, x, c)
                m_w, m_n, m_c = abs(r_w), abs(r_n), abs(_at(residuals, y, x, c - 1))
                energy = 2 * (m_w + m_n)
                energy += abs(_at(residuals, y - 1, x - 1, c)) + abs(_at(residuals, y - 1, x + 1, c))
                before = int64(past[y, x, c])
                busy, was = _log_class(energy), _log_class(before)
                first = min(int64(c), int64(1))
                part = foretold - whole * 16 + 8
                near_at = _NEAR + (min(m_w, int64(5)) * 6 + min(m_n, int64(5))) * 2 + first
                expected = _EXPECTED + _log_class(abs(foretold) >> 3) * 16 + busy
                cross = _CROSS + (_log_class(2 * m_c) * 16 + _log_class(m_w + m_n)) * 2 + first
                past_at = _PAST + was * 16 + busy
                part_at = _PART + (part * 8 + (busy >> 1)) * 2 + first
                place[0], place[1] = level, busy * 2 + first
                _set_bases(
                    bases, first, _LEVEL + level * 16 + was, near_at, expected, cross, past_at, part_at
                )
                rest = int64(0)
                if sink is not None:
                    rest = int64(entries[y, x, c]) - whole
                low, high, code, pos, bit = code_node(
                    0, numbers, low, high, code, pos, int64(rest != 0), sink, source
                )
                if bit == 1:
                    magnitude = abs(rest)
                    signs = (int64(r_w > 0) + 2 * int64(r_w < 0)) * 3 + int64(r_n > 0) + 2 * int64(r_n < 0)
                    r_c = _at(residuals, y, x, c - 1)
                    signs_at = _SIGNS + signs * 3 + int64(r_c > 0) + 2 * int64(r_c < 0)
                    _set_bases(
                        bases,
                        first,
                        signs_at,
                        _SIGNS + 32 + part,
                        _SIGNS + 64 + part * 16 + busy,
                        _SIGNS + 512 + coarse(foretold),
                        _SIGNS + 768 + coarse(r_c * 4) * 2 + first,
                        _SIGNS + 1024 + coarse(r_w * 4) * 32 + coarse(r_n * 4),
                    )
                    low, high, code, pos, negative = code_node(
                        SIGN, numbers, low, high, code, pos, int64(rest < 0), sink, source
                    )
                    _set_bases(
                        bases, first, _LEVEL + level * 16 + was, near_at, expected, cross, past_at, part_at
                    )
                    low, high, code, pos, magnitude = code_magnitude(
                        magnitude, numbers, low, high, code, pos, sink, source
                    )
                    rest = -magnitude if negative == 1 else magnitude
                entry = whole + rest
                if abs(entry) > MAX_ENTRY:
                    return BAD_SYMBOL
                entries[y, x, c] = int32(entry)
                residuals[y, x, c] = int32(rest)
                past[y, x, c] = int32(before + ((abs(rest) * 16 - before) >> 2))
                _adapt(entry * 16 - foretold, c, taps, near)
    coder[0], coder[1], coder[2], coder[3] = low, high, code, pos
    return overrun(pos, sink, source)


@kernel
def code_fact(
    value: int, fact: int, model: BasisModel, coder: U64, sink: U8 | None, source: U8 | None
) -> int:
    """Code a number of 0 to MAX_NUMBER that is said of an image, in the contexts of this fact; return it."""
    low, high, code, pos = coder[0], coder[1], coder[2], coder[3]
    numbers = model.numbers
    for i in range(7):
        numbers.bases[i] = (_FACTS + fact * 7 + i) * 64
    numbers.place[0], numbers.place[1] = int64(0), int64(0)
    value = int64(value)
    low, high, code, pos, bit = code_node(0, numbers, low, high, code, pos, int64(value != 0), sink, source)
    if bit == 1:
        low, high, code, pos, value = code_magnitude(value, numbers, low, high, code, pos, sink, source)
    else:
        value = int64(0)
    coder[0], coder[1], coder[2], coder[3] = low, high, code, pos
    return value
