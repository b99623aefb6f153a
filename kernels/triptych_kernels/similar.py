"""Which earlier images of a frame are most like this one, as far as both are decoded; what they foretell.

Scores come component by component, so when component j of image i is coded, components before j of all
images are known, and component j of the images before i. The *distance* of two images is the sum of the
squared differences of their scores; the eight nearest of the WINDOW images before i, weighted by the inverse
square of it, give a prediction of the score that comes. FORMAT.md section 8.

Work is bounded: distances grow and lists are renewed in the first 64 components only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import int32, int64, uint64

from triptych_kernels._jit import inline
from triptych_kernels.arrays import I32

N_NEAREST = 8
WINDOW = 2048
LAST_COMPONENT = 64
"""Components from here on neither change distances nor lists."""
FAR = (1 << 31) - 1
MAX_APART = 2047
"""A difference counts at most so much: 64 squares of it stay below 2^28."""


class Similar(NamedTuple):
    """Work arrays for n images: distances i32 (n, WINDOW), nearest i32 (n, 8), weights i32 (n, 8).

    distances[i, s]: from image i to the s-th image of its window, which begins at max(0, i - WINDOW).
    nearest: numbers of images, nearest first, -1 behind the last; weights: 65536 for the nearest.
    """

    distances: I32
    nearest: I32
    weights: I32


def new_similar(n_images: int) -> Similar:
    """Return the state before the first component."""
    return Similar(
        np.zeros((n_images, min(n_images, WINDOW)), np.int32),
        np.full((n_images, N_NEAREST), -1, np.int32),
        np.zeros((n_images, N_NEAREST), np.int32),
    )


@inline
def renewed(j: int) -> bool:
    """Say whether the lists are renewed before component j."""
    return (1 <= j < 8) or (8 <= j < LAST_COMPONENT and (j & 3) == 0)


@inline
def add_distances(scores: I32, j: int, similar: Similar) -> None:
    """Count the squared differences of component j. IN scores i32 (K, n)."""
    n = scores.shape[1]
    distances = similar.distances
    window = distances.shape[1]
    for i in range(1, n):
        first = max(0, i - window)
        mine = scores[j, i]
        for s in range(uint64(i - first)):
            apart = min(abs(int32(mine - scores[j, uint64(first) + s])), int32(MAX_APART))
            distances[i, s] += apart * apart


@inline
def find_nearest(i: int, similar: Similar) -> None:
    """Renew the list of image i: the earlier image wins among equals."""
    distances, nearest, weights = similar.distances, similar.nearest, similar.weights
    window = distances.shape[1]
    count = 0
    worst = int64(FAR)
    first = max(0, i - window)
    for s in range(uint64(i - first)):
        apart = int64(distances[i, s])
        if apart < worst:
            at = min(count, N_NEAREST - 1)
            while at > 0 and int64(weights[i, at - 1]) > apart:
                weights[i, at], nearest[i, at] = weights[i, at - 1], nearest[i, at - 1]
                at -= 1
            weights[i, at], nearest[i, at] = int32(apart), int32(first + int64(s))
            count = min(count + 1, N_NEAREST)
            if count == N_NEAREST:
                worst = int64(weights[i, N_NEAREST - 1])
    # 65536 (distance + 4)^2 stays below 2^58, as distances are cut at 2^20 here.
    least = min(int64(weights[i, 0]), int64(1) << 20) + 4
    for at in range(count):
        apart = min(int64(weights[i, at]), int64(1) << 20) + 4
        weights[i, at] = int32((65536 * least * least) // (apart * apart))


@inline
def foretell(scores: I32, j: int, i: int, similar: Similar) -> tuple[int, int]:
    """Return (prediction, spread) in sixteenths: the mean of the nearest, and how far they are from it.

    Weights are at most 65536, scores below 2^15: sums stay below 8 * 2^16 * 2^20.
    """
    nearest, weights = similar.nearest, similar.weights
    total, weight = int64(0), int64(0)
    for at in range(N_NEAREST):
        if nearest[i, at] < 0:
            break
        total += int64(weights[i, at]) * int64(scores[j, nearest[i, at]]) * 16
        weight += int64(weights[i, at])
    if weight == 0:
        return int64(0), int64(0)
    mean = (total + (weight >> 1)) // weight
    total = int64(0)
    for at in range(N_NEAREST):
        if nearest[i, at] < 0:
            break
        total += int64(weights[i, at]) * abs(int64(scores[j, nearest[i, at]]) * 16 - mean)
    return mean, total // weight
