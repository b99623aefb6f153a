"""The programs and libraries that Triptych is measured against, each with its version and settings.

A peer that is not installed has no version (`Peer.version` raises what the import or the search raised);
`select` sorts those out and says how they are missing. Nothing is imported before it is asked for.
"""

from __future__ import annotations

import io
import lzma
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image, features

from bench.measure import Pixels
from bench.pictures import Sheet
from bench.results import Row, Table


@dataclass(frozen=True)
class Peer:
    """Something to be measured against."""

    name: str
    settings: str
    version: Callable[[], str]


@dataclass(frozen=True)
class Quantizer(Peer):
    """Reduces an RGB picture to n colours: gives the palette, uint8 (k, 3), and a label for each pixel."""

    run: Callable[[Pixels, int], tuple[Pixels, Pixels]]
    labels_are_nearest: bool = True
    """Whether its labels are by plain RGB distance; a clusterer's are, but of centres not yet rounded."""


@dataclass(frozen=True)
class Lossless(Peer):
    """Codes a picture of few colours: gives the bytes that stand for it, and the pixels back."""

    encode: Callable[[Sheet], bytes]
    decode: Callable[[bytes, Sheet], Pixels]
    extra_nbytes: Callable[[Sheet], int] = lambda sheet: 0
    """Bytes that are needed beside those of the file: the raw palette, where it codes indices alone."""

    def nbytes(self, sheet: Sheet) -> int:
        """Give the bytes it needs for this sheet; raise AssertionError where it gives other pixels back."""
        data = self.encode(sheet)
        if not np.array_equal(self.decode(data, sheet), sheet.pixels):
            raise AssertionError(f"{self.name} does not give {sheet.name} back")
        return len(data) + self.extra_nbytes(sheet)


P = TypeVar("P", bound=Peer)


def select(peers: Iterable[P]) -> tuple[list[P], Table]:
    """Give the peers that are here, and a table of all with versions and settings."""
    present: list[P] = []
    rows: list[Row] = []
    for peer in peers:
        try:
            found = peer.version()
            present.append(peer)
        except (ImportError, OSError) as error:
            found = f"missing: {error}"
        rows.append((peer.name, found, peer.settings))
    return present, Table("peers", ("peer", "version", "settings"), rows)


def program_version(name: str, *version_arguments: str) -> str:
    """Give the first line in which a program says its version."""
    if shutil.which(name) is None:
        raise FileNotFoundError(f"no program {name}")
    result = subprocess.run([name, *version_arguments], capture_output=True, text=True, check=False)
    return (result.stdout or result.stderr).splitlines()[0]


# Palettes.


def _rgba(pixels: Pixels) -> Pixels:
    return np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])


def _sklearn(pixels: Pixels, n_colors: int) -> tuple[Pixels, Pixels]:
    clusters = import_module("sklearn.cluster").KMeans(n_colors, n_init=1, random_state=0)
    clusters.fit(pixels.reshape(-1, 3).astype(np.float32))
    return _rounded(clusters.cluster_centers_), clusters.labels_.reshape(pixels.shape[:2])


def _faiss(pixels: Pixels, n_colors: int) -> tuple[Pixels, Pixels]:
    points = pixels.reshape(-1, 3).astype(np.float32)
    clusters = import_module("faiss").Kmeans(3, n_colors, seed=1)
    clusters.train(points)
    labels = clusters.index.search(points, 1)[1]
    return _rounded(clusters.centroids), labels.reshape(pixels.shape[:2])


def _rounded(centers: Any) -> Pixels:
    return np.asarray(np.clip(np.rint(centers), 0, 255).astype(np.uint8))


