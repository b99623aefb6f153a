"""What a dictionary of kind "components" holds: a mean, a basis and its levels; to bytes and back.

FORMAT.md section 4.2 is the law. Numbers that are powers of two in sixteenths of an octave are the *step*
of the scores, the *gain* of the entries and each component's *level*; everything a decoder does is in
integers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from triptych_kernels import basis as coder_of_images
from triptych_kernels.rangecoder import finish_decoding, finish_encoding, new_coder, start
from triptych_kernels.reconstruct import Pairs, pair_rows
from triptych_kernels.status import BAD_SYMBOL, INPUT_EXHAUSTED, OK, OUTPUT_FULL, TAIL_MISMATCH

from triptych.dictionary import Dictionary
from triptych.errors import DictionaryMismatch, InvalidFrame
from triptych.fit.statistics import half_width
from triptych.images import Shape
from triptych.keeping import keep
from triptych.varint import build_varint, parse_varint

I16 = npt.NDArray[np.int16]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

KIND = "components"
POWERS = np.array([round(65536 * 2 ** (i / 16)) for i in range(16)], np.int64)
"""65536 * 2^(i / 16): FORMAT.md lists them."""
EVEN_LEVEL = 64
"""The level of a component whose standard deviation is one step."""
MAX_LEVEL = 255
MAX_STEP = 255
MAX_GAIN = 1023
MAX_COMPONENTS = 4096
MAX_ENTRIES = 1 << 26
FREE_ENTRIES = 1 << 20
ENTRIES_PER_BYTE = 1024
"""A dictionary of more than FREE_ENTRIES has at most so many for each byte."""
MIN_SHIFT, MAX_SHIFT = 4, 12
_HEAD = struct.Struct("<BBHB")
_CAUSES = {
    INPUT_EXHAUSTED: "ends before its last entry",
    TAIL_MISMATCH: "does not end as an encoder would have ended it",
    BAD_SYMBOL: "holds an entry beyond the greatest",
}


def step_size(step: int) -> float:
    """Give the size of a step in sample units."""
    return float(2 ** (step / 16 - 2))


def scale_entries(entries: I16, exponent: int) -> I64:
    """Give entries times 2^(exponent / 16), rounded."""
    products: I64 = entries.astype(np.int64) * POWERS[exponent & 15]
    shift = 16 - (exponent >> 4)
    if shift <= 0:
        return np.left_shift(products, -shift)
    return np.right_shift(products + (1 << (shift - 1)), shift)


@dataclass(frozen=True)
class Basis:
    """A mean image and K components of images of one shape.

    Parameters
    ----------
    shape : Shape
        Of the images.
    mirrored : bool
        Whether only the left halves are stored.
    step : int
        Of the scores: step_size(step) is its size.
    gain, shift : int
        An entry e of a component of level a is e * 2^((gain - a) / 16) / 2^shift samples for each step.
    precise : int
        Fraction bits of the mean's entries.
    levels : int64 (K)
        0 to 255, in sixteenths of an octave: the component's standard deviation; 64 is one step.
    odd : uint8 (K)
        1 where the right half is the left one's negative.
    mean : int32 (h, w2, c)
        Mean samples less 128, times 2^precise.
    entries : int16 (K, h, w2, c)
        Quantised entries.
    """

    shape: Shape
    mirrored: bool
    step: int
    gain: int
    shift: int
    precise: int
    levels: I64
    odd: npt.NDArray[np.uint8]
    mean: I32
    entries: I16

    @property
    def n_components(self) -> int:
        """How many components there are."""
        return len(self.levels)

    @cached_property
    def rows(self) -> I16:
        """Samples for each step, times 2^shift: int16 (K, d)."""
        rows = np.zeros((self.n_components, self.mean.size), np.int16)
        for j, level in enumerate(self.levels):
            scaled = scale_entries(self.entries[j].reshape(-1), self.gain - int(level))
            if scaled.size and np.abs(scaled).max() > 32767:
                raise InvalidFrame(f"component {j} of a basis does not fit in 16 bits")
            rows[j] = scaled
        return rows

    @cached_property
    def pairs(self) -> Pairs:
        """The rows as a decoder adds them up."""
        return pair_rows(self.rows, self.odd)

    @cached_property
    def peaks(self) -> I64:
        """The greatest magnitude of each row."""
        # Row by row: the magnitude of -32768 is none of 16 bits.
        return np.array([np.abs(row.astype(np.int32)).max(initial=0) for row in self.rows], np.int64)

    @cached_property
    def center(self) -> I32:
        """The mean's samples times 2^shift: int32 (d)."""
        mean = (self.mean.reshape(-1) + (128 << self.precise)) << (self.shift - self.precise)
        return mean.astype(np.int32)


def stored_shape(shape: Shape, mirrored: bool) -> tuple[int, int, int]:
    """Give the shape of what is stored of an image."""
    return shape.height, half_width(shape.width) if mirrored else shape.width, shape.channels


