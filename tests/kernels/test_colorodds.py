"""The odds of colours: weights fall with the distance, sums are those of the leaves, errors are learned."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from indexed import make_palette
from triptych_kernels import colorodds
from triptych_kernels.mapmodel import new_scratch
from triptych_kernels.palettetree import build_tree


def odds_of(tree, prediction, means=None, errors=(0, 0, 0)):
    scratch = new_scratch(1)
    scratch.predictions.reshape(4, 8)[:3, 6] = prediction
    scratch.errors[:] = errors
    means = colorodds.new_means() if means is None else means
    colorodds.find_odds(
        scratch.predictions,
        scratch.errors,
        0,
        means,
        tree.leaves,
        scratch.point,
        scratch.weights,
        scratch.sums,
    )
    return scratch, means


@given(
    st.integers(2, 256),
    st.integers(0, 2**32 - 1),
    st.tuples(*[st.integers(-2048, 4096)] * 3),
    st.integers(0, 1 << 16),
)
def test_the_nearest_leaf_is_the_likeliest(k, seed, prediction, mean):
    """With equal means of Y, U and V the weight falls with the plain distance, up to rounding."""
    colors = make_palette("rgb", k, seed)
    tree = build_tree(colors)
    scratch, _ = odds_of(tree, prediction, np.full(colorodds.N_CLASSES * 3, mean, np.int64))
    leaves = tree.leaves.reshape(3, -1)[:, :k].astype(np.int64)
    distance = ((leaves - scratch.point[:3, None]) ** 2).sum(0)
    weights = scratch.weights[:k]
    assert weights.min() >= 1
    assert weights.max() <= (1 << 22) + (1 << 15) + 1
    assert weights[distance.argmin()] * 1.5 + 16 >= weights.max()
    assert (np.diff(scratch.sums[: k + 1]) == weights).all()


@given(st.integers(2, 256), st.integers(0, 2**32 - 1))
def test_chances_of_all_nodes_multiply_to_those_of_leaves(k, seed):
    colors = make_palette("rgb", k, seed)
    tree = build_tree(colors)
    scratch, _ = odds_of(tree, (8 * colors[k // 2, :3].astype(int)))
    for node in range(k - 1):
        first, middle, end = tree.span[node]
        assert first < middle < end
        chance = colorodds.chance(scratch.sums, tree.span, node)
        right = scratch.weights[middle:end].sum() / scratch.weights[first:end].sum()
        assert 0 <= chance < 4096
        assert abs(chance / 4096 - right) < 1 / 2048


@given(st.tuples(*[st.integers(0, 20464)] * 3))
def test_classes_grow_with_the_errors_around(errors):
    tree = build_tree(make_palette("rgb", 9, 0))
    scratch, _ = odds_of(tree, (0, 0, 0), errors=errors)
    around = 8 + 2 * (errors[0] + errors[1]) + errors[2]
    kind = int(scratch.point[colorodds.CLASS])
    assert 16 <= kind < colorodds.N_CLASSES
    quarter = (4 + (kind & 3)) << (kind // 4) >> 3
    assert quarter <= around <= quarter * 1.25 + 1


def test_means_follow_the_errors():
    colors = make_palette("rgb", 256, 1)
    tree = build_tree(colors)
    scratch, means = odds_of(tree, (1000, 1000, 1000))
    kind = int(scratch.point[colorodds.CLASS])
    for _ in range(300):
        colorodds.learn_errors(colors.reshape(-1), 7, scratch.errors, 0, means, scratch.point)
    r, g, b = colors[7, :3].astype(int) * 8
    expected = abs((r + 2 * g + b) // 4 - 1000), abs(r - g), abs(b - g)
    assert scratch.errors[1] == sum(expected)
    np.testing.assert_allclose(means[3 * kind : 3 * kind + 3] / 256, expected, atol=1)
