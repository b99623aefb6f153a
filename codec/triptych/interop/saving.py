"""Pictures, pages and animations as files of Pillow's formats, with what a format holds of their metadata.

What it does not hold, or Pillow cannot write, is left out by name. The orientation is part of the picture:
where what says it is left out, the pixels are turned.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from triptych.errors import InvalidImage
from triptych.images import Pixels
from triptych.interop.frames import prepare_frames
from triptych.interop.orientation import read_orientation, set_upright, turn
from triptych.interop.pictures import COMMENT, LABELS, PNG_XMP, comment_of, pillow_metadata
from triptych.paletteorder import IndexedPicture, find_indices

_COMMON = frozenset(("exif", "xmp", "icc_profile", "dpi"))
_HOLDS = {
    "PNG": _COMMON | {"text", "colorimetry"},
    "JPEG": _COMMON | {COMMENT},
    "MPO": _COMMON | {COMMENT},
    "TIFF": _COMMON,
    "WEBP": _COMMON - {"dpi"},
    "AVIF": _COMMON - {"dpi"},
    "GIF": frozenset((COMMENT,)),
    "JPEG2000": frozenset((COMMENT,)),
    **dict.fromkeys(("BMP", "DIB", "PDF"), frozenset(("dpi",))),
}
"""What Pillow writes into a format; nothing into others of its own, what is common into those of plugins."""
_TIFF_XMP = 700
_CHROMA_UNIT = 100_000
_LONG_TEXT = 1024


class File(NamedTuple):
    """The bytes of a file, what of the metadata it does not have, and what else was changed, in words."""

    data: bytes
    left_out: list[str]
    changes: list[str]


def build_file(
    images: Sequence[Pixels],
    infos: Sequence[Mapping[str, Any]],
    format_name: str,
    options: Mapping[str, Any],
    *,
    metadata: bool = True,
) -> File:
    """Return a file of a picture, or of several where the format holds them: see `prepare_frames`.

    Parameters
    ----------
    images, infos
        Pixels, and what `Reader.info` says of each. A file of several has the metadata of the first.
    options
        Further ones of Pillow's `save`.
    metadata
        False: nothing of them is carried over.

    Raises
    ------
    InvalidImage
        The format takes no such pixels.
    OSError, MemoryError
        As Pillow raises them.
    """
    says = [{name: info[name] for name in LABELS if name in info} for info in infos]
    orientations = [read_orientation(said) for said in says]
    orders = [info.get("palette_order", b"") if metadata else b"" for info in infos]
    every_indexed = [find_indices(*each) for each in zip(orders, images, strict=True)]
    kept = _kept(says[0], format_name) if metadata else {}

    def save(
        images: Sequence[Pixels], indexed: Sequence[IndexedPicture | None], kept: Mapping[str, Any]
    ) -> tuple[bytes, list[str]]:
        if {read_orientation(kept)} != set(orientations):
            images, kept = list(map(turn, images, orientations)), set_upright(kept)
            indexed = [
                each and each._replace(indices=turn(each.indices, orientation))
                for each, orientation in zip(indexed, orientations, strict=False)
            ]
        ready = prepare_frames(images, infos[: len(images)], format_name, indexed)
        every = _save_options(format_name, kept) | dict(options) | ready.options
        buffer = io.BytesIO()
        ready.images[0].save(buffer, format_name, **every)
        return buffer.getvalue(), ready.changes

    def is_writable(name: str) -> bool:
        try:
            save([images[0][:1, :1]], [None], {name: kept[name]})
        except Exception:
            return False
        return True

    try:
        data, changes = save(images, every_indexed, kept)
    except (OSError, MemoryError, InvalidImage):
        raise
    except Exception as error:  # Pillow parses some metadata, and raises anything where it is damaged
        kept = {name: value for name, value in kept.items() if is_writable(name)}
        try:
            data, changes = save(images, every_indexed, kept)
        except Exception:
            text = " ".join(str(error).split()) or type(error).__name__
            raise InvalidImage(f"cannot be written as {format_name}: {text}") from error
    lost = {name for said in says for name in said if kept.get(name) != said[name]}
    return File(data, [LABELS[name] for name in LABELS if name in lost], changes)


def build_array(pixels: Pixels, info: Mapping[str, Any]) -> File:
    """Return a file of numpy, as `build_file` does; it holds pixels alone."""
    buffer = io.BytesIO()
    np.save(buffer, turn(pixels, read_orientation(info)))
    left_out = [LABELS[name] for name in LABELS if name in info]
    return File(buffer.getvalue(), left_out + ["its palette"] * ("palette_order" in info), [])


def _kept(said: Mapping[str, Any], format_name: str) -> dict[str, Any]:
    from PIL import Image

    is_pillows = Image.SAVE[format_name].__module__.startswith("PIL.")
    held = _HOLDS.get(format_name, frozenset() if is_pillows else _COMMON)
    kept = {name: value for name, value in said.items() if name in held}
    if COMMENT in held and COMMENT in said.get("text", {}):
        kept["text"] = {COMMENT: said["text"][COMMENT]}
    if "text" in held and "text" in said:
        kept["text"] = {name: value for name, value in said["text"].items() if _is_keyword(name)}
    return kept


def _is_keyword(name: str) -> bool:
    """Say whether PNG takes it."""
    try:
        return 1 <= len(name.encode("latin-1")) <= 79 and "\0" not in name and name != PNG_XMP
    except UnicodeEncodeError:
        return False


def _save_options(format_name: str, kept: Mapping[str, Any]) -> dict[str, Any]:
    """Give metadata as options of Pillow's `save`."""
    from PIL import Image

    options = {name: value for name, value in pillow_metadata(kept).items() if name in _COMMON}
    if format_name == "PNG":
        options["pnginfo"] = _png_info(kept)
        options.pop("xmp", None)
    elif format_name == "TIFF" and "xmp" in options:
        exif = Image.Exif()
        exif.load(options.get("exif", b""))
        exif[_TIFF_XMP] = options.pop("xmp")
        options["exif"] = exif
    elif comment := comment_of(kept):
        options["comment"] = comment
    return options


def _png_info(kept: Mapping[str, Any]) -> Any:
    """Give what Pillow does not write by itself, though it reads it."""
    from PIL import PngImagePlugin

    chunks = PngImagePlugin.PngInfo()
    if "xmp" in kept:
        chunks.add_itxt(PNG_XMP, kept["xmp"].decode("utf-8", "replace"))
    for keyword, said in kept.get("text", {}).items():
        for text in [said] if isinstance(said, str) else said:
            chunks.add_text(keyword, text, zip=len(text) > _LONG_TEXT)
    colorimetry = kept.get("colorimetry", {})
    for name, chunk in (("gamma", b"gAMA"), ("chromaticity", b"cHRM")):
        if name in colorimetry:
            numbers = colorimetry[name] if name == "chromaticity" else [colorimetry[name]]
            chunks.add(chunk, struct.pack(f">{len(numbers)}I", *(round(n * _CHROMA_UNIT) for n in numbers)))
    if "srgb" in colorimetry:
        chunks.add(b"sRGB", bytes([colorimetry["srgb"]]))
    return chunks
