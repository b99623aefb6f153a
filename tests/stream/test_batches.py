"""`read_batch` into an array, and what a Reader keeps of frames."""

from __future__ import annotations

import threading
import tracemalloc
from functools import cache

import numpy as np
import pytest
import triptych as tp
from hypothesis import given
from hypothesis import strategies as st
from strategies import Record, same_images, small_records, write_stream

MODES = ["raw", "kmeans", "pca"]


def pictures(n, shape=(8, 8, 3), seed=0):
    rng = np.random.default_rng(seed)
    return [
        np.full(shape, rng.integers(0, 256), np.uint8) ^ rng.integers(0, 4, shape, np.uint8) for _ in range(n)
    ]


@cache
def stream_of(mode, shape=(8, 8, 3), n=40):
    images = pictures(n, shape)
    book = tp.fit("pca", images, n_components=3) if mode == "pca" else None
    records = [Record(image, {"key": str(number)}) for number, image in enumerate(images)]
    return write_stream(records, dictionary=book, mode=mode, frame_images=7)


@given(
    st.sampled_from(MODES),
    st.sampled_from([(8, 8, 3), (6, 5)]),
    st.lists(st.integers(-40, 39), max_size=30),
    st.sampled_from([1, 2]),
    st.booleans(),
)
def test_any_batch_into_an_array(mode, shape, numbers, threads, flat):
    stream = stream_of(mode, shape)
    expected = list(tp.Reader(stream))
    out = np.full((len(numbers), *shape, *([1] if flat and len(shape) == 2 else [])), 99, np.uint8)
    with tp.Reader(stream, threads=threads) as reader:
        assert reader.read_batch(numbers, out) is out
        assert all((got.reshape(shape) == expected[n]).all() for got, n in zip(out, numbers, strict=True))
        again = reader.read_batch([str(number % 40) for number in numbers])
        assert all((got == expected[n]).all() for got, n in zip(again, numbers, strict=True))


@given(st.sampled_from(MODES), st.lists(st.integers(0, 39), max_size=20))
def test_images_in_any_order_are_the_callers_own(mode, numbers):
    stream = stream_of(mode)
    expected = list(tp.Reader(stream))
    reader = tp.Reader(stream)
    for number in numbers:
        image = reader[number]
        assert (image == expected[number]).all()
        image[:] = 0


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), "float32"),
        (np.zeros((3, 8, 8, 3), np.uint8), r"2 images.*\(3, 8, 8, 3\)"),
        (np.zeros((8, 8), np.uint8), r"\(8, 8\)"),
        (np.zeros((2, 8, 8, 6), np.uint8)[..., ::2], "strided"),
        (np.frombuffer(bytes(384), np.uint8).reshape(2, 8, 8, 3), "read-only"),
        (np.zeros((2, 8, 9, 3), np.uint8), r"image 0 .*expected \(8, 8, 3\), got \(8, 9, 3\)"),
        (np.zeros((2, 8, 8), np.uint8), r"expected \(8, 8, 3\), got \(8, 8, 1\)"),
        ([], "list"),
    ],
)
def test_an_array_that_does_not_fit(out, message):
    with pytest.raises(tp.InvalidOption, match=message):
        tp.Reader(stream_of("raw")).read_batch([0, 1], out)


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ([0, 2], [0, 2]),
        ([], []),
        (np.array([], int), []),
        (np.array([3, -1, 3]), [3, 39, 3]),
        (["5", 1, "0"], [5, 1, 0]),
        (np.array(["7", "2"]), [7, 2]),
        (np.arange(40) % 9 == 4, [4, 13, 22, 31]),
        ([False] * 38 + [True] * 2, [38, 39]),
        ([True] + [np.False_] * 39, [0]),
        (range(9, 5, -2), [9, 7]),
        (slice(4, None, -2), [4, 2, 0]),
        (slice(50, 60), []),
    ],
    ids=str,
)
def test_several_images_by_a_list(wanted, numbers):
    """Whatever indexes an array indexes a Reader, and keys do too."""
    stream = stream_of("kmeans")
    expected = list(tp.Reader(stream))
    got = tp.Reader(stream)[wanted]
    assert isinstance(got, list)
    assert len(got) == len(numbers)
    assert all((image == expected[number]).all() for image, number in zip(got, numbers, strict=True))


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        ([0, 40], IndexError, "image 40 of a stream of 40"),
        (["nix"], tp.KeyMissing, "nix"),
        ([True, False], IndexError, "2 truth values for a stream of 40 images"),
        ((0, 2), TypeError, r"reader\[\[0, 2\]\], not by tuple"),
        (1.5, TypeError, "not by float"),
        (np.array([1.0]), TypeError, "not by float"),
        (np.array([[0, 1]]), TypeError, "not by list"),
        (None, TypeError, "not by NoneType"),
    ],
    ids=str,
)
def test_what_indexes_no_images(wanted, error, message):
    with pytest.raises(error, match=message):
        tp.Reader(stream_of("raw"))[wanted]


