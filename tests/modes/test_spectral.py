"""Images of many bands: round trips, prefixes, targets, what is refused; pixels against a naive twin."""

import io
import math
from dataclasses import replace

import numpy as np
import pytest
import triptych as tp
from hypothesis import given, settings
from hypothesis import strategies as st
from seeing import psnr
from smallbook import photograph, small_dictionary
from triptych import keeping
from triptych.fit.basis import POWERS
from triptych.fit.spectral import ONE, SpectralBasis, build_content, load_basis
from triptych.images import Shape
from triptych.modes import spectral
from triptych.modes.pca import MODE
from triptych.options import Options

SEEDS = st.integers(0, 2**32 - 1)
SHAPES = st.tuples(st.integers(1, 20), st.integers(1, 33), st.sampled_from([5, 6, 9, 40]))
PHOTO = tp.load_dictionary("photo")


def make_cube(seed, height, width, bands, noise=0.5):
    """Give an image that mixes three spectra."""
    rng = np.random.default_rng(seed)
    shares = photograph(height, width, 3, seed % 1000).astype(np.float64)
    spectra = np.abs(rng.normal(0, 1, (3, bands)).cumsum(axis=1))
    cube = shares @ (spectra / spectra.sum(axis=0)) + rng.normal(0, noise, (height, width, bands))
    return np.clip(np.rint(cube), 0, 255).astype(np.uint8)


def book_of(*rows, base=None, mean=128):
    rows = np.array(rows, np.int16)
    basis = SpectralBasis(bytes.fromhex(base or PHOTO.id), np.full(rows.shape[1], mean << 8, np.uint16), rows)
    return tp.Dictionary.build("spectral", {}, build_content(basis))


CUBE = make_cube(7, 40, 56, 24)
BOOK = tp.fit("pca", [CUBE], quality=80)


def encode(cube, book=BOOK, **options):
    return tp.encode(cube, dictionary=book, **({"effort": "fast"} | options))


@settings(max_examples=25)
@given(SEEDS, SHAPES)
def test_round_trip(seed, shape):
    cube = make_cube(seed, *shape)
    book = tp.fit("pca", [cube], variance=1.0, threads=1)
    shown = tp.decode(encode(cube, book, quality=100))
    assert (shown.shape, shown.dtype) == (cube.shape, np.uint8)
    assert psnr(cube, shown) > 38


@settings(max_examples=25)
@given(SEEDS, SHAPES)
def test_any_image_with_any_basis(seed, shape):
    """Pixels far from all that the dictionary knows, and components that are not orthogonal, or zero."""
    rng = np.random.default_rng(seed)
    cube = rng.choice(np.array([0, 1, 128, 255], np.uint8), shape)
    rows = rng.integers(-ONE, ONE + 1, (3, shape[2])) * rng.integers(0, 2, (3, 1))
    shown = tp.decode(encode(cube, book_of(*rows), quality=int(rng.integers(0, 101))))
    assert shown.shape == cube.shape


def show_naively(planes, ranges, basis):
    """FORMAT.md section 12, for one image, in Python's integers."""
    height, width = planes[0].shape[:2]
    shown = np.empty((height, width, basis.bands), np.uint8)
    for y in range(height):
        for x in range(width):
            scores = [
                ((int(plane[y, x, 0]) + low) * (int(POWERS[scale & 15]) << (scale >> 4)) + 32768) >> 16
                for plane, (scale, low) in zip(planes, ranges, strict=True)
            ]
            for b in range(basis.bands):
                total = 1024 * int(basis.mean[b]) + 2**17
                total += sum(t * int(row[b]) for t, row in zip(scores, basis.rows, strict=False))
                shown[y, x, b] = min(max(total >> 18, 0), 255)
    return shown


@given(SEEDS, st.integers(5, 12), st.integers(1, 5))
def test_pixels_are_those_of_the_naive_twin(seed, bands, k):
    rng = np.random.default_rng(seed)
    extreme = rng.integers(0, 2)
    rows = rng.choice([-ONE, ONE], (k, bands)) if extreme else rng.integers(-ONE, ONE + 1, (k, bands))
    mean = rng.integers(0, (255 << 8) + 1, bands).astype(np.uint16)
    basis = SpectralBasis(bytes(32), mean, rows.astype(np.int16))
    planes = [rng.integers(0, 256, (3, 4, 1), np.uint8) for _ in range(k)]
    top = 160 if extreme else 70
    ranges = [
        spectral.Range(int(rng.integers(0, top)), int(rng.choice([-32768, 32767, -128]))) for _ in range(k)
    ]
    got = spectral._show(planes, ranges, [Shape(3, 4, bands)], 0, basis)
    assert np.array_equal(got, show_naively(planes, ranges, basis))


