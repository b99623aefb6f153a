"""PCA of collections: images of one shape as scores of a dictionary's components (FORMAT.md section 8).

The body of a frame is a plan, the step of its scores, how many components are coded, and the scores,
component by component: a reader that wants only the first components stops there. What scores images get is
the business of `triptych.modes.scoring`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from triptych_kernels import reconstruct, scores, similar
from triptych_kernels.rangecoder import Coder, finish_decoding, finish_encoding, new_coder, start
from triptych_kernels.status import BAD_SYMBOL, INPUT_EXHAUSTED, OK, OUTPUT_FULL, TAIL_MISMATCH

from triptych.dictionary import Dictionary
from triptych.errors import DictionaryMismatch, InvalidFrame, InvalidOption
from triptych.fit.basis import EVEN_LEVEL, MAX_STEP, Basis, context_level, load_basis, step_size
from triptych.fit.components import step_of_quality
from triptych.images import Pixels, Shape
from triptych.modes.base import unreachable
from triptych.modes.scoretables import build_scores, parse_scores
from triptych.modes.scoring import MAX_SUM, Projection, factor_of
from triptych.options import Options
from triptych.psnr import psnr_of, squared_error
from triptych.varint import build_varint, parse_varint

__all__ = [
    "decode_frame",
    "describe_frame",
    "encode_frame",
    "explained_variance_ratio",
    "images_per_frame",
    "open_frame",
    "show_images",
]

I32 = npt.NDArray[np.int32]

FRAME_IMAGES = 2048
FRAME_BYTES = 1 << 24
"""Samples of a frame by default: its scores are coded together, and any of its images needs them all."""
MIXED, SIMILAR, TABLES = 0, 1, 2
"""Plans: mixed decisions; the same, where scores are foretold from similar images; tables."""
MANY_SCORES = 4096
"""So many pay for tables."""
WORTH = 1.01
"""Times the bytes that tables may take, as they are read more than ten times as fast; not at effort max."""
MAX_SIMILAR_IMAGES = 4096
LEAST_SIMILAR_IMAGES = 64
MAX_APART = 128
"""A frame's step is at most so many sixteenths of an octave from its dictionary's."""
NONZERO_PER_BYTE = 64
FREE_NONZERO = 1 << 16
"""A body of b bytes has at most FREE_NONZERO + 64 b scores that are not zero: this bounds work."""
_TOGETHER = 64
"""Images that are shown by one call of a kernel; so many stay in the processor's caches."""
_HEAD = struct.Struct("<BB")
_CAUSES = {
    INPUT_EXHAUSTED: "ends before its last score",
    TAIL_MISMATCH: "does not end as an encoder would have ended it",
    BAD_SYMBOL: "holds a score beyond the greatest",
}


class Coded(NamedTuple):
    """What a body says: scores i32 (coded components, images), and the step they are in."""

    step: int
    scores: I32


def encode_frame(
    images: Sequence[Pixels], options: Options, dictionary: Dictionary
) -> tuple[bytes, list[Pixels]]:
    """Give the body of a frame, and the images as they will be decoded; see `triptych.modes.pca`.

    A target is that of the frame: all its bytes, or the PSNR of all its samples.
    """
    basis = load_basis(dictionary)
    for image in images:
        _check_shape(Shape(*image.shape), basis)
    wanted = basis.n_components if options.n_components is None else options.n_components
    if wanted > basis.n_components:
        raise InvalidOption(
            "n_components of a frame, beyond the dictionary's",
            expected=f"at most {basis.n_components}",
            got=wanted,
            options=("n_components",),
        )
    projection = Projection(np.stack(images), basis, wanted, options.effort)
    if options.target_size is not None or options.target_psnr is not None:
        return _search(projection, basis, options)
    step = basis.step if options.quality is None else step_of_quality(options.quality)
    step = min(max(step, _finest(basis)), _coarsest(basis))
    coded = Coded(step, projection.scores(step))
    return _encode(coded, basis, options.effort), show_images(coded, basis, 0, len(images))


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
    return show_images(*_read(body, shapes, dictionary, n_components), start, stop)


def open_frame(
    body: memoryview, shapes: Sequence[Shape], dictionary: Dictionary, n_components: int | None = None
) -> OpenFrame:
    """Read the scores of a frame, to show some of its images; see `triptych.modes.base.OpensFrames`."""
    return OpenFrame(*_read(body, shapes, dictionary, n_components))


def _read(
    body: memoryview, shapes: Sequence[Shape], dictionary: Dictionary, n_components: int | None
) -> tuple[Coded, Basis]:
    basis = load_basis(dictionary)
    for shape in set(shapes):
        _check_shape(shape, basis)
    return parse_body(body, len(shapes), basis, n_components), basis


