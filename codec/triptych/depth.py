"""How deep the samples of a picture file are, where Pillow gives 8 bits of them without a word.

Pillow has no mode for colours of more than 8 bits: its readers keep the upper bits. What the file had is
known until the pixels are loaded.
"""

from __future__ import annotations

import re
from typing import Any

_RAW = re.compile(r";(\d\d)[BLN]")
"""The rawmode of a tile of more bits; in BGR;16 without an order of bytes they are those of a whole pixel."""
_BITS_PER_SAMPLE, _SAMPLES_PER_PIXEL = 258, 277
_HEAD_BYTES = 1 << 16
_SIZ = b"\xff\x4f\xff\x51"
_BC6H = 6


def source_bits(image: Any) -> int:
    """Return the bits a channel of the file that a Pillow image was opened from, before it is loaded.

    8 where they are no more, or where nothing is known of them: of an image that is loaded or was made.
    """
    tiles = getattr(image, "tile", ())
    if not tiles:
        return 8
    bits = [8, int(image.info.get("bit_depth", 8))]  # so says pillow-heif
    if (tags := getattr(image, "tag_v2", None)) is not None:
        bits += _numbers(tags.get(_BITS_PER_SAMPLE))
    for tile in tiles:
        codec, arguments = tile[0], tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        bits += [int(match[1]) for text in arguments if (match := _RAW.search(str(text)))]
        if codec in ("ppm", "ppm_plain") and isinstance(arguments[-1], int):
            bits.append(arguments[-1].bit_length())
        elif codec == "SGI16" or (codec == "bcn" and arguments[0] == _BC6H):
            bits.append(16)
        elif codec == "jpeg2k":
            bits += _bits_of_jpeg2000(_head(image))
        elif image.format == "AVIF":
            bits += _bits_of_avif(_head(image))
    return max(bits)


def lost_channels(image: Any) -> int:
    """Return how many channels of its file a Pillow image does not have: TIFF files have any number."""
    tags = getattr(image, "tag_v2", None)
    samples = [] if tags is None else _numbers(tags.get(_SAMPLES_PER_PIXEL))
    return max(0, *samples, len(image.getbands())) - len(image.getbands())


def _numbers(value: Any) -> list[int]:
    values = value if isinstance(value, tuple) else (value,)
    return [number for number in values if isinstance(number, int)]


def _head(image: Any) -> bytes:
    place = image.fp.tell()
    image.fp.seek(0)
    head = image.fp.read(_HEAD_BYTES)
    image.fp.seek(place)
    return bytes(head)


def _bits_of_jpeg2000(head: bytes) -> list[int]:
    start = head.find(_SIZ) + len(_SIZ)
    n_components = int.from_bytes(head[start + 36 : start + 38], "big")
    return [(size & 127) + 1 for size in head[start + 38 :: 3][:n_components]]


def _bits_of_avif(head: bytes) -> list[int]:
    start = head.find(b"av1C") + 4
    flags = head[start + 2 : start + 3]
    is_high, is_twelve = (bool(flags and flags[0] & mask) for mask in (64, 32))
    return [12 if is_high and is_twelve else 10 if is_high else 8]