@given(SEEDS, st.integers(-64, 192), st.floats(0, 17), st.floats(-1, 1))
def test_no_score_is_cut_off(seed, step, octaves, shift):
    """Scores of samples reach 16 * 256 * sqrt(512) at most."""
    most = 16 * 256 * math.sqrt(512)
    values = np.random.default_rng(seed).uniform(-1, 1, (4, 5)) * min(2**octaves, most / 2) + shift * most / 2
    plane = np.rint(values).astype(np.int32)
    span = spectral._range_of(plane, step)
    steps = spectral._in_steps(plane.astype(np.int64), span.scale) - span.low
    assert steps.min() >= 0
    assert steps.max() <= 255
    assert -(2**15) <= span.low < 2**15
    error = np.abs(span.scores()[steps] - plane).max()
    assert error <= 2 ** (span.scale / 16) / 2 + 1


def test_finer_qualities_are_nearer_and_longer():
    streams = [encode(CUBE, quality=quality) for quality in (0, 30, 60, 90)]
    lengths = [len(data) for data in streams]
    errors = [psnr(CUBE, tp.decode(data)) for data in streams]
    assert lengths == sorted(lengths)
    assert errors == sorted(errors)
    assert errors[-1] - errors[0] > 5


def test_the_first_components_alone():
    data = encode(CUBE, quality=90)
    coded = tp.Reader(data).info(0)["n_components"]
    assert coded >= 3
    errors = [psnr(CUBE, tp.decode(data, n_components=n)) for n in range(1, coded + 1)]
    assert errors == sorted(errors)
    assert np.array_equal(tp.decode(data, n_components=coded + 9), tp.decode(data))
    with tp.Reader(data, n_components=1) as reader:
        assert np.array_equal(reader[0], tp.decode(data, n_components=1))


