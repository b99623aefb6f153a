"""The lossy image files that Triptych is measured against, each with its version and settings.

Pictures are uint8 (height, width) or (height, width, 3). Everything here pickles: points are measured in
worker processes too.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np
from PIL import Image, features

from bench.measure import Pixels
from bench.peers import Peer


@dataclass(frozen=True)
class LossyFile(Peer):
    """Codes a picture at a quality of its own scale, and gives the pixels back."""

    encode: Callable[[Pixels, float], bytes]
    decode: Callable[[bytes], Pixels]
    qualities: tuple[float, ...]
    """From small files to large; on photographs from about 0.1 to 2.5 bits a pixel."""
    is_ours: bool = False


def _decode_pillow(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image if image.mode == "L" else image.convert("RGB"))


def _encode_pillow(format: str, parameters: dict[str, Any], pixels: Pixels, quality: float) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=format, quality=round(quality), **parameters)
    return file.getvalue()


def _encode_avif(parameters: dict[str, Any], pixels: Pixels, quality: float) -> bytes:
    grey = {"subsampling": "4:0:0"} if pixels.ndim == 2 else {}
    return _encode_pillow("AVIF", {"speed": 4, "max_threads": 1} | parameters | grey, pixels, quality)


def _encode_jxl(pixels: Pixels, quality: float) -> bytes:
    encode = import_module("imagecodecs").jpegxl_encode
    return bytes(encode(pixels, distance=quality, lossless=False, effort=7, numthreads=1))


def _decode_jxl(data: bytes) -> Pixels:
    return np.asarray(import_module("imagecodecs").jpegxl_decode(data, numthreads=1))


def _encode_mozjpeg(pixels: Pixels, quality: float, trellis: bool = True) -> bytes:
    height, width = pixels.shape[:2]
    n_channels = pixels.size // (height * width)
    vips: Any = import_module("pyvips")
    image = vips.Image.new_from_memory(pixels.tobytes(), width, height, n_channels, "uchar")
    return bytes(
        image.copy(interpretation="srgb" if n_channels == 3 else "b-w").jpegsave_buffer(
            Q=round(quality),
            subsample_mode="on",
            keep="none",
            optimize_coding=True,
            interlace=True,
            trellis_quant=trellis,
            overshoot_deringing=trellis,
            optimize_scans=trellis,
            quant_table=3,
        )
    )


def _jpeg_version() -> str:
    number = features.version_feature("libjpeg_turbo")
    if number is None:
        raise ImportError("Pillow without libjpeg-turbo")
    return f"libjpeg-turbo {number} by Pillow {version('pillow')}"


def _mozjpeg_version() -> str:
    try:
        vips: Any = import_module("pyvips")
        noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
        plain, trellis = (_encode_mozjpeg(noise, 50, trellis) for trellis in (False, True))
    except Exception as error:  # a binding without its library, or with one that is too old
        raise ImportError(f"pyvips: {error}") from error
    if plain == trellis:
        raise ImportError("this libvips is built with another JPEG library: trellis_quant changes nothing")
    number = ".".join(str(vips.version(i)) for i in range(3))
    return f"mozjpeg of libvips {number} by pyvips {version('pyvips')}"


def _module_version(module: str) -> str:
    number = features.version_module(module)
    if number is None:
        raise ImportError(f"Pillow without {module}")
    return f"lib{module} {number} by Pillow {version('pillow')}"


def _avif_version() -> str:
    number = _module_version("avif")
    codecs = str(import_module("PIL._avif").codec_versions())
    return f"{number}; {codecs}"


def _jxl_version() -> str:
    codecs = import_module("imagecodecs")
    return f"libjxl {codecs.jpegxl_version().rpartition(' ')[2]} by imagecodecs {version('imagecodecs')}"


JPEG = LossyFile(
    "JPEG",
    "4:2:0, optimised Huffman tables",
    _jpeg_version,
    partial(_encode_pillow, "JPEG", {"optimize": True, "subsampling": "4:2:0"}),
    _decode_pillow,
    (5, 12, 25, 45, 65, 80, 90),
)
MOZJPEG = LossyFile(
    "mozjpeg",
    "4:2:0, progressive, trellis, deringing, optimised scans, quantization table 3",
    _mozjpeg_version,
    _encode_mozjpeg,
    _decode_pillow,
    (5, 12, 25, 45, 65, 80, 90),
)
WEBP = LossyFile(
    "WebP",
    "method 6",
    partial(_module_version, "webp"),
    partial(_encode_pillow, "WEBP", {"method": 6}),
    _decode_pillow,
    (1, 12, 30, 55, 75, 87, 94),
)
JXL = LossyFile(
    "JPEG XL",
    "effort 7, distances",
    _jxl_version,
    _encode_jxl,
    _decode_jxl,
    (14.0, 9.0, 6.0, 4.0, 2.5, 1.5, 0.9),
)
AVIF = LossyFile(
    "AVIF",
    "4:2:0, speed 4, its default tune",
    _avif_version,
    partial(_encode_avif, {"subsampling": "4:2:0"}),
    _decode_pillow,
    (12, 24, 38, 52, 65, 77, 88),
)
AVIF_PSNR = LossyFile(
    "AVIF 4:4:4 psnr",
    "4:4:4, speed 4, tune=psnr",
    _avif_version,
    partial(_encode_avif, {"subsampling": "4:4:4", "advanced": {"tune": "psnr"}}),
    _decode_pillow,
    (8, 18, 28, 38, 50, 62, 75),
)
FILES = (JPEG, MOZJPEG, WEBP, JXL, AVIF, AVIF_PSNR)
