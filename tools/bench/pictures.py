"""The pictures that are measured on: paths in, `Sample`s out, uint8 (height, width, 3 or 4) with names."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from bench.measure import Pixels, distinct_colors

MAX_COLORS = 256
_PHOTO_ORDER = (1, 7, 13, 20, 5, 23, 3, 19, 15, 11)
"""Numbers of the Kodak pictures in the order in which sections take them: the first few differ most."""
_LUMA = np.array([299, 587, 114])


@dataclass(frozen=True)
class Sample:
    """A picture."""

    name: str
    pixels: Pixels

    @property
    def n_pixels(self) -> int:
        """Width times height."""
        height, width, _ = self.pixels.shape
        return int(height * width)


@dataclass(frozen=True)
class Sheet(Sample):
    """A picture of at most 256 colours; a palette sorted by luma, as most index coders like it best."""

    @cached_property
    def _indexed(self) -> tuple[Pixels, Pixels]:
        flat = self.pixels.reshape(-1, self.pixels.shape[2])
        colors, inverse = np.unique(flat, axis=0, return_inverse=True)
        luma = colors[:, :3].astype(np.int64) @ _LUMA
        order = np.lexsort((*colors.T, luma))
        rank = np.empty(len(order), np.uint8)
        rank[order] = np.arange(len(order))
        return np.ascontiguousarray(colors[order]), rank[inverse.reshape(self.pixels.shape[:2])]

    @property
    def colors(self) -> Pixels:
        """Palette, uint8 (k, 3 or 4)."""
        return self._indexed[0]

    @property
    def indices(self) -> Pixels:
        """Index map, uint8 (height, width)."""
        return self._indexed[1]

    @property
    def palette_nbytes(self) -> int:
        """Bytes of the raw palette."""
        return self.colors.size


def _read(file: io.BytesIO) -> Pixels:
    """Read a picture as RGB, or RGBA where any pixel is transparent."""
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGBA"))
    return np.ascontiguousarray(pixels[:, :, :3]) if (pixels[:, :, 3] == 255).all() else pixels


def _read_zip(path: Path) -> list[Sample]:
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.lower().endswith((".png", ".webp")))
        return [Sample(Path(name).stem, _read(io.BytesIO(archive.read(name)))) for name in names]


def photographs(data: Path, n: int) -> list[Sample]:
    """Give the first n Kodak pictures, in an order of ours."""
    by_number = {
        int(found[0]): sample
        for sample in _read_zip(data / "kodak" / "kodak24.zip")
        if (found := re.findall(r"\d+", sample.name))
    }
    wanted = [by_number.pop(number) for number in _PHOTO_ORDER if number in by_number]
    return (wanted + list(by_number.values()))[:n]


def palette_art(data: Path) -> list[Sheet]:
    """Give the pictures of the palette pack that have at most 256 distinct colours."""
    samples = _read_zip(data / "palette" / "palette_dev.zip")
    return [Sheet(s.name, s.pixels) for s in samples if distinct_colors(s.pixels) <= MAX_COLORS]


def sprite_cells(data: Path) -> list[Sheet]:
    """Give the 64x64 cells of the monster mosaic that have at most 256 colours."""
    path = next(iter(sorted((data / "collections").glob("tuxemon64_dev_n*.png"))), None)
    if path is None:
        raise FileNotFoundError(f"no tuxemon64_dev_n*.png in {data / 'collections'}")
    n_cells = int(path.stem.rpartition("_n")[2])
    mosaic = _read(io.BytesIO(path.read_bytes()))
    height, width, n_channels = mosaic.shape
    cells = mosaic.reshape(height // 64, 64, width // 64, 64, n_channels).swapaxes(1, 2)
    flat = np.ascontiguousarray(cells.reshape(-1, 64, 64, n_channels)[:n_cells])
    return [Sheet(f"cell {i}", cell) for i, cell in enumerate(flat) if distinct_colors(cell) <= MAX_COLORS]


def busy_share(indices: npt.NDArray[np.uint8]) -> float:
    """Give the share of pixels that differ from the one before and from the one above."""
    inner = indices[1:, 1:]
    return float(((inner != indices[1:, :-1]) & (inner != indices[:-1, 1:])).mean())
