"""Planes of blocks: classified prediction and transform, in closed loop. FORMAT.md section 7 is the law.

A plane is int16 in 1/8 of a sample, less 128, padded to whole squares of 16. Squares come in raster order;
each is one block of 16 or four of 8. A block has a class; the class predicts it from what is reconstructed
above and left (chroma: also from luma) and has a basis for what is left. The decoder's arithmetic is here
alone: the encoder runs it too, so both have the same planes.

No sum overflows 32 bits:

* reconstructed samples are within +-REC_MAX = 2047, so template entries, less their mean, are within 2^12;
  a row of a predictor has magnitudes whose sum is at most PREDICTOR_SUM = 2^18: products sum below 2^30;
* a basis entry is at most 2^14 in magnitude, and the magnitudes of a block sum to at most MAX_TOTAL < 2^13:
  a reconstructed residual is below 2^27 before its step (at most 2^16.3) is applied in 64 bits;
* the encoder's residual is below 2^13 (a prediction is within +-4095), and a row of 256 entries with a
  Euclidean norm of about 2^14 has magnitudes that sum to at most 2^18: below 2^31.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import int16, int32, int64, uint8, uint64

from triptych_kernels._jit import inline, kernel
from triptych_kernels.arrays import F32, I16, I32, I64, U8, U64
from triptych_kernels.blockcost import FEATURE_SHIFT, N_FEATURES, SIEVE_COLUMNS
from triptych_kernels.blockmodel import (
    MAX_MAGNITUDE,
    N_LEVELS,
    P_MIN,
    Mixer,
    bin_of,
    code_coefficients,
    code_tree,
    decide,
    log16,
    to_node,
    tree_contexts,
)
from triptych_kernels.contextmix import STRETCH, clamp, predict7, squash
from triptych_kernels.dotproduct import ROWS, axpy, matvec
from triptych_kernels.status import BAD_SYMBOL, OK

SQUARE = 16
REC_MAX = 2047
PREDICTION_MAX = 4095
PREDICTOR_BITS = 12
PREDICTOR_SUM = 1 << 18
BASIS_BITS = 14
STEP_BITS = 6
RECONSTRUCT_SHIFT = BASIS_BITS + STEP_BITS - 3
LEVEL_OFFSET = 22
"""level = (log_sigma - step + LEVEL_OFFSET) >> 2, with log_sigma = 16 log2(sigma) + 32: see FORMAT.md."""
N_STEPS = 161
ADAPT_MAX = 5
N_WEIGHTS = 9
EVEN_WEIGHT = 4
"""Weights of a bit go by half octaves; this one is that of a block as busy as its surroundings."""


class Basis(NamedTuple):
    """The classes of one size of blocks.

    sizes: i64: side, classes, template columns (padded), kept components (padded), first class number,
    first coefficient number, bits of a class. predictor: i16 (classes * side^2 * columns) in 1/4096.
    transform: i16 (classes * kept * side^2) in 1/16384. log_sigma: i64 (classes, kept), not rising; padding
    is -1000. log_share is the encoder's.
    """

    sizes: I64
    predictor: I16
    transform: I16
    log_sigma: I64


class Plane(NamedTuple):
    """A plane and what is remembered of its blocks; per block of 8 unless said.

    rec, luma: i16 (height, width). magnitudes, luma_magnitudes: i64, 4 times the sum of magnitudes. classes:
    i64, 1 + class, or 65 + class of a block of 16; 0 = none yet. luma_classes: i64. small: u8 (.., 64) and
    large: u8 (per square, 256): magnitudes, at most 2. split: i64 per square.
    """

    rec: I16
    luma: I16
    magnitudes: I64
    luma_magnitudes: I64
    classes: I64
    luma_classes: I64
    small: U8
    large: U8
    split: I64


class Scratch(NamedTuple):
    """Buffers of one coder.

    vector: i16 (2, 384). predicted, sums, quantized, trial: i32 (256). levels, wanted: i64 (256). residual:
    i16 (256). contexts: i64 (7). costs, ranks: i64 (128). chosen: i64 (5), the classes of four blocks of 8
    and of the block of 16. zeros: u8 (256), which stay so.
    """

    vector: I16
    predicted: I32
    sums: I32
    quantized: I32
    levels: I64
    wanted: I64
    residual: I16
    trial: I32
    contexts: I64
    costs: I64
    ranks: I64
    chosen: I64
    zeros: U8


class Search(NamedTuple):
    """What an encoder searches with.

    image: i16 (height, width) as `Plane.rec`. costs: i64 (N_WEIGHTS, N_LEVELS * 256) in 1/1024 squared steps,
    by size in 1/8 steps. bits: see `code_coefficients`. weights: i64 (N_WEIGHTS), of 1/256 bit in 1/65536
    squared steps. tries: i64 (KINDS), how many classes to try for each kind of block. quick: sizes are chosen
    by shortcuts. features, whiteners, spreads: `blockcost.Sieve` of luma classes of 8, used if quick.
    """

    image: I16
    costs: I64
    bits: I64
    weights: I64
    tries: I64
    quick: bool
    features: I16
    whiteners: I16
    spreads: I64


def new_scratch() -> Scratch:
    """Return buffers."""
    return Scratch(
        np.zeros((2, 384), np.int16),
        np.zeros(256, np.int32),
        np.zeros(256, np.int32),
        np.zeros(256, np.int32),
        np.zeros(256, np.int64),
        np.zeros(256, np.int64),
        np.zeros(256, np.int16),
        np.zeros(256, np.int32),
        np.zeros(7, np.int64),
        np.zeros(128, np.int64),
        np.zeros(128, np.int64),
        np.zeros(5, np.int64),
        np.zeros(256, np.uint8),
    )


def new_plane(height: int, width: int, luma: Plane | None) -> Plane:
    """Return an empty plane of whole squares; chroma planes know their luma plane."""
    rec = np.zeros((height, width), np.int16)
    rows, columns = height // 8, width // 8
    magnitudes = np.zeros((rows, columns), np.int64)
    classes = np.zeros((rows, columns), np.int64)
    return Plane(
        rec,
        rec if luma is None else luma.rec,
        magnitudes,
        magnitudes if luma is None else luma.magnitudes,
        classes,
        classes if luma is None else luma.classes,
        np.zeros((rows, columns, 64), np.uint8),
        np.zeros((rows // 2, columns // 2, 256), np.uint8),
        np.zeros((rows // 2, columns // 2), np.int64),
    )


def _steps() -> I64:
    """Return STEPS[i] = floor(64 * 2^(i / 16)), from integers."""
    steps = np.zeros(N_STEPS, np.int64)
    root = 1 << STEP_BITS
    for i in range(N_STEPS):
        while (root + 1) ** 16 <= 1 << (16 * STEP_BITS + i):
            root += 1
        steps[i] = root
    return steps


STEPS = _steps()


@inline
def _gather(plane: Plane, y: int, x: int, side: int, x_max: int, chroma: bool, vector: I16) -> int:
    """Set vector to a block's template, less its mean (and its luma, less its own); return the mean."""
    rec = plane.rec
    has_above, has_left = y > 0, x > 0
    fallback = int64(rec[uint64(y), uint64(x - 1)]) if has_left else 0
    n = 0
    for dy in range(1, 3):
        row = y - dy
        for at in range(x - 2, x + 2 * side):
            if has_above:
                vector[n] = rec[uint64(row), uint64(min(max(at, 0), x_max))]
            else:
                vector[n] = int16(fallback)
            n += 1
    if has_above:
        fallback = int64(rec[uint64(y - 1), uint64(x)])
    for dx in range(1, 3):
        for i in range(side):
            vector[n] = rec[uint64(y + i), uint64(x - dx)] if has_left else int16(fallback)
            n += 1
    total = 0
    first_column = 2 * (2 * side + 2)
    for i in range(side):
        total += int64(vector[2 + i]) + int64(vector[first_column + i])
    shift = 4 if side == 8 else 5
    mean = (total + side) >> shift
    for i in range(n):
        vector[i] = int16(int64(vector[i]) - mean)
    if chroma:
        luma = plane.luma
        total = count = 0
        for i in range(side):
            if has_above:
                total += int64(luma[uint64(y - 1), uint64(x + i)])
                count += 1
            if has_left:
                total += int64(luma[uint64(y + i), uint64(x - 1)])
                count += 1
        around = 0
        if count > 0:
            around = (total + (count >> 1)) >> (shift if count == 2 * side else shift - 1)
        for i in range(side):
            for j in range(side):
                vector[n] = int16(int64(luma[uint64(y + i), uint64(x + j)]) - around)
                n += 1
    return mean


