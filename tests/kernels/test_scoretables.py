"""Scores under tables: against their twin, there and back, on whatever bytes come."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference import scoretables as twin
from triptych.errors import InvalidFrame
from triptych.fit.basis import POWERS
from triptych.modes.scoretables import build_scores, parse_scores
from triptych_kernels import scoretables
from triptych_kernels.status import OK

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 20))
NUMBERS = st.integers(-9, 9) | st.integers(-32767, 32767)
SCORES = hnp.arrays(np.int32, SHAPES, elements=NUMBERS)
DEVIATIONS = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).integers(-192, 320, 9, np.int64)
)


def parse(coded, deviations, shape, whole=True):
    """Give (status, scores)."""
    found = np.full(shape, 99, np.int32)
    return parse_scores(memoryview(coded), deviations[: shape[0]], found, whole), found


@given(SCORES, DEVIATIONS)
def test_classes_tokens_and_raw_bits_equal_the_twins(found, deviations):
    deviations = deviations[: len(found)]
    classes, tokens = np.empty_like(found), np.empty_like(found)
    raw = np.zeros(2 * found.size + 4, np.uint8)
    expected = scoretables.new_expected(POWERS, found.shape[1])
    n_bits = scoretables.encode_raw(found, deviations, expected, classes, tokens, raw)
    bits = np.unpackbits(raw, bitorder="little")
    got = (classes.ravel().tolist(), tokens.ravel().tolist(), "".join(map(str, bits[:n_bits])))
    assert got == twin.tokens_of(found.tolist(), deviations.tolist())
    assert not bits[n_bits:].any()
    assert 0 <= tokens.min() <= tokens.max() < scoretables.N_TOKENS


@given(SCORES, DEVIATIONS, st.data())
def test_round_trip_of_all_and_of_the_first_components(found, deviations, data):
    coded = build_scores(found, deviations[: len(found)])
    status, got = parse(coded, deviations, found.shape)
    assert status == OK
    assert (got == found).all()
    n = data.draw(st.integers(0, len(found)))
    status, got = parse(coded, deviations, (n, found.shape[1]), whole=False)
    assert status == OK
    assert (got == found[:n]).all()


@given(SCORES, DEVIATIONS, st.data())
def test_damage_is_refused_or_gives_scores_in_range(found, deviations, data):
    coded = bytearray(build_scores(found, deviations[: len(found)]))
    coded[data.draw(st.integers(0, len(coded) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with suppress(InvalidFrame):
        status, got = parse(bytes(coded), deviations, found.shape)
        assert status <= OK
        if status == OK:
            assert np.abs(got).max(initial=0) <= 32767


@given(SCORES, DEVIATIONS, st.data())
def test_a_cut_message_is_refused(found, deviations, data):
    coded = build_scores(found, deviations[: len(found)])
    cut = coded[: data.draw(st.integers(0, len(coded) - 1))]
    try:
        status, _ = parse(cut, deviations, found.shape)
    except InvalidFrame:
        return
    assert status < OK


@given(st.binary(max_size=200), SHAPES, DEVIATIONS)
def test_any_bytes_give_scores_or_a_status(coded, shape, deviations):
    with suppress(InvalidFrame):
        status, _ = parse(coded, deviations, shape)
        assert status <= OK


def test_large_scores_cost_what_their_entropy_is():
    """Gaussian scores of known deviations: within 2 % of their entropy, tables and all."""
    deviations = np.repeat(np.arange(16, 112, 8), 4).astype(np.int64)
    sigma = 2.0 ** (deviations / 16)
    found = np.rint(np.random.default_rng(3).normal(0, sigma[:, None], (len(sigma), 1000))).astype(np.int32)
    bits = 1000 * float(np.log2(sigma * np.sqrt(2 * np.pi * np.e)).sum())
    assert 8 * len(build_scores(found, deviations)) < 1.02 * bits


@pytest.mark.parametrize("n", [1, 5000])
def test_zeros_cost_little(n):
    assert len(build_scores(np.zeros((50, n), np.int32), np.full(50, -20))) < 60