def images_per_frame(shape: Shape, options: Options, dictionary: Dictionary) -> int:
    """Say how many images share a frame by default; refuse one of another shape before it is in a frame."""
    _check_shape(shape, load_basis(dictionary))
    return max(1, min(FRAME_IMAGES, FRAME_BYTES // shape.nbytes))


def describe_frame(
    body: memoryview, shapes: Sequence[Shape], dictionary: Dictionary | None
) -> list[dict[str, object]]:
    """Say of each image: the coder, the step of its scores, and how many components are coded."""
    step, plan, n_coded, _ = _parse_head(body)
    return [
        {
            "coder": ("mixed", "similar", "tables")[plan],
            "step": round(step_size(step), 3),
            "n_components": n_coded,
        }
        for _ in shapes
    ]


def explained_variance_ratio(dictionary: Dictionary) -> list[float]:
    """Give the share of its collection's variance that each component has, to an accuracy of 5 %.

    It is what scikit-learn calls `explained_variance_ratio_`, read from the levels: it costs no bytes.
    """
    basis = load_basis(dictionary)
    variances = step_size(basis.step) ** 2 * 2.0 ** ((basis.levels - EVEN_LEVEL) / 8)
    return [float(share) for share in variances / float(dictionary.params["total_variance"])]


def _check_shape(shape: Shape, basis: Basis) -> None:
    if shape != basis.shape:
        raise DictionaryMismatch(
            "shape (height, width, channels) of an image, for a dictionary of components",
            expected=tuple(basis.shape),
            got=tuple(shape),
        )


def _finest(basis: Basis) -> int:
    return max(0, basis.step - MAX_APART)


def _coarsest(basis: Basis) -> int:
    return min(MAX_STEP, basis.step + MAX_APART)


def _encode(coded: Coded, basis: Basis, effort: str) -> bytes:
    """Code scores under the plan that takes the fewest bytes, or one that is read fast for little more."""
    used = np.flatnonzero(coded.scores.any(axis=1))
    coded = Coded(coded.step, np.ascontiguousarray(coded.scores[: used[-1] + 1 if len(used) else 0]))
    tables = build_body(coded, TABLES, basis)
    if effort == "fast" and coded.scores.size >= MANY_SCORES:
        return tables
    plans = [MIXED]
    if effort != "fast" and LEAST_SIMILAR_IMAGES <= coded.scores.shape[1] <= MAX_SIMILAR_IMAGES:
        plans.append(SIMILAR)
    best = min((build_body(coded, plan, basis) for plan in plans), key=len)
    return tables if len(tables) <= len(best) * (1 if effort == "max" else WORTH) else best


def build_body(coded: Coded, plan: int, basis: Basis) -> bytes:
    """Give the body of scores under a plan."""
    if plan == TABLES:
        message = build_scores(coded.scores, _deviations(coded, basis))
    else:
        message = _build_mixed(coded, plan, basis)
    body = _HEAD.pack(plan, coded.step) + build_varint(len(coded.scores)) + message
    return body.ljust(-(-(int(np.count_nonzero(coded.scores)) - FREE_NONZERO) // NONZERO_PER_BYTE), b"\0")


def _build_mixed(coded: Coded, plan: int, basis: Basis) -> bytes:
    size = 1024 + 4 * coded.scores.size
    status = OUTPUT_FULL
    while status == OUTPUT_FULL:  # a score takes at most 30 decisions of 15 bits; it never does for long
        sink = np.empty(size, np.uint8)
        status, coder = _code(coded, plan, basis, sink, None)
        if status == OK:
            status = int(finish_encoding(coder, sink))
        size *= 4
    return sink[:status].tobytes()


def _parse_head(body: memoryview) -> tuple[int, int, int, int]:
    """Give (step, plan, coded components, where the message begins)."""
    if len(body) < _HEAD.size:
        raise InvalidFrame("a body of components ends in its head", expected=_HEAD.size, got=len(body))
    plan, step = _HEAD.unpack_from(body)
    if plan > TABLES:
        raise InvalidFrame("unknown plan in a body of components", got=plan)
    n_coded, at = parse_varint(body, _HEAD.size)
    return step, plan, n_coded, at


def parse_body(body: memoryview, n_images: int, basis: Basis, n_components: int | None = None) -> Coded:
    """Give the scores of a body, of the first components if that is all that is wanted.

    Raises
    ------
    InvalidFrame
        The body is not what an encoder writes. Where not all components are wanted, its end is not looked at.
    """
    step, plan, n_coded, at = _parse_head(body)
    if n_coded > basis.n_components:
        raise InvalidFrame("coded components", expected=f"at most {basis.n_components}", got=n_coded)
    if not _finest(basis) <= step <= _coarsest(basis):
        raise InvalidFrame("step of a frame, too far from its dictionary's", expected=basis.step, got=step)
    if plan == SIMILAR and n_images > MAX_SIMILAR_IMAGES:
        raise InvalidFrame(
            "images of a frame that compares them", expected=f"at most {MAX_SIMILAR_IMAGES}", got=n_images
        )
    wanted = n_coded if n_components is None else min(n_coded, n_components)
    coded = Coded(step, np.zeros((wanted, n_images), np.int32))
    if plan == TABLES:
        status = parse_scores(body[at:], _deviations(coded, basis), coded.scores, wanted == n_coded)
    else:
        source = np.frombuffer(body, np.uint8)[at:]
        status, coder = _code(coded, plan, basis, None, source)
        if status == OK and wanted == n_coded:
            status = int(finish_decoding(coder, source))
    if status != OK:
        raise InvalidFrame(f"a body of components {_CAUSES[status]}")
    allowed = FREE_NONZERO + NONZERO_PER_BYTE * len(body)
    if np.count_nonzero(coded.scores) > allowed:
        raise InvalidFrame(
            "scores in a body of components",
            expected=f"at most {allowed}",
            got=np.count_nonzero(coded.scores),
        )
    reach = np.abs(coded.scores).astype(np.int64) * basis.peaks[:wanted, None]
    if reach.sum(axis=0).max() > MAX_SUM:
        raise InvalidFrame(
            "the scores of an image leave 32 bits",
            expected=f"at most {MAX_SUM}",
            got=int(reach.sum(axis=0).max()),
        )
    return coded


def _deviations(coded: Coded, basis: Basis) -> npt.NDArray[np.int64]:
    """Give the standard deviations of coded components, in 1/16 octaves of the frame's step."""
    levels = basis.levels[: len(coded.scores)].astype(np.int64)
    return levels + (basis.step - coded.step - EVEN_LEVEL)


def _code(
    coded: Coded,
    plan: int,
    basis: Basis,
    sink: Pixels | None,
    source: Pixels | None,
) -> tuple[int, Coder]:
    """Code scores in either direction; return (status, coder). A decoder fills them."""
    coder = new_coder()
    if source is not None:
        start(coder, source)
    n_images = coded.scores.shape[1]
    foretell = plan == SIMILAR
    model = scores.new_scores(n_images)
    likes = similar.new_similar(n_images if foretell else 1)
    finer = basis.step - coded.step
    levels = [context_level(level, finer) for level in basis.levels[: len(coded.scores)].tolist()]
    contexts = np.array(levels, np.int64)
    status = scores.code_scores(coded.scores, contexts, foretell, model, likes, coder, sink, source)
    return int(status), coder


class OpenFrame:
    """The scores of a frame, from which each image is shown alone; see `triptych.modes.base.OpenFrame`."""

    def __init__(self, coded: Coded, basis: Basis) -> None:
        # Image by image, in the 16 bits that a score has: a quarter of a byte a sample, or much less.
        self._scores = np.ascontiguousarray(coded.scores.T, np.int16)
        self._basis = basis
        self._factor = factor_of(coded.step, basis)
        self.images = range(len(self._scores))
        self.nbytes = self._scores.nbytes

    def show(self, images: Sequence[int], out: Sequence[Pixels] | Pixels) -> None:
        """Write the pixels of images into arrays, or into one array (images, height, width, channels)."""
        if len(images) == 1:
            self._show(np.array(images, np.int64), out[0][None])
            return
        if isinstance(out, np.ndarray):
            self._show(np.array(images, np.int64), out)
            return
        for at in range(0, len(images), _TOGETHER):
            numbers = np.array(images[at : at + _TOGETHER], np.int64)
            shown = np.empty((len(numbers), *self._basis.shape), np.uint8)
            self._show(numbers, shown)
            for pixels, target in zip(shown, out[at : at + _TOGETHER], strict=True):
                target[:] = pixels

    def _show(self, images: npt.NDArray[np.int64], out: Pixels) -> None:
        basis = self._basis
        reconstruct.show_images(
            self._scores,
            images,
            basis.pairs,
            basis.center,
            self._factor,
            basis.shift,
            *reconstruct.work_for(basis.center.size, basis.shape.height),
            basis.shape.channels,
            out.reshape(len(out), basis.shape.height, -1),  # it is contiguous: a view
        )


def show_images(coded: Coded, basis: Basis, start: int, stop: int) -> list[Pixels]:
    """Turn scores into images."""
    shown = [np.empty(basis.shape, np.uint8) for _ in range(start, stop)]
    OpenFrame(coded, basis).show(range(start, stop), shown)
    return shown


def _search(projection: Projection, basis: Basis, options: Options) -> tuple[bytes, list[Pixels]]:
    """Meet a target: the finest step whose body fits a size, or the coarsest that reaches a PSNR."""
    size, psnr = options.target_size, options.target_psnr
    images = projection.images
    low, high, found = _finest(basis), _coarsest(basis), None
    while low <= high:
        middle = (low + high) // 2
        coded = Coded(middle, projection.scores(middle))
        body = _encode(coded, basis, options.effort)
        shown = show_images(coded, basis, 0, len(images))
        if size is not None:
            good = len(body) <= size
        else:
            good = psnr_of(squared_error(images, shown), images.size) >= (psnr or 0)
        if good:
            found = body, shown
        if good == (size is not None):
            high = middle - 1
        else:
            low = middle + 1
    if found is None:
        raise unreachable(f"no step of this dictionary's {basis.n_components} components", options)
    return found
