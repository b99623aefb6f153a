"""The tree of a palette against a recursive twin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from indexed import PALETTE_KINDS, make_palette, palettes
from reference import coding as twin
from triptych_kernels.palettetree import build_tree


def depths_of(tree, depth=0):
    """Give the depths of the nodes, in preorder."""
    if isinstance(tree, twin.Leaf):
        return []
    return [depth, *depths_of(tree.left, depth + 1), *depths_of(tree.right, depth + 1)]


def check(colors):
    tree, expected = build_tree(colors), twin.grow_tree(colors.tolist())
    nodes = twin.preorder(expected)
    numbers = {id(node): i for i, node in enumerate(nodes)}

    def following(side):
        return -1 - side.color if isinstance(side, twin.Leaf) else numbers[id(side)]

    assert len(nodes) == len(colors) - 1
    if nodes:
        assert tree.left.tolist() == [following(node.left) for node in nodes]
        assert tree.right.tolist() == [following(node.right) for node in nodes]
        depths = depths_of(expected)
        assert tree.axis.tolist() == [
            [*node.axis, node.threshold, node.inverse_width, depth, 0]
            for node, depth in zip(nodes, depths, strict=True)
        ]
        places = twin.pages(expected)
        assert [*zip(tree.page.tolist(), tree.slot.tolist(), strict=True)] == [
            places[i] for i in range(len(nodes))
        ]
    for color, path in twin.paths(expected).items():
        assert tree.path[color] == sum(bit << i for i, bit in enumerate(path))


@given(palettes())
def test_any_palette(colors):
    check(colors)


@given(st.lists(st.tuples(*[st.integers(0, 255)] * 4), min_size=1, max_size=40, unique=True))
def test_small_palettes_in_any_order(colors):
    check(np.array(colors, np.uint8))


@pytest.mark.parametrize("kind", PALETTE_KINDS)
def test_as_many_colors_as_there_can_be(kind):
    check(make_palette(kind, 256, 1))


def test_equal_distances_split_in_the_middle():
    """Colours in a regular row, so that all gaps are equal."""
    for n in range(2, 60):
        colors = np.array([[i * 4, 0, 0, 255] for i in range(n)], np.uint8)
        check(colors)
        assert build_tree(colors).axis[0, 4] == 4 * 256 * 4 * (2 * (n // 2) - 1)


@given(palettes())
def test_a_walk_ends_at_each_color_and_no_deeper_than_a_path_holds(colors):
    tree = build_tree(colors)
    for color in range(len(colors)):
        node, path, depth = 0 if len(colors) > 1 else -1 - color, int(tree.path[color]), 0
        while node >= 0:
            node = int((tree.right if path & 1 else tree.left)[node])
            path >>= 1
            depth += 1
        assert node == -1 - color
        assert path == 0
        assert depth <= 14
    assert ((tree.slot >= 1) & (tree.slot <= 15)).all() or len(colors) == 1
