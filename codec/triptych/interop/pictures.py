"""What Pillow images say beside their pixels, as `Writer.write` takes it, and back.

EXIF, XMP, ICC profiles, resolutions, text and colorimetry. A stream holds the plain data. Pillow puts six
bytes before EXIF, as JPEG does, and gives XMP as bytes or as text, by format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, cast

from triptych.errors import InvalidOption
from triptych.metadata import build_json, build_resolution, parse_resolution
from triptych.sidedata import Text, known_colorimetry, known_text

COMMENT = "Comment"
"""The keyword of PNG for what JPEG and GIF have without one."""
PNG_XMP = "XML:com.adobe.xmp"
LABELS = {
    "exif": "EXIF",
    "icc_profile": "ICC profile",
    "xmp": "XMP",
    "dpi": "resolution",
    "text": "text",
    "colorimetry": "gamma and primaries",
}
"""What messages call it."""
_LARGE = ("exif", "icc_profile", "text", "xmp")
"""What may be too large; where not all has room, what comes first here is kept."""
_EXIF_PREFIX = b"Exif\0\0"
_UNSAID = (1, 1)
"""Pixels an inch that Pillow tells of a TIFF file that says nothing."""
_OF_TIFF = (270, 271, 272, 305, 306, 315, 316, 33432)
"""Tags of TIFF as EXIF has them: description, maker, model, software, date, artist, host, copyright."""
_EXIF_IFD, _GPS_IFD = 34665, 34853


class Metadata(TypedDict, total=False):
    """What `Writer.write` takes beside the pixels."""

    exif: bytes
    xmp: bytes
    icc_profile: bytes
    dpi: tuple[float, float]
    text: Mapping[str, str | Sequence[str]]
    colorimetry: Mapping[str, Any]


def read_metadata(image: Any, given: Mapping[str, Any] | None = None) -> Metadata:
    """Return the metadata of a Pillow image, as `Writer.write` takes it.

    What is in `given` goes before what the image has; an empty value there leaves it out.
    """
    given = given or {}
    info = {**image.info, **given}
    xmp = info.get("xmp", info.get(PNG_XMP))
    found = Metadata()
    exif = _as_bytes(info.get("exif")).removeprefix(_EXIF_PREFIX)
    if "exif" not in info and image.format == "TIFF":
        exif = _exif_of_tiff(image)
    if exif:
        found["exif"] = exif
    if xmp := _as_bytes(xmp):
        found["xmp"] = xmp
    if icc_profile := _as_bytes(info.get("icc_profile")):
        found["icc_profile"] = icc_profile
    if (dpi := _as_resolution(info.get("dpi"))) and dpi != _UNSAID:
        found["dpi"] = dpi
    if text := _read_text(image, given):
        found["text"] = text
    if colorimetry := known_colorimetry(info):
        found["colorimetry"] = colorimetry
    return found


def fit_metadata(metadata: Metadata, most: int) -> tuple[Metadata, list[str]]:
    """Return what of the metadata fits into so many bytes, and the names of what is left out.

    What is too large costs itself alone; of text the longest.
    """
    kept: dict[str, Any] = {name: value for name, value in metadata.items() if name not in _LARGE}
    room = most - 64 * len(kept) - len(build_json(kept.get("colorimetry", {})))
    left_out = []
    for name in _LARGE:
        value: Any = metadata.get(name)
        if name == "text" and value:
            value = dict(sorted(value.items(), key=lambda item: len(str(item[1]))))
            while value and len(build_json(value)) > room:
                value.popitem()
            left_out += [name] * (len(value) < len(metadata["text"]))
        elif value and len(value) > room:
            left_out.append(name)
            continue
        if value:
            kept[name] = value
            room -= len(build_json(value)) if name == "text" else len(value)
    return cast(Metadata, kept), left_out


def _exif_of_tiff(image: Any) -> bytes:
    """Give what a TIFF file says of the picture, not of the file, in the form of EXIF."""
    from PIL import Image

    try:
        tags = image.getexif()
        exif = Image.Exif()
        for tag in _OF_TIFF:
            if tag in tags:
                exif[tag] = tags[tag]
        for tag in (_EXIF_IFD, _GPS_IFD):
            if directory := tags.get_ifd(tag):
                exif[tag] = directory
        return exif.tobytes().removeprefix(_EXIF_PREFIX) if len(exif) else b""
    except Exception:  # Pillow raises anything where the file is damaged
        return b""


def _read_text(image: Any, given: Mapping[str, Any]) -> Text:
    texts: dict[str, Any] = {}
    if image.format == "PNG":
        texts |= {
            name: value
            for name, value in image.info.items()
            if isinstance(value, str) and name not in ("comment", PNG_XMP)
        }
    for said in (image.info.get("text"), given.get("text")):
        texts |= said if isinstance(said, Mapping) else {}
    comments: Sequence[Any] = [data for name, data in getattr(image, "applist", ()) if name == "COM"]
    if "comment" in given:
        texts.pop(COMMENT, None)
        comments = [given["comment"]]
    elif not comments:
        comments = [image.info.get("comment")]
    if readable := [text for comment in comments if (text := _as_text(comment))]:
        texts.setdefault(COMMENT, readable)
    return known_text(texts)


def _as_text(value: Any) -> str:
    if not isinstance(value, bytes):
        return value if isinstance(value, str) else ""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


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
    """Return the metadata that `Reader.info` says, as Pillow has it in `Image.info`.

    EXIF, XMP, profile, resolution and comment are options of its `save` too.
    """
    found = {name: info[name] for name in ("exif", "xmp", "icc_profile", "dpi", "text") if name in info}
    if "exif" in found and not found["exif"].startswith(_EXIF_PREFIX):
        found["exif"] = _EXIF_PREFIX + found["exif"]
    if comment := comment_of(info):
        found["comment"] = comment
    found |= info.get("colorimetry", {})
    return found


def comment_of(info: Mapping[str, Any]) -> bytes:
    """Return the comment among the texts, as formats without keywords have it."""
    comment = info.get("text", {}).get(COMMENT, [])
    return "\n".join([comment] if isinstance(comment, str) else comment).encode()
