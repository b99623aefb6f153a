"""The PCA panel: which part of it a dictionary belongs to.

A dictionary of kind "blocks" is for pictures of any size (`triptych.modes.blocks`), one of kind "components"
for images of one size (`triptych.modes.components`), one of kind "spectral" for images of many bands
(`triptych.modes.spectral`). Without a dictionary it is the shipped one for photographs. Each gives with a
body the images as they will be decoded: before the body stands a note of their PSNR (FORMAT.md section 7).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import replace

from triptych.dictionary import Dictionary
from triptych.errors import DictionaryMismatch, InvalidFrame, InvalidOption
from triptych.fit import basis, blockbook
from triptych.images import Pixels, Shape
from triptych.modes import blocks, components, spectral
from triptych.modes.base import OpenFrame, check_bands
from triptych.options import Options
from triptych.psnr import psnr_of, squared_error

__all__ = ["MODE"]

_NOTE = struct.Struct("<H")
_NOTE_STEPS = 256
"""Of a note, to a dB."""
_MOST, _UNSAID = 65534, 65535
"""Notes that are no PSNR: this high or exact; not said."""


class PCA:
    """The mode of FORMAT.md sections 7, 8 and 12; see `triptych.modes.base.Mode`."""

    name = "pca"
    code = 2
    default_dictionary = "photo"

    def encode_frame(
        self, images: Sequence[Pixels], options: Options, dictionary: Dictionary | None
    ) -> bytes:
        """Give the body of a frame; see `triptych.modes.base.Mode.encode_frame`."""
        options.refuse_palettes()
        book = _check(dictionary, [Shape(*image.shape) for image in images])
        if options.target_size is not None:
            options = replace(options, target_size=max(0, options.target_size - _NOTE.size))
        if book.kind == "components":
            body, shown = components.encode_frame(images, options, book)
        elif book.kind == "spectral":
            body, shown = spectral.encode_frame(images, options, book)
        else:
            options.refuse_components("belongs to fit, and to images with a dictionary of components")
            body, shown = blocks.encode_frame(images, options, book)
        n_samples = sum(image.size for image in images)
        return build_note(psnr_of(squared_error(images, shown), n_samples)) + body

    def decode_frame(
        self,
        body: memoryview,
        shapes: Sequence[Shape],
        dictionary: Dictionary | None,
        start: int,
        stop: int,
        n_components: int | None = None,
        realism: float | None = None,
    ) -> list[Pixels]:
        """Give images `start` to `stop - 1`; see `triptych.modes.base.Mode.decode_frame`."""
        if realism is not None:
            raise InvalidOption("realism: a PCA image was made without a GAN", options=("realism",))
        book, body = _check(dictionary, shapes), _skip_note(body)
        if book.kind == "components":
            return components.decode_frame(body, shapes, book, start, stop, n_components=n_components)
        if book.kind == "spectral":
            return spectral.decode_frame(body, shapes, book, start, stop, n_components=n_components)
        if n_components is not None:
            raise InvalidOption(
                "n_components: these images are coded in blocks that predict each other, so none can be left "
                "out; only images coded with a dictionary of components, or a spectral one, have a first few",
                options=("n_components",),
            )
        return blocks.decode_frame(body, shapes, book, start, stop)

    def open_frame(
        self,
        body: memoryview,
        shapes: Sequence[Shape],
        dictionary: Dictionary | None,
        stop: int,
        n_components: int | None = None,
        realism: float | None = None,
    ) -> OpenFrame | None:
        """Read the scores of a collection's frame; see `triptych.modes.base.OpensFrames`."""
        if dictionary is None or dictionary.kind != "components" or realism is not None:
            return None
        return components.open_frame(_skip_note(body), shapes, _check(dictionary, shapes), n_components)

    def base_of(self, dictionary: Dictionary) -> bytes | None:
        """Give the id of the dictionary of blocks that a spectral one names."""
        return spectral.base_of(dictionary) if dictionary.kind == "spectral" else None

    def expanded_bytes(self, dictionary: Dictionary) -> int:
        """Say how many bytes a dictionary takes as it is used; see `modes.base.ExpandsDictionaries`."""
        if dictionary.kind == "components":
            return basis.expanded_bytes(dictionary.content)
        if dictionary.kind == "blocks":
            return blockbook.expanded_bytes(dictionary.content)
        return 0  # some components of at most 512 bands

    def images_per_frame(self, shape: Shape, options: Options, dictionary: Dictionary | None) -> int:
        """Say how many images like this one share a frame by default."""
        book = _check(dictionary, [shape])
        if book.kind == "components":
            return components.images_per_frame(shape, options, book)
        return spectral.images_per_frame() if book.kind == "spectral" else blocks.images_per_frame(shape)

    def describe_frame(
        self, body: memoryview, shapes: Sequence[Shape], dictionary: Dictionary | None
    ) -> list[dict[str, object]]:
        """Say how each image was coded, little where the dictionary is missing, and its frame's PSNR."""
        rest = _skip_note(body)
        facts: list[dict[str, object]] = [{} for _ in shapes]
        if dictionary is not None:
            book = _check(dictionary, shapes)
            if book.kind == "components":
                facts = components.describe_frame(rest, shapes, book)
            elif book.kind == "spectral":
                facts = spectral.describe_frame(rest, shapes)
            else:
                facts = blocks.describe_frame(rest, shapes)
        psnr = parse_note(body)
        said = {} if psnr is None else {"psnr": None if math.isinf(psnr) else psnr}
        return [fact | said for fact in facts]


def build_note(psnr: float | None) -> bytes:
    """Return the note of the PSNR in dB of a frame's images, rounded down; None: it is not said.

    Examples
    --------
    >>> parse_note(memoryview(build_note(34.57)))
    34.56640625
    >>> parse_note(memoryview(build_note(float("inf")))), parse_note(memoryview(build_note(None)))
    (inf, None)
    """
    return _NOTE.pack(_UNSAID if psnr is None else int(min(max(psnr * _NOTE_STEPS, 0), _MOST)))


def parse_note(body: memoryview) -> float | None:
    """Return the PSNR in dB that a body notes; infinite if exact, None if it is not said."""
    note = _NOTE.unpack_from(body)[0]
    return None if note == _UNSAID else math.inf if note == _MOST else note / _NOTE_STEPS


def _skip_note(body: memoryview) -> memoryview:
    if len(body) < _NOTE.size:
        raise InvalidFrame("a PCA body ends in its note", expected=_NOTE.size, got=len(body))
    return body[_NOTE.size :]


def _check(dictionary: Dictionary | None, shapes: Sequence[Shape]) -> Dictionary:
    """Give the dictionary, if it is of a kind for such images."""
    if dictionary is None:
        raise InvalidFrame("a PCA frame has to name a dictionary")
    if dictionary.kind not in ("blocks", "components", "spectral"):
        raise DictionaryMismatch(
            f"PCA needs a dictionary of blocks or components, or a spectral one, not one of kind "
            f"{dictionary.kind}"
        )
    for shape in set(shapes):
        check_bands(shape, dictionary)
    return dictionary


MODE = PCA()
