"""The fast index-map coder: direct contexts and counters, seven inputs a decision.

It asks the same questions as the dense coder, with less to go by: three hashed contexts without check
bytes and four direct ones. With `pairs`, decisions down the tree mix two counters only: for photographs,
where every pixel walks the tree. Small images share what they can: with SHARED, counters belong to a depth in
place of a node, and go on over images whose palettes differ. FORMAT.md section 6.7 is the law.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import int64, uint8, uint64

from triptych_kernels import colormodel, mapmodel, runs
from triptych_kernels._jit import inline, kernel
from triptych_kernels.arrays import I32, I64, U8, U16, U32, U64
from triptych_kernels.contextmix import (
    HALF,
    STRETCH,
    clamp,
    decayed,
    predict7,
    squash,
    step_of,
    train7,
)
from triptych_kernels.mapmodel import K1, K4, PAD, SHARED, Scratch
from triptych_kernels.palettetree import DEPTH, N_DEPTHS, Tree
from triptych_kernels.rangecoder import code_bit, overrun
from triptych_kernels.status import OK

N_HASHED = 3
N_DIRECT = 4
WIDTH = 8
FLAG_ROWS = 3 * 64
EQUAL_AT = 256
SECOND_ROWS = EQUAL_AT + 3 * 256
RATE_MIN = 32
LEARNING_RATE = 300
LEARNING_RATE_MIN = 60
PAIR_GAIN = 1


class FastModel(NamedTuple):
    """Adaptive state of one palette, or of all with SHARED; a batch of maps goes on with it.

    counters: u32: N_DIRECT * 4096 for candidates; n * 1024 for tree nodes (n = N_DEPTHS with SHARED),
    N_DIRECT times, or twice with `pairs`; then 3 << line_bits hashed in lines of 16. weights: i32 rows of
    WIDTH. pair_weights: i32 (n * 16). run_counters, run_weights: see runs. matches: see mapmodel. rate: i64
    (1), 8 fractional bits. layout: i64 (2), n and where hashed counters begin.
    """

    counters: U32
    weights: I32
    pair_weights: I32
    run_counters: U32
    run_weights: I32
    matches: U16
    rate: I64
    layout: I64


def new_model(k: int, line_bits: int, pairs: int) -> FastModel:
    """Return the model before the first pixel; k colours, 3 * 2^line_bits hashed counters."""
    n = N_DEPTHS if pairs == SHARED else max(1, k - 1)
    hashed_at = N_DIRECT * 4096 + (2 if pairs else N_DIRECT) * n * 1024
    first_rows = n + FLAG_ROWS
    weights = np.zeros((first_rows + SECOND_ROWS) * WIDTH, np.int32)
    weights[: first_rows * WIDTH] = 20480
    return FastModel(
        np.full(hashed_at + (N_HASHED << line_bits), HALF, np.uint32),
        weights,
        np.full(n * 16, 40000, np.int32),
        runs.new_counters(),
        runs.new_weights(),
        np.zeros((2, mapmodel.MATCH_SIZE), np.uint16),
        np.array([LEARNING_RATE << 8], np.int64),
        np.array([n, hashed_at], np.int64),
    )


def begin_palette(model: FastModel, line_bits: int) -> None:
    """Forget, with SHARED, hashed counters and matches: under other colours they mean nothing.

    line_bits are the next image's: no more is cleared than a model of its own would have.
    """
    hashed_at = int(model.layout[1])
    model.counters[hashed_at : hashed_at + (N_HASHED << line_bits)] = HALF
    model.matches[:] = 0


@inline
def _find_lines(hashes: U64, page: int, hashed_at: int, line_bits: int, found: I64) -> None:
    """Set found[0:3] to the first counters of this page's lines."""
    salt = uint64(page + 1) * K1
    shift = uint64(64 + 4) - uint64(line_bits)
    for i in range(N_HASHED):
        line = int64(((hashes[i] + salt) * K4) >> shift) << 4
        found[i] = hashed_at + (int64(i) << int64(line_bits)) + line


