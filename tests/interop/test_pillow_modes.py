"""What becomes of pictures of every mode: by the library, Pillow's `save`, the command line and zarr.

Each row of the table is a picture. It is kept exactly; or it is converted, and a line says so; or it is
refused, with advice that its reader can follow where he is.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import pytest
import sources
import triptych as tp
import triptych.pillow
from click.testing import CliRunner
from PIL import Image
from triptych.cli import group

triptych.pillow.register()

COLORS = (np.indices((8, 16, 1)).sum(0) * [11, 3, 7] + [0, 40, 90]).astype(np.uint8)
ALPHAS = np.broadcast_to(np.arange(16, dtype=np.uint8) * 17, (8, 16))
DEEP = np.linspace(0, 65535, 8 * 16 * 4).astype(np.uint16).reshape(8, 16, 4)

EXACT = None
SCALE = r"scale the values of numpy.asarray\(image\) from their range to 0..255"
CONVERT = r"use image.convert\('RGB'\)"
SIXTEEN = "16 bits a channel, of which Pillow reads 8"
SCALED = "16-bit grey becomes 8 bits, scaled from 0..65535"
REDUCED = "16 bits a channel are reduced to 8"


def of(mode: str) -> Image.Image:
    """Give an image of a mode."""
    rgb = Image.fromarray(COLORS)
    straight = {"La": "LA", "PA": "RGBA", "RGBa": "RGBA"}.get(mode, mode)
    if straight in ("LA", "RGBA"):
        base = rgb.convert("L" if straight == "LA" else "RGB")
        base.putalpha(Image.fromarray(ALPHAS))
        return base.convert("P").convert("PA") if mode == "PA" else base.convert(mode)
    if mode.startswith("I;16"):
        order = ">u2" if mode.endswith("B") else "<u2"
        return Image.frombytes(mode, (16, 8), DEEP[..., 0].astype(order).tobytes())
    if mode in ("LAB", "RGBX"):
        n_bytes = {"LAB": 3, "RGBX": 4}[mode]
        return Image.frombytes(mode, (16, 8), (DEEP[..., :n_bytes] >> 8).astype(np.uint8).tobytes())
    return rgb.convert("L").convert(mode) if mode in ("1", "I", "F") else rgb.convert(mode)


def file_of(image: Image.Image, form: str, **options: Any) -> bytes:
    image.save(file := io.BytesIO(), form, **options)
    return file.getvalue()


def deep_key(*values: int) -> bytes:
    return sources.png_chunk(b"tRNS", np.array(values, ">u2").tobytes())


class Row(NamedTuple):
    """A picture, and what becomes of it.

    picture: a file, or an image of a mode that is in no file. becomes: the mode of what is decoded. library,
    command: exact, or what is said where it is refused or converted.
    """

    name: str
    picture: bytes | Callable[[], Image.Image]
    becomes: str
    library: str | None = EXACT
    command: str | None = EXACT


TABLE = [
    Row("1", file_of(of("1"), "PNG"), "L"),
    Row("1 tRNS", file_of(of("1"), "PNG", transparency=0), "LA"),
    Row("L", file_of(of("L"), "PNG"), "L"),
    Row("L tRNS", file_of(of("L"), "PNG", transparency=int(np.asarray(of("L"))[2, 3])), "LA"),
    Row("LA", file_of(of("LA"), "PNG"), "LA"),
    Row("La", lambda: of("La"), "LA"),
    Row("P", file_of(of("P"), "PNG"), "P"),
    Row("P tRNS of an entry", file_of(of("P"), "PNG", transparency=3), "P"),
    Row("P tRNS of alphas", file_of(of("P"), "PNG", transparency=bytes(range(0, 200, 20))), "P"),
    Row("PA", lambda: of("PA"), "RGBA"),
    Row("RGB", file_of(of("RGB"), "PNG"), "RGB"),
    Row("RGB tRNS", file_of(of("RGB"), "PNG", transparency=tuple(COLORS[2, 3].tolist())), "RGBA"),
    Row("RGBA", file_of(of("RGBA"), "PNG"), "RGBA"),
    Row("RGBa", lambda: of("RGBa"), "RGBA"),
    Row("RGBX", lambda: of("RGBX"), "RGB", CONVERT, "RGB with a fourth channel is converted to RGB"),
    Row("CMYK", file_of(of("CMYK"), "TIFF"), "RGB", CONVERT, "CMYK is converted to RGB, without a profile"),
    Row("YCbCr", file_of(of("YCbCr"), "TIFF"), "RGB", CONVERT, "YCbCr is converted to RGB"),
    Row("LAB", file_of(of("LAB"), "TIFF"), "RGB", CONVERT, "CIE Lab is converted to RGB"),
    Row("HSV", lambda: of("HSV"), "RGB", CONVERT, "HSV is converted to RGB"),
    Row("I", file_of(of("I"), "TIFF"), "L", SCALE, "32-bit grey becomes 8 bits; its values, at most 255"),
    Row("I;16 PNG", sources.png(DEEP[..., :1]), "L", SCALE, SCALED),
    Row(
        "I;16 PNG tRNS",
        sources.png(DEEP[..., :1], deep_key(DEEP[2, 3, 0])),
        "LA",
        SCALE,
        SCALED,
    ),
    Row(
        "I;16 TIFF",
        sources.tiff(DEEP[..., :1]),
        "L",
        SCALE,
        SCALED,
    ),
    Row(
        "I;16B",
        sources.tiff(DEEP[..., :1], ">"),
        "L",
        SCALE,
        SCALED,
    ),
    Row(
        "F",
        file_of(of("F"), "TIFF"),
        "L",
        SCALE,
        "floating point becomes 8 bits, scaled from its own range",
    ),
    Row("LA PNG 16", sources.png(DEEP[..., :2]), "RGBA", SIXTEEN, REDUCED),
    Row("RGB PNG 16", sources.png(DEEP[..., :3]), "RGB", SIXTEEN, REDUCED),
    Row("RGB PNG 16 tRNS", sources.png(DEEP[..., :3], deep_key(*DEEP[2, 3, :3])), "RGBA", SIXTEEN, REDUCED),
    Row("RGBA PNG 16", sources.png(DEEP), "RGBA", SIXTEEN, REDUCED),
    Row("RGB TIFF 16", sources.tiff(DEEP[..., :3]), "RGB", SIXTEEN, REDUCED),
    Row("RGBA TIFF 16", sources.tiff(DEEP, extra=(2,)), "RGBA", SIXTEEN, REDUCED),
    Row("RGBa TIFF 16", sources.tiff(DEEP, extra=(1,)), "RGBA", SIXTEEN, REDUCED),
    Row("RGBX TIFF 16", sources.tiff(DEEP, extra=(0,)), "RGB", SIXTEEN, REDUCED),
]
EVERY = pytest.mark.parametrize("row", TABLE, ids=[row.name for row in TABLE])


def opened(row: Row) -> Image.Image:
    return Image.open(io.BytesIO(row.picture)) if isinstance(row.picture, bytes) else row.picture()


def plain_mode(row: Row) -> str:
    """The mode of the colours."""
    return {"P": "RGBA" if opened(row).has_transparency_data else "RGB"}.get(row.becomes, row.becomes)


def exact_pixels(row: Row) -> np.ndarray:
    """The pixels as Pillow converts them."""
    image = opened(row)
    if row.library is SIXTEEN and "tRNS" in row.name:  # Pillow compares 8 bits with 16
        image.info["transparency"] = tuple(value >> 8 for value in image.info["transparency"])
    return np.asarray(image.convert(plain_mode(row)))


def test_the_table_has_all_modes_of_pictures():
    modes = {opened(row).mode for row in TABLE}
    assert modes == {
        *("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX"),
        *("CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "I;16B", "F"),
    }


@EVERY
def test_the_library(row):
    if row.library in (CONVERT, SCALE):
        for options in ({}, {"lossless": True}):
            with pytest.raises(tp.InvalidImage, match=row.library):
                tp.encode(opened(row), **options)
        return
    with pytest.warns(RuntimeWarning, match=row.library) if row.library else nullcontext():
        data = tp.encode(opened(row))
    with pytest.raises(tp.InvalidImage, match=f"lossless: .*{row.library}") if row.library else nullcontext():
        assert np.array_equal(tp.decode(tp.encode(opened(row), lossless=True)), exact_pixels(row))
    assert np.array_equal(tp.decode(data), exact_pixels(row))


@EVERY
def test_pillows_save(row, tmp_path):
    image = opened(row)
    image.load()  # as `save` does
    if row.library in (CONVERT, SCALE):
        with pytest.raises(OSError, match=f"cannot write mode {image.mode} as TRIPTYCH: .*{row.library}"):
            image.save(tmp_path / "x.tych")
        assert not any(tmp_path.iterdir())
        return
    image.save(tmp_path / "x.tych")
    with Image.open(tmp_path / "x.tych") as back:
        assert back.mode == row.becomes
        assert np.array_equal(back.convert(plain_mode(row)), exact_pixels(row))


@EVERY
def test_the_command_line(row, tmp_path, monkeypatch):
    path = tmp_path / "x.picture"
    path.write_bytes(row.picture if isinstance(row.picture, bytes) else b"")
    color = plain_mode(row)
    if not isinstance(row.picture, bytes):  # as if a plugin of Pillow read it
        monkeypatch.setattr(Image, "open", lambda _: row.picture())

    def encode(name, *options):
        return CliRunner().invoke(group, ["encode", str(path), "-o", str(tmp_path / name), *options])

    done = encode("x.tych")
    assert done.exit_code == 0
    with tp.Reader(tmp_path / "x.tych") as reader:
        assert reader.info(0)["color"] == color
        assert ("palette_order" in reader.info(0)) == (row.becomes == "P")
        pixels = reader[0]
    exactly = encode("y.tych", "--lossless")
    if row.command is EXACT:
        assert done.stderr == exactly.stderr == ""
        assert np.array_equal(pixels, exact_pixels(row))
        assert np.array_equal(tp.decode(tmp_path / "y.tych"), pixels)
    else:
        assert f"{path}: " in done.stderr
        assert row.command in done.stderr
        assert exactly.exit_code == 1
        assert "without --lossless the picture is stored so, and a line says it" in exactly.stderr
        assert not (tmp_path / "y.tych").exists()


@EVERY
def test_arrays_of_zarr(row):
    zarr = pytest.importorskip("zarr")
    from triptych.interop.zarr import TriptychCodec

    values = np.asarray(opened(row))
    create = {"shape": values.shape, "chunks": values.shape, "dtype": values.dtype, "compressors": None}
    refused = pytest.raises(tp.InvalidImage, match=f"is for arrays of uint8, not of {values.dtype}")
    with nullcontext() if values.dtype == np.uint8 else refused:
        array = zarr.create_array({}, serializer=TriptychCodec(lossless=True), **create)
        array[...] = values
        assert np.array_equal(array[...], values)
