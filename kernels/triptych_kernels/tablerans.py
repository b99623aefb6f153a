"""rANS with a table for each symbol: int32 numbers under tables of 16-bit probabilities, in 1, 2 or 4 lanes.

The caller says, for each symbol, which of its tables it is coded with; symbol i belongs to lane i % lanes. A
lane's state x is a number in [L, 2^32 L), L = 2^31. To encode an entry of frequency f and start s out of
65536:

    if x >= f << 47: write the low word of x, x >>= 32
    x = (x // f << 16) + x % f + s

A table's entries stand for `offset`, `offset + 1`, ...; its last one is the escape: the number lies outside,
and how far outside follows in the same lane as bits of probability one half. These are the side (1: below),
then the distance e, 1 to 2^32 - 1, as an Elias gamma code: as many zeros as e has bits behind its first, then
e. To encode a bit: if x >= 2^62, write a word; x = 2 x + bit.

Everything is encoded from the last symbol to the first, from states L, and words are written from the end to
the front, so that the decoder reads forward: lanes' states, u64, then words, u32, little endian. The decoder
undoes each step exactly, so for states in range nothing but what the encoder wrote ends in states L at the
end of the message. It can stop after any symbol and go on later, for tables that depend on symbols decoded
before.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import int32, int64, types, uint8, uint64
from numba.extending import intrinsic

from triptych_kernels._jit import inline, kernel
from triptych_kernels.arrays import I32, I64, U8, U16, U32, U64
from triptych_kernels.status import BAD_SYMBOL, INPUT_EXHAUSTED, OK, OUTPUT_FULL, TAIL_MISMATCH

LANES = (1, 2, 4)
TOTAL = 65536
"""The sum of a table's frequencies."""
MAX_TABLES = 4096
STATE_SIZE = 6
"""A decoder's state, u64: four lanes, words read, symbols decoded."""
_WORDS_READ, _N_DECODED = 4, 5
LOW = 1 << 31
"""The least state, L, in which an encoder begins."""
_MAX_ZEROS = 31
_BROKEN = 1 << 62
"""Where a decoder is said to be after an escape that no encoder writes: beyond the end of every message."""

Indexes = npt.NDArray[np.uint16] | npt.NDArray[np.int32]


class Tables(NamedTuple):
    """Tables as the kernels read them, made by `make_tables`; t of them, n entries and an end to each.

    places i64 (4 t), for each table: the number of its first entry, the index of that entry, how many numbers
    have entries of their own, and the number less the index; cumulative u32 (n): starts of entries, 65536 at
    the end of a table; buckets u16 (256 t): the entry, from its table's first, of slot 256 b; codes u64 (2
    n): for each entry its reciprocal, then bias, frequency << 17, shift << 33.
    """

    places: I64
    cumulative: U32
    buckets: U16
    codes: U64


def validate_tables(offsets: I32, sizes: I64, cumulative: U32) -> None:
    """Raise ValueError, with the first bad table's number, unless these are tables; see `make_tables`."""
    for name, array, dtype in (
        ("offsets", offsets, np.int32),
        ("sizes", sizes, np.int64),
        ("cumulative", cumulative, np.uint32),
    ):
        if array.dtype != dtype or array.ndim != 1:
            raise ValueError(f"{name} are {array.dtype} {array.shape}, not a row of {np.dtype(dtype)}")
    if not 1 <= sizes.size <= MAX_TABLES or offsets.size != sizes.size:
        raise ValueError(f"{offsets.size} offsets and {sizes.size} sizes: 1 to {MAX_TABLES} of each")

    def refuse(is_bad: npt.NDArray[np.bool_], why: str) -> None:
        if is_bad.any():
            raise ValueError(f"table {int(np.argmax(is_bad))}: {why}")

    refuse((sizes < 2) | (sizes > TOTAL), f"not 2 to {TOTAL} entries")
    refuse(offsets.astype(np.int64) + sizes - 2 >= 1 << 31, "its numbers pass int32")
    bases = np.concatenate([[0], np.cumsum(sizes + 1)])
    if cumulative.size != bases[-1]:
        raise ValueError(f"{cumulative.size} cumulative frequencies, not {bases[-1]}")
    refuse(cumulative[bases[:-1]] != 0, "does not begin at 0")
    refuse(cumulative[bases[1:] - 1] != TOTAL, f"does not sum to {TOTAL}")
    # Within a table they rise; from the last of one to the first of the next they fall, as just checked.
    falls = np.flatnonzero(cumulative[1:] <= cumulative[:-1])
    inside = falls[~np.isin(falls + 1, bases)]
    if inside.size:
        table = int(np.searchsorted(bases, inside[0], side="right")) - 1
        raise ValueError(f"table {table}: a frequency is not at least 1")


