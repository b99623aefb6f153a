import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from reference import palette as twin
from triptych_kernels.lloyd import measure_clusters, run_lloyd
from triptych_kernels.nearest import table_len
from triptych_kernels.wu import cut_boxes

SEEDS = st.integers(0, 2**32 - 1)
SPREADS = st.sampled_from([1, 7, 300, 2040])


def weighted_points(seed, n, spread):
    rng = np.random.default_rng(seed)
    planes = rng.integers(0, spread + 1, (4, n)) + rng.integers(0, 2041 - spread)
    return rng, planes, rng.integers(1, 2 ** rng.integers(1, 20), n)


def lloyd(points, weights, centers, n_fixed, max_iterations):
    n, k = weights.size, centers.shape[1]
    centers = centers.astype(np.int32, order="C")
    work = (
        np.empty(n, np.uint8),
        np.empty((2, n), np.float32),
        np.empty((k, 5), np.int64),
        np.empty((2, k), np.float32),
    )
    table = np.empty((3, table_len(k)), np.uint32)
    done = run_lloyd(twin.pack(points), weights, centers, n_fixed, max_iterations, table, work)
    return centers, done


@given(SEEDS, SPREADS, st.integers(1, 150), st.integers(1, 30), st.integers(0, 3), st.integers(0, 40))
def test_bounds_change_nothing(seed, spread, n, k, n_fixed, max_iterations):
    rng, points, weights = weighted_points(seed, n, spread)
    centers = points[:, rng.integers(0, n, k)] if seed % 2 else rng.integers(0, 2041, (4, k))
    got, done = lloyd(points, weights, centers, n_fixed, max_iterations)
    expected, expected_done = twin.lloyd(points, weights, centers, n_fixed, max_iterations)
    assert (got == expected).all()
    assert done == expected_done


def test_bounds_change_nothing_where_many_points_lie_between_centers():
    grid = np.stack(np.meshgrid(*[np.arange(0, 2040, 255)] * 3, indexing="ij")).reshape(3, -1)
    points = np.concatenate([grid, np.full((1, grid.shape[1]), 2040)])
    weights = np.ones(points.shape[1], np.int64)
    centers = points[:, ::7]
    got, done = lloyd(points, weights, centers, 0, 60)
    expected, expected_done = twin.lloyd(points, weights, centers, 0, 60)
    assert (got == expected).all()
    assert done == expected_done > 2


@given(SEEDS, SPREADS, st.integers(1, 100), st.integers(2, 30))
def test_errors_and_utilities_agree_with_the_twin(seed, spread, n, k):
    rng, points, weights = weighted_points(seed, n, spread)
    centers = points[:, rng.integers(0, n, k)].astype(np.int32, order="C")
    errors, utilities, neighbors = np.empty((3, k), np.int64)
    table = np.empty((3, table_len(k)), np.uint32)
    total = measure_clusters(twin.pack(points), weights, centers, table, errors, utilities, neighbors)
    assert (errors.tolist(), utilities.tolist()) == twin.cluster_measures(points, weights, centers)
    assert total == errors.sum()
    gaps = ((centers[:, :, None] - centers[:, None].astype(np.int64)) ** 2).sum(axis=0)
    np.fill_diagonal(gaps, 2**30)
    assert neighbors.tolist() == gaps.argmin(axis=1).tolist()


@given(SEEDS, SPREADS, st.integers(1, 60), st.integers(1, 20))
def test_boxes_are_cut_as_the_twin_cuts_them(seed, spread, n, k):
    _, points, weights = weighted_points(seed, n, spread)
    bounds, order, labels = np.empty((k, 2), np.int64), np.empty(n, np.int32), np.empty(n, np.int32)
    work = np.empty(k), order, np.empty((64, 5))
    n_boxes = cut_boxes(points.astype(np.int32), weights, bounds, *work, labels)
    boxes = [set(order[first:last].tolist()) for first, last in bounds[:n_boxes]]
    assert boxes == twin.variance_cuts(points, weights, k)
    assert sum(map(len, boxes)) == n
    assert [set(np.flatnonzero(labels == box).tolist()) for box in range(n_boxes)] == boxes
    if n_boxes < k:
        assert n_boxes == len(np.unique(points, axis=1).T)
