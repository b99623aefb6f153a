"""Latents as mixed binary decisions: the context network's own probability is one of fifteen inputs.

The second coder of the latents of `contextnet` (FORMAT.md section 13.5), slower than rANS and smaller. A
latent is coded as its residual, the difference from the base that the network gives: is it not zero; is it
negative; is its magnitude more than 1, 2, ...; from MAX_UNARY on in Exp-Golomb code. The table that the
network chose says how probable each answer is. That is input 0 of `contextmix`: a counter overwritten before
each decision. The other inputs are counters in contexts of latents around, and learn. The state may begin as
learned from other pictures.

Where the network is sure of a zero, its probability is used as it is: that is most latents, and mixing hardly
helps there. The same functions encode and decode; see `rangecoder`.

Bounds: a base is at most 1024 in magnitude and a latent at most MAX_SYMBOL, so a residual is below 2^16 and
its Exp-Golomb code has at most MAX_EXPONENT = 15 bits. Sums of flags, 2^16 each, are over at most 4 * 4096
latents or decay, so they stay below 2^31, and `log16` takes up to 2^36.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import int64, uint32

from triptych_kernels._jit import inline, kernel
from triptych_kernels.arrays import I32, I64, U8, U32, U64
from triptych_kernels.blockmodel import bin_of, code_raw, log16
from triptych_kernels.contextmix import HALF, STRETCH, clamp, predict15, squash, step_of, train15
from triptych_kernels.contextnet import (
    MAX_SYMBOL,
    Biases,
    Network,
    Work,
    absorb,
    choose,
    clear_row,
    foretell,
)
from triptych_kernels.rangecoder import code_bit, overrun
from triptych_kernels.status import BAD_SYMBOL, OK
from triptych_kernels.tablerans import Tables

N_INPUTS, WIDTH = 15, 16
N_NODES = 6
"""0: not zero? 1: negative? 2, 3, 4: magnitude more than 1, 2, 3? 5: more than a larger number?"""
SURE = 65300
"""With a zero more probable than this (of 65536), whether it is one is not mixed."""
MAX_UNARY, MAX_EXPONENT = 16, 15
LEARNING_RATE, RATE_MIN, P_MIN = 28, 32, 16
FIRST_WEIGHTS = (56000, 4000)
"""In the one row of weights of a node that every decision uses: of the network, and of each other input."""
BINS = 16

# Contexts of inputs 1 to 5 are of all channels together, those of 6 to 14 of each channel.
_COMMON = np.cumsum([0, 49 * 32, 225 * 8, 25 * 32, BINS * 32, BINS * BINS * 8])
_OWN = np.cumsum([0, 25, 15, 15, 9, 9, 9, 9, BINS, BINS])
N_COMMON, N_OWN = int(_COMMON[-1]), int(_OWN[-1])
_C1, _C2, _C3, _C4, _C5 = (int(at) for at in _COMMON[:-1])
_C6, _C7, _C8, _C9, _C10, _C11, _C12, _C13, _C14 = (int(at) for at in _OWN[:-1])
N_SETS = 1 + BINS * BINS + 36
"""Rows of weights of a node, besides one for each channel."""


class Mixer(NamedTuple):
    """Adaptive state, which goes on over a frame, and the scratch of a decision.

    counters: u32 (`count_counters`), the first is the network's. weights: i32 (`count_weights`). channels:
    i64 (M, 2), flags of residuals that were not zero, and what was expected of them, both decaying. contexts:
    i64 (15), where the counters of each input begin; sets: i64 (4), where the rows of weights begin. at: i64
    (15), rows: i64 (4), seen: u32 (16), logits: i32 (16): see `contextmix`.
    """

    counters: U32
    weights: I32
    channels: I64
    contexts: I64
    sets: I64
    at: I64
    rows: I64
    seen: U32
    logits: I32


class Trace(NamedTuple):
    """What the coder of a set of images remembers of it.

    near: i64 (positions * images, 2), flags and what was expected, summed over channels. here: i64 (images,
    4), of this position: both again, decaying, then the last residual and the one before.
    """

    near: I64
    here: I64


def count_counters(n_channels: int) -> int:
    """Return how many counters a model of so many channels has, that of the network not counted."""
    return N_NODES * (N_COMMON + N_OWN * n_channels)


def count_weights(n_channels: int) -> int:
    """Return how many weights a model of so many channels has."""
    return N_NODES * WIDTH * (N_SETS + n_channels)


def new_mixer(n_channels: int, counters: U32 | None = None, weights: I32 | None = None) -> Mixer:
    """Return a model that begins with these counters and weights (copied), or knows nothing."""
    if counters is None or weights is None:
        counters = np.full(count_counters(n_channels), HALF, np.uint32)
        weights = np.zeros(count_weights(n_channels), np.int32)
        first = weights[: N_NODES * WIDTH].reshape(N_NODES, WIDTH)
        first[:, 0], first[:, 1:N_INPUTS] = FIRST_WEIGHTS
    return Mixer(
        np.concatenate([[HALF], counters]).astype(np.uint32),
        weights.copy(),
        np.zeros((n_channels, 2), np.int64),
        np.zeros(N_INPUTS, np.int64),
        np.zeros(4, np.int64),
        np.zeros(N_INPUTS, np.int64),
        np.zeros(4, np.int64),
        np.zeros(WIDTH, np.uint32),
        np.zeros(WIDTH, np.int32),
    )


def new_trace(n_images: int, n_positions: int) -> Trace:
    """Return what is remembered before the first latent of a set."""
    return Trace(np.zeros((n_positions * n_images, 2), np.int64), np.zeros((n_images, 4), np.int64))


@inline
def _mass_below(number: int, table: int, tables: Tables) -> int:
    """Return the frequencies, 0 to 65535, of the table's numbers below this one; its escape is not one."""
    row = 4 * table
    entry = clamp(number - tables.places[row], 0, tables.places[row + 2])
    return int64(tables.cumulative[tables.places[row + 1] + entry])


