"""Scores under tables: each is a token with the table of its class, then raw bits.

Where scores are large, they are as good as Gaussian, and there is nothing for mixed decisions to learn: what
they are expected to be, from their component and from the image so far, says how they are distributed. A
score's *class* is that expectation in half octaves. Tokens are coded by `tablerans`; signs, and the bits of
a magnitude below its first three, are kept as they are. FORMAT.md section 8.6 is the law.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import int32, int64, uint8, uint64

from triptych_kernels._jit import inline, kernel
from triptych_kernels.arrays import I32, I64, U8, U64
from triptych_kernels.status import BAD_SYMBOL, INPUT_EXHAUSTED, OK
from triptych_kernels.tablerans import Tables, decode_symbols

N_CLASSES, N_TOKENS = 32, 56
LANES = 4
RAW_BITS = 13
"""A score has at most so many bits besides its token: its sign and 12 of its magnitude."""
FIRST_ACTIVITY = 819
"""Of an image: its mean magnitude in 1/1024 of the standard deviation; a Gaussian's is 0.8."""
_MOST = 1 << 14
_CLASS_SHIFT = 80
"""Added to an expectation, in 1/16 octaves of a step: classes begin at 2^-5 steps."""


class Expected(NamedTuple):
    """What is known before a score: powers i64 (16), 65536 * 2^(i / 16); activity i64 (n images)."""

    powers: I64
    activity: I64


def new_expected(powers: I64, n_images: int) -> Expected:
    """Return what is known before the first score of a frame."""
    return Expected(powers, np.full(n_images, FIRST_ACTIVITY, np.int64))


@inline
def _position(value: int) -> int:
    """Return the place of the leading bit of a value of 1 or more."""
    place = int64(0)
    while value >> (place + 1) != 0:
        place += 1
    return place


@inline
def _class_of(deviation: int, activity: int) -> int:
    """Return the class of a score; the deviation is in 1/16 octaves of a step.

    Between powers of two the logarithm of the activity, 1 to _MOST, is taken as a straight line.
    """
    place = _position(activity)
    logarithm = 16 * place + (((activity << 4) >> place) & 15) - 160
    return min(max((deviation + logarithm + _CLASS_SHIFT) >> 3, int64(0)), int64(N_CLASSES - 1))


@inline
def _learn(magnitude: int, deviation: int, expected: Expected, image: int) -> None:
    """Take note of a magnitude, of at most 15 bits.

    Deviations are -192 to 319, so magnitudes are moved by 26 bits to the right to 6 to the left: products of
    32 bits stay below 2^38.
    """
    power = magnitude * expected.powers[-deviation & 15]
    by = (-deviation >> 4) - 6
    scaled = min(power << by if by >= 0 else power >> -by, int64(_MOST))
    before = expected.activity[image]
    expected.activity[image] = max(before + ((scaled - before) >> 5), int64(1))


@kernel
def encode_raw(scores: I32, deviations: I64, expected: Expected, classes: I32, tokens: I32, sink: U8) -> int:
    """Find the classes and tokens of all scores, and write their raw bits; return how many those are.

    IN scores i32 (K, n) within +-32767, deviations i64 (K): -192 to 319. OUT classes and tokens i32 (K, n),
    sink u8, zeros before, of 2 K n + 4 bytes or more.
    """
    at = uint64(0)
    for j in range(scores.shape[0]):
        deviation = int64(deviations[j])
        for i in range(scores.shape[1]):
            score = int64(scores[j, i])
            magnitude = abs(score)
            classes[j, i] = int32(_class_of(deviation, expected.activity[i]))
            token, n_low = magnitude, int64(0)
            if magnitude >= 4:
                n_low = _position(magnitude) - 2
                token = 4 * n_low + (magnitude >> n_low)
            tokens[j, i] = int32(token)
            if magnitude > 0:
                low = magnitude & ((int64(1) << n_low) - 1)
                bits = uint64(low << 1 | int64(score < 0)) << (at & uint64(7))
                place = at >> uint64(3)
                for k in range(uint64(3)):
                    sink[place + k] |= uint8(bits >> (uint64(8) * k))
                at += uint64(n_low + 1)
            _learn(magnitude, deviation, expected, i)
    return int64(at)


@kernel
def decode(
    scores: I32,
    deviations: I64,
    expected: Expected,
    tables: Tables,
    message: U8,
    state: U64,
    raw: U8,
    work: I32,
) -> int:
    """Decode scores, component by component; return how many raw bits they took, or a status.

    IN deviations as for `encode_raw`; tables: N_CLASSES; message and state of `tablerans`, in LANES lanes;
    raw u8: the raw bits and three bytes more. work i32 (2, n). OUT scores i32 (K, n), within +-32767.
    """
    at, end = uint64(0), uint64(8) * (uint64(raw.size) - uint64(3))
    classes, tokens = work[0], work[1]
    n = scores.shape[1]
    for j in range(scores.shape[0]):
        deviation, row = int64(deviations[j]), scores[j]
        for i in range(n):
            classes[i] = int32(_class_of(deviation, expected.activity[i]))
        status = decode_symbols(message, classes, tables, LANES, state, tokens)
        if status != OK:
            return status
        for i in range(n):
            token = int64(tokens[i])
            if token < 0 or token >= N_TOKENS:
                return BAD_SYMBOL
            magnitude = token
            if token > 0:
                n_low = max((token >> 2) - 1, int64(0))
                if at + uint64(n_low + 1) > end:
                    return INPUT_EXHAUSTED
                place, bits = at >> uint64(3), uint64(0)
                for k in range(uint64(3)):
                    bits |= uint64(raw[place + k]) << (uint64(8) * k)
                bits >>= at & uint64(7)
                at += uint64(n_low + 1)
                low = int64(bits >> uint64(1)) & ((int64(1) << n_low) - 1)
                if token >= 4:
                    magnitude = ((token & 3) + 4) << n_low | low
                row[i] = int32(-magnitude if bits & uint64(1) else magnitude)
            else:
                row[i] = int32(0)
            _learn(magnitude, deviation, expected, i)
    return int64(at)
