"""Images in the mode that a loader asks for: `convert`, by the rules of Pillow's `Image.convert`.

Grey becomes RGB by repetition, RGB becomes grey by the luma of ITU-R 601-2 in Pillow's integers, alpha is
added as opaque, and dropped, where there is some, with no regard to what it hides.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

from triptych.errors import InvalidOption
from triptych.images import MODES, Pixels, Shape

ColorMode = Literal["L", "LA", "RGB", "RGBA"]

_LUMA = np.array([19595, 38470, 7471], np.uint32)
_OPAQUE = 255


def check_mode(mode: Any) -> ColorMode | None:
    """Return a mode; refuse what is none."""
    if mode is not None and mode not in get_args(ColorMode):
        raise InvalidOption(f"mode must be None or one of {', '.join(map(repr, MODES))}, not {mode!r}")
    checked: ColorMode | None = mode
    return checked


def color_of(pixels: Pixels) -> str:
    """Return the mode of an image as `Reader` gives it, (height, width) or (height, width, channels)."""
    return Shape(*np.atleast_3d(pixels).shape).color


def convert(pixels: Pixels, mode: ColorMode) -> Pixels:
    """Return an image in a mode.

    Parameters
    ----------
    pixels : uint8 (height, width) or (height, width, channels)
        Of 1 to 4 channels.
    mode : {"L", "LA", "RGB", "RGBA"}
        What is to come out.

    Returns
    -------
    uint8 (height, width) or (height, width, channels)
        The image itself where it has this mode.

    Raises
    ------
    InvalidOption
        It has more than 4 channels.

    Examples
    --------
    >>> convert(np.full((1, 1), 7, np.uint8), "RGBA").tolist()
    [[[7, 7, 7, 255]]]
    """
    given = color_of(pixels)
    if given == mode:
        return pixels
    if given not in MODES:
        raise InvalidOption(f"mode is for images of 1 to {len(MODES)} channels, not of {given}")
    planes = np.atleast_3d(pixels)
    colors, alpha = (planes[:, :, :-1], planes[:, :, -1:]) if given.endswith("A") else (planes, None)
    if mode.startswith("RGB"):
        colors = np.broadcast_to(colors, (*colors.shape[:2], 3))
    elif colors.shape[2] == 3:
        colors = ((colors @ _LUMA + 0x8000) >> 16).astype(np.uint8)[:, :, None]
    if mode.endswith("A"):
        if alpha is None:
            alpha = np.full((*colors.shape[:2], 1), _OPAQUE, np.uint8)
        return np.concatenate([colors, alpha], axis=2)
    return np.ascontiguousarray(colors[:, :, 0] if mode == "L" else colors)
