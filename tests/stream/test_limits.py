"""Bombs are refused fast and before anything is allocated; what the writer writes, the reader reads."""

import dataclasses
import io
import struct
import time

import numpy as np
import pytest
import triptych as tp
from hypothesis import given
from hypothesis import strategies as st
from rawmode import register_for_one_test
from strategies import same_images, small_records, write_stream
from triptych.framing import STREAM_HEADER, FrameType, build_frame
from triptych.metadata import MAX_ATTACHMENTS
from triptych.varint import build_varint


def images_frame(head, *fields, body=b""):
    return STREAM_HEADER + build_frame(FrameType.IMAGES, 0, bytes((head, *b"")) + b"".join(fields) + body)


def shape(height, width, channels=1):
    return build_varint((width - 1) << 2 | (channels - 1)) + build_varint(height - 1)


ONE = build_varint(1)
BOMBS = {
    "pixels": images_frame(15, ONE, shape(1 << 31, 1 << 31)),
    "wide": images_frame(15, ONE, shape(1, 1 << 40)),
    "images": images_frame(15, build_varint(1 << 40), shape(1, 1)),
    "varied images": images_frame(0x1F, build_varint(1 << 40), shape(1, 1)),
    "ratio": images_frame(15, ONE, shape(9000, 9000), body=bytes(1000)),
    "ratio of all": images_frame(15, build_varint(60_000), shape(1000, 1000), body=bytes(10)),
    "decoded": images_frame(15, build_varint(100), shape(9000, 9000, 4), body=bytes(200_000)),
    "metadata": images_frame(0x8F, ONE, shape(1, 1), b"\x01\x01", build_varint(1 << 40)),
    "metadata of all": images_frame(
        0x8F,
        ONE,
        shape(1, 1),
        b"\x03",
        *(bytes((tag,)) + build_varint(400_000) + bytes(400_000) for tag in (1, 2, 3)),
    ),
    "meta frame": STREAM_HEADER + build_frame(FrameType.META, 0, b'{"a":"' + b"a" * (1 << 20) + b'"}'),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name):
    began = time.process_time()
    for damage in ("raise", "skip"):
        with pytest.raises(tp.LimitExceeded) as caught:
            list(tp.Reader(BOMBS[name], damage=damage))
        assert (caught.value.offset, caught.value.frame) == (16, 0)
    with pytest.raises(tp.LimitExceeded):
        tp.Reader(BOMBS[name])[0:]
    assert time.process_time() - began < 0.2


def test_nested_json_is_an_invalid_frame():
    for text in (
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":NaN}',
        b'{"a":[-1e999]}',
        b"[1]",
        b"\xff",
        b"1" * 10_000,
        b'{"a":1} '[:-2],
    ):
        with pytest.raises(tp.InvalidFrame):
            tp.verify(STREAM_HEADER + build_frame(FrameType.META, 0, text))
        field = b"\x01\x04" + build_varint(len(text)) + text
        with pytest.raises(tp.InvalidFrame):
            tp.Reader(images_frame(0x8F, ONE, shape(1, 1), field, body=b"x")).info(0)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x0f",
        b"\x0f\x00\x00\x00",
        b"\x1f\x01\x00\x00",
        b"\x0f\x01\x00",
        b"\x2f\x01\x00\x00\x05abcd",
        b"\x2f\x01\x00\x00\x02\xff\xff",
        b"\x2f\x01\x00\x00" + build_varint(5000) + bytes(5000),
        b"\x4f\x01\x00\x00",
        b"\x8f\x01\x00\x00",
        b"\x8f\x01\x00\x00\x01",
        b"\x8f\x01\x00\x00\x01\x01\x05abcd",
        b"\x8f\x01\x00\x00\x01\x81",
        b"\x8f\x01\x00\x00\x02\x01\x00\x01\x00",
        b"\x8f\x01\x00\x00" + bytes((MAX_ATTACHMENTS + 1,)),
    ],
)
def test_payloads_that_break_a_rule(payload):
    with pytest.raises(tp.InvalidFrame):
        list(tp.Reader(STREAM_HEADER + build_frame(FrameType.IMAGES, 0, payload)))


@given(st.binary(max_size=40), st.integers(0, 255))
def test_any_payload_is_images_or_an_error(payload, slot):
    stream = STREAM_HEADER + build_frame(FrameType.IMAGES, slot, payload)
    limits = tp.Limits(pixels_per_image=1000, images_per_frame=100, decoded_bytes=100_000)
    try:
        list(tp.Reader(stream, limits))
    except tp.TriptychError as error:
        assert error.offset == 16  # noqa: PT017  # no error is right too


class FlatMode:
    """One byte says it all: the value of every pixel."""

    name = "flat"
    code = 13
    default_dictionary = None

    def encode_frame(self, images, options, dictionary):
        return bytes((images[0].flat[0],))

    def decode_frame(self, body, shapes, dictionary, start, stop, n_components=None, realism=None):
        return [np.full(shape, body[0], np.uint8) for shape in shapes[start:stop]]

    def images_per_frame(self, shape, options, dictionary):
        return 4

    def describe_frame(self, body, shapes, dictionary):
        return [{}] * len(shapes)


@pytest.fixture
def flat_mode(monkeypatch):
    register_for_one_test(FlatMode(), monkeypatch)