def make_tables(offsets: I32, sizes: I64, cumulative: U32) -> Tables:
    """Return tables for the kernels.

    IN offsets i32 (t): the number that a table's first entry stands for; sizes i64 (t): entries, 2 or more,
    the escape among them as the last; cumulative u32: for each table size + 1 numbers from 0 to 65536, each
    larger than the one before. Raises ValueError as `validate_tables`.
    """
    validate_tables(offsets, sizes, cumulative)
    bases = np.concatenate([[0], np.cumsum(sizes + 1)])
    starts = cumulative.astype(np.int64)
    numbers = np.repeat(np.arange(sizes.size), sizes + 1)
    slots = (np.arange(sizes.size) * (2 * TOTAL))[:, None] + np.arange(0, TOTAL, 256)
    buckets = np.searchsorted(numbers * (2 * TOTAL) + starts, slots, side="right") - 1 - bases[:-1, None]
    frequencies = np.append(starts[1:], 0) - starts
    frequencies[bases[1:] - 1] = 1  # Ends of tables, which nobody looks up.
    firsts = offsets.astype(np.int64)
    return Tables(
        np.stack([firsts, bases[:-1], sizes - 1, firsts - bases[:-1]], axis=1).ravel(),
        cumulative.copy(),
        buckets.astype(np.uint16).ravel(),
        _codes(starts.astype(np.uint64), frequencies.astype(np.uint64)),
    )


def _codes(starts: U64, frequencies: U64) -> U64:
    """Return the encoder's two numbers for each entry, frequencies 1 to 65535, interleaved.

    x + bias + q * (65536 - f) is the state after an entry, with q = mulhi(x, reciprocal) >> shift.
    For 2^(k - 1) < f <= 2^k, f > 1, the reciprocal is m = ceil(2^(k + 63) / f) < 2^64 and the shift k - 1.
    With m f = 2^(k + 63) + e, 0 <= e < f <= 2^k: x m / 2^(k + 63) = x / f + (x e / 2^(k + 63)) / f, where
    x < 2^63 makes the last term less than 1 / f: rounded down, it is x // f. For f = 1 there is no such m;
    m = 2^64 - 1 gives q = x - 1, and the bias makes up for it.
    """
    one, half = np.uint64(1), np.uint64(32)
    f = np.maximum(frequencies, np.uint64(2))
    k = np.searchsorted(one << np.arange(17, dtype=np.uint64), f).astype(np.uint64)
    # 2^(k + 63) / f in two digits of 32 bits: the first is below 2^32 as f > 2^(k - 1).
    high, rest = np.divmod(one << (k + np.uint64(31)), f)
    low, rest = np.divmod(rest << half, f)
    reciprocals = (high << half) + low + (rest > 0).astype(np.uint64)
    is_one = frequencies == one
    reciprocals[is_one] = np.iinfo(np.uint64).max
    bias = starts + np.where(is_one, np.uint64(TOTAL - 1), np.uint64(0))
    packed = bias | frequencies << np.uint64(17) | (k - one) << np.uint64(33)
    return np.stack([reciprocals, packed], axis=1).ravel()


def message_bound(n_symbols: int, lanes: int) -> int:
    """Return room enough for a message: a word for each entry, two for the 64 bits of an escape."""
    return 8 * lanes + 12 * n_symbols


