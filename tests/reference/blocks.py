"""Slow and obvious twins of the kernels of PCA for photographs. Nothing here imports the code it checks.

Numbers are Python's, which never overflow.
"""

from __future__ import annotations

import math
from fractions import Fraction


def clamp(x, low, high):
    return min(max(x, low), high)


def log16(x):
    """16 log2 x rounded down, of the leading 12 bits or so of x, in groups of four."""
    more = 0
    while x >= 4096:
        x, more = x // 16, more + 64
    return (x**16).bit_length() - 1 + more


def step_size(s):
    """2^(s / 16) in 1/64, rounded down."""
    root = math.isqrt(math.isqrt(math.isqrt(math.isqrt(2 ** (96 + s)))))
    assert root**16 <= 2 ** (96 + s) < (root + 1) ** 16
    return root


def matvec(matrix, vector):
    return [sum(int(a) * int(b) for a, b in zip(row, vector, strict=True)) for row in matrix]


def axpy(row, factor, sums):
    return [int(s) + factor * int(a) for s, a in zip(sums, row, strict=True)]


def to_planes(pixels, matrix, height, width):
    """Planes by rows by columns, rounded half up; the last row and column go on."""
    n = len(matrix)
    last_row, last_column = len(pixels) - 1, len(pixels[0]) - 1

    def sample(plane, y, x):
        pixel = pixels[min(y, last_row)][min(x, last_column)]
        total = sum(int(matrix[plane][c]) * (int(pixel[c]) - 128) for c in range(n))
        return math.floor(Fraction(total, 2048) + Fraction(1, 2))

    return [[[sample(p, y, x) for x in range(width)] for y in range(height)] for p in range(n)]


def to_pixels(planes, inverse, height, width):
    """Rows by columns by channels."""
    n = len(planes)

    def sample(y, x, c):
        total = sum(int(inverse[c][p]) * int(planes[p][y][x]) for p in range(n))
        return clamp(math.floor(Fraction(total, 1 << 17) + Fraction(1, 2)) + 128, 0, 255)

    return [[[sample(y, x, c) for c in range(n)] for x in range(width)] for y in range(height)]


class Filter:
    """FORMAT.md section 7.4: `rec` is rows of samples, `split` is 1 or 2 for each square of 16."""

    def __init__(self, rec, split, step):
        self.rec, self.split, self.step = rec, split, step
        self.height, self.width = len(rec), len(rec[0])

    def at(self, y, x):
        """A sample, or the edge's beyond it."""
        return int(self.rec[clamp(y, 0, self.height - 1)][clamp(x, 0, self.width - 1)])

    def variation(self, y, x, dy, dx):
        """Second differences of 4 x 4 samples in one direction."""
        return sum(
            abs(2 * self.at(i, j) - self.at(i + dy, j + dx) - self.at(i - dy, j - dx))
            for i in range(y, y + 4)
            for j in range(x, x + 4)
        )

    def class_of(self, y, x):
        top, left = y // 4 * 4, x // 4 * 4
        h, v, d, r = (self.variation(top, left, *way) for way in ((0, 1), (1, 0), (1, 1), (1, -1)))
        activity = clamp((log16(h + v + 1) - 48 - self.step) // 16, 0, 3)
        direction = 1 if h > 2 * v else 2 if v > 2 * h else 3 if d > 2 * r else 4 if r > 2 * d else 0
        side = 8 if self.split[y // 16][x // 16] == 2 else 16
        a, b = (0 if i % side == 0 else 2 if i % side == side - 1 else 1 for i in (y, x))
        place = 3 * a + b + (9 if side == 16 else 0)
        return (4 * place + activity) * 5 + direction

    def filtered(self, y, x, filters):
        taps = iter(filters[self.class_of(y, x)])
        centre = self.at(y, x)
        moved = sum(
            int(next(taps)) * (self.at(y + i, x + j) - centre)
            for i in range(-2, 3)
            for j in range(-2, 3)
            if (i, j) != (0, 0)
        )
        return clamp(centre + math.floor(Fraction(moved, 4096) + Fraction(1, 2)), -2047, 2047)


def row_cost(coefficients, sigmas, step, weight, bits):
    """What a row of coefficients costs, in squared steps: level by level, magnitude by magnitude."""
    total = 0.0
    for coefficient, sigma in zip(coefficients, sigmas, strict=True):
        level = math.floor(4 * math.log2(sigma / step) + 13.5)
        size = abs(coefficient) / step
        if level < 0:
            total += size**2
            continue
        bin_of = min(255, int(size * 8))
        middle = (bin_of + 0.5) / 8 if bin_of else 0.0
        total += min((middle - q) ** 2 + weight * b for q, b in enumerate(bits[min(level, 39)]))
    return total
