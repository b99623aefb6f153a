import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from reference import palette as twin
from triptych_kernels.histogram import cell_keys, find_unique, sum_by_label

SEEDS = st.integers(0, 2**32 - 1)


def room(n_slots, n_unique):
    return np.full(n_slots, -1, np.int32), np.empty(n_unique, np.uint32), np.empty(n_unique, np.int64)


@given(st.lists(st.sampled_from([0, 1, 255, 2**31, 2**32 - 1]) | st.integers(0, 40), max_size=200))
def test_unique_keys_agree_with_the_twin(values):
    keys = np.array(values, np.uint32)
    slots, unique, counts = room(512, 256)
    inverse = np.empty(keys.size, np.int32)
    position, n = find_unique(keys, 0, slots, unique, counts, 0, inverse)
    expected = twin.unique_counts(keys)
    assert position == keys.size
    assert (unique[:n].tolist(), counts[:n].tolist(), inverse.tolist()) == expected


@given(st.lists(st.integers(0, 30), min_size=1, max_size=100), st.integers(1, 31))
def test_a_full_table_stops_at_the_first_key_without_room_and_goes_on(values, capacity):
    keys = np.array(values, np.uint32)
    slots, unique, counts = room(64, capacity)
    inverse = np.empty(keys.size, np.int32)
    position, n = find_unique(keys, 0, slots, unique, counts, 0, inverse)
    if position < keys.size:
        assert n == capacity
        assert keys[position] not in unique
        wide, wide_counts = np.empty(32, np.uint32), np.empty(32, np.int64)
        wide[:n], wide_counts[:n] = unique[:n], counts[:n]
        position, n = find_unique(keys, position, slots, wide, wide_counts, n, inverse)
        unique, counts = wide, wide_counts
    assert position == keys.size
    assert (unique[:n].tolist(), counts[:n].tolist(), inverse.tolist()) == twin.unique_counts(keys)


@given(SEEDS, st.integers(1, 8))
def test_cells_take_the_top_bits_of_each_plane(seed, bits):
    planes = np.random.default_rng(seed).integers(0, 2041, (4, 20))
    keys = np.empty(20, np.uint32)
    cell_keys(twin.pack(planes), bits, keys)
    tops = planes >> (11 - bits)
    expected = ((tops[0] << 3 * bits) + (tops[1] << 2 * bits) + (tops[2] << bits) + tops[3]).tolist()
    assert keys.tolist() == expected


@given(SEEDS, st.integers(0, 50), st.integers(1, 5))
def test_sums_by_label_agree_with_the_twin(seed, n, m):
    rng = np.random.default_rng(seed)
    planes, labels = rng.integers(0, 2041, (4, n)), rng.integers(0, m, n).astype(np.int32)
    weights = rng.integers(1, 2**40, n)
    sums = np.zeros((m, 5), np.int64)
    sum_by_label(twin.pack(planes), weights, labels, sums)
    for j in range(m):
        expected = [*(planes * weights)[:, labels == j].sum(axis=1), weights[labels == j].sum()]
        assert sums[j].tolist() == expected