def _check(message: U8, symbols: I32, indexes: Indexes, tables: Tables, lanes: int) -> None:
    _check_lanes(message, lanes)
    if symbols.dtype != np.int32 or symbols.ndim != 1 or not symbols.flags.c_contiguous:
        raise ValueError("symbols are a contiguous row of int32")
    if indexes.dtype not in (np.uint16, np.int32) or not indexes.flags.c_contiguous:
        raise ValueError("indexes are a contiguous row of uint16 or int32")
    if indexes.shape != symbols.shape:
        raise ValueError(f"{indexes.size} indexes for {symbols.size} symbols")
    # As unsigned numbers, those below 0 are too large as well.
    largest = int(indexes.view(f"u{indexes.itemsize}").max(initial=0))
    n_tables = tables.places.size // 4
    if largest >= n_tables:
        raise ValueError(f"an index passes the {n_tables} tables")


def _check_lanes(message: U8, lanes: int) -> None:
    if lanes not in LANES:
        raise ValueError(f"{lanes} lanes, not one of {LANES}")
    if message.dtype != np.uint8 or message.ndim != 1 or not message.flags.c_contiguous:
        raise ValueError("a message is a contiguous row of uint8")


def encode(symbols: I32, indexes: Indexes, tables: Tables, lanes: int, sink: U8) -> int:
    """Write symbols to the END of `sink`; return the length of the message, or OUTPUT_FULL.

    IN symbols i32 (n), indexes u16 or i32 (n): the table of each, lanes of LANES. OUT sink u8: the message is
    its last bytes, those before are undefined; `message_bound` is always room enough. Raises ValueError where
    the arguments are no such arrays or an index is not below the number of tables.
    """
    _check(sink, symbols, indexes, tables, lanes)
    states = np.full(4, LOW, np.uint64)
    return int(_encode(symbols, indexes, tables, lanes, states, sink[sink.size % 4 :]))


def start_decoding(source: U8, lanes: int, state: U64) -> int:
    """Read the lanes' states; return OK or a status. IN source u8: the whole message. OUT state u64 (6)."""
    _check_lanes(source, lanes)
    return int(_start(source, lanes, state))


def decode(source: U8, indexes: Indexes, tables: Tables, lanes: int, state: U64, out: I32) -> int:
    """Read the next symbols of a message; return OK, INPUT_EXHAUSTED or BAD_SYMBOL.

    IN source u8 and lanes as for `start_decoding`; indexes u16 or i32 (n), tables. IN/OUT state u64 (6),
    which is of no more use after another status than OK. OUT out i32 (n). Raises ValueError as `encode` does.
    """
    _check(source, out, indexes, tables, lanes)
    return int(decode_symbols(source, indexes, tables, lanes, state, out))


def finish_decoding(source: U8, state: U64) -> int:
    """Return OK if the message ends here as an encoder begins one, or TAIL_MISMATCH."""
    at_end = int(state[_WORDS_READ]) * 4 == source.size
    return OK if at_end and bool((state[:_WORDS_READ] == LOW).all()) else TAIL_MISMATCH


