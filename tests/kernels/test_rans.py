"""The rANS coders: both ways, against their twins, in pieces, on whatever bytes come, and on another target.

Run as a script, this prints what `report` finds: it can be run where numba compiles for another target.
"""

import hashlib
import json

import numba
import numpy as np
import pytest
from elsewhere import floats_of, on_plain_cpu
from hypothesis import assume, example, given
from hypothesis import strategies as st
from reference import rans as twin
from triptych_kernels import avx2, staticrans, tablerans
from triptych_kernels.status import BAD_SYMBOL, INPUT_EXHAUSTED, OK, OUTPUT_FULL, TAIL_MISMATCH

CODES = {"exhausted": INPUT_EXHAUSTED, "tail": TAIL_MISMATCH, "symbol": BAD_SYMBOL}
KERNELS = (
    staticrans.count_symbols,
    staticrans._balance,
    staticrans._encode_lanes,
    staticrans._decode_lanes,
    staticrans._write_states,
    staticrans._read_states,
    tablerans._encode,
    tablerans._start,
    tablerans.decode_symbols,
)
VECTOR_KERNELS = (staticrans._encode_vectors, staticrans._decode_vectors)
I32_MIN, I32_MAX = -(2**31), 2**31 - 1
GUARD = 64

SEEDS = st.integers(0, 2**32 - 1)
STATIC_LANES = st.sampled_from(staticrans.LANES)
TABLE_LANES = st.sampled_from(tablerans.LANES)


def written(call, room):
    """Run an encoder in the middle of guarded memory; give (status, message)."""
    memory = np.full(room + 2 * GUARD, 0xA5, np.uint8)
    status = call(memory[GUARD : GUARD + room])
    assert (memory[:GUARD] == 0xA5).all()
    assert (memory[GUARD + room :] == 0xA5).all()
    return status, memory[GUARD + room - max(0, status) : GUARD + room].tobytes()


def bytes_of(message):
    return np.frombuffer(message, np.uint8)


def outcome(decode, *arguments):
    """Give a twin's (status, symbols or None)."""
    try:
        return OK, decode(*arguments)
    except twin.Refused as refused:
        return CODES[str(refused)], None


# Bytes under one table.


def draw_bytes(seed, n):
    """Symbols of a skewed source, with counts that fit them more or less."""
    rng = np.random.default_rng(seed)
    odds = rng.dirichlet(np.full(rng.integers(1, 257), rng.choice([0.02, 0.3, 5.0])))
    alphabet = rng.permutation(256)[: odds.size]
    symbols = alphabet[rng.choice(odds.size, n, p=odds)].astype(np.uint8)
    return symbols, staticrans.normalise(np.bincount(symbols, minlength=256) + rng.integers(0, 2, 256))


SHORT = st.builds(draw_bytes, SEEDS, st.integers(0, 200))
LONG = st.builds(draw_bytes, SEEDS, st.integers(200, 4000))


def one_symbol(symbol, n):
    frequencies = np.zeros(256, np.int64)
    frequencies[symbol] = 4096
    return np.full(n, symbol, np.uint8), frequencies


def encode_static(symbols, frequencies, lanes, room=None):
    room = staticrans.message_bound(symbols.size, lanes) if room is None else room
    return written(lambda sink: staticrans.encode(symbols, frequencies, lanes, sink), room)


def decode_static(message, frequencies, lanes, n):
    """Give (status, symbols)."""
    memory = np.full(n + 2 * GUARD, 0xA5, np.uint8)
    status = staticrans.decode(bytes_of(message), frequencies, lanes, memory[GUARD : GUARD + n])
    assert (memory[:GUARD] == 0xA5).all()
    assert (memory[GUARD + n :] == 0xA5).all()
    return status, memory[GUARD : GUARD + n].tolist()


@given(SHORT | LONG, STATIC_LANES)
@example(one_symbol(0, 100), 1)
@example(one_symbol(255, 200), 4)
@example(one_symbol(7, 1000), 32)
@example((np.zeros(0, np.uint8), one_symbol(3, 0)[1]), 32)
def test_a_static_message_is_the_twins_and_comes_back(drawn, lanes):
    symbols, frequencies = drawn
    status, message = encode_static(symbols, frequencies, lanes)
    assert status == len(message)
    if symbols.size <= 1000:
        assert message == twin.encode_static(symbols.tolist(), frequencies.tolist(), lanes)
    assert decode_static(message, frequencies, lanes, symbols.size) == (OK, symbols.tolist())


