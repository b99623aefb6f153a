"""The content of a blocks dictionary: what is built is parsed, and what breaks a bound is refused."""

import zlib
from dataclasses import replace

import numpy as np
import pytest
import triptych as tp
from hypothesis import given
from hypothesis import strategies as st
from smallbook import photograph, small_book, small_dictionary
from triptych.errors import InvalidFrame
from triptych.fit.blockbook import (
    CHROMA,
    MAX_CONTENT,
    SIDES,
    BlockClasses,
    build_blocks,
    parse_blocks,
    template_size,
)
from triptych_kernels.blockcoder import N_STEPS, PREDICTOR_SUM
from triptych_kernels.dotproduct import LANES, ROWS

CONTENT = small_dictionary().content
FIELDS = ("color", "means", "weights", "filter_steps", "filters")


def same_books(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in FIELDS) and all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for a, b in zip(one.classes, other.classes, strict=True)
        for name in ("predictor", "transform", "log_sigma")
    )


def test_round_trip():
    got = parse_blocks(CONTENT)
    assert same_books(got, small_book())
    # Counters are stored in 16 bits: near what they were.
    p, expected = got.counters >> 12, small_book().counters >> 12
    assert np.abs(p.astype(int) - expected).max() <= 256
    assert (got.counters & 4095 == small_book().counters & 4095).all()


def test_what_was_parsed_builds_the_same_bytes():
    assert build_blocks(parse_blocks(CONTENT)) == CONTENT


def test_the_shipped_dictionary():
    book = parse_blocks(tp.load_dictionary("photo").content)
    assert same_books(parse_blocks(build_blocks(book)), book)
    assert len(book.filter_steps) == len(book.filters)


