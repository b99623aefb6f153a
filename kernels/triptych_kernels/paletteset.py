"""The palette coder: a palette is a set, so its order costs nothing.

A colour becomes a *key* of 8 to 32 bits (see `layout_bits`): first 255 - alpha, then the bits of green,
red - green and blue - green in turns, most significant first. The sorted keys are a binary trie; walking
it, the coder tells at each node how many of its keys go left, and a lone key is spelled bit by bit. Five
contexts of each decision are mixed. FORMAT.md section 6.3 is the law.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numba import int64, uint8, uint64

from triptych_kernels._jit import inline, kernel
from triptych_kernels.arrays import I32, I64, U8, U32, U64
from triptych_kernels.contextmix import HALF, STRETCH, clamp, predict7, squash, step_of, train7, trained
from triptych_kernels.mapmodel import K1, K2, K3, K4, Maps
from triptych_kernels.rangecoder import code_bit, overrun
from triptych_kernels.status import BAD_SYMBOL, OK

WIDTH = 8
KNOWN_AT = 50176
KNOWN_BITS = 15
SIZE_AT = KNOWN_AT + (2 << KNOWN_BITS)
"""256 counters for the number of colours, then 4 for the layout."""
LEARNING_RATE = 512
RATE_MIN = 64
GREEN, RED, BLUE, ALPHA = 0, 1, 2, 3
HAS_ALPHA, HAS_COLOR = 1, 2
"""Bits of a layout: colours that are not opaque; colours that are not grey."""


class PaletteModel(NamedTuple):
    """Adaptive state over the palettes of a frame: counters u32, weights i32 (64 rows of 8); and work arrays.

    at i64 (7), rows i64 (2), seen u32 (8), logits i32 (8): see contextmix. facts i64 (8): see _surroundings.
    first, end, depths i64, prefixes, values u64 (40): the nodes that wait, depth first: at most one a level.
    keys u64 (256). n_bits i64 (4), channels, levels i64 (4, 32): see layout_bits, for each layout.
    """

    counters: U32
    weights: I32
    at: I64
    rows: I64
    seen: U32
    logits: I32
    facts: I64
    first: I64
    end: I64
    depths: I64
    prefixes: U64
    values: U64
    keys: U64
    n_bits: I64
    channels: I64
    levels: I64


def new_model() -> PaletteModel:
    """Return the model before the first palette of a frame."""
    bits = [layout_bits(layout) for layout in range(4)]
    return PaletteModel(
        np.full(SIZE_AT + 256 + 4, HALF, np.uint32),
        np.repeat(np.array([17000, 0], np.int32), 32 * WIDTH),
        np.zeros(7, np.int64),
        np.zeros(2, np.int64),
        np.zeros(WIDTH, np.uint32),
        np.zeros(WIDTH, np.int32),
        np.zeros(8, np.int64),
        np.zeros(40, np.int64),
        np.zeros(40, np.int64),
        np.zeros(40, np.int64),
        np.zeros(40, np.uint64),
        np.zeros(40, np.uint64),
        np.zeros(256, np.uint64),
        np.array([len(channels) for channels, _ in bits]),
        np.stack([np.resize(channels, 32) for channels, _ in bits]),
        np.stack([np.resize(levels, 32) for _, levels in bits]),
    )


@inline
def _least_layout(colors: U8) -> int:
    """Return the least layout that can hold these colours, u8 (k, 4)."""
    layout = 0
    for i in range(len(colors)):
        red, green, blue = colors[i, 0], colors[i, 1], colors[i, 2]
        layout |= HAS_ALPHA * int64(colors[i, 3] != uint8(255))
        layout |= HAS_COLOR * int64((red != green) | (blue != green))
    return layout


@cache
def layout_bits(layout: int) -> tuple[I64, I64]:
    """Return channel and level (7 = most significant) of each bit of a key, first bit first."""
    alpha = [(ALPHA, level) for level in range(7, -1, -1)] if layout & HAS_ALPHA else []
    channels = (GREEN, RED, BLUE) if layout & HAS_COLOR else (GREEN,)
    bits = np.array(alpha + [(c, level) for level in range(7, -1, -1) for c in channels], np.int64)
    return np.ascontiguousarray(bits[:, 0]), np.ascontiguousarray(bits[:, 1])


def colors_to_keys(colors: U8, layout: int) -> U64:
    """Return the keys of colours, u8 (k, 4), C-contiguous."""
    keys = np.empty(len(colors), np.uint64)
    set_keys(colors, *layout_bits(layout), keys)
    return keys


@kernel
def set_keys(colors: U8, channels: I64, levels: I64, keys: U64) -> None:
    """Set keys u64 (k), whose bits have these channels and levels, to those of colours u8 (k, 4)."""
    for i in range(len(keys)):
        green = uint64(colors[i, 1])
        red = (uint64(colors[i, 0]) - green + uint64(128)) & uint64(255)
        blue = (uint64(colors[i, 2]) - green + uint64(128)) & uint64(255)
        # A byte for each channel.
        value = green | red << uint64(8 * RED) | blue << uint64(8 * BLUE)
        value |= (uint64(255) - uint64(colors[i, 3])) << uint64(8 * ALPHA)
        key = uint64(0)
        for at in range(len(channels)):
            key = key << uint64(1) | (value >> uint64(8 * channels[at] + levels[at])) & uint64(1)
        keys[i] = key


@kernel
def set_colors(keys: U64, channels: I64, levels: I64, layout: int, colors: U8) -> None:
    """Set colours u8 (k, 4) to those of keys u64 (k) of a layout: the inverse of `set_keys`."""
    n_bits = len(levels)
    for i in range(len(keys)):
        value = uint64(0)
        for at in range(n_bits):
            bit = (keys[i] >> uint64(n_bits - 1 - at)) & uint64(1)
            value |= bit << uint64(8 * channels[at] + levels[at])
        green, red = value & uint64(255), (value >> uint64(8 * RED)) & uint64(255)
        blue, alpha = (value >> uint64(8 * BLUE)) & uint64(255), value >> uint64(8 * ALPHA)
        # Red and blue are differences from green, and 128.
        if layout & HAS_COLOR != 0:
            red, blue = red + green + uint64(128), blue + green + uint64(128)
        else:
            red, blue = green, green
        colors[i, 0], colors[i, 1] = uint8(red & uint64(255)), uint8(green)
        colors[i, 2], colors[i, 3] = uint8(blue & uint64(255)), uint8(uint64(255) - alpha)


@inline
def _code_plain(
    counters: U32,
    at: int,
    low: int,
    high: int,
    code: int,
    pos: int,
    bit: int,
    sink: U8 | None,
    source: U8 | None,
) -> tuple[int, int, int, int, int]:
    """Code a bit with the probability of one counter, and train the counter."""
    value = int64(counters[at])
    p16 = clamp(value >> 16, 32, 65504)
    low, high, code, pos, bit = code_bit(low, high, code, pos, bit, p16, sink, source)
    counters[at] = np.uint32(trained(value, bit, RATE_MIN))
    return low, high, code, pos, bit


@inline
def _code_number(
    counters: U32,
    first: int,
    n_bits: int,
    number: int,
    low: int,
    high: int,
    code: int,
    pos: int,
    sink: U8 | None,
    source: U8 | None,
) -> tuple[int, int, int, int, int]:
    """Code a number of n_bits, most significant bit first; each prefix has a counter of its own."""
    node = 1
    for i in range(n_bits):
        bit = (number >> int64(n_bits - 1 - i)) & 1
        low, high, code, pos, bit = _code_plain(
            counters, first + node, low, high, code, pos, bit, sink, source
        )
        node = node * 2 + bit
    return low, high, code, pos, node - (1 << int64(n_bits))


@kernel
def code_size(
    k: int, layout: int, model: PaletteModel, coder: U64, sink: U8 | None, source: U8 | None
) -> int:
    """Code the number of colours (1 to 256) and the layout; return (k - 1) * 4 + layout."""
    low, high, code, pos = coder[0], coder[1], coder[2], coder[3]
    low, high, code, pos, size = _code_number(
        model.counters, int64(SIZE_AT), int64(8), int64(k) - 1, low, high, code, pos, sink, source
    )
    low, high, code, pos, layout = _code_number(
        model.counters, int64(SIZE_AT + 256), int64(2), int64(layout), low, high, code, pos, sink, source
    )
    coder[0], coder[1], coder[2], coder[3] = low, high, code, pos
    return size * 4 + layout


@inline
def _surroundings(
    channels: I64, levels: I64, depth: int, value: int, last: int, last2: int, facts: I64
) -> None:
    """Gather what is known at a trie node about the bit that comes: facts i64 (8).

    0, 1: this channel's bits five and four levels up (2 = none there); 2: all its higher bits; 3: do
    they equal the last colour's; 4: 1 if above it, 2 if below; 5: do they equal the colour before's;
    6: what the other channels have at this level; 7: the last colour's bit here.
    value, last, last2 u64: this node's bits and those of the last two colours, a byte for each channel.
    """
    channel, level = channels[depth], levels[depth]
    at = uint64(8 * channel)
    above = uint64(level + 1)
    ours = (value >> at) & uint64(255)
    theirs = (last >> at) & uint64(255)
    top, last_top = ours >> above, theirs >> above
    facts[0] = int64((ours >> uint64(level + 5)) & uint64(1)) if level < 3 else 2
    facts[1] = int64((ours >> uint64(level + 4)) & uint64(1)) if level < 4 else 2
    facts[2] = int64(top)
    facts[3] = int64(top == last_top)
    facts[4] = int64(top > last_top) + 2 * int64(top < last_top)
    facts[5] = int64(top == ((last2 >> at) & uint64(255)) >> above)
    other = 0
    if channel != ALPHA:
        # Alpha's bits come first, then green's, red's and blue's of each level.
        if channels[0] == ALPHA:
            other = int64((value >> uint64(8 * ALPHA + level)) & uint64(1)) + 1
        for before in range(channel):
            other = other * 2 + int64((value >> uint64(8 * before + level)) & uint64(1)) + 1
    facts[6] = other
    facts[7] = int64((theirs >> uint64(level)) & uint64(1))


@inline
def _inputs(
    kind: int, channel: int, level: int, n: int, facts: I64, depth: int, prefix: int, last: int, at: I64
) -> int:
    """Set at[0:7] for a decision at a node of n keys; return the bucket of n.

    The last two look up the whole prefix, alone and with the last colour: colours come again.
    """
    bucket = min(n, 4) + int64(n >= 5) + int64(n >= 9) + int64(n >= 33)
    which = kind * 4 + channel
    place = which * 8 + level
    at[0] = (kind * 8 + bucket) * 32 + channel * 8 + level
    doubled = ((kind * 3 + facts[0]) * 3 + facts[1]) * 32 + channel * 8 + level
    at[1] = 4096 + doubled * 2 + int64(n == 1)
    at[2] = 13312 + (place * 2 + facts[3]) * 12 + facts[7] * 4 + facts[4]
    at[3] = 25600 + which * 256 + (facts[2] & 255)
    at[4] = 41984 + (place * 8 + (facts[6] & 7)) * 2 + facts[5]
    h = (prefix | (uint64(1) << uint64(40)) | (uint64(depth) << uint64(48))) * K1 + uint64(kind) * K2
    h ^= h >> uint64(31)
    at[5] = KNOWN_AT + int64((h * K3) >> uint64(64 - KNOWN_BITS))
    h = ((last ^ K4) * K2) ^ h
    at[6] = int64(KNOWN_AT + (1 << KNOWN_BITS)) + int64((h * K4) >> uint64(64 - KNOWN_BITS))
    return bucket


@kernel
def code_keys(
    keys: U64,
    n_keys: int,
    channels: I64,
    levels: I64,
    model: PaletteModel,
    coder: U64,
    sink: U8 | None,
    source: U8 | None,
) -> int:
    """Code n_keys ascending keys; return OK or a status.

    IN/OUT keys u64 (n_keys; the encoder's are full), channels and levels of layout_bits, model, coder; sink
    u8 (encoder) or None; source u8 (decoder) or None. A decoder's keys come out ascending and no key twice:
    below the last bit there is one key, or the status is BAD_SYMBOL.
    """
    low, high, code, pos = coder[0], coder[1], coder[2], coder[3]
    n_bits = int64(channels.size)
    at, facts, rows, seen, logits = model.at, model.facts, model.rows, model.seen, model.logits
    # Depth first, left first: at most one waiting node a level.
    first, end, depths = model.first, model.end, model.depths
    prefixes, values = model.prefixes, model.values
    first[0], end[0], depths[0], prefixes[0], values[0] = 0, n_keys, 0, uint64(0), uint64(0)
    waiting = 1
    # The last key, and it and the one before with their bits sorted by channel.
    last, last_value, last_value2, any_last = uint64(0), uint64(0), uint64(0), False
    while waiting > 0:
        waiting -= 1
        lo, hi, depth = first[waiting], end[waiting], depths[waiting]
        prefix, value = prefixes[waiting], values[waiting]
        n = hi - lo
        if depth == n_bits:
            if n != 1:
                return BAD_SYMBOL
            keys[lo] = prefix
            last_value2, last_value, last, any_last = last_value, value, prefix, True
            continue
        shift = uint64(n_bits - 1 - depth)
        n_left = 0
        if sink is not None:
            for i in range(lo, hi):
                n_left += int64(((keys[i] >> shift) & uint64(1)) == uint64(0))
        _surroundings(channels, levels, depth, value, last_value, last_value2, facts)
        if not any_last:
            facts[7] = 2
        # Kind 0: the bit of a lone key. 1: do all keys go left? 2: all right? 3: halve the range of n_left.
        kind = 0 if n == 1 else 1
        least, most, halvings = 1, n - 1, 0
        while True:
            middle = (least + most) >> 1
            bit = 0
            if sink is not None:
                if kind == 0:
                    bit = 1 - n_left
                elif kind == 1:
                    bit = int64(n_left == n)
                elif kind == 2:
                    bit = int64(n_left == 0)
                else:
                    bit = int64(n_left > middle)
            detailed = kind * 4 + min(halvings, 3)
            bucket = _inputs(detailed, channels[depth], levels[depth], n, facts, depth, prefix, last, at)
            rows[0] = (kind * 8 + bucket) * WIDTH
            rows[1] = (32 + channels[depth] * 8 + levels[depth]) * WIDTH
            logit = predict7(model.counters, at, STRETCH, model.weights, rows, seen, logits)
            p = squash(logit)
            low, high, code, pos, bit = code_bit(low, high, code, pos, bit, clamp(p, 32, 65504), sink, source)
            step = step_of(bit, p, LEARNING_RATE)
            train7(model.counters, at, model.weights, rows, seen, logits, step, bit, RATE_MIN)
            if kind == 0:
                n_left = 1 - bit
                break
            if kind == 1 and bit == 1:
                n_left = n
                break
            if kind == 2 and bit == 1:
                n_left = 0
                break
            if kind < 3:
                kind += 1
            else:
                halvings += 1
                if bit == 1:
                    least = middle + 1
                else:
                    most = middle
            if kind == 3 and least >= most:
                n_left = least
                break
        if n > n_left:
            first[waiting], end[waiting], depths[waiting] = lo + n_left, hi, depth + 1
            prefixes[waiting] = prefix | (uint64(1) << shift)
            values[waiting] = value | (uint64(1) << uint64(8 * channels[depth] + levels[depth]))
            waiting += 1
        if n_left > 0:
            first[waiting], end[waiting], depths[waiting] = lo, lo + n_left, depth + 1
            prefixes[waiting], values[waiting] = prefix, value
            waiting += 1
    coder[0], coder[1], coder[2], coder[3] = low, high, code, pos
    return overrun(pos, sink, source)


@kernel
def code_palettes(
    maps: Maps, first: int, end: int, model: PaletteModel, coder: U64, sink: U8 | None, source: U8 | None
) -> int:
    """Code the palettes of maps `first` to `end - 1`; return OK or a status.

    IN/OUT maps, see mapmodel: an encoder's are full; a decoder fills in the colours, behind those of the map
    before, and says whose they are. There is room for as many as each map has pixels, 256 at most; more is
    BAD_SYMBOL.
    """
    for i in range(first, end):
        places = maps.places[i]
        n, layout = int64(1), int64(0)
        if sink is not None:
            colors = maps.colors[places[3] : places[4]]
            layout = _least_layout(colors)
            n = int64(len(colors))
            n_bits = model.n_bits[layout]
            set_keys(colors, model.channels[layout, :n_bits], model.levels[layout, :n_bits], model.keys[:n])
        found = code_size(n, layout, model, coder, sink, source)
        n, layout = (found >> 2) + 1, found & 3
        if n > places[1] * places[2]:
            return BAD_SYMBOL
        n_bits = model.n_bits[layout]
        channels, levels = model.channels[layout, :n_bits], model.levels[layout, :n_bits]
        status = code_keys(model.keys[:n], n, channels, levels, model, coder, sink, source)
        if status != OK:
            return status
        if source is not None:
            places[3] = maps.places[i - 1, 4] if i > 0 else int64(0)
            places[4] = places[3] + n
            set_colors(model.keys[:n], channels, levels, layout, maps.colors[places[3] : places[4]])
    return OK
