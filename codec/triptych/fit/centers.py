"""Fit centres to the weighted points of the palette metric: the search behind `triptych.fit.kmeans`.

Seed by greedy variance cuts on coarse cells of the points; Lloyd on the cells; swaps (move the least useful
centres to the worst clusters, keep what helps); Lloyd on the points. Sums are exact integers, so the order
of the points changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from triptych_kernels.histogram import cell_keys, sum_by_label
from triptych_kernels.lloyd import measure_clusters, run_lloyd
from triptych_kernels.nearest import SCALE
from triptych_kernels.wu import cut_boxes

from triptych.fit.colors import (
    Colors,
    Points,
    number_keys,
    pack_planes,
    packed_colors,
    planes_of,
    round_centers,
    search_table,
)

_EXACT_POINTS = 1 << 19
"""Above this many distinct colours the last iterations run on cells: time stays bounded."""


@dataclass(frozen=True)
class Recipe:
    """How much work a fit takes: cells per centre (and at least so many), then iterations and rounds."""

    cells_per_color: int
    min_cells: int
    cell_iterations: int
    swap_rounds: int
    swap_iterations: int
    exact_iterations: int
    restarts: int = 1


RECIPES: dict[str, Recipe] = {
    "fast": Recipe(12, 2000, 8, 2, 3, 1),
    "default": Recipe(40, 4000, 15, 16, 5, 10),
    "max": Recipe(40, 4000, 15, 40, 5, 60, restarts=3),
}


def _coarsen(points: Points, bits: int) -> Points:
    """Replace the points of each cell by their mean."""
    keys = np.empty(points.weights.size, np.uint32)
    cell_keys(points.packed, bits, keys)
    unique, _, labels = number_keys(keys)
    sums = np.zeros((unique.size, 5), np.int64)
    sum_by_label(points.packed, points.weights, labels, sums)
    weights = sums[:, 4].copy()
    means = (2 * sums[:, :4] + weights[:, None]) // (2 * weights[:, None])
    return Points(pack_planes(means.T), weights)


def _coarse_points(points: Points, n_wanted: int) -> Points:
    """Give the coarsest cells of which there are `n_wanted`, or the points themselves."""
    for bits in (5, 6, 7):
        if points.weights.size <= 2 * n_wanted:
            break
        cells = _coarsen(points, bits)
        if cells.weights.size >= n_wanted:
            return cells
    return points


def _bounded_points(points: Points) -> Points:
    """Give the points, or where they are too many the finest cells that are few enough."""
    bits = 7  # down to 4 at most: there are only 2**16 cells of four planes of 4 bits
    bounded = points
    while bounded.weights.size > _EXACT_POINTS:
        bounded = _coarsen(points, bits)
        bits -= 1
    return bounded


def _seed_centers(points: Points, n_centers: int) -> npt.NDArray[np.int32]:
    """Give at most `n_centers` centres, int32 (4, n): means of boxes cut where the variance falls most."""
    n_points = points.weights.size
    bounds = np.empty((n_centers, 2), np.int64)
    order = np.empty(n_points, np.int32)
    labels = np.empty(n_points, np.int32)
    work = np.empty(n_centers), order, np.empty((64, 5))
    n_boxes = cut_boxes(planes_of(points.packed), points.weights, bounds, *work, labels)
    sums = np.zeros((n_boxes, 5), np.int64)
    sum_by_label(points.packed, points.weights, labels, sums)
    weights = sums[:, 4:]
    return np.ascontiguousarray(((2 * sums[:, :4] + weights) // (2 * weights)).T.astype(np.int32))


def _lloyd(points: Points, centers: npt.NDArray[np.int32], n_fixed: int, max_iterations: int) -> None:
    """Run Lloyd's iterations; `centers` is changed in place."""
    n_points, n_colors = points.weights.size, centers.shape[1]
    work = (
        np.empty(n_points, np.uint8),
        np.empty((2, n_points), np.float32),
        np.empty((n_colors, 5), np.int64),
        np.empty((2, n_colors), np.float32),
    )
    run_lloyd(points.packed, points.weights, centers, n_fixed, max_iterations, search_table(n_colors), work)


