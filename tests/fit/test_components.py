"""Fitting PCA to a collection: what is found, what is kept, what is refused; the dictionary's content."""

import math
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from triptych.dictionary import Dictionary
from triptych.errors import DictionaryMismatch, InvalidFrame, InvalidImage, InvalidOption, TriptychError
from triptych.fit import spectrum
from triptych.fit.basis import Basis, build_content, load_basis, parse_content, step_size, stored_shape
from triptych.fit.components import fit_components
from triptych.fit.spectrum import Spectrum, is_mirror_symmetric
from triptych.fit.statistics import Statistics
from triptych.images import Shape
from triptych.modes.components import explained_variance_ratio
from triptych.options import Options

SEEDS = st.integers(0, 2**32 - 1)


def make_collection(seed, n, shape, n_factors=4, symmetric=False):
    """Images of a few smooth factors and a little noise; every other one mirrored if symmetric."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(0, 8, (n_factors, *shape)).cumsum(axis=1).cumsum(axis=2)
    images = 128 + np.tensordot(rng.normal(0, 1, (n, n_factors)), factors, 1) + rng.normal(0, 1, (n, *shape))
    if symmetric:
        images[::2] = images[::2, :, ::-1]
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def fit(images, **options):
    return fit_components(iter(images), Options(**options))


def shown_mean(basis):
    return basis.center.reshape(basis.mean.shape) / 2**basis.shift


@st.composite
def bases(draw):
    shape = Shape(draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 3)))
    mirrored = draw(st.booleans())
    rng = np.random.default_rng(draw(SEEDS))
    k = draw(st.integers(0, min(4, shape.nbytes)))
    stored = stored_shape(shape, mirrored)
    precise = draw(st.integers(0, 3))
    levels = np.sort(rng.integers(0, 256, k))[::-1].astype(np.int64)
    odd = (rng.integers(0, 2, k) * mirrored).astype(np.uint8)
    mean = rng.integers(-(128 << precise), 128 << precise, stored).astype(np.int32)
    entries = rng.integers(-20, 21, (k, *stored)).astype(np.int32)
    gain, shift = draw(st.integers(0, 200)), draw(st.integers(4, 12))
    return Basis(shape, mirrored, draw(st.integers(0, 255)), gain, shift, precise, levels, odd, mean, entries)


@given(bases())
def test_content_round_trip(basis):
    got = parse_content(build_content(basis))
    for name in ("shape", "mirrored", "step", "gain", "shift", "precise"):
        assert getattr(got, name) == getattr(basis, name)
    for name in ("levels", "odd", "mean", "entries"):
        assert np.array_equal(getattr(got, name), getattr(basis, name))


@given(bases(), st.data())
def test_damaged_content_is_refused_or_another_basis(basis, data):
    content = bytearray(build_content(basis))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    for damaged in (bytes(content), bytes(content[:cut])):
        try:
            got = load_basis(Dictionary.build("components", {}, damaged))
        except InvalidFrame:
            continue
        assert got.rows.dtype == np.int16
        assert got.peaks.max(initial=0) <= 32767
        assert shown_mean(got).min() >= 0
        assert shown_mean(got).max() < 256


@given(SEEDS, st.booleans())
def test_the_leading_components_are_those_of_the_covariance(seed, symmetric):
    images = make_collection(seed, 120, Shape(4, 5, 2), symmetric=symmetric)
    basis = load_basis(fit(images, n_components=3, quality=90, embed=False))
    both = np.concatenate([images, images[:, :, ::-1]]) if basis.mirrored else images
    flat = both.reshape(len(both), -1).astype(np.float64)
    values = np.linalg.eigvalsh(np.cov(flat.T, bias=True))[::-1]
    deviations = step_size(basis.step) * 2 ** ((basis.levels - 64) / 16)
    assert np.allclose(deviations[:3], np.sqrt(values[:3]), rtol=0.03)
    mean = flat.mean(axis=0).reshape(images.shape[1:])[:, : basis.mean.shape[1]]
    assert np.abs(shown_mean(basis) - mean).max() <= 0.51


@given(SEEDS)
def test_order_and_batches_do_not_change_the_statistics_route(seed):
    """More images than samples go through statistics: any order gives the same dictionary."""
    images = make_collection(seed, 300, Shape(3, 1, 2))
    shuffled = np.random.default_rng(seed).permutation(images)
    assert fit(images).payload == fit(shuffled).payload


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_dictionary_is_the_same_for_any_workers(symmetric):
    images = make_collection(9, 1500, Shape(4, 6, 1), symmetric=symmetric)
    payload = fit(images, threads=1).payload
    for threads in (2, 8):
        assert fit(images, threads=threads).payload == payload
    with ProcessPoolExecutor(2, get_context("spawn")) as processes:
        assert fit(images, executor=processes).payload == payload


def test_a_bad_image_is_refused_by_any_workers():
    images = [*make_collection(9, 600, Shape(2, 3, 1)), np.zeros((3, 3, 1), np.uint8)]
    for threads in (1, 2):
        with pytest.raises(InvalidImage, match="image 600 of a collection"):
            fit(images, threads=threads)


@pytest.mark.parametrize("symmetric", [False, True])
def test_images_and_statistics_give_the_same_spectrum(symmetric):
    images, shape = make_collection(1, 40, Shape(4, 6, 1)), Shape(4, 6, 1)
    statistics = Statistics(shape, symmetric)
    statistics.update(images)
    one = Spectrum.of_images(images, shape, symmetric).leading(5)
    other = Spectrum.of_statistics(statistics).leading(5)
    for got, expected in zip(one, other, strict=True):
        assert np.allclose(got, expected, atol=1e-6)


def test_a_mirror_symmetric_collection_is_seen():
    shape = Shape(8, 8, 1)
    assert is_mirror_symmetric(make_collection(3, 400, shape, symmetric=True))
    lopsided = make_collection(3, 400, shape)
    lopsided[:, :, :4] //= 8
    assert not is_mirror_symmetric(lopsided)


def test_few_factors_are_not_taken_for_symmetry():
    """Where components hold all that there is, what is left over is rounding and tells nothing."""
    lopsided = make_collection(3, 400, Shape(4, 4, 1), n_factors=2)
    lopsided[:, :, :2] = 7
    assert not is_mirror_symmetric(lopsided)
    assert not is_mirror_symmetric(lopsided[:, ::-1, ::-1])


@pytest.mark.parametrize("variance", [0.95, 0.98])
@pytest.mark.parametrize("name", ["digits", "some digits", "factors", "mirrored"])
def test_counts_are_those_of_scikit_learn(name, variance):
    """Of images that are as likely as their mirror images: the counts of both together."""
    datasets = pytest.importorskip("sklearn.datasets")
    PCA = pytest.importorskip("sklearn.decomposition").PCA
    images = np.rint(datasets.load_digits().images * (255 / 16)).astype(np.uint8)[..., None]
    if name == "some digits":
        images = images[:300]
    elif name != "digits":
        images = make_collection(3, 400, Shape(8, 8, 3), n_factors=40, symmetric=name == "mirrored")
        if name == "factors":
            images[:, :, :3] //= 4
    book = fit(images, variance=variance)
    rows = np.concatenate([images, images[:, :, ::-1]]) if name == "mirrored" else images
    expected = PCA(variance, svd_solver="full").fit(rows.reshape(len(rows), -1).astype(float)).n_components_
    assert book.mirrored == (name == "mirrored")
    assert book.n_components == expected
    if name == "digits":
        assert expected == {0.95: 29, 0.98: 37}[variance]


def test_variance_and_ratio():
    images = make_collection(5, 200, Shape(6, 6, 1))
    counts = [fit(images, variance=share).n_components for share in (0.5, 0.9, 0.98, 1.0)]
    assert counts == sorted(counts)
    assert counts[0] < counts[2]
    book = fit(images, variance=0.9)
    assert book.variance >= 0.9
    ratios = explained_variance_ratio(book)
    assert len(ratios) == book.n_components
    assert math.isclose(sum(ratios), book.variance, rel_tol=0.05)


def test_a_finer_step_keeps_more_components():
    images = make_collection(5, 200, Shape(6, 6, 1))
    counts = [fit(images, quality=quality).n_components for quality in (10, 50, 90)]
    assert counts == sorted(counts)
    assert counts[0] < counts[2]


def test_constant_images_have_no_components():
    book = fit(np.full((70, 3, 4, 2), 77, np.uint8))
    assert book.n_components == 0
    assert (shown_mean(load_basis(book)) == 77).all()


def test_large_matrices_are_decomposed_in_part(monkeypatch):
    images = make_collection(7, 200, Shape(5, 6, 1), n_factors=3)
    whole = fit(images, n_components=3)
    monkeypatch.setattr(spectrum, "WHOLE", 8)
    part = fit(images, n_components=3)
    assert np.array_equal(load_basis(part).levels, load_basis(whole).levels)
    assert np.abs(load_basis(part).entries - load_basis(whole).entries).max() <= 1


def test_no_images():
    with pytest.raises(InvalidImage, match="at least one image"):
        fit([])


def test_images_of_different_shapes():
    with pytest.raises(InvalidImage, match=r"image 1 .* expected \(2, 3, 1\), got \(3, 2, 1\)"):
        fit([np.zeros((2, 3, 1), np.uint8), np.zeros((3, 2, 1), np.uint8)])


def test_fewer_images_than_components():
    with pytest.raises(InvalidImage, match="n_components is 9, and images are 5"):
        fit(make_collection(1, 5, Shape(4, 4, 1)), n_components=9)


def test_more_components_than_samples():
    with pytest.raises(InvalidOption, match="n_components is 17"):
        fit(make_collection(1, 50, Shape(4, 4, 1)), n_components=17)


def test_a_dictionary_of_another_kind():
    with pytest.raises(DictionaryMismatch, match="expected components, got palette"):
        load_basis(Dictionary.build("palette", {}, b"abcd"))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "varint"),
        (b"\x00\x00\x00", "ends in its head"),
        (b"\x00\x00\x08\x00\x00\x00\x08\x00", "means nothing"),
        (b"\x00\x00\x00\x00\x00\x00\x03\x00", "means nothing"),
        (b"\x00\x00\x00\x00\xff\xff\x08\x00", "means nothing"),
        (b"\x00\x00\x00\x00\x00\x00\x08\x02", "components of a basis: expected at most 1, got 2"),
        (b"\xfc\xff\xff\x7f\xff\xff\xff\x7f\x00\x00\x00\x00\x08\x00", "entries"),
    ],
)
def test_heads_that_are_refused(content, what):
    with pytest.raises(TriptychError, match=what):
        parse_content(content)
