"""The colour-space tree of a palette: how an index is spelled as binary decisions.

Each inner node splits its colours by a plane at right angles to one of eleven fixed directions, near the
middle and in a wide gap, so that a prediction of the colour tells which side is likely. Encoder and
decoder build the same tree from the palette with integers alone (FORMAT.md section 6.4).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import int32, int64

from triptych_kernels._jit import inline, kernel
from triptych_kernels.arrays import I32, I64, U8

DIRECTIONS = np.array(
    [
        [256, 0, 0, 0],
        [0, 256, 0, 0],
        [0, 0, 256, 0],
        [0, 0, 0, 256],
        [148, 148, 148, 0],
        [181, 0, -181, 0],
        [105, -209, 105, 0],
        [181, 181, 0, 0],
        [0, 181, 181, 0],
        [181, -181, 0, 0],
        [0, 181, -181, 0],
    ],
    np.int64,
)
"""Directions of length 256 in (R, G, B, A)."""
DEPTH = 6
"""Where a node's depth is in its row of `axis`."""
N_DEPTHS = 16
"""Depths that there is room for. No side has more than 65 % of the colours, rounded up: of
256, 167, 109, 71, 47, 31, 21, 14, 10, 7, 5, 4, 3, 2 are left, so that 13 is the greatest depth."""
NODES_PER_PAGE = 15
"""Nodes that share a cache line of bit histories; a palette of 16 colours is one page."""


class Tree(NamedTuple):
    """Arrays over the k - 1 inner nodes in preorder (all of length at least 1) and over the k colours.

    left, right: i32, the node that follows a 0 or a 1; -1 - s is the leaf of colour s.
    axis: i32 (n, 8): direction (4), threshold, 2^24 / sigma, depth (0 at the root), 0.
    page, slot: i32, the root of the node's page and its place there, 1 to 15.
    path: i64 (k), the decisions that lead to colour s, first decision in bit 0.
    span: i32 (n, 3), the node's first leaf, the first leaf to its right and the end; leaves count from left
    to right. leaves: i32 (3 * 8m, 8m >= k), their Y = (R + 2G + B) / 4, U = R - G, V = B - G in 1/8 steps.
    """

    left: I32
    right: I32
    axis: I32
    page: I32
    slot: I32
    path: I64
    span: I32
    leaves: I32


