import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from reference import palette as twin
from triptych_kernels.nearest import pack_colors, table_len, unpack_points

COLORS = st.lists(st.tuples(*[st.integers(0, 255)] * 4), min_size=1, max_size=60)


@given(COLORS)
def test_packed_colors_are_the_premultiplied_planes(rows):
    colors = np.array(rows, np.uint8)
    points, planes = np.empty((2, len(colors)), np.uint32), np.empty((4, len(colors)), np.int32)
    pack_colors(colors, points)
    unpack_points(points, planes)
    assert (planes == twin.metric_planes(colors)).all()
    assert (points == twin.pack(planes)).all()


def test_every_product_with_alpha_is_rounded_to_the_nearest():
    value, alpha = np.divmod(np.arange(65536), 256)
    colors = np.stack([value, value, value, alpha], axis=1).astype(np.uint8)
    points, planes = np.empty((2, 65536), np.uint32), np.empty((4, 65536), np.int32)
    pack_colors(colors, points)
    unpack_points(points, planes)
    assert (np.abs(planes[:3] - 8 * value * alpha / 255) <= 0.5).all()
    assert (planes[3] == 8 * alpha).all()


@given(st.integers(1, 256))
def test_tables_are_whole_vectors(n_colors):
    assert table_len(n_colors) % 8 == 0
    assert n_colors <= table_len(n_colors) < n_colors + 8
