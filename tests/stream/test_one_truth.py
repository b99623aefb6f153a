"""One truth in a file: iteration, index access, `verify` and the second decoder say the same of any stream.

Streams hide frames, with indexes that name them, in payloads that are passed over, at their ends and inside.
"""

import io
import struct
import time

import minidecode
import numpy as np
import pytest
import triptych as tp
from hypothesis import given, settings
from hypothesis import strategies as st
from rawmode import RAW
from triptych.framing import STREAM_HEADER, FrameType, build_frame, header_crc
from triptych.index import PartIndex

SHADES = 10, 60, 110, 160, 210


def _frame_of(shade):
    target = io.BytesIO()
    with tp.Writer(target, lossless=True) as writer:
        writer.write(np.full((2, 3), shade, np.uint8), key=f"key {shade}" if shade % 20 else None)
    return target.getvalue()[len(STREAM_HEADER) :]


IMAGES = {shade: _frame_of(shade) for shade in SHADES}
PASSED_OVER = FrameType.PADDING, FrameType.PRIVATE, FrameType.ENCODER, FrameType.META, 0x70


class Elsewhere:
    """A file object whose bytes are not at hand, as far as a reader knows."""

    def __init__(self, data):
        inside = io.BytesIO(data)
        self.seek, self.read, self.tell = inside.seek, inside.read, inside.tell


class Draft:
    """A part as it is built, and what an index of it says; `lies`: of frames that are inside of others."""

    def __init__(self):
        self.data = bytearray(STREAM_HEADER)
        self.index = PartIndex()
        self.lies = PartIndex()

    def add_images(self, shade):
        frame = IMAGES[shade]
        keys = [f"key {shade}" if shade % 20 else None]
        for index in (self.index, self.lies):
            index.add_frame(len(self.data), header_crc(frame[:16]), keys)
        self.data += frame

    def add_other(self, frame_type, before, hidden, after):
        """Add a frame that is passed over and holds IMAGES frames, which only the lies name."""
        at = len(self.data)
        inside = bytearray(before)
        self.index.add_other(at)
        self.lies.add_other(at)
        for shade in hidden:
            self.lies.add_frame(at + 16 + len(inside), header_crc(IMAGES[shade][:16]), [None])
            inside += IMAGES[shade]
        if after is None:  # an index at the very end
            inside += build_frame(FrameType.INDEX, 0, self.lies.build(at + 16 + len(inside)))
        else:
            inside += bytes(after)
        self.data += build_frame(frame_type, 0, bytes(inside))

    def add_index(self, lies):
        index = self.lies if lies else self.index
        at = len(self.data)
        self.data += build_frame(FrameType.INDEX, 0, index.build(at))
        for each in (self.index, self.lies):
            each.add_other(at)


shades = st.sampled_from(SHADES)
steps = st.one_of(
    st.tuples(st.just("images"), shades),
    st.tuples(
        st.just("other"),
        st.sampled_from(PASSED_OVER),
        st.sampled_from([b"", b'{"a":', bytes(16)]),
        st.lists(shades, max_size=3),
        st.sampled_from([None, 0, 1, 20]),
    ),
    st.tuples(st.just("index"), st.booleans()),
)


@st.composite
def streams(draw):
    data = b""
    for _ in range(draw(st.integers(1, 2))):
        part = Draft()
        for what, *arguments in draw(st.lists(steps, max_size=6)):
            getattr(part, f"add_{what}")(*arguments)
        data += bytes(part.data)
    cut = draw(st.sampled_from([0, 0, 0, 1, 9, 40]))
    return data[: len(data) - cut] if cut < len(data) else data


def outcome(call):
    try:
        return call()
    except tp.TriptychError as error:
        return type(error)
    except minidecode.Invalid:
        return tp.FormatError


def in_order(data, damage="raise"):
    with tp.Reader(data, damage=damage) as reader:
        return [int(image[0, 0]) for image in reader]


def by_index(source, damage="raise"):
    with tp.Reader(source, damage=damage) as reader:
        shown = [int(reader[number][0, 0]) for number in range(len(reader))]
        for shade in SHADES:
            key = f"key {shade}"
            assert (key in reader) == (shade in shown and shade % 20 != 0)
            assert key not in reader or int(reader[key][0, 0]) == shade
        return shown