@given(LONG, st.integers(0, 300))
def test_vectors_and_lanes_write_and_read_the_same(drawn, less):
    """Where the room ends, too."""
    if not avx2.available():
        pytest.skip("numba compiles for a CPU without AVX2")
    symbols, frequencies = drawn
    vectors = encode_static(symbols, frequencies, 32)
    room = max(0, len(vectors[1]) + 40 - less)
    short = encode_static(symbols, frequencies, 32, room)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(avx2, "available", lambda: False)
        assert encode_static(symbols, frequencies, 32) == vectors
        assert encode_static(symbols, frequencies, 32, room) == short
        assert decode_static(vectors[1], frequencies, 32, symbols.size) == (OK, symbols.tolist())


@given(SHORT, STATIC_LANES, st.binary(max_size=300), st.integers(0, 100))
def test_any_bytes_are_read_as_the_static_twin_reads_them(drawn, lanes, noise, n):
    frequencies = drawn[1]
    states = np.random.default_rng(len(noise)).integers(1 << 15, 1 << 31, lanes).astype("<u4").tobytes()
    for message in (noise, states + noise):
        status, symbols = decode_static(message, frequencies, lanes, n)
        expected, wanted = outcome(twin.decode_static, message, frequencies.tolist(), lanes, n)
        assert status == expected
        assert wanted in (None, symbols)


@given(SHORT | LONG, STATIC_LANES, st.data())
def test_damaged_static_messages_are_refused_or_canonical(drawn, lanes, data):
    symbols, frequencies = drawn
    message = bytearray(encode_static(symbols, frequencies, lanes)[1])
    message[data.draw(st.integers(0, len(message) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    status, found = decode_static(bytes(message), frequencies, lanes, symbols.size)
    if status == OK:
        assert encode_static(np.array(found, np.uint8), frequencies, lanes)[1] == message
    stop = data.draw(st.integers(0, len(message)))
    assert decode_static(bytes(message[:stop]), frequencies, lanes, symbols.size)[0] in (OK, *CODES.values())


@given(SHORT, STATIC_LANES)
def test_no_prefix_of_a_static_message_is_read(drawn, lanes):
    symbols, frequencies = drawn
    message = encode_static(symbols, frequencies, lanes)[1]
    for stop in range(len(message)):
        status = decode_static(message[:stop], frequencies, lanes, symbols.size)[0]
        assert status in (INPUT_EXHAUSTED, TAIL_MISMATCH)
    assert decode_static(message + b"\0\0", frequencies, lanes, symbols.size)[0] == TAIL_MISMATCH
    assert decode_static(message + b"\0", frequencies, lanes, symbols.size)[0] == TAIL_MISMATCH


@given(SHORT | LONG, STATIC_LANES, st.integers(0, 8000))
def test_a_static_sink_is_full_where_the_message_does_not_fit(drawn, lanes, room):
    symbols, frequencies = drawn
    whole = encode_static(symbols, frequencies, lanes)
    for size in (room, len(whole[1]), len(whole[1]) + 1):
        assert encode_static(symbols, frequencies, lanes, size) == (
            whole if size >= len(whole[1]) else (OUTPUT_FULL, b"")
        )


@pytest.mark.parametrize("lanes", staticrans.LANES)
@pytest.mark.parametrize("at", [0, 50, 99])
def test_a_symbol_without_a_code(lanes, at):
    symbols, frequencies = one_symbol(4, 100)
    symbols[at] = 5
    assert encode_static(symbols, frequencies, lanes)[0] == BAD_SYMBOL


COUNTS = st.lists(
    st.integers(0, 20) | st.integers(0, 10**6) | st.integers(0, 2**54), min_size=256, max_size=256
)


FLAT_COUNTS = st.integers(1, 255).map(lambda n: [1] * n + [0] * (256 - n))


def draw_counts(seed):
    """A few symbols come often and many once, so that the rare ones take their room from the others."""
    odds = np.random.default_rng(seed).dirichlet(np.full(256, 0.05))
    return np.maximum(1, 1e6 * odds).astype(int).tolist()


@given(COUNTS | FLAT_COUNTS | SEEDS.map(draw_counts), st.integers(0, 250))
def test_frequencies_are_the_cheapest(counts, n_absent):
    counts = [0] * n_absent + counts[n_absent:]
    assume(any(counts))
    found = staticrans.normalise(np.array(counts, np.int64)).tolist()
    assert sum(found) == 4096
    assert [f > 0 for f in found] == [c > 0 for c in counts]
    assert twin.cost(counts, found) <= twin.best_cost(counts) * (1 + 1e-7)


@given(st.integers(0, 3000), SEEDS)
def test_counts(n, seed):
    symbols = draw_bytes(seed, n + 1)[0][:n]
    counts = np.zeros((4, 256), np.int64)
    staticrans.count_symbols(symbols, counts)
    assert (counts.sum(axis=0) == np.bincount(symbols, minlength=256)).all()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda f: f[:255], "not 256"),
        (lambda f: f.astype(float), "not 256"),
        (lambda f: f + (np.arange(256) == 9), "sum to 4096"),
        (lambda f: f + (np.arange(256) == 9) - 2 * (np.arange(256) == 8) + (np.arange(256) == 7), "sum to"),
    ],
)
def test_frequencies_that_are_none(change, why):
    symbols, frequencies = one_symbol(4, 10)
    for call in (staticrans.encode, staticrans.decode):
        with pytest.raises(ValueError, match=why):
            call(symbols, change(frequencies), 1, np.zeros(99, np.uint8))


