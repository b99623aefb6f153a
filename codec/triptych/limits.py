"""What a reader or writer accepts (FORMAT.md section 3.1), checked before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass, fields

from triptych.errors import InvalidOption, LimitExceeded
from triptych.scalars import plain_scalar

RATIO_FREE_PIXELS = 1 << 20
RATIO_FREE_IMAGES = 64
"""A frame of at most so many pixels may have any number of pixels for each byte."""


@dataclass(frozen=True)
class Limits:
    """Upper bounds for one call. Streams beyond them are refused with `LimitExceeded`.

    Parameters
    ----------
    pixels_per_image : int
        Width times height, and as much again for each 4 channels beyond the first 4.
    images_per_frame : int
        Images that share one frame.
    payload_bytes, dictionary_bytes : int
        Bytes of one frame's payload; of one dictionary.
    metadata_bytes : int
        Bytes of EXIF, XMP, ICC and JSON of one image, or of the metadata of a stream.
    decoded_bytes : int
        Bytes of pixels that one call gives.
    pixels_per_byte : int
        Pixels for each byte of a frame's payload, in frames of more than 2**20 pixels.

    Examples
    --------
    >>> Limits(pixels_per_image=1_000_000).images_per_frame
    65536
    """

    pixels_per_image: int = 89_478_485
    images_per_frame: int = 65_536
    payload_bytes: int = 256 << 20
    dictionary_bytes: int = 256 << 20
    metadata_bytes: int = 1 << 20
    decoded_bytes: int = 2 << 30
    pixels_per_byte: int = 65_536

    def __post_init__(self) -> None:
        for field in fields(self):
            value = plain_scalar(getattr(self, field.name))
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidOption(f"Limits.{field.name} must be an integer of at least 1, not {value!r}")
            # Frozen means that callers cannot change it; this is still the making of it.
            object.__setattr__(self, field.name, value)

    def check(self, name: str, amount: int) -> None:
        """Refuse an amount beyond the limit of this name."""
        if amount > getattr(self, name):
            raise LimitExceeded(f"Limits.{name} allows {getattr(self, name):,}, and this needs {amount:,}")

    def least_payload(self, pixels: int, n_images: int) -> int:
        """Bytes that the payload of a frame of so many pixels and images must have at least."""
        for_pixels = -(-pixels // self.pixels_per_byte) if pixels > RATIO_FREE_PIXELS else 0
        return max(for_pixels, n_images - RATIO_FREE_IMAGES)


DEFAULT = Limits()