@inline
def _flag_inputs(s: int, stage: int, level: int, equal: int, same: int, history: int, at: I64) -> None:
    """Set at[3:7] for the question "is the pixel candidate s"."""
    at[3] = (equal << 4) | same
    at[4] = 4096 + (((history & 255) << 4) | same)
    at[5] = (2 * 4096) + ((level * 4 + stage) * 256 + s)
    at[6] = (3 * 4096) + (((equal & 63) << 6) | (level << 4) | same)


@inline
def _color_inputs(placed: I32, node: int, n_nodes: int, texture: int, at: I64) -> None:
    """Set at[3:7]: counters of this node, chosen by placed predictions."""
    p = placed
    at[3] = int64(p[9]) * 8 + texture
    at[4] = int64(p[18]) * 32 + int64(p[19])
    at[5] = int64(p[8]) * 8 + texture
    at[6] = int64(p[26]) * 100 + int64(p[27]) * 10 + int64(p[28])
    for i in range(N_DIRECT):
        at[3 + i] += (N_DIRECT * 4096) + ((int64(i) * n_nodes + node) << 10)


@kernel
def code_fast(
    plane: U8,
    height: int,
    width: int,
    colors: U8,
    n_channels: int,
    tree: Tree,
    model: FastModel,
    line_bits: int,
    n_flags: int,
    pairs: int,
    scratch: Scratch,
    coder: U64,
    sink: U8 | None,
    source: U8 | None,
) -> int:
    """Code one index map; return OK or a status.

    Arguments as densemap.code_dense; pairs: 1 if tree decisions mix two counters only, or SHARED.
    """
    k = int64(tree.path.size)
    n_nodes, hashed_at = model.layout[0], model.layout[1]
    second_at = n_nodes + FLAG_ROWS
    low, high, code, pos = coder[0], coder[1], coder[2], coder[3]
    stride = uint64(width + 2 * PAD)
    near, hashes, at, rows = scratch.near, scratch.hashes, scratch.at, scratch.rows
    found, slots, trace, above = scratch.found, scratch.slots, scratch.trace, scratch.above
    seen, logits, candidates = scratch.seen, scratch.logits, scratch.candidates
    predictions, placed = scratch.predictions, scratch.placed
    for y in range(height):
        row = uint64(y + PAD) * stride + uint64(PAD)
        mapmodel.pad_row(plane, row, uint64(width), y == 0)
        rate = model.rate[0] >> 8
        runs.new_row(trace)
        x = 0
        while x < width:
            q = row + uint64(x)
            bit, s, n = 0, -1, 0
            flat = runs.is_flat(plane, q, stride)
            if flat:
                low, high, code, pos, n = runs.code_flat(
                    plane,
                    q,
                    stride,
                    int64(width) - x,
                    trace,
                    above[x:],
                    model.run_counters,
                    model.run_weights,
                    slots,
                    low,
                    high,
                    code,
                    pos,
                    sink,
                    source,
                )
                if n == runs.BLOCK:
                    runs.pass_block(trace, above[x:])
                    x += n
                    continue
            if n == 0:
                mapmodel.look_around(plane, q, stride, near)
                n_candidates, level, equal, at_nine, at_six = 0, 0, 0, 0, 0
                if n_flags > 0 or pairs == 0:
                    mapmodel.growing_hashes(near, hashes)
                    at_nine, at_six = mapmodel.match_slot(hashes[3]), mapmodel.match_slot(hashes[2])
                    mapmodel.stir(hashes, N_HASHED)
                if n_flags > 0:
                    equal = mapmodel.equalities(near)
                    n_candidates, level = mapmodel.list_candidates(
                        near, flat, model.matches, at_nine, at_six, candidates
                    )
                    n_candidates = min(n_candidates, int64(n_flags))
                stage, node, page, texture = 0, -1, -1, 0
                path = 0
                if sink is not None:
                    path = tree.path[plane[q]]
                while s < 0 and stage < n_candidates:
                    candidate = candidates[0, stage]
                    same = mapmodel.equals_near(candidate, near)
                    if page < 0:
                        page = 1024 + candidate
                        _find_lines(hashes, page, hashed_at, line_bits, found)
                    slot = mapmodel.flag_slot(stage, candidates)
                    for i in range(N_HASHED):
                        at[i] = found[i] + slot
                    _flag_inputs(candidate, stage, level, equal, same, trace[runs.HISTORY], at)
                    rows[0] = (n_nodes + stage * 64 + level * 16 + same) * WIDTH
                    rows[1] = (second_at + EQUAL_AT + stage * 256 + equal) * WIDTH
                    logit = predict7(model.counters, at, STRETCH, model.weights, rows, seen, logits)
                    p = squash(logit)
                    if sink is not None:
                        bit = int64(int64(plane[q]) == candidate)
                    low, high, code, pos, bit = code_bit(
                        low, high, code, pos, bit, clamp(p, 2, 65534), sink, source
                    )
                    step = step_of(bit, p, rate)
                    train7(model.counters, at, model.weights, rows, seen, logits, step, bit, RATE_MIN)
                    if bit == 1:
                        s = candidate
                    stage += 1
                if s < 0:
                    s = 0
                    if k > 1:
                        node = 0
                        texture = colormodel.predict_colors(colors, near, n_channels, predictions)
                while node >= 0:
                    bit = path & 1
                    path >>= 1
                    colormodel.project(predictions, tree.axis, node, placed)
                    if pairs != 0:
                        row_of = int64(tree.axis[node, DEPTH]) if pairs == SHARED else node
                        _color_inputs(placed, row_of, n_nodes, texture, at)
                        slots[0], slots[1], slots[2] = at[3], at[4], (row_of * 8 + texture) * 2
                        p = squash(runs.pair_logit(model.counters, model.pair_weights, slots))
                        low, high, code, pos, bit = code_bit(
                            low, high, code, pos, bit, clamp(p, 2, 65534), sink, source
                        )
                        runs.pair_train(model.counters, model.pair_weights, slots, p, bit, PAIR_GAIN)
                    else:
                        if int64(tree.page[node]) != page:
                            page = int64(tree.page[node])
                            _find_lines(hashes, page, hashed_at, line_bits, found)
                        slot = int64(tree.slot[node])
                        for i in range(N_HASHED):
                            at[i] = found[i] + slot
                        _color_inputs(placed, node, n_nodes, texture, at)
                        rows[0] = node * WIDTH
                        rows[1] = (second_at + int64(placed[17]) * 8 + texture) * WIDTH
                        logit = predict7(model.counters, at, STRETCH, model.weights, rows, seen, logits)
                        p = squash(logit)
                        low, high, code, pos, bit = code_bit(
                            low, high, code, pos, bit, clamp(p, 2, 65534), sink, source
                        )
                        step = step_of(bit, p, rate)
                        train7(model.counters, at, model.weights, rows, seen, logits, step, bit, RATE_MIN)
                    node = int64(tree.right[node]) if bit == 1 else int64(tree.left[node])
                    if node < 0:
                        s = -1 - node
                if n_flags > 0:
                    mapmodel.remember_match(model.matches[0], at_nine, s)
                    mapmodel.remember_match(model.matches[1], at_six, s)
                plane[q] = uint8(s)
            runs.pass_pixel(plane, q, stride, flat, trace, above[x:])
            x += 1
        model.rate[0] = decayed(model.rate[0], LEARNING_RATE_MIN << 8)
        if overrun(pos, sink, source) != OK:
            break
    coder[0], coder[1], coder[2], coder[3] = low, high, code, pos
    return overrun(pos, sink, source)
