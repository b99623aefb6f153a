"""Indexed pictures: indices and palettes come back, at few bytes, where pictures are kept exactly."""

from __future__ import annotations

import contextlib
import io
import pickle
import warnings

import minidecode
import numpy as np
import pytest
import triptych as tp
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from triptych.limits import DEFAULT
from triptych.paletteorder import (
    as_indexed,
    find_indices,
    indexed_of_pillow,
    order_palette,
    set_palette,
)


@st.composite
def indexed(draw):
    """Pictures whose palettes have unused and equal entries."""
    n = draw(st.one_of(st.integers(1, 9), st.integers(1, 256)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels, channels = draw(st.sampled_from([1, 2, 3, 256])), draw(st.sampled_from([3, 4]))
    palette = random.integers(0, levels, (n, channels)).astype(np.uint8)
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    used = random.integers(0, n, draw(st.integers(1, n)))
    return as_indexed(random.choice(used, (height, width)).astype(np.uint8), palette)


@given(indexed())
def test_either_form_gives_both_back(picture):
    order = order_palette(picture)
    for data in (order.listed, order.ranked):
        found = find_indices(data, picture.pixels)
        assert np.array_equal(found.indices, picture.indices)
        assert np.array_equal(found.palette, picture.palette)
        for twin in minidecode.read_indices(data, picture.pixels), found:
            assert np.array_equal(twin[0], picture.indices)
            assert np.array_equal(twin[1], picture.palette)


@given(indexed(), st.data())
def test_what_is_damaged_says_nothing_or_the_same_colors(picture, data):
    order = order_palette(picture)
    item = bytearray(data.draw(st.sampled_from([order.listed, order.ranked])))
    for _ in range(data.draw(st.integers(0, 3))):
        item[data.draw(st.integers(0, len(item) - 1))] ^= data.draw(st.integers(1, 255))
    item = bytes(item[: data.draw(st.integers(0, len(item)))])
    found, twin = find_indices(item, picture.pixels), minidecode.read_indices(item, picture.pixels)
    assert (found is None) == (twin is None)
    if found is not None:
        assert np.array_equal(found.pixels, picture.pixels)
        assert all(map(np.array_equal, found, twin))


def test_large_pictures_are_taken_in_parts(monkeypatch):
    monkeypatch.setattr("triptych.paletteorder._PART", 7)
    random = np.random.default_rng(0)
    picture = as_indexed(random.integers(0, 9, (10, 11)).astype(np.uint8), random.integers(0, 2, (12, 3)))
    order = order_palette(picture)
    for data in (order.listed, order.ranked):
        assert np.array_equal(find_indices(data, picture.pixels).indices, picture.indices)


def test_of_many_colors_there_are_no_indices():
    pixels = np.arange(17 * 17 * 3, dtype=np.uint32).reshape(17, 17, 3).astype(np.uint8)
    pixels[:, :, 1] = np.arange(17)
    assert find_indices(b"\xff\x02" + bytes(999), pixels) is None
    assert find_indices(b"\x00\x00", pixels[:, :, 0]) is None
    assert find_indices(b"\x00\x00", np.zeros((3, 3, 6), np.uint8)) is None


def boxes(n_colors, n_entries, seed=0):
    """A mask of boxes, and a palette of which it uses so many."""
    random = np.random.default_rng(seed)
    mask = np.zeros((64, 64), np.uint8)
    used = random.permutation(n_entries)[:n_colors]
    for number, index in enumerate(used):
        mask[number : 60 - number, 2 * number : 60] = index
    colors = random.choice(256**3, n_entries, replace=False)
    return mask, colors[:, None] >> np.array([16, 8, 0]) & 255


def test_it_costs_few_bytes():
    """An order of n, and about 3 bytes for an entry that no pixel has; a palette once for a frame."""
    for n_colors, n_entries, most in ((2, 2, 6), (4, 4, 6), (16, 16, 11), (5, 8, 21), (30, 32, 30)):
        mask, palette = boxes(n_colors, n_entries)
        colors = palette.astype(np.uint8)[mask]
        n_extra = len(tp.encode(mask, palette=palette)) - len(tp.encode(colors))
        assert 0 < n_extra <= most, (n_colors, n_entries, n_extra)
    several = {}
    for palettes in (None, boxes(5, 21)[1]):
        with tp.Writer(target := io.BytesIO()) as writer:
            for seed in range(40):
                mask, _ = boxes(5, 21, seed)
                colors = boxes(5, 21)[1].astype(np.uint8)[mask]
                writer.write(colors if palettes is None else mask, palette=palettes)
        several[palettes is None] = len(target.getvalue())
    assert several[False] - several[True] <= 40 * 2 + 21 * 3 + 20


@pytest.mark.parametrize(
    "options", [{}, {"effort": "fast"}, {"frame_images": 1}, {"mode": "kmeans", "n_colors": 64}]
)
def test_a_stream_keeps_indices(options):
    with tp.Writer(target := io.BytesIO(), **options) as writer:
        pictures = [as_indexed(*boxes(n, n + 9, n)) for n in range(2, 20)]
        for number, (mask, palette) in enumerate(pictures):
            writer.write(mask, str(number), palette=palette)
    reader = tp.Reader(target.getvalue())
    for number, picture in enumerate(pictures):
        assert np.array_equal(reader[number], picture.pixels)
        for index in (number, str(number), number - len(pictures)):
            indices, palette = reader.read_indexed(index)
            assert np.array_equal(indices, picture.indices)
            assert np.array_equal(palette, picture.palette)
        assert "palette_order" in reader.info(number)


def test_options_change_no_indices():
    """Threads and executors give the same bytes; what goes to other processes is pickled."""
    streams = set()
    for options in ({"threads": 1}, {"threads": 2}):
        with tp.Writer(target := io.BytesIO(), frame_images=2, **options) as writer:
            for seed in range(6):
                mask, palette = boxes(5, 9, seed)
                writer.write(mask, palette=palette)
        streams.add(target.getvalue())
    assert len(streams) == 1
    order = order_palette(as_indexed(*boxes(5, 9)))
    assert pickle.loads(pickle.dumps(order)) == order


def test_only_what_is_exact_has_indices():
    mask, palette = boxes(20, 30)
    for options in ({"n_colors": 8}, {"mode": "pca"}, {"dictionary": tp.fit("kmeans", [mask], n_colors=3)}):
        data = tp.encode(mask, palette=palette, **options)
        reader = tp.Reader(data)
        assert "palette_order" not in reader.info(0)
        with pytest.raises(tp.NotIndexed, match="image 0 comes with no palette"):
            reader.read_indexed(0)
    book = tp.fit("kmeans", [palette.astype(np.uint8)[mask]], n_colors=256)
    reader = tp.Reader(tp.encode(mask, palette=palette, dictionary=book))  # a dictionary of all its colours
    assert np.array_equal(reader.read_indexed(0).indices, mask)
    # Of a frame, each image for itself.
    with tp.Writer(target := io.BytesIO(), n_colors=8, mode="kmeans", frame_images=4) as writer:
        for n in (4, 20):
            writer.write(*boxes(n, 30, n)[:1], palette=palette)
    reader = tp.Reader(target.getvalue())
    assert ["palette_order" in reader.info(number) for number in range(2)] == [True, False]


def test_other_pictures_have_none():
    for image in (np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8), Image.new("L", (2, 2))):
        with pytest.raises(tp.NotIndexed):
            tp.Reader(tp.encode(image)).read_indexed(0)


def test_a_target_size_counts_them():
    mask, palette = boxes(5, 5)
    size = len(tp.encode(mask, palette=palette))
    data = tp.encode(mask, palette=palette, target_size=size)
    assert len(data) <= size
    for target in (size - 1, size - 5):
        with contextlib.suppress(tp.TargetUnreachable):
            assert len(tp.encode(mask, palette=palette, target_size=target)) <= target


@pytest.mark.parametrize(
    ("image", "palette", "error", "what"),
    [
        (np.zeros((2, 2), np.uint8), [], tp.InvalidOption, "1 to 256 colours"),
        (np.zeros((2, 2), np.uint8), np.zeros((257, 3), np.uint8), tp.InvalidOption, "1 to 256 colours"),
        (np.zeros((2, 2), np.uint8), [[1, 2]], tp.InvalidOption, "3 or 4 numbers"),
        (np.zeros((2, 2), np.uint8), [[1, 2, 256]], tp.InvalidOption, "from 0 to 255"),
        (np.zeros((2, 2), np.uint8), [[1, 2, -1]], tp.InvalidOption, "from 0 to 255"),
        (np.zeros((2, 2), np.uint8), [[0.5, 0, 0]], tp.InvalidOption, "from 0 to 255"),
        (np.full((2, 2), 3, np.uint8), [[1, 2, 3]] * 3, tp.InvalidImage, "index 3 of a palette of 3 colours"),
        (np.zeros((2, 2, 3), np.uint8), [[1, 2, 3]], tp.InvalidImage, r"not uint8 of shape \(2, 2, 3\)"),
        (np.zeros((2, 2), np.int64), [[1, 2, 3]], tp.InvalidImage, "not int64 of shape"),
        (np.zeros((0, 2), np.uint8), [[1, 2, 3]], tp.InvalidImage, r"of shape \(0, 2\)"),
    ],
)
def test_what_is_refused(image, palette, error, what):
    with pytest.raises(error, match=what):
        tp.encode(image, palette=palette)


def test_what_is_too_large_is_told():
    random = np.random.default_rng(0)
    mask = random.integers(0, 2, (64, 64)).astype(np.uint8)  # of two equal entries, at random
    limits = tp.Limits(metadata_bytes=100)
    with pytest.warns(RuntimeWarning, match=r"the indices of an image are left out.* 100"):
        data = tp.encode(mask, palette=[[7, 7, 7]] * 2, limits=limits)
    assert (tp.decode(data) == 7).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(
            tp.Reader(tp.encode(mask, palette=[[7, 7, 7]] * 2)).read_indexed(0).indices, mask
        )
    assert DEFAULT.metadata_bytes == 1 << 20


@given(indexed(), st.sampled_from(["PNG", "P with alpha", "converted", "new"]))
def test_images_of_pillow(picture, way):
    image = Image.fromarray(picture.indices)
    set_palette(image, picture.palette)
    if way == "PNG":
        image.save(file := io.BytesIO(), "PNG")
        image = Image.open(file)
    elif way == "P with alpha":
        image.putpalette(np.insert(picture.palette[:, :3], 3, 77, axis=1).tobytes(), "RGBA")
    elif way == "converted":
        image.convert("RGBA")  # which changes its palette
    colors = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    found = indexed_of_pillow(image)
    assert np.array_equal(found.pixels, colors)
    reader = tp.Reader(tp.encode(image))
    assert np.array_equal(reader[0], colors)
    assert np.array_equal(reader.read_indexed(0).indices, np.asarray(image))
    assert np.array_equal(reader.read_indexed(0).palette, found.palette)
    assert indexed_of_pillow(image.convert("RGBA")) is None
