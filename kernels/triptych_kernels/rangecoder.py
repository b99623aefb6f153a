"""The binary range coder: 32-bit, carryless, after lpaq (Mahoney). Probabilities of 16 bits.

The state is an interval [low, high] of 32-bit numbers. A decision splits it at `mid`; a 1 takes the
lower part. Whenever low and high share their top byte, that byte is settled and moves out.

The same function codes both ways and is compiled apart for each: with `source` None it is the encoder
and writes to `sink`; with `sink` None it is the decoder. (Numba drops a branch under `x is not None` when
x is None, and only then: code for the encoder stands under `sink is not None`, never under an `else`.)

Behind the end of its source a decoder reads zeros, so zero bytes of the tail need not be there; `tail` says
which bytes an encoder leaves at the end, and a decoder holds its own last 32 bits against it: whatever was
not written by an encoder is refused.

Invariants: low <= mid < high because p16 < 65536 and, after renormalisation, high - low >= 2^24 - 1 or
the top bytes differ; in the worst case (high - low < 65536) mid >= low still holds, and both parts keep
at least one number, so coding stays exact, only less tight.
"""

from __future__ import annotations

import numpy as np
from numba import int64, uint8, uint64

from triptych_kernels._jit import inline, kernel
from triptych_kernels.arrays import U8, U64
from triptych_kernels.status import INPUT_EXHAUSTED, OK, OUTPUT_FULL, TAIL_MISMATCH

Coder = U64
"""u64 (4): low, high, code (the decoder's 32 bits of the source), position in source or sink."""


def new_coder() -> Coder:
    """Return the coder's state before the first decision (a decoder then calls `start`)."""
    return np.array([0, 0xFFFFFFFF, 0, 0], np.uint64)


@inline
def _shift_byte(high: int, code: int, pos: int, sink: U8 | None, source: U8 | None) -> int:
    """Move the settled top byte to `sink`, or the next byte of `source` into `code`; return code."""
    if sink is not None and pos < uint64(sink.size):
        sink[pos] = uint8(high >> uint64(24))
    if source is not None:
        code = (code << uint64(8)) & uint64(0xFFFFFFFF)
        if pos < uint64(source.size):
            code |= uint64(source[pos])
    return code


@inline
def code_bit(
    low: int, high: int, code: int, pos: int, bit: int, p16: int, sink: U8 | None, source: U8 | None
) -> tuple[int, int, int, int, int]:
    """Code one decision; return (low, high, code, pos, bit).

    u64 low, high, code, pos; i64 bit (ignored by the decoder); i64 p16 in 1..65535. A full sink or an
    exhausted source is not an error here: pos keeps counting, and the caller looks at it now and then.
    """
    p = uint64(p16)
    width = high - low
    mid = low + (width >> uint64(16)) * p + (((width & uint64(0xFFFF)) * p) >> uint64(16))
    if source is not None:
        bit = 1 if code <= mid else 0
    if bit == 1:
        high = mid
    else:
        low = mid + uint64(1)
    while ((low ^ high) & uint64(0xFF000000)) == uint64(0):
        code = _shift_byte(high, code, pos, sink, source)
        pos += uint64(1)
        low = (low << uint64(8)) & uint64(0xFFFFFFFF)
        high = ((high << uint64(8)) & uint64(0xFFFFFFFF)) | uint64(255)
    return low, high, code, pos, bit


@inline
def tail(low: int, high: int) -> int:
    """Return the number in [low, high] with the most trailing zero bytes; the least of these."""
    for n_zero in (32, 24, 16, 8):
        mask = (uint64(1) << uint64(n_zero)) - uint64(1)
        value = (low + mask) & ~mask
        if value <= high:
            return value
    return low


@inline
def overrun(pos: int, sink: U8 | None, source: U8 | None) -> int:
    """Return the status of a coder's position: a decoder may be four bytes past the end of its source."""
    if sink is not None and pos > uint64(sink.size):
        return OUTPUT_FULL
    if source is not None and pos > uint64(source.size) + uint64(4):
        return INPUT_EXHAUSTED
    return OK


@kernel
def start(coder: Coder, source: U8) -> None:
    """Read a decoder's first four bytes."""
    for i in range(4):
        coder[2] <<= uint64(8)
        if uint64(i) < uint64(source.size):
            coder[2] |= uint64(source[uint64(i)])
    coder[3] = uint64(4)


@kernel
def finish_encoding(coder: Coder, sink: U8) -> int:
    """Write the tail; return how many bytes of `sink` are the coded message, or OUTPUT_FULL."""
    value = tail(coder[0], coder[1])
    pos = coder[3]
    while value != uint64(0):
        if pos >= uint64(sink.size):
            return OUTPUT_FULL
        sink[pos] = uint8(value >> uint64(24))
        value = (value << uint64(8)) & uint64(0xFFFFFFFF)
        pos += uint64(1)
    if pos > uint64(sink.size):
        return OUTPUT_FULL
    return int64(pos)


@kernel
def finish_decoding(coder: Coder, source: U8) -> int:
    """Return OK if the source ends as an encoder in this state would have ended it, or only in more zeros."""
    if coder[2] != tail(coder[0], coder[1]):
        return TAIL_MISMATCH
    for i in range(coder[3], uint64(source.size)):
        if source[i] != uint8(0):
            return TAIL_MISMATCH
    return OK
