"""Frames: round trips, damage, and finding the next frame."""

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from triptych import errors
from triptych.checksum import crc32c
from triptych.framing import (
    HEADER_LEN,
    INDEX_END,
    SIGNATURE,
    STREAM_HEADER,
    SYNC,
    FrameType,
    build_frame,
    build_frame_header,
    walk,
)
from triptych.limits import Limits
from triptych.source import open_source

payloads = st.binary(max_size=60).filter(lambda payload: not payload.endswith(INDEX_END))
frames = st.tuples(st.sampled_from([0x81, 0x01, 0x03, 0x04, 0x7E]), payloads)
streams = st.lists(frames, max_size=6)


def build(some_frames) -> bytes:
    return STREAM_HEADER + b"".join(
        build_frame(frame_type, 0, payload) for frame_type, payload in some_frames
    )


def read(data, **arguments):
    return [(frame.type, bytes(frame.payload)) for frame in walk(open_source(data), Limits(), **arguments)]


def salvage(data):
    damage = []
    return read(data, on_damage=damage.append), damage


def with_crc(head: bytes) -> bytes:
    return head + struct.pack("<I", crc32c(head))


def test_the_crc_is_castagnoli():
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(memoryview(b"123456789")[4:], crc32c(b"1234")) == 0xE3069283


@given(streams)
def test_round_trip(some_frames):
    assert read(build(some_frames)) == some_frames


@given(streams, streams)
def test_concatenation(one, other):
    parts = {frame.part for frame in walk(open_source(build(one) + build(other)), Limits())}
    assert read(build(one) + build(other)) == one + other
    assert parts <= {0, len(build(one))}


@given(streams, st.data())
def test_a_prefix_gives_whole_frames_and_then_truncated(some_frames, data):
    stream = build(some_frames)
    cut = data.draw(st.integers(0, len(stream)))
    ends = [len(build(some_frames[:n])) for n in range(len(some_frames) + 1)]
    whole = sum(end <= cut for end in ends) - 1
    walking = walk(open_source(stream[:cut]), Limits())
    for frame_type, payload in some_frames[: max(whole, 0)]:
        frame = next(walking)
        assert (frame.type, frame.payload) == (frame_type, payload)
    if cut in ends:
        assert next(walking, None) is None
    else:
        with pytest.raises(errors.Truncated) as caught:
            next(walking)
        assert caught.value.offset == (ends[whole] if whole >= 0 else 0)