@inline
def _activity(vector: I16, side: int, step: int, contexts: I64) -> int:
    """Set contexts 3 and 4 to what a template's gradients say; return LOG of its variance, cushioned."""
    across = down = energy = 0
    for i in range(2, 2 * side):
        across += abs(int64(vector[i + 1]) - int64(vector[i]))
    first = 2 * (2 * side + 2)
    for i in range(side - 1):
        down += abs(int64(vector[first + i + 1]) - int64(vector[first + i]))
    n = 6 * side + 4
    for i in range(n):
        energy += int64(vector[i]) * int64(vector[i])
    # Mean gradients against the step, in octaves from 1/16: of 14 and 7, or 30 and 15 differences.
    across = log16(across + 8) - (109 if side == 8 else 127)
    down = log16(down + 8) - (93 if side == 8 else 111)
    contexts[4] = clamp((across - step + 80) >> 4, 0, 7) * 8 + clamp((down - step + 80) >> 4, 0, 7)
    energy = energy // n
    contexts[3] = clamp((((log16(energy + 4) - 96) >> 1) - step + 80) >> 2, 0, 31)
    return log16((energy >> 5) + 175)


@inline
def _adaptation(energy_log: int, strength: int) -> int:
    """Return by how many quarter octaves the step of a block is coarser; strength 0 to 4 eighths."""
    return clamp(((energy_log - 153) * strength + 32) >> 6, -ADAPT_MAX, ADAPT_MAX)