def test_an_image_or_a_default():
    stream = bytearray(stream_of("raw"))
    reader = tp.Reader(bytes(stream))
    assert (reader.get("3") == reader[3]).all()
    assert (reader.get(np.int64(-1)) == reader[39]).all()
    assert reader.get("nix") is None
    assert reader.get(40, "none") == "none"
    stream[reader.info(3)["offset"] + 60] ^= 1
    with pytest.raises(tp.ChecksumMismatch):  # not there is one thing, and damaged another
        tp.Reader(bytes(stream)).get("3")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(8, 8, 3), (6, 5)])
def test_one_image_into_an_array(mode, shape):
    images = pictures(8, shape)
    book = tp.fit("pca", images, n_components=3) if mode == "pca" else None
    stream = write_stream([Record(images[0], {})], dictionary=book, mode=mode)
    expected = tp.decode(stream)
    for place in (shape, (*shape, 1) if len(shape) == 2 else shape):
        batch = np.full((3, *place), 7, np.uint8)
        out = batch[1]
        assert tp.decode(stream, out=out) is out
        assert (out.reshape(shape) == expected).all()
        assert (batch[::2] == 7).all()


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.zeros((8, 8, 3), np.int8), "int8"),
        (np.zeros((8, 8), np.uint8), r"expected \(8, 8, 3\), got \(8, 8\)"),
        (np.zeros((1, 8, 8, 3), np.uint8), r"got \(1, 8, 8, 3\)"),
        (np.zeros((8, 8, 6), np.uint8)[..., ::2], "strided"),
        (np.frombuffer(bytes(192), np.uint8).reshape(8, 8, 3), "read-only"),
        (bytearray(192), "bytearray"),
    ],
)
def test_an_array_that_does_not_fit_one_image(out, message, monkeypatch):
    stream = write_stream([Record(pictures(1)[0], {})])
    monkeypatch.setattr("triptych.reader.open_item", None)  # nothing is decoded
    with pytest.raises(tp.InvalidOption, match=message):
        tp.decode(stream, out=out)


def test_the_limit_holds_for_batches():
    reader = tp.Reader(stream_of("raw"), limits=tp.Limits(decoded_bytes=10 * 192))
    assert len(reader.read_batch(range(7))) == 7
    with pytest.raises(tp.LimitExceeded):
        reader.read_batch(range(11), np.zeros((11, 8, 8, 3), np.uint8))


@pytest.mark.parametrize("threads", [1, 2])
def test_the_limit_holds_before_anything_is_allocated(threads):
    side = 1000
    some_records = [Record(np.full((side, side), number, np.uint8)) for number in range(2)]
    stream = write_stream(some_records, mode="kmeans", lossless=True, frame_images=1)
    reader = tp.Reader(stream, tp.Limits(decoded_bytes=2 * side * side), threads=threads)
    assert len(reader[:]) == 2  # what decoding needs at first is there now
    tracemalloc.start()
    try:
        for numbers in ([0] * 50, [0, 1] * 25):
            with pytest.raises(tp.LimitExceeded, match="decoded_bytes"):
                reader.read_batch(numbers)
        assert tracemalloc.get_traced_memory()[1] < 5 * side * side
    finally:
        tracemalloc.stop()


def test_frames_are_opened_once_for_many_threads(monkeypatch):
    stream = write_stream(small_records(64), frame_images=64)
    opened = []
    plain = tp.Reader._open_item
    monkeypatch.setattr(tp.Reader, "_open_item", lambda *args: opened.append(args[2:]) or plain(*args))
    reader = tp.Reader(stream)
    threads = [threading.Thread(target=reader.__getitem__, args=(63 - n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # As far as the first one needed, and then all of it.
    assert len(opened) <= 2
    assert same_images(reader[:], small_records(64))
    assert len(opened) <= 2


def test_frames_that_are_asked_again_are_opened_whole(monkeypatch):
    stream = write_stream(small_records(40), frame_images=8)
    opened = []
    plain = tp.Reader._open_item
    monkeypatch.setattr(tp.Reader, "_open_item", lambda *args: opened.append(args[2:]) or plain(*args))
    reader = tp.Reader(stream)
    for number in (3, 3, 5, 12, 15, 9):
        assert (reader[number] == number).all()
    assert opened == [(3, 4), (0, 8), (0, 8)]
