"""What pictures say beside their pixels comes back, or a line says what did not; none is shown askew."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import sources
import triptych as tp
from PIL import Image, ImageOps, PngImagePlugin

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)
XMP = b'<x xmlns:tiff="t"><rdf tiff:Orientation="%d"/></x>'


def exif_of(orientation, size=0):
    exif = Image.Exif()
    exif[274] = orientation
    if size:
        exif[270] = "x" * size
    return exif.tobytes()


def seen(path):
    """Give a picture as viewers show it."""
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("L"))


def info_of(path):
    return tp.Reader(path.read_bytes()).info(0)


def with_text(path, *chunks):
    path.write_bytes(sources.png(GREY[:, :, None], *chunks, bits=8))


def test_text_comes_back(tmp_path, run):
    many = "\N{SNOWMAN}" * 2000
    international = b"Title\0\0\0en\0Titel\0" + "Ä".encode()
    packed = b"Long\0\1\0\0\0" + zlib.compress(many.encode())
    with_text(
        tmp_path / "a.png",
        sources.png_chunk(b"tEXt", "Author\0J\xf6rg".encode("latin-1")),
        sources.png_chunk(b"tEXt", b"Comment\0one"),
        sources.png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"two")),
        sources.png_chunk(b"iTXt", international),
        sources.png_chunk(b"iTXt", packed),
        sources.png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"<x/>"),
    )
    assert run("encode", tmp_path / "a.png", "-o", tmp_path / "a.tych").stderr == ""
    info = info_of(tmp_path / "a.tych")
    expected = {"Author": "Jörg", "Comment": ["one", "two"], "Title": "Ä", "Long": many}
    assert info["text"] == expected
    assert info["xmp"] == b"<x/>"
    assert run("decode", tmp_path / "a.tych", "-o", tmp_path / "b.png").stderr == ""
    run("encode", tmp_path / "b.png", "-o", tmp_path / "b.tych")
    assert info_of(tmp_path / "b.tych")["text"] == expected


def test_text_behind_the_pixels(tmp_path, run):
    data = sources.png(GREY[:, :, None], bits=8)
    end = sources.png_chunk(b"IEND", b"")
    text = sources.png_chunk(b"tEXt", b"Software\0late")
    (tmp_path / "a.png").write_bytes(data.removesuffix(end) + text + end)
    run("encode", tmp_path / "a.png", "-o", tmp_path / "a.tych")
    assert info_of(tmp_path / "a.tych")["text"] == {"Software": "late"}


@pytest.mark.parametrize("name", ["jpg", "gif", "jp2"])
def test_comments_are_text_without_a_keyword(tmp_path, run, name):
    image = Image.fromarray(GREY)
    image.save(tmp_path / f"a.{name}", comment="höi".encode())
    run("encode", tmp_path / f"a.{name}", "-o", tmp_path / "a.tych")
    assert info_of(tmp_path / "a.tych")["text"] == {"Comment": "höi"}
    for other in ("png", "jpg", "gif", "jp2"):
        said = run("decode", tmp_path / "a.tych", "-o", tmp_path / f"b.{other}").stderr
        has_palette = name == "gif" and other in ("jpg", "jp2")  # files of GIF do
        assert said.count("\n") == said.count("the order of its palette is left out") == has_palette
        with Image.open(tmp_path / f"b.{other}") as back:
            assert back.info.get("comment", back.info.get("Comment")) in ("höi", "höi".encode())
    done = run("decode", tmp_path / "a.tych", "-o", tmp_path / "b.webp")
    assert "b.webp: written without text, which .webp files do not take" in done.stderr


def test_colorimetry_comes_back(tmp_path, run):
    points = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
    with_text(
        tmp_path / "a.png",
        sources.png_chunk(b"gAMA", struct.pack(">I", 45455)),
        sources.png_chunk(b"cHRM", struct.pack(">8I", *(round(p * 100_000) for p in points))),
        sources.png_chunk(b"sRGB", b"\1"),
    )
    run("encode", tmp_path / "a.png", "-o", tmp_path / "a.tych")
    assert info_of(tmp_path / "a.tych")["colorimetry"] == {
        "gamma": 0.45455,
        "chromaticity": list(points),
        "srgb": 1,
    }
    run("decode", tmp_path / "a.tych", "-o", tmp_path / "b.png")
    with Image.open(tmp_path / "a.png") as before, Image.open(tmp_path / "b.png") as after:
        assert before.info == after.info
    done = run("decode", tmp_path / "a.tych", "-o", tmp_path / "b.jpg")
    assert "without gamma and primaries" in done.stderr


@pytest.mark.parametrize("suffix", ["tif", "jpg", "png", "webp"])
def test_what_a_tiff_says_of_the_picture_is_exif(tmp_path, run, suffix):
    Image.fromarray(GREY).save(tmp_path / "a.tif", description="a field", artist="A. B.")
    run("encode", tmp_path / "a.tif", "-o", tmp_path / "a.tych")
    run("decode", tmp_path / "a.tych", "-o", tmp_path / f"b.{suffix}")
    with Image.open(tmp_path / f"b.{suffix}") as back:
        exif = back.getexif()
        assert (exif[270], exif[315]) == ("a field", "A. B.")


def test_no_metadata_leaves_all_out(tmp_path, run):
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "A")
    Image.fromarray(GREY).save(tmp_path / "a.png", pnginfo=text, dpi=(9, 9), exif=exif_of(1))
    run("encode", tmp_path / "a.png", "-o", tmp_path / "a.tych", "--no-metadata")
    assert not {"text", "dpi", "exif"} & info_of(tmp_path / "a.tych").keys()
    run("encode", tmp_path / "a.png", "-fo", tmp_path / "a.tych")
    assert run("decode", tmp_path / "a.tych", "-o", tmp_path / "b.png", "--no-metadata").stderr == ""
    with Image.open(tmp_path / "b.png") as back:
        assert back.info == {}


SAID = {"exif": lambda o: {"exif": exif_of(o)}, "xmp": lambda o: {"xmp": XMP % o}}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("by", SAID)
def test_no_picture_is_turned_or_left_unturned(tmp_path, run, orientation, by):
    source = tmp_path / "a.webp"
    Image.fromarray(GREY).save(source, lossless=True, **SAID[by](orientation))
    expected = seen(source)
    assert expected.shape == (GREY.shape if orientation < 5 else GREY.shape[::-1])
    for options in ((), ("--no-metadata",)):
        run("encode", source, "-fo", tmp_path / "a.tych", *options)
        for bare in ((), ("--no-metadata",)):
            for suffix in ("png", "jpg", "webp", "tif", "avif", "bmp", "gif", "pgm", "jp2", "tga", "pcx"):
                target = tmp_path / f"b.{suffix}"
                run("decode", tmp_path / "a.tych", "-fo", target, *bare)
                shown = seen(target)
                assert shown.shape == expected.shape, suffix
                assert np.abs(shown.astype(int) - expected).max() <= 12, suffix
        run("decode", tmp_path / "a.tych", "-fo", tmp_path / "b.npy")
        assert np.array_equal(np.load(tmp_path / "b.npy")[..., 0], expected)


def test_a_raw_profile_in_text_turns_pictures_too(tmp_path, run):
    exif = exif_of(6)
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", f"\nexif\n{len(exif):8}\n{exif.hex()}\n")
    Image.fromarray(GREY).save(tmp_path / "a.png", pnginfo=text)
    run("encode", tmp_path / "a.png", "-o", tmp_path / "a.tych")
    for suffix in ("png", "jpg", "bmp"):
        run("decode", tmp_path / "a.tych", "-o", tmp_path / f"b.{suffix}")
        assert seen(tmp_path / f"b.{suffix}").shape == GREY.shape[::-1]


@pytest.mark.parametrize("name", ["exif", "icc_profile", "xmp", "text"])
def test_what_is_too_large_costs_itself_alone(tmp_path, run, name):
    large = {
        "exif": {"exif": exif_of(6, 2 << 20)},
        "icc_profile": {"icc_profile": bytes(2 << 20), "exif": exif_of(6)},
        "xmp": {"xmp": XMP % 6 + b" " * (2 << 20), "exif": exif_of(6)},
        "text": {"pnginfo": PngImagePlugin.PngInfo(), "exif": exif_of(6)},
    }[name]
    if name == "text":
        large["pnginfo"].add_text("workflow", "x" * (2 << 20), zip=True)
        large["pnginfo"].add_text("Author", "A")
    path = tmp_path / ("a.webp" if name == "xmp" else "a.png")
    Image.fromarray(GREY).save(path, lossless=True, **large)
    done = run("encode", path, "-o", tmp_path / "a.tych")
    assert "is left out: it does not fit into the 1,048,576 bytes" in done.stderr
    assert done.stderr.count("\n") == 1
    info = info_of(tmp_path / "a.tych")
    assert info.get(name) == ({"Author": "A"} if name == "text" else None)
    run("decode", tmp_path / "a.tych", "-o", tmp_path / "b.png")
    assert np.array_equal(seen(tmp_path / "b.png"), np.rot90(GREY, -1))


def test_exif_that_a_format_cannot_take_turns_the_pixels(tmp_path, run):
    """JPEG has 64 KiB for it."""
    buffer = io.BytesIO()
    Image.fromarray(GREY).save(buffer, "PNG", exif=exif_of(6, 100_000))
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    run("encode", tmp_path / "a.png", "-o", tmp_path / "a.tych")
    done = run("decode", tmp_path / "a.tych", "-o", tmp_path / "b.jpg")
    assert "without EXIF" in done.stderr
    assert seen(tmp_path / "b.jpg").shape == GREY.shape[::-1]


@pytest.mark.parametrize(
    "said",
    [
        *(
            {"text": "no"},
            {"text": {"a": 1}},
            {"text": {1: "a"}},
            {"text": {"a": []}},
            {"text": {"a": ["b", 3]}},
        ),
        *({"colorimetry": 1}, {"colorimetry": {"gamma": 0}}, {"colorimetry": {"gamma": float("nan")}}),
        *({"colorimetry": {"chromaticity": (1, 2)}}, {"colorimetry": {"srgb": 4}}, {"colorimetry": {"x": 1}}),
    ],
)
def test_what_the_library_refuses_as_side_data(said):
    with pytest.raises(tp.InvalidOption, match=next(iter(said))):
        tp.encode(GREY, **said)
