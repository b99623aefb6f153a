"""Metadata between Pillow images and streams: EXIF, XMP, ICC profiles and resolutions.

A stream holds the plain data. Pillow puts six bytes before EXIF, as JPEG does, and gives XMP as bytes or as
text, by format.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from triptych.errors import InvalidOption
from triptych.metadata import build_resolution, parse_resolution

_EXIF_PREFIX = b"Exif\0\0"
_TIFF_XMP = 700
_NAMES = ("exif", "xmp", "icc_profile", "dpi")
_UNSAID = (1, 1)
"""Pixels an inch that Pillow tells of a TIFF file that says nothing."""


class Metadata(TypedDict, total=False):
    """What `Writer.write` takes beside the pixels."""

    exif: bytes
    xmp: bytes
    icc_profile: bytes
    dpi: tuple[float, float]


def read_metadata(image: Any, given: Mapping[str, Any] | None = None) -> Metadata:
    """Give the metadata of a Pillow image, as `Writer.write` takes it.

    What is in `given` goes before what the image has; an empty value there leaves it out.
    """
    info = {**image.info, **(given or {})}
    xmp = info.get("xmp", info.get("XML:com.adobe.xmp"))
    found = Metadata()
    if exif := _as_bytes(info.get("exif")).removeprefix(_EXIF_PREFIX):
        found["exif"] = exif
    if xmp := _as_bytes(xmp):
        found["xmp"] = xmp
    if icc_profile := _as_bytes(info.get("icc_profile")):
        found["icc_profile"] = icc_profile
    if (dpi := _as_resolution(info.get("dpi"))) and dpi != _UNSAID:
        found["dpi"] = dpi
    return found


def _as_resolution(value: Any) -> tuple[float, float] | None:
    """Give a resolution that can be stored; files say anything."""
    try:
        return parse_resolution(build_resolution(value))
    except InvalidOption:
        return None


def _as_bytes(value: Any) -> bytes:
    if hasattr(value, "tobytes"):  # PIL.Image.Exif, or an array
        value = value.tobytes()
    if isinstance(value, str):
        value = value.encode()
    return bytes(value) if isinstance(value, (bytes, bytearray, memoryview)) else b""


def pillow_metadata(info: Mapping[str, Any]) -> dict[str, Any]:
    """Give the metadata that `Reader.info` says, as Pillow has it in `Image.info` and takes it in `save`."""
    found = {name: info[name] for name in _NAMES if name in info}
    if "exif" in found and not found["exif"].startswith(_EXIF_PREFIX):
        found["exif"] = _EXIF_PREFIX + found["exif"]
    return found


def save_options(format_name: str, info: Mapping[str, Any]) -> dict[str, Any]:
    """Give the metadata that `Reader.info` says as options of Pillow's `save` for a format."""
    from PIL import Image, PngImagePlugin

    options = pillow_metadata(info)
    if "xmp" not in options:
        return options
    # Pillow reads XMP from these two, and writes none by itself.
    if format_name == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", options.pop("xmp").decode("utf-8", "replace"))
    elif format_name == "TIFF":
        exif = Image.Exif()
        exif.load(options.get("exif", b""))
        exif[_TIFF_XMP] = options.pop("xmp")
        options["exif"] = exif
    return options
