"""How a picture is to be turned for viewing, which metadata say beside the pixels.

EXIF says it, or where it does not XMP, or EXIF as ImageMagick writes it into a text of PNG. All are found and
changed in place, so that everything else in them stays as it is.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

_ORIENTATION = 274
_TYPES = {1: "B", 3: "H", 4: "I"}
_IN_XMP = re.compile(rb'(tiff:Orientation(?:="|>))([0-9])')
_RAW_PROFILE = "Raw profile type exif"
UPRIGHT = 1


def read_orientation(metadata: Mapping[str, Any]) -> int:
    """Return 1 (as it is) to 8, as EXIF numbers them, of metadata by the names of `Writer.write`."""
    for exif in (metadata.get("exif"), _raw_profile(metadata)):
        if exif and (place := _find(exif)) is not None:
            (value,) = struct.unpack_from(place[0], exif, place[1])
            return value if 1 <= value <= 8 else UPRIGHT
    match = _IN_XMP.search(metadata.get("xmp", b""))
    return int(match[2]) if match and b"1" <= match[2] <= b"8" else UPRIGHT


def set_upright(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata that say of pixels which were turned that they are upright."""
    changed = dict(metadata)
    if "exif" in changed:
        changed["exif"] = _upright_exif(changed["exif"])
    if profile := _raw_profile(changed):
        data = _upright_exif(profile)
        changed["text"] = {**changed["text"], _RAW_PROFILE: f"\nexif\n{len(data):8}\n{data.hex()}\n"}
    if "xmp" in changed:
        changed["xmp"] = _IN_XMP.sub(rb"\g<1>1", changed["xmp"])
    return changed


def turn(pixels: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Return an array (height, width, ...) as an orientation wants it to be seen."""
    if orientation >= 5:  # mirrored at the diagonal, before anything else
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _upright_exif(exif: bytes) -> bytes:
    place = _find(exif)
    if place is None:
        return exif
    changed = bytearray(exif)
    struct.pack_into(place[0], changed, place[1], UPRIGHT)
    return bytes(changed)


def _raw_profile(metadata: Mapping[str, Any]) -> bytes:
    text = metadata.get("text", {}).get(_RAW_PROFILE)
    try:
        exif = bytes.fromhex("".join(text.split("\n")[3:])) if isinstance(text, str) else b""
    except ValueError:
        return b""
    return exif.removeprefix(b"Exif\0\0")


def _find(exif: bytes) -> tuple[str, int] | None:
    """Find the number in the first directory: how it is packed, and where."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 8:
        return None
    (start,) = struct.unpack_from(f"{order}I", exif, 4)
    if start + 2 > len(exif):
        return None
    (count,) = struct.unpack_from(f"{order}H", exif, start)
    for place in range(start + 2, min(start + 2 + 12 * count, len(exif) - 11), 12):
        tag, kind = struct.unpack_from(f"{order}2H", exif, place)
        if tag == _ORIENTATION and kind in _TYPES:
            return order + _TYPES[kind], place + 8
    return None
