"""Signed integers as mixed binary decisions: what the coders of scores and of basis entries share.

A number is coded as a tree of decisions, the *nodes*: is it zero; its sign; then whether its magnitude
reaches 2, 4, 8, ... (its length in binary), and its bits below the leading one, of which the first two are
modelled and the rest cost a bit each. Each node of each of seven contexts is a counter (see `contextmix`);
a caller says in `bases` where the counters of each context begin. FORMAT.md section 8.

A number takes at most 2 + 14 + 14 decisions: lengths go to 15 bits, and no number is beyond +-MAX_NUMBER.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import int64

from triptych_kernels._jit import inline
from triptych_kernels.arrays import I32, I64, U8, U32
from triptych_kernels.contextmix import (
    HALF,
    STRETCH,
    clamp,
    predict7,
    refine,
    refine_table,
    refine_train,
    squash,
    step_of,
    train7,
)
from triptych_kernels.rangecoder import code_bit

WIDTH = 8
N_NODES = 64
"""0: zero? 1 to 14: is the magnitude at least 2^node? 15: negative? 16 + length: the first bit below the
leading one; 32 + 2 * length + first bit: the second."""
SIGN = 15
MAX_LENGTH = 15
MAX_NUMBER = (1 << MAX_LENGTH) - 1
N_LEVELS = 32
N_CLASSES = 32
FIRST_WEIGHT = 14000
LEARNING_RATE = 256
RATE_MIN = 16


class NumberModel(NamedTuple):
    """Adaptive state: counters u32, weights i32 (N_NODES * 64 rows of 8), refinements i32 (N_NODES * 32).

    Work arrays: at i64 (7), rows i64 (2), seen u32 (8), logits i32 (8), see contextmix; bases i64 (7): where
    the N_NODES counters of each context begin; place i64 (2): level and class that choose the weights.
    """

    counters: U32
    weights: I32
    refinements: I32
    at: I64
    rows: I64
    seen: U32
    logits: I32
    bases: I64
    place: I64


def new_numbers(n_contexts: int) -> NumberModel:
    """Return the model before the first number, with N_NODES counters for each of n_contexts contexts."""
    n_first = N_NODES * N_LEVELS
    return NumberModel(
        np.full(n_contexts * N_NODES, HALF, np.uint32),
        np.repeat(np.array([FIRST_WEIGHT, 0], np.int32), [n_first * WIDTH, N_NODES * N_CLASSES * WIDTH]),
        refine_table(n_first),
        np.zeros(7, np.int64),
        np.zeros(2, np.int64),
        np.zeros(WIDTH, np.uint32),
        np.zeros(WIDTH, np.int32),
        np.zeros(7, np.int64),
        np.zeros(2, np.int64),
    )


@inline
def code_node(
    node: int,
    model: NumberModel,
    low: int,
    high: int,
    code: int,
    pos: int,
    bit: int,
    sink: U8 | None,
    source: U8 | None,
) -> tuple[int, int, int, int, int]:
    """Code the decision of a node under model.bases and model.place; return as `code_bit` does."""
    for i in range(7):
        model.at[i] = model.bases[i] + node
    first = node * N_LEVELS + model.place[0]
    model.rows[0] = first * WIDTH
    model.rows[1] = (N_NODES * N_LEVELS + node * N_CLASSES + model.place[1]) * WIDTH
    logit = predict7(model.counters, model.at, STRETCH, model.weights, model.rows, model.seen, model.logits)
    mixed = squash(logit)
    p16 = clamp((mixed + refine(model.refinements, first, logit) + 1) >> 1, 2, 65534)
    low, high, code, pos, bit = code_bit(low, high, code, pos, bit, p16, sink, source)
    step = step_of(bit, mixed, LEARNING_RATE)
    train7(model.counters, model.at, model.weights, model.rows, model.seen, model.logits, step, bit, RATE_MIN)
    refine_train(model.refinements, first, logit, bit)
    return low, high, code, pos, bit


@inline
def code_magnitude(
    magnitude: int,
    model: NumberModel,
    low: int,
    high: int,
    code: int,
    pos: int,
    sink: U8 | None,
    source: U8 | None,
) -> tuple[int, int, int, int, int]:
    """Code a magnitude of 1 to MAX_NUMBER; return (low, high, code, pos, magnitude)."""
    length = int64(1)
    while length < MAX_LENGTH:
        more = int64(magnitude >= (int64(1) << length))
        low, high, code, pos, more = code_node(length, model, low, high, code, pos, more, sink, source)
        if more == 0:
            break
        length += 1
    value = int64(1)
    node = 16 + length
    for below in range(length - 2, -1, -1):
        bit = (int64(magnitude) >> int64(below)) & 1
        if below >= length - 3:
            low, high, code, pos, bit = code_node(node, model, low, high, code, pos, bit, sink, source)
            node = 32 + 2 * length + bit
        else:
            low, high, code, pos, bit = code_bit(low, high, code, pos, bit, int64(32768), sink, source)
        value = value * 2 + bit
    return low, high, code, pos, value


@inline
def coarse(value: int) -> int:
    """Return the class, 0 to 31, of a signed number in sixteenths: 16 and more are not negative."""
    magnitude = abs(int64(value))
    reached = 0
    for bound in (2, 5, 9, 14, 20, 27, 35, 44, 56, 72, 96, 128, 192, 256, 400):
        reached += int64(magnitude >= int64(bound))
    return 16 + reached if value >= 0 else 15 - reached
