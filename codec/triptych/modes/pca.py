"""The PCA panel: which half of it a dictionary belongs to.

A dictionary of kind "blocks" is for pictures of any size (`triptych.modes.blocks`), one of kind "components"
for images of one size (`triptych.modes.components`). Without a dictionary it is the shipped one for
photographs.
"""

from __future__ import annotations

from collections.abc import Sequence

from triptych.dictionary import Dictionary
from triptych.errors import DictionaryMismatch, InvalidFrame, InvalidOption
from triptych.images import Pixels, Shape
from triptych.modes import blocks, components
from triptych.options import Options

__all__ = ["MODE"]


class PCA:
    """The mode of FORMAT.md sections 7 and 8; see `triptych.modes.base.Mode`."""

    name = "pca"
    code = 2
    default_dictionary = "photo"

    def encode_frame(
        self, images: Sequence[Pixels], options: Options, dictionary: Dictionary | None
    ) -> bytes:
        """Give the body of a frame; see `triptych.modes.base.Mode.encode_frame`."""
        if options.lossless:
            raise InvalidOption("lossless belongs to mode 'kmeans': PCA is lossy")
        book, is_blocks = _kind_of(dictionary)
        if not is_blocks:
            return components.encode_frame(images, options, book)
        if options.n_components is not None or options.variance is not None:
            raise InvalidOption("n_components and variance belong to fit, and to dictionaries of components")
        return blocks.encode_frame(images, options, book)

    def decode_frame(
        self,
        body: memoryview,
        shapes: Sequence[Shape],
        dictionary: Dictionary | None,
        start: int,
        stop: int,
        n_components: int | None = None,
    ) -> list[Pixels]:
        """Give images `start` to `stop - 1`; see `triptych.modes.base.Mode.decode_frame`."""
        book, is_blocks = _kind_of(dictionary)
        if not is_blocks:
            return components.decode_frame(body, shapes, book, start, stop, n_components=n_components)
        if n_components is not None:
            raise InvalidOption(
                "n_components: these images are coded in blocks that predict each other, so none can be left "
                "out; only images coded with a dictionary of components have a first few"
            )
        return blocks.decode_frame(body, shapes, book, start, stop)

    def images_per_frame(self, shape: Shape, options: Options, dictionary: Dictionary | None) -> int:
        """Say how many images like this one share a frame by default."""
        book, is_blocks = _kind_of(dictionary)
        return (
            blocks.images_per_frame(shape) if is_blocks else components.images_per_frame(shape, options, book)
        )

    def describe_frame(
        self, body: memoryview, shapes: Sequence[Shape], dictionary: Dictionary | None
    ) -> list[dict[str, object]]:
        """Say of each image how it was coded; little, where the dictionary is missing."""
        if dictionary is None:
            return [{} for _ in shapes]
        book, is_blocks = _kind_of(dictionary)
        return (
            blocks.describe_frame(body, shapes)
            if is_blocks
            else components.describe_frame(body, shapes, book)
        )


def _kind_of(dictionary: Dictionary | None) -> tuple[Dictionary, bool]:
    """Give the dictionary, and whether it is one of blocks."""
    if dictionary is None:
        raise InvalidFrame("a PCA frame has to name a dictionary")
    if dictionary.kind not in ("blocks", "components"):
        raise DictionaryMismatch(
            f"PCA needs a dictionary of blocks or components, not one of kind {dictionary.kind}"
        )
    return dictionary, dictionary.kind == "blocks"


MODE = PCA()
