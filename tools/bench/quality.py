"""How alike two pictures look, and what one codec's curve saves against another's: numbers in, numbers out.

Of the metrics, PSNR is in `measure`; here are those that look at structure. All grow with likeness.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from bench.measure import Pixels

Plane = npt.NDArray[np.float64]
Curve = Sequence[tuple[float, float]]
"""Points (bytes or bits, quality) of one codec on one picture, in any order."""

_LUMA = np.array([0.299, 0.587, 0.114])
_WINDOW = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
_WINDOW /= _WINDOW.sum()
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def ms_ssim_db(a: Pixels, b: Pixels) -> float:
    """Give the MS-SSIM of the luma of two RGB pictures as -10 log10(1 - x), in dB.

    Five scales, an 11x11 Gaussian window of sigma 1.5 wholly inside the picture, halving by means of 2x2
    (Wang, Simoncelli and Bovik, 2003, with their exponents). Pictures are at least 176 pixels each way.
    """
    x, y = a @ _LUMA, b @ _LUMA
    product = 1.0
    for scale, weight in enumerate(_SCALE_WEIGHTS):
        mean_x, mean_y = _blur(x), _blur(y)
        variances = _blur(x * x) - mean_x**2 + _blur(y * y) - mean_y**2
        covariance = _blur(x * y) - mean_x * mean_y
        likeness = (2 * covariance + _C2) / (variances + _C2)
        if scale == len(_SCALE_WEIGHTS) - 1:
            likeness = likeness * (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
        # A negative mean has no power; so unlike a picture is of no interest.
        product *= max(float(likeness.mean()), 1e-6) ** weight
        x, y = _halve(x), _halve(y)
    return -10 * math.log10(max(1 - product, 1e-9))


def _blur(plane: Plane) -> Plane:
    """Filter with the window, where it lies wholly inside."""
    for _ in range(2):
        # The last axis is filtered and comes first: twice, and both are done and in their places.
        length = plane.shape[1] - len(_WINDOW) + 1
        plane = sum(w * plane[:, i : i + length] for i, w in enumerate(_WINDOW)).T
    return plane


def _halve(plane: Plane) -> Plane:
    height, width = plane.shape[0] // 2, plane.shape[1] // 2
    quads: Plane = plane[: 2 * height, : 2 * width].reshape(height, 2, width, 2)
    return np.asarray(quads.mean(axis=(1, 3)))


def ssimulacra2(original: Pixels, shown: Pixels) -> float:
    """Give the SSIMULACRA2 score of an RGB picture: 100 is the original, 90 is visually lossless, 30 is poor.

    Raises
    ------
    ImportError
        The package is not here.
    """
    compute = import_module("ssimulacra2").compute_ssimulacra2
    # It takes whatever Pillow opens; BMP because it is fast.
    return float(compute(_bmp(original), _bmp(shown)))


def ssimulacra2_version() -> str:
    """Say which implementation it is, or that there is none."""
    try:
        return f"PyPI's ssimulacra2 {version('ssimulacra2')} (version 2.1 of the metric, in Python)"
    except PackageNotFoundError:
        return "missing: no package ssimulacra2"


def _bmp(pixels: Pixels) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "BMP")
    return file


def bd_rate(anchor: Curve, test: Curve) -> float | None:
    """Give the mean percentage of bytes that `test` needs more than `anchor` at equal quality.

    Bjontegaard's measure: the logarithm of the rate over the quality, interpolated by monotone cubics
    (pchip), averaged over the qualities that both curves reach. None where they share none.
    """
    a, b = _log_rate(anchor), _log_rate(test)
    if a is None or b is None:
        return None
    low, high = max(a.x[0], b.x[0]), min(a.x[-1], b.x[-1])
    if not low < high:
        return None
    mean = (b.integrate(low, high) - a.integrate(low, high)) / (high - low)
    return float(100 * math.expm1(mean))


def rate_at(curve: Curve, quality: float) -> float | None:
    """Give the rate at which a curve reaches a quality; None where it lies beyond the curve's ends."""
    found = _log_rate(curve)
    if found is None or not found.x[0] <= quality <= found.x[-1]:
        return None
    return math.exp(float(found(quality)))


def _log_rate(curve: Curve) -> Any | None:
    """Interpolate the logarithm of the rate over the quality; None with fewer than two qualities."""
    best: dict[float, float] = {}
    for rate, quality in curve:
        best[quality] = min(rate, best.get(quality, math.inf))
    if len(best) < 2:
        return None
    qualities = sorted(best)
    logs = [math.log(best[quality]) for quality in qualities]
    return import_module("scipy.interpolate").PchipInterpolator(qualities, logs)
