"""Local least squares: agreement with the small decoder's, with least squares in floats, and bounds."""

import minidecode
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from triptych_kernels import regression
from triptych_kernels.mapmodel import new_scratch

WIDTH = 48


def walk(colors, indices, n_channels):
    """Learn from a picture as the dense coder does; return the taps of each block, ours and minidecode's."""
    height, width = indices.shape
    scratch, twin = new_scratch(width), minidecode.Regression(width)
    rows = np.pad(indices, 3, mode="edge").astype(np.int64)
    found = []
    for y in range(height):
        regression.begin_row(scratch.products, scratch.taps)
        twin.begin_row()
        for x in range(width):
            if x % regression.BLOCK == 0:
                for one in (regression, twin):
                    arrays = (scratch.products, scratch.taps) if one is regression else ()
                    one.move_to(*arrays, x // regression.BLOCK)
                    one.solve(*arrays, *((scratch.work,) if one is regression else ()))
                found.append((scratch.taps[:12].tolist(), twin.taps))
            surroundings = minidecode.Surroundings(0)
            surroundings.rows = [rows[y + 3 - i].tolist() for i in range(4)]
            near = surroundings.around(x)
            values = colors[list(near), :n_channels].astype(np.int64)
            mean = 3 * (values[0] + values[1]) + values[2] + values[3]
            scratch.predictions.reshape(4, 8)[:n_channels, 1] = mean
            regression.predict(
                colors.reshape(-1),
                np.array(near),
                n_channels,
                scratch.taps,
                scratch.predictions,
                scratch.offsets,
            )
            own = int(indices[y, x])
            regression.learn(
                colors.reshape(-1), own, n_channels, scratch.predictions, scratch.offsets, scratch.products
            )
            for c in range(n_channels):
                twin.learn([*(8 * values[:, c] - mean[c]).tolist(), 8 * int(colors[own, c]) - int(mean[c])])
        last = -(-width // regression.BLOCK)
        regression.move_to(scratch.products, scratch.taps, last)
        twin.move_to(last)
    return found


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.sampled_from([3, 4]), st.booleans())
def test_the_taps_are_those_of_the_small_decoder(seed, width, n_channels, extreme):
    rng = np.random.default_rng(seed)
    colors = rng.integers(0, 2 if extreme else 256, (17, 4)).astype(np.uint8) * (255 if extreme else 1)
    for ours, theirs in walk(colors, rng.integers(0, 17, (4, width)), n_channels):
        assert ours == theirs


def test_numbers_stay_in_bounds_where_sums_are_largest():
    """Columns of black and white: products of one sign, row after row, and a matrix of rank one or two."""
    colors = np.array([[0] * 4, [255] * 4], np.uint8)
    for period in (1, 2, 3):
        indices = np.tile(np.arange(WIDTH) // period % 2, (40, 1))
        for ours, theirs in walk(colors, indices, 4):
            assert ours == theirs
            assert np.abs(ours).max() < 1 << 19


def test_before_the_first_pixel_it_is_a_plane():
    ours, _ = walk(np.zeros((1, 4), np.uint8), np.zeros((1, 1), np.int64), 3)[0]
    assert ours == [32768, 32768, -13120, 13120] + [0] * 8


def test_it_is_least_squares():
    """Rows that wander on their own: the best guess is the pixel to the left."""
    rng = np.random.default_rng(0)
    picture = np.cumsum(rng.normal(0, 6, (30, WIDTH)), axis=1)
    indices = np.clip(picture + 128, 0, 255).astype(np.int64)
    grey = np.repeat(np.arange(256)[:, None], 4, 1).astype(np.uint8)
    taps = np.array([ours for ours, _ in walk(grey, indices, 3)[-3:]]) / 65536
    np.testing.assert_allclose(taps[:, :4].mean(0), [1, 0, 0, 0], atol=0.2)
