"""The section of images of many bands: one stream with its spectral components beside a file for each band.

The scenes are made here, and the notes say so: no freely licensed scene of a real sensor is among the data.
"""

from __future__ import annotations

import dataclasses
import io
import math
import struct
import zipfile
from collections.abc import Callable
from functools import partial

import numpy as np
import triptych
from PIL import Image

from bench import lossy, ours_pca
from bench.curves import Point, collect, curve
from bench.lossy import LossyFile
from bench.measure import Pixels, geomean, psnr
from bench.pictures import Sample
from bench.quality import rate_at
from bench.results import Goal, Row, Section, Table
from bench.setup import Setup

_NOTE = (
    "bytes at equal PSNR over all samples. The scenes are made of photographs: 12 channels of four pictures"
    " say how much of 12 materials is in a pixel, each material has a smooth random spectrum, light falls"
    " off unevenly, and each sample has noise of 1.5 levels. Real scenes have other noise and more materials"
)
_N_SCENES, _SIDE, _N_BANDS, _NOISE = 3, 256, 64, 1.5
_QUALITIES = (5, 20, 35, 50, 65, 80)
_PEERS = (lossy.JPEG, lossy.WEBP, lossy.JXL, lossy.AVIF_PSNR)


@dataclasses.dataclass(frozen=True)
class Scene(Sample):
    """An image of many bands: `pixels` is uint8 (height, width, bands)."""

    @property
    def n_pixels(self) -> int:
        """Samples, of all bands."""
        return math.prod(self.pixels.shape)


def make_scene(planes: Pixels, n_bands: int, seed: int) -> Pixels:
    """Mix materials, uint8 (height, width, materials), into bands, uint8 (height, width, n_bands)."""
    random = np.random.default_rng(seed)
    shares = np.exp(3 * planes / 255)
    shares /= shares.sum(axis=2, keepdims=True)
    x = np.linspace(0, 1, n_bands)
    spectra = np.stack([_spectrum(random, x) for _ in range(planes.shape[2])])
    light = 0.6 + 0.4 * planes.mean(axis=2, keepdims=True) / 255
    values = 255 * light * (shares @ spectra) + random.normal(0, _NOISE, (*planes.shape[:2], n_bands))
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _spectrum(random: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Give a smooth spectrum in 0.05 to 0.95: a few broad bumps."""
    bumps = np.exp(-(((x - random.uniform(0, 1, (5, 1))) / random.uniform(0.05, 0.4, (5, 1))) ** 2))
    mixed = random.uniform(-1, 1, 5) @ bumps
    low, high = mixed.min(), mixed.max()
    return 0.05 + 0.9 * (mixed - low) / max(high - low, 1e-9)


def bands(setup: Setup) -> Section:
    """Measure images of many bands."""
    section = Section("bands", notes=[_NOTE])
    scenes = _scenes(setup)
    peers = [_band_by_band(file) for file in _PEERS]
    points = collect(setup, section, [(c, s) for c in (_OURS, *peers) for s in scenes], _judge)
    names = [peer.name for peer in peers]
    rows: list[Row] = []
    ratios: list[float] = []
    for point in points:
        if point.codec != _OURS.name:
            continue
        theirs = {name: _rate(points, name, point) for name in names}
        found = {name: size for name, size in theirs.items() if size is not None}
        best = min(found, key=found.__getitem__, default=None)
        if best is not None:
            ratios.append(point.nbytes / found[best])
        cells = (found.get(name, "n/a") for name in names)
        ratio = ratios[-1] if best else None
        rows.append((point.picture, point.quality, point.figures["psnr"], point.nbytes, *cells, best, ratio))
    title = f"bytes of a scene of {_SIDE}x{_SIDE}, {_N_BANDS} bands"
    columns = ("scene", "quality", "PSNR", "triptych", *names, "best", "ours / best")
    section.tables.append(Table(title, columns, rows))
    what = "bytes / best file for each band, geomean"
    section.goals.append(Goal(what, geomean(ratios) if ratios else None, 1.0))
    return section


def _rate(points: list[Point], codec: str, at: Point) -> float | None:
    return rate_at(curve(points, codec, at.picture, "psnr"), at.figures["psnr"])


def _judge(original: Pixels, shown: Pixels) -> dict[str, float]:
    return {"psnr": min(psnr(original, shown), 99.0)}


def _scenes(setup: Setup) -> list[Sample]:
    n = setup.some(_N_SCENES, 1)
    with zipfile.ZipFile(setup.data / "photos_test" / "photos_devtest.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".webp"))[: 4 * n]
        pictures = [
            np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB"))[:_SIDE, :_SIDE]
            for name in names
        ]
    return [
        Scene(f"scene {i + 1}", make_scene(np.concatenate(pictures[4 * i : 4 * i + 4], axis=2), _N_BANDS, i))
        for i in range(n)
    ]


def _encode(pixels: Pixels, quality: float) -> bytes:
    book = triptych.fit("pca", [pixels], quality=round(quality))
    return triptych.encode(pixels, dictionary=book, quality=round(quality), threads=1)


def _band_by_band(file: LossyFile) -> LossyFile:
    return dataclasses.replace(
        file,
        name=f"{file.name}, band by band",
        settings=f"{file.settings}; a grey file for each band, and 4 bytes for its length",
        encode=partial(_encode_bands, file.encode),
        decode=partial(_decode_bands, file.decode),
    )


def _encode_bands(encode: Callable[[Pixels, float], bytes], pixels: Pixels, quality: float) -> bytes:
    files = [encode(np.ascontiguousarray(band), quality) for band in np.moveaxis(pixels, 2, 0)]
    return b"".join(struct.pack("<I", len(data)) + data for data in files)


def _decode_bands(decode: Callable[[bytes], Pixels], data: bytes) -> Pixels:
    shown, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        band = decode(data[at + 4 : at + 4 + length])
        shown.append(band if band.ndim == 2 else np.asarray(Image.fromarray(band).convert("L")))
        at += 4 + length
    return np.stack(shown, axis=2)


_OURS = LossyFile(
    "triptych",
    "fit('pca', [scene], quality=q); the dictionary embedded and counted",
    ours_pca.mode_version,
    _encode,
    ours_pca.decode_photo,
    _QUALITIES,
    is_ours=True,
)
