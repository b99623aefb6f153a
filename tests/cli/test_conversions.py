"""Pictures of every depth and mode on the command line: what is changed is said, and never called exact."""

from __future__ import annotations

import io

import numpy as np
import pytest
import sources
import triptych as tp
from PIL import Image, ImageCms

PLAIN = ("1", "L", "LA", "RGB", "RGBA", "P")


def deep(channels, top=65535):
    """Give samples over the whole range."""
    return np.linspace(0, top, 8 * 16 * channels).astype(np.uint16).reshape(8, 16, channels)


def jpeg2000(channels):
    """Give a JPEG 2000 file that says 12 bits a channel: the depth is in its header only."""
    buffer = io.BytesIO()
    Image.fromarray((deep(channels) >> 8).astype(np.uint8).squeeze()).save(buffer, "JPEG2000", no_jp2=True)
    data = bytearray(buffer.getvalue())
    start = data.index(b"\xff\x4f\xff\x51") + 42
    for component in range(channels):
        data[start + 3 * component] = 11
    return bytes(data)


DEEP = {
    "grey.png": sources.png(deep(1)),
    "grey_alpha.png": sources.png(deep(2)),
    "rgb.png": sources.png(deep(3)),
    "rgba.png": sources.png(deep(4)),
    "grey.tif": sources.tiff(deep(1)),
    "rgb.tif": sources.tiff(deep(3)),
    "rgb_big_endian.tif": sources.tiff(deep(3), ">"),
    "rgba.tif": sources.tiff(deep(4), extra=(2,)),
    "rgb_premultiplied.tif": sources.tiff(deep(4), extra=(1,)),
    "rgb_and_more.tif": sources.tiff(deep(4), extra=(0,)),
    "grey.pgm": sources.pnm(deep(1)),
    "rgb.ppm": sources.pnm(deep(3)),
    "rgb12.ppm": sources.pnm(deep(3, 4095), 4095),
    "rgb.jp2": jpeg2000(3),
}


@pytest.mark.parametrize("name", DEEP)
def test_more_than_8_bits_are_refused_or_named(tmp_path, run, name):
    path = tmp_path / name
    path.write_bytes(DEEP[name])
    bits = "12" if name in ("rgb12.ppm", "rgb.jp2") else "16"
    done = run("encode", path, "-o", tmp_path / "x.tych", "--lossless", code=1)
    assert f"{name}: --lossless: {bits}" in done.stderr.replace("channels beyond colour and alpha", bits)
    assert not (tmp_path / "x.tych").exists()
    done = run("encode", path, "-o", tmp_path / "x.tych", "-q", 100)
    assert f"{bits}" in done.stderr
    assert done.stderr.count("\n") == 1 + ("more" in name)


@pytest.mark.parametrize("name", ["grey.png", "grey.tif", "grey.pgm"])
def test_deep_grey_is_scaled_by_its_range(tmp_path, run, name):
    (tmp_path / name).write_bytes(DEEP[name])
    run("encode", tmp_path / name, "-o", tmp_path / "x.tych", "--mode", "kmeans")
    np.testing.assert_array_equal(tp.decode(tmp_path / "x.tych"), (deep(1)[..., 0] / 257).round())


@pytest.mark.parametrize("image", [sources.png(deep(3)), sources.tiff(deep(3))])
def test_the_library_tells_of_depth_too(image):
    with Image.open(io.BytesIO(image)) as opened, pytest.raises(tp.InvalidImage, match="16 bits a channel"):
        tp.encode(opened, lossless=True)
    with Image.open(io.BytesIO(image)) as opened, pytest.warns(RuntimeWarning, match="16 bits a channel"):
        tp.encode(opened)
    with Image.open(io.BytesIO(image)) as opened:
        opened.load()  # whoever loads it has taken 8 bits
        pixels = np.asarray(opened)
        assert np.array_equal(tp.decode(tp.encode(opened, lossless=True)), pixels)


def test_values_without_a_range_are_scaled_by_their_own(tmp_path, run):
    for name, values in {"i": np.int32([[-1000, 0, 9000]]), "f": np.float32([[-0.5, 0, 4.5]])}.items():
        Image.fromarray(values).save(tmp_path / f"{name}.tif")
        done = run("encode", tmp_path / f"{name}.tif", "-o", tmp_path / "x.tych", "-f", "--mode", "kmeans")
        assert "scaled from its own range" in done.stderr
        assert tp.decode(tmp_path / "x.tych").tolist() == [[0, 26, 255]]
    odd = np.float32([[np.nan, -np.inf, np.inf], [0, 1, 2]])
    Image.fromarray(odd).save(tmp_path / "odd.tif")
    run("encode", tmp_path / "odd.tif", "-o", tmp_path / "x.tych", "-f", "--mode", "kmeans")
    assert tp.decode(tmp_path / "x.tych").tolist() == [[0, 0, 255], [0, 128, 255]]


