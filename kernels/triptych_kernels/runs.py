"""Runs: what is coded first where a pixel's surroundings have one colour.

One decision for the next 8 pixels where the row above promises it, else one for this pixel. Each mixes
two counters with two weights: cheaper than the full mixer and as good here. FORMAT.md section 6.5.
"""

from __future__ import annotations

import numpy as np
from numba import int32, int64, uint8, uint32, uint64

from triptych_kernels._jit import inline
from triptych_kernels.arrays import I32, I64, U8, U32
from triptych_kernels.contextmix import LOGIT_MAX, STRETCH, clamp, squash, trained
from triptych_kernels.rangecoder import code_bit

BLOCK = 8
"""Pixels that one block decision covers."""
RATE_MIN = 16
GAIN = 6
BLOCK_AT = 65536 + 16384
N_COUNTERS = BLOCK_AT + 32768 + 2048
"""Counters: run by colour, run by shape, block by colour, block by shape."""
N_WEIGHTS = 64
EDGE, RUN, WAIT, HISTORY = 0, 1, 2, 3
"""Places in `trace` (i64, 4): see new_row."""


def new_counters() -> U32:
    """Return the run counters before their first decision: p = 0.954."""
    return np.full(N_COUNTERS, (1000000 << 12) | 2560, np.uint32)


def new_weights() -> I32:
    """Return the weights of run decisions, 0.55 each."""
    return np.full(N_WEIGHTS, 36000, np.int32)


@inline
def new_row(trace: I64) -> None:
    """Begin a row: no edge known, no run, nothing to wait for; the history goes on.

    EDGE: pixels to the next change in the row above; RUN: pixels since this row last changed; WAIT: pixels
    for which no block is tried, above zero after one failed; HISTORY: two bits a pixel, equal to W, to N.
    """
    trace[EDGE], trace[RUN], trace[WAIT] = 0, 0, 0


@inline
def is_flat(plane: U8, q: int, stride: int) -> bool:
    """Tell whether W, N, NW, NE, WW and NN are equal."""
    w, up = plane[q - uint64(1)], q - stride
    return (
        w == plane[up]
        and w == plane[up - uint64(1)]
        and w == plane[up + uint64(1)]
        and w == plane[q - uint64(2)]
        and w == plane[up - stride]
    )


@inline
def distance_to_edge(plane: U8, q: int, stride: int, room: int) -> int:
    """Return how many pixels from NE on equal W, at most 15 and at most `room`."""
    w, up = plane[q - uint64(1)], q - stride
    n = 0
    while n < 15 and n < room and plane[up + uint64(1) + uint64(n)] == w:
        n += 1
    return n


@inline
def run_slots(block: int, w: int, trace: I64, above: U8, tried: int, slots: I64) -> None:
    """Set slots[0:3]: two counters and the first of two weights of a run or block decision.

    block: 1 for "the next 8 pixels equal W", 0 for "this pixel does". above: pixels of this column that
    equalled the one above them in succession, at most 15. tried: 1 where no block may be tried.
    """
    run, edge, history = trace[RUN], trace[EDGE], trace[HISTORY]
    length = min(7, run >> 1) if run < 8 else min(7, 4 + (run >> 4))
    if block == 1:
        slots[0] = BLOCK_AT + ((w << 7) | (above << 3) | length)
        slots[1] = (BLOCK_AT + 32768) + (((history & 15) << 7) | (above << 3) | length)
        slots[2] = edge * 2
    else:
        shape = (above << 6) | ((history & 3) << 4) | (tried << 3) | length
        slots[0] = (w << 8) | (edge << 4) | (tried << 3) | length
        slots[1] = 65536 + ((edge << 10) | shape)
        slots[2] = 32 + edge * 2


