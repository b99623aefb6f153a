"""PCA for collections as a mode: round trips within the error, prefixes, targets, and damage."""

from contextlib import suppress
from functools import cache
from itertools import pairwise

import minidecode
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from triptych.dictionary import Dictionary
from triptych.errors import DictionaryMismatch, InvalidFrame, InvalidOption, TargetUnreachable
from triptych.fit.basis import load_basis, step_size
from triptych.fit.components import fit_components
from triptych.images import Shape
from triptych.modes import components as mode
from triptych.modes import scoring
from triptych.options import Options

SEEDS = st.integers(0, 2**32 - 1)
SHAPES = st.builds(Shape, st.integers(1, 5), st.integers(1, 5), st.integers(1, 4))
EFFORTS = st.sampled_from(["fast", "default", "max"])


def make_collection(seed, n, shape, cut=False):
    """Images of a few factors; with `cut`, much of them is black."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(0, 12, (4, *shape)).cumsum(axis=1)
    images = np.tensordot(rng.normal(0, 1, (n, 4)), factors, 1) + rng.normal(0, 3, (n, *shape))
    return np.clip(np.rint(images + (0 if cut else 128)), 0, 255).astype(np.uint8)


def fit(images, **options):
    return fit_components(iter(images), Options(**options))


def encode(images, book, **options):
    return mode.encode_frame(list(images), Options(**options), book)[0]


def decode(body, images, book, start=0, stop=None, n_components=None):
    shapes = [Shape(*image.shape) for image in images]
    stop = len(images) if stop is None else stop
    return np.array(mode.decode_frame(memoryview(body), shapes, book, start, stop, n_components))


@cache
def some_collection():
    images = make_collection(1, 70, Shape(4, 5, 1))
    return images, fit(images, quality=80)


def error(a, b):
    return float(((a.astype(np.float64) - b) ** 2).sum())


@given(SEEDS, SHAPES, st.integers(1, 90), EFFORTS, st.booleans(), st.integers(20, 100))
@settings(max_examples=30)
def test_round_trip_within_the_stated_error(seed, shape, n, effort, cut, quality):
    """Where no component is left out, an image is off by a step in each coordinate at most."""
    images = make_collection(seed, n, shape, cut)
    book = fit(images, variance=1.0, quality=quality, embed=False)
    body = encode(images, book, effort=effort)
    got = decode(body, images, book)
    step = step_size(load_basis(book).step)
    # RDOQ may round to the farther side; the mean, the entries and the samples are rounded too.
    allowed = shape.nbytes * (1.5 * step**2 + 1.0)
    assert error(got, images) <= allowed * len(images)
    assert encode(images, book, effort=effort) == body


@given(SEEDS, SHAPES, st.data())
def test_any_range_of_a_frame(seed, shape, data):
    images = make_collection(seed, 12, shape)
    book = fit(images)
    body = encode(images, book)
    start = data.draw(st.integers(0, 11))
    stop = data.draw(st.integers(start + 1, 12))
    assert (decode(body, images, book, start, stop) == decode(body, images, book)[start:stop]).all()


@given(SEEDS, SHAPES)
def test_a_further_component_never_raises_the_error_of_the_sum(seed, shape):
    """Before rounding and clamping, where scores were not refined: exactly so for each image."""
    images = make_collection(seed, 30, shape)
    book = fit(images, quality=70)
    basis = load_basis(book)
    scores = scoring.Projection(images, basis, basis.n_components, "default")._in_order(1.0, basis.step)[0]
    rows = scoring.expand(basis.rows.astype(float), basis, basis.odd)
    mean = scoring.expand(basis.center[None].astype(float), basis, np.zeros(1, np.uint8))[0]
    left = images.reshape(len(images), -1) * 2.0**basis.shift - mean
    before = (left**2).sum(axis=1)
    for j in range(len(rows)):
        left -= np.outer(scores[j], rows[j])
        after = (left**2).sum(axis=1)
        assert (after <= before * (1 + 1e-12)).all()
        before = after


@pytest.mark.parametrize("cut", [False, True])
def test_the_error_of_a_frame_falls_with_each_component(cut):
    images = make_collection(3, 200, Shape(6, 6, 2), cut)
    book = fit(images, quality=70)
    body = encode(images, book)
    errors = [error(decode(body, images, book, n_components=n), images) for n in range(book.n_components + 2)]
    assert all(after <= before * 1.001 for before, after in pairwise(errors))
    assert errors[-1] == errors[-2] == error(decode(body, images, book), images)
    assert errors[-1] < errors[0] / 4


def test_a_prefix_needs_no_more_bytes_than_its_own():
    """A reader of the first components does not look at what comes after."""
    images = make_collection(3, 50, Shape(6, 6, 1))
    book = fit(images, quality=80)
    body = encode(images, book)
    cut = body[: len(body) // 2]
    few = decode(body, images, book, n_components=1)
    assert (decode(cut, images, book, n_components=1) == few).all()
    with pytest.raises(InvalidFrame):
        decode(cut, images, book)


def test_refinement_uses_what_clamping_forgives(monkeypatch):
    images = make_collection(1, 300, Shape(8, 8, 1), cut=True)
    book = fit(images)
    refined = encode(images, book)
    monkeypatch.setattr(scoring, "MAX_REFINED", {"default": 0})
    plain = encode(images, book)
    assert error(decode(refined, images, book), images) < 0.8 * error(decode(plain, images, book), images)
    assert len(refined) < 1.1 * len(plain)


def test_an_image_is_refined_by_its_own_share_of_black_and_white(monkeypatch):
    shape = Shape(8, 8, 1)
    images = np.concatenate([make_collection(1, 20, shape, cut=True), make_collection(2, 200, shape)])
    images[20:] = images[20:].clip(1, 254)
    images[20:60:2, 0, 0] = 255  # of 64 samples: too few
    basis = load_basis(fit(images))
    scores = {}
    for reach in (1 << 20, 0):
        monkeypatch.setattr(scoring, "MAX_REFINED", {"default": reach, "max": reach})
        for effort in ("default", "max"):
            projection = scoring.Projection(images, basis, basis.n_components, effort)
            scores[reach, effort] = projection.scores(basis.step)
    assert (scores[0, "default"] == scores[0, "max"]).all()
    moved = {e: (scores[1 << 20, e] != scores[0, e]).any(axis=0) for e in ("default", "max")}
    assert moved["default"][:20].any()
    assert not moved["default"][20:].any()
    assert moved["max"][20:].any()


def test_quality_of_a_frame_goes_beyond_its_dictionary():
    images = make_collection(1, 80, Shape(6, 6, 1))
    book = fit(images, variance=1.0, quality=50)
    sizes, errors = [], []
    for quality in (10, 50, 90):
        body = encode(images, book, quality=quality)
        sizes.append(len(body))
        errors.append(error(decode(body, images, book), images))
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)
    assert encode(images, book) == encode(images, book, quality=50)


def test_targets():
    images = make_collection(1, 60, Shape(6, 6, 1))
    book = fit(images, variance=1.0)
    body = encode(images, book, target_size=300)
    assert 150 < len(body) <= 300
    body = encode(images, book, target_psnr=30)
    mse = error(decode(body, images, book), images) / images.size
    assert 30 <= 10 * np.log10(255**2 / mse) < 32
    with pytest.raises(TargetUnreachable, match="fits into target_size: raise it"):
        encode(images, book, target_size=2)
    with pytest.raises(TargetUnreachable, match="reaches the target_psnr of 90 dB: lower it"):
        encode(images, fit(images, n_components=2), target_psnr=90)


def test_constant_images_are_exact_and_cost_nothing():
    images = np.full((30, 4, 5, 3), 200, np.uint8)
    book = fit(images)
    body = encode(images, book)
    assert len(body) <= 4
    assert (decode(body, images, book) == images).all()


def test_n_components_of_a_frame():
    images = make_collection(1, 40, Shape(6, 6, 1))
    book = fit(images, n_components=6, quality=80)
    facts = mode.describe_frame(memoryview(encode(images, book, n_components=2)), [Shape(6, 6, 1)] * 40, book)
    assert len(facts) == 40
    assert facts[0]["n_components"] == 2
    with pytest.raises(InvalidOption, match="expected at most 6, got 7"):
        encode(images, book, n_components=7)


def test_an_image_of_another_shape():
    images = make_collection(1, 9, Shape(4, 4, 1))
    book = fit(images)
    with pytest.raises(DictionaryMismatch, match=r"expected \(4, 4, 1\), got \(4, 4, 3\)"):
        encode(np.zeros((1, 4, 4, 3), np.uint8), book)
    with pytest.raises(DictionaryMismatch, match=r"expected \(4, 4, 1\), got \(5, 4, 1\)"):
        decode(encode(images, book), np.zeros((9, 5, 4, 1), np.uint8), book)


def test_a_dictionary_of_another_kind():
    with pytest.raises(DictionaryMismatch, match="expected components, got palette"):
        encode(np.zeros((1, 4, 4, 3), np.uint8), Dictionary.build("palette", {}, b"abcd"))


def test_images_per_frame():
    book = fit(make_collection(1, 9, Shape(4, 4, 1)))
    assert mode.images_per_frame(Shape(4, 4, 1), Options(), book) == mode.FRAME_IMAGES
    with pytest.raises(DictionaryMismatch, match=r"\(4, 4, 1\)"):
        mode.images_per_frame(Shape(5, 4, 1), Options(), book)


@given(st.binary(max_size=120), st.integers(1, 70), st.integers(0, 2))
def test_any_body_gives_images_or_invalid_frame(message, n, plan):
    images, book = some_collection()
    basis = load_basis(book)
    body = bytes([plan, basis.step, basis.n_components]) + message
    with suppress(InvalidFrame):
        assert decode(body, images[:n], book).shape == (n, 4, 5, 1)


@given(SEEDS, st.data())
@settings(max_examples=30)
def test_damage_is_refused_or_is_another_encoding(seed, data):
    images = make_collection(seed, 20, Shape(4, 4, 1))
    book = fit(images, quality=80)
    coded = mode.parse_body(memoryview(encode(images, book)), 20, load_basis(book))
    body = bytearray(mode.build_body(coded, data.draw(st.integers(0, 2)), load_basis(book)))
    body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        decode(bytes(body), images, book)
    except InvalidFrame:
        return
    coded = mode.parse_body(memoryview(bytes(body)), 20, load_basis(book))
    again = mode.build_body(coded, body[0], load_basis(book))
    assert again[:2] == body[:2]


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"\x00", "ends in its head"),
        (b"\x03\x38\x00", "unknown plan"),
        (b"\x02\x38\x00", "end before their tables"),
        (b"\x00\xff\x00", "too far"),
        (b"\x00\x38\x7f", "coded components: expected at most"),
        (b"\x00\x38\x01\xff\xff\xff", "does not end|ends before"),
        (b"\x00\x38\x00\x00\x00\x01", "does not end"),
    ],
)
def test_bodies_that_are_refused(body, what):
    images = make_collection(1, 30, Shape(3, 3, 1))
    with pytest.raises(InvalidFrame, match=what):
        decode(body, images, fit(images, n_components=2))


def test_more_scores_than_bytes_for_them(monkeypatch):
    images = make_collection(1, 90, Shape(4, 4, 1))
    book = fit(images, quality=90)
    monkeypatch.setattr(mode, "FREE_NONZERO", 0)
    monkeypatch.setattr(mode, "NONZERO_PER_BYTE", 1)
    body = encode(images, book)
    assert (decode(body, images, book) == decode(body + b"\0", images, book)).all()
    with pytest.raises(InvalidFrame, match="scores in a body"):
        decode(body.rstrip(b"\0"), images, book)


@pytest.mark.parametrize("plan", [mode.MIXED, mode.SIMILAR, mode.TABLES])
def test_scores_that_would_leave_32_bits(plan):
    images = make_collection(1, 4, Shape(4, 4, 1))
    book = fit(images, n_components=3, quality=60)
    basis = load_basis(book)
    huge = mode.Coded(basis.step, np.full((3, 4), 32767, np.int32))
    with pytest.raises(InvalidFrame, match="leave 32 bits"):
        mode.parse_body(memoryview(mode.build_body(huge, plan, basis)), 4, basis)


def test_the_plan_is_that_of_the_fewest_bytes_or_one_that_is_read_fast():
    random = np.random.default_rng(1)
    images = np.clip(128 + random.normal(0, 30, (1000, 6, 6, 1)), 0, 255).astype(np.uint8)
    book = fit(images, quality=95)
    basis = load_basis(book)
    plans = []
    for quality in (20, 95):
        for effort, worth in (("default", mode.WORTH), ("max", 1)):
            body = encode(images, book, quality=quality, effort=effort)
            coded = mode.parse_body(memoryview(body), 1000, basis)
            mixed, similar, tables = (len(mode.build_body(coded, plan, basis)) for plan in range(3))
            is_worth = tables <= worth * min(mixed, similar)
            assert len(body) == (tables if is_worth else min(mixed, similar))
            plans.append(body[0])
    assert plans[0] != mode.TABLES == plans[2]
    assert encode(images, book, quality=20, effort="fast")[0] == mode.TABLES


def test_too_many_images_to_compare(monkeypatch):
    images = make_collection(1, 70, Shape(4, 4, 1))
    book = fit(images)
    body = mode.build_body(mode.Coded(load_basis(book).step, np.ones((1, 70), np.int32)), 1, load_basis(book))
    monkeypatch.setattr(mode, "MAX_SIMILAR_IMAGES", 69)
    with pytest.raises(InvalidFrame, match="expected at most 69, got 70"):
        decode(body, images, book)


@pytest.mark.parametrize("shape", [Shape(3, 4, 1), Shape(2, 3, 3), Shape(2, 1, 2)])
@pytest.mark.parametrize("options", [{}, {"quality": 90}, {"effort": "fast", "quality": 20}])
@pytest.mark.parametrize("plan", [mode.MIXED, mode.SIMILAR, mode.TABLES])
def test_minidecode_agrees(shape, options, plan):
    images = make_collection(4, 70, shape, cut=True)
    book = fit(images, quality=70)
    coded = mode.parse_body(memoryview(encode(images, book, **options)), 70, load_basis(book))
    body = mode.build_body(coded, plan, load_basis(book))
    got = minidecode.decode_components(body, [tuple(shape)] * 70, book.content)
    assert (np.array(got).reshape(images.shape) == decode(body, images, book)).all()
