"""The adaptive model of block coding: its counters, their contexts, and the decisions made with them.

Everything that a plane of blocks costs goes through `decide`: one mixed decision of seven counters. Here are
the three kinds of things that are spelled with it: trees (a class, a split), and the coefficients of a block.
FORMAT.md section 7 is the law. The same functions encode and decode; see `rangecoder`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import int32, int64, uint64

from triptych_kernels._jit import inline
from triptych_kernels.arrays import I16, I32, I64, U8, U32, U64
from triptych_kernels.contextmix import HALF, STRETCH, clamp, predict7, squash, step_of, train7
from triptych_kernels.rangecoder import code_bit, overrun
from triptych_kernels.status import BAD_SYMBOL

N_LEVELS = 40
KINDS = 4
"""Luma 8, chroma 8, luma 16, chroma 16: what a block is."""
N_CLASSES = 128
"""Class numbers over all bases, each plane kind's apart; see `Basis.first_class`."""
N_COEFFICIENTS = 16384
"""Numbers of coefficients over all classes."""
MAX_MAGNITUDE = 18
"""From here on a magnitude is spelled in Exp-Golomb code."""
MAX_EXPONENT = 14
MAX_TOTAL = 8191
"""Greatest sum of magnitudes of a block: the bound of `blockcoder`'s sums."""

RATE_MIN = 16
LEARNING_RATE = 48
P_MIN = 24

# Zero flags, then magnitudes, then trees: where each of the seven inputs has its counters.
_Z = np.cumsum([0, 10240, 4 * N_COEFFICIENTS, 11520, 10240, 20480, 20480, N_CLASSES * 320])
_M = _Z[-1] + np.cumsum([0, 10240, 10240, 20480, 5120, 4096, N_CLASSES * 320, 5120])
_T = _M[-1] + np.cumsum([0, *[128 * 64 * 4] * 7])
Z0, Z1, Z2, Z3, Z4, Z5, Z6 = (int(at) for at in _Z[:-1])
M0, M1, M2, M3, M4, M5, M6 = (int(at) for at in _M[:-1])
T0, T1, T2, T3, T4, T5, T6 = (int(at) for at in _T[:-1])
N_COUNTERS = int(_T[-1])
# Rows: the first chosen by level or magnitude or tree node, the second by what is near.
TREE_ROWS = 192
NEAR_ROWS = TREE_ROWS + KINDS * 64
N_ROWS = NEAR_ROWS + 129
FIRST_WEIGHT = 65536 * 10 // 35


class Mixer(NamedTuple):
    """Adaptive state and the scratch of one decision; a frame goes on with it.

    counters: u32 (N_COUNTERS). weights: i32 (N_ROWS * 8). at: i64 (7), rows: i64 (2), seen: u32 (8),
    logits: i32 (8): see `contextmix`.
    """

    counters: U32
    weights: I32
    at: I64
    rows: I64
    seen: U32
    logits: I32


def new_mixer(counters: U32 | None = None, weights: I32 | None = None) -> Mixer:
    """Return a model that begins with these counters and weights (copied), or knows nothing."""
    if counters is None or weights is None:
        counters = np.full(N_COUNTERS, HALF, np.uint32)
        weights = np.zeros(N_ROWS * 8, np.int32)
        weights[: NEAR_ROWS * 8] = FIRST_WEIGHT
    return Mixer(
        counters.copy(),
        weights.copy(),
        np.zeros(7, np.int64),
        np.zeros(2, np.int64),
        np.zeros(8, np.uint32),
        np.zeros(8, np.int32),
    )


def _log_table() -> I16:
    """Return LOG[x] = floor(16 log2 x), from integers; LOG[0] = 0."""
    return np.array([0, *((x**16).bit_length() - 1 for x in range(1, 4096))], np.int16)


LOG = _log_table()


@inline
def log16(x: int) -> int:
    """Return about 16 log2 x, for 1 <= x < 2^36."""
    more = 0
    while x >= 4096:
        x >>= 4
        more += 64
    return int64(LOG[uint64(x)]) + more


@inline
def decide(mixer: Mixer, coder: U64, bit: int, sink: U8 | None, source: U8 | None) -> int:
    """Code one decision under mixer.at and mixer.rows; learn from it; return the bit."""
    logit = predict7(mixer.counters, mixer.at, STRETCH, mixer.weights, mixer.rows, mixer.seen, mixer.logits)
    p = squash(logit)
    low, high, code, pos, bit = code_bit(
        coder[0], coder[1], coder[2], coder[3], bit, clamp(p, P_MIN, 65536 - P_MIN), sink, source
    )
    coder[0], coder[1], coder[2], coder[3] = low, high, code, pos
    train7(
        mixer.counters,
        mixer.at,
        mixer.weights,
        mixer.rows,
        mixer.seen,
        mixer.logits,
        step_of(bit, p, LEARNING_RATE),
        bit,
        RATE_MIN,
    )
    return bit


