"""Pixels of index maps, against numpy."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from triptych_kernels.mapmodel import new_plane, plane_pixels
from triptych_kernels.paint import paint


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.booleans())
def test_paint(seed, height, width, channels, strided):
    rng = np.random.default_rng(seed)
    colors = rng.integers(0, 256, (rng.integers(1, 257), 4), np.uint8)
    indices = (
        plane_pixels(new_plane(height, width), height, width)
        if strided
        else np.empty((height, width), np.uint8)
    )
    indices[:] = rng.integers(0, len(colors), (height, width))
    step = 3 if channels == 2 else 1
    out = np.empty((height, width, channels), np.uint8)
    paint(indices, colors, step, out)
    assert (out == colors[:, ::step][:, :channels][indices]).all()
