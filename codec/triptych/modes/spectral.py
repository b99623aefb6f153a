"""PCA of images of many bands: scores of spectral components, as planes coded in blocks.

FORMAT.md section 12 is the law. An image's spectra are projected on the components of a dictionary of kind
"spectral". The scores of one component are a plane: scaled to 8 bits by its own range, it is coded as a grey
picture of the blocks mode. The planes of a frame are one body of that mode, those of component 0 of all
images first, so a reader that wants only the first components stops there.

All that a decoder does is in integers below 2^50. Sums over components are products of float64 matrices,
which are exact below 2^53, in whatever order they are added.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from triptych.dictionary import Dictionary, find_dictionary
from triptych.errors import DictionaryMismatch, InvalidFrame, InvalidOption
from triptych.fit.basis import POWERS
from triptych.fit.spectral import (
    DEFAULT_QUALITY,
    MEAN_BITS,
    ONE,
    SpectralBasis,
    load_basis,
    step_of_quality,
    step_size,
)
from triptych.images import Pixels, Shape
from triptych.keeping import keep
from triptych.limits import DEFAULT
from triptych.modes import blocks
from triptych.modes.base import unreachable
from triptych.options import Options
from triptych.psnr import psnr_of, squared_error
from triptych.varint import build_varint, parse_varint

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

UNIT_BITS = 4
"""Scores are in 1/16 of a sample."""
UNIT = 64
"""The scale of a plane of whole samples, in sixteenths of an octave of 1/16 sample."""
MAX_SCALE = 159
MAX_LOW = 32767
COARSEST_PLANE = 96
"""The greatest step that a plane gets, in the blocks mode's steps: it is scaled up where it would be more."""
LEAST_SCORES = 0.5
"""Components whose scores, or means of blocks, are less than so many steps are not coded."""
FINEST, COARSEST = -64, 192
"""The steps that a search tries, see `fit.spectral.step_of_quality`."""
_RANGE = struct.Struct("<Bh")
_SHIFT = 18
"""Fraction bits of a sum: 4 of scores and 14 of components."""
_CHUNK = 1 << 20


class Range(NamedTuple):
    """How a plane's samples v become scores: (v + low) * 2^(scale / 16), rounded."""

    scale: int
    low: int

    def scores(self) -> I64:
        """Give the scores of the samples 0 to 255."""
        return ((np.arange(256) + self.low) * _factor(self.scale) + 32768) >> 16


class Coded(NamedTuple):
    """A body taken apart. ranges: of component 0 of all images, then of component 1, ..."""

    n_components: int
    ranges: list[Range]
    planes: memoryview


class _Loaded(NamedTuple):
    basis: SpectralBasis
    base: Dictionary


@keep
def base_of(dictionary: Dictionary) -> bytes:
    """Give the id of the dictionary of blocks that a spectral one names."""
    return load_basis(dictionary).base


@keep
def _load(dictionary: Dictionary) -> _Loaded:
    """Give the basis of a dictionary, and the dictionary of blocks that it names: its base, if it has one."""
    basis = load_basis(dictionary)
    base = dictionary.base or find_dictionary(basis.base, DEFAULT)
    if base.kind != "blocks":
        raise DictionaryMismatch(
            "kind of the dictionary that a spectral one names", expected="blocks", got=base.kind
        )
    return _Loaded(basis, base)


def encode_frame(
    images: Sequence[Pixels], options: Options, dictionary: Dictionary
) -> tuple[bytes, list[Pixels]]:
    """Give the body of a frame, and the images as they will be decoded; see `triptych.modes.pca`.

    A target is that of the frame's bytes, or of the PSNR of each image. `tune` means nothing here.
    """
    loaded = _load(dictionary)
    basis = loaded.basis
    for image in images:
        _check_bands(Shape(*image.shape), basis)
    wanted = basis.n_components if options.n_components is None else options.n_components
    if wanted > basis.n_components:
        raise InvalidOption(
            "n_components of a frame, beyond the dictionary's",
            expected=f"at most {basis.n_components}",
            got=wanted,
            options=("n_components",),
        )
    if options.variance is not None:
        raise InvalidOption(
            "variance belongs to fit: a frame has n_components", options=("variance", "n_components")
        )
    scores = [_project(image, basis, wanted) for image in images]
    if options.target_size is not None or options.target_psnr is not None:
        return _search(images, scores, loaded, options)
    quality = DEFAULT_QUALITY if options.quality is None else options.quality
    body, coded, planes = _encode(scores, step_of_quality(quality), loaded, options.effort)
    return body, _show_all(images, planes, coded, loaded.basis)