@inline
def code_raw(coder: U64, n_bits: int, value: int, sink: U8 | None, source: U8 | None) -> int:
    """Code n_bits bits of a number as they are, high bits first; return the number."""
    out = 0
    for i in range(n_bits - 1, -1, -1):
        low, high, code, pos, bit = code_bit(
            coder[0], coder[1], coder[2], coder[3], (value >> i) & 1, 32768, sink, source
        )
        coder[0], coder[1], coder[2], coder[3] = low, high, code, pos
        out = 2 * out + bit
    return out


@inline
def tree_contexts(mixer: Mixer, kind: int, contexts: I64) -> None:
    """Set mixer.at for node 0 of a kind's tree; contexts (7) are 0..127 each. A node n is 128 n further."""
    mixer.rows[1] = (NEAR_ROWS + 128) * 8
    first = kind * 64 * 128
    mixer.at[0] = T0 + first + contexts[0]
    mixer.at[1] = T1 + first + contexts[1]
    mixer.at[2] = T2 + first + contexts[2]
    mixer.at[3] = T3 + first + contexts[3]
    mixer.at[4] = T4 + first + contexts[4]
    mixer.at[5] = T5 + first + contexts[5]
    mixer.at[6] = T6 + first + contexts[6]


@inline
def to_node(mixer: Mixer, kind: int, before: int, node: int) -> None:
    """Turn mixer.at from one node of a tree to another."""
    mixer.rows[0] = (TREE_ROWS + kind * 64 + node) * 8
    for i in range(7):
        mixer.at[i] += (node - before) * 128


@inline
def code_tree(
    mixer: Mixer, coder: U64, kind: int, n_bits: int, value: int, sink: U8 | None, source: U8 | None
) -> int:
    """Code a number of n_bits, high bits first, under the contexts that `tree_contexts` set; return it."""
    node = 1
    before = 0
    for i in range(n_bits - 1, -1, -1):
        to_node(mixer, kind, before, node)
        before = node
        node = 2 * node + decide(mixer, coder, (value >> i) & 1, sink, source)
    return node - (1 << n_bits)


@inline
def bin_of(above: int, below: int, scale: int, n_bins: int) -> int:
    """Return which of n_bins the logarithm of a ratio is in, the middle two meeting at 1; logs as log16."""
    return clamp(((above - below) * scale + 16 * n_bins) >> 5, 0, n_bins - 1)


