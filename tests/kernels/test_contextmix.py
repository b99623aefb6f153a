"""Tables, mixing, refinements, pair decisions and bit histories against their twins."""

from itertools import chain

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import coding as twin
from triptych_kernels import contextmix, histories, runs
from triptych_kernels.contextmix import (
    HALF,
    SQUASH,
    STRETCH,
    decayed,
    predict7,
    predict23,
    refine,
    refine_table,
    refine_train,
    squash,
    step_of,
    train7,
    train23,
)

SEEDS = st.integers(0, 2**32 - 1)


@numba.njit
def mix7(counters, at, weights, rows, bits, rate, least, out):
    seen, logits = np.zeros(8, np.uint32), np.zeros(8, np.int32)
    for i in range(bits.size):
        out[i] = predict7(counters, at[i], STRETCH, weights, rows[i], seen, logits)
        step = step_of(bits[i], squash(out[i]), rate)
        train7(counters, at[i], weights, rows[i], seen, logits, step, bits[i], least)


@numba.njit
def mix23(counters, at, weights, rows, bits, rate, least, out):
    seen, logits = np.zeros(24, np.uint32), np.zeros(24, np.int32)
    for i in range(bits.size):
        out[i] = predict23(counters, at[i], STRETCH, weights, rows[i], seen, logits)
        step = step_of(bits[i], squash(out[i]), rate)
        train23(counters, at[i], weights, rows[i], seen, logits, step, bits[i], least)


@numba.njit
def refine_all(table, rows, logits, bits, out):
    for i in range(bits.size):
        out[i] = refine(table, rows[i], logits[i])
        refine_train(table, rows[i], logits[i], bits[i])


@numba.njit
def pair_all(counters, weights, slots, bits, gain, out):
    for i in range(bits.size):
        out[i] = runs.pair_logit(counters, weights, slots[i])
        runs.pair_train(counters, weights, slots[i], squash(out[i]), bits[i], gain)


@numba.njit
def decay_all(rate, least, out):
    for i in range(out.size):
        rate = decayed(rate, least)
        out[i] = rate


def test_tables_equal_the_real_functions():
    assert SQUASH.tolist() == twin.squash_table()
    assert STRETCH.tolist() == twin.stretch_table()


def test_tables_have_the_properties_that_the_kernels_rely_on():
    assert (np.diff(SQUASH) >= 0).all()
    assert (np.diff(STRETCH) >= 0).all()
    assert SQUASH.min() >= 1
    assert SQUASH.max() <= 65535
    assert np.abs(STRETCH).max() <= contextmix.LOGIT_MAX
    assert HALF == twin.HALF


@pytest.mark.parametrize(("n", "n_sets", "mix"), [(7, 2, mix7), (23, 3, mix23)])
@given(SEEDS, st.sampled_from([1 << 12, 1 << 17, 1 << 31]), st.integers(1, 600), st.integers(1, 2560))
def test_mixing(n, n_sets, mix, seed, scale, rate, least):
    """Any counters and weights, inputs that share a counter, rows that coincide; sums and products wrap."""
    rng = np.random.default_rng(seed)
    width, n_decisions = n + 1, 12
    counters = rng.integers(0, 1 << 32, 40, np.uint32)
    weights = rng.integers(-scale, scale, 6 * width).astype(np.int32)
    at = rng.integers(0, counters.size, (n_decisions, n))
    rows = rng.integers(0, 6, (n_decisions, n_sets)) * width
    bits = rng.integers(0, 2, n_decisions)
    expected_counters, expected_weights = counters.tolist(), weights.tolist()
    mixer, expected = twin.Mixer(n, width), []
    for where, which, bit in zip(at.tolist(), rows.tolist(), bits.tolist(), strict=True):
        logit = mixer.predict(expected_counters, where, expected_weights, which)
        step = twin.step_of(bit, twin.squash(logit), rate)
        mixer.train(expected_counters, where, expected_weights, which, step, bit, least)
        expected.append(logit)
    out = np.zeros(n_decisions, np.int64)
    mix(counters, at, weights, rows, bits, rate, least, out)
    assert out.tolist() == expected
    assert counters.tolist() == expected_counters
    assert weights.tolist() == expected_weights


