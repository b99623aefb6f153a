"""The PCA panel for photographs from pixels to bytes and back."""

import io
from itertools import pairwise

import numpy as np
import pytest
import triptych as tp
from hypothesis import given, settings
from hypothesis import strategies as st
from seeing import psnr
from smallbook import photograph, small_dictionary
from triptych.images import Shape
from triptych.modes import blocks
from triptych.modes.pca import MODE
from triptych.options import Options

SEEDS = st.integers(0, 2**32 - 1)
PICTURES = st.builds(photograph, st.integers(1, 40), st.integers(1, 40), st.integers(1, 4), SEEDS)
BOOKS = st.sampled_from(["photo", "small"])
SETTINGS = st.fixed_dictionaries(
    {"tune": st.sampled_from(["psnr", "visual"]), "effort": st.sampled_from(["fast", "default"])}
)


def book_of(name):
    return tp.load_dictionary("photo") if name == "photo" else small_dictionary()


def body_of(images, book=None, **options):
    return blocks.encode_frame(images, Options(mode="pca", **options), book or small_dictionary())[0]


def decoded(body, images, book=None, start=0, stop=None):
    shapes = [Shape(*image.shape) for image in images]
    stop = len(images) if stop is None else stop
    return blocks.decode_frame(memoryview(body), shapes, book or small_dictionary(), start, stop)


@given(PICTURES, BOOKS, SETTINGS, st.sampled_from([0, 40, 100]))
@settings(max_examples=100)
def test_round_trip(image, name, setting, quality):
    book = book_of(name)
    data = tp.encode(image, mode="pca", dictionary=book, quality=quality, **setting)
    got = tp.decode(data, dictionary=book)
    assert got.dtype == np.uint8
    assert got.shape == (image.shape if image.shape[2] > 1 else image.shape[:2])
    if image.shape[2] in (2, 4):
        assert np.array_equal(got[:, :, -1], image[:, :, -1])
    assert tp.encode(image, mode="pca", dictionary=book, quality=quality, **setting) == data


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4), SEEDS)
@settings(max_examples=25)
def test_noise_and_hard_edges_are_coded_too(height, width, channels, seed):
    image = np.random.default_rng(seed).choice(np.array([0, 255], np.uint8), (height, width, channels))
    for quality in (0, 100):
        body = body_of([image], quality=quality)
        assert decoded(body, [image])[0].shape == image.shape