@given(streams())
@settings(max_examples=300)
def test_all_say_the_same(data):
    verified = outcome(lambda: tp.verify(data))
    iterated = outcome(lambda: in_order(data))
    second = outcome(lambda: [int(image.pixels.flat[0]) for image in minidecode.decode_stream(data)])
    local, elsewhere = outcome(lambda: by_index(data)), outcome(lambda: by_index(Elsewhere(data)))
    assert isinstance(verified, type) == isinstance(second, type)
    if not isinstance(verified, type):
        assert iterated == local == elsewhere == second
        assert verified.images == len(iterated)
    # Whatever is wrong with a stream: bytes that are at hand show no image that is not there in order.
    assert isinstance(local, type) or local == outcome(lambda: in_order(data, "skip"))


@given(streams())
def test_where_damage_is_skipped_it_is_the_same(data):
    iterated = outcome(lambda: in_order(data, "skip"))
    local = outcome(lambda: by_index(data, "skip"))
    assert local == iterated or isinstance(local, type)


@pytest.mark.parametrize("frame_type", PASSED_OVER)
def test_an_index_that_names_what_is_inside_of_a_frame(frame_type, tmp_path):
    part = Draft()
    part.add_images(10)
    part.add_other(frame_type, bytes(16), [210, 160], 4)
    part.add_index(lies=True)
    data = bytes(part.data)
    assert frame_type == FrameType.META or in_order(data) == [10]
    path = tmp_path / "x.tych"
    path.write_bytes(data)
    if frame_type != FrameType.META:
        for source in (data, io.BytesIO(data), path):
            assert by_index(source) == [10]
    with pytest.raises(tp.InvalidFrame), tp.Reader(Elsewhere(data)) as reader:
        reader[1]
    with pytest.raises(tp.InvalidFrame):
        tp.verify(data)


def test_frames_of_an_index_must_fill_the_part():
    part = Draft()
    for shade in SHADES:
        part.add_images(shade)
    at = len(part.data)
    good = part.index
    for change in (
        lambda frames: frames[1:],
        lambda frames: frames[:-1],
        lambda frames: np.concatenate([frames[:2], frames[3:]]),
    ):
        index = PartIndex(change(good.frames).tobytes(), hashes=good.hashes.tobytes(), keyed=b"")
        data = bytes(part.data) + build_frame(FrameType.INDEX, 0, index.build(at))
        with tp.Reader(Elsewhere(data)) as reader:
            assert [int(reader[number][0, 0]) for number in range(len(reader))] == list(SHADES)


def test_a_damaged_header_costs_its_frame():
    part = Draft()
    for shade in SHADES:
        part.add_images(shade)
    place = int(part.index.frames["offset"][2])
    part.add_index(lies=False)
    part.data[place + 5] ^= 1
    for source in (bytes(part.data), Elsewhere(bytes(part.data))):
        with tp.Reader(source) as reader:
            assert len(reader) == 5
            assert [int(reader[number][0, 0]) for number in (0, 1, 3, 4)] == [10, 60, 160, 210]
            with pytest.raises(tp.ChecksumMismatch):
                reader[2]


def test_many_frames_are_proven_in_a_moment(tmp_path):
    part = Draft()
    for _ in range(16_000):
        part.add_images(60)
    part.add_index(lies=False)
    path = tmp_path / "x.tych"
    path.write_bytes(part.data)
    for source in (bytes(part.data), path):
        began = time.process_time()
        with tp.Reader(source) as reader:
            assert len(reader) == 16_000
        assert time.process_time() - began < 1, "it takes under 0.1 s where nothing else runs"


def test_a_body_that_ends_like_an_index_gets_a_byte():
    image = np.frombuffer(bytes(4) + b"TYCINDEX", np.uint8).reshape(3, 4)
    data = tp.encode(image, mode=RAW.name)
    assert np.array_equal(tp.decode(data), image)
    assert data.endswith(struct.pack("8sB", b"TYCINDEX", 0))