@given(SEEDS, st.integers(1, 100))
def test_refinement(seed, n_decisions):
    rng = np.random.default_rng(seed)
    table = refine_table(3)
    points = [twin.refinement_row() for _ in range(3)]
    assert table.tolist() == [*chain(*points)]
    rows, bits = rng.integers(0, 3, n_decisions), rng.integers(0, 2, n_decisions)
    logits = rng.integers(-3071, 3072, n_decisions)
    out = np.zeros(n_decisions, np.int64)
    refine_all(table, rows, logits, bits, out)
    for row, logit, bit, p in zip(*(a.tolist() for a in (rows, logits, bits, out)), strict=True):
        assert p == twin.refine(points[row], logit)
        twin.refine_train(points[row], logit, bit)
    assert table.tolist() == [*chain(*points)]


def test_a_refinement_stays_a_probability():
    """However long one bit comes, a point stays within 22 bits, and what it gives within 16."""
    for bit in (0, 1):
        table, n = refine_table(1), 20_000
        logits = np.arange(n) % 6143 - 3071
        out = np.zeros(n, np.int64)
        refine_all(table, np.zeros(n, np.int64), logits, np.full(n, bit), out)
        assert (table >= 0).all()
        assert (table < 1 << 22).all()
        assert (out >= 0).all()
        assert (out <= 65536).all()


@given(SEEDS, st.sampled_from([1 << 16, 1 << 31]), st.sampled_from([1, 6]))
def test_pair_decisions(seed, scale, gain):
    rng = np.random.default_rng(seed)
    counters = rng.integers(0, 1 << 32, 9, np.uint32)
    weights = rng.integers(-scale, scale, 8).astype(np.int32)
    slots = np.stack([rng.permutation(9)[:3] for _ in range(30)])
    slots[:, 2] = rng.integers(0, 4, 30) * 2
    bits, out = rng.integers(0, 2, 30), np.zeros(30, np.int64)
    expected_counters, expected_weights, expected = counters.tolist(), weights.tolist(), []
    for (a, b, w), bit in zip(slots.tolist(), bits.tolist(), strict=True):
        logit = twin.pair_logit(expected_counters, (a, b), expected_weights, w)
        twin.pair_train(expected_counters, (a, b), expected_weights, w, twin.squash(logit), bit, gain)
        expected.append(logit)
    pair_all(counters, weights, slots, bits, gain, out)
    assert out.tolist() == expected
    assert counters.tolist() == expected_counters
    assert weights.tolist() == expected_weights


@pytest.mark.parametrize(("rate", "least"), [(160, 30), (300, 60), (150, 40)])
def test_learning_rates_fall_to_their_least(rate, least):
    out = np.zeros(400, np.int64)
    decay_all(rate << 8, least << 8, out)
    expected = rate * 256
    for value in out.tolist():
        expected = max(256 * least, expected * 252 >> 8)
        assert value == expected
    assert out[-1] == least << 8


def test_history_tables():
    n_states = len(twin.history_states())
    assert n_states == 255
    assert histories.NEXT_STATE[: 2 * n_states].tolist() == [
        twin.next_history(state, bit) for state in range(n_states) for bit in (0, 1)
    ]
    assert histories.STATE_P.tolist() == [twin.history_counter(state) for state in range(256)]


def test_every_history_is_reached_and_none_becomes_empty_again():
    reached, waiting = {0}, [0]
    while waiting:
        state = waiting.pop()
        for bit in (0, 1):
            after = int(histories.NEXT_STATE[2 * state + bit])
            assert after != 0
            if after not in reached:
                reached.add(after)
                waiting.append(after)
    assert reached <= set(range(255))
    assert len(reached) > 200
