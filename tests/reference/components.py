"""Slow and obvious twins of the kernels of PCA for collections. Nothing here imports the code it checks."""

from __future__ import annotations

import math

import numpy as np


def project(images, mean, directions, dead):
    """Scores in float64, moved towards zero and rounded half away from it."""
    products = (images.astype(np.float64) - mean) @ directions.astype(np.float64)
    return np.sign(products) * np.floor(np.maximum(np.abs(products) + 0.5 - dead, 0))


def coarse(value):
    reached = sum(b <= abs(value) for b in (2, 5, 9, 14, 20, 27, 35, 44, 56, 72, 96, 128, 192, 256, 400))
    return 16 + reached if value >= 0 else 15 - reached


def nearest(scores, j, i, window):
    """The eight most similar of the images before i, by components before j: (weight, image)."""
    found = sorted(
        (sum(min(abs(int(row[i]) - int(row[k])), 2047) ** 2 for row in scores[: min(j, 63)]), k)
        for k in range(max(0, i - window), i)
    )[:8]
    cut = [min(distance, 2**20) + 4 for distance, _ in found]
    return [(65536 * cut[0] ** 2 // d**2, k) for d, (_, k) in zip(cut, found, strict=True)]


def foretell(row, listed):
    """The weighted mean of the listed images' scores and their mean distance to it, in sixteenths."""
    total = sum(weight for weight, _ in listed)
    if not total:
        return 0, 0
    mean = (sum(16 * weight * int(row[k]) for weight, k in listed) + total // 2) // total
    return mean, sum(weight * abs(16 * int(row[k]) - mean) for weight, k in listed) // total


def show(scores, odd, rows, center, factor, shift, width):
    """The picture of scores (K): rows i64 (K, h, stored, c), center (h, stored, c)."""
    height, stored, channels = center.shape
    picture = np.zeros((height, width, channels), np.uint8)
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                column = x if x < stored else width - 1 - x
                total = 0
                for j in range(len(scores)):
                    sign = -1 if odd[j] and x >= stored else 1
                    total += sign * int(scores[j]) * int(rows[j, y, column, c])
                value = math.floor(total * factor / 65536) + int(center[y, column, c]) + (1 << shift >> 1)
                picture[y, x, c] = min(255, max(0, value >> shift))
    return picture


def refined_cost(scores, images, rows, mean, bits, exchange, shift):
    """Squared error, in 1/256, of the clamped pictures, and what their scores cost."""
    cost = 0.0
    for i, pixels in enumerate(images):
        sums = mean.astype(np.int64) + sum(
            (int(q) * row.astype(np.int64) for q, row in zip(scores[:, i], rows, strict=True)), start=0
        )
        shown = np.clip(sums, 0, 255 << shift) >> (shift - 4)
        cost += float(((shown - (pixels.astype(np.int64) << 4)) ** 2).sum())
        cost += exchange * sum(
            bits[j, min(abs(int(q)), bits.shape[1] - 1)] for j, q in enumerate(scores[:, i])
        )
    return cost
