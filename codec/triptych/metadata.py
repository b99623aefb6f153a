"""Metadata: canonical JSON and the attachments of images (FORMAT.md section 3.2).

EXIF, XMP and ICC are bytes that pass through unchanged. JSON is data for the user. No pixel depends on any of
it, nor on resolutions and times.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

from triptych.errors import InvalidFrame, InvalidOption
from triptych.limits import Limits
from triptych.sidedata import check_colorimetry, check_text, known_colorimetry, known_text
from triptych.timing import build_timing, parse_timing
from triptych.varint import build_varint, parse_varint

TAGS = {
    **{"exif": 1, "xmp": 2, "icc_profile": 3, "metadata": 4, "dpi": 5},
    **{"text": 6, "colorimetry": 7, "duration": 8, "palette_order": 9},
}
JSON_TAG = TAGS["metadata"]
MAX_ATTACHMENTS = 16
_RAW = frozenset(("exif", "xmp", "icc_profile"))
_RESOLUTION = struct.Struct("<2f")
_AGAIN = 0x80
"""Set in a tag: the bytes are those of the last item with this tag."""

Attachments = dict[int, bytes]
"""The attachments of one image, by tag."""


def build_json(value: Mapping[str, Any], name: str = "metadata") -> bytes:
    """Give an object as canonical JSON.

    Examples
    --------
    >>> build_json({"b": 1, "a": [True, None]})
    b'{"a":[true,null],"b":1}'
    """
    if not isinstance(value, Mapping):
        raise InvalidOption(f"{name} must be a dict, not {type(value).__name__}")
    try:
        text = json.dumps(dict(value), ensure_ascii=False, allow_nan=False)
        # Once more, since only now all keys are strings: their order is that of code points.
        return json.dumps(
            json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False
        ).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidOption(f"{name} must be what JSON can hold: {error}") from error


def parse_json(data: bytes | memoryview) -> dict[str, Any]:
    """Give the object that JSON bytes hold."""
    try:
        value = json.loads(bytes(data).decode(), parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise InvalidFrame(f"metadata is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidFrame("metadata is not a JSON object", expected="object", got=type(value).__name__)
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is beyond float64")
    return number


def build_resolution(dpi: Any) -> bytes:
    """Give pixels an inch, across and down, as a stream holds them."""
    try:
        across, down = dpi
        data = _RESOLUTION.pack(across, down)
    except (TypeError, ValueError, OverflowError, struct.error):
        data = b""
    if parse_resolution(data) is None:
        raise InvalidOption("dpi", expected="two numbers above 0, across and down", got=dpi)
    return data


def parse_resolution(data: bytes) -> tuple[float, float] | None:
    """Give pixels an inch, across and down, if the bytes say so.

    Examples
    --------
    >>> parse_resolution(build_resolution((72, 36.5)))
    (72.0, 36.5)
    """
    if len(data) != _RESOLUTION.size:
        return None
    across, down = _RESOLUTION.unpack(data)
    return (across, down) if 0 < across < math.inf and 0 < down < math.inf else None


def make_attachments(said: Mapping[str, Any], limits: Limits) -> Attachments:
    """Check what a caller said of an image, by the names of `Writer.write`, and give it by tag."""
    given = {name: value for name, value in said.items() if value is not None}
    attachments = {}
    for name in _RAW & given.keys():
        if not isinstance(given[name], (bytes, bytearray, memoryview)):
            raise InvalidOption(f"{name} must be bytes, not {type(given[name]).__name__}")
        attachments[TAGS[name]] = bytes(given[name])
    if "metadata" in given:
        attachments[JSON_TAG] = build_json(given["metadata"])
    if "text" in given:
        attachments[TAGS["text"]] = build_json(check_text(given["text"]))
    if "colorimetry" in given:
        attachments[TAGS["colorimetry"]] = build_json(check_colorimetry(given["colorimetry"]))
    if "dpi" in given:
        attachments[TAGS["dpi"]] = build_resolution(given["dpi"])
    if "duration" in given:
        attachments[TAGS["duration"]] = build_timing(given["duration"], given.get("loop"))
    elif "loop" in given:
        raise InvalidOption("loop belongs to frames that have a duration")
    limits.check("metadata_bytes", sum(map(len, attachments.values())))
    return attachments


class NamedAttachments:
    """Attachments by the names of `Writer.write`, image after image: what repeats is parsed once.

    The images then share the same objects of JSON, as they share the same bytes.
    """

    def __init__(self) -> None:
        self._last: dict[int, tuple[bytes, dict[str, Any]]] = {}

    def of(self, attachments: Attachments) -> dict[str, Any]:
        """Give the attachments of an image; what means nothing is left out."""
        named: dict[str, Any] = {}
        for tag, data in attachments.items():
            if tag not in self._last or self._last[tag][0] is not data:
                self._last[tag] = data, name_attachments({tag: data})
            named |= self._last[tag][1]
        return named


def name_attachments(attachments: Attachments) -> dict[str, Any]:
    """Give attachments by the names of `Writer.write`; what means nothing is left out."""
    named: dict[str, Any] = {name: attachments[tag] for name, tag in TAGS.items() if tag in attachments}
    if "metadata" in named:
        named["metadata"] = parse_json(named["metadata"])
    for name, known in (("text", known_text), ("colorimetry", known_colorimetry)):
        if name in named and (said := known(parse_json(named.pop(name)))):
            named[name] = said
    if "dpi" in named:
        dpi = parse_resolution(named.pop("dpi"))
        if dpi is not None:
            named["dpi"] = dpi
    if "duration" in named:
        named |= parse_timing(named.pop("duration"))
    return named


def build_attachments(images: list[Attachments]) -> bytes:
    """Give the attachment lists of a frame's images; what repeats is stored once."""
    out = bytearray()
    last: Attachments = {}
    for attachments in images:
        out += build_varint(len(attachments))
        for tag, data in sorted(attachments.items()):
            if last.get(tag) == data:
                out.append(tag | _AGAIN)
            else:
                out.append(tag)
                out += build_varint(len(data)) + data
                last[tag] = data
    return bytes(out)


def parse_attachments(
    payload: memoryview, position: int, count: int, limits: Limits
) -> tuple[list[Attachments], int]:
    """Give the attachments of `count` images, and the position after them."""
    images: list[Attachments] = []
    last: Attachments = {}
    for _ in range(count):
        n_items, position = parse_varint(payload, position)
        if n_items > MAX_ATTACHMENTS:
            raise InvalidFrame("attachments of an image", expected=f"at most {MAX_ATTACHMENTS}", got=n_items)
        attachments: Attachments = {}
        for _ in range(n_items):
            if position >= len(payload):
                raise InvalidFrame("the payload ends inside attachments")
            tag = payload[position] & ~_AGAIN
            again = payload[position] & _AGAIN
            position += 1
            if tag in attachments:
                raise InvalidFrame(f"attachment tag {tag} comes twice for one image")
            if again:
                if tag not in last:
                    raise InvalidFrame(f"attachment tag {tag} repeats an item that does not exist")
            else:
                length, position = parse_varint(payload, position)
                limits.check("metadata_bytes", length)
                if length > len(payload) - position:
                    raise InvalidFrame("the payload ends inside an attachment")
                last[tag] = bytes(payload[position : position + length])
                position += length
            attachments[tag] = last[tag]
        limits.check("metadata_bytes", sum(map(len, attachments.values())))
        images.append(attachments)
    return images, position