def test_the_rest_is_not_read():
    body = MODE.encode_frame([CUBE], Options(mode="pca", quality=90), BOOK)
    shapes = [Shape(*CUBE.shape)]
    (whole,) = MODE.decode_frame(memoryview(body), shapes, BOOK, 0, 1, 1)
    cut = body[: len(body) // 2 + 200]
    (first,) = MODE.decode_frame(memoryview(cut), shapes, BOOK, 0, 1, 1)
    assert np.array_equal(first, whole)
    with pytest.raises(tp.InvalidFrame):
        MODE.decode_frame(memoryview(cut), shapes, BOOK, 0, 1)


def test_fewer_components_are_encoded():
    data = encode(CUBE, n_components=2, quality=90)
    assert tp.Reader(data).info(0)["n_components"] == 2


def test_images_of_a_frame_and_threads():
    cubes = [make_cube(n, 9 + n, 30 - n, 24) for n in range(6)]
    book = tp.fit("pca", cubes)
    streams = set()
    for threads in (1, 2, 8):
        target = io.BytesIO()
        with tp.Writer(target, book, frame_images=4, threads=threads, effort="fast") as writer:
            for cube in cubes:
                writer.write(cube)
        streams.add(target.getvalue())
    (data,) = streams
    with tp.Reader(data) as reader:
        shown = list(reader)
        assert [image.shape for image in shown] == [cube.shape for cube in cubes]
        assert all(np.array_equal(reader[n], image) for n, image in enumerate(shown))
        assert reader.info(4)["color"] == "24 bands"
    assert min(map(psnr, cubes, shown)) > 25
    assert tp.verify(data).images == 6


def test_targets():
    assert psnr(CUBE, tp.decode(encode(CUBE, target_psnr=40.0))) >= 40
    data = encode(CUBE, target_size=2500)
    assert len(data) <= 2500
    assert psnr(CUBE, tp.decode(data)) > psnr(CUBE, tp.decode(encode(CUBE, target_size=1400)))
    with pytest.raises(
        tp.TargetUnreachable, match="spectral components reaches the target_psnr of 90 dB: lower it"
    ):
        encode(CUBE, target_psnr=90.0)


def test_an_image_of_the_mean_has_no_components():
    cube = np.full((5, 6, 7), 128, np.uint8)
    book = book_of([ONE, 0, 0, 0, 0, 0, 0])
    data = encode(cube, book)
    assert np.array_equal(tp.decode(data), cube)
    body = MODE.encode_frame([cube], Options(mode="pca"), book)
    note = body[:2]
    assert body[2:] == b"\0"
    assert MODE.decode_frame(memoryview(note + b"\0\0"), [Shape(5, 6, 7)], book, 0, 1)[0].max() == 128
    with pytest.raises(tp.InvalidFrame, match="without components"):
        MODE.decode_frame(memoryview(note + b"\0\1"), [Shape(5, 6, 7)], book, 0, 1)


@pytest.mark.parametrize(
    ("bands", "options", "error", "what"),
    [
        (9, {"dictionary": BOOK}, tp.DictionaryMismatch, "bands of an image.*: expected 24, got 9"),
        (3, {"dictionary": BOOK}, tp.DictionaryMismatch, "bands of an image.*: expected 24, got 3"),
        (9, {}, tp.InvalidImage, "9 channels needs a dictionary for as many bands"),
        (9, {"mode": "pca"}, tp.InvalidImage, "9 channels needs a dictionary"),
        (9, {"mode": "kmeans"}, tp.InvalidImage, "'kmeans' is for images of 1 to 4 channels, not 9"),
        (9, {"dictionary": "photo"}, tp.DictionaryMismatch, "9 bands: expected spectral, got blocks"),
        (24, {"dictionary": BOOK, "variance": 0.9}, tp.InvalidOption, "variance belongs to fit"),
        (24, {"dictionary": BOOK, "n_components": 25}, tp.InvalidOption, "beyond the dictionary's"),
        (24, {"dictionary": BOOK, "lossless": True, "mode": "pca"}, tp.InvalidOption, "lossless"),
        (513, {}, tp.InvalidImage, "or up to 512 bands"),
    ],
)
def test_what_is_refused(bands, options, error, what):
    with pytest.raises(error, match=what):
        tp.encode(np.zeros((4, 5, bands), np.uint8), **options)


def test_the_base_is_missing_or_no_blocks(tmp_path, monkeypatch):
    rows = [[ONE, 0, 0, 0, 0]]
    cube = np.zeros((4, 5, 5), np.uint8)
    with pytest.raises(tp.DictionaryMissing) as caught:
        encode(cube, book_of(*rows, base="ab" * 32))
    assert caught.value.id == "ab" * 32
    other = book_of(*rows)
    other.save(tmp_path / "other.tych")
    monkeypatch.setenv("TRIPTYCH_PATH", str(tmp_path))
    with pytest.raises(tp.DictionaryMismatch, match="expected blocks, got spectral"):
        encode(cube, book_of(*rows, base=other.id))


@pytest.mark.parametrize("embed", [True, False])
def test_the_base_is_given_beside(embed):
    """By whatever way a stream is read; its dictionary knows another base than the shipped one."""
    base = small_dictionary()
    book = book_of([ONE, 0, 0, 0, 0], base=base.id)
    cube = make_cube(3, 12, 16, 5)
    coded = replace(book, base=base)
    data = encode(cube, coded, embed=embed, quality=90)
    keeping.forget()
    given = [base] if embed else [base, book]
    for ask in (
        lambda books: tp.decode(data, dictionary=books),
        lambda books: tp.Reader(data, dictionary=books)[0],
        lambda books: next(iter(tp.Reader(data, dictionary=books))),
    ):
        with pytest.raises(tp.DictionaryMissing) as caught:
            ask(given[1:])
        assert caught.value.id == base.id
        assert psnr(cube[:, :, 0], ask(given)[:, :, 0]) > 30
        keeping.forget()
    assert tp.verify(data, dictionary=given).images == 1
    keeping.forget()
    with pytest.raises(tp.DictionaryMissing):
        tp.verify(data, dictionary=given[1:])
    assert tp.Reader(data, dictionary=given).info(0)["n_components"] >= 1


def test_bands_count_in_limits():
    data = encode(CUBE)
    n_pixels = 40 * 56 * 6
    with pytest.raises(tp.LimitExceeded, match="pixels_per_image"):
        tp.decode(data, limits=tp.Limits(pixels_per_image=n_pixels - 1))
    with pytest.raises(tp.LimitExceeded, match="pixels_per_image"):
        encode(CUBE, limits=tp.Limits(pixels_per_image=n_pixels - 1))
    with pytest.raises(tp.LimitExceeded, match="decoded_bytes"):
        tp.decode(data, limits=tp.Limits(decoded_bytes=CUBE.size - 1))
    tp.decode(data, limits=tp.Limits(pixels_per_image=n_pixels, decoded_bytes=CUBE.size))


def test_pillow_says_what_it_cannot(tmp_path):
    from triptych.interop import pillow

    path = tmp_path / "cube.tych"
    path.write_bytes(encode(CUBE))
    with pytest.raises(OSError, match="24 channels is none of Pillow's"):
        pillow.TriptychImageFile(path)


def test_explained_variance_and_report():
    assert BOOK.bands == 24
    assert len(BOOK.explained_variance_ratio_) == BOOK.n_components == load_basis(BOOK).n_components
