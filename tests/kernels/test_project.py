"""Projection, reconstruction and the refinement of scores, against their twins."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from reference import components as twin
from triptych_kernels.project import TILE, project_and_quantize
from triptych_kernels.reconstruct import UNIT, add_components, pair_rows, show_image, show_images, work_for
from triptych_kernels.refinescores import refine_scores

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS, st.sampled_from([1, 3, TILE - 1, TILE, 2 * TILE + 5]), st.sampled_from([0.0, 0.1, 0.5]))
def test_projection(seed, n, dead):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, 12), np.uint8)
    mean = rng.uniform(0, 255, 12).astype(np.float32)
    directions = rng.normal(0, 0.3, (12, 5)).astype(np.float32)
    got = project_and_quantize(images, mean, directions, dead)
    products = (images - mean.astype(np.float64)) @ directions.astype(np.float64)
    # Float32 may decide otherwise within its accuracy of a half.
    clear = np.abs((np.abs(products) - dead) % 1 - 0.5) > 1e-3
    assert got.dtype == np.int16
    assert (got == twin.project(images, mean, directions, dead))[clear].all()


def test_projection_stays_within_16_bits():
    images = np.array([[255, 255], [0, 0]], np.uint8)
    huge = np.full((2, 1), 1e6, np.float32)
    assert project_and_quantize(images, np.full(2, 9, np.float32), huge, 0.0).tolist() == [[32767], [-32767]]


@given(
    SEEDS,
    st.integers(1, 24),
    st.integers(1, 4),
    st.integers(1, 20),
    st.integers(1, 3),
    st.booleans(),
    st.integers(4, 12),
)
def test_reconstruction(seed, n_components, height, width, channels, mirrored, shift):
    rng = np.random.default_rng(seed)
    stored = (width + 1) // 2 if mirrored else width
    rows = rng.integers(-3000, 3001, (n_components, height, stored, channels)).astype(np.int16)
    center = rng.integers(0, 255 << shift, (height, stored, channels)).astype(np.int32)
    scores = rng.integers(-20, 21, (n_components, 2)).astype(np.int16)
    scores[rng.random(scores.shape) < 0.3] = 0
    odd = (rng.integers(0, 2, n_components) * mirrored).astype(np.uint8)
    factor = UNIT if seed % 2 else int(rng.integers(1, 1 << 20))
    rows_flat, by_image = rows.reshape(n_components, -1), np.ascontiguousarray(scores.T)
    sums = np.zeros((2, center.size), np.int32)
    pairs, (places, _) = pair_rows(rows_flat, odd), work_for(center.size, height)
    add_components(by_image, 1, pairs, 0, center.size, places, sums)
    out = np.zeros((height, width, channels), np.uint8)
    flat = out.reshape(height, -1)
    show_image(sums, stored * channels, center.reshape(-1), factor, shift, channels, flat)
    assert (out == twin.show(scores[:, 1], odd, rows, center, factor, shift, width)).all()
    # So many rows at a time: all, or fewer, also such that the last ones are fewer still.
    work = np.zeros((2, int(rng.integers(1, height + 1)) * stored * channels), np.int32)
    several = np.zeros((3, *out.shape), np.uint8)
    order = np.array([1, 0, 1])
    flat = several.reshape(3, height, -1)
    show_images(by_image, order, pairs, center.reshape(-1), factor, shift, places, work, channels, flat)
    assert (several[[0, 2]] == out).all()
    assert (several[1] == twin.show(scores[:, 0], odd, rows, center, factor, shift, width)).all()


@given(SEEDS)
def test_refinement_never_costs_more(seed):
    rng = np.random.default_rng(seed)
    shift = 8
    images = rng.choice(np.array([0, 0, 255, 90], np.uint8), (4, 10))
    rows = rng.integers(-(30 << shift), 30 << shift, (6, 10)).astype(np.int32)
    mean = rng.integers(0, 255 << shift, 10).astype(np.int32)
    scores = rng.integers(-3, 4, (6, 4)).astype(np.int32)
    bits = rng.uniform(0.1, 6, (6, 5))
    chosen = np.flatnonzero(rng.integers(0, 4, 4))
    others = np.setdiff1d(np.arange(4), chosen)
    as_they_were = scores[:, others]
    before = twin.refined_cost(scores, images, rows, mean, bits, 900.0, shift)
    moved = refine_scores(scores, images, chosen, rows, mean, bits, 900.0, shift, np.zeros(10, np.int32))
    assert (scores[:, others] == as_they_were).all()
    after = twin.refined_cost(scores, images, rows, mean, bits, 900.0, shift)
    assert after < before if moved else after == before