class Measured(NamedTuple):
    """Of centres: the total error; of each its cluster's, what that grows by without it, the nearest other.

    All but the first are int64 (k,).
    """

    total: int
    errors: npt.NDArray[np.int64]
    utilities: npt.NDArray[np.int64]
    neighbors: npt.NDArray[np.int64]


def measure(points: Points, centers: npt.NDArray[np.int32]) -> Measured:
    """Measure centres, int32 (4, k)."""
    n_colors = centers.shape[1]
    facts = np.empty((3, n_colors), np.int64)
    table = search_table(n_colors)
    return Measured(int(measure_clusters(points.packed, points.weights, centers, table, *facts)), *facts)


def _choose_victims(measured: Measured, n_fixed: int, n_wanted: int) -> list[int]:
    """Choose the least useful free centres, but none whose nearest neighbour goes: that has to take over."""
    victims: list[int] = []
    neighbors = measured.neighbors.tolist()
    for j in np.argsort(measured.utilities, kind="stable").tolist():
        if len(victims) == n_wanted:
            break
        if j >= n_fixed and neighbors[j] not in victims:
            victims.append(j)
    return victims


def _swap(
    points: Points, centers: npt.NDArray[np.int32], n_fixed: int, recipe: Recipe, seed: int
) -> npt.NDArray[np.int32]:
    """Move the least useful centres beside those of the worst clusters, again and again; keep what helps.

    As many move at once as helped last time; after a failure half as many, down to one, then again from
    half of what was the most. After Fritzke, "The k-means-u* algorithm", 2017.
    """
    n_colors = centers.shape[1]
    varies = np.ptp(centers, axis=1, keepdims=True) > 0  # no noise in the alpha of an opaque picture
    random = np.random.PCG64(seed)  # a bit generator's raw stream is the same in every numpy
    best = measure(points, centers)
    n_most = max(1, n_colors // 8 if n_colors > 16 else n_colors // 4)
    n_moving = n_most
    for _ in range(recipe.swap_rounds):
        victims = _choose_victims(best, n_fixed, n_moving)
        going = set(victims)
        worst_first = np.argsort(-best.errors, kind="stable").tolist()
        sources = [j for j in worst_first if j not in going][: len(going)]
        victims = victims[: len(sources)]
        if not victims:
            break
        noise = (random.random_raw(4 * len(victims)) % np.uint64(6 * SCALE + 1)).astype(np.int32)
        moved = centers[:, sources] + (noise.reshape(4, -1) - 3 * SCALE) * varies
        trial = centers.copy()
        trial[:, victims] = np.clip(moved, 0, 255 * SCALE)
        _lloyd(points, trial, n_fixed, recipe.swap_iterations)
        measured = measure(points, trial)
        if measured.total < best.total:
            best, centers = measured, trial
        elif n_moving > 1:
            n_moving //= 2
        else:
            n_most = max(1, n_most // 2)
            n_moving = n_most
    return centers


def fit_centers(points: Points, n_free: int, fixed: Colors, recipe: Recipe, seed: int) -> Colors:
    """Fit `n_free` colours, beside those that are `fixed`, to points."""
    if n_free == 0:
        return np.empty((0, 4), np.uint8)
    n_fixed = len(fixed)
    cells = _coarse_points(points, max(recipe.min_cells, recipe.cells_per_color * (n_fixed + n_free)))
    centers = np.concatenate([planes_of(packed_colors(fixed)), _seed_centers(cells, n_free)], axis=1)
    _lloyd(cells, centers, n_fixed, recipe.cell_iterations)
    trials = [_swap(cells, centers, n_fixed, recipe, seed + (i << 64)) for i in range(recipe.restarts)]
    centers = min(trials, key=lambda trial: measure(cells, trial).total)
    _lloyd(_bounded_points(points), centers, n_fixed, recipe.exact_iterations)
    return round_centers(centers[:, n_fixed:])
