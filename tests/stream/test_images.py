"""Whatever holds pixels is taken; what is refused is refused with advice."""

import numpy as np
import pytest
import triptych as tp
from hypothesis import given
from PIL import Image
from strategies import images
from triptych.images import as_pixels


@given(images())
def test_arrays_of_any_memory_layout(image):
    read_only = image.copy()
    read_only.flags.writeable = False
    padded = np.zeros((image.shape[0], 2 * image.shape[1], *image.shape[2:]), np.uint8)
    padded[:, ::2] = image
    for same in (image, read_only, np.asfortranarray(image), padded[:, ::2], image[::-1, ::-1][::-1, ::-1]):
        pixels = as_pixels(same)
        assert pixels.flags.c_contiguous
        assert pixels.ndim == 3
        assert np.array_equal(pixels.reshape(image.shape), image)
        assert np.array_equal(tp.decode(tp.encode(same, mode="raw")), image)


@given(images())
def test_protocols(image):
    class Interface:
        __array_interface__ = image.__array_interface__

    class DLPack:
        def __dlpack__(self, **arguments):
            return image.__dlpack__(**arguments)

        def __dlpack_device__(self):
            return image.__dlpack_device__()

    for holder in (Interface(), DLPack(), memoryview(image)):
        assert np.array_equal(as_pixels(holder).reshape(image.shape), image)


def test_torch_tensors():
    torch = pytest.importorskip("torch")
    tensor = torch.arange(48, dtype=torch.uint8).reshape(4, 4, 3)
    assert np.array_equal(tp.decode(tp.encode(tensor, mode="raw")), tensor.numpy())
    with pytest.raises(tp.InvalidImage, match="transpose"):
        tp.encode(torch.zeros((3, 8, 8), dtype=torch.uint8), mode="raw")


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "1", "P", "PA"])
def test_pillow_modes(mode):
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).convert(
        "L" if mode == "1" else "RGB"
    )
    image = image.convert("P").convert("PA") if mode == "PA" else image.convert(mode)
    expected = {"1": "L", "P": "RGB", "PA": "RGBA"}.get(mode, mode)
    got = tp.decode(tp.encode(image, mode="raw"))
    assert np.array_equal(got, np.asarray(image.convert(expected)))


@pytest.mark.parametrize(
    ("mode", "key", "expected"),
    [("1", 0, "LA"), ("P", 0, "RGBA"), ("P", b"\0", "RGBA"), ("L", 5, "LA"), ("RGB", (1, 2, 3), "RGBA")],
)
def test_pillow_transparency(mode, key, expected):
    image = Image.new(mode, (3, 2), 0 if isinstance(key, bytes) else key)
    image.info["transparency"] = key
    assert tp.Reader(tp.encode(image, mode="raw")).info(0)["color"] == expected
    assert (tp.decode(tp.encode(image, mode="raw"))[:, :, -1] == 0).all()
    image.putpixel((1, 1), 255 if mode != "RGB" else (9, 9, 9))
    got = tp.decode(tp.encode(image, mode="raw"))
    assert np.array_equal(got, np.asarray(image.convert(expected)))
    assert got[1, 1, -1] == 255


@pytest.mark.parametrize(("mode", "expected"), [("La", "LA"), ("RGBa", "RGBA"), ("PA", "RGBA")])
def test_alpha_of_every_mode_is_kept_straight(mode, expected):
    alphas = np.arange(256, dtype=np.uint8).reshape(16, 16)
    straight = Image.fromarray(np.dstack([*[255 - alphas] * (len(expected) - 1), alphas]))
    if mode == "PA":
        image = straight.convert("RGB").convert("P").convert("PA")
        image.putalpha(Image.fromarray(alphas))
    else:
        image = straight.convert(mode)
    got = tp.decode(tp.encode(image, mode="raw"))
    assert np.array_equal(got[..., -1], alphas)
    assert np.array_equal(got, np.asarray(image.convert(expected)))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB", "RGBX"])
def test_pillow_modes_that_are_refused(mode):
    with pytest.raises(tp.InvalidImage, match="convert"):
        tp.encode(Image.new(mode, (2, 2)), mode="raw")


@pytest.mark.parametrize("mode", ["I", "F", "I;16", "I;16B", "I;16L"])
def test_deep_grey_is_refused_with_advice_that_clips_nothing(mode):
    with pytest.raises(tp.InvalidImage, match=r"scale the values of numpy.asarray\(image\)") as caught:
        tp.encode(Image.new(mode, (2, 2)), mode="raw")
    assert "convert('RGB')" not in str(caught.value)


@pytest.mark.parametrize(
    ("image", "advice"),
    [
        (np.zeros((2, 2), np.float32), r"\* 255"),
        (np.zeros((2, 2), bool), r"\* 255"),
        (np.zeros((2, 2), np.uint16), ">> 8"),
        (np.zeros((2, 2), np.int64), "clip"),
        (np.zeros((3, 8, 8), np.uint8), "transpose"),
        (np.zeros((8, 8, 5), np.uint8), "1 to 4"),
        (np.zeros((8, 8, 0), np.uint8), "1 to 4"),
        (np.zeros(8, np.uint8), "shape"),
        (np.zeros((1, 2, 3, 4), np.uint8), "shape"),
        (np.zeros((0, 4), np.uint8), "at least one pixel"),
        (np.zeros((4, 0, 3), np.uint8), "at least one pixel"),
        (b"bytes", "shape"),
        ("text", "numpy.asarray"),
        (None, "numpy.asarray"),
        ([[1, 2], [3, 4]], "numpy.asarray"),
    ],
)
def test_what_is_refused(image, advice):
    with pytest.raises(tp.InvalidImage, match=advice):
        tp.encode(image, mode="raw")
