"""Indexed pictures on the command line: masks, sprites and tiles keep their indices and palettes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import triptych as tp
from PIL import Image

INDICES = np.array([[3, 1, 1, 6], [0, 3, 6, 6], [2, 2, 0, 5]], np.uint8)
PALETTE = np.array(
    [[9, 9, 9], [200, 0, 0], [1, 2, 3], [0, 0, 0], [7, 7, 7], [9, 9, 9], [0, 0, 255], [5, 6, 7]], np.uint8
)
TRANSPARENCIES = {"none": None, "an entry": 6, "alphas": bytes([255, 0, 128, 0, 255, 3])}


def save(path, transparency=None, indices=INDICES, **options):
    image = Image.fromarray(indices)
    image.putpalette(PALETTE.tobytes())
    if transparency is not None:
        options["transparency"] = transparency
    image.save(path, **options)


def look(path):
    """The indices, the used part of the palette, and what is transparent, of a file that has a palette."""
    with Image.open(path) as image:
        image.load()
        assert image.mode == "P"
        palette = np.array(image.getpalette()).reshape(-1, 3)
        return np.asarray(image).tolist(), palette[: len(PALETTE)].tolist(), image.info.get("transparency")


@pytest.mark.parametrize("transparency", TRANSPARENCIES.values(), ids=TRANSPARENCIES)
def test_png(tmp_path, run, transparency):
    save(tmp_path / "mask.png", transparency)
    run("encode", tmp_path / "mask.png", "-o", tmp_path / "x.tych")
    said = run("decode", tmp_path / "x.tych", "-o", tmp_path / "back.png").stderr
    assert said == ""
    before, back = look(tmp_path / "mask.png"), look(tmp_path / "back.png")
    assert back[:2] == before[:2] == (INDICES.tolist(), PALETTE.tolist())
    alphas = lambda found: found.ljust(8, b"\xff") if isinstance(found, bytes) else found  # noqa: E731
    assert alphas(back[2]) == alphas(before[2]) == alphas(transparency)
    # With fewer entries than there are bits for: no more come back.
    with Image.open(tmp_path / "back.png") as image:
        assert len(image.getpalette()) == len(PALETTE) * 3


@pytest.mark.parametrize(
    ("suffix", "transparency"), [("gif", None), ("gif", 6), ("bmp", None), ("tiff", None)]
)
def test_other_formats_in_and_out(tmp_path, run, suffix, transparency):
    save(tmp_path / f"mask.{suffix}", transparency)
    if suffix == "gif":  # Pillow leaves out the entries that no pixel has, unless it is told
        save(tmp_path / "mask.gif", transparency, optimize=False)
    run("encode", tmp_path / f"mask.{suffix}", "-o", tmp_path / "x.tych")
    for name in ("back.png", f"back.{suffix}"):
        run("decode", tmp_path / "x.tych", "-o", tmp_path / name)
        assert look(tmp_path / name) == look(tmp_path / f"mask.{suffix}")
    assert look(tmp_path / "back.png")[:2] == (INDICES.tolist(), PALETTE.tolist())


@pytest.mark.parametrize(
    ("suffix", "transparency", "mode"),
    [
        ("webp", None, "RGB"),
        ("gif", b"\xff\x80", "P"),
        ("bmp", 6, "RGB"),
        ("tiff", 6, "RGBA"),
        ("npy", None, ""),
    ],
)
def test_what_a_format_does_not_hold_is_told(tmp_path, run, suffix, transparency, mode):
    save(tmp_path / "mask.png", transparency)
    run("encode", tmp_path / "mask.png", "-o", tmp_path / "x.tych")
    said = run("decode", tmp_path / "x.tych", "-o", tmp_path / f"back.{suffix}").stderr
    if suffix == "npy":
        assert "written without its palette, which .npy files do not take" in said
        assert np.array_equal(np.load(tmp_path / "back.npy"), PALETTE[INDICES])
        return
    assert f"the order of its palette is left out, which {suffix.upper()} does not hold" in said
    with Image.open(tmp_path / f"back.{suffix}") as image, Image.open(tmp_path / "mask.png") as mask:
        assert image.mode == mode
        if suffix != "gif":
            assert np.array_equal(image.convert(mode), mask.convert(mode))


@pytest.mark.parametrize("verb", ["encode", "decode"])
def test_without_metadata_there_are_colors_alone(tmp_path, run, verb):
    save(tmp_path / "mask.png")
    run("encode", tmp_path / "mask.png", "-o", tmp_path / "x.tych", *["--no-metadata"] * (verb == "encode"))
    run("decode", tmp_path / "x.tych", "-o", tmp_path / "y.png", *["--no-metadata"] * (verb == "decode"))
    with Image.open(tmp_path / "y.png") as image:
        assert np.array_equal(image, PALETTE[INDICES])


def test_indices_are_turned_with_the_picture(tmp_path, run):
    exif = Image.Exif()
    exif[274] = 6
    save(tmp_path / "mask.png", exif=exif)
    run("encode", tmp_path / "mask.png", "-o", tmp_path / "x.tych")
    run("decode", tmp_path / "x.tych", "-o", tmp_path / "x.bmp")  # which does not say how it is to be turned
    assert look(tmp_path / "x.bmp")[0] == np.rot90(INDICES, -1).tolist()
    (tmp_path / "large").mkdir()
    exif[270] = "x" * (1 << 20)  # too large to be kept, so the pixels are turned
    save(tmp_path / "large" / "mask.png", exif=exif)
    run("encode", tmp_path / "large" / "mask.png", "-o", tmp_path / "y.tych")
    with tp.Reader(tmp_path / "y.tych") as reader:
        assert np.array_equal(reader.read_indexed(0).indices, np.rot90(INDICES, -1))


def test_pages(tmp_path, run):
    pages = [Image.fromarray(np.roll(INDICES, n, axis=1)) for n in range(3)]
    for page in pages:
        page.putpalette(PALETTE.tobytes())
    pages[0].save(tmp_path / "pages.tiff", save_all=True, append_images=pages[1:])
    run("encode", tmp_path / "pages.tiff", "--all-frames", "-o", tmp_path / "x.tych")
    run("decode", tmp_path / "x.tych", "-o", tmp_path / "back.tiff")
    with Image.open(tmp_path / "back.tiff") as image:
        for number in range(3):
            image.seek(number)
            assert image.mode == "P"
            assert np.array_equal(image, np.roll(INDICES, number, axis=1))


def test_folders_and_parts_of_streams(tmp_path, run):
    (tmp_path / "in").mkdir()
    for number in range(6):
        save(tmp_path / "in" / f"{number}.png", indices=np.roll(INDICES, number))
    Image.new("RGB", (4, 3), "teal").save(tmp_path / "in" / "plain.png")
    run("encode", tmp_path / "in", "-o", tmp_path / "x.tych")
    run("extract", tmp_path / "x.tych", "--only", "2", "--only", "plain", "-o", tmp_path / "y.tych")
    run("decode", tmp_path / "y.tych", "-o", tmp_path / "out")
    assert look(tmp_path / "out" / "2.png")[0] == np.roll(INDICES, 2).tolist()
    with Image.open(tmp_path / "out" / "plain.png") as image:
        assert image.mode == "RGB"
    assert run("info", tmp_path / "y.tych").stdout.count("RGB/P") == 1
    facts = json.loads(run("info", "--json", tmp_path / "y.tych").stdout)["images"]
    assert ["palette_order_bytes" in image for image in facts] == [True, False]


def test_with_loss_there_are_colors_alone(tmp_path, run):
    save(tmp_path / "mask.png")
    run("encode", tmp_path / "mask.png", "-k3", "-o", tmp_path / "x.tych")
    run("decode", tmp_path / "x.tych", "-o", tmp_path / "y.png")
    with Image.open(tmp_path / "y.png") as image:
        assert image.mode == "RGB"
