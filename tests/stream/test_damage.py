"""Damage: every prefix and every flipped bit of small streams. Never a wrong pixel."""

import numpy as np
import pytest
import triptych as tp
from hypothesis import given
from hypothesis import strategies as st
from strategies import BOOK, Record, small_records, write_stream
from triptych.framing import STREAM_HEADER, FrameType, build_frame

RECORDS = [Record(record.image, {"key": f"k{n}", "label": n}) for n, record in enumerate(small_records(6))]
PLAIN = write_stream(RECORDS, frame_images=2)
SHARED = write_stream(RECORDS, frame_images=2, dictionary=BOOK, metadata={"a": 1})
CONCATENATED = write_stream(RECORDS[:2], dictionary=BOOK) + write_stream(
    RECORDS[2:], frame_images=2, dictionary=tp.Dictionary.build("palette", {}, b"\x77")
)
STREAMS = {"plain": PLAIN, "shared": SHARED, "concatenated": CONCATENATED}


def frames_of(stream):
    """Give (start, stop, images) of each frame, and (start, stop, none) of each stream header."""
    from triptych.limits import Limits
    from triptych.scan import scan
    from triptych.source import open_source

    spans = []
    image = 0
    for item in scan(open_source(stream), Limits()):
        count = len(item.images.shapes) if item.images else 0
        spans.append(
            (item.frame.offset, item.frame.offset + item.frame.length, set(range(image, image + count)))
        )
        image += count
    return spans


def values(images):
    """Give the images' numbers, after checking that each is whole."""
    assert all(image.shape == (2, 3) and (image == image[0, 0]).all() for image in images)
    return [int(image[0, 0]) for image in images]


def read_all(stream, **arguments):
    """Read in each way there is; those that give images must give right ones."""
    reader = tp.Reader(stream, **arguments)
    results = []
    for way in (lambda: list(reader), lambda: reader[:]):
        try:
            results.append(values(way()))
        except tp.TriptychError as error:
            results.append(error)
    return results


@pytest.mark.parametrize("name", STREAMS)
def test_every_prefix(name):
    stream = STREAMS[name]
    spans = frames_of(stream)
    ends = {0} | {start for start, _, _ in spans} | {stop for _, stop, _ in spans}
    for cut in range(len(stream)):
        whole = sorted(set().union(*[images for _, stop, images in spans if stop <= cut]))
        got = []
        try:
            for image in tp.Reader(stream[:cut]):
                got.append(image)  # noqa: PERF402  # keeps what came before an error
            assert cut in ends
        except tp.Truncated:
            assert cut not in ends or cut == 0
        assert values(got) == whole
        if cut >= 16:
            salvaged = tp.Reader(stream[:cut], damage="skip")
            assert values(salvaged) == whole
            assert values(salvaged[:]) == whole