def test_bases_are_padded_and_numbered():
    number = coefficient = 0
    bases = small_book().bases()
    for basis, one, side, chroma in zip(bases, small_book().classes, SIDES, CHROMA, strict=True):
        n_classes, kept = one.log_sigma.shape
        columns, rows = (-(-n // m) * m for n, m in ((template_size(side, chroma), LANES), (kept, ROWS)))
        assert basis.sizes.tolist() == [
            *(side, n_classes, columns, rows, number, coefficient),
            (n_classes - 1).bit_length(),
        ]
        predictor = basis.predictor.reshape(n_classes, side * side, columns)
        assert np.array_equal(predictor[:, :, : one.predictor.shape[2]], one.predictor)
        assert not predictor[:, :, one.predictor.shape[2] :].any()
        transform = basis.transform.reshape(n_classes, rows, side * side)
        assert np.array_equal(transform[:, :kept], one.transform)
        assert (basis.log_sigma[:, kept:] < -500).all()
        number += n_classes * (1 + chroma)
        coefficient += n_classes * rows * (1 + chroma)


def with_classes(number, **changes):
    classes = list(small_book().classes)
    classes[number] = replace(classes[number], **changes)
    return replace(small_book(), classes=tuple(classes))


def changed(array, place, value):
    array = array.copy()
    array[place] = value
    return array


def many_classes(number, n_classes, kept):
    """A basis of so many classes, all zero."""
    side, chroma = SIDES[number], CHROMA[number]
    return with_classes(
        number,
        predictor=np.zeros((n_classes, side * side, template_size(side, chroma)), np.int16),
        transform=np.zeros((n_classes, kept, side * side), np.int16),
        log_sigma=np.zeros((n_classes, kept), np.uint8),
    )


def joined(luma, chroma):
    return replace(luma, classes=luma.classes[:2] + chroma.classes[2:])


LUMA, BOOK = small_book().classes[0], small_book()
AT_THE_BOUND = {
    "transform": lambda: with_classes(0, transform=changed(LUMA.transform, (0, 0, 0), -(1 << 14))),
    "predictor": lambda: with_classes(
        0, predictor=changed(LUMA.predictor, (0, 0, slice(0, 32)), [-PREDICTOR_SUM // 32, *[0] * 31])
    ),
    "color": lambda: replace(BOOK, color=changed(BOOK.color, (0,), [1 << 14, -(1 << 13), 0])),
    "weights": lambda: replace(BOOK, weights=changed(BOOK.weights, 9, -(1 << 24) + 1)),
    "a filter": lambda: replace(BOOK, filters=changed(BOOK.filters, (0, 0, 0), [-32767, *[0] * 23])),
    "steps": lambda: replace(BOOK, filter_steps=np.array([0, N_STEPS - 1])),
    "no filters": lambda: replace(BOOK, filter_steps=BOOK.filter_steps[:0], filters=BOOK.filters[:0]),
    "64 classes": lambda: many_classes(0, 64, 1),
    "equal deviations": lambda: with_classes(0, log_sigma=np.full_like(LUMA.log_sigma, 255)),
}
BROKEN = {
    "classes of blocks": lambda: many_classes(0, 65, 1),
    "entry of a transform": lambda: with_classes(
        0, transform=changed(LUMA.transform, (1, 2, 3), -(1 << 14) - 1)
    ),
    "sum of a predictor's row": lambda: with_classes(
        0,
        predictor=changed(
            LUMA.predictor, (1, 5, slice(None)), -(PREDICTOR_SUM // LUMA.predictor.shape[2]) - 1
        ),
    ),
    "rising deviations": lambda: with_classes(0, log_sigma=changed(LUMA.log_sigma, (1, 3), 255)),
    "colours": lambda: replace(BOOK, color=changed(BOOK.color, (1, 1), (1 << 14) + 1)),
    "colours ": lambda: replace(BOOK, color=changed(BOOK.color, (0,), [(1 << 13) - 1, 0, 0])),
    "weights": lambda: replace(BOOK, weights=changed(BOOK.weights, 9, 1 << 24)),
    "steps of filters": lambda: replace(BOOK, filter_steps=np.array([50, N_STEPS])),
    "steps of filters ": lambda: replace(BOOK, filter_steps=np.array([50, 50])),
    "sum of a filter": lambda: replace(
        BOOK, filters=changed(BOOK.filters, (1, 1, 7), [-32767, 1, *[0] * 22])
    ),
    "classes in all": lambda: joined(many_classes(0, 64, 1), many_classes(2, 31, 1)),
    "coefficients in all": lambda: joined(many_classes(1, 62, 253), many_classes(2, 4, 61)),
}


@pytest.mark.parametrize("name", AT_THE_BOUND)
def test_bounds_are_met(name):
    book = AT_THE_BOUND[name]()
    assert same_books(parse_blocks(build_blocks(book)), book)


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_a_bound_is_refused(name):
    with pytest.raises(InvalidFrame, match=name.strip()):
        parse_blocks(build_blocks(BROKEN[name]()))


INFLATED = zlib.decompress(CONTENT)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "not one zlib stream"),
        (b"no zlib", "does not inflate"),
        (CONTENT[:-1], "not one zlib stream"),
        (CONTENT + b"\0", "not one zlib stream"),
        (zlib.compress(bytes(MAX_CONTENT + 1)), "not one zlib stream"),
        (zlib.compress(b""), "ends early"),
        (zlib.compress(INFLATED[:7]), "ends early"),
        (zlib.compress(INFLATED[:-1]), "ends early"),
        (zlib.compress(INFLATED + b"\0"), "goes on"),
        (zlib.compress(b"\0" + INFLATED[1:]), "classes of blocks"),
        (zlib.compress(INFLATED[:1] + b"\0" + INFLATED[2:]), "components of blocks"),
        (zlib.compress(INFLATED[:1] + b"\x41" + INFLATED[2:]), "components of blocks"),
    ],
)
def test_contents_that_are_refused(content, what):
    with pytest.raises(InvalidFrame, match=what):
        parse_blocks(content)


@given(st.integers(0, len(INFLATED) - 1), st.integers(0, 255), st.data())
def test_damaged_content_is_refused_or_another_book_that_works(place, value, data):
    place = data.draw(st.sampled_from([place, place % 200, len(INFLATED) - 1 - place % 5000]))
    damaged = INFLATED[:place] + bytes([value]) + INFLATED[place + 1 :]
    try:
        parse_blocks(zlib.compress(damaged, 1))
    except InvalidFrame:
        return
    book = tp.Dictionary.build("blocks", {}, zlib.compress(damaged, 1))
    image = photograph(20, 20, 3)
    assert tp.decode(tp.encode(image, mode="pca", dictionary=book, embed=True)).shape == image.shape


def test_a_book_that_nothing_predicts_works_too():
    """All zero but for what has to be: reconstruction is the mean of what is near."""
    classes = tuple(
        BlockClasses(np.zeros_like(c.predictor), np.zeros_like(c.transform), np.zeros_like(c.log_sigma))
        for c in BOOK.classes
    )
    book = tp.Dictionary.build("blocks", {}, build_blocks(replace(BOOK, classes=classes)))
    image = photograph(33, 20, 3)
    assert tp.decode(tp.encode(image, mode="pca", dictionary=book, embed=True)).shape == image.shape
