"""The kernels of PCA for photographs against their twins; what the whole of them codes, minidecode checks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import blocks as twin
from smallbook import small_book
from triptych.modes.blocks import _search
from triptych_kernels import blockcoder, blockcost, blockmodel, dotproduct, planes, postfilter
from triptych_kernels._jit import kernel
from triptych_kernels.rangecoder import finish_encoding, new_coder, start
from triptych_kernels.status import BAD_SYMBOL, INPUT_EXHAUSTED, OUTPUT_FULL

SEEDS = st.integers(0, 2**32 - 1)


@kernel
def call_matvec(matrix, at, n_rows, n_columns, vector, out):
    dotproduct.matvec(matrix, at, n_rows, n_columns, vector, out)


@kernel
def call_axpy(matrix, at, n_columns, factor, sums):
    dotproduct.axpy(matrix, at, n_columns, factor, sums)


@kernel
def call_log16(x):
    return blockmodel.log16(x)


@given(SEEDS, st.integers(1, 5), st.integers(1, 5), st.integers(0, 40))
def test_matvec(seed, row_groups, column_groups, at):
    rng = np.random.default_rng(seed)
    n_rows, n_columns = row_groups * dotproduct.ROWS, column_groups * dotproduct.LANES
    matrix = rng.integers(-(1 << 13), 1 << 13, at + n_rows * n_columns + 3).astype(np.int16)
    vector = rng.integers(-(1 << 11), 1 << 11, n_columns).astype(np.int16)
    out = np.full(n_rows + 1, 77, np.int32)
    call_matvec(matrix, at, n_rows, n_columns, vector, out)
    rows = matrix[at : at + n_rows * n_columns].reshape(n_rows, n_columns)
    assert out.tolist() == [*twin.matvec(rows, vector), 77]


@pytest.mark.parametrize(("entry", "other"), [(-32768, -32768), (-32768, 32767), (32767, 32767)])
def test_matvec_of_the_greatest_entries(entry, other):
    """One product of them fits: entries are sign-extended before they meet."""
    matrix, vector = np.zeros((4, 16), np.int16), np.zeros(16, np.int16)
    matrix[2, 5], vector[5] = entry, other
    out = np.zeros(4, np.int32)
    call_matvec(matrix.reshape(-1), 0, 4, 16, vector, out)
    assert out.tolist() == twin.matvec(matrix, vector)


@given(SEEDS, st.integers(1, 5), st.integers(0, 40), st.integers(-8191, 8191))
def test_axpy(seed, column_groups, at, factor):
    rng = np.random.default_rng(seed)
    n_columns = column_groups * dotproduct.LANES
    matrix = rng.integers(-(1 << 14), (1 << 14) + 1, at + n_columns + 3).astype(np.int16)
    sums = rng.integers(-(1 << 27), 1 << 27, n_columns + 1).astype(np.int32)
    expected = [*twin.axpy(matrix[at : at + n_columns], factor, sums[:-1]), int(sums[-1])]
    call_axpy(matrix, at, n_columns, factor, sums)
    assert sums.tolist() == expected


@given(st.integers(1, 2**36 - 1))
def test_log16(x):
    assert call_log16(x) == twin.log16(x)
    assert abs(call_log16(x) - 16 * np.log2(x)) < 1.1


def test_steps():
    assert blockcoder.STEPS.tolist() == [twin.step_size(s) for s in range(161)]


@given(SEEDS, st.integers(1, 18), st.integers(1, 18), st.sampled_from([1, 3]), st.integers(0, 1))
@settings(max_examples=25)
def test_planes(seed, height, width, n_planes, more_channels):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, n_planes + more_channels), np.uint8)
    matrix = rng.integers(-(1 << 14), (1 << 14) + 1, (n_planes, n_planes))
    got = np.zeros((n_planes, 32, 32), np.int16)
    planes.to_planes(pixels, matrix, got)
    assert got.tolist() == twin.to_planes(pixels, matrix, 32, 32)
    back = pixels.copy()
    planes.to_pixels(got, np.ascontiguousarray(matrix.T), back)
    expected = twin.to_pixels(got, matrix.T, height, width)
    assert back[:, :, :n_planes].tolist() == expected
    assert np.array_equal(back[:, :, n_planes:], pixels[:, :, n_planes:])


@given(SEEDS, st.integers(1, 2), st.integers(1, 2), st.integers(0, 160), st.sampled_from([3, 60, 2047]))
@settings(max_examples=15)
def test_filter(seed, rows, columns, step, size):
    rng = np.random.default_rng(seed)
    rec = rng.integers(-size, size + 1, (16 * rows, 16 * columns)).astype(np.int16)
    rec[: 8 * rows] = np.sort(rec[: 8 * rows], axis=rng.integers(2))
    split = rng.integers(1, 3, (rows, columns))
    filters = rng.integers(-1300, 1301, (postfilter.N_CLASSES, postfilter.N_TAPS)).astype(np.int16)
    padded = np.zeros((16 * rows + 4, 16 * columns + 8), np.int16)
    postfilter.pad_plane(rec, padded)
    classes = np.zeros(rec.shape, np.int64)
    postfilter.classify(padded, split, step, classes)
    out = np.zeros(rec.shape, np.int16)
    postfilter.filter_plane(padded, split, step, postfilter.padded_taps(filters), out)
    slow = twin.Filter(rec, split, step)
    for y, x in rng.integers(0, rec.shape, (60, 2)):
        assert classes[y, x] == slow.class_of(y, x)
        assert out[y, x] == slow.filtered(y, x, filters)


def test_every_class_of_the_filter_is_found():
    rng = np.random.default_rng(0)
    found = set()
    for step in (0, 40, 80, 120):
        rec = rng.integers(-1, 2, (64, 64)).cumsum(axis=step // 40 % 2) * 40
        y, x = np.mgrid[:64, :64]
        rec[:16] = (rng.integers(-900, 900, 128)[x + y])[:16]  # falls from right to left
        rec[48:] = (rng.integers(-900, 900, 128)[x - y])[48:]
        rec = rec.astype(np.int16)
        padded, classes = np.zeros((68, 72), np.int16), np.zeros((64, 64), np.int64)
        postfilter.pad_plane(rec, padded)
        postfilter.classify(padded, np.tile([[1, 2]], (4, 2)), step, classes)
        found |= set(classes.ravel().tolist())
    assert {number // 20 for number in found} == set(range(18))
    assert {number // 5 % 4 for number in found} == set(range(4))
    assert {number % 5 for number in found} == set(range(5))


@given(SEEDS, st.floats(1, 60))
@settings(max_examples=25)
def test_row_costs(seed, step):
    rng = np.random.default_rng(seed)
    sigma = np.sort(rng.uniform(0.3, 200, 9)).astype(np.float32)[::-1].copy()
    rows = (rng.laplace(0, 1, (20, 9)) * sigma).astype(np.float32)
    got = np.zeros(20, np.float32)
    blockcost.row_costs(rows, sigma, np.float32(step), blockcost.cost_table(0.13), got)
    bits = blockcost.magnitude_bits()
    expected = [twin.row_cost(row, sigma, np.float32(step), 0.13, bits) for row in rows]
    # A size or a deviation on the edge of two bins may fall to either side in float32.
    assert np.median(np.abs(got - expected) / (1 + np.abs(expected))) < 1e-4


def test_sums_of_normal_equations():
    rng = np.random.default_rng(2)
    rec, target = rng.integers(-99, 100, (2, 16, 16)).astype(np.int16)
    padded, classes = np.zeros((20, 24), np.int16), np.zeros((16, 16), np.int64)
    postfilter.pad_plane(rec, padded)
    postfilter.classify(padded, np.ones((1, 1), np.int64), 40, classes)
    scatter = np.zeros((postfilter.N_CLASSES, 24, 24))
    product = np.zeros((postfilter.N_CLASSES, 24))
    postfilter.add_sums(padded, classes, target, scatter, product)
    k = int(classes[8, 8])
    expected, wanted = np.zeros((24, 24)), np.zeros(24)
    for y, x in np.argwhere(classes == k):
        near = np.delete(padded[y : y + 5, x : x + 5].ravel(), 12).astype(float) - rec[y, x]
        expected += np.tril(np.outer(near, near))
        wanted += near * (float(target[y, x]) - rec[y, x])
    assert np.array_equal(scatter[k], expected)
    assert np.array_equal(product[k], wanted)


def code(image, step, sink, source):
    """Code a luma plane of 32 x 48; give (status, plane, coder)."""
    coder = new_coder()
    if source is not None:
        start(coder, source)
    plane = blockcoder.new_plane(32, 48, None)
    search = None if image is None else _search(image, "default")
    status = blockcoder.code_plane(
        blockmodel.new_mixer(),
        coder,
        *small_book().bases()[:2],
        plane,
        blockcoder.new_scratch(),
        small_book().means,
        0,
        step,
        3,
        search,
        sink,
        source,
    )
    return status, plane, coder


@given(SEEDS, st.sampled_from([0, 30, 70, 160]), st.sampled_from([20, 500, 1500]))
@settings(max_examples=25)
def test_both_sides_see_the_same_planes(seed, step, size):
    """All that a plane remembers is the same in encoder and decoder; training rows come from it."""
    rng = np.random.default_rng(seed)
    image = (rng.normal(0, size, (32, 48)).cumsum(axis=1) / 3).clip(-1024, 1023).astype(np.int16)
    sink = np.zeros(1 << 16, np.uint8)
    status, plane, coder = code(image, step, sink, None)
    assert status == 0
    source = sink[: finish_encoding(coder, sink)].copy()
    status, again, _ = code(None, step, None, source)
    assert status == 0
    for name in blockcoder.Plane._fields:
        assert np.array_equal(getattr(plane, name), getattr(again, name)), name
    assert np.abs(plane.rec.astype(int)).max() <= 2047
    n_small = n_large = 0
    for side in (8, 16):
        rows = np.zeros((24, side * side + 6 * side + 4), np.float32)
        labels = np.full(24, -1, np.int64)
        n = blockcoder.collect_rows(plane, image, side, False, rows, labels)
        n_small, n_large = (n, n_large) if side == 8 else (n_small, n)
        assert (labels[:n] >= 0).all()
    assert n_small + 4 * n_large == 24


def test_a_full_sink_and_an_empty_source():
    image = np.random.default_rng(0).integers(-1000, 1000, (32, 48)).astype(np.int16)
    assert code(image, 20, np.zeros(40, np.uint8), None)[0] == OUTPUT_FULL
    assert code(None, 20, None, np.zeros(0, np.uint8))[0] in (INPUT_EXHAUSTED, BAD_SYMBOL)
