# ruff: noqa: E402  (what may be missing is asked for first)
"""The ae and gan panel through the public face, with networks that are tiny."""

import contextlib
import io
import json
import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the panel runs in torch")
pytest.importorskip("safetensors", reason="networks are kept in safetensors files")

import minidecode
import triptych as tp
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from smallbook import photograph
from smallnet import SHAPE, edited, small_network
from triptych.cli import group
from triptych.errors import (
    DeviceExhausted,
    DictionaryMismatch,
    DictionaryMissing,
    ExtraMissing,
    InvalidFrame,
    InvalidOption,
    TargetUnreachable,
)
from triptych.fit.networkbook import build_tensors, load_network, parse_tensors
from triptych.images import Shape
from triptych.interop.pillow import register
from triptych.modes import neural, panel
from triptych.modes.latents import Grid, cut_sets, parse_body
from triptych.networks.device import choose_device
from triptych.options import Options

WHOLE, PATCHES = small_network("whole"), small_network("patches")
SIDES = [(1, 1), (1, 40), (40, 1), (16, 16), (17, 33), (33, 17)]


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def picture(height, width, channels, seed=0):
    pixels = photograph(height, width, channels, seed)
    return pixels[:, :, 0] if channels == 1 else pixels


def faces(n, seed=0):
    return [picture(*SHAPE, seed + i) for i in range(n)]


def encode(image, book=PATCHES, mode="ae", **options):
    return tp.encode(image, mode=mode, dictionary=book, threads=1, **options)


def write(images, book=PATCHES, **options):
    target = io.BytesIO()
    with tp.Writer(target, book, **({"mode": "ae", "threads": 1} | options)) as writer:
        for image in images:
            writer.write(image)
    return target.getvalue()


def is_near(got, image, most=30):
    assert got.shape == image.shape
    return np.abs(got.astype(int) - image).mean() < most


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["ae", "gan"])
def test_pictures_of_any_size_come_back(side, channels, mode):
    image = picture(*side, channels)
    stream = encode(image, mode=mode)
    assert is_near(tp.decode(stream), image)
    assert tp.verify(stream).images == 1


@pytest.mark.parametrize("mode", ["ae", "gan"])
def test_whole_images_come_back(mode):
    images = faces(7)
    got = list(tp.Reader(write(images, WHOLE, mode=mode)))
    assert len(got) == 7
    assert all(map(is_near, got, images))


def test_a_frame_of_images_of_all_sizes():
    """Each image is drawn as it would be alone, in its place."""
    sides = [(17, 33), (20, 40), (5, 5), (5, 5), (16, 33), (1, 1), (48, 16), (17, 33)]
    images = [picture(*side, 1 + 2 * (i % 2), i) for i, side in enumerate(sides)]
    stream = write(images, frame_images=len(images))
    reader = tp.Reader(stream)
    assert all(map(is_near, reader, images))
    assert len({info["offset"] for info, _ in reader.items()}) == 1
    for number, image in enumerate(images):
        assert np.abs(reader[number].astype(int) - tp.decode(encode(image))).max() <= 1


def test_many_small_images_share_a_frame_and_cost_less():
    images = [picture(16, 16, 3, i) for i in range(40)]
    stream, apart = write(images, embed=False), write(images, embed=False, frame_images=1)
    assert tp.verify(stream, dictionary=PATCHES).frames["IMAGES"] == 1
    assert len(stream) < 0.8 * len(apart)
    assert all(map(is_near, tp.Reader(stream, dictionary=PATCHES), images))


def test_the_same_bytes_and_pixels_for_any_threads():
    images = [picture(20, 36, 3, i) for i in range(9)]
    streams = [write(images, threads=threads, frame_images=2) for threads in (1, 2, 8)]
    assert streams[0] == streams[1] == streams[2]
    for threads in (1, 2, 8):
        got = list(tp.Reader(streams[0], threads=threads))
        assert all(map(np.array_equal, got, tp.Reader(streams[0])))


def test_the_same_bytes_twice():
    assert encode(picture(30, 30, 3)) == encode(picture(30, 30, 3))


