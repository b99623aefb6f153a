"""Spectral PCA: a mean spectrum and the principal spectra of images of many bands, and their dictionary.

Pixels are the rows of exact integer statistics, so images may have any size, and memory does not grow with
their number. `triptych.modes.spectral` codes the scores, one plane for each component, in blocks; by reverse
water-filling all planes get the same step, and components of a deviation far below it are not kept.

FORMAT.md section 4.3 is the law of the content.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Self

import numpy as np
import numpy.typing as npt

from triptych.dictionary import Dictionary, shipped_dictionary
from triptych.errors import DictionaryMismatch, InvalidFrame, InvalidImage, InvalidOption
from triptych.fit.statistics import F64, Statistics, gather
from triptych.images import MAX_CHANNELS, MODES, Pixels, Shape
from triptych.options import Options

KIND = "spectral"
BASE = "photo"
"""The shipped dictionary of blocks that codes the planes."""
ONE = 1 << 14
"""A component's entry of 1."""
MEAN_BITS = 8
"""Fraction bits of the mean."""
DEFAULT_QUALITY = 50
LEAST_DEVIATION = 0.1
"""Components of a standard deviation below so many steps are not kept: not even smooth planes are coded."""
LEAST_NOISE = 0.5
"""The same for components that are taken for noise."""
NOISE = 4.0
"""What has less than so many times the least variance of all components is taken for noise."""
_PRECISION = 5
"""An entry's step is so many octaves below 1 / deviation: a hundredth of a sample in each pixel."""
_MIN_PRECISION = 6
_BATCH = 1 << 14
_HEAD = struct.Struct("<HH32s")

I16 = npt.NDArray[np.int16]


def step_of_quality(quality: int) -> int:
    """Give the step of scores, in sixteenths of an octave of a sample."""
    return round(16 + 0.96 * (100 - quality))


def step_size(step: int) -> float:
    """Give the size of a step in samples."""
    return float(2 ** (step / 16))


@dataclass(frozen=True)
class SpectralBasis:
    """A mean and K components of spectra.

    base: the id of the dictionary of blocks. mean: u16 (bands), samples times 2^MEAN_BITS. rows: i16
    (K, bands), times ONE.
    """

    base: bytes
    mean: npt.NDArray[np.uint16]
    rows: I16

    @property
    def bands(self) -> int:
        """How many channels the images have."""
        return len(self.mean)

    @property
    def n_components(self) -> int:
        """How many components there are."""
        return len(self.rows)


def build_content(basis: SpectralBasis) -> bytes:
    """Give the content of a dictionary."""
    differences = np.diff(basis.rows, axis=1, prepend=np.int16(0))
    parts = (basis.mean.astype("<u2"), differences.astype("<i2"))
    halves = [part.reshape(-1).view(np.uint8)[half::2].tobytes() for part in parts for half in (0, 1)]
    head = _HEAD.pack(basis.bands, basis.n_components, basis.base)
    return head + zlib.compress(b"".join(halves), 9)


def parse_content(content: bytes) -> SpectralBasis:
    """Give what a dictionary's content says.

    Raises
    ------
    InvalidFrame
        It breaks FORMAT.md section 4.3. Nothing is allocated for what is refused.
    """
    if len(content) < _HEAD.size:
        raise InvalidFrame("a spectral dictionary ends in its head", expected=_HEAD.size, got=len(content))
    bands, n_components, base = _HEAD.unpack_from(content)
    if not len(MODES) < bands <= MAX_CHANNELS:
        raise InvalidFrame("bands", expected=f"{len(MODES) + 1} to {MAX_CHANNELS}", got=bands)
    if n_components > bands:
        raise InvalidFrame("components of spectra", expected=f"at most {bands}", got=n_components)
    size = 2 * bands * (1 + n_components)
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(content[_HEAD.size :], size + 1)
    except zlib.error as error:
        raise InvalidFrame(f"the content of a spectral dictionary does not inflate: {error}") from None
    if len(data) != size or not inflater.eof or inflater.unused_data:
        raise InvalidFrame("bytes of a spectral dictionary, inflated", expected=size, got=len(data))
    octets = np.frombuffer(data, np.uint8)
    mean = _join(octets[: 2 * bands]).view(np.uint16)
    rows = _join(octets[2 * bands :]).reshape(n_components, bands)
    rows = np.cumsum(rows, axis=1, dtype=np.int16)  # modulo 2^16, as the differences are
    if mean.max() > 255 << MEAN_BITS:
        raise InvalidFrame(
            "a mean beyond the samples", expected=f"at most {255 << MEAN_BITS}", got=mean.max()
        )
    if np.abs(rows.astype(np.int32)).max(initial=0) > ONE:
        raise InvalidFrame("entries of spectral components", expected=f"within {ONE}")
    return SpectralBasis(base, mean, rows)


def _join(octets: Pixels) -> I16:
    """Join low bytes and high bytes, half of the octets each."""
    low, high = octets.reshape(2, -1)
    return np.stack([low, high], axis=1).reshape(-1).view("<i2").astype(np.int16)


def load_basis(dictionary: Dictionary) -> SpectralBasis:
    """Give the basis of a dictionary.

    Raises
    ------
    DictionaryMismatch
        The dictionary is of another kind.
    InvalidFrame
        Its content is damaged.
    """
    if dictionary.kind != KIND:
        raise DictionaryMismatch("kind of dictionary", expected=KIND, got=dictionary.kind)
    return parse_content(dictionary.content)


