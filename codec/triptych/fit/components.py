"""Global PCA of a collection: statistics to a mean, a basis and its precision; images to a dictionary.

The rate-optimal choice is that of reverse water-filling (Cover and Thomas, section 10.3): one step for the
scores of all components, and none for components whose standard deviation is well below it. An entry of
component j is an n-th part of n scores' error: its best step is step / (sigma_j * sqrt(n)). Of a collection
that is mirror-symmetric each component is even or odd, and half of it is stored.

Few images are held; more become `Statistics`, so memory does not grow with the collection, and what is known
of its parts can be merged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Self

import numpy as np

from triptych.dictionary import Dictionary
from triptych.errors import InvalidImage, InvalidOption
from triptych.fit.basis import (
    EVEN_LEVEL,
    KIND,
    MAX_COMPONENTS,
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
from triptych.fit.spectrum import Parities, Spectrum, is_mirror_symmetric
from triptych.fit.statistics import F64, MAX_HELD, Statistics, gather, needs_mirroring, row_weights
from triptych.images import Pixels, Shape
from triptych.options import Options

DEFAULT_QUALITY = 50
MANY_IMAGES = 1 << 20
LEAST_DEVIATION = 0.3
"""Components of a standard deviation below so many steps are hardly ever coded."""
MIRROR_IMAGES = 1024
"""How many images tell whether a collection is mirror-symmetric."""
_BATCH = 256
_MAX_ENTRY = 16383


def step_of_quality(quality: int) -> int:
    """Give the step of a quality: an octave for each 12.5."""
    return round(48 + 1.28 * (100 - quality))


class ComponentStatistics:
    """What is known of the images of a collection of one shape: the first ones, and statistics of all.

    Few images are only held, and decomposed themselves. More become `Statistics` as well. The state depends
    on the images and their order alone, not on the parts that were merged. After an error it is worthless.

    Parameters
    ----------
    shape : Shape
        Of every image.
    whole : bool
        These are all images, and nothing is merged: where the first show that the collection is
        mirror-symmetric, half of the statistics will do.

    Attributes
    ----------
    n_images : int
    first : list of uint8 arrays (n, h, w, c)
        The first `most_held(shape.nbytes)` images, or all, where they are fewer.
    statistics : Statistics or None
        Of all images, where there are more than those.
    """

    def __init__(self, shape: Shape, whole: bool = False) -> None:
        self.shape, self.n_images = shape, 0
        self.first: list[Pixels] = []
        self.statistics: Statistics | None = None
        self._whole = whole
        self._judgement: tuple[int, bool] | None = None

    @classmethod
    def of_parts(cls, shape: Shape, n_images: int, first: Pixels, statistics: Statistics | None) -> Self:
        """Make it of what it says of so many images."""
        made = cls(shape)
        made.n_images, made.first, made.statistics = n_images, [first], statistics
        return made

    def check(self, options: Options) -> None:
        """Refuse options that no images of this shape can meet."""
        most = min(self.shape.nbytes, MAX_COMPONENTS)
        if options.n_components is not None and options.n_components > most:
            raise InvalidOption(
                f"n_components is {options.n_components:,}, and images {tuple(self.shape)} have at most "
                f"{most:,}",
                options=("n_components",),
            )

    def update(self, images: Iterable[Pixels], options: Options) -> None:
        """Add images (h, w, c), counted in `options.threads` or `options.executor`."""
        batches = self._stack(images)
        if self.statistics is None:
            for batch in batches:
                room = self._most - self.n_images
                if room:
                    self.first.append(batch[:room])
                    self.n_images += len(self.first[-1])
                if len(batch) > room:
                    self.statistics = self._begin()
                    batches = chain(self.first, [batch[room:]], batches)
                    break
        if self.statistics is not None:
            gather(batches, self.statistics, options)
            self.n_images = self.statistics.n

    def merge(self, other: Self) -> None:
        """Add what other statistics know; their images come after those that are known here."""
        if self.shape != other.shape:
            raise InvalidImage(
                "statistics of images of another shape", expected=tuple(self.shape), got=tuple(other.shape)
            )
        n_images = self.n_images + other.n_images
        if self.statistics is None and n_images > self._most:
            self.statistics = self._begin()
            gather(iter(self.first), self.statistics, Options())
        if self.statistics is not None and other.statistics is not None:
            self.statistics.merge(other.statistics)
        elif self.statistics is not None:
            gather(iter(other.first), self.statistics, Options())
        for batch in list(other.first):
            room = self._most - sum(map(len, self.first))
            if room > 0:
                self.first.append(batch[:room])
        self.n_images = n_images

    def sample(self, n_images: int) -> list[Pixels]:
        """Give copies of so many of the first images."""
        return [image.copy() for image in islice(chain.from_iterable(self.first), n_images)]

    def fit(self, options: Options) -> Dictionary:
        """Learn a basis; what is known stays, so that images can be added."""
        self.check(options)
        return _build(self._spectrum(options), options)

    @property
    def _most(self) -> int:
        return most_held(self.shape.nbytes)

    def _stack(self, images: Iterable[Pixels]) -> Iterator[Pixels]:
        """Stack images, and refuse one of another shape."""
        batch: list[Pixels] = []
        for number, image in enumerate(images, self.n_images):
            if image.shape != tuple(self.shape):
                raise InvalidImage(
                    f"image {number} of a collection for PCA has another shape than image 0",
                    expected=tuple(self.shape),
                    got=image.shape,
                )
            batch.append(image.copy())  # the caller may use its memory again for the next
            if len(batch) == _BATCH:
                yield np.stack(batch)
                batch = []
        if batch:
            yield np.stack(batch)

    def _begin(self) -> Statistics:
        """Make room for statistics: where parts may follow, in the form from which both others come."""
        mirrored = self._is_mirrored() if self._whole else needs_mirroring(self.shape)
        return Statistics(self.shape, mirrored)

    def _is_mirrored(self) -> bool:
        n_images = min(self.n_images, MIRROR_IMAGES)
        if self._judgement is None or self._judgement[0] != n_images:
            self._judgement = n_images, is_mirror_symmetric(np.stack(self.sample(n_images)))
        return self._judgement[1]

    def _spectrum(self, options: Options) -> Spectrum:
        mirrored = self._is_mirrored()
        if self.n_images <= most_held(math.prod(stored_shape(self.shape, mirrored))):
            return Spectrum.of_images(np.concatenate(self.first), self.shape, mirrored)
        statistics = self.statistics
        if statistics is None:
            statistics = Statistics(self.shape, mirrored)
            gather(iter(self.first), statistics, options)
        elif mirrored:
            statistics = statistics.mirror()
        elif statistics.mirrored:
            statistics = Statistics(
                self.shape
            )  # too large, as there are mirrored ones: an error that says so
        return Spectrum.of_statistics(statistics)


def most_held(side: int) -> int:
    """Say how many images are held, and decomposed themselves, where a matrix of theirs has this side."""
    return max(MIRROR_IMAGES, -(-min(side, MAX_HELD) // _BATCH) * _BATCH)


def fit_components(images: Iterable[Pixels], options: Options) -> Dictionary:
    """Learn a basis from images (h, w, c) of one shape; they are read once.

    Raises
    ------
    InvalidImage
        No image, images of different shapes, or fewer images than `n_components`.
    InvalidOption
        More components than samples.
    LimitExceeded
        More images than samples, and more samples than a covariance is held for.
    """
    images = iter(images)
    first = next(images, None)
    if first is None:
        raise InvalidImage("fit needs at least one image")
    statistics = ComponentStatistics(Shape(*first.shape), whole=True)
    statistics.check(options)
    statistics.update(chain([first], images), options)
    return statistics.fit(options)


def _build(spectrum: Spectrum, options: Options) -> Dictionary:
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


def _choose(spectrum: Spectrum, options: Options) -> tuple[F64, F64, Parities, int]:
    """Decide how many components are kept, and the step of their scores."""
    step = step_of_quality(DEFAULT_QUALITY if options.quality is None else options.quality)
    wanted = options.n_components
    if wanted is not None and wanted > spectrum.n_images:
        raise InvalidImage(
            f"fewer images than components: n_components is {wanted:,}, and images are {spectrum.n_images:,}",
            options=("n_components",),
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


def _step_for(psnr: float, spectrum: Spectrum, variances: F64) -> int:
    """Give the greatest step that reaches a PSNR: a component loses step^2 / 10, or its variance if less."""
    allowed = 255**2 * 10 ** (-psnr / 10) * spectrum.shape.nbytes
    rest = spectrum.total - float(variances.sum())
    for step in range(MAX_STEP, 0, -1):
        if float(np.minimum(variances, step_size(step) ** 2 / 10).sum()) + rest <= allowed:
            return step
    return 0


def quantize(
    spectrum: Spectrum,
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
    entries = np.clip(entries, -bound[:, None], bound[:, None]).astype(np.int16)
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
