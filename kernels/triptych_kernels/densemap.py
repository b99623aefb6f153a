"""The dense index-map coder: the fewest bytes, about a million pixels a second.

An index is first tried against a few candidates (with `n_flags`), then spelled down the palette's colour
tree. Each of these decisions mixes nine bit histories found by hashed index contexts, five counters chosen
by where colour predictions lie on the node's axis, and the odds that a bell around the best prediction
gives; twice, with weights chosen by different contexts, and the mean of both logits counts. Flat
surroundings are handled by run decisions first. Small images share what they can: with SHARED, counters and
weights belong to a depth in place of a node, and go on over images whose palettes differ.
FORMAT.md section 6.6 is the law.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import int64, uint8, uint32, uint64

from triptych_kernels import colormodel, colorodds, mapmodel, regression, runs
from triptych_kernels._jit import inline, kernel
from triptych_kernels.arrays import I32, I64, U8, U16, U32, U64
from triptych_kernels.contextmix import (
    HALF,
    STRETCH,
    clamp,
    decayed,
    predict15,
    refine,
    refine_table,
    refine_train,
    squash,
    step_of,
    train15,
)
from triptych_kernels.histories import NEXT_STATE, STATE_P
from triptych_kernels.mapmodel import K1, K4, PAD, SHARED, Scratch
from triptych_kernels.palettetree import DEPTH, N_DEPTHS, Tree
from triptych_kernels.rangecoder import code_bit, overrun
from triptych_kernels.status import OK

N_HISTORIES = 9
N_COLORS = 5
N_FLAGS = 5
WIDTH = 16
"""Inputs of a decision, with the bias."""
DEAD = 0
"""A counter that stays at one half: the input of a history that has seen nothing."""
ODDS = 1
"""A counter that is set before it is looked at: the odds of the colours."""
HISTORY_AT = 16
FLAG_AT = HISTORY_AT + 2 * N_HISTORIES * 256
COLOR_AT = FLAG_AT + N_FLAGS * 4096
FLAG_ROWS = 3 * 64
PLACED_ROWS = 257
EQUAL_ROWS = 256 + 3 * 256
PAIR_ROWS = 1025
MASK_ROWS = 65
KIND_ROWS = 2
RATE_MIN = 16
LEARNING_RATE = 100
LEARNING_RATE_MIN = 22


class DenseModel(NamedTuple):
    """Adaptive state of one palette, or of all with SHARED; a batch of maps goes on with it.

    lines: u8, 16 << line_bits, hashed: a check byte and 15 bit histories. counters: u32, see the *_AT
    constants. weights: i32 rows of WIDTH. refine_a, refine_b: i32 rows of 33. run_counters,
    run_weights: see runs. matches: see mapmodel. means: see colorodds. rate: i64 (1), learning rate with 8
    fractional bits. layout: i64 (2), for how many nodes, or depths, there are counters, and 1 with SHARED.
    """

    lines: U8
    counters: U32
    weights: I32
    refine_a: I32
    refine_b: I32
    run_counters: U32
    run_weights: I32
    matches: U16
    means: I64
    rate: I64
    layout: I64


def new_model(k: int, line_bits: int, pairs: int) -> DenseModel:
    """Return the model before the first pixel; k colours, 2^line_bits lines of histories."""
    n = N_DEPTHS if pairs == SHARED else max(1, k - 1)
    counters = np.full(COLOR_AT + N_COLORS * n * 1024, HALF, np.uint32)
    counters[HISTORY_AT:FLAG_AT] = np.tile(STATE_P, 2 * N_HISTORIES)
    first_rows, second_rows = n + FLAG_ROWS, 8 * n + FLAG_ROWS
    second_at = first_rows + PLACED_ROWS + EQUAL_ROWS + PAIR_ROWS
    weights = np.zeros((second_at + second_rows + PAIR_ROWS + MASK_ROWS + KIND_ROWS, WIDTH), np.int32)
    weights[:first_rows] = weights[second_at : second_at + second_rows] = 65536 * 42 // 230
    return DenseModel(
        np.zeros(16 << line_bits, np.uint8),
        counters,
        weights.reshape(-1),
        refine_table(first_rows),
        refine_table(EQUAL_ROWS),
        runs.new_counters(),
        runs.new_weights(),
        np.zeros((2, mapmodel.MATCH_SIZE), np.uint16),
        colorodds.new_means(),
        np.array([LEARNING_RATE << 8], np.int64),
        np.array([n, pairs == SHARED], np.int64),
    )


def begin_palette(model: DenseModel, line_bits: int) -> None:
    """Forget, with SHARED, histories and matches: under other colours they mean nothing.

    line_bits are the next image's: no more is cleared than a model of its own would have.
    """
    model.lines[: 16 << line_bits] = 0
    model.matches[:] = 0


@inline
def _find_lines(lines: U8, line_bits: int, hashes: U64, page: int, found: I64) -> None:
    """Set found[0:9] to the lines of this page's histories; a line taken over starts empty.

    Two places are tried, a cache line's two halves; the one whose first history is the younger goes.
    """
    salt = uint64(page + 1) * K1
    shift = uint64(64) - uint64(line_bits)
    for i in range(N_HISTORIES):
        h = (hashes[i] + salt) * K4
        found[i] = int64(h >> shift) << 4
        mapmodel.prefetch(lines, found[i])
    for i in range(N_HISTORIES):
        check = uint8((((hashes[i] + salt) * K4) >> uint64(20)) & uint64(255))
        at = uint64(found[i])
        if lines[at] != check:
            other = at ^ uint64(16)
            if lines[other] == check:
                at = other
            else:
                if lines[at + uint64(1)] > lines[other + uint64(1)]:
                    at = other
                for j in range(16):
                    lines[at + uint64(j)] = uint8(0)
                lines[at] = check
            found[i] = int64(at)


@inline
def _history_inputs(lines: U8, found: I64, slot: int, first: int, at: I64) -> None:
    """Set at[0:9] to the counters of the histories in `slot`; an empty history has the dead counter."""
    for i in range(N_HISTORIES):
        state = int64(lines[uint64(found[i] + slot)])
        at[i] = DEAD if state == 0 else first + int64(i * 256) + state


@inline
def _color_inputs(placed: I32, row: int, n_nodes: int, texture: int, at: I64) -> None:
    """Set at[9:15]: counters of this node or depth, chosen by placed predictions, and that of the odds."""
    p = placed
    gap = clamp(((int64(p[2]) - int64(p[6])) >> 4) + 16, 0, 31)
    at[9] = int64(p[14]) * 8 + texture
    at[10] = int64(p[18]) * 32 + int64(p[19])
    at[11] = int64(p[19]) * 32 + int64(p[20])
    at[12] = int64(p[22]) * 32 + gap
    at[13] = int64(p[8]) * 8 + texture
    for i in range(N_COLORS):
        at[9 + i] += COLOR_AT + ((int64(i) * n_nodes + row) << 10)
    at[14] = ODDS


@inline
def _flag_inputs(s: int, stage: int, level: int, equal: int, same: int, history: int, at: I64) -> None:
    """Set at[9:15] for the question "is the pixel candidate s"."""
    at[9] = (equal << 4) | same
    at[10] = 4096 + (((history & 255) << 4) | same)
    at[11] = (2 * 4096) + ((level * 4 + stage) * 16 + same)
    at[12] = (3 * 4096) + (((equal & 63) << 6) | (level << 4) | same)
    at[13] = (4 * 4096) + ((s << 4) | same)
    for i in range(9, 14):
        at[i] += FLAG_AT
    at[14] = DEAD


@kernel
def code_dense(
    plane: U8,
    height: int,
    width: int,
    colors: U8,
    n_channels: int,
    tree: Tree,
    model: DenseModel,
    line_bits: int,
    n_flags: int,
    scratch: Scratch,
    coder: U64,
    sink: U8 | None,
    source: U8 | None,
) -> int:
    """Code one index map; return OK or a status.

    IN/OUT plane u8 (see mapmodel; the encoder's is full); IN colors u8 (k * 4), n_channels 4 if any colour
    is not opaque, else 3; tree palettetree.Tree; model DenseModel IN/OUT; n_flags 0 to 3 candidates a
    pixel; scratch new_scratch(width); coder IN/OUT; sink u8 (encoder) or None; source u8 (decoder) or None.
    """
    k = int64(tree.path.size)
    n_nodes, shared = model.layout[0], model.layout[1] != 0
    placed_at = n_nodes + FLAG_ROWS
    equal_at = placed_at + PLACED_ROWS
    pair_at = equal_at + EQUAL_ROWS
    second_at = pair_at + PAIR_ROWS
    second_pair_at = second_at + 8 * n_nodes + FLAG_ROWS
    mask_at = second_pair_at + PAIR_ROWS
    kind_at = mask_at + MASK_ROWS
    low, high, code, pos = coder[0], coder[1], coder[2], coder[3]
    stride = uint64(width + 2 * PAD)
    near, hashes, at = scratch.near, scratch.hashes, scratch.at
    rows, second_rows = scratch.rows, scratch.second_rows
    found, slots, trace, above = scratch.found, scratch.slots, scratch.trace, scratch.above
    seen, logits, candidates = scratch.seen, scratch.logits, scratch.candidates
    predictions, placed, offsets = scratch.predictions, scratch.placed, scratch.offsets
    taps, products, errors, point = scratch.taps, scratch.products, scratch.errors, scratch.point
    weights, sums = scratch.weights, scratch.sums
    for y in range(height):
        row = uint64(y + PAD) * stride + uint64(PAD)
        mapmodel.pad_row(plane, row, uint64(width), y == 0)
        rate = model.rate[0] >> 8
        runs.new_row(trace)
        regression.begin_row(products, taps)
        x = int64(0)  # int64, here and below: a literal would have kernels compiled once more
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
                mapmodel.growing_hashes(near, hashes)
                at_nine, at_six = mapmodel.match_slot(hashes[3]), mapmodel.match_slot(hashes[2])
                mapmodel.odd_hashes(near, hashes)
                mapmodel.stir(hashes, N_HISTORIES)
                n_candidates, level, equal = 0, 0, mapmodel.equalities(near)
                if n_flags > 0:
                    n_candidates, level = mapmodel.list_candidates(
                        near, flat, model.matches, at_nine, at_six, candidates
                    )
                    n_candidates = min(n_candidates, int64(n_flags))
                stage, node, page, texture = int64(0), int64(-1), int64(-1), int64(0)
                path = 0
                if sink is not None:
                    path = tree.path[plane[q]]
                while s < 0:
                    is_flag = stage < n_candidates
                    if is_flag:
                        candidate = candidates[0, stage]
                        slot = mapmodel.flag_slot(stage, candidates)
                        new_page = 1024 + candidates[0, 0]
                        same = mapmodel.equals_near(candidate, near)
                        if sink is not None:
                            bit = int64(int64(plane[q]) == candidate)
                    else:
                        if k == 1:
                            s = 0
                            break
                        if node < 0:
                            node = 0
                            texture = colormodel.predict_colors(colors, near, n_channels, predictions)
                            block = x // regression.BLOCK
                            if block != int64(taps[regression.HERE]):
                                regression.move_to(products, taps, block)
                                regression.solve(products, taps, scratch.work)
                            regression.predict(colors, near, n_channels, taps, predictions, offsets)
                            colorodds.find_odds(
                                predictions, errors, x, model.means, tree.leaves, point, weights, sums
                            )
                        new_page, slot = int64(tree.page[node]), int64(tree.slot[node])
                        bit = path & 1
                    if new_page != page:
                        page = new_page
                        _find_lines(model.lines, line_bits, hashes, page, found)
                    if is_flag:
                        _history_inputs(model.lines, found, slot, int64(HISTORY_AT + N_HISTORIES * 256), at)
                        _flag_inputs(candidate, stage, level, equal, same, trace[runs.HISTORY], at)
                        flag = stage * 64 + level * 16 + same
                        row_a = n_nodes + flag
                        rows[1] = placed_at + 256
                        row_c = equal_at + 256 + stage * 256 + equal
                        rows[3] = pair_at + 1024
                        second_rows[0] = second_at + 8 * n_nodes + flag
                        second_rows[1] = second_pair_at + 1024
                        second_rows[2] = mask_at + 64
                        second_rows[3] = kind_at + 1
                    else:
                        colormodel.project(predictions, tree.axis, node, placed)
                        _history_inputs(model.lines, found, slot, int64(HISTORY_AT), at)
                        row_a = int64(tree.axis[node, DEPTH]) if shared else node
                        _color_inputs(placed, row_a, n_nodes, texture, at)
                        rows[1] = placed_at + int64(placed[22]) * 8 + texture
                        row_c = equal_at + equal
                        rows[3] = pair_at + int64(placed[18]) * 32 + int64(placed[19])
                        second_rows[0] = second_at + row_a * 8 + texture
                        second_rows[1] = second_pair_at + int64(placed[19]) * 32 + int64(placed[20])
                        second_rows[2] = mask_at + (equal & 63)
                        second_rows[3] = kind_at
                        model.counters[ODDS] = uint32(colorodds.chance(sums, tree.span, node) << 20)
                    rows[0], rows[2] = row_a, row_c
                    for i in range(4):
                        rows[i] *= WIDTH
                        second_rows[i] *= WIDTH
                    first = predict15(model.counters, at, STRETCH, model.weights, rows, seen, logits)
                    second = predict15(model.counters, at, STRETCH, model.weights, second_rows, seen, logits)
                    logit = (first + second) >> 1
                    mixed = squash(logit)
                    p = (
                        mixed * 2
                        + refine(model.refine_a, row_a, logit)
                        + refine(model.refine_b, row_c - equal_at, logit)
                    )
                    p = clamp((p + 2) >> 2, 2, 65534)
                    low, high, code, pos, bit = code_bit(low, high, code, pos, bit, p, sink, source)
                    train15(
                        model.counters,
                        at,
                        model.weights,
                        rows,
                        seen,
                        logits,
                        step_of(bit, squash(first), rate),
                        bit,
                        RATE_MIN,
                    )
                    train15(
                        model.counters,
                        at,
                        model.weights,
                        second_rows,
                        seen,
                        logits,
                        step_of(bit, squash(second), rate),
                        bit,
                        RATE_MIN,
                    )
                    model.counters[DEAD] = uint32(HALF)
                    refine_train(model.refine_a, row_a, logit, bit)
                    refine_train(model.refine_b, row_c - equal_at, logit, bit)
                    for i in range(N_HISTORIES):
                        line = uint64(found[i] + slot)
                        model.lines[line] = NEXT_STATE[uint64(int64(model.lines[line]) * 2 + bit)]
                    if is_flag:
                        stage += 1
                        if bit == 1:
                            s = candidate
                    else:
                        path >>= 1
                        following = int64(tree.right[node]) if bit == 1 else int64(tree.left[node])
                        if following < 0:
                            s = -1 - following
                        node = max(0, following)
                if n_flags > 0:
                    mapmodel.remember_match(model.matches[0], at_nine, s)
                    mapmodel.remember_match(model.matches[1], at_six, s)
                if node >= 0:
                    regression.learn(colors, s, n_channels, predictions, offsets, products)
                    colorodds.learn_errors(colors, s, errors, x, model.means, point)
                plane[q] = uint8(s)
            runs.pass_pixel(plane, q, stride, flat, trace, above[x:])
            x += 1
        regression.move_to(products, taps, (int64(width) - 1) // regression.BLOCK + 1)
        model.rate[0] = decayed(model.rate[0], LEARNING_RATE_MIN << 8)
        if overrun(pos, sink, source) != OK:
            break
    coder[0], coder[1], coder[2], coder[3] = low, high, code, pos
    return overrun(pos, sink, source)