class SpectralStatistics:
    """Statistics of the spectra of images of so many bands. After an error they are worthless.

    Attributes
    ----------
    bands, n_images : int
    spectra : Statistics
        Of all pixels, each an image of its own.
    """

    def __init__(self, bands: int) -> None:
        self.bands, self.n_images = bands, 0
        self.spectra = Statistics(Shape(1, 1, bands))

    def check(self, options: Options) -> None:
        """Refuse options that no images of so many bands can meet."""
        if options.n_components is not None and options.n_components > self.bands:
            raise InvalidOption(
                f"n_components is {options.n_components:,}, and spectra of {self.bands} bands have at most "
                f"{self.bands}",
                options=("n_components",),
            )

    def update(self, images: Iterable[Pixels], options: Options) -> None:
        """Add images (h, w, bands) of any sizes, counted in `options.threads` or `options.executor`."""
        gather(self._cut(images), self.spectra, options)

    def _cut(self, images: Iterable[Pixels]) -> Iterator[Pixels]:
        for image in images:
            if image.shape[2] != self.bands:
                raise InvalidImage(
                    f"image {self.n_images} of a collection for spectral PCA has another number of bands "
                    f"than image 0",
                    expected=self.bands,
                    got=image.shape[2],
                )
            self.n_images += 1
            pixels = image.reshape(-1, 1, 1, self.bands)
            for at in range(0, len(pixels), _BATCH):
                yield pixels[at : at + _BATCH].copy()  # it may be counted after the caller changed the image

    def merge(self, other: Self) -> None:
        """Add what other statistics know."""
        if self.bands != other.bands:
            raise InvalidImage(
                "statistics of images of another number of bands", expected=self.bands, got=other.bands
            )
        self.spectra.merge(other.spectra)
        self.n_images += other.n_images

    def fit(self, options: Options) -> Dictionary:
        """Learn components; what is known stays, so that images can be added."""
        self.check(options)
        values, columns = np.linalg.eigh(self.spectra.covariances()[0])
        variances, vectors = np.maximum(values[::-1], 0), columns.T[::-1]
        total = float(variances.sum())
        n = _choose(variances, options)
        shares = variances[:n] / total if total > 0 else variances[:n]
        mean = np.rint((self.spectra.sums[0] / self.spectra.n + 128) * (1 << MEAN_BITS))
        base = shipped_dictionary(BASE)
        basis = SpectralBasis(
            bytes.fromhex(base.id), mean.astype(np.uint16), _quantize(vectors[:n], variances[:n])
        )
        params = {
            "bands": self.bands,
            "images": self.n_images,
            "n_components": n,
            "pixels": self.spectra.n,
            "total_variance": round(total, 1),
            "variance": round(float(shares.sum()) if total > 0 else 1.0, 4),
        }
        report = {"explained_variance_ratio_": [float(share) for share in shares]}
        return Dictionary.build(KIND, params, build_content(basis), report)


def fit_spectral(images: Iterable[Pixels], options: Options) -> Dictionary:
    """Learn spectral components from images (h, w, bands), of any sizes; they are read once.

    Raises
    ------
    InvalidImage
        No image, or images of different numbers of bands.
    InvalidOption
        More components than bands.
    """
    images = iter(images)
    first = next(images, None)
    if first is None:
        raise InvalidImage("fit needs at least one image")
    statistics = SpectralStatistics(first.shape[2])
    statistics.check(options)
    statistics.update(chain([first], images), options)
    return statistics.fit(options)


def _choose(variances: F64, options: Options) -> int:
    """Decide how many components are kept."""
    some = int((variances > 1e-6 * max(1.0, float(variances.sum()))).sum())  # constant images have none
    if options.n_components is not None:
        return options.n_components
    if options.variance is not None:
        # A millionth less: rounding must not ask for one more component.
        enough = np.searchsorted(np.cumsum(variances), (options.variance - 1e-6) * variances.sum()) + 1
    elif options.target_psnr is not None:
        # What is left out may be a quarter of the error.
        allowed = 255**2 * 10 ** (-options.target_psnr / 10) * len(variances) / 4
        left = np.cumsum(variances[::-1])[::-1]  # without the components from each one on
        enough = (left > allowed).sum()
    else:
        quality = DEFAULT_QUALITY if options.quality is None else options.quality
        least = np.where(variances < NOISE * variances[-1], LEAST_NOISE, LEAST_DEVIATION)
        enough = (np.sqrt(variances) >= least * step_size(step_of_quality(quality))).sum()
    return min(int(enough), some)


def _quantize(vectors: F64, variances: F64) -> I16:
    """Round components as finely as their scores deserve."""
    if not len(vectors):
        return np.zeros((0, vectors.shape[1]), np.int16)
    greatest = vectors[np.arange(len(vectors)), np.abs(vectors).argmax(axis=1)]
    # A vector and its negative are the same component: the greatest entry is positive.
    vectors = vectors * np.where(greatest < 0, -1.0, 1.0)[:, None]
    octaves = np.ceil(np.log2(np.maximum(variances, 1e-9)) / 2) + _PRECISION
    steps = 2.0 ** -np.clip(octaves, _MIN_PRECISION, math.log2(ONE))
    rows: I16 = (np.rint(vectors / steps[:, None]) * steps[:, None] * ONE).astype(np.int16)
    return rows