@intrinsic
def mulhi(typing: Any, a: Any, b: Any) -> Any:
    """Return the upper 64 of the 128 bits of a product of u64."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(arg, wide) for arg in args))
        return builder.trunc(builder.lshr(product, wide(64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), codegen


@intrinsic
def find_entry(typing: Any, cumulative: Any, first: Any, slot: Any) -> Any:
    """Return the least entry from `first` on that ends behind the slot: cumulative[entry + 1] > slot.

    IN cumulative u32, one number of which, behind the first, is above the slot. In Python this loop would
    make numba count references to the array at every symbol.
    """
    signature = types.uint64(cumulative, types.uint64, types.uint64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        slot = builder.trunc(args[2], ir.IntType(32))
        before = builder.block
        head, done = builder.append_basic_block("entry"), builder.append_basic_block("found")
        builder.branch(head)
        builder.position_at_end(head)
        entry = builder.phi(ir.IntType(64))
        following = builder.add(entry, ir.IntType(64)(1))
        entry.add_incoming(args[1], before)
        entry.add_incoming(following, head)
        end = builder.load(builder.gep(data, [following]))
        builder.cbranch(builder.icmp_unsigned("<=", end, slot), head, done)
        builder.position_at_end(done)
        return entry

    return signature, codegen


@inline
def _put_word(x: int, at: int, sink: U8) -> None:
    """Write the low word of x as the word `at`."""
    place = at << uint64(2)
    for k in range(uint64(4)):
        sink[place + k] = uint8(x >> (uint64(8) * k))


@inline
def _get_word(at: int, source: U8) -> int:
    """Return the word `at`."""
    place, word = at << uint64(2), uint64(0)
    for k in range(uint64(4)):
        word |= uint64(source[place + k]) << (uint64(8) * k)
    return word


@inline
def _spill(x: int, at: int, limit: int, sink: U8) -> tuple[int, int]:
    """Write a word if x is not below the limit; return (x, at), at beyond the sink where there is no room."""
    if x >= limit:
        at -= uint64(1)
        if at < uint64(sink.size) >> uint64(2):
            _put_word(x, at, sink)
        x >>= uint64(32)
    return x, at


@kernel
def _encode_escape(x: int, at: int, side: int, distance: int, sink: U8) -> tuple[int, int]:
    """Encode the bits behind an escape, the last first; return (x, at)."""
    n_bits = uint64(0)
    while distance >> n_bits > uint64(1):
        n_bits += uint64(1)
    # e with its zeros is a number of 2 n + 1 bits; the side comes before them.
    n_bits = (n_bits << uint64(1)) + uint64(2)
    for k in range(n_bits):
        bit = (distance >> k) & uint64(1) if k + uint64(1) < n_bits else uint64(side)
        x, at = _spill(x, at, uint64(1) << uint64(62), sink)
        x = x << uint64(1) | bit
    return x, at


@inline
def _push(x: int, place: int, codes: U64) -> int:
    """Return the state after the entry whose code is at `place`: below 2^63, as x < frequency << 47."""
    packed = codes[place + uint64(1)]
    frequency = (packed >> uint64(17)) & uint64(65535)
    quotient = mulhi(x, codes[place]) >> (packed >> uint64(33))
    return x + (packed & uint64(0x1FFFF)) + quotient * (uint64(TOTAL) - frequency)


@inline
def _limit(place: int, codes: U64) -> int:
    """Return the least state that has to write a word before the entry whose code is at `place`."""
    return ((codes[place + uint64(1)] >> uint64(17)) & uint64(65535)) << uint64(47)


@inline
def _entry(symbol: int, t: int, places: I64) -> tuple[int, bool]:
    """Return where the symbol's code is, and whether the table has one."""
    row = t << uint64(2)
    entry = uint64(int64(symbol) - places[row])
    place = (uint64(places[row + uint64(1)]) + entry) << uint64(1)
    return place, entry < uint64(places[row + uint64(2)])


@inline
def _encode_fast(x: int, at: int, place: int, codes: U64, sink: U8) -> tuple[int, int]:
    """Encode an entry where there is room for a word; return (x, at)."""
    _put_word(x, at - uint64(1), sink)
    is_large = x >= _limit(place, codes)
    x = x >> uint64(32) if is_large else x
    return _push(x, place, codes), at - uint64(is_large)