@pytest.mark.parametrize("book", [WHOLE, PATCHES], ids=["whole", "patches"])
def test_latents_do_not_depend_on_the_batch(book):
    images = np.stack(faces(5))
    model, options = load_network(book).latents, Options(mode="ae")
    together = parse_body(
        memoryview(neural.AE.encode_frame(list(images), options, book)), [Grid(1, 1)] * 5, model
    )
    for i in range(5):
        body = neural.AE.encode_frame([images[i]], options, book)
        quality, (alone,) = parse_body(memoryview(body), [Grid(1, 1)], model)
        assert quality == together[0] == neural.DEFAULT_QUALITY
        # E is float arithmetic, whose sums may come in another order in a batch: hardly ever does it show.
        assert np.mean(alone[0] != together[1][0][i]) < 0.1


def test_sets_are_of_neighbours_with_equal_grids():
    model = load_network(PATCHES).latents
    grids = [Grid(*grid) for grid in ((2, 3), (2, 3), (3, 2), (2, 3), (1, 6), (1, 6), (1, 6))]
    assert [(part.start, part.stop) for part in cut_sets(grids, model)] == [(0, 2), (2, 3), (3, 4), (4, 7)]
    side = (1 << 12) // max(model.n_channels, len(model.net.scale_a))
    large = [Grid(side, 1 << 11)] * 5
    assert [part.stop - part.start for part in cut_sets(large, model)] == [2, 2, 1]
    assert [part.stop - part.start for part in cut_sets([Grid(side + 1, 1 << 12)] * 2, model)] == [1, 1]
    assert cut_sets([], model) == []


@pytest.mark.parametrize("error", [tp.errors.InvalidFrame, tp.InvalidImage])
def test_an_image_of_too_many_positions(error):
    book = load_network(PATCHES)
    assert neural.find_grid(book, Shape(1, 1 << 23, 3), error) == (1, 1 << 19)
    with pytest.raises(error, match="at most 524,288"):
        neural.find_grid(book, Shape(1, (1 << 23) + 1, 3), error)