@inline
def _size(n: int) -> int:
    """Return a class, 0 to 5, of a sum of magnitudes."""
    return int64(n >= 1) + int64(n >= 2) + int64(n >= 3) + int64(n >= 5) + int64(n >= 9)


@inline
def _step(x: int, most: int) -> int:
    """Return x, clamped to +-most, counted from 0."""
    return clamp(x, -most, most) + most


@inline
def _set_contexts(
    mixer: Mixer,
    trace: Trace,
    place: int,
    image: int,
    channel: int,
    base: int,
    symbols: I32,
    at: int,
    stride: int,
    grid: I64,
) -> None:
    """Set mixer.contexts and mixer.sets for the latent `at`, of a base, at the place row * columns + column.

    stride: latents of a position, all images. What lies outside of the grid is 0.
    """
    n_images, n_columns = grid[0], grid[2]
    row, column = place // n_columns, place % n_columns
    has_left, has_right = column > 0, column + 1 < n_columns
    line = n_columns * stride
    left = int64(symbols[at - stride]) if has_left else int64(0)
    left2 = int64(symbols[at - 2 * stride]) if column > 1 else int64(0)
    up = int64(symbols[at - line]) if row > 0 else int64(0)
    up2 = int64(symbols[at - 2 * line]) if row > 1 else int64(0)
    corner = int64(symbols[at - line - stride]) if row > 0 and has_left else int64(0)
    right = int64(symbols[at - line + stride]) if row > 0 and has_right else int64(0)

    cell = place * n_images + image
    flags, expected = int64(65536), int64(65536)
    if has_left:
        flags, expected = flags + trace.near[cell - n_images, 0], expected + trace.near[cell - n_images, 1]
    if row > 0:
        above = cell - n_columns * n_images
        flags, expected = flags + trace.near[above, 0], expected + trace.near[above, 1]
        if has_left:
            flags += trace.near[above - n_images, 0]
            expected += trace.near[above - n_images, 1]
        if has_right:
            flags += trace.near[above + n_images, 0]
            expected += trace.near[above + n_images, 1]
    around = bin_of(log16(flags), log16(expected), 6, BINS)
    here = trace.here
    now = bin_of(log16(here[image, 0] + 32768), log16(here[image, 1] + 32768), 6, BINS)
    own = mixer.channels
    often = bin_of(log16(own[channel, 0] + 65536), log16(own[channel, 1] + 65536), 6, BINS)
    last, before = here[image, 2], here[image, 3]

    sizes = 6 * _size(abs(left) + abs(up))
    sizes += _size(abs(corner) + abs(right) + ((abs(left2) + abs(up2)) >> 1))
    w, n, ww, nn = left - base, up - base, left2 - base, up2 - base
    nw, ne = corner - base, right - base
    far = ((_step(ne, 1) * 3 + _step(nw, 1)) * 5 + _step(ww, 2)) * 5 + _step(nn, 2)
    slope = left + up - corner - base
    contexts = mixer.contexts
    contexts[1] = _C1 + (7 * _step(w, 3) + _step(n, 3)) * 32
    contexts[2] = _C2 + far * 8
    contexts[3] = _C3 + (5 * _step(last, 2) + _step(before, 2)) * 32
    contexts[4] = _C4 + often * 32
    contexts[5] = _C5 + (BINS * often + now) * 8
    n_channels = int64(len(own))
    contexts[6] = n_channels * _C6 + 25 * channel + 5 * _step(w, 2) + _step(n, 2)
    contexts[7] = n_channels * _C7 + 15 * channel + 3 * _step(w + n, 2) + _step(last, 1)
    contexts[8] = n_channels * _C8 + 15 * channel + 3 * _step(slope, 2) + _step(ne, 1)
    contexts[9] = n_channels * _C9 + 9 * channel + 3 * _step(w, 1) + _step(n, 1)
    contexts[10] = n_channels * _C10 + 9 * channel + 3 * _step(ne, 1) + _step(nw, 1)
    contexts[11] = n_channels * _C11 + 9 * channel + 3 * _step(ww, 1) + _step(nn, 1)
    contexts[12] = n_channels * _C12 + 9 * channel + 3 * _step(last, 1) + _step(before, 1)
    contexts[13] = n_channels * _C13 + BINS * channel + now
    contexts[14] = n_channels * _C14 + BINS * channel + around
    for i in range(1, N_INPUTS):
        contexts[i] = 1 + N_NODES * (contexts[i] + (N_COMMON if i > 5 else 0))
    mixer.sets[0] = 0
    mixer.sets[1] = (N_SETS + channel) * (N_NODES * WIDTH)
    mixer.sets[2] = (1 + BINS * now + around) * (N_NODES * WIDTH)
    mixer.sets[3] = (1 + BINS * BINS + sizes) * (N_NODES * WIDTH)


