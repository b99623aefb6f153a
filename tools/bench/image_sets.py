"""The section of collections: a stream of many small images beside one file of them all (a mosaic)."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from triptych.modes.auto import may_be_drawn

from bench import lossy, ours_pca
from bench.curves import Point, collect, curve
from bench.lossy import LossyFile
from bench.measure import Pixels, geomean, psnr
from bench.pictures import Sample
from bench.quality import rate_at
from bench.results import Goal, Row, Section, Table
from bench.setup import Setup

_NOTE = (
    "bytes an image of whole streams and files at equal PSNR (of all samples of all images together), pchip"
    " of log bytes over PSNR. mosaic: all images in one picture, as square as it goes; n/a: out of its reach"
)
_MOSAIC_PEERS = (lossy.JPEG, lossy.MOZJPEG, lossy.WEBP, lossy.JXL, lossy.AVIF_PSNR)
_MOSAIC_ENDS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    lossy.JXL.name: ((22.0,), (0.4,)),
    lossy.AVIF_PSNR.name: (
        (1,),
        (),
    ),  # its finest takes many seconds a megapixel, and 40 dB are there already
}
"""Qualities before and after those of a photograph; for others they are 1 and 96."""
_DIGITS_PSNR, _DIGITS_LIMIT = 29.3, 14.0
_N_COMPONENTS = 768
_FACES_LIMITS = {20.5: 67.0, 21.9: 110.0, 23.1: 159.0}
"""Bytes a face, by mean PSNR."""


@dataclasses.dataclass(frozen=True)
class Collection(Sample):
    """Images of one size: `pixels` is uint8 (n, height, width) or (n, height, width, 3).

    The name says how many: some of them are another collection.
    """

    @classmethod
    def of(cls, kind: str, pixels: Pixels) -> Collection:
        """Name so many images of a kind."""
        return cls(f"{kind} x{len(pixels)}", pixels)

    @property
    def kind(self) -> str:
        """The name without the number."""
        return self.name.rpartition(" x")[0]

    @property
    def n_pixels(self) -> int:
        """Pixels of all images."""
        return math.prod(self.pixels.shape[:3])


def make_mosaic(images: Pixels) -> Pixels:
    """Lay images out in one picture, row by row; the last image fills what is left."""
    n, height, width = images.shape[:3]
    n_columns = max(1, round(math.sqrt(n * height / width)))
    n_rows = -(-n // n_columns)
    filled = np.concatenate([images, np.repeat(images[-1:], n_rows * n_columns - n, axis=0)])
    grid = filled.reshape(n_rows, n_columns, *images.shape[1:]).swapaxes(1, 2)
    return np.ascontiguousarray(grid).reshape(n_rows * height, n_columns * width, *images.shape[3:])


def cut_mosaic(mosaic: Pixels, shape: tuple[int, ...]) -> Pixels:
    """Give the images of this shape, (n, height, width) or (n, height, width, 3), back."""
    n, height, width = shape[:3]
    if len(shape) == 3 and mosaic.ndim == 3:  # files that know no grey
        mosaic = np.asarray(Image.fromarray(mosaic).convert("L")) if mosaic.shape[2] == 3 else mosaic[:, :, 0]
    n_rows, n_columns = mosaic.shape[0] // height, mosaic.shape[1] // width
    cells = mosaic.reshape(n_rows, height, n_columns, width, *shape[3:]).swapaxes(1, 2)
    return np.ascontiguousarray(cells).reshape(-1, *shape[1:])[:n]


def _mosaic_encode(file: LossyFile, images: Pixels, quality: float) -> bytes:
    return file.encode(make_mosaic(images), quality)


def mosaic_codec(file: LossyFile) -> LossyFile:
    """Give the codec that writes a collection as one picture; `judge` cuts it up."""
    coarse, fine = _MOSAIC_ENDS.get(file.name, ((1,), (96,)))
    return dataclasses.replace(
        file,
        settings=f"{file.settings}; one mosaic",
        encode=partial(_mosaic_encode, file),
        qualities=(*coarse, *file.qualities, *fine),
    )


def judge(original: Pixels, shown: Pixels) -> dict[str, float]:
    """Give the PSNR over all samples, and the mean of that of each image."""
    images = shown if shown.shape == original.shape else cut_mosaic(shown, original.shape)
    each = [_finite_psnr(a, b) for a, b in zip(original, images, strict=True)]
    return {"psnr": _finite_psnr(original, images), "mean_psnr": statistics.mean(each)}


def _finite_psnr(a: Pixels, b: Pixels) -> float:
    """Give the PSNR, and a number where there is no error: curves pass through it, and means hold it."""
    return min(psnr(a, b), 99.0)


def pca_collections(setup: Setup) -> Section:
    """Measure collections: bytes an image at equal PSNR."""
    section = Section("pca-collections", notes=[_NOTE])
    most = setup.some(1_000_000, 64)
    digits = Collection.of("digits", _digits()[:most])
    faces = Collection.of("faces", read_cells(_only(setup.data / "faces", "anime64_devtest.png"))[:most])
    sets = [digits, *(read_pack(setup.data, name, most) for name in ("twemoji64", "tuxemon64")), faces]
    mosaics = [mosaic_codec(file) for file in _MOSAIC_PEERS]
    large = dataclasses.replace(ours_pca.COLLECTION, qualities=ours_pca.LARGE_QUALITIES)
    tasks: list[tuple[LossyFile, Sample]] = [
        (large if s is not digits else ours_pca.COLLECTION, s) for s in sets
    ]
    # As `triptych fit pca` does: palettes are weighed where they may serve.
    tasks += [
        (ours_pca.PALETTES, s) for s in sets if may_be_drawn([_with_channels(x) for x in s.pixels[:64]])
    ]
    tasks += [(c, s) for c in mosaics for s in sets]
    basis = _faces_codec(setup)
    if basis:
        tasks.append((basis, faces))
    points = collect(setup, section, tasks, judge)
    for images in sets:
        _compare(section, points, images, [peer.name for peer in mosaics])
    found = _bytes_at(points, ours_pca.COLLECTION.name, digits, _DIGITS_PSNR, "psnr")
    what = f"bytes an image, digits at {_DIGITS_PSNR} dB"
    section.goals.append(Goal(what, found, _DIGITS_LIMIT))
    _compare_with_floats(section, points, digits)
    _compare_basis(section, points, faces, basis.name if basis else None)
    return section


def _with_channels(image: Pixels) -> Pixels:
    return image if image.ndim == 3 else image[:, :, None]


def _bytes_at(
    points: list[Point], codec: str, images: Collection, quality: float, figure: str
) -> float | None:
    found = rate_at(curve(points, codec, images.name, figure), quality)
    return None if found is None else found / len(images.pixels)


def _compare(section: Section, points: list[Point], images: Collection, mosaics: list[str]) -> None:
    """Add the table of a collection at the PSNR of each of our points of PCA, and its goal.

    The goal is that of the panel with fewer bytes, as `triptych fit pca` tells which that is.
    """
    rows: list[Row] = []
    ratios: list[float] = []
    of_pca: list[float] = []
    for point in points:
        if (point.codec, point.picture) != (ours_pca.COLLECTION.name, images.name):
            continue
        reached = point.figures["psnr"]
        theirs = {peer: _bytes_at(points, peer, images, reached, "psnr") for peer in mosaics}
        sizes = {peer: size for peer, size in theirs.items() if size is not None}
        pca = point.nbytes / len(images.pixels)
        palettes = _bytes_at(points, ours_pca.PALETTES.name, images, reached, "psnr")
        ours = pca if palettes is None else min(pca, palettes)
        best = min(sizes, key=sizes.__getitem__, default=None)
        if best is not None:
            ratios.append(ours / sizes[best])
            of_pca.append(pca / sizes[best])
        cells = (theirs[peer] if peer in sizes else "n/a" for peer in mosaics)
        both = (ratios[-1], of_pca[-1]) if best else (None, None)
        rows.append((f"quality {point.quality:g}", reached, pca, palettes or "n/a", *cells, best, *both))
    mean = geomean(ratios) if ratios else None
    if rows:
        means = (mean, geomean(of_pca) if of_pca else None)
        rows.append(("geomean", *[None] * (len(mosaics) + 4), *means))
    columns = (
        "PCA at",
        "PSNR",
        "PCA",
        "k-means",
        *(f"{peer} mosaic" for peer in mosaics),
        "best",
        "ours / best",
        "PCA / best",
    )
    title = f"{images.name} of {images.pixels.shape[2]}x{images.pixels.shape[1]}"
    section.tables.append(Table(f"bytes an image, {title}", columns, rows))
    section.goals.append(Goal(f"bytes / best mosaic's, {images.kind}, geomean", mean, 1.0))


def _compare_with_floats(section: Section, points: list[Point], digits: Collection) -> None:
    """Add the table and the goal of what scikit-learn leaves: scores, basis and mean in float32."""
    flat = digits.pixels.reshape(len(digits.pixels), -1)
    rows: list[Row] = []
    for variance in (0.95, 0.98):
        floats: Any = import_module("sklearn.decomposition").PCA(variance).fit(flat)
        shown = np.rint(floats.inverse_transform(floats.transform(flat))).clip(0, 255).astype(np.uint8)
        n_components = int(floats.n_components_)
        theirs = 4 * (n_components + (n_components + 1) * flat.shape[1] / len(flat))
        reached = psnr(flat, shown)
        ours = _bytes_at(points, ours_pca.COLLECTION.name, digits, reached, "psnr")
        ratio = theirs / ours if ours else None
        rows.append((f"variance {variance}", n_components, reached, theirs, ours, ratio))
    columns = ("scikit-learn PCA", "components", "PSNR", "float32", "triptych", "float32 / triptych")
    section.tables.append(Table("bytes an image, digits: scores, basis and mean", columns, rows))
    ratios = [float(row[5]) for row in rows if isinstance(row[5], float)]
    least = min(ratios) if len(ratios) == len(rows) else None
    section.goals.append(Goal("bytes of float32 / ours, digits, the least", least, 9.0, at_least=True))


def _faces_codec(setup: Setup) -> LossyFile | None:
    """Give the codec of faces with a basis fitted to the training packs; None where there is no mode."""
    try:
        ours_pca.mode_version()
    except ImportError:
        return None
    if setup.faces:
        book, how = import_module("triptych").load_dictionary(setup.faces), f"from {setup.faces}"
    else:
        packs = sorted((setup.data / "faces").glob("anime64_train_*.jpg"))[: setup.some(100, 1)]
        train = np.concatenate([read_cells(pack) for pack in packs])
        setup.say(f"pca-collections: fitting {_N_COMPONENTS} components to {len(train)} faces")
        book, how = ours_pca.fit_book(train, _N_COMPONENTS), f"fitted to {len(train)} faces in this run"
    settings = f"n_components={_N_COMPONENTS}, {how}; the basis is NOT counted"
    return ours_pca.with_book(f"triptych {_N_COMPONENTS}", settings, book)


def _compare_basis(section: Section, points: list[Point], faces: Collection, codec: str | None) -> None:
    """Add the table and the goals of faces with a basis that is not counted."""
    peer = lossy.AVIF_PSNR.name
    rows: list[Row] = []
    for reached, limit in _FACES_LIMITS.items():
        ours = _bytes_at(points, codec, faces, reached, "mean_psnr") if codec else None
        rows.append((f"{reached} dB", ours, _bytes_at(points, peer, faces, reached, "mean_psnr")))
        section.goals.append(Goal(f"bytes a face at {reached} dB, basis not counted", ours, limit))
    columns = ("mean PSNR of a face", f"triptych {_N_COMPONENTS}, basis not counted", f"{peer} mosaic")
    section.tables.append(Table(f"bytes a face, {len(faces.pixels)} faces", columns, rows))
    if codec:
        sizes: Iterator[Row] = (
            (p.quality, p.figures["mean_psnr"], p.nbytes / len(faces.pixels))
            for p in points
            if p.codec == codec
        )
        columns = ("quality", "mean PSNR of a face", "bytes a face")
        section.tables.append(Table(f"{codec}, each quality", columns, list(sizes)))


def _digits() -> Pixels:
    """Give scikit-learn's digits, uint8 (1797, 8, 8): 0 to 16 becomes 0 to 255."""
    images = import_module("sklearn.datasets").load_digits().images
    return np.asarray(np.rint(images * (255 / 16)).astype(np.uint8))


def _only(folder: Path, pattern: str) -> Path:
    """Give the one file of a pack."""
    path = next(iter(sorted(folder.glob(pattern))), None)
    if path is None:
        raise FileNotFoundError(f"no {pattern} in {folder}")
    return path


def read_cells(path: Path) -> Pixels:
    """Cut a pack into its images of 64x64, uint8 (n, 64, 64, 3)."""
    with Image.open(path) as image:
        mosaic = np.asarray(image.convert("RGB"))
    n = mosaic.shape[0] // 64 * (mosaic.shape[1] // 64)
    return cut_mosaic(mosaic, (n, 64, 64, 3))


def read_pack(data: Path, name: str, most: int) -> Collection:
    """Read a pack of the folder of collections: at most so many images."""
    path = _only(data / "collections", f"{name}_dev_n*.png")
    return Collection.of(name, read_cells(path)[: min(most, int(path.stem.rpartition("_n")[2]))])
