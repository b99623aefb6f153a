"""The integer context network: from latents that are known, the tables of those that are not.

A masked network of two hidden layers (FORMAT.md section 13): int8 weights, held as int16, int32
sums, int16 activations. Latents of one position come in groups of channels; hidden units of degree g see
earlier positions and the groups before g of this one. The first layer is kept as running sums: every latent
that is not zero adds its column to the sums of the positions that it foretells.

What codes the symbols is another kernel: here each symbol gets the number of a table and a base, and is
coded as the difference from its base. `walk` finds those of known symbols; `decode` asks for symbols chunk by
chunk.

No sum passes 31 bits: an input is at most MAX_INPUT = 2047, the two weights of a column together at most 256
in magnitude, and (taps x channels) at most 4096, so a first sum is at most 4096 * 2047 * 256 < 2^31; later
layers have at most 2048 inputs of at most MAX_HIDDEN = 8191 with weights of at most 128, and
2048 * 8191 * 128 < 2^31. Multipliers are below 2^31 and biases below 2^41, so products and sums stay below
2^63.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import int16, int32, int64

from triptych_kernels._jit import inline, kernel
from triptych_kernels.arrays import I16, I32, I64, U8, U64
from triptych_kernels.dotproduct import axpy, matvec
from triptych_kernels.status import BAD_SYMBOL, OK
from triptych_kernels.tablerans import Tables, decode_symbols

MAX_INPUT, MAX_HIDDEN = 2047, 8191
MAX_SUM_INPUTS, MAX_UNITS = 4096, 2048
MAX_SYMBOL = 32767
N_SCALES, N_FRACTIONS = 56, 32
"""Tables: one for each scale and each place of the mean between integers."""
SHIFT = 24
"""Fraction bits of multipliers, and of biases before rounding."""
UNIT_STEP = 16
"""Hidden units of one degree are a multiple of so many: vectors have whole lanes."""


class Network(NamedTuple):
    """Weights, packed by group. G groups of M channels, H units, T taps.

    bounds: i64 (G + 1), channels of groups. units: i64 (G + 1), units[g] to units[g + 1] have degree g.
    norm: i64 (M), factors of inputs. taps: i64 (T, 2), rows down and columns right from a known position to
    one that it foretells; the last is (0, 0). columns: i16 flat (T, 2, M, H), first layer: what a latent
    adds, times its magnitude, if it is positive or negative. second, third: i16 flat, of each group a matrix
    of its rows and of columns 0 to units[g + 1]; second_at, third_at: i64 (G), where each begins; the third's
    rows are a group's means, then its scales. scale_a, scale_b: i64 (H), scale_c: i64 (2 M), multipliers.
    """

    bounds: I64
    units: I64
    norm: I64
    taps: I64
    columns: I16
    second: I16
    second_at: I64
    third: I16
    third_at: I64
    scale_a: I64
    scale_b: I64
    scale_c: I64


class Biases(NamedTuple):
    """Of one level, with SHIFT fraction bits: i64 (H), (H) and (2 M)."""

    a: I64
    b: I64
    c: I64


class Work(NamedTuple):
    """Scratch for n images of a grid of columns: see `new_work`.

    sums: i32 flat (rows down + 1, or all rows; columns, n, H). first, second: i16 flat (n, H). out: i32.
    """

    sums: I32
    first: I16
    second: I16
    out: I32


def new_work(net: Network, n_images: int, n_rows: int, n_columns: int) -> Work:
    """Return scratch for images of such grids: sums of as many rows as a row foretells, and of its own."""
    n_units, slots = len(net.scale_a), min(int(net.taps[:, 0].max()), n_rows - 1) + 1
    return Work(
        np.zeros(slots * n_columns * n_images * n_units, np.int32),
        np.zeros(n_images * n_units, np.int16),
        np.zeros(n_images * n_units, np.int16),
        np.zeros(max(n_units, 2 * len(net.norm)), np.int32),
    )


@inline
def _activate(total: int, scale: int, bias: int) -> int:
    """Return a hidden unit of a sum: scaled, clamped, rectified."""
    value = (total * scale + bias) >> int64(SHIFT)
    value = min(max(value, int64(-MAX_HIDDEN)), int64(MAX_HIDDEN))
    return value if value >= int64(0) else value >> int64(3)


@inline
def foretell(net: Network, bias: Biases, work: Work, at: int, image: int, group: int) -> int:
    """Compute the units of one degree, and the group's outputs into work.out; return how many outputs.

    i64 at: where the sums of this position and image begin.
    """
    n_units = int64(len(net.scale_a))
    begin, end = net.units[group], net.units[group + 1]
    low, high = net.bounds[group], net.bounds[group + 1]
    n_rows = 2 * (high - low)
    first = work.first[image * n_units : image * n_units + n_units]
    second = work.second[image * n_units : image * n_units + n_units]
    for unit in range(begin, end):
        first[unit] = int16(_activate(int64(work.sums[at + unit]), net.scale_a[unit], bias.a[unit]))
    if end > begin:
        matvec(net.second, net.second_at[group], end - begin, end, first, work.out)
    for unit in range(begin, end):
        second[unit] = int16(_activate(int64(work.out[unit - begin]), net.scale_b[unit], bias.b[unit]))
    if end > 0:
        matvec(net.third, net.third_at[group], n_rows, end, second, work.out)
    else:
        for row in range(n_rows):
            work.out[row] = int32(0)
    return n_rows


@inline
def choose(net: Network, bias: Biases, work: Work, group: int, first: int, indexes: I32, bases: I32) -> None:
    """Turn outputs in work.out into tables and bases of a group's symbols, from `first` on."""
    low, high = net.bounds[group], net.bounds[group + 1]
    n = high - low
    for c in range(n):
        row = 2 * low + c
        mean = (int64(work.out[c]) * net.scale_c[row] + bias.c[row]) >> int64(SHIFT)
        mean = min(max(mean, int64(-MAX_SYMBOL)), int64(MAX_SYMBOL))
        row += n
        scale = (int64(work.out[n + c]) * net.scale_c[row] + bias.c[row]) >> int64(SHIFT)
        scale = min(max(scale, int64(0)), int64(N_SCALES - 1))
        base = (mean + int64(N_FRACTIONS // 2)) >> int64(5)
        indexes[first + c] = int32(scale * N_FRACTIONS + mean - base * N_FRACTIONS + N_FRACTIONS // 2)
        bases[first + c] = int32(base)


@inline
def absorb(
    net: Network,
    work: Work,
    grid: I64,
    row: int,
    column: int,
    image: int,
    group: int,
    first: int,
    symbols: I32,
) -> None:
    """Add what a group's symbols, from `first` on, say of this position and of later ones."""
    n_units, n_taps, n_channels = int64(len(net.scale_a)), int64(len(net.taps)), int64(len(net.norm))
    n_images, n_rows, n_columns = grid[0], grid[1], grid[2]
    slots = int64(work.sums.size) // (n_columns * n_images * n_units)
    low = net.bounds[group]
    for c in range(net.bounds[group + 1] - low):
        value = int64(symbols[first + c])
        if value == int64(0):
            continue
        channel = low + c
        sign = int64(1) if value < int64(0) else int64(0)
        size = min(abs(value) * net.norm[channel], int64(MAX_INPUT))
        for tap in range(n_taps):
            down, right = row + net.taps[tap, 0], column + net.taps[tap, 1]
            if down >= n_rows or right < 0 or right >= n_columns:
                continue
            # At its own position a group tells only units of later degrees.
            skip = net.units[group + 1] if tap == n_taps - 1 else int64(0)
            if skip == n_units:
                continue
            at = (((down % slots) * n_columns + right) * n_images + image) * n_units + skip
            begin = ((tap * 2 + sign) * n_channels + channel) * n_units + skip
            axpy(net.columns, begin, n_units - skip, size, work.sums[at : at + n_units - skip])


@inline
def clear_row(work: Work, grid: I64, row: int, n_units: int) -> None:
    """Forget the sums of the row before this one: their place is that of a row not yet begun."""
    size = grid[2] * grid[0] * n_units
    slots = int64(work.sums.size) // size
    at = ((row + slots - 1) % slots) * size
    if row > 0:
        for i in range(at, at + size):
            work.sums[i] = int32(0)


@kernel
def walk(net: Network, bias: Biases, work: Work, grid: I64, symbols: I32, indexes: I32, bases: I32) -> int:
    """Find the tables and bases of known symbols; return OK.

    IN grid i64 (3): images, rows, columns. IN symbols i32, in the order of the stream: positions in raster
    order, groups, images, channels. OUT indexes, bases i32, like symbols. work: fresh from `new_work`.
    """
    n_images, n_units = grid[0], int64(len(net.scale_a))
    at_symbol = int64(0)
    for row in range(grid[1]):
        clear_row(work, grid, row, n_units)
        slots = int64(work.sums.size) // (grid[2] * n_images * n_units)
        for column in range(grid[2]):
            place = ((row % slots) * grid[2] + column) * n_images * n_units
            for group in range(int64(len(net.bounds)) - 1):
                size = net.bounds[group + 1] - net.bounds[group]
                for image in range(n_images):
                    foretell(net, bias, work, place + image * n_units, image, group)
                    first = at_symbol + image * size
                    choose(net, bias, work, group, first, indexes, bases)
                    absorb(net, work, grid, row, column, image, group, first, symbols)
                at_symbol += n_images * size
    return OK


@kernel
def decode(
    net: Network,
    bias: Biases,
    work: Work,
    grid: I64,
    tables: Tables,
    lanes: int,
    source: U8,
    state: U64,
    chunk: I32,
    symbols: I32,
) -> int:
    """Decode symbols with the tables that the network finds; return OK or the status of the coder.

    As `walk`, but OUT symbols. tables, lanes, source, state: of `tablerans`. chunk: i32 scratch (3, n), n the
    symbols of all images of the greatest group.
    """
    n_images, n_units = grid[0], int64(len(net.scale_a))
    at_symbol = int64(0)
    for row in range(grid[1]):
        clear_row(work, grid, row, n_units)
        slots = int64(work.sums.size) // (grid[2] * n_images * n_units)
        for column in range(grid[2]):
            place = ((row % slots) * grid[2] + column) * n_images * n_units
            for group in range(int64(len(net.bounds)) - 1):
                size = net.bounds[group + 1] - net.bounds[group]
                indexes, bases, coded = chunk[0], chunk[1], chunk[2]
                for image in range(n_images):
                    foretell(net, bias, work, place + image * n_units, image, group)
                    choose(net, bias, work, group, image * size, indexes, bases)
                n = n_images * size
                status = decode_symbols(source, indexes[:n], tables, lanes, state, coded[:n])
                if status < OK:
                    return status
                for i in range(n):
                    value = int64(coded[i]) + int64(bases[i])
                    if abs(value) > int64(MAX_SYMBOL):
                        return BAD_SYMBOL
                    symbols[at_symbol + i] = int32(value)
                for image in range(n_images):
                    absorb(net, work, grid, row, column, image, group, at_symbol + image * size, symbols)
                at_symbol += n
    return OK