def decode_frame(
    body: memoryview,
    shapes: Sequence[Shape],
    dictionary: Dictionary,
    start: int,
    stop: int,
    n_components: int | None = None,
) -> list[Pixels]:
    """Give images `start` to `stop - 1`, from the first `n_components` alone if that is given.

    See `triptych.modes.base.Mode.decode_frame`.
    """
    loaded = _load(dictionary)
    for shape in shapes:
        _check_bands(shape, loaded.basis)
    coded = _parse(body, len(shapes))
    if coded.n_components > loaded.basis.n_components:
        raise InvalidFrame(
            "coded components", expected=f"at most {loaded.basis.n_components}", got=coded.n_components
        )
    wanted = coded.n_components if n_components is None else min(coded.n_components, n_components)
    planes: list[Pixels] = []
    if wanted:
        grey = [shape._replace(channels=1) for shape in shapes] * coded.n_components
        planes = blocks.decode_frame(coded.planes, grey, loaded.base, 0, wanted * len(shapes))
    return [_show(planes, coded.ranges, shapes, image, loaded.basis) for image in range(start, stop)]


def images_per_frame() -> int:
    """Say how many images share a frame by default: any of them needs the planes of all."""
    return 1


def describe_frame(body: memoryview, shapes: Sequence[Shape]) -> list[dict[str, object]]:
    """Say of each image: the coder, and how many components are coded."""
    return [{"coder": "spectral", "n_components": _parse(body, len(shapes)).n_components} for _ in shapes]


def _check_bands(shape: Shape, basis: SpectralBasis) -> None:
    if shape.channels != basis.bands:
        raise DictionaryMismatch(
            "bands of an image, for a spectral dictionary", expected=basis.bands, got=shape.channels
        )


def _factor(scale: int) -> int:
    """Give 65536 * 2^(scale / 16)."""
    return int(POWERS[scale & 15]) << (scale >> 4)


def _parse(body: memoryview, n_images: int) -> Coded:
    n_components, at = parse_varint(body, 0)
    n_ranges = n_components * n_images
    if at + _RANGE.size * n_ranges > len(body):
        raise InvalidFrame("a spectral body ends in its ranges", expected=n_ranges, got=len(body) - at)
    end = at + _RANGE.size * n_ranges
    ranges = [Range(*fields) for fields in _RANGE.iter_unpack(body[at:end])]
    if any(one.scale > MAX_SCALE for one in ranges):
        raise InvalidFrame("scale of a plane", expected=f"at most {MAX_SCALE}")
    if not n_components and any(body[end:]):
        raise InvalidFrame("bytes behind a spectral body without components")
    return Coded(n_components, ranges, body[end:])


