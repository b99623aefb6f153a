"""Sufficient statistics: exact, and the same for any order and any parts."""

import contextlib
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from triptych.errors import InvalidImage, LimitExceeded
from triptych.fit import statistics as statistics_module
from triptych.fit.statistics import Statistics, gather, row_weights, split_rows
from triptych.images import Shape
from triptych.options import Options

SHAPES = st.builds(Shape, st.integers(1, 4), st.integers(1, 5), st.integers(1, 3))
SEEDS = st.integers(0, 2**32 - 1)


def make_images(seed, n, shape):
    """Extreme samples: sums are as large as they get."""
    return np.random.default_rng(seed).choice(np.array([0, 1, 127, 255], np.uint8), (n, *shape))


def same(a, b):
    return a.n == b.n and all(
        np.array_equal(x, y) for x, y in zip(a.sums + a.scatters, b.sums + b.scatters, strict=True)
    )


def take(images, mirrored):
    statistics = Statistics(Shape(*images.shape[1:]), mirrored)
    statistics.update(images)
    return statistics


@given(SEEDS, SHAPES, st.integers(0, 2500), st.booleans())
def test_statistics_are_exact(seed, shape, n, mirrored):
    images = make_images(seed, n, shape)
    got = take(images, mirrored)
    for part, rows in enumerate(split_rows(images, mirrored)):
        rows = rows.astype(np.int64)
        assert np.array_equal(got.sums[part], rows.sum(axis=0))
        assert np.array_equal(got.scatters[part], rows.T @ rows)


@given(SEEDS, SHAPES, st.booleans(), st.data())
def test_merged_equals_one_pass_in_any_order(seed, shape, mirrored, data):
    images = make_images(seed, 700, shape)
    cuts = sorted(data.draw(st.lists(st.integers(0, 700), max_size=4)))
    shuffled = np.random.default_rng(seed + 1).permutation(images)
    parts = [take(part, mirrored) for part in np.split(shuffled, cuts)]
    parts = data.draw(st.permutations(parts))
    total = Statistics(shape, mirrored)
    for part in parts:
        total.merge(pickle.loads(pickle.dumps(part)))
    assert same(total, take(images, mirrored))


@given(
    SEEDS,
    SHAPES,
    st.booleans(),
    st.integers(1, 9),
    st.integers(1, 1000),
    st.sampled_from([{"threads": 1}, {"threads": 2}, {"threads": 8}, {"executor": ThreadPoolExecutor}]),
)
def test_gathered_by_any_workers_equals_one_pass(seed, shape, mirrored, n_batches, piece, workers):
    images = make_images(seed, 90, shape)
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics_module, "PIECE_IMAGES", piece)
        made = {name: stack.enter_context(of(2)) if callable(of) else of for name, of in workers.items()}
        total = Statistics(shape, mirrored)
        gather(np.array_split(images, n_batches), total, Options(**made))
    assert same(total, take(images, mirrored))


@given(SEEDS, SHAPES, st.integers(0, 300))
def test_plain_statistics_hold_the_mirrored_ones(seed, shape, n):
    images = make_images(seed, n, shape)
    assert same(take(images, False).mirror(), take(images, True))
    assert same(take(images, True).mirror(), take(images, True))


@given(SEEDS, SHAPES, st.booleans())
def test_packed_and_unpacked(seed, shape, mirrored):
    statistics = take(make_images(seed, 40, shape), mirrored)
    packed = [numbers.astype(np.int64) for numbers in statistics.pack()]
    assert same(Statistics.unpack(shape, mirrored, 40, packed), statistics)
    side = len(statistics.sums[0])
    assert [len(numbers) for numbers in packed] == [side, side * (side + 1) // 2] * (1 + mirrored)


def test_large_statistics_are_few(monkeypatch):
    """Threads share what memory there is for their own statistics."""
    made = []
    monkeypatch.setattr(Statistics, "__init__", spy(Statistics.__init__, made))
    monkeypatch.setattr(statistics_module, "PARTS_BYTES", 2 * 8 * (9 + 3))
    images = make_images(1, 400, Shape(1, 3, 1))
    gather(np.array_split(images, 100), Statistics(Shape(1, 3, 1)), Options(threads=8))
    assert 1 <= len(made) <= 2


def spy(function, calls):
    def called(*args, **kwargs):
        calls.append(args)
        return function(*args, **kwargs)

    return called


@given(SEEDS, SHAPES, st.booleans())
def test_covariances_are_those_of_the_images(seed, shape, mirrored):
    images = make_images(seed, 60, shape)
    found = take(images, mirrored).covariances()
    both = np.concatenate([images, images[:, :, ::-1]]) if mirrored else images
    flat = both.reshape(len(both), -1).astype(np.float64)
    expected = np.sort(np.linalg.eigvalsh(np.cov(flat.T, bias=True).reshape(flat.shape[1], -1)))[::-1]
    got = np.sort(np.concatenate([np.linalg.eigvalsh(matrix) for matrix in found]))[::-1]
    assert np.allclose(got[: len(expected)], expected, atol=1e-6 * max(1, expected.max()))
    assert np.allclose(got[len(expected) :], 0, atol=1e-6)


def test_weights_make_coordinates_orthonormal():
    shape = Shape(2, 5, 2)
    image = make_images(3, 1, shape)
    norm = sum(((rows * row_weights(shape, True)) ** 2).sum() for rows in split_rows(image, True))
    assert np.isclose(norm, ((image.astype(float) - 128) ** 2).sum())


def test_images_of_another_shape():
    with pytest.raises(InvalidImage, match=r"expected \(2, 3, 1\), got \(3, 2, 1\)"):
        Statistics(Shape(2, 3, 1)).update(np.zeros((1, 3, 2, 1), np.uint8))


def test_statistics_of_other_images():
    with pytest.raises(InvalidImage, match="statistics of other images"):
        Statistics(Shape(2, 3, 1)).merge(Statistics(Shape(2, 3, 1), mirrored=True))


def test_too_large():
    with pytest.raises(LimitExceeded, match="12,288 rows"):
        Statistics(Shape(64, 64, 3))