@inline
def _isqrt(n: int) -> int:
    """Return the integer square root of n < 2^62, by Newton's rule from above."""
    x = 1
    while x * x < n:
        x <<= 1
    while x > 0 and (x * x > n):
        x = (x + n // x) >> 1
    return x


@inline
def _split(colors: U8, ids: I64, lo: int, hi: int, keys: I64, axis_row: I32) -> int:
    """Sort ids[lo:hi] along its widest direction, fill axis_row, return where the second half begins.

    Sums: projections are below 256 * 255 * sqrt(3) < 2^17, so n * sum of squares < 2^8 * 2^8 * 2^34 = 2^50.
    """
    n = int64(hi - lo)
    best, widest = int64(-1), int64(0)  # a literal would compile what it is given to once more
    for d in range(DIRECTIONS.shape[0]):
        total = squares = 0
        for i in range(lo, hi):
            p = 0
            for c in range(4):
                p += int64(colors[ids[i], c]) * DIRECTIONS[d, c]
            total += p
            squares += p * p
        variance = n * squares - total * total
        if variance > best:
            best, widest = variance, int64(d)
    for i in range(lo, hi):  # insertion sort: stable, and n is at most 256
        s = ids[i]
        p = 0
        for c in range(4):
            p += int64(colors[s, c]) * DIRECTIONS[widest, c]
        j = int64(i)
        while j > lo and keys[j - 1] > p:
            keys[j], ids[j] = keys[j - 1], ids[j - 1]
            j -= 1
        keys[j], ids[j] = p, s
    half = n // 2
    first = max(1, n * 35 // 100)
    last = min(max(first + 1, (n * 65 + 99) // 100), n - 1)
    gap, at = -1, half
    for j in range(first, last + 1):
        g = keys[lo + j] - keys[lo + j - 1]
        nearer = abs(j - half) <= abs(at - half)
        if g > gap or (g == gap and nearer):
            gap, at = g, int64(j)
    for c in range(4):
        axis_row[c] = int32(DIRECTIONS[widest, c])
    axis_row[4] = int32((keys[lo + at] + keys[lo + at - 1]) * 4)
    sigma = max(512, _isqrt(best) // n)  # in 1/256 of a colour step
    axis_row[5] = int32((1 << 24) // sigma)
    return lo + at


@kernel
def _build(colors: U8, tree: Tree, work: I64) -> None:
    """Fill a tree. IN colors u8 (k, 4); OUT tree, zeros before; work i64 (6, 512)."""
    left, right, axis, span = tree.left, tree.right, tree.axis, tree.span
    k = int64(colors.shape[0])
    ids, keys, lows, highs, parents, prefixes = work[0], work[1], work[2], work[3], work[4], work[5]
    for i in range(k):
        ids[i] = i
    # A stack of (first, end, 1 + 2 * parent + side, depth and path); popping left before right is preorder.
    lows[0], highs[0], parents[0], prefixes[0] = 0, k, 0, 0
    depth = 1
    n = 0
    while depth > 0:
        depth -= 1
        lo, hi, parent, prefix = lows[depth], highs[depth], parents[depth], prefixes[depth]
        level, bits = prefix >> 40, prefix & ((1 << 40) - 1)
        child = n if hi - lo > 1 else -1 - ids[lo]
        if parent > 0:
            if parent & 1:
                left[(parent - 1) >> 1] = int32(child)
            else:
                right[(parent - 2) >> 1] = int32(child)
        if hi - lo == 1:
            tree.path[ids[lo]] = bits
            continue
        mid = _split(colors, ids, lo, hi, keys, axis[n])
        axis[n, DEPTH] = int32(level)
        span[n, 0], span[n, 1], span[n, 2] = int32(lo), int32(mid), int32(hi)
        below = (level + 1) << 40
        lows[depth], highs[depth], parents[depth] = mid, hi, 2 + 2 * n
        prefixes[depth] = below | bits | (1 << level)
        depth += 1
        lows[depth], highs[depth], parents[depth] = lo, mid, 1 + 2 * n
        prefixes[depth] = below | bits
        depth += 1
        n += 1
    third = int64(tree.leaves.size) // 3
    for i in range(k):
        red, green = int64(colors[ids[i], 0]) * 8, int64(colors[ids[i], 1]) * 8
        blue = int64(colors[ids[i], 2]) * 8
        tree.leaves[i] = int32((red + 2 * green + blue) >> 2)
        tree.leaves[third + i], tree.leaves[2 * third + i] = int32(red - green), int32(blue - green)
    # Pages: from each root, breadth first, the next NODES_PER_PAGE nodes; whoever still waits is a root.
    roots, queue = keys, lows
    roots[0] = 0
    n_roots = min(n, 1)
    while n_roots > 0:
        n_roots -= 1
        root = roots[n_roots]
        queue[0] = root
        first, end = 0, 1
        while first < end and first < NODES_PER_PAGE:
            node = queue[first]
            first += 1
            tree.page[node], tree.slot[node] = int32(root), int32(first)
            for nxt in (left[node], right[node]):
                if nxt >= int32(0):
                    queue[end] = int64(nxt)
                    end += 1
        while first < end:
            roots[n_roots] = queue[first]
            n_roots += 1
            first += 1


def build_tree(colors: U8) -> Tree:
    """Return the tree of a palette, u8 (k, 4), 1 <= k <= 256, no colour twice."""
    k = len(colors)
    n = max(1, k - 1)
    left, right, page, slot = np.zeros((4, n), np.int32)
    axis, path, span = np.zeros((n, 8), np.int32), np.zeros(k, np.int64), np.zeros((n, 3), np.int32)
    leaves = np.zeros(3 * (-(-k // 8) * 8), np.int32)
    tree = Tree(left, right, axis, page, slot, path, span, leaves)
    _build(np.ascontiguousarray(colors), tree, np.empty((6, 512), np.int64))
    return tree
