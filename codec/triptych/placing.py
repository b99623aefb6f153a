"""Where decoded images go: into new arrays within a limit, or into one array of the caller's."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from triptych.errors import InvalidOption
from triptych.images import Pixels, Shape, count_bytes
from triptych.limits import Limits


class NewPlaces:
    """New arrays, in one call no more than `Limits.decoded_bytes` allows. For any number of threads."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._nbytes = 0

    def get(self, ats: list[int], shapes: Sequence[Shape]) -> Sequence[Pixels]:
        """Give arrays for images of these shapes.

        Raises
        ------
        LimitExceeded
            Together with those given before they are too large; nothing is allocated.
        """
        with self._lock:
            self._nbytes += count_bytes(shapes)
            self._limits.check("decoded_bytes", self._nbytes)
        return [np.empty(shape, np.uint8) for shape in shapes]


class PlacesIn:
    """Places in an array of the caller's for a batch of images, (n, height, width[, channels]).

    Raises
    ------
    InvalidOption
        It is no array of uint8 (n, height, width) or (n, height, width, channels) that can be written.
    LimitExceeded
        It is larger than `Limits.decoded_bytes`.
    """

    def __init__(self, out: Pixels, n_images: int, limits: Limits) -> None:
        self._out = _check_out(out, n_images)
        limits.check("decoded_bytes", out.nbytes)

    def get(self, ats: list[int], shapes: Sequence[Shape]) -> Sequence[Pixels] | Pixels:
        """Give the arrays for images `ats` of these shapes: views, as one where they are neighbours.

        Raises
        ------
        InvalidOption
            An image has another shape than there is room for.
        """
        out = self._out
        for shape in dict.fromkeys(shapes):  # each once, in order
            if shape != out.shape[1:]:
                image = ats[shapes.index(shape)]
                raise InvalidOption(
                    f"shape (height, width, channels) of image {image} of the batch, in out",
                    expected=tuple(shape),
                    got=out.shape[1:],
                )
        if ats == list(range(ats[0], ats[0] + len(ats))):
            return out[ats[0] : ats[0] + len(ats)]
        return [out[at] for at in ats]


def place_one(out: Pixels, shape: Shape) -> Pixels:
    """Give an array of the caller's for one image, (height, width[, channels]), as one of 3 axes.

    Raises
    ------
    InvalidOption
        It is no array of uint8 of this shape that can be written.
    """
    wanted = "out must be a C-contiguous uint8 array for one image that can be written"
    _check_array(out, wanted)
    if out.shape not in (shape, shape[:2] if shape.channels == 1 else shape):
        raise InvalidOption(f"{wanted}; its shape", expected=tuple(shape), got=out.shape)
    return out.reshape(shape)


def _check_out(out: Pixels, n_images: int) -> Pixels:
    """Give an array for n images as (n, height, width, channels)."""
    wanted = f"out must be a C-contiguous uint8 array of {n_images} images that can be written"
    _check_array(out, wanted)
    if out.ndim not in (3, 4) or len(out) != n_images:
        raise InvalidOption(f"{wanted}: ({n_images}, height, width[, channels]), not of shape {out.shape}")
    return out if out.ndim == 4 else out[:, :, :, None]


def _check_array(out: Pixels, wanted: str) -> None:
    if not isinstance(out, np.ndarray) or out.dtype != np.uint8:
        raise InvalidOption(
            f"{wanted}, not {out.dtype if isinstance(out, np.ndarray) else type(out).__name__}"
        )
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise InvalidOption(f"{wanted}; this one is {'read-only' if out.flags.c_contiguous else 'strided'}")