def _libimagequant(pixels: Pixels, n_colors: int) -> tuple[Pixels, Pixels]:
    # The package's own function has no speed, and takes the pixels as Python integers.
    binding = import_module("imagequant._libimagequant")
    lib, ffi = binding.lib, binding.ffi
    height, width, _ = pixels.shape
    rgba = _rgba(pixels)
    labels = np.empty((height, width), np.uint8)
    attributes = lib.liq_attr_create()
    lib.liq_set_speed(attributes, 1)
    lib.liq_set_max_colors(attributes, n_colors)
    image = lib.liq_image_create_rgba(attributes, ffi.from_buffer(rgba), width, height, 0)
    result = ffi.new("liq_result **")
    if lib.liq_image_quantize(image, attributes, result) != lib.LIQ_OK:
        raise RuntimeError("libimagequant did not quantize")
    lib.liq_set_dithering_level(result[0], 0.0)
    lib.liq_write_remapped_image(result[0], image, ffi.from_buffer(labels), labels.size)
    palette = lib.liq_get_palette(result[0])
    colors = [(c.r, c.g, c.b) for c in palette.entries[0 : palette.count]]
    lib.liq_result_destroy(result[0])
    lib.liq_image_destroy(image)
    lib.liq_attr_destroy(attributes)
    return np.array(colors, np.uint8), labels


def _libimagequant_version() -> str:
    number = import_module("imagequant._libimagequant").lib.liq_version()
    return f"{number // 10000}.{number // 100 % 100}.{number % 100} by imagequant {version('imagequant')}"


def _pillow(method: Image.Quantize) -> Callable[[Pixels, int], tuple[Pixels, Pixels]]:
    def run(pixels: Pixels, n_colors: int) -> tuple[Pixels, Pixels]:
        image = Image.fromarray(pixels).quantize(n_colors, method=method, dither=Image.Dither.NONE)
        colors = np.array(image.getpalette(), np.uint8).reshape(-1, 3)
        return colors, np.asarray(image)

    return run


def _pillow_version() -> str:
    return version("pillow")


SKLEARN = Quantizer(
    "scikit-learn KMeans",
    "all pixels, float32, k-means++, n_init 1, centres rounded",
    lambda: version("scikit-learn"),
    _sklearn,
)
LIBIMAGEQUANT = Quantizer(
    "libimagequant", "speed 1, no dither, its own mapping", _libimagequant_version, _libimagequant, False
)
FAISS = Quantizer(
    "faiss Kmeans",
    "defaults (25 rounds, 256 points a centre), centres rounded",
    lambda: version("faiss-cpu"),
    _faiss,
)
MEDIAN_CUT = Quantizer(
    "Pillow median cut", "no dither", _pillow_version, _pillow(Image.Quantize.MEDIANCUT), False
)
OCTREE = Quantizer(
    "Pillow fast octree", "no dither", _pillow_version, _pillow(Image.Quantize.FASTOCTREE), False
)
QUANTIZERS = (SKLEARN, LIBIMAGEQUANT, FAISS, MEDIAN_CUT, OCTREE)


# Lossless files.


def _save(image: Image.Image, **parameters: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, **parameters)
    return file.getvalue()


def _load(data: bytes, n_channels: int) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert({1: "L", 3: "RGB", 4: "RGBA"}[n_channels]))


def _load_like(data: bytes, sheet: Sheet) -> Pixels:
    return _load(data, sheet.pixels.shape[2])


def _webp(sheet: Sheet) -> bytes:
    image = Image.fromarray(sheet.pixels)
    return _save(image, format="WEBP", lossless=True, method=6, quality=100, exact=True)


def _png_palette(sheet: Sheet) -> bytes:
    image = Image.frombytes("P", sheet.indices.shape[::-1], sheet.indices.tobytes())
    image.putpalette(sheet.colors[:, :3].tobytes())
    alpha = {"transparency": sheet.colors[:, 3].tobytes()} if sheet.pixels.shape[2] == 4 else {}
    return _save(image, format="PNG", optimize=True, **alpha)


def _png(sheet: Sheet) -> bytes:
    plain = _save(Image.fromarray(sheet.pixels), format="PNG", optimize=True)
    return min(_png_palette(sheet), plain, key=len)


def oxipng(png: bytes) -> bytes:
    """Make a PNG smaller, at the highest level without zopfli."""
    module = import_module("oxipng")
    return bytes(module.optimize_from_memory(png, level=6, strip=module.StripChunks.all()))


def _jxl_encode(pixels: Pixels) -> bytes:
    return bytes(import_module("imagecodecs").jpegxl_encode(pixels, lossless=True, effort=9, numthreads=1))


def _jxl_decode(data: bytes) -> Pixels:
    return np.asarray(import_module("imagecodecs").jpegxl_decode(data, numthreads=1))


