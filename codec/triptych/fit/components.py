"""Global PCA of a collection: statistics to a mean, a basis and its precision; images to a dictionary.

The rate-optimal choice is that of reverse water-filling (Cover and Thomas, section 10.3): one step for the
scores of all components, and none for components whose standard deviation is well below it. An entry of
component j is an n-th part of n scores' error: its best step is step / (sigma_j * sqrt(n)). A collection
that is as well described by a basis learned from the other half of it *and that half's mirror images* is
mirror-symmetric: then each component is even or odd, and half of it is stored.

Few images are held; more become `Statistics`, so memory does not grow with the collection.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
import numpy.typing as npt

from triptych.dictionary import Dictionary
from triptych.errors import InvalidImage, InvalidOption
from triptych.fit.basis import (
    EVEN_LEVEL,
    KIND,
    MAX_COMPONENTS,
    MAX_ENTRIES,
    MAX_GAIN,
    MAX_LEVEL,
    MAX_SHIFT,
    MAX_STEP,
    MIN_SHIFT,
    Basis,
    build_content,
    step_size,
    stored_shape,
)
from triptych.fit.statistics import F64, Statistics, gather, row_weights, split_rows
from triptych.images import Pixels, Shape
from triptych.options import Options

Parities = npt.NDArray[np.uint8]

DEFAULT_QUALITY = 50
MANY_IMAGES = 1 << 20
LEAST_DEVIATION = 0.3
"""Components of a standard deviation below so many steps are hardly ever coded."""
MIRROR_IMAGES = 1024
"""How many images tell whether a collection is mirror-symmetric."""
LEAST_MIRROR_IMAGES = 64
MAX_HELD = 4096
"""Up to so many images are held, and decomposed themselves where they are fewer than their samples."""
WHOLE = 1536
"""Matrices up to this side are decomposed whole; of larger ones, the leading part."""
_BATCH = 256
_MAX_ENTRY = 16383


def step_of_quality(quality: int) -> int:
    """Give the step of a quality: an octave for each 12.5."""
    return round(48 + 1.28 * (100 - quality))


def fit_components(images: Iterable[Pixels], options: Options) -> Dictionary:
    """Learn a basis from images (h, w, c) of one shape; they are read once.

    Raises
    ------
    InvalidImage
        No image, images of different shapes, or fewer images than `n_components`.
    LimitExceeded
        More images than samples, and more samples than a covariance is held for.
    """
    first, images = _peek(images)
    shape = Shape(*first.shape)
    if options.n_components is not None and options.n_components > min(shape.nbytes, MAX_COMPONENTS):
        raise InvalidOption(
            f"n_components is {options.n_components:,}, and images {tuple(shape)} have at most "
            f"{min(shape.nbytes, MAX_COMPONENTS):,}"
        )
    batches = _batches(images, shape)
    held = _hold(batches, MIRROR_IMAGES)
    mirrored = is_mirror_symmetric(np.concatenate(held))
    side = len(row_weights(shape, mirrored))
    held += _hold(batches, min(side, MAX_HELD) - sum(map(len, held)))
    rest = next(batches, None)
    if rest is None:
        spectrum = _Spectrum.of_images(np.concatenate(held), shape, mirrored)
    else:
        everything = chain(held, [rest], batches)
        spectrum = _Spectrum.of_statistics(gather(everything, shape, mirrored, options))
    return _build(spectrum, options)


def _peek(images: Iterable[Pixels]) -> tuple[Pixels, Iterator[Pixels]]:
    images = iter(images)
    first = next(images, None)
    if first is None:
        raise InvalidImage("fit needs at least one image")
    return first, chain([first], images)


def _batches(images: Iterator[Pixels], shape: Shape) -> Iterator[Pixels]:
    """Stack images, and refuse one of another shape."""
    batch: list[Pixels] = []
    for number, image in enumerate(images):
        if image.shape != tuple(shape):
            raise InvalidImage(
                f"image {number} of a collection for PCA has another shape than image 0",
                expected=tuple(shape),
                got=image.shape,
            )
        batch.append(image)
        if len(batch) == _BATCH:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def _hold(batches: Iterator[Pixels], n_images: int) -> list[Pixels]:
    """Take batches until there are so many images."""
    held: list[Pixels] = []
    while sum(map(len, held)) < n_images:
        batch = next(batches, None)
        if batch is None:
            break
        held.append(batch)
    return held


def is_mirror_symmetric(images: Pixels) -> bool:
    """Say whether a basis of half of the images, and their mirror images, suits the rest as well."""
    n_rows = len(images) // 2
    if len(images) < LEAST_MIRROR_IMAGES or images.shape[2] == 1:
        return False
    seen = images[: 2 * n_rows : 2]
    unseen = images[1 : 2 * n_rows : 2].reshape(n_rows, -1).astype(np.float64)
    left_over = []
    for rows in (seen, np.concatenate([seen, seen[:, :, ::-1]])):
        flat = rows.reshape(len(rows), -1).astype(np.float64)
        mean = flat.mean(axis=0)
        flat -= mean
        _, vectors = np.linalg.eigh(flat @ flat.T)
        basis, _ = np.linalg.qr(flat.T @ vectors[:, : -1 - min(64, n_rows // 4) : -1])
        scores = (unseen - mean) @ basis
        left_over.append(((unseen - mean) ** 2).sum() - (scores**2).sum())
    return bool(left_over[1] <= left_over[0])


class _Spectrum:
    """Principal components of a collection: variances and unit vectors on request, by falling variance.

    `matrices` are symmetric: covariances of the parts (all samples, or even and odd halves), or Gram
    matrices of their rows, where there are fewer images than samples.
    """

    def __init__(
        self,
        shape: Shape,
        mirrored: bool,
        n_images: int,
        mean: F64,
        matrices: list[F64],
        rows: list[F64] | None,
    ) -> None:
        self.shape, self.mirrored, self.n_images, self.mean = shape, mirrored, n_images, mean
        self._matrices, self._rows = matrices, rows
        self.total = sum(float(np.trace(matrix)) for matrix in matrices)
        self.most = min(sum(map(len, matrices)), MAX_COMPONENTS, shape.nbytes, MAX_ENTRIES // mean.size - 1)

    @classmethod
    def of_statistics(cls, statistics: Statistics) -> _Spectrum:
        """Make it of covariances."""
        mean = statistics.sums[0] / statistics.n
        return cls(statistics.shape, statistics.mirrored, statistics.n, mean, statistics.covariances(), None)

    @classmethod
    def of_images(cls, images: Pixels, shape: Shape, mirrored: bool) -> _Spectrum:
        """Make it of the images themselves."""
        weights = row_weights(shape, mirrored)
        parts = [rows.astype(np.float64) for rows in split_rows(images, mirrored)]
        mean = parts[0].sum(axis=0) / len(images)  # of integers, so in any order
        parts[0] -= mean
        rows = [part * weights for part in parts]
        return cls(shape, mirrored, len(images), mean, [row @ row.T / len(images) for row in rows], rows)

    def leading(self, n: int) -> tuple[F64, F64, Parities]:
        """Give variances, unit vectors of the stored coordinates (as rows) and parities of n components."""
        variances, vectors, odd = [], [], []
        for part, matrix in enumerate(self._matrices):
            values, columns = _leading(matrix, min(n, len(matrix)))
            if self._rows is not None:
                columns = self._rows[part].T @ columns / np.sqrt(np.maximum(values, 1e-9) * self.n_images)
            variances.append(np.maximum(values, 0))
            vectors.append(columns.T)
            odd.append(np.full(len(values), part, np.uint8))
        every = np.concatenate(variances)
        order = np.argsort(-every, kind="stable")[:n]
        rows = np.concatenate(vectors)[order]
        # A vector and its negative are the same component: the greatest entry is positive.
        greatest = rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)]
        return every[order], rows * np.where(greatest < 0, -1.0, 1.0)[:, None], np.concatenate(odd)[order]


def _leading(matrix: F64, n: int) -> tuple[F64, F64]:
    """Give the n greatest eigenvalues of a symmetric matrix, falling, and their vectors as columns."""
    side = len(matrix)
    if side <= WHOLE or 3 * n > side:
        values, vectors = np.linalg.eigh(matrix)
        return values[::-1][:n], vectors[:, ::-1][:, :n]
    # Subspace iteration (Halko, Martinsson and Tropp 2011), with as many vectors to spare.
    block = np.random.default_rng(0).standard_normal((side, n + 64))
    for _ in range(8):
        block, _ = np.linalg.qr(matrix @ block)
    values, small = np.linalg.eigh(block.T @ matrix @ block)
    return values[::-1][:n], block @ small[:, ::-1][:, :n]


def _build(spectrum: _Spectrum, options: Options) -> Dictionary:
    variances, vectors, odd, step = _choose(spectrum, options)
    # A dictionary that does not travel with its images is for more images than it was learned from.
    n_images = max(spectrum.n_images, MANY_IMAGES) if options.embed is False else spectrum.n_images
    basis = quantize(spectrum, variances, vectors, odd, step, n_images)
    kept = float(variances.sum() / spectrum.total) if spectrum.total > 0 else 1.0
    params = {
        "images": spectrum.n_images,
        "mirrored": spectrum.mirrored,
        "n_components": basis.n_components,
        "step": round(step_size(step), 3),
        "total_variance": round(spectrum.total, 1),
        "variance": round(kept, 4),
    }
    shares = variances / spectrum.total if spectrum.total > 0 else np.ones(len(variances))
    report = {"explained_variance_ratio_": [float(share) for share in shares]}
    return Dictionary.build(KIND, params, build_content(basis), report)


def _choose(spectrum: _Spectrum, options: Options) -> tuple[F64, F64, Parities, int]:
    """Decide how many components are kept, and the step of their scores."""
    step = step_of_quality(DEFAULT_QUALITY if options.quality is None else options.quality)
    wanted = options.n_components
    if wanted is not None and wanted > spectrum.n_images:
        raise InvalidImage(
            "fewer images than components", expected=f"at least {wanted}", got=spectrum.n_images
        )
    n = min(spectrum.most, wanted or 256)
    while True:
        variances, vectors, odd = spectrum.leading(n)
        if options.target_psnr is not None:
            step = _step_for(options.target_psnr, spectrum, variances)
        if wanted is not None:
            break
        if options.variance is not None:
            # A millionth less: rounding must not ask for one more component.
            enough = (
                int(np.searchsorted(np.cumsum(variances), (options.variance - 1e-6) * spectrum.total)) + 1
            )
        else:
            enough = int((np.sqrt(variances) >= LEAST_DEVIATION * step_size(step)).sum())
        if enough < n or n == spectrum.most:
            n = min(enough, n)
            break
        n = min(2 * n, spectrum.most)
    some = variances[:n] > 1e-6 * max(1.0, spectrum.total)  # constant images have no components
    n = int(some.sum()) if wanted is None else n
    return variances[:n], vectors[:n], odd[:n], step


def _step_for(psnr: float, spectrum: _Spectrum, variances: F64) -> int:
    """Give the greatest step that reaches a PSNR: a component loses step^2 / 10, or its variance if less."""
    allowed = 255**2 * 10 ** (-psnr / 10) * spectrum.shape.nbytes
    rest = spectrum.total - float(variances.sum())
    for step in range(MAX_STEP, 0, -1):
        if float(np.minimum(variances, step_size(step) ** 2 / 10).sum()) + rest <= allowed:
            return step
    return 0


def quantize(
    spectrum: _Spectrum,
    variances: F64,
    vectors: F64,
    odd: Parities,
    step: int,
    n_images: int,
) -> Basis:
    """Round a basis as finely as the scores of so many images deserve, and no entry beyond 16 bits."""
    shape, mirrored = spectrum.shape, spectrum.mirrored
    stored = stored_shape(shape, mirrored)
    deviations = np.sqrt(np.maximum(variances, 1e-12)) / step_size(step)
    levels = np.clip(np.rint(EVEN_LEVEL + 16 * np.log2(deviations)), 0, MAX_LEVEL).astype(np.int64)
    # Orthonormal coordinates to samples: of a pair, each gets the coordinate / sqrt(2).
    weights = row_weights(shape, mirrored)
    weights = np.where(weights == 0.5, 1.0, weights)
    samples = vectors * weights * step_size(step)
    peak = float(np.abs(samples).max(initial=1e-9))
    shift = int(np.clip(math.floor(math.log2(32000 / peak)), MIN_SHIFT, MAX_SHIFT))
    # An entry of level a has the step 2^((gain - a) / 16) / 2^shift samples, which is to be
    # step * (step / sigma) / sqrt(n) = step * 2^((EVEN_LEVEL - a) / 16) / sqrt(n).
    gain = round(EVEN_LEVEL + 16 * (math.log2(step_size(step)) + shift - math.log2(n_images) / 2))
    # Coarser, if an entry would pass the greatest that there is.
    peaks = np.abs(samples).max(axis=1, initial=1e-9)
    least = levels + np.ceil(16 * (shift + np.log2(peaks / _MAX_ENTRY)))
    gain = int(min(MAX_GAIN, max(0, gain, *least)))
    units = 2.0 ** ((gain - levels) / 16 - shift)
    entries = np.rint(samples / units[:, None])
    bound = np.minimum(_MAX_ENTRY, np.floor(32767 * 2.0 ** (-(gain - levels) / 16)))
    entries = np.clip(entries, -bound[:, None], bound[:, None]).astype(np.int32)
    precise = int(np.clip(round(math.log2(math.sqrt(n_images) / step_size(step))), 0, 3))
    mean = spectrum.mean / 2 if mirrored else spectrum.mean
    return Basis(
        shape,
        mirrored,
        step,
        gain,
        shift,
        precise,
        levels,
        odd,
        np.clip(np.rint(mean * 2**precise), -(128 << precise), (128 << precise) - 1)
        .astype(np.int32)
        .reshape(stored),
        np.ascontiguousarray(entries.reshape(-1, *stored)),
    )
