"""Hypothesis strategies for the index-map coders: palettes, index maps that look like pictures, plans."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from triptych.fit.colors import sort_palette
from triptych.images import Shape
from triptych.modes.indexmaps import BATCH, DENSE, FAST, RANKS, Indexed, Plan

SEEDS = st.integers(0, 2**32 - 1)
PALETTE_KINDS = ("rgba", "rgb", "grey", "grey and alpha", "near", "on a line", "two ends")
MAP_KINDS = ("noise", "flat", "runs", "gradient", "tiles", "sparse", "stripes")
PLANS = [Plan(DENSE, n, pairs) for n in range(4) for pairs in (0, 2)]
PLANS += [Plan(FAST, n, pairs) for n in range(4) for pairs in (0, 1, 2)]
PLANS += [Plan(BATCH), Plan(RANKS)]
MAP_PLANS = [plan for plan in PLANS if not plan.needs_palettes]
"""Those that go with a dictionary."""


def make_palette(kind: str, k: int, seed: int) -> np.ndarray:
    """Up to k colours in key order, uint8 (k, 4)."""
    rng = np.random.default_rng(seed)
    colors = rng.integers(0, 256, (4 * k, 4))
    if kind != "rgba" and kind != "grey and alpha":
        colors[:, 3] = 255
    if kind.startswith("grey"):
        colors[:, :3] = colors[:, :1]
    elif kind == "near":
        colors[:, :3] = 100 + colors[:, :3] // 36
    elif kind == "on a line":
        colors[:, :3] = colors[:, :1] // np.array([1, 2, 3])
    elif kind == "two ends":
        colors[:, :3] = np.where(colors[:, :3] < 128, colors[:, :3] // 8, 255 - colors[:, :3] // 16)
    distinct = rng.permutation(np.unique(colors, axis=0))[:k]
    return sort_palette(np.ascontiguousarray(distinct, np.uint8))[0]


def make_map(kind: str, height: int, width: int, k: int, seed: int) -> np.ndarray:
    """Indices below k, uint8 (height, width)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    if kind == "noise":
        indices = rng.integers(0, k, (height, width))
    elif kind == "flat":
        indices = np.full((height, width), rng.integers(k))
    elif kind == "runs":
        starts = rng.random((height, width)) < 0.05
        indices = rng.integers(0, k, height * width)[np.cumsum(starts).reshape(height, width) - 1]
    elif kind == "gradient":
        indices = (x * rng.random() * 4 + y * rng.random() * 4 + rng.random((height, width))).astype(int)
    elif kind == "tiles":
        tile = rng.integers(0, k, (min(height, 5), min(width, 7)))
        indices = tile[y % tile.shape[0], x % tile.shape[1]]
    elif kind == "sparse":
        indices = rng.integers(0, k, (height, width)) * (rng.random((height, width)) < 0.02)
    else:  # stripes of one colour, broken here and there: blocks begin and fail
        indices = y // 3 + (rng.random((height, width)) < 0.01)
    return np.ascontiguousarray(indices % k, np.uint8)


def palettes(max_colors: int = 256) -> st.SearchStrategy[np.ndarray]:
    return st.builds(make_palette, st.sampled_from(PALETTE_KINDS), st.integers(1, max_colors), SEEDS)


shapes = st.one_of(
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 3), st.integers(1, 700)),
    st.tuples(st.integers(1, 700), st.integers(1, 3)),
)


@st.composite
def indexed(draw: st.DrawFn, palette: np.ndarray | None = None) -> Indexed:
    """A map with colours of its own (no more than its pixels), or with those of a dictionary."""
    height, width = draw(shapes)
    colors = draw(palettes(min(256, height * width))) if palette is None else palette
    kind = draw(st.sampled_from(MAP_KINDS))
    return Indexed(colors, make_map(kind, height, width, len(colors), draw(SEEDS)))


def shapes_of(maps: list[Indexed]) -> list[Shape]:
    return [Shape(*m.indices.shape, 4) for m in maps]


def same_maps(got: list[Indexed], expected: list[Indexed]) -> bool:
    return len(got) == len(expected) and all(
        np.array_equal(a.colors, b.colors) and np.array_equal(a.indices, b.indices)
        for a, b in zip(got, expected, strict=True)
    )
