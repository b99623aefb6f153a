"""Figures: clocks, medians, means, errors. Numbers and arrays in, numbers out; no section knows a formula."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


def alternate(
    runs: Mapping[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, float]:
    """Give the median seconds of each run.

    Each runs once unmeasured (compilation, caches), then once a round; every other round goes backwards, so
    that nobody always follows the same neighbour.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for number in range(rounds):
        for name in list(runs)[:: 1 if number % 2 == 0 else -1]:
            start = clock()
            runs[name]()
            seconds[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def geomean(values: Iterable[float]) -> float:
    """Give the geometric mean of positive numbers."""
    return statistics.geometric_mean(values)


def mean_squared_error(a: Pixels, b: Pixels) -> float:
    """Give the mean over all samples of the squared difference; exact up to the last division."""
    difference = a.astype(np.int32) - b
    return int((difference * difference).sum(dtype=np.int64)) / difference.size


def psnr(a: Pixels, b: Pixels) -> float:
    """Give the PSNR in dB over all samples."""
    error = mean_squared_error(a, b)
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def show_nearest(pixels: Pixels, colors: Pixels) -> Pixels:
    """Replace each pixel by its nearest colour, exactly: uint8 (h, w, 3) and (k, 3) to (h, w, 3).

    All products stay below 2^24, so that float32 holds them without rounding.
    """
    points = pixels.reshape(-1, 3)
    palette = colors.astype(np.float32)
    squares = (palette * palette).sum(axis=1)
    labels = np.empty(len(points), np.intp)
    for at in range(0, len(points), 1 << 14):
        chunk = points[at : at + (1 << 14)].astype(np.float32)
        labels[at : at + (1 << 14)] = (squares - 2 * chunk @ palette.T).argmin(axis=1)
    return colors[labels].reshape(pixels.shape)


def distinct_colors(pixels: Pixels) -> int:
    """Count the distinct colours of a picture."""
    words = np.zeros((*pixels.shape[:2], 4), np.uint8)
    words[:, :, : pixels.shape[2]] = pixels
    return len(np.unique(words.view(np.uint32)))
