"""The content of a dictionary of kind "blocks": what the PCA panel knows of photographs.

`BlockBook` is that content as arrays, `build_blocks` and `parse_blocks` are its bytes (FORMAT.md section
4.1). What is parsed is safe: every bound that the kernels' overflow proofs name is checked here.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from triptych_kernels.blockcoder import BASIS_BITS, N_STEPS, PREDICTOR_SUM, Basis
from triptych_kernels.blockmodel import N_CLASSES, N_COEFFICIENTS, N_COUNTERS, N_LEVELS, N_ROWS
from triptych_kernels.dotproduct import LANES, ROWS
from triptych_kernels.postfilter import N_CLASSES as N_FILTERS
from triptych_kernels.postfilter import N_TAPS, TAP_SUM

from triptych.errors import InvalidFrame
from triptych.fit.blocks import BlockClass
from triptych.fit.counters import long_counters, short_counters

SIDES = (8, 16, 8, 16)
"""Luma, luma, chroma, chroma."""
CHROMA = (False, False, True, True)
MAX_CLASSES = (64, 62, 64, 62)
MAX_CONTENT = 1 << 25
_MAX_DEFLATED = 1032
"""Bytes that a byte of zlib holds at most."""
_PADDED_LEVEL = -1000

I16 = npt.NDArray[np.int16]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class BlockClasses:
    """The classes of one size and kind of blocks, of n = side * side samples.

    predictor: i16 (classes, n, template) in 1/4096. transform: i16 (classes, kept, n) in 1/16384.
    log_sigma: u8 (classes, kept): 16 log2 sigma + 32, not rising.
    """

    predictor: I16
    transform: I16
    log_sigma: U8


@dataclass(frozen=True)
class BlockBook:
    """All that decoding needs.

    classes: luma 8, luma 16, chroma 8, chroma 16. color: i16 (3, 3) in 1/16384: planes by channels. means:
    i64 (N_LEVELS), mean magnitudes in 1/256. counters: u32, weights: i32, the state of `blockmodel` that a
    frame begins with. filter_steps: i64 (sets); filters: i16 (sets, 2, N_FILTERS, N_TAPS).
    """

    classes: tuple[BlockClasses, ...]
    color: I16
    means: I64
    counters: U32
    weights: I32
    filter_steps: I64
    filters: I16

    def bases(self) -> tuple[Basis, ...]:
        """Lay the classes out as the kernels take them."""
        bases, first_class, first_coefficient = [], 0, 0
        for one, side, chroma in zip(self.classes, SIDES, CHROMA, strict=True):
            n_classes, n, template = one.predictor.shape
            kept = one.transform.shape[1]
            columns, rows = -(-template // LANES) * LANES, -(-kept // ROWS) * ROWS
            predictor = np.zeros((n_classes, n, columns), np.int16)
            predictor[:, :, :template] = one.predictor
            transform = np.zeros((n_classes, rows, n), np.int16)
            transform[:, :kept] = one.transform
            log_sigma = np.full((n_classes, rows), _PADDED_LEVEL, np.int64)
            log_sigma[:, :kept] = one.log_sigma
            n_bits = (n_classes - 1).bit_length()
            sizes = [side, n_classes, columns, rows, first_class, first_coefficient, n_bits]
            bases.append(Basis(np.array(sizes), predictor.reshape(-1), transform.reshape(-1), log_sigma))
            first_class += n_classes * (1 + chroma)
            first_coefficient += n_classes * rows * (1 + chroma)
        return tuple(bases)


def template_size(side: int, chroma: bool) -> int:
    """Give how many samples predict a block: two rows above, two columns beside; in chroma its luma too."""
    return 6 * side + 4 + (side * side if chroma else 0)


def quantize_classes(classes: Sequence[BlockClass], kept: int) -> BlockClasses:
    """Give classes as integers, with the first `kept` components."""
    predictor = np.stack([one.predictor for one in classes])
    basis = np.stack([one.basis[:kept] for one in classes])
    sigma = np.stack([one.sigma[:kept] for one in classes])
    return BlockClasses(
        np.clip(np.rint(predictor * 4096), -32768, 32767).astype(np.int16),
        np.clip(np.rint(basis * 16384), -16384, 16384).astype(np.int16),
        np.clip(np.rint(16 * np.log2(sigma)) + 32, 0, 255).astype(np.uint8),
    )


def build_blocks(book: BlockBook) -> bytes:
    """Build the content of the dictionary."""
    parts = [struct.pack("<8B", *(size for one in book.classes for size in one.log_sigma.shape))]
    for one in book.classes:
        parts += [one.log_sigma.tobytes(), _split_bytes(one.predictor), _split_bytes(one.transform)]
    parts.append(book.color.astype("<i2").tobytes())
    parts.append(book.means.astype("<u2").tobytes())
    parts.append(_split_bytes(short_counters(book.counters).view(np.int16)))
    parts.append(book.weights.astype("<i4").tobytes())
    parts.append(struct.pack("<B", len(book.filter_steps)) + book.filter_steps.astype(np.uint8).tobytes())
    parts.append(_split_bytes(book.filters))
    return zlib.compress(b"".join(parts), 9)


def expanded_bytes(content: bytes) -> int:
    """Say how many bytes a dictionary's content takes as it is used, at most.

    It is inflated and laid out for kernels, with counters of 2 bytes in 4: some three times what is inflated.
    """
    return 3 * min(MAX_CONTENT, _MAX_DEFLATED * len(content))


def parse_blocks(content: bytes) -> BlockBook:
    """Parse the content of a dictionary.

    Raises
    ------
    InvalidFrame
        It breaks FORMAT.md section 4.1.
    """
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(content, MAX_CONTENT)
    except zlib.error as error:
        raise InvalidFrame(f"the content of a blocks dictionary does not inflate: {error}") from None
    if not inflater.eof or inflater.unused_data:
        raise InvalidFrame("the content of a blocks dictionary is not one zlib stream within its limit")
    fields = _Fields(data)
    counts = fields.take("u1", 8).astype(int)
    classes = []
    for i, (side, chroma) in enumerate(zip(SIDES, CHROMA, strict=True)):
        n_classes, kept = int(counts[2 * i]), int(counts[2 * i + 1])
        _require(1 <= n_classes <= MAX_CLASSES[i], "classes of blocks", n_classes)
        n = side * side
        _require(1 <= kept <= n, "components of blocks", kept)
        log_sigma = fields.take("u1", n_classes * kept).reshape(n_classes, kept).astype(np.uint8)
        predictor = fields.take_split(n_classes * n * template_size(side, chroma))
        transform = fields.take_split(n_classes * kept * n).reshape(n_classes, kept, n)
        predictor = predictor.reshape(n_classes, n, -1)
        _require(bool((log_sigma[:, 1:] <= log_sigma[:, :-1]).all()), "rising deviations", i)
        sums = np.abs(predictor.astype(np.int64)).sum(2)
        _require(int(sums.max()) <= PREDICTOR_SUM, "sum of a predictor's row", int(sums.max()))
        most = int(np.abs(transform.astype(np.int64)).max())
        _require(most <= 1 << BASIS_BITS, "entry of a transform", most)
        classes.append(BlockClasses(predictor, transform, log_sigma))
    color = fields.take("<i2", 9).reshape(3, 3).astype(np.int16)
    _require(int(np.abs(color.astype(int)).max()) <= 1 << 14 and int(color[0].sum()) >= 1 << 13, "colours", 0)
    means = fields.take("<u2", N_LEVELS).astype(np.int64)
    counters = long_counters(fields.take_split(N_COUNTERS).view(np.uint16))
    weights = fields.take("<i4", N_ROWS * 8).astype(np.int32)
    _require(bool((np.abs(weights.astype(np.int64)) < 1 << 24).all()), "weights", 0)
    n_sets = int(fields.take("u1", 1)[0])
    steps = fields.take("u1", n_sets).astype(np.int64)
    _require(bool((steps < N_STEPS).all() and (steps[1:] > steps[:-1]).all()), "steps of filters", n_sets)
    filters = fields.take_split(n_sets * 2 * N_FILTERS * N_TAPS).reshape(n_sets, 2, N_FILTERS, N_TAPS)
    sums = np.abs(filters.astype(np.int64)).sum(3)
    _require(n_sets == 0 or int(sums.max()) <= TAP_SUM, "sum of a filter", int(sums.max(initial=0)))
    fields.end()
    book_classes = _numbered(tuple(classes))
    return BlockBook(book_classes, color, means, counters, weights, steps, filters)


def _numbered(classes: tuple[BlockClasses, ...]) -> tuple[BlockClasses, ...]:
    """Check that class and coefficient numbers fit the model's tables."""
    n_classes = n_coefficients = 0
    for one, chroma in zip(classes, CHROMA, strict=True):
        count, kept = one.log_sigma.shape
        n_classes += count * (1 + chroma)
        n_coefficients += count * -(-kept // ROWS) * ROWS * (1 + chroma)
    _require(n_classes <= N_CLASSES, "classes in all", n_classes)
    _require(n_coefficients <= N_COEFFICIENTS, "coefficients in all", n_coefficients)
    return classes


def _require(good: bool, what: str, got: int) -> None:
    if not good:
        raise InvalidFrame(f"a blocks dictionary breaks the rules: {what}", got=got)


def _split_bytes(values: npt.NDArray[np.int16]) -> bytes:
    """Give i16 values as all their low bytes, then all their high bytes: that deflates better."""
    return np.ascontiguousarray(values, "<i2").view(np.uint8).reshape(-1, 2).T.tobytes()


class _Fields:
    """Takes arrays from the front of some bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, dtype: str, n: int) -> npt.NDArray[np.generic]:
        """Take n values."""
        end = self._at + n * np.dtype(dtype).itemsize
        if end > len(self._data):
            raise InvalidFrame("a blocks dictionary ends early", expected=end, got=len(self._data))
        values = np.frombuffer(self._data[self._at : end], dtype).copy()
        self._at = end
        return values

    def take_split(self, n: int) -> I16:
        """Take n values that `_split_bytes` wrote."""
        pairs = self.take("u1", 2 * n).reshape(2, n)
        return np.ascontiguousarray(pairs.T).view("<i2").reshape(-1).astype(np.int16)

    def end(self) -> None:
        """Check that all was taken."""
        if self._at != len(self._data):
            raise InvalidFrame("a blocks dictionary goes on", expected=self._at, got=len(self._data))
