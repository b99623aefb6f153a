"""What goes in comes out: images, what is said of them, by number, key, slice, iteration, and after `cat`."""

import io
import struct

import numpy as np
import pytest
import triptych as tp
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    BOOK,
    Record,
    images,
    json_objects,
    options,
    records,
    same_images,
    small_records,
    write_stream,
)
from triptych.metadata import TAGS, build_attachments, name_attachments, parse_attachments

NAMES = ("key", "label", *TAGS, "loop")


def about(info):
    return {name: info[name] for name in NAMES if name in info}


@given(images(), st.booleans())
def test_one_image(image, with_dictionary):
    data = tp.encode(image, mode="raw", dictionary=BOOK if with_dictionary else None)
    assert np.array_equal(tp.decode(data), image)
    assert tp.decode(io.BytesIO(data)).shape == image.shape


@given(st.lists(records(), max_size=8), options, st.booleans())
def test_many_images(some_records, some_options, with_dictionary):
    data = write_stream(some_records, dictionary=BOOK if with_dictionary else None, **some_options)
    with tp.Reader(data) as reader:
        assert len(reader) == len(some_records)
        assert same_images(list(reader), some_records)
        assert same_images(reader[:], some_records)
        assert same_images([pixels for _, pixels in reader.items()], some_records)
        infos = [reader.info(number) for number in range(len(reader))]
        assert [about(info) for info in infos] == [record.about for record in some_records]
        assert [info for info, _ in reader.items()] == infos
        assert [info["shape"] for info in infos] == [record.image.shape for record in some_records]
        known = [record.about["key"] for record in some_records if "key" in record.about]
        assert reader.keys() == known
        for key in known:
            first = next(record for record in some_records if record.about.get("key") == key)
            assert np.array_equal(reader[key], first.image)
            assert key in reader
    report = tp.verify(data)
    assert report.images == len(some_records)
    assert report.nbytes + 16 == len(data)


@given(st.lists(st.lists(records(), max_size=4), min_size=1, max_size=4), st.data())
def test_concatenation(groups, data):
    books = [data.draw(st.sampled_from([None, BOOK, OTHER])) for _ in groups]
    streams = [
        write_stream(group, dictionary=book, frame_images=2)
        for group, book in zip(groups, books, strict=True)
    ]
    all_records = [record for group in groups for record in group]
    joined = io.BytesIO()
    tp.concatenate(streams, joined)
    for stream in (b"".join(streams), joined.getvalue()):
        reader = tp.Reader(stream)
        assert same_images(list(reader), all_records)
        assert same_images(reader[:], all_records)
        assert [about(reader.info(number)) for number in range(len(reader))] == [r.about for r in all_records]
        assert tp.verify(stream).images == len(all_records)


OTHER = tp.Dictionary.build("palette", {}, b"\x77")


def test_concatenate_shares_dictionaries_and_makes_one_part():
    joined = io.BytesIO()
    tp.concatenate([write_stream(small_records(2), dictionary=BOOK) for _ in range(5)], joined)
    report = tp.verify(joined.getvalue())
    assert report.frames == {"DICTIONARY": 1, "IMAGES": 5, "INDEX": 1}
    assert list(tp.Reader(joined.getvalue()).dictionaries) == [BOOK.id]


def test_concatenate_keeps_what_it_does_not_know():
    from triptych.framing import build_frame

    private = build_frame(4, 0, bytes(16) + b"vendor")
    unknown = build_frame(0x7D, 7, b"later")
    stream = write_stream(small_records(2)) + b""
    joined = io.BytesIO()
    tp.concatenate([stream + private + unknown], joined)
    assert private in joined.getvalue()
    assert unknown in joined.getvalue()


def test_more_dictionaries_than_slots():
    books = [tp.Dictionary.build("palette", {"n": n}, bytes([n % 256])) for n in range(300)]
    streams = [write_stream(small_records(1), dictionary=book) for book in books]
    joined = io.BytesIO()
    tp.concatenate(streams, joined)
    reader = tp.Reader(joined.getvalue())
    assert len(reader) == 300
    assert all((image == 0).all() for image in reader)
    assert (reader[299] == 0).all()
    assert len(reader.dictionaries) == 300


def test_rebuild_index_in_place(tmp_path):
    path = tmp_path / "images.tych"
    path.write_bytes(b"".join(write_stream(small_records(2), frame_images=1) for _ in range(3)))
    tp.rebuild_index(path, path)
    assert tp.verify(path).frames == {"IMAGES": 6, "INDEX": 1}


@given(st.lists(json_objects, max_size=3))
def test_stream_metadata(objects):
    streams = [write_stream(small_records(n), metadata=value) for n, value in enumerate(objects)]
    expected = {}
    for value in objects:
        expected |= value
    joined = io.BytesIO()
    tp.concatenate(streams, joined)
    for stream in (b"".join(streams) or write_stream([]), joined.getvalue()):
        assert tp.Reader(stream).metadata == expected