def _project(image: Pixels, basis: SpectralBasis, n_components: int) -> I32:
    """Give the scores of an image in units, i32 (components, height, width).

    Rounded components are not quite orthonormal. Each is taken off what those before it leave, y_j =
    (b_j . x - sum over i < j of (b_j . b_i) y_i) / b_j . b_j: so a strong one does not leak into weaker ones,
    and each brings the image nearer.
    """
    height, width, bands = image.shape
    flat = image.reshape(-1, bands)
    rows = basis.rows[:n_components] / ONE
    gram = np.tril(rows @ rows.T)
    gram[np.diag_indices_from(gram)] += gram.diagonal() == 0  # nothing is taken off by a component of zeros
    directions = np.linalg.solve(gram, rows) * (1 << UNIT_BITS)
    mean = basis.mean / (1 << MEAN_BITS)
    scores = np.empty((n_components, len(flat)), np.int32)
    for at in range(0, len(flat), step := max(1, _CHUNK // bands)):
        scores[:, at : at + step] = np.rint(directions @ (flat[at : at + step] - mean).T)
    return scores.reshape(n_components, height, width)


def _encode(
    scores: Sequence[I32], step: int, loaded: _Loaded, effort: str
) -> tuple[bytes, Coded, list[Pixels]]:
    """Code scores at a step; give the body, and its parts and planes as a decoder will have them."""
    n = _n_coded(scores, step)
    ranges, planes, steps = [], [], []
    for j in range(n):
        for each in scores:
            span = _range_of(each[j], step)
            values = _in_steps(each[j].astype(np.int64), span.scale) - span.low
            planes.append(np.clip(values, 0, 255).astype(np.uint8)[:, :, None])
            steps.append(min(max(step + UNIT - span.scale, blocks.FINEST), COARSEST_PLANE))
            ranges.append(span)
    head = build_varint(n) + b"".join(_RANGE.pack(*span) for span in ranges)
    if not n:
        return head, Coded(0, [], memoryview(b"")), []
    body, shown = blocks.encode_at(planes, blocks.Setting(tuple(steps)), loaded.base, effort)
    return head + body, Coded(n, ranges, memoryview(body)), shown


def _n_coded(scores: Sequence[I32], step: int) -> int:
    """Say how many components are worth a plane in any of the images.

    The means of blocks of 8 x 8, times 8, are as great as the samples where these are noise, and up to 8
    times as great where they are smooth: that makes them worth coding long before.
    """
    least = LEAST_SCORES * step_size(step) * (1 << UNIT_BITS)
    n = 0
    for each in scores:
        for j, plane in enumerate(each):
            if max(_rms(plane), 8 * _rms(_block_means(plane))) >= least:
                n = max(n, j + 1)
    return n


def _rms(values: npt.NDArray[Any]) -> float:
    return math.sqrt(float(np.square(values, dtype=np.float64).mean()))


def _block_means(plane: I32) -> npt.NDArray[np.float64]:
    """Give the means of blocks of 8 x 8; those at the right and lower edges may be smaller."""
    places = [np.arange(0, side, 8) for side in plane.shape]
    sums = np.add.reduceat(np.add.reduceat(plane, places[0], axis=0), places[1], axis=1)
    counts = np.outer(*(np.minimum(side - at, 8) for side, at in zip(plane.shape, places, strict=True)))
    return np.asarray(sums / counts)


def _range_of(plane: I32, step: int) -> Range:
    """Give the range of a plane: the finest that holds it, or that its step deserves.

    The mean is at 128, if all fits then: a plane without a coefficient is of 128.
    """
    scores = np.array([plane.min(), round(float(plane.mean())), plane.max()], np.int64)
    scale = min(max(0, step + UNIT - COARSEST_PLANE), MAX_SCALE)
    while True:
        least, mean, greatest = _in_steps(scores, scale).tolist()
        low = min(max(mean - 128, greatest - 255), least)
        if scale == MAX_SCALE or (greatest - least <= 255 and -MAX_LOW <= low <= MAX_LOW):
            return Range(scale, low)
        scale += 1


def _in_steps(scores: I64, scale: int) -> I64:
    """Give scores in steps of a scale, rounded."""
    steps: I64 = ((scores << 16) + _factor(scale) // 2) // _factor(scale)
    return steps


def _show(
    planes: Sequence[Pixels],
    ranges: Sequence[Range],
    shapes: Sequence[Shape],
    image: int,
    basis: SpectralBasis,
) -> Pixels:
    """Turn an image's planes into its pixels; planes are in the order of the ranges."""
    shape = shapes[image]
    own = range(image, len(planes), len(shapes))
    tables = [ranges[i].scores().astype(np.float64) for i in own]
    flat = [planes[i].reshape(-1) for i in own]
    rows = basis.rows[: len(flat)].astype(np.float64)
    # Scores are below 2^26, entries at most 2^14, components at most 2^9.
    center = basis.mean.astype(np.float64) * (1 << (_SHIFT - MEAN_BITS)) + (1 << (_SHIFT - 1))
    pixels = np.empty((shape.height * shape.width, shape.channels), np.uint8)
    for at in range(0, len(pixels), step := max(1, _CHUNK // shape.channels)):
        sums = np.broadcast_to(center, pixels[at : at + step].shape)
        if flat:
            scores = np.stack(
                [table[plane[at : at + step]] for table, plane in zip(tables, flat, strict=True)]
            )
            sums = sums + scores.T @ rows
        pixels[at : at + step] = np.clip(np.floor(sums / (1 << _SHIFT)), 0, 255)
    return pixels.reshape(shape)


def _show_all(
    images: Sequence[Pixels], planes: Sequence[Pixels], coded: Coded, basis: SpectralBasis
) -> list[Pixels]:
    """Show what images of these shapes have become."""
    shapes = [Shape(*image.shape) for image in images]
    return [_show(planes, coded.ranges, shapes, number, basis) for number in range(len(images))]


def _search(
    images: Sequence[Pixels], scores: Sequence[I32], loaded: _Loaded, options: Options
) -> tuple[bytes, list[Pixels]]:
    """Meet a target: the finest step whose body fits a size, or the coarsest that reaches a PSNR."""
    size, psnr = options.target_size, options.target_psnr
    low, high, found = FINEST, COARSEST, None
    while low <= high:
        middle = (low + high) // 2
        body, coded, planes = _encode(scores, middle, loaded, options.effort)
        shown: list[Pixels] = []
        if size is not None:
            good = len(body) <= size
        else:
            shown = _show_all(images, planes, coded, loaded.basis)
            good = all(
                psnr_of(squared_error([image], [pixels]), image.size) >= (psnr or 0)
                for image, pixels in zip(images, shown, strict=True)
            )
        if good:
            found = body, shown or _show_all(images, planes, coded, loaded.basis)
        if good == (size is not None):
            high = middle - 1
        else:
            low = middle + 1
    if found is None:
        of = f"no quality of this dictionary's {loaded.basis.n_components} spectral components"
        raise unreachable(of, options)
    return found
