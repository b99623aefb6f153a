"""Static rANS (Duda, Giesen): bytes under one table of frequencies, in 1, 4 or 32 lanes.

Symbol i belongs to lane i % lanes. A lane's state x is a number in [L, 2^16 L), L = 2^15. To encode a symbol
of frequency f and start s (the sum of the frequencies before it) out of 4096:

    if x >= f << 19: write the low word of x, x >>= 16
    x = (x // f << 12) + x % f + s

Symbols are encoded from the last to the first, all lanes from the state L, and words written from the end to
the front, so that the decoder reads forward. A message is the lanes' states, u32, then words, u16, little
endian. The decoder undoes each step exactly: x >= 8 f after it, so one word always fills a state, and for
states in range nothing but what the encoder wrote decodes to all states L at the end of the message.

The 32 lanes run as vectors where numba compiles for AVX2 (`avx2`), and everywhere else, or near the ends of
an array, one by one; the bytes are the same.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import int64, uint8, uint32, uint64

from triptych_kernels import avx2
from triptych_kernels._jit import inline, kernel
from triptych_kernels.arrays import I64, U8, U32
from triptych_kernels.status import BAD_SYMBOL, INPUT_EXHAUSTED, OK, OUTPUT_FULL, TAIL_MISMATCH

LANES = (1, 4, 32)
TOTAL = 4096
"""The sum of all frequencies: probabilities have twelve bits."""
_LOW = 1 << 15

Frequencies = npt.NDArray[np.int64] | npt.NDArray[np.uint32]


def message_bound(n_symbols: int, lanes: int) -> int:
    """Return room enough for a message of so many symbols: none writes more than one word."""
    return 4 * lanes + 2 * n_symbols


def check_frequencies(frequencies: Frequencies) -> None:
    """Raise ValueError unless these are 256 frequencies that sum to 4096."""
    if frequencies.shape != (256,) or frequencies.dtype.kind not in "iu":
        raise ValueError(f"frequencies are {frequencies.dtype} {frequencies.shape}, not 256 integers")
    if int(frequencies.min()) < 0 or int(frequencies.max()) > TOTAL or int(frequencies.sum()) != TOTAL:
        raise ValueError(f"frequencies do not sum to {TOTAL}")


def _check(message: U8, symbols: U8, frequencies: Frequencies, lanes: int) -> None:
    check_frequencies(frequencies)
    if lanes not in LANES:
        raise ValueError(f"{lanes} lanes, not one of {LANES}")
    for array in (message, symbols):
        if array.dtype != np.uint8 or array.ndim != 1 or not array.flags.c_contiguous:
            raise ValueError("messages and symbols are contiguous rows of uint8")


def encode(symbols: U8, frequencies: Frequencies, lanes: int, sink: U8) -> int:
    """Write symbols to the END of `sink`; return the length of the message, or a status.

    IN symbols u8 (n), frequencies (256) that sum to 4096, lanes of LANES. OUT sink u8: the message is its
    last bytes, those before are undefined. OUTPUT_FULL where it is too small (`message_bound` never is),
    BAD_SYMBOL where a symbol has frequency 0. Raises ValueError where the arguments are no such arrays.
    """
    _check(sink, symbols, frequencies, lanes)
    room = sink[sink.size % 2 :]
    reciprocals, entries = _encoder_table(frequencies.astype(np.int64))
    states = np.full(lanes, _LOW, np.uint32)
    progress = np.array([room.size // 2, symbols.size], np.int64)
    status = OK
    if lanes == avx2.LANES and avx2.available() and symbols.size >= lanes:
        # The vectors begin at a whole group, behind which the rest comes first.
        whole = symbols.size // lanes * lanes
        status = _encode_lanes(symbols, reciprocals, entries, states, room, progress, whole)
        if status == OK:
            status = _encode_vectors(symbols, reciprocals, entries, states, room, progress)
    if status == OK:
        status = _encode_lanes(symbols, reciprocals, entries, states, room, progress, 0)
    if status == OK:
        status = _write_states(states, room, progress)
    return int(status) if status < 0 else room.size - 2 * int(progress[0])


def decode(source: U8, frequencies: Frequencies, lanes: int, out: U8) -> int:
    """Read `out` from a message; return OK or a status.

    IN source u8: the whole message, frequencies and lanes as it was encoded with. OUT out u8 (n). All that an
    encoder did not write is refused: INPUT_EXHAUSTED or TAIL_MISMATCH. Raises ValueError as `encode` does.
    """
    _check(source, out, frequencies, lanes)
    table = _decoder_table(frequencies.astype(np.int64))
    states, progress = np.zeros(lanes, np.uint32), np.zeros(2, np.int64)
    status = _read_states(source, states, progress)
    if status == OK and lanes == avx2.LANES and avx2.available():
        _decode_vectors(source, table, states, out, progress)
    if status == OK:
        status = _decode_lanes(source, table, states, out, progress)
    return int(status)


def _decoder_table(frequencies: I64) -> U32:
    """Return for each slot: symbol, start << 8, (4096 - frequency) << 20, which fits even 4096."""
    starts = np.cumsum(frequencies) - frequencies
    entries = np.arange(256) | starts << 8 | (TOTAL - frequencies) << 20
    return np.repeat(entries, frequencies).astype(np.uint32)


def _encoder_table(frequencies: I64) -> tuple[U32, U32]:
    """Return reciprocals u32 (256) and entries u32 (256): bias, frequency << 13, shift << 26.

    x + bias + q * (4096 - f) is the state after a symbol, with q = (x * reciprocal >> 32) >> shift.
    For 2^(k - 1) < f <= 2^k, f > 1, the reciprocal is m = ceil(2^(k + 31) / f) < 2^32 and the shift k - 1.
    With m f = 2^(k + 31) + e, 0 <= e < f <= 2^k: x m / 2^(k + 31) = x / f + (x e / 2^(k + 31)) / f, where
    x < 2^31 makes the last term less than 1 / f: rounded down, it is x // f. For f = 1 there is no such m;
    m = 2^32 - 1 gives q = x - 1, and the bias makes up for it. All fits: bias < 2^13, shift < 2^4.
    """
    present = np.maximum(frequencies, 2)
    bits = np.searchsorted(np.int64(1) << np.arange(13), present)
    powers = np.int64(1) << (bits + 31)
    reciprocals = np.where(frequencies > 1, -(-powers // present), 2**32 - 1)
    starts = np.cumsum(frequencies) - frequencies
    bias = np.where(frequencies == 1, starts + TOTAL - 1, starts % TOTAL)
    return reciprocals.astype(np.uint32), (bias | frequencies << 13 | (bits - 1) << 26).astype(np.uint32)


@kernel
def count_symbols(symbols: U8, counts: I64) -> None:
    """Add the number of times that each symbol occurs to counts i64 (4, 256).

    Their sum over the first axis counts: in four tables, as equal neighbours would wait for each other.
    """
    n = uint64(symbols.size)
    whole = n & ~uint64(3)
    for i in range(uint64(0), whole, uint64(4)):
        for k in range(uint64(4)):
            counts[k, symbols[i + k]] += 1
    for i in range(whole, n):
        counts[uint64(0), symbols[i]] += 1


@inline
def _gain(frequency: int) -> int:
    """Return ln((f + 1) / f) in 2^-31, rounded down: 2 atanh(1 / (2 f + 1)) by its series; below 2^31."""
    base = uint64(2 * frequency + 1)
    power = (uint64(1) << uint64(61)) // base
    square = base * base
    total, n = uint64(0), uint64(1)
    while power > uint64(0):
        total += power // n
        power //= square
        n += uint64(2)
    return int64(total >> uint64(30))


@kernel
def _balance(counts: I64, frequencies: I64, gains: I64, losses: I64) -> None:
    """Bring frequencies to the sum 4096, each that is not 0 at least 1, at the least cost in bits.

    IN counts i64 (256), each below 2^32, so that products with `_gain` fit. IN/OUT frequencies i64 (256).
    Scratch: gains and losses i64 (256), of one more and of one less. The cost is the sum of
    -count * ln(frequency), convex in each: where no unit moved between two symbols gains, it is the minimum.
    """
    n = frequencies.size
    total = int64(0)
    for s in range(n):
        total += frequencies[s]
        gains[s] = counts[s] * _gain(frequencies[s]) if counts[s] > 0 else int64(-1)
        losses[s] = counts[s] * _gain(frequencies[s] - 1) if frequencies[s] > 1 else int64(-1)
    while True:
        best, worst = int64(-1), int64(-1)
        for s in range(n):
            if gains[s] >= 0 and (best < 0 or gains[s] > gains[best]):
                best = int64(s)
            if losses[s] >= 0 and (worst < 0 or losses[s] < losses[worst]):
                worst = int64(s)
        changed = best
        if total > TOTAL or (total == TOTAL and worst >= 0 and gains[best] > losses[worst]):
            changed = worst
            frequencies[changed] -= 1
            total -= 1
        elif total < TOTAL:
            frequencies[changed] += 1
            total += 1
        else:
            return
        gains[changed] = counts[changed] * _gain(frequencies[changed])
        losses[changed] = int64(-1)
        if frequencies[changed] > 1:
            losses[changed] = counts[changed] * _gain(frequencies[changed] - 1)


def normalise(counts: I64) -> I64:
    """Return the frequencies, sum 4096, under which symbols that occur so often cost the fewest bits.

    IN counts i64 (256), not negative, sum below 2^63. A symbol that occurs has a frequency of 1 or more,
    another has 0. Integers alone decide, and of equals the least symbol. Raises ValueError where nothing
    occurs.
    """
    if counts.shape != (256,) or counts.dtype != np.int64 or int(counts.min()) < 0 or not counts.any():
        raise ValueError("counts are 256 int64, none negative, one of them at least 1")
    # Products with logarithms have to fit, and 32 bits say more than 12 can tell apart.
    shift = max(0, sum(int(count) for count in counts).bit_length() - 32)
    scaled = np.where(counts > 0, np.maximum(counts >> shift, 1), 0)
    shares = scaled * TOTAL // scaled.sum()
    frequencies = np.where(counts > 0, np.maximum(shares, 1), 0)
    _balance(scaled, frequencies, *np.zeros((2, 256), np.int64))
    return frequencies


@kernel
def _write_states(states: U32, sink: U8, progress: I64) -> int:
    """Write the states before the words; return OK or OUTPUT_FULL."""
    at = 2 * progress[0] - 4 * states.size
    if at < 0:
        return OUTPUT_FULL
    for j in range(states.size):
        for k in range(4):
            sink[at + 4 * j + k] = uint8(states[j] >> uint32(8 * k))
    progress[0] = at // 2
    return OK


@kernel
def _read_states(source: U8, states: U32, progress: I64) -> int:
    """Read the states; return OK, INPUT_EXHAUSTED or, for what no encoder leaves, TAIL_MISMATCH."""
    if source.size < 4 * states.size:
        return INPUT_EXHAUSTED
    if source.size % 2 != 0:
        return TAIL_MISMATCH
    for j in range(states.size):
        x = uint64(0)
        for k in range(4):
            x |= uint64(source[4 * j + k]) << uint64(8 * k)
        if x < uint64(_LOW) or x >= uint64(_LOW << 16):
            return TAIL_MISMATCH
        states[j] = uint32(x)
    progress[0] = 2 * states.size
    return OK


@inline
def _push(x: int, entry: int, reciprocal: int) -> int:
    """Return the state after a symbol: below 2^31, as x < frequency << 19."""
    frequency = (entry >> uint64(13)) & uint64(8191)
    quotient = (x * uint64(reciprocal) >> uint64(32)) >> (entry >> uint64(26))
    return x + (entry & uint64(8191)) + quotient * (uint64(TOTAL) - frequency)


@kernel
def _encode_lanes(
    symbols: U8, reciprocals: U32, entries: U32, states: U32, sink: U8, progress: I64, stop: int
) -> int:
    """Encode the symbols before progress[1] down to `stop`; return OK or a status.

    IN/OUT states u32 (lanes), progress i64 (2): words of sink that are free, symbols that are left.
    """
    at, i = uint64(progress[0]), uint64(progress[1])
    mask = uint64(states.size) - uint64(1)
    while i > uint64(stop):
        i -= uint64(1)
        symbol = uint64(symbols[i])
        entry = uint64(entries[symbol])
        frequency = (entry >> uint64(13)) & uint64(8191)
        if frequency == uint64(0):
            return BAD_SYMBOL
        x = uint64(states[i & mask])
        is_large = x >= frequency << uint64(19)
        if at > uint64(0):
            # Whether the word counts is known only now: no branch that nobody can foretell.
            place = (at - uint64(1)) << uint64(1)
            sink[place], sink[place + uint64(1)] = uint8(x), uint8(x >> uint64(8))
        elif is_large:
            return OUTPUT_FULL
        at -= uint64(is_large)
        x >>= uint64(is_large) << uint64(4)
        states[i & mask] = uint32(_push(x, entry, reciprocals[symbol]))
    progress[0], progress[1] = at, i
    return OK


@kernel
def _encode_vectors(symbols: U8, reciprocals: U32, entries: U32, states: U32, sink: U8, progress: I64) -> int:
    """Encode the groups before progress[1], a multiple of 32, as far as the room lasts."""
    at, n_left, least = avx2.encode_groups(
        symbols, reciprocals, entries, states, sink, progress[0], progress[1] // avx2.LANES
    )
    progress[0], progress[1] = at, n_left * avx2.LANES
    return OK if least > 0 else BAD_SYMBOL


@inline
def _pop(x: int, entry: int) -> int:
    """Return the state before a symbol, and before it takes a word: f * (x >> 12) + slot - start."""
    return x - ((entry >> uint64(8)) & uint64(4095)) - (entry >> uint64(20)) * (x >> uint64(12))


@kernel
def _decode_lanes(source: U8, table: U32, states: U32, out: U8, progress: I64) -> int:
    """Decode the symbols from progress[1] on to the end; return OK or a status.

    IN/OUT states u32 (lanes), progress i64 (2): words of source read, symbols decoded.
    """
    at, n_words = uint64(progress[0]), uint64(source.size) >> uint64(1)
    i, n, mask = uint64(progress[1]), uint64(out.size), uint64(states.size) - uint64(1)
    while i < n and at < n_words:
        x = uint64(states[i & mask])
        entry = uint64(table[x & uint64(4095)])
        out[i] = uint8(entry)
        x = _pop(x, entry)
        place = at << uint64(1)
        word = uint64(source[place]) | uint64(source[place + uint64(1)]) << uint64(8)
        is_small = x < uint64(_LOW)
        states[i & mask] = uint32(x << uint64(16) | word if is_small else x)
        at += uint64(is_small)
        i += uint64(1)
    while i < n:
        x = uint64(states[i & mask])
        entry = uint64(table[x & uint64(4095)])
        out[i] = uint8(entry)
        x = _pop(x, entry)
        if x < uint64(_LOW):
            return INPUT_EXHAUSTED
        states[i & mask] = uint32(x)
        i += uint64(1)
    for lane in range(states.size):
        if states[lane] != uint32(_LOW):
            return TAIL_MISMATCH
    return OK if at == n_words else TAIL_MISMATCH


@kernel
def _decode_vectors(source: U8, table: U32, states: U32, out: U8, progress: I64) -> None:
    """Decode whole groups, as far as the words last."""
    at, n_groups = avx2.decode_groups(source, table, states, out, progress[0], out.size // avx2.LANES)
    progress[0], progress[1] = at, n_groups * avx2.LANES
