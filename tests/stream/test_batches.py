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