def _jxl_version() -> str:
    codecs = import_module("imagecodecs")
    return f"libjxl {codecs.jpegxl_version().rpartition(' ')[2]} by imagecodecs {version('imagecodecs')}"


def _cjxl_encode(pixels: Pixels) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.png"), Path(folder, "out.jxl")
        Image.fromarray(pixels).save(source)
        command = ["cjxl", "-d", "0", "-e", "9", "--num_threads=0", "--quiet", str(source), str(target)]
        subprocess.run(command, check=True, capture_output=True)
        return target.read_bytes()


def _cjxl_decode(data: bytes, n_channels: int) -> Pixels:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.jxl"), Path(folder, "out.png")
        source.write_bytes(data)
        subprocess.run(["djxl", str(source), str(target)], check=True, capture_output=True)
        return _load(target.read_bytes(), n_channels)


def _show(indices: Pixels, sheet: Sheet) -> Pixels:
    return sheet.colors[indices]


def _unpack(data: bytes, sheet: Sheet) -> Pixels:
    return _show(np.frombuffer(lzma.decompress(data), np.uint8).reshape(sheet.indices.shape), sheet)


def _raw_palette(sheet: Sheet) -> int:
    return sheet.palette_nbytes


def _webp_version() -> str:
    return f"libwebp {features.version('webp')} by Pillow {_pillow_version()}"


WEBP = Lossless(
    "WebP",
    "lossless, method 6, quality 100 (that is -z 9), exact",
    _webp_version,
    _webp,
    _load_like,
)
JXL = Lossless(
    "JXL",
    "lossless, effort 9",
    _jxl_version,
    lambda s: _jxl_encode(s.pixels),
    lambda data, _: _jxl_decode(data),
)
JXL_INDICES = Lossless(
    "JXL indices",
    "the same; indices as grey, raw palette counted",
    _jxl_version,
    lambda sheet: _jxl_encode(sheet.indices),
    lambda data, sheet: _show(_jxl_decode(data), sheet),
    _raw_palette,
)
CJXL = Lossless(
    "cjxl",
    "-d 0 -e 9 --num_threads=0",
    lambda: program_version("cjxl", "--version"),
    lambda sheet: _cjxl_encode(sheet.pixels),
    lambda data, sheet: _cjxl_decode(data, sheet.pixels.shape[2]),
)
CJXL_INDICES = Lossless(
    "cjxl indices",
    "the same; indices as grey, raw palette counted",
    CJXL.version,
    lambda sheet: _cjxl_encode(sheet.indices),
    lambda data, sheet: _show(_cjxl_decode(data, 1), sheet),
    _raw_palette,
)
XZ = Lossless(
    "xz",
    "-9e of raw indices, raw palette counted",
    lambda: "Python's lzma",
    lambda sheet: lzma.compress(sheet.indices.tobytes(), preset=9 | lzma.PRESET_EXTREME),
    _unpack,
    _raw_palette,
)
OXIPNG = Lossless(
    "oxipng",
    "level 6, strip all, no zopfli, from a palette PNG",
    lambda: f"pyoxipng {version('pyoxipng')}",
    lambda sheet: oxipng(_png_palette(sheet)),
    _load_like,
)
PNG = Lossless("PNG", "Pillow optimize; the smaller of palette and RGB", _pillow_version, _png, _load_like)
JXLS = (JXL, JXL_INDICES, CJXL, CJXL_INDICES)


# Lossy palette files.


def _pngquant_oxipng(pixels: Pixels, n_colors: int) -> bytes:
    command = ["pngquant", "--nofs", "--speed", "1", str(n_colors), "-"]
    png = _save(Image.fromarray(pixels), format="PNG")
    return oxipng(subprocess.run(command, input=png, check=True, capture_output=True).stdout)


@dataclass(frozen=True)
class PaletteFile(Peer):
    """Reduces an RGB picture to n colours and writes a file of it, which Pillow reads."""

    encode: Callable[[Pixels, int], bytes]

    def show(self, data: bytes) -> Pixels:
        """Give the pixels of its file."""
        return _load(data, 3)


PNGQUANT = PaletteFile(
    "pngquant + oxipng",
    "--nofs --speed 1; then oxipng level 6, strip all, no zopfli",
    lambda: f"{program_version('pngquant', '--version')}; {OXIPNG.version()}",
    _pngquant_oxipng,
)
