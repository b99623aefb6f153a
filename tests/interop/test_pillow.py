"""Triptych as a format of Pillow: the topics of Pillow's own plugin tests."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
import warnings
from fractions import Fraction

import numpy as np
import pytest
import triptych as tp
import triptych.pillow
import vectors
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile, ImageSequence, PngImagePlugin, UnidentifiedImageError
from strategies import images
from triptych.interop.pillow import FORMAT

triptych.pillow.register()


def picture(mode, size=(12, 9), seed=0):
    random = np.random.default_rng(seed)
    channels = {"1": 1, "L": 1, "LA": 2, "P": 1, "RGB": 3, "RGBA": 4}[mode]
    pixels = random.integers(0, 8, (size[1], size[0], channels), np.uint8) * 32
    if mode == "P":
        image = Image.fromarray(pixels[..., 0] >> 5, "P")
        image.putpalette(random.integers(0, 256, 24, np.uint8).tobytes())
        return image
    return Image.fromarray(pixels.squeeze()).convert(mode)


def saved(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, FORMAT, **options)
    buffer.seek(0)
    return buffer


def test_registration_is_idempotent():
    before = list(Image.ID)
    triptych.pillow.register()
    triptych.pillow.register()
    assert before == Image.ID
    assert Image.registered_extensions()[".tych"] == FORMAT
    assert Image.MIME[FORMAT] == "image/x-triptych"


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_round_trip(mode):
    image = picture(mode)
    with Image.open(saved(image)) as opened:
        assert (opened.format, opened.mode, opened.size) == (FORMAT, mode, image.size)
        assert opened.get_format_mimetype() == "image/x-triptych"
        assert (opened.n_frames, opened.is_animated) == (1, False)
        assert opened.tobytes() == image.tobytes()


@settings(max_examples=20)
@given(images(max_side=5))
def test_any_small_image(pixels):
    with Image.open(saved(Image.fromarray(pixels))) as opened:
        np.testing.assert_array_equal(np.asarray(opened), pixels)


def test_bilevel_images_open_as_grey():
    image = picture("1")
    with Image.open(saved(image)) as opened:
        assert opened.mode == "L"
        assert opened.tobytes() == image.convert("L").tobytes()


def test_a_full_palette_is_exact():
    image = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16), "P")
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
    with Image.open(saved(image)) as opened:
        assert opened.tobytes() == image.tobytes()
        assert opened.convert("RGB").tobytes() == image.convert("RGB").tobytes()


def test_modes_that_are_not_written(tmp_path):
    with pytest.raises(OSError, match="cannot write mode CMYK"):
        Image.new("CMYK", (3, 3)).save(tmp_path / "x.tych")
    assert not any(tmp_path.iterdir())


def test_paths(tmp_path):
    image = picture("RGB")
    image.save(tmp_path / "x.tych")
    np.testing.assert_array_equal(tp.decode(tmp_path / "x.tych"), np.asarray(image))
    with Image.open(tmp_path / "x.tych") as opened:
        assert opened.getpixel((3, 4)) == image.getpixel((3, 4))


def test_opening_decodes_nothing():
    """Neither pixels nor kernels: size, mode and number of frames come from headers."""
    data = saved(picture("RGBA")).getvalue()
    code = (
        "import io, sys, triptych.pillow; from PIL import Image; triptych.pillow.register()\n"
        f"image = Image.open(io.BytesIO({data!r}))\n"
        "assert image.size == (12, 9) and image.mode == 'RGBA' and image.n_frames == 1\n"
        "assert 'numba' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_the_bomb_check_comes_before_the_pixels(monkeypatch):
    data = saved(Image.new("L", (40, 40)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(data)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(data)
    several = saved(Image.new("L", (2, 2)), save_all=True, append_images=[Image.new("L", (40, 40))])
    with Image.open(several) as opened, pytest.raises(Image.DecompressionBombError):
        opened.seek(1)


def test_large_images_obey_pillow_alone(monkeypatch):
    data = saved(Image.new("L", (4000, 3000)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with Image.open(data) as opened:
        assert opened.size == (4000, 3000)


@pytest.fixture
def frames():
    return [picture("RGB"), picture("L", (5, 6), 1), picture("RGBA", (7, 3), 2)]


def test_frames(frames):
    data = saved(frames[0], save_all=True, append_images=frames[1:])
    with Image.open(data) as opened:
        assert (opened.n_frames, opened.is_animated) == (3, True)
        for number in (0, 1, 2, 1, 0, 2):
            opened.seek(number)
            assert opened.tell() == number
            assert (opened.mode, opened.size) == (frames[number].mode, frames[number].size)
            assert opened.tobytes() == frames[number].tobytes()
        for number in (-1, 3):
            with pytest.raises(EOFError):
                opened.seek(number)
        assert opened.tell() == 2
        assert [frame.size for frame in ImageSequence.Iterator(opened)] == [frame.size for frame in frames]


def test_all_frames_of_other_animations(frames):
    gif = io.BytesIO()
    frames[0].save(gif, "GIF", save_all=True, append_images=[frames[0].rotate(180)])
    with Image.open(gif) as animation:
        animation.seek(1)
        data = saved(animation, save_all=True)
        assert animation.tell() == 1
        assert len(tp.Reader(data.getvalue())) == 2
        assert len(tp.Reader(saved(animation).getvalue())) == 1
    with Image.open(data) as opened:  # and of our own
        assert len(tp.Reader(saved(opened, save_all=True).getvalue())) == 2


def test_an_animation_that_cannot_be_written_is_where_it_was():
    tiff = io.BytesIO()
    picture("L").save(tiff, "TIFF", save_all=True, append_images=[Image.new("F", (4, 4))])
    with Image.open(tiff) as animation:
        with pytest.raises(OSError, match="cannot write mode F") as caught:
            animation.save(io.BytesIO(), "Triptych", save_all=True)
        assert animation.tell() == 0
        assert caught.tb is not None  # which holds all frames of the call until here


def test_metadata_both_ways():
    exif = Image.Exif()
    exif[0x010E] = "a title"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    data = saved(picture("RGB"), exif=exif, icc_profile=profile, xmp=xmp, key="k", label=4, metadata={"a": 1})
    info = tp.Reader(data.getvalue()).info(0)
    assert info["exif"] == exif.tobytes().removeprefix(b"Exif\0\0")
    assert (info["icc_profile"], info["xmp"], info["key"], info["label"]) == (profile, xmp, "k", 4)
    with Image.open(data) as opened:
        assert opened.getexif()[0x010E] == "a title"
        assert opened.info["icc_profile"] == profile
        assert opened.info["xmp"] == xmp
        assert (opened.info["key"], opened.info["label"], opened.info["metadata"]) == ("k", 4, {"a": 1})
        with Image.open(saved(opened)) as again:  # carried over without being named
            assert again.getexif()[0x010E] == "a title"
            assert (again.info["icc_profile"], again.info["xmp"]) == (profile, xmp)
        bare = saved(opened, exif=b"", icc_profile=None, xmp=b"")
        with Image.open(bare) as again:
            assert not again.info
            assert not again.getexif()


def test_resolution_both_ways():
    data = saved(picture("RGB"), dpi=(96, 48.5))
    assert tp.Reader(data.getvalue()).info(0)["dpi"] == (96, 48.5)
    with Image.open(data) as opened:
        assert opened.info["dpi"] == (96, 48.5)
        with Image.open(saved(opened)) as again:
            assert again.info["dpi"] == (96, 48.5)
        with Image.open(saved(opened, dpi=None)) as again:
            assert "dpi" not in again.info


@pytest.mark.parametrize(
    "dpi", [(0, 0), (1, 1), 72, "72", (72,), (float("nan"), 72), (1e99, 1), (Fraction(1, 2), None)]
)
def test_resolutions_that_say_nothing(dpi):
    image = picture("RGB")
    image.info["dpi"] = dpi
    assert "dpi" not in tp.Reader(saved(image).getvalue()).info(0)


@pytest.mark.parametrize("name", ["tiff", "png", "webp", "gif", "jpeg"])
def test_a_file_that_says_no_resolution(name):
    target = io.BytesIO()
    picture("RGB").save(target, name)
    with Image.open(target) as image:
        assert "dpi" not in tp.Reader(saved(image.convert("RGB")).getvalue()).info(0)


def test_exif_of_the_current_frame(frames):
    exif = Image.Exif()
    exif[0x010E] = "first"
    frames[0].info["exif"] = exif.tobytes()
    with Image.open(saved(frames[0], save_all=True, append_images=frames[1:])) as opened:
        assert opened.getexif()[0x010E] == "first"
        opened.seek(1)
        assert not opened.getexif()
        opened.seek(0)
        assert opened.getexif()[0x010E] == "first"


def test_options_have_the_names_of_encode():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    with Image.open(saved(noise, n_colors=5, dither=True, effort="fast")) as opened:
        assert len(opened.getcolors()) <= 5
    assert len(saved(noise, target_size=700).getvalue()) <= 700
    book = tp.fit("kmeans", [noise], n_colors=4)
    with Image.open(saved(noise, dictionary=book)) as opened:
        assert len(opened.getcolors()) <= 4
    for options in ({"colours": 5}, {"quality": 300}, {"lossless": 1}):
        with pytest.raises(tp.InvalidOption):
            saved(noise, **options)
    with pytest.raises(tp.TooManyColors):
        saved(noise.resize((80, 80)), lossless=True)


def test_a_failed_save_leaves_no_file(tmp_path):
    with pytest.raises(tp.InvalidOption):
        picture("L").save(tmp_path / "x.tych", quality=300)
    assert not any(tmp_path.iterdir())


def test_other_files_are_not_ours(tmp_path):
    for data in (b"", b"\x89TY", b"\x89PNG\r\n\x1a\n", b"hello, this is not an image"):
        with pytest.raises(UnidentifiedImageError):
            Image.open(io.BytesIO(data))


@settings(max_examples=60)
@given(data=st.data())
def test_damage_is_an_oserror(data):
    image = picture("RGB")
    stream = bytearray(saved(image).getvalue())
    if data.draw(st.booleans()):
        del stream[data.draw(st.integers(0, len(stream) - 1)) :]
    else:
        stream[data.draw(st.integers(0, len(stream) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(OSError, match=r"."), Image.open(io.BytesIO(stream)) as opened:
        opened.load()


def test_a_missing_dictionary_is_an_oserror():
    book = tp.fit("kmeans", [np.zeros((2, 2), np.uint8)])
    data = saved(picture("L"), dictionary=book, embed=False)
    with Image.open(data) as opened:
        assert opened.size == (12, 9)
        with pytest.raises(OSError, match="dictionary"):
            opened.load()


def test_a_stream_without_images():
    with pytest.raises(OSError, match="no images"):
        Image.open(io.BytesIO(tp.fit("kmeans", [np.zeros((2, 2), np.uint8)]).to_bytes()))


def test_truncated_files_can_be_asked_for(frames, monkeypatch):
    data = saved(frames[0], save_all=True, append_images=frames[1:], frame_images=1).getvalue()[:-200]
    with pytest.raises(OSError, match="broken"):
        Image.open(io.BytesIO(data))
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.n_frames < 3
        assert opened.tobytes() == frames[0].tobytes()


def test_verify():
    data = saved(picture("RGB")).getvalue()
    with Image.open(io.BytesIO(data)) as opened:
        opened.verify()
        with pytest.raises(RuntimeError):
            opened.verify()


def test_files_are_closed(tmp_path, frames):
    frames[0].save(tmp_path / "one.tych")
    frames[0].save(tmp_path / "many.tych", save_all=True, append_images=frames[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = Image.open(tmp_path / "one.tych")
        image.load()
        assert image.fp is None
        del image
        with Image.open(tmp_path / "many.tych") as opened:
            opened.seek(2)
            opened.load()
        with pytest.raises(ValueError, match="closed"):
            opened.seek(1)


def test_file_objects_stay_open(frames):
    data = saved(frames[0])
    with Image.open(data) as opened:
        opened.load()
    assert not data.closed


def test_the_image_can_be_changed_and_copied(frames):
    with Image.open(saved(frames[0])) as opened:
        copy = opened.copy()
        opened.putpixel((0, 0), (1, 2, 3))
        assert opened.getpixel((0, 0)) == (1, 2, 3)
        assert copy.tobytes() == frames[0].tobytes()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda image: pickle.loads(pickle.dumps(image))])
@pytest.mark.parametrize("n_frames", [1, 3])
def test_a_pickle_is_the_current_frame(frames, copied, n_frames):
    """As pools of processes and loaders send images."""
    with Image.open(saved(frames[0], save_all=True, append_images=frames[1:n_frames])) as opened:
        opened.seek(n_frames - 1)
        image = copied(opened)
    assert np.array_equal(np.asarray(image), np.asarray(frames[n_frames - 1]))
    assert image.resize((2, 2)).size == (2, 2)
    assert (image.n_frames, image.is_animated, image.tell()) == (1, False, 0)
    image.seek(0)
    with pytest.raises(EOFError):
        image.seek(1)
    image.close()


def test_what_pillow_has_always_works(frames):
    with Image.open(saved(frames[0])) as opened:
        thumbnail = opened.resize((3, 3))
        assert thumbnail.size == (3, 3)
    with Image.open(saved(frames[0])) as opened:
        assert opened.convert("L").tobytes() == frames[0].convert("L").tobytes()
    with Image.open(saved(frames[0])) as opened:
        np.testing.assert_array_equal(tp.decode(tp.encode(opened)), np.asarray(frames[0]))


def test_imageio(tmp_path):
    iio = pytest.importorskip("imageio.v3")
    pixels = np.asarray(picture("RGB"))
    iio.imwrite(tmp_path / "x.tych", pixels, n_colors=256)
    np.testing.assert_array_equal(iio.imread(tmp_path / "x.tych"), pixels)
    np.testing.assert_array_equal(iio.imread((tmp_path / "x.tych").read_bytes()), pixels)
    assert iio.improps(tmp_path / "x.tych").shape == pixels.shape
    iio.imwrite(tmp_path / "y.tych", np.stack([pixels, pixels[::-1]]))
    np.testing.assert_array_equal(iio.imread(tmp_path / "y.tych", index=1), pixels[::-1])
    assert len(list(iio.imiter(tmp_path / "y.tych"))) == 2


def test_text_and_colorimetry():
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "A. B.")
    text.add_text("Comment", "one")
    text.add(b"gAMA", (45455).to_bytes(4, "big"))
    buffer = io.BytesIO()
    picture("RGB").save(buffer, "PNG", pnginfo=text)
    with Image.open(buffer) as png, Image.open(saved(png)) as opened:
        assert opened.info["text"] == {"Author": "A. B.", "Comment": "one"}
        assert (opened.info["comment"], opened.info["gamma"]) == (b"one", 0.45455)
        with Image.open(saved(opened, comment=b"two")) as again:
            assert again.info["text"] == {"Author": "A. B.", "Comment": "two"}
        jpeg = io.BytesIO()
        opened.save(jpeg, "JPEG")
        with Image.open(jpeg) as back, Image.open(saved(back)) as opened:
            assert opened.info["comment"] == b"one"


def test_metadata_that_are_too_large_cost_themselves():
    image = picture("RGB")
    image.info["exif"] = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"
    with pytest.warns(UserWarning, match="ICC profile is left out"):
        data = saved(image, icc_profile=bytes(2 << 20))
    with Image.open(data) as opened:
        assert opened.info.keys() == {"exif"}
        assert opened.tobytes() == image.tobytes()


@pytest.mark.parametrize(("mode", "expected"), [("La", "LA"), ("RGBa", "RGBA")])
def test_premultiplied_alpha(mode, expected):
    image = Image.new(mode, (3, 2), (10, 100) if mode == "La" else (10, 20, 30, 100))
    with Image.open(saved(image)) as opened:
        assert opened.mode == expected
        assert opened.tobytes() == image.convert(expected).tobytes()


def indexed_image(transparency=None):
    image = Image.fromarray(np.array([[0, 3], [4, 3], [1, 1]], np.uint8))
    image.putpalette(bytes(range(30, 45)))
    if transparency is not None:
        image.info["transparency"] = transparency
    return image


@pytest.mark.parametrize("transparency", [None, 3, b"\xff\x07\x00\x80\xff"])
def test_indexed_images_are_indexed_again(transparency):
    image = indexed_image(transparency)
    image.save(file := io.BytesIO(), "TRIPTYCH")
    back = Image.open(file)
    assert back.mode == "P"
    assert back.has_transparency_data == (transparency is not None)  # before a pixel is decoded
    assert np.array_equal(back, image)
    assert back.getpalette() == image.getpalette()
    assert back.info.get("transparency") == transparency
    back.save(png := io.BytesIO(), "PNG")
    back.save(again := io.BytesIO(), "TRIPTYCH")
    assert again.getvalue() == file.getvalue()
    for each in (Image.open(png), Image.open(again), back.copy(), pickle.loads(pickle.dumps(back))):
        assert each.mode == "P"
        assert np.array_equal(each.convert("RGBA"), image.convert("RGBA"))


def test_frames_of_all_kinds():
    frames = [indexed_image(), Image.new("RGB", (2, 3), "teal"), indexed_image(3), Image.new("L", (2, 3), 7)]
    frames[0].save(file := io.BytesIO(), "TRIPTYCH", save_all=True, append_images=frames[1:])
    back = Image.open(file)
    for order in ((0, 1, 2, 3), (2, 1, 3, 0)):
        for number in order:
            back.seek(number)
            assert back.mode == frames[number].mode
            assert back.info.get("transparency") is None
            assert np.array_equal(back.convert("RGBA"), frames[number].convert("RGBA"))
            assert back.mode == frames[number].mode
            assert back.info.get("transparency") == frames[number].info.get("transparency")


def test_what_belies_its_palette_is_shown_in_colors(monkeypatch):
    image = indexed_image()
    monkeypatch.setattr("triptych.jobs.PaletteOrder.attachment", lambda self, is_repeated: b"\x04\x02\xff")
    image.save(file := io.BytesIO(), "TRIPTYCH")
    back = Image.open(file)
    assert back.mode == "P"
    assert np.array_equal(back.convert("RGB"), image.convert("RGB"))
    many = np.arange(900, dtype=np.uint16).astype(np.uint8).reshape(15, 20, 3)
    many[:, :, 1] = np.arange(15)[:, None]
    payload = tp.encode(many, mode="pca")[32:]  # an id, a byte, a number and a shape, then the body
    payload = payload[:16] + bytes([payload[16] | 0x80]) + payload[17:20] + b"\1\x09\2\0\0" + payload[20:]
    with pytest.raises(OSError, match="more than 256 colours says it was indexed"):
        Image.open(io.BytesIO(vectors.header() + vectors.frame(vectors.IMAGES, payload, 255))).load()
