"""What bodies of blocks, components and bands have in common: the note of their PSNR."""

import math

import numpy as np
import pytest
import triptych as tp
from seeing import seen
from smallbook import photograph, small_dictionary
from triptych.fit.components import fit_components
from triptych.images import Shape
from triptych.modes.pca import MODE, build_note
from triptych.options import Options

DIGITS = [photograph(6, 5, 1, seed) for seed in range(30)]
CUBES = [np.concatenate([photograph(20, 17, 3, seed)] * 2, 2) for seed in range(2)]
SETS = {
    "blocks": ([photograph(40, 33, channels, channels) for channels in (1, 2, 3, 4)], small_dictionary()),
    "components": (DIGITS, fit_components(DIGITS, Options(quality=60))),
    "spectral": (CUBES, tp.fit("pca", CUBES, quality=60)),
}
SIZES = {"blocks": 900, "components": 150, "spectral": 400}
TARGETS = {
    "none": lambda kind: {},
    "psnr": lambda kind: {"target_psnr": 33.0},
    "size": lambda kind: {"target_size": SIZES[kind]},
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", SETS)
def test_the_psnr_is_that_of_what_is_decoded(kind, target):
    images, book = SETS[kind]
    assert book.kind == kind
    # A size is that of one picture of blocks, and else of a frame.
    images = images[2:3] if (kind, target) == ("blocks", "size") else images
    shapes = [Shape(*image.shape) for image in images]
    body = MODE.encode_frame(images, Options(mode="pca", **TARGETS[target](kind)), book)
    if target == "size":
        assert 0.8 * SIZES[kind] < len(body) <= SIZES[kind]
    said = {fact["psnr"] for fact in MODE.describe_frame(memoryview(body), shapes, book)}
    shown = MODE.decode_frame(memoryview(body), shapes, book, 0, len(images))
    error = sum(float(((seen(a) - seen(b)) ** 2).sum()) for a, b in zip(images, shown, strict=True))
    psnr = 10 * math.log10(255**2 * sum(image.size for image in images) / error)
    assert said == {math.floor(psnr * 256) / 256}


def test_exact_images_say_so():
    flat = [np.full((6, 5, 1), 77, np.uint8)] * 3
    with tp.Reader(tp.encode(flat[0], mode="pca", dictionary=fit_components(flat, Options()))) as reader:
        assert np.array_equal(reader[0], flat[0][:, :, 0])
        assert reader.info(0)["psnr"] is None


def test_a_psnr_need_not_be_said_and_changes_no_pixel():
    images, book = SETS["components"]
    shapes = [Shape(*image.shape) for image in images]
    body = MODE.encode_frame(images, Options(mode="pca"), book)
    unsaid = build_note(None) + body[2:]
    assert "psnr" not in MODE.describe_frame(memoryview(unsaid), shapes, book)[0]
    for a, b in zip(
        *(MODE.decode_frame(memoryview(each), shapes, book, 0, 30) for each in (body, unsaid)), strict=True
    ):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("kind", SETS)
def test_a_body_ends_in_its_note(kind):
    images, book = SETS[kind]
    shapes = [Shape(*image.shape) for image in images]
    with pytest.raises(tp.InvalidFrame, match="note"):
        MODE.decode_frame(memoryview(b"\xff"), shapes, book, 0, 1)
    with pytest.raises(tp.InvalidFrame, match="note"):
        MODE.describe_frame(memoryview(b"\xff"), shapes, book)