@pytest.mark.parametrize("name", ["photo", "small"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("tune", ["psnr", "visual"])
def test_psnr_and_bytes_grow_with_quality(name, channels, tune):
    image, book = photograph(64, 80, channels), book_of(name)
    streams = [
        tp.encode(image, mode="pca", dictionary=book, tune=tune, quality=quality, embed=False)
        for quality in (0, 35, 70, 100)
    ]
    quality = [psnr(image, tp.decode(data, dictionary=book)) for data in streams]
    assert all(after > before for before, after in pairwise(quality))
    assert all(len(after) > len(before) for before, after in pairwise(streams))
    if name == "photo":
        assert quality[-1] > 37


def test_a_photograph_of_one_color_costs_next_to_nothing():
    image = np.full((200, 300, 3), (10, 200, 90), np.uint8)
    data = tp.encode(image, mode="pca", quality=80)
    assert len(data) < 200
    assert psnr(image, tp.decode(data)) > 45


@given(
    st.lists(PICTURES, min_size=2, max_size=5),
    st.data(),
    st.sampled_from([{}, {"quality": 80}, {"target_psnr": 30.0}]),
)
@settings(max_examples=25)
def test_any_range_of_a_frame(images, data, options):
    body = body_of(images, **options)
    start = data.draw(st.integers(0, len(images) - 1))
    stop = data.draw(st.integers(start + 1, len(images)))
    whole = decoded(body, images)
    for got, expected in zip(decoded(body, images, None, start, stop), whole[start:stop], strict=True):
        assert np.array_equal(got, expected)


def test_any_number_of_threads_and_frames_as_asked():
    images = [photograph(30 + n, 24, 3, n) for n in range(9)]
    streams = set()
    for threads in (1, 4):
        target = io.BytesIO()
        with tp.Writer(target, small_dictionary(), mode="pca", frame_images=3, threads=threads) as writer:
            for image in images:
                writer.write(image)
        streams.add(target.getvalue())
    (stream,) = streams
    with tp.Reader(stream, threads=4) as reader:
        in_order = list(reader)
        assert [reader.info(n)["frame"] for n in (0, 2, 3)] == [0, 0, 1]
        assert np.array_equal(reader[7], in_order[7])
    assert all(psnr(image, got) > 25 for image, got in zip(images, in_order, strict=True))


def test_small_pictures_share_frames_and_learn_from_each_other():
    images = [photograph(32, 32, 3, n) for n in range(8)]
    alone = sum(len(body_of([image])) for image in images)
    assert len(body_of(images)) < alone
    assert blocks.images_per_frame(Shape(32, 32, 3)) == 64
    assert blocks.images_per_frame(Shape(128, 129, 3)) == 1


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["photo", "small"])
def test_target_size(name, channels):
    image, book = photograph(64, 64, channels), book_of(name)
    smallest = len(tp.encode(image, mode="pca", dictionary=book, quality=0, embed=False))
    finest = len(tp.encode(image, mode="pca", dictionary=book, quality=100, embed=False))
    for target in (smallest + 40, (smallest + finest) // 2):
        data = tp.encode(image, mode="pca", dictionary=book, target_size=target, embed=False)
        assert target * 0.8 < len(data) <= target


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("target", [24.0, 30.0, 36.0])
def test_target_psnr(channels, target):
    image = photograph(64, 64, channels)
    got = tp.decode(tp.encode(image, mode="pca", target_psnr=target))
    coarsest = psnr(image, tp.decode(tp.encode(image, mode="pca", quality=0)))
    assert target <= psnr(image, got) < max(target, coarsest) + 2.5


def test_targets_in_a_batch_hold_for_each_image():
    images = [photograph(40, 30, 3, n) for n in range(4)]
    body = body_of(images, target_psnr=33.0)
    for image, got in zip(images, decoded(body, images), strict=True):
        assert psnr(image, got) >= 33.0


@pytest.mark.parametrize("target", [{"target_size": 60}, {"target_psnr": 90.0}])
def test_unreachable_targets(target):
    with pytest.raises(tp.TargetUnreachable, match=r"no quality of PCA .*(raise|lower) it"):
        tp.encode(photograph(64, 64, 3), mode="pca", **target)


def test_info():
    image = photograph(64, 64, 3)
    for tune in ("psnr", "visual"):
        info = tp.Reader(tp.encode(image, mode="pca", quality=100, tune=tune)).info(0)
        assert (info["coder"], info["tune"], info["step"]) == ("blocks", tune, round(2 ** (24 / 16), 2))


# What is refused.


@given(PICTURES, st.data())
def test_damaged_bodies_give_an_image_or_invalid_frame(image, data):
    body = bytearray(body_of([image], quality=data.draw(st.integers(0, 100))))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    cut = data.draw(st.integers(0, len(body)))
    for damaged in (bytes(body), bytes(body[:cut])):
        try:
            (got,) = decoded(damaged, [image])
        except tp.InvalidFrame:
            continue
        assert got.shape == image.shape


@given(st.binary(max_size=200), st.integers(1, 4), st.integers(1, 40), st.integers(1, 40), BOOKS)
def test_any_body_gives_an_image_or_invalid_frame(body, channels, height, width, name):
    image = np.zeros((height, width, channels), np.uint8)
    try:
        (got,) = decoded(body, [image], book_of(name))
    except tp.InvalidFrame:
        return
    assert got.shape == image.shape


def test_a_message_cut_short_is_refused():
    image = photograph(40, 40, 3)
    body = body_of([image], quality=80)
    for stop in range(2, len(body) - 5, 7):
        with pytest.raises(tp.InvalidFrame):
            decoded(body[:stop], [image])
    assert np.array_equal(decoded(body + bytes(9), [image])[0], decoded(body, [image])[0])
    with pytest.raises(tp.InvalidFrame, match="does not end"):
        decoded(body + b"\1", [image])


@pytest.mark.parametrize(
    ("body", "n", "channels", "what"),
    [
        (b"", 1, 3, "too short"),
        (b"\x08", 1, 3, "too short"),
        (b"\x05\x40", 1, 3, "unknown plan"),
        (b"\x08\xc0", 2, 3, "steps"),
        (b"\x08\xc0\x80", 2, 3, "steps"),
        (b"\x08\x40", 1, 2, "varint"),
        (b"\x08\x40\x09\x00", 1, 4, "alpha goes beyond"),
        (b"\x08\x40\x02\x00\xff", 1, 4, "."),
        (b"\x08\x40", 1, 3, "the message"),
    ],
)
def test_bodies_that_are_refused(body, n, channels, what):
    images = [np.zeros((40, 40, channels), np.uint8)] * n
    with pytest.raises(tp.InvalidFrame, match=what):
        decoded(body, images)


def test_dictionaries_of_another_kind():
    image = photograph(20, 20, 3)
    palette = tp.fit("kmeans", [image], n_colors=4)
    with pytest.raises(tp.DictionaryMismatch, match="palette"):
        tp.encode(image, mode="pca", dictionary=palette)
    with pytest.raises(tp.DictionaryMismatch, match="blocks"):
        tp.encode(image, mode="kmeans", dictionary=small_dictionary())
    with pytest.raises(tp.DictionaryMismatch, match="palette"):
        MODE.decode_frame(memoryview(b"\x08\x40"), [Shape(4, 4, 3)], palette, 0, 1)
    with pytest.raises(tp.InvalidFrame, match="has to name a dictionary"):
        MODE.decode_frame(memoryview(b"\x08\x40"), [Shape(4, 4, 3)], None, 0, 1)


@pytest.mark.parametrize("options", [{"n_components": 3}, {"variance": 0.9}, {"lossless": True}])
def test_options_that_blocks_do_not_have(options):
    with pytest.raises(tp.InvalidOption, match=next(iter(options))):
        tp.encode(photograph(20, 20, 3), mode="pca", **options)


def test_first_components_of_blocks():
    body = body_of([photograph(20, 20, 3)])
    with pytest.raises(tp.InvalidOption, match="n_components"):
        MODE.decode_frame(memoryview(body), [Shape(20, 20, 3)], small_dictionary(), 0, 1, 2)
