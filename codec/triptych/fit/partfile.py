"""Statistics of a part of a collection as bytes: what `fit --stats-only` writes and `fit --merge` reads.

All numbers are little-endian. A head of 44 bytes: signature `89 54 59 53 0D 0A 1A 0A`, version u16 (1), mode
u16 (1 k-means, 2 PCA), height, width and channels u32, images u64, count u64, CRC-32C of the head so far. A
body, whose length the head tells, and its CRC-32C. What the head says and what the body is:

| statistics | shape | count | body |
| --- | --- | --- | --- |
| of no image | 0, 0, 0 | 0 | nothing |
| of colours | 0, 0, 0 | colours | each as R G B A, by first appearance; how often each occurs, i64 |
| of images of one shape | h, w, c | 0 | the first images, u8; sums and scatters where there are more |
| of spectra | 0, 0, bands | pixels | sums and scatter |

Sums and scatters are those of `Statistics.pack`, i64. How many the first images are is told by `most_held`,
and what its constants are is part of the version. Nothing is allocated before the length is known to fit.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from triptych.checksum import crc32c
from triptych.errors import ChecksumMismatch, InvalidFrame, NotTriptych, Truncated, UnsupportedVersion
from triptych.fit.colors import Histogram, keys_of
from triptych.fit.components import ComponentStatistics, most_held
from triptych.fit.palettes import PaletteStatistics
from triptych.fit.spectral import SpectralStatistics
from triptych.fit.statistics import MAX_IMAGES, Statistics, matrix_side, needs_mirroring
from triptych.images import MAX_CHANNELS, Shape

State: TypeAlias = PaletteStatistics | ComponentStatistics | SpectralStatistics
_Spec: TypeAlias = tuple[str, tuple[int, ...]]

SIGNATURE = b"\x89TYS\r\n\x1a\n"
VERSION = 1
_MODES = {"kmeans": 1, "pca": 2}
_NAMES = {code: name for name, code in _MODES.items()}
_HEAD = struct.Struct("<8sHHIIIQQI")
_CRC = struct.Struct("<I")
_I64 = np.dtype("<i8")
_MAX_COUNT = 2.0**53


def build_part(mode: str, state: State | None) -> bytes:
    """Give statistics as bytes; None is of no image."""
    shape, n_images, count = Shape(0, 0, 0), 0, 0
    arrays: list[npt.NDArray[np.generic]] = []
    if isinstance(state, PaletteStatistics):
        histogram = state.histogram()
        n_images, count = state.n_images, len(histogram.colors)
        arrays = [histogram.colors, histogram.weights.astype(_I64)]
    elif isinstance(state, ComponentStatistics):
        shape, n_images = state.shape, state.n_images
        packed = [] if state.statistics is None else state.statistics.pack()
        arrays = [*state.first, *(numbers.astype(_I64) for numbers in packed)]
    elif state is not None:
        shape, n_images, count = Shape(0, 0, state.bands), state.n_images, state.spectra.n
        arrays = [numbers.astype(_I64) for numbers in state.spectra.pack()]
    head = _HEAD.pack(SIGNATURE, VERSION, _MODES[mode], *shape, n_images, count, 0)[: -_CRC.size]
    body = [array.tobytes() for array in arrays]
    crc = 0
    for piece in body:
        crc = crc32c(piece, crc)
    return b"".join([head, _CRC.pack(crc32c(head)), *body, _CRC.pack(crc)])


def parse_part(data: bytes) -> tuple[str, State | None]:
    """Give the mode and the statistics that `build_part` got.

    Raises
    ------
    NotTriptych, Truncated, ChecksumMismatch, UnsupportedVersion
        It is something else, cut, damaged, or of a later version.
    InvalidFrame
        It breaks a rule of the format, though its checksums are right.
    LimitExceeded
        Statistics of such images are not held.
    """
    mode, shape, n_images, count = _parse_head(data)
    if not n_images:
        _take(data, [])
        return mode, None
    if mode == "kmeans":
        colors, weights = _take(data, [("u1", (count, 4)), ("<i8", (count,))])
        if weights.min() < 1 or weights.sum(dtype=np.float64) > _MAX_COUNT or weights.sum() < n_images:
            raise InvalidFrame("counts of colours are not those of images")
        if np.unique(keys_of(colors)).size != count:
            raise InvalidFrame("a colour is there twice")
        # Copies that can be written to: kernels would be compiled anew for others.
        return mode, PaletteStatistics.of_histogram(
            n_images, Histogram(colors.copy(), weights.astype(np.int64))
        )
    if shape.has_bands:
        spectral = SpectralStatistics(shape.channels)
        plane = spectral.spectra.shape
        packed = _take(data, _packed(plane, False))
        spectral.n_images, spectral.spectra = n_images, _make_statistics(plane, False, count, packed)
        return mode, spectral
    n_first, mirrored = min(n_images, most_held(shape.nbytes)), needs_mirroring(shape)
    beyond = n_images > n_first
    first, *packed = _take(data, [("u1", (n_first, *shape)), *(_packed(shape, mirrored) if beyond else ())])
    statistics = _make_statistics(shape, mirrored, n_images, packed) if beyond else None
    return mode, ComponentStatistics.of_parts(shape, n_images, first, statistics)


def _parse_head(data: bytes) -> tuple[str, Shape, int, int]:
    if data[: len(SIGNATURE)] != SIGNATURE[: len(data)]:
        raise NotTriptych("not statistics of a collection, as `fit --stats-only` and to_bytes give them")
    if len(data) < _HEAD.size:
        raise Truncated("statistics end in their head", expected=_HEAD.size, got=len(data))
    _, version, code, height, width, channels, n_images, count, crc = _HEAD.unpack_from(data)
    computed = crc32c(data[: _HEAD.size - _CRC.size])
    if crc != computed:
        raise ChecksumMismatch("CRC of the head of statistics", expected=crc, got=computed)
    if version != VERSION:
        raise UnsupportedVersion("version of statistics", expected=VERSION, got=version)
    if code not in _NAMES:
        raise InvalidFrame("mode of statistics", expected=list(_NAMES), got=code)
    mode, shape = _NAMES[code], Shape(height, width, channels)
    bands = shape.has_bands and channels <= MAX_CHANNELS and not height and not width
    images = min(shape) > 0 and not shape.has_bands
    if not n_images:
        fits = not count and not any(shape)
    elif mode == "kmeans":
        fits = count > 0 and not any(shape)
    else:
        fits = (bands and count >= n_images) or (images and not count)
    if not fits or max(n_images, count) > MAX_IMAGES:
        raise InvalidFrame(f"statistics of {n_images:,} images {tuple(shape)} with count {count:,}")
    return mode, shape, n_images, count


def _packed(shape: Shape, mirrored: bool) -> list[_Spec]:
    """Say what `Statistics.pack` gives."""
    side = matrix_side(shape, mirrored)
    return [("<i8", (side,)), ("<i8", (side * (side + 1) // 2,))] * (1 + mirrored)


def _take(data: bytes, specs: Sequence[_Spec]) -> list[npt.NDArray[Any]]:
    """Give the arrays of the body, if it is whole and holds these and nothing else."""
    sizes = [np.dtype(dtype).itemsize * math.prod(shape) for dtype, shape in specs]
    expected = _HEAD.size + sum(sizes) + _CRC.size
    if len(data) < expected:
        raise Truncated("statistics were cut", expected=expected, got=len(data))
    if len(data) > expected:
        raise InvalidFrame("bytes of statistics", expected=expected, got=len(data))
    (crc,) = _CRC.unpack_from(data, expected - _CRC.size)
    computed = crc32c(memoryview(data)[_HEAD.size : -_CRC.size])
    if crc != computed:
        raise ChecksumMismatch("CRC of statistics", expected=crc, got=computed)
    arrays, start = [], _HEAD.size
    for (dtype, shape), size in zip(specs, sizes, strict=True):
        arrays.append(np.frombuffer(data, dtype, math.prod(shape), start).reshape(shape))
        start += size
    return arrays


def _make_statistics(shape: Shape, mirrored: bool, n: int, packed: list[npt.NDArray[Any]]) -> Statistics:
    """Make statistics of sums that n images can have."""
    low, high = (-256, 255) if mirrored else (-128, 127)
    for total, scatter in zip(packed[::2], packed[1::2], strict=True):
        bound = low * low * n
        if total.min() < low * n or total.max() > high * n or scatter.min() < -bound or scatter.max() > bound:
            raise InvalidFrame(f"sums that no {n:,} images have")
    return Statistics.unpack(shape, mirrored, n, packed)
