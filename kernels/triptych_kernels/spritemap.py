"""The batch coder: many small pictures with palettes of their own in one adaptive stream.

Indices mean nothing across palettes, so contexts are made of what stays: which neighbours are equal, how far
colours lie apart, how often one stood beside the other, and the colours' values. A pixel is asked "is it
colour c?" for its neighbours' colours first, then for the rest of the palette by likelihood. All counters go
on from image to image. FORMAT.md section 6.8 is the law.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import int64, uint8, uint32, uint64

from triptych_kernels import mapmodel
from triptych_kernels._jit import inline, kernel
from triptych_kernels.arrays import I32, I64, U8, U32, U64
from triptych_kernels.contextmix import (
    HALF,
    STRETCH,
    clamp,
    decayed,
    predict23,
    refine,
    refine_table,
    refine_train,
    squash,
    step_of,
    train23,
)
from triptych_kernels.histories import NEXT_STATE, STATE_P
from triptych_kernels.mapmodel import K1, K2, K3, K4, PAD, Scratch
from triptych_kernels.rangecoder import code_bit, overrun
from triptych_kernels.status import OK, TOO_MUCH_WORK

WIDTH = 24
N_DIRECT = 16
N_HISTORIES = 7
FIRST_KEYED = N_DIRECT - N_HISTORIES
"""The first of the contexts that have a bit history too: those that tell most when they recur."""
DEAD = 0
HISTORY_AT = 16
DIRECT_AT = HISTORY_AT + N_HISTORIES * 256
N_STAGES = 12
SCORED = 7
"""Stands for a number of neighbours when a colour came by score."""
FIRST_WEIGHT = 11000
FIRST_ROWS = N_STAGES * 64
MASK_ROWS = 1024
APART_ROWS = 512
LEARNING_RATE = 150
LEARNING_RATE_MIN = 40
RATE_MIN = 16
DECISIONS_PER_PIXEL = 8
DECISIONS_FREE = 4096


class SpriteModel(NamedTuple):
    """Adaptive state of a frame: counters u32 (2^bits), weights i32 rows of WIDTH, refinements, rate i64 (1).

    budget i64 (1): decisions that may still come. A decision may cost next to no bits and a pixel up to 255
    of them, so without a bound a small message could keep a decoder busy for hours.
    """

    counters: U32
    histories: U8
    weights: I32
    refine_a: I32
    rate: I64
    budget: I64


class Palettes(NamedTuple):
    """Scratch for one image's colours (k <= 256), filled by `_prepare` and while its pixels are coded.

    beside, below i32 (k, k): how often colour b stood right of, or under, colour a. used i32: how often
    a colour came. tried i64: the pixel that last asked for it. luma i64, key u64: by value. apart i64 (k, k):
    distance class 0 to 7.
    """

    beside: I32
    below: I32
    used: I32
    tried: I64
    luma: I64
    key: U64
    apart: I64


def new_model(bits: int, n_pixels: int) -> SpriteModel:
    """Return the model before the first image of a frame of so many pixels."""
    counters = np.full(DIRECT_AT + (1 << bits), HALF, np.uint32)
    weights = np.zeros((FIRST_ROWS + MASK_ROWS + APART_ROWS) * WIDTH, np.int32)
    weights[: FIRST_ROWS * WIDTH] = FIRST_WEIGHT
    counters[HISTORY_AT:DIRECT_AT] = np.tile(STATE_P, N_HISTORIES)
    return SpriteModel(
        counters,
        np.zeros(1 << (bits + 1), np.uint8),
        weights,
        refine_table(256 * N_STAGES),
        np.array([LEARNING_RATE << 8], np.int64),
        np.array([DECISIONS_PER_PIXEL * n_pixels + DECISIONS_FREE], np.int64),
    )


def new_palettes() -> Palettes:
    """Return scratch for images of up to 256 colours."""
    return Palettes(
        np.zeros((256, 256), np.int32),
        np.zeros((256, 256), np.int32),
        np.zeros(256, np.int32),
        np.zeros(256, np.int64),
        np.zeros(256, np.int64),
        np.zeros(256, np.uint64),
        np.zeros((256, 256), np.int64),
    )


@inline
def _prepare(colors: U8, k: int, palettes: Palettes) -> None:
    """Fill the scratch for k colours, u8 (k * 4)."""
    for a in range(k):
        r, g, b = int64(colors[a * 4]), int64(colors[a * 4 + 1]), int64(colors[a * 4 + 2])
        palettes.used[a] = 0
        palettes.tried[a] = -1
        palettes.luma[a] = (r * 2 + g * 5 + b) >> 3
        value = uint64(r) | (uint64(g) << uint64(8)) | (uint64(b) << uint64(16))
        palettes.key[a] = (value | (uint64(colors[a * 4 + 3]) << uint64(24))) * K1
        for other in range(k):
            palettes.beside[a, other] = 0
            palettes.below[a, other] = 0
            far = 0
            for c in range(4):
                far += abs(int64(colors[a * 4 + c]) - int64(colors[other * 4 + c]))
            level = 0
            for bound in (1, 24, 48, 96, 160, 260, 400):
                level += int64(far >= int64(bound))
            palettes.apart[a, other] = level


@inline
def _patterns(near: I64, patterns: U64) -> None:
    """Set patterns u64 (3): which of the nearest 4, 8 and 12 neighbours are equal, whatever they are.

    Each neighbour is named by the first one that equals it: a number in base 13.
    """
    total = uint64(0)
    for i in range(12):
        first = uint64(0)
        for j in range(i):
            if near[j] == near[i]:
                first = uint64(j + 1)
                break
        total = total * uint64(13) + first
        if i == 3:
            patterns[0] = total
        if i == 7:
            patterns[1] = total
    patterns[2] = total


@inline
def _value_hashes(near: I64, key: U64, values: U64) -> None:
    """Set values u64 (6): hashes of the colours around, from one neighbour to nine."""
    w, n, nw, ne = key[near[0]], key[near[1]], key[near[2]], key[near[3]]
    two = (w * K2) ^ (n * K3)
    four = (two ^ (nw * K4) ^ (ne * K1)) * K2
    four ^= four >> uint64(31)
    six = (four ^ (key[near[4]] * K3) ^ (key[near[5]] * K4)) * K1
    six ^= six >> uint64(30)
    nine = (six ^ (key[near[6]] * K2) ^ (key[near[7]] * K4) ^ (key[near[8]] * K3)) * K1
    values[0], values[1], values[2], values[3] = w * K2, two, four, six
    values[4] = nine ^ (nine >> uint64(29))
    values[5] = (n * K4) ^ (ne * K2)


@inline
def _count_class(n: int) -> int:
    """Return 0 to 6 for a count: 0, 1, 2, 3, then below 8, below 20, more."""
    return n if n < 4 else 4 + int64(n >= 8) + int64(n >= 20)


@inline
def _next_candidate(near: I64, asked: int, k: int, stamp: int, palettes: Palettes) -> tuple[int, int]:
    """Return (the next colour to ask for, how many neighbours were asked or SCORED); neighbours first."""
    tried = palettes.tried
    while asked < 6:
        s = near[asked]
        asked += 1
        if tried[s] != stamp:
            return s, asked
    w, n = near[0], near[1]
    best, found = int64(-(1 << 40)), 0
    for s in range(k):
        if tried[s] != stamp:
            score = (int64(palettes.beside[w, s]) + int64(palettes.below[n, s])) * 64
            score += min(int64(palettes.used[s]), 30) * 2
            score -= (palettes.apart[w, s] + palettes.apart[n, s]) * 4
            if palettes.used[s] == 0:
                score -= 20
            if score > best:
                best, found = score, int64(s)
    return found, SCORED


@inline
def _same_mask(s: int, near: I64) -> int:
    """Return twelve bits: which neighbours equal s."""
    mask = 0
    for i in range(12):
        mask |= int64(near[i] == s) << int64(i)
    return mask


@inline
def _apart(near: I64, s: int, palettes: Palettes) -> int:
    """Return four distance classes in base 8: s to W, s to N, W to N, s to NE."""
    w, n = near[0], near[1]
    apart = (palettes.apart[w, s] * 8 + palettes.apart[n, s]) * 8 + palettes.apart[w, n]
    return apart * 8 + palettes.apart[near[3], s]


@inline
def _pattern_hashes(patterns: U64, mask: int, stage: int, kind: int, backs: int, hashes: U64) -> None:
    """Set hashes[0:4]: which neighbours are equal to each other and to the colour asked for."""
    same = uint64(mask)
    hashes[0] = patterns[0] * uint64(4096 * 16) + same * uint64(16) + uint64(stage) + uint64(1 << 60)
    hashes[1] = (patterns[1] * K1) ^ (uint64(mask & 255) * K2) ^ kind
    hashes[2] = (patterns[2] * K2) ^ (same * K1) ^ kind
    hashes[3] = (same * uint64(4096) + kind * uint64(4) + backs) * K3


@inline
def _luma_hashes(near: I64, s: int, luma: I64, mask: int, stage: int, kind: int, hashes: U64) -> None:
    """Set hashes[8:10]: the luma of s and of W and N, and how far s is from where they lead."""
    w, n = luma[near[0]], luma[near[1]]
    levels = ((luma[s] >> 4) * 16 + (w >> 4)) * 16 + (n >> 4)
    hashes[8] = (uint64(levels) * K4) ^ (kind * K2)
    slope = uint64(((luma[s] - (w + n - luma[near[2]])) >> 3) + 128)
    middle = uint64(((luma[s] - ((w + n) >> 1)) >> 3) + 128)
    hashes[9] = (slope * K2) ^ (middle * K3) ^ (uint64(mask & 15) * K4) ^ (uint64(stage) * K1)


@inline
def _color_hashes(values: U64, key: int, hashes: U64) -> None:
    """Set hashes[10:16]: the colour asked for beside the colours around."""
    hashes[10] = values[0] ^ key
    hashes[11] = values[1] ^ (key * K1)
    hashes[12] = values[2] ^ key
    hashes[13] = values[3] ^ key
    hashes[14] = values[4] ^ key
    hashes[15] = values[5] ^ (key * K2)


@kernel
def code_sprite(
    plane: U8,
    height: int,
    width: int,
    colors: U8,
    k: int,
    model: SpriteModel,
    bits: int,
    palettes: Palettes,
    scratch: Scratch,
    coder: U64,
    sink: U8 | None,
    source: U8 | None,
) -> int:
    """Code one image of a batch; return OK or a status.

    IN/OUT plane u8 (see mapmodel; the encoder's is full); IN colors u8 (k * 4); model SpriteModel IN/OUT;
    palettes: work; scratch new_scratch(width); coder IN/OUT; sink u8 (encoder) or None; source u8 (decoder)
    or None.
    """
    _prepare(colors, k, palettes)
    low, high, code, pos = coder[0], coder[1], coder[2], coder[3]
    stride = uint64(width + 2 * PAD)
    near, patterns, values, hashes = scratch.near, scratch.patterns, scratch.values, scratch.hashes
    at, rows, seen, logits = scratch.at, scratch.rows, scratch.seen, scratch.logits
    shift = uint64(64 - bits)
    history, n_used, background, stamp = 0, 0, -1, 0
    for y in range(height):
        row = uint64(y + PAD) * stride + uint64(PAD)
        mapmodel.pad_row(plane, row, uint64(width), y == 0)
        rate = model.rate[0] >> 8
        for x in range(width):
            q = row + uint64(x)
            mapmodel.look_around(plane, q, stride, near)
            _patterns(near, patterns)
            _value_hashes(near, palettes.key, values)
            w, n = near[0], near[1]
            region = uint64((y >> 3) * 8 + (x >> 3))
            w_back = int64(w == background)
            stamp += 1
            stage, asked, n_tried, s = 0, 0, 0, -1
            while s < 0:
                c, asked = _next_candidate(near, asked, k, stamp, palettes)
                if asked == SCORED:
                    stage = clamp(stage, 6, N_STAGES - 1)
                palettes.tried[c] = stamp
                n_tried += 1
                if n_tried == int64(k):
                    s = c
                    break
                mask = _same_mask(c, near)
                used = int64(palettes.used[c])
                use = int64(used > 0) + int64(used >= 3) + int64(used >= 10) + int64(used >= 100)
                left = min(7, int64(k) - n_used)
                near_w, near_n = (
                    _count_class(int64(palettes.beside[w, c])),
                    _count_class(int64(palettes.below[n, c])),
                )
                apart = _apart(near, c, palettes)
                kind = uint64(stage) | (uint64(use) << uint64(4))
                backs = uint64(int64(c == background) * 2 + w_back)
                counts = ((near_w * 8 + near_n) * 8 + use) * 8 + left
                _pattern_hashes(patterns, mask, stage, kind, backs, hashes)
                hashes[4] = (uint64(apart) * K4) ^ (kind * K1)
                hashes[5] = ((region * uint64(64) + uint64(mask & 15) * uint64(4) + backs) * K1) ^ (
                    uint64(stage) * K3
                )
                hashes[6] = ((uint64(history & 4095) * uint64(16) + uint64(mask & 15)) * K2) ^ (
                    uint64(stage) * K4
                )
                hashes[7] = (uint64(counts) * K3) ^ (uint64(stage) * K2) ^ (uint64(min(15, n_tried)) * K1)
                _luma_hashes(near, c, palettes.luma, mask, stage, kind, hashes)
                _color_hashes(values, palettes.key[c] * K4, hashes)
                for i in range(N_DIRECT):
                    h = (hashes[i] + uint64(i) * K3) * K2
                    h ^= h >> uint64(32)
                    hashes[i] = h * K1
                    at[i] = DIRECT_AT + int64(hashes[i] >> shift)
                for i in range(N_HISTORIES):
                    state = int64(model.histories[hashes[FIRST_KEYED + i] >> (shift - uint64(1))])
                    at[N_DIRECT + i] = DEAD if state == 0 else int64(HISTORY_AT + i * 256) + state
                row_a = stage * 64 + use * 8 + left
                rows[0] = row_a * WIDTH
                rows[1] = (FIRST_ROWS + (mask & 1023)) * WIDTH
                rows[2] = ((FIRST_ROWS + MASK_ROWS) + (apart >> 3)) * WIDTH
                row_r = (mask & 255) * N_STAGES + stage
                logit = predict23(model.counters, at, STRETCH, model.weights, rows, seen, logits)
                mixed = squash(logit)
                p = clamp((mixed + refine(model.refine_a, row_r, logit)) >> 1, 2, 65534)
                bit = 0
                if sink is not None:
                    bit = int64(int64(plane[q]) == c)
                low, high, code, pos, bit = code_bit(low, high, code, pos, bit, p, sink, source)
                step = step_of(bit, mixed, rate)
                train23(model.counters, at, model.weights, rows, seen, logits, step, bit, RATE_MIN)
                model.counters[DEAD] = uint32(HALF)
                for i in range(N_HISTORIES):
                    place = hashes[FIRST_KEYED + i] >> (shift - uint64(1))
                    model.histories[place] = NEXT_STATE[uint64(int64(model.histories[place]) * 2 + bit)]
                refine_train(model.refine_a, row_r, logit, bit)
                if bit == 1:
                    s = c
                stage += 1
                model.budget[0] -= 1
            if model.budget[0] < 0:  # at each pixel: a row may be the whole image
                return int64(TOO_MUCH_WORK)
            plane[q] = uint8(s)
            if background < 0:
                background = s
                for i in range(PAD * stride):
                    plane[i] = uint8(s)
                for i in range(PAD):
                    plane[row - uint64(1 + i)] = uint8(s)
            if palettes.used[s] == 0:
                n_used += 1
            palettes.used[s] += 1
            palettes.beside[w, s] += 1
            palettes.below[n, s] += 1
            history = ((history << 2) | int64(s == w) | (int64(s == n) << 1)) & int64(0xFFFF)
        model.rate[0] = decayed(model.rate[0], LEARNING_RATE_MIN << 8)
        if overrun(pos, sink, source) != OK:
            break
    coder[0], coder[1], coder[2], coder[3] = low, high, code, pos
    return overrun(pos, sink, source)