def context_level(level: int, finer: int = 0) -> int:
    """Give the level that contexts know, 0 to 31: half octaves, of steps `finer` sixteenths smaller."""
    return min(31, max(0, (level + finer) // 8))


def build_content(basis: Basis) -> bytes:
    """Give the content of a dictionary."""
    height, width, channels = basis.shape
    head = build_varint((width - 1) * 4 + channels - 1) + build_varint(height - 1)
    flags = int(basis.mirrored) | basis.precise << 1
    head += _HEAD.pack(flags, basis.step, basis.gain, basis.shift) + build_varint(basis.n_components)
    sink = np.zeros(1024 + 8 * (basis.mean.size + basis.entries.size), np.uint8)
    status, coder = _code(basis, sink, None)
    if status == OK:
        status = int(finish_encoding(coder, sink))
    if status == OUTPUT_FULL:
        raise AssertionError("a number takes at most 31 decisions of 2 bytes")
    message = sink[:status].tobytes()
    least = -(-basis.entries.size // ENTRIES_PER_BYTE) if basis.entries.size > FREE_ENTRIES else 0
    return head + message.ljust(least, b"\0")


class _Head(NamedTuple):
    """What comes before the message of a basis; `at`: where that begins."""

    shape: Shape
    mirrored: bool
    step: int
    gain: int
    shift: int
    precise: int
    n_components: int
    at: int

    @property
    def n_entries(self) -> int:
        """Those of the components, and of the mean."""
        return int(np.prod(stored_shape(self.shape, self.mirrored), dtype=object)) * (1 + self.n_components)


def expanded_bytes(content: bytes) -> int:
    """Say how many bytes a dictionary's content takes as it is used: entries, rows and pairs of rows."""
    return 6 * _parse_head(content).n_entries


def parse_content(content: bytes) -> Basis:
    """Give what a dictionary's content says.

    Raises
    ------
    InvalidFrame
        It is not what `build_content` makes. Nothing is allocated for what is refused.
    """
    shape, mirrored, step, gain, shift, precise, n_components, at = _parse_head(content)
    stored = stored_shape(shape, mirrored)
    basis = Basis(
        shape,
        mirrored,
        step,
        gain,
        shift,
        precise,
        np.zeros(n_components, np.int64),
        np.zeros(n_components, np.uint8),
        np.zeros(stored, np.int32),
        np.zeros((n_components, *stored), np.int16),
    )
    source = np.frombuffer(content, np.uint8)[at:]
    status, coder = _code(basis, None, source)
    if status == OK:
        status = int(finish_decoding(coder, source))
    if status != OK:
        raise InvalidFrame(f"a basis {_CAUSES[status]}")
    if np.abs(basis.mean * 2 + 1).max() > 256 << precise:
        raise InvalidFrame("a basis has a mean beyond the samples")
    return basis


def _parse_head(content: bytes) -> _Head:
    view = memoryview(content)
    where, at = parse_varint(view, 0)
    lines, at = parse_varint(view, at)
    shape = Shape(lines + 1, (where >> 2) + 1, (where & 3) + 1)
    if at + _HEAD.size > len(content):
        raise InvalidFrame("a basis ends in its head", got=len(content))
    flags, step, gain, shift = _HEAD.unpack_from(content, at)
    n_components, at = parse_varint(view, at + _HEAD.size)
    precise = flags >> 1
    if flags > 7 or gain > MAX_GAIN or not MIN_SHIFT <= shift <= MAX_SHIFT:
        raise InvalidFrame("a basis has a head that means nothing", got=(flags, gain, shift))
    mirrored = bool(flags & 1)
    if n_components > min(MAX_COMPONENTS, shape.nbytes):
        raise InvalidFrame(
            "components of a basis", expected=f"at most {min(MAX_COMPONENTS, shape.nbytes)}", got=n_components
        )
    head = _Head(shape, mirrored, step, gain, shift, precise, n_components, at)
    if head.n_entries > MAX_ENTRIES or head.n_entries > FREE_ENTRIES + ENTRIES_PER_BYTE * len(content):
        raise InvalidFrame(f"a basis of {len(content):,} bytes with {head.n_entries:,} entries")
    return head


def _code(
    basis: Basis, sink: npt.NDArray[np.uint8] | None, source: npt.NDArray[np.uint8] | None
) -> tuple[int, npt.NDArray[np.uint64]]:
    """Code all of a basis in either direction; return (status, coder). A decoder fills the basis's arrays."""
    coder = new_coder()
    if source is not None:
        start(coder, source)
    model = coder_of_images.new_basis(stored_shape(basis.shape, basis.mirrored))
    status = int(
        coder_of_images.code_image(basis.mean, coder_of_images.MEAN_LEVEL, model, coder, sink, source)
    )
    above = MAX_LEVEL
    image = np.empty(basis.mean.shape, np.int32)
    for j in range(basis.n_components):
        if status != OK:
            break
        fall = int(coder_of_images.code_fact(above - int(basis.levels[j]), 0, model, coder, sink, source))
        if fall > above:
            return BAD_SYMBOL, coder
        above -= fall
        basis.levels[j] = above
        if basis.mirrored:
            odd = int(coder_of_images.code_fact(int(basis.odd[j]), 1, model, coder, sink, source))
            if odd > 1:
                return BAD_SYMBOL, coder
            basis.odd[j] = odd
        level = context_level(above)
        image[:] = basis.entries[j]
        status = int(coder_of_images.code_image(image, level, model, coder, sink, source))
        basis.entries[j] = image  # a decoder's are within 16 bits, or its status is another
    return status, coder


@keep
def _parsed(content: bytes) -> Basis:
    basis = parse_content(content)
    basis.pairs  # noqa: B018  (so that a basis that does not fit is refused here, and all of it counts)
    return basis


def load_basis(dictionary: Dictionary) -> Basis:
    """Give the basis of a dictionary; the last few are kept.

    Raises
    ------
    DictionaryMismatch
        The dictionary is of another kind.
    InvalidFrame
        Its content is damaged.
    """
    if dictionary.kind != KIND:
        raise DictionaryMismatch("kind of dictionary", expected=KIND, got=dictionary.kind)
    return _parsed(dictionary.content)
