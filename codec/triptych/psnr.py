"""Squared error and PSNR: one definition for all panels, over all samples, alpha included."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from triptych.images import Pixels

__all__ = ["psnr_of", "squared_error"]

_ROWS_OF = 1 << 20
"""Samples whose differences are held at once."""


def squared_error(images: Iterable[Pixels], shown: Iterable[Pixels]) -> int:
    """Return the sum of squared differences of images (height, width[, channels]) and what is shown of them.

    Examples
    --------
    >>> squared_error([np.zeros((2, 2, 1), np.uint8)], [np.full((2, 2, 1), 255, np.uint8)])
    260100
    """
    return sum(_error_of(*pair) for pair in zip(images, shown, strict=True))


def _error_of(image: Pixels, shown: Pixels) -> int:
    error, rows = 0, max(1, _ROWS_OF // max(1, image.size // max(1, len(image))))
    for at in range(0, len(image), rows):
        # A square is below 2^16, so the sum of rows of up to 2^47 samples fits.
        difference = (image[at : at + rows].astype(np.int32) - shown[at : at + rows]).reshape(-1)
        error += int(np.einsum("i,i->", difference, difference, dtype=np.int64))
    return error


def psnr_of(error: float, n_samples: int) -> float:
    """Return the PSNR in dB of a sum of squared errors over so many samples of 8 bits; infinite for no error.

    Examples
    --------
    >>> psnr_of(0, 9), round(psnr_of(9, 9), 2)
    (inf, 48.13)
    """
    return 10 * math.log10(255**2 * n_samples / error) if error else math.inf
