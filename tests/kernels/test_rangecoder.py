"""The range coder on lists of decisions: both ways, against its twin, and on whatever bytes come."""

import numba
import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from reference import coding as twin
from triptych_kernels.rangecoder import code_bit, finish_decoding, finish_encoding, new_coder, overrun, start
from triptych_kernels.status import INPUT_EXHAUSTED, OK, OUTPUT_FULL, TAIL_MISMATCH

PROBABILITIES = st.one_of(
    st.integers(1, 65535), st.sampled_from([1, 2, 32767, 32768, 65534, 65535]), st.integers(65000, 65535)
)
DECISIONS = st.lists(st.tuples(st.integers(0, 1), PROBABILITIES), max_size=300)
EXPECTED = st.integers(0, 2**32 - 1).map(lambda seed: likely_decisions(seed, 2000))


def likely_decisions(seed, n):
    """Decisions whose bits come as often as their probabilities say."""
    rng = np.random.default_rng(seed)
    p = np.clip(rng.beta(0.1, 0.1, n) * 65536, 1, 65535).astype(int)
    return list(zip((rng.random(n) * 65536 < p).astype(int).tolist(), p.tolist(), strict=True))


@numba.njit
def _code(coder, bits, probabilities, sink, source):
    low, high, code, pos = coder[0], coder[1], coder[2], coder[3]
    for i in range(bits.size):
        low, high, code, pos, bits[i] = code_bit(
            low, high, code, pos, bits[i], probabilities[i], sink, source
        )
    coder[0], coder[1], coder[2], coder[3] = low, high, code, pos
    return overrun(pos, sink, source)


def encode(decisions, room=2048):
    """Give (status, message, what stands behind the sink afterwards)."""
    memory = np.full(room + 64, 0xA5, np.uint8)
    bits, probabilities = np.array(decisions, np.int64).reshape(-1, 2).T.copy()
    coder = new_coder()
    status = _code(coder, bits, probabilities, memory[:room], None)
    if status == OK:
        status = finish_encoding(coder, memory[:room])
    return status, memory[: max(0, status)].tobytes(), memory[room:]


def decode(message, probabilities, behind=b""):
    """Give (status, bits, coder); `behind` lies in memory after the message."""
    memory = np.frombuffer(message + behind, np.uint8)
    source = memory[: len(message)]
    bits, coder = np.zeros(len(probabilities), np.int64), new_coder()
    start(coder, source)
    status = _code(coder, bits, np.array(probabilities, np.int64), None, source)
    return status, bits.tolist(), coder, source


@given(DECISIONS | EXPECTED)
@example([])
@example([(1, 1)] * 40)
@example([(0, 65535)] * 40)
@example([(1, 65535)] * 300)
def test_the_message_is_the_twins_and_comes_back(decisions):
    status, message, behind = encode(decisions)
    assert status == len(message)
    assert message.rstrip(b"\0") == twin.encode_bits(decisions)
    assert (behind == 0xA5).all()
    probabilities = [p for _, p in decisions]
    status, bits, coder, source = decode(message, probabilities)
    assert status == OK
    assert bits == [bit for bit, _ in decisions]
    assert finish_decoding(coder, source) == OK


@given(st.binary(max_size=60), st.lists(PROBABILITIES, max_size=400), st.binary(min_size=8, max_size=8))
def test_any_bytes_are_read_as_the_twin_reads_them(message, probabilities, behind):
    """Each message stands for one list of bits; all but the one that an encoder writes are refused."""
    status, bits, coder, source = decode(message, probabilities, behind)
    expected, is_canonical = twin.decode_bits(message, probabilities)
    assert bits == expected
    if is_canonical and len(message) >= len(encode([*zip(bits, probabilities, strict=True)])[1]):
        assert status == OK
    if status == OK:
        assert finish_decoding(coder, source) == (OK if is_canonical else TAIL_MISMATCH)
    else:
        assert status == INPUT_EXHAUSTED


def test_a_message_that_ends_in_zeros_is_read():
    """Decisions that settle zero bytes: where these are left out, it is not taken for a missing end."""
    for n in range(60):
        decisions = [(0, 30000), *[(1, 1)] * n]
        probabilities = [p for _, p in decisions]
        status, bits, coder, source = decode(encode(decisions)[1], probabilities)
        assert status == OK
        assert bits == [bit for bit, _ in decisions]
        assert finish_decoding(coder, source) == OK


@given(EXPECTED, st.integers(1, 9))
def test_zeros_at_the_end_are_nothing_and_other_bytes_are_refused(decisions, n):
    message, probabilities = encode(decisions)[1], [p for _, p in decisions]
    for tail, expected in ((bytes(n), OK), (bytes(n) + b"\1", TAIL_MISMATCH)):
        status, _, coder, source = decode(message + tail, probabilities)
        assert status == OK
        assert finish_decoding(coder, source) == expected


@given(EXPECTED, st.integers(0, 40))
def test_a_sink_that_is_too_small_is_full_and_nothing_behind_it_changes(decisions, room):
    whole = encode(decisions)[1]
    status, message, behind = encode(decisions, room)
    assert (behind == 0xA5).all()
    if status == OUTPUT_FULL:
        assert room < len(whole) + 4
    else:
        assert message == whole


def test_reading_on_behind_the_end_is_noticed():
    status, *_ = decode(b"\x12\x34", [32768] * 100)
    assert status == INPUT_EXHAUSTED