@given(st.lists(frames, min_size=1, max_size=4), st.data())
def test_a_flipped_bit_is_seen_and_costs_one_frame(some_frames, data):
    stream = bytearray(build(some_frames))
    bit = data.draw(st.integers(0, 8 * len(stream) - 1))
    stream[bit // 8] ^= 1 << bit % 8
    with pytest.raises(errors.FormatError):
        read(bytes(stream))
    got, damage = salvage(bytes(stream))
    assert len(damage) == 1
    assert damage[0].start <= bit // 8 < damage[0].stop
    ends = [len(build(some_frames[:n])) for n in range(len(some_frames) + 1)]
    hit = next(n for n, end in enumerate(ends) if bit // 8 < end)
    assert got == [frame for n, frame in enumerate(some_frames, 1) if n != hit]


@given(st.binary(max_size=200))
def test_garbage_raises_format_errors_only(garbage):
    for data in (garbage, STREAM_HEADER + garbage):
        with pytest.raises(errors.FormatError) if data != STREAM_HEADER else io.BytesIO():
            read(data)
        try:
            salvage(data)
        except errors.FormatError:
            assert data == garbage


@given(streams, st.binary(min_size=1, max_size=100), streams)
def test_garbage_between_frames_is_skipped(before, garbage, after):
    stream = build(before) + garbage + build(after)
    got, damage = salvage(stream)
    # Garbage that begins like a frame may swallow nothing behind it: its CRC does not match.
    assert got == before + after
    assert damage[0].start == len(build(before))
    assert damage[-1].stop == len(build(before)) + len(garbage)


def test_bytes_removed_inside_a_payload_cost_that_frame_alone():
    stream = build([(0x81, b"first" * 10), (0x81, b"second"), (0x81, b"third")])
    torn = stream[:30] + stream[40:]
    got, damage = salvage(torn)
    assert got == [(0x81, b"second"), (0x81, b"third")]
    assert [(lost.start, lost.stop) for lost in damage] == [(16, 16 + 16 + 40)]


def test_a_frame_cut_short_does_not_hide_the_stream_after_it():
    torn = build([(0x81, b"x" * 1000)])[:100]
    got, _ = salvage(torn + build([(0x81, b"next")]))
    assert got == [(0x81, b"next")]


def test_frames_inside_a_damaged_payload_are_not_taken_for_frames():
    inner = build([(0x81, b"inner")])
    stream = bytearray(build([(0x04, b"v" * 16 + inner), (0x81, b"outer")]))
    stream[35] ^= 1
    assert salvage(bytes(stream))[0] == [(0x81, b"outer")]


def test_a_header_at_the_edge_of_the_search_window_is_found():
    for length in range(65_500, 65_560):
        stream = STREAM_HEADER + b"\x00" * length + build_frame(0x81, 0, b"found")
        assert salvage(stream)[0] == [(0x81, b"found")]


def test_slots_may_be_lost_unless_one_frame_was():
    def parts(stream):
        return [frame.part for frame in walk(open_source(stream), Limits(), on_damage=lambda _: None)]

    one_frame = bytearray(build([(0x81, b"first"), (0x81, b"second")]))
    for place in (16, 18, 20, 24, 28):  # sync, type, length, payload CRC, header CRC
        damaged = one_frame.copy()
        damaged[place] ^= 1
        assert parts(bytes(damaged)) == [0]
    lost_header = bytearray(build([(0x81, b"first")]) + build([(0x81, b"second")]))
    lost_header[40] ^= 1
    assert parts(bytes(lost_header)) == [0, 16 + 21 + 16]


@pytest.mark.parametrize(
    "source", [b"", SIGNATURE[:3], STREAM_HEADER[:15], STREAM_HEADER + SYNC, STREAM_HEADER + b"\x89"]
)
def test_truncated_headers(source):
    with pytest.raises(errors.Truncated):
        read(source)


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (b"GIF89a" + bytes(20), errors.NotTriptych),
        (b"G", errors.NotTriptych),
        (with_crc(SIGNATURE + b"\x01\x00\x00\x00"), errors.UnsupportedVersion),
        (with_crc(SIGNATURE + b"\x00\x01\x01\x00"), errors.UnsupportedFeature),
        (SIGNATURE + b"\x00\x01\x00\x00" + bytes(4), errors.ChecksumMismatch),
        (STREAM_HEADER + b"\n", errors.InvalidFrame),
        (STREAM_HEADER + build_frame(0x85, 0, b""), errors.UnsupportedFeature),
        (STREAM_HEADER + build_frame(FrameType.META, 1, b"{}"), errors.InvalidFrame),
        (STREAM_HEADER + build_frame(FrameType.USE, 0, bytes(32)), errors.InvalidFrame),
        (STREAM_HEADER + build_frame(FrameType.DICTIONARY, 255, bytes(32)), errors.InvalidFrame),
        (STREAM_HEADER + build_frame(0x81, 0, b"payload")[:-1], errors.Truncated),
        (STREAM_HEADER + build_frame(0x81, 0, b"payload")[:-1] + b"x", errors.ChecksumMismatch),
    ],
)
def test_refused(stream, error):
    with pytest.raises(error) as caught:
        read(stream)
    assert type(caught.value) is error
    assert caught.value.offset in (0, 16)
    assert caught.value.frame == 0


def test_a_higher_minor_version_and_unknown_ancillary_frames_are_read():
    stream = (
        with_crc(SIGNATURE + b"\x00\x63\x00\x00")
        + build_frame(0x7F, 200, b"later")
        + build_frame(0x81, 0, b"x")
    )
    assert read(stream) == [(0x7F, b"later"), (0x81, b"x")]


def test_unknown_critical_frames_stop_salvage_too():
    with pytest.raises(errors.UnsupportedFeature):
        salvage(STREAM_HEADER + build_frame(0x90, 0, b""))


@pytest.mark.parametrize("name", ["payload_bytes", "dictionary_bytes", "metadata_bytes"])
def test_declared_lengths_are_refused_before_reading(name):
    class Endless:
        size = 1 << 40

        def __init__(self, head):
            self.head = head

        def read_at(self, offset, length):
            assert length <= HEADER_LEN, "nothing that long may be asked for"
            return self.head[offset : offset + length]

    frame_type, slot = {"payload_bytes": (3, 0), "dictionary_bytes": (0x82, 1), "metadata_bytes": (1, 0)}[
        name
    ]
    head = bytearray(build_frame_header(frame_type, slot, b""))
    head[4:8] = struct.pack("<I", 0xFFFFFFFF)
    head = with_crc(bytes(head[:12]))
    with pytest.raises(errors.LimitExceeded, match=name):
        list(walk(Endless(STREAM_HEADER + head), Limits(**{"payload_bytes": 1 << 40, name: 1000})))
