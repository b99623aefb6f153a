"""The PCA panel: which part of it a dictionary belongs to.

A dictionary of kind "blocks" is for pictures of any size (`triptych.modes.blocks`), one of kind "components"
for images of one size (`triptych.modes.components`), one of kind "spectral" for images of many bands
(`triptych.modes.spectral`). Without a dictionary it is the shipped one for photographs.
"""

from __future__ import annotations

from collections.abc import Sequence

from triptych.dictionary import Dictionary
from triptych.errors import DictionaryMismatch, InvalidFrame, InvalidOption
from triptych.images import Pixels, Shape
from triptych.modes import blocks, components, spectral
from triptych.modes.base import OpenFrame, check_bands
from triptych.options import Options

__all__ = ["MODE"]


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
        if book.kind == "components":
            return components.encode_frame(images, options, book)
        if book.kind == "spectral":
            return spectral.encode_frame(images, options, book)
        options.refuse_components("belongs to fit, and to images with a dictionary of components")
        return blocks.encode_frame(images, options, book)

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
        book = _check(dictionary, shapes)
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
        return components.open_frame(body, shapes, _check(dictionary, shapes), n_components)

    def base_of(self, dictionary: Dictionary) -> bytes | None:
        """Give the id of the dictionary of blocks that a spectral one names."""
        return spectral.base_of(dictionary) if dictionary.kind == "spectral" else None

    def images_per_frame(self, shape: Shape, options: Options, dictionary: Dictionary | None) -> int:
        """Say how many images like this one share a frame by default."""
        book = _check(dictionary, [shape])
        if book.kind == "components":
            return components.images_per_frame(shape, options, book)
        return spectral.images_per_frame() if book.kind == "spectral" else blocks.images_per_frame(shape)

    def describe_frame(
        self, body: memoryview, shapes: Sequence[Shape], dictionary: Dictionary | None
    ) -> list[dict[str, object]]:
        """Say of each image how it was coded; little, where the dictionary is missing."""
        if dictionary is None:
            return [{} for _ in shapes]
        book = _check(dictionary, shapes)
        if book.kind == "components":
            return components.describe_frame(body, shapes, book)
        if book.kind == "spectral":
            return spectral.describe_frame(body, shapes)
        return blocks.describe_frame(body, shapes)


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