@pytest.mark.parametrize("book", [WHOLE, PATCHES], ids=["whole", "patches"])
@pytest.mark.parametrize("quality", [0, 37, 100])
def test_minidecode_finds_the_same_latents(book, quality):
    sides = [SHAPE[:2]] * 3 if book is WHOLE else [(1, 1), (20, 40), (17, 33), (40, 20)]
    images = [photograph(*side, 3, i) for i, side in enumerate(sides)]
    body = neural.AE.encode_frame(images, Options(mode="ae", quality=quality), book)
    grids = [Grid(1, 1) if book is WHOLE else Grid(-(-h // 16), -(-w // 16)) for h, w in sides]
    _, sets = parse_body(memoryview(body), grids, load_network(book).latents)
    expected = [latents for part in sets for latents in part]
    got = minidecode.decode_latents(body, [image.shape for image in images], book.payload)
    assert all(map(np.array_equal, got, expected))
    assert len(got) == len(images)


# Dictionaries.


def test_a_dictionary_travels_or_is_named():
    image = picture(20, 20, 3)
    embedded, named = encode(image, embed=True), encode(image, embed=False)
    assert len(embedded) > len(named) + len(PATCHES.content)
    expected = tp.decode(embedded)
    assert np.array_equal(tp.decode(named, dictionary=PATCHES), expected)
    with pytest.raises(DictionaryMissing) as caught:
        tp.decode(named)
    assert PATCHES.id.startswith(caught.value.id)


def test_a_dictionary_file_has_its_encoder_and_a_stream_has_not(tmp_path):
    path = tmp_path / "net.tych"
    PATCHES.save(path)
    image = picture(20, 20, 3)
    assert tp.load_dictionary(path) == PATCHES
    assert encode(image, str(path)) == encode(image)
    assert PATCHES.encoder in path.read_bytes()
    assert PATCHES.encoder not in encode(image, embed=True)


@pytest.mark.parametrize("book", [WHOLE, PATCHES], ids=["whole", "patches"])
def test_without_its_encoder_a_dictionary_decodes_and_does_not_encode(book):
    bare, image = tp.Dictionary(book.payload), picture(*SHAPE)
    stream = encode(image, book, embed=False)
    assert np.array_equal(tp.decode(stream, dictionary=bare), tp.decode(stream, dictionary=book))
    with pytest.raises(DictionaryMismatch, match="without its encoder"):
        encode(image, bare)


@pytest.mark.parametrize("mode", ["ae", "gan"])
def test_a_dictionary_of_another_kind(mode):
    palette = tp.fit("kmeans", [picture(8, 8, 3)], n_colors=4)
    with pytest.raises(DictionaryMismatch, match="not one of kind palette"):
        encode(picture(8, 8, 3), palette, mode=mode)


@pytest.mark.parametrize("mode", ["kmeans", "pca"])
def test_another_mode_with_networks(mode):
    with pytest.raises(DictionaryMismatch):
        encode(picture(8, 8, 3), PATCHES, mode=mode)


def test_no_dictionary_in_the_frame():
    body = neural.AE.encode_frame([picture(8, 8, 3)], Options(mode="ae"), PATCHES)
    with pytest.raises(InvalidFrame, match="name a dictionary"):
        neural.AE.decode_frame(memoryview(body), [Shape(8, 8, 3)], None, 0, 1)


@pytest.mark.parametrize("shape", [(16, 15, 3), (8, 32, 3), (16, 16, 1)])
def test_networks_of_whole_images_take_one_shape(shape):
    with pytest.raises(DictionaryMismatch, match=r"shape .*expected \(16, 16, 3\), got"):
        encode(picture(*shape), WHOLE)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([1, 2, 3, 4]), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_alpha_is_exact_and_colors_are_what_they_are_without(channels, seed):
    random = np.random.default_rng(seed)
    images = [random.integers(0, 256, (*random.integers(1, 40, 2), c), np.uint8) for c in channels]
    plain = [image[:, :, : 3 if c > 2 else 1] for image, c in zip(images, channels, strict=True)]
    shapes = [Shape(*image.shape) for image in images]
    body, without = (neural.AE.encode_frame(some, Options(mode="ae"), PATCHES) for some in (images, plain))
    assert body.endswith(without)
    shown = neural.AE.decode_frame(memoryview(body), shapes, PATCHES, 0, len(images))
    colors = neural.AE.decode_frame(
        memoryview(without), [Shape(*image.shape) for image in plain], PATCHES, 0, len(images)
    )
    for image, got, color in zip(images, shown, colors, strict=True):
        assert got.shape == image.shape
        assert np.array_equal(got[:, :, : color.shape[2]], color)
        if got.shape[2] in (2, 4):
            assert np.array_equal(got[:, :, -1], image[:, :, -1])
    first = len(images) // 2
    part = neural.AE.decode_frame(memoryview(body), shapes, PATCHES, first, first + 1)
    assert np.array_equal(part[0], shown[first])


def test_what_alpha_takes_is_part_of_a_target():
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 4), np.uint8)
    with pytest.raises(TargetUnreachable):
        encode(image, target_size=300)
    assert len(encode(image, embed=False, target_size=1500)) <= 1500
    assert tp.Reader(encode(image)).info(0)["coder"] == "mixed"


def test_bands_are_not_for_networks():
    body = neural.AE.encode_frame([picture(9, 9, 3)], Options(mode="ae"), PATCHES)
    with pytest.raises(InvalidFrame, match=r"channels of an image.*expected 1 to 4"):
        neural.AE.decode_frame(memoryview(body), [Shape(9, 9, 5)], PATCHES, 0, 1)


def test_a_dictionary_says_the_mode():
    stream = encode(picture(9, 9, 3), mode="auto")
    assert tp.Reader(stream).info(0)["mode"] == "ae"


# Options.


@pytest.mark.parametrize("book", [WHOLE, PATCHES], ids=["whole", "patches"])
def test_a_finer_quality_takes_more_bytes(book):
    image = picture(*SHAPE) if book is WHOLE else picture(64, 80, 3)
    sizes = [len(encode(image, book, embed=False, quality=quality)) for quality in range(0, 101, 20)]
    assert sizes[0] < sizes[-1]
    assert all(a <= b * 1.05 + 4 for a, b in pairwise(sizes))
    assert tp.Reader(encode(image, book, quality=73)).info(0)["quality"] == 73


def test_a_target_size_is_met():
    image = picture(64, 80, 3)
    sizes = [len(encode(image, embed=False, quality=quality)) for quality in (0, 40, 100)]
    for size in (sizes[0], sizes[1], sizes[2], 10 * sizes[2]):
        stream = encode(image, embed=False, target_size=size)
        assert len(stream) <= size
        assert len(stream) > 0.8 * min(size, sizes[2])
    with pytest.raises(TargetUnreachable, match="networks fits into target_size: raise it"):
        encode(image, embed=False, target_size=sizes[0] - 8)


def test_a_target_psnr_is_met():
    image = picture(32, 48, 3)

    def psnr(stream):
        error = np.mean((tp.decode(stream, realism=0.0).astype(float) - image) ** 2)
        return 10 * np.log10(255**2 / error)

    coarse, fine = (psnr(encode(image, quality=quality)) for quality in (0, 100))
    wanted = coarse + 0.7 * (fine - coarse)
    for mode in ("ae", "gan"):
        assert psnr(encode(image, mode=mode, target_psnr=wanted)) >= wanted
    with pytest.raises(TargetUnreachable, match="reaches the target_psnr of 60 dB: lower it"):
        encode(image, target_psnr=60.0)


@pytest.mark.parametrize("mode", ["ae", "gan"])
def test_realism_mixes_two_generators(mode):
    image = picture(40, 40, 3)
    stream = encode(image, mode=mode)
    plain, half, full = (tp.decode(stream, realism=realism).astype(float) for realism in (0, 0.5, 1))
    assert np.abs(full - plain).max() > 1
    # Each is rounded and clipped; what is between is not cut off at all where they are not.
    inside = (np.minimum(plain, full) > 0) & (np.maximum(plain, full) < 255)
    assert np.abs(half - (plain + full) / 2)[inside].max() <= 1
    default = tp.decode(stream, realism=neural.REALISM)
    assert np.array_equal(tp.decode(stream), plain if mode == "ae" else default)


def test_both_modes_write_the_same_body():
    image = picture(40, 40, 3)
    streams = [encode(image, mode=mode, embed=False) for mode in ("ae", "gan")]
    assert len(streams[0]) == len(streams[1])
    bodies = [
        mode.encode_frame([image], Options(mode=mode.name), PATCHES) for mode in (neural.AE, neural.GAN)
    ]
    assert bodies[0] == bodies[1]


def test_realism_without_a_second_generator():
    book, image = small_network("patches", realism=False), picture(20, 20, 3)
    stream = encode(image, book)
    assert np.array_equal(tp.decode(stream, realism=0), tp.decode(stream))
    with pytest.raises(InvalidOption, match="no generator that was trained as a GAN"):
        tp.decode(stream, realism=0.5)


def test_gan_without_a_second_generator():
    book, image = small_network("patches", realism=False), picture(20, 20, 3)
    with pytest.raises(DictionaryMismatch, match="mode 'gan' needs a dictionary with a generator"):
        encode(image, book, mode="gan")
    shapes, body = [Shape(*image.shape)], neural.AE.encode_frame([image], Options(mode="ae"), book)
    with pytest.raises(DictionaryMismatch, match="realism 0"):
        neural.GAN.decode_frame(memoryview(body), shapes, book, 0, 1)
    (shown,) = neural.GAN.decode_frame(memoryview(body), shapes, book, 0, 1, realism=0.0)
    assert is_near(shown, image)


@pytest.mark.parametrize("options", [{"mode": "kmeans"}, {"mode": "pca", "dictionary": "blocks"}])
def test_realism_of_other_modes(options):
    from smallbook import small_dictionary

    if options.get("dictionary"):
        options = options | {"dictionary": small_dictionary(), "embed": True}
    stream = tp.encode(picture(9, 9, 3), **options)
    with pytest.raises(InvalidOption, match="realism"):
        tp.decode(stream, realism=0.0)


@pytest.mark.parametrize("realism", [-0.1, 1.1, "0.5", True, float("nan")])
def test_realism_that_is_none(realism):
    with pytest.raises(InvalidOption, match="realism must be"):
        tp.decode(encode(picture(9, 9, 3)), realism=realism)


def test_components_are_pcas():
    stream = encode(picture(9, 9, 3))
    with pytest.raises(InvalidOption, match="n_components"):
        tp.decode(stream, n_components=2)
    for option in ({"n_components": 2}, {"variance": 0.5}):
        with pytest.raises(InvalidOption, match="mode 'pca'"):
            encode(picture(9, 9, 3), **option)


def test_lossless_is_kmeans():
    with pytest.raises(InvalidOption, match="lossless belongs to mode 'kmeans'"):
        encode(picture(9, 9, 3), lossless=True)


@pytest.mark.parametrize("gain", [12.0, 90.0])
def test_latents_never_leave_their_range(gain):
    """An encoder that asks for what no decoder takes."""
    encoder = {name: values.copy() for name, values in parse_tensors(PATCHES.encoder)[0].items()}
    encoder["coding.log_gain"][:] = gain
    book = tp.Dictionary(PATCHES.payload, encoder=build_tensors(encoder, {}))
    image = picture(20, 20, 3)
    assert tp.decode(encode(image, book)).shape == image.shape


@pytest.mark.parametrize("book", [WHOLE, PATCHES], ids=["whole", "patches"])
def test_more_effort_costs_no_more(book):
    """Bits and squared error together, at the trade-off of the quality."""
    image = picture(*SHAPE) if book is WHOLE else picture(48, 64, 3)
    costs = []
    for effort in ("fast", "default", "max"):
        stream = encode(image, book, effort=effort, embed=False, quality=50)
        assert stream == encode(image, book, effort=effort, embed=False, quality=50)
        shown = tp.decode(stream, dictionary=book).astype(float)
        costs.append(8 * len(stream) + 40 * np.sum((shown - image) ** 2) / 255**2)
    assert costs[2] <= costs[0] + 16
    assert costs[1] <= costs[0] + 16


# Tiles, devices, installs.


@pytest.mark.parametrize("seed", [0, 1])
def test_tiles_change_nothing_that_shows(monkeypatch, seed):
    image = picture(16 * 25, 16 * 21 - 3, 3, seed)
    body = neural.AE.encode_frame([image], Options(mode="ae"), PATCHES)
    shapes = [Shape(*image.shape)]
    (whole,) = neural.GAN.decode_frame(memoryview(body), shapes, PATCHES, 0, 1)
    monkeypatch.setattr(panel, "TILE", 3)
    tiled = neural.AE.encode_frame([image], Options(mode="ae"), PATCHES)
    model, grids = load_network(PATCHES).latents, [Grid(25, 21)]
    latents = [parse_body(memoryview(data), grids, model)[1][0] for data in (body, tiled)]
    assert np.mean(latents[0] != latents[1]) < 0.01
    (parts,) = neural.GAN.decode_frame(memoryview(body), shapes, PATCHES, 0, 1)
    assert np.abs(whole.astype(int) - parts).max() <= 1


def test_images_are_taken_as_many_at_a_time_as_fit(monkeypatch):
    images = faces(5)
    stream = write(images, WHOLE)
    monkeypatch.setattr(panel, "CHUNK_PIXELS", 512)
    got = list(tp.Reader(stream))
    monkeypatch.undo()
    for one, two in zip(got, tp.Reader(stream), strict=True):
        assert np.abs(one.astype(int) - two).max() <= 1


def test_a_device_without_room(monkeypatch):
    image = picture(20, 20, 3)
    stream = encode(image)

    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    for name in ("_quantize", "_generate"):
        monkeypatch.setattr(panel.Panel, name, fail)
    for call in (lambda: encode(image), lambda: tp.decode(stream)):
        with pytest.raises(DeviceExhausted, match=r"no room for .* images of .* pixels"):
            call()


SCRIPT = """
import sys
sys.modules[{name!r}] = None
import numpy as np, triptych as tp
image = np.zeros((4, 4, 3), np.uint8)
assert (tp.decode(tp.encode(image)) == image).all()
book = tp.load_dictionary({path!r})
try:
    {call}
except tp.TriptychError as error:
    print(type(error).__name__, isinstance(error, ImportError), error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["torch", "safetensors"])
@pytest.mark.parametrize(
    "call",
    [
        "tp.encode(image, mode='ae', dictionary=book)",
        "tp.decode(open({stream!r}, 'rb').read())",
        "tp.fit('ae', [image])",
    ],
)
def test_what_is_not_installed_is_named(tmp_path, missing, call):
    path, stream = tmp_path / "net.tych", tmp_path / "image.tych"
    PATCHES.save(path)
    stream.write_bytes(encode(picture(4, 4, 3)))
    script = SCRIPT.format(name=missing, path=str(path), call=call.format(stream=str(stream)))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ExtraMissing True")
    assert "pip install 'triptych[neural]'" in done.stdout


def test_what_is_missing_is_an_import_error():
    assert issubclass(ExtraMissing, ImportError)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_and_a_cpu_agree(monkeypatch):
    image = picture(100, 130, 3)
    stream = encode(image)
    on_gpu = tp.decode(stream)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    on_cpu = tp.decode(stream)
    assert np.abs(on_gpu.astype(int) - on_cpu).max() <= 2
    assert np.abs(on_gpu.astype(int) - on_cpu).mean() < 0.1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_child_of_a_process_that_used_the_gpu_decodes():
    stream = encode(picture(40, 40, 3))
    here = tp.decode(stream)
    if (child := os.fork()) == 0:
        code = 1
        with contextlib.suppress(BaseException):
            code = int(np.abs(here.astype(int) - tp.decode(stream)).max() > 2)
        os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def test_a_gpu_that_a_fork_lost_is_not_chosen(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device().type == "cuda"
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    assert choose_device().type == "cpu"


# The stream, Pillow and the command line.


def test_damaged_networks_of_a_stream_are_an_error_of_ours():
    image = picture(20, 20, 3)
    rows = load_network(PATCHES).tensors["rows"]
    for change in ({"rows": rows[:4]}, {"generator.leave.bias": None}, {"context.a": None}):
        book = edited(PATCHES, **change)
        with pytest.raises(InvalidFrame):
            encode(image, book)


def test_streams_are_appended_and_concatenated():
    images = [picture(20, 30, 3, i) for i in range(4)]
    target = io.BytesIO(write(images[:1], embed=False))
    target.seek(0)
    with tp.Writer(target, PATCHES, append=True, mode="gan", embed=False) as writer:
        writer.write(images[1])
    both = target.getvalue() + write(images[2:], embed=True)
    reader = tp.Reader(both, dictionary=PATCHES)
    assert [reader.info(i)["mode"] for i in range(4)] == ["ae", "gan", "ae", "ae"]
    assert all(map(is_near, reader, images))
    assert tp.verify(both, dictionary=PATCHES).images == 4


def test_some_images_of_a_frame():
    images = [picture(20, 30 + i % 3, 3, i) for i in range(9)]
    stream = write(images, frame_images=9)
    every = list(tp.Reader(stream))
    for number in (8, 0, 4):
        assert np.abs(tp.Reader(stream)[number].astype(int) - every[number]).max() <= 1


def test_damage_costs_its_frame():
    images = [picture(20, 30, 3, i) for i in range(4)]
    stream = bytearray(write(images, frame_images=1))
    offset = tp.Reader(bytes(stream)).info(1)["offset"]
    stream[offset + 24] ^= 1
    reader = tp.Reader(bytes(stream), damage="skip")
    assert len(list(reader)) == 3
    assert reader.damage


def test_pillow_opens_and_saves(tmp_path):
    register()
    path, image = tmp_path / "x.tych", picture(17, 33, 3)
    Image.fromarray(image).save(path, mode="ae", dictionary=PATCHES)
    assert path.read_bytes() == encode(image)
    with Image.open(path) as opened:
        assert (opened.size, opened.mode, opened.format) == ((33, 17), "RGB", "TRIPTYCH")
        assert np.array_equal(np.asarray(opened), tp.decode(path.read_bytes()))


def run(*arguments, code=0):
    result = CliRunner().invoke(group, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def test_the_command_line(tmp_path):
    image, net = picture(40, 33, 3), tmp_path / "net.tych"
    PATCHES.save(net)
    Image.fromarray(image).save(tmp_path / "in.png")
    stream = tmp_path / "x.tych"
    run("encode", tmp_path / "in.png", "-o", stream, "--mode", "ae", "-D", net, "-q", 80)
    run("decode", stream, "-D", net, "-o", tmp_path / "plain.png")
    run("decode", stream, "-D", net, "-o", tmp_path / "real.png", "--realism", 1)
    plain, real = (np.asarray(Image.open(tmp_path / name)) for name in ("plain.png", "real.png"))
    assert is_near(plain, image)
    assert not np.array_equal(plain, real)
    facts = json.loads(run("info", stream, "-D", net, "--json"))
    assert "ae" in json.dumps(facts)
    assert "mixed" in run("info", stream, "-D", net)
    run("verify", stream, "-D", net)
    both = tmp_path / "both.tych"
    run("cat", stream, stream, "-o", both)
    with tp.Reader(both, dictionary=[net]) as reader:
        assert len(list(reader)) == 2
    run("info", net)