@inline
def code_coefficients(
    mixer: Mixer,
    coder: U64,
    levels: I64,
    n_coded: int,
    means: I64,
    kind: int,
    number: int,
    first: int,
    near: int,
    near_fine: int,
    luma: int,
    beside: U8,
    above: U8,
    wanted: I64 | None,
    bits: I64 | None,
    weight: int,
    quantized: I32,
    sink: U8 | None,
    source: U8 | None,
) -> int:
    """Code the quantized coefficients of a block; return the sum of their magnitudes, or a status.

    levels i64 (n_coded): 0..39 each. means i64 (N_LEVELS): expected magnitudes, 1/256. number: of the class.
    first: number of its first coefficient. near, near_fine, luma: bins of what is near. beside, above: u8,
    magnitudes (at most 2) of the blocks left and above. OUT quantized i32.

    The encoder gives wanted i64: coefficients in 1/256 steps; it quantizes each by rate and distortion under
    the model as it stands, with bits i64 (N_LEVELS * MAX_MAGNITUDE + 4096) as estimates and weight (of 1/256
    bit, in 1/65536 squared steps).
    """
    total = size_sum = mean_sum = one = two = run = some = 0
    for j in range(n_coded):
        level = levels[j]
        b1f = bin_of(log16(size_sum + 77), log16(mean_sum + 77), 6, 16)
        b1 = b1f >> 1
        both = min(4, int64(beside[uint64(j)]) + int64(above[uint64(j)]))
        one2, two2, some7, early = min(one, 2), min(two, 2), min(some, 7), min(j, 63)
        at = mixer.at
        at[0] = Z0 + ((level * 8 + b1) * 8 + near) * 4 + kind
        at[1] = Z1 + (first + j) * 4 + (b1 >> 1)
        at[2] = Z2 + (((level * 3 + one2) * 3 + two2) * 8 + b1) * 4 + kind
        at[3] = Z3 + ((early * 5 + both) * 8 + near) * 4 + kind
        at[4] = Z4 + ((near_fine * 8 + luma) * 40 + level) * 4 + kind
        at[5] = Z5 + ((min(run, 15) * 8 + some7) * 40 + level) * 4 + kind
        at[6] = Z6 + (number * 40 + level) * 8 + near
        mixer.rows[0] = (level * 4 + kind) * 8
        mixer.rows[1] = (NEAR_ROWS + b1 * 8 + near) * 8
        magnitude = 0
        if wanted is not None and bits is not None:
            magnitude = _rounded(mixer, wanted[j], MAX_TOTAL - total, level, bits, weight)
        if decide(mixer, coder, 1 if magnitude > 0 else 0, sink, source) == 1:
            i = 1
            three = min(some, 3)
            one3, two3 = min(one, 3), min(two, 3)
            more = 1
            while more == 1 and i < MAX_MAGNITUDE:
                ii = min(i, 7)
                at[0] = M0 + ((level * 8 + ii) * 8 + b1) * 4 + kind
                at[1] = M1 + ((level * 8 + ii) * 8 + near) * 4 + kind
                at[2] = M2 + (((ii * 4 + one3) * 4 + two3) * 40 + level) * 4 + kind
                at[3] = M3 + ((min(j, 31) * 8 + ii) * 5 + both) * 4 + kind
                at[4] = M4 + ((near_fine * 8 + luma) * 8 + ii) * 4 + kind
                at[5] = M5 + (number * 40 + level) * 8 + ii
                at[6] = M6 + ((level * 8 + ii) * 4 + three) * 4 + kind
                mixer.rows[0] = (160 + ii * 4 + kind) * 8
                mixer.rows[1] = (NEAR_ROWS + 64 + ii * 8 + b1) * 8
                more = decide(mixer, coder, 1 if magnitude > i else 0, sink, source)
                i += more
            if i == MAX_MAGNITUDE:
                n_bits = 0
                if sink is not None:
                    while (magnitude - MAX_MAGNITUDE + 1) >> (n_bits + 1) > 0:
                        n_bits += 1
                for z in range(MAX_EXPONENT):
                    if code_raw(coder, 1, 1 if z < n_bits else 0, sink, source) == 0:
                        break
                    if source is not None:
                        n_bits = z + 1
                rest = code_raw(coder, n_bits, magnitude - MAX_MAGNITUDE + 1, sink, source)
                rest &= (1 << n_bits) - 1
                i = MAX_MAGNITUDE - 1 + (1 << n_bits) + rest
            magnitude = i
            negative = 0
            if wanted is not None:
                negative = 1 if wanted[j] < 0 else 0
            negative = code_raw(coder, 1, negative, sink, source)
            quantized[j] = int32(-magnitude if negative == 1 else magnitude)
            some += 1
            run = 0
        else:
            quantized[j] = int32(0)
            run += 1
        total += magnitude
        if total > MAX_TOTAL:
            return BAD_SYMBOL
        size_sum = ((size_sum * 218) >> 8) + magnitude * 256
        mean_sum = ((mean_sum * 218) >> 8) + means[level]
        two = one
        one = magnitude
    status = overrun(coder[3], sink, source)
    return total if status == 0 else status


@inline
def _rounded(mixer: Mixer, wanted: int, room: int, level: int, bits: I64, weight: int) -> int:
    """Return the magnitude, at most `room`, that costs least under the model as it stands."""
    size = abs(wanted)
    most = min((size + 128) >> 8, room)
    if most == 0:
        return 0
    logit = predict7(mixer.counters, mixer.at, STRETCH, mixer.weights, mixer.rows, mixer.seen, mixer.logits)
    p = clamp(squash(logit), P_MIN, 65536 - P_MIN)
    table = MAX_MAGNITUDE * N_LEVELS
    zero, some = bits[table + ((65536 - p) >> 4)], bits[table + (p >> 4)] + 256
    row = level * MAX_MAGNITUDE
    last = MAX_MAGNITUDE - 1
    high = size - (most << 8)
    best, cost = most, high * high + weight * (some + bits[row + min(most, last)] - bits[row + 1])
    low = high + 256
    if most == 1:
        other = low * low + weight * zero
    else:
        other = low * low + weight * (some + bits[row + min(most - 1, last)] - bits[row + 1])
    if other < cost:
        best, cost = most - 1, other
    return best