@kernel
def _encode(symbols: I32, indexes: Indexes, tables: Tables, lanes: int, states: U64, sink: U8) -> int:
    """Encode all; return the length of the message or OUTPUT_FULL.

    IN/OUT states u64 (4). OUT sink u8, whole words. Positions count words from the front of the sink; where
    there is no room they pass below 0, which is more than any sink has.
    """
    places, codes = tables.places, tables.codes
    n_words = uint64(sink.size) >> uint64(2)
    at, i, mask = n_words, uint64(symbols.size), uint64(lanes) - uint64(1)
    while i > uint64(0):
        if lanes == 4 and i & mask == uint64(0):
            # Groups without escapes, as far as there is room.
            a, b, c, d = states[0], states[1], states[2], states[3]
            while i > uint64(0) and at - uint64(4) < n_words:
                k3, k2, k1, k0 = i - uint64(1), i - uint64(2), i - uint64(3), i - uint64(4)
                place3, is_in3 = _entry(symbols[k3], uint64(indexes[k3]), places)
                place2, is_in2 = _entry(symbols[k2], uint64(indexes[k2]), places)
                place1, is_in1 = _entry(symbols[k1], uint64(indexes[k1]), places)
                place0, is_in0 = _entry(symbols[k0], uint64(indexes[k0]), places)
                if not (is_in3 & is_in2 & is_in1 & is_in0):
                    break
                d, at = _encode_fast(d, at, place3, codes, sink)
                c, at = _encode_fast(c, at, place2, codes, sink)
                b, at = _encode_fast(b, at, place1, codes, sink)
                a, at = _encode_fast(a, at, place0, codes, sink)
                i = k0
            states[0], states[1], states[2], states[3] = a, b, c, d
            if i == uint64(0):
                break
        i -= uint64(1)
        x, t = states[i & mask], uint64(indexes[i])
        place, is_in = _entry(symbols[i], t, places)
        if not is_in:
            row = t << uint64(2)
            distance = places[row] - int64(symbols[i])
            side = distance > int64(0)
            if not side:
                distance = int64(1) - distance - places[row + uint64(2)]
            x, at = _encode_escape(x, at, uint64(side), uint64(distance), sink)
            place = uint64(places[row + uint64(1)] + places[row + uint64(2)]) << uint64(1)
        if at - uint64(1) < n_words:
            x, at = _encode_fast(x, at, place, codes, sink)
        elif at == uint64(0) and x < _limit(place, codes):
            x = _push(x, place, codes)
        else:
            return OUTPUT_FULL
        states[i & mask] = x
    if at < uint64(2 * lanes):
        return OUTPUT_FULL
    for lane in range(uint64(lanes)):
        x = states[mask - lane]
        _put_word(x >> uint64(32), at - uint64(1), sink)
        _put_word(x, at - uint64(2), sink)
        at -= uint64(2)
    return int64(n_words - at) * 4


@kernel
def _start(source: U8, lanes: int, state: U64) -> int:
    """Read the lanes' states; those of lanes that are not there are L."""
    if source.size < 8 * lanes:
        return INPUT_EXHAUSTED
    if source.size % 4 != 0:
        return TAIL_MISMATCH
    for lane in range(uint64(4)):
        state[lane] = uint64(LOW)
    for lane in range(uint64(lanes)):
        at = lane << uint64(1)
        x = _get_word(at, source) | _get_word(at + uint64(1), source) << uint64(32)
        if x < uint64(LOW) or x >= uint64(LOW) << uint64(32):
            return TAIL_MISMATCH
        state[lane] = x
    state[_WORDS_READ], state[_N_DECODED] = 2 * lanes, 0
    return OK


@inline
def _refill(x: int, at: int, source: U8) -> tuple[int, int]:
    """Take a word if x is below L, zeros behind the end of the message; return (x, at)."""
    if x < uint64(LOW):
        x <<= uint64(32)
        if at < uint64(source.size) >> uint64(2):
            x |= _get_word(at, source)
        at += uint64(1)
    return x, at


@inline
def _decode_bit(x: int, at: int, source: U8) -> tuple[int, int, int]:
    """Decode a bit of probability one half; return (x, at, bit)."""
    bit = x & uint64(1)
    x, at = _refill(x >> uint64(1), at, source)
    return x, at, bit


@kernel
def _decode_escape(x: int, at: int, first: int, n: int, source: U8) -> tuple[int, int, int]:
    """Decode the bits behind an escape from the n numbers that begin with the first; return (x, at, number).

    `at` is _BROKEN where no int32 comes out.
    """
    x, at, side = _decode_bit(x, at, source)
    x, at, bit = _decode_bit(x, at, source)
    n_zeros = uint64(0)
    while bit == uint64(0) and n_zeros < uint64(_MAX_ZEROS):
        n_zeros += uint64(1)
        x, at, bit = _decode_bit(x, at, source)
    distance = bit
    for _ in range(n_zeros):
        x, at, bit = _decode_bit(x, at, source)
        distance = distance << uint64(1) | bit
    number = int64(first) - int64(distance)
    if side == uint64(0):
        number = int64(first) + int64(n) - int64(1) + int64(distance)
    # A distance without its first bit would be 32 zeros or more.
    is_broken = distance >> n_zeros == uint64(0) or number != int64(int32(number))
    if is_broken and at <= uint64(source.size) >> uint64(2):
        at = uint64(_BROKEN)
    return x, at, number