@pytest.mark.parametrize("name", STREAMS)
def test_every_flipped_bit(name):
    stream = STREAMS[name]
    spans = frames_of(stream)
    everything = set(range(6))
    for bit in range(8 * len(stream)):
        damaged = bytearray(stream)
        damaged[bit // 8] ^= 1 << bit % 8
        damaged = bytes(damaged)
        with pytest.raises(tp.FormatError):
            tp.verify(damaged, level="structure")
        for result in read_all(damaged):
            # An index that still fits leaves only damaged frames to raise: none may be read here.
            assert isinstance(result, tp.TriptychError) or result == sorted(everything)
        lost = next((images for start, stop, images in spans if start <= bit // 8 < stop), set())
        hit_dictionary = not lost and b"\x82" in {
            stream[start + 2 : start + 3] for start, stop, _ in spans if start <= bit // 8 < stop
        }
        reader = tp.Reader(damaged, damage="skip")
        got = values(reader)
        assert len(reader.damage) >= 1
        if hit_dictionary or (name == "concatenated" and not lost):
            assert set(got) <= everything
        else:
            assert got == sorted(everything - lost)


def test_damage_in_an_indexed_frame_leaves_the_numbers_alone():
    damaged = bytearray(PLAIN)
    start, stop, _ = frames_of(PLAIN)[1]
    damaged[stop - 1] ^= 1
    reader = tp.Reader(bytes(damaged))
    assert len(reader) == 6
    assert values([reader[0], reader["k5"]]) == [0, 5]
    with pytest.raises(tp.ChecksumMismatch) as caught:
        reader[2]
    assert (caught.value.offset, caught.value.frame) == (start, 1)
    assert "offset" in str(caught.value)


def test_a_key_gives_the_first_image_that_is_whole():
    twice = [Record(record.image, {"key": "same"}) for record in small_records(2)]
    damaged = bytearray(write_stream([*twice, Record(twice[0].image, {"key": "once"})], frame_images=1))
    for start, stop, _ in frames_of(damaged)[0:3:2]:  # the first and the last image
        assert start
        damaged[stop - 1] ^= 1
    reader = tp.Reader(damaged, damage="skip")
    assert "same" in reader
    assert values([reader["same"]]) == [1]
    for key, arguments in (("once", {"damage": "skip"}), ("same", {})):
        with pytest.raises(tp.ChecksumMismatch):
            tp.Reader(damaged, **arguments)[key]
    with pytest.raises(tp.KeyMissing):
        reader["another"]


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_the_frames_before_damage_come_first(threads):
    damaged = bytearray(PLAIN)
    damaged[frames_of(PLAIN)[2][0]] ^= 1
    images = iter(tp.Reader(bytes(damaged), threads=threads))
    assert values([next(images) for _ in range(4)]) == [0, 1, 2, 3]
    with pytest.raises(tp.InvalidFrame):
        next(images)


def test_ranges_are_reported():
    damaged = PLAIN[:60] + b"\x00" * 7 + PLAIN[60:]
    reader = tp.Reader(damaged, damage="skip")
    list(reader)
    assert all(0 < lost.start < lost.stop <= len(damaged) for lost in reader.damage)
    report = tp.verify(damaged, damage="skip")
    assert [lost[:2] for lost in report.damage] == [lost[:2] for lost in reader.damage]


def test_a_lost_dictionary_is_never_replaced_by_another():
    # All of the second stream's header and dictionary is lost: its images must not get the first one's.
    second = len(write_stream(RECORDS[:2], dictionary=BOOK))
    dictionary_end = second + 16 + 16 + 5 + 2 + 1
    damaged = bytearray(CONCATENATED)
    damaged[second:dictionary_end] = bytes(dictionary_end - second)
    assert values(tp.Reader(bytes(damaged), damage="skip")) == [0, 1]


def test_not_triptych_at_all():
    for damage in ("raise", "skip"):
        with pytest.raises(tp.NotTriptych):
            list(tp.Reader(b"GIF89a" + bytes(100), damage=damage))


def test_slots_that_are_not_bound_or_bound_twice():
    images = build_frame(FrameType.IMAGES, 3, b"\x0f\x01\x00\x00\x00")
    with pytest.raises(tp.InvalidFrame, match="slot 3"):
        tp.decode(STREAM_HEADER + images)
    binding = build_frame(FrameType.DICTIONARY, 3, BOOK.payload)
    assert tp.decode(STREAM_HEADER + binding + images).shape == (1, 1)
    with pytest.raises(tp.InvalidFrame, match="twice"):
        tp.decode(STREAM_HEADER + binding + binding + images)
    with pytest.raises(tp.InvalidFrame, match="slot 3"):
        tp.Reader(STREAM_HEADER + images + binding)[0]


def test_unknown_frames():
    ancillary = build_frame(0x55, 9, b"later")
    critical = build_frame(0xD5, 0, b"later")
    body = PLAIN[16:]
    assert values(tp.Reader(STREAM_HEADER + ancillary + body)) == list(range(6))
    assert tp.verify(STREAM_HEADER + ancillary + PLAIN[16:60], damage="skip").frames["0x55"] == 1
    for damage in ("raise", "skip"):
        with pytest.raises(tp.UnsupportedFeature):
            list(tp.Reader(STREAM_HEADER + critical + body, damage=damage))


def test_unknown_modes():
    stream = STREAM_HEADER + build_frame(FrameType.IMAGES, 0, b"\x0e\x01\x00\x00\x00")
    for damage in ("raise", "skip"):
        with pytest.raises(tp.UnsupportedFeature, match="mode 14") as caught:
            list(tp.Reader(stream, damage=damage))
        assert caught.value.offset == 16


def test_a_bad_body_is_damage():
    good = write_stream(RECORDS[:1])
    short = STREAM_HEADER + build_frame(FrameType.IMAGES, 0, b"\x0f\x01\x04\x00") + good[16:]
    with pytest.raises(tp.InvalidFrame) as caught:
        list(tp.Reader(short))
    assert (caught.value.offset, caught.value.frame) == (16, 0)
    assert values(tp.Reader(short, damage="skip")) == [0]
    assert tp.verify(short, level="structure").images == 2
    with pytest.raises(tp.InvalidFrame):
        tp.verify(short)
    for threads in (1, 2):
        assert [lost.start for lost in tp.verify(short, damage="skip", threads=threads).damage] == [16]


@given(
    st.lists(st.integers(0, len(SHARED) - 1), min_size=1, max_size=20), st.binary(min_size=20, max_size=20)
)
def test_any_damage_gives_right_pixels_or_errors(places, noise):
    damaged = bytearray(SHARED)
    for place, value in zip(places, noise, strict=False):
        damaged[place] = value
    for arguments in ({}, {"damage": "skip"}):
        for result in read_all(bytes(damaged), **arguments):
            assert isinstance(result, tp.TriptychError) or set(result) <= set(range(6))


@given(st.data())
def test_cut_and_spliced_streams(data):
    pieces = []
    for _ in range(3):
        start = data.draw(st.integers(0, len(SHARED)))
        pieces.append(SHARED[start : data.draw(st.integers(start, len(SHARED)))])
    for stream in (b"".join(pieces), STREAM_HEADER + b"".join(pieces)):
        for result in read_all(stream, damage="skip"):
            assert isinstance(result, tp.TriptychError) or set(result) <= set(range(6))


def test_errors_are_what_their_builtins_promise():
    assert issubclass(tp.Truncated, EOFError)
    assert issubclass(tp.FormatError, ValueError)
    assert issubclass(tp.KeyMissing, KeyError)
    assert issubclass(tp.DictionaryMissing, LookupError)
    assert np.all(
        [
            issubclass(getattr(tp, name), tp.TriptychError)
            for name in dir(tp)
            if isinstance(getattr(tp, name), type) and issubclass(getattr(tp, name), Exception)
        ]
    )