def test_static_arguments_that_are_none():
    symbols, frequencies = one_symbol(4, 10)
    sink = np.zeros(99, np.uint8)
    for call in (staticrans.encode, staticrans.decode):
        with pytest.raises(ValueError, match="2 lanes"):
            call(symbols, frequencies, 2, sink)
        with pytest.raises(ValueError, match="uint8"):
            call(symbols.astype(np.int32), frequencies, 1, sink)
        with pytest.raises(ValueError, match="contiguous"):
            call(symbols, frequencies, 1, sink[::2])
    for counts in (np.zeros(256, np.int64), np.full(256, -1), np.ones(255, np.int64)):
        with pytest.raises(ValueError, match="counts"):
            staticrans.normalise(counts)


# Numbers under many tables.


def draw_tables(rng, n_tables):
    """Give [(offset, cumulative)]: tables of any width and place."""
    tables = []
    for _ in range(n_tables):
        size = int(rng.choice([2, 3, rng.integers(2, 40), rng.integers(2, 600)]))
        cuts = rng.choice(65535, size - 1, replace=False) + 1
        if rng.random() < 0.3:  # one entry takes nearly all
            cuts = np.arange(1, size) + rng.choice([0, 65535 - size])
        place = rng.choice([-(size // 2), I32_MIN, I32_MAX - size + 2, rng.integers(I32_MIN, I32_MAX - size)])
        tables.append((int(place), [0, *sorted(cuts.tolist()), 65536]))
    return tables


def draw_numbers(seed, n):
    """Give (symbols, indexes, tables): numbers mostly within the tables, at their edges, and anywhere."""
    rng = np.random.default_rng(seed)
    tables = draw_tables(rng, int(rng.integers(1, 9)))
    indexes, symbols = rng.integers(0, len(tables), n), []
    share_outside = rng.choice([0, 0.02, 0.5])
    for index in indexes.tolist():
        offset, cumulative = tables[index]
        last = offset + len(cumulative) - 3
        number = int(np.searchsorted(cumulative, rng.integers(65536), side="right")) - 1 + offset
        if rng.random() < share_outside or number > last:
            edges = (offset - 1, last + 1, offset - 2, last + 2, offset - 9, last + 300, I32_MIN, I32_MAX)
            number = int(rng.choice([*edges, rng.integers(I32_MIN, I32_MAX)]))
        symbols.append(min(I32_MAX, max(I32_MIN, number)))
    return np.array(symbols, np.int32), indexes.astype(rng.choice([np.uint16, np.int32])), tables


NUMBERS = st.builds(draw_numbers, SEEDS, st.integers(0, 200))


def build(tables):
    """Give the arrays of tables."""
    return (
        np.array([offset for offset, _ in tables], np.int32),
        np.array([len(cumulative) - 1 for _, cumulative in tables], np.int64),
        np.array([number for _, cumulative in tables for number in cumulative], np.uint32),
    )


def encode_numbers(symbols, indexes, tables, lanes, room=None):
    made = tablerans.make_tables(*build(tables))
    room = tablerans.message_bound(symbols.size, lanes) if room is None else room
    return written(lambda sink: tablerans.encode(symbols, indexes, made, lanes, sink), room)


def decode_numbers(message, indexes, tables, lanes, stops=()):
    """Decode in pieces that end at the stops; give (status, symbols)."""
    made, source = tablerans.make_tables(*build(tables)), bytes_of(message)
    state = np.zeros(tablerans.STATE_SIZE, np.uint64)
    status, found = tablerans.start_decoding(source, lanes, state), []
    for piece in np.split(indexes, stops):
        out = np.zeros(piece.size, np.int32)
        if status == OK:
            status = tablerans.decode(source, piece, made, lanes, state, out)
            found += out.tolist()
    return (tablerans.finish_decoding(source, state) if status == OK else status), found


@given(NUMBERS, TABLE_LANES, st.data())
def test_a_message_of_numbers_is_the_twins_and_comes_back_in_pieces(drawn, lanes, data):
    symbols, indexes, tables = drawn
    status, message = encode_numbers(symbols, indexes, tables, lanes)
    assert status == len(message)
    assert message == twin.encode_tables(symbols.tolist(), indexes.tolist(), tables, lanes)
    stops = sorted(data.draw(st.lists(st.integers(0, symbols.size), max_size=6)))
    for places in ((), stops, range(symbols.size)):
        assert decode_numbers(message, indexes, tables, lanes, places) == (OK, symbols.tolist())


@pytest.mark.parametrize("lanes", tablerans.LANES)
def test_the_farthest_escapes(lanes):
    """Up to 2^32 - 1 beyond the table: 64 bits behind the escape."""
    for offset in (I32_MIN, -1, 0, 1, I32_MAX):
        tables = [(offset, [0, 65535, 65536]), (offset, [0, 1, 65536])]
        symbols = np.array([I32_MIN, I32_MAX, 0, -1, 1] * 7, np.int32)
        indexes = np.arange(symbols.size, dtype=np.int32) % 2
        message = encode_numbers(symbols, indexes, tables, lanes)[1]
        assert message == twin.encode_tables(symbols.tolist(), indexes.tolist(), tables, lanes)
        assert decode_numbers(message, indexes, tables, lanes) == (OK, symbols.tolist())


@given(NUMBERS, TABLE_LANES, st.binary(max_size=400))
def test_any_bytes_are_read_as_the_twin_of_tables_reads_them(drawn, lanes, noise):
    _, indexes, tables = drawn
    states = np.random.default_rng(len(noise)).integers(1 << 31, 1 << 63, lanes, np.uint64)
    for message in (noise, states.astype("<u8").tobytes() + noise[: len(noise) & ~3]):
        status, symbols = decode_numbers(message, indexes, tables, lanes)
        expected, wanted = outcome(twin.decode_tables, message, indexes.tolist(), tables, lanes)
        assert status == expected
        assert wanted in (None, symbols)


@given(NUMBERS, TABLE_LANES, st.data())
def test_damaged_messages_of_numbers_are_refused_or_canonical(drawn, lanes, data):
    symbols, indexes, tables = drawn
    message = bytearray(encode_numbers(symbols, indexes, tables, lanes)[1])
    message[data.draw(st.integers(0, len(message) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    status, found = decode_numbers(bytes(message), indexes, tables, lanes)
    if status == OK:
        assert encode_numbers(np.array(found, np.int32), indexes, tables, lanes)[1] == message


@given(NUMBERS, TABLE_LANES)
def test_no_prefix_of_a_message_of_numbers_is_read(drawn, lanes):
    symbols, indexes, tables = drawn
    message = encode_numbers(symbols, indexes, tables, lanes)[1]
    made, out = tablerans.make_tables(*build(tables)), np.zeros_like(symbols)
    state = np.zeros(tablerans.STATE_SIZE, np.uint64)
    for stop in range(len(message)):
        source = bytes_of(message[:stop])
        status = tablerans.start_decoding(source, lanes, state)
        if status == OK:
            status = tablerans.decode(source, indexes, made, lanes, state, out)
        if status == OK:
            status = tablerans.finish_decoding(source, state)
        assert status < 0
    assert decode_numbers(message + bytes(4), indexes, tables, lanes)[0] == TAIL_MISMATCH
    assert decode_numbers(message + bytes(1), indexes, tables, lanes)[0] == TAIL_MISMATCH


@given(NUMBERS, TABLE_LANES, st.integers(0, 2000))
def test_a_sink_of_numbers_is_full_where_the_message_does_not_fit(drawn, lanes, room):
    symbols, indexes, tables = drawn
    whole = encode_numbers(symbols, indexes, tables, lanes)
    for size in (room, len(whole[1]) - 1, len(whole[1]), len(whole[1]) + 3):
        assert encode_numbers(symbols, indexes, tables, lanes, size) == (
            whole if size >= len(whole[1]) else (OUTPUT_FULL, b"")
        )


@pytest.mark.parametrize("lanes", tablerans.LANES)
def test_a_message_is_as_long_as_the_tables_say(lanes):
    """Within 0.01 % on a million symbols, beside the lanes' states."""
    rng = np.random.default_rng(3)
    tables = []
    for scale in np.geomspace(0.2, 40, 8):
        numbers = np.arange(-round(3 * scale) - 1, round(3 * scale) + 2)
        odds = np.append(np.exp(-np.abs(numbers) / scale), 1e-9)
        tables.append((int(numbers[0]), wide_table(odds / odds.sum())))
    few_symbols, few_indexes = sampled(rng, tables, 20_000)
    indexes, symbols = np.tile(few_indexes, 50), np.tile(few_symbols, 50)
    order = rng.permutation(symbols.size)
    status, message = encode_numbers(symbols[order], indexes[order], tables, lanes)
    expected = 50 * twin.table_cost(few_symbols.tolist(), few_indexes.tolist(), tables) / 8
    assert status == len(message)
    assert abs(len(message) - 8 * lanes - expected) < 1e-4 * expected


def wide_table(odds):
    """Cumulative frequencies of these odds, each frequency at least 1."""
    cuts = np.floor(np.cumsum(odds) * (65536 - odds.size)).astype(int) + np.arange(1, odds.size + 1)
    return [0, *cuts[:-1].tolist(), 65536]


def sampled(rng, tables, n):
    """Symbols as often as the tables say, escapes among them."""
    indexes, symbols = rng.integers(0, len(tables), n), []
    for index in indexes.tolist():
        offset, cumulative = tables[index]
        entry = int(np.searchsorted(cumulative, rng.integers(65536), side="right")) - 1
        symbols.append(offset + entry)
    return np.array(symbols, np.int32), indexes.astype(np.uint16)


def changed(array, at, value):
    copy = array.copy()
    copy[at] = value
    return copy


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda o, s, c: (o, s, changed(c, 3, 1)), "table 1: does not begin at 0"),
        (lambda o, s, c: (o, s, changed(c, 2, 65535)), "table 0: does not sum"),
        (lambda o, s, c: (o, s, changed(c, 5, 9)), "table 1: a frequency is not"),
        (lambda o, s, c: (o, s, changed(c, 5, 8)), "table 1: a frequency is not"),
        (lambda o, s, c: (o, changed(s, 0, 1), c), "table 0: not 2 to 65536 entries"),
        (lambda o, s, c: (o, changed(s, 1, 65537), c), "table 1: not 2 to 65536 entries"),
        (lambda o, s, c: (o, changed(s, 1, -(2**63)), c), "table 1: not 2 to"),
        (lambda o, s, c: (changed(o, 1, I32_MAX - 1), s, c), "table 1: its numbers pass int32"),
        (lambda o, s, c: (o, s, c[:-1]), "7 cumulative frequencies, not 8"),
        (lambda o, s, c: (o[:1], s, c), "1 offsets and 2 sizes"),
        (lambda o, s, c: (o[:0], s[:0], c[:0]), "0 offsets and 0 sizes"),
        (lambda o, s, c: (np.zeros(4097, np.int32), np.full(4097, 2), c), "4097 offsets"),
        (lambda o, s, c: (o.astype(np.int64), s, c), "offsets are int64"),
        (lambda o, s, c: (o, s.astype(float), c), "sizes are float64"),
        (lambda o, s, c: (o, s, c.reshape(2, 4)), "cumulative are uint32"),
    ],
)
def test_tables_that_are_none(change, why):
    tables = build([(0, [0, 5, 65536]), (5, [0, 9, 10, 65535, 65536])])
    tablerans.make_tables(*tables)
    with pytest.raises(ValueError, match=why):
        tablerans.make_tables(*change(*tables))


def test_the_largest_tables():
    """One with an entry for each slot, and 4096 small ones."""
    rng = np.random.default_rng(4)
    for tables in ([(-9, list(range(65537)))], draw_tables(rng, 4096)):
        indexes = rng.integers(0, len(tables), 500).astype(np.uint16)
        symbols = np.array([max(-9, min(tables[t][0] + 1, 70_000)) for t in indexes], np.int32)
        message = encode_numbers(symbols, indexes, tables, 4)[1]
        assert decode_numbers(message, indexes, tables, 4) == (OK, symbols.tolist())


def test_arguments_of_numbers_that_are_none():
    made = tablerans.make_tables(*build([(0, [0, 5, 65536])] * 2))
    symbols, sink = np.zeros(5, np.int32), np.zeros(99, np.uint8)
    good = np.zeros(5, np.uint16)
    for indexes, lanes, numbers, why in (
        (good + np.uint16(2), 1, symbols, "passes the 2 tables"),
        (good.astype(np.int32) - np.int32(1), 1, symbols, "passes the 2 tables"),
        (good[:4], 1, symbols, "4 indexes for 5 symbols"),
        (good.astype(np.int64), 1, symbols, "uint16 or int32"),
        (np.zeros(10, np.uint16)[::2], 1, symbols, "uint16 or int32"),
        (good, 3, symbols, "3 lanes"),
        (good, 1, symbols.astype(np.int16), "int32"),
        (good, 1, np.zeros(10, np.int32)[::2], "int32"),
    ):
        with pytest.raises(ValueError, match=why):
            tablerans.encode(numbers, indexes, made, lanes, sink)
        with pytest.raises(ValueError, match=why):
            tablerans.decode(sink, indexes, made, lanes, np.zeros(6, np.uint64), numbers)
    with pytest.raises(ValueError, match="row of uint8"):
        tablerans.start_decoding(sink.astype(np.int8), 1, np.zeros(6, np.uint64))


# Another target.


def report():
    """Give a digest of messages and of what they and damaged copies of them decode to."""
    found = hashlib.sha256()
    rng = np.random.default_rng(9)
    for seed in range(30):
        symbols, frequencies = draw_bytes(seed, int(rng.integers(0, 1500)))
        counts = np.zeros((4, 256), np.int64)
        staticrans.count_symbols(symbols, counts)
        found.update(counts.sum(axis=0).tobytes() + frequencies.tobytes())
        numbers, indexes, tables = draw_numbers(seed, int(rng.integers(0, 200)))
        for lanes in staticrans.LANES:
            whole = encode_static(symbols, frequencies, lanes)[1]
            for message in (whole, *damaged(rng, whole)):
                found.update(
                    message + repr(decode_static(message, frequencies, lanes, symbols.size)[0]).encode()
                )
            found.update(repr(encode_static(symbols, frequencies, lanes, len(whole) - 9)).encode())
        for lanes in tablerans.LANES:
            whole = encode_numbers(numbers, indexes, tables, lanes)[1]
            for message in (whole, *damaged(rng, whole)):
                found.update(message + repr(decode_numbers(message, indexes, tables, lanes, [9])).encode())
            found.update(repr(encode_numbers(numbers, indexes, tables, lanes, len(whole) - 5)).encode())
    return found.hexdigest()


def damaged(rng, message):
    """Give copies with a byte changed, some of them cut."""
    for _ in range(8):
        copy = bytearray(message)
        copy[rng.integers(len(copy))] ^= 1 << int(rng.integers(8))
        yield bytes(copy[: len(copy) if rng.random() < 0.6 else rng.integers(len(copy))])


@pytest.mark.slow
@pytest.mark.background(10, on_plain_cpu(__file__))
def test_another_target_gives_the_same_bytes_and_no_index_is_out_of_bounds(background):
    assert background.json() == {"report": report(), "floats": [], "vectors": False}


@pytest.mark.slow
def test_no_float_in_the_vectors():
    """Compiled anew, as nothing is to be seen of what comes from the cache; the other target has the rest."""
    if not avx2.available():
        pytest.skip("numba compiles for a CPU without AVX2")
    encode_static(*one_symbol(1, 64), 32)
    decode_static(encode_static(*one_symbol(1, 64), 32)[1], one_symbol(1, 64)[1], 32, 64)
    for kernel in VECTOR_KERNELS:
        fresh = numba.njit(kernel.py_func)
        for signature in kernel.signatures:
            fresh.compile(signature)
        assert floats_of(fresh) == []


def test_kernels_return_integers():
    report()
    for kernel in KERNELS + VECTOR_KERNELS * avx2.available():
        assert kernel.signatures
        for signature in kernel.signatures:
            assert str(kernel.overloads[signature].signature.return_type) in ("int64", "none")


if __name__ == "__main__":
    digest = report()
    seen = [line for kernel in KERNELS for line in floats_of(kernel)]
    print(json.dumps({"report": digest, "floats": seen, "vectors": avx2.available()}))
