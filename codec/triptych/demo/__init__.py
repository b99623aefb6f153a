"""The demo: our pictures through Triptych and its peers, measured where it runs.

Each `Row` compares files of the same pixels (PNG, lossless WebP) or of the same PSNR (lossy WebP, JPEG).
Nothing is remembered from other machines: every figure is measured in the call.
"""

from __future__ import annotations

import io
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from triptych.demo import peers
from triptych.images import Pixels
from triptych.psnr import psnr_of, squared_error

__all__ = ["Row", "measure"]

_PICTURES = Path(__file__).parent / "pictures"
_TILE = 32
_SECONDS = 0.1
"""For each timing, beyond its first run."""


@dataclass(frozen=True)
class _Case:
    title: str
    file: str
    options: dict[str, Any] = field(default_factory=dict)
    tiled: bool = False


_CASES = (
    _Case("tiles (96 of 32x32)", "tiles.png", {"lossless": True}, tiled=True),
    _Case("undead (pixel art)", "undead.png", {"lossless": True}),
    _Case("icons (alpha)", "icons.png", {"lossless": True}),
    _Case("chart", "chart.png", {"lossless": True}),
    _Case("harbour, 256 colours", "harbour.webp", {"n_colors": 256}),
    _Case("harbour, PCA", "harbour.webp", {"mode": "pca", "tune": "psnr"}),
)


@dataclass(frozen=True)
class Row:
    """One picture, measured. Rates are megapixels a second, one thread.

    Attributes
    ----------
    title : str
    pixels : int
    png, webp : int
        Bytes.
    jpeg : int or None
        Bytes; None where the format cannot have these pixels, or reach this PSNR.
    ours : int
        Bytes of the whole stream.
    psnr : float
        In dB; infinite where every decoded pixel equals the picture.
    encode_rate, decode_rate : float
    stream : bytes
    decoded : list of uint8 (height, width, channels)
    """

    title: str
    pixels: int
    png: int
    webp: int
    jpeg: int | None
    ours: int
    psnr: float
    encode_rate: float
    decode_rate: float
    stream: bytes
    decoded: list[Pixels]

    @property
    def is_exact(self) -> bool:
        """Whether every decoded pixel equals the picture."""
        return math.isinf(self.psnr)

    @property
    def name(self) -> str:
        """A name for files."""
        return self.title.replace(",", "").split(" (")[0].replace(" ", "-")


def measure() -> Iterator[Row]:
    """Encode, decode and compare the pictures, one by one."""
    for case in _CASES:
        yield _measure_case(case)


def _measure_case(case: _Case) -> Row:
    whole = np.asarray(Image.open(_PICTURES / case.file))
    pictures = _cut_tiles(whole) if case.tiled else [whole]
    n_pixels = sum(picture.shape[0] * picture.shape[1] for picture in pictures)
    stream, encode_seconds = _timed(lambda: _encode(pictures, case.options))
    decoded, decode_seconds = _timed(lambda: _decode(stream))
    psnr = psnr_of(squared_error(pictures, decoded), sum(picture.size for picture in pictures))
    jpeg: int | None = None
    png = sum(peers.png_bytes(picture) for picture in decoded)
    if math.isinf(psnr):
        webp = sum(peers.lossless_webp_bytes(picture) for picture in decoded)
    else:
        # A lossless file of our decoded pixels has the same PSNR too.
        webp = min(
            peers.lossless_webp_bytes(decoded[0]), peers.bytes_at_psnr("WEBP", whole, psnr) or sys.maxsize
        )
        jpeg = peers.bytes_at_psnr("JPEG", whole, psnr)
    return Row(
        case.title,
        n_pixels,
        png,
        webp,
        jpeg,
        len(stream),
        psnr,
        n_pixels / encode_seconds / 1e6,
        n_pixels / decode_seconds / 1e6,
        stream,
        decoded,
    )


def _cut_tiles(atlas: Pixels) -> list[Pixels]:
    height, width, channels = atlas.shape
    tiles = atlas.reshape(height // _TILE, _TILE, width // _TILE, _TILE, channels).swapaxes(1, 2)
    return list(np.ascontiguousarray(tiles).reshape(-1, _TILE, _TILE, channels))


def _encode(pictures: list[Pixels], options: dict[str, Any]) -> bytes:
    from triptych.writer import Writer

    buffer = io.BytesIO()
    with Writer(buffer, threads=1, **options) as writer:
        for picture in pictures:
            writer.write(picture)
    return buffer.getvalue()


def _decode(stream: bytes) -> list[Pixels]:
    from triptych.reader import Reader

    with Reader(stream) as reader:
        return list(reader)


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """Give a result and the least seconds it took; the first run, which may compile, does not count."""
    result = function()
    best = math.inf
    end = time.perf_counter() + _SECONDS
    while math.isinf(best) or time.perf_counter() < end:
        begin = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - begin)
    return result, best
