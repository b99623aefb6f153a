"""Verify: indexes that lie, and what a report says."""

import contextlib
import struct

import pytest
import triptych as tp
from strategies import BOOK, Record, same_images, small_records, write_stream
from triptych.checksum import crc32c
from triptych.framing import STREAM_HEADER, FrameType, build_frame

RECORDS = [Record(record.image, {"key": f"k{n}"}) for n, record in enumerate(small_records(6))]


def forge(edit, records=None):
    """Give a stream whose index was edited, with all checksums right."""
    stream = write_stream(records or RECORDS, frame_images=2, dictionary=BOOK)
    (offset,) = struct.unpack("<Q", stream[-16:-8])
    payload = bytearray(stream[offset + 16 :])
    edit(payload)
    return stream[:offset] + build_frame(FrameType.INDEX, 0, bytes(payload))


def put(layout, place, value):
    return lambda payload: struct.pack_into(layout, payload, place, value)


LIES = {
    "frame count": put("<I", 0, 2),
    "binding count": put("<I", 4, 0),
    "key count": put("<I", 8, 5),
    "offset of a frame": put("<Q", 12, 17),
    "order of frames": put("<Q", 12, 1 << 40),
    "images of a frame": put("<I", 20, 3),
    "no images": put("<I", 20, 0),
    "crc of a frame": put("<I", 24, 0),
    "offset of a binding": put("<Q", 60, 20),
    "binding outside": put("<Q", 60, 1 << 50),
    "hash of a key": put("<I", 68, 1),
    "length": put("<I", -20, 99),
    "span": put("<Q", -16, 99),
    "end mark": put("<B", -1, 0),
}


@pytest.mark.parametrize("name", LIES)
def test_an_index_that_lies_is_found_and_gives_no_wrong_pixel(name):
    stream = forge(LIES[name])
    with pytest.raises(tp.InvalidFrame) as caught:
        tp.verify(stream, level="structure")
    assert caught.value.offset is not None
    assert same_images(list(_lazily(tp.Reader(stream))), RECORDS)
    reader = tp.Reader(stream)
    ways = [(number, number) for number in range(6)] + [(f"k{number}", number) for number in range(6)]
    # Numbers behind a frame of which the index counts more or fewer images are shifted; keys are compared.
    for index, value in ways[6:] if name == "images of a frame" else ways:
        with contextlib.suppress(tp.TriptychError, IndexError):
            assert (reader[index] == value).all()


@pytest.mark.parametrize("value", [0, 3, 100])
def test_images_without_keys_are_told_from_those_with(value):
    """Image 0 has no key, so the images of the keys are listed: 1 to 5, of which the first is changed."""
    records = [Record(RECORDS[0].image), *RECORDS[1:]]
    good = forge(lambda payload: None, records)
    for number in range(1, 6):
        assert (tp.Reader(good)[f"k{number}"] == records[number].image).all()
    assert "k0" not in tp.Reader(good)
    bad = forge(put("<I", 68 + 5 * 4, value), records)
    with pytest.raises(tp.InvalidFrame):
        tp.verify(bad, level="structure")
    assert all((tp.Reader(bad)[number] == record.image).all() for number, record in enumerate(records))


def _lazily(reader):
    """Iterate without asking for a length."""
    yield from reader


def test_a_true_index_is_true():
    stream = forge(lambda payload: None)
    assert tp.verify(stream).frames == {"DICTIONARY": 1, "IMAGES": 3, "INDEX": 1}


@pytest.mark.parametrize("payload", [b"", bytes(12), bytes(32), b"\xff" * 40])
def test_other_payloads_of_index_frames(payload):
    stream = write_stream(RECORDS, frame_images=6) + build_frame(FrameType.INDEX, 0, payload)
    assert len(tp.Reader(stream)) == 6
    with pytest.raises(tp.InvalidFrame):
        tp.verify(stream)


@pytest.mark.parametrize("n_before", [0, 11, 100])
@pytest.mark.parametrize("frame_type", [FrameType.INDEX, FrameType.PADDING])
def test_payloads_that_end_like_an_index(frame_type, n_before):
    stream = write_stream(RECORDS, frame_images=6)
    for length, offset in (
        (36 + n_before, len(stream)),
        (36 + n_before, 0),
        (16, len(stream)),
        (99, len(stream)),
    ):
        payload = bytes(n_before) + struct.pack("<IQ8s", length, offset, b"TYCINDEX")
        with tp.Reader(stream + build_frame(frame_type, 0, payload)) as reader:
            if frame_type == FrameType.INDEX:
                assert len(reader) == 6
            else:
                with pytest.raises(tp.InvalidFrame, match="ends as that of an INDEX frame"):
                    len(reader)


def test_report():
    stream = write_stream(RECORDS, frame_images=2, dictionary=BOOK, metadata={"a": 1})
    for level in ("structure", "decode"):
        report = tp.verify(stream, level=level)
        assert report.frames == {"META": 1, "DICTIONARY": 1, "IMAGES": 3, "INDEX": 1}
        assert (report.images, report.dictionaries, report.damage) == (6, {BOOK.id: True}, [])
    padding = build_frame(FrameType.PADDING, 0, bytes(5)) + build_frame(FrameType.PRIVATE, 0, bytes(16))
    assert tp.verify(STREAM_HEADER + padding).frames == {"PADDING": 1, "PRIVATE": 1}
    damaged = bytearray(stream)
    damaged[20] ^= 1
    report = tp.verify(bytes(damaged), damage="skip")
    assert (report.images, len(report.damage)) == (6, 1)
    assert report.nbytes + 16 + report.damage[0].stop - report.damage[0].start == len(stream)


def test_the_crc_in_the_index_is_the_headers():
    stream = write_stream(RECORDS, frame_images=2)
    (index_offset,) = struct.unpack("<Q", stream[-16:-8])
    offset, count, crc = struct.unpack_from("<QII", stream, index_offset + 16 + 12)
    assert count == 2
    assert crc == crc32c(stream[offset : offset + 12])
