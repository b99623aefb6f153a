"""Pillow images of every mode as such that Triptych encodes, and in words what that changes.

For those who cannot do it themselves, as on the command line: `triptych.images.as_pixels` refuses what is not
8 bits of grey or RGB. What converts well is converted: inks by their profile, grey of more bits by its range.
"""

from __future__ import annotations

import io
from typing import Any, NamedTuple

from triptych.depth import lost_channels, source_bits

_RANGE = 65535
_SCALED_BY_PILLOW = ("PPM", "JPEG2000")
"""Formats of which Pillow brings grey of any depth to 16 bits."""
_AS_RGB = {"YCbCr": "YCbCr", "HSV": "HSV", "LAB": "CIE Lab", "RGBX": "RGB with a fourth channel"}


class Change(NamedTuple):
    """What becomes of a picture, in words, and of this one in particular."""

    text: str
    detail: str = ""


class Facts(NamedTuple):
    """What is known of a picture's file before its pixels are loaded."""

    bits: int
    lost_channels: int


def look_at_file(image: Any) -> Facts:
    """Return the facts of the file behind a Pillow image that is not loaded yet."""
    return Facts(source_bits(image), lost_channels(image))


def convert(image: Any, facts: Facts) -> tuple[Any, list[Change]]:
    """Return a Pillow image as one that `as_pixels` takes, and what was changed.

    An ICC profile that the new pixels are not described by any more is not in its `info`.
    """
    changes = []
    if facts.lost_channels:
        changes.append(Change("channels beyond colour and alpha are left out"))
    if _is_deep_grey(image):
        image, change = _scale(image, facts.bits)
        return image, [*changes, change]
    if facts.bits > 8:
        changes.append(Change(f"{facts.bits} bits a channel are reduced to 8"))
    if image.mode == "CMYK":
        image, change = _convert_inks(image)
        changes.append(change)
    elif image.mode in _AS_RGB:
        changes.append(Change(f"{_AS_RGB[image.mode]} is converted to RGB"))
        is_lab = image.mode == "LAB"
        image = image.convert("RGB")
        if is_lab:
            image.info.pop("icc_profile", None)
    return image, changes


def _is_deep_grey(image: Any) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;")


def _scale(image: Any, bits: int) -> tuple[Any, Change]:
    """Bring grey of more than 8 bits to 0..255: by the range of its type, or else by its own."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image)
    is_float = image.mode == "F"
    if bits <= 8:  # the file does not say: what the mode holds
        bits = 16 if image.mode.startswith("I;") else 32
    name = "grey in floating point" if is_float else f"{bits}-bit grey"
    finite = values[np.isfinite(values)] if is_float else values
    low, high = (finite.min().item(), finite.max().item()) if finite.size else (0, 0)
    if not is_float and low >= 0 and high <= 255:
        levels = values.astype(np.uint8)
        change = Change(f"{name} becomes 8 bits; its values, at most 255, stay as they are")
    elif not is_float and low >= 0 and bits <= 16:
        top = _RANGE if image.format in _SCALED_BY_PILLOW else (1 << bits) - 1
        levels = ((values.astype(np.int64) * 255 + top // 2) // top).clip(0, 255).astype(np.uint8)
        change = Change(f"{name} becomes 8 bits, scaled from 0..{top}")
    else:
        share = (values.astype(np.float64) - low) / ((high - low) or 1)
        levels = np.nan_to_num(share * 255).clip(0, 255).round().astype(np.uint8)
        change = Change(f"{name} becomes 8 bits, scaled from its own range", f"{low:g}..{high:g}")
    key = image.info.get("transparency")
    if isinstance(key, int):
        levels = np.dstack([levels, np.where(values == key, 0, 255).astype(np.uint8)])
    plain = Image.fromarray(levels)
    plain.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return plain, change


def _convert_inks(image: Any) -> tuple[Any, Change]:
    from PIL import ImageCms

    profile = image.info.get("icc_profile")
    converted, why = None, "without a profile"
    if profile:
        try:
            inks = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            screen = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, inks, screen, outputMode="RGB")
            why = "by its ICC profile"
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            why = "without its profile, which cannot be used"
    if converted is None:
        converted = image.convert("RGB")
    converted.info = {name: value for name, value in image.info.items() if name != "icc_profile"}
    return converted, Change(f"CMYK is converted to RGB, {why}")
