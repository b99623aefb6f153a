"""What a reader or writer accepts (FORMAT.md section 3.1), checked before anything is allocated."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

from triptych.errors import InvalidOption, LimitExceeded
from triptych.forking import renew_after_fork
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
    expanded_bytes : int
        Bytes of a dictionary as it is used, unpacked.
    metadata_bytes : int
        Bytes of EXIF, XMP, ICC and JSON of one image, or of the metadata of a stream.
    decoded_bytes : int
        Bytes of pixels that one call gives.
    pixels_per_byte : int
        Pixels for each byte of a frame's payload, in frames of more than 2**20 pixels.
    total_pixels : int or None
        Pixels that a call, or a Reader in all its calls, decodes; those of a frame count as often as it is
        decoded. None: any number.
    total_seconds : float or None
        Seconds that a call, or a Reader in all its calls, spends on decoding, threads added up. It is looked
        at before each frame, so the last one may pass it. None: any number.

    Examples
    --------
    >>> Limits(pixels_per_image=1_000_000).images_per_frame
    65536
    """

    pixels_per_image: int = 89_478_485
    images_per_frame: int = 65_536
    payload_bytes: int = 256 << 20
    dictionary_bytes: int = 256 << 20
    expanded_bytes: int = 512 << 20
    metadata_bytes: int = 1 << 20
    decoded_bytes: int = 2 << 30
    pixels_per_byte: int = 65_536
    total_pixels: int | None = None
    total_seconds: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = plain_scalar(getattr(self, field.name))
            if field.name == "total_seconds":
                is_right = value is None or (isinstance(value, (int, float)) and value > 0)
                what = "a number above 0, or None"
            else:
                may_be_none = field.default is None
                is_right = (value is None and may_be_none) or (isinstance(value, int) and value >= 1)
                what = "an integer of at least 1" + ", or None" * may_be_none
            if isinstance(value, bool) or not is_right:
                raise InvalidOption(f"Limits.{field.name} must be {what}, not {value!r}")
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


class Budget:
    """What one call, or a Reader in all its calls, has spent of `total_pixels` and `total_seconds`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._pixels = 0
        self._seconds = 0.0
        self._after_fork()
        renew_after_fork(self)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()

    @contextmanager
    def spend(self, pixels: int) -> Iterator[None]:
        """Refuse so many pixels more if they, or the time before, are too much; count the time inside."""
        if self._limits.total_pixels is None and self._limits.total_seconds is None:
            yield
            return
        with self._lock:
            self._pixels += pixels
            for name, spent in (("total_pixels", self._pixels), ("total_seconds", self._seconds)):
                allowed = getattr(self._limits, name)
                if allowed is not None and spent > allowed:
                    raise LimitExceeded(f"Limits.{name} allows {allowed:,} in all, and this makes {spent:,}")
        began = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._seconds += time.perf_counter() - began


DEFAULT = Limits()
