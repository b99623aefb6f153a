import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from reference import palette as twin
from triptych_kernels.assign import assign_nearest, dither_floyd_steinberg
from triptych_kernels.nearest import RATE_LIMIT, table_len
from triptych_kernels.rateaware import assign_cheapest, count_neighbors

SEEDS = st.integers(0, 2**32 - 1)
SPREADS = st.sampled_from([1, 7, 300, 2040])  # how far apart the planes are: ties, neighbours, extremes


def planes(rng, n, spread):
    return rng.integers(0, spread + 1, (4, n)) + rng.integers(0, 2041 - spread)


def table(k):
    return np.empty((3, table_len(k)), np.uint32)


@given(SEEDS, SPREADS, st.integers(1, 256))
def test_labels_are_the_nearest_with_ties_to_the_lower_index(seed, spread, k):
    rng = np.random.default_rng(seed)
    points, centers = planes(rng, 50, spread), planes(rng, k, spread)
    labels = np.empty(50, np.uint8)
    assign_nearest(twin.pack(points), centers.astype(np.int32), table(k), labels)
    assert labels.tolist() == twin.nearest(points, centers).tolist()


def test_the_largest_distance_is_told_from_the_next():
    points = np.array([[0, 2040]] * 4)
    centers = np.array([[2040, 2040], [2040, 2040], [2040, 2040], [2040, 2039]], np.int32)
    labels = np.empty(2, np.uint8)
    assign_nearest(twin.pack(points), centers, table(2), labels)
    assert labels.tolist() == [1, 0]


@given(SEEDS, SPREADS, st.integers(1, 20), st.integers(1, 9), st.integers(1, 9))
def test_dithering_agrees_with_the_twin(seed, spread, k, height, width):
    rng = np.random.default_rng(seed)
    points, centers = planes(rng, height * width, spread), planes(rng, k, 2040)
    labels = np.empty((height, width), np.uint8)
    carry = np.zeros((2, 4, width + 2), np.int32)
    dither_floyd_steinberg(twin.pack(points), centers.astype(np.int32), table(k), carry, labels)
    assert (labels == twin.floyd_steinberg(points, centers, height, width)).all()


@given(SEEDS, SPREADS, st.integers(1, 20), st.sampled_from([0, 100, 10**5, RATE_LIMIT >> 8]))
def test_cheapest_labels_agree_with_the_twin(seed, spread, k, limit):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 9, 2).tolist()
    points, centers = planes(rng, height * width, spread), planes(rng, k, spread)
    rates = [rng.integers(0, limit + 1, (k, k)) for _ in range(3)]
    wide = []
    for rate in rates:
        row = np.zeros((k, table_len(k)), np.uint32)
        row[:, :k] = rate << 8
        wide.append(row)
    labels = np.empty((height, width), np.uint8)
    assign_cheapest(twin.pack(points), centers.astype(np.int32), table(k), tuple(wide), labels)
    assert (labels == twin.cheapest(points, centers, rates, height, width)).all()


@given(SEEDS, st.integers(1, 9), st.integers(1, 9), st.integers(1, 6))
def test_neighbors_are_counted(seed, height, width, k):
    labels = np.random.default_rng(seed).integers(0, k, (height, width)).astype(np.uint8)
    counts = np.zeros((3, k, k), np.int64)
    count_neighbors(labels, counts[0], counts[1], counts[2])
    assert (counts == twin.neighbor_counts(labels, k)).all()