@inline
def _pop(x: int, t: int, tables: Tables) -> tuple[int, int, int]:
    """Decode an entry with table t; return (x before it takes a word, the entry, its end).

    Whatever x is, the slot is below 65536, so the search ends with the table. x does not grow here, and only
    what is below 2^31 takes a word: it stays below 2^63.
    """
    slot = x & uint64(65535)
    bucket = uint64(tables.buckets[t << uint64(8) | slot >> uint64(8)])
    first = uint64(tables.places[t << uint64(2) | uint64(1)])
    entry = find_entry(tables.cumulative, first + bucket, slot)
    start, end = uint64(tables.cumulative[entry]), uint64(tables.cumulative[entry + uint64(1)])
    return (end - start) * (x >> uint64(16)) + slot - start, entry, end


@inline
def _refill_fast(x: int, at: int, source: U8) -> tuple[int, int]:
    """Take a word if x is below L, where there is one; return (x, at)."""
    word = _get_word(at, source)
    is_small = x < uint64(LOW)
    return x << uint64(32) | word if is_small else x, at + uint64(is_small)


@inline
def _number(entry: int, t: int, places: I64) -> int:
    """Return the number that an entry stands for."""
    return int32(int64(entry) + places[t << uint64(2) | uint64(3)])


@kernel
def decode_symbols(source: U8, indexes: Indexes, tables: Tables, lanes: int, state: U64, out: I32) -> int:
    """Decode `out`; return OK or a status."""
    places = tables.places
    at, n_words = state[_WORDS_READ], uint64(source.size) >> uint64(2)
    first, i, n, mask = state[_N_DECODED], uint64(0), uint64(out.size), uint64(lanes) - uint64(1)
    # The lanes in the order of the symbols that come now.
    l0, l1 = first & mask, (first + uint64(1)) & mask
    l2, l3 = (first + uint64(2)) & mask, (first + uint64(3)) & mask
    while i < n:
        if lanes == 4 and i & mask == uint64(0):
            # Groups without escapes, as long as there are words for all.
            x0, x1, x2, x3 = state[l0], state[l1], state[l2], state[l3]
            while i + uint64(4) <= n and at + uint64(4) <= n_words:
                k1, k2, k3 = i + uint64(1), i + uint64(2), i + uint64(3)
                t0, t1 = uint64(indexes[i]), uint64(indexes[k1])
                t2, t3 = uint64(indexes[k2]), uint64(indexes[k3])
                y0, entry0, end0 = _pop(x0, t0, tables)
                y1, entry1, end1 = _pop(x1, t1, tables)
                y2, entry2, end2 = _pop(x2, t2, tables)
                y3, entry3, end3 = _pop(x3, t3, tables)
                if (end0 | end1 | end2 | end3) >> uint64(16) != uint64(0):
                    break
                x0, at = _refill_fast(y0, at, source)
                x1, at = _refill_fast(y1, at, source)
                x2, at = _refill_fast(y2, at, source)
                x3, at = _refill_fast(y3, at, source)
                out[i], out[k1] = _number(entry0, t0, places), _number(entry1, t1, places)
                out[k2], out[k3] = _number(entry2, t2, places), _number(entry3, t3, places)
                i += uint64(4)
            state[l0], state[l1], state[l2], state[l3] = x0, x1, x2, x3
            if i == n:
                break
        lane, t = (first + i) & mask, uint64(indexes[i])
        x, entry, end = _pop(state[lane], t, tables)
        x, at = _refill_fast(x, at, source) if at < n_words else _refill(x, at, source)
        number = int64(entry) + places[t << uint64(2) | uint64(3)]
        if end == uint64(TOTAL):
            row = t << uint64(2)
            x, at, number = _decode_escape(x, at, places[row], places[row + uint64(2)], source)
        if at > n_words:
            return BAD_SYMBOL if at >= uint64(_BROKEN) else INPUT_EXHAUSTED
        state[lane] = x
        out[i] = int32(number)
        i += uint64(1)
    state[_WORDS_READ], state[_N_DECODED] = at, first + n
    return OK