@pytest.mark.parametrize("side", [1024, 1025, 4000])
def test_flat_images_are_padded_until_the_reader_takes_them(flat_mode, side):
    image = np.full((side, side), 7, np.uint8)
    data = tp.encode(image, mode="flat")
    assert (tp.decode(data) == 7).all()
    assert len(data) <= 44 + 1 + side * side / 65536
    target = io.BytesIO()
    with tp.Writer(target, mode="flat") as writer:
        for _ in range(4):
            writer.write(image)
    assert len(tp.Reader(target.getvalue())[:]) == 4


def test_the_writer_refuses_what_the_default_reader_refuses(flat_mode):
    wide = np.broadcast_to(np.uint8(0), (1, tp.Limits().pixels_per_image + 1))
    with pytest.raises(tp.LimitExceeded, match="pixels_per_image"):
        tp.encode(wide, mode="flat")
    with pytest.raises(tp.LimitExceeded, match="metadata_bytes"):
        tp.encode(np.zeros((1, 1), np.uint8), mode="flat", exif=bytes((1 << 20) + 1))
    with pytest.raises(tp.LimitExceeded, match="metadata_bytes"):
        tp.Writer(io.BytesIO(), mode="flat", metadata={"a": "a" * (1 << 20)})
    low = tp.Limits(payload_bytes=20, dictionary_bytes=10, decoded_bytes=100)
    with pytest.raises(tp.LimitExceeded, match="payload_bytes"):
        tp.encode(np.zeros((5, 5), np.uint8), mode="raw", limits=low)
    with pytest.raises(tp.LimitExceeded, match="decoded_bytes"):
        tp.encode(np.zeros((50, 50), np.uint8), mode="flat", limits=low)
    book = tp.Dictionary.build("palette", {}, bytes(4))
    with pytest.raises(tp.LimitExceeded, match="dictionary_bytes"):
        tp.encode(np.zeros((1, 1), np.uint8), mode="raw", limits=low, dictionary=book)


def test_frames_end_before_the_reader_would_refuse_them():
    low = tp.Limits(images_per_frame=3, decoded_bytes=6 * 4, payload_bytes=400)
    data = write_stream(small_records(50), frame_images=1000, limits=low)
    assert tp.verify(data, limits=dataclasses.replace(low, payload_bytes=4000)).images == 50
    more = write_stream(small_records(50), frame_images=1000, limits=tp.Limits(decoded_bytes=13))
    assert tp.verify(more).frames["IMAGES"] == 25


def test_an_index_larger_than_a_reader_takes_is_not_written():
    low = tp.Limits(payload_bytes=100)
    data = write_stream(small_records(50), frame_images=1, limits=low)
    assert "INDEX" not in tp.verify(data, limits=low).frames
    assert len(tp.Reader(data, limits=low)) == 50


def test_decoded_bytes_of_a_call():
    data = write_stream(small_records(10), frame_images=2)
    reader = tp.Reader(data, tp.Limits(decoded_bytes=30))
    assert len(list(reader)) == 10  # each frame is a call of its own
    assert len(reader[:5]) == 5
    with pytest.raises(tp.LimitExceeded, match="decoded_bytes"):
        reader[:6]


def test_limits_are_integers_above_zero():
    for value in (0, -1, 1.5, True, None):
        with pytest.raises(tp.InvalidOption, match="pixels_per_image"):
            tp.Limits(pixels_per_image=value)


def test_a_million_images_open_fast():
    from triptych.framing import HEADER_LEN, build_frame_header
    from triptych.index import FRAME_DTYPE, KEY_DTYPE, hash_key

    n = 1_000_000
    frames = np.zeros(n, FRAME_DTYPE)
    frames["offset"] = 16 + 24 * np.arange(n)
    frames["count"] = 1
    keys = np.random.default_rng(0).integers(0, 1 << 32, n).astype(KEY_DTYPE)
    keys[keys == hash_key("nobody")] = 0  # or it would be looked for in a frame
    offset = 16 + 24 * n
    length = HEADER_LEN + 12 + frames.nbytes + keys.nbytes + 20
    payload = struct.pack("<III", n, 0, n) + frames.tobytes() + keys.tobytes()
    payload += struct.pack("<IQ8s", length, offset, b"TYCINDEX")
    stream = STREAM_HEADER + bytes(24 * n) + build_frame_header(FrameType.INDEX, 0, payload) + payload
    began = time.process_time()
    reader = tp.Reader(stream)
    assert len(reader) == n
    assert "nobody" not in reader
    assert time.process_time() - began < 1


def test_a_part_has_32_bits_for_its_images():
    from triptych.index import MAX_IMAGES, PartIndex

    index = PartIndex()
    index.n_images = MAX_IMAGES
    with pytest.raises(tp.LimitExceeded, match="another stream"):
        index.add_frame(32, 0, [None])


def test_an_index_cannot_claim_more_images_than_bytes():
    """A length is what `list` allocates; found by fuzzing, as a MemoryError from 142 bytes."""
    stream = write_stream(small_records(2), frame_images=1)
    length = struct.unpack("<I", stream[-20:-16])[0]
    payload = bytearray(stream[-length + 16 :])
    payload[12 + 16 + 8 : 12 + 16 + 12] = (2**32 - 3).to_bytes(4, "little")
    lying = stream[:-length] + build_frame(FrameType.INDEX, 0, bytes(payload))
    with tp.Reader(lying) as reader:
        assert len(reader) == 2
        assert same_images(list(reader), small_records(2))
    with pytest.raises(tp.InvalidFrame):
        tp.verify(lying)
