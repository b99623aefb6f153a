"""Metadata between Pillow images and streams: EXIF, XMP and ICC profiles.

A stream holds them as the files do; Pillow puts `Exif\\0\\0` before EXIF (as JPEG does) and gives XMP as bytes
or as text, by format.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_EXIF_PREFIX = b"Exif\0\0"
NAMES = ("exif", "xmp", "icc_profile")


def read_metadata(image: Any, given: Mapping[str, Any] | None = None) -> dict[str, bytes]:
    """Give the metadata of a Pillow image, as `Writer.write` takes it.

    What is in `given` goes before what the image has; an empty value there leaves it out.
    """
    info = {**image.info, **(given or {})}
    found = {name: _as_bytes(info.get(name)) for name in NAMES}
    if "xmp" not in info:
        found["xmp"] = _as_bytes(info.get("XML:com.adobe.xmp"))
    found["exif"] = found["exif"].removeprefix(_EXIF_PREFIX)
    return {name: value for name, value in found.items() if value}


def _as_bytes(value: Any) -> bytes:
    if hasattr(value, "tobytes"):  # PIL.Image.Exif, or an array
        value = value.tobytes()
    if isinstance(value, str):
        value = value.encode()
    return bytes(value) if isinstance(value, (bytes, bytearray, memoryview)) else b""


def pillow_metadata(info: Mapping[str, Any]) -> dict[str, bytes]:
    """Give the metadata that `Reader.info` says, as Pillow has it in `Image.info` and takes it in `save`."""
    found = {name: info[name] for name in NAMES if name in info}
    if "exif" in found and not found["exif"].startswith(_EXIF_PREFIX):
        found["exif"] = _EXIF_PREFIX + found["exif"]
    return found
