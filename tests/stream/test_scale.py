"""Large streams: what an index costs, how fast one opens, what memory stays."""

from __future__ import annotations

import os
import time
import tracemalloc

import numpy as np
import pytest
import triptych as tp
from rawmode import RAW
from strategies import small_records, write_stream
from triptych.images import Shape
from triptych.limits import Limits
from triptych.part import PartWriter, rebuild_index
from triptych.payload import Entry, build_prefix
from triptych.sink import open_sink

INDEX_BYTES = 40
"""What an image may cost in the index, key included."""


def write_many(path, n_images, images_per_frame):
    """Write images of one pixel, the low byte of their number, with keys, without the cost of a Writer."""
    writer = PartWriter(open_sink(path), Limits())
    for first in range(0, n_images, images_per_frame):
        numbers = range(first, min(n_images, first + images_per_frame))
        keys = [f"image/{number:08d}" for number in numbers]
        prefix = build_prefix(RAW.code, [Entry(Shape(1, 1, 1), key, None, {}) for key in keys])
        writer.add_images(0, prefix + bytes(number & 255 for number in numbers), keys)
    before = writer.size
    writer.close()
    return os.path.getsize(path) - before


@pytest.mark.parametrize("images_per_frame", [1, 7, 64])
def test_an_index_costs_at_most_40_bytes_an_image(tmp_path, images_per_frame):
    n_images = 2_000
    assert write_many(tmp_path / "many.tych", n_images, images_per_frame) <= INDEX_BYTES * n_images
    with tp.Reader(tmp_path / "many.tych") as reader:
        assert len(reader) == n_images
        assert reader["image/00001234"] == 1234 & 255


@pytest.mark.slow
@pytest.mark.parametrize("images_per_frame", [1, 64])
def test_many_images(tmp_path, images_per_frame):
    """A tenth of a million; a million takes ten times as long to write here, and less than 1 s to open."""
    path, n_images = tmp_path / "many.tych", 100_000
    write_many(path, n_images, images_per_frame)
    tracemalloc.start()
    begin = time.process_time()
    with tp.Reader(path) as reader:
        assert len(reader) == n_images
        opened = time.process_time() - begin
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        out = np.zeros((1000, 1, 1), np.uint8)
        numbers = np.random.default_rng(0).integers(0, n_images, 1000).tolist()
        assert reader.read_batch(numbers, out) is out
        assert out.ravel().tolist() == [number & 255 for number in numbers]
        assert reader["image/00077777"] == 77777 & 255
    assert opened < 1
    assert peak < 200 * n_images


@pytest.mark.slow
def test_memory_of_index_does_not_grow_with_pixels(tmp_path):
    path = tmp_path / "heavy.tych"
    with tp.Writer(path, mode="raw", threads=1) as writer:
        for number in range(200):
            writer.write(np.full((256, 256, 4), number, np.uint8), key=str(number))
    tracemalloc.start()
    rebuild_index(path, tmp_path / "new.tych")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < path.stat().st_size / 10
    assert (tmp_path / "new.tych").read_bytes() == path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("plain", [True, False])
def test_a_thousand_streams_in_one(tmp_path, plain):
    one = write_stream(small_records(3), frame_images=1)
    path = tmp_path / "all.tych"
    if plain:
        path.write_bytes(one * 1000)
    else:
        tp.concatenate((one for _ in range(1000)), path)
    begin = time.process_time()
    with tp.Reader(path) as reader:
        assert len(reader) == 3000
        assert time.process_time() - begin < 1
        assert (reader[2999] == 2).all()
        assert (reader[-3000] == 0).all()