@inline
def _decide(
    mixer: Mixer, coder: U64, node: int, p20: int, bit: int, sink: U8 | None, source: U8 | None
) -> int:
    """Code a decision that the network gives the probability p20, of 2^20; learn from it; return the bit."""
    p20 = clamp(p20, 64, (1 << 20) - 64)
    mixer.counters[0] = uint32(p20 << 12)
    level = N_NODES * (clamp(int64(STRETCH[p20 >> 8]) + 2048, 0, 4095) >> 7)
    coarse = N_NODES * (level // (4 * N_NODES))
    for i in range(1, N_INPUTS):
        mixer.at[i] = mixer.contexts[i] + node
    mixer.at[1] += level
    mixer.at[2] += coarse
    mixer.at[3] += level
    mixer.at[4] += level
    mixer.at[5] += coarse
    for i in range(4):
        mixer.rows[i] = mixer.sets[i] + node * WIDTH
    logit = predict15(mixer.counters, mixer.at, STRETCH, mixer.weights, mixer.rows, mixer.seen, mixer.logits)
    p = squash(logit)
    low, high, code, pos, bit = code_bit(
        coder[0], coder[1], coder[2], coder[3], bit, clamp(p, P_MIN, 65536 - P_MIN), sink, source
    )
    coder[0], coder[1], coder[2], coder[3] = low, high, code, pos
    train15(
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
def _code_large(coder: U64, magnitude: int, sink: U8 | None, source: U8 | None) -> int:
    """Code a magnitude of MAX_UNARY or more; return it: at most MAX_UNARY - 2 + 2^(MAX_EXPONENT + 1)."""
    n_bits = 0
    if sink is not None:
        while (magnitude - MAX_UNARY + 1) >> (n_bits + 1) > 0:
            n_bits += 1
    for z in range(MAX_EXPONENT):
        if code_raw(coder, 1, 1 if z < n_bits else 0, sink, source) == 0:
            break
        if source is not None:
            n_bits = z + 1
    rest = code_raw(coder, n_bits, magnitude - MAX_UNARY + 1, sink, source)
    return MAX_UNARY - 1 + (1 << n_bits) + (rest & ((1 << n_bits) - 1))


@inline
def _code_residual(
    mixer: Mixer,
    coder: U64,
    table: int,
    tables: Tables,
    residual: int,
    is_sure: bool,
    sink: U8 | None,
    source: U8 | None,
) -> int:
    """Code a residual in contexts that are set; return it. It is known not to be 0 if `is_sure`."""
    below, above = _mass_below(0, table, tables), 65536 - _mass_below(1, table, tables)
    differs = int64(1)
    if not is_sure:
        p20 = (below + above) << 4
        differs = _decide(mixer, coder, 0, p20, int64(residual != 0), sink, source)
    if differs == 0:
        return 0
    # The escape is half below and half above; it is at least 1, so their sum is not 0.
    escape = (65536 - _mass_below(1 << 31, table, tables)) >> 1
    below, above = below + escape, above - escape
    p20 = (below << 20) // (below + above)
    negative = _decide(mixer, coder, 1, p20, int64(residual < 0), sink, source)
    mass = below if negative == 1 else above
    magnitude, more = int64(1), int64(1)
    while more == 1 and magnitude < MAX_UNARY:
        if negative == 1:
            beyond = _mass_below(-magnitude, table, tables) + escape
        else:
            beyond = 65536 - _mass_below(magnitude + 1, table, tables) - escape
        # Behind the last entry the table says nothing more.
        p20 = (beyond << 20) // mass if beyond < mass else int64(1 << 19)
        node = min(magnitude + 1, N_NODES - 1)
        more = _decide(mixer, coder, node, p20, int64(abs(residual) > magnitude), sink, source)
        magnitude += more
        mass = beyond
    if magnitude == MAX_UNARY:
        magnitude = _code_large(coder, abs(residual), sink, source)
    return -magnitude if negative == 1 else magnitude


@inline
def _code_group(
    mixer: Mixer,
    trace: Trace,
    grid: I64,
    tables: Tables,
    place: int,
    image: int,
    channels: tuple[int, int],
    indexes: I32,
    bases: I32,
    first: int,
    symbols: I32,
    at: int,
    coder: U64,
    sink: U8 | None,
    source: U8 | None,
) -> int:
    """Code latents of the channels (low, high) of an image at a place; return OK or a status.

    Their tables and bases are from `first` on in indexes and bases; they are from `at` on in symbols.
    """
    low, high = channels
    stride = grid[0] * int64(len(mixer.channels))
    here, near, cell = trace.here, trace.near, place * grid[0] + image
    for c in range(high - low):
        channel, table, base = low + c, int64(indexes[first + c]), int64(bases[first + c])
        zero = _mass_below(1, table, tables) - _mass_below(0, table, tables)
        expected = 65536 - zero
        residual = int64(0)
        if sink is not None:
            residual = int64(symbols[at + c]) - base
        is_sure = zero > SURE
        differs = int64(1)
        if is_sure:
            differs = int64(residual != 0)
            a, b, x, pos, differs = code_bit(
                coder[0], coder[1], coder[2], coder[3], differs, expected, sink, source
            )
            coder[0], coder[1], coder[2], coder[3] = a, b, x, pos
        if differs == 1:
            _set_contexts(mixer, trace, place, image, channel, base, symbols, at + c, stride, grid)
            residual = _code_residual(mixer, coder, table, tables, residual, is_sure, sink, source)
        if source is not None:
            value = base + residual
            if abs(value) > MAX_SYMBOL:
                return BAD_SYMBOL
            symbols[at + c] = value
        flag = int64(65536) if residual != 0 else int64(0)
        here[image, 0] = ((here[image, 0] * 236) >> 8) + flag
        here[image, 1] = ((here[image, 1] * 236) >> 8) + expected
        here[image, 3] = here[image, 2]
        here[image, 2] = residual
        near[cell, 0] += flag
        near[cell, 1] += expected
        mixer.channels[channel, 0] += flag - (mixer.channels[channel, 0] >> 6)
        mixer.channels[channel, 1] += expected - (mixer.channels[channel, 1] >> 6)
    return overrun(coder[3], sink, source)


@kernel
def encode(
    mixer: Mixer,
    trace: Trace,
    grid: I64,
    bounds: I64,
    tables: Tables,
    symbols: I32,
    indexes: I32,
    bases: I32,
    coder: U64,
    sink: U8,
) -> int:
    """Encode the symbols of a set, whose tables and bases `contextnet.walk` found; return OK or OUTPUT_FULL.

    IN grid i64 (3): images, rows, columns; bounds i64: channels of groups; symbols i32, within +-MAX_SYMBOL,
    indexes, bases i32, in the order of the stream. IN/OUT coder: of `rangecoder`. trace: fresh.
    """
    n_images, at = grid[0], int64(0)
    for place in range(grid[1] * grid[2]):
        trace.here[:] = 0
        for group in range(int64(len(bounds)) - 1):
            channels = (bounds[group], bounds[group + 1])
            for image in range(n_images):
                status = _code_group(
                    mixer,
                    trace,
                    grid,
                    tables,
                    place,
                    image,
                    channels,
                    indexes,
                    bases,
                    at,
                    symbols,
                    at,
                    coder,
                    sink,
                    None,
                )
                if status < OK:
                    return status
                at += channels[1] - channels[0]
    return OK


@kernel
def decode(
    mixer: Mixer,
    trace: Trace,
    net: Network,
    bias: Biases,
    work: Work,
    grid: I64,
    tables: Tables,
    coder: U64,
    source: U8,
    chunk: I32,
    symbols: I32,
) -> int:
    """Decode the symbols of a set; return OK, INPUT_EXHAUSTED or BAD_SYMBOL.

    As `encode`, with the network at work beside it: net, bias and work are those of `contextnet.walk`.
    chunk: i32 scratch (2, n), n the channels of the greatest group. OUT symbols.
    """
    n_images, n_units, at = grid[0], int64(len(net.scale_a)), int64(0)
    slots = int64(work.sums.size) // (grid[2] * n_images * n_units)
    for place in range(grid[1] * grid[2]):
        row, column = place // grid[2], place % grid[2]
        if column == 0:
            clear_row(work, grid, row, n_units)
        trace.here[:] = 0
        sums = ((row % slots) * grid[2] + column) * n_images * n_units
        for group in range(int64(len(net.bounds)) - 1):
            channels = (net.bounds[group], net.bounds[group + 1])
            for image in range(n_images):
                foretell(net, bias, work, sums + image * n_units, image, group)
                choose(net, bias, work, group, 0, chunk[0], chunk[1])
                status = _code_group(
                    mixer,
                    trace,
                    grid,
                    tables,
                    place,
                    image,
                    channels,
                    chunk[0],
                    chunk[1],
                    0,
                    symbols,
                    at,
                    coder,
                    None,
                    source,
                )
                if status < OK:
                    return status
                absorb(net, work, grid, row, column, image, group, at, symbols)
                at += channels[1] - channels[0]
    return OK
