"""Fitting spectral PCA: what is found, what is kept, what is refused; the dictionary's content."""

import numpy as np
import pytest
import triptych as tp
from hypothesis import given
from hypothesis import strategies as st
from triptych.dictionary import Dictionary
from triptych.errors import DictionaryMismatch, InvalidFrame, InvalidImage, InvalidOption
from triptych.fit.spectral import ONE, SpectralBasis, build_content, fit_spectral, load_basis, parse_content
from triptych.options import Options

SEEDS = st.integers(0, 2**32 - 1)


def make_cubes(seed, shapes, bands, n_spectra=3, noise=1.0):
    """Images that mix a few spectra smoothly, and a little noise."""
    rng = np.random.default_rng(seed)
    spectra = rng.normal(0, 1, (n_spectra, bands)).cumsum(axis=1) * rng.uniform(5, 40, (n_spectra, 1))
    cubes = []
    for height, width in shapes:
        y, x = np.mgrid[:height, :width, :1][:2] / 9.0
        waves = [np.sin(x * a + b) + np.cos(y * c + b) for a, b, c in rng.uniform(0.3, 1.5, (n_spectra, 3))]
        cube = 128 + np.concatenate(waves, axis=2) @ spectra + rng.normal(0, noise, (height, width, bands))
        cubes.append(np.clip(np.rint(cube), 0, 255).astype(np.uint8))
    return cubes


def fit(cubes, **options):
    return fit_spectral(iter(cubes), Options(**options))


@st.composite
def bases(draw):
    rng = np.random.default_rng(draw(SEEDS))
    bands = draw(st.sampled_from([5, 6, 31, 512]))
    k = draw(st.integers(0, min(bands, 9)))
    mean = rng.integers(0, (255 << 8) + 1, bands).astype(np.uint16)
    rows = rng.integers(-ONE, ONE + 1, (k, bands)).astype(np.int16)
    return SpectralBasis(rng.bytes(32), mean, rows)


@given(bases())
def test_content_round_trip(basis):
    got = parse_content(build_content(basis))
    assert got.base == basis.base
    assert np.array_equal(got.mean, basis.mean)
    assert np.array_equal(got.rows, basis.rows)


@given(bases(), st.data())
def test_damaged_content_is_refused_or_another_basis(basis, data):
    content = bytearray(build_content(basis))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    for damaged in (bytes(content), bytes(content[:cut])):
        try:
            got = load_basis(Dictionary.build("spectral", {}, damaged))
        except InvalidFrame:
            continue
        assert 5 <= got.bands <= 512
        assert np.abs(got.rows.astype(int)).max(initial=0) <= ONE
        assert got.mean.max() <= 255 << 8


@given(SEEDS, st.integers(5, 24))
def test_the_leading_components_are_those_of_the_covariance(seed, bands):
    cubes = make_cubes(seed, [(12, 20), (9, 7)], bands)
    basis = load_basis(fit(cubes, n_components=2, threads=1))
    pixels = np.concatenate([cube.reshape(-1, bands) for cube in cubes]).astype(np.float64)
    covariance = np.cov(pixels.T, bias=True)
    values = np.linalg.eigvalsh(covariance)
    assert np.abs(basis.mean / 256 - pixels.mean(axis=0)).max() <= 1 / 512
    rows = basis.rows / ONE
    for j, row in enumerate(rows):
        # Nearly equal variances have no components of their own; what a row holds is what counts.
        held = row @ covariance @ row / (row @ row)
        assert held >= 0.97 * values[-1 - j]
    assert np.abs(rows @ rows.T - np.eye(2)).max() < 0.05


@given(SEEDS)
def test_cuts_and_order_do_not_change_the_dictionary(seed):
    (cube,) = make_cubes(seed, [(16, 10)], 7)
    parts = [cube[8:, :4], cube[:8], cube[8:, 4:]]
    assert (
        load_basis(fit([cube], threads=1)).rows.tobytes() == load_basis(fit(parts, threads=1)).rows.tobytes()
    )