def test_indexing():
    reader = tp.Reader(write_stream(small_records(10), frame_images=3))
    for index in (0, 4, 9, -1, -10, np.int64(3)):
        assert (reader[index] == range(10)[index]).all()
    for part in (slice(2, 5), slice(None, None, -1), slice(20), slice(8, 2, -2)):
        assert [int(image[0, 0]) for image in reader[part]] == list(range(10))[part]
    assert [int(image[0, 0]) for image in reader.read_batch([5, 1, 9, 1, -1])] == [5, 1, 9, 1, 9]
    for index in (10, -11):
        with pytest.raises(IndexError):
            reader[index]
    with pytest.raises(TypeError):
        reader[1.5]
    with pytest.raises(tp.KeyMissing, match="nobody"):
        reader["nobody"]
    assert "nobody" not in reader
    assert 3 not in reader


def test_keys_with_the_same_hash_are_told_apart(monkeypatch):
    import triptych.index
    import triptych.table

    monkeypatch.setattr(triptych.index, "hash_key", lambda key: 7)
    monkeypatch.setattr(triptych.table, "hash_key", lambda key: 7)
    some_records = [Record(record.image, {"key": f"k{n}"}) for n, record in enumerate(small_records(9))]
    reader = tp.Reader(write_stream(some_records, frame_images=2))
    assert [int(reader[f"k{n}"][0, 0]) for n in range(9)] == list(range(9))
    assert "k10" not in reader


def test_images_belong_to_the_caller():
    data = write_stream(small_records(4), frame_images=4)
    reader = tp.Reader(data)
    for _ in range(3):  # decoded in part, decoded whole, from the cache
        image = reader[2]
        assert (image == 2).all()
        image[:] = 99
    one, other = reader.read_batch([1, 1])
    one[:] = 99
    assert (other == 1).all()
    source = np.zeros((2, 2), np.uint8)
    target = io.BytesIO()
    with tp.Writer(target, mode="raw", frame_images=2) as writer:
        writer.write(source)
        source[:] = 99
        writer.write(source)
    assert [int(image[0, 0]) for image in tp.Reader(target.getvalue())] == [0, 99]


def test_an_empty_stream():
    data = write_stream([])
    assert len(data) == 16
    reader = tp.Reader(data)
    assert (len(reader), list(reader), reader[:], reader.keys(), reader.metadata) == (0, [], [], [], {})


def test_decode_wants_one_image():
    for n, word in ((0, "none"), (2, "more")):
        with pytest.raises(tp.NotOneImage, match=f"{word}.*Reader"):
            tp.decode(write_stream(small_records(n)))
    stream = tp.encode(np.zeros((2, 2), np.uint8), mode="raw")
    with pytest.raises(tp.NotOneImage):
        tp.decode(stream + stream)


@pytest.mark.parametrize("shape", [(1, 1), (64, 64, 3), (4000, 3, 4)])
def test_a_stream_of_one_image_is_small(shape):
    image = np.zeros(shape, np.uint8)
    assert len(tp.encode(image, mode="raw")) <= image.nbytes + 44
    shipped = tp.encode(image, mode="raw", dictionary=BOOK, embed=False)
    assert len(shipped) <= image.nbytes + 60
    assert np.array_equal(tp.decode(shipped, dictionary=BOOK), image)


def test_an_image_in_a_batch_costs_at_most_4_bytes():
    sizes = [len(write_stream(small_records(n), frame_images=100)) for n in (50, 100)]
    assert sizes[1] - sizes[0] == 50 * 6
    varied = [Record(np.zeros((1 + n % 30, 1 + n % 31, 3), np.uint8)) for n in range(100)]
    pixels = sum(record.image.nbytes for record in varied)
    assert len(write_stream(varied, frame_images=100)) <= pixels + 100 * 4 + 44


def test_index_only_where_there_are_two_frames():
    assert "INDEX" not in tp.verify(write_stream(small_records(4), frame_images=4)).frames
    assert tp.verify(write_stream(small_records(5), frame_images=4)).frames["INDEX"] == 1


def test_repeated_attachments_are_stored_once():
    icc = bytes(range(256)) * 4
    some_records = [Record(record.image, {"icc_profile": icc}) for record in small_records(50)]
    assert len(write_stream(some_records, frame_images=50)) < 50 * 6 + len(icc) + 50 * 2 + 60


def test_repr_names_the_source(tmp_path):
    (tmp_path / "x.tych").write_bytes(write_stream([]))
    with tp.Reader(tmp_path / "x.tych") as reader:
        assert "x.tych" in repr(reader)
    assert repr(tp.Reader(write_stream([]))) == "<Reader of 16 bytes>"


@pytest.mark.parametrize("value", [b"", bytes(8), bytes(7), struct.pack("<2f", 72, float("inf")), bytes(12)])
def test_a_resolution_that_says_nothing(value):
    attachments = build_attachments([{1: b"exif", 5: value}])
    [again], _ = parse_attachments(memoryview(attachments), 0, 1, tp.Limits())
    assert again[5] == value
    assert name_attachments(again) == {"exif": b"exif"}
