"""Squared error and PSNR: one definition for all panels. What does not show does not count."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from triptych.images import Pixels

__all__ = ["psnr_of", "squared_error"]

_CHUNK = 1 << 19
"""Samples whose differences are held at once."""
_OPAQUE = 255


def squared_error(images: Iterable[Pixels], shown: Iterable[Pixels]) -> float:
    """Return the sum of squared differences of images (height, width, channels) and what is shown of them.

    Of images of 2 or 4 channels the last is alpha, by which the colours are multiplied first: one that is
    hidden counts for nothing. The sum is an integer, with alpha in units of 1 / 255^2; it is the same on all
    machines.

    Examples
    --------
    >>> squared_error([np.zeros((2, 2, 1), np.uint8)], [np.full((2, 2, 1), 255, np.uint8)])
    260100.0
    >>> squared_error([np.full((1, 1, 2), 128, np.uint8)], [np.array([[[0, 128]]], np.uint8)]) ** 0.5
    64.25098039215686
    >>> squared_error([np.array([[[9, 0]]], np.uint8)], [np.array([[[200, 0]]], np.uint8)])
    0.0
    """
    return math.fsum(_error_of(*pair) for pair in zip(images, shown, strict=True))


def _error_of(image: Pixels, shown: Pixels) -> float:
    channels = image.shape[2] if image.ndim == 3 else 1
    scale = _OPAQUE**2 if channels in (2, 4) else 1
    total, rows = 0, max(1, _CHUNK // max(1, image.size // max(1, len(image))))
    for at in range(0, len(image), rows):
        chunk = slice(at, at + rows)
        # Below 2^16, and their squares below 2^32: a chunk of one row of up to 2^31 samples fits.
        difference = (_weighted(image[chunk], channels) - _weighted(shown[chunk], channels)).reshape(-1)
        total += int(np.einsum("i,i->", difference, difference, dtype=np.int64))
    return total / scale


def _weighted(pixels: Pixels, channels: int) -> npt.NDArray[np.int32]:
    """Return samples; where there is alpha, colours times alpha, and alpha times 255."""
    samples = pixels.astype(np.int32)
    if channels in (2, 4):
        samples[:, :, :-1] *= samples[:, :, -1:]
        samples[:, :, -1] *= _OPAQUE
    return samples


def psnr_of(error: float, n_samples: int) -> float:
    """Return the PSNR in dB of a sum of squared errors over so many samples of 8 bits; infinite for no error.

    Examples
    --------
    >>> psnr_of(0, 9), round(psnr_of(9, 9), 2)
    (inf, 48.13)
    """
    return 10 * math.log10(255**2 * n_samples / error) if error else math.inf