@inline
def pair_logit(counters: U32, weights: I32, slots: I64) -> int:
    """Mix two counters with two weights (1.0 = 65536) of their own; return the clamped logit."""
    a = int64(STRETCH[uint64(counters[uint64(slots[0])] >> uint32(20))])
    b = int64(STRETCH[uint64(counters[uint64(slots[1])] >> uint32(20))])
    w = uint64(slots[2])
    return clamp((a * int64(weights[w]) + b * int64(weights[w + uint64(1)])) >> 16, -LOGIT_MAX, LOGIT_MAX)


@inline
def pair_train(counters: U32, weights: I32, slots: I64, p16: int, bit: int, gain: int) -> None:
    """Move both weights (by gain / 2^15) and both counters of `pair_logit` towards the bit."""
    error = (bit << 16) - p16
    for i in range(2):
        at, w = uint64(slots[i]), uint64(slots[2] + i)
        value = int64(counters[at])
        logit = int64(STRETCH[uint64(value >> 20)])
        weights[w] = int32(int64(weights[w]) + ((logit * error * int64(gain) + 16384) >> 15))
        counters[at] = uint32(trained(value, bit, RATE_MIN))


@inline
def code_flat(
    plane: U8,
    q: int,
    stride: int,
    room: int,
    trace: I64,
    above: U8,
    counters: U32,
    weights: I32,
    slots: I64,
    low: int,
    high: int,
    code: int,
    pos: int,
    sink: U8 | None,
    source: U8 | None,
) -> tuple[int, int, int, int, int]:
    """Code a block or one pixel where the surroundings are flat.

    Return (low, high, code, pos, n): n = 8 or 1 pixels equal W (and are in the plane), or 0: this pixel does
    not. `room`: pixels left in the row, this one included; `above`: see run_slots, from this pixel on.
    """
    w = plane[q - uint64(1)]
    if trace[EDGE] > 0:
        trace[EDGE] -= 1
    else:
        trace[EDGE] = distance_to_edge(plane, q, stride, room - 1)
    tried = int64(trace[WAIT] > 0)
    block = int64(trace[EDGE] >= BLOCK and tried == 0 and room >= BLOCK)
    while True:
        n = BLOCK if block == 1 else 1
        run_slots(block, int64(w), trace, int64(above[0]), tried, slots)
        p = squash(pair_logit(counters, weights, slots))
        bit = 0
        if sink is not None:
            bit = 1
            for i in range(n):
                if plane[q + uint64(i)] != w:
                    bit = 0
        low, high, code, pos, bit = code_bit(low, high, code, pos, bit, clamp(p, 2, 65534), sink, source)
        pair_train(counters, weights, slots, p, bit, GAIN)
        if bit == 1:
            for i in range(n):
                plane[q + uint64(i)] = w
            return low, high, code, pos, n
        if block == 0:
            return low, high, code, pos, 0
        block, tried, trace[WAIT] = 0, 1, BLOCK


@inline
def pass_block(trace: I64, above: U8) -> None:
    """Note that 8 pixels equalled W and the pixels above them."""
    for i in range(BLOCK):
        above[i] = min(uint8(15), uint8(above[i] + uint8(1)))
    trace[EDGE] = max(0, trace[EDGE] - (BLOCK - 1))
    trace[RUN] += BLOCK
    trace[HISTORY] = int64(0xFFFF)


@inline
def pass_pixel(plane: U8, q: int, stride: int, flat: bool, trace: I64, above: U8) -> None:
    """Note the pixel at q, which is in the plane now."""
    s = plane[q]
    is_w, is_n = s == plane[q - uint64(1)], s == plane[q - stride]
    above[0] = min(uint8(15), uint8(above[0] + uint8(1))) if is_n else uint8(0)
    if not flat:
        trace[EDGE] = 0
    trace[RUN] = trace[RUN] + 1 if is_w else 0
    trace[WAIT] -= 1
    trace[HISTORY] = ((trace[HISTORY] << 2) | int64(is_w) | (int64(is_n) << 1)) & int64(0xFFFF)
