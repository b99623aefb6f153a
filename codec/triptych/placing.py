"""Where decoded images go: into one array of the caller's, where it gives one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from triptych.errors import InvalidOption
from triptych.images import Pixels, Shape


def check_out(out: Pixels, n_images: int) -> Pixels:
    """Give an array for n images as (n, height, width, channels).

    Raises
    ------
    InvalidOption
        It is no array of uint8 (n, height, width) or (n, height, width, channels) that can be written.
    """
    wanted = f"out must be a C-contiguous uint8 array of {n_images} images that can be written"
    if not isinstance(out, np.ndarray) or out.dtype != np.uint8:
        raise InvalidOption(
            f"{wanted}, not {out.dtype if isinstance(out, np.ndarray) else type(out).__name__}"
        )
    if out.ndim not in (3, 4) or len(out) != n_images:
        raise InvalidOption(f"{wanted}: ({n_images}, height, width[, channels]), not of shape {out.shape}")
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise InvalidOption(f"{wanted}; this one is {'read-only' if out.flags.c_contiguous else 'strided'}")
    return out if out.ndim == 4 else out[:, :, :, None]


def places_of(out: Pixels, ats: list[int], shapes: Sequence[Shape]) -> Sequence[Pixels] | Pixels:
    """Give the arrays for images `ats` of these shapes: views of `out`, as one where they are neighbours.

    Raises
    ------
    InvalidOption
        An image has another shape than `out` has room for.
    """
    for at, shape in zip(ats, shapes, strict=True):
        if shape != out.shape[1:]:
            raise InvalidOption(
                f"shape (height, width, channels) of image {at} of the batch, in out",
                expected=tuple(shape),
                got=out.shape[1:],
            )
    if ats == list(range(ats[0], ats[0] + len(ats))):
        return out[ats[0] : ats[0] + len(ats)]
    return [out[at] for at in ats]