def test_the_dictionary_is_the_same_for_any_number_of_threads():
    cubes = make_cubes(4, [(130, 140), (200, 90), (7, 9)], 12)
    payloads = {fit(cubes, threads=threads).payload for threads in (1, 2, 8)}
    assert len(payloads) == 1


def test_an_image_may_change_once_the_next_is_asked_for():
    cubes = make_cubes(4, [(40, 50)] * 4, 6)

    def one_buffer():
        buffer = np.empty_like(cubes[0])
        for cube in cubes:
            buffer[:] = cube
            yield buffer

    assert tp.fit("pca", one_buffer(), threads=4).payload == tp.fit("pca", cubes, threads=1).payload


def test_what_is_kept():
    cubes = make_cubes(5, [(40, 60)], 30, n_spectra=6)
    counts = [fit(cubes, variance=share).n_components for share in (0.5, 0.9, 0.99, 1.0)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
    book = fit(cubes, variance=0.9)
    assert book.variance >= 0.9
    assert sum(book.explained_variance_ratio_) == pytest.approx(book.variance, abs=1e-4)
    counts = [fit(cubes, quality=quality).n_components for quality in (0, 50, 100)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
    assert fit(cubes, n_components=8).n_components == 8
    counts = [fit(cubes, target_psnr=psnr).n_components for psnr in (25.0, 35.0, 45.0)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_constant_images_have_no_components():
    book = tp.fit("pca", [np.full((9, 9, 11), 77, np.uint8)])
    assert (book.kind, book.n_components, book.variance) == ("spectral", 0, 1.0)


def test_images_of_different_bands():
    with pytest.raises(InvalidImage, match=r"image 1 .* bands than image 0: expected 5, got 6"):
        tp.fit("pca", [np.zeros((4, 4, 5), np.uint8), np.zeros((4, 4, 6), np.uint8)])


def test_more_components_than_bands():
    with pytest.raises(InvalidOption, match="n_components is 6, and spectra of 5 bands have at most 5"):
        fit([np.zeros((4, 4, 5), np.uint8)], n_components=6)


def test_a_palette_of_many_bands():
    with pytest.raises(InvalidImage, match="a palette is for images of 1 to 4 channels, not 5"):
        tp.fit("kmeans", [np.zeros((4, 4, 5), np.uint8)])


def test_a_dictionary_of_another_kind():
    with pytest.raises(DictionaryMismatch, match="expected spectral, got palette"):
        load_basis(Dictionary.build("palette", {}, b"abcd"))


GOOD = build_content(SpectralBasis(bytes(32), np.zeros(5, np.uint16), np.zeros((1, 5), np.int16)))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (GOOD[:35], "ends in its head"),
        (b"\x04\x00" + GOOD[2:], "bands: expected 5 to 512, got 4"),
        (b"\x01\x02" + GOOD[2:], "bands: expected 5 to 512, got 513"),
        (GOOD[:2] + b"\x06\x00" + GOOD[4:], "components of spectra: expected at most 5, got 6"),
        (GOOD[:2] + b"\x02\x00" + GOOD[4:], "inflated: expected 30, got 20"),
        (GOOD[:2] + b"\x00\x00" + GOOD[4:], "inflated: expected 10, got 11"),
        (GOOD[:36] + b"no zlib", "does not inflate"),
        (GOOD + b"\x00", "inflated"),
    ],
)
def test_content_that_is_refused(content, what):
    with pytest.raises(InvalidFrame, match=what):
        parse_content(content)


@pytest.mark.parametrize(("mean", "entry", "what"), [((255 << 8) + 1, 0, "mean"), (0, -ONE - 1, "entries")])
def test_numbers_that_are_refused(mean, entry, what):
    basis = SpectralBasis(bytes(32), np.full(5, mean, np.uint16), np.full((2, 5), entry, np.int16))
    with pytest.raises(InvalidFrame, match=what):
        parse_content(build_content(basis))
