"""Lloyd's iterations on weighted points, exact and in integers, with Hamerly's bounds.

G. Hamerly, "Making k-means even faster", SDM 2010. The labels and centres of every iteration are those of
the plain algorithm; the bounds only save distances. Called by `triptych.fit.kmeans`; the metric is that of
`triptych_kernels.nearest`.

**Why rounding never lets a bound lie.** Bounds are float32 distances. True distances are at most 4080; a
square root or a sum below 8192 is off by at most 2**-12. Each iteration adds `_SLACK` = 2**-9 to an upper
bound and takes it from a lower one, more than the two roundings of a root and a sum. An upper bound above
8192 skips nothing, since a lower bound is at most 4096 (the root of a missing second key). A point is left
alone only where its upper bound is strictly less: a tie is always computed, and goes to the lower index.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from triptych_kernels._jit import inline, kernel
from triptych_kernels.nearest import build_table, pack_pair, plane_of, two_smallest_keys

_SLACK = np.float32(2.0**-9)
_INDEX = np.uint64(0xFF)
_KEY = np.uint64(0xFFFFFFFF)
_INDEX_BITS = np.uint64(8)
_KEY_BITS = np.uint64(32)


@inline
def _root(key: np.uint64) -> np.float32:
    """Distance in a key, as float32 (distances below 2**24 are exact in it)."""
    return np.float32(np.sqrt(np.float32(np.int64(key >> _INDEX_BITS))))


@inline
def _distance(
    points: npt.NDArray[np.uint32], i: np.uint64, table: npt.NDArray[np.uint32], j: np.uint64
) -> np.float32:
    """Distance of point i from colour j of a search table."""
    total = np.int64(0)
    for plane in range(4):
        difference = plane_of(points, plane, i) - plane_of(table, plane, j)
        total += difference * difference
    return np.float32(np.sqrt(np.float32(total)))


@inline
def _add_point(
    points: npt.NDArray[np.uint32], i: np.uint64, weight: np.int64, sums: npt.NDArray[np.int64], j: np.uint64
) -> None:
    for plane in range(4):
        sums[j, plane] += weight * plane_of(points, plane, i)
    sums[j, 4] += weight


@inline
def _half_gaps(table: npt.NDArray[np.uint32], gaps: npt.NDArray[np.float32]) -> None:
    """Half the distance of each colour to the nearest other: a point nearer than that needs no search."""
    for j in range(gaps.size):
        keys = two_smallest_keys(table, table[0, j], table[1, j])
        gaps[j] = np.float32(0.5) * _root(keys >> _KEY_BITS) - _SLACK


@inline
def _move_centers(
    sums: npt.NDArray[np.int64],
    centers: npt.NDArray[np.int32],
    n_fixed: int,
    table: npt.NDArray[np.uint32],
    moves: npt.NDArray[np.float32],
) -> None:
    """Set each free centre to the rounded mean of its points; `moves` is how far it went."""
    for j in range(n_fixed, centers.shape[1]):
        weight = sums[j, 4]
        if weight > 0:
            for plane in range(4):
                centers[plane, j] = (2 * sums[j, plane] + weight) // (2 * weight)
        pair01 = pack_pair(np.int64(centers[0, j]), np.int64(centers[1, j]))
        pair23 = pack_pair(np.int64(centers[2, j]), np.int64(centers[3, j]))
        total = np.int64(0)
        for plane in range(4):
            difference = plane_of(table, plane, np.uint64(j)) - np.int64(centers[plane, j])
            total += difference * difference
        moves[j] = np.sqrt(np.float32(total))
        table[0, j], table[1, j] = pair01, pair23


@inline
def _assign(
    points: npt.NDArray[np.uint32],
    weights: npt.NDArray[np.int64],
    table: npt.NDArray[np.uint32],
    gaps: npt.NDArray[np.float32],
    labels: npt.NDArray[np.uint8],
    bounds: npt.NDArray[np.float32],
    sums: npt.NDArray[np.int64],
) -> int:
    """Search the points that the bounds do not settle; give the number of labels that changed."""
    n_changed = 0
    for point in range(points.shape[1]):
        i = np.uint64(point)
        old = np.uint64(labels[i])
        safe = max(gaps[old], bounds[1, i])
        if bounds[0, i] < safe:
            continue
        bounds[0, i] = _distance(points, i, table, old) + _SLACK
        if bounds[0, i] < safe:
            continue
        keys = two_smallest_keys(table, points[0, i], points[1, i])
        bounds[0, i] = _root(keys & _KEY) + _SLACK
        bounds[1, i] = _root(keys >> _KEY_BITS) - _SLACK
        new = keys & _INDEX
        if new != old:
            n_changed += 1
            labels[i] = new
            _add_point(points, i, -weights[i], sums, old)
            _add_point(points, i, weights[i], sums, new)
    return n_changed


@inline
def _loosen(
    labels: npt.NDArray[np.uint8], moves: npt.NDArray[np.float32], bounds: npt.NDArray[np.float32]
) -> None:
    """Widen the bounds of every point by how far its centre, and the fastest other one, went."""
    fastest = np.argmax(moves)
    second = np.float32(0.0)
    for j in range(moves.size):
        if j != fastest:
            second = max(second, moves[j])
    for i in range(labels.size):
        label = labels[i]
        bounds[0, i] += moves[label] + _SLACK
        bounds[1, i] -= (second if label == fastest else moves[fastest]) + _SLACK


@kernel
def run_lloyd(
    points: npt.NDArray[np.uint32],
    weights: npt.NDArray[np.int64],
    centers: npt.NDArray[np.int32],
    n_fixed: int,
    max_iterations: int,
    table: npt.NDArray[np.uint32],
    work: tuple[
        npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.float32]
    ],
) -> int:
    """Move centres to the means of their nearest points until none moves, or `max_iterations` times.

    A centre without points stays where it is. Means are rounded to the metric's integers, halves up.

    Parameters
    ----------
    points : uint32 (2, n), IN
        Packed points.
    weights : int64 (n,), IN
        Their sum below 2**50.
    centers : int32 (4, k), INOUT
        Planes of 1 to 256 centres; the first `n_fixed` do not move.
    n_fixed, max_iterations : int
    table : uint32 (3, table_len(k)), scratch
    work : labels uint8 (n,); bounds float32 (2, n); sums int64 (k, 5); gaps and moves float32 (2, k)
        Scratch, each C-contiguous.

    Returns
    -------
    n_iterations
        How many assignments were made.
    """
    labels, bounds, sums, gaps_moves = work
    gaps, moves = gaps_moves[0], gaps_moves[1]
    build_table(centers, table)
    sums[:] = 0
    moves[:] = np.float32(0.0)
    # Every point begins at centre 0 with bounds that settle nothing.
    for point in range(labels.size):
        labels[point] = 0
        bounds[0, point] = np.float32(np.inf)
        bounds[1, point] = np.float32(-1.0)
        _add_point(points, np.uint64(point), weights[point], sums, np.uint64(0))
    for iteration in range(max_iterations):
        _half_gaps(table, gaps)
        n_changed = _assign(points, weights, table, gaps, labels, bounds, sums)
        if n_changed == 0 and iteration > 0:
            return iteration + 1
        _move_centers(sums, centers, n_fixed, table, moves)
        if np.max(moves) == np.float32(0.0):
            return iteration + 1
        _loosen(labels, moves, bounds)
    return max_iterations


@kernel
def measure_clusters(
    points: npt.NDArray[np.uint32],
    weights: npt.NDArray[np.int64],
    centers: npt.NDArray[np.int32],
    table: npt.NDArray[np.uint32],
    errors: npt.NDArray[np.int64],
    utilities: npt.NDArray[np.int64],
    neighbors: npt.NDArray[np.int64],
) -> np.int64:
    """Measure the weighted squared error of each cluster, and by how much it grows without its centre.

    Parameters
    ----------
    points, weights, centers, table
        As in `run_lloyd`; total weight below 2**39, so that a sum of distances below 2**24 is an int64.
    errors, utilities : int64 (k,), OUT
    neighbors : int64 (k,), OUT
        For each centre the nearest other one, ties to the lower index; of a lone centre any number.

    Returns
    -------
    total
        The sum of `errors`.
    """
    build_table(centers, table)
    errors[:] = 0
    utilities[:] = 0
    total = np.int64(0)
    for i in range(points.shape[1]):
        keys = two_smallest_keys(table, points[0, i], points[1, i])
        label = keys & _INDEX
        first = np.int64((keys & _KEY) >> _INDEX_BITS)
        second = np.int64(keys >> (_KEY_BITS + _INDEX_BITS))
        errors[label] += weights[i] * first
        utilities[label] += weights[i] * (second - first)
        total += weights[i] * first
    for j in range(neighbors.size):
        keys = two_smallest_keys(table, table[0, j], table[1, j])
        # Of a centre and the others that equal it, the first may be another one.
        first = np.int64(keys & _INDEX)
        neighbors[j] = first if first != j else np.int64((keys >> _KEY_BITS) & _INDEX)
    return total