def test_labels_that_fit_8_bits_stay_as_they_are(tmp_path, run):
    labels = np.arange(64, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(labels).save(tmp_path / "labels.png")
    done = run("encode", tmp_path / "labels.png", "-o", tmp_path / "x.tych", "--mode", "kmeans")
    assert "stay as they are" in done.stderr
    assert np.array_equal(tp.decode(tmp_path / "x.tych"), labels)


def test_one_colour_of_deep_grey_is_transparent(tmp_path, run):
    key = sources.png_chunk(b"tRNS", deep(1)[2, 3].astype(">u2").tobytes())
    (tmp_path / "key.png").write_bytes(sources.png(deep(1), key))
    run("encode", tmp_path / "key.png", "-o", tmp_path / "x.tych", "--mode", "kmeans")
    alpha = tp.decode(tmp_path / "x.tych")[..., 1]
    assert alpha[2, 3] == 0
    assert (alpha == 255).sum() == alpha.size - 1


MODES = ["1", "CMYK", "F", "HSV", "I", "I;16", "I;16B", "L", "LA", "LAB", "P", "RGB", "RGBA", "YCbCr"]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_a_file(tmp_path, run, mode):
    image = Image.new(mode, (4, 3), 1 if mode in ("F", "I", "I;16", "I;16B", "1") else 0)
    path = tmp_path / "x.tif"
    try:
        image.save(path)
    except OSError:  # HSV is in no file, and convert is asked below
        from triptych.interop.conversion import convert, look_at_file

        plain, changes = convert(image, look_at_file(image))
        assert plain.mode == "RGB"
        assert changes
        return
    done = run("encode", path, "-o", tmp_path / "x.tych")
    if mode in PLAIN:
        assert done.stderr == ""
        run("encode", path, "-o", tmp_path / "y.tych", "--lossless")
    else:
        assert done.stderr.startswith(f"triptych: {path}: ")
        done = run("encode", path, "-o", tmp_path / "y.tych", "--lossless", code=1)
        assert "--lossless: " in done.stderr
    assert tp.decode(tmp_path / "x.tych").shape[:2] == (3, 4)


def test_inks_go_through_their_profile(tmp_path, run):
    inks = Image.linear_gradient("L").resize((8, 8)).convert("RGB").convert("CMYK")
    inks.save(tmp_path / "a.jpg", quality=100)
    done = run("encode", tmp_path / "a.jpg", "-o", tmp_path / "a.tych", "--mode", "kmeans")
    assert "CMYK is converted to RGB, without a profile" in done.stderr
    with Image.open(tmp_path / "a.jpg") as opened:
        assert np.array_equal(tp.decode(tmp_path / "a.tych"), np.asarray(opened.convert("RGB")))
    inks.save(tmp_path / "c.jpg", icc_profile=sources.ink_profile())
    done = run("encode", tmp_path / "c.jpg", "-o", tmp_path / "c.tych", "--mode", "kmeans")
    assert "CMYK is converted to RGB, by its ICC profile" in done.stderr
    by_profile = tp.decode(tmp_path / "c.tych").astype(int)
    assert np.abs(by_profile - by_profile[..., :1]).max() <= 1  # grey, as all inks of it
    assert np.abs(by_profile - tp.decode(tmp_path / "a.tych")).max() > 5
    assert "icc_profile" not in tp.Reader((tmp_path / "c.tych").read_bytes()).info(0)
    wrong = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    inks.save(tmp_path / "b.jpg", icc_profile=wrong)
    done = run("encode", tmp_path / "b.jpg", "-o", tmp_path / "b.tych")
    assert "cannot be used" in done.stderr
    assert "icc_profile" not in tp.Reader((tmp_path / "b.tych").read_bytes()).info(0)


def test_many_of_a_kind_are_one_line(tmp_path, run):
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(sources.png(deep(3)))
    (tmp_path / "ok.png").write_bytes(sources.png(deep(3) >> 8, bits=8))
    done = run("encode", tmp_path, "-o", tmp_path / "x.tych")
    assert done.stderr.splitlines() == [
        f"triptych: {tmp_path / '0.png'} and 4 more: 16 bits a channel are reduced to 8"
    ]


def test_arrays_of_other_types_are_refused_in_words_of_numpy(tmp_path, run):
    np.save(tmp_path / "x.npy", np.zeros((4, 4), np.uint16))
    done = run("encode", tmp_path / "x.npy", "-o", tmp_path / "x.tych", code=1)
    assert "holds uint16" in done.stderr
    assert "image." not in done.stderr