@inline
def _weight_of(image: I16, y: int, x: int, side: int, energy_log: int, strength: int) -> int:
    """Return which weight a bit of a block has, by its variance against what the template foretold.

    Where a block is busier than was foretold its step is too fine, and bits count for more; else for less.
    """
    total = energy = 0
    for i in range(side):
        for j in range(side):
            value = int64(image[uint64(y + i), uint64(x + j)])
            total += value
            energy += value * value
    n = side * side
    energy = (energy - total * total // n) // n
    # Half an octave of the weight for each octave that twice the step's square would have moved.
    apart = ((log16((energy >> 5) + 175) - energy_log) * strength + 32) >> 6
    return clamp(EVEN_WEIGHT + apart, 0, N_WEIGHTS - 1)


@inline
def _levels_of(basis: Basis, k: int, step: int, levels: I64) -> int:
    """Set the levels of a class under a step; return how many components are coded."""
    kept = basis.sizes[3]
    n = 0
    for j in range(kept):
        level = (basis.log_sigma[k, j] - step + LEVEL_OFFSET) >> 2
        if level < 0:
            break
        levels[j] = min(N_LEVELS - 1, level)
        n += 1
    return n


@inline
def _predict(basis: Basis, k: int, vector: I16, mean: int, predicted: I32) -> None:
    """Set predicted to what the class says of a block."""
    n, columns = basis.sizes[0] * basis.sizes[0], basis.sizes[2]
    matvec(basis.predictor, k * n * columns, n, columns, vector, predicted)
    for i in range(n):
        value = ((int64(predicted[i]) + (1 << (PREDICTOR_BITS - 1))) >> PREDICTOR_BITS) + mean
        predicted[i] = int32(clamp(value, -PREDICTION_MAX, PREDICTION_MAX))


@inline
def _subtract(image: I16, y: int, x: int, side: int, predicted: I32, residual: I16) -> int:
    """Set residual to what a prediction leaves of a block; return its energy."""
    energy = 0
    for i in range(side):
        for j in range(side):
            at = i * side + j
            value = int64(image[uint64(y + i), uint64(x + j)]) - int64(predicted[at])
            residual[at] = int16(value)
            energy += value * value
    return energy


@inline
def _transform(basis: Basis, k: int, n_coded: int, residual: I16, trial: I32) -> None:
    """Set trial to the first coefficients of a residual, in 1/2^17."""
    n = basis.sizes[0] * basis.sizes[0]
    matvec(basis.transform, k * basis.sizes[3] * n, (n_coded + ROWS - 1) // ROWS * ROWS, n, residual, trial)


@inline
def in_steps(coefficient: int, step: int) -> int:
    """Return a coefficient of `_transform` in 1/256 steps."""
    return (int64(coefficient) * ((1 << 29) // STEPS[uint64(step)]) + (1 << 31)) >> 32


@inline
def _reconstruct(
    basis: Basis,
    k: int,
    n_coded: int,
    quantized: I32,
    step: int,
    predicted: I32,
    sums: I32,
    rec: I16,
    y: int,
    x: int,
) -> None:
    """Write a block: its prediction plus its quantized residual."""
    side = basis.sizes[0]
    n = side * side
    for i in range(n):
        sums[i] = int32(0)
    for j in range(n_coded):
        if quantized[j] != 0:
            axpy(basis.transform, (k * basis.sizes[3] + j) * n, n, int64(quantized[j]), sums)
    scale = STEPS[uint64(step)]
    half = 1 << (RECONSTRUCT_SHIFT - 1)
    for i in range(side):
        for j in range(side):
            at = i * side + j
            value = int64(predicted[at]) + ((int64(sums[at]) * scale + half) >> RECONSTRUCT_SHIFT)
            rec[uint64(y + i), uint64(x + j)] = int16(clamp(value, -REC_MAX, REC_MAX))


@inline
def _near_contexts(plane: Plane, row: int, column: int, size: int, chroma: bool, contexts: I64) -> None:
    """Set contexts 0, 1, 2, 5, 6 of a block at (row, column) of the 8-grid; size is 1 or 2 of its cells."""
    classes = plane.classes
    left = classes[row, column - 1] if column > 0 else 0
    above = classes[row - 1, column] if row > 0 else 0
    corner = classes[row - 1, column - 1] if row > 0 and column > 0 else 0
    further = classes[row - 1, column + size] if row > 0 and column + size < classes.shape[1] else 0
    contexts[0] = 0
    contexts[1] = left
    contexts[2] = above
    contexts[5] = (left * 7 + above * 29 + 1) & 127
    contexts[6] = plane.luma_classes[row, column] if chroma else (corner * 11 + further * 37) & 127


@kernel
def _code_block(
    mixer: Mixer,
    coder: U64,
    basis: Basis,
    plane: Plane,
    scratch: Scratch,
    means: I64,
    row: int,
    column: int,
    chroma: bool,
    plane_number: int,
    k: int,
    step: int,
    strength: int,
    x_max: int,
    search: Search | None,
    sink: U8 | None,
    source: U8 | None,
) -> int:
    """Code one block; the encoder says its class k. Return OK or a status."""
    side = basis.sizes[0]
    size = side >> 3
    kind = (2 if side == 16 else 0) + (1 if chroma else 0)
    y, x = row * 8, column * 8
    vector = scratch.vector[0 if side == 8 else 1]
    mean = _gather(plane, y, x, side, x_max, chroma, vector)
    contexts = scratch.contexts
    energy_log = _activity(vector, side, step, contexts)
    _near_contexts(plane, row, column, size, chroma, contexts)
    tree_contexts(mixer, kind, contexts)
    k = code_tree(mixer, coder, kind, basis.sizes[6], k, sink, source)
    if k >= basis.sizes[1]:
        return BAD_SYMBOL
    step += 4 * _adaptation(energy_log, strength)
    step = clamp(step, 0, N_STEPS - 1)
    levels = scratch.levels
    n_coded = _levels_of(basis, k, step, levels)
    expected = 0
    for j in range(n_coded):
        expected += means[levels[j]]
    expected = (expected >> 6) * 2  # twice the mean magnitudes, in quarters
    magnitudes = plane.magnitudes
    left = above = luma = 0
    for i in range(size):
        if column > 0:
            left += magnitudes[row + i, column - 1]
        if row > 0:
            above += magnitudes[row - 1, column + i]
        for j in range(size):
            luma += plane.luma_magnitudes[row + i, column + j]
    if column == 0:
        left = above if row > 0 else 4
    if row == 0:
        above = left
    ratio, below = log16((left + above) * size + 2), log16(expected + 2)
    luma_bin = 4
    if chroma:
        luma_bin = bin_of(log16(luma + 2), log16((expected * 3 >> 1) + 2), 3, 8)
    beside = above_of = scratch.zeros
    if side == 8:
        if column > 0:
            beside = plane.small[row, column - 1]
        if row > 0:
            above_of = plane.small[row - 1, column]
    else:
        if column > 0:
            beside = plane.large[row >> 1, (column >> 1) - 1]
        if row > 0:
            above_of = plane.large[(row >> 1) - 1, column >> 1]
    _predict(basis, k, vector, mean, scratch.predicted)
    wanted = None
    bits = None
    weight = 0
    if search is not None:
        wanted = scratch.wanted
        _subtract(search.image, y, x, side, scratch.predicted, scratch.residual)
        _transform(basis, k, n_coded, scratch.residual, scratch.trial)
        for j in range(n_coded):
            wanted[j] = in_steps(scratch.trial[j], step)
        bits = search.bits
        which = _weight_of(search.image, y, x, side, energy_log, strength)
        weight = search.weights[which]
    total = code_coefficients(
        mixer,
        coder,
        levels,
        n_coded,
        means,
        kind,
        basis.sizes[4] + plane_number * basis.sizes[1] + k,
        basis.sizes[5] + (plane_number * basis.sizes[1] + k) * basis.sizes[3],
        bin_of(ratio, below, 3, 8),
        bin_of(ratio, below, 6, 16),
        luma_bin,
        beside,
        above_of,
        wanted,
        bits,
        weight,
        scratch.quantized,
        sink,
        source,
    )
    if total < 0:
        return total
    _reconstruct(basis, k, n_coded, scratch.quantized, step, scratch.predicted, scratch.sums, plane.rec, y, x)
    number = k + 1 if side == 8 else 65 + k
    share = 4 * total if side == 8 else total
    for i in range(size):
        for j in range(size):
            plane.classes[row + i, column + j] = number
            magnitudes[row + i, column + j] = share
    kept = plane.small[row, column] if side == 8 else plane.large[row >> 1, column >> 1]
    for j in range(n_coded):
        kept[j] = uint8(min(2, abs(int64(scratch.quantized[j]))))
    return OK


@inline
def _class_costs(mixer: Mixer, kind: int, n_bits: int, bits: I64, costs: I64) -> None:
    """Set costs[2^n_bits + k] to what class k takes, in 1/256 bits, under the contexts that are set."""
    table = N_LEVELS * MAX_MAGNITUDE
    costs[1] = 0
    before = 0
    for node in range(1, 1 << n_bits):
        to_node(mixer, kind, before, node)
        before = node
        logit = predict7(
            mixer.counters, mixer.at, STRETCH, mixer.weights, mixer.rows, mixer.seen, mixer.logits
        )
        p = clamp(squash(logit), P_MIN, 65536 - P_MIN)
        costs[2 * node] = costs[node] + bits[table + ((65536 - p) >> 4)]
        costs[2 * node + 1] = costs[node] + bits[table + (p >> 4)]


@inline
def _sieve(
    search: Search, y: int, x: int, mean: int, vector: I16, scratch: Scratch, n_classes: int, ranks: I64
) -> None:
    """Add to ranks (of classes of blocks of 8) about how many 1/256 bits a block would take."""
    image, residual, products = search.image, scratch.residual, scratch.trial
    rest = 0
    for i in range(8):
        for j in range(8):
            value = int64(image[uint64(y + i), uint64(x + j)]) - mean
            residual[i * 8 + j] = int16(value)
            rest += value * value
    matvec(search.features, 0, N_FEATURES, 64, residual, products)
    for i in range(N_FEATURES):
        value = int64(products[i]) >> FEATURE_SHIFT
        vector[SIEVE_COLUMNS - N_FEATURES + i] = int16(value)
        rest -= 16 * value * value
    rest = max(0, rest)
    for k in range(n_classes):
        matvec(search.whiteners, k * N_FEATURES * SIEVE_COLUMNS, N_FEATURES, SIEVE_COLUMNS, vector, products)
        total = 0
        for i in range(N_FEATURES):
            total += int64(products[i]) * int64(products[i])
        ranks[k] += (total >> 28) + ((rest * search.spreads[k, 1]) >> 24) + search.spreads[k, 0]


@kernel
def _search_block(
    mixer: Mixer,
    basis: Basis,
    plane: Plane,
    scratch: Scratch,
    search: Search,
    row: int,
    column: int,
    chroma: bool,
    step: int,
    strength: int,
    x_max: int,
    which: int,
) -> float:
    """Choose the class of a block (scratch.chosen[which]); return its cost in 1/1024 squared steps."""
    side = basis.sizes[0]
    kind = (2 if side == 16 else 0) + (1 if chroma else 0)
    y, x = row * 8, column * 8
    vector = scratch.vector[0 if side == 8 else 1]
    mean = _gather(plane, y, x, side, x_max, chroma, vector)
    contexts = scratch.contexts
    energy_log = _activity(vector, side, step, contexts)
    _near_contexts(plane, row, column, side >> 3, chroma, contexts)
    tree_contexts(mixer, kind, contexts)
    n_bits = basis.sizes[6]
    class_costs = scratch.costs
    _class_costs(mixer, kind, n_bits, search.bits, class_costs)
    step = clamp(step + 4 * _adaptation(energy_log, strength), 0, N_STEPS - 1)
    scale = 16 * 4096 / (STEPS[step] * STEPS[step])
    coded_scale = scale / (1 << (2 * BASIS_BITS))
    n_classes, first = basis.sizes[1], 1 << n_bits
    tries = search.tries[kind]
    ranks = scratch.ranks
    for k in range(n_classes):
        ranks[k] = class_costs[first + k]
    if search.quick and kind == 0 and search.whiteners.size > 0:
        _sieve(search, y, x, mean, vector, scratch, n_classes, ranks)
    best_cost, best = 1e300, 0
    weight = _weight_of(search.image, y, x, side, energy_log, strength)
    levels, trial, table = scratch.levels, scratch.trial, search.costs[weight]
    size_scale = (1 << 24) // STEPS[uint64(step)]
    for turn in range(min(tries, n_classes)):
        k = turn
        if tries < n_classes:
            k = 0
            for other in range(n_classes):
                if ranks[other] < ranks[k]:
                    k = other
        cost = float(class_costs[first + k] * search.weights[weight]) / 64
        ranks[k] += 1 << 50
        _predict(basis, k, vector, mean, scratch.predicted)
        energy = _subtract(search.image, y, x, side, scratch.predicted, scratch.residual)
        n_coded = _levels_of(basis, k, step, levels)
        _transform(basis, k, n_coded, scratch.residual, trial)
        coded = 0.0
        total = 0
        for j in range(n_coded):
            c = int64(trial[j])
            coded += float(c) * float(c)
            total += table[levels[j] * 256 + min(255, (abs(c) * size_scale) >> 32)]
        cost += float(energy) * scale - coded * coded_scale + float(total)
        if cost < best_cost:
            best_cost, best = cost, k
    scratch.chosen[which] = best
    # In the units of an even weight, so that blocks of other weights compare.
    return best_cost * float(search.weights[EVEN_WEIGHT]) / float(search.weights[weight])


@kernel
def _try_block(
    basis: Basis,
    plane: Plane,
    scratch: Scratch,
    search: Search,
    row: int,
    column: int,
    chroma: bool,
    k: int,
    step: int,
    strength: int,
    x_max: int,
) -> None:
    """Reconstruct a block of 8 as its class would, roughly quantized, so that the next can be tried."""
    y, x = row * 8, column * 8
    vector = scratch.vector[0]
    mean = _gather(plane, y, x, 8, x_max, chroma, vector)
    energy_log = _activity(vector, 8, step, scratch.contexts)
    step = clamp(step + 4 * _adaptation(energy_log, strength), 0, N_STEPS - 1)
    _predict(basis, k, vector, mean, scratch.predicted)
    _subtract(search.image, y, x, 8, scratch.predicted, scratch.residual)
    n_coded = _levels_of(basis, k, step, scratch.levels)
    _transform(basis, k, n_coded, scratch.residual, scratch.trial)
    for j in range(n_coded):
        value = in_steps(scratch.trial[j], step)
        magnitude = (abs(value) + 96) >> 8
        scratch.quantized[j] = int32(-magnitude if value < 0 else magnitude)
    _reconstruct(basis, k, n_coded, scratch.quantized, step, scratch.predicted, scratch.sums, plane.rec, y, x)
    plane.classes[row, column] = k + 1


@inline
def _assume_block(plane: Plane, image: I16, row: int, column: int, k: int) -> None:
    """Let a block of 8 be as good as the image, so that the next can be tried; `_try_block` is slower."""
    y, x = row * 8, column * 8
    for i in range(8):
        for j in range(8):
            plane.rec[uint64(y + i), uint64(x + j)] = image[uint64(y + i), uint64(x + j)]
    plane.classes[row, column] = k + 1


@inline
def _split_contexts(plane: Plane, row: int, column: int, chroma: bool, contexts: I64) -> None:
    """Set the contexts of a square's split."""
    split, classes = plane.split, plane.classes
    left = split[row, column - 1] if column > 0 else 0
    above = split[row - 1, column] if row > 0 else 0
    corner = split[row - 1, column - 1] if row > 0 and column > 0 else 0
    further = split[row - 1, column + 1] if row > 0 and column + 1 < split.shape[1] else 0
    beside = classes[2 * row, 2 * column - 1] if column > 0 else 0
    over = classes[2 * row - 1, 2 * column] if row > 0 else 0
    contexts[0] = left * 3 + above
    contexts[1] = beside
    contexts[2] = over
    contexts[3] = ((left * 3 + above) * 3 + corner) * 3 + further
    contexts[4] = (beside * 7 + over * 29 + 1) & 127
    contexts[5] = plane.luma_classes[2 * row, 2 * column] if chroma else left + above + corner + further
    contexts[6] = plane.luma_classes[2 * row + 1, 2 * column + 1] if chroma else 0


@kernel
def code_plane(
    mixer: Mixer,
    coder: U64,
    small: Basis,
    large: Basis,
    plane: Plane,
    scratch: Scratch,
    means: I64,
    plane_number: int,
    step: int,
    strength: int,
    search: Search | None,
    sink: U8 | None,
    source: U8 | None,
) -> int:
    """Code a plane; return OK or a status.

    plane_number: 0 luma, 1 and 2 chroma. step: 0..N_STEPS - 1. strength: of adaptation, in eighths. means i64
    (N_LEVELS): expected magnitudes in 1/256. An encoder has a search and a sink, a decoder a source.
    IN/OUT everything else.
    """
    chroma = plane_number > 0
    number = max(0, plane_number - 1)
    rows, columns = plane.split.shape
    contexts = scratch.contexts
    x_last = columns * SQUARE - 1
    for square_row in range(rows):
        for square_column in range(columns):
            row, column = 2 * square_row, 2 * square_column
            is_split = 0
            if search is not None:
                cost16 = _search_block(
                    mixer,
                    large,
                    plane,
                    scratch,
                    search,
                    row,
                    column,
                    chroma,
                    step,
                    strength,
                    x_last,
                    int64(4),
                )
                cost8 = 0.0
                if search.quick and chroma and plane.luma_classes[row, column] >= 65:
                    cost8 = cost16  # where luma is not split, chroma hardly ever is
                for i in range(4):
                    x_max = x_last if i < 3 else column * 8 + 15
                    if cost8 < cost16:
                        cost8 += _search_block(
                            mixer,
                            small,
                            plane,
                            scratch,
                            search,
                            row + (i >> 1),
                            column + (i & 1),
                            chroma,
                            step,
                            strength,
                            x_max,
                            i,
                        )
                        if search.quick and i < 3:
                            _assume_block(
                                plane, search.image, row + (i >> 1), column + (i & 1), scratch.chosen[i]
                            )
                        elif cost8 < cost16 and i < 3:
                            _try_block(
                                small,
                                plane,
                                scratch,
                                search,
                                row + (i >> 1),
                                column + (i & 1),
                                chroma,
                                scratch.chosen[i],
                                step,
                                strength,
                                x_max,
                            )
                is_split = 1 if cost8 < cost16 else 0
                for i in range(4):
                    plane.classes[row + (i >> 1), column + (i & 1)] = 0
            _split_contexts(plane, square_row, square_column, chroma, contexts)
            kind = 1 if chroma else 0
            tree_contexts(mixer, kind, contexts)
            to_node(mixer, kind, 0, 0)
            is_split = decide(mixer, coder, is_split, sink, source)
            plane.split[square_row, square_column] = 1 + is_split
            for i in range(4 if is_split == 1 else 1):
                x_max = x_last if is_split == 0 or i < 3 else column * 8 + 15
                k = 0
                if search is not None:
                    k = scratch.chosen[i if is_split == 1 else 4]
                if is_split == 1:
                    status = _code_block(
                        mixer,
                        coder,
                        small,
                        plane,
                        scratch,
                        means,
                        row + (i >> 1),
                        column + (i & 1),
                        chroma,
                        number,
                        k,
                        step,
                        strength,
                        x_max,
                        search,
                        sink,
                        source,
                    )
                else:
                    status = _code_block(
                        mixer,
                        coder,
                        large,
                        plane,
                        scratch,
                        means,
                        row,
                        column,
                        chroma,
                        number,
                        k,
                        step,
                        strength,
                        x_max,
                        search,
                        sink,
                        source,
                    )
                if status != OK:
                    return status
    return OK


@kernel
def collect_rows(plane: Plane, image: I16, side: int, chroma: bool, rows: F32, labels: I64) -> int:
    """Gather the blocks of one size that a coded plane has, for training; return how many.

    image i16: what was coded. OUT rows f32 (n, side^2 + template): samples less the template's mean, then the
    template as the coder saw it, in samples; labels i64: classes.
    """
    n = side * side
    n_template = 6 * side + 4 + (n if chroma else 0)
    vector = np.zeros(384, np.int16)
    found = 0
    size = side >> 3
    n_rows, n_columns = plane.classes.shape
    x_last = n_columns * 8 - 1
    scale = np.float32(0.125)
    for row in range(0, n_rows, size):
        for column in range(0, n_columns, size):
            number = plane.classes[row, column]
            if (number >= 65) != (side == 16):
                continue
            y, x = row * 8, column * 8
            corner = side == 8 and row & 1 == 1 and column & 1 == 1
            mean = _gather(plane, y, x, side, x + 7 if corner else x_last, chroma, vector)
            for i in range(side):
                for j in range(side):
                    rows[found, i * side + j] = np.float32(int64(image[y + i, x + j]) - mean) * scale
            for i in range(n_template):
                rows[found, n + i] = np.float32(vector[i]) * scale
            labels[found] = number - 1 if side == 8 else number - 65
            found += 1
    return found
