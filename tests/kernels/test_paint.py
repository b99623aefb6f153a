"""Pixels of index maps, against numpy."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from triptych_kernels.mapmodel import new_maps
from triptych_kernels.paint import paint


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 4),
    st.lists(st.integers(0, 2), max_size=5),
)
def test_paint(seed, height, width, channels, images):
    """Any of the maps, in any order."""
    rng = np.random.default_rng(seed)
    maps = new_maps([(height, width)] * 3, rng.integers(0, 256, (300, 4), np.uint8))
    for i in range(3):
        first = rng.integers(0, 100)
        maps.places[i, 3:] = first, first + rng.integers(1, 201)
        maps.indices(i)[:] = rng.integers(0, len(maps.palette(i)), (height, width))
    step = 3 if channels == 2 else 1
    out = np.empty((len(images), height, width, channels), np.uint8)
    paint(maps, np.array(images, np.int64), step, out)
    for image, shown in zip(images, out, strict=True):
        assert (shown == maps.palette(image)[:, ::step][:, :channels][maps.indices(image)]).all()
