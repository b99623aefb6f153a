"""The coder of scores: round trips, prefixes, similar images against their twin, and whatever comes."""

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference import components as twin
from triptych_kernels import scores, signednumber, similar
from triptych_kernels.rangecoder import finish_decoding, finish_encoding, new_coder, start
from triptych_kernels.status import INPUT_EXHAUSTED, OK

SHAPES = st.tuples(st.integers(0, 9), st.integers(1, 20))
NUMBERS = st.integers(-3, 3) | st.integers(-signednumber.MAX_NUMBER, signednumber.MAX_NUMBER)
SCORES = hnp.arrays(np.int32, SHAPES, elements=NUMBERS)


@numba.njit
def foretell_component(found, j, likes, out):
    """Do for component j what the coder does; out i64 (n, 2)."""
    for i in range(found.shape[1]):
        if similar.renewed(j):
            similar.find_nearest(i, likes)
        out[i, 0], out[i, 1] = similar.foretell(found, j, i, likes)
    if j < similar.LAST_COMPONENT - 1:
        similar.add_distances(found, j, likes)


@numba.njit
def coarse_all(values, out):
    for i in range(values.size):
        out[i] = signednumber.coarse(values[i])


def levels_of(n):
    return [(7 * j + 5) % 32 for j in range(n)]


def code(found, with_similar, coder, sink, source, stop=None):
    n = found.shape[1]
    model, likes = scores.new_scores(n), similar.new_similar(n if with_similar else 1)
    levels = np.array(levels_of(len(found))[:stop], np.int64)
    return scores.code_scores(found, levels, with_similar, model, likes, coder, sink, source)


def encode(found, with_similar):
    coder, sink = new_coder(), np.zeros(1000 + 64 * found.size, np.uint8)
    assert code(found.copy(), with_similar, coder, sink, None) == OK
    return sink[: finish_encoding(coder, sink)].copy()


def decode(message, shape, with_similar, stop=None):
    """Give (status, scores, status of the end). The message is read-only, as in a stream: one compilation."""
    message = np.frombuffer(bytes(message), np.uint8)
    coder, found = new_coder(), np.zeros(shape, np.int32)
    start(coder, message)
    status = code(found, with_similar, coder, None, message, stop)
    return status, found, finish_decoding(coder, message)


@given(SCORES, st.booleans())
def test_round_trip(found, with_similar):
    status, got, end = decode(encode(found, with_similar), found.shape, with_similar)
    assert status == end == OK
    assert (got == found).all()


@given(SCORES, st.booleans(), st.data())
def test_the_first_components_need_nothing_of_the_rest(found, with_similar, data):
    n = data.draw(st.integers(0, len(found)))
    status, got, _ = decode(encode(found, with_similar), found.shape, with_similar, stop=n)
    assert status == OK
    assert (got[:n] == found[:n]).all()
    assert not got[n:].any()


def test_round_trip_of_many_components():
    """Lists are renewed until component 64, and distances cut."""
    found = np.random.default_rng(5).geometric(0.3, (70, 90)).astype(np.int32) - 1
    found[3] *= 1000
    for with_similar in (False, True):
        status, got, end = decode(encode(found, with_similar), found.shape, with_similar)
        assert status == end == OK
        assert (got == found).all()


@given(st.binary(max_size=100), SHAPES, st.booleans())
def test_any_bytes_give_scores_in_range_or_a_status(message, shape, with_similar):
    status, got, _ = decode(np.frombuffer(message, np.uint8), shape, with_similar)
    assert status in (OK, INPUT_EXHAUSTED)
    assert np.abs(got).max(initial=0) <= signednumber.MAX_NUMBER


@given(SCORES.filter(lambda found: found.size), st.booleans(), st.data())
def test_what_is_accepted_is_what_an_encoder_writes(found, with_similar, data):
    message = encode(found, with_similar)
    message = np.append(message, np.zeros(1, np.uint8))
    message[data.draw(st.integers(0, len(message) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    status, got, end = decode(message, found.shape, with_similar)
    if status == end == OK:
        assert bytes(encode(got, with_similar)).rstrip(b"\0") == bytes(message).rstrip(b"\0")


@given(hnp.arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 14)), elements=NUMBERS))
def test_similar_images_equal_their_twin(found):
    n = found.shape[1]
    likes, out = similar.new_similar(n), np.zeros((n, 2), np.int64)
    lists = [[] for _ in range(n)]
    for j in range(len(found)):
        foretell_component(found, j, likes, out)
        if 1 <= j < 8 or j == 8:
            lists = [twin.nearest(found, j, i, 2048) for i in range(n)]
        assert out.tolist() == [list(twin.foretell(found[j], listed)) for listed in lists]


def test_a_window_that_slides():
    """Images beyond the window are forgotten: here it is as large as the arrays say."""
    found = np.random.default_rng(2).integers(-9, 9, (6, 40)).astype(np.int32)
    likes = similar.Similar(np.zeros((40, 11), np.int32), *similar.new_similar(40)[1:])
    out = np.zeros((40, 2), np.int64)
    for j in range(6):
        foretell_component(found, j, likes, out)
        if j:
            expected = [twin.foretell(found[j], twin.nearest(found, j, i, 11)) for i in range(40)]
            assert out.tolist() == [list(pair) for pair in expected]


@given(hnp.arrays(np.int64, st.integers(0, 50), elements=st.integers(-500, 500)))
def test_classes(values):
    out = np.zeros(values.size, np.int64)
    coarse_all(values, out)
    assert out.tolist() == [twin.coarse(int(value)) for value in values]


def test_similar_images_foretell():
    """Two kinds of images at random: the first component tells which, so the others cost little."""
    rng = np.random.default_rng(1)
    kinds = rng.integers(-6, 7, (30, 2))
    found = kinds[:, rng.integers(0, 2, 200)].astype(np.int32)
    alone, together = (len(encode(found, with_similar)) for with_similar in (False, True))
    assert together < alone
    assert together < 200 / 8 + 200


@pytest.mark.parametrize("with_similar", [False, True])
def test_zeros_cost_nothing(with_similar):
    assert len(encode(np.zeros((50, 100), np.int32), with_similar)) < 40
